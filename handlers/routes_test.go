package handlers_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"porchlight/handlers"
	"porchlight/handlers/handlerstest"
)

// This file tests what must hold for every route: it needs a session, accepts only the caller's ids, and refuses other methods and
// other sites.

// route is one that needs a session. {id} in its path or its body stands for another session of the caller.
type route struct {
	method string
	path   string
	body   []string // of a form
	json   string
	status int    // when all is well
	ends   string // which sessions it ends: "target", "others", "me" or none
}

var signedInRoutes = []route{
	{method: "GET", path: "/", status: 303},
	{method: "GET", path: "/sessions", status: 200},
	{method: "GET", path: "/sessions/list", status: 200},
	{method: "DELETE", path: "/sessions/{id}", status: 200, ends: "target"},
	{method: "POST", path: "/sessions/{id}/revoke", body: []string{"confirm", "1"}, status: 303, ends: "target"},
	{method: "POST", path: "/sessions/{id}/revoke", status: 200},
	{method: "POST", path: "/sessions/{id}/not-me", body: []string{"confirm", "1"}, status: 303, ends: "others"},
	{method: "POST", path: "/sessions/{id}/not-me", status: 200},
	{method: "POST", path: "/sessions/revoke-others", body: []string{"confirm", "1"}, status: 303, ends: "others"},
	{method: "POST", path: "/sessions/revoke-others", status: 200},
	{method: "POST", path: "/sessions/{id}/name", body: []string{"name", "Kitchen tablet"}, status: 303},
	{method: "GET", path: "/account", status: 200},
	{method: "GET", path: "/account/password", status: 200},
	{method: "POST", path: "/account/devices/AAAAAAAAAAAAAAAAAAAAAAAAAA/forget", status: 303},
	{method: "POST", path: "/account/password", body: []string{"current_password", "not it", "new_password", "x"}, status: 422},
	{method: "GET", path: "/account/security", status: 200},
	{method: "POST", path: "/account/totp/begin", status: 200},
	{method: "POST", path: "/account/totp", body: []string{"code", "000000"}, status: 422}, // it was begun above
	{method: "POST", path: "/account/totp/remove", status: 200},
	{method: "POST", path: "/account/totp/remove", body: []string{"confirm", "1"}, status: 303},
	{method: "POST", path: "/account/recovery-codes", status: 200},
	{method: "POST", path: "/account/recovery-codes", body: []string{"confirm", "1"}, status: 303},
	{method: "GET", path: "/account/email", status: 404}, // without mail; account_email_test.go tests these with it
	{method: "POST", path: "/account/email", body: []string{"email", "alice@example.com"}, status: 404},
	{method: "POST", path: "/account/email/cancel", status: 404},
	{method: "GET", path: "/account/keys", status: 200},
	{method: "POST", path: "/account/keys", body: []string{"host", "notes.example.com"}, status: 422}, // see account_keys_test.go
	{method: "GET", path: "/account/alerts", status: 200},
	{method: "POST", path: "/account/alerts", body: []string{"signed_in", "1"}, status: 303},
	{method: "POST", path: "/account/alerts/test", status: 303},
	{method: "GET", path: "/confirm", status: 303}, // just signed in
	{method: "POST", path: "/confirm", body: []string{"confirm_password", "not it"}, status: 422},
	{method: "POST", path: "/account/passkeys/begin", json: "{}", status: 404}, // at an IP address; passkeys_test.go tests these at a name
	{method: "POST", path: "/account/passkeys", json: "{}", status: 404},
	{method: "POST", path: "/account/passkeys/AAAAAAAAAAAAAAAAAAAAAAAAAA/name", body: []string{"name", "Blue key"}, status: 404},
	{method: "POST", path: "/account/passkeys/AAAAAAAAAAAAAAAAAAAAAAAAAA/remove", body: []string{"confirm", "1"}, status: 404},
	{method: "POST", path: "/confirm/passkey/begin", json: "{}", status: 404},
	{method: "POST", path: "/confirm/passkey", json: "{}", status: 404},
	{method: "POST", path: "/account/delete", body: []string{"password", "not it"}, status: 200},
	{method: "POST", path: "/account/delete", body: []string{"password", "not it", "confirm", "1"}, status: 422},
	{method: "GET", path: "/activity", status: 200},
	{method: "GET", path: "/me/activity", status: 200},
	{method: "GET", path: "/me/export", status: 200},
	{method: "GET", path: "/me/sessions", status: 200},
	{method: "POST", path: "/me/sessions/revoke-all", status: 200, ends: "others"},
	{method: "GET", path: "/me/sessions/current", status: 200},
	{method: "DELETE", path: "/me/sessions/current", status: 204, ends: "me"},
	{method: "DELETE", path: "/me/sessions/{id}", status: 200, ends: "target"},
	{method: "PATCH", path: "/me/sessions/{id}", json: `{"name":"Kitchen tablet"}`, status: 200},
}

