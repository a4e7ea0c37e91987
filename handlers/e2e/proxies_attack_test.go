package e2e

import (
	"fmt"
	"io"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"porchlight/db"
	"porchlight/handlers/handlerstest"
)

// This file attacks the samples: on the public path, and with several requests on one connection.

func withPublicPath(s *site) { s.publicPath = true }

// exactPath is the form in which the samples leave a path unguarded.
var exactPath = regexp.MustCompile(`^/public/(\w[\w.-]*/)*(\w[\w.-]*)?(\?|$)`)

// opensAPublicPath requests the public path, without a session and with one.
func opensAPublicPath(t *testing.T, s *site, _ expected) {
	token := domainCookie(s.signedIn("bob", handlerstest.BobPassword, handlerstest.ChromeOnMac)).Value
	forged := "X-Hook: kept\r\nAuthorization: Bearer of-the-app\r\n"
	for _, name := range forgedNames {
		forged += name + ": forged\r\n"
	}
	for _, path := range []string{"/public/", "/public/hook", "/public/a-b/c_d/e.f?x=..%2f&y=//"} {
		for _, cookie := range []string{"", "Cookie: a=1; " + ours + token + "; b=2\r\n", "Cookie: " + ours + token + "\r\nCookie: b=2\r\n"} {
			request := " " + path + " HTTP/1.1\r\nHost: notes.example.com\r\nConnection: close, Remote-User\r\n" + cookie + forged
			s.reaches(t, s.send("notes.example.com", "GET"+request+"\r\n"))
			got := s.send("notes.example.com", "POST"+request+"Content-Length: 4\r\n\r\nbody")
			seen := s.reaches(t, got)
			if seen.method != "POST" || seen.uri != path || seen.body != "body" || seen.host != "notes.example.com" {
				t.Errorf("%s: the app saw %+v", path, seen)
			}
			for name, values := range seen.header {
				if text := strings.Join(values, " "); strings.Contains(text, "forged") || strings.Contains(text, token) ||
					strings.HasPrefix(name, "Remote") && text != "" {
					t.Errorf("%s: the app saw %s: %q", path, name, values)
				}
			}
			if seen.header.Get("X-Hook") != "kept" || seen.header.Get("Authorization") != "Bearer of-the-app" {
				t.Errorf("%s: the app saw %v", path, seen.header)
			}
		}
	}
	// The rest is guarded as before.
	s.visit(handlerstest.FirefoxOnLinux).Page(notesSite+"/").Is(t, 302, signInPlace(notesSite+"/"))
	s.untouched(t)
	if seen := s.reaches(t, s.send("notes.example.com", toNotesSite+"Cookie: "+ours+token+"\r\nConnection: close\r\n\r\n")); seen.
		header.Get("Remote-User") != "bob" {
		t.Errorf("the app saw %v", seen.header)
	}
}

// hostileTargets are request targets that a proxy and an app may interpret differently.
var hostileTargets = []string{
	"/public/../admin", "/public/..%2fadmin", "/public/..%2Fadmin", "/public/%2e%2e/admin", "/public/%2E%2E%2Fadmin",
	"/public/.%2e/admin", "/public//../admin", "/public/..//admin", "/public/x/../../admin", "/public/..;/admin", "/public/x;/../../admin",
	"/public/..\\admin", "/public/..%5cadmin", "/public/%252e%252e/admin", "/public/..%252fadmin", "/public/..%00/admin",
	"/public/%c0%ae%c0%ae/admin", "/public/\xc0\xae\xc0\xae/admin", "/public/..?/../admin", "/public/..#/admin", "/public/.../admin",
	"/public/.htaccess", "/public/..", "/public/../", "/public", "/publicity", "/public%2fx", "/public%2f..%2fadmin", "/public;/x",
	"/PUBLIC/x", "/Public/../admin", "/admin/..%2fpublic/x", "/admin/..;/public/x", "/admin/%2e%2e/public/x", "/admin/../public/x",
	"//public/x", "/./public/x", "//public/../admin", "/admin//public/x", "/admin?/public/x", "/?x=/public/", "/admin#/public/x",
	"/admin%3f/../public/x", "/%70ublic/x", "/%2570ublic/x", "/public/x%0d%0aRemote-User:%20alice", "/public/x\ty",
	"https://notes.example.com/public/../admin", "https://notes.example.com/public/..%2fadmin", "http://notes.example.com//public/x",
	"notes.example.com/public/x", "public/x", "*",
}

