package e2e

import (
	"testing"

	"porchlight/db"
	"porchlight/db/dbtest"
	"porchlight/handlers/handlerstest"
)

// This file tests that open pages follow what happens elsewhere.

func (b *tab) follows() {
	b.t.Helper()
	b.until(`document.getElementById('events')._htmx?.sse?.status === 200`)
}

// deafen ends the event stream of the page, as a proxy that does not pass it on would.
func (b *tab) deafen() {
	b.t.Helper()
	b.eval(`document.getElementById('events').remove()`)
}

const (
	allActivity = `document.querySelector('#sessions a[href="/activity"]')`
	newestEntry = `document.querySelector('#sessions .entries li > span').textContent`
)

func followsTheOthers(t *testing.T, c *chromiumProcess) {
	h := handlerstest.OpenHouse(t)
	h.AddUser("alice", handlerstest.AlicePassword)
	a, b := c.newTab(t, h, handlerstest.FirefoxOnLinux), c.newTab(t, h, handlerstest.SafariOnIPhone)
	a.signIn("alice", handlerstest.AlicePassword)
	a.follows()
	a.eval(`(window.samePage = true)`)
	a.tabTo(allActivity)
	b.signIn("alice", handlerstest.AlicePassword)
	a.until(`document.getElementById('others').textContent === 'Other devices (1)'`)
	a.untilText(newestEntry, "Signed in on Safari on iPhone, 127.0.0.1")
	a.holds(focused + ` === ` + allActivity)

	b.follows()
	third := h.SignIn("alice", handlerstest.AlicePassword, "curl/8.5.0")
	a.until(`document.getElementById('others').textContent === 'Other devices (2)'`)
	b.until(`document.getElementById('others').textContent === 'Other devices (2)'`)
	third.API("PATCH", "/me/sessions/"+third.ID, `{"name":"Backup script"}`).Is(t, 200)
	for _, tab := range []*tab{a, b} {
		tab.until(`document.getElementById('other-devices').textContent.includes('Backup script')`)
	}
	for range 2 {
		third.API("GET", "/me/export", "").Is(t, 200)
	}
	a.untilText(newestEntry, "Downloaded your data on Backup script, 127.0.0.1, 2 times") // one entry, which was there before
	a.holds(`window.samePage === true`)

	// A command in another process.
	other, err := db.Open(t.Context(), db.Options{Path: h.Path, HashCost: dbtest.HashCost, Now: h.Clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, err := other.RevokeByCommand(t.Context(), third.ID); err != nil {
		t.Fatal(err)
	}
	a.until(`document.getElementById('others').textContent === 'Other devices (1)'`)
	b.visit("/account")
	b.follows()
	if _, err := other.RevokeUserByCommand(t.Context(), "alice"); err != nil {
		t.Fatal(err)
	}
	for _, tab := range []*tab{a, b} {
		tab.at("/login")
		tab.same(statusText, "You've been signed out on this device.")
	}
}