var publicRoutes = []string{
	"GET /public/*", "GET /favicon.ico", "GET /healthz", "GET /login", "POST /login", "GET /login/code", "POST /login/code",
	"POST /login/passkey/begin", "POST /login/passkey", "GET /logout", "POST /logout",
	"GET /signup", "POST /signup", "GET /setup", "POST /setup", "GET /invite", "POST /invite",
	"GET /forgot", "POST /forgot", "GET /account/email/confirm", "POST /account/email/confirm",
	"GET /reset", "POST /reset", "GET /not-me", "POST /not-me",
	"GET /.well-known/change-password",
}

func (r route) String() string {
	return fmt.Sprintf("%s %s %v%s", r.method, r.path, r.body, r.json)
}

func (r route) isJSON() bool { return r.json != "" || strings.HasPrefix(r.path, "/me") }

func (r route) at(id string) string { return strings.ReplaceAll(r.path, "{id}", id) }

// send sends the request as the client that the route is for: a script, or a browser without JavaScript.
func (r route) send(c *handlerstest.Client, id string, headers ...string) handlerstest.Answer {
	c.T.Helper()
	switch {
	case r.isJSON() && r.json != "":
		headers = append(headers, "Content-Type", "application/json")
	case !r.isJSON():
		headers = append(headers, "Accept", handlerstest.BrowserAccept)
		if r.method != "GET" {
			headers = append(headers, "Content-Type", "application/x-www-form-urlencoded")
		}
	}
	body := strings.ReplaceAll(handlerstest.Encode(r.body), url.QueryEscape("{id}"), url.QueryEscape(id))
	return c.Do(r.method, r.at(id), body+r.json, headers...)
}

// New routes must be added to the table, so that every test in this file covers them.
func TestEveryRouteIsInTheTable(t *testing.T) {
	t.Parallel()
	known := slices.Clone(publicRoutes)
	for _, r := range signedInRoutes {
		known = append(known, r.method+" "+strings.NewReplacer("{id}", ":id", "AAAAAAAAAAAAAAAAAAAAAAAAAA", ":id").Replace(r.path))
	}
	for _, r := range adminRoutesFor(":id") {
		known = append(known, r.method+" "+strings.ReplaceAll(r.path, "{id}", ":session"))
	}
	app := handlers.New(handlers.Options{URL: &url.URL{Scheme: "http", Host: "localhost"}, Log: slog.New(slog.DiscardHandler)})
	refusing := []string{"/public/*", "/favicon.ico", "/healthz", "/login", "/login/code", "/login/passkey/begin", "/login/passkey",
		"/logout", "/signup", "/setup", "/invite", "/forgot", "/reset", "/not-me", "/account/email/confirm",
		"/.well-known/change-password"} // accept every method, to answer 405
	refusing = append(refusing, "/sessions/events", "/admin/users/:id/events") // never end; events_test.go tests them
	refusing = append(refusing, "/auth/forward", "/auth/nginx",
		"/auth/*") // forward_test.go tests them with every method
	for _, r := range app.GetRoutes(true) {
		name := r.Method + " " + r.Path
		if r.Method == "HEAD" || slices.Contains(known, name) || slices.Contains(refusing, r.Path) {
			continue
		}
		t.Errorf("%s is in no table", name)
	}
}

