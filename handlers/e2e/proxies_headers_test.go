package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"porchlight/db"
	"porchlight/handlers/handlerstest"
)

// This file tests the headers with which a client pretends to be somebody else, and the cookies that an app must not see.

const (
	toNotesSite = "GET / HTTP/1.1\r\nHost: notes.example.com\r\n" // the beginning of a request
	ours        = "__Secure-porchlight="
)

// forgedNames are headers with which a client claims to be somebody, or to ask for something else. CGI, PHP and WSGI read
// some other characters in a name as a hyphen.
var forgedNames = []string{
	"Remote-User", "remote-user", "REMOTE-USER", "Remote_User", "remote_user", "Remote.User", "Remote~User", "Remote!User",
	"Remote-Name", "Remote-Email", "Remote_Email", "Remote-Groups", "REMOTE_GROUPS", "Remote~Groups", "Remote-Session", "Remote_Session",
	"X-Remote-User", "X-Forwarded-User", "X_Forwarded_User", "X-Forwarded-Email", "X-Forwarded-Groups",
	"X-Forwarded-Preferred-Username", "X-Forwarded-Access-Token", "X-Forwarded-Host", "X-Forwarded-Uri", "X-Forwarded-Method",
	"X-Original-URL", "X-Original-URI", "X-Original-Method", "X-Original-Host", "X-Rewrite-URL", "Forwarded",
}

func dropsForgedIdentity(t *testing.T, s *site, _ expected) {
	token := domainCookie(s.signedIn("bob", handlerstest.BobPassword, handlerstest.ChromeOnMac)).Value
	forged := ""
	for _, name := range forgedNames {
		forged += name + ": forged\r\n"
	}
	ask := func(cookie, connection string) handlerstest.Answer {
		return s.send("notes.example.com", toNotesSite+"Accept: text/html\r\n"+cookie+forged+"Connection: "+connection+"\r\n\r\n")
	}
	// Headers named in Connection are only for the next hop, so a proxy, or the app's own, may drop Porchlight's headers.
	for _, connection := range []string{"close", "close, Remote-User, Remote-Groups, X-Forwarded-For", "Remote-User\r\nConnection: close"} {
		got := ask("Cookie: "+ours+token+"\r\n", connection)
		if got.Status == 400 && connection != "close" { // the proxy itself refuses it
			s.untouched(t)
			continue
		}
		seen := s.reaches(t, got)
		for name, values := range seen.header {
			if strings.Contains(strings.Join(values, " "), "forged") {
				t.Errorf("Connection: %q: the app saw %s: %q", connection, name, values)
			}
		}
		if got := seen.header.Values("Remote-User"); len(got) != 1 || got[0] != "bob" {
			t.Errorf("Connection: %q: the app saw Remote-User %q", connection, got)
		}
		if got := strings.ToLower(strings.Join(seen.header.Values("Connection"), ",")); got != "" && got != "close" && got != "keep-alive" {
			t.Errorf("Connection: %q: the app saw Connection %q", connection, got)
		}
	}
	ask("", "close").Is(t, 302, signInPlace(notesSite+"/"))
	s.untouched(t)
}

// A name that begins with Remote may mean something to an app, although Porchlight never sends it.
func dropsUnknownRemote(t *testing.T, s *site, _ expected) {
	token := domainCookie(s.signedIn("bob", handlerstest.BobPassword, handlerstest.ChromeOnMac)).Value
	for _, name := range []string{"Remote-Role", "REMOTE-ID", "RemoteUser", "Remote_Role"} {
		got := s.send("notes.example.com", toNotesSite+"Cookie: "+ours+token+"\r\n"+name+": forged\r\nConnection: close\r\n\r\n")
		seen := s.notes.take()
		if len(seen) == 0 && got.Status != 403 {
			t.Errorf("%s: %d, and the app saw nothing", name, got.Status)
		}
		if strings.Contains(fmt.Sprint(seen), "forged") {
			t.Errorf("the app saw %s", name)
		}
	}
}

