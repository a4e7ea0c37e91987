package e2e

import (
	"context"
	"testing"

	"github.com/chromedp/chromedp/kb"

	"porchlight/db"
	"porchlight/handlers/handlerstest"
)

// This file tests the invitation and the deletion of an account in a browser.

func acceptsAnInvitation(t *testing.T, c *chromiumProcess) {
	h := handlerstest.OpenHouse(t)
	h.AddUser("alice", handlerstest.AlicePassword)
	token, _, err := h.Store.Invite(context.Background(), db.CommandLine, db.NewUser{Username: "carol"})
	if err != nil {
		t.Fatal(err)
	}
	b := c.newTab(t, h, handlerstest.FirefoxOnLinux)
	b.provokes("status of 422")
	b.provokes("status of 404")
	b.visit("/invite?token=" + token)
	b.same(`document.querySelector('h1').textContent`, "Welcome")
	b.same(`document.querySelector('strong').textContent`, "carol")
	b.until(focused + `.id === 'password'`)
	b.typeText("carol")
	b.press(kb.Enter)
	b.untilText(`document.getElementById('password-error')?.textContent ?? ''`, "Use at least 15 characters. This password has 5.")
	b.same(`document.getElementById('password').value`, "")
	b.fill("password", "basalt umbrella crayon fjord")
	b.press(kb.Enter)
	b.at("/sessions")
	b.until(`document.querySelector('.empty') !== null`)
	b.visit("/invite?token=" + token)
	b.same(`document.querySelector('h1').textContent`, "This invitation is not valid")
	b.same(`document.querySelector('main p').textContent`, "It has been used or has expired. Ask whoever runs this server for a new one.")

	// For an existing account, it is the way back in, and other sessions end.
	token, _, err = h.Store.Invite(context.Background(), db.CommandLine, db.NewUser{Username: "carol"})
	if err != nil {
		t.Fatal(err)
	}
	other := c.newTab(t, h, handlerstest.SafariOnIPhone)
	other.visit("/invite?token=" + token)
	other.same(`document.querySelector('h1').textContent`, "Choose a password")
	other.fill("password", "gravel opera thimble quartz")
	other.press(kb.Enter)
	other.at("/sessions")
	b.visit("/sessions")
	b.at("/login")
	b.same(statusText, "You've been signed out on this device.")
}

func deletesAnAccount(t *testing.T, c *chromiumProcess) {
	h := handlerstest.OpenHouse(t)
	h.AddUser("alice", handlerstest.AlicePassword)
	h.AddUser("bob", handlerstest.BobPassword)
	b := c.newTab(t, h, handlerstest.FirefoxOnLinux)
	b.provokes("status of 422")
	b.signIn("bob", handlerstest.BobPassword)
	b.visit("/account")
	button := `document.querySelector('button[data-confirm]')`
	label := button + `.textContent.trim()`
	b.same(label, "Delete my account")
	b.fill("password", "not it")
	b.click(button, 2) // a double-click only asks
	b.same(label, "Are you sure? Press again")
	b.same(confirming, "Press again to delete your account for good. Escape cancels.")
	b.press(kb.Escape)
	b.same(label, "Delete my account")
	if n := b.requests("POST /account/delete"); n != 0 {
		t.Errorf("%d requests before the answer was yes", n)
	}
	b.press(kb.Enter, kb.Enter)
	b.untilText(`document.getElementById('password-error')?.textContent ?? ''`, "This is not your password.")
	b.fill("password", handlerstest.BobPassword)
	b.press(kb.Enter)
	b.at("/login")
	if left := h.Rows(`SELECT username FROM users`); len(left) != 1 || left[0] != "alice" {
		t.Errorf("accounts left: %q", left)
	}
}