func TestEveryRouteWorks(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	for _, r := range signedInRoutes {
		t.Run(r.String(), func(t *testing.T) {
			me := c.SignIn("alice", handlerstest.AlicePassword, handlerstest.FirefoxOnLinux)
			target := c.SignIn("alice", handlerstest.AlicePassword, handlerstest.SafariOnIPhone)
			want := c.SessionsOf("alice")
			r.send(me, target.ID).Is(t, r.status)
			want = slices.DeleteFunc(want, func(id string) bool {
				return r.ends == "target" && id == target.ID || r.ends == "others" && id != me.ID || r.ends == "me" && id == me.ID
			})
			if got := c.SessionsOf("alice"); !slices.Equal(got, want) {
				t.Errorf("alice's sessions are %q, want %q", got, want)
			}
			if got := c.SessionsOf("bob"); !slices.Equal(got, []string{c.Bob.ID}) {
				t.Errorf("bob's sessions are %q", got)
			}
		})
	}
}

// Unknown paths and methods are included. Without a session, they look like any other.
var refusedToo = []route{
	{method: "GET", path: "/nowhere"}, {method: "PUT", path: "/sessions"}, {method: "PROPFIND", path: "/sessions"},
	{method: "GET", path: "/sessions/{id}"},
	{method: "GET", path: "/sessions/"}, {method: "GET", path: "/Login"}, {method: "POST", path: "/login/"},
	{method: "GET", path: "/me"}, {method: "GET", path: "/me/nowhere"}, {method: "PUT", path: "/me/sessions"},
	{method: "GET", path: "/me/sessions/{id}"},
}

func TestEveryRouteNeedsASession(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	revoked := c.SignIn("alice", handlerstest.AlicePassword, handlerstest.FirefoxOnLinux)
	expired := c.SignIn("alice", handlerstest.AlicePassword, handlerstest.FirefoxOnLinux)
	c.Alice.API("DELETE", "/me/sessions/"+revoked.ID, "").Is(t, 200)
	c.Exec(`UPDATE sessions SET expires_at = ? WHERE id = ?`, c.Clock.Now().UnixMilli(), expired.ID)
	disabled := c.SignIn("bob", handlerstest.BobPassword, handlerstest.ChromeOnMac)
	c.Exec(`UPDATE users SET disabled = 1 WHERE username = 'bob'`)
	strangers := map[string]string{
		"no cookie": "", "garbage": "porchlight=garbage", "empty": "porchlight=", "invented": "porchlight=ABCDEFGHIJKLMNOPQRSTUVWXYZ",
		"revoked": "porchlight=" + revoked.Token(), "expired": "porchlight=" + expired.Token(), "disabled": "porchlight=" + disabled.Token(),
	}
	anybody := c.NewClient(handlerstest.FirefoxOnLinux)
	check := c.Unchanged()
	for name, cookie := range strangers {
		for _, r := range slices.Concat(signedInRoutes, adminRoutesFor("2"), refusedToo) {
			t.Run(name+" "+r.String(), func(t *testing.T) {
				path := r.at(c.Alice.ID) + "?page=2&x=%26"
				r.path = path
				headers := []string{}
				if cookie != "" {
					headers = append(headers, "Cookie", cookie)
				}
				got := r.send(anybody, "", headers...)
				if got.Header.Get("Set-Cookie") != "" {
					t.Errorf("the cookie was set or deleted: %q", got.Header.Get("Set-Cookie"))
				}
				if r.isJSON() {
					got.Is(t, 401, "")
					if got.Body != `{"error":"Not signed in."}` || got.Header.Get("Content-Type") != "application/json" {
						t.Errorf("not signed in: %s %q", got.Header.Get("Content-Type"), got.Body)
					}
					return
				}
				next := url.QueryEscape(path)
				if r.method != "GET" {
					next = "%2Fsessions"
				}
				got.Is(t, 303, "/login?next="+next)
				got = r.send(anybody, "", append(headers, "HX-Request", "true", "HX-Current-URL", c.URL+"/sessions?all=1")...)
				got.Is(t, 401, "")
				if to := got.Header.Get("HX-Redirect"); to != "/login?next=%2Fsessions%3Fall%3D1" {
					t.Errorf("HX-Redirect %q", to)
				}
				got.Lacks(t, "<form", "Sign in")
			})
		}
	}
	check(t)
}

