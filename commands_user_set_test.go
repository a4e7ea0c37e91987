package main

import (
	"net/http"
	"strings"
	"testing"
)

// This file tests the commands that change an account: approval, role, e-mail address, and the reuse of a deleted name.

func TestUserSetCommand(t *testing.T) {
	u := newUserTest(t)
	u.addAliceAndBob()
	u.serve()
	const bob = `SELECT is_admin || ' ' || approved || ' ' || COALESCE(email, '-') FROM users WHERE username = 'bob'`
	u.wantRows([]string{"0 1 -"}, bob)
	if why := u.fails(2, "", "user", "set", "bob"); !strings.Contains(why, "--approve") {
		t.Error(why)
	}
	if out := u.ok("", "user", "set", "Bob", "--admin", "--email", "bob@example.com"); out != "Changed bob.\n" {
		t.Errorf("out %q", out)
	}
	u.wantRows([]string{"1 1 bob@example.com"}, bob)
	u.wantSignIn("bob@example.com", userTestPassword, http.StatusOK)
	u.ok("", "user", "set", "bob", "--no-admin", "--email=")
	u.wantRows([]string{"0 1 -"}, bob)
	u.wantRows([]string{"made_admin", "email_changed", "unmade_admin", "email_changed"},
		`SELECT kind FROM activity WHERE done_by = 'command' AND user_id = (SELECT id FROM users WHERE username = 'bob') ORDER BY id`)
	if why := u.fails(1, "", "user", "set", "bob", "--email", "bob"); !strings.Contains(why, "e-mail") {
		t.Error(why)
	}
	u.fails(1, "", "user", "set", "nobody", "--approve")
}

func TestUserCommandsKeepTheLastAdministrator(t *testing.T) {
	u := newUserTest(t)
	u.addAliceAndBob()
	for _, args := range [][]string{{"user", "set", "alice", "--no-admin"}, {"user", "disable", "alice"}, {"user", "delete", "alice", "--yes"}} {
		if why := u.fails(1, "", args...); !strings.Contains(why, "alice is the last administrator who can sign in") {
			t.Errorf("%q: %s", args, why)
		}
		u.wantRows([]string{"1 0"}, `SELECT is_admin || ' ' || disabled FROM users WHERE username = 'alice'`)
	}
	u.ok("", "user", "disable", "alice", "--force")
	u.ok("", "user", "enable", "alice")
	u.ok("", "user", "set", "alice", "--no-admin", "--force")
	u.ok("", "user", "set", "alice", "--admin")
	u.ok("", "user", "delete", "alice", "--yes", "--force")
	u.wantRows([]string{"bob"}, `SELECT username FROM users`)
}

func TestUserAddReusesADeletedNameOnlyWithReuse(t *testing.T) {
	u := newUserTest(t)
	u.addAliceAndBob()
	u.ok("", "user", "delete", "bob", "--yes")
	for _, verb := range []string{"add", "invite"} {
		if why := u.fails(1, userTestOther+"\n", "user", verb, "bob"); !strings.Contains(why, "--reuse") {
			t.Errorf("%s: %s", verb, why)
		}
	}
	u.ok("", "user", "invite", "bob", "--reuse")
	u.ok(userTestOther+"\n", "user", "add", "bob", "--reuse")
	u.wantRows([]string{"alice", "bob"}, `SELECT username FROM users ORDER BY username`)
}
