package handlers_test

import (
	"fmt"
	"html"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"porchlight/handlers"
	"porchlight/handlers/handlerstest"
)

// This file tests where sign-in may redirect to, with and without a cookie domain.

// goodAddresses are addresses of apps under example.com. They are returned unchanged.
var goodAddresses = []string{
	"http://notes.example.com", "http://notes.example.com/", "http://example.com/", "http://auth.example.com/sessions",
	"http://a.b.c.example.com/x", "http://notes.example.com:8443/", "http://Notes.Example.com./x", "http://notes.example.com?x=1",
	"http://notes.example.com#top",
	"http://notes.example.com/a%2fb/%2F/..//../c//d/./e", "http://notes.example.com//evil.test/",
	"http://notes.example.com/\u00e9/caf%C3%A9", "http://notes.example.com/%zz/%",
	"http://notes.example.com/?q=a+b%20c&d=%26&next=//evil.test&u=http://evil.test/",
	"http://notes.example.com/@evil.test", "http://notes.example.com/x:y@evil.test", "http://notes.example.com/?\"<>'`{}|^[]",
	"http://notes.example.com/%0d%0aSet-Cookie:%20a=b", "http://notes.example.com/%00%5c%5C", "http://notes.example.com/a;b=c,d",
	"http://notes.example.com/x?a=1&a=2#/route?b=%2f",
	"http://notes.example.com/" + strings.Repeat("a", 4096-len("http://notes.example.com/")),
}

// badAddresses lead elsewhere, at least in some browsers, or are malformed. They are ignored.
var badAddresses = []string{
	"http://evil.test", "http://evil.test/", "//evil.test", "//notes.example.com/", "///notes.example.com", "/\\evil.test",
	"\\\\evil.test", "http:evil.test", "http:/evil.test", "http:///evil.test", "http:////evil.test", "http:\\\\evil.test",
	"http:/\\evil.test", "http://\\evil.test",
	"http:notes.example.com", "http:/notes.example.com", "http:///notes.example.com", "http:\\\\notes.example.com", "://notes.example.com",
	"notes.example.com", "notes.example.com/",
	"https://notes.example.com/", "HTTP://notes.example.com/", "Http://notes.example.com/", "ws://notes.example.com/",
	"ftp://notes.example.com/", "javascript://notes.example.com/%0aalert(1)", "javascript:alert(1)", "data:text/html,x",
	"view-source:http://notes.example.com/", "blob:http://notes.example.com/", "x-http://notes.example.com/",
	"http://evil-example.com", "http://evilexample.com/", "http://example.com.evil.test/", "http://notes.example.com.evil.test",
	"http://example.comevil.test", "http://example.co", "http://com", "http://example", "http://example.com-evil.test",
	"http://xn--example-9d0b.com",
	"http://evil.test?.example.com", "http://evil.test#.example.com", "http://evil.test/.example.com", "http://evil.test\\.example.com",
	"http://evil.test;.example.com/", "http://evil.test,notes.example.com/", "http://evil.test&.example.com/",
	"http://evil.test:80.example.com/", "http://evil.test:.example.com/", "http://evil.test:80#@notes.example.com/",
	"http://evil.test:80\\@notes.example.com/",
	"http://user@notes.example.com/", "http://user:pass@notes.example.com/", "http://@notes.example.com/", "http://:@notes.example.com/",
	"http://notes.example.com@evil.test/", "http://notes.example.com:80@evil.test/", "http://notes.example.com%40evil.test/",
	"http://evil.test%23@notes.example.com/", "http://notes.example.com%2f@evil.test/",
	"http://evil.test%2f.example.com/", "http://evil.test%5c.example.com/", "http://evil.test%23.example.com",
	"http://evil.test%00.example.com", "http://notes%2eexample%2ecom/", "http://%6eotes.example.com/",
	"http://notes.example.com%2eevil.test/", "http://notes.example.com%0d%0a/",
	"http://notes.example.com:/", "http://notes.example.com:0/", "http://notes.example.com:65536/", "http://notes.example.com:80x/",
	"http://notes.example.com:-80/", "http://notes.example.com:80:80/", "http://notes.example.com: 80/",
	"http://.example.com/", "http://..example.com/", "http://notes..example.com/", "http://notes.example.com../", "http://./",
	"http://*.example.com/", "http://",
	"http://[::1]/", "http://[::1].example.com/", "http://[notes.example.com]/", "http://127.0.0.1/", "http://2130706433/",
	"http://0x7f.1/", "http://localhost/",
	"http://not\u0435s.ex\u0430mple.com/", "http://notes\u3002example\u3002com/", "http://evil.test\u3002example.com/",
	"http://evil.test\uff0f.example.com/", "http://evil.test\u2044.example.com/", "http://evil.test\uff03.example.com/",
	"http://evil.test\uff1f.example.com/", "http://evil.test\u2100.example.com/", "http://n\u00f6tes.example.com/",
	"http://\uff4e.example.com/", "http://evil\u00ad.test/",
	" http://notes.example.com/", "http://notes.example.com/ ", "\thttp://notes.example.com/", "http ://notes.example.com/",
	"ht\ttp://evil.test/", "ht\ntp://evil.test/", "http:\n//evil.test/", "http://evil.test\t.example.com/",
	"http://evil.test\n.example.com/", "http://notes.example.com/\r\nSet-Cookie: a=b", "http://notes.example.com/a b",
	"http://notes.example.com/\x00", "http://notes.example.com\x00.evil.test/", "http://notes.example.com/\x7f",
	"http://notes.example.com/\u0085",
	"http://notes.example.com\\@evil.test/", "http://notes.example.com/\\evil.test", "http://notes.example.com\\.evil.test/",
	"\x01http://notes.example.com/", "http://notes.example.com/\xff", "http://\xff.example.com/", "http://notes.example.com/\ufffd",
	"http://notes.example.com/" + strings.Repeat("a", 4097-len("http://notes.example.com/")),
}

