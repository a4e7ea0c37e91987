package e2e

import (
	"crypto/tls"
	"io"
	"net/url"
	"slices"
	"strings"
	"testing"

	"porchlight/db"
	"porchlight/handlers/handlerstest"
)

// This file tests what must hold with every proxy.

const (
	ownSite   = "https://auth.example.com"
	notesSite = "https://notes.example.com"
)

func TestProxies(t *testing.T) {
	if testing.Short() {
		t.Skip("starts reverse proxies")
	}
	for _, p := range proxies {
		t.Run(p.name, func(t *testing.T) {
			p.skipIfMissing(t)
			for _, test := range []struct {
				name string
				run  func(*testing.T, *site, expected)
			}{
				{"sign in and back", signsInAndBack},
				{"the signed-in user", identifiesTheUser},
				{"forged identity", dropsForgedIdentity},
				{"forged request headers", ignoresForgedRequest},
				{"unknown Remote headers", dropsUnknownRemote},
				{"cookies", keepsTheTokenFromApps},
				{"two Cookie headers", readsEveryCookieHeader},
				{"revoked on the device page", isOutOnceRevoked},
				{"app keys", takesAppKeys},
				{"the app's own Authorization", keepsTheAppsAuthorization},
				{"events", passesEvents},
				{"a body", passesABody},
				{"a script", answersAScript},
				{"WebSocket", opensASocket},
				{"upgrade to HTTP/2", refusesHTTP2Upgrade},
				{"upgrade of HTTP/2", refusesHTTP2Connect},
				{"many cookies", acceptsManyCookies},
				{"odd paths", keepsOddPaths},
				{"not allowed", showsWhoIsNotAllowed},
				{"the address on the device list", knowsTheClient},
				{"Porchlight stopped", shutsWhenStopped},
			} {
				t.Run(test.name, func(t *testing.T) {
					s := openSite(t, p)
					test.run(t, s, p.expected)
				})
			}
			for _, test := range []struct {
				name string
				run  func(*testing.T, *site, expected)
			}{
				{"a public path", opensAPublicPath},
				{"only the public path", keepsToThePublicPath},
				{"upgrade on the public path", refusesHTTP2OnThePublicPath},
				{"several requests", checksEachRequest},
				{"hidden requests", smugglesNothing},
				{"two hosts in HTTP/2", readsOneHostInHTTP2},
				{"auth checks", hidesAuthChecks},
			} {
				t.Run(test.name, func(t *testing.T) {
					s := openSite(t, p, withPublicPath)
					test.run(t, s, p.expected)
				})
			}
		})
	}
}

// reaches fails the test unless the request reached the app, and returns what the app saw.
func (s *site) reaches(t testing.TB, got handlerstest.Answer) seenRequest {
	t.Helper()
	got.Is(t, 200)
	seen := s.notes.take()
	if len(seen) != 1 {
		t.Fatalf("the app saw %d requests: %d %.300s", len(seen), got.Status, got.Body)
	}
	return seen[0]
}

// untouched fails the test if a request reached an app.
func (s *site) untouched(t testing.TB) {
	t.Helper()
	if seen := slices.Concat(s.notes.take(), s.photos.take()); len(seen) > 0 {
		t.Errorf("an app was reached: %v", seen)
	}
}

func signInPlace(address string) string { return ownSite + "/login?next=" + url.QueryEscape(address) }

