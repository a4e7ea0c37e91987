package db_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"porchlight/db"
)

// This file tests how administrators change other accounts: who may do so, and how it is recorded.

// openCastWithPasskey is openCast, where bob has a passkey.
func openCastWithPasskey(t *testing.T) *cast {
	c := openCast(t)
	c.addPasskey(c.desk, "key")
	return c
}

// adminVerbs is everything that an operator can do to bob, with the activity that it leaves in his account.
var adminVerbs = []struct {
	name  string
	do    func(c *cast, by db.Operator) error
	kinds []string
}{
	{"make an administrator", func(c *cast, by db.Operator) error {
		yes, email := true, "bob@example.com"
		return c.ChangeUser(c.ctx(), by, "bob", db.UserChange{IsAdmin: &yes, Email: &email})
	}, []string{db.MadeAdmin, db.EmailChanged}},
	{"set the groups", func(c *cast, by db.Operator) error {
		return c.ChangeUser(c.ctx(), by, "bob", db.UserChange{Groups: &[]string{"family"}})
	}, []string{db.GroupsChanged}},
	{"reset the second factor", func(c *cast, by db.Operator) error {
		return c.ChangeUser(c.ctx(), by, "bob", db.UserChange{ResetSecondFactor: true})
	}, []string{db.PasskeyRemoved}},
	{"set the password", func(c *cast, by db.Operator) error {
		return c.SetPassword(c.ctx(), by, "bob", newPassword)
	}, []string{db.PasswordChanged, db.Revoked}},
	{"invite", func(c *cast, by db.Operator) error {
		_, _, err := c.Invite(c.ctx(), by, db.NewUser{Username: "bob"})
		return err
	}, []string{db.Invited}},
	{"cancel an invitation", func(c *cast, by db.Operator) error {
		c.exec(`INSERT INTO invitations (username, token_hash, user_id, expires_at) VALUES ('bob', x'01', $1, $2)`,
			c.bob.ID, c.clock.Now().Add(time.Hour).UnixMilli())
		return c.CancelInvitation(c.ctx(), by, "bob")
	}, []string{db.InvitationCancelled}},
	{"end a session", func(c *cast, by db.Operator) error {
		_, err := c.RevokeSession(c.ctx(), by, c.bob.ID, c.desk.ID)
		return err
	}, []string{db.Revoked}},
	{"end several sessions", func(c *cast, by db.Operator) error {
		_, err := c.RevokeSessions(c.ctx(), by, []string{c.desk.ID})
		return err
	}, []string{db.Revoked}},
	{"end every session of bob", func(c *cast, by db.Operator) error {
		_, err := c.RevokeUser(c.ctx(), by, "bob")
		return err
	}, []string{db.Revoked}},
	{"end every session", func(c *cast, by db.Operator) error {
		_, err := c.RevokeAll(c.ctx(), by)
		return err
	}, []string{db.Revoked}},
	{"disable", func(c *cast, by db.Operator) error {
		return c.DisableUser(c.ctx(), by, "bob", false)
	}, []string{db.Disabled, db.Revoked}},
	{"enable", func(c *cast, by db.Operator) error {
		c.exec(`UPDATE users SET disabled = 1 WHERE username = 'bob'`)
		return c.EnableUser(c.ctx(), by, "bob")
	}, []string{db.Enabled}},
}

func TestActivityNamesTheAdministrator(t *testing.T) {
	t.Parallel()
	for _, verb := range adminVerbs {
		t.Run(verb.name, func(t *testing.T) {
			t.Parallel()
			c := openCastWithPasskey(t)
			if err := verb.do(c, db.Administrator(c.laptop.Session)); err != nil {
				t.Fatal(err)
			}
			kinds := []string{}
			for _, happened := range tail(c.activity(c.bob), make([]happening, len(verb.kinds))) {
				kinds = append(kinds, happened.Kind)
				if happened.By != "admin alice" {
					t.Errorf("%s was recorded as done by %q", happened.Kind, happened.By)
				}
			}
			if !slices.Equal(kinds, verb.kinds) {
				t.Errorf("recorded %q, want %q", kinds, verb.kinds)
			}
			c.alive(c.laptop)
		})
	}
}

