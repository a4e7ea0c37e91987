package e2e

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"porchlight/handlers/handlerstest"
)

// This file tests passkeys in a browser, with Chromium's virtual authenticator.

const (
	passkeyButton = `document.querySelector('[data-passkey]')`
	passkeyStatus = `document.querySelector('.passkey-status').textContent` // below the button
)

// addPasskey adds a passkey on the security page, and returns what the status says, or that there are recovery codes.
func (b *tab) addPasskey() string {
	b.t.Helper()
	b.visit("/account/security")
	b.until(`!` + passkeyButton + `.hidden`)
	b.click(passkeyButton, 1)
	b.until(`document.querySelector('h1').textContent !== 'Security' || ` + statusText + ` || ` + passkeyStatus)
	if b.text(`document.querySelector('h1').textContent`) == "Your recovery codes" {
		b.same(`document.title`, "Your recovery codes – Porchlight")
		b.holds(focused + ` === document.querySelector('h1')`)
		return "recovery codes"
	}
	return b.text(statusText + ` + ` + passkeyStatus)
}

func (b *tab) signOut() {
	b.t.Helper()
	b.visit("/logout")
	b.click(`document.querySelector('main button')`, 1)
	b.at("/login")
}

// passkeyTab is a tab in which alice has added a passkey and signed out.
func (c *chromiumProcess) passkeyTab(t *testing.T) (*tab, *authenticator) {
	t.Helper()
	h := handlerstest.OpenAtLocalhost(t)
	h.AddUser("alice", handlerstest.AlicePassword)
	b := c.newTab(t, h, handlerstest.FirefoxOnLinux)
	a := b.addAuthenticator()
	a.isTouched(false) // or the sign-in page would use the passkey by itself
	b.signIn("alice", handlerstest.AlicePassword)
	a.isTouched(true)
	if got := b.addPasskey(); got != "recovery codes" {
		t.Fatalf("the first passkey: %s", got)
	}
	a.isTouched(false)
	b.signOut()
	return b, a
}

const (
	passkeyRefused = "That passkey can't be used here. It may have been removed, or your account disabled."
	everyMethod    = `SELECT u.username, s.method FROM sessions s JOIN users u ON u.id = s.user_id ORDER BY s.created_at`
)

// offered waits until the sign-in page offers passkeys by its button and in the username field. A touch from now on counts only for the
// button.
func (b *tab) offered(query ...string) {
	b.t.Helper()
	b.visit("/login" + strings.Join(query, ""))
	b.until(`!` + passkeyButton + `.hidden && window.asked === 'conditional'`)
}

func signsInWithAPasskey(t *testing.T, c *chromiumProcess) {
	b, a := c.passkeyTab(t)
	b.offered("?next=%2Faccount%2Fsecurity%3Fx%3D1#passkeys-heading")
	a.isTouched(true)
	b.click(passkeyButton, 1)
	b.at("/account/security")
	b.same(`location.search + location.hash`, "?x=1#passkeys-heading")
	b.house.SameRows(t, []string{"passkey 0"}, `SELECT method, shared FROM sessions`)
	b.visit("/sessions")
	b.holds(`document.querySelector('dl').textContent.includes('with a passkey')`)
	a.isTouched(false)
	b.signOut()

	b.offered()
	b.click(`document.getElementById('shared')`, 1)
	a.isTouched(true)
	b.click(passkeyButton, 1)
	b.at("/sessions")
	b.house.SameRows(t, []string{"passkey 1"}, `SELECT method, shared FROM sessions`)
}

func signsInFromTheUsernameField(t *testing.T, c *chromiumProcess) {
	b, a := c.passkeyTab(t)
	b.offered()
	b.same(`document.getElementById('username').autocomplete`, "username webauthn")
	a.isTouched(true)
	b.visit("/login?next=%2Factivity") // the authenticator chooses its passkey at once
	b.at("/activity")
	b.house.SameRows(t, []string{"alice passkey"}, everyMethod)
	a.isTouched(false)
	b.signOut()

	// A challenge is renewed before it is too old.
	b.run(chromedp.ActionFunc(func(ctx context.Context) error {
		_, err := page.AddScriptToEvaluateOnNewDocument(`{
			const now = Date.now;
			Date.now = () => now() + (window.later ?? 0);
		}`).Do(ctx)
		return err
	}))
	b.offered()
	asked := b.requests("POST /login/passkey/begin")
	focus := `(dispatchEvent(new Event('focus')), 1)`
	b.eval(focus)
	b.eval(`window.later = 4 * 60e3 + 1`)
	a.isTouched(true)
	b.eval(focus)
	b.at("/sessions")
	if got := b.requests("POST /login/passkey/begin") - asked; got != 1 {
		t.Errorf("the challenge was renewed %d times", got)
	}
	a.isTouched(false)
	b.signOut()

	// Another tab has asked for a challenge since.
	b.offered()
	a.isTouched(true)
	b.run(chromedp.ActionFunc(func(ctx context.Context) error {
		info, err := target.GetTargetInfo().Do(ctx)
		if err != nil {
			return err
		}
		browser := cdp.WithExecutor(ctx, chromedp.FromContext(ctx).Browser)
		_, err = target.CreateTarget(b.house.URL + "/login").WithBrowserContextID(info.BrowserContextID).WithNewWindow(true).Do(browser)
		return err
	}))
	b.until(`(dispatchEvent(new Event('focus')), location.pathname === '/sessions')`)
}

