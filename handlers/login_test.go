package handlers_test

import (
	"context"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"porchlight/db"
	"porchlight/handlers"
)

// This file owns signing in and signing out: what is taken, what is answered, and the cookie.

const wrongPassword = "That username or password isn't right."

// newCookie is what a sign-in sets: 30 days, or until the browser closes on a shared computer.
var (
	newCookie    = regexp.MustCompile(`^porchlight=[A-Z2-7]{26}; max-age=2592000; path=/; HttpOnly; SameSite=Lax$`)
	sharedCookie = regexp.MustCompile(`^porchlight=[A-Z2-7]{26}; path=/; HttpOnly; SameSite=Lax$`)
)

// cleared reports whether the answer deletes the cookie.
func cleared(got answer, name string) bool {
	for _, cookie := range (&http.Response{Header: got.header}).Cookies() {
		if cookie.Name == name && cookie.Value == "" && cookie.Path == "/" && cookie.HttpOnly && (cookie.MaxAge < 0 || !cookie.Expires.IsZero() && cookie.Expires.Year() < 2000) {
			return true
		}
	}
	return false
}

// touched reports whether the answer sets or deletes a cookie.
func touched(got answer) bool { return got.header.Get("Set-Cookie") != "" }

func TestSignInByForm(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	browser := c.newClient(firefoxOnLinux)
	got := browser.form("/login", "username", "  ALICE ", "password", alicePassword, "next", "/account?x=1")
	got.is(t, 303, "/account?x=1")
	if cookies := got.header.Values("Set-Cookie"); len(cookies) != 1 || !newCookie.MatchString(cookies[0]) {
		t.Errorf("Set-Cookie %q", cookies)
	}
	row := c.only(`SELECT u.username, s.device_name, s.device_kind, s.user_agent, s.ip, s.shared, s.given_name, s.last_active_at - s.created_at, s.expires_at - s.created_at
		FROM sessions s JOIN users u ON u.id = s.user_id WHERE s.token_hash = unhex(?)`, sha256Hex(browser.token()))
	want := "alice Firefox on Linux desktop " + firefoxOnLinux + " 127.0.0.1 0  0 1209600000"
	if row != want {
		t.Errorf("the row is\n %s, want\n %s", row, want)
	}
	if last := c.rows(`SELECT kind, ip, device_name, done_by FROM activity ORDER BY id DESC LIMIT 1`); last[0] != "signed_in 127.0.0.1 Firefox on Linux Firefox on Linux" {
		t.Errorf("activity %q", last)
	}
	browser.page("/sessions").is(t, 200)
}

func TestSignInByEmail(t *testing.T) {
	t.Parallel()
	c := openHouse(t)
	if _, err := c.store.CreateUser(context.Background(), db.NewUser{Username: "alice", Email: "Alice@example.com", Password: alicePassword}); err != nil {
		t.Fatal(err)
	}
	got := c.newClient("curl/8.5.0").api("POST", "/login", `{"username":"alice@EXAMPLE.com","password":"`+alicePassword+`"}`)
	got.is(t, 200)
	if got.body != `{"username":"alice"}` {
		t.Errorf("%s", got.body)
	}
}

func TestSignInOnASharedComputer(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	for name, sign := range map[string]func(*client) answer{
		"form": func(b *client) answer {
			return b.form("/login", "username", "alice", "password", alicePassword, "shared", "1")
		},
		"JSON": func(b *client) answer {
			return b.api("POST", "/login", `{"username":"alice","password":"`+alicePassword+`","shared":true}`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			browser := c.newClient(firefoxOnLinux)
			got := sign(browser)
			if cookies := got.header.Values("Set-Cookie"); len(cookies) != 1 || !sharedCookie.MatchString(cookies[0]) {
				t.Errorf("Set-Cookie %q", cookies)
			}
			if row := c.only(`SELECT shared, expires_at - created_at FROM sessions WHERE token_hash = unhex(?)`, sha256Hex(browser.token())); row != "1 1800000" {
				t.Errorf("shared and milliseconds: %s", row)
			}
		})
	}
	browser := c.newClient(firefoxOnLinux)
	browser.form("/login", "username", "alice", "password", alicePassword, "shared", "1").is(t, 303)
	c.clock.Advance(30 * time.Minute)
	browser.api("GET", "/me/sessions", "").is(t, 401)
	c.alice.api("GET", "/me/sessions", "").is(t, 200)
}

