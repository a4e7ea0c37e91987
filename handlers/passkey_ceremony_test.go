package handlers_test

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"porchlight/handlers"
	"porchlight/handlers/handlerstest"
)

// This file tests the passkey ceremony with an authenticator in software.

const passkeyRefused = `{"error":"That passkey can't be used here. It may have been removed, or your account disabled."}`

// finishing returns the body that ends a ceremony. The fields are pairs of JSON key and value.
func finishing(credential json.RawMessage, fields ...any) string {
	body := map[string]any{"credential": credential}
	for i := 0; i < len(fields); i += 2 {
		body[fields[i].(string)] = fields[i+1]
	}
	text, _ := json.Marshal(body)
	return string(text)
}

func addPasskey(c *handlerstest.Client, p *handlerstest.Passkey) handlerstest.Answer {
	c.T.Helper()
	options := c.API("POST", "/account/passkeys/begin", "{}")
	options.Is(c.T, 200)
	return c.API("POST", "/account/passkeys", finishing(p.Create(c.T, options.Body)))
}

func passkeySignIn(c *handlerstest.Client, p *handlerstest.Passkey, fields ...any) handlerstest.Answer {
	c.T.Helper()
	options := c.API("POST", "/login/passkey/begin", "{}")
	options.Is(c.T, 200)
	return c.API("POST", "/login/passkey", finishing(p.Get(c.T, options.Body), fields...))
}

// passkeyHouse is a house in which alice has a passkey.
func passkeyHouse(t *testing.T) (*handlerstest.House, *handlerstest.Client, *handlerstest.Passkey) {
	t.Helper()
	h := handlerstest.OpenAtLocalhost(t)
	h.AddUser("alice", handlerstest.AlicePassword)
	alice := h.SignIn("alice", handlerstest.AlicePassword, handlerstest.FirefoxOnLinux)
	passkey := handlerstest.NewPasskey(t, h.URL)
	addPasskey(alice, passkey).Is(t, 200)
	return h, alice, passkey
}

func TestPasskeySignsIn(t *testing.T) {
	t.Parallel()
	h, alice, passkey := passkeyHouse(t)
	for _, test := range []struct {
		name     string
		fields   []any
		location string
		shared   bool
	}{
		{"plain", nil, "/sessions", false},
		{"next", []any{"next", "/activity?before=3#x"}, "/activity?before=3#x", false},
		{"next elsewhere", []any{"next", "//evil.example"}, "/sessions", false},
		{"shared computer", []any{"shared", true}, "/sessions", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := h.NewClient(handlerstest.SafariOnIPhone)
			got := passkeySignIn(c, passkey, test.fields...)
			got.Is(t, 200)
			got.Has(t, fmt.Sprintf(`{"location":%q}`, test.location))
			c.Page("/sessions").Is(t, 200)
			row := h.Only(`SELECT method, shared, device_id IS NULL FROM sessions WHERE token_hash = unhex(?)`, handlerstest.SHA256Hex(c.Token()))
			if want := fmt.Sprintf("passkey %[1]d %[1]d", map[bool]int{true: 1}[test.shared]); row != want {
				t.Errorf("the session is %q, want %q", row, want)
			}
			cookies := strings.Join(got.Header.Values("Set-Cookie"), "\n")
			if strings.Contains(cookies, "porchlight-device=") == test.shared {
				t.Errorf("shared is %v, and the cookies are\n%s", test.shared, cookies)
			}
		})
	}

	// The session that the browser had ends.
	before := alice.ID
	passkeySignIn(alice, passkey).Is(t, 200)
	if slices.Contains(h.SessionsOf("alice"), before) {
		t.Error("the browser has two sessions")
	}
}

