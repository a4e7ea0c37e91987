package e2e

import (
	"context"
	"fmt"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"porchlight/db"
)

// This file tests that the device list changes under the reader's hands without taking anything away.

// refresh swaps the current list in, as the page does when the list changed elsewhere.
func (b *tab) refresh() {
	b.t.Helper()
	b.eval(`(window.refreshed = false,
		htmx.ajax('GET', '/sessions/list', {target: '#sessions', swap: 'outerMorph'}).then(() => { refreshed = true; }), 1)`)
	b.until(`window.refreshed`)
}

func morphsTheList(t *testing.T, c *chromiumProcess) {
	b, ids := c.browserOfAlice(t, device("One", "10.0.0.1"), device("Two", "10.0.0.2"), device("Three", "10.0.0.3"))
	one, three := rowOf("10.0.0.1"), rowOf("10.0.0.3")
	field := one + `.querySelector('.rename input')`
	b.click(one+`.querySelector('summary')`, 1)
	b.click(field, 1)
	b.typeText("Kitch")
	b.eval(`(` + one + `.sameRow = true)`)
	kept := func(what string) {
		t.Helper()
		b.holds(one + `.sameRow && ` + one + `.querySelector('details').open`)
		b.same(field+`.value`, "Kitch")
		if t.Failed() {
			t.Fatal(what)
		}
	}

	// Another row goes. The name that is half typed stays.
	b.endByMouse("10.0.0.2")
	b.untilText(statusText, signedOut("Two", "10.0.0.2"))
	b.same(newestEntry, "Signed out Two, 10.0.0.2, from Firefox on Linux")
	kept("the row beside it went")

	// The list changes elsewhere while the field has the focus.
	b.click(field, 1)
	b.press(kb.Home, kb.ArrowRight)
	if err := b.house.Store.Rename(context.Background(), b.session(), ids[2], "Drei"); err != nil {
		t.Fatal(err)
	}
	b.refresh()
	b.untilText(three+`.querySelector('h3').textContent`, "Drei")
	kept("another row changed")
	b.holds(focused + ` === ` + field + ` && ` + focused + `.selectionStart === 1`)
	b.same(statusText, signedOut("Two", "10.0.0.2")) // it stays until the next action

	// An armed button stays armed, and says what it would do now.
	b.click(buttonOf("10.0.0.3"), 1)
	b.until(armedCount + ` === 1`)
	alice, err := b.house.Store.UserByName("alice")
	if err != nil {
		t.Fatal(err)
	}
	seed(b.house, alice, device("Four", "10.0.0.4"))
	b.refresh()
	b.untilText(othersTitle, "Other devices (3)")
	b.holds(focused + ` === ` + buttonOf("10.0.0.3") + ` && ` + focused + `.matches('.armed')`)
	b.same(buttonOf("10.0.0.3")+`.firstElementChild.textContent`, "Are you sure? Press again")
	b.same(confirming, "Press again to sign out Drei, 10.0.0.3. Escape cancels.")
	b.press(kb.Escape)
	b.same(buttonOf("10.0.0.3")+`.firstElementChild.textContent`, "Sign out")

	b.click(bulkButton, 1)
	seed(b.house, alice, device("Five", "10.0.0.5"))
	b.refresh()
	b.untilText(othersTitle, "Other devices (4)")
	b.same(bulkButton+`.textContent`, "Are you sure? Press again")
	b.same(confirming, "Press again to sign out of all 4 other devices. Escape cancels.")
	b.press(kb.Escape)
	b.same(bulkButton+`.textContent`, "Sign out of all 4 other devices")
	kept("a device signed in")

	// The row with the focus goes elsewhere.
	b.tabTo(buttonOf("10.0.0.4"))
	if _, err := b.house.Store.RevokeSession(context.Background(), db.CommandLine, 0, b.idOf("10.0.0.4")); err != nil {
		t.Fatal(err)
	}
	b.refresh()
	b.until(focused + ` === ` + headingOf("10.0.0.3"))
	kept("a row went elsewhere")
}

