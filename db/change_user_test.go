package db_test

import (
	"errors"
	"strings"
	"testing"

	"porchlight/db"
)

// This file tests what commands change in an account: approval, role and e-mail address.

// byCommand is how a change is recorded.
func byCommand(kind string) happening { return happening{Kind: kind, By: db.ByCommand, Count: 1} }

func TestChangeUser(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	yes, no := true, false
	email := " Bob@Example.com "
	if err := c.ChangeUser(c.ctx(), db.CommandLine, "Bob", db.UserChange{IsAdmin: &yes, Email: &email}); err != nil {
		t.Fatal(err)
	}
	c.wantLatest(c.bob, byCommand(db.MadeAdmin), byCommand(db.EmailChanged))
	if got := c.alive(c.desk); !got.IsAdmin { // at once, also in a live session
		t.Error("the session is not an administrator's")
	}
	if _, err := c.Authenticate(c.ctx(), "bob@example.com", bobPassword, clientOf("192.0.2.1", "curl")); err != nil {
		t.Error("sign in with the new address:", err)
	}

	before := len(c.activity(c.bob))
	if err := c.ChangeUser(c.ctx(), db.CommandLine, "bob", db.UserChange{Approve: true, IsAdmin: &yes, Email: &email}); err != nil {
		t.Fatal(err)
	}
	if got := c.activity(c.bob)[before:]; len(got) != 0 {
		t.Errorf("nothing changed, and it was recorded: %+v", got)
	}

	none := ""
	if err := c.ChangeUser(c.ctx(), db.CommandLine, "bob", db.UserChange{IsAdmin: &no, Email: &none}); err != nil {
		t.Fatal(err)
	}
	c.wantLatest(c.bob, byCommand(db.UnmadeAdmin), byCommand(db.EmailChanged))
	if got := c.text(`SELECT is_admin || ' ' || COALESCE(email, 'none') FROM users WHERE username = 'bob'`); got != "0 none" {
		t.Errorf("bob is %s", got)
	}
}

// If one change fails, none is made.
func TestChangeUserThatFailsChangesNothing(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.exec(`UPDATE users SET email = 'alice@example.com' WHERE username = 'alice'`)
	yes, before := true, len(c.activity(c.bob))
	for email, reason := range map[string]string{
		"alice@example.com": "This e-mail address is already in use.",
		"ALICE@example.com": "This e-mail address is already in use.",
		"not an address":    "This is not an e-mail address.",
	} {
		err := c.ChangeUser(c.ctx(), db.CommandLine, "bob", db.UserChange{IsAdmin: &yes, Email: &email})
		if invalid, ok := errors.AsType[db.Invalid](err); !ok || invalid["email"] != reason {
			t.Errorf("%s: %v", email, err)
		}
	}
	if err := c.ChangeUser(c.ctx(), db.CommandLine, "nobody", db.UserChange{Approve: true}); !errors.Is(err, db.ErrNotFound) {
		t.Error("an unknown name:", err)
	}
	if n := c.number(`SELECT COUNT(*) FROM users WHERE username = 'bob' AND is_admin = 0 AND email IS NULL`); n != 1 ||
		len(c.activity(c.bob)) != before {
		t.Errorf("bob has changed: %+v", c.activity(c.bob)[before:])
	}
}

func TestSettingAdminApproves(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	carol, err := c.CreateUser(c.ctx(), db.NewUser{Username: "carol", Password: newPassword, SignUp: true})
	if err != nil {
		t.Fatal(err)
	}
	yes := true
	if err := c.ChangeUser(c.ctx(), db.CommandLine, "carol", db.UserChange{IsAdmin: &yes}); err != nil {
		t.Fatal(err)
	}
	c.wantLatest(carol, byCommand(db.Approved), byCommand(db.MadeAdmin))
	c.allow(notes, true)
	if got := c.authorize(c.signIn(carol, firefoxOnLinux, "192.0.2.40"), notes); !got.Allowed || !got.Approved {
		t.Errorf("at an app for administrators: %+v", got)
	}
}