func TestPasskeyThatIsNotRight(t *testing.T) {
	t.Parallel()
	h, _, passkey := passkeyHouse(t)
	h.AddUser("bob", handlerstest.BobPassword)
	bob := h.SignIn("bob", handlerstest.BobPassword, handlerstest.ChromeOnMac)
	ofBob := handlerstest.NewPasskey(t, h.URL)
	addPasskey(bob, ofBob).Is(t, 200)
	h.Exec(`DELETE FROM sessions`)
	check := h.Unchanged()
	for name, tamper := range map[string]func(*handlerstest.Passkey){
		"other origin":           func(p *handlerstest.Passkey) { p.Origin = "https://evil.example" },
		"other port":             func(p *handlerstest.Passkey) { p.Origin = "http://localhost:1" },
		"https":                  func(p *handlerstest.Passkey) { p.Origin = strings.Replace(p.Origin, "http:", "https:", 1) },
		"other site":             func(p *handlerstest.Passkey) { p.RPID = "evil.example" },
		"user not verified":      func(p *handlerstest.Passkey) { p.Flags &^= handlerstest.UserVerified },
		"user not present":       func(p *handlerstest.Passkey) { p.Flags &^= handlerstest.UserPresent },
		"can be backed up now":   func(p *handlerstest.Passkey) { p.Flags |= handlerstest.BackupEligible },
		"other user":             func(p *handlerstest.Passkey) { p.UserHandle = ofBob.UserHandle },
		"no user":                func(p *handlerstest.Passkey) { p.UserHandle = nil },
		"other key":              func(p *handlerstest.Passkey) { p.ID = ofBob.ID; p.UserHandle = ofBob.UserHandle },
		"unknown":                func(p *handlerstest.Passkey) { p.ID = []byte("unknown") },
		"a new one, not a login": func(p *handlerstest.Passkey) { p.Type = "webauthn.create" },
	} {
		t.Run(name, func(t *testing.T) {
			tampered := *passkey
			tamper(&tampered)
			got := passkeySignIn(h.NewClient(handlerstest.FirefoxOnLinux), &tampered)
			got.Is(t, 401)
			if got.Body != passkeyRefused {
				t.Errorf("the body is %s", got.Body)
			}
			check(t)
		})
	}
	h.Exec(`UPDATE users SET disabled = 1 WHERE username = 'alice'`)
	if got := passkeySignIn(h.NewClient(handlerstest.FirefoxOnLinux), passkey); got.Status != 401 || got.Body != passkeyRefused {
		t.Errorf("disabled: %d %s", got.Status, got.Body)
	}
	h.Exec(`UPDATE users SET disabled = 0 WHERE username = 'alice'`)
	passkeySignIn(h.NewClient(handlerstest.FirefoxOnLinux), passkey).Is(t, 200) // none of this has spoiled it
}

func TestPasskeyCounterThatGoesBack(t *testing.T) {
	t.Parallel()
	h, _, passkey := passkeyHouse(t)
	browser := h.NewClient(handlerstest.FirefoxOnLinux)
	passkey.Count = 10
	passkeySignIn(browser, passkey).Is(t, 200)
	clone := *passkey
	for _, count := range []uint32{3, 10} { // Get adds 1
		clone.Count = count
		got := passkeySignIn(h.NewClient(handlerstest.ChromeOnMac), &clone)
		got.Is(t, 401)
		if got.Body != passkeyRefused {
			t.Errorf("the body is %s", got.Body)
		}
	}
	h.SameRows(t, []string{"passkey_refused 2"}, `SELECT kind, count FROM activity WHERE kind LIKE 'passkey_refused'`)
	browser.Page("/activity").Has(t, "passkey")
	passkeySignIn(browser, passkey).Is(t, 200)
}

