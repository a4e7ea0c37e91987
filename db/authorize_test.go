package db_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"porchlight/db"
)

// This file owns what a reverse proxy is told: whose live session a request to an app belongs to, whether the rules let that
// user reach the host, and how often a use is noted. What becomes of the notes is in apps_test.go.

const notes = "notes.example.com"

func denyApps(o *db.Options) { o.DenyApps = true }

func (h *house) verify(d device, host string) db.AppAccess {
	h.t.Helper()
	access, err := h.Authorize(d.token, host)
	if err != nil {
		h.t.Fatalf("verify the session on %s for %s: %v", d.DeviceName, host, err)
	}
	return access
}

// use lets the session through to the hosts, as a proxy that asks would.
func (h *house) use(d device, hosts ...string) {
	h.t.Helper()
	for _, host := range hosts {
		h.UseApp(h.verify(d, host), false)
	}
}

func (h *house) allow(host string, admins bool, usernames ...string) db.AppRule {
	h.t.Helper()
	rule, err := h.AllowApp(h.ctx(), host, admins, usernames...)
	if err != nil {
		h.t.Fatalf("allow %s: %v", host, err)
	}
	return rule
}

// wantAllowed checks who may reach the host.
func (c *cast) wantAllowed(host string, alice, bob bool) {
	c.t.Helper()
	for _, test := range []struct {
		device
		want bool
	}{{c.laptop, alice}, {c.desk, bob}} {
		if got := c.verify(test.device, host); got.Allowed != test.want {
			c.t.Errorf("%s at %s: allowed is %t, want %t", test.Username, host, got.Allowed, test.want)
		}
	}
}

// beside is another Porchlight on the same file, such as a command while the server runs.
func (h *house) beside() *db.Store {
	h.t.Helper()
	store, err := db.Open(context.Background(), h.options)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		if err := store.Close(); err != nil {
			h.t.Error("close the store beside:", err)
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
			got, want := c.verify(d, host), c.alive(d)
			if got.ID != want.ID || got.Username != want.Username || got.IsAdmin != want.IsAdmin || !got.Allowed {
				t.Errorf("%q:\n got %+v\nwant %+v", host, got, want)
			}
		}
	}
	if got := c.verify(c.laptop, notes); !got.IsAdmin || got.Email != "alice@example.com" {
		t.Errorf("the identity of an administrator is %+v", got)
	}
}

// A session that Resume refuses, Verify refuses: a proxy lets nobody in whom the pages would not.
func TestAuthorizeRefusesWhatResumeRefuses(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(c *cast) error{
		"revoked": func(c *cast) error {
			_, err := c.Revoke(c.ctx(), c.phone.Session, c.laptop.ID)
			return err
		},
		"revoked by command": func(c *cast) error {
			_, err := c.RevokeByCommand(c.ctx(), c.laptop.ID)
			return err
		},
		"revoked by another process": func(c *cast) error {
			_, err := c.beside().RevokeByCommand(c.ctx(), c.laptop.ID)
			return err
		},
		"signed out": func(c *cast) error { return c.SignOut(c.ctx(), c.laptop.Session) },
		"unused for too long": func(c *cast) error {
			c.clock.Advance(db.DefaultLimits.IdleTimeout - 3*time.Millisecond) // bob signed in 2 ms later
			c.verify(c.laptop, notes)
			c.clock.Advance(time.Millisecond)
			return nil
		},
		"disabled": func(c *cast) error { return c.DisableUser(c.ctx(), "alice", true) },
		"disabled, its row left": func(c *cast) error {
			c.exec(`UPDATE users SET disabled = 1 WHERE username = 'alice'`)
			return nil
		},
		"deleted": func(c *cast) error { return c.DeleteUser(c.ctx(), "alice", true) },
		"a new token": func(c *cast) error {
			_, err := c.changePassword(c.laptop.Session, alicePassword, newPassword, false)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := openCast(t)
			c.allow(notes, false)
			c.verify(c.laptop, notes)
			if err := end(c); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if got, err := c.Authorize(c.laptop.token, notes); !errors.Is(err, db.ErrNotFound) || got != (db.AppAccess{}) {
					t.Errorf("Verify: %+v, %v", got, err)
				}
			}
			c.over(c.laptop)
			c.verify(c.desk, notes)
		})
	}
}