// One message, one status, whatever was wrong; what was typed is kept, but not the password.
func TestSignInFails(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.addUser("carol", "basalt umbrella crayon fjord")
	c.exec(`UPDATE users SET disabled = 1 WHERE username = 'carol'`)
	check := c.unchanged()
	var pages, scripts []string
	for name, password := range map[string]string{"alice": bobPassword, "nobod": alicePassword, "carol": "basalt umbrella crayon fjord", "Alice": alicePassword + " ", "bob&b": ""} {
		browser := c.newClient(firefoxOnLinux)
		got := browser.form("/login", "username", name, "password", password, "shared", "1", "next", "/account?x=1")
		got.is(t, 422)
		got.has(t, html.EscapeString(wrongPassword), `name="next" value="/account?x=1"`, `value="1" aria-describedby="shared-hint" checked`)
		if touched(got) {
			t.Errorf("%s: a cookie was set", name)
		}
		if password != "" {
			got.lacks(t, password)
		}
		pages = append(pages, strings.ReplaceAll(strings.ReplaceAll(got.body, "bob&amp;b", "NAME"), `value="`+name+`"`, `value="NAME"`))

		got = browser.api("POST", "/login", `{"username":"`+name+`","password":"`+password+`"}`)
		got.is(t, 401)
		scripts = append(scripts, got.body)
		if touched(got) {
			t.Errorf("%s: a cookie was set", name)
		}
	}
	for i := range pages {
		if pages[i] != pages[0] {
			t.Errorf("pages differ:\n%s\n%s", pages[i], pages[0])
		}
		if scripts[i] != `{"error":"`+wrongPassword+`"}` {
			t.Errorf("%s", scripts[i])
		}
	}
	check(t)
	if err := c.store.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	c.sameRows(t, []string{"alice 4", "carol 2"}, `SELECT u.username, SUM(a.count) FROM activity a JOIN users u ON u.id = a.user_id WHERE a.kind = 'sign_in_failed' GROUP BY 1 ORDER BY 1`)
}