// checkNext sends next in three ways: with the sign-in form, in the query while signed in, and in the query while signed out, which
// puts it into the form's hidden field. An empty want means that next is ignored.
func checkNext(c *handlerstest.Cast, t *testing.T, next, want string) {
	t.Helper()
	home := want
	if home == "" {
		home = "/sessions"
	}
	// These are raw requests, because HTTP libraries reject some Locations that browsers follow.
	send := func(values ...string) handlerstest.Answer {
		body := handlerstest.Encode(append(values, "next", next))
		return c.Raw(fmt.Sprintf("POST /login HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAccept: text/html\r\n"+
			"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
	}
	look := func(cookie string) handlerstest.Answer {
		return c.Raw("GET /login?next=" + url.QueryEscape(next) +
			" HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAccept: text/html\r\nCookie: " + cookie + "\r\n\r\n")
	}
	got := send("username", "bob", "password", handlerstest.BobPassword)
	if got.Status != 303 || got.Header.Get("Location") != home {
		t.Errorf("signing in with %.200q: %d %q, want %q", next, got.Status, got.Header.Get("Location"), home)
	}
	got = look(withCookie(c.Alice.Token()))
	if got.Status != 303 || got.Header.Get("Location") != home {
		t.Errorf("signed in with %.200q: %d %q, want %q", next, got.Status, got.Header.Get("Location"), home)
	}
	for what, got := range map[string]handlerstest.Answer{
		"the page":               look("a=b"),
		"the page after a wrong": send("username", "", "password", ""),
	} {
		field := regexp.MustCompile(`<input type="hidden" name="next" value="([^"]*)">`).FindStringSubmatch(got.Body)
		value := ""
		if field != nil {
			value = html.UnescapeString(field[1])
		}
		if value != want {
			t.Errorf("%s with %.200q holds %q, want %q", what, next, value, want)
		}
		if _, rest, absolute := strings.Cut(want, "://"); absolute && !strings.HasPrefix(want, "/") {
			authority, _, _ := strings.Cut(strings.NewReplacer("?", "/", "#", "/").Replace(rest), "/")
			got.Has(t, "Next, you'll continue to <strong>"+authority+"</strong>.")
		} else {
			got.Lacks(t, "From here you go on")
		}
	}
}

func TestNextLeadsBackToTheApp(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, settings[1].apply)
	for _, next := range goodAddresses {
		checkNext(c, t, next, next)
		c.Clock.Advance(15 * time.Minute)
	}
	for _, path := range []string{"/account", "/sessions?all=1", "/a?u=http://evil.test/"} {
		checkNext(c, t, path, path)
	}
}

func TestNextLeadsNowhereElse(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, settings[1].apply)
	for _, next := range badAddresses {
		checkNext(c, t, next, "")
		c.Clock.Advance(15 * time.Minute)
	}
}

// Without a cookie domain, only addresses with the origin of --url are accepted.
func TestNextWithoutCookieDomain(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	host, port, _ := strings.Cut(c.At, ":")
	for _, next := range []string{c.URL, c.URL + "/", c.URL + "/account?x=%2f#y", c.URL + "//evil.test"} {
		checkNext(c, t, next, next)
	}
	for _, next := range []string{
		"https://" + c.At + "/", "http://" + host + "/", "http://" + host + ":1/", "http://" + host + ":0" + port + "/",
		"http://" + host + ".:" + port + "/", "http://x." + c.At + "/", "http://localhost:" + port + "/", "http://user@" + c.At + "/",
		"http://" + c.At + "@evil.test/", "http://" + c.At + ".evil.test/", "http://notes.example.com/", "http://example.com/",
		"//" + c.At + "/",
	} {
		checkNext(c, t, next, "")
		c.Clock.Advance(15 * time.Minute)
	}
}