// placeOf is where an element is in the page, and its size.
func placeOf(element string) string {
	return `((r) => [r.x + scrollX, r.y + scrollY, r.width, r.height].join())(` + element + `.getBoundingClientRect())`
}

// An added row slides in. A removed one fades out, but is no longer in the list.
func movesRows(t *testing.T, c *chromiumProcess) {
	b, _ := c.browserOfAlice(t, device("One", "10.0.0.1"), device("Two", "10.0.0.2"))
	alice, err := b.house.Store.UserByName("alice")
	if err != nil {
		t.Fatal(err)
	}
	b.run(chromedp.ActionFunc(func(ctx context.Context) error {
		_, err := page.AddScriptToEvaluateOnNewDocument(`
			window.moves = [];
			const animate = Element.prototype.animate;
			Element.prototype.animate = function (...how) {
				const move = animate.apply(this, how);
				move.pause();
				moves.push(move);
				return move;
			};`).Do(ctx)
		return err
	}))
	const guest, removed = "10.0.0.9", `document.querySelector('.removed')`
	for _, motion := range []string{"reduce", "no-preference"} {
		b.run(emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-reduced-motion", Value: motion}}))
		b.visit("/sessions")
		b.follows()
		b.holds(`moves.length === 0`)
		seed(b.house, alice, device("Guest", guest))
		b.until(rowOf(guest))
		moves := motion == "no-preference"
		b.holds(fmt.Sprintf(`%t === (moves[0]?.effect.target === %s)`, moves, rowOf(guest)))
		b.eval(`moves[0]?.finish()`)

		b.tabTo(buttonOf(guest))
		place := b.text(placeOf(rowOf(guest)))
		if _, err := b.house.Store.RevokeSession(context.Background(), db.CommandLine, 0, b.idOf(guest)); err != nil {
			t.Fatal(err)
		}
		b.until(focused + ` === ` + headingOf("10.0.0.2"))
		b.holds(otherRows + ` === 2`)
		b.holds(fmt.Sprintf(`%t === (%s !== null)`, moves, removed))
		if moves {
			b.same(placeOf(removed), place)
			b.holds(removed + `.inert && ` + removed + `.checkVisibility() && !` + removed + `.closest('main')`)
			b.eval(`moves[1].finish()`)
			b.until(removed + ` === null`)
		}
		b.holds(fmt.Sprintf(`moves.length === %d`, map[bool]int{true: 2}[moves]))
	}
}

// idOf returns the session id of a row.
func (b *tab) idOf(ip string) string {
	b.t.Helper()
	return b.text(rowOf(ip) + `.id.replace('device-', '')`)
}

// A third click is part of the same series for the browser, but half a second later it counts.
func asksForHalfASecond(t *testing.T, c *chromiumProcess) {
	b, ids := c.browserOfAlice(t, device("One", "10.0.0.1"))
	x, y := b.point(buttonOf("10.0.0.1"))
	click := func(count int64) {
		t.Helper()
		for _, kind := range []input.MouseType{input.MousePressed, input.MouseReleased} {
			b.run(input.DispatchMouseEvent(kind, x, y).WithButton(input.Left).WithClickCount(count))
		}
	}
	b.eval(`(document.addEventListener('click', (e) => { window.pressedAt ??= e.timeStamp; }, true), 1)`)
	click(1)
	click(2)
	if b.eval(`performance.now() - pressedAt < 500`) == "true" {
		b.holds(armedCount + ` === 1`)
	}
	if n := b.requests("DELETE "); n != 0 && b.eval(`performance.now() - pressedAt < 500`) == "true" {
		t.Errorf("a double-click sent %d requests", n)
	}
	b.until(`performance.now() - pressedAt > 600`)
	click(3)
	b.until(buttonOf("10.0.0.1") + ` === undefined`)
	if n := b.requests("DELETE /sessions/" + ids[0]); n != 1 {
		t.Errorf("%d requests", n)
	}
}

// A question or a message moves nothing that the pointer may be about to press. Only the button that asks the question grows, to the left.
func movesNothing(t *testing.T, c *chromiumProcess) {
	b, _ := c.browserOfAlice(t, device("One", "10.0.0.1"), device("Two", "2001:db8:aaaa:bbbb:cccc:dddd:eeee:1001"))
	for _, width := range []int64{320, 1100} {
		b.run(emulation.SetDeviceMetricsOverride(width, 800, 1, false))
		b.visit("/sessions")
		places := `JSON.stringify([...document.querySelectorAll('#sessions, #sessions form, #sessions button, #sessions summary')].map((e) => {
			const r = e.getBoundingClientRect();
			const left = e.matches('.device > form button') ? null : r.left + scrollX;
			return [left, r.right + scrollX, r.top + scrollY, r.height];
		}))`
		before := b.text(places)
		b.eval(`(document.querySelectorAll('#other-devices [data-confirm]')[0].click(), 1)`)
		b.holds(armedCount + ` === 1`)
		b.same(places, before)
		b.provokes("ERR_INTERNET_DISCONNECTED")
		b.provokes("Failed to fetch")
		b.eval(`(document.getElementById('status').innerHTML = '<p>' + 'Signed out Two, 2001:db8:aaaa:bbbb. '.repeat(3) + '</p>', 1)`)
		b.same(places, before)
		b.holds(`document.querySelector('#status p').getBoundingClientRect().height > 40`)
	}
}

func filtersALongList(t *testing.T, c *chromiumProcess) {
	devices := manyDevices(11)
	devices[3].IP, devices[5].DeviceName = "192.0.2.77", "Étagère"
	b, _ := c.browserOfAlice(t, devices...)
	shown := `[...document.querySelectorAll('#other-devices > li')].filter((row) => row.checkVisibility()).length`
	b.holds(shown + ` === 11`)
	b.tabTo(`document.getElementById('filter')`)
	sent := b.requests("")
	for _, step := range []struct {
		text  string
		count int
	}{{"192.0.2.7", 1}, {"nowhere", 0}, {"étag", 1}, {"Sign out", 0}, {"", 11}, {"1003", 0}, {"100", 10}} {
		b.eval(`document.getElementById('filter').select()`)
		b.press(kb.Delete)
		b.typeText(step.text)
		b.until(fmt.Sprintf(`%s === %d`, shown, step.count))
		if step.text != "" {
			b.same(`document.getElementById('found').textContent`, fmt.Sprintf("%d of 11", step.count))
		}
	}
	if n := b.requests("") - sent; n != 0 {
		t.Errorf("filtering sent %d requests", n)
	}

	// A row goes. The filter stays as it was, and the focus passes over the rows that are not shown.
	b.endByKeyboard(devices[4].IP)
	b.until(shown + ` === 9`)
	b.same(`document.getElementById('filter').value`, "100")
	b.until(focused + ` === ` + headingOf(devices[2].IP))

	// Without a script there is no field, and below ten rows neither.
	b.endByKeyboard(devices[6].IP)
	b.until(`document.getElementById('filter') === null && ` + shown + ` === 9`)
	b.run(emulation.SetScriptExecutionDisabled(true))
	b.visit("/sessions")
	b.holds(shown + ` === 9`)
}

// A page prints as a document.
func printsADocument(t *testing.T, c *chromiumProcess) {
	b, _ := c.browserOfAlice(t, manyDevices(12)...)
	b.eval(`(document.querySelectorAll('details')[1].open = true)`)
	b.run(emulation.SetEmulatedMedia().WithMedia("print"))
	b.until(`matchMedia('print').matches`)
	b.holds(`[...document.querySelectorAll('header, form, button, input, summary, .button, #status')].every((e) => !e.checkVisibility())`)
	b.holds(`[...document.querySelectorAll('h1, h2, h3, .facts, [open] dd')].every((e) => e.checkVisibility())`)
}

// What happened is said once.
func saysItOnce(t *testing.T, c *chromiumProcess) {
	b, _ := c.browserOfAlice(t)
	b.visit("/sessions?all=1&done=revoked#others")
	b.same(statusText, "Signed out that device. Not yours? Change your password.")
	b.same(`location.search + location.hash`, "?all=1#others")
	b.reload()
	b.same(statusText, "")
}
