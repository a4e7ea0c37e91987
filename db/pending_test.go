package db_test

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"porchlight/db"
)

func (h *house) lastActive(d device) time.Time {
	h.t.Helper()
	return time.UnixMilli(h.number(`SELECT last_active_at FROM sessions WHERE id = $1`, d.ID))
}

func limitsInMilliseconds(o *db.Options) {
	o.Limits = db.Limits{IdleTimeout: 1500 * time.Millisecond, MaxLifetime: 4 * time.Second,
		SharedIdleTimeout: 400 * time.Millisecond, SharedMaxLifetime: time.Second}
}

// noteIntervals are how long the use of a session is not noted again.
var noteIntervals = []struct {
	name   string
	change func(*db.Options)
	shared bool
	every  time.Duration
}{
	{"a minute", func(*db.Options) {}, false, time.Minute},
	{"a minute on a shared computer", func(*db.Options) {}, true, time.Minute},
	{"a quarter of a short idle limit", limitsInMilliseconds, false, 375 * time.Millisecond},
	{"a quarter of a shared computer's", limitsInMilliseconds, true, 100 * time.Millisecond},
}

func TestTouchIsNotedOnceInAWhile(t *testing.T) {
	t.Parallel()
	for _, test := range noteIntervals {
		t.Run(test.name, func(t *testing.T) {
			h := openHouse(t, test.change)
			d := h.signIn(h.addUser("alice", alicePassword), firefoxOnLinux, "192.0.2.10", func(n *db.NewSession) { n.Shared = test.shared })
			h.clock.Advance(test.every - time.Millisecond)
			h.Touch(h.alive(d))
			h.flush()
			if got := h.lastActive(d); !got.Equal(d.LastActiveAt) {
				t.Errorf("noted after %v", got.Sub(d.LastActiveAt))
			}
			h.clock.Advance(time.Millisecond)
			h.Touch(h.alive(d))
			if got := h.lastActive(d); !got.Equal(d.LastActiveAt) {
				t.Error("a touch has waited for the disk")
			}
			h.flush()
			if got := h.lastActive(d); !got.Equal(h.clock.Now()) {
				t.Errorf("on disk is %v, want %v", got, h.clock.Now())
			}
			if got := h.alive(d); !got.LastActiveAt.Equal(h.clock.Now()) || got.ExpiresAt.Sub(d.ExpiresAt) != test.every {
				t.Errorf("last active %v, expires %v later", got.LastActiveAt, got.ExpiresAt.Sub(d.ExpiresAt))
			}
		})
	}
}

func TestLimitsInMilliseconds(t *testing.T) {
	t.Parallel()
	h := openHouse(t, limitsInMilliseconds)
	alice := h.addUser("alice", alicePassword)
	unused, busy := h.signIn(alice, firefoxOnLinux, "192.0.2.10"), h.signIn(alice, safariOnIPhone, "192.0.2.11")
	h.clock.Advance(1499 * time.Millisecond)
	h.alive(unused)
	h.Touch(h.alive(busy))
	h.flush()
	h.clock.Advance(time.Millisecond)
	h.wantEnded(unused)
	h.clock.Advance(1300 * time.Millisecond)
	h.Touch(h.alive(busy))
	h.flush()
	h.clock.Advance(1199 * time.Millisecond)
	h.alive(busy)
	h.clock.Advance(time.Millisecond)
	h.wantEnded(busy)
}

func TestFlushEveryIsSoonEnough(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		idle, shared, want time.Duration
	}{
		{14 * 24 * time.Hour, 30 * time.Minute, 5 * time.Second},
		{time.Hour, 20 * time.Second, 2500 * time.Millisecond},
		{1500 * time.Millisecond, time.Hour, 187500 * time.Microsecond},
		{time.Nanosecond, time.Hour, time.Millisecond}, // a ticker of 0 would panic
	} {
		h := openHouse(t, func(o *db.Options) {
			o.Limits = db.Limits{IdleTimeout: test.idle, MaxLifetime: time.Hour, SharedIdleTimeout: test.shared, SharedMaxLifetime: time.Hour}
		})
		if got := h.FlushEvery(); got != test.want {
			t.Errorf("idle %v, shared %v: %v, want %v", test.idle, test.shared, got, test.want)
		}
	}
}

