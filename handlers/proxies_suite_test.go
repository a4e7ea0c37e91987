package handlers_test

import (
	"crypto/tls"
	"io"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// This file owns what must hold with every proxy alike.

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
			p.find(t)
			for _, test := range []struct {
				name string
				run  func(*testing.T, *site, sayings)
			}{
				{"sign in and back", signsInAndBack},
				{"who is there", tellsWho},
				{"forged identity", dropsForgedIdentity},
				{"forged question", ignoresForgedQuestion},
				{"unknown Remote headers", dropsUnknownRemote},
				{"cookies", keepsTheTokenFromApps},
				{"two Cookie headers", readsEveryCookieHeader},
				{"revoked on the device page", isOutOnceRevoked},
				{"a body", passesABody},
				{"a script", tellsAScript},
				{"WebSocket", opensASocket},
				{"upgrade to HTTP/2", refusesHTTP2Upgrade},
				{"upgrade of HTTP/2", refusesHTTP2Connect},
				{"many cookies", bearsManyCookies},
				{"odd paths", keepsOddPaths},
				{"not allowed", showsWhoIsNotAllowed},
				{"the address on the device list", knowsTheClient},
				{"Porchlight stopped", shutsWhenStopped},
			} {
				t.Run(test.name, func(t *testing.T) {
					s := openSite(t, p)
					test.run(t, s, p.sayings)
				})
			}
		})
	}
}

// reaches fails the test unless the app answered, and gives what it saw.
func (s *site) reaches(t testing.TB, got answer) seenRequest {
	t.Helper()
	got.is(t, 200)
	seen := s.notes.take()
	if len(seen) != 1 {
		t.Fatalf("the app saw %d requests: %d %.300s", len(seen), got.status, got.body)
	}
	return seen[0]
}

// untouched fails the test when anything reached an app.
func (s *site) untouched(t testing.TB) {
	t.Helper()
	if seen := slices.Concat(s.notes.take(), s.photos.take()); len(seen) > 0 {
		t.Errorf("an app was reached: %v", seen)
	}
}

func signInPlace(address string) string { return ownSite + "/login?next=" + url.QueryEscape(address) }

