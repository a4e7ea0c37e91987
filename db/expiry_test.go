package db_test

import (
	"slices"
	"testing"
	"time"

	"porchlight/db"
)

// This file tests the millisecond in which a session expires. When expires_at is now, it has ended for every method; one millisecond
// before, it is alive.

// seesAlive holds every method that looks at a session, here at alice's phone. Each reports whether the session was alive.
var seesAlive = map[string]func(*cast) bool{
	"Resume": func(c *cast) bool {
		_, err := c.Resume(c.phone.token)
		return err == nil
	},
	"Authorize": func(c *cast) bool {
		_, err := c.Authorize(c.phone.token, notes)
		return err == nil
	},
	"Sessions": func(c *cast) bool {
		sessions, _, err := c.Sessions(c.alice.ID, 0)
		return err == nil && slices.ContainsFunc(sessions, c.isPhone)
	},
	"Sessions, counted": func(c *cast) bool {
		_, total, err := c.Sessions(c.alice.ID, 1)
		return err == nil && total == 2
	},
	"Session": func(c *cast) bool {
		_, err := c.Session(c.alice.ID, c.phone.ID)
		return err == nil
	},
	"AllSessions": func(c *cast) bool {
		sessions, err := c.AllSessions("")
		return err == nil && slices.ContainsFunc(sessions, c.isPhone)
	},
	"FindSessions": func(c *cast) bool { return slices.Contains(c.found(db.SessionFilter{}), c.phone.ID) },
	"RevokeSessions": func(c *cast) bool {
		count, err := c.RevokeSessions(c.ctx(), db.CommandLine, []string{c.phone.ID})
		return err == nil && count == 1
	},
	"Users": func(c *cast) bool {
		users, err := c.Users()
		return err == nil && users[0].Sessions == 2
	},
	"OnlyAddress": func(c *cast) bool {
		c.exec(`DELETE FROM sessions WHERE id <> $1`, c.phone.ID)
		ip, err := c.OnlyAddress()
		return err == nil && ip != ""
	},
	"Revoke": func(c *cast) bool {
		_, err := c.Revoke(c.ctx(), c.laptop.Session, c.phone.ID)
		return err == nil
	},
	"Revoke, asking": func(c *cast) bool {
		_, err := c.Revoke(c.ctx(), c.phone.Session, c.laptop.ID)
		return err == nil
	},
	"RevokeOthers": func(c *cast) bool {
		count, err := c.RevokeOthers(c.ctx(), c.laptop.Session)
		return err == nil && count == 1
	},
	"Rename": func(c *cast) bool { return c.Rename(c.ctx(), c.laptop.Session, c.phone.ID, "Kitchen") == nil },
	"RevokeSession": func(c *cast) bool {
		_, err := c.RevokeSession(c.ctx(), db.CommandLine, 0, c.phone.ID)
		return err == nil
	},
	"RevokeUser": func(c *cast) bool {
		count, err := c.RevokeUser(c.ctx(), db.CommandLine, "alice")
		return err == nil && count == 2
	},
	"RevokeAll": func(c *cast) bool {
		count, err := c.RevokeAll(c.ctx(), db.CommandLine)
		return err == nil && count == 3
	},
	"SetPassword": func(c *cast) bool {
		return c.SetPassword(c.ctx(), db.CommandLine, "alice", newPassword) == nil && c.endedAs(db.Revoked)
	},
	"SignIn, replacing": func(c *cast) bool {
		c.signIn(c.bob, chromeOnMac, "203.0.113.30", func(new *db.NewSession) { new.Replaces = []string{c.phone.token} })
		return c.endedAs(db.Replaced)
	},
	"SignIn, one too many": func(c *cast) bool {
		c.reopen(func(o *db.Options) { o.MaxSessions = 2 })
		c.exec(`UPDATE sessions SET last_active_at = 0 WHERE id = $1`, c.phone.ID)
		c.signIn(c.alice, chromeOnMac, "203.0.113.30")
		return c.endedAs(db.Evicted)
	},
	"Touch": func(c *cast) bool {
		c.exec(`UPDATE sessions SET last_active_at = 0 WHERE id = $1`, c.phone.ID)
		c.phone.LastActiveAt = time.UnixMilli(0)
		c.Touch(c.phone.Session)
		c.flush()
		return c.number(`SELECT COUNT(*) FROM sessions WHERE id = $1 AND last_active_at > 0`, c.phone.ID) == 1
	},
	"Sweep": func(c *cast) bool {
		if err := c.Sweep(c.ctx(), c.clock.Now().Add(-time.Hour)); err != nil {
			c.t.Fatal(err)
		}
		return slices.Contains(c.ids(), c.phone.ID)
	},
	"Resume, the clock set back": func(c *cast) bool {
		c.Resume(c.phone.token)
		c.clock.Advance(-time.Hour)
		_, err := c.Resume(c.phone.token)
		return err == nil
	},
}

func (c *cast) isPhone(s db.Session) bool { return s.ID == c.phone.ID }

// endedAs reports whether the activity says that the phone's session was alive when it ended like this.
func (c *cast) endedAs(kind string) bool {
	return c.number(`SELECT COUNT(*) FROM activity WHERE session_id = $1 AND kind = $2`, c.phone.ID, kind) == 1
}

func TestTheMillisecondOfExpiry(t *testing.T) {
	for name, sees := range seesAlive {
		for left, want := range map[time.Duration]bool{time.Millisecond: true, 0: false, -time.Millisecond: false} {
			t.Run(name+", "+left.String(), func(t *testing.T) {
				t.Parallel()
				c := openCast(t)
				c.exec(`UPDATE sessions SET expires_at = $1 WHERE id = $2`, c.clock.Now().Add(left).UnixMilli(), c.phone.ID)
				if alive := sees(c); alive != want {
					t.Errorf("alive: %v, want %v", alive, want)
				}
			})
		}
	}
}
