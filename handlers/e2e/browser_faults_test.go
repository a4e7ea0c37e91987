package e2e

import (
	"context"
	"database/sql"
	"encoding/base64"
	"fmt"
	"testing"

	"github.com/chromedp/cdproto/fetch"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"porchlight/db"
	"porchlight/handlers/handlerstest"
)

// This file tests what the devices page does when a request fails.

// lock holds the database's write lock, as another process would.
func lock(h *handlerstest.House) (release func()) {
	h.T.Helper()
	pool, err := sql.Open("sqlite3", "file:"+h.Path+"?_txlock=immediate&_busy_timeout=1000")
	if err != nil {
		h.T.Fatal(err)
	}
	tx, err := pool.Begin()
	if err != nil {
		h.T.Fatal(err)
	}
	return func() {
		tx.Rollback()
		pool.Close()
	}
}

func pressesTooOften(t *testing.T, c *chromiumProcess) {
	b, ids := c.browserOfAlice(t, device("One", "10.0.0.1"), device("Two", "10.0.0.2"))
	button := buttonOf("10.0.0.2")
	release := lock(b.house) // so that the answer waits
	b.tabTo(button)
	b.press(kb.Enter)
	b.until(armedCount + ` === 1`)
	b.press(kb.Enter)
	b.until(button + `?.classList.contains('htmx-request')`)
	b.holds(`!` + button + `.disabled && ` + focused + ` === ` + button)
	b.press(kb.Enter)
	b.click(button, 1)
	b.press(kb.Escape)
	release()
	b.until(button + ` === undefined`)
	b.untilText(statusText, signedOut("Two", "10.0.0.2"))
	b.until(focused + ` === ` + headingOf("10.0.0.1"))
	// The extra presses have had their effect by now, if any, because the next request waits behind theirs.
	b.endByKeyboard("10.0.0.1")
	b.untilText(statusText, signedOut("One", "10.0.0.1"))
	if got := b.requests("DELETE /sessions/" + ids[1]); got != 1 {
		t.Errorf("%d requests for one device", got)
	}
}

func saysWhatWentWrong(t *testing.T, c *chromiumProcess) {
	b, _ := c.browserOfAlice(t, device("One", "10.0.0.1"), device("Two", "10.0.0.2"))
	button := buttonOf("10.0.0.1")
	confirm := func(button string) {
		t.Helper()
		b.eval(`(document.getElementById('status').textContent = 'from before')`)
		b.until(button + ` !== undefined`)
		b.tabTo(button)
		b.press(kb.Enter)
		b.until(armedCount + ` === 1`)
		b.press(kb.Enter)
	}
	unchanged := func(what string) {
		t.Helper()
		b.until(armedCount + ` === 0`)
		b.same(button+`.textContent`, "Sign out One, 10.0.0.1, signed in 18 Nov")
		b.same(bulkButton+`.textContent`, "Sign out of all 2 other devices")
		b.same(confirming, "")
		b.holds(otherRows + ` === 2`)
		b.holds(`document.querySelectorAll('.htmx-request').length === 0`)
		b.holds(`document.activeElement.matches('button[data-confirm]')`)
		if t.Failed() {
			t.Fatal(what)
		}
	}
	const nothingChanged, wentWrong = "The server can't reach its data. Nothing was changed.", "Something went wrong. Please try again."

	b.provokes("status of 503")
	release := lock(b.house)
	confirm(button)
	b.untilText(statusText, nothingChanged)
	unchanged("the database is locked")
	confirm(bulkButton)
	b.untilText(statusText, nothingChanged)
	unchanged("the database is locked, for all others")
	b.click(rowOf("10.0.0.1")+`.querySelector('summary')`, 1)
	b.until(rowOf("10.0.0.1") + `.querySelector('details').open`)
	b.click(rowOf("10.0.0.1")+`.querySelector('.rename input')`, 1)
	b.typeText("Kitchen tablet")
	b.press(kb.Enter)
	b.untilText(statusText, nothingChanged)
	b.holds(rowOf("10.0.0.1") + `.querySelector('.rename input').value === 'Kitchen tablet'`)
	b.holds(rowOf("10.0.0.1") + `.querySelector('details').open`)
	release()

	// A proxy in front of the server sends its own error page.
	b.provokes("status of 502")
	b.provokes("status of 500")
	for _, answer := range []struct {
		status int64
		body   string
	}{{502, `<html><body><h1>Bad gateway</h1><p id="sessions">nothing</p></body></html>`}, {500, ""}} {
		restore := b.answerFor("*/sessions/*", answer.status, answer.body)
		confirm(button)
		b.untilText(statusText, wentWrong)
		unchanged(fmt.Sprint("answer ", answer.status))
		restore()
	}

	b.provokes("status of 403")
	restore := b.answerFor("*/sessions/*", 403,
		`<div id="status" hx-swap-oob="innerHTML">This page is out of date. Reload it and try again.</div>`, "HX-Reswap", "none")
	confirm(button)
	b.untilText(statusText, "This page is out of date. Reload it and try again.")
	unchanged("from another origin")
	restore()

	b.provokes("ERR_INTERNET_DISCONNECTED")
	b.provokes("Failed to fetch")
	b.run(network.EmulateNetworkConditions(true, 0, 0, 0))
	confirm(button)
	b.untilText(statusText, "Can't reach the server. Reload to see what changed.")
	unchanged("offline")
	b.run(network.EmulateNetworkConditions(false, 0, -1, -1))

	if got := b.house.SessionsOf("alice"); len(got) != 3 {
		t.Fatalf("%d sessions are left", len(got))
	}
	confirm(button) // and now it works
	b.until(button + ` === undefined`)
	b.untilText(statusText, signedOut("One", "10.0.0.1"))
}

// answerFor answers requests in place of the server, until restore is called.
func (b *tab) answerFor(pattern string, status int64, body string, headers ...string) (restore func()) {
	b.t.Helper()
	listening, stop := context.WithCancel(b.ctx)
	entries := []*fetch.HeaderEntry{{Name: "Content-Type", Value: "text/html; charset=utf-8"}}
	for i := 0; i < len(headers); i += 2 {
		entries = append(entries, &fetch.HeaderEntry{Name: headers[i], Value: headers[i+1]})
	}
	chromedp.ListenTarget(listening, func(event any) {
		if e, ok := event.(*fetch.EventRequestPaused); ok {
			go chromedp.Run(b.ctx, fetch.FulfillRequest(e.RequestID, status).WithResponseHeaders(entries).
				WithBody(base64.StdEncoding.EncodeToString([]byte(body))))
		}
	})
	b.run(fetch.Enable().WithPatterns([]*fetch.RequestPattern{{URLPattern: pattern}}))
	return func() {
		stop()
		b.run(fetch.Disable())
	}
}

func findsItGone(t *testing.T, c *chromiumProcess) {
	b, ids := c.browserOfAlice(t, device("One", "10.0.0.1"), device("Two", "10.0.0.2"), device("Three", "10.0.0.3"))
	b.deafen()
	for _, id := range ids[:2] {
		if _, err := b.house.Store.RevokeSession(context.Background(), db.CommandLine, 0, id); err != nil {
			t.Fatal(err)
		}
	}
	b.endByKeyboard("10.0.0.1")
	b.untilText(statusText, "That device was already signed out. The list is up to date.")
	b.same(`[...document.querySelectorAll('#other-devices h3')].map((h) => h.textContent).join()`, "Three")
	b.same(othersTitle, "Other devices (1)")
	b.until(focused + `.id === 'others'`) // the previous row is gone, too
}
