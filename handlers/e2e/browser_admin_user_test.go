package e2e

import (
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp/kb"

	"porchlight/db"
	"porchlight/handlers/handlerstest"
)

// This file tests the page of a person, as an administrator uses it, in the browser.

const (
	personPage = "/admin/users/2" // of bob
	title      = `document.querySelector('h1').textContent`
)

// An administrator ends a session of bob with a second press, and without another page. Bob's browser is signed out at once, and the list
// follows what bob does.
func endsSessionsOfOthers(t *testing.T, c *chromiumProcess) {
	h := handlerstest.OpenHouse(t)
	h.AddUser("alice", handlerstest.AlicePassword)
	seed(h, h.AddUser("bob", handlerstest.BobPassword), device("One", "10.0.0.1"), device("Two", "10.0.0.2"))
	a := c.newTab(t, h, handlerstest.FirefoxOnLinux)
	a.signIn("alice", handlerstest.AlicePassword)
	a.visit("/admin/users")
	a.click(`[...document.querySelectorAll('.person a')].find((link) => link.textContent === 'bob')`, 1)
	a.at(personPage)
	a.follows()
	a.same(othersTitle, "Devices (2)")

	b := c.newTab(t, h, handlerstest.SafariOnIPhone)
	b.signIn("bob", handlerstest.BobPassword)
	b.follows()
	a.untilText(othersTitle, "Devices (3)") // by itself

	a.click(buttonOf("127.0.0.1"), 1)
	a.same(buttonOf("127.0.0.1")+`.querySelector('span').textContent`, "Are you sure? Press again")
	a.same(confirming, "Press again to sign out Safari on iPhone, 127.0.0.1. Escape cancels.")
	a.press(kb.Escape)
	a.same(confirming, "")
	a.endByKeyboard("127.0.0.1")
	a.untilText(statusText, "Signed out Safari on iPhone, 127.0.0.1.")
	a.untilText(othersTitle, "Devices (2)")
	a.holds(`location.pathname === '` + personPage + `'`)
	a.same(focused+`.closest('.device').id`, "device-"+a.idOf("10.0.0.2")) // the heading of the next row
	b.at("/login")

	a.click(bulkButton, 1)
	a.untilText(confirming, "Press again to sign bob out everywhere. Escape cancels.")
	a.tabTo(bulkButton)
	a.press(kb.Enter)
	a.untilText(statusText, "Signed bob out everywhere.")
	a.same(`document.querySelector('#sessions .empty').textContent`, "bob isn't signed in anywhere.")

	// A plain form, with a second press.
	disable := `document.querySelector('[action$="/disable"] button')`
	a.tabTo(disable)
	a.press(kb.Enter)
	a.untilText(disable+`.textContent`, "Are you sure? Press again")
	a.press(kb.Enter)
	a.untilText(statusText, "Disabled bob. Every session has ended.")
	h.SameRows(t, []string{"1"}, `SELECT disabled FROM users WHERE username = 'bob'`)
}

// An administrator cancels invitations with a second press each, and without another page.
func cancelsInvitations(t *testing.T, c *chromiumProcess) {
	h := handlerstest.OpenHouse(t)
	h.AddUser("alice", handlerstest.AlicePassword)
	for _, name := range []string{"carol", "dave"} {
		if _, _, err := h.Store.Invite(t.Context(), db.CommandLine, db.NewUser{Username: name}); err != nil {
			t.Fatal(err)
		}
	}
	b := c.newTab(t, h, handlerstest.FirefoxOnLinux)
	b.signIn("alice", handlerstest.AlicePassword)
	b.visit("/admin/users")
	b.eval(`(window.same = true, 1)`)
	for _, step := range []struct{ cancel, left, focus string }{
		{"carol", "dave", "dave"}, // the heading of the next row
		{"dave", "", "Pending invitations"},
	} {
		button := `document.querySelector('#invitation-` + step.cancel + ` button')`
		b.tabTo(button)
		b.press(kb.Enter)
		b.same(confirming, "Press again to cancel the invitation for "+step.cancel+". Escape keeps it.")
		h.SameRows(t, []string{"1"}, `SELECT COUNT(*) FROM invitations WHERE username = ?`, step.cancel)
		b.press(kb.Enter)
		b.until(`!` + button)
		b.same(statusText, "Cancelled the invitation. Its link no longer works.")
		b.same(focused+`.textContent`, step.focus)
		h.SameRows(t, []string{step.left}, `SELECT COALESCE(MAX(username), '') FROM invitations`)
	}
	b.holds(`window.same`)
}