func usesAPasskeyAfterThePassword(t *testing.T, c *chromiumProcess) {
	b, a := c.passkeyTab(t)
	b.fill("username", "alice", "password", handlerstest.AlicePassword)
	b.press(kb.Enter)
	b.at("/login/code")
	b.house.SameRows(t, nil, everyMethod)
	b.until(`!` + passkeyButton + `.hidden`)
	a.isTouched(true)
	b.click(passkeyButton, 1)
	b.at("/sessions")
	b.house.SameRows(t, []string{"alice password+passkey"}, everyMethod)
}

func confirmsWithAPasskey(t *testing.T, c *chromiumProcess) {
	b, a := c.passkeyTab(t)
	b.provokes("status of 403")
	b.offered()
	a.isTouched(true)
	b.click(passkeyButton, 1)
	b.at("/sessions")
	heading := `document.querySelector('h1').textContent`

	// The script leads to the page that asks, and that leads back.
	b.visit("/account/security")
	b.house.Clock.Advance(16 * time.Minute)
	b.click(passkeyButton, 1)
	b.untilText(heading, "Confirm it's you")
	b.until(passkeyButton + `.dataset.passkey === '/confirm/passkey' && !` + passkeyButton + `.hidden`)
	b.click(passkeyButton, 1)
	b.at("/account/security")

	// A form that was held back goes on, whatever is in the field for the password.
	b.house.Clock.Advance(16 * time.Minute)
	b.click(`document.querySelector('[action="/account/totp/begin"] button')`, 1)
	b.untilText(heading, "Confirm it's you")
	b.until(`!` + passkeyButton + `.hidden`)
	b.fill("confirm_password", "not it")
	b.click(passkeyButton, 1)
	b.untilText(heading, "Set up an authenticator app")
}

func refusesAForgedPasskey(t *testing.T, c *chromiumProcess) {
	b, a := c.passkeyTab(t)
	b.provokes("status of 401")
	b.offered()
	b.eval(`((send) => { window.fetch = (path, options) => {
		const body = JSON.parse(options.body);
		if (body.credential) {
			const data = JSON.parse(atob(body.credential.response.clientDataJSON));
			data.origin = 'https://evil.example';
			body.credential.response.clientDataJSON = btoa(JSON.stringify(data)).replace(/=/g, '');
		}
		return send(path, {...options, body: JSON.stringify(body)});
	}; return 1; })(fetch)`)
	a.isTouched(true)
	b.click(passkeyButton, 1)
	b.untilText(passkeyStatus, passkeyRefused)
	b.same(`location.pathname`, "/login")
	b.house.SameRows(t, nil, everyMethod)
}

func refusesACopiedPasskey(t *testing.T, c *chromiumProcess) {
	b, a := c.passkeyTab(t)
	b.provokes("status of 401")
	original := a.credentials()[0]
	b.offered()
	a.isTouched(true)
	b.click(passkeyButton, 1)
	b.at("/sessions")
	a.isTouched(false)
	b.signOut()
	a.removeCredentials()
	a.addCredential(original) // with the counter from before the sign-in
	b.offered()
	a.isTouched(true)
	b.click(passkeyButton, 1)
	b.untilText(passkeyStatus, passkeyRefused)
	b.house.SameRows(t, nil, everyMethod)
	b.house.SameRows(t, []string{"passkey_refused"}, `SELECT kind FROM activity WHERE id = (SELECT MAX(id) FROM activity)`)
}

func needsAVerifiedUser(t *testing.T, c *chromiumProcess) {
	b, a := c.passkeyTab(t)
	a.verifiesUser(false)
	b.offered()
	a.isTouched(true)
	b.click(passkeyButton, 1)
	b.untilText(passkeyStatus, "No passkey was used.")
	b.holds(`document.querySelector('.bad') === null`)
	b.same(passkeyButton+`.textContent`, "Sign in with a passkey")
	b.house.SameRows(t, nil, everyMethod)
	a.verifiesUser(true)
	b.click(passkeyButton, 1)
	b.at("/sessions")
}

func sharesAnAuthenticator(t *testing.T, c *chromiumProcess) {
	b, a := c.passkeyTab(t)
	b.house.AddUser("bob", handlerstest.BobPassword)
	b.signIn("bob", handlerstest.BobPassword)
	a.isTouched(true)
	if got := b.addPasskey(); got != "recovery codes" {
		t.Fatalf("bob's first passkey: %s", got)
	}
	if got := b.addPasskey(); got != "This device already has a passkey for your account." {
		t.Errorf("another one on the same device: %s", got)
	}
	if got := len(a.credentials()); got != 2 {
		t.Fatalf("%d passkeys in the authenticator", got)
	}
	a.isTouched(false)
	for name, password := range map[string]string{"alice": handlerstest.AlicePassword, "bob": handlerstest.BobPassword} {
		b.signOut()
		b.fill("username", name, "password", password)
		b.press(kb.Enter)
		b.at("/login/code")
		b.until(`!` + passkeyButton + `.hidden`)
		a.isTouched(true)
		b.click(passkeyButton, 1)
		b.at("/sessions")
		b.house.SameRows(t, []string{name + " password+passkey"}, everyMethod)
		a.isTouched(false)
	}
}

