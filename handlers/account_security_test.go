package handlers_test

import (
	"context"
	"html"
	"net/url"
	"strings"
	"testing"

	"porchlight/db"
	"porchlight/handlers"
	"porchlight/handlers/handlerstest"
)

// This file tests the page of the second factors, and that changing them needs the password again.

func TestSetUpAnAuthenticatorApp(t *testing.T) {
	t.Parallel()
	h := handlerstest.OpenCast(t)
	h.Alice.Page("/account").Has(t, `href="/account/security"`, "Add a second factor")
	h.Alice.Page("/account/security").Lacks(t, "Recovery codes")
	begun := h.Alice.Form("/account/totp/begin")
	begun.Is(t, 200)
	begun.Has(t, "<svg class=\"qr\"", "Enter the code that the app shows.")
	link := html.UnescapeString(between(begun.Body, `<a href="otpauth:`, `"`))
	at, err := url.Parse("otpauth:" + link)
	if err != nil {
		t.Fatal(err)
	}
	secret := strings.ReplaceAll(between(begun.Body, `class="secret">`, "<"), " ", "")
	host := (&url.URL{Host: h.At}).Hostname()
	if at.Host != "totp" || at.Path != "/Porchlight ("+host+"):alice" || at.Query().Get("secret") != secret ||
		at.Query().Get("issuer") != "Porchlight ("+host+")" {
		t.Errorf("the link for the app is %s", at)
	}

	wrong := h.Alice.Form("/account/totp", "code", "000000")
	wrong.Is(t, 422)
	wrong.Has(t, "That code isn&#39;t right.", secret[:4]) // the same secret again
	if stored := h.Rows(`SELECT COUNT(*) FROM totp WHERE on_at > 0`); stored[0] != "0" {
		t.Error("a wrong code switched it on")
	}
	done := h.Alice.Form("/account/totp", "code", handlerstest.TOTP(t, secret, h.Clock.Now()))
	codes := handlerstest.RecoveryCodes(done)
	if len(codes) != 10 {
		t.Fatalf("%d recovery codes: %s", len(codes), done.Body)
	}
	file, _ := url.PathUnescape(html.UnescapeString(between(done.Body, `href="data:`, `"`)))
	for _, code := range codes {
		if !strings.Contains(file, code) {
			t.Errorf("the file lacks %s: %q", code, file)
		}
	}
	page := h.Alice.Page("/account/security")
	page.Has(t, "You have 10 recovery codes left", "Remove the authenticator app")
	page.Lacks(t, append(codes, secret[:8])...)
	h.Alice.Page("/me/export").Lacks(t, append(codes, secret)...)
	h.Alice.Page("/activity").Has(t, "authenticator app")
	h.Alice.Form("/account/totp/begin").Is(t, 303, "/account/security") // there is one already

	more := handlerstest.RecoveryCodes(h.Alice.Form("/account/recovery-codes", "confirm", "1"))
	if len(more) != 10 || more[0] == codes[0] {
		t.Errorf("new codes: %q", more)
	}
	h.Alice.Form("/account/totp/remove").Has(t, "Remove the authenticator app?", `name="confirm" value="1"`)
	h.Alice.Form("/account/totp/remove", "confirm", "1").Is(t, 303, "/account/security?done=totp-removed")
	h.Alice.Page("/account/security?done=totp-removed").Has(t, "The authenticator app was removed.", "Set up an authenticator app")
	h.SameRows(t, []string{"0"}, `SELECT COUNT(*) FROM recovery_codes`)
	h.Alice.Form("/account/recovery-codes", "confirm", "1").Is(t, 303, "/account/security")
}

// between returns the text between two others, or "".
func between(text, before, after string) string {
	_, rest, _ := strings.Cut(text, before)
	found, _, _ := strings.Cut(rest, after)
	return found
}

// stepUpForms are the forms that change who can sign in.
var stepUpForms = []string{"/account/totp/begin", "/account/totp", "/account/totp/remove", "/account/recovery-codes"}

