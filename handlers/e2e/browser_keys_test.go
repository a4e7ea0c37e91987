package e2e

import (
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/chromedp/kb"

	"porchlight/db"
	"porchlight/handlers/handlerstest"
)

// makesAKey makes an app key in the browser, uses it as a sync client does, and signs it out on "Your devices".
func makesAKey(t *testing.T, c *chromiumProcess) {
	s := openPlainSite(t, "caddy", func(*db.Options) {})
	notes := strings.Replace(s.URL, "auth.", "notes.", 1)
	b := c.newTab(t, s.House, handlerstest.FirefoxOnLinux)
	b.provokes("status of 403")
	b.provokes("status of 422")
	b.signIn("alice", handlerstest.AlicePassword)
	s.Clock.Advance(db.ConfirmLifetime)

	b.visit("/account/keys")
	b.checkLayout("app keys")
	b.fill("host", notes+"/dav/", "name", "Calendar sync")
	b.press(kb.Enter)
	b.until(`document.getElementById('confirm_password') !== null`) // what was typed is kept
	b.fill("confirm_password", handlerstest.AlicePassword)
	b.press(kb.Enter)
	b.untilText(`document.querySelector('h1').textContent`, "Your new app key")
	key := b.text(`document.getElementById('key').value`)
	b.checkLayout("a new app key")
	b.holds(`!document.querySelector('[data-copy]').hidden`)

	client := s.visit("DAVx5/4")
	sync := func() handlerstest.Answer {
		return client.Do("PROPFIND", notes+"/dav/", "", "Authorization", basic("alice", key))
	}
	seen := s.reaches(t, sync())
	if seen.header.Get("Remote-User") != "alice" || seen.header.Get("Authorization") != "" {
		t.Errorf("the app saw %v", seen.header)
	}
	if err := s.Store.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}

	b.reload()
	b.untilText(`document.querySelector('h1').textContent`, "App keys")
	b.until(`document.querySelector('.known strong').textContent === 'Calendar sync'`)
	b.fill("host", "elsewhere.example.org")
	b.press(kb.Enter)
	b.until(`document.querySelector('.errors') && document.readyState === 'complete'`)
	b.same(`document.getElementById('host').value`, "elsewhere.example.org")
	b.checkLayout("app keys with an error and a key")

	b.visit("/sessions")
	b.same(`[...document.querySelectorAll('#other-devices .pill')].map((pill) => pill.textContent).join()`, "New,App key")
	b.same(`document.querySelector('#other-devices .facts span').textContent`, "notes.porch.localhost")
	b.eval(`(document.querySelector('#other-devices details').open = true, 1)`)
	b.checkLayout("devices with an app key")
	b.click(buttonOf("127.0.0.1"), 1)
	b.until(armedCount + ` === 1`)
	b.click(buttonOf("127.0.0.1"), 1)
	b.until(otherRows + ` === 0`)
	b.same(statusText, signedOut("Calendar sync", "127.0.0.1"))
	if got := sync(); got.Status != http.StatusUnauthorized || got.Header.Get("WWW-Authenticate") == "" {
		t.Errorf("after the key was signed out: %d, WWW-Authenticate %q", got.Status, got.Header.Get("WWW-Authenticate"))
	}
	s.untouched(t)
}
