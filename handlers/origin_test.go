package handlers_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"porchlight/handlers"
)

// This file owns what pages of other sites cannot do in a signed-in browser.

func TestOtherSitesCannotAct(t *testing.T) {
	t.Parallel()
	c := openCast(t, func(o *handlers.Options) { o.Signup = true })
	unsafe := []route{
		{method: "POST", path: "/login", body: []string{"username", "alice", "password", alicePassword}},
		{method: "POST", path: "/login", json: `{"username":"alice","password":"` + alicePassword + `"}`},
		{method: "POST", path: "/logout"},
		{method: "POST", path: "/signup", body: []string{"username", "eve", "password", "basalt umbrella crayon fjord"}},
		{method: "POST", path: "/setup", body: []string{"username", "eve", "password", "basalt umbrella crayon fjord"}},
		{method: "POST", path: "/invite", body: []string{"token", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "password", "basalt umbrella crayon fjord"}},
	}
	for _, r := range signedInRoutes {
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
		{"Origin", c.url + ".evil.example"},
		{"Origin", "garbage"},
		{"Sec-Fetch-Site", "same-origin", "Origin", "https://evil.example"},
		{"Sec-Fetch-Site", "none", "Origin", "https://evil.example"},
	}
	check := c.unchanged()
	for _, r := range unsafe {
		for _, headers := range others {
			t.Run(fmt.Sprint(r, headers), func(t *testing.T) {
				got := r.send(c.alice, c.alicePhone.id, headers...)
				got.is(t, 403, "")
				got.has(t, "This page is out of date. Reload it and try again")
				if got.header.Get("Set-Cookie") != "" {
					t.Error("a cookie was set")
				}
				if isJSON := strings.HasPrefix(got.body, `{"error":`); isJSON != r.isJSON() {
					t.Errorf("%s", got.body)
				}
			})
		}
	}
	check(t)
	t.Run("htmx", func(t *testing.T) {
		got := c.alice.do("DELETE", "/sessions/"+c.alicePhone.id, "", "HX-Request", "true", "Sec-Fetch-Site", "cross-site")
		got.is(t, 403)
		got.has(t, `id="status"`, "This page is out of date. Reload it and try again.")
		got.lacks(t, "<h1")
	})
	check(t)
	t.Run("reading is safe", func(t *testing.T) {
		c.alice.page("/sessions", "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example").is(t, 200)
	})
	for _, headers := range [][]string{{"Sec-Fetch-Site", "same-origin"}, {"Sec-Fetch-Site", "none"}, {"Origin", c.url}, {}} {
		t.Run(fmt.Sprint("passes ", headers), func(t *testing.T) {
			target := c.signIn("alice", alicePassword, safariOnIPhone)
			c.alice.do("DELETE", "/me/sessions/"+target.id, "", headers...).is(t, 200)
			if slices.Contains(c.sessionsOf("alice"), target.id) {
				t.Error("the row is still there")
			}
		})
	}
}

// Host is what the client says, or a proxy that changes it: after DNS rebinding it names the attacker's domain, and Origin agrees.
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
		{"null", "auth.example", "same-origin", 200, "Logged out"}, // of a page without a referrer
		{"", "evil.example", "", 200, "Logged out"},                // not a browser
		{"http://evil.example", "evil.example", "", 403, "This does not work at this address. Porchlight's own is https://auth.example."},
		{"http://auth.example", "auth.example", "", 403, "This does not work at this address. Porchlight's own is https://auth.example."},
		{"https://evil.example", "evil.example", "", 403, "This page is out of date."},
		{"https://evil.auth.example", "10.0.0.7:3000", "", 403, "This page is out of date."},
		{"https://auth.example:8443", "auth.example:8443", "", 403, "This page is out of date."},
		{"https://auth.example/", "auth.example", "", 403, "This page is out of date."},
		{"https://AUTH.example", "auth.example", "", 403, "This page is out of date."},
		{"null", "auth.example", "", 403, "This page is out of date."},
		{"null", "null", "", 403, "This page is out of date."},
		{"https://evil.example", "auth.example", "same-origin", 403, "This page is out of date."},
		{"http://evil.example", "evil.example", "same-origin", 403,
			"This does not work at this address. Porchlight's own is https://auth.example."},
		{"https://auth.example", "auth.example", "cross-site", 403, "This page is out of date."},
		{"https://auth.example", "auth.example", "same-site", 403, "This page is out of date."},
	} {
		t.Run(fmt.Sprint(test), func(t *testing.T) {
			c := openHouse(t, func(o *handlers.Options) { o.URL = &url.URL{Scheme: "https", Host: "auth.example"} })
			headers := []string{"Host", test.host}
			for name, value := range map[string]string{"Origin": test.origin, "Sec-Fetch-Site": test.site} {
				if value != "" {
					headers = append(headers, name, value)
				}
			}
			got := c.newClient(firefoxOnLinux).do("POST", "/logout", "", headers...)
			got.is(t, test.status)
			got.has(t, test.says)
		})
	}
}

// By another address than the public one people get a page that leads to the right one, and a form that says so.
func TestSignInFormAtAnotherAddress(t *testing.T) {
	t.Parallel()
	c := openCast(t, behindProxy)
	stranger := c.newClient(firefoxOnLinux)
	check := c.unchanged()
	stranger.page("/login", "Host", "192.168.1.5:3000").has(t, "Signing in will not work at this address.",
		`<a href="http://auth.example.com/login">`)
	got := stranger.do("POST", "/login", encode([]string{"username", "alice", "password", alicePassword}), "Host", "192.168.1.5:3000",
		"Origin", "http://192.168.1.5:3000", "Accept", browserAccept, "Content-Type", "application/x-www-form-urlencoded")
	got.is(t, 403)
	got.has(t, "This does not work at this address", "http://auth.example.com")
	check(t)
}

// The export is a GET, and still no other site may cause it: a sibling app's request carries the cookie.
func TestOtherSitesCannotExport(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	for _, method := range []string{"GET", "HEAD"} {
		for _, site := range []string{"cross-site", "same-site", "strange"} {
			got := c.alice.do(method, "/me/export", "", "Sec-Fetch-Site", site, "Sec-Fetch-Mode", "navigate", "Accept", browserAccept)
			got.is(t, 403)
			if want := `{"error":"Another site asked for this download. Open your account page and download it there."}`; method == "GET" &&
				got.body != want {
				t.Errorf("%s: %s", site, got.body)
			}
			if got.header.Get("Content-Disposition") != "" {
				t.Errorf("%s %s is a download", method, site)
			}
		}
	}
	c.newClient(firefoxOnLinux).do("GET", "/me/export", "", "Sec-Fetch-Site", "cross-site").isJSON(t, 401, `{"error":"Not signed in."}`)
	if n := c.only(`SELECT COUNT(*) FROM activity WHERE kind = 'exported'`); n != "0" {
		t.Errorf("%s exports are recorded", n)
	}
	for _, headers := range [][]string{{"Sec-Fetch-Site", "same-origin"}, {"Sec-Fetch-Site", "none"}, {}} {
		c.alice.do("GET", "/me/export", "", headers...).has(t, `"username":"alice"`)
	}
}
