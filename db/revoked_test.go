package db_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"porchlight/db"
)

func keepsRevoked(o *db.Options) { o.Serve, o.KeepRevoked = true, true }

// wasRevoked fails the test unless WasRevoked returns want for a device's token.
func (c *cast) wasRevoked(d device, want bool) {
	c.t.Helper()
	if got, err := c.WasRevoked(d.token); err != nil || got != want {
		c.t.Errorf("WasRevoked: %v, %v; want %v", got, err, want)
	}
}

// Only the tokens of sessions that somebody else ended are kept, and only on a server with that setting.
func TestRevokedTokensAreKept(t *testing.T) {
	t.Parallel()
	for _, test := range endings {
		for _, keeps := range []bool{true, false} {
			t.Run(fmt.Sprint(test.name, " ", keeps), func(t *testing.T) {
				c := openCast(t, keepsRevoked, func(o *db.Options) { o.MaxSessions, o.KeepRevoked = 2, keeps })
				if err := c.ApplyLimits(c.ctx()); err != nil {
					t.Fatal(err)
				}
				if err := test.end(c); err != nil {
					t.Fatal(err)
				}
				revokes := slices.ContainsFunc(test.record, func(one happening) bool { return one.Kind == db.Revoked })
				kept := int64(0)
				for name, d := range map[string]device{"laptop": c.laptop, "phone": c.phone, "desk": c.desk} {
					ended := slices.Contains(test.ended, name)
					c.wasRevoked(d, keeps && revokes && ended)
					if keeps && revokes && ended {
						kept++
					}
				}
				if rows := c.number(`SELECT COUNT(*) FROM revoked_tokens`); rows != kept {
					t.Errorf("%d tokens are stored, want %d", rows, kept)
				}
			})
		}
	}
}

// Whoever deletes an account, its browsers are told, and so is the one that deleted it.
func TestDeletionKeepsTheTokens(t *testing.T) {
	t.Parallel()
	for by, del := range map[string]func(c *cast) error{
		"an administrator": func(c *cast) error { return c.DeleteUser(c.ctx(), db.CommandLine, "alice", true) },
		"the user": func(c *cast) error {
			return c.DeleteAccount(c.ctx(), c.laptop.Session, db.Client{IP: "192.0.2.10"}, alicePassword)
		},
	} {
		t.Run(by, func(t *testing.T) {
			c := openCast(t, keepsRevoked)
			c.must(c.ApplyLimits(c.ctx()))
			admin := true // or alice would be the last one
			c.must(c.ChangeUser(c.ctx(), db.CommandLine, "bob", db.UserChange{IsAdmin: &admin}))
			c.makeKey(c.laptop)
			c.must(del(c))
			c.wasRevoked(c.laptop, true)
			c.wasRevoked(c.phone, true)
			c.wasRevoked(c.desk, false)
			if rows := c.number(`SELECT COUNT(*) FROM revoked_tokens`); rows != 2 {
				t.Errorf("%d tokens are stored, want 2: an app key is in no cookie", rows)
			}
		})
	}
}

// A command uses the setting of the server that ran last.
func TestCommandsKeepRevokedTokens(t *testing.T) {
	t.Parallel()
	c := openCast(t, keepsRevoked)
	if err := c.ApplyLimits(c.ctx()); err != nil {
		t.Fatal(err)
	}
	revoke := func(d device) {
		t.Helper()
		c.reopen(func(o *db.Options) { o.Serve, o.KeepRevoked = false, false })
		if _, err := c.RevokeSession(c.ctx(), db.CommandLine, 0, d.ID); err != nil {
			t.Fatal(err)
		}
	}
	revoke(c.laptop)
	c.reopen(keepsRevoked)
	c.wasRevoked(c.laptop, true)

	c.reopen(func(o *db.Options) { o.Serve, o.KeepRevoked = true, false })
	c.wasRevoked(c.laptop, false)
	revoke(c.phone)
	c.reopen(keepsRevoked)
	c.wasRevoked(c.phone, false)
}

// A token is kept until the browser has deleted the cookie, and then the sweep deletes it.
func TestRevokedTokensAreSwept(t *testing.T) {
	t.Parallel()
	c := openCast(t, keepsRevoked)
	if err := c.ApplyLimits(c.ctx()); err != nil {
		t.Fatal(err)
	}
	library := c.signIn(c.alice, "library", "192.0.2.12", shared)
	c.clock.Advance(time.Minute)
	for _, d := range []device{library, c.laptop} {
		if _, err := c.Revoke(c.ctx(), c.phone.Session, d.ID); err != nil {
			t.Fatal(err)
		}
	}
	sweepAt := func(at time.Time) {
		t.Helper()
		c.clock.Advance(at.Sub(c.clock.Now()))
		if err := c.Sweep(c.ctx(), time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []device{library, c.laptop} {
		sweepAt(d.EndsAt.Add(-time.Second))
		c.wasRevoked(d, true)
		sweepAt(d.EndsAt)
		c.wasRevoked(d, false)
	}
}