func TestFactorsNeedAFreshPassword(t *testing.T) {
	t.Parallel()
	h := handlerstest.OpenCast(t)
	h.AddTOTP(h.Alice)
	h.Clock.Advance(db.ConfirmLifetime)
	state := `SELECT hex(secret), on_at, (SELECT COUNT(*) FROM recovery_codes) FROM totp`
	before := h.Rows(state)
	for _, path := range stepUpForms {
		got := h.Alice.Form(path, "code", "typed <before>")
		got.Is(t, 403)
		got.Has(t, "Confirm it&#39;s you", `name="confirm_to" value="`+path+`"`, `name="code" value="typed &lt;before&gt;"`)
		h.Alice.Do("POST", path, "{}", "Content-Type", "application/json").Has(t, `{"confirm":true,"error":"Confirm it's you first."}`)
		h.Alice.HTMX("POST", path).Is(t, 403)
	}
	h.SameRows(t, before, state)

	wrong := h.Alice.Form("/confirm", "confirm_password", "not it", "confirm_to", "/account/totp/remove", "code", "kept")
	wrong.Is(t, 422)
	wrong.Has(t, "This is not your password.", `name="confirm_to" value="/account/totp/remove"`, `name="code" value="kept"`)
	h.Alice.Form("/account/totp/remove").Is(t, 403)
	h.Alice.Page("/activity").Has(t, "A wrong password was given on Firefox on Linux")

	h.Alice.Form("/confirm", "confirm_password", handlerstest.AlicePassword, "confirm_to", "/account/totp/remove").
		Is(t, 307, "/account/totp/remove")
	h.AlicePhone.Form("/account/totp/remove").Is(t, 403) // only this session is confirmed
	h.Alice.Form("/account/totp/remove", "confirm", "1").Is(t, 303)
	h.Clock.Advance(db.ConfirmLifetime)
	h.Alice.Form("/account/totp/begin").Is(t, 403)
	h.Alice.Page("/sessions").Is(t, 200)
	h.Alice.HTMX("DELETE", "/sessions/"+h.AlicePhone.ID).Is(t, 200) // panic must be quick
}

func TestConfirmLeadsBack(t *testing.T) {
	t.Parallel()
	h := handlerstest.OpenCast(t)
	h.Alice.Page("/confirm?next=/account/security").Is(t, 303, "/account/security") // just signed in
	h.Clock.Advance(db.ConfirmLifetime)
	h.Alice.Page("/confirm?next=/account/security").Has(t, `name="confirm_next" value="/account/security"`)
	for given, want := range map[string]string{
		"/account/security": "/account/security", "": "/account", "//evil.example": "/account", "https://evil.example/": "/account",
	} {
		h.Alice.Form("/confirm", "confirm_password", handlerstest.AlicePassword, "confirm_next", given).Is(t, 303, want)
		h.Alice.Form("/confirm", "confirm_password", handlerstest.AlicePassword, "confirm_to", "//evil.example").Is(t, 303, "/account")
	}
}

func TestRequiredSecondFactor(t *testing.T) {
	t.Parallel()
	h := handlerstest.OpenHouseWith(t, func(o *db.Options) { o.RequireSecondFactor = db.RequireAdmins }, handlerstest.GuardsExample,
		func(o *handlers.Options) { o.URL.Scheme = "http" })
	h.AddUser("alice", handlerstest.AlicePassword)
	h.AddUser("bob", handlerstest.BobPassword)
	alice := h.SignIn("alice", handlerstest.AlicePassword, handlerstest.FirefoxOnLinux)
	bob := h.SignIn("bob", handlerstest.BobPassword, handlerstest.ChromeOnMac)
	alice.Page("/sessions").Is(t, 303, "/account/security") // she is the administrator
	bob.Page("/sessions").Is(t, 200)
	alice.HTMX("GET", "/sessions/list").Is(t, 403)
	alice.API("GET", "/me/sessions", "").Has(t, `{"error":"Set up a second factor first."}`)
	alice.Page("/account/security").Has(t, "This server requires a second factor.")
	check := func(mode string) handlerstest.Answer {
		return alice.Do("GET", "/auth/forward", "", "Accept", handlerstest.BrowserAccept, "Sec-Fetch-Mode", mode,
			"X-Forwarded-Method", "GET", "X-Forwarded-Proto", "http", "X-Forwarded-Host", "notes.example.com", "X-Forwarded-Uri", "/")
	}
	check("navigate").Is(t, 302, "http://auth.example.com/account/security")
	check("cors").Is(t, 403)
	check("cors").Has(t, "<h1>You can&#39;t get in right now</h1>", "Set up a second factor first.")

	h.AddTOTP(alice)
	alice.Page("/sessions").Is(t, 200)
	check("navigate").Is(t, 200)
	removed := alice.Form("/account/totp/remove", "confirm", "1")
	removed.Is(t, 422)
	removed.Has(t, "this is your last one")
	h.SameRows(t, []string{"1"}, `SELECT COUNT(*) FROM totp WHERE on_at > 0`)
	err := h.Store.ChangeUser(context.Background(), db.CommandLine, "alice", db.UserChange{ResetSecondFactor: true})
	if err != nil {
		t.Fatal(err)
	}
	alice.Page("/sessions").Is(t, 303, "/account/security")
}
