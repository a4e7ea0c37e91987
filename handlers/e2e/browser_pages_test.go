package e2e

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"porchlight/db"
	"porchlight/handlers"
	"porchlight/handlers/handlerstest"
)

func worksWithoutJavaScript(t *testing.T, c *chromiumProcess) {
	h := handlerstest.OpenHouse(t)
	seed(h, h.AddUser("alice", handlerstest.AlicePassword), device("One", "10.0.0.1"), device("Two", "10.0.0.2"), device("Three", "10.0.0.3"))
	b := c.newTab(t, h, handlerstest.FirefoxOnLinux)
	b.run(emulation.SetScriptExecutionDisabled(true))
	b.visit("/login")
	b.holds(`document.querySelector('.show') === null`) // no script has run
	b.same(focused+`.id`, "username")
	b.fill("username", "alice", "password", handlerstest.AlicePassword)
	b.press(kb.Enter)
	b.at("/sessions")
	b.same(othersTitle, "Other devices (3)")
	heading := `document.querySelector('h1').textContent`

	// Sign out one device, after cancelling once.
	b.click(buttonOf("10.0.0.2"), 1)
	b.untilText(heading, "Sign out Two?")
	b.holds(pageText + `.includes('IP 10.0.0.2')`)
	b.click(`document.querySelector('.aside a')`, 1)
	b.untilText(heading, "Your devices")
	b.same(othersTitle, "Other devices (3)")
	b.click(buttonOf("10.0.0.2"), 1)
	b.untilText(heading, "Sign out Two?")
	b.same(`document.querySelector('main button').textContent`, "Sign out Two")
	b.tabTo(`document.querySelector('main button')`)
	b.press(kb.Enter)
	b.untilText(heading, "Your devices")
	b.same(statusText, "Signed out that device. Not yours? Change your password.")
	b.same(`document.title`, "Signed out that device. – Your devices – Porchlight")
	b.same(othersTitle, "Other devices (2)")
	b.holds(buttonOf("10.0.0.2") + ` === undefined`)

	// Name a device. The details open without JavaScript, too.
	row := rowOf("10.0.0.1")
	b.click(row+`.querySelector('summary')`, 1)
	b.until(row + `.querySelector('details').open`)
	b.click(row+`.querySelector('.rename input')`, 1)
	b.typeText("Kitchen tablet")
	b.press(kb.Enter)
	b.untilText(statusText, "The name was changed.")
	b.same(row+`.querySelector('h3').textContent`, "Kitchen tablet")

	// Sign out all others.
	b.click(bulkButton, 1)
	b.untilText(heading, "Sign out of all 2 other devices?")
	b.click(`document.querySelector('main button')`, 1)
	b.untilText(heading, "Your devices")
	b.same(statusText, "Signed out of your other devices.")
	b.same(`document.querySelector('.empty p').textContent`, onlySession)
	if got := h.SessionsOf("alice"); len(got) != 1 {
		t.Fatalf("%d sessions are left", len(got))
	}

	// Change the password.
	const newPassword = "walrus cobalt pantry hinge"
	b.click(`document.querySelector('nav a[href="/account"]')`, 1)
	b.at("/account")
	b.provokes("status of 422")
	b.fill("current_password", "wrong", "new_password", newPassword)
	b.press(kb.Enter)
	b.untilText(`document.querySelector('#current_password-error')?.textContent ?? ''`, "This is not your current password.")
	b.fill("current_password", handlerstest.AlicePassword, "new_password", newPassword)
	b.press(kb.Enter)
	b.untilText(statusText, "Your password was changed.")
	b.same(`location.pathname`, "/account")

	// Sign out, and sign in again with the new password.
	b.click(`document.querySelector('.sign-out button')`, 1)
	b.at("/login")
	b.same(statusText, "You're signed out.")
	if got := h.SessionsOf("alice"); len(got) != 0 {
		t.Errorf("%d sessions are left", len(got))
	}
	b.fill("username", "alice", "password", handlerstest.AlicePassword)
	b.press(kb.Enter)
	b.untilText(`document.querySelector('.errors')?.innerText ?? ''`, "That username or password isn't right.")
	b.signIn("alice", newPassword)
	b.same(heading, "Your devices")
}