func signsInAndBack(t *testing.T, s *site, _ expected) {
	visitor := s.visit(handlerstest.FirefoxOnLinux)
	const deep = notesSite + "/a/b?x=1&y=%26&z=a+b"
	got := visitor.Page(deep)
	got.Is(t, 302, signInPlace(deep))
	s.untouched(t)
	visitor.Page(got.Header.Get("Location")).Has(t, `value="https://notes.example.com/a/b?x=1&amp;y=%26&amp;z=a&#43;b"`)
	got = visitor.Do("POST", ownSite+"/login",
		handlerstest.Encode([]string{"username", "alice", "password", handlerstest.AlicePassword, "next", deep}),
		"Accept", handlerstest.BrowserAccept, "Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "same-origin")
	got.Is(t, 303, deep)
	if seen := s.reaches(t, visitor.Page(deep)); seen.uri != "/a/b?x=1&y=%26&z=a+b" || seen.host != "notes.example.com" {
		t.Errorf("the app saw %s at %s", seen.uri, seen.host)
	}
}

func identifiesTheUser(t *testing.T, s *site, _ expected) {
	s.Exec(`UPDATE users SET email = 'alice@example.com' WHERE username = 'alice'`)
	s.setGroups(t, "alice", "staff", "accounts")
	for _, visitor := range []struct {
		*handlerstest.Client
		user, email, groups string
	}{
		{s.signedIn("alice", handlerstest.AlicePassword, handlerstest.FirefoxOnLinux), "alice", "alice@example.com", "accounts,admins,staff"},
		{s.signedIn("bob", handlerstest.BobPassword, handlerstest.ChromeOnMac), "bob", "", ""},
	} {
		seen := s.reaches(t, visitor.Page(notesSite+"/"))
		for name, want := range map[string]string{
			"Remote-User": visitor.user, "Remote-Name": visitor.user, "Remote-Email": visitor.email, "Remote-Groups": visitor.groups,
			"Remote-Session": visitor.ID,
		} {
			if got := strings.Join(seen.header.Values(name), "|"); got != want {
				t.Errorf("%s: the app saw %s %q, want %q", visitor.user, name, got, want)
			}
		}
	}
}

func (s *site) setGroups(t *testing.T, username string, groups ...string) {
	t.Helper()
	if err := s.Store.ChangeUser(t.Context(), db.CommandLine, username, db.UserChange{Groups: &groups}); err != nil {
		t.Fatal(err)
	}
}

func isOutOnceRevoked(t *testing.T, s *site, _ expected) {
	library := s.signedIn("alice", handlerstest.AlicePassword, handlerstest.FirefoxOnLinux)
	phone := s.signedIn("alice", handlerstest.AlicePassword, handlerstest.SafariOnIPhone)
	s.reaches(t, library.Page(notesSite+"/"))
	if err := s.Store.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	phone.Page(ownSite+"/sessions").Has(t, ">notes.example.com</")
	phone.Do("DELETE", ownSite+"/sessions/"+library.ID, "", "HX-Request", "true", "Sec-Fetch-Site", "same-origin").Is(t, 200)
	got := library.Page(notesSite + "/next?click=1")
	got.Is(t, 302, signInPlace(notesSite+"/next?click=1"))
	s.untouched(t)
	library.Page(got.Header.Get("Location")).Has(t, "You&#39;ve been signed out on this device.")
	s.reaches(t, phone.Page(notesSite+"/"))
}

// No proxy holds an event back, or keeps the end of the stream from the page.
func passesEvents(t *testing.T, s *site, _ expected) {
	laptop := s.signedIn("alice", handlerstest.AlicePassword, handlerstest.FirefoxOnLinux)
	laptop.HTTP.Timeout = 0 // for a whole response
	events := laptop.Stream(ownSite + "/sessions/events")
	events.Wants(":")
	phone := s.signedIn("alice", handlerstest.AlicePassword, handlerstest.SafariOnIPhone)
	events.Wants("changed")
	phone.API("DELETE", ownSite+"/me/sessions/"+laptop.ID, "").Is(t, 200)
	events.Wants("ended", "end")
}

func passesABody(t *testing.T, s *site, want expected) {
	visitor := s.signedIn("alice", handlerstest.AlicePassword, handlerstest.FirefoxOnLinux)
	body := strings.Repeat("0123456789abcdef", 20_000)
	for _, headers := range [][]string{
		nil, {"Expect", "100-continue"}, {"Content-Encoding", "gzip"}, {"Content-Type", "multipart/form-data; boundary=x"},
	} {
		seen := s.reaches(t, visitor.Do("POST", notesSite+"/save", body, headers...))
		if seen.method != "POST" || seen.body != body {
			t.Errorf("%v: the app saw %s with %d bytes", headers, seen.method, len(seen.body))
		}
	}
	// A proxy may answer a refused request and close the connection before it has read the body, and then
	// Go's client reports the failed write instead of the answer. So this body fits into the first write.
	body = body[:1000]
	stranger := s.visit(handlerstest.FirefoxOnLinux)
	stranger.Do("POST", notesSite+"/save?x=1", body, "Accept", handlerstest.BrowserAccept,
		"Sec-Fetch-Mode", "navigate").Is(t, want.redirect, signInPlace(notesSite+"/save?x=1"))
	stranger.Do("PUT", notesSite+"/save", body).Is(t, 401, "")
	s.untouched(t)
}

func answersAScript(t *testing.T, s *site, _ expected) {
	visitor := s.visit(handlerstest.FirefoxOnLinux)
	for _, headers := range [][]string{
		{"Accept", "*/*", "Sec-Fetch-Mode", "cors"},
		{"Accept", "application/json", "X-Requested-With", "XMLHttpRequest"},
		{"Accept", handlerstest.BrowserAccept, "Sec-Fetch-Mode", "no-cors"},
	} {
		visitor.Do("GET", notesSite+"/api", "", headers...).Is(t, 401, "")
	}
	visitor.Do("OPTIONS", notesSite+"/api", "", "Accept", handlerstest.BrowserAccept, "Origin", "https://evil.example",
		"Access-Control-Request-Method", "PUT").Is(t, 401, "")
	s.untouched(t)
}

func acceptsManyCookies(t *testing.T, s *site, _ expected) {
	visitor := s.signedIn("alice", handlerstest.AlicePassword, handlerstest.FirefoxOnLinux)
	many := "app=" + strings.Repeat("x", 2500) + "; more=" + strings.Repeat("y", 2500)
	seen := s.reaches(t, visitor.Page(notesSite+"/", "Cookie", many))
	if got := seen.header.Get("Cookie"); got != many {
		t.Errorf("the app saw %d bytes of cookies, not %d", len(got), len(many))
	}
	long := notesSite + "/" + strings.Repeat("long/", 600)
	s.visit(handlerstest.FirefoxOnLinux).Page(long, "Cookie", many).Is(t, 302, signInPlace(long))
}

func keepsOddPaths(t *testing.T, s *site, want expected) {
	visitor := s.signedIn("alice", handlerstest.AlicePassword, handlerstest.FirefoxOnLinux)
	for _, path := range []string{
		"/a%2fb", "/a%2Fb%5c?x=%2f%2F", "//evil.example/x", "/a//b", "/%", "/a?b?c=d", "/caf%C3%A9", "/a%20b+c", "/x?q=%F0%9F%8F%AE&r=a%26b",
		"/?next=https://evil.example/", "/a;b=c,d@e:f", "/%2e%2e/x",
	} {
		request := func(headers string) string {
			return "GET " + path + " HTTP/1.1\r\nHost: notes.example.com\r\nAccept: text/html\r\nConnection: close\r\n" + headers + "\r\n"
		}
		got := s.send("notes.example.com", request(""))
		if got.Status == 400 { // the proxy itself refuses it
			s.untouched(t)
			continue
		}
		place, err := url.Parse(got.Header.Get("Location"))
		if err != nil {
			t.Fatal(err)
		}
		asked, ofApp := strings.CutPrefix(place.Query().Get("next"), notesSite)
		if got.Status != 302 || !ofApp || asked != path && !want.tidies {
			t.Errorf("%s: %d %s", path, got.Status, place)
		}
		s.untouched(t)
		cookie := "Cookie: __Secure-porchlight=" + domainCookie(visitor).Value + "\r\n"
		// Written by hand: Go's client accepts no Location with a "%" that escapes nothing.
		s.send("auth.example.com", "GET "+place.RequestURI()+" HTTP/1.1\r\nHost: auth.example.com\r\nAccept: text/html\r\n"+
			"Connection: close\r\n"+cookie+"\r\n").Is(t, 303, notesSite+asked)
		got = s.send("notes.example.com", request(cookie))
		if path == "/%" && got.Status == 400 { // the app refuses what HAProxy passes on
			s.untouched(t)
			continue
		}
		if seen := s.reaches(t, got); seen.uri != asked {
			t.Errorf("%s: the proxy asked about %s, and the app saw %s", path, asked, seen.uri)
		}
	}
	// A dot segment stays under the host, whether the proxy removes it or not.
	got := s.send("notes.example.com",
		"GET /a/../../etc HTTP/1.1\r\nHost: notes.example.com\r\nAccept: text/html\r\nConnection: close\r\n\r\n")
	if got.Status != 400 && !strings.HasPrefix(got.Header.Get("Location"), signInPlace(notesSite+"/")) {
		t.Errorf("the answer is %d %q", got.Status, got.Header.Get("Location"))
	}
	s.untouched(t)
}

func showsWhoIsNotAllowed(t *testing.T, s *site, _ expected) {
	if _, err := s.Store.AllowApp(t.Context(), db.CommandLine, db.AppRule{Host: "notes.example.com", Users: []string{"alice"}}); err != nil {
		t.Fatal(err)
	}
	bob := s.signedIn("bob", handlerstest.BobPassword, handlerstest.ChromeOnMac)
	got := bob.Page(notesSite + "/")
	got.Is(t, 403)
	got.Has(t, "You don't have access to notes.example.com", "<strong>bob</strong>",
		`href="https://auth.example.com/logout?next=`+url.QueryEscape(notesSite+"/")+`"`)
	if policy := got.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "style-src 'sha256-") {
		t.Errorf("Content-Security-Policy %q does not allow the style of the page", policy)
	}
	bob.Do("POST", notesSite+"/", "x=1", "Sec-Fetch-Mode", "cors").Is(t, 403)
	s.untouched(t)
	s.reaches(t, s.signedIn("alice", handlerstest.AlicePassword, handlerstest.FirefoxOnLinux).Page(notesSite+"/"))
	s.visit(handlerstest.ChromeOnMac).Page(notesSite+"/").Is(t, 302)
	if _, err := s.Store.AllowApp(t.Context(), db.CommandLine, db.AppRule{Host: "notes.example.com", Groups: []string{"family"}}); err != nil {
		t.Fatal(err)
	}
	bob.Page(notesSite+"/").Is(t, 403)
	s.setGroups(t, "bob", "family")
	if got := s.reaches(t, bob.Page(notesSite+"/")).header.Get("Remote-Groups"); got != "family" {
		t.Errorf("the app saw the groups %q", got)
	}
}

