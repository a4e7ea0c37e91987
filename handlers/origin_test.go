package handlers_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"porchlight/handlers"
	"porchlight/handlers/handlerstest"
)

// This file tests what pages of other sites cannot do in a signed-in browser.

func TestOtherSitesCannotAct(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, func(o *handlers.Options) { o.Signup = true })
	unsafe := []route{
		{method: "POST", path: "/login", body: []string{"username", "alice", "password", handlerstest.AlicePassword}},
		{method: "POST", path: "/login", json: `{"username":"alice","password":"` + handlerstest.AlicePassword + `"}`},
		{method: "POST", path: "/login/passkey/begin", json: "{}"},
		{method: "POST", path: "/login/passkey", json: "{}"},
		{method: "POST", path: "/logout"},
		{method: "POST", path: "/signup", body: []string{"username", "eve", "password", "basalt umbrella crayon fjord"}},
		{method: "POST", path: "/setup", body: []string{"username", "eve", "password", "basalt umbrella crayon fjord"}},
		{method: "POST", path: "/invite", body: []string{"token", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "password", "basalt umbrella crayon fjord"}},
		{method: "POST", path: "/forgot", body: []string{"name", "alice"}},
		{method: "POST", path: "/not-me", body: []string{"token", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}},
		{method: "POST", path: "/account/email/confirm", body: []string{"token", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}},
		{method: "POST", path: "/reset", body: []string{"token", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "password", "basalt umbrella crayon fjord"}},
	}
	for _, r := range slices.Concat(signedInRoutes, adminRoutesFor("2")) {
		if r.method != "GET" {
			unsafe = append(unsafe, r)
		}
	}
	others := [][]string{
		{"Sec-Fetch-Site", "cross-site"},
		{"Sec-Fetch-Site", "same-site"},
		{"Sec-Fetch-Site", "strange"},
		{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"},
		{"Sec-Fetch-Site", "cross-site", "Origin", "null"},
		{"Origin", "https://evil.example"},
		{"Origin", "null"},
		{"Origin", "http://127.0.0.1"}, // another port
		{"Origin", c.URL + ".evil.example"},
		{"Origin", "garbage"},
		{"Sec-Fetch-Site", "same-origin", "Origin", "https://evil.example"},
		{"Sec-Fetch-Site", "none", "Origin", "https://evil.example"},
	}
	check := c.Unchanged()
	for _, r := range unsafe {
		for _, headers := range others {
			t.Run(fmt.Sprint(r, headers), func(t *testing.T) {
				got := r.send(c.Alice, c.AlicePhone.ID, headers...)
				got.Is(t, 403, "")
				got.Has(t, "This page is out of date. Reload it and try again")
				if got.Header.Get("Set-Cookie") != "" {
					t.Error("a cookie was set")
				}
				if isJSON := strings.HasPrefix(got.Body, `{"error":`); isJSON != r.isJSON() {
					t.Errorf("JSON or not: %s", got.Body)
				}
			})
		}
	}
	check(t)
	t.Run("htmx", func(t *testing.T) {
		got := c.Alice.Do("DELETE", "/sessions/"+c.AlicePhone.ID, "", "HX-Request", "true", "Sec-Fetch-Site", "cross-site")
		got.Is(t, 403)
		got.Has(t, `id="status"`, "This page is out of date. Reload it and try again.")
		got.Lacks(t, "<h1")
	})
	check(t)
	t.Run("reading is safe", func(t *testing.T) {
		c.Alice.Page("/sessions", "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example").Is(t, 200)
	})
	for _, headers := range [][]string{{"Sec-Fetch-Site", "same-origin"}, {"Sec-Fetch-Site", "none"}, {"Origin", c.URL}, {}} {
		t.Run(fmt.Sprint("passes ", headers), func(t *testing.T) {
			target := c.SignIn("alice", handlerstest.AlicePassword, handlerstest.SafariOnIPhone)
			c.Alice.Do("DELETE", "/me/sessions/"+target.ID, "", headers...).Is(t, 200)
			if slices.Contains(c.SessionsOf("alice"), target.ID) {
				t.Error("the row is still there")
			}
		})
	}
}

