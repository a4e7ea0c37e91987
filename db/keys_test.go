package db_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"porchlight/db"
)

// This file tests app keys: what they open, and what ends them.

const (
	photos = "photos.example.com"
	day    = 24 * time.Hour
)

func lasting(d time.Duration) func(*db.NewKey) { return func(k *db.NewKey) { k.Lifetime = d } }
func named(name string) func(*db.NewKey)       { return func(k *db.NewKey) { k.Name = name } }
func (c *cast) keysOf(user db.User) (ids []string) {
	return c.texts(`SELECT id FROM sessions WHERE kind = 'app_key' AND user_id = $1 ORDER BY created_at`, user.ID)
}

// makeKey makes an app key for notes, which never expires.
func (h *house) makeKey(by device, change ...func(*db.NewKey)) device {
	h.t.Helper()
	key := db.NewKey{IP: "192.0.2.50", Host: notes}
	for _, c := range change {
		c(&key)
	}
	secret, made, err := h.CreateKey(h.ctx(), by.Session, key)
	if err != nil {
		h.t.Fatalf("make a key for %s: %v", key.Host, err)
	}
	return device{secret, made}
}

func (h *house) opens(key device, host string) bool {
	h.t.Helper()
	access, err := h.AuthorizeKey(key.token, host)
	if err != nil && !errors.Is(err, db.ErrNotFound) {
		h.t.Fatalf("authorize a key for %s: %v", host, err)
	}
	return err == nil && access.Allowed
}

func TestAKeyOpensItsHostAlone(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.exec(`UPDATE users SET email = 'alice@example.com' WHERE username = 'alice'`)
	key := c.makeKey(c.laptop, named("Calendar"), lasting(30*day))
	access, err := c.AuthorizeKey(key.token, notes)
	if err != nil || !access.Allowed || access.SessionID != key.ID || access.Username != "alice" || access.Email != "alice@example.com" ||
		!access.IsAdmin || access.IP != "192.0.2.50" {
		t.Errorf("at its host: %+v, %v", access, err)
	}
	for _, host := range []string{photos, "example.com", "x.notes.example.com", "", "*.example.com"} {
		if access, err := c.AuthorizeKey(key.token, host); !errors.Is(err, db.ErrNotFound) || access != nil {
			t.Errorf("at %q: %+v, %v", host, access, err)
		}
	}
	// It is not accepted as the token of a browser, even after an auth check has cached it, and the other way round.
	c.wantEnded(key)
	if access, err := c.Authorize(key.token, notes); !errors.Is(err, db.ErrNotFound) || access != nil {
		t.Errorf("as a cookie: %+v, %v", access, err)
	}
	c.authorize(c.laptop, notes)
	for _, token := range []string{c.laptop.token, "plk_" + c.laptop.token, strings.TrimPrefix(key.token, "plk_"), key.ID, "plk_", ""} {
		if access, err := c.AuthorizeKey(token, notes); !errors.Is(err, db.ErrNotFound) || access != nil {
			t.Errorf("%q as a key: %+v, %v", token, access, err)
		}
	}
	// The statements themselves look at the kind, too.
	c.exec(`UPDATE sessions SET token_hash = randomblob(32) WHERE id = $1`, c.laptop.ID)
	c.exec(`UPDATE sessions SET token_hash = $1 WHERE id = $2`, hashOf(c.laptop.token), key.ID)
	c.wantEnded(c.laptop)
	if _, err := c.Authorize(c.laptop.token, notes); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("a key whose token has no prefix, as a cookie: %v", err)
	}
	if !strings.HasPrefix(key.token, "plk_") || len(key.token) != 30 {
		t.Errorf("the key has the form %q", key.token)
	}
}

