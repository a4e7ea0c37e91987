package handlers_test

import (
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"porchlight/handlers"
	"porchlight/handlers/handlerstest"
)

// This file tests what a cookie domain changes: the session cookie, where sign-in may redirect to, and the policy of the sign-in
// page.

// setting is a public address and a cookie domain, with the cookie that a sign-in sets.
type setting struct {
	url, domain string
	name        string // of the cookie
	attributes  string // of the cookie, but for its Max-Age
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

func TestCookieOfEverySetting(t *testing.T) {
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
				if want == gone && s.domain != "" && len(cookies) == 2 && cookies[1] == "porchlight=; max-age=0; path=/; HttpOnly; SameSite=Lax" &&
					s.name == "porchlight" {
					cookies = cookies[:1] // with plain http, one from before the domain has the same name
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
				handlerstest.Encode([]string{"current_password", handlerstest.AlicePassword, "new_password", "basalt umbrella crayon fjord"}), "Cookie", cookie, "Content-Type",
				"application/x-www-form-urlencoded")
			got.Is(t, 303)
			is("password changed", got, new)
			cookie = s.name + "=" + handed(t, got).Value
			got = browser.Do("POST", "/logout", "", "Cookie", cookie)
			got.Is(t, 200)
			is("sign out", got, gone)
			is("sign out without a session", browser.Form("/logout"), gone)
			is("told of the end", browser.Page("/login", "Cookie", cookie), gone)
			got = browser.Do("POST", "/login", `{"username":"alice","password":"basalt umbrella crayon fjord"}`, "Content-Type", "application/json")
			is("sign in by script", got, new)
			cookie = s.name + "=" + handed(t, got).Value
			is("end by script", browser.Do("DELETE", "/me/sessions/current", "", "Cookie", cookie), gone)
		})
	}
}

// goodAddresses are addresses of apps under example.com. They are returned unchanged.
var goodAddresses = []string{
	"http://notes.example.com", "http://notes.example.com/", "http://example.com/", "http://auth.example.com/sessions",
	"http://a.b.c.example.com/x", "http://notes.example.com:8443/", "http://Notes.Example.com./x", "http://notes.example.com?x=1",
	"http://notes.example.com#top",
	"http://notes.example.com/a%2fb/%2F/..//../c//d/./e", "http://notes.example.com//evil.test/",
	"http://notes.example.com/\u00e9/caf%C3%A9", "http://notes.example.com/%zz/%",
	"http://notes.example.com/?q=a+b%20c&d=%26&next=//evil.test&u=http://evil.test/",
	"http://notes.example.com/@evil.test", "http://notes.example.com/x:y@evil.test", "http://notes.example.com/?\"<>'`{}|^[]", "http://notes.example.com/%0d%0aSet-Cookie:%20a=b", "http://notes.example.com/%00%5c%5C", "http://notes.example.com/a;b=c,d", "http://notes.example.com/x?a=1&a=2#/route?b=%2f",
	"http://notes.example.com/" + strings.Repeat("a", 4096-len("http://notes.example.com/")),
}

