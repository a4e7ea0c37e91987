package e2e

import (
	"testing"

	"porchlight/handlers/handlerstest"
)

// This file tests the list of everybody's sessions in the browser.

// An administrator ticks two devices of others and signs them out, with a second press and without another page.
func endsTickedSessions(t *testing.T, c *chromiumProcess) {
	h := handlerstest.OpenCast(t)
	a := c.newTab(t, h.House, handlerstest.FirefoxOnLinux)
	a.signIn("alice", handlerstest.AlicePassword)
	b := c.newTab(t, h.House, handlerstest.SafariOnIPhone)
	b.signIn("bob", handlerstest.BobPassword)
	b.follows()

	a.visit("/admin/sessions?person=bob")
	const ticks, button = `document.querySelectorAll('input[name=id]')`, `document.querySelector('.ticked button')`
	a.holds(ticks + `.length === 2`)
	for _, label := range []string{`document.querySelectorAll('.ticked label')[0]`, `document.querySelectorAll('.ticked label')[1]`} {
		a.click(label, 1)
	}
	a.holds(`[...` + ticks + `].every((tick) => tick.checked)`)
	a.click(button, 1)
	a.same(button+`.textContent`, "Are you sure? Press again")
	a.holds(`location.pathname === '/admin/sessions'`)
	a.until(`performance.now() > 0`)
	a.tabTo(button)
	a.press("\r")
	a.untilText(statusText, "Signed out the ticked devices.")
	a.same(`document.querySelector('.empty').textContent`, "No signed-in device matches.")
	a.holds(`location.search === '?person=bob'`) // without what happened, and with the filter
	b.at("/login")
	h.Bob.API("GET", "/me/sessions", "").Is(t, 401)
}