func TestFlushWritesMoreThanOneBatch(t *testing.T) {
	t.Parallel()
	h := openHouse(t, func(o *db.Options) { o.MaxSessions = 10 * db.FlushBatch })
	alice := h.addUser("alice", alicePassword)
	n := 2*db.FlushBatch + 1
	h.exec(`
		WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1)
		INSERT INTO sessions (id, token_hash, user_id, detected_name, device_kind, user_agent, ip, shared, created_at, last_active_at, expires_at)
		SELECT 's' || i, randomblob(32), $2, '', 'unknown', '', '', 0, $3, $3, $3 + 86400000 FROM n`, n, alice.ID, h.clock.Now().UnixMilli())
	h.clock.Advance(time.Hour)
	sessions, _, err := h.Sessions(alice.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, session := range sessions {
		h.Touch(session)
	}
	h.flush()
	if touched := h.number(`SELECT COUNT(*) FROM sessions WHERE last_active_at = $1`, h.clock.Now().UnixMilli()); touched != int64(n) {
		t.Errorf("%d of %d are on disk", touched, n)
	}
}

func TestTouchNeverBringsASessionBack(t *testing.T) {
	t.Parallel()
	t.Run("revoked", func(t *testing.T) {
		c := openCast(t)
		c.clock.Advance(time.Hour)
		c.Touch(c.alive(c.laptop))
		if _, err := c.Revoke(c.ctx(), c.phone.Session, c.laptop.ID); err != nil {
			t.Fatal(err)
		}
		c.Touch(c.laptop.Session)
		c.flush()
		c.wantEnded(c.laptop)
		if slices.Contains(c.ids(), c.laptop.ID) {
			t.Error("it has a row again")
		}
	})
	t.Run("expired", func(t *testing.T) {
		c := openCast(t)
		c.clock.Advance(db.DefaultLimits.IdleTimeout)
		c.Touch(c.laptop.Session) // a request that arrived before, and ends now
		c.flush()
		c.wantEnded(c.laptop)
		if got := c.lastActive(c.laptop); !got.Equal(c.laptop.LastActiveAt) {
			t.Errorf("last active is %v", got)
		}
	})
}

func TestTouchesWhileOneRevokes(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	var revoked atomic.Bool
	var all sync.WaitGroup
	start := make(chan struct{})
	for i := range 50 {
		all.Go(func() {
			<-start
			for range 5 {
				c.clock.Advance(time.Minute)
				acknowledged := revoked.Load()
				session, err := c.Resume(c.laptop.token)
				switch {
				case acknowledged && !errors.Is(err, db.ErrNotFound):
					t.Errorf("after the revocation was acknowledged: %v", err)
				case err == nil:
					c.Touch(*session)
				case !errors.Is(err, db.ErrNotFound):
					t.Error(err)
				}
				if i%10 == 0 {
					if err := c.Flush(c.ctx()); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	all.Go(func() {
		<-start
		if _, err := c.Revoke(c.ctx(), c.phone.Session, c.laptop.ID); err != nil {
			t.Error(err)
		}
		revoked.Store(true)
	})
	close(start)
	all.Wait()
	c.Touch(c.laptop.Session)
	c.flush()
	c.wantEnded(c.laptop)
	if slices.Contains(c.ids(), c.laptop.ID) {
		t.Error("it has a row again")
	}
	c.alive(c.phone)
}

func TestARefusedSessionStaysRefusedWhenTheClockIsSetBack(t *testing.T) {
	t.Parallel()
	for _, by := range []time.Duration{time.Hour, 365 * 24 * time.Hour} {
		c := openCast(t)
		c.clock.Advance(db.DefaultLimits.IdleTimeout)
		c.wantEnded(c.laptop)
		c.clock.Advance(-by)
		c.wantEnded(c.laptop)
		c.alive(c.phone) // which was not asked for in the meantime
		c.flush()
		if slices.Contains(c.ids(), c.laptop.ID) {
			t.Error("it has a row after the flush")
		}
		c.wantEnded(c.laptop)
		c.wantLatest(c.alice, happening{db.Expired, "192.0.2.10", firefoxOnLinux, c.laptop.ID, "", 1})
		c.flush()
		if n := c.number(`SELECT COUNT(*) FROM activity WHERE kind = 'expired'`); n != 1 {
			t.Errorf("recorded %d times", n)
		}
	}
}

func TestANotedTouchDoesNotReviveARefusedSession(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.clock.Advance(time.Hour)
	c.Touch(c.alive(c.laptop))
	c.clock.Advance(db.DefaultLimits.IdleTimeout)
	c.wantEnded(c.laptop)
	c.clock.Advance(-db.DefaultLimits.IdleTimeout)
	c.flush()
	c.wantEnded(c.laptop)
	if slices.Contains(c.ids(), c.laptop.ID) {
		t.Error("it has a row after the flush")
	}
}

func TestTouchesAreNotedAfterTheClockWasAYearAhead(t *testing.T) {
	t.Parallel()
	const year = 365 * 24 * time.Hour
	h := openHouse(t)
	alice := h.addUser("alice", alicePassword)
	h.clock.Advance(year)
	d := h.signIn(alice, firefoxOnLinux, "192.0.2.10")
	h.clock.Advance(-year)
	h.Touch(h.alive(d))
	h.flush()
	got := h.alive(d)
	if now := h.clock.Now(); !got.LastActiveAt.Equal(now) || !got.ExpiresAt.Equal(now.Add(db.DefaultLimits.IdleTimeout)) {
		t.Errorf("last active %v, expires %v; now is %v", got.LastActiveAt, got.ExpiresAt, now)
	}
	h.clock.Advance(db.DefaultLimits.IdleTimeout)
	h.wantEnded(d)
}

func TestNotesMadeDuringAFlushAreNotLost(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.failToSignIn("alice", "192.0.2.66", "curl")
	arrived, release := c.holdWriter()
	flushed := make(chan error)
	go func() { flushed <- c.Flush(c.ctx()) }()
	arrived(1)
	c.NoteFailure(c.alice.ID, "192.0.2.66", "curl")
	release()
	if err := <-flushed; err != nil {
		t.Error(err)
	}
	c.flush()
	c.wantLatest(c.alice, happening{db.SignInFailed, "192.0.2.66", "curl", "", "curl", 2})
}

func TestTwoFlushesAtOnceCountOnce(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.failToSignIn("alice", "192.0.2.66", "curl")
	arrived, release := c.holdWriter()
	flushed := make(chan error)
	for range 2 {
		go func() { flushed <- c.Flush(c.ctx()) }()
	}
	arrived(2)
	release()
	for range 2 {
		if err := <-flushed; err != nil {
			t.Error(err)
		}
	}
	c.flush()
	c.wantLatest(c.alice, happening{db.SignInFailed, "192.0.2.66", "curl", "", "curl", 1})
}

func TestNotesThatCannotBeWrittenAreKept(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	library := c.signIn(c.alice, "library", "192.0.2.12", shared)
	c.clock.Advance(30 * time.Minute)
	c.wantEnded(library)
	c.Touch(c.alive(c.desk))
	c.failToSignIn("bob", "192.0.2.66", "curl")
	c.exec(`CREATE TRIGGER refuse_touch BEFORE UPDATE ON sessions BEGIN SELECT RAISE(ABORT, 'refused'); END`)
	c.exec(`CREATE TRIGGER refuse_activity BEFORE INSERT ON activity BEGIN SELECT RAISE(ABORT, 'refused'); END`)
	if err := c.Flush(c.ctx()); err == nil {
		t.Error("no error")
	}
	c.exec(`DROP TRIGGER refuse_touch`)
	if err := c.Flush(c.ctx()); err == nil {
		t.Error("no error")
	}
	c.exec(`DROP TRIGGER refuse_activity`)
	c.flush()
	if got := c.lastActive(c.desk); !got.Equal(c.clock.Now()) {
		t.Errorf("last active is %v", got)
	}
	if slices.Contains(c.ids(), library.ID) {
		t.Error("an expired session still has a row")
	}
	c.wantLatest(c.bob, happening{db.SignInFailed, "192.0.2.66", "curl", "", "curl", 1})
}