func removesAPasskey(t *testing.T, c *chromiumProcess) {
	b, a := c.passkeyTab(t)
	b.provokes("status of 401")
	b.offered()
	a.isTouched(true)
	b.click(passkeyButton, 1)
	b.at("/sessions")
	b.visit("/account/security")
	b.click(`document.querySelector('.known summary')`, 1)
	b.click(`document.querySelector('.rename input')`, 3)
	b.typeText("Blue key")
	b.press(kb.Enter)
	b.untilText(statusText, "The name was changed.")
	b.same(`document.querySelector('.known bdi').textContent`, "Blue key")
	remove := `document.querySelector('.known button[data-confirm]')`
	b.click(remove, 1)
	b.same(confirming, "Press again to remove Blue key. Escape cancels.")
	b.press(kb.Enter)
	b.untilText(statusText, "The passkey was removed.")
	b.holds(remove + ` === null`)
	a.isTouched(false)
	b.signOut()
	b.offered()
	a.isTouched(true)
	b.click(passkeyButton, 1)
	b.untilText(passkeyStatus, passkeyRefused)
	b.house.SameRows(t, nil, everyMethod)
}

func needsJavaScriptForPasskeys(t *testing.T, c *chromiumProcess) {
	b, a := c.passkeyTab(t)
	b.offered()
	a.isTouched(true)
	b.click(passkeyButton, 1)
	b.at("/sessions")
	b.run(emulation.SetScriptExecutionDisabled(true))
	b.visit("/account/security")
	b.holds(passkeyButton + `.checkVisibility() === false`)
	b.holds(pageText + `.includes('Adding a passkey needs JavaScript.')`)
	b.click(`document.querySelector('.known summary')`, 1)
	b.click(`document.querySelector('.rename input')`, 3)
	b.typeText("Blue key")
	b.press(kb.Enter)
	b.untilText(statusText, "The name was changed.")
	b.click(`document.querySelector('.known .danger')`, 1)
	b.untilText(`document.querySelector('h1').textContent`, "Remove Blue key?")
	b.click(`document.querySelector('main button')`, 1)
	b.untilText(statusText, "The passkey was removed.")
	b.click(`document.querySelector('.sign-out button')`, 1)
	b.at("/login")
	b.holds(passkeyButton + `.checkVisibility() === false`)
	b.holds(pageText + `.includes('Signing in with a passkey needs JavaScript.')`)
}

func showsPasskeysOnEveryScreen(t *testing.T, c *chromiumProcess) {
	b, a := c.passkeyTab(t)
	b.provokes("status of 401")
	b.provokes("status of 422")
	spoken := func(wanted ...string) {
		t.Helper()
		got := b.spoken()
		for _, want := range wanted {
			if !slices.Contains(got, want) {
				t.Errorf("no %q among\n%s", want, strings.Join(got, "\n"))
			}
		}
	}
	a.verifiesUser(false)
	b.offered()
	a.isTouched(true)
	at := b.eval(passkeyButton + `.getBoundingClientRect().top`)
	b.click(passkeyButton, 1)
	b.untilText(passkeyStatus, "No passkey was used.")
	if now := b.eval(passkeyButton + `.getBoundingClientRect().top`); now != at {
		t.Errorf("the button was at %s and is at %s", at, now)
	}
	b.checkLayout("sign in with a passkey")
	spoken("button Sign in with a passkey", "status")
	a.verifiesUser(true)
	b.click(passkeyButton, 1)
	b.at("/sessions")
	b.visit("/account/security")
	b.click(`document.querySelector('.known summary')`, 1)
	b.fill(`name-`+b.house.Only(`SELECT id FROM passkeys`), strings.Repeat("Long name ", 7))
	b.press(kb.Enter)
	b.untilText(`document.querySelector('.rename .error')?.textContent ?? ''`, "A name can have at most 60 characters.")
	b.until(`!` + passkeyButton + `.hidden`)
	b.checkLayout("a passkey with a wrong name")
	spoken("button Add a passkey", "heading Passkeys", "textbox Your name for it", "button Save the name of Firefox on Linux",
		"button Remove Firefox on Linux, added 18 Nov 2026, 19:02:00", "DisclosureTriangle Rename Firefox on Linux, added 18 Nov 2026, 19:02:00")
	b.house.Exec(`UPDATE passkeys SET name = ?`, strings.Repeat("W", 60))
	b.visit("/account/security")
	b.until(`!` + passkeyButton + `.hidden`)
	b.click(`document.querySelector('.known button[data-confirm]')`, 1)
	b.holds(armedCount + ` === 1`)
	b.checkLayout("a passkey with a long name, and a question")
}
