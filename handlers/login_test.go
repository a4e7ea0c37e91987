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
	"porchlight/handlers/handlerstest"
)

// This file tests signing in: the input, the responses, and the cookie.

const wrongPassword = "That username or password isn't right."

// newCookie matches the cookie of a sign-in, which lasts 30 days; sharedCookie, that on a shared computer, which ends with the browser.
var (
	newCookie    = regexp.MustCompile(`^porchlight=[A-Z2-7]{26}; max-age=2592000; path=/; HttpOnly; SameSite=Lax$`)
	sharedCookie = regexp.MustCompile(`^porchlight=[A-Z2-7]{26}; path=/; HttpOnly; SameSite=Lax$`)
)

// cleared reports whether the response deletes the cookie.
func cleared(got handlerstest.Answer, name string) bool {
	for _, cookie := range (&http.Response{Header: got.Header}).Cookies() {
		if cookie.Name == name && cookie.Value == "" && cookie.Path == "/" && cookie.HttpOnly &&
			(cookie.MaxAge < 0 || !cookie.Expires.IsZero() && cookie.Expires.Year() < 2000) {
			return true
		}
	}
	return false
}

// newDeviceCookie matches the cookie of a browser that is remembered. No other host gets it, whatever the cookie domain is.
var newDeviceCookie = regexp.MustCompile(`^(porchlight-device=[A-Z2-7]{26}; max-age=34560000; path=/; HttpOnly|` +
	`__Host-porchlight-device=[A-Z2-7]{26}; max-age=34560000; path=/; HttpOnly; secure); SameSite=Lax$`)

var formField = regexp.MustCompile(`name="form" value="[A-Z2-7]{26}"`)

// withoutFormID returns a page without the random id of its form.
func withoutFormID(page string) string { return formField.ReplaceAllString(page, "") }

// touched reports whether the response sets or deletes a cookie.
func touched(got handlerstest.Answer) bool { return got.Header.Get("Set-Cookie") != "" }

func TestSignInByForm(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	browser := c.NewClient(handlerstest.FirefoxOnLinux)
	got := browser.Form("/login", "username", "  ALICE ", "password", handlerstest.AlicePassword, "next", "/account?x=1")
	got.Is(t, 303, "/account?x=1")
	if cookies := got.Header.Values("Set-Cookie"); len(cookies) != 2 || !newCookie.MatchString(cookies[0]) ||
		!newDeviceCookie.MatchString(cookies[1]) {
		t.Errorf("Set-Cookie %q", cookies)
	}
	row := c.Only(`SELECT u.username, s.detected_name, s.device_kind, s.user_agent, s.ip, s.shared, s.custom_name,
			s.last_active_at - s.created_at, s.expires_at - s.created_at
		FROM sessions s JOIN users u ON u.id = s.user_id WHERE s.token_hash = unhex(?)`, handlerstest.SHA256Hex(browser.Token()))
	want := "alice Firefox on Linux desktop " + handlerstest.FirefoxOnLinux + " 127.0.0.1 0  0 1209600000"
	if row != want {
		t.Errorf("the row is\n %s, want\n %s", row, want)
	}
	last := c.Rows(`SELECT kind, ip, device_name, done_by FROM activity ORDER BY id DESC LIMIT 1`)
	if last[0] != "signed_in 127.0.0.1 Firefox on Linux Firefox on Linux" {
		t.Errorf("activity %q", last)
	}
	browser.Page("/sessions").Is(t, 200)
}

func TestSignInByEmail(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenHouse(t)
	if _, err := c.Store.CreateUser(context.Background(), db.NewUser{
		Username: "alice", Email: "Alice@example.com", Password: handlerstest.AlicePassword,
	}); err != nil {
		t.Fatal(err)
	}
	got := c.NewClient("curl/8.5.0").API("POST", "/login", `{"username":"alice@EXAMPLE.com","password":"`+handlerstest.AlicePassword+`"}`)
	got.Is(t, 200)
	if got.Body != `{"username":"alice"}` {
		t.Errorf("the body is %s", got.Body)
	}
}

