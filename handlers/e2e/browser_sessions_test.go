package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp/kb"

	"porchlight/db"
	"porchlight/handlers"
	"porchlight/handlers/handlerstest"
)

const onlySession = "This is your only active session. You're not signed in anywhere else."

func endsTheOther(t *testing.T, c *chromiumProcess) {
	h := handlerstest.OpenHouse(t, func(o *handlers.Options) { o.SetupToken = "the-token-of-this-start" })
	a := c.newTab(t, h, handlerstest.FirefoxOnLinux)

	// The first account, without touching the mouse.
	a.visit("/setup?token=the-token-of-this-start")
	a.same(`document.querySelector('h1').textContent`, "Create the first account")
	a.same(focused+`.id`, "username")
	a.press("alice", kb.Tab)
	a.same(focused+`.id`, "email")
	a.press("alice@example.com", kb.Tab)
	a.same(focused+`.id`, "password")
	a.press(handlerstest.AlicePassword, kb.Enter)
	a.at("/sessions")
	a.same(`document.querySelector('h1').textContent`, "Your devices")
	a.same(`document.title`, "Your devices – Porchlight")
	a.same(`document.querySelector('.empty p').textContent`, onlySession)
	a.same(`document.querySelector('.device h3').textContent`, "Firefox on Linux")
	a.same(othersTitle, "Other devices")
	a.holds(bulkButton + ` === null`)

	// The other browser signs in.
	h.Clock.Advance(4 * 60e9)
	b := c.newTab(t, h, handlerstest.SafariOnIPhone)
	b.signIn("alice", handlerstest.AlicePassword)
	b.same(othersTitle, "Other devices (1)")
	b.same(`document.querySelector('#other-devices h3').textContent`, "Firefox on Linux")
	b.deafen()

	h.Clock.Advance(10 * 60e9)
	a.reload()
	a.same(othersTitle, "Other devices (1)")
	a.same(`document.querySelector('#other-devices h3').textContent`, "Safari on iPhone")
	a.holds(rowOf("127.0.0.1") + ` !== undefined`)
	a.same(`document.querySelector('#other-devices .facts time').textContent`, "10 minutes ago")
	a.same(bulkButton+`.textContent`, "Sign out of 1 other device")

	// Press once, cancel, press again, confirm.
	button := buttonOf("127.0.0.1")
	a.eval(`(window.samePage = true)`)
	a.tabTo(button)
	a.same(button+`.textContent`, "Sign out Safari on iPhone, 127.0.0.1, signed in 18 Nov")
	a.press(kb.Enter)
	a.until(armedCount + ` === 1`)
	a.same(button+`.textContent`, "Are you sure? Press again Safari on iPhone, 127.0.0.1, signed in 18 Nov")
	a.same(confirming, "Press again to sign out Safari on iPhone, 127.0.0.1. Escape cancels.")
	a.press(kb.Escape)
	a.same(confirming, "")
	a.same(button+`.textContent`, "Sign out Safari on iPhone, 127.0.0.1, signed in 18 Nov")
	a.holds(armedCount + ` === 0 && ` + focused + ` === ` + button)
	a.press(kb.Enter)
	a.until(armedCount + ` === 1`)
	a.press(kb.Enter)
	a.until(otherRows + ` === 0`)
	a.same(statusText, signedOut("Safari on iPhone", "127.0.0.1"))
	a.same(othersTitle, "Other devices")
	a.same(`document.querySelector('.empty p').textContent`, onlySession)
	a.same(confirming, "")
	a.holds(bulkButton + ` === null`)
	a.until(focused + `.id === 'others'`)
	a.holds(`window.samePage === true`)
	if got := a.requests("DELETE /sessions/"); got != 1 {
		t.Errorf("%d requests to end it", got)
	}
	if got := h.SessionsOf("alice"); len(got) != 1 {
		t.Errorf("alice has %d sessions", len(got))
	}

	// The other browser's next click leads to the sign-in page, and after signing in to where it was going.
	b.click(`document.querySelector('nav a[href="/account"]')`, 1)
	b.at("/login")
	b.same(statusText, "You've been signed out on this device.")
	b.same(`document.title`, "You've been signed out on this device. – Sign in – Porchlight")
	b.fill("username", "alice@example.com", "password", handlerstest.AlicePassword)
	b.press(kb.Enter)
	b.at("/account")
	b.same(`document.querySelector('h1').textContent`, "Your account")
}

// endByKeyboard signs a device out with only the keyboard, and waits until its row has gone.
func (b *tab) endByKeyboard(ip string) {
	b.t.Helper()
	b.tabTo(buttonOf(ip))
	b.press(kb.Enter)
	b.until(armedCount + ` === 1`)
	b.press(kb.Enter)
	b.until(buttonOf(ip) + ` === undefined`)
}

// endByMouse ends a device with two unhurried clicks.
func (b *tab) endByMouse(ip string) {
	b.t.Helper()
	b.click(buttonOf(ip), 1)
	b.until(armedCount + ` === 1`)
	b.click(buttonOf(ip), 1)
	b.until(buttonOf(ip) + ` === undefined`)
}

