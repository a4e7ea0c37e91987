package db_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"porchlight/db"
)

// expire gives alice n sessions that have just expired.
func (c *cast) expire(n int) {
	c.t.Helper()
	c.exec(`
		WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1)
		INSERT INTO sessions (id, token_hash, user_id, detected_name, device_kind, user_agent, ip, shared, created_at, last_active_at, expires_at)
		SELECT 'old' || i, randomblob(32), $2, 'old ' || i, 'unknown', '', '192.0.2.' || (i % 250), 0, $3, $3, $3 FROM n`, n,
		c.alice.ID, c.clock.Now().UnixMilli())
}

func TestSweepDeletesWhatHasExpired(t *testing.T) {
	t.Parallel()
	const n = 2*db.BatchSize + 200
	c := openCast(t)
	live := c.ids()
	c.expire(n)
	if err := c.Sweep(c.ctx(), time.Time{}); err != nil {
		t.Fatal(err)
	}
	if left := c.ids(); !slices.Equal(left, live) {
		t.Errorf("left are %d sessions, want the %d live ones", len(left), len(live))
	}
	if recorded := c.number(`
		SELECT COUNT(DISTINCT session_id) FROM activity
		WHERE kind = 'expired' AND user_id = $1 AND session_id = 'old' || substr(device_name, 5) AND ip LIKE '192.0.2.%'
		AND done_by = '' AND happened_at = $2`,
		c.alice.ID, c.clock.Now().UnixMilli()); recorded != n {
		t.Errorf("%d of %d were recorded", recorded, n)
	}
	if err := c.Sweep(c.ctx(), time.Time{}); err != nil {
		t.Error("repeated:", err)
	}
	if recorded := c.number(`SELECT COUNT(*) FROM activity WHERE kind = 'expired'`); recorded != n {
		t.Errorf("after the second sweep %d are recorded", recorded)
	}
}

func TestSweepExactlyOneBatch(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.expire(db.BatchSize)
	if err := c.Sweep(c.ctx(), time.Time{}); err != nil {
		t.Fatal(err)
	}
	if left := len(c.ids()); left != 3 {
		t.Errorf("left are %d sessions", left)
	}
}

func TestSweepDeletesOldActivity(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	keepSince := c.clock.Now().Add(-180 * 24 * time.Hour)
	c.exec(`
		WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1)
		INSERT INTO activity (user_id, kind, happened_at) SELECT $2, 'signed_in', $3 - i FROM n`, 2*db.BatchSize+200, c.bob.ID,
		keepSince.UnixMilli())
	c.exec(`INSERT INTO activity (user_id, kind, happened_at) VALUES ($1, 'renamed', $2)`, c.bob.ID, keepSince.UnixMilli())
	if err := c.Sweep(c.ctx(), keepSince); err != nil {
		t.Fatal(err)
	}
	if old := c.number(`SELECT COUNT(*) FROM activity WHERE happened_at < $1`, keepSince.UnixMilli()); old != 0 {
		t.Errorf("%d old rows are left", old)
	}
	if kinds := c.texts(`SELECT kind FROM activity ORDER BY id`); !slices.Equal(kinds,
		[]string{"signed_in", "signed_in", "signed_in", "renamed"}) {
		t.Errorf("left are %v", kinds)
	}
	c.alive(c.laptop)
}

// A disabled user has no sessions. If a row is left, it is refused, but it has not expired.
func TestADisabledUsersSessionHasNotExpired(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.exec(`UPDATE users SET disabled = 1 WHERE id = $1`, c.bob.ID)
	c.wantEnded(c.desk)
	c.flush()
	if !slices.Contains(c.ids(), c.desk.ID) {
		t.Error("its row is gone")
	}
	if n := c.number(`SELECT COUNT(*) FROM activity WHERE kind = 'expired'`); n != 0 {
		t.Error("it was recorded as expired")
	}
}

