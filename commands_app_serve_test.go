package main

import (
	"errors"
	"io/fs"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"porchlight/db"
	"porchlight/db/dbtest"
)

// This file tests that the app commands take effect on a running server at once, and that the server obeys the settings about apps.

// guard has the settings of a server that guards the hosts under example.com for a proxy on this machine.
var guard = []string{"--url", "http://auth.example.com", "--cookie-domain", "example.com", "--trusted-proxies", "127.0.0.1"}

// cookieOf signs in and returns the session cookie, which the jar of a client at 127.0.0.1 would reject.
func (s *server) cookieOf(name, password string) *http.Cookie {
	s.t.Helper()
	c := s.newClient()
	response, err := c.http.PostForm(s.url+"/login", map[string][]string{"username": {name}, "password": {password}})
	if status, body := c.read(response, err); status != http.StatusOK {
		s.t.Fatalf("sign in as %s: %d %s", name, status, body)
	}
	for _, cookie := range response.Cookies() {
		if strings.HasSuffix(cookie.Name, "porchlight") {
			return cookie
		}
	}
	s.t.Fatalf("no cookie: %v", response.Header)
	return nil
}

// authCheck sends an auth check, as a proxy would for a request to the host with the cookie.
func (s *server) authCheck(cookie *http.Cookie, host string) (status int, header http.Header) {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), "GET", s.url+"/auth/forward", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	for name, value := range map[string]string{"Method": "GET", "Proto": "http", "Host": host, "Uri": "/", "For": "192.0.2.7"} {
		request.Header.Set("X-Forwarded-"+name, value)
	}
	if cookie != nil {
		request.AddCookie(&http.Cookie{Name: cookie.Name, Value: cookie.Value})
	}
	c := s.newClient()
	response, err := c.http.Do(request)
	status, _ = c.read(response, err)
	return status, response.Header
}

func (s *server) wantAuthCheck(want int, cookie *http.Cookie, host string) {
	s.t.Helper()
	if got, _ := s.authCheck(cookie, host); got != want {
		s.t.Errorf("%s: %d, want %d", host, got, want)
	}
}

// A rule applies to the server's next request, and still applies after a restart.
func TestAppCommandsWhileTheServerRuns(t *testing.T) {
	f := newFixture(t, nil)
	s := start(t, f.data, guard...)
	ada, bo := s.cookieOf("ada", adaPassword), s.cookieOf("bo", boPassword)
	want := func(host string, adas, bos int) {
		t.Helper()
		s.wantAuthCheck(adas, ada, host)
		s.wantAuthCheck(bos, bo, host)
	}
	const notes, wiki = "notes.example.com", "wiki.example.com"
	s.wantAuthCheck(http.StatusUnauthorized, nil, notes)
	want(notes, http.StatusOK, http.StatusOK)
	mustRun(t, "", f.guarding("app", "allow", "*.example.com", "--admins")...)
	want(notes, http.StatusOK, http.StatusForbidden)
	mustRun(t, "", f.guarding("app", "allow", notes, "--user", "bo")...)
	want(notes, http.StatusForbidden, http.StatusOK)
	want("NOTES.example.com.:8080", http.StatusForbidden, http.StatusOK)
	want(wiki, http.StatusOK, http.StatusForbidden)
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	s = start(t, f.data, guard...)
	want(notes, http.StatusForbidden, http.StatusOK)
	mustRun(t, "", f.with("app", "remove", notes)...)
	want(notes, http.StatusOK, http.StatusForbidden)
	mustRun(t, "", f.with("app", "remove", "*.example.com")...)
	want(notes, http.StatusOK, http.StatusOK)
	mustRun(t, "", f.with("session", "revoke", "--user", "bo")...)
	want(notes, http.StatusOK, http.StatusUnauthorized)
	s.wantAuthCheck(http.StatusUnauthorized, nil, notes)
}

// session list shows the apps that the server has recorded.
func TestSessionListShowsRecordedApps(t *testing.T) {
	f := newFixture(t, nil)
	s := start(t, f.data, guard...)
	ada := s.cookieOf("ada", adaPassword)
	s.wantAuthCheck(http.StatusOK, ada, "Notes.example.com:8080")
	mustRun(t, "", f.guarding("app", "allow", "bank.example.com", "--user", "bo")...)
	s.wantAuthCheck(http.StatusForbidden, ada, "bank.example.com") // refused
	s.wantAuthCheck(http.StatusForbidden, ada, "notes.example.org")
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	if got := dbtest.Rows(t, f.path(), `SELECT host FROM session_apps`); !slices.Equal(got, []string{"notes.example.com"}) {
		t.Errorf("the recorded apps are %q", got)
	}
	rows := readRows(t, mustRun(t, "", f.with("session", "list", "--json")...))
	apps, _ := rows[0]["apps"].([]any)
	if len(rows) != 1 || len(apps) != 1 {
		t.Fatalf("the list is %v", rows)
	}
	app, _ := apps[0].(map[string]any)
	if app["host"] != "notes.example.com" {
		t.Errorf("the app is %v", app)
	}
	wantTime(t, app["lastUsedAt"], -patience, 0)
}

