package handlers_test

import (
	"net/url"
	"regexp"
	"strings"
	"testing"

	"porchlight/handlers/handlerstest"
)

// This file fuzzes the headers of auth checks. The rules are written a second time here, so that they share no mistake with the app.

var (
	fuzzedHost   = regexp.MustCompile(`^([A-Za-z0-9_-]{1,63}\.)*[Ee][Xx][Aa][Mm][Pp][Ll][Ee]\.[Cc][Oo][Mm]\.?(:[0-9]+)?$`)
	fuzzedMethod = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$")
	fuzzedScheme = regexp.MustCompile(`^([Hh][Tt][Tt][Pp]|[Ww][Ss])[Ss]?$`)
	fuzzedPath   = regexp.MustCompile(`^/[^\x00-\x20\x7f]*$`)
	ordinaryPort = regexp.MustCompile(`:[0-9]*$`)
)

func FuzzForward(f *testing.F) {
	c := handlerstest.OpenCast(f, behindProxy)
	cookie := withCookie(c.Alice.Token())
	for _, method := range []string{"GET", "HEAD", "POST", "OPTIONS", "PROPFIND", "get", "G T", "", big("M", 65), "GET,POST"} {
		f.Add(method, "http", notes, "/")
	}
	for _, scheme := range []string{"https", "ws", "WSS", "ftp", "http, https", "", "javascript", "http:"} {
		f.Add("GET", scheme, notes, "/x?y=z")
	}
	for _, host := range hostileHosts {
		f.Add("GET", "http", host, "/")
	}
	for _, host := range []string{
		"example.com", "Notes.Example.com.:8443", "a.b.example.com:1", "auth.example.com", "example.com.example.com",
	} {
		f.Add("GET", "http", host, "/")
	}
	for _, path := range []string{
		"/a%2fb/..//c?x=%zz&y", "//evil.test", "/\\evil.test", "@evil.test/", ".evil.test/", "", "*", "http://evil.test/", "/caf\u00e9",
		"/\xff", "/a b", "/?next=http://evil.test", "/#", "/" + big("%", 3000), "/" + big("a", 5000),
	} {
		f.Add("GET", "http", notes, path)
	}
	f.Fuzz(func(t *testing.T, method, scheme, host, path string) {
		c.T = t
		for _, value := range []string{method, scheme, host, path} {
			// Line breaks would begin other headers. Servers reject control characters in headers, and more than 16 KB of headers.
			if len(method+scheme+host+path) > 10<<10 || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
				return
			}
		}
		// White space at the edges is not part of a header's value.
		trim := func(value string) string { return strings.Trim(value, " \t") }
		request := appRequest{trim(method), trim(scheme), trim(host), trim(path)}
		clear := fuzzedMethod.MatchString(request.method) && fuzzedScheme.MatchString(request.scheme) && fuzzedPath.MatchString(request.uri)
		below := fuzzedHost.MatchString(request.host)

		got := c.Raw(forward.raw("GET", append(request.forwarded(), "Cookie", cookie)...))
		switch got.Status {
		case 200:
			if !clear || !below || got.Header.Get("Remote-User") != "alice" {
				t.Errorf("%q passes as %q", request, got.Header.Get("Remote-User"))
			}
		case 403:
			name := strings.TrimSuffix(ordinaryPort.ReplaceAllString(request.host, ""), ".")
			if clear && below && len(name) <= 253 && name == request.host {
				t.Errorf("%q is refused", request)
			}
		default:
			t.Errorf("%q, signed in: %d %.100s", request, got.Status, got.Body)
		}

		got = c.Raw(forward.raw("GET", append(request.forwarded(), "Sec-Fetch-Mode", "navigate")...))
		location := got.Header.Get("Location")
		switch got.Status {
		case 302, 303:
			next, found := strings.CutPrefix(location, publicURL+"/login?next=")
			to, err := url.QueryUnescape(next)
			if !found || err != nil || strings.ContainsAny(next, "&#? \"<>\\") || !clear || !below {
				t.Fatalf("%q leads to %q", request, location)
			}
			back, _, _ := strings.Cut(strings.TrimPrefix(to[strings.Index(to, "://"):], "://"), "/")
			plain := func(host string) string { return strings.TrimSuffix(ordinaryPort.ReplaceAllString(host, ""), ".") }
			if !fuzzedHost.MatchString(back) || !strings.EqualFold(plain(back), plain(request.host)) {
				t.Errorf("%q leads back to %q", request, to)
			}
			// Signing in leads there, or nowhere.
			got = c.Raw("GET /login?next=" + next + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\nCookie: " + cookie + "\r\n\r\n")
			if home := got.Header.Get("Location"); got.Status != 303 || home != "/sessions" && home != to {
				t.Errorf("%q: next %q leads to %d %q", request, to, got.Status, home)
			}
		case 401, 403:
			if location != "" {
				t.Errorf("%q: %d with %q", request, got.Status, location)
			}
		default:
			t.Errorf("%q, signed out: %d %.100s", request, got.Status, got.Body)
		}
	})
}