func TestSignInByJSON(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	const good = `{"username":"alice","password":"` + alicePassword + `"}`
	const form = "application/x-www-form-urlencoded"
	for name, test := range map[string]struct {
		kind, body string
		status     int
		answer     string // "" is any error
	}{
		"good":                      {"application/json", good, 200, `{"username":"alice"}`},
		"with a charset":            {"application/json; charset=utf-8", good, 200, `{"username":"alice"}`},
		"unknown keys":              {"application/json", `{"remember":true,"next":"//evil.example","x":{},"username":"alice","password":"` + alicePassword + `","shared":false}`, 200, `{"username":"alice"}`},
		"a form":                    {form, encode([]string{"username", "alice", "password", alicePassword}), 200, `{"username":"alice"}`},
		"wrong":                     {"application/json", `{"username":"alice","password":"x"}`, 401, `{"error":"` + wrongPassword + `"}`},
		"wrong by form":             {form, "username=alice&password=x", 401, `{"error":"` + wrongPassword + `"}`},
		"empty strings":             {"application/json", `{"username":"","password":""}`, 401, `{"error":"` + wrongPassword + `"}`},
		"malformed":                 {"application/json", `{"username":"alice",`, 400, ""},
		"not JSON":                  {"application/json", `username=alice`, 400, ""},
		"two values":                {"application/json", good + good, 400, ""},
		"spaces alone":              {"application/json", " ", 400, ""},
		"nothing":                   {"application/json", "", 422, ""},
		"nothing, no type":          {"", "", 422, ""},
		"no keys":                   {"application/json", `{}`, 422, ""},
		"null":                      {"application/json", `null`, 422, ""},
		"no password":               {"application/json", `{"username":"alice"}`, 422, ""},
		"no username":               {"application/json", `{"password":"` + alicePassword + `"}`, 422, ""},
		"null password":             {"application/json", `{"username":"alice","password":null}`, 422, ""},
		"a number":                  {"application/json", `{"username":"alice","password":15}`, 422, ""},
		"a list":                    {"application/json", `{"username":["alice"],"password":"` + alicePassword + `"}`, 422, ""},
		"an object":                 {"application/json", `{"username":"alice","password":{"$ne":""}}`, 422, ""},
		"shared is a string":        {"application/json", `{"username":"alice","password":"` + alicePassword + `","shared":"1"}`, 422, ""},
		"an array":                  {"application/json", `[` + good + `]`, 422, ""},
		"a string":                  {"application/json", `"alice"`, 422, ""},
		"no type":                   {"", good, 415, ""},
		"text":                      {"text/plain", good, 415, ""},
		"XML":                       {"application/xml", good, 415, ""},
		"almost JSON":               {"application/jsonp", good, 415, ""},
		"JSON by its end":           {"application/vnd.api+json", good, 415, ""},
		"multipart":                 {"multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"username\"\r\n\r\nalice\r\n--x--\r\n", 415, ""},
		"a type that is no type":    {"/;=", good, 415, ""},
		"deeply nested":             {"application/json", big("[", 20000), 400, ""},
		"bytes that are not UTF-8":  {"application/json", "{\"username\":\"\xff\",\"password\":\"\xfe\"}", 401, ""},
		"a byte order mark":         {"application/json", "\ufeff" + good, 400, ""},
		"a very long password":      {"application/json", `{"username":"alice","password":"` + big("x", 60000) + `"}`, 401, ""},
		"a NUL in the name":         {"application/json", `{"username":"alice\u0000","password":"` + alicePassword + `"}`, 401, ""},
		"percent signs in the form": {form, "username=alice%&password=%zz%", 401, ""},
	} {
		t.Run(name, func(t *testing.T) {
			before := c.sessionsOf("alice")
			headers := []string{"Accept", "*/*"}
			if test.kind != "" {
				headers = append(headers, "Content-Type", test.kind)
			}
			got := c.newClient("curl/8.5.0").do("POST", "/login", test.body, headers...)
			got.is(t, test.status, "")
			if test.answer != "" && got.body != test.answer {
				t.Errorf("%s, want %s", got.body, test.answer)
			}
			if test.answer == "" && !regexp.MustCompile(`^{"error":"[^"]+"}$`).MatchString(got.body) {
				t.Errorf("%s is not an error", got.body)
			}
			if got.header.Get("Content-Type") != "application/json" {
				t.Errorf("Content-Type %q", got.header.Get("Content-Type"))
			}
			more := len(c.sessionsOf("alice")) - len(before)
			if ok := test.status == 200; touched(got) != ok || (more == 1) != ok {
				t.Errorf("a cookie: %v; sessions: %+d", touched(got), more)
			}
		})
	}
}