// The client or a proxy chooses the Host header. After DNS rebinding it contains the attacker's domain, and so does Origin.
func TestOriginIsComparedWithTheURL(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		origin, host string
		site         string // Sec-Fetch-Site
		status       int
		says         string
	}{
		{"https://auth.example", "10.0.0.7:3000", "", 200, "Logged out"},
		{"https://auth.example", "auth.example", "", 200, "Logged out"},
		{"https://auth.example", "evil.example", "same-origin", 200, "Logged out"},
		{"null", "auth.example", "same-origin", 200, "Logged out"}, // from a page without a referrer
		{"", "evil.example", "", 200, "Logged out"},                // not a browser
		{"http://evil.example", "evil.example", "", 403, "This does not work at this address. Go to https://auth.example instead."},
		{"http://auth.example", "auth.example", "", 403, "This does not work at this address. Go to https://auth.example instead."},
		{"https://evil.example", "evil.example", "", 403, "This page is out of date."},
		{"https://evil.auth.example", "10.0.0.7:3000", "", 403, "This page is out of date."},
		{"https://auth.example:8443", "auth.example:8443", "", 403, "This page is out of date."},
		{"https://auth.example/", "auth.example", "", 403, "This page is out of date."},
		{"https://AUTH.example", "auth.example", "", 403, "This page is out of date."},
		{"null", "auth.example", "", 403, "This page is out of date."},
		{"null", "null", "", 403, "This page is out of date."},
		{"https://evil.example", "auth.example", "same-origin", 403, "This page is out of date."},
		{"http://evil.example", "evil.example", "same-origin", 403,
			"This does not work at this address. Go to https://auth.example instead."},
		{"https://auth.example", "auth.example", "cross-site", 403, "This page is out of date."},
		{"https://auth.example", "auth.example", "same-site", 403, "This page is out of date."},
	} {
		t.Run(fmt.Sprint(test), func(t *testing.T) {
			c := handlerstest.OpenHouse(t, func(o *handlers.Options) { o.URL = &url.URL{Scheme: "https", Host: "auth.example"} })
			headers := []string{"Host", test.host}
			for name, value := range map[string]string{"Origin": test.origin, "Sec-Fetch-Site": test.site} {
				if value != "" {
					headers = append(headers, name, value)
				}
			}
			got := c.NewClient(handlerstest.FirefoxOnLinux).Do("POST", "/logout", "", headers...)
			got.Is(t, test.status)
			got.Has(t, test.says)
		})
	}
}

// At an address other than the public one, the sign-in page links to the right one, and so does the answer to its form.
func TestSignInFormAtAnotherAddress(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	stranger := c.NewClient(handlerstest.FirefoxOnLinux)
	check := c.Unchanged()
	stranger.Page("/login", "Host", "192.168.1.5:3000").Has(t, "Signing in will not work at this address.",
		`<a href="http://auth.example.com/login">`)
	got := stranger.Do("POST", "/login", handlerstest.Encode([]string{"username", "alice", "password", handlerstest.AlicePassword}),
		"Host", "192.168.1.5:3000", "Origin", "http://192.168.1.5:3000", "Accept", handlerstest.BrowserAccept,
		"Content-Type", "application/x-www-form-urlencoded")
	got.Is(t, 403)
	got.Has(t, "This does not work at this address", "http://auth.example.com")
	check(t)
}

// The export is a GET, but other sites may not request it, because requests from a sibling app contain the cookie.
func TestOtherSitesCannotExport(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	for _, method := range []string{"GET", "HEAD"} {
		for _, site := range []string{"cross-site", "same-site", "strange"} {
			got := c.Alice.Do(method, "/me/export", "", "Sec-Fetch-Site", site, "Sec-Fetch-Mode", "navigate", "Accept", handlerstest.BrowserAccept)
			got.Is(t, 403)
			if want := `{"error":"Another site asked for this download. Open your account page and download it there."}`; method == "GET" &&
				got.Body != want {
				t.Errorf("%s: %s", site, got.Body)
			}
			if got.Header.Get("Content-Disposition") != "" {
				t.Errorf("%s %s is a download", method, site)
			}
		}
	}
	isJSON(t, c.NewClient(handlerstest.FirefoxOnLinux).Do("GET", "/me/export", "", "Sec-Fetch-Site", "cross-site"), 401,
		`{"error":"Not signed in."}`)
	if n := c.Only(`SELECT COUNT(*) FROM activity WHERE kind = 'exported'`); n != "0" {
		t.Errorf("%s exports are recorded", n)
	}
	for _, headers := range [][]string{{"Sec-Fetch-Site", "same-origin"}, {"Sec-Fetch-Site", "none"}, {}} {
		c.Alice.Do("GET", "/me/export", "", headers...).Has(t, `"username":"alice"`)
	}
}