func signsInAndBack(t *testing.T, s *site, _ sayings) {
	visitor := s.visit(firefoxOnLinux)
	const deep = notesSite + "/a/b?x=1&y=%26&z=a+b"
	got := visitor.page(deep)
	got.is(t, 302, signInPlace(deep))
	s.untouched(t)
	visitor.page(got.header.Get("Location")).has(t, `value="https://notes.example.com/a/b?x=1&amp;y=%26&amp;z=a&#43;b"`)
	got = visitor.do("POST", ownSite+"/login", encode([]string{"username", "alice", "password", alicePassword, "next", deep}),
		"Accept", browserAccept, "Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "same-origin")
	got.is(t, 303, deep)
	if seen := s.reaches(t, visitor.page(deep)); seen.uri != "/a/b?x=1&y=%26&z=a+b" || seen.host != "notes.example.com" {
		t.Errorf("the app saw %s at %s", seen.uri, seen.host)
	}
}

func tellsWho(t *testing.T, s *site, _ sayings) {
	s.exec(`UPDATE users SET email = 'alice@example.com' WHERE username = 'alice'`)
	for _, visitor := range []struct {
		*client
		user, email, groups string
	}{
		{s.signedIn("alice", alicePassword, firefoxOnLinux), "alice", "alice@example.com", "admins"},
		{s.signedIn("bob", bobPassword, chromeOnMac), "bob", "", ""},
	} {
		seen := s.reaches(t, visitor.page(notesSite+"/"))
		for name, want := range map[string]string{"Remote-User": visitor.user, "Remote-Name": visitor.user, "Remote-Email": visitor.email, "Remote-Groups": visitor.groups, "Remote-Session": visitor.id} {
			if got := strings.Join(seen.header.Values(name), "|"); got != want {
				t.Errorf("%s: the app saw %s %q, want %q", visitor.user, name, got, want)
			}
		}
	}
}

func isOutOnceRevoked(t *testing.T, s *site, _ sayings) {
	library, phone := s.signedIn("alice", alicePassword, firefoxOnLinux), s.signedIn("alice", alicePassword, safariOnIPhone)
	s.reaches(t, library.page(notesSite+"/"))
	if err := s.store.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	phone.page(ownSite+"/sessions").has(t, "Used for <span>notes.example.com</span>")
	phone.do("DELETE", ownSite+"/sessions/"+library.id, "", "HX-Request", "true", "Sec-Fetch-Site", "same-origin").is(t, 200)
	got := library.page(notesSite + "/next?click=1")
	got.is(t, 302, signInPlace(notesSite+"/next?click=1"))
	s.untouched(t)
	library.page(got.header.Get("Location")).has(t, "You&#39;ve been signed out on this device.")
	s.reaches(t, phone.page(notesSite+"/"))
}

func passesABody(t *testing.T, s *site, say sayings) {
	visitor := s.signedIn("alice", alicePassword, firefoxOnLinux)
	body := strings.Repeat("0123456789abcdef", 20_000)
	for _, headers := range [][]string{nil, {"Expect", "100-continue"}, {"Content-Encoding", "gzip"}, {"Content-Type", "multipart/form-data; boundary=x"}} {
		seen := s.reaches(t, visitor.do("POST", notesSite+"/save", body, headers...))
		if seen.method != "POST" || seen.body != body {
			t.Errorf("%v: the app saw %s with %d bytes", headers, seen.method, len(seen.body))
		}
	}
	stranger := s.visit(firefoxOnLinux)
	stranger.do("POST", notesSite+"/save?x=1", body, "Accept", browserAccept, "Sec-Fetch-Mode", "navigate").is(t, say.redirect, signInPlace(notesSite+"/save?x=1"))
	stranger.do("PUT", notesSite+"/save", body).is(t, 401, "")
	s.untouched(t)
}

func tellsAScript(t *testing.T, s *site, _ sayings) {
	visitor := s.visit(firefoxOnLinux)
	for _, headers := range [][]string{
		{"Accept", "*/*", "Sec-Fetch-Mode", "cors"},
		{"Accept", "application/json", "X-Requested-With", "XMLHttpRequest"},
		{"Accept", browserAccept, "Sec-Fetch-Mode", "no-cors"},
	} {
		visitor.do("GET", notesSite+"/api", "", headers...).is(t, 401, "")
	}
	visitor.do("OPTIONS", notesSite+"/api", "", "Accept", browserAccept, "Origin", "https://evil.example", "Access-Control-Request-Method", "PUT").is(t, 401, "")
	s.untouched(t)
}

func bearsManyCookies(t *testing.T, s *site, _ sayings) {
	visitor := s.signedIn("alice", alicePassword, firefoxOnLinux)
	many := "app=" + strings.Repeat("x", 2500) + "; more=" + strings.Repeat("y", 2500)
	seen := s.reaches(t, visitor.page(notesSite+"/", "Cookie", many))
	if got := seen.header.Get("Cookie"); got != many {
		t.Errorf("the app saw %d bytes of cookies, not %d", len(got), len(many))
	}
	s.visit(firefoxOnLinux).page(notesSite+"/"+strings.Repeat("long/", 600), "Cookie", many).is(t, 302, signInPlace(notesSite+"/"+strings.Repeat("long/", 600)))
}

func keepsOddPaths(t *testing.T, s *site, say sayings) {
	visitor := s.signedIn("alice", alicePassword, firefoxOnLinux)
	for _, path := range []string{"/a%2fb", "/a%2Fb%5c?x=%2f%2F", "//evil.example/x", "/a//b", "/%", "/a?b?c=d", "/caf%C3%A9", "/a%20b+c", "/x?q=%F0%9F%8F%AE&r=a%26b", "/?next=https://evil.example/", "/a;b=c,d@e:f", "/%2e%2e/x"} {
		request := func(headers string) string {
			return "GET " + path + " HTTP/1.1\r\nHost: notes.example.com\r\nAccept: text/html\r\nConnection: close\r\n" + headers + "\r\n"
		}
		got := s.send("notes.example.com", request(""))
		if got.status == 400 { // the proxy itself refuses it
			s.untouched(t)
			continue
		}
		place, err := url.Parse(got.header.Get("Location"))
		if err != nil {
			t.Fatal(err)
		}
		asked, ofApp := strings.CutPrefix(place.Query().Get("next"), notesSite)
		if got.status != 302 || !ofApp || asked != path && !say.tidies {
			t.Errorf("%s: %d %s", path, got.status, place)
		}
		s.untouched(t)
		cookie := "Cookie: __Secure-porchlight=" + visitor.domainCookie().Value + "\r\n"
		// Written by hand: Go's client takes no Location with a "%" that escapes nothing.
		s.send("auth.example.com", "GET "+place.RequestURI()+" HTTP/1.1\r\nHost: auth.example.com\r\nAccept: text/html\r\nConnection: close\r\n"+cookie+"\r\n").is(t, 303, notesSite+asked)
		got = s.send("notes.example.com", request(cookie))
		if path == "/%" && got.status == 400 { // the app refuses what HAProxy passes on
			s.untouched(t)
			continue
		}
		if seen := s.reaches(t, got); seen.uri != asked {
			t.Errorf("%s: the proxy asked about %s, and the app saw %s", path, asked, seen.uri)
		}
	}
	// A dot segment stays below the host, whoever takes it out.
	got := s.send("notes.example.com", "GET /a/../../etc HTTP/1.1\r\nHost: notes.example.com\r\nAccept: text/html\r\nConnection: close\r\n\r\n")
	if got.status != 400 && !strings.HasPrefix(got.header.Get("Location"), signInPlace(notesSite+"/")) {
		t.Errorf("%d %q", got.status, got.header.Get("Location"))
	}
	s.untouched(t)
}

func showsWhoIsNotAllowed(t *testing.T, s *site, _ sayings) {
	if _, err := s.store.AllowApp(t.Context(), "notes.example.com", false, "alice"); err != nil {
		t.Fatal(err)
	}
	bob := s.signedIn("bob", bobPassword, chromeOnMac)
	got := bob.page(notesSite + "/")
	got.is(t, 403)
	got.has(t, "You may not open notes.example.com", "<strong>bob</strong>", `href="https://auth.example.com/logout"`)
	bob.do("POST", notesSite+"/", "x=1", "Sec-Fetch-Mode", "cors").is(t, 403)
	s.untouched(t)
	s.reaches(t, s.signedIn("alice", alicePassword, firefoxOnLinux).page(notesSite+"/"))
	s.visit(chromeOnMac).page(notesSite+"/").is(t, 302)
	if _, err := s.store.AllowApp(t.Context(), "notes.example.com", false, "bob"); err != nil {
		t.Fatal(err)
	}
	s.reaches(t, bob.page(notesSite+"/"))
}

// What a client writes into X-Forwarded-For is not its address.
func knowsTheClient(t *testing.T, s *site, _ sayings) {
	visitor := s.visit(firefoxOnLinux)
	visitor.do("POST", ownSite+"/login", encode([]string{"username", "alice", "password", alicePassword}), "Content-Type", "application/x-www-form-urlencoded", "Accept", browserAccept,
		"X-Forwarded-For", "203.0.113.9", "X-Forwarded-Host", "evil.example", "X-Forwarded-Proto", "http").is(t, 303)
	visitor.page(ownSite+"/auth/nginx", "X-Original-URL", notesSite+"/", "X-Original-Method", "GET").is(t, 404) // that is for proxies alone
	got := visitor.page(ownSite + "/admin/proxy")
	got.is(t, 200)
	got.has(t, "<bdi>https</bdi>", "<bdi>auth.example.com</bdi>", "127.0.0.1")
	got.lacks(t, "This request did not come to")
	if ip := s.only(`SELECT ip FROM sessions WHERE token_hash = unhex(?)`, sha256Hex(visitor.domainCookie().Value)); ip != "127.0.0.1" {
		t.Errorf("the address is %s", ip)
	}
}

func shutsWhenStopped(t *testing.T, s *site, say sayings) {
	visitor := s.signedIn("alice", alicePassword, firefoxOnLinux)
	s.reaches(t, visitor.page(notesSite+"/"))
	if err := s.store.Close(); err != nil { // it still answers, but cannot know
		t.Fatal(err)
	}
	for _, got := range []answer{visitor.page(notesSite + "/"), s.visit(firefoxOnLinux).page(notesSite + "/")} {
		if got.status != 503 && got.status != 500 {
			t.Errorf("without its database: %d", got.status)
		}
	}
	s.untouched(t)
	s.stop()
	for _, got := range []answer{visitor.page(notesSite + "/"), visitor.do("POST", notesSite+"/", "x"), s.visit(firefoxOnLinux).page(notesSite + "/")} {
		got.is(t, say.down)
	}
	s.untouched(t)
}

// nginx answers a request for an unknown name with its first server, whichever that is.
func TestNginxClosesUnknownHosts(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a reverse proxy")
	}
	for _, p := range proxies {
		if p.name != "nginx" {
			continue
		}
		s := openSite(t, p)
		alice := s.signedIn("alice", alicePassword, firefoxOnLinux)
		for _, host := range []string{"made-up.example.com", "evil.example", "127.0.0.1", "notes.example.com.evil.example"} {
			conn := s.dial("notes.example.com")
			defer conn.Close()
			request := "GET / HTTP/1.1\r\nHost: " + host + "\r\nCookie: " + ours + alice.domainCookie().Value + "\r\nConnection: close\r\n\r\n"
			if _, err := io.WriteString(conn, request); err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(conn); err != nil || len(got) > 0 {
				t.Errorf("%s: %v, %.200q", host, err, got)
			}
			s.untouched(t)
		}
		// A TLS client that names no known host does not even get a certificate.
		if conn, err := tls.Dial("tcp", s.address, &tls.Config{InsecureSkipVerify: true, ServerName: "made-up.example.com"}); err == nil {
			conn.Close()
			t.Error("nginx shows a certificate to a client that asks for made-up.example.com")
		}
	}
}
