package db_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"porchlight/db"
)

// This file tests auth checks: whose live session a request to an app has, and how often a use is noted. What happens to the notes is
// tested in apps_test.go.

const notes = "notes.example.com"

func denyApps(o *db.Options) { o.DenyApps = true }

func (h *house) authorize(d device, host string) *db.AppAccess {
	h.t.Helper()
	access, err := h.Authorize(d.token, host)
	if err != nil {
		h.t.Fatalf("authorize the session on %s for %s: %v", d.DeviceName, host, err)
	}
	return access
}

// use runs an auth check for each host and notes the use, as a request does.
func (h *house) use(d device, hosts ...string) {
	h.t.Helper()
	for _, host := range hosts {
		h.UseApp(h.authorize(d, host), false)
	}
}

// openAgain opens the same file once more, as a command does while the server runs.
func (h *house) openAgain() *db.Store {
	h.t.Helper()
	store, err := db.Open(context.Background(), h.options)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		if err := store.Close(); err != nil {
			h.t.Error("close the second store:", err)
		}
	})
	return store
}

func TestAuthorizeFindsWhatResumeFinds(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.exec(`UPDATE users SET email = 'alice@example.com' WHERE username = 'alice'`)
	if err := c.Rename(c.ctx(), c.phone.Session, c.phone.ID, "Kitchen phone"); err != nil {
		t.Fatal(err)
	}
	c.allow(notes, false)
	c.use(c.laptop, notes)
	c.flush()
	library := c.signIn(c.bob, "library", "192.0.2.12", shared)
	for _, d := range []device{c.laptop, c.phone, c.desk, library} {
		for _, host := range []string{notes, "photos.example.com", "localhost", "2001:db8::1", ""} {
			got, want := c.authorize(d, host), c.alive(d)
			if got.SessionID != want.ID || got.Username != want.Username || got.IsAdmin != want.IsAdmin || !got.Allowed {
				t.Errorf("%q:\n got %+v\nwant %+v", host, got, want)
			}
		}
	}
	if got := c.authorize(c.laptop, notes); !got.IsAdmin || got.Email != "alice@example.com" {
		t.Errorf("the identity of an administrator is %+v", got)
	}
}

// Authorize refuses every session that Resume refuses.
func TestAuthorizeRefusesWhatResumeRefuses(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(c *cast) error{
		"revoked": func(c *cast) error {
			_, err := c.Revoke(c.ctx(), c.phone.Session, c.laptop.ID)
			return err
		},
		"revoked by command": func(c *cast) error {
			_, err := c.RevokeSession(c.ctx(), db.CommandLine, 0, c.laptop.ID)
			return err
		},
		"revoked by another process": func(c *cast) error {
			_, err := c.openAgain().RevokeSession(c.ctx(), db.CommandLine, 0, c.laptop.ID)
			return err
		},
		"signed out": func(c *cast) error { return c.SignOut(c.ctx(), c.laptop.Session) },
		"unused for too long": func(c *cast) error {
			c.clock.Advance(db.DefaultLimits.IdleTimeout - 3*time.Millisecond) // bob signed in 2 ms later
			c.authorize(c.laptop, notes)
			c.clock.Advance(time.Millisecond)
			return nil
		},
		"disabled": func(c *cast) error { return c.DisableUser(c.ctx(), db.CommandLine, "alice", true) },
		"disabled, its row left": func(c *cast) error {
			c.exec(`UPDATE users SET disabled = 1 WHERE username = 'alice'`)
			return nil
		},
		"deleted": func(c *cast) error { return c.DeleteUser(c.ctx(), db.CommandLine, "alice", true) },
		"a new token": func(c *cast) error {
			_, err := c.changePassword(c.laptop.Session, alicePassword, newPassword, false)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := openCast(t)
			c.allow(notes, false)
			c.authorize(c.laptop, notes)
			if err := end(c); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if got, err := c.Authorize(c.laptop.token, notes); !errors.Is(err, db.ErrNotFound) || got != nil {
					t.Errorf("Authorize: %+v, %v", got, err)
				}
			}
			c.wantEnded(c.laptop)
			c.authorize(c.desk, notes)
		})
	}
}