// A client cannot set its address with X-Forwarded-For.
func knowsTheClient(t *testing.T, s *site, _ expected) {
	visitor := s.visit(handlerstest.FirefoxOnLinux)
	visitor.Do("POST", ownSite+"/login", handlerstest.Encode([]string{"username", "alice", "password", handlerstest.AlicePassword}),
		"Content-Type", "application/x-www-form-urlencoded", "Accept", handlerstest.BrowserAccept, "X-Forwarded-For", "203.0.113.9",
		"X-Forwarded-Host", "evil.example", "X-Forwarded-Proto", "http").Is(t, 303)
	visitor.Page(ownSite+"/auth/nginx", "X-Original-URL", notesSite+"/", "X-Original-Method", "GET").Is(t, 404) // only for proxies
	got := visitor.Page(ownSite + "/admin/proxy")
	got.Is(t, 200)
	got.Has(t, "<bdi>https</bdi>", "<bdi>auth.example.com</bdi>", "127.0.0.1")
	got.Lacks(t, "This request did not come to")
	ip := s.Only(`SELECT ip FROM sessions WHERE token_hash = unhex(?)`, handlerstest.SHA256Hex(domainCookie(visitor).Value))
	if ip != "127.0.0.1" {
		t.Errorf("the address is %s", ip)
	}
}

