package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"porchlight/db"
	"porchlight/db/dbtest"
	"porchlight/handlers"
)

// This file tests the commands that invite users, set passwords, and disable, enable and delete accounts.

// mustFail runs a command that must fail with the exit status and print nothing. It returns the error.
func (f *fixture) mustFail(status int, stdin string, args ...string) (message string) {
	f.t.Helper()
	out, err := command(f.t, stdin, f.with(args...)...)
	wantError(f.t, err, status)
	if out != "" {
		f.t.Errorf("%q printed %q", args, out)
	}
	return err.Error()
}

func (f *fixture) wantRows(want []string, query string) {
	f.t.Helper()
	if got := dbtest.Rows(f.t, f.path(), query); !slices.Equal(got, want) {
		f.t.Errorf("%s\n got %q\nwant %q", query, got, want)
	}
}

// wantSignInRefused checks that a user cannot sign in.
func (s *server) wantSignInRefused(name, password string) {
	s.t.Helper()
	if status, body := s.newClient().form("/login", "username", name, "password", password); status != http.StatusUnauthorized {
		s.t.Errorf("sign in as %s: %d %s", name, status, body)
	}
}

func TestUserInvite(t *testing.T) {
	f := newFixture(t, nil)
	for name, args := range map[string][]string{"bo": {}, "cy": {"--email", "cy@example.com", "--admin"}} {
		out := mustRun(t, "", f.with(append([]string{"user", "invite", name, "--url", "https://auth.example.com"}, args...)...)...)
		link := regexp.MustCompile(`https://auth\.example\.com/invite\?token=([A-Z2-7]{26})\s`).FindStringSubmatch(out)
		if link == nil || strings.Count(out, "\n") != 1 || !strings.Contains(out, name) {
			t.Fatalf("no link: %q", out)
		}
		for _, path := range []string{f.path(), f.path() + "-wal"} {
			content, err := os.ReadFile(path)
			if err == nil && strings.Contains(string(content), link[1]) {
				t.Errorf("%s contains the token", path)
			}
		}
	}
	f.wantRows([]string{"bo 0 2 ", "cy 1 0 cy@example.com"}, `
		SELECT username || ' ' || is_admin || ' ' || COALESCE(user_id, 0) || ' ' || COALESCE(email, '')
		FROM invitations ORDER BY username`)

	f.mustFail(1, "", "user", "invite", "a b")
	f.mustFail(1, "", "user", "invite", "di", "--email", "nowhere")
	f.mustFail(1, "", "user", "invite", "bo", "--admin")
	f.mustFail(2, "", "user", "invite")
	mustRun(t, "", f.with("user", "disable", "bo")...)
	if message := f.mustFail(1, "", "user", "invite", "bo"); !strings.Contains(message, "disabled") {
		t.Error(message)
	}
	f.wantRows([]string{"cy"}, `SELECT username FROM invitations`)
}

// A running server refuses the link of an invitation that a command cancelled.
func TestUserInvitations(t *testing.T) {
	f := newFixture(t, nil)
	s := start(t, f.data)
	link := mustRun(t, "", f.with("user", "invite", "cy", "--email", "cy@example.com", "--admin", "--groups", "staff", "--url", s.url)...)
	mustRun(t, "", f.with("user", "invite", "bo")...)
	_, token, _ := strings.Cut(strings.TrimSpace(link), s.url+"/invite?token=")

	var rows []map[string]any
	if err := json.Unmarshal([]byte(mustRun(t, "", f.with("user", "invitations", "--json")...)), &rows); err != nil || len(rows) != 2 {
		t.Fatal(rows, err)
	}
	created, err := time.Parse(time.RFC3339, rows[1]["createdAt"].(string))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []map[string]any{
		{"username": "bo", "email": "", "newAccount": false, "isAdmin": false, "groups": []any{}},
		{"username": "cy", "email": "cy@example.com", "newAccount": true, "isAdmin": true, "groups": []any{"staff"}},
	} {
		want["by"], want["createdAt"] = "command", rows[i]["createdAt"]
		want["expiresAt"] = rows[i]["expiresAt"]
		if !reflect.DeepEqual(rows[i], want) {
			t.Errorf("got %v, want %v", rows[i], want)
		}
	}
	if got := rows[1]["expiresAt"]; got != handlers.RFC3339(created.Add(db.InvitationLifetime)) {
		t.Errorf("created at %s, expires at %s", created, got)
	}
	table := mustRun(t, "", f.with("user", "invitations")...)
	if !strings.HasPrefix(table, "USERNAME") || !regexp.MustCompile(`\ncy +cy@example.com +yes +yes +staff +command +2`).MatchString(table) {
		t.Error(table)
	}

	c := s.newClient()
	if status, _ := c.get("/invite?token=" + token); status != http.StatusOK {
		t.Fatal("the link:", status)
	}
	if out := mustRun(t, "", f.with("user", "uninvite", " CY ")...); out != "Cancelled the invitation for cy. Its link no longer works.\n" {
		t.Error(out)
	}
	if status, _ := c.get("/invite?token=" + token); status != http.StatusNotFound {
		t.Error("the cancelled link:", status)
	}
	if message := f.mustFail(1, "", "user", "uninvite", "cy"); !strings.Contains(message, "there is no pending invitation for cy") {
		t.Error(message)
	}
	f.mustFail(2, "", "user", "uninvite")
	f.wantRows([]string{"bo"}, `SELECT username FROM invitations`)
}

