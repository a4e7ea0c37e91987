package e2e

import (
	"crypto/tls"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"porchlight/db"
	"porchlight/handlers/handlerstest"
)

// This file fuzzes the hosts of requests, which proxies and Porchlight must read alike: whatever the request line and the Host header
// are, the app must see the host that was checked.

// hostileRequests are request lines and header lines in which a host can be hidden.
var hostileRequests = [][2]string{
	{"GET / HTTP/1.1", "Host: notes.example.com"},
	{"GET / HTTP/1.1", "Host: photos.example.com"},
	{"GET / HTTP/1.1", "Host: NOTES.example.com.:443"},
	{"GET / HTTP/1.1", "Host: photos.example.com."},
	{"GET / HTTP/1.1", "Host: notes.example.com\r\nHost: photos.example.com"},
	{"GET / HTTP/1.1", "Host: photos.example.com\r\nX-Forwarded-Host: notes.example.com"},
	{"GET / HTTP/1.1", "Host: photos.example.com\r\nX-Original-URL: https://notes.example.com/\r\nX-Original-Method: GET"},
	{"GET / HTTP/1.1", "Host: notes.example.com@photos.example.com"},
	{"GET / HTTP/1.1", "Host: photos.example.com:443@notes.example.com"},
	{"GET / HTTP/1.1", "Host: photos.example.com/notes.example.com"},
	{"GET / HTTP/1.1", "Host: photos.example.com, notes.example.com"},
	{"GET / HTTP/1.1", "Host: photos.example.com\tnotes.example.com"},
	{"GET / HTTP/1.1", "Host:photos.example.com\r\n notes.example.com"},
	{"GET / HTTP/1.1", "Host: photos%2eexample.com"},
	{"GET / HTTP/1.1", "Host: photos.example.com:"},
	{"GET / HTTP/1.1", "Host : photos.example.com"},
	{"GET / HTTP/1.1", "Host: "},
	{"GET https://photos.example.com/ HTTP/1.1", "Host: notes.example.com"},
	{"GET https://notes.example.com/ HTTP/1.1", "Host: photos.example.com"},
	{"GET https://x@photos.example.com:443/ HTTP/1.1", "Host: notes.example.com"},
	{"GET https://notes.example.com@photos.example.com/ HTTP/1.1", "Host: notes.example.com"},
	{"GET https://photos.example.com\\@notes.example.com/ HTTP/1.1", "Host: notes.example.com"},
	{"GET //photos.example.com/ HTTP/1.1", "Host: notes.example.com"},
	{"GET photos.example.com/ HTTP/1.1", "Host: notes.example.com"},
	{"GET http:photos.example.com HTTP/1.1", "Host: notes.example.com"},
	{"GET / HTTP/1.0", "X: y"},
	{"GET /?x=y HTTP/1.1", "Host: [::1]"},
	{"OPTIONS * HTTP/1.1", "Host: notes.example.com"},
	{"CONNECT photos.example.com:443 HTTP/1.1", "Host: notes.example.com"},
	{"GET / HTTP/1.1", "Host: xn--phots-jua.example.com"},
	{"GET / HTTP/1.1", "Host: photos.example.com\x00.notes.example.com"},
}

// FuzzHosts sends requests as alice, who may open only notes.example.com, through every proxy on this machine. If a proxy asked about
// one host and passed the request on to another, an app would see a host that she may not open.
func FuzzHosts(f *testing.F) {
	type guarded struct {
		*site
		name, token string
	}
	var sites []guarded
	for _, p := range proxies {
		if !p.mustBe && p.missing() != "" {
			continue
		}
		s := openSite(f, p)
		if _, err := s.Store.AllowApp(f.Context(), db.CommandLine, db.AppRule{Host: "notes.example.com", Users: []string{"alice"}}); err != nil {
			f.Fatal(err)
		}
		if _, err := s.Store.AllowApp(f.Context(), db.CommandLine, db.AppRule{Host: "*.example.com", Users: []string{"bob"}}); err != nil {
			f.Fatal(err)
		}
		sites = append(sites,
			guarded{s, p.name, domainCookie(s.signedIn("alice", handlerstest.AlicePassword, handlerstest.FirefoxOnLinux)).Value})
	}
	for _, s := range sites { // otherwise the fuzz test would check nothing
		s.send("notes.example.com",
			"GET / HTTP/1.1\r\nHost: notes.example.com\r\nCookie: __Secure-porchlight="+s.token+"\r\nConnection: close\r\n\r\n")
		if seen := s.notes.take(); len(seen) != 1 || seen[0].header.Get("Remote-User") != "alice" {
			f.Fatalf("%s lets nobody in: %v", s.name, seen)
		}
	}
	for _, hostile := range hostileRequests {
		f.Add(hostile[0], hostile[1])
	}
	f.Fuzz(func(t *testing.T, line, header string) {
		if strings.Contains(line+header, "\r\n\r\n") || len(line)+len(header) > 4000 {
			return // the rest is another request
		}
		for _, s := range sites {
			s.ask(t, line+"\r\n"+header+"\r\nCookie: __Secure-porchlight="+s.token+"\r\nConnection: close\r\n\r\n")
			for _, seen := range slices.Concat(s.notes.take(), s.photos.take()) {
				if host, _, ok := db.CanonicalHost(seen.host); !ok || host != "notes.example.com" {
					t.Errorf("%s passed alice to %q with %q, %q", s.name, seen.host, line, header)
				}
				if user := seen.header.Values("Remote-User"); len(user) != 1 || user[0] != "alice" {
					t.Errorf("%s passed %q with %q, %q", s.name, user, line, header)
				}
			}
		}
	})
}

// ask sends bytes that may not be a request, and waits for a response that may not come.
func (s *site) ask(t *testing.T, request string) {
	t.Helper()
	conn, err := tls.Dial("tcp", s.address, &tls.Config{
		InsecureSkipVerify: true, ServerName: "notes.example.com", NextProtos: []string{"http/1.1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		return // the proxy closed the connection before it had read everything
	}
	// A proxy may wait for more of a malformed request. Only then does this stop writing, because Caddy drops a request whose client has.
	if err := conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, conn); !errors.Is(err, os.ErrDeadlineExceeded) {
		return
	}
	if err := errors.Join(conn.CloseWrite(), conn.SetReadDeadline(time.Now().Add(patience))); err != nil {
		return
	}
	io.Copy(io.Discard, conn)
}