func TestSweepStopsWithItsContext(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.expire(1)
	ctx, cancel := context.WithCancel(c.ctx())
	cancel()
	if err := c.Sweep(ctx, time.Time{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Sweep: %v", err)
	}
	if left := len(c.ids()); left != 4 {
		t.Errorf("%d sessions are left", left)
	}
}

// If the clock was a year ahead for a while, what was written then must not outlive the limits, even if the server is not started again.
func TestAClockThatWasAhead(t *testing.T) {
	t.Parallel()
	const ahead, day = 365 * 24 * time.Hour, 24 * time.Hour
	sweep := func(h *house) error { return h.Sweep(h.ctx(), h.clock.Now().Add(-180*day)) }
	for name, mend := range map[string]func(*house) error{
		"start with the same limits": func(h *house) error { return h.ApplyLimits(h.ctx()) },
		"start with other limits": func(h *house) error {
			h.exec(`UPDATE limits SET idle = 1`)
			return h.ApplyLimits(h.ctx())
		},
		"sweep": sweep,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := openHouse(t)
			if err := h.ApplyLimits(h.ctx()); err != nil {
				t.Fatal(err)
			}
			alice := h.addUser("alice", alicePassword)
			before := h.signIn(alice, "before", "192.0.2.9")
			h.clock.Advance(ahead)
			laptop, library := h.signIn(alice, firefoxOnLinux, "192.0.2.10"), h.signIn(alice, "library", "192.0.2.12", shared)
			if _, err := h.Authenticate(h.ctx(), "alice", bobPassword, clientOf("192.0.2.66", "curl")); !errors.Is(err, db.ErrWrongPassword) {
				t.Fatal(err)
			}
			if _, _, err := h.Invite(h.ctx(), db.CommandLine, db.NewUser{Username: "carol"}); err != nil {
				t.Fatal(err)
			}
			h.flush()
			h.clock.Advance(-ahead)
			now := h.clock.Now()
			if err := mend(h); err != nil {
				t.Fatal(err)
			}
			for d, want := range map[*device]time.Duration{&before: 14 * day, &laptop: 14 * day, &library: 30 * time.Minute} {
				got := h.alive(*d)
				if !got.ExpiresAt.Equal(now.Add(want)) || got.CreatedAt.After(now) || got.LastActiveAt.After(now) {
					t.Errorf("%s: created %v, last active %v, ends %v; now is %v", d.DeviceName, got.CreatedAt, got.LastActiveAt, got.ExpiresAt, now)
				}
			}
			for what, query := range map[string]string{
				"activity":    `SELECT COUNT(*) FROM activity WHERE happened_at > $1`,
				"attempts":    `SELECT COUNT(*) FROM attempts WHERE failed_at > $1`,
				"failures":    `SELECT COUNT(*) FROM consecutive_failures WHERE last_failed_at > $1`,
				"invitations": `SELECT COUNT(*) FROM invitations WHERE expires_at > $1 + 259200000`,
			} {
				if n := h.number(query, now.UnixMilli()); n != 0 {
					t.Errorf("%s: %d rows in the future", what, n)
				}
			}
			h.clock.Advance(14 * day)
			h.wantEnded(laptop, library)
		})
	}
}

// A session that is used before the next sweep is corrected by its use.
func TestATouchCorrectsASessionFromTheFuture(t *testing.T) {
	t.Parallel()
	h := openHouse(t)
	h.clock.Advance(365 * 24 * time.Hour)
	d := h.signIn(h.addUser("alice", alicePassword), firefoxOnLinux, "192.0.2.10")
	h.clock.Advance(-365 * 24 * time.Hour)
	h.Touch(h.alive(d))
	h.flush()
	if got := h.alive(d); !got.CreatedAt.Equal(h.clock.Now()) || !got.ExpiresAt.Equal(h.clock.Now().Add(db.DefaultLimits.IdleTimeout)) {
		t.Errorf("created %v, ends %v; now is %v", got.CreatedAt, got.ExpiresAt, h.clock.Now())
	}
}

func TestApplyLimitsShortensOnly(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for _, test := range []struct {
		name           string
		limits         db.Limits
		normal, shared time.Duration // how long after sign-in they end
	}{
		{"the same", db.DefaultLimits, 14 * day, 30 * time.Minute},
		{"longer", db.Limits{IdleTimeout: 20 * day, MaxLifetime: 60 * day, SharedIdleTimeout: time.Hour,
			SharedMaxLifetime: 48 * time.Hour}, 14 * day, 30 * time.Minute},
		{"shorter idle", db.Limits{IdleTimeout: time.Hour, MaxLifetime: 30 * day, SharedIdleTimeout: time.Minute,
			SharedMaxLifetime: day}, time.Hour, time.Minute},
		{"shorter lifetime", db.Limits{IdleTimeout: 14 * day, MaxLifetime: 2 * time.Hour, SharedIdleTimeout: 30 * time.Minute,
			SharedMaxLifetime: 2 * time.Minute}, 2 * time.Hour, 2 * time.Minute},
		{"one shorter, one longer", db.Limits{IdleTimeout: day, MaxLifetime: 2 * day, SharedIdleTimeout: 40 * time.Minute,
			SharedMaxLifetime: day}, day, 30 * time.Minute},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := openHouse(t)
			alice := h.addUser("alice", alicePassword)
			laptop, library := h.signIn(alice, firefoxOnLinux, "192.0.2.10"), h.signIn(alice, "library", "192.0.2.12", shared)
			h.reopen(func(o *db.Options) { o.Limits = test.limits })
			for range 2 {
				if err := h.ApplyLimits(h.ctx()); err != nil {
					t.Fatal(err)
				}
			}
			for d, want := range map[*device]time.Duration{&laptop: test.normal, &library: test.shared} {
				if got := h.alive(*d); got.ExpiresAt.Sub(d.CreatedAt) != want || !got.LastActiveAt.Equal(d.LastActiveAt) {
					t.Errorf("%s ends after %v, want %v", d.DeviceName, got.ExpiresAt.Sub(d.CreatedAt), want)
				}
			}
		})
	}
}

func TestLongerLimitsApplyFromTheNextUse(t *testing.T) {
	t.Parallel()
	h := openHouse(t)
	d := h.signIn(h.addUser("alice", alicePassword), firefoxOnLinux, "192.0.2.10")
	h.reopen(func(o *db.Options) {
		o.Limits = db.DefaultLimits
		o.Limits.IdleTimeout *= 2
	})
	h.clock.Advance(time.Hour)
	h.Touch(h.alive(d))
	h.flush()
	if got := h.alive(d); !got.ExpiresAt.Equal(h.clock.Now().Add(2 * db.DefaultLimits.IdleTimeout)) {
		t.Errorf("it ends at %v", got.ExpiresAt)
	}
}