func showsNothingAfterSigningOut(t *testing.T, c *chromiumProcess) {
	b, _ := c.browserOfAlice(t, device("Secret tablet", "10.0.0.77"))
	back := func() { b.eval(`setTimeout(() => history.back())`) } // the answer comes before the page goes
	nothingPrivate := func() {
		t.Helper()
		b.at("/login")
		b.same(`document.querySelector('h1').textContent`, "Sign in")
		b.holds(`!/Secret|10\.0\.0\.77|alice/.test(document.documentElement.outerHTML)`)
	}
	b.holds(pageText + `.includes('Secret tablet')`)
	b.click(`document.querySelector('nav a[href="/account"]')`, 1)
	b.at("/account")
	b.click(`document.querySelector('.sign-out button')`, 1)
	nothingPrivate()
	for range 2 { // the account, the devices
		back()
		b.until(`location.search.startsWith('?next=')`)
		nothingPrivate()
	}

	// The session is ended elsewhere while another page is shown. The browser may have kept the page.
	b.signIn("alice", handlerstest.AlicePassword)
	own := b.own()
	b.run(chromedp.Navigate("about:blank"))
	if _, err := b.house.Store.RevokeSession(context.Background(), db.CommandLine, 0, own); err != nil {
		t.Fatal(err)
	}
	back()
	nothingPrivate()
	b.same(statusText, "You've been signed out on this device.")

	// The person types the URL: no response was cached.
	b.signIn("alice", handlerstest.AlicePassword)
	own = b.own()
	b.run(chromedp.Navigate("about:blank"))
	if _, err := b.house.Store.RevokeSession(context.Background(), db.CommandLine, 0, own); err != nil {
		t.Fatal(err)
	}
	b.visit("/sessions")
	nothingPrivate()

	// The browser has kept the page.
	b.signIn("alice", handlerstest.AlicePassword)
	b.deafen()
	if _, err := b.house.Store.RevokeSession(context.Background(), db.CommandLine, 0, b.own()); err != nil {
		t.Fatal(err)
	}
	b.eval(`setTimeout(() => dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true})))`)
	nothingPrivate()
	b.same(statusText, "You've been signed out on this device.")
}

func showsAPassword(t *testing.T, c *chromiumProcess) {
	h := handlerstest.OpenHouse(t)
	h.AddUser("alice", handlerstest.AlicePassword)
	b := c.newTab(t, h, handlerstest.FirefoxOnLinux)
	b.visit("/login")
	const field, button = `document.getElementById('password')`, `document.querySelector('.show')`
	b.fill("username", "alice", "password", "not it")
	b.same(field+`.type`, "password")
	b.same(button+`.textContent`, "Show Password")
	b.press(kb.Tab)
	b.holds(focused + ` === ` + button)
	b.press(kb.Enter)
	b.same(field+`.type`, "text")
	b.same(button+`.textContent`, "Hide Password")
	b.same(field+`.value`, "not it")
	b.press(kb.Enter)
	b.same(field+`.type`, "password")
	b.press(kb.Enter)
	b.same(field+`.type`, "text")
	b.same(`location.pathname`, "/login")
	if got := b.requests("POST "); got != 0 {
		t.Error("showing the password sent the form")
	}
	b.eval(`(document.querySelector('main form').addEventListener('submit', (e) => {
		window.sentAs = document.getElementById('password').type;
		e.preventDefault();
	}), 1)`)
	b.click(`document.querySelector('main .primary')`, 1)
	b.untilText(`window.sentAs ?? 'not yet'`, "password")
	b.same(field+`.type`, "password")
	b.same(button+`.textContent`, "Show Password")
	b.same(field+`.autocomplete`, "current-password")

	b.signIn("alice", handlerstest.AlicePassword)
	b.visit("/account")
	b.holds(`document.querySelectorAll('.show').length === 3`)
	b.same(`[...document.querySelectorAll('.show')].map((b) => b.textContent).join()`,
		"Show Current password,Show New password,Show Your password")
	b.same(`[...document.querySelectorAll('[type=password]')].map((i) => i.autocomplete).join()`,
		"current-password,new-password,current-password")
}