func TestAuthorizeRefusesWhatIsNotAToken(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	for name, token := range map[string]string{"unknown": "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "empty": "", "its id": c.laptop.ID,
		"with a space": c.laptop.token + " "} {
		if got, err := c.Authorize(token, notes); !errors.Is(err, db.ErrNotFound) || got != nil {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

// A session that one of the two has refused because it had expired stays refused by both when the clock is set back.
func TestASessionThatAuthorizeRefusedStaysRefusedWhenTheClockIsSetBack(t *testing.T) {
	t.Parallel()
	for name, refuse := range map[string]func(c *cast) error{
		"by Authorize": func(c *cast) error {
			_, err := c.Authorize(c.laptop.token, notes)
			return err
		},
		"by Resume": func(c *cast) error {
			_, err := c.Resume(c.laptop.token)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := openCast(t)
			c.clock.Advance(db.DefaultLimits.IdleTimeout)
			if err := refuse(c); !errors.Is(err, db.ErrNotFound) {
				t.Fatalf("expired: %v", err)
			}
			c.clock.Advance(-time.Hour)
			for range 2 {
				if _, err := c.Authorize(c.laptop.token, notes); !errors.Is(err, db.ErrNotFound) {
					t.Errorf("Authorize: %v", err)
				}
				c.wantEnded(c.laptop)
				c.flush()
			}
			c.authorize(c.phone, notes) // which was not asked for in the meantime
		})
	}
}

// lastUsed returns when the session was last used for the host, as stored, or the zero time if it never was.
func (h *house) lastUsed(d device, host string) (at time.Time) {
	h.t.Helper()
	if ms := h.number(`SELECT COALESCE(MAX(last_used_at), 0) FROM session_apps WHERE session_id = $1 AND host = $2`, d.ID, host); ms != 0 {
		at = time.UnixMilli(ms)
	}
	return at
}

func TestAUseIsNotedOnceInAWhile(t *testing.T) {
	t.Parallel()
	for _, test := range noteIntervals {
		t.Run(test.name, func(t *testing.T) {
			h := openHouse(t, test.change)
			d := h.signIn(h.addUser("alice", alicePassword), firefoxOnLinux, "192.0.2.10", func(n *db.NewSession) { n.Shared = test.shared })
			first := h.clock.Now()
			h.use(d, notes) // noted at once, even if the session is new
			h.flush()
			if got := h.lastUsed(d, notes); !got.Equal(first) {
				t.Fatalf("the first use is of %v, want %v", got, first)
			}
			h.clock.Advance(test.every - time.Millisecond)
			h.use(d, notes, "photos.example.com")
			h.flush()
			if got := h.lastUsed(d, notes); !got.Equal(first) {
				t.Errorf("noted again after %v", got.Sub(first))
			}
			if got := h.lastUsed(d, "photos.example.com"); !got.Equal(h.clock.Now()) {
				t.Errorf("another app is noted at %v, want %v", got, h.clock.Now())
			}
			h.clock.Advance(time.Millisecond)
			h.use(d, notes)
			if got := h.lastUsed(d, notes); !got.Equal(first) {
				t.Error("a note has waited for the disk")
			}
			h.flush()
			if got := h.lastUsed(d, notes); !got.Equal(h.clock.Now()) {
				t.Errorf("on disk is %v, want %v", got, h.clock.Now())
			}
			if got := h.lastActive(d); !got.Equal(first) {
				t.Errorf("the use of an app counted as activity, at %v", got)
			}
		})
	}
}

// The use of one session does not count as the use of another.
func TestEachSessionsUseIsNoted(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.use(c.laptop, notes)
	c.flush()
	c.clock.Advance(time.Second)
	c.use(c.phone, notes)
	c.flush()
	if got := c.lastUsed(c.phone, notes); !got.Equal(c.clock.Now()) {
		t.Errorf("the phone's use is of %v, want %v", got, c.clock.Now())
	}
}

func TestUsesAreNotedAfterTheClockWasAYearAhead(t *testing.T) {
	t.Parallel()
	const year = 365 * 24 * time.Hour
	h := openHouse(t)
	alice := h.addUser("alice", alicePassword)
	h.clock.Advance(year)
	d := h.signIn(alice, firefoxOnLinux, "192.0.2.10")
	h.use(d, notes)
	h.flush()
	h.clock.Advance(-year)
	h.use(d, notes)
	h.flush()
	if got := h.lastUsed(d, notes); !got.Equal(h.clock.Now()) {
		t.Errorf("on disk is %v; now is %v", got, h.clock.Now())
	}
}

// If the rules cannot be read, access is denied, even if the default would allow it.
func TestAuthorizeDeniesWhenTheDatabaseDoesNotAnswer(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(t *testing.T, c *cast){
		"closed": func(t *testing.T, c *cast) {
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
		},
		"gone": func(t *testing.T, c *cast) {
			c.moveAway()
			if err := c.CheckFiles(); !errors.Is(err, db.ErrUnavailable) {
				t.Fatal("the store has not noticed the change:", err)
			}
		},
		"no tables": func(t *testing.T, c *cast) { c.exec(`DROP TABLE app_rule_users`) },
	} {
		t.Run(name, func(t *testing.T) {
			c := openCast(t)
			c.authorize(c.laptop, notes)
			fault(t, c)
			for _, token := range []string{c.laptop.token, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"} {
				got, err := c.Authorize(token, notes)
				if err == nil || errors.Is(err, db.ErrNotFound) || got != nil {
					t.Errorf("Authorize: %+v, %v", got, err)
				}
				if name != "no tables" && !errors.Is(err, db.ErrUnavailable) {
					t.Errorf("%v, want ErrUnavailable", err)
				}
			}
		})
	}
}

// Reading continues while another process writes, and notes do not wait.
func TestAuthorizeWhileAnotherProcessWrites(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.allow(notes, true)
	release := c.lock()
	c.wantAllowed(notes, true, false)
	c.use(c.laptop, notes)
	if err := c.Flush(c.ctx()); !errors.Is(err, db.ErrUnavailable) {
		t.Errorf("flush: %v, want ErrUnavailable", err)
	}
	release()
	c.flush()
	if got := c.lastUsed(c.laptop, notes); !got.Equal(c.clock.Now()) {
		t.Errorf("the use is lost: %v", got)
	}
}