func TestAuthorizeRefusesWhatIsNotAToken(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	for name, token := range map[string]string{"unknown": "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "empty": "", "its id": c.laptop.ID,
		"with a space": c.laptop.token + " "} {
		if got, err := c.Authorize(token, notes); !errors.Is(err, db.ErrNotFound) || got != (db.AppAccess{}) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

// What one of the two has refused because it had expired, the other refuses too when the clock is set back.
func TestASessionThatVerifyRefusedStaysRefusedWhenTheClockIsSetBack(t *testing.T) {
	t.Parallel()
	for name, refuse := range map[string]func(c *cast) error{
		"by Verify": func(c *cast) error {
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
					t.Errorf("Verify: %v", err)
				}
				c.over(c.laptop)
				c.flush()
			}
			c.verify(c.phone, notes) // which nobody asked for meanwhile
		})
	}
}

// alice is an administrator, bob is not.
func TestAllowedByRule(t *testing.T) {
	t.Parallel()
	type rule struct {
		host   string
		admins bool
		users  []string
	}
	for _, test := range []struct {
		name       string
		rules      []rule
		host       string
		alice, bob bool // Allowed, whatever the default is
	}{
		{"everyone", []rule{{notes, false, nil}}, notes, true, true},
		{"administrators", []rule{{notes, true, nil}}, notes, true, false},
		{"one who is named", []rule{{notes, false, []string{"bob"}}}, notes, false, true},
		{"an administrator is let in by name alone", []rule{{notes, false, []string{"alice"}}}, notes, true, false},
		{"both by name", []rule{{notes, false, []string{"alice", "bob"}}}, notes, true, true},
		{"administrators and who is named", []rule{{notes, true, []string{"bob"}}}, notes, true, true},
		{"one after the other", []rule{{notes, true, nil}, {notes, false, []string{"bob"}}}, notes, true, true},
		{"an address", []rule{{"[2001:DB8:0::1]", true, nil}}, "2001:db8::1", true, false},
		{"one label", []rule{{"localhost", true, nil}}, "localhost", true, false},

		{"siblings", []rule{{"*.example.com", false, nil}}, notes, true, true},
		{"siblings, administrators", []rule{{"*.example.com", true, nil}}, notes, true, false},
		{"siblings, who is named", []rule{{"*.example.com", false, []string{"bob"}}}, notes, false, true},
		{"siblings at the top", []rule{{"*.com", true, nil}}, "example.com", true, false},
		{"siblings further down", []rule{{"*.notes.example.com", true, nil}}, "a.notes.example.com", true, false},

		// The rule for the very host stands alone: what the wildcard allows or refuses does not count there.
		{"siblings open, the host closed", []rule{{"*.example.com", false, nil}, {notes, true, nil}}, notes, true, false},
		{"siblings open, another host closed", []rule{{"*.example.com", false, nil}, {notes, true, nil}}, "photos.example.com", true, true},
		{"siblings closed, the host open", []rule{{"*.example.com", true, nil}, {notes, false, nil}}, notes, true, true},
		{"siblings closed, another host open", []rule{{"*.example.com", true, nil}, {notes, false, nil}}, "photos.example.com", true, false},
		{"users are not put together", []rule{{"*.example.com", false, []string{"alice"}}, {notes, false, []string{"bob"}}}, notes, false, true},
		{"a nearer wildcard", []rule{{"*.example.com", true, nil}, {"*.notes.example.com", false, nil}}, "a.notes.example.com", true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, by := range []func(*db.Options){func(*db.Options) {}, denyApps} {
				c := openCast(t, by)
				for _, r := range test.rules {
					c.allow(r.host, r.admins, r.users...)
				}
				c.wantAllowed(test.host, test.alice, test.bob)
			}
		})
	}
}

// "*." is exactly one label: where it does not match, the default decides.
func TestWhereNoRuleMatchesTheDefaultDecides(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ rule, host string }{
		{"", notes},
		{"", "localhost"},
		{"", "2001:db8::1"},
		{"*.example.com", "example.com"},         // no label in its place
		{"*.example.com", "a.notes.example.com"}, // two
		{"*.example.com", "com"},
		{"*.example.com", "notes.example.org"},
		{"*.example.com", "notesexample.com"},
		{"*.example.com", "notes.example.com.evil.example"},
		{"*.com", notes},
		{notes, "a.notes.example.com"},
		{notes, "example.com"},
		{notes, "xnotes.example.com"},
		{"example.com", notes},
	} {
		for _, deny := range []bool{false, true} {
			c := openCast(t, func(o *db.Options) { o.DenyApps = deny })
			if test.rule != "" {
				c.allow(test.rule, !deny) // which would say the opposite of the default to bob
				if got := c.verify(c.desk, test.host).Allowed; got != !deny {
					t.Errorf("the rule for %s reaches %s", test.rule, test.host)
				}
			}
			c.wantAllowed(test.host, !deny, !deny)
		}
	}
}

