package handlers_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"porchlight/db"
	"porchlight/handlers/handlerstest"
)

// This file tests the reset of a forgotten password.

const resetPassword = "copper window seldom anchor"

func TestForgottenPassword(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCastWithMail(t)
	browser := c.NewClient(handlerstest.ChromeOnMac)
	browser.Page("/login").Has(t, `<a href="/forgot">Forgot your password?</a>`)
	browser.Page("/forgot").Has(t, `name="name"`, `action="/forgot"`)
	browser.Form("/forgot", "name", "alice").Is(t, 303, "/forgot?done=link-sent")
	browser.Page("/forgot?done=link-sent").Has(t, "<p>If that account has an e-mail address, a link is on its way.</p>")
	token := c.MailedToken(db.PasswordLink)

	check := c.Unchanged()
	for _, method := range []string{"GET", "HEAD", "GET"} { // a scanner opens the link
		browser.Do(method, "/reset?token="+token, "").Is(t, 200)
	}
	browser.Page("/reset?token="+token).Has(t, "<strong>alice</strong>",
		`name="token" value="`+token+`"`, `value="alice" autocomplete="username"`)
	weak := browser.Form("/reset", "token", token, "password", "short")
	weak.Is(t, 422)
	weak.Has(t, "Use at least 15 characters. This password has 5.", token, "<strong>alice</strong>")
	browser.Form("/reset?token="+token, "password", resetPassword).Is(t, 404) // a form's token is not in its address
	check(t)

	browser.Form("/reset", "token", token, "password", resetPassword).Is(t, 303, "/sessions")
	browser.Page("/sessions").Has(t, "with a mailed link")
	c.Alice.Page("/sessions").Is(t, 303)
	c.AlicePhone.Page("/sessions").Is(t, 303)
	c.Bob.Page("/sessions").Is(t, 200)
	c.SignIn("alice", resetPassword, handlerstest.FirefoxOnLinux)
	browser.Page("/activity").Has(t, "Chose a new password with a mailed link")

	used := browser.Form("/reset", "token", token, "password", handlerstest.AlicePassword)
	used.Is(t, 404)
	used.Has(t, "This link is not valid")
	if c.Log.String() == "" || strings.Contains(c.Log.String(), token) || strings.Contains(c.Log.String(), resetPassword) {
		t.Error("the log contains the token or the password")
	}
}

// The answer must not reveal who has an account, or an address.
func TestForgotAnswersTheSame(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCastWithMail(t)
	c.AddUser("carol", handlerstest.BobPassword)
	c.Exec(`UPDATE users SET email = 'carol@example.com', disabled = 1 WHERE username = 'carol'`)
	browser := c.NewClient(handlerstest.ChromeOnMac)
	for _, name := range []string{"alice", " ALICE@example.com ", "bob", "carol", "nobody", "", "\xff\x00", "<img>", big("a", 5000)} {
		got := browser.Form("/forgot", "name", name)
		got.Is(t, 303, "/forgot?done=link-sent")
		if got.Body != "" || len(got.Header["Set-Cookie"]) > 0 {
			t.Errorf("forgot %.20q: %v %s", name, got.Header, got.Body)
		}
	}
	var to []string
	for _, m := range c.Mails() {
		if m.Kind == db.PasswordLink {
			to = append(to, m.Address)
		}
	}
	if strings.Join(to, " ") != "alice@example.com alice@example.com" {
		t.Errorf("mails to %q", to)
	}
}

func TestForgotIsThrottledByAddress(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCastWithMail(t, throttleBehindProxy)
	browser := c.NewClient(handlerstest.ChromeOnMac)
	for range 20 {
		formFrom(browser, "192.0.2.1", "/forgot", "name", "nobody").Is(t, 303)
	}
	got := formFrom(browser, "192.0.2.1", "/forgot", "name", "alice")
	got.Is(t, 429)
	if got.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	formFrom(browser, "192.0.2.2", "/forgot", "name", "alice").Is(t, 303)
}

func TestWithoutMailNothingIsForgotten(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	browser := c.NewClient(handlerstest.ChromeOnMac)
	browser.Page("/forgot").Is(t, 404)
	browser.Form("/forgot", "name", "alice").Is(t, 404)
	browser.Page("/login").Lacks(t, "/forgot")
	if n := c.Only(`SELECT COUNT(*) FROM outbox`); n != "0" {
		t.Errorf("%s messages wait", n)
	}
}