func hasAHeader(t *testing.T, c *chromiumProcess) {
	b, _ := c.browserOfAlice(t, device("One", "10.0.0.1"))
	current := `[...document.querySelectorAll('[aria-current]')].map((a) => a.textContent + ' ' + a.getAttribute('aria-current')).join()`
	b.same(current, "Devices page")
	b.visit("/sessions")
	b.press(kb.Tab)
	b.same(focused+`.textContent`, "Skip to the content")
	b.until(focused + `.getBoundingClientRect().top >= 0`) // it slides in
	b.press(kb.Enter)
	b.until(focused + `.id === 'main'`)
	b.press(kb.Tab)
	b.same(focused+`.textContent`, "change your password") // the first link of the content
	b.press(kb.Enter)
	b.at("/account/password")
	b.same(current, "Account page")
	b.click(`document.querySelector('.brand')`, 1)
	b.at("/sessions")
	b.visit("/logout")
	b.same(current, "")
	b.same(`document.querySelector('h1').textContent`, "Sign out")
	b.click(`document.querySelector('main button')`, 1)
	b.at("/login")
	b.same(current, "")
	b.holds(`document.querySelector('nav') === null`)
	b.press(kb.Tab)
	if got := b.house.SessionsOf("alice"); len(got) != 1 {
		t.Errorf("%d sessions", len(got))
	}
}

func showsErrorsInForms(t *testing.T, c *chromiumProcess) {
	h := handlerstest.OpenHouse(t, func(o *handlers.Options) { o.Signup = true })
	h.AddUser("alice", handlerstest.AlicePassword)
	b := c.newTab(t, h, handlerstest.FirefoxOnLinux)
	b.provokes("status of 422")
	described := func(id string) string {
		return `document.getElementById(` + quote(id) +
			`).getAttribute('aria-describedby').split(' ').map((id) => document.getElementById(id).textContent).join(' | ')`
	}

	b.visit("/signup")
	b.fill("username", "Not A Name", "password", "short")
	b.press(kb.Enter)
	b.until(`document.querySelector('.errors') && document.readyState === 'complete'`)
	b.holds(`document.querySelector('.errors').getAttribute('role') === 'alert'`)
	b.holds(`document.title.startsWith('Error: ')`)
	b.holds(focused + ` === document.querySelector('.errors')`)
	b.holds(`document.querySelectorAll('.errors a').length === 2`)
	for _, id := range []string{"username", "password"} {
		field := `document.getElementById(` + quote(id) + `)`
		b.holds(field + `.getAttribute('aria-invalid') === 'true'`)
		b.holds(`document.getElementById('` + id + `-error').textContent.length > 10`)
		b.holds(described(id) + ` === ['-error', '-hint'].map((end) => document.getElementById('` + id + `' + end).textContent).join(' | ')`)
	}
	b.same(`document.getElementById('username').value`, "Not A Name")
	b.same(`document.getElementById('password').value`, "")
	b.press(kb.Tab, kb.Tab)
	b.same(focused+`.textContent`, "Password")
	b.press(kb.Enter) // a link to its field
	b.until(focused + `.id === 'password' || location.hash === '#password'`)

	b.visit("/login")
	b.fill("username", "alice", "password", "wrong")
	b.click(`document.getElementById('shared')`, 1)
	b.click(`document.querySelector('main .primary')`, 1)
	b.untilText(`document.querySelector('.errors')?.innerText ?? ''`, "That username or password isn't right.")
	b.same(`document.getElementById('username').value`, "alice")
	b.same(`document.getElementById('password').value`, "")
	b.holds(`document.getElementById('shared').checked`)
	b.holds(focused + ` === document.querySelector('.errors')`)
	b.same(described("shared"), "You'll be signed out when you close the browser, or soon after you stop using it.")
}

// spoken returns the roles and names of what a screen reader finds, in order: "button Sign out One, 10.0.0.1, signed in 18 Nov".
func (b *tab) spoken() (all []string) {
	b.t.Helper()
	var tree struct {
		Nodes []struct {
			Ignored bool `json:"ignored"`
			Role    struct {
				Value string `json:"value"`
			} `json:"role"`
			Name struct {
				Value string `json:"value"`
			} `json:"name"`
		} `json:"nodes"`
	}
	b.devtools("Accessibility.getFullAXTree", &tree)
	for _, node := range tree.Nodes {
		if !node.Ignored && !slices.Contains([]string{"StaticText", "InlineTextBox", "generic", "none"}, node.Role.Value) {
			all = append(all, strings.TrimSpace(node.Role.Value+" "+node.Name.Value))
		}
	}
	return all
}