// Two administrators who remove each other or themselves at once leave one administrator.
func TestTwoAdministratorsRemoveEachOther(t *testing.T) {
	t.Parallel()
	no := false
	type removal func(c *cast, d device, password string) error
	removals := map[string]removal{
		"demote": func(c *cast, d device, _ string) error {
			return c.ChangeUser(c.ctx(), db.CommandLine, d.Username, db.UserChange{IsAdmin: &no})
		},
		"disable": func(c *cast, d device, _ string) error {
			return c.DisableUser(c.ctx(), db.CommandLine, d.Username, false)
		},
		"delete": func(c *cast, d device, _ string) error {
			return c.DeleteUser(c.ctx(), db.CommandLine, d.Username, false)
		},
		"delete the own account": func(c *cast, d device, password string) error {
			return c.DeleteAccount(c.ctx(), d.Session, clientOf("192.0.2.1", "curl"), password)
		},
	}
	for one, removeAlice := range removals {
		for two, removeBob := range removals {
			t.Run(one+" and "+two, func(t *testing.T) {
				c := openCast(t)
				c.exec(`UPDATE users SET is_admin = 1`)
				errs := make(chan error, 2)
				arrived, release := c.holdWriter()
				go func() { errs <- removeAlice(c, c.laptop, alicePassword) }()
				go func() { errs <- removeBob(c, c.desk, bobPassword) }()
				arrived(2)
				release()
				removed, refused := 0, 0
				for range 2 {
					switch err := <-errs; {
					case err == nil:
						removed++
					case errors.Is(err, db.ErrLastAdmin):
						refused++
					default:
						t.Error(err)
					}
				}
				if n := c.number(`SELECT COUNT(*) FROM users WHERE is_admin = 1 AND disabled = 0`); n != 1 || removed != 1 || refused != 1 {
					t.Errorf("%d administrators are left, %d removed, %d refused", n, removed, refused)
				}
			})
		}
	}
}

// Without an administrator, only somebody with a shell could repair the server.
func TestLastAdministratorStays(t *testing.T) {
	t.Parallel()
	no := false
	for name, change := range map[string]func(c *cast, force bool) error{
		"demote": func(c *cast, force bool) error {
			return c.ChangeUser(c.ctx(), db.CommandLine, "alice", db.UserChange{IsAdmin: &no, Force: force})
		},
		"disable": func(c *cast, force bool) error { return c.DisableUser(c.ctx(), db.CommandLine, "alice", force) },
		"delete":  func(c *cast, force bool) error { return c.DeleteUser(c.ctx(), db.CommandLine, "alice", force) },
	} {
		t.Run(name, func(t *testing.T) {
			c := openCast(t)
			c.exec(`UPDATE users SET is_admin = 1, disabled = 1 WHERE username = 'bob'`) // cannot sign in
			for range 2 {
				if err := change(c, false); !errors.Is(err, db.ErrLastAdmin) || !strings.Contains(err.Error(), "last administrator") {
					t.Fatal("the last one:", err)
				}
			}
			c.alive(c.laptop)
			if n := c.number(`SELECT COUNT(*) FROM users WHERE username = 'alice' AND is_admin = 1 AND disabled = 0`); n != 1 {
				t.Fatal("alice has changed")
			}
			c.exec(`UPDATE users SET disabled = 0 WHERE username = 'bob'`)
			if err := change(c, false); err != nil {
				t.Error("with another one:", err)
			}

			alone := openCast(t)
			if err := change(alone, true); err != nil {
				t.Error("with force:", err)
			}
			if n := alone.number(`SELECT COUNT(*) FROM users WHERE is_admin = 1 AND disabled = 0`); n != 0 {
				t.Errorf("%d administrators are left", n)
			}
		})
	}
}