// A session or a role that ends during the request no longer has any effect.
func TestOnlyALiveAdministratorChangesOthers(t *testing.T) {
	t.Parallel()
	verbs := append(slices.Clone(adminVerbs), struct {
		name  string
		do    func(c *cast, by db.Operator) error
		kinds []string
	}{"delete", func(c *cast, by db.Operator) error { return c.DeleteUser(c.ctx(), by, "bob", false) }, nil})
	for _, verb := range verbs {
		t.Run(verb.name, func(t *testing.T) {
			t.Parallel()
			for name, test := range map[string]struct {
				before func(c *cast)
				want   error
			}{
				"no administrator": {func(c *cast) { c.exec(`UPDATE users SET is_admin = 0`) }, db.ErrNotAdmin},
				"disabled":         {func(c *cast) { c.exec(`UPDATE users SET disabled = 1 WHERE username = 'alice'`) }, db.ErrSessionEnded},
				"signed out":       {func(c *cast) { c.exec(`DELETE FROM sessions WHERE id = ?`, c.laptop.ID) }, db.ErrSessionEnded},
				"expired": {func(c *cast) {
					c.exec(`UPDATE sessions SET expires_at = ? WHERE id = ?`, c.clock.Now().UnixMilli(), c.laptop.ID)
				}, db.ErrSessionEnded},
			} {
				c := openCastWithPasskey(t)
				test.before(c)
				before := c.activity(c.bob)
				if err := verb.do(c, db.Administrator(c.laptop.Session)); !errors.Is(err, test.want) {
					t.Errorf("%s: %v, want %v", name, err, test.want)
				}
				if after := c.activity(c.bob); !slices.Equal(after, before) {
					t.Errorf("%s: recorded %+v", name, after[len(before):])
				}
				if n := c.number(`SELECT COUNT(*) FROM sessions WHERE id = ?`, c.desk.ID); n != 1 {
					t.Errorf("%s: the session of bob has ended", name)
				}
			}
		})
	}
}

func TestOnlyALiveAdministratorChangesRules(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	rule := c.allow(notes, true)
	for name, test := range map[string]struct {
		by   db.Session
		want error
	}{"no administrator": {c.desk.Session, db.ErrNotAdmin}, "ended": {db.Session{ID: "X", UserID: c.alice.ID}, db.ErrSessionEnded}} {
		if _, err := c.AllowApp(c.ctx(), db.Administrator(test.by), ruleOf(notes, false)); !errors.Is(err, test.want) {
			t.Errorf("%s: allow: %v, want %v", name, err, test.want)
		}
		if _, err := c.RemoveAppRule(c.ctx(), db.Administrator(test.by), notes); !errors.Is(err, test.want) {
			t.Errorf("%s: remove: %v, want %v", name, err, test.want)
		}
	}
	c.wantRules(rule)
	if _, err := c.RemoveAppRule(c.ctx(), db.Administrator(c.laptop.Session), notes); err != nil {
		t.Error(err)
	}
}

// Otherwise an administrator could not see the result.
func TestAdministratorsKeepTheirOwnSession(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	if count, err := c.RevokeUser(c.ctx(), db.Administrator(c.laptop.Session), "alice"); err != nil || count != 1 {
		t.Errorf("ended %d, %v", count, err)
	}
	c.wantEnded(c.phone)
	c.alive(c.desk)
	if count, err := c.RevokeAll(c.ctx(), db.Administrator(c.laptop.Session)); err != nil || count != 1 {
		t.Errorf("ended %d, %v", count, err)
	}
	c.wantEnded(c.desk)
	c.alive(c.laptop)
}

// The owner is part of the statement.
func TestRevokeSessionOfAnotherUser(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	if _, err := c.RevokeSession(c.ctx(), db.Administrator(c.laptop.Session), c.alice.ID, c.desk.ID); !errors.Is(err, db.ErrNotFound) {
		t.Error(err)
	}
	c.alive(c.desk)
}

func TestAdministratorDeletesTheirOwnLargeAccount(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.exec(`UPDATE users SET is_admin = 1`)
	c.expire(2 * db.BatchSize)
	if err := c.DeleteUser(c.ctx(), db.Administrator(c.laptop.Session), "alice", false); err != nil {
		t.Fatal(err)
	}
	if n := c.number(`SELECT COUNT(*) FROM users WHERE username = 'alice'`); n != 0 {
		t.Error("the account is still there")
	}
}

