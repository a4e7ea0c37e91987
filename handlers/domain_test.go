package handlers_test

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"porchlight/handlers"
	"porchlight/handlers/handlerstest"
)

// This file tests what a cookie domain changes: the session cookie and the policy of the sign-in page.

// setting is a public address and a cookie domain, with the cookie that a sign-in sets.
type setting struct {
	url, domain string
	name        string // of the cookie
	attributes  string // of the cookie, except its Max-Age
}

var settings = []setting{
	{"http://auth.example.com", "", "porchlight", "path=/; HttpOnly; SameSite=Lax"},
	{"http://auth.example.com", "example.com", "porchlight", "domain=example.com; path=/; HttpOnly; SameSite=Lax"},
	{"https://auth.example.com", "", "__Host-porchlight", "path=/; HttpOnly; secure; SameSite=Lax"},
	{"https://auth.example.com", "example.com", "__Secure-porchlight", "domain=example.com; path=/; HttpOnly; secure; SameSite=Lax"},
}

func (s setting) apply(o *handlers.Options) {
	o.URL, _ = url.Parse(s.url)
	o.CookieDomain = s.domain
}

func (s setting) String() string { return s.url + " with " + s.domain }

// signInTo signs in from a new browser, and returns the response and the token.
func signInTo(h *handlerstest.House, next string, values ...string) (got handlerstest.Answer, token string) {
	h.T.Helper()
	got = h.NewClient(handlerstest.FirefoxOnLinux).Form("/login",
		append([]string{"username", "alice", "password", handlerstest.AlicePassword, "next", next}, values...)...)
	if got.Status != 303 {
		h.T.Fatalf("sign in: %d %s", got.Status, got.Body)
	}
	return got, handed(h.T, got).Value
}

func TestCookieForEverySetting(t *testing.T) {
	t.Parallel()
	for _, s := range settings {
		t.Run(s.String(), func(t *testing.T) {
			h := handlerstest.OpenHouse(t, s.apply)
			h.AddUser("alice", handlerstest.AlicePassword)
			new := regexp.MustCompile(`^` + s.name + `=[A-Z2-7]{26}; max-age=2592000; ` + s.attributes + `$`)
			shared := regexp.MustCompile(`^` + s.name + `=[A-Z2-7]{26}; ` + s.attributes + `$`)
			gone := regexp.MustCompile(`^` + s.name + `=; max-age=0; ` + s.attributes + `$`)
			is := func(what string, got handlerstest.Answer, want *regexp.Regexp) {
				t.Helper()
				cookies := got.Header.Values("Set-Cookie")
				if want == new && len(cookies) == 2 && newDeviceCookie.MatchString(cookies[1]) {
					cookies = cookies[:1]
				}
				if want == gone && s.domain != "" && len(cookies) == 2 && cookies[1] == "porchlight=; max-age=0; path=/; HttpOnly; SameSite=Lax" &&
					s.name == "porchlight" {
					cookies = cookies[:1] // with plain http, a cookie from before the domain was set has the same name
				}
				if len(cookies) != 1 || !want.MatchString(cookies[0]) {
					t.Errorf("%s: %d, Set-Cookie %q, want %s", what, got.Status, cookies, want)
				}
			}
			got, token := signInTo(h, "/account")
			is("sign in", got, new)
			got, _ = signInTo(h, "", "shared", "1")
			is("sign in on a shared computer", got, shared)
			browser := h.NewClient(handlerstest.FirefoxOnLinux)
			cookie := s.name + "=" + token
			browser.Do("GET", "/me/sessions/current", "", "Cookie", cookie).Is(t, 200)
			for _, other := range settings {
				if other.name != s.name {
					browser.Do("GET", "/me/sessions/current", "", "Cookie", other.name+"="+token).Is(t, 401)
				}
			}
			got = browser.Do("POST", "/account/password",
				handlerstest.Encode([]string{"current_password", handlerstest.AlicePassword, "new_password", "basalt umbrella crayon fjord"}),
				"Cookie", cookie, "Content-Type", "application/x-www-form-urlencoded")
			got.Is(t, 303)
			is("password changed", got, new)
			cookie = s.name + "=" + handed(t, got).Value
			got = browser.Do("POST", "/logout", "", "Cookie", cookie)
			got.Is(t, 200)
			is("sign out", got, gone)
			is("sign out without a session", browser.Form("/logout"), gone)
			is("sign-in page after the end", browser.Page("/login", "Cookie", cookie), gone)
			got = browser.Do("POST", "/login", `{"username":"alice","password":"basalt umbrella crayon fjord"}`, "Content-Type", "application/json")
			is("sign in by script", got, new)
			cookie = s.name + "=" + handed(t, got).Value
			is("end by script", browser.Do("DELETE", "/me/sessions/current", "", "Cookie", cookie), gone)
		})
	}
}