// Passkeys that are synced between devices have no counter: it is always 0.
func TestPasskeyWithoutACounter(t *testing.T) {
	t.Parallel()
	h, _, passkey := passkeyHouse(t)
	signIn := func() handlerstest.Answer {
		t.Helper()
		passkey.Count = math.MaxUint32 // Get adds 1
		return passkeySignIn(h.NewClient(handlerstest.FirefoxOnLinux), passkey)
	}
	signIn().Is(t, 200)
	signIn().Is(t, 200)
	passkeySignIn(h.NewClient(handlerstest.FirefoxOnLinux), passkey).Is(t, 200) // with the counter 1
	signIn().Is(t, 401)
}

// ceremonyCookie returns the cookie that a response sets, as a browser sends it.
func ceremonyCookie(t *testing.T, answer handlerstest.Answer) string {
	t.Helper()
	for _, cookie := range (&http.Response{Header: answer.Header}).Cookies() {
		if cookie.Name == "porchlight-passkey" {
			if !cookie.HttpOnly || cookie.SameSite != http.SameSiteStrictMode || cookie.MaxAge != 300 || cookie.Path != "/" || cookie.Domain != "" {
				t.Errorf("the cookie is %s", cookie)
			}
			return cookie.Name + "=" + cookie.Value
		}
	}
	t.Fatal("no cookie")
	return ""
}

func TestChallengeWorksOnce(t *testing.T) {
	t.Parallel()
	h, alice, passkey := passkeyHouse(t)
	const tooLate = `{"error":"This took too long, or another tab was first. Try again."}`
	begin := func(path string) (options, cookie string) {
		t.Helper()
		answer := alice.API("POST", path, "{}")
		return answer.Body, ceremonyCookie(t, answer)
	}
	finish := func(cookie, body string) handlerstest.Answer {
		t.Helper()
		return h.NewClient(handlerstest.FirefoxOnLinux).Do("POST", "/login/passkey", body, "Content-Type", "application/json", "Cookie", cookie)
	}
	refused := func(what string, got handlerstest.Answer, status int, body string) {
		t.Helper()
		if got.Status != status || got.Body != body {
			t.Errorf("%s: %d %s", what, got.Status, got.Body)
		}
	}

	options, cookie := begin("/login/passkey/begin")
	body := finishing(passkey.Get(t, options))
	h.Clock.Advance(5*time.Minute - time.Millisecond)
	finish(cookie, body).Is(t, 200)
	refused("again", finish(cookie, body), 422, tooLate)
	refused("again, with a new counter", finish(cookie, finishing(passkey.Get(t, options))), 422, tooLate)

	options, cookie = begin("/login/passkey/begin")
	_, other := begin("/login/passkey/begin")
	body = finishing(passkey.Get(t, options))
	refused("no cookie", finish("", body), 422, tooLate)
	refused("garbage", finish("porchlight-passkey=garbage", body), 422, tooLate)
	refused("changed", finish(cookie[:len(cookie)-4]+"AAAA", body), 422, tooLate)
	refused("the challenge of another tab or browser", finish(other, body), 422, tooLate)
	h.Clock.Advance(5 * time.Minute)
	refused("after five minutes", finish(cookie, body), 422, tooLate)
	options, cookie = begin("/login/passkey/begin")
	h.Clock.Advance(-time.Hour)
	refused("after the clock was set back", finish(cookie, finishing(passkey.Get(t, options))), 422, tooLate)
	h.Clock.Advance(time.Hour)

	// A challenge serves one purpose.
	passkeySignIn(alice, passkey).Is(t, 200)
	options, cookie = begin("/account/passkeys/begin")
	refused("a challenge to add", finish(cookie, finishing(passkey.Get(t, options))), 422, tooLate)
	options = alice.API("POST", "/login/passkey/begin", "{}").Body
	fresh := handlerstest.NewPasskey(t, h.URL)
	refused("a challenge to sign in", alice.API("POST", "/account/passkeys", finishing(fresh.Create(t, options))), 422, tooLate)
}