func TestServeAppliesAppsDefault(t *testing.T) {
	for _, test := range []struct {
		flag, variable string
		want           int
	}{
		{"", "", http.StatusOK},
		{"allow", "", http.StatusOK},
		{"deny", "", http.StatusForbidden},
		{"", "deny", http.StatusForbidden},
		{"allow", "deny", http.StatusOK},
	} {
		t.Setenv("PORCHLIGHT_APPS_DEFAULT", test.variable)
		args := guard
		if test.flag != "" {
			args = append(slices.Clone(guard), "--apps-default", test.flag)
		}
		f := newFixture(t, nil)
		s := start(t, f.data, args...)
		ada := s.cookieOf("ada", adaPassword)
		s.wantAuthCheck(test.want, ada, "notes.example.com")
		f.withStore(func(store *db.Store) {
			if _, err := store.AllowApp(t.Context(), db.CommandLine, db.AppRule{Host: "wiki.example.com", Admins: true}); err != nil {
				t.Fatal(err)
			}
		})
		s.wantAuthCheck(http.StatusOK, ada, "wiki.example.com") // a rule takes precedence over the default
		if err := s.stop(); err != nil {
			t.Error(err)
		}
	}
}

func TestServeAppliesCookieDomain(t *testing.T) {
	for _, test := range []struct {
		args            []string
		name, domain    string
		guarded, beside string
	}{
		{[]string{"--url", "http://auth.example.com"}, "porchlight", "", "auth.example.com", "notes.example.com"},
		{[]string{"--url", "https://auth.example.com"}, "__Host-porchlight", "", "auth.example.com", "notes.example.com"},
		{[]string{"--url", "http://auth.example.com", "--cookie-domain", "example.com"},
			"porchlight", "example.com", "notes.example.com", "notes.example.org"},
		{[]string{"--url", "https://auth.example.com", "--cookie-domain", "Example.COM."},
			"__Secure-porchlight", "example.com", "notes.example.com", "notesexample.com"},
		{[]string{"--url", "https://auth.example.com", "--cookie-domain", "auth.example.com"},
			"__Secure-porchlight", "auth.example.com", "notes.auth.example.com", "notes.example.com"},
	} {
		f := newFixture(t, nil)
		s := start(t, f.data, append(test.args, "--trusted-proxies", "127.0.0.1")...)
		cookie := s.cookieOf("ada", adaPassword)
		if cookie.Name != test.name || cookie.Domain != test.domain {
			t.Errorf("%q: the cookie is %s of %q, want %s of %q", test.args, cookie.Name, cookie.Domain, test.name, test.domain)
		}
		s.wantAuthCheck(http.StatusOK, cookie, test.guarded)
		s.wantAuthCheck(http.StatusForbidden, cookie, test.beside)
		if err := s.stop(); err != nil {
			t.Error(err)
		}
	}
}

// A setting that would leave apps unguarded, or people without a cookie, stops the start before anything is created.
func TestServeRejectsBadAppSettings(t *testing.T) {
	for _, bad := range []struct{ flag, value string }{
		{"cookie-domain", "com"},
		{"cookie-domain", "example.org"},
		{"cookie-domain", "https://example.com"},
		{"apps-default", "nobody"},
		{"apps-default", "DENY"},
	} {
		data := t.TempDir() + "/data"
		stdout, stderr, code := runProcess(t, "--data", data, "--listen", "127.0.0.1:0", "--url", "https://auth.example.com",
			"--"+bad.flag, bad.value)
		want := "porchlight: --" + bad.flag + " " + bad.value + ": "
		if code != 2 || stdout != "" || strings.Count(stderr, "\n") != 1 || !strings.HasPrefix(stderr, want) {
			t.Errorf("--%s %s: exit status %d: %q and on standard error %q", bad.flag, bad.value, code, stdout, stderr)
		}
		if _, err := os.Stat(data); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("--%s %s: the data folder was created: %v", bad.flag, bad.value, err)
		}
	}
}

// With --clear-app-data on, a browser whose session a command revoked must delete the cookies of the apps.
func TestClearAppDataWhileTheServerRuns(t *testing.T) {
	f := newFixture(t, nil)
	for _, value := range []string{"on", "off"} {
		s := start(t, f.data, "--url", "https://auth.example.com", "--cookie-domain", "example.com", "--trusted-proxies", "127.0.0.1",
			"--clear-app-data", value)
		bo := s.cookieOf("bo", boPassword)
		mustRun(t, "", f.with("session", "revoke", "--user", "bo")...)
		status, header := s.authCheck(bo, "notes.example.com")
		want := map[string]string{"on": `"cookies"`}[value]
		if got := header.Get("Clear-Site-Data"); status != http.StatusUnauthorized || got != want {
			t.Errorf("%s: %d with Clear-Site-Data %q, want %q", value, status, got, want)
		}
		if err := s.stop(); err != nil {
			t.Fatal(err)
		}
	}
}