// The link sets a new password, signs its user in, and ends the old sessions.
func TestUserInviteLink(t *testing.T) {
	f := newFixture(t, nil)
	s := start(t, f.data)
	before := s.signIn("bo", boPassword)
	out := mustRun(t, "", f.with("user", "invite", "bo", "--url", s.url)...)
	_, token, found := strings.Cut(strings.TrimSpace(out), s.url+"/invite?token=")
	if !found {
		t.Fatal("no link")
	}
	c := s.newClient()
	if status, body := c.get("/invite?token=" + token); status != http.StatusOK || !strings.Contains(body, "bo") {
		t.Fatalf("the page: %d %s", status, body)
	}
	if status, body := c.form("/invite", "token", token, "password", adaPassword); status != http.StatusSeeOther {
		t.Fatalf("the form: %d %s", status, body)
	}
	c.want(http.StatusOK, "/me/sessions")
	before.want(http.StatusUnauthorized, "/me/sessions")
}

// user invite creates the database if there is none.
func TestUserInviteInAnEmptyFolder(t *testing.T) {
	f := &fixture{t: t, data: filepath.Join(t.TempDir(), "data")}
	if out := mustRun(t, "", f.with("user", "invite", "ada")...); !strings.Contains(out, "http://localhost:3000/invite?token=") {
		t.Errorf("printed %q", out)
	}
	f.wantRows([]string{"ada"}, `SELECT username FROM invitations`)
}

func TestUserPasswd(t *testing.T) {
	const newPassword = "pebble harbour violin thunder"
	f := newFixture(t, nil)
	s := start(t, f.data)
	ada, bo := s.signIn("ada", adaPassword), s.signIn("bo", boPassword)
	f.mustFail(1, "short\n", "user", "passwd", "bo")
	f.mustFail(1, "", "user", "passwd", "bo") // an empty standard input
	f.mustFail(1, newPassword+"\n", "user", "passwd", "nobody")
	f.mustFail(2, newPassword+"\n", "user", "passwd", "bo", newPassword) // never an argument
	bo.want(http.StatusOK, "/me/sessions")
	s.signIn("bo", boPassword)

	out := mustRun(t, newPassword+"\r\nanother line\n", f.with("user", "passwd", " Bo ")...)
	if !strings.Contains(out, "bo") || strings.Contains(out, newPassword) {
		t.Errorf("printed %q", out)
	}
	bo.want(http.StatusUnauthorized, "/me/sessions")
	ada.want(http.StatusOK, "/me/sessions")
	s.wantSignInRefused("bo", boPassword)
	s.signIn("bo", newPassword)
	f.wantRows([]string{"password_changed command"}, `
		SELECT kind || ' ' || done_by FROM activity
		WHERE kind NOT IN ('signed_in', 'revoked', 'sign_in_failed')`)
}

func TestUserDisableAndEnable(t *testing.T) {
	f := newFixture(t, nil)
	s := start(t, f.data)
	ada, bo := s.signIn("ada", adaPassword), s.signIn("bo", boPassword)
	for range 2 {
		mustRun(t, "", f.with("user", "disable", "bo")...)
	}
	bo.want(http.StatusUnauthorized, "/me/sessions")
	ada.want(http.StatusOK, "/me/sessions")
	s.wantSignInRefused("bo", boPassword)
	f.wantRows([]string{"disabled command", "revoked command"}, `
		SELECT kind || ' ' || done_by FROM activity WHERE kind IN ('disabled', 'revoked') ORDER BY id`)
	for range 2 {
		mustRun(t, "", f.with("user", "enable", "bo")...)
	}
	bo.want(http.StatusUnauthorized, "/me/sessions") // the session does not come back
	s.signIn("bo", boPassword)
	f.wantRows([]string{"disabled", "revoked", "enabled"}, `
		SELECT kind FROM activity WHERE kind IN ('disabled', 'enabled', 'revoked') ORDER BY id`)
}

func TestUserDelete(t *testing.T) {
	f := newFixture(t, nil)
	s := start(t, f.data)
	ada, bo := s.signIn("ada", adaPassword), s.signIn("bo", boPassword)
	f.mustFail(2, "bo\n", "user", "delete", "bo") // no terminal to confirm on
	f.mustFail(2, "", "user", "delete", "nobody")
	f.wantRows([]string{"ada", "bo"}, `SELECT username FROM users ORDER BY id`)
	bo.want(http.StatusOK, "/me/sessions")

	mustRun(t, "", f.with("user", "delete", "bo", "--yes")...)
	bo.want(http.StatusUnauthorized, "/me/sessions")
	ada.want(http.StatusOK, "/me/sessions")
	s.wantSignInRefused("bo", boPassword)
	f.wantRows([]string{"ada"}, `SELECT username FROM users`)
	f.wantRows([]string{"1"}, `SELECT DISTINCT user_id FROM sessions`)
	f.wantRows([]string{"1"}, `SELECT DISTINCT user_id FROM activity`)
	f.mustFail(1, "", "user", "delete", "bo", "--yes")
}

func TestUserCommandsWithAnUnknownName(t *testing.T) {
	f := newFixture(t, nil)
	for _, words := range []string{"passwd", "disable", "enable", "delete --yes"} {
		verb, flags := strings.Fields(words)[0], strings.Fields(words)[1:]
		f.mustFail(2, "", "user", verb)
		for _, name := range []string{"nobody", "no\x1b[2J\nbody"} {
			message := f.mustFail(1, boPassword+"\n", append([]string{"user", verb, name}, flags...)...)
			if !strings.Contains(message, printable(name)) {
				t.Errorf("user %s %q: %q", words, name, message)
			}
		}
	}
	f.wantRows([]string{"ada 0", "bo 0"}, `SELECT username || ' ' || disabled FROM users ORDER BY id`)
	f.wantRows(nil, `SELECT kind FROM activity`)
}