func TestSignInOnASharedComputer(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	for name, sign := range map[string]func(*handlerstest.Client) handlerstest.Answer{
		"form": func(b *handlerstest.Client) handlerstest.Answer {
			return b.Form("/login", "username", "alice", "password", handlerstest.AlicePassword, "shared", "1")
		},
		"JSON": func(b *handlerstest.Client) handlerstest.Answer {
			return b.API("POST", "/login", `{"username":"alice","password":"`+handlerstest.AlicePassword+`","shared":true}`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			browser := c.NewClient(handlerstest.FirefoxOnLinux)
			got := sign(browser)
			if cookies := got.Header.Values("Set-Cookie"); len(cookies) != 1 || !sharedCookie.MatchString(cookies[0]) {
				t.Errorf("Set-Cookie %q", cookies)
			}
			row := c.Only(`SELECT shared, expires_at - created_at FROM sessions WHERE token_hash = unhex(?)`,
				handlerstest.SHA256Hex(browser.Token()))
			if row != "1 1800000" {
				t.Errorf("shared and milliseconds: %s", row)
			}
		})
	}
	browser := c.NewClient(handlerstest.FirefoxOnLinux)
	browser.Form("/login", "username", "alice", "password", handlerstest.AlicePassword, "shared", "1").Is(t, 303)
	c.Clock.Advance(30 * time.Minute)
	browser.API("GET", "/me/sessions", "").Is(t, 401)
	c.Alice.API("GET", "/me/sessions", "").Is(t, 200)
}

// Every failure has the same message and status. The form keeps what was typed, except the password.
func TestSignInFails(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	c.AddUser("carol", "basalt umbrella crayon fjord")
	c.Exec(`UPDATE users SET disabled = 1 WHERE username = 'carol'`)
	check := c.Unchanged()
	var pages, scripts []string
	for name, password := range map[string]string{
		"alice": handlerstest.BobPassword,
		"nobod": handlerstest.AlicePassword,
		"carol": "basalt umbrella crayon fjord",
		"Alice": handlerstest.AlicePassword + " ",
		"bob&b": "",
	} {
		browser := c.NewClient(handlerstest.FirefoxOnLinux)
		got := browser.Form("/login", "username", name, "password", password, "shared", "1", "next", "/account?x=1")
		got.Is(t, 422)
		got.Has(t, html.EscapeString(wrongPassword), `name="next" value="/account?x=1"`, `value="1" aria-describedby="shared-hint" checked`)
		if touched(got) {
			t.Errorf("%s: a cookie was set", name)
		}
		if password != "" {
			got.Lacks(t, password)
		}
		page := strings.ReplaceAll(withoutFormID(got.Body), "bob&amp;b", "NAME")
		pages = append(pages, strings.ReplaceAll(page, `value="`+name+`"`, `value="NAME"`))

		got = browser.API("POST", "/login", `{"username":"`+name+`","password":"`+password+`"}`)
		got.Is(t, 401)
		scripts = append(scripts, got.Body)
		if touched(got) {
			t.Errorf("%s: a cookie was set", name)
		}
	}
	for i := range pages {
		if pages[i] != pages[0] {
			t.Errorf("pages differ:\n%s\n%s", pages[i], pages[0])
		}
		if scripts[i] != `{"error":"`+wrongPassword+`"}` {
			t.Errorf("the body is %s", scripts[i])
		}
	}
	check(t)
	if err := c.Store.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	c.SameRows(t, []string{"alice 4", "carol 2"},
		`SELECT u.username, SUM(a.count) FROM activity a JOIN users u ON u.id = a.user_id
			WHERE a.kind = 'sign_in_failed' GROUP BY 1 ORDER BY 1`)
}

