package handlers_test

import (
	"strings"
	"testing"
	"time"

	"porchlight/handlers/handlerstest"
)

// This file tests passkeys as the second step after a password, and to confirm who uses a session.

func passkeySecondStep(c *handlerstest.Client, p *handlerstest.Passkey, fields ...any) handlerstest.Answer {
	c.T.Helper()
	options := c.API("POST", "/login/passkey/begin", `{"secondStep":true}`)
	options.Is(c.T, 200)
	return c.API("POST", "/login/passkey", finishing(p.Get(c.T, options.Body), fields...))
}

func passkeyConfirm(c *handlerstest.Client, p *handlerstest.Passkey) handlerstest.Answer {
	c.T.Helper()
	options := c.API("POST", "/confirm/passkey/begin", "{}")
	options.Is(c.T, 200)
	return c.API("POST", "/confirm/passkey", finishing(p.Get(c.T, options.Body)))
}

// withBob adds bob, who has a passkey, too.
func withBob(t *testing.T, h *handlerstest.House) (*handlerstest.Client, *handlerstest.Passkey) {
	t.Helper()
	h.AddUser("bob", handlerstest.BobPassword)
	bob := h.SignIn("bob", handlerstest.BobPassword, handlerstest.ChromeOnMac)
	passkey := handlerstest.NewPasskey(t, h.URL)
	addPasskey(bob, passkey).Is(t, 200)
	return bob, passkey
}

func TestPasskeyAfterThePassword(t *testing.T) {
	t.Parallel()
	h, _, passkey := passkeyHouse(t)
	_, ofBob := withBob(t, h)
	h.Exec(`DELETE FROM sessions`)
	check := h.Unchanged()
	step := func(values ...string) *handlerstest.Client {
		t.Helper()
		c := h.NewClient(handlerstest.FirefoxOnLinux)
		c.Form("/login", append([]string{"username", "alice", "password", handlerstest.AlicePassword}, values...)...).Is(t, 303, "/login/code")
		return c
	}

	browser := step("shared", "1")
	page := browser.Page("/login/code") // of a user who has no authenticator app
	page.Has(t, "<h1>Use your passkey</h1>")
	if button, code := strings.Index(page.Body, `data-passkey="/login/passkey"`), strings.Index(page.Body, `name="code"`); button > code {
		t.Error("the passkey button comes after the code")
	}
	got := browser.API("POST", "/login/passkey/begin", `{"secondStep":true}`)
	got.Has(t, `"allowCredentials":[{"type":"public-key","id":"`) // only her own
	got = passkeySecondStep(browser, ofBob)
	if got.Status != 401 || got.Body != passkeyRefused {
		t.Errorf("bob's passkey: %d %s", got.Status, got.Body)
	}
	stolen := browser.API("POST", "/login/passkey/begin", `{"secondStep":true}`)
	cookie := ceremonyCookie(t, stolen)
	stranger := h.NewClient(handlerstest.FirefoxOnLinux)
	got = stranger.Do("POST", "/login/passkey", finishing(passkey.Get(t, stolen.Body)), "Content-Type", "application/json", "Cookie", cookie)
	got.Is(t, 422)
	stranger.API("POST", "/login/passkey/begin", `{"secondStep":true}`).Is(t, 422)
	late := step()
	options := late.API("POST", "/login/passkey/begin", `{"secondStep":true}`).Body
	h.Exec(`UPDATE second_steps SET expires_at = ?`, h.Clock.Now().UnixMilli())
	late.API("POST", "/login/passkey", finishing(passkey.Get(t, options))).
		Has(t, `{"error":"Signing in took too long. Begin again with your password."}`)
	late.API("POST", "/login/passkey/begin", `{"secondStep":true}`).Is(t, 422)
	check(t)
	if browser.Token() != "" || stranger.Token() != "" || late.Token() != "" {
		t.Error("a session cookie was set")
	}

	browser = step("shared", "1")
	passkeySecondStep(browser, passkey, "next", "/activity").Has(t, `{"location":"/activity"}`)
	browser.Page("/sessions").Is(t, 200)
	h.SameRows(t, []string{"password+passkey 1"}, `SELECT method, shared FROM sessions`) // shared comes from the first step
	browser.API("POST", "/login/passkey/begin", `{"secondStep":true}`).Is(t, 422)
}

