package handlers_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"porchlight/db"
	"porchlight/handlers"
	"porchlight/handlers/handlerstest"
)

// This file has the setup for all tests of forward auth: Porchlight at auth.example.com, the apps under example.com, and a
// trusted reverse proxy on 127.0.0.1.

const (
	publicURL = "http://auth.example.com"
	notes     = "notes.example.com"
)

func behindProxy(o *handlers.Options) {
	o.URL = &url.URL{Scheme: "http", Host: "auth.example.com"}
	o.CookieDomain = "example.com"
	o.TrustedProxies = localProxies
}

// appRequest is the request to an app that an auth check is about.
type appRequest struct{ method, scheme, host, uri string }

// toNotes is an ordinary request, which tests modify.
var toNotes = appRequest{"GET", "http", notes, "/"}

func (a appRequest) by(method string) appRequest { a.method = method; return a }
func (a appRequest) as(scheme string) appRequest { a.scheme = scheme; return a }
func (a appRequest) of(host string) appRequest   { a.host = host; return a }
func (a appRequest) at(uri string) appRequest    { a.uri = uri; return a }
func (a appRequest) address() string             { return a.scheme + "://" + a.host + a.uri }
func (a appRequest) forwarded() []string {
	return []string{"X-Forwarded-Method", a.method, "X-Forwarded-Proto", a.scheme, "X-Forwarded-Host", a.host, "X-Forwarded-Uri", a.uri}
}
func (a appRequest) original() []string {
	return []string{"X-Original-Method", a.method, "X-Original-URL", a.address()}
}
func signInFor(address string) string { return publicURL + "/login?next=" + url.QueryEscape(address) }
func withCookie(tokens ...string) string {
	return "porchlight=" + strings.Join(tokens, "; porchlight=")
}

// endpoint is one of the two for auth checks, with the headers that describe the request.
type endpoint struct {
	path    string
	headers func(appRequest) []string
}

var (
	forward   = endpoint{"/auth/forward", appRequest.forwarded}
	nginx     = endpoint{"/auth/nginx", appRequest.original}
	endpoints = []endpoint{forward, nginx}
)

// ask sends an auth check with GET, as Caddy, nginx and Traefik do. The headers are the client's own.
func (e endpoint) ask(c *handlerstest.Client, a appRequest, headers ...string) handlerstest.Answer {
	c.T.Helper()
	return c.Do("GET", e.path, "", slices.Concat(e.headers(a), headers)...)
}

// raw returns a whole request that no well-behaved client would send. The headers are pairs of name and value.
func (e endpoint) raw(method string, headers ...string) string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s %s HTTP/1.1\r\nHost: auth.example.com\r\nConnection: close\r\n", method, e.path)
	for i := 0; i < len(headers); i += 2 {
		text.WriteString(headers[i] + ": " + headers[i+1] + "\r\n")
	}
	return text.String() + "\r\n"
}

// navigating has the headers of a person who follows a link, fetching those of a script on a page.
var (
	navigating = []string{"Sec-Fetch-Mode", "navigate", "Accept", handlerstest.BrowserAccept}
	fetching   = []string{"Sec-Fetch-Mode", "cors", "Accept", "*/*"}
)

func flush(h *handlerstest.House) {
	h.T.Helper()
	if err := h.Store.Flush(context.Background()); err != nil {
		h.T.Fatal(err)
	}
}

// noTrace returns a function that checks that nothing was written since, neither to the database nor to the log.
func noTrace(h *handlerstest.House) func(testing.TB) {
	h.T.Helper()
	flush(h)
	before, log := everything(h), h.Log.String()
	return func(t testing.TB) {
		t.Helper()
		flush(h)
		if after := everything(h); !slices.Equal(after, before) {
			t.Errorf("the database was changed:\n got %q\nwant %q", after, before)
		}
		if added := strings.TrimPrefix(h.Log.String(), log); added != "" {
			t.Errorf("the log was written to: %.500s", added)
		}
	}
}

// allow opens a host to these users only, or to administrators only if none is named.
func allow(h *handlerstest.House, host string, users ...string) {
	h.T.Helper()
	allowMore(h, db.AppRule{Host: host, Admins: len(users) == 0, Users: users})
}

func allowMore(h *handlerstest.House, more db.AppRule) {
	h.T.Helper()
	if _, err := h.Store.AllowApp(context.Background(), db.CommandLine, more); err != nil {
		h.T.Fatal(err)
	}
}

// setGroups replaces the groups of a user.
func setGroups(h *handlerstest.House, username string, groups ...string) {
	h.T.Helper()
	if err := h.Store.ChangeUser(context.Background(), db.CommandLine, username, db.UserChange{Groups: &groups}); err != nil {
		h.T.Fatal(err)
	}
}

// passes fails the test unless the response lets this user pass.
func passes(t testing.TB, a handlerstest.Answer, username string) {
	t.Helper()
	a.Is(t, 200, "")
	if a.Body != "" || a.Header.Get("Remote-User") != username {
		t.Errorf("body %q, Remote-User %q, want %q", a.Body, a.Header.Get("Remote-User"), username)
	}
}

// stops fails the test unless the response is a refusal with this status that identifies no user.
func stops(t testing.TB, a handlerstest.Answer, status int, location string) {
	t.Helper()
	a.Is(t, status, location)
	for name := range a.Header {
		if strings.HasPrefix(name, "Remote-") || name == "Cookie" || name == "Authorization" {
			t.Errorf("%d with %s: %q", a.Status, name, a.Header[name])
		}
	}
	checkVerdict(t, a)
}

// checkVerdict checks what must hold for every response to a proxy.
func checkVerdict(t testing.TB, a handlerstest.Answer) {
	t.Helper()
	if a.Header.Get("Cache-Control") != "no-store" || touched(a) {
		t.Errorf("Cache-Control %q, Set-Cookie %q", a.Header.Get("Cache-Control"), a.Header.Get("Set-Cookie"))
	}
	checkSecurityHeaders(t, a)
}

// handed returns the only cookie that a response sets, besides the device cookie.
func handed(t testing.TB, got handlerstest.Answer) *http.Cookie {
	t.Helper()
	cookies := (&http.Response{Header: got.Header}).Cookies()
	cookies = slices.DeleteFunc(cookies, func(cookie *http.Cookie) bool { return strings.HasSuffix(cookie.Name, "porchlight-device") })
	if len(cookies) != 1 {
		t.Fatalf("%d: Set-Cookie %q, want one", got.Status, got.Header.Values("Set-Cookie"))
	}
	return cookies[0]
}