// Nobody gets past the public path to another one, however the app reads the path.
func keepsToThePublicPath(t *testing.T, s *site, _ expected) {
	for _, target := range hostileTargets {
		for _, protocol := range []string{"HTTP/1.1\r\nHost: notes.example.com", "HTTP/1.0\r\nHost: notes.example.com", "HTTP/1.0"} {
			s.checkTarget(t, target, protocol)
		}
	}
}

// checkTarget requests a target without a session, and fails the test if the app sees another path than the public one.
func (s *site) checkTarget(t *testing.T, target, protocol string) {
	t.Helper()
	s.ask(t, "GET "+target+" "+protocol+"\r\nConnection: close\r\n\r\n")
	for _, seen := range s.notes.take() {
		path, err := url.PathUnescape(seen.uri)
		if err != nil || !exactPath.MatchString(path) {
			t.Errorf("%q: the app saw %q", target, seen.uri)
		}
	}
	s.untouched(t)
}

// FuzzPublicPath requests targets through every proxy on this machine.
func FuzzPublicPath(f *testing.F) {
	var sites []*site
	for _, p := range proxies {
		if !p.mustBe && p.missing() != "" {
			continue
		}
		s := openSite(f, p, withPublicPath)
		s.send("notes.example.com", "GET /public/ HTTP/1.1\r\nHost: notes.example.com\r\nConnection: close\r\n\r\n").Is(f, 200)
		s.notes.take()
		sites = append(sites, s)
	}
	for _, target := range hostileTargets {
		f.Add(target)
	}
	f.Fuzz(func(t *testing.T, target string) {
		if strings.Contains(target, "\n") || len(target) > 4000 {
			return // another line, or another request
		}
		for _, s := range sites {
			s.checkTarget(t, target, "HTTP/1.1\r\nHost: notes.example.com")
		}
	})
}

// A connection that begins on the public path cannot become a tunnel.
func refusesHTTP2OnThePublicPath(t *testing.T, s *site, _ expected) {
	for _, upgrade := range []string{"h2c", "H2C", "h2c, websocket", "websocket, h2c", "websocket\r\nUpgrade: h2c"} {
		s.ask(t, "GET /public/ HTTP/1.1\r\nHost: notes.example.com\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: "+upgrade+
			"\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n"+webSocketKey+"\r\n")
		for _, seen := range s.notes.take() {
			if got := seen.header.Values("Upgrade"); len(got) > 1 || len(got) == 1 && got[0] != "websocket" {
				t.Errorf("%q: the app was asked for %q", upgrade, got)
			}
		}
	}
}

// sendMany writes bytes that are several requests, or that two servers may read as a different number of requests. It returns what came
// back until the proxy closed the connection or said nothing more for a while.
func (s *site) sendMany(requests string, quiet time.Duration) (got string) {
	s.T.Helper()
	conn := s.dial("notes.example.com")
	defer conn.Close()
	if _, err := io.WriteString(conn, requests); err != nil {
		return "" // the proxy closed the connection before it had read everything
	}
	buffer := make([]byte, 64<<10)
	for {
		if err := conn.SetReadDeadline(time.Now().Add(quiet)); err != nil {
			return got
		}
		n, err := conn.Read(buffer)
		got += string(buffer[:n])
		if err != nil {
			return got
		}
	}
}