// Headers in which a client describes its own request, as a proxy would, have no effect.
func ignoresForgedRequest(t *testing.T, s *site, _ expected) {
	if _, err := s.Store.AllowApp(t.Context(), db.CommandLine, db.AppRule{Host: "photos.example.com", Everyone: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Store.AllowApp(t.Context(), db.CommandLine, db.AppRule{Host: "notes.example.com", Admins: true}); err != nil {
		t.Fatal(err)
	}
	bob := s.signedIn("bob", handlerstest.BobPassword, handlerstest.ChromeOnMac)
	forged := []string{
		"X-Forwarded-Host", "photos.example.com", "X-Forwarded-Uri", "/public/app.css", "X-Forwarded-Method", "OPTIONS",
		"X-Forwarded-Proto", "http", "X-Original-URL", "https://photos.example.com/", "X-Original-Method", "OPTIONS",
		"X-Forwarded-For", "203.0.113.9", "Forwarded", "host=photos.example.com",
	}
	bob.Page(notesSite+"/?uri=/public/app.css", forged...).Is(t, 403)
	s.untouched(t)
	s.visit(handlerstest.FirefoxOnLinux).Page(notesSite+"/x", forged...).Is(t, 302, signInPlace(notesSite+"/x"))
	s.untouched(t)
}

func keepsTheTokenFromApps(t *testing.T, s *site, _ expected) {
	token := domainCookie(s.signedIn("alice", handlerstest.AlicePassword, handlerstest.FirefoxOnLinux)).Value
	for sent, want := range map[string]string{
		ours + token:                                               "",
		ours + token + "; a=1":                                     "a=1",
		"a=1; " + ours + token:                                     "a=1",
		"a=1; " + ours + token + "; b=2":                           "a=1; b=2",
		"a=1;" + ours + token + ";b=2":                             "a=1; b=2",
		ours + "planted; a=1; " + ours + token + "; b=\"2 3\"":     "a=1; b=\"2 3\"",
		"a=1; b=x=y; " + ours + token + "; xporchlight=3; c=":      "a=1; b=x=y; xporchlight=3; c=",
		"a=1; __Host-porchlight=" + token + "; " + ours + token:    "a=1",
		"a=1; __Secure-porchlight =" + token + "; " + ours + token: "a=1",
		"porchlight-device=z; a=1; " + ours + token + "; theme=d":  "a=1; theme=d",
		"porchlight-code=z; a=1; " + ours + token + "; theme=d":    "a=1; theme=d",
	} {
		got := s.send("notes.example.com", toNotesSite+"Cookie: "+sent+"\r\nConnection: close\r\n\r\n")
		seen := s.reaches(t, got)
		if cookie := strings.ReplaceAll(strings.Join(seen.header.Values("Cookie"), "|"), ";b", "; b"); cookie != want {
			t.Errorf("%s: the app saw %q, want %q", strings.ReplaceAll(sent, token, "TOKEN"), strings.ReplaceAll(cookie, token, "TOKEN"), want)
		}
	}
	// However many there are, none comes through.
	many := strings.Repeat(ours+"planted; ", 5) + ours + token + "; " + ours + token
	seen := s.reaches(t, s.send("notes.example.com", toNotesSite+"Cookie: "+many+"\r\nConnection: close\r\n\r\n"))
	if strings.Contains(fmt.Sprint(seen.header), token) {
		t.Errorf("the app saw the token: %v", seen.header)
	}
}

// HTTP/2 sends each cookie in a separate header, and an HTTP/1.1 client can do the same.
func readsEveryCookieHeader(t *testing.T, s *site, _ expected) {
	token := domainCookie(s.signedIn("alice", handlerstest.AlicePassword, handlerstest.FirefoxOnLinux)).Value
	for _, lines := range [][]string{
		{"a=1", ours + token},
		{ours + token, "a=1"},
		{ours + "planted; a=1", ours + token},
		{ours + token, "a=1; " + ours + "planted"},
	} {
		check := func(protocol string, got handlerstest.Answer) {
			t.Helper()
			seen := s.reaches(t, got)
			if cookie := seen.header.Values("Cookie"); !slices.Equal(cookie, []string{"a=1"}) || seen.header.Get("Remote-User") != "alice" {
				t.Errorf("%s, %q: the app saw the cookies %q of %q", protocol, lines, cookie, seen.header.Get("Remote-User"))
			}
		}
		check("HTTP/1.1", s.send("notes.example.com", toNotesSite+"Cookie: "+strings.Join(lines, "\r\nCookie: ")+"\r\nConnection: close\r\n\r\n"))
		check("HTTP/2", s.sendHTTP2(t, "notes.example.com", http.Header{"Cookie": lines}))
	}
	// More than two lines come from no browser and no proxy. They may be refused, but the token must not reach the app.
	got := s.send("notes.example.com", toNotesSite+"Cookie: a=1\r\nCookie: b=2\r\nCookie: "+ours+token+"\r\nConnection: close\r\n\r\n")
	seen := s.notes.take()
	if len(seen) != 1 && got.Status != 400 {
		t.Errorf("three headers: %d", got.Status)
	}
	if strings.Contains(fmt.Sprint(seen), token) {
		t.Errorf("three headers: the app saw the token: %v", seen)
	}
}