func TestWrongPasskeysAreThrottled(t *testing.T) {
	t.Parallel()
	h, _, passkey := passkeyHouse(t)
	wrong := *passkey
	wrong.RPID = "evil.example"
	browser := h.NewClient(handlerstest.FirefoxOnLinux)
	for range 29 {
		passkeySignIn(browser, &wrong).Is(t, 401)
	}
	for range 5 { // what succeeds counts for nothing
		passkeySignIn(browser, passkey).Is(t, 200)
	}
	passkeySignIn(browser, &wrong).Is(t, 401)
	got := passkeySignIn(browser, passkey)
	got.Is(t, 429)
	got.Has(t, `{"error":"Too many attempts. Try again in 15 minutes."}`)
}

func TestWhereBrowsersRefusePasskeys(t *testing.T) {
	t.Parallel()
	for address, offered := range map[string]bool{
		"http://localhost:3000": true, "http://porch.localhost": true, "https://auth.example.com": true, "https://auth.example.com:8443": true,
		"http://auth.example.com": false, "http://127.0.0.1:3000": false, "https://192.0.2.1": false, "https://[2001:db8::1]": false,
	} {
		t.Run(address, func(t *testing.T) {
			h := handlerstest.OpenHouse(t, func(o *handlers.Options) { o.URL, _ = url.Parse(address) })
			h.AddUser("alice", handlerstest.AlicePassword)
			if !offered {
				h.NewClient("").API("POST", "/login/passkey/begin", "{}").Is(t, 404)
				h.NewClient("").API("POST", "/login/passkey", "{}").Is(t, 404)
				h.NewClient("").Page("/login").Lacks(t, "passkey")
				checkWithoutPasskeys(t, h)
				return
			}
			options := h.NewClient("").API("POST", "/login/passkey/begin", "{}")
			options.Is(t, 200)
			at, _ := url.Parse(address)
			options.Has(t, fmt.Sprintf(`"rpId":%q`, at.Hostname()), `"userVerification":"required"`)
			if cookie := options.Header.Get("Set-Cookie"); strings.HasPrefix(cookie, "__Host-porchlight-passkey=") != (at.Scheme == "https") {
				t.Errorf("the cookie is %s", cookie)
			}
			h.NewClient("").Page("/login").Has(t, "Sign in with a passkey", "needs JavaScript")
		})
	}
}

// checkWithoutPasskeys checks the pages of alice, who has a passkey from when the public address was another one.
func checkWithoutPasskeys(t *testing.T, h *handlerstest.House) {
	t.Helper()
	signIn := func(path string) *handlerstest.Client {
		t.Helper()
		c := h.NewClient(handlerstest.FirefoxOnLinux)
		c.HTTP.Jar = insecureJar{c.HTTP.Jar}
		c.Form("/login", "username", "alice", "password", handlerstest.AlicePassword).Is(t, 303, path)
		return c
	}
	alice := signIn("/sessions")
	alice.Page("/account/security").Has(t, "Passkeys need an https address with a host name")
	h.Exec(`
		INSERT INTO passkeys (id, user_id, user_handle, credential_id, credential, sign_count, name, created_at, last_used_at)
		SELECT 'x', id, x'00', x'00', x'7b7d', 0, 'Old key', 0, 0 FROM users`)
	page := alice.Page("/account/security")
	page.Has(t, "Old key", "Remove")
	page.Lacks(t, "Add a passkey")
	h.Clock.Advance(15 * time.Minute)
	confirm := alice.Page("/confirm")
	confirm.Is(t, 200)
	confirm.Lacks(t, "passkeys.js")
	code := signIn("/login/code").Page("/login/code")
	code.Has(t, "Enter one of your recovery codes.")
	code.Lacks(t, "passkeys.js", "Use your passkey")
}

// insecureJar sends Secure cookies over plain http, too.
type insecureJar struct{ http.CookieJar }

func (j insecureJar) Cookies(at *url.URL) []*http.Cookie {
	secure := *at
	secure.Scheme = "https"
	return j.CookieJar.Cookies(&secure)
}
