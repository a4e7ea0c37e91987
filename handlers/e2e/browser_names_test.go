package e2e

import (
	"context"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"porchlight/db"
)

// This file tests the names of devices in the browser.

func namesADevice(t *testing.T, c *chromiumProcess) {
	b, ids := c.browserOfAlice(t, device("One", "10.0.0.1"), device("Two", "10.0.0.2"))
	row := rowOf("10.0.0.1")
	input := row + `.querySelector('.rename input')`
	openAndSame := func(what string) {
		t.Helper()
		b.until(row + `.querySelector('details').open`) // htmx hands the list over a moment after it stands there
		b.until(row + `.contains(document.activeElement)`)
		b.holds(`window.samePage === true`)
		if t.Failed() {
			t.Fatal(what)
		}
	}
	b.eval(`(window.samePage = true)`)
	b.tabTo(row + `.querySelector('summary')`)
	b.press(kb.Enter)
	b.until(row + `.querySelector('details').open`)
	b.tabTo(input)
	b.press("Kitchen tablet", kb.Enter)
	b.untilText(row+`.querySelector('h3').textContent`, "Kitchen tablet")
	b.untilText(statusText, "The name was changed.")
	openAndSame("by Enter")
	b.same(buttonOf("10.0.0.1")+`.textContent`, "Sign out Kitchen tablet, 10.0.0.1, signed in 18 Nov")
	b.same(input+`.value`, "Kitchen tablet")
	if got := b.house.Only(`SELECT custom_name FROM sessions WHERE id = ?`, ids[0]); got != "Kitchen tablet" {
		t.Errorf("the row says %q", got)
	}

	b.run(chromedp.Evaluate(input+`.select()`, nil))
	b.click(input, 3)
	b.typeText("Hall tablet")
	b.click(row+`.querySelector('.rename button')`, 1)
	b.untilText(row+`.querySelector('h3').textContent`, "Hall tablet")
	openAndSame("by the button")

	// Too long: nothing changes, what was typed is kept.
	b.provokes("status of 422")
	b.click(input, 3)
	b.typeText(strings.Repeat("x", 61))
	b.press(kb.Enter)
	b.untilText(statusText, "A name can have at most 60 characters.")
	b.same(row+`.querySelector('h3').textContent`, "Hall tablet")
	b.same(input+`.value`, strings.Repeat("x", 61))
	openAndSame("too long")

	// An empty name forgets it.
	b.click(input, 3)
	b.press(kb.Delete, kb.Enter)
	b.untilText(row+`.querySelector('h3').textContent`, "One")
	openAndSame("forgotten")

	// This very device has a name as well.
	own := `document.querySelector('.device')`
	b.tabTo(own + `.querySelector('summary')`)
	b.press(kb.Enter, kb.Tab)
	b.until(focused + ` === ` + own + `.querySelector('.rename input')`)
	b.press("My desk", kb.Enter)
	b.untilText(own+`.querySelector('h3').textContent`, "My desk")
	b.until(own + `.contains(document.activeElement)`)
	b.until(row + `.querySelector('details').open`) // the other's stayed open
}

func showsNamesAsText(t *testing.T, c *chromiumProcess) {
	b, ids := c.browserOfAlice(t, device("One", "10.0.0.1"), device("Two", "10.0.0.2"))
	row := rowOf("10.0.0.1")
	input := row + `.querySelector('.rename input')`
	b.click(row+`.querySelector('summary')`, 1)
	for _, name := range []string{
		`<img src=x onerror=alert(1)>`,
		`"><script>alert(1)</script>`,
		`{{.}} ${1} javascript:alert(1) &lt;b&gt;`,
		"\u202egnp.exe \u2067rtl",
		"שולחן במטבח",
		strings.Repeat("🏠", 60),
	} {
		b.until(row + `?.querySelector('details').open`)
		b.click(input, 3)
		b.typeText(name)
		b.press(kb.Enter)
		b.untilText(row+`.querySelector('h3').textContent`, plain(name))
		b.same(buttonOf("10.0.0.1")+`.textContent`, "Sign out "+plain(name)+", 10.0.0.1, signed in 18 Nov")
		b.holds(row + `.querySelector('h3').querySelectorAll('*').length === 1`) // the bdi
		b.holds(`document.documentElement.scrollWidth <= innerWidth`)
		b.tabTo(buttonOf("10.0.0.1"))
		b.press(kb.Enter)
		b.untilText(confirming, "Press again to sign out "+isolated(plain(name))+", 10.0.0.1. Escape cancels.")
		b.press(kb.Escape)
		if got := b.house.Only(`SELECT custom_name FROM sessions WHERE id = ?`, ids[0]); got != name {
			t.Errorf("kept as %q, not %q", got, name)
		}
		b.holds(`document.querySelectorAll('#sessions img, #sessions script, #status :not(p, a), #confirming *').length === 0`)
	}
	b.endByKeyboard("10.0.0.1")
	b.untilText(statusText, signedOut(isolated(strings.Repeat("🏠", 60)), "10.0.0.1"))

	// The status holds the name of what went: as text too.
	b.run(chromedp.Navigate(b.house.URL + "/sessions"))
	if err := b.house.Store.Rename(context.Background(), b.session(), ids[1], `<b id=boo onclick=alert(1)>Two</b>`); err != nil {
		t.Fatal(err)
	}
	b.reload()
	b.endByKeyboard("10.0.0.2")
	b.untilText(statusText, signedOut(`<b id=boo onclick=alert(1)>Two</b>`, "10.0.0.2"))
	b.holds(`document.getElementById('boo') === null`)
}

// session returns the session of the tab.
func (b *tab) session() db.Session {
	b.t.Helper()
	all, err := b.house.Store.AllSessions("")
	if err != nil {
		b.t.Fatal(err)
	}
	id := b.own()
	for _, session := range all {
		if session.ID == id {
			return session
		}
	}
	b.t.Fatal("the tab has no session")
	return db.Session{}
}

// isolated returns a name as sentences contain it: between marks that isolate its direction, unless it is plain ASCII.
func isolated(name string) string {
	if !strings.ContainsFunc(name, func(r rune) bool { return r > 127 }) {
		return name
	}
	return "\u2068" + strings.NewReplacer("\u202e", "", "\u2067", "").Replace(name) + "\u2069"
}