func TestSignInByJSON(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	const good = `{"username":"alice","password":"` + handlerstest.AlicePassword + `"}`
	const form = "application/x-www-form-urlencoded"
	for name, test := range map[string]struct {
		kind, body string
		status     int
		answer     string // "" means any error
	}{
		"good":           {"application/json", good, 200, `{"username":"alice"}`},
		"with a charset": {"application/json; charset=utf-8", good, 200, `{"username":"alice"}`},
		"unknown keys": {"application/json", `{"remember":true,"next":"//evil.example","x":{},"username":"alice","password":"` +
			handlerstest.AlicePassword + `","shared":false}`, 200, `{"username":"alice"}`},
		"a form": {form, handlerstest.Encode([]string{"username", "alice", "password", handlerstest.AlicePassword}), 200,
			`{"username":"alice"}`},
		"wrong":            {"application/json", `{"username":"alice","password":"x"}`, 401, `{"error":"` + wrongPassword + `"}`},
		"wrong by form":    {form, "username=alice&password=x", 401, `{"error":"` + wrongPassword + `"}`},
		"empty strings":    {"application/json", `{"username":"","password":""}`, 401, `{"error":"` + wrongPassword + `"}`},
		"malformed":        {"application/json", `{"username":"alice",`, 400, ""},
		"not JSON":         {"application/json", `username=alice`, 400, ""},
		"two values":       {"application/json", good + good, 400, ""},
		"only a space":     {"application/json", " ", 400, ""},
		"nothing":          {"application/json", "", 422, ""},
		"nothing, no type": {"", "", 422, ""},
		"no keys":          {"application/json", `{}`, 422, ""},
		"null":             {"application/json", `null`, 422, ""},
		"no password":      {"application/json", `{"username":"alice"}`, 422, ""},
		"no username":      {"application/json", `{"password":"` + handlerstest.AlicePassword + `"}`, 422, ""},
		"null password":    {"application/json", `{"username":"alice","password":null}`, 422, ""},
		"a number":         {"application/json", `{"username":"alice","password":15}`, 422, ""},
		"a list":           {"application/json", `{"username":["alice"],"password":"` + handlerstest.AlicePassword + `"}`, 422, ""},
		"an object":        {"application/json", `{"username":"alice","password":{"$ne":""}}`, 422, ""},
		"shared is a string": {"application/json", `{"username":"alice","password":"` + handlerstest.AlicePassword + `","shared":"1"}`,
			422, ""},
		"an array":      {"application/json", `[` + good + `]`, 422, ""},
		"a string":      {"application/json", `"alice"`, 422, ""},
		"no type":       {"", good, 415, ""},
		"text":          {"text/plain", good, 415, ""},
		"XML":           {"application/xml", good, 415, ""},
		"almost JSON":   {"application/jsonp", good, 415, ""},
		"a JSON suffix": {"application/vnd.api+json", good, 415, ""},
		"multipart": {"multipart/form-data; boundary=x",
			"--x\r\nContent-Disposition: form-data; name=\"username\"\r\n\r\nalice\r\n--x--\r\n", 415, ""},
		"an invalid type":           {"/;=", good, 415, ""},
		"deeply nested":             {"application/json", big("[", 20000), 400, ""},
		"bytes that are not UTF-8":  {"application/json", "{\"username\":\"\xff\",\"password\":\"\xfe\"}", 401, ""},
		"a byte order mark":         {"application/json", "\ufeff" + good, 400, ""},
		"a very long password":      {"application/json", `{"username":"alice","password":"` + big("x", 60000) + `"}`, 401, ""},
		"a NUL in the name":         {"application/json", `{"username":"alice\u0000","password":"` + handlerstest.AlicePassword + `"}`, 401, ""},
		"percent signs in the form": {form, "username=alice%&password=%zz%", 401, ""},
	} {
		t.Run(name, func(t *testing.T) {
			before := c.SessionsOf("alice")
			headers := []string{"Accept", "*/*"}
			if test.kind != "" {
				headers = append(headers, "Content-Type", test.kind)
			}
			got := c.NewClient("curl/8.5.0").Do("POST", "/login", test.body, headers...)
			got.Is(t, test.status, "")
			if test.answer != "" && got.Body != test.answer {
				t.Errorf("%s, want %s", got.Body, test.answer)
			}
			if test.answer == "" && !regexp.MustCompile(`^{"error":"[^"]+"}$`).MatchString(got.Body) {
				t.Errorf("%s is not an error", got.Body)
			}
			if got.Header.Get("Content-Type") != "application/json" {
				t.Errorf("Content-Type %q", got.Header.Get("Content-Type"))
			}
			more := len(c.SessionsOf("alice")) - len(before)
			if ok := test.status == 200; touched(got) != ok || (more == 1) != ok {
				t.Errorf("cookie set: %v; new sessions: %d", touched(got), more)
			}
		})
	}
}

