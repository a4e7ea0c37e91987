package main

import (
	"strings"
	"testing"

	"porchlight/db/dbtest"
)

// This file tests the commands that change an account: approval, role, e-mail address, and the reuse of a deleted name.

func TestUserSet(t *testing.T) {
	f := newFixture(t, nil)
	s := start(t, f.data)
	const bo = `SELECT is_admin || ' ' || approved || ' ' || COALESCE(email, '-') FROM users WHERE username = 'bo'`
	f.wantRows([]string{"0 1 -"}, bo)
	if message := f.mustFail(2, "", "user", "set", "bo"); !strings.Contains(message, "--approve") {
		t.Error(message)
	}
	if out := mustRun(t, "", f.with("user", "set", "Bo", "--admin", "--email", "bo@example.com")...); out != "Changed bo.\n" {
		t.Errorf("printed %q", out)
	}
	f.wantRows([]string{"1 1 bo@example.com"}, bo)
	s.signIn("bo@example.com", boPassword)
	mustRun(t, "", f.with("user", "set", "bo", "--no-admin", "--email=")...)
	f.wantRows([]string{"0 1 -"}, bo)
	f.wantRows([]string{"made_admin", "email_changed", "unmade_admin", "email_changed"}, `
		SELECT kind FROM activity
		WHERE done_by = 'command' AND user_id = (SELECT id FROM users WHERE username = 'bo') ORDER BY id`)
	if message := f.mustFail(1, "", "user", "set", "bo", "--email", "bo"); !strings.Contains(message, "e-mail") {
		t.Error(message)
	}
	f.mustFail(1, "", "user", "set", "nobody", "--approve")
}

func TestUserGroups(t *testing.T) {
	f := newFixture(t, nil)
	const groups = `SELECT username || ' ' || name FROM user_groups g JOIN users u ON u.id = g.user_id ORDER BY username, name`
	mustRun(t, "", f.with("user", "set", "bo", "--groups", " Friends ,family,")...)
	f.wantRows([]string{"bo family", "bo friends"}, groups)
	mustRun(t, "", f.with("user", "set", "bo", "--groups=books")...) // replaces all
	f.wantRows([]string{"bo books"}, groups)
	for _, wrong := range []string{"a b", "admins", "books;family", "-a"} {
		for _, args := range [][]string{{"user", "set", "bo"}, {"user", "add", "cy"}, {"user", "invite", "cy"}} {
			if message := f.mustFail(1, boPassword+"\n", append(args, "--groups="+wrong)...); !strings.Contains(message, "name") {
				t.Errorf("%q --groups=%s: %s", args, wrong, message)
			}
		}
	}
	f.wantRows([]string{"bo books"}, groups)
	mustRun(t, "", f.with("user", "set", "bo", "--groups", "")...)
	f.wantRows(nil, groups)
	mustRun(t, boPassword+"\n", f.with("user", "add", "cy", "--groups", "family")...)
	f.wantRows([]string{"cy family"}, groups)
	mustRun(t, "", f.with("user", "invite", "dee", "--groups", "family,books")...)
	f.wantRows([]string{"books,family"}, `SELECT group_names FROM invitations WHERE username = 'dee'`)
	if message := f.mustFail(1, "", "user", "invite", "bo", "--groups", "family"); !strings.Contains(message, "--groups") {
		t.Error(message)
	}
}

func TestUserCommandsKeepTheLastAdministrator(t *testing.T) {
	f := newFixture(t, nil)
	for _, args := range [][]string{{"user", "set", "ada", "--no-admin"}, {"user", "disable", "ada"}, {"user", "delete", "ada", "--yes"}} {
		if message := f.mustFail(1, "", args...); !strings.Contains(message, "ada is the last administrator who can sign in") {
			t.Errorf("%q: %s", args, message)
		}
		f.wantRows([]string{"1 0"}, `SELECT is_admin || ' ' || disabled FROM users WHERE username = 'ada'`)
	}
	for _, args := range [][]string{
		{"user", "disable", "ada", "--force"},
		{"user", "enable", "ada"},
		{"user", "set", "ada", "--no-admin", "--force"},
		{"user", "set", "ada", "--admin"},
		{"user", "delete", "ada", "--yes", "--force"},
	} {
		mustRun(t, "", f.with(args...)...)
	}
	f.wantRows([]string{"bo"}, `SELECT username FROM users`)
}

func TestUserAddReusesADeletedNameOnlyWithReuse(t *testing.T) {
	f := newFixture(t, nil)
	mustRun(t, "", f.with("user", "delete", "bo", "--yes")...)
	for _, verb := range []string{"add", "invite"} {
		if message := f.mustFail(1, boPassword+"\n", "user", verb, "bo"); !strings.Contains(message, "--reuse") {
			t.Errorf("%s: %s", verb, message)
		}
	}
	mustRun(t, "", f.with("user", "invite", "bo", "--reuse")...)
	mustRun(t, boPassword+"\n", f.with("user", "add", "bo", "--reuse")...)
	f.wantRows([]string{"ada", "bo"}, `SELECT username FROM users ORDER BY username`)
}

// addPasskey gives a user a passkey that no authenticator has.
func addPasskey(t *testing.T, path, username string) {
	t.Helper()
	dbtest.Exec(t, path, `
		INSERT INTO passkeys (id, user_id, user_handle, credential_id, credential, sign_count, name, created_at, last_used_at)
		SELECT username, id, x'', CAST(username AS BLOB), x'', 0, '', 0, 0 FROM users WHERE username = ?`, username)
}

func TestUserSetResetsTheSecondFactor(t *testing.T) {
	f := newFixture(t, nil)
	addPasskey(t, f.path(), "ada")
	addPasskey(t, f.path(), "bo")
	if out := mustRun(t, "", f.with("user", "set", "bo", "--reset-second-factor")...); out != "Changed bo.\n" {
		t.Errorf("printed %q", out)
	}
	f.wantRows([]string{"ada"}, `SELECT id FROM passkeys`)
	f.wantRows([]string{"passkey_removed command"}, `SELECT kind || ' ' || done_by FROM activity`)
	f.mustFail(1, "", "user", "set", "nobody", "--reset-second-factor")

	mustRun(t, "", f.with("user", "invite", "ada")...)
	f.wantRows([]string{"0"}, `SELECT reset_second_factor FROM invitations`)
	mustRun(t, "", f.with("user", "invite", "ada", "--reset-second-factor")...)
	f.wantRows([]string{"1"}, `SELECT reset_second_factor FROM invitations`)
	f.wantRows([]string{"ada"}, `SELECT id FROM passkeys`)
	if message := f.mustFail(1, "", "user", "invite", "cy", "--reset-second-factor"); !strings.Contains(message, "--reset-second-factor") {
		t.Error(message)
	}
}