// formAction returns the form-action of a response's policy. The rest of the policy must be the usual one.
func formAction(t *testing.T, got handlerstest.Answer) string {
	t.Helper()
	policy := got.Header.Values("Content-Security-Policy")
	if len(policy) != 1 {
		t.Fatalf("%d: policies %q", got.Status, policy)
	}
	action := ""
	rest := regexp.MustCompile(`form-action ([^;]*);`).ReplaceAllStringFunc(policy[0], func(found string) string {
		action = strings.TrimSuffix(strings.TrimPrefix(found, "form-action "), ";")
		return "form-action 'self';"
	})
	usual := handlerstest.Answer{Status: got.Status, Header: got.Header.Clone(), Body: got.Body}
	usual.Header.Set("Content-Security-Policy", rest)
	checkSecurityHeaders(t, usual)
	return action
}

// Chromium applies form-action to the redirect after a form, so the sign-in page allows the apps; no other page does.
func TestPolicyOfTheSignInPage(t *testing.T) {
	t.Parallel()
	for _, s := range settings {
		t.Run(s.String(), func(t *testing.T) {
			h := handlerstest.OpenHouse(t, s.apply, func(o *handlers.Options) { o.Signup = true; o.TrustedProxies = localProxies })
			h.AddUser("alice", handlerstest.AlicePassword)
			stranger := h.NewClient(handlerstest.FirefoxOnLinux)
			_, token := signInTo(h, "/")
			cookie := []string{"Cookie", s.name + "=" + token}
			want := "'self'"
			if s.domain != "" {
				scheme, _, _ := strings.Cut(s.url, ":")
				want += " " + scheme + "://example.com:* " + scheme + "://*.example.com:*"
			}
			for what, got := range map[string]handlerstest.Answer{
				"the page":      stranger.Page("/login"),
				"with next":     stranger.Page("/login?next=" + s.url + "/x"),
				"with garbage":  stranger.Page("/login", "Cookie", s.name+"=garbage"),
				"after a wrong": stranger.Form("/login", "username", "", "password", ""),
			} {
				if action := formAction(t, got); action != want {
					t.Errorf("%s: form-action %s, want %s", what, action, want)
				}
				got.Has(t, `action="/login"`)
			}
			for what, got := range map[string]handlerstest.Answer{
				"devices":      stranger.Page("/sessions", cookie...),
				"account":      stranger.Page("/account", cookie...),
				"proxy":        stranger.Page("/admin/proxy", cookie...),
				"sign-out":     stranger.Page("/logout"),
				"sign-up":      stranger.Page("/signup"),
				"invitation":   stranger.Page("/invite?token=x"),
				"nowhere":      stranger.Page("/nowhere", cookie...),
				"JSON":         stranger.Do("GET", "/me/sessions", "", cookie...),
				"signed in":    stranger.Page("/login", cookie...),
				"cross-origin": stranger.Do("POST", "/login", "", "Sec-Fetch-Site", "cross-site"),
			} {
				if action := formAction(t, got); action != "'self'" {
					t.Errorf("%s: %d, form-action %s", what, got.Status, action)
				}
			}
		})
	}
}