func TestWhatIsStoredOfAKey(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	key := c.makeKey(c.laptop, named("Calendar"), lasting(30*day))
	now := c.clock.Now()
	got, err := c.Session(c.alice.ID, key.ID)
	if err != nil || got.Kind != db.AppKey || got.Host != notes || got.DeviceName != "Calendar" || got.CustomName != "Calendar" ||
		got.NamedBy != firefoxOnLinux || got.DetectedName != "App key for "+notes || got.SignInIP != "192.0.2.50" || got.UserAgent != "" ||
		!got.CreatedAt.Equal(now) || !got.ExpiresAt.Equal(now.Add(30*day)) || !got.EndsAt.Equal(got.ExpiresAt) || got.NeverExpires() {
		t.Errorf("the stored session is %+v, %v", got, err)
	}
	if got.ID != key.Session.ID || got.DeviceName != key.DeviceName {
		t.Errorf("CreateKey returned %+v", key.Session)
	}
	if stored := c.text(`SELECT hex(token_hash) FROM sessions WHERE id = $1`, key.ID); stored != fmt.Sprintf("%X", hashOf(key.token)) {
		t.Errorf("stored is %s, not the SHA-256 of the key", stored)
	}
	c.wantLatest(c.alice, happening{db.KeyMade, "192.0.2.50", "Calendar", key.ID, firefoxOnLinux, 1})
	unnamed := c.makeKey(c.laptop)
	if unnamed.DeviceName != "App key for "+notes || unnamed.NamedBy != "" || !unnamed.NeverExpires() || unnamed.EndsAt != unnamed.ExpiresAt {
		t.Errorf("without a name or an end: %+v", unnamed.Session)
	}
	if listed := c.listed(c.alice, unnamed); listed.Kind != db.AppKey || c.listed(c.alice, c.laptop).Kind != db.Browser {
		t.Errorf("listed are %+v", listed)
	}
}

// Ending every session, or every other one, also ends keys: at once, even if they were cached.
func TestKeyEnds(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(c *cast, key device) error{
		"revoked": func(c *cast, key device) error {
			_, err := c.Revoke(c.ctx(), c.phone.Session, key.ID)
			return err
		},
		"revoked by another process": func(c *cast, key device) error {
			_, err := c.openAgain().RevokeSession(c.ctx(), db.CommandLine, 0, key.ID)
			return err
		},
		"with all others": func(c *cast, _ device) error {
			count, err := c.RevokeOthers(c.ctx(), c.laptop.Session)
			if count != 2 {
				c.t.Errorf("%d others, want the phone and the key", count)
			}
			return err
		},
		"with all of the user": func(c *cast, _ device) error {
			_, err := c.RevokeUser(c.ctx(), db.CommandLine, "alice")
			return err
		},
		"with all": func(c *cast, _ device) error {
			count, err := c.RevokeAll(c.ctx(), db.CommandLine)
			if count != 4 {
				c.t.Errorf("ended %d, want three browsers and the key", count)
			}
			return err
		},
		"with a new password": func(c *cast, _ device) error {
			_, err := c.changePassword(c.laptop.Session, alicePassword, newPassword, true)
			return err
		},
		"with a new password by command": func(c *cast, _ device) error {
			return c.SetPassword(c.ctx(), db.CommandLine, "alice", newPassword)
		},
		"not me":   func(c *cast, _ device) error { return c.NotMe(c.ctx(), c.laptop.Session, c.phone.ID) },
		"disabled": func(c *cast, _ device) error { return c.DisableUser(c.ctx(), db.CommandLine, "alice", true) },
		"disabled, its row left": func(c *cast, _ device) error {
			c.exec(`UPDATE users SET disabled = 1 WHERE username = 'alice'`)
			return nil
		},
		"deleted": func(c *cast, _ device) error { return c.DeleteUser(c.ctx(), db.CommandLine, "alice", true) },
		"expired": func(c *cast, _ device) error {
			c.clock.Advance(30 * day)
			return nil
		},
		"expired, and the clock set back": func(c *cast, key device) error {
			c.clock.Advance(30 * day)
			c.opens(key, notes)
			c.clock.Advance(-time.Hour)
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := openCast(t)
			c.addUser("carol", "another admin who stays here")
			c.exec(`UPDATE users SET is_admin = 1 WHERE username = 'carol'`)
			key := c.makeKey(c.laptop, lasting(30*day))
			c.clock.Advance(-time.Millisecond)
			if !c.opens(key, notes) {
				t.Fatal("the key opens nothing")
			}
			c.clock.Advance(time.Millisecond)
			if err := end(c, key); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if c.opens(key, notes) {
					t.Error("the key still opens its host")
				}
			}
		})
	}
}

