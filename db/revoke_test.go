package db_test

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"porchlight/db"
)

// endings holds every way in which a session ends.
var endings = []struct {
	name   string
	end    func(*cast) error
	ended  []string // the sessions without a row afterwards
	record []happening
}{
	{
		name:   "sign out",
		end:    func(c *cast) error { return c.SignOut(c.ctx(), c.phone.Session) },
		ended:  []string{"phone"},
		record: []happening{{db.SignedOut, "198.51.100.20", safariOnIPhone, "phone", safariOnIPhone, 1}},
	},
	{
		name: "revoke",
		end: func(c *cast) error {
			_, err := c.Revoke(c.ctx(), c.phone.Session, c.laptop.ID)
			return err
		},
		ended:  []string{"laptop"},
		record: []happening{{db.Revoked, "192.0.2.10", firefoxOnLinux, "laptop", safariOnIPhone, 1}},
	},
	{
		name: "revoke others",
		end: func(c *cast) error {
			_, err := c.RevokeOthers(c.ctx(), c.phone.Session)
			return err
		},
		ended:  []string{"laptop"},
		record: []happening{{db.Revoked, "192.0.2.10", firefoxOnLinux, "laptop", safariOnIPhone, 1}},
	},
	{
		name: "replaced",
		end: func(c *cast) error {
			_, _, err := c.SignIn(c.ctx(), c.bob, db.NewSession{Client: onCurl.Client, Replaces: []string{c.laptop.token}})
			return err
		},
		ended:  []string{"laptop"},
		record: []happening{{db.Replaced, "192.0.2.10", firefoxOnLinux, "laptop", "curl", 1}},
	},
	{
		name: "one session too many",
		end: func(c *cast) error {
			_, _, err := c.SignIn(c.ctx(), c.alice, onCurl)
			return err
		},
		ended:  []string{"laptop"},
		record: []happening{{db.Evicted, "192.0.2.10", firefoxOnLinux, "laptop", "curl", 1}},
	},
	{
		name: "change the password",
		end: func(c *cast) error {
			_, err := c.changePassword(c.phone.Session, alicePassword, newPassword, true)
			return err
		},
		ended: []string{"laptop"},
		record: []happening{
			{db.PasswordChanged, "198.51.100.20", safariOnIPhone, "phone", safariOnIPhone, 1},
			{db.Revoked, "192.0.2.10", firefoxOnLinux, "laptop", safariOnIPhone, 1},
		},
	},
	{
		name: "revoke by command",
		end: func(c *cast) error {
			_, err := c.RevokeSession(c.ctx(), db.CommandLine, 0, c.laptop.ID)
			return err
		},
		ended:  []string{"laptop"},
		record: []happening{{db.Revoked, "192.0.2.10", firefoxOnLinux, "laptop", db.ByCommand, 1}},
	},
	{
		name: "revoke a user's by command",
		end: func(c *cast) error {
			_, err := c.RevokeUser(c.ctx(), db.CommandLine, " Alice ")
			return err
		},
		ended: []string{"laptop", "phone"},
		record: []happening{
			{db.Revoked, "192.0.2.10", firefoxOnLinux, "laptop", db.ByCommand, 1},
			{db.Revoked, "198.51.100.20", safariOnIPhone, "phone", db.ByCommand, 1},
		},
	},
	{
		name: "revoke everybody's by command",
		end: func(c *cast) error {
			_, err := c.RevokeAll(c.ctx(), db.CommandLine)
			return err
		},
		ended: []string{"laptop", "phone", "desk"},
		record: []happening{
			{db.Revoked, "192.0.2.10", firefoxOnLinux, "laptop", db.ByCommand, 1},
			{db.Revoked, "198.51.100.20", safariOnIPhone, "phone", db.ByCommand, 1},
		},
	},
	{
		name: "expired, found by the sweep",
		end: func(c *cast) error {
			c.exec(`UPDATE sessions SET expires_at = $1 WHERE id = $2`, c.clock.Now().UnixMilli(), c.laptop.ID)
			return c.Sweep(c.ctx(), time.Time{})
		},
		ended:  []string{"laptop"},
		record: []happening{{db.Expired, "192.0.2.10", firefoxOnLinux, "laptop", "", 1}},
	},
	{
		name: "expired, found by a request",
		end: func(c *cast) error {
			c.exec(`UPDATE sessions SET expires_at = $1 WHERE id = $2`, c.clock.Now().UnixMilli(), c.laptop.ID)
			c.wantEnded(c.laptop)
			return c.Flush(c.ctx())
		},
		ended:  []string{"laptop"},
		record: []happening{{db.Expired, "192.0.2.10", firefoxOnLinux, "laptop", "", 1}},
	},
}