// Clients that accept text/html by name, and htmx, get pages. All others get JSON.
func TestWhichClientsGetPages(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	const form = "application/x-www-form-urlencoded"
	for name, test := range map[string]struct {
		headers []string
		status  int
	}{
		"browser":    {[]string{"Accept", handlerstest.BrowserAccept}, 422},
		"upper case": {[]string{"Accept", "TEXT/HTML"}, 422},
		"later":      {[]string{"Accept", "application/json, text/html;q=0.1"}, 422},
		"htmx":       {[]string{"HX-Request", "true", "Accept", "*/*"}, 422},
		"anything":   {[]string{"Accept", "*/*"}, 401},
		"any text":   {[]string{"Accept", "text/*"}, 401},
		"JSON":       {[]string{"Accept", "application/json"}, 401},
		"nothing":    {nil, 401},
		"text/html5": {[]string{"Accept", "text/html5"}, 401},
	} {
		got := c.NewClient("x").Do("POST", "/login", "username=alice&password=x", append(test.headers, "Content-Type", form)...)
		if got.Status != test.status || strings.HasPrefix(got.Body, "{") != (test.status == 401) {
			t.Errorf("%s: %d %.60s", name, got.Status, got.Body)
		}
		got = c.NewClient("x").Do("POST", "/logout", "", test.headers...)
		if (got.Status == 200) != (test.status == 401) {
			t.Errorf("%s: signing out: %d", name, got.Status)
		}
	}
	got := c.NewClient("x").Do("POST", "/login", `{"username":"alice","password":"x"}`, "Accept", handlerstest.BrowserAccept,
		"Content-Type", "application/json")
	got.Is(t, 415)
	got.Has(t, "<h1>")
}

// URLs end up in histories and logs, so no secret is read from them.
func TestCredentialsInTheQueryAreIgnored(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	check := c.Unchanged()
	query := "/login?" + handlerstest.Encode([]string{"username", "alice", "password", handlerstest.AlicePassword})
	stranger := c.NewClient("curl/8.5.0")
	stranger.API("POST", query, "").Is(t, 422)
	stranger.API("POST", query, "{}").Is(t, 422)
	stranger.Form(query).Is(t, 422)
	stranger.Form(query, "username", "alice").Is(t, 422)
	stranger.Page(query).Is(t, 200)
	stranger.Page(query).Lacks(t, handlerstest.AlicePassword)
	if stranger.Token() != "" {
		t.Error("signed in with the query")
	}
	got := stranger.Form("/login?next=%2Faccount", "username", "alice", "password", "x")
	got.Lacks(t, `name="next"`)
	check(t)
}