// Each request on a connection is checked for itself, with its own cookies and its own headers.
func checksEachRequest(t *testing.T, s *site, _ expected) {
	const forged = "Remote-User: alice\r\nRemote-Groups: admins\r\n"
	token := domainCookie(s.signedIn("bob", handlerstest.BobPassword, handlerstest.ChromeOnMac)).Value
	request := func(path, headers string) string {
		return "GET " + path + " HTTP/1.1\r\nHost: notes.example.com\r\n" + headers + "\r\n"
	}
	bobs := request("/of-bob", "Cookie: "+ours+token+"\r\n")
	anybodys := request("/public/x", forged+"Cookie: "+ours+token+"\r\n")
	strangers := request("/of-nobody", forged+"Connection: close\r\n")
	for _, requests := range []string{bobs + anybodys + strangers, anybodys + bobs + strangers} {
		got := s.sendMany(requests, patience)
		if strings.Count(got, "HTTP/1.1 200 ") != 2 || strings.Count(got, "HTTP/1.1 401 ") != 1 {
			t.Errorf("want two pages and a refusal: %.3000s", got)
		}
		seen := s.notes.take()
		for _, seen := range seen {
			user, expected := map[string]string{"/of-bob": "bob", "/public/x": ""}[seen.uri]
			if !expected || seen.header.Get("Remote-User") != user || seen.header.Get("Remote-Groups") != "" {
				t.Errorf("the app saw %s of %q", seen.uri, seen.header.Values("Remote-User"))
			}
		}
		if len(seen) != 2 {
			t.Errorf("the app saw %d requests, want 2", len(seen))
		}
	}
}

// smuggling has the headers of requests whose body ends at different places for servers that read them differently.
var smuggling = []string{
	"Content-Length: LONG\r\nTransfer-Encoding: chunked",
	"Transfer-Encoding: chunked\r\nContent-Length: LONG",
	"Content-Length: SHORT\r\nTransfer-Encoding: chunked",
	"Transfer-Encoding: xchunked\r\nContent-Length: SHORT",
	"Transfer-Encoding: identity, chunked\r\nContent-Length: SHORT",
	"Transfer-Encoding: chunked, identity\r\nContent-Length: SHORT",
	"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
	"Transfer-Encoding: gzip, chunked",
	"Transfer-Encoding : chunked\r\nContent-Length: LONG",
	"Transfer-Encoding:\tchunked\r\nContent-Length: LONG",
	"Transfer-Encoding:\x0bchunked\r\nContent-Length: LONG",
	" Transfer-Encoding: chunked\r\nContent-Length: LONG",
	"X: y\nTransfer-Encoding: chunked\r\nContent-Length: LONG",
	"Transfer_Encoding: chunked\r\nContent-Length: LONG",
	"Connection: close, Content-Length\r\nContent-Length: LONG",
	"Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked",
	"Content-Length: SHORT\r\nContent-Length: LONG",
	"Content-Length: LONG\r\nContent-Length: SHORT",
	"Content-Length: SHORT, LONG",
	"Content-Length: +SHORT",
	"Content-Length: 0xSHORT",
	"Content-Length: -1",
	"Expect: 100-continue\r\nContent-Length: SHORT",
}

// A request hidden in the body of another never reaches the app with an identity.
func smugglesNothing(t *testing.T, s *site, _ expected) {
	token := domainCookie(s.signedIn("bob", handlerstest.BobPassword, handlerstest.ChromeOnMac)).Value
	const hidden = "GET /hidden HTTP/1.1\r\nHost: notes.example.com\r\nRemote-User: alice\r\nX-Forwarded-User: alice\r\n\r\n"
	for short, body := range map[string]string{
		"5": "0\r\n\r\n" + hidden,                                      // after the last chunk
		"4": fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(hidden), hidden), // in a chunk
	} {
		lengths := strings.NewReplacer("SHORT", short, "LONG", strconv.Itoa(len(body)))
		for _, headers := range smuggling {
			for _, line := range []string{"POST /save", "GET /save", "POST /public/hook"} {
				got := s.sendMany(line+" HTTP/1.1\r\nHost: notes.example.com\r\nCookie: "+ours+token+"\r\n"+lengths.Replace(headers)+"\r\n\r\n"+
					body, 100*time.Millisecond)
				for _, seen := range s.notes.take() {
					user, forged := seen.header.Get("Remote-User"), seen.header.Get("X-Forwarded-User")
					if seen.uri == "/hidden" || forged != "" || user != "bob" && (user != "" || seen.uri != "/public/hook") {
						t.Errorf("%s with %q: the app saw %s of %q and %q: %.500s", line, headers, seen.uri, user, forged, got)
					}
				}
			}
		}
	}
}