// If an app sends a signed-in person to sign in, it did not get the cookie, which may be from before the cookie domain was set.
// The cookie is set again, for the rest of its lifetime.
func TestSignInPageSetsTheCookieAgain(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	token := c.Alice.Token()
	c.Clock.Advance(24*time.Hour - 2*time.Minute)
	check := c.Unchanged()
	got := c.Alice.Page("/login?next=" + url.QueryEscape("http://notes.example.com/x?y=1"))
	got.Is(t, 303, "http://notes.example.com/x?y=1")
	rest := "; max-age=2505600; domain=example.com; path=/; HttpOnly; SameSite=Lax"
	if set := got.Header.Get("Set-Cookie"); set != "porchlight="+token+rest {
		t.Errorf("Set-Cookie %q", set)
	}
	got = c.NewClient(handlerstest.FirefoxOnLinux).Page("/login?next=http://notes.example.com/", "Cookie", withCookie("garbage", token))
	if handed(t, got).Value != token {
		t.Errorf("not the live token: %q", got.Header.Get("Set-Cookie"))
	}
	// If several cookies could be tokens, an app may have planted one. It must not become the cookie of all apps.
	got = c.NewClient(handlerstest.FirefoxOnLinux).Page("/login?next=http://notes.example.com/",
		"Cookie", withCookie(c.AlicePhone.Token(), token))
	got.Is(t, 303, "http://notes.example.com/")
	if touched(got) {
		t.Errorf("Set-Cookie %q", got.Header.Get("Set-Cookie"))
	}
	for _, next := range []string{"", "/account", "/sessions", "http://evil.test/", "//notes.example.com/", "/x?http://notes.example.com/"} {
		got := c.Alice.Page("/login?next=" + url.QueryEscape(next))
		got.Is(t, 303)
		if touched(got) {
			t.Errorf("%q: Set-Cookie %q", next, got.Header.Get("Set-Cookie"))
		}
	}
	check(t)
	// With https, a cookie from before the domain was set has another name, so nothing needs to be set again.
	https := handlerstest.OpenHouse(t, behindProxy, func(o *handlers.Options) { o.URL = &url.URL{Scheme: "https", Host: "auth.example.com"} })
	https.AddUser("alice", handlerstest.AlicePassword)
	_, signedIn := signInTo(https, "")
	got = https.NewClient(handlerstest.FirefoxOnLinux).Page("/login?next=https://notes.example.com/",
		"Cookie", "__Secure-porchlight="+signedIn)
	got.Is(t, 303, "https://notes.example.com/")
	if touched(got) {
		t.Errorf("Set-Cookie %q", got.Header.Get("Set-Cookie"))
	}
	// On a shared computer, the cookie that is set again also ends with the browser.
	shared := c.NewClient(handlerstest.FirefoxOnLinux)
	shared.Form("/login", "username", "alice", "password", handlerstest.AlicePassword, "shared", "1").Is(t, 303)
	got = shared.Page("/login?next=http://notes.example.com/")
	if set := got.Header.Get("Set-Cookie"); set != "porchlight="+shared.Token()+"; domain=example.com; path=/; HttpOnly; SameSite=Lax" {
		t.Errorf("Set-Cookie %q", set)
	}
}

// A cookie from before the cookie domain was set is cleared, too. Otherwise the sign-in page would repeat that the session has ended.
func TestCookieFromBeforeTheDomain(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	browser := c.NewClient(handlerstest.FirefoxOnLinux)
	at, err := url.Parse(c.URL)
	if err != nil {
		t.Fatal(err)
	}
	browser.HTTP.Jar.SetCookies(at, []*http.Cookie{{Name: "porchlight", Value: "ABCDEFGHIJKLMNOPQRSTUVWXYZ", Path: "/"}})
	browser.Page("/login").Has(t, "You&#39;ve been signed out on this device.")
	browser.Page("/login").Lacks(t, "You&#39;ve been signed out on this device.")
}