// A browser has one session: signing in ends its previous one, even another user's. A token that the browser sends is never adopted.
func TestSignInReplaces(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	for _, who := range []string{"alice", "bob"} {
		t.Run(who, func(t *testing.T) {
			browser := c.SignIn("alice", handlerstest.AlicePassword, handlerstest.FirefoxOnLinux)
			old, oldID := browser.Token(), browser.ID
			others := slices.DeleteFunc(c.SessionsOf("alice"), func(id string) bool { return id == oldID })
			password := map[string]string{"alice": handlerstest.AlicePassword, "bob": handlerstest.BobPassword}[who]
			browser.Form("/login", "username", who, "password", password).Is(t, 303, "/sessions")
			if browser.Token() == old {
				t.Error("the token was kept")
			}
			for _, id := range others {
				if !slices.Contains(c.SessionsOf("alice"), id) {
					t.Error("another session ended")
				}
			}
			if slices.Contains(c.SessionsOf("alice"), oldID) {
				t.Error("the previous session is still there")
			}
			kind := c.Only(`SELECT kind, done_by FROM activity WHERE session_id = ? ORDER BY id DESC LIMIT 1`, oldID)
			if kind != "replaced Firefox on Linux" {
				t.Errorf("activity: %s", kind)
			}
			c.NewClient("x").Do("GET", "/me/sessions", "", "Cookie", "porchlight="+old).Is(t, 401)
			browser.API("GET", "/me/sessions", "").Is(t, 200)
		})
	}
	t.Run("a wrong password replaces nothing", func(t *testing.T) {
		check := c.Unchanged()
		c.Alice.Form("/login", "username", "bob", "password", "x").Is(t, 422)
		check(t)
		c.Alice.API("GET", "/me/sessions", "").Is(t, 200)
	})
	t.Run("a planted token is not adopted", func(t *testing.T) {
		planted := "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
		got := c.NewClient("x").Do("POST", "/login", "username=alice&password="+url.QueryEscape(handlerstest.AlicePassword),
			"Content-Type", "application/x-www-form-urlencoded", "Cookie", "porchlight="+planted)
		got.Is(t, 200)
		if strings.Contains(got.Header.Get("Set-Cookie"), planted) {
			t.Error("the planted token was adopted")
		}
		c.NewClient("x").Do("GET", "/me/sessions", "", "Cookie", "porchlight="+planted).Is(t, 401)
	})
}

func TestCookieWithHTTPS(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenHouse(t, func(o *handlers.Options) { o.URL = &url.URL{Scheme: "https", Host: "auth.example"} })
	c.AddUser("alice", handlerstest.AlicePassword)
	browser := c.NewClient(handlerstest.FirefoxOnLinux)
	got := browser.Form("/login", "username", "alice", "password", handlerstest.AlicePassword)
	cookie := got.Header.Get("Set-Cookie")
	if device := got.Header.Values("Set-Cookie")[1:]; len(device) != 1 || !newDeviceCookie.MatchString(device[0]) ||
		!regexp.MustCompile(`^__Host-porchlight=[A-Z2-7]{26}; max-age=2592000; path=/; HttpOnly; secure; SameSite=Lax$`).MatchString(cookie) {
		t.Errorf("Set-Cookie %q", got.Header.Values("Set-Cookie"))
	}
	pair, _, _ := strings.Cut(cookie, ";")
	browser = c.NewClient(handlerstest.FirefoxOnLinux)
	browser.Do("GET", "/me/sessions", "", "Cookie", pair).Is(t, 200)
	browser.Do("GET", "/me/sessions", "", "Cookie", strings.TrimPrefix(pair, "__Host-")).Is(t, 401)
	got = browser.Do("POST", "/logout", "", "Cookie", pair)
	if !cleared(got, "__Host-porchlight") || !strings.Contains(strings.ToLower(got.Header.Get("Set-Cookie")), "; secure") {
		t.Errorf("Set-Cookie %q: browsers reject the prefix without Secure", got.Header.Get("Set-Cookie"))
	}
	browser.Do("GET", "/me/sessions", "", "Cookie", pair).Is(t, 401)
}