// Only its own expiry ends a key: neither idleness, nor stricter limits, nor sign-ins.
func TestKeySurvives(t *testing.T) {
	t.Parallel()
	c := openCast(t, func(o *db.Options) { o.MaxSessions = 2 })
	never, year := c.makeKey(c.laptop), c.makeKey(c.laptop, lasting(365*day))
	expiry := year.ExpiresAt
	check := func(when string) {
		t.Helper()
		c.flush()
		if err := c.Sweep(c.ctx(), time.Time{}); err != nil {
			t.Fatal(err)
		}
		for _, key := range []device{never, year} {
			if !c.opens(key, notes) {
				t.Errorf("%s: the key until %v opens nothing", when, key.ExpiresAt)
			}
		}
		if got, err := c.Session(c.alice.ID, year.ID); err != nil || !got.ExpiresAt.Equal(expiry) {
			t.Errorf("%s: it expires at %v, want %v; %v", when, got.ExpiresAt, expiry, err)
		}
		if got, err := c.Session(c.alice.ID, never.ID); err != nil || !got.NeverExpires() {
			t.Errorf("%s: the other expires at %v; %v", when, got.ExpiresAt, err)
		}
	}
	for _, key := range []device{never, year} {
		access, err := c.AuthorizeKey(key.token, notes)
		if err != nil {
			t.Fatal(err)
		}
		c.clock.Advance(time.Hour)
		c.UseApp(access, true)
	}
	check("used")
	c.signIn(c.alice, firefoxOnLinux, "192.0.2.10")
	c.signIn(c.alice, firefoxOnLinux, "192.0.2.10")
	check("after two sign-ins more than --max-sessions")
	c.clock.Advance(364 * day)
	check("after a year without use")
	c.clock.Advance(-364 * day)
	c.reopen(func(o *db.Options) {
		o.Limits = db.DefaultLimits
		o.Limits.IdleTimeout, o.Limits.MaxLifetime = time.Minute, time.Minute
	})
	if err := c.ApplyLimits(c.ctx()); err != nil {
		t.Fatal(err)
	}
	check("under stricter limits")
	if _, err := c.changePassword(c.signIn(c.alice, "curl", "192.0.2.10").Session, alicePassword, newPassword, false); err != nil {
		t.Fatal(err)
	}
	check("after a new password that keeps other sessions")
}

// Keys from a time when the clock was ahead last as long as if they had been made now.
func TestKeysFromTheFuture(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.clock.Advance(1000 * day)
	later := c.signIn(c.alice, "curl", "192.0.2.10")
	never, month := c.makeKey(later), c.makeKey(later, lasting(30*day))
	c.clock.Advance(-1000 * day)
	if err := c.Sweep(c.ctx(), time.Time{}); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]time.Time{never.ID: never.ExpiresAt, month.ID: c.clock.Now().Add(30 * day)} {
		got, err := c.Session(c.alice.ID, key)
		if err != nil || !got.CreatedAt.Equal(c.clock.Now()) || !got.LastActiveAt.Equal(c.clock.Now()) || !got.ExpiresAt.Equal(want) {
			t.Errorf("%+v, %v; want it to expire at %v", got, err, want)
		}
	}
}

func TestAtMostFiftyKeys(t *testing.T) {
	t.Parallel()
	c := openCast(t, func(o *db.Options) { o.MaxSessions = 2 })
	first := c.makeKey(c.laptop, lasting(day))
	for range 49 {
		c.makeKey(c.laptop)
	}
	if _, _, err := c.CreateKey(c.ctx(), c.laptop.Session, db.NewKey{Host: notes}); !errors.Is(err, db.ErrTooManyKeys) {
		t.Errorf("the 51st: %v", err)
	}
	c.alive(c.laptop) // keys do not count as sessions of browsers
	c.alive(c.phone)
	c.makeKey(c.desk) // bob's first
	c.clock.Advance(day)
	c.makeKey(c.laptop)
	if c.opens(first, notes) {
		t.Error("the first has expired")
	}
	if n := len(c.keysOf(c.alice)); n != 51 {
		t.Errorf("%d rows, want 50 live keys and the one that has expired", n)
	}
}

func TestCreateKeyNeedsALiveSession(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	if err := c.SignOut(c.ctx(), c.laptop.Session); err != nil {
		t.Fatal(err)
	}
	if secret, _, err := c.CreateKey(c.ctx(), c.laptop.Session, db.NewKey{Host: notes}); !errors.Is(err, db.ErrSessionEnded) || secret != "" {
		t.Errorf("CreateKey: %q, %v", secret, err)
	}
	if keys := c.keysOf(c.alice); keys != nil {
		t.Errorf("created %v", keys)
	}
}