func openEndings(t *testing.T) (*cast, map[string]device) {
	c := openCast(t, func(o *db.Options) { o.MaxSessions = 2 })
	return c, map[string]device{"laptop": c.laptop, "phone": c.phone, "desk": c.desk}
}

func TestEveryEndingIsRecorded(t *testing.T) {
	t.Parallel()
	for _, test := range endings {
		t.Run(test.name, func(t *testing.T) {
			c, devices := openEndings(t)
			known := len(c.activity(c.alice))
			if err := test.end(c); err != nil {
				t.Fatal(err)
			}
			left := c.ids()
			for name, d := range devices {
				if is, want := !slices.Contains(left, d.ID), slices.Contains(test.ended, name); is != want {
					t.Errorf("%s: ended is %v, want %v", name, is, want)
				}
				if slices.Contains(test.ended, name) {
					c.wantEnded(d)
				}
			}
			var got, want []happening
			for _, one := range c.activity(c.alice)[known:] {
				if one.Kind != db.SignedIn {
					got = append(got, one)
				}
			}
			for _, one := range test.record {
				one.SessionID = devices[one.SessionID].ID
				want = append(want, one)
			}
			bySession := func(a, b happening) int { return strings.Compare(a.SessionID, b.SessionID) }
			slices.SortFunc(got, bySession)
			slices.SortFunc(want, bySession)
			if !slices.Equal(got, want) {
				t.Errorf("activity:\n got %+v\nwant %+v", got, want)
			}
		})
	}
}

func TestNothingEndsThatCannotBeRecorded(t *testing.T) {
	t.Parallel()
	for _, test := range endings {
		t.Run(test.name, func(t *testing.T) {
			c, devices := openEndings(t)
			c.exec(`CREATE TRIGGER refuse BEFORE INSERT ON activity BEGIN SELECT RAISE(ABORT, 'refused'); END`)
			before := c.ids()
			if err := test.end(c); err == nil {
				t.Error("no error")
			}
			if after := c.ids(); !slices.Equal(after, before) {
				t.Errorf("sessions were %v, are %v", before, after)
			}
			for name, d := range devices {
				if !strings.HasPrefix(test.name, "expired") {
					c.alive(d)
				} else if slices.Contains(test.ended, name) {
					c.wantEnded(d)
				}
			}
			c.exec(`DROP TRIGGER refuse`)
			if err := test.end(c); err != nil {
				t.Error("once it can be recorded:", err)
			}
		})
	}
}

func TestRevokeReturnsTheEndedSession(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	ended, err := c.Revoke(c.ctx(), c.phone.Session, c.laptop.ID)
	if want := (db.Ended{ID: c.laptop.ID, UserID: c.alice.ID, DeviceName: firefoxOnLinux, IP: "192.0.2.10"}); err != nil || ended != want {
		t.Errorf("Revoke: %+v, %v", ended, err)
	}
	if err := c.Rename(c.ctx(), c.desk.Session, c.desk.ID, "Office"); err != nil {
		t.Fatal(err)
	}
	ended, err = c.RevokeSession(c.ctx(), db.CommandLine, 0, c.desk.ID)
	if want := (db.Ended{ID: c.desk.ID, UserID: c.bob.ID, DeviceName: "Office", IP: "203.0.113.30"}); err != nil || ended != want {
		t.Errorf("RevokeSession: %+v, %v", ended, err)
	}
	c.alive(c.phone)
}

func TestRevokeNotFound(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		id   func(*cast) string
	}{
		{"somebody else's", func(c *cast) string { return c.desk.ID }},
		{"unknown", func(*cast) string { return "nothing" }},
		{"empty", func(*cast) string { return "" }},
		{"a token", func(c *cast) string { return c.laptop.token }},
		{"expired", func(c *cast) string {
			library := c.signIn(c.alice, "library", "192.0.2.12", shared)
			c.clock.Advance(30 * time.Minute)
			return library.ID
		}},
		{"repeated", func(c *cast) string {
			if _, err := c.Revoke(c.ctx(), c.phone.Session, c.laptop.ID); err != nil {
				c.t.Fatal(err)
			}
			return c.laptop.ID
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := openCast(t)
			id := test.id(c)
			before, known := c.ids(), c.number(`SELECT COUNT(*) FROM activity`)
			if ended, err := c.Revoke(c.ctx(), c.phone.Session, id); !errors.Is(err, db.ErrNotFound) || ended != (db.Ended{}) {
				t.Errorf("Revoke: %+v, %v", ended, err)
			}
			if after := c.ids(); !slices.Equal(after, before) {
				t.Errorf("sessions were %v, are %v", before, after)
			}
			if after := c.number(`SELECT COUNT(*) FROM activity`); after != known {
				t.Errorf("activity grew from %d to %d", known, after)
			}
			c.alive(c.desk)
		})
	}
}

