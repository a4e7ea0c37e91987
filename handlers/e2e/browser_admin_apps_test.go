package e2e

import (
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp/kb"

	"porchlight/handlers/handlerstest"
)

// This file tests the page for access rules in the browser.

// An administrator adds rules and removes one with a second press or, without JavaScript, on a confirmation page.
func changesRules(t *testing.T, c *chromiumProcess) {
	h := handlerstest.OpenHouse(t)
	h.AddUser("alice", handlerstest.AlicePassword)
	b := c.newTab(t, h, handlerstest.FirefoxOnLinux)
	b.provokes("status of 422") // a rule that names nobody
	b.signIn("alice", handlerstest.AlicePassword)
	b.visit("/admin/apps")
	allow := func() {
		t.Helper()
		b.fill("host", "127.0.0.1", "groups", "family, books")
		b.press(kb.Enter)
		b.untilText(statusText, "127.0.0.1 is open to group books, group family.")
		b.same(`document.querySelector('.rules .hint').textContent`,
			"Open to group books, group family. Nobody is in the group books yet. Nobody is in the group family yet.")
	}
	b.fill("host", "127.0.0.1")
	b.press(kb.Enter)
	b.untilText(`document.querySelector('.errors')?.textContent.trim()`, "Choose who may reach the host.")
	b.same(`document.getElementById('host').value`, "127.0.0.1")
	b.visit("/admin/apps")
	allow()

	remove := `document.querySelector('.rules button')`
	b.click(remove, 1)
	b.same(confirming, "Press again to remove the rule for 127.0.0.1. Escape cancels.")
	b.tabTo(remove)
	b.press(kb.Enter)
	b.untilText(statusText, "The rule was removed. Now the default applies: open to every approved user.")
	b.holds(`document.querySelector('.rules') === null`)

	b.run(emulation.SetScriptExecutionDisabled(true))
	b.visit("/admin/apps")
	allow()
	b.click(remove, 1)
	b.untilText(title, "Remove this rule?")
	b.tabTo(`document.querySelector('main button')`)
	b.press(kb.Enter)
	b.untilText(statusText, "The rule was removed. Now the default applies: open to every approved user.")
	h.SameRows(t, nil, `SELECT host FROM app_rules`)
}