func keepsTheFocus(t *testing.T, c *chromiumProcess) {
	// In the page from top to bottom: .5 .4 .3 .2 .1
	b, _ := c.browserOfAlice(t, device("One", "10.0.0.1"), device("Two", "10.0.0.2"), device("Three", "10.0.0.3"),
		device("Four", "10.0.0.4"), device("Five", "10.0.0.5"))
	b.same(`[...document.querySelectorAll('#other-devices h3')].map((h) => h.textContent).join()`, "Five,Four,Three,Two,One")
	b.same(bulkButton+`.textContent`, "Sign out of all 5 other devices")

	for _, step := range []struct {
		what  string
		end   func(string)
		ip    string
		focus string
		count int
	}{
		{"the middle", b.endByKeyboard, "10.0.0.3", headingOf("10.0.0.2"), 4},
		{"the last", b.endByKeyboard, "10.0.0.1", `document.getElementById('others')`, 3},
		{"the first", b.endByKeyboard, "10.0.0.5", headingOf("10.0.0.4"), 2},
		{"the last of two, by mouse", b.endByMouse, "10.0.0.2", `document.getElementById('others')`, 1},
		{"the only one", b.endByMouse, "10.0.0.4", `document.getElementById('others')`, 0},
	} {
		step.end(step.ip)
		name := map[string]string{"1": "One", "2": "Two", "3": "Three", "4": "Four", "5": "Five"}[step.ip[7:]]
		b.untilText(statusText, signedOut(name, step.ip))
		b.until(focused + ` === ` + step.focus)
		b.holds(fmt.Sprintf(`document.querySelectorAll('#other-devices > li').length === %d`, step.count))
		title, bulk := fmt.Sprintf("Other devices (%d)", step.count), fmt.Sprintf("Sign out of all %d other devices", step.count)
		switch step.count {
		case 0:
			title, bulk = "Other devices", "none"
		case 1:
			bulk = "Sign out of 1 other device"
		}
		b.same(othersTitle, title)
		b.same(bulkButton+`?.textContent ?? 'none'`, bulk)
		if t.Failed() {
			t.Fatalf("after %s", step.what)
		}
	}
	b.same(`document.querySelector('.empty p').textContent`, onlySession)
}

func asksTwice(t *testing.T, c *chromiumProcess) {
	b, ids := c.browserOfAlice(t, device("Left alone", "10.0.0.8"), device("Asked for", "10.0.0.9"))
	button, other := buttonOf("10.0.0.9"), buttonOf("10.0.0.8")
	armed := func(what string) {
		t.Helper()
		b.until(button + `?.classList.contains('armed')`)
		b.same(button+`.firstElementChild.textContent`, "Are you sure? Press again")
		b.same(confirming, "Press again to sign out Asked for, 10.0.0.9. Escape cancels.")
		b.holds(focused + ` === ` + button)
		if t.Failed() {
			t.Fatal(what)
		}
	}
	disarmed := func(what string) {
		t.Helper()
		b.until(armedCount + ` === 0`)
		b.same(button+`.firstElementChild.textContent`, "Sign out")
		b.same(confirming, "")
		if t.Failed() {
			t.Fatal(what)
		}
	}

	b.click(button, 2)
	armed("a double-click asks, no more")
	b.press(kb.Escape)
	disarmed("Escape")
	b.click(button, 3)
	armed("a triple-click asks, no more")
	b.press(kb.Tab)
	disarmed("the focus moved on")

	b.tabTo(button)
	b.hold("Enter", "Enter", "\r", 13, 6)
	armed("Enter held down asks, no more")
	b.press(kb.Escape)
	disarmed("Escape")
	b.hold(" ", "Space", " ", 32, 6)
	armed("the space bar held down asks, no more")

	b.click(`document.querySelector('h1')`, 1)
	disarmed("a click elsewhere")
	b.click(button, 1)
	armed("a click asks")
	b.click(other, 1)
	b.until(other + `.classList.contains('armed')`)
	b.same(confirming, "Press again to sign out Left alone, 10.0.0.8. Escape cancels.")
	b.same(button+`.textContent`, "Sign out Asked for, 10.0.0.9, signed in 18 Nov")
	b.press(kb.Escape)
	disarmed("Escape")

	if got := b.requests("DELETE ") + b.requests("POST /sessions"); got != 0 || len(b.house.SessionsOf("alice")) != 3 {
		t.Fatalf("%d requests were sent, %d sessions are left", got, len(b.house.SessionsOf("alice")))
	}
	b.endByMouse("10.0.0.9") // two clicks, each counted by itself
	b.untilText(statusText, signedOut("Asked for", "10.0.0.9"))
	b.holds(otherRows + ` === 1`)
	if got := b.requests("DELETE /sessions/" + ids[1]); got != 1 || b.requests("DELETE ") != 1 {
		t.Errorf("%d requests to end it, %d to end any", got, b.requests("DELETE "))
	}
}