// Nobody slips in when the last of those who were named has gone, or when somebody takes up a name that was let in once.
func TestARuleWhoseLastUserWasDeletedIsOpenToNobody(t *testing.T) {
	t.Parallel()
	for _, host := range []string{notes, "*.example.com"} {
		c := openCast(t)
		c.allow(host, false, "bob")
		c.wantAllowed(notes, false, true)
		if err := c.DeleteUser(c.ctx(), "bob", true); err != nil {
			t.Fatal(err)
		}
		var err error
		if c.bob, err = c.CreateUser(c.ctx(), db.NewUser{Username: "bob", Password: bobPassword, Reuse: true}); err != nil {
			t.Fatal(err)
		}
		c.desk = c.signIn(c.bob, chromeOnMac, "203.0.113.30")
		c.wantAllowed(notes, false, false)
		rules, err := c.AppRules(c.ctx())
		if err != nil || len(rules) != 1 || rules[0].Host != host || rules[0].Everyone || rules[0].Admins || len(rules[0].Users) != 0 {
			t.Errorf("the rules are %+v, %v", rules, err)
		}
		if n := c.number(`SELECT COUNT(*) FROM app_rule_users`); n != 0 {
			t.Errorf("%d rows still name the account that is gone", n)
		}
	}
}

func TestARuleHoldsOnTheVeryNextVerify(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	other := c.beside()
	want := func(host string, alice, bob bool) {
		t.Helper()
		c.wantAllowed(host, alice, bob)
	}
	must := func(_ db.AppRule, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	allow := func(host string, admins bool, usernames ...string) {
		t.Helper()
		must(other.AllowApp(c.ctx(), host, admins, usernames...))
	}
	want(notes, true, true)
	allow("*.example.com", true)
	want(notes, true, false)
	allow(notes, false, "bob")
	want(notes, false, true)
	allow(notes, true)
	want(notes, true, true)
	must(other.RemoveAppRule(c.ctx(), notes))
	want(notes, true, false)
	must(other.RemoveAppRule(c.ctx(), "*.example.com"))
	want(notes, true, true)

	// Whoever becomes an administrator, or is one no longer, is so at once.
	allow(notes, true)
	want(notes, true, false)
	c.exec(`UPDATE users SET is_admin = 1 - is_admin`)
	want(notes, false, true)
}

// lastUsed is when the session was last used for the host, as it is on disk; the zero time where it never was.
func (h *house) lastUsed(d device, host string) (at time.Time) {
	h.t.Helper()
	if ms := h.number(`SELECT COALESCE(MAX(last_used_at), 0) FROM session_apps WHERE session_id = $1 AND host = $2`, d.ID, host); ms != 0 {
		at = time.UnixMilli(ms)
	}
	return at
}

func TestAUseIsNotedNowAndThen(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		change func(*db.Options)
		shared bool
		every  time.Duration
	}{
		{"a minute", func(*db.Options) {}, false, time.Minute},
		{"a minute on a shared computer", func(*db.Options) {}, true, time.Minute},
		{"a quarter of a short idle limit", limitsInMilliseconds, false, 375 * time.Millisecond},
		{"a quarter of a shared computer's", limitsInMilliseconds, true, 100 * time.Millisecond},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := openHouse(t, test.change)
			d := h.signIn(h.addUser("alice", alicePassword), firefoxOnLinux, "192.0.2.10", func(n *db.NewSession) { n.Shared = test.shared })
			first := h.clock.Now()
			h.use(d, notes) // at once, however new the session is
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
				t.Errorf("an app's use alone has counted as activity, at %v", got)
			}
		})
	}
}

// Each session is noted for itself, though the other was there just now.
func TestAUseIsNotedForEachSession(t *testing.T) {
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

func TestAClockThatWasAYearAheadSilencesNoUse(t *testing.T) {
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

// The rules are read where the session is: without them the door is shut, also where the default would open it.
func TestAuthorizeShutsTheDoorWhenTheDatabaseDoesNotAnswer(t *testing.T) {
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
				t.Fatal("the store has not noticed:", err)
			}
		},
		"no tables": func(t *testing.T, c *cast) { c.exec(`DROP TABLE app_rule_users`) },
	} {
		t.Run(name, func(t *testing.T) {
			c := openCast(t)
			c.verify(c.laptop, notes)
			fault(t, c)
			for _, token := range []string{c.laptop.token, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"} {
				got, err := c.Authorize(token, notes)
				if err == nil || errors.Is(err, db.ErrNotFound) || got != (db.AppAccess{}) {
					t.Errorf("%+v, %v", got, err)
				}
				if name != "no tables" && !errors.Is(err, db.ErrUnavailable) {
					t.Errorf("%v, want ErrUnavailable", err)
				}
			}
		})
	}
}

// Reading goes on while another process writes, and noting waits for nothing.
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