// With an https --url, nobody is redirected to an http address, where the cookie is not sent.
func TestNextWithHTTPS(t *testing.T) {
	t.Parallel()
	for _, s := range settings[2:] {
		t.Run(s.String(), func(t *testing.T) {
			h := handlerstest.OpenHouse(t, s.apply)
			h.AddUser("alice", handlerstest.AlicePassword)
			withDomain := func(address string) string {
				if s.domain == "" {
					return "/sessions"
				}
				return address
			}
			for next, want := range map[string]string{
				"https://auth.example.com/account":             "https://auth.example.com/account",
				"http://auth.example.com/account":              "/sessions",
				"http://notes.example.com/":                    "/sessions",
				"https://notes.example.com/a?b=%2f":            withDomain("https://notes.example.com/a?b=%2f"),
				"https://notes.example.com:8443/":              withDomain("https://notes.example.com:8443/"),
				"https://auth.example.com:8443/":               withDomain("https://auth.example.com:8443/"),
				"https://auth.example.com.evil.test/":          "/sessions",
				"wss://notes.example.com/":                     "/sessions",
				"https://user@notes.example.com/":              "/sessions",
				"https://evil.test/?https://auth.example.com/": "/sessions",
			} {
				if got, _ := signInTo(h, next); got.Header.Get("Location") != want {
					t.Errorf("%s leads to %q, want %q", next, got.Header.Get("Location"), want)
				}
			}
		})
	}
}

// Some letters become ASCII when Go lower-cases them. To a browser, the domain is another one.
func TestNextHostsThatLowerCaseToASCII(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, func(o *handlers.Options) {
		o.URL, o.CookieDomain = &url.URL{Scheme: "http", Host: "auth.smith.family"}, "smith.family"
	})
	for _, next := range []string{"http://sm\u0130th.family/", "http://notes.sm\u0130th.family/x"} {
		checkNext(c, t, next, "")
	}
}

// Browsers do not encode a backslash in a query.
func TestNextWithABackslashInItsQuery(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	request := toNotes.at(`/search?q=a\b`)
	got := forward.ask(c.NewClient(handlerstest.FirefoxOnLinux), request, navigating...)
	at, err := url.Parse(got.Header.Get("Location"))
	if err != nil {
		t.Fatal(err)
	}
	c.Alice.Page(at.RequestURI()).Is(t, 303, request.address())
}

// Set-up, sign-up and invitation redirect to the devices and ignore next. Signing out takes it from the form, and gives it to the sign-in
// page.
func TestOnlyTheSignInPageUsesNext(t *testing.T) {
	t.Parallel()
	h := handlerstest.OpenHouse(t, settings[1].apply, func(o *handlers.Options) { o.Signup = true; o.SetupToken = "the-token-of-this-start" })
	h.NewClient(handlerstest.FirefoxOnLinux).Form("/setup?next=http://notes.example.com/",
		"token", "the-token-of-this-start", "username", "alice", "password", handlerstest.AlicePassword,
		"next", "http://notes.example.com/").Is(t, 303, "/sessions")
	h.NewClient(handlerstest.FirefoxOnLinux).Form("/signup?next=http://notes.example.com/",
		"username", "bob", "password", handlerstest.BobPassword, "next", "http://notes.example.com/").Is(t, 303, "/sessions")
	alice := h.SignIn("alice", handlerstest.AlicePassword, handlerstest.FirefoxOnLinux)
	alice.Form("/logout?next=http://notes.example.com/").Is(t, 303, "/login?done=signed-out")
	h.NewClient(handlerstest.FirefoxOnLinux).Form("/login?next=http://notes.example.com/",
		"username", "alice", "password", handlerstest.AlicePassword).Is(t, 303, "/sessions")
	h.NewClient("curl/8.5.0").API("POST", "/login",
		`{"username":"alice","password":"`+handlerstest.AlicePassword+`","next":"http://notes.example.com/"}`).Is(t, 200, "")
}

// For Porchlight's own pages, next is always a path.
func TestNextOfOwnPagesIsAPath(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	c.NewClient(handlerstest.FirefoxOnLinux).Page("/account?x=1").Is(t, 303, "/login?next=%2Faccount%3Fx%3D1")
	got := c.NewClient(handlerstest.FirefoxOnLinux).Do("GET", "/sessions/list", "", "HX-Request", "true",
		"HX-Current-URL", "http://notes.example.com/secret")
	if to := got.Header.Get("HX-Redirect"); to != "/login?next=%2Fsecret" {
		t.Errorf("HX-Redirect %q", to)
	}
}

// A person goes from the app to the sign-in page, signs in, and returns to the app.
func TestFromTheAppToTheSignInPageAndBack(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	for _, uri := range []string{"/", "/a%2fb/..//c?x=1&y=%26", "/caf\u00e9", "/?q=%zz+"} {
		browser := c.NewClient(handlerstest.ChromeOnMac)
		request := toNotes.at(uri)
		got := forward.ask(browser, request, navigating...)
		at, found := strings.CutPrefix(got.Header.Get("Location"), publicURL)
		if got.Status != 302 || !found {
			t.Fatalf("%s: %d %q", uri, got.Status, got.Header.Get("Location"))
		}
		page := browser.Page(at)
		page.Is(t, 200)
		next := html.UnescapeString(regexp.MustCompile(`name="next" value="([^"]*)"`).FindStringSubmatch(page.Body)[1])
		browser.Form("/login", "username", "bob", "password", handlerstest.BobPassword, "next", next).Is(t, 303, request.address())
		passes(t, forward.ask(browser, request, navigating...), "bob")
	}
}