// badAddresses lead elsewhere, or might in some browser.
var badAddresses = []string{
	"http://evil.test", "http://evil.test/", "//evil.test", "//notes.example.com/", "///notes.example.com", "/\\evil.test", "\\\\evil.test", "http:evil.test", "http:/evil.test", "http:///evil.test", "http:////evil.test", "http:\\\\evil.test", "http:/\\evil.test", "http://\\evil.test",
	"http:notes.example.com", "http:/notes.example.com", "http:///notes.example.com", "http:\\\\notes.example.com", "://notes.example.com", "notes.example.com", "notes.example.com/",
	"https://notes.example.com/", "HTTP://notes.example.com/", "Http://notes.example.com/", "ws://notes.example.com/", "ftp://notes.example.com/", "javascript://notes.example.com/%0aalert(1)", "javascript:alert(1)", "data:text/html,x", "view-source:http://notes.example.com/", "blob:http://notes.example.com/", "x-http://notes.example.com/",
	"http://evil-example.com", "http://evilexample.com/", "http://example.com.evil.test/", "http://notes.example.com.evil.test", "http://example.comevil.test", "http://example.co", "http://com", "http://example", "http://example.com-evil.test", "http://xn--example-9d0b.com",
	"http://evil.test?.example.com", "http://evil.test#.example.com", "http://evil.test/.example.com", "http://evil.test\\.example.com", "http://evil.test;.example.com/", "http://evil.test,notes.example.com/", "http://evil.test&.example.com/", "http://evil.test:80.example.com/", "http://evil.test:.example.com/", "http://evil.test:80#@notes.example.com/", "http://evil.test:80\\@notes.example.com/",
	"http://user@notes.example.com/", "http://user:pass@notes.example.com/", "http://@notes.example.com/", "http://:@notes.example.com/", "http://notes.example.com@evil.test/", "http://notes.example.com:80@evil.test/", "http://notes.example.com%40evil.test/", "http://evil.test%23@notes.example.com/", "http://notes.example.com%2f@evil.test/",
	"http://evil.test%2f.example.com/", "http://evil.test%5c.example.com/", "http://evil.test%23.example.com", "http://evil.test%00.example.com", "http://notes%2eexample%2ecom/", "http://%6eotes.example.com/", "http://notes.example.com%2eevil.test/", "http://notes.example.com%0d%0a/",
	"http://notes.example.com:/", "http://notes.example.com:0/", "http://notes.example.com:65536/", "http://notes.example.com:80x/", "http://notes.example.com:-80/", "http://notes.example.com:80:80/", "http://notes.example.com: 80/",
	"http://.example.com/", "http://..example.com/", "http://notes..example.com/", "http://notes.example.com../", "http://./", "http://*.example.com/", "http://",
	"http://[::1]/", "http://[::1].example.com/", "http://[notes.example.com]/", "http://127.0.0.1/", "http://2130706433/", "http://0x7f.1/", "http://localhost/",
	"http://not\u0435s.ex\u0430mple.com/", "http://notes\u3002example\u3002com/", "http://evil.test\u3002example.com/", "http://evil.test\uff0f.example.com/", "http://evil.test\u2044.example.com/", "http://evil.test\uff03.example.com/", "http://evil.test\uff1f.example.com/", "http://evil.test\u2100.example.com/", "http://n\u00f6tes.example.com/", "http://\uff4e.example.com/", "http://evil\u00ad.test/",
	" http://notes.example.com/", "http://notes.example.com/ ", "\thttp://notes.example.com/", "http ://notes.example.com/", "ht\ttp://evil.test/", "ht\ntp://evil.test/", "http:\n//evil.test/", "http://evil.test\t.example.com/", "http://evil.test\n.example.com/", "http://notes.example.com/\r\nSet-Cookie: a=b", "http://notes.example.com/a b", "http://notes.example.com/\x00", "http://notes.example.com\x00.evil.test/", "http://notes.example.com/\x7f", "http://notes.example.com/\u0085",
	"http://notes.example.com\\@evil.test/", "http://notes.example.com/\\evil.test", "http://notes.example.com\\.evil.test/", "\x01http://notes.example.com/", "http://notes.example.com/\xff", "http://\xff.example.com/", "http://notes.example.com/\ufffd",
	"http://notes.example.com/" + strings.Repeat("a", 4097-len("http://notes.example.com/")),
}