func endsAllOthers(t *testing.T, c *chromiumProcess) {
	b, _ := c.browserOfAlice(t, device("One", "10.0.0.1"), device("Two", "10.0.0.2"), device("Three", "10.0.0.3"))
	bob := b.house.AddUser("bob", handlerstest.BobPassword)
	seed(b.house, bob, device("Bob's", "10.0.0.4"))

	b.click(bulkButton, 2)
	b.until(armedCount + ` === 1`)
	b.same(bulkButton+`.textContent`, "Are you sure? Press again")
	b.same(confirming, "Press again to sign out of all 3 other devices. Escape cancels.")
	b.press(kb.Escape)
	b.until(armedCount + ` === 0`)
	b.same(bulkButton+`.textContent`, "Sign out of all 3 other devices")
	b.same(confirming, "")
	b.holds(otherRows + ` === 3`)

	b.eval(`(window.samePage = true)`)
	b.tabTo(bulkButton)
	b.press(kb.Enter)
	b.until(armedCount + ` === 1`)
	b.press(kb.Enter)
	b.until(otherRows + ` === 0`)
	b.untilText(statusText, "Signed out of all 3 other devices.")
	b.same(`document.querySelector('.empty p').textContent`, onlySession)
	b.same(othersTitle, "Other devices")
	b.until(focused + `.id === 'others'`)
	b.holds(bulkButton + ` === null && window.samePage`)
	if alice, bob := b.house.SessionsOf("alice"), b.house.SessionsOf("bob"); len(alice) != 1 || len(bob) != 1 {
		t.Errorf("alice has %d sessions, bob %d", len(alice), len(bob))
	}
	b.visit("/sessions") // still signed in
	b.same(`document.querySelector('h1').textContent`, "Your devices")
}

func showsAll(t *testing.T, c *chromiumProcess) {
	b, _ := c.browserOfAlice(t, manyDevices(25)...)
	b.same(othersTitle, "Other devices (25)")
	b.holds(otherRows + ` === 20`)
	b.click(`document.querySelector('.more a')`, 1)
	b.until(otherRows + ` === 25 && document.readyState === 'complete'`)
	b.same(`location.search`, "?all=1")
	b.endByKeyboard(manyDevices(25)[0].IP) // the last of the list
	b.untilText(othersTitle, "Other devices (24)")
	b.holds(otherRows + ` === 24`) // still all of them
}

func manyDevices(count int) (devices []db.NewSession) {
	names := []string{"Firefox on Windows", "A name as long as a name may be, of sixty characters in all.",
		"Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunter", "Safari on iPad"}
	for i := range count {
		d := device(names[i%len(names)], fmt.Sprintf("2001:db8:aaaa:bbbb:cccc:dddd:eeee:%04x", 0x1000+i))
		if i%3 == 0 {
			d.Shared = true
			d.UserAgent = strings.Repeat("Mozilla/5.0(nospaces)", 24)
		}
		devices = append(devices, d)
	}
	return devices
}

// Two devices are signed out before the first response arrives. Neither response is lost.
func endsTwoAtOnce(t *testing.T, c *chromiumProcess) {
	b, _ := c.browserOfAlice(t, device("One", "10.0.0.1"), device("Two", "10.0.0.2"), device("Three", "10.0.0.3"))
	release := lock(b.house)
	for _, ip := range []string{"10.0.0.1", "10.0.0.3"} {
		b.click(buttonOf(ip), 1)
		b.until(buttonOf(ip) + `.classList.contains('armed')`)
		b.click(buttonOf(ip), 1)
	}
	b.until(`document.querySelectorAll('.htmx-request').length > 0`)
	release()
	b.untilText(`[...document.querySelectorAll('#other-devices h3')].map((h) => h.textContent).join()`, "Two")
	b.until(`/^Signed out (One|Three), /.test(` + statusText + `)`)
	b.same(othersTitle, "Other devices (1)")
	b.holds(`document.activeElement !== document.body`)
}

func isEndedElsewhere(t *testing.T, c *chromiumProcess) {
	b, _ := c.browserOfAlice(t, device("One", "10.0.0.1"))
	b.deafen()
	b.provokes("status of 401")
	if _, err := b.house.Store.RevokeSession(context.Background(), db.CommandLine, 0, b.own()); err != nil {
		t.Fatal(err)
	}
	b.tabTo(buttonOf("10.0.0.1"))
	b.press(kb.Enter)
	b.until(armedCount + ` === 1`)
	b.press(kb.Enter)
	b.at("/login")
	b.same(statusText, "You've been signed out on this device.")
	b.same(`new URLSearchParams(location.search).get('next')`, "/sessions")
	if got := b.house.SessionsOf("alice"); len(got) != 1 {
		t.Errorf("%d sessions, want the other device to be left", len(got))
	}
	b.reload()
	b.same(statusText, "") // it is shown once
}

// own returns the id of the tab's session, from the page.
func (b *tab) own() string {
	b.t.Helper()
	return strings.TrimPrefix(b.text(`document.querySelector('.device').id`), "device-")
}