// The activity names the administrator who sent the link, even though no administrator is signed in when it is used.
func TestAcceptedInvitationNamesTheAdministrator(t *testing.T) {
	t.Parallel()
	c := openCastWithPasskey(t)
	for _, newUser := range []db.NewUser{{Username: "carol"}, {Username: "bob", ResetSecondFactor: true}} {
		token, _, err := c.Invite(c.ctx(), db.Administrator(c.laptop.Session), newUser)
		if err != nil {
			t.Fatal(err)
		}
		c.clock.Advance(time.Minute)
		if _, _, err := c.AcceptInvitation(c.ctx(), token, newPassword, clientOf("192.0.2.1", "curl")); err != nil {
			t.Fatal(err)
		}
	}
	got := c.texts(`
		SELECT u.username || ' ' || a.kind || ' ' || a.done_by
		FROM activity a JOIN users u ON u.id = a.user_id
		WHERE a.kind IN ('invited', 'passkey_removed') ORDER BY a.id`)
	want := []string{"bob invited admin alice", "bob passkey_removed admin alice", "carol invited admin alice"}
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestActorAdministrator(t *testing.T) {
	t.Parallel()
	for actor, want := range map[db.Actor]string{
		"admin alice": "alice", db.ByDevice("admin alice"): "", db.ByCommand: "", "admins": "", "": "",
	} {
		if got := actor.Administrator(); got != want {
			t.Errorf("%q: %q, want %q", actor, got, want)
		}
	}
}

// After the loss of the role, "This wasn't me", or a new password that ends the other sessions, no invitation is left that could create
// another administrator.
func TestInvitationsOfAFormerAdministrator(t *testing.T) {
	t.Parallel()
	yes, no := true, false
	for name, remove := range map[string]func(*cast) error{
		"demoted":  func(c *cast) error { return c.ChangeUser(c.ctx(), db.CommandLine, "bob", db.UserChange{IsAdmin: &no}) },
		"disabled": func(c *cast) error { return c.DisableUser(c.ctx(), db.CommandLine, "bob", false) },
		"deleted":  func(c *cast) error { return c.DeleteUser(c.ctx(), db.CommandLine, "bob", false) },
		"the password changed, and the others ended": func(c *cast) error {
			_, err := c.changePassword(c.signIn(c.bob, firefoxOnLinux, "192.0.2.7").Session, bobPassword, newPassword, true)
			return err
		},
		"the password set": func(c *cast) error { return c.SetPassword(c.ctx(), db.CommandLine, "bob", newPassword) },
		"not me": func(c *cast) error {
			return c.NotMe(c.ctx(), c.signIn(c.bob, firefoxOnLinux, "192.0.2.7").Session, c.desk.ID)
		},
		"not me, by mail": func(c *cast) error {
			c.exec(`UPDATE users SET email = 'bob@example.com' WHERE id = $1`, c.bob.ID)
			c.signIn(c.bob, safariOnIPhone, "203.0.113.99", remembered)
			_, err := c.UseNotMe(c.ctx(), c.linkTo(db.SignedIn), somewhere)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := openMailCast(t)
			if err := c.ChangeUser(c.ctx(), db.CommandLine, "bob", db.UserChange{IsAdmin: &yes}); err != nil {
				t.Fatal(err)
			}
			tokens := map[string]string{}
			for username, by := range map[string]db.Operator{
				"eve": db.Administrator(c.desk.Session), "carol": db.Administrator(c.laptop.Session),
			} {
				token, _, err := c.Invite(c.ctx(), by, db.NewUser{Username: username, IsAdmin: true})
				if err != nil {
					t.Fatal(err)
				}
				tokens[username] = token
			}
			if err := remove(c); err != nil {
				t.Fatal(err)
			}
			if err := c.acceptInvitation(tokens["eve"]); !errors.Is(err, db.ErrNotFound) {
				t.Error("the link still works:", err)
			}
			if err := c.acceptInvitation(tokens["carol"]); err != nil {
				t.Error("the link of another administrator:", err)
			}
		})
	}
}