// checkNext sends next in each of the three ways: with the form, in the address while signed in, and in the
// hidden field, for which it returns the value of the field.
func checkNext(c *handlerstest.Cast, t *testing.T, next, want string) {
	t.Helper()
	home := want
	if home == "" {
		home = "/sessions"
	}
	// On the wire: an HTTP library looks at a Location, and finds fault with some that browsers follow.
	send := func(values ...string) handlerstest.Answer {
		body := handlerstest.Encode(append(values, "next", next))
		return c.Raw(fmt.Sprintf("POST /login HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAccept: text/html\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
	}
	look := func(cookie string) handlerstest.Answer {
		return c.Raw("GET /login?next=" + url.QueryEscape(next) + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAccept: text/html\r\nCookie: " + cookie + "\r\n\r\n")
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
			got.Has(t, "From here you go on to <strong>"+authority+"</strong>.")
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
	for _, next := range []string{"https://" + c.At + "/", "http://" + host + "/", "http://" + host + ":1/", "http://" + host + ":0" + port + "/", "http://" + host + ".:" + port + "/", "http://x." + c.At + "/", "http://localhost:" + port + "/", "http://user@" + c.At + "/", "http://" + c.At + "@evil.test/", "http://" + c.At + ".evil.test/",
		"http://notes.example.com/", "http://example.com/", "//" + c.At + "/"} {
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
			for next, want := range map[string]string{
				"https://auth.example.com/account": "https://auth.example.com/account", "http://auth.example.com/account": "/sessions", "http://notes.example.com/": "/sessions",
				"https://notes.example.com/a?b=%2f":            map[string]string{"": "/sessions", "example.com": "https://notes.example.com/a?b=%2f"}[s.domain],
				"https://notes.example.com:8443/":              map[string]string{"": "/sessions", "example.com": "https://notes.example.com:8443/"}[s.domain],
				"https://auth.example.com:8443/":               map[string]string{"": "/sessions", "example.com": "https://auth.example.com:8443/"}[s.domain],
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

// Set-up, sign-up and invitation redirect to the devices and ignore next.
func TestOnlyTheSignInPageUsesNext(t *testing.T) {
	t.Parallel()
	h := handlerstest.OpenHouse(t, settings[1].apply, func(o *handlers.Options) { o.Signup = true; o.SetupToken = "the-token-of-this-start" })
	next := []string{"next", "http://notes.example.com/"}
	h.NewClient(handlerstest.FirefoxOnLinux).Form("/setup?next=http://notes.example.com/", append([]string{"token", "the-token-of-this-start", "username", "alice", "password", handlerstest.AlicePassword}, next...)...).Is(t, 303, "/sessions")
	h.NewClient(handlerstest.FirefoxOnLinux).Form("/signup?next=http://notes.example.com/", append([]string{"username", "bob", "password", handlerstest.BobPassword}, next...)...).Is(t, 303, "/sessions")
	alice := h.SignIn("alice", handlerstest.AlicePassword, handlerstest.FirefoxOnLinux)
	alice.Form("/logout", next...).Is(t, 303, "/login")
	h.NewClient(handlerstest.FirefoxOnLinux).Form("/login?next=http://notes.example.com/", "username", "alice", "password", handlerstest.AlicePassword).Is(t, 303, "/sessions")
	h.NewClient("curl/8.5.0").API("POST", "/login", `{"username":"alice","password":"`+handlerstest.AlicePassword+`","next":"http://notes.example.com/"}`).Is(t, 200, "")
}

// For Porchlight's own pages, next is still only a path.
func TestNextOfOwnPagesIsAPath(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	c.NewClient(handlerstest.FirefoxOnLinux).Page("/account?x=1").Is(t, 303, "/login?next=%2Faccount%3Fx%3D1")
	got := c.NewClient(handlerstest.FirefoxOnLinux).Do("GET", "/sessions/list", "", "HX-Request", "true", "HX-Current-URL", "http://notes.example.com/secret")
	if to := got.Header.Get("HX-Redirect"); to != "/login?next=%2Fsecret" {
		t.Errorf("HX-Redirect %q", to)
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
				"the page":              stranger.Page("/login"),
				"with next":             stranger.Page("/login?next=" + s.url + "/x"),
				"of who was signed out": stranger.Page("/login", "Cookie", s.name+"=garbage"),
				"after a wrong":         stranger.Form("/login", "username", "", "password", ""),
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
				"denied":       stranger.Do("GET", "/auth/forward", ""),
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
func TestSignedInAlreadyGetsTheCookieOnceMore(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	token := c.Alice.Token()
	c.Clock.Advance(24*time.Hour - 2*time.Minute)
	check := c.Unchanged()
	got := c.Alice.Page("/login?next=" + url.QueryEscape("http://notes.example.com/x?y=1"))
	got.Is(t, 303, "http://notes.example.com/x?y=1")
	if set := got.Header.Get("Set-Cookie"); set != "porchlight="+token+"; max-age=2505600; domain=example.com; path=/; HttpOnly; SameSite=Lax" {
		t.Errorf("Set-Cookie %q", set)
	}
	got = c.NewClient(handlerstest.FirefoxOnLinux).Page("/login?next=http://notes.example.com/", "Cookie", withCookie("garbage", token))
	if handed(t, got).Value != token {
		t.Errorf("not the token that is alive: %q", got.Header.Get("Set-Cookie"))
	}
	// Of several that could be tokens, an app may have planted one: it must not become the one for all apps.
	got = c.NewClient(handlerstest.FirefoxOnLinux).Page("/login?next=http://notes.example.com/", "Cookie", withCookie(c.AlicePhone.Token(), token))
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
	// With https, one from before the domain has another name: there is nothing to mend.
	https := handlerstest.OpenHouse(t, behindProxy, func(o *handlers.Options) { o.URL = &url.URL{Scheme: "https", Host: "auth.example.com"} })
	https.AddUser("alice", handlerstest.AlicePassword)
	_, signedIn := signInTo(https, "")
	got = https.NewClient(handlerstest.FirefoxOnLinux).Page("/login?next=https://notes.example.com/", "Cookie", "__Secure-porchlight="+signedIn)
	got.Is(t, 303, "https://notes.example.com/")
	if touched(got) {
		t.Errorf("Set-Cookie %q", got.Header.Get("Set-Cookie"))
	}
	// On a shared computer it ends with the browser, the second time too.
	shared := c.NewClient(handlerstest.FirefoxOnLinux)
	shared.Form("/login", "username", "alice", "password", handlerstest.AlicePassword, "shared", "1").Is(t, 303)
	got = shared.Page("/login?next=http://notes.example.com/")
	if set := got.Header.Get("Set-Cookie"); set != "porchlight="+shared.Token()+"; domain=example.com; path=/; HttpOnly; SameSite=Lax" {
		t.Errorf("Set-Cookie %q", set)
	}
}

// The whole way: from the app to the sign-in page, back, and past the auth check.
func TestFromTheAppToTheSignInPageAndBack(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	for _, uri := range []string{"/", "/a%2fb/..//c?x=1&y=%26", "/caf\u00e9", "/?q=%zz+"} {
		browser := c.NewClient(handlerstest.ChromeOnMac)
		question := toNotes.at(uri)
		got := forward.ask(browser, question, navigating...)
		at, found := strings.CutPrefix(got.Header.Get("Location"), publicURL)
		if got.Status != 302 || !found {
			t.Fatalf("%s: %d %q", uri, got.Status, got.Header.Get("Location"))
		}
		page := browser.Page(at)
		page.Is(t, 200)
		next := html.UnescapeString(regexp.MustCompile(`name="next" value="([^"]*)"`).FindStringSubmatch(page.Body)[1])
		browser.Form("/login", "username", "bob", "password", handlerstest.BobPassword, "next", next).Is(t, 303, question.address())
		passes(t, forward.ask(browser, question, navigating...), "bob")
	}
}

// Some letters become ASCII letters when Go lower-cases them. To a browser they name another domain.
func TestNextInOtherLetters(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, func(o *handlers.Options) {
		o.URL, o.CookieDomain = &url.URL{Scheme: "http", Host: "auth.smith.family"}, "smith.family"
	})
	for _, next := range []string{"http://sm\u0130th.family/", "http://notes.sm\u0130th.family/x"} {
		checkNext(c, t, next, "")
	}
}

// Browsers leave a backslash in a query as it is.
func TestNextWithABackslashInItsQuery(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	question := toNotes.at(`/search?q=a\b`)
	got := forward.ask(c.NewClient(handlerstest.FirefoxOnLinux), question, navigating...)
	at, err := url.Parse(got.Header.Get("Location"))
	if err != nil {
		t.Fatal(err)
	}
	c.Alice.Page(at.RequestURI()).Is(t, 303, question.address())
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