// A browser that names text/html, or htmx, gets pages; everybody else JSON.
func TestWhoGetsAPage(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	const form = "application/x-www-form-urlencoded"
	for name, test := range map[string]struct {
		headers []string
		status  int
	}{
		"browser": {[]string{"Accept", browserAccept}, 422}, "upper case": {[]string{"Accept", "TEXT/HTML"}, 422}, "later": {[]string{"Accept", "application/json, text/html;q=0.1"}, 422},
		"htmx": {[]string{"HX-Request", "true", "Accept", "*/*"}, 422}, "anything": {[]string{"Accept", "*/*"}, 401}, "any text": {[]string{"Accept", "text/*"}, 401},
		"JSON": {[]string{"Accept", "application/json"}, 401}, "nothing": {nil, 401}, "longer": {[]string{"Accept", "text/html5"}, 401},
	} {
		got := c.newClient("x").do("POST", "/login", "username=alice&password=x", append(test.headers, "Content-Type", form)...)
		if got.status != test.status || strings.HasPrefix(got.body, "{") != (test.status == 401) {
			t.Errorf("%s: %d %.60s", name, got.status, got.body)
		}
		got = c.newClient("x").do("POST", "/logout", "", test.headers...)
		if (got.status == 200) != (test.status == 401) {
			t.Errorf("%s signs out: %d", name, got.status)
		}
	}
	got := c.newClient("x").do("POST", "/login", `{"username":"alice","password":"x"}`, "Accept", browserAccept, "Content-Type", "application/json")
	got.is(t, 415)
	got.has(t, "<h1>")
}

// An address is kept in histories and logs: nothing secret is taken from it.
func TestCredentialsInTheQueryAreNotTaken(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	check := c.unchanged()
	query := "/login?" + encode([]string{"username", "alice", "password", alicePassword})
	stranger := c.newClient("curl/8.5.0")
	stranger.api("POST", query, "").is(t, 422)
	stranger.api("POST", query, "{}").is(t, 422)
	stranger.form(query).is(t, 422)
	stranger.form(query, "username", "alice").is(t, 422)
	stranger.page(query).is(t, 200)
	stranger.page(query).lacks(t, alicePassword)
	if stranger.token() != "" {
		t.Error("signed in by the address")
	}
	got := stranger.form("/login?next=%2Faccount", "username", "alice", "password", "x")
	got.lacks(t, `name="next"`)
	check(t)
}

// One browser is one row: its previous session ends, whichever user's it was, and a token that it sends is never adopted.
func TestSignInReplaces(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	for _, who := range []string{"alice", "bob"} {
		t.Run(who, func(t *testing.T) {
			browser := c.signIn("alice", alicePassword, firefoxOnLinux)
			old, oldID := browser.token(), browser.id
			others := slices.DeleteFunc(c.sessionsOf("alice"), func(id string) bool { return id == oldID })
			password := map[string]string{"alice": alicePassword, "bob": bobPassword}[who]
			browser.form("/login", "username", who, "password", password).is(t, 303, "/sessions")
			if browser.token() == old {
				t.Error("the token was kept")
			}
			for _, id := range others {
				if !slices.Contains(c.sessionsOf("alice"), id) {
					t.Error("another session ended")
				}
			}
			if slices.Contains(c.sessionsOf("alice"), oldID) {
				t.Error("the old row is still there")
			}
			if kind := c.only(`SELECT kind, done_by FROM activity WHERE session_id = ? ORDER BY id DESC LIMIT 1`, oldID); kind != "replaced Firefox on Linux" {
				t.Errorf("activity: %s", kind)
			}
			c.newClient("x").do("GET", "/me/sessions", "", "Cookie", "porchlight="+old).is(t, 401)
			browser.api("GET", "/me/sessions", "").is(t, 200)
		})
	}
	t.Run("a wrong password replaces nothing", func(t *testing.T) {
		check := c.unchanged()
		c.alice.form("/login", "username", "bob", "password", "x").is(t, 422)
		check(t)
		c.alice.api("GET", "/me/sessions", "").is(t, 200)
	})
	t.Run("a token that was planted is not adopted", func(t *testing.T) {
		planted := "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
		got := c.newClient("x").do("POST", "/login", "username=alice&password="+url.QueryEscape(alicePassword), "Content-Type", "application/x-www-form-urlencoded", "Cookie", "porchlight="+planted)
		got.is(t, 200)
		if strings.Contains(got.header.Get("Set-Cookie"), planted) {
			t.Error("adopted")
		}
		c.newClient("x").do("GET", "/me/sessions", "", "Cookie", "porchlight="+planted).is(t, 401)
	})
}