func TestPasskeyConfirms(t *testing.T) {
	t.Parallel()
	h, alice, passkey := passkeyHouse(t)
	_, ofBob := withBob(t, h)
	other := h.NewClient(handlerstest.SafariOnIPhone)
	passkeySignIn(other, passkey).Is(t, 200)
	h.Clock.Advance(15 * time.Minute)
	needsConfirm := func(c *handlerstest.Client, needs bool) {
		t.Helper()
		got := c.API("POST", "/account/passkeys/begin", "{}")
		if refused := got.Status == 403 && got.Body == `{"confirm":true,"error":"Confirm it's you first."}`; refused != needs {
			t.Errorf("POST /account/passkeys/begin: %d %s", got.Status, got.Body)
		}
	}
	needsConfirm(alice, true)
	alice.Page("/confirm").Has(t, "This change needs your password or a passkey,", `data-passkey="/confirm/passkey"`)
	got := passkeyConfirm(alice, ofBob)
	if got.Status != 401 || got.Body != passkeyRefused {
		t.Errorf("bob's passkey: %d %s", got.Status, got.Body)
	}
	options := other.API("POST", "/confirm/passkey/begin", "{}")
	got = alice.Do("POST", "/confirm/passkey", finishing(passkey.Get(t, options.Body)), "Content-Type", "application/json",
		"Cookie", ceremonyCookie(t, options))
	got.Is(t, 422) // the challenge of another session
	needsConfirm(alice, true)

	passkeyConfirm(alice, passkey).Is(t, 204)
	needsConfirm(alice, false)
	needsConfirm(other, true)
	alice.Form("/account/totp/begin").Is(t, 200)
}

// A session that was confirmed too long ago cannot end what it began.
func TestAddingAPasskeyNeedsAConfirmedSession(t *testing.T) {
	t.Parallel()
	h, alice, passkey := passkeyHouse(t)
	h.Clock.Advance(14 * time.Minute)
	options := alice.API("POST", "/account/passkeys/begin", "{}").Body
	h.Clock.Advance(time.Minute)
	fresh := handlerstest.NewPasskey(t, h.URL)
	alice.API("POST", "/account/passkeys", finishing(fresh.Create(t, options))).Is(t, 403)
	id := h.Only(`SELECT id FROM passkeys`)
	alice.Form("/account/passkeys/"+id+"/remove", "confirm", "1").Is(t, 403)
	alice.Form("/account/passkeys/"+id+"/name", "name", "Blue key").Is(t, 303)
	h.SameRows(t, []string{id + " Blue key"}, `SELECT id, name FROM passkeys`)
	passkeyConfirm(alice, passkey).Is(t, 204)
	alice.Form("/account/passkeys/"+id+"/remove", "confirm", "1").Is(t, 303)
}

// A passkey cannot be guessed, so password guesses cannot lock its owner out.
func TestPasskeyOfALockedAccount(t *testing.T) {
	t.Parallel()
	h, _, passkey := passkeyHouse(t)
	for range 10 {
		h.Clock.Advance(16 * time.Minute)
		for range 10 {
			h.NewClient("curl/8.5.0").API("POST", "/login", `{"username":"alice","password":"a wrong password"}`).Is(t, 401)
		}
	}
	h.Clock.Advance(16 * time.Minute)
	locked := h.NewClient(handlerstest.ChromeOnMac)
	locked.Form("/login", "username", "alice", "password", handlerstest.AlicePassword).Is(t, 429)
	passkeySignIn(h.NewClient(handlerstest.SafariOnIPhone), passkey).Is(t, 200)
	locked.Form("/login", "username", "alice", "password", handlerstest.AlicePassword).Is(t, 303, "/login/code")
}
