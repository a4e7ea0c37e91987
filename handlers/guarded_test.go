package handlers_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"porchlight/handlers"
)

// This file owns the scene of every test of forward auth: Porchlight at auth.example.com, the apps below example.com, and a
// reverse proxy on 127.0.0.1 that is trusted.

const (
	publicURL = "http://auth.example.com"
	notes     = "notes.example.com"
)

func behindProxy(o *handlers.Options) {
	o.URL = &url.URL{Scheme: "http", Host: "auth.example.com"}
	o.CookieDomain = "example.com"
	o.TrustedProxies = localProxies
}

// asked is the request to an app that a proxy asks about.
type asked struct{ method, scheme, host, uri string }

// toNotes is the most ordinary one; a test changes what it is about.
var toNotes = asked{"GET", "http", notes, "/"}

func (a asked) by(method string) asked { a.method = method; return a }
func (a asked) as(scheme string) asked { a.scheme = scheme; return a }
func (a asked) of(host string) asked   { a.host = host; return a }
func (a asked) at(uri string) asked    { a.uri = uri; return a }
func (a asked) address() string        { return a.scheme + "://" + a.host + a.uri }
func (a asked) forwarded() []string {
	return []string{"X-Forwarded-Method", a.method, "X-Forwarded-Proto", a.scheme, "X-Forwarded-Host", a.host, "X-Forwarded-Uri", a.uri}
}
func (a asked) original() []string {
	return []string{"X-Original-Method", a.method, "X-Original-URL", a.address()}
}
func signInFor(address string) string { return publicURL + "/login?next=" + url.QueryEscape(address) }
func withCookie(tokens ...string) string {
	return "porchlight=" + strings.Join(tokens, "; porchlight=")
}

// endpoint is one that proxies ask, and how they tell what they ask about.
type endpoint struct {
	path string
	tell func(asked) []string
}

var (
	forward   = endpoint{"/auth/forward", asked.forwarded}
	nginx     = endpoint{"/auth/nginx", asked.original}
	endpoints = []endpoint{forward, nginx}
)

// ask asks with GET, as Caddy, nginx and Traefik do. The headers are the client's own.
func (e endpoint) ask(c *client, a asked, headers ...string) answer {
	c.t.Helper()
	return c.do("GET", e.path, "", slices.Concat(e.tell(a), headers)...)
}

// raw is a whole request, for what no well-behaved client would send; headers are pairs of name and value.
func (e endpoint) raw(method string, headers ...string) string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s %s HTTP/1.1\r\nHost: auth.example.com\r\nConnection: close\r\n", method, e.path)
	for i := 0; i < len(headers); i += 2 {
		text.WriteString(headers[i] + ": " + headers[i+1] + "\r\n")
	}
	return text.String() + "\r\n"
}

// navigating are the headers of somebody who follows a link, fetching those of a script on a page.
var (
	navigating = []string{"Sec-Fetch-Mode", "navigate", "Accept", browserAccept}
	fetching   = []string{"Sec-Fetch-Mode", "cors", "Accept", "*/*"}
)

func (h *house) flush() {
	h.t.Helper()
	if err := h.store.Flush(context.Background()); err != nil {
		h.t.Fatal(err)
	}
}

// noTrace gives a check that since then nothing was written, neither to the database nor to the log.
func (h *house) noTrace() func(testing.TB) {
	h.t.Helper()
	h.flush()
	before, log := h.everything(), h.log.String()
	return func(t testing.TB) {
		t.Helper()
		h.flush()
		if after := h.everything(); !slices.Equal(after, before) {
			t.Errorf("the database was changed:\n got %q\nwant %q", after, before)
		}
		if told := strings.TrimPrefix(h.log.String(), log); told != "" {
			t.Errorf("the log was written to: %.500s", told)
		}
	}
}

// allow opens a host to these users only, or to administrators only if none is named.
func (h *house) allow(host string, users ...string) {
	h.t.Helper()
	if _, err := h.store.AllowApp(context.Background(), host, len(users) == 0, users...); err != nil {
		h.t.Fatal(err)
	}
}

// passes fails the test unless the answer lets this user through.
func (a answer) passes(t testing.TB, username string) {
	t.Helper()
	a.is(t, 200, "")
	if a.body != "" || a.header.Get("Remote-User") != username {
		t.Errorf("body %q, Remote-User %q, want %q", a.body, a.header.Get("Remote-User"), username)
	}
}

// stops fails the test unless the answer is a refusal with this status that says nothing about any user.
func (a answer) stops(t testing.TB, status int, location string) {
	t.Helper()
	a.is(t, status, location)
	for name := range a.header {
		if strings.HasPrefix(name, "Remote-") || name == "Cookie" {
			t.Errorf("%d with %s: %q", a.status, name, a.header[name])
		}
	}
	checkVerdict(t, a)
}

// checkVerdict is what holds for every answer to a proxy.
func checkVerdict(t testing.TB, a answer) {
	t.Helper()
	if a.header.Get("Cache-Control") != "no-store" || touched(a) {
		t.Errorf("Cache-Control %q, Set-Cookie %q", a.header.Get("Cache-Control"), a.header.Get("Set-Cookie"))
	}
	checkSecurityHeaders(t, a)
}

// handed is the one cookie that an answer sets.
func handed(t testing.TB, got answer) *http.Cookie {
	t.Helper()
	cookies := (&http.Response{Header: got.header}).Cookies()
	if len(cookies) != 1 {
		t.Fatalf("%d: Set-Cookie %q, want one", got.status, got.header.Values("Set-Cookie"))
	}
	return cookies[0]
}