// The client can write anything into HX-Current-URL.
func TestNotSignedInNextOfHTMX(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenHouse(t)
	for current, next := range map[string]string{
		"":                              "/sessions",
		"http://x/account?a=b#c":        "/account?a=b",
		"https://evil.example/account":  "/account",
		"http://x//evil.example":        "/sessions",
		"http://x/%5cevil.example":      "/sessions",
		"http://x/%2f%2fevil.example":   "/sessions",
		"javascript:alert(1)":           "/sessions",
		"::not a url":                   "/sessions",
		"http://x/" + big("a", 5000):    "/sessions",
		"http://x":                      "/sessions",
		"http://user:secret@x/account?": "/account?",
	} {
		got := c.NewClient(handlerstest.FirefoxOnLinux).Do("GET", "/sessions/list", "", "HX-Request", "true", "HX-Current-URL", current)
		if to := got.Header.Get("HX-Redirect"); got.Status != 401 || to != "/login?next="+url.QueryEscape(next) {
			t.Errorf("%.60q: %d %q, want next %q", current, got.Status, to, next)
		}
	}
}

func big(text string, count int) string { return strings.Repeat(text, count) }

// Another user's session, one that has ended, and one that never existed get exactly the same response.
func TestEveryRouteRefusesSomebodyElsesID(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	ended := c.SignIn("alice", handlerstest.AlicePassword, handlerstest.FirefoxOnLinux)
	c.Alice.API("DELETE", "/me/sessions/"+ended.ID, "").Is(t, 200)
	expired := c.SignIn("alice", handlerstest.AlicePassword, handlerstest.FirefoxOnLinux)
	c.Exec(`UPDATE sessions SET expires_at = ? WHERE id = ?`, c.Clock.Now().UnixMilli(), expired.ID)
	check := c.Unchanged()
	for _, r := range signedInRoutes {
		if !strings.Contains(r.path, "{id}") {
			continue
		}
		t.Run(r.String(), func(t *testing.T) {
			unknown := r.send(c.Alice, "AAAAAAAAAAAAAAAAAAAAAAAAAA")
			switch {
			case r.isJSON():
				unknown.Is(t, 404)
				if unknown.Body != `{"error":"Session not found"}` {
					t.Errorf("an unknown session: %s", unknown.Body)
				}
			case r.method == "DELETE":
				unknown.Is(t, 200)
				unknown.Has(t, "That device was already signed out. The list is up to date.")
			default:
				unknown.Is(t, 303, "/sessions?done=gone")
			}
			for name, id := range map[string]string{"bob's": c.Bob.ID, "ended": ended.ID, "expired": expired.ID, "strange": "%27%20OR%201=1--"} {
				got := r.send(c.Alice, id)
				got.Header.Del("Date")
				unknown.Header.Del("Date")
				if got.Status != unknown.Status || got.Body != unknown.Body || fmt.Sprint(got.Header) != fmt.Sprint(unknown.Header) {
					t.Errorf("%s answers %d %v %s, an unknown one %d %v %s", name, got.Status, got.Header, got.Body, unknown.Status, unknown.Header,
						unknown.Body)
				}
			}
		})
	}
	check(t)
	c.Bob.API("GET", "/me/sessions/current", "").Is(t, 200)
}