func namesEverything(t *testing.T, c *chromiumProcess) {
	h := handlerstest.OpenHouse(t, func(o *handlers.Options) { o.Signup = true })
	ids := seed(h, h.AddUser("alice", handlerstest.AlicePassword), device("Firefox on Windows", "10.0.0.5"),
		device("Safari on iPhone", "10.0.0.77"))
	b := c.newTab(t, h, handlerstest.FirefoxOnLinux)
	has := func(wanted ...string) {
		t.Helper()
		spoken := b.spoken()
		for _, want := range wanted {
			if !slices.Contains(spoken, want) {
				t.Errorf("%s: no %q among\n%s", b.text(`location.pathname`), want, strings.Join(spoken, "\n"))
			}
		}
		count := 0
		for _, s := range spoken {
			if slices.Contains([]string{"button", "link", "textbox", "checkbox", "heading", "image"}, s) {
				t.Errorf("%s: a %s without a name", b.text(`location.pathname`), s)
			}
			if s == "main" {
				count++
			}
		}
		if count != 1 {
			t.Errorf("%d main landmarks", count)
		}
		b.holds(`document.querySelectorAll('h1').length === 1`)
		b.same(`document.documentElement.lang`, "en")
		b.holds(`[...document.querySelectorAll('[id]')].every((e, i, all) => all.findIndex((f) => f.id === e.id) === i)`)
		b.holds(`[...document.querySelectorAll('h1,h2,h3,h4')].every((h, i, all) =>
			i === 0 ? h.tagName === 'H1' : +h.tagName[1] <= +all[i - 1].tagName[1] + 1)`)
	}

	b.visit("/login")
	has("heading Sign in", "banner", "textbox Username or e-mail", "textbox Password", "checkbox This is a shared or public computer",
		"button Sign in", "button Show Password", "status", "link Skip to the content", "link Porchlight", "link Create one")
	b.visit("/signup")
	has("heading Create an account", "textbox Username", "textbox Password", "button Create the account")
	b.signIn("alice", handlerstest.AlicePassword)
	has("heading Your devices", "banner", "navigation Main", "link Devices", "link Account", "button Sign out alice on this device",
		"region Devices", "status", "heading This device", "heading Firefox on Linux", "heading Other devices (2)",
		"button Sign out of all 2 other devices", "heading Safari on iPhone", "button Sign out Safari on iPhone, 10.0.0.77, signed in 18 Nov",
		"button Sign out Firefox on Windows, 10.0.0.5, signed in 18 Nov",
		"DisclosureTriangle Details of Safari on iPhone, 10.0.0.77", "list", "listitem")
	b.tabTo(buttonOf("10.0.0.77"))
	b.press(kb.Enter)
	b.until(armedCount + ` === 1`)
	has("button Are you sure? Press again Safari on iPhone, 10.0.0.77, signed in 18 Nov")
	b.press(kb.Escape)
	b.tabTo(rowOf("10.0.0.77") + `.querySelector('summary')`)
	b.press(kb.Enter)
	b.until(rowOf("10.0.0.77") + `.querySelector('details').open`)
	has("textbox Your name for it", "button Save the name of Safari on iPhone, 10.0.0.77")
	b.visit("/account")
	has("heading Your account", "heading Change your password", "textbox Current password", "textbox New password",
		"checkbox Sign out of my other devices", "button Change the password", "region Change your password")
	b.visit("/logout")
	has("heading Sign out", "button Sign out", "link Back to your devices")
	b.provokes("status of 404")
	b.visit("/nowhere")
	has("heading There is nothing here", "link Go to your devices")
	b.openConfirm(ids[0])
	has("heading Sign out Firefox on Windows?", "button Sign out Firefox on Windows", "link Cancel and go back to your devices")

	fresh := handlerstest.OpenHouse(t, func(o *handlers.Options) { o.SetupToken = "token" })
	s := c.newTab(t, fresh, handlerstest.FirefoxOnLinux)
	s.visit("/setup?token=token")
	b = s
	has("heading Create the first account", "textbox Username", "textbox E-mail (optional)", "textbox Password", "button Create the account")
}

// openConfirm opens the confirm page, which is for people without JavaScript.
func (b *tab) openConfirm(id string) {
	b.t.Helper()
	b.post("/sessions/" + id + "/revoke")
}

// post sends an empty form.
func (b *tab) post(path string) {
	b.t.Helper()
	b.eval(`setTimeout(() => {
		const f = document.createElement('form');
		f.method = 'post';
		f.action = '` + path + `';
		document.body.append(f);
		f.submit();
	})`)
	b.at(path)
}
