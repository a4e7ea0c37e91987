package e2e

import (
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp/kb"

	"porchlight/db"
	"porchlight/handlers/handlerstest"
)

// This file tests the authenticator app and the recovery codes in the browser, with JavaScript and without.

func usesAnAuthenticatorApp(t *testing.T, c *chromiumProcess) {
	for _, scripts := range []bool{true, false} {
		h := handlerstest.OpenHouse(t)
		h.AddUser("alice", handlerstest.AlicePassword)
		b := c.newTab(t, h, handlerstest.FirefoxOnLinux)
		if !scripts {
			b.run(emulation.SetScriptExecutionDisabled(true))
		}
		b.provokes("status of 403")
		b.provokes("status of 422")
		b.signIn("alice", handlerstest.AlicePassword)
		title := `document.querySelector('h1').textContent`

		// Set it up, a while after signing in: the password is asked for, and then the set-up goes on by itself.
		h.Clock.Advance(db.ConfirmLifetime)
		b.visit("/account/security")
		b.click(`document.querySelector('[action="/account/totp/begin"] button')`, 1)
		b.untilText(title, "Confirm it's you")
		b.until(`document.activeElement.id === 'confirm_password'`)
		b.typeText("wrong")
		b.press(kb.Enter)
		b.untilText(`document.querySelector('#confirm_password-error')?.textContent ?? ''`, "This is not your password.")
		b.fill("confirm_password", handlerstest.AlicePassword)
		b.press(kb.Enter)
		b.untilText(title, "Set up an authenticator app")
		secret := b.text(`document.querySelector('.secret').textContent`)
		b.fill("code", handlerstest.TOTP(t, secret, h.Clock.Now()))
		b.press(kb.Enter)
		b.untilText(title, "Your recovery codes")
		code := b.text(`document.querySelector('.codes code').textContent`)

		// Sign in with a code, after a wrong one.
		enterPassword := func() {
			t.Helper()
			b.click(`document.querySelector('.sign-out button')`, 1)
			b.at("/login")
			b.fill("username", "alice", "password", handlerstest.AlicePassword)
			b.press(kb.Enter)
			b.at("/login/code")
			b.until(`document.activeElement.id === 'code'`)
		}
		h.Clock.Advance(time.Minute)
		enterPassword()
		b.typeText("000000")
		b.press(kb.Enter)
		b.untilText(`document.querySelector('#code-error')?.textContent ?? ''`, "That code isn't right.")
		b.fill("code", handlerstest.TOTP(t, secret, h.Clock.Now()))
		b.press(kb.Enter)
		b.at("/sessions")
		enterPassword()
		b.typeText(code)
		b.press(kb.Enter)
		b.at("/sessions")

		// Remove it.
		b.visit("/account/security")
		remove := `document.querySelector('[action="/account/totp/remove"] button')`
		b.click(remove, 1)
		if scripts {
			b.untilText(remove+`.textContent`, "Are you sure? Press again")
		} else {
			b.untilText(title, "Remove the authenticator app?")
		}
		b.click(remove, 1)
		b.untilText(statusText, "The authenticator app was removed.")
		h.SameRows(t, []string{"0"}, `SELECT COUNT(*) FROM totp`)
	}
}