func TestCookieWithHTTPS(t *testing.T) {
	t.Parallel()
	c := openHouse(t, func(o *handlers.Options) { o.URL = &url.URL{Scheme: "https", Host: "auth.example"} })
	c.addUser("alice", alicePassword)
	browser := c.newClient(firefoxOnLinux)
	got := browser.form("/login", "username", "alice", "password", alicePassword)
	cookie := got.header.Get("Set-Cookie")
	if len(got.header.Values("Set-Cookie")) != 1 || !regexp.MustCompile(`^__Host-porchlight=[A-Z2-7]{26}; max-age=2592000; path=/; HttpOnly; secure; SameSite=Lax$`).MatchString(cookie) {
		t.Errorf("Set-Cookie %q", got.header.Values("Set-Cookie"))
	}
	pair, _, _ := strings.Cut(cookie, ";")
	browser = c.newClient(firefoxOnLinux)
	browser.do("GET", "/me/sessions", "", "Cookie", pair).is(t, 200)
	browser.do("GET", "/me/sessions", "", "Cookie", strings.TrimPrefix(pair, "__Host-")).is(t, 401)
	got = browser.do("POST", "/logout", "", "Cookie", pair)
	if !cleared(got, "__Host-porchlight") || !strings.Contains(strings.ToLower(got.header.Get("Set-Cookie")), "; secure") {
		t.Errorf("Set-Cookie %q: a browser refuses the prefix without Secure", got.header.Get("Set-Cookie"))
	}
	browser.do("GET", "/me/sessions", "", "Cookie", pair).is(t, 401)
}

const signedOutHere = "You&#39;ve been signed out on this device."

func TestSignInPage(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	stranger := c.newClient(firefoxOnLinux)
	got := stranger.page("/login?next=%2Faccount")
	got.is(t, 200)
	got.has(t, "<title>Sign in – Porchlight</title>", `autocomplete="username"`, `autocomplete="current-password"`, "This is a shared or public computer",
		"Forgot your password? Ask whoever runs this server.", `name="next" value="/account"`)
	got.lacks(t, signedOutHere, "will not work", "/signup", "no account yet")
	if touched(got) {
		t.Error("a cookie was touched")
	}

	t.Run("signed in already", func(t *testing.T) {
		c.alice.page("/login").is(t, 303, "/sessions")
		c.alice.page("/login?next=%2Faccount").is(t, 303, "/account")
		c.alice.page("/login?next=%2F%2Fevil.example").is(t, 303, "/sessions")
	})
	t.Run("signed out elsewhere", func(t *testing.T) {
		c.alice.api("DELETE", "/me/sessions/"+c.alicePhone.id, "").is(t, 200)
		for _, got := range []answer{
			c.alicePhone.page("/sessions"), c.alicePhone.htmx("GET", "/sessions/list"), c.alicePhone.api("GET", "/me/sessions", ""), c.alicePhone.page("/logout"),
			c.alicePhone.form("/login", "username", "alice", "password", "x"), c.alicePhone.page("/public/app.css"), c.alicePhone.page("/signup"), c.alicePhone.page("/nowhere"),
		} {
			if touched(got) {
				t.Errorf("%d touched the cookie, so the sign-in page cannot tell what happened", got.status)
			}
		}
		got := c.alicePhone.page("/login?next=%2Fsessions")
		got.is(t, 200)
		got.has(t, signedOutHere, "<title>"+signedOutHere+" – Sign in – Porchlight</title>")
		if !cleared(got, "porchlight") {
			t.Errorf("Set-Cookie %q", got.header.Get("Set-Cookie"))
		}
		got = c.alicePhone.page("/login?next=%2Fsessions")
		got.lacks(t, signedOutHere)
	})
	t.Run("garbage", func(t *testing.T) {
		got := stranger.page("/login", "Cookie", "porchlight=garbage")
		got.is(t, 200)
		got.has(t, signedOutHere)
		if !cleared(got, "porchlight") {
			t.Errorf("Set-Cookie %q", got.header.Get("Set-Cookie"))
		}
	})
	t.Run("another's cookie", func(t *testing.T) {
		got := stranger.page("/login", "Cookie", "sessionid=garbage")
		got.lacks(t, signedOutHere)
		if touched(got) {
			t.Error("a cookie was touched")
		}
	})
}