func TestWrongMethod(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	methods := []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "REPORT", "LOCK"}
	check := c.Unchanged()
	for path, allowed := range map[string]string{
		"/": "GET, HEAD", "/sessions": "GET, HEAD", "/sessions/revoke-others": "DELETE, POST", // DELETE, because the path may be an id
		"/sessions/{id}": "DELETE", "/sessions/{id}/revoke": "POST", "/sessions/{id}/name": "POST", "/sessions/{id}/not-me": "POST",
		"/account": "GET, HEAD", "/account/password": "GET, HEAD, POST", "/account/keys": "GET, HEAD, POST", "/admin/proxy": "GET, HEAD",
		"/me/sessions": "GET, HEAD", "/me/sessions/revoke-all": "DELETE, PATCH, POST", "/me/sessions/current": "DELETE, GET, HEAD, PATCH",
		"/me/sessions/{id}": "DELETE, PATCH",
		"/login":            "GET, HEAD, POST", "/logout": "GET, HEAD, POST", "/signup": "GET, HEAD, POST", "/setup": "GET, HEAD, POST",
		"/forgot": "GET, HEAD, POST", "/reset": "GET, HEAD, POST", "/not-me": "GET, HEAD, POST", "/account/email/confirm": "GET, HEAD, POST",
		"/.well-known/change-password": "GET, HEAD",
		"/login/passkey":               "POST", "/login/passkey/begin": "POST", "/account/passkeys": "POST",
		"/healthz": "GET, HEAD", "/favicon.ico": "GET, HEAD", "/public/app.css": "GET, HEAD",
	} {
		for _, method := range methods {
			if slices.Contains(strings.Split(allowed, ", "), method) {
				continue
			}
			t.Run(method+" "+path, func(t *testing.T) {
				got := c.Alice.Do(method, strings.ReplaceAll(path, "{id}", c.AlicePhone.ID), "", "Accept", handlerstest.BrowserAccept)
				got.Is(t, http.StatusMethodNotAllowed)
				allow := strings.Split(got.Header.Get("Allow"), ", ")
				slices.Sort(allow)
				if strings.Join(allow, ", ") != allowed {
					t.Errorf("Allow: %q, want %q", allow, allowed)
				}
				if strings.HasPrefix(path, "/me") && method != "HEAD" && got.Body != `{"error":"This cannot be done here."}` {
					t.Errorf("%q is not the JSON error", got.Body)
				}
			})
		}
	}
	check(t)
}

func TestUnknownPath(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	for _, path := range []string{"/nowhere", "/sessions/", "/Sessions", "/account/nowhere", "/favicon.ico/", "/public/nowhere.css",
		"/public/../handlers.go", "/public/%2e%2e/views.go", "/public/"} {
		got := c.Alice.Page(path)
		got.Is(t, 404)
		got.Has(t, "<h1>There is nothing here</h1>", "<title>Error: There is nothing here – Porchlight</title>")
	}
	for _, path := range []string{"/me", "/me/", "/me/nowhere", "/me/sessions/", "/me/sessions/current/"} {
		got := c.Alice.Page(path)
		got.Is(t, 404)
		if got.Body != `{"error":"There is nothing here."}` {
			t.Errorf("%s: %s", path, got.Body)
		}
	}
}

// Responses to unknown methods have the security headers, too.
func TestUnknownMethod(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	check := c.Unchanged()
	for _, method := range []string{"ACL", "BASELINE-CONTROL", "BIND", "BREW", "COPY", "get", "LABEL", "LOCK", "M-SEARCH", "MKCALENDAR",
		"MKCOL", "MKREDIRECTREF", "MOVE", "ORDERPATCH",
		"PRI", "PROPFIND", "PROPPATCH", "QUERY", "REPORT", "SEARCH", "SOURCE", "UNCHECKOUT", "UPDATE", "UPDATEREDIRECTREF", "VERSION-CONTROL",
		"X"} {
		t.Run(method, func(t *testing.T) {
			for _, path := range []string{"/sessions", "/login", "/me/sessions", "/public/app.css"} {
				got := c.Raw(method + " " + path + " HTTP/1.1\r\nHost: x\r\nCookie: porchlight=" + c.Alice.Token() + "\r\n\r\n")
				if got.Status < 400 || got.Status >= 500 && got.Status != 501 {
					t.Errorf("status %d", got.Status)
				}
				checkSecurityHeaders(t, got)
			}
		})
	}
	check(t)
}