// A link is shown once: reloading the page does not create another. If the browser does not copy it, the page says so.
func copiesALink(t *testing.T, c *chromiumProcess) {
	h := handlerstest.OpenHouse(t)
	h.AddUser("alice", handlerstest.AlicePassword)
	b := c.newTab(t, h, handlerstest.FirefoxOnLinux)
	b.signIn("alice", handlerstest.AlicePassword)
	b.visit("/admin/users")
	b.fill("username", "carol")
	b.press(kb.Enter)
	b.untilText(title, "A link for carol")
	button := `document.querySelector('[data-copy]')`
	b.eval(`(navigator.clipboard.writeText = () => Promise.reject(new Error('refused')), 1)`)
	b.click(button, 1)
	b.untilText(statusText, "Copy failed. Select the text and copy it.")
	b.same(button+`.textContent`, "Copy")
	b.holds(`getSelection().toString() === document.getElementById('link').value`)
	b.checkLayout("a link that was not copied")
	b.eval(`(navigator.clipboard.writeText = async (text) => { window.copied = text; }, 1)`)
	b.click(button, 1)
	b.untilText(button+`.textContent`, "Copied")
	b.same(statusText, "")
	b.holds(`window.copied === document.getElementById('link').value`)
	hash := h.Only(`SELECT hex(token_hash) FROM invitations`)
	b.reload()
	b.untilText(title, "People")
	h.SameRows(t, []string{hash}, `SELECT hex(token_hash) FROM invitations`)
}

// Without JavaScript, a separate page asks. Step-up keeps what was typed.
func administersWithoutJavaScript(t *testing.T, c *chromiumProcess) {
	h := handlerstest.OpenHouse(t)
	h.AddUser("alice", handlerstest.AlicePassword)
	seed(h, h.AddUser("bob", handlerstest.BobPassword), device("One", "10.0.0.1"), device("Two", "10.0.0.2"))
	b := c.newTab(t, h, handlerstest.FirefoxOnLinux)
	b.provokes("status of 403") // step-up
	b.signIn("alice", handlerstest.AlicePassword)
	b.run(emulation.SetScriptExecutionDisabled(true))
	b.visit(personPage)
	b.click(buttonOf("10.0.0.1"), 1)
	b.untilText(title, "Sign out One of bob?")
	b.tabTo(`document.querySelector('main button')`)
	b.press(kb.Enter)
	b.untilText(title, "bob")
	b.same(statusText, "Signed out that device of bob.")
	b.same(othersTitle, "Devices (1)")
	b.click(bulkButton, 1)
	b.untilText(title, "Sign bob out everywhere?")
	b.tabTo(`document.querySelector('main button')`)
	b.press(kb.Enter)
	b.untilText(title, "bob")
	b.same(othersTitle, "Devices")

	h.Exec(`UPDATE sessions SET confirmed_at = 0`)
	b.visit("/admin/users")
	b.fill("username", "carol", "groups", "staff")
	b.press(kb.Enter)
	b.untilText(title, "Confirm it's you")
	b.fill("confirm_password", handlerstest.AlicePassword)
	b.press(kb.Enter)
	b.untilText(title, "A link for carol")
	b.holds(`document.getElementById('link').value.startsWith('` + h.URL + `/invite?token=')`)
	h.SameRows(t, []string{"carol staff"}, `SELECT username, group_names FROM invitations`)
	b.visit("/admin/users")
	b.tabTo(`document.querySelector('#invitation-carol button')`)
	b.press(kb.Enter)
	b.untilText(title, "Cancel the invitation for carol?")
	b.tabTo(`document.querySelector('main button')`)
	b.press(kb.Enter)
	b.untilText(title, "People")
	b.same(statusText, "Cancelled the invitation. Its link no longer works.")
	h.SameRows(t, []string{}, `SELECT username FROM invitations`)

	b.visit(personPage)
	h.Exec(`UPDATE users SET email = 'bob@example.com' WHERE username = 'bob'`) // in another tab
	b.fill("groups", "staff")
	b.press(kb.Enter)
	b.untilText(statusText, "Changed bob.")
	h.SameRows(t, []string{"bob@example.com"}, `SELECT email FROM users WHERE username = 'bob'`)

	b.click(`document.querySelector('[action$="/delete"] button')`, 1)
	b.untilText(title, "Delete bob?")
	b.tabTo(`document.querySelector('main button')`)
	b.press(kb.Enter)
	b.untilText(title, "People")
	b.same(statusText, "Deleted the account, its sessions and its activity.")
	h.SameRows(t, []string{"alice"}, `SELECT username FROM users`)
}