// Reached by another name or scheme, the browser would not keep the cookie. The link is never made from the request.
func TestSignInPageAtTheWrongPlace(t *testing.T) {
	t.Parallel()
	c := openHouse(t, func(o *handlers.Options) { o.URL = &url.URL{Scheme: "https", Host: "auth.example"} })
	browser := c.newClient(firefoxOnLinux)
	for name, headers := range map[string][]string{
		"another host": {"Host", "evil.example"}, "http": {"Host", "auth.example"},
		"headers of no trusted proxy": {"Host", "auth.example", "X-Forwarded-Proto", "https", "X-Forwarded-Host", "auth.example"},
		"a planted host":              {"Host", "evil.example", "X-Forwarded-Host", "evil.example", "Forwarded", "host=evil.example"},
	} {
		t.Run(name, func(t *testing.T) {
			got := browser.page("/login?next=%2Faccount", headers...)
			got.is(t, 200)
			got.has(t, "Signing in will not work at this address", `href="https://auth.example/login?next=%2Faccount"`)
			got.lacks(t, "evil.example")
			got = browser.page("/sessions", headers...)
			got.is(t, 303, "/login?next=%2Fsessions")
		})
	}
	t.Run("the right place", func(t *testing.T) {
		c := openHouse(t, func(o *handlers.Options) {
			o.URL = &url.URL{Scheme: "https", Host: "auth.example"}
			o.TrustedProxies = localProxies
		})
		browser := c.newClient(firefoxOnLinux)
		browser.page("/login", "Host", "Auth.example", "X-Forwarded-Proto", "https").lacks(t, "will not work")
		browser.page("/login", "Host", "10.0.0.7:3000", "X-Forwarded-Proto", "https", "X-Forwarded-Host", "auth.example").lacks(t, "will not work")
		browser.page("/login", "Host", "auth.example", "X-Forwarded-Proto", "http").has(t, "will not work")
		browser.page("/login", "Host", "auth.example").has(t, "will not work")
	})
}

// Wherever a link wants to lead, one stays here.
func TestOpenRedirects(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	for _, next := range []string{
		"//evil.example", "///evil.example", "/\\evil.example", "\\\\evil.example", "\\/evil.example", "https://evil.example", "http:evil.example", "https:///evil.example",
		"//user@evil.example", "/%2fevil.example", "/%2Fevil.example", "/%5cevil.example", "/%255cevil.example", "/%252fevil.example", "%2f%2fevil.example", "/\tevil.example",
		"/\n/evil.example", "\t//evil.example", " //evil.example", "/ /evil.example", "/%09/evil.example", "/%0d%0aLocation:%20//evil.example", "/%00//evil.example",
		"javascript:alert(1)", "data:text/html,x", "evil.example", "@evil.example", ".evil.example", "", "/\x7f/evil.example", "/\xff/evil.example", "/" + big("a", 5000),
	} {
		got := c.newClient(firefoxOnLinux).form("/login", "username", "alice", "password", alicePassword, "next", next)
		if to := got.header.Get("Location"); got.status != 303 || to != "/sessions" {
			t.Errorf("%.40q leads to %.60q", next, to)
		}
		got = c.alice.page("/login?next=" + url.QueryEscape(next))
		if to := got.header.Get("Location"); got.status != 303 || to != "/sessions" {
			t.Errorf("%.40q leads to %.60q for who is signed in", next, to)
		}
		c.newClient(firefoxOnLinux).page("/login?next="+url.QueryEscape(next)).lacks(t, `name="next"`)
	}
}