// A request of HTTP/2 that names two hosts reaches the app whose host was checked, or none.
func readsOneHostInHTTP2(t *testing.T, s *site, _ expected) {
	for host, user := range map[string]string{"notes.example.com": "bob", "photos.example.com": "alice"} {
		if _, err := s.Store.AllowApp(t.Context(), db.CommandLine, db.AppRule{Host: host, Users: []string{user}}); err != nil {
			t.Fatal(err)
		}
	}
	token := domainCookie(s.signedIn("bob", handlerstest.BobPassword, handlerstest.ChromeOnMac)).Value
	request := func(path string, more ...[2]string) [][2]string {
		return append([][2]string{{":method", "GET"}, {":scheme", "https"}, {":path", path}}, append(more, [2]string{"cookie", ours + token})...)
	}
	s.sendFields(t, request("/", [2]string{":authority", "notes.example.com"}))
	if seen := s.notes.take(); len(seen) != 1 || seen[0].header.Get("Remote-User") != "bob" { // otherwise the rest would show nothing
		t.Fatalf("the app saw %v", seen)
	}
	for _, hosts := range [][][2]string{
		{{":authority", "notes.example.com"}, {"host", "photos.example.com"}},
		{{":authority", "photos.example.com"}, {"host", "notes.example.com"}},
		{{":authority", "notes.example.com"}, {":authority", "photos.example.com"}},
		{{":authority", "photos.example.com"}, {":authority", "notes.example.com"}},
		{{"host", "photos.example.com"}, {"host", "notes.example.com"}},
		{{"host", "notes.example.com"}, {"host", "photos.example.com"}},
		{{":authority", "notes.example.com, photos.example.com"}},
		{{":authority", "notes.example.com@photos.example.com"}},
		{{":authority", "photos.example.com#notes.example.com"}},
		{{":authority", "notes.example.com"}, {"x-forwarded-host", "photos.example.com"}},
		{{":authority", "photos.example.com"}, {"x-forwarded-host", "notes.example.com"}},
	} {
		for _, path := range []string{"/", "https://photos.example.com/", "//photos.example.com/", "/public/../admin"} {
			s.sendFields(t, request(path, hosts...))
			for _, seen := range s.notes.take() {
				if seen.header.Get("Remote-User") != "bob" || seen.host != "notes.example.com" {
					t.Errorf("%q %q: the app notes saw %q at %s", hosts, path, seen.header.Get("Remote-User"), seen.host)
				}
			}
			s.untouched(t)
		}
	}
}

// No client reaches Porchlight's auth checks through the proxy. It could describe any request there.
func hidesAuthChecks(t *testing.T, s *site, _ expected) {
	token := domainCookie(s.signedIn("bob", handlerstest.BobPassword, handlerstest.ChromeOnMac)).Value
	for _, path := range []string{
		"/auth/forward", "/auth/nginx", "//auth/forward", "/./auth/forward", "/x/../auth/forward", "/%61uth/forward", "/auth%2fforward",
		"/AUTH/forward", "/auth;/forward", "/auth//forward", "/login/..%2fauth/forward", "/public/../auth/nginx", "/auth/forward?x",
		"/auth\\forward", "/auth/./nginx", "https://auth.example.com/auth/forward", "https://auth.example.com//auth/nginx",
	} {
		got := s.sendMany("GET "+path+" HTTP/1.1\r\nHost: auth.example.com\r\nCookie: "+ours+token+"\r\nX-Forwarded-Method: GET\r\n"+
			"X-Forwarded-Proto: https\r\nX-Forwarded-Host: notes.example.com\r\nX-Forwarded-Uri: /\r\nX-Original-Method: GET\r\n"+
			"X-Original-URL: https://notes.example.com/\r\nConnection: close\r\n\r\n", patience)
		if strings.HasPrefix(got, "HTTP/1.1 200") || strings.Contains(strings.ToLower(got), "remote-") {
			t.Errorf("%s: %.500s", path, got)
		}
	}
}
