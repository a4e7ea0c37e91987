package db_test

import (
	"slices"
	"strings"
	"testing"

	"porchlight/db"
)

// This file tests which usernames a new account may have.

const deletedHint = "belonged to an account that was deleted"

func TestReservedUsernames(t *testing.T) {
	t.Parallel()
	h := openHouse(t)
	for _, username := range []string{
		"admin", "Administrator", "root", "system", "support", "postmaster", "webmaster", "hostmaster", "abuse", "security", "daemon",
		"nobody", "guest", "www", "www-data", "mail", "noreply", "no-reply", "porchlight",
		"admin1", "1admin", "admin-2026", "a.d.m.i.n", "root_", "mailer-daemon",
		"command", "backup", "back-up", "git", "postgres", "server-admin",
		"adm1n", "r0ot", "5upp0rt", "adm1n7", "theadmin", "admin-team", "support-team", "the.real.admin", "adminteam",
	} {
		invalid := h.wantInvalid(db.NewUser{Username: username, Password: newPassword, SignUp: true})
		if len(invalid) != 1 || !strings.Contains(invalid["username"], "reserved") {
			t.Errorf("sign up as %s: %q", username, invalid)
		}
		if _, err := h.CreateUser(h.ctx(), db.NewUser{Username: username, Password: newPassword}); err != nil {
			t.Errorf("user add %s: %v", username, err)
		}
	}
	for _, username := range []string{"theadminah", "badmin", "roots", "mailey", "supporter", "ada", "guestav", "user1", "7", "theo"} {
		if invalid := h.wantInvalid(db.NewUser{Username: username, Password: newPassword, SignUp: true}); len(invalid) != 0 {
			t.Errorf("sign up as %s: %q", username, invalid)
		}
	}
}

// The apps still know the old bob by his name, so a new bob would see his data.
func TestDeletedUsernameCannotBeUsedAgain(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	if err := c.DeleteUser(c.ctx(), db.CommandLine, "bob", false); err != nil {
		t.Fatal(err)
	}
	c.reopen()
	new := db.NewUser{Username: " BOB", Password: newPassword, SignUp: true}
	taken := c.wantInvalid(db.NewUser{Username: "alice", Password: newPassword, SignUp: true})["username"]
	if got := c.wantInvalid(new)["username"]; got != taken || got == "" {
		t.Errorf("sign up: %q, and for a taken name %q", got, taken)
	}
	new.SignUp = false
	if got := c.wantInvalid(new)["username"]; !strings.Contains(got, deletedHint) {
		t.Errorf("user add: %q", got)
	}
	if _, _, err := c.Invite(c.ctx(), db.CommandLine, db.NewUser{Username: "bob"}); err == nil || !strings.Contains(err.Error(), deletedHint) {
		t.Errorf("user invite: %v", err)
	}
	if names := c.texts(`SELECT username FROM users`); !slices.Equal(names, []string{"alice"}) {
		t.Errorf("accounts: %q", names)
	}
	if kept := c.texts(`SELECT key FROM deleted_usernames`); len(kept) != 1 || strings.Contains(kept[0], "bob") {
		t.Errorf("kept of the account: %q", kept)
	}

	token, _, err := c.Invite(c.ctx(), db.CommandLine, db.NewUser{Username: "bob", Reuse: true})
	if err != nil {
		t.Fatal(err)
	}
	if got := c.wantInvalid(db.NewUser{Username: "bob", Password: newPassword, SignUp: true})["username"]; got != taken {
		t.Errorf("sign up while the invitation is open: %q", got)
	}
	if _, _, err := c.AcceptInvitation(c.ctx(), token, newPassword, clientOf("192.0.2.1", "curl")); err != nil {
		t.Error("accept the invitation:", err)
	}
	if err := c.DeleteUser(c.ctx(), db.CommandLine, "bob", false); err != nil {
		t.Fatal(err)
	}
	new.Reuse = true
	if _, err := c.CreateUser(c.ctx(), new); err != nil {
		t.Error("user add --reuse:", err)
	}
}

func TestUsernameOfADeletedOwnAccountCannotBeUsedAgain(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	if err := c.DeleteAccount(c.ctx(), c.desk.Session, db.Client{IP: "192.0.2.1"}, bobPassword); err != nil {
		t.Fatal(err)
	}
	if got := c.wantInvalid(db.NewUser{Username: "bob", Password: newPassword})["username"]; !strings.Contains(got, deletedHint) {
		t.Errorf("user add: %q", got)
	}
}