// The mailbox is not enough to change the password of an account with a second factor, or to use up its link.
func TestResetWaitsForTheSecondFactor(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCastWithMail(t)
	secret, _ := c.AddTOTP(c.Alice)
	c.Clock.Advance(time.Minute)
	browser := c.NewClient(handlerstest.ChromeOnMac)
	browser.Form("/forgot", "name", "alice").Is(t, 303)
	token := c.MailedToken(db.PasswordLink)
	thief, form := c.NewClient(handlerstest.ChromeOnMac), strings.Repeat("A", db.TokenLength)
	for range 2 { // pressed twice
		thief.Form("/reset", "token", token, "password", "pebble sonnet harbour walnut", "form", form).Is(t, 303, "/login/code")
	}
	thief.Page("/login/code").Has(t, "Your new password takes effect after this step.")
	for range 4 {
		thief.Form("/login/code", "code", "000000").Is(t, 422)
	}
	thief.Form("/login/code", "code", "000000").Is(t, 303, "/login?done=again")
	c.Alice.Page("/sessions").Is(t, 200)
	browser.Form("/login", "username", "alice", "password", handlerstest.AlicePassword).Is(t, 303, "/login/code")

	browser.Form("/reset", "token", token, "password", resetPassword).Is(t, 303, "/login/code")
	c.Alice.Page("/sessions").Is(t, 200)
	if browser.Token() != "" {
		t.Error("the link alone signed in")
	}
	values := []string{"code", handlerstest.TOTP(t, secret, c.Clock.Now()), "form", form}
	second := c.NewClient(handlerstest.ChromeOnMac) // the same browser, before it has the answer to the first press
	at, _ := url.Parse(c.URL)
	second.HTTP.Jar.SetCookies(at, browser.HTTP.Jar.Cookies(at))
	browser.Form("/login/code", values...).Is(t, 303, "/sessions")
	second.Form("/login/code", values...).Is(t, 303, "/sessions")
	second.Page("/sessions").Has(t, "with a password and a code")
	c.Alice.Page("/sessions").Is(t, 303, "/login?next=%2Fsessions")
	thief.Form("/reset", "token", token, "password", resetPassword).Is(t, 404)
	thief.Form("/login", "username", "alice", "password", handlerstest.AlicePassword).Is(t, 422)
	thief.Form("/login", "username", "alice", "password", resetPassword).Is(t, 303, "/login/code")
}

// An impatient press must not answer that the link was used.
func TestImpatientResetBeginsOneSession(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCastWithMail(t)
	browser := c.NewClient(handlerstest.ChromeOnMac)
	browser.Form("/forgot", "name", "alice").Is(t, 303)
	values := []string{"token", c.MailedToken(db.PasswordLink), "password", resetPassword, "form", strings.Repeat("A", db.TokenLength)}
	browser.Form("/reset", values...).Is(t, 303, "/sessions")
	again := c.NewClient(handlerstest.ChromeOnMac) // the same browser, before it has the answer to the first press
	again.Form("/reset", values...).Is(t, 303, "/sessions")
	again.Page("/sessions").Is(t, 200)
	if n := len(c.SessionsOf("alice")); n != 1 {
		t.Errorf("%d sessions, want 1", n)
	}
}

func TestWrongLinks(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCastWithMail(t)
	browser := c.NewClient(handlerstest.ChromeOnMac)
	browser.Form("/forgot", "name", "alice").Is(t, 303)
	old := c.MailedToken(db.PasswordLink)
	c.Clock.Advance(db.ResetLinkLifetime)
	check := c.Unchanged()
	bodies := map[string]bool{}
	for _, path := range linkPaths {
		for _, token := range []string{old, "", "WRONG", strings.Repeat("A", 4000), "%00", "'%20OR%201=1--"} {
			got := browser.Page(path + "?token=" + token)
			got.Is(t, 404)
			bodies[got.Body] = true
			got = browser.Form(path, "token", token, "password", resetPassword)
			got.Is(t, 404)
			bodies[got.Body] = true
		}
		c.Clock.Advance(time.Hour) // the throttle counts them
	}
	check(t)
	if len(bodies) != 1 {
		t.Errorf("the pages of an expired and a wrong link differ: %v", bodies)
	}
}

func TestWrongLinksAreThrottled(t *testing.T) {
	t.Parallel()
	for _, path := range linkPaths {
		h := handlerstest.OpenHouse(t, throttleBehindProxy)
		browser := h.NewClient(handlerstest.ChromeOnMac)
		for range 15 {
			pageFrom(browser, "192.0.2.1", path+"?token=WRONG").Is(t, 404)
			formFrom(browser, "192.0.2.1", path, "token", "WRONG").Is(t, 404)
		}
		wantThrottled(h, pageFrom(browser, "192.0.2.1", path+"?token=WRONG"), "900", in15Minutes)
		wantThrottled(h, formFrom(browser, "192.0.2.1", path, "token", "WRONG"), "900", in15Minutes)
		pageFrom(browser, "192.0.2.2", path+"?token=WRONG").Is(t, 404)
	}
}

// linkPaths are the pages that mailed links open.
var linkPaths = []string{"/reset", "/not-me", "/account/email/confirm"}

func TestWellKnownPasswordPage(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	c.NewClient("").Page("/.well-known/change-password").Is(t, 302, "/account/password") // password managers send no cookies
	c.Alice.Page("/.well-known/change-password").Is(t, 302, "/account/password")
}