func shutsWhenStopped(t *testing.T, s *site, want expected) {
	visitor := s.signedIn("alice", handlerstest.AlicePassword, handlerstest.FirefoxOnLinux)
	s.reaches(t, visitor.Page(notesSite+"/"))
	if err := s.Store.Close(); err != nil { // Porchlight still answers, but cannot look up the session
		t.Fatal(err)
	}
	for _, got := range []handlerstest.Answer{visitor.Page(notesSite + "/"), s.visit(handlerstest.FirefoxOnLinux).Page(notesSite + "/")} {
		if got.Status != 503 && got.Status != 500 {
			t.Errorf("without its database: %d", got.Status)
		}
	}
	s.untouched(t)
	s.Stop()
	for _, got := range []handlerstest.Answer{
		visitor.Page(notesSite + "/"), visitor.Do("POST", notesSite+"/", "x"), s.visit(handlerstest.FirefoxOnLinux).Page(notesSite + "/"),
	} {
		got.Is(t, want.down)
	}
	s.untouched(t)
}

// nginx answers a request for an unknown name with its first server.
func TestNginxClosesUnknownHosts(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a reverse proxy")
	}
	for _, p := range proxies {
		if p.name != "nginx" {
			continue
		}
		s := openSite(t, p)
		alice := s.signedIn("alice", handlerstest.AlicePassword, handlerstest.FirefoxOnLinux)
		for _, host := range []string{"made-up.example.com", "evil.example", "127.0.0.1", "notes.example.com.evil.example"} {
			conn := s.dial("notes.example.com")
			defer conn.Close()
			request := "GET / HTTP/1.1\r\nHost: " + host + "\r\nCookie: " + ours + domainCookie(alice).Value + "\r\nConnection: close\r\n\r\n"
			if _, err := io.WriteString(conn, request); err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(conn); err != nil || len(got) > 0 {
				t.Errorf("%s: %v, %.200q", host, err, got)
			}
			s.untouched(t)
		}
		// A TLS client that asks for an unknown host does not even get a certificate.
		if conn, err := tls.Dial("tcp", s.address, &tls.Config{InsecureSkipVerify: true, ServerName: "made-up.example.com"}); err == nil {
			conn.Close()
			t.Error("nginx shows a certificate to a client that asks for made-up.example.com")
		}
	}
}