// Any number of clients may use a key, so a new one is not a sign of theft.
func TestKeyUseIsRecorded(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	key := c.makeKey(c.laptop, named("Calendar"))
	c.clock.Advance(time.Hour)
	for _, client := range []db.Client{from("198.51.100.20", "DAVx5"), from("203.0.113.9", "Thunderbird")} {
		access, err := c.AuthorizeKey(key.token, notes)
		if err != nil {
			t.Fatal(err)
		}
		c.Store.UseApp(access, client, true)
		c.flush()
		got := c.listed(c.alice, key)
		if got.IP != client.IP || "Mozilla/5.0 "+got.Browser != client.UserAgent || got.OtherBrowser != "" || got.SignInIP != "192.0.2.50" ||
			got.DeviceName != "Calendar" || !got.LastActiveAt.Equal(c.clock.Now()) || len(got.Apps) != 1 || got.Apps[0].Host != notes {
			t.Errorf("the session is %+v", got)
		}
	}
	if n := c.number(`SELECT COUNT(*) FROM activity WHERE kind = 'browser_changed'`); n != 0 {
		t.Errorf("%d changes of the browser were recorded", n)
	}
}

// Only browsers must clear the apps' cookies.
func TestRevokedKeyTokenIsNotKept(t *testing.T) {
	t.Parallel()
	c := openCast(t, func(o *db.Options) { o.Serve, o.KeepRevoked = true, true })
	c.makeKey(c.laptop)
	if _, err := c.RevokeOthers(c.ctx(), c.laptop.Session); err != nil {
		t.Fatal(err)
	}
	if kept := c.texts(`SELECT hex(token_hash) FROM revoked_tokens`); !slices.Equal(kept, []string{fmt.Sprintf("%X", hashOf(c.phone.token))}) {
		t.Errorf("kept are %q, want the phone's", kept)
	}
}

// Rules, approval and a required second factor apply to keys as they do to browsers.
func TestRulesApplyToKeys(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	key := c.makeKey(c.desk)
	c.allow(notes, false, "alice")
	if c.opens(key, notes) {
		t.Error("a rule for alice lets bob's key in")
	}
	c.allow(notes, false, "bob")
	if !c.opens(key, notes) {
		t.Error("a rule for bob keeps his key out")
	}
	c.reopen(func(o *db.Options) { o.RequireSecondFactor = db.RequireAll })
	if access, err := c.AuthorizeKey(key.token, notes); err != nil || access.Allowed || !access.MustSetUpFactor {
		t.Errorf("without the second factor that is required: %+v, %v", access, err)
	}
}

// With a stolen session, somebody could create fifty keys. The user gets two alerts, and the link in the mail ends all of them.
func TestKeysCauseAlerts(t *testing.T) {
	t.Parallel()
	c := openMailCast(t)
	intruder := c.signIn(c.alice, "the intruder's browser", "203.0.113.99", remembered)
	c.emptyOutbox()
	keys := []device{c.makeKey(intruder, named("first")), c.makeKey(intruder), c.makeKey(intruder)}
	c.wantWaiting("three keys", "mail alice@example.com key_made 3", "ntfy alice_phone key_made 3", "webhook key_made 3")
	message := c.onlyMail()
	if message.DeviceName != keys[2].DeviceName || message.By != "the intruder's browser" || message.SessionID != keys[2].ID {
		t.Errorf("the mail is %+v", message)
	}
	c.makeKey(intruder)
	if due := c.claim(db.Mail); due != nil {
		t.Errorf("a fourth key causes an alert at once: %+v", due)
	}
	if !slices.Contains(db.AlertKinds(), db.KeyMade) || slices.Contains(db.OptionalAlerts, db.KeyMade) {
		t.Error("the alert can be switched off")
	}
	if _, err := c.UseNotMe(c.ctx(), message.Token, somewhere); err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		if c.opens(key, notes) {
			t.Error("a key is left")
		}
	}
	isIntruder := func(d db.Device) bool { return d.DetectedName == "the intruder's browser" }
	if devices := c.devices(c.alice); slices.ContainsFunc(devices, isIntruder) {
		t.Errorf("known are %+v", devices)
	}
}