func TestSignOutPage(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	check := c.unchanged()
	for _, who := range []*client{c.alice, c.newClient(firefoxOnLinux)} {
		got := who.page("/logout")
		got.is(t, 200)
		got.has(t, "<h1>Sign out</h1>", `<form class="stack" method="post" action="/logout">`)
		if touched(got) {
			t.Error("reading it touched a cookie")
		}
	}
	check(t)
}

func TestSignOut(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	for name, test := range map[string]struct {
		send   func(*client) answer
		status int
		to     string
		body   string
	}{
		"form":               {func(b *client) answer { return b.form("/logout") }, 303, "/login", ""},
		"htmx":               {func(b *client) answer { return b.htmx("POST", "/logout") }, 303, "/login", ""},
		"script":             {func(b *client) answer { return b.api("POST", "/logout", "") }, 200, "", `{"message":"Logged out"}`},
		"script, JSON":       {func(b *client) answer { return b.api("POST", "/logout", "{}") }, 200, "", `{"message":"Logged out"}`},
		"script, JSON named": {func(b *client) answer { return b.do("POST", "/logout", "", "Accept", "application/json") }, 200, "", `{"message":"Logged out"}`},
	} {
		t.Run(name, func(t *testing.T) {
			browser := c.signIn("alice", alicePassword, firefoxOnLinux)
			token, others := browser.token(), slices.DeleteFunc(c.sessionsOf("alice"), func(id string) bool { return id == browser.id })
			for _, who := range []*client{browser, browser, c.newClient(firefoxOnLinux)} { // signed in, signed out already, never signed in
				got := test.send(who)
				got.is(t, test.status, test.to)
				if test.body != "" && got.body != test.body {
					t.Errorf("%s", got.body)
				}
				if !cleared(got, "porchlight") {
					t.Errorf("Set-Cookie %q", got.header.Get("Set-Cookie"))
				}
				if values := got.header.Values("Clear-Site-Data"); len(values) != 1 || values[0] != `"cache", "storage"` {
					t.Errorf("Clear-Site-Data %q", values)
				}
			}
			if got := c.sessionsOf("alice"); !slices.Equal(got, others) {
				t.Errorf("alice's sessions are %q, want %q", got, others)
			}
			if kinds := c.rows(`SELECT kind FROM activity WHERE session_id = ? ORDER BY id`, browser.id); !slices.Equal(kinds, []string{"signed_in", "signed_out"}) {
				t.Errorf("activity %q", kinds)
			}
			old := []string{"Cookie", "porchlight=" + token}
			stranger := c.newClient(firefoxOnLinux)
			stranger.page("/sessions", old...).is(t, 303, "/login?next=%2Fsessions")
			stranger.do("GET", "/sessions/list", "", append(old, "HX-Request", "true")...).is(t, 401)
			stranger.do("GET", "/me/sessions", "", old...).is(t, 401)
			stranger.page("/login", old...).has(t, signedOutHere)
		})
	}
	t.Run("a body of another type", func(t *testing.T) {
		check := c.unchanged()
		c.alice.do("POST", "/logout", "x=y", "Content-Type", "text/plain").is(t, 415)
		check(t)
	})
	t.Run("every session that the cookies name", func(t *testing.T) {
		one, two := c.signIn("alice", alicePassword, firefoxOnLinux), c.signIn("alice", alicePassword, firefoxOnLinux)
		c.newClient("x").do("POST", "/logout", "", "Cookie", "porchlight="+one.token()+"; porchlight="+two.token()).is(t, 200)
		if left := c.sessionsOf("alice"); slices.Contains(left, one.id) || slices.Contains(left, two.id) {
			t.Error("one of them lives on")
		}
	})
}
