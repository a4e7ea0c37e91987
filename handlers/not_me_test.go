package handlers_test

import (
	"strings"
	"testing"
	"time"

	"porchlight/db"
	"porchlight/handlers/handlerstest"
)

// This file tests the link of an alert: "This wasn't me".

func TestThisWasNotMe(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCastWithMail(t)
	thief := c.SignIn("alice", handlerstest.AlicePassword, handlerstest.ChromeOnMac)
	token := c.MailedToken(db.SignedIn)
	browser := c.NewClient(handlerstest.SafariOnIPhone) // signed out

	check := c.Unchanged()
	devices := c.Rows(`SELECT id FROM devices ORDER BY id`)
	for _, method := range []string{"GET", "HEAD", "GET"} { // a scanner opens the link
		browser.Do(method, "/not-me?token="+token, "").Is(t, 200)
	}
	page := browser.Page("/not-me?token=" + token)
	page.Has(t, "Signed in on Chrome on macOS, 127.0.0.1, <time", "<strong>alice</strong> out on every device", "Sign out everywhere")
	page.Lacks(t, "this device", "becomes your e-mail address")
	browser.Form("/not-me?token="+token).Is(t, 404) // a form's token is not in its address
	check(t)
	c.SameRows(t, devices, `SELECT id FROM devices ORDER BY id`)

	got := browser.Form("/not-me", "token", token)
	got.Is(t, 303)
	reset, found := strings.CutPrefix(got.Header.Get("Location"), "/reset?token=")
	if !found {
		t.Fatalf("leads to %q", got.Header.Get("Location"))
	}
	for _, out := range []*handlerstest.Client{thief, c.Alice, c.AlicePhone} {
		out.Page("/sessions").Is(t, 303)
	}
	c.Bob.Page("/sessions").Is(t, 200)
	if now := c.Rows(`SELECT id FROM devices`); len(now) != len(devices)-1 {
		t.Errorf("%d known devices, want %d", len(now), len(devices)-1)
	}
	browser.Form("/not-me", "token", token).Is(t, 404)
	browser.Page("/reset?token="+reset).Has(t, "<strong>alice</strong>")
	browser.Form("/reset", "token", reset, "password", resetPassword).Is(t, 303, "/sessions")
	browser.Page("/sessions").Is(t, 200)
	if strings.Contains(c.Log.String(), token) || strings.Contains(c.Log.String(), reset) {
		t.Error("the log contains a token")
	}
}

// The second factor is asked for before the new password lets anybody in.
func TestNotMeAsksForTheSecondFactor(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCastWithMail(t)
	secret, _ := c.AddTOTP(c.Alice)
	c.Clock.Advance(time.Minute)
	browser := c.NewClient(handlerstest.ChromeOnMac)
	got := browser.Form("/not-me", "token", c.MailedToken(db.TOTPOn))
	reset, _ := strings.CutPrefix(got.Header.Get("Location"), "/reset?token=")
	browser.Form("/reset", "token", reset, "password", resetPassword).Is(t, 303, "/login/code")
	browser.Page("/sessions").Is(t, 303, "/login?next=%2Fsessions")
	browser.Form("/login/code", "code", handlerstest.TOTP(t, secret, c.Clock.Now())).Is(t, 303, "/sessions")
}
