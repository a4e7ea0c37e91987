package e2e

import (
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp/kb"

	"porchlight/db"
	"porchlight/handlers"
	"porchlight/handlers/handlerstest"
)

// This file tests the pages that mails lead to, and those that decide what is mailed.

const newPassword = "copper window seldom anchor"

func findsTheWayBack(t *testing.T, c *chromiumProcess) {
	for _, scripts := range []bool{true, false} {
		h := handlerstest.OpenCastWithMail(t)
		b := c.newTab(t, h.House, handlerstest.FirefoxOnLinux)
		if !scripts {
			b.run(emulation.SetScriptExecutionDisabled(true))
		}
		b.provokes("status of 422")
		b.visit("/login")
		b.click(`document.querySelector('[href="/forgot"]')`, 1)
		b.at("/forgot")
		b.until(focused + `.id === 'name'`)
		b.typeText("alice@example.com")
		b.press(kb.Enter)
		b.untilText(statusText, "If that account has an e-mail address, a link is on its way.")
		b.visit("/reset?token=" + h.MailedToken(db.PasswordLink))
		b.until(focused + `.id === 'password'`)
		b.typeText("alice")
		b.press(kb.Enter)
		b.untilText(`document.getElementById('password-error')?.textContent ?? ''`, "Use at least 15 characters. This password has 5.")
		b.fill("password", newPassword)
		b.press(kb.Enter)
		b.at("/sessions")
		b.until(`document.querySelector('.empty') !== null`) // the other devices are signed out
	}
}

// The owner is signed out. Her button ends the thief's page, which is open, and leads to a new password.
func throwsOutAThief(t *testing.T, c *chromiumProcess) {
	h := handlerstest.OpenCastWithMail(t)
	h.Mails()
	thief := c.newTab(t, h.House, handlerstest.ChromeOnMac)
	thief.signIn("alice", handlerstest.AlicePassword)
	thief.follows()
	owner := c.newTab(t, h.House, handlerstest.SafariOnIPhone)
	owner.visit("/not-me?token=" + h.MailedToken(db.SignedIn))
	owner.same(`document.querySelector('h1').textContent`, "Wasn't this you?")
	owner.click(mainButton, 1)
	owner.at("/reset")
	thief.at("/login")
	thief.same(statusText, "You've been signed out on this device.")
	owner.fill("password", newPassword)
	owner.press(kb.Enter)
	owner.at("/sessions")
}

func showsMailPagesOnEveryScreen(t *testing.T, c *chromiumProcess) {
	h := handlerstest.OpenCastWithMail(t)
	b := c.newTab(t, h.House, handlerstest.FirefoxOnLinux)
	b.provokes("status of 422")
	b.provokes("status of 404")
	fails := func() {
		t.Helper()
		b.press(kb.Enter)
		b.until(`document.querySelector('.errors') && document.readyState === 'complete'`)
	}
	b.visit("/login")
	b.checkLayout("sign in")
	b.visit("/forgot?done=link-sent")
	b.checkLayout("forgot")
	h.SignIn("alice", handlerstest.AlicePassword, handlerstest.ChromeOnMac)
	b.visit("/not-me?token=" + h.MailedToken(db.SignedIn))
	b.checkLayout("this wasn't me")
	b.visit("/reset?token=wrong")
	b.checkLayout("a wrong link")
	h.NewClient(handlerstest.FirefoxOnLinux).Form("/forgot", "name", "alice").Is(t, 303)
	b.visit("/reset?token=" + h.MailedToken(db.PasswordLink))
	b.fill("password", "short")
	fails()
	b.checkLayout("reset with an error")

	b.signIn("alice", handlerstest.AlicePassword)
	b.visit("/account")
	b.checkLayout("account")
	b.visit("/account/email")
	b.checkLayout("e-mail address")
	b.fill("email", "long-name-of-somebody@a-subdomain-with-a-long-name.example.com")
	b.press(kb.Enter)
	b.untilText(statusText, "A link is on its way to the new address. Open it within an hour. Until then, nothing changes.")
	b.checkLayout("an address that waits to be confirmed")
	b.visit("/account/email/confirm?token=" + h.MailedToken(db.EmailLink))
	b.checkLayout("confirm the address")
	b.click(mainButton, 1)
	b.untilText(statusText, "Your e-mail address is confirmed.")
	b.checkLayout("e-mail address, confirmed")
	b.visit("/account/alerts")
	b.fill("topic", "no topic")
	fails()
	b.checkLayout("alerts with an error")
	h.Exec(`INSERT INTO deliveries (user_id, way, at, error) SELECT id, 'ntfy', ?, ? FROM users WHERE username = 'alice'`,
		h.Clock.Now().UnixMilli(), "dial tcp: lookup a-very-long-name-that-does-not-exist.somewhere.example.com: no such host")
	b.visit("/account/alerts?done=alert-test")
	b.checkLayout("alerts")
}

func sendsEachMailFormOnce(t *testing.T, c *chromiumProcess) {
	h := openSlowServer(t, func(o *handlers.Options) { o.Mail, o.Ntfy = true, true })
	h.AddUser("alice", handlerstest.AlicePassword)
	h.Exec(`UPDATE users SET email = 'alice@example.com'`)
	b := c.newTab(t, h.House, handlerstest.FirefoxOnLinux)
	b.visit("/forgot")
	b.fill("name", "alice")
	h.pressed(b, "/forgot", mainButton, "Sending…")
	b.visit("/reset?token=" + h.MailedToken(db.PasswordLink))
	b.fill("password", newPassword)
	h.pressed(b, "/reset", mainButton, "Saving…")
	b.at("/sessions")
	b.visit("/account/email")
	b.fill("email", "new@example.com")
	h.pressed(b, "/account/email", mainButton, "Sending…")
	b.visit("/account/email/confirm?token=" + h.MailedToken(db.EmailLink))
	h.pressed(b, "/account/email/confirm", mainButton, "Saving…")
	b.visit("/account/alerts")
	h.pressed(b, "/account/alerts", mainButton, "Saving…")
	b.visit("/account/alerts")
	h.pressed(b, "/account/alerts/test", `document.querySelector('[action="/account/alerts/test"] button')`, "Sending…")
	h.SignIn("alice", newPassword, handlerstest.ChromeOnMac)
	b.visit("/not-me?token=" + h.MailedToken(db.SignedIn))
	h.pressed(b, "/not-me", mainButton, "Signing out…")
	b.at("/reset")
}