func TestRevokeOthersKeepsOnlyTheCaller(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	library := c.signIn(c.alice, "library", "192.0.2.12", shared)
	c.clock.Advance(30 * time.Minute)
	c.signIn(c.alice, "curl", "192.0.2.13")
	count, err := c.RevokeOthers(c.ctx(), c.phone.Session)
	if err != nil || count != 2 {
		t.Errorf("RevokeOthers: %d, %v; want the 2 that were alive", count, err)
	}
	if sessions, total, err := c.Sessions(c.alice.ID, 0); err != nil || total != 1 || sessions[0].ID != c.phone.ID {
		t.Errorf("left: %v of %d, %v", idsOf(sessions), total, err)
	}
	if n := c.number(`SELECT COUNT(*) FROM activity WHERE kind = 'revoked' AND session_id = $1`, library.ID); n != 0 {
		t.Error("what had expired was recorded as revoked")
	}
	if n := c.number(`SELECT COUNT(*) FROM activity WHERE kind = 'revoked'`); n != 2 {
		t.Errorf("%d were recorded", n)
	}
	c.alive(c.desk)
	if count, err := c.RevokeOthers(c.ctx(), c.phone.Session); err != nil || count != 0 {
		t.Errorf("repeated: %d, %v", count, err)
	}
}

// A session that has ended while its request was on the way changes nothing, and the request fails.
func TestAnEndedSessionChangesNothing(t *testing.T) {
	t.Parallel()
	for state, finish := range map[string]func(*cast){
		"signed out": func(c *cast) {
			if err := c.SignOut(c.ctx(), c.laptop.Session); err != nil {
				c.t.Fatal(err)
			}
		},
		"expired": func(c *cast) {
			c.exec(`UPDATE sessions SET expires_at = $1 WHERE id = $2`, c.clock.Now().UnixMilli(), c.laptop.ID)
		},
	} {
		for verb, do := range map[string]func(*cast) error{
			"Revoke":       func(c *cast) error { _, err := c.Revoke(c.ctx(), c.laptop.Session, c.phone.ID); return err },
			"RevokeOthers": func(c *cast) error { _, err := c.RevokeOthers(c.ctx(), c.laptop.Session); return err },
			"Rename":       func(c *cast) error { return c.Rename(c.ctx(), c.laptop.Session, c.phone.ID, "Mine") },
		} {
			t.Run(state+" "+verb, func(t *testing.T) {
				c := openCast(t)
				finish(c)
				known := c.number(`SELECT COUNT(*) FROM activity`)
				if err := do(c); !errors.Is(err, db.ErrSessionEnded) {
					t.Errorf("got %v, want ErrSessionEnded", err)
				}
				if phone := c.alive(c.phone); phone.CustomName != "" {
					t.Errorf("the phone is called %q", phone.CustomName)
				}
				if after := c.number(`SELECT COUNT(*) FROM activity`); after != known {
					t.Errorf("activity grew from %d to %d", known, after)
				}
			})
		}
	}
}

// If two devices press "Sign out everywhere else" at once, the first one stays signed in.
func TestRevokeOthersAtOnceLeavesOne(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	var counts [2]int
	var both sync.WaitGroup
	for i, d := range []device{c.laptop, c.phone} {
		both.Go(func() {
			var err error
			if counts[i], err = c.RevokeOthers(c.ctx(), d.Session); err != nil && !errors.Is(err, db.ErrSessionEnded) {
				t.Error(err)
			}
		})
	}
	both.Wait()
	if n := c.number(`SELECT COUNT(*) FROM sessions WHERE user_id = $1`, c.alice.ID); n != 1 || counts[0]+counts[1] != 1 {
		t.Errorf("%d sessions are left, %v were counted", n, counts)
	}
}

func TestSignInAgainstRevokeOthersLosesNothing(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	var both sync.WaitGroup
	var fresh device
	var count int
	both.Go(func() { fresh = c.signIn(c.alice, "curl", "192.0.2.13") })
	both.Go(func() {
		var err error
		if count, err = c.RevokeOthers(c.ctx(), c.phone.Session); err != nil {
			t.Error(err)
		}
	})
	both.Wait()
	c.alive(c.phone)
	c.wantEnded(c.laptop)
	_, err := c.Resume(fresh.token)
	if ended := errors.Is(err, db.ErrNotFound); ended != (count == 2) || err != nil && !ended {
		t.Errorf("%d were revoked, and the session that began in the meantime: %v", count, err)
	}
}

func TestSignOutIsRepeatable(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	for range 2 {
		if err := c.SignOut(c.ctx(), c.phone.Session); err != nil {
			t.Error(err)
		}
		c.wantEnded(c.phone)
	}
	c.alive(c.laptop)
	c.alive(c.desk)
	if n := c.number(`SELECT COUNT(*) FROM activity WHERE kind = 'signed_out'`); n != 1 {
		t.Errorf("recorded %d times", n)
	}
}
