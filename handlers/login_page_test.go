package handlers_test

import (
	"net/url"
	"testing"

	"porchlight/handlers"
	"porchlight/handlers/handlerstest"
)

// This file tests the sign-in page, and that no link can make it redirect to another site.

const signedOutHere = "You&#39;ve been signed out on this device."

func TestSignInPage(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	stranger := c.NewClient(handlerstest.FirefoxOnLinux)
	got := stranger.Page("/login?next=%2Faccount")
	got.Is(t, 200)
	got.Has(t, "<title>Sign in – Porchlight</title>", `autocomplete="username webauthn"`, `autocomplete="current-password"`,
		"This is a shared or public computer", "Forgot your password? Ask whoever runs this server.", `name="next" value="/account"`)
	got.Lacks(t, signedOutHere, "will not work", "/signup", "no account yet")
	if touched(got) {
		t.Error("a cookie was set or deleted")
	}

	t.Run("signed in already", func(t *testing.T) {
		c.Alice.Page("/login").Is(t, 303, "/sessions")
		c.Alice.Page("/login?next=%2Faccount").Is(t, 303, "/account")
		c.Alice.Page("/login?next=%2F%2Fevil.example").Is(t, 303, "/sessions")
	})
	t.Run("signed out elsewhere", func(t *testing.T) {
		c.Alice.API("DELETE", "/me/sessions/"+c.AlicePhone.ID, "").Is(t, 200)
		for _, got := range []handlerstest.Answer{
			c.AlicePhone.Page("/sessions"), c.AlicePhone.HTMX("GET", "/sessions/list"), c.AlicePhone.API("GET", "/me/sessions", ""),
			c.AlicePhone.Page("/logout"),
			c.AlicePhone.Form("/login", "username", "alice", "password", "x"), c.AlicePhone.Page("/public/app.css"),
			c.AlicePhone.Page("/signup"), c.AlicePhone.Page("/nowhere"),
		} {
			if touched(got) {
				t.Errorf("%d: the cookie was set or deleted, so the sign-in page cannot say what happened", got.Status)
			}
		}
		got := c.AlicePhone.Page("/login?next=%2Fsessions")
		got.Is(t, 200)
		got.Has(t, signedOutHere, "<title>"+signedOutHere+" – Sign in – Porchlight</title>")
		if !cleared(got, "porchlight") {
			t.Errorf("Set-Cookie %q", got.Header.Get("Set-Cookie"))
		}
		got = c.AlicePhone.Page("/login?next=%2Fsessions")
		got.Lacks(t, signedOutHere)
	})
	t.Run("garbage", func(t *testing.T) {
		got := stranger.Page("/login", "Cookie", "porchlight=garbage")
		got.Is(t, 200)
		got.Has(t, signedOutHere)
		if !cleared(got, "porchlight") {
			t.Errorf("Set-Cookie %q", got.Header.Get("Set-Cookie"))
		}
	})
	t.Run("another cookie", func(t *testing.T) {
		got := stranger.Page("/login", "Cookie", "sessionid=garbage")
		got.Lacks(t, signedOutHere)
		if touched(got) {
			t.Error("a cookie was set or deleted")
		}
	})
}

// At another host or scheme, the browser would not store the cookie. The link to the right address is never built from the request.
func TestSignInPageAtTheWrongAddress(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenHouse(t, func(o *handlers.Options) { o.URL = &url.URL{Scheme: "https", Host: "auth.example"} })
	browser := c.NewClient(handlerstest.FirefoxOnLinux)
	for name, headers := range map[string][]string{
		"another host": {"Host", "evil.example"}, "http": {"Host", "auth.example"},
		"headers of no trusted proxy": {"Host", "auth.example", "X-Forwarded-Proto", "https", "X-Forwarded-Host", "auth.example"},
		"a planted host":              {"Host", "evil.example", "X-Forwarded-Host", "evil.example", "Forwarded", "host=evil.example"},
	} {
		t.Run(name, func(t *testing.T) {
			got := browser.Page("/login?next=%2Faccount", headers...)
			got.Is(t, 200)
			got.Has(t, "Signing in will not work at this address", `href="https://auth.example/login?next=%2Faccount"`)
			got.Lacks(t, "evil.example")
			got = browser.Page("/sessions", headers...)
			got.Is(t, 303, "/login?next=%2Fsessions")
		})
	}
	t.Run("the right address", func(t *testing.T) {
		c := handlerstest.OpenHouse(t, func(o *handlers.Options) {
			o.URL = &url.URL{Scheme: "https", Host: "auth.example"}
			o.TrustedProxies = localProxies
		})
		browser := c.NewClient(handlerstest.FirefoxOnLinux)
		browser.Page("/login", "Host", "Auth.example", "X-Forwarded-Proto", "https").Lacks(t, "will not work")
		browser.Page("/login", "Host", "10.0.0.7:3000", "X-Forwarded-Proto", "https",
			"X-Forwarded-Host", "auth.example").Lacks(t, "will not work")
		browser.Page("/login", "Host", "auth.example", "X-Forwarded-Proto", "http").Has(t, "will not work")
		browser.Page("/login", "Host", "auth.example").Has(t, "will not work")
	})
}

// No link can make sign-in redirect to another site.
func TestOpenRedirects(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	for _, next := range []string{
		"//evil.example", "///evil.example", "/\\evil.example", "\\\\evil.example", "\\/evil.example", "https://evil.example",
		"http:evil.example", "https:///evil.example",
		"//user@evil.example", "/%2fevil.example", "/%2Fevil.example", "/%5cevil.example", "/%255cevil.example", "/%252fevil.example",
		"%2f%2fevil.example", "/\tevil.example",
		"/\n/evil.example", "\t//evil.example", " //evil.example", "/ /evil.example", "/%09/evil.example",
		"/%0d%0aLocation:%20//evil.example", "/%00//evil.example",
		"javascript:alert(1)", "data:text/html,x", "evil.example", "@evil.example", ".evil.example", "", "/\x7f/evil.example",
		"/\xff/evil.example", "/" + big("a", 5000),
	} {
		got := c.NewClient(handlerstest.FirefoxOnLinux).Form("/login", "username", "alice", "password", handlerstest.AlicePassword, "next", next)
		if to := got.Header.Get("Location"); got.Status != 303 || to != "/sessions" {
			t.Errorf("%.40q leads to %.60q", next, to)
		}
		got = c.Alice.Page("/login?next=" + url.QueryEscape(next))
		if to := got.Header.Get("Location"); got.Status != 303 || to != "/sessions" {
			t.Errorf("%.40q leads to %.60q when signed in", next, to)
		}
		c.NewClient(handlerstest.FirefoxOnLinux).Page("/login?next="+url.QueryEscape(next)).Lacks(t, `name="next"`)
	}
}
