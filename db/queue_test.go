package db_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"porchlight/db"
)

// order returns the kinds of activity after a row, in the order in which they were written.
func (h *house) order(after int64) []string {
	h.t.Helper()
	return h.texts(`SELECT kind FROM activity WHERE id > $1 ORDER BY id`, after)
}

// A revocation gets its turn before all other writes.
func TestRevocationsGoFirst(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		do   func(*cast) error
		kind string
	}{
		{"revoke", func(c *cast) error { _, err := c.Revoke(c.ctx(), c.phone.Session, c.laptop.ID); return err }, db.Revoked},
		{"revoke others", func(c *cast) error { _, err := c.RevokeOthers(c.ctx(), c.phone.Session); return err }, db.Revoked},
		{"sign out", func(c *cast) error { return c.SignOut(c.ctx(), c.phone.Session) }, db.SignedOut},
		{"disable", func(c *cast) error { return c.DisableUser(c.ctx(), db.CommandLine, "bob", false) }, db.Disabled},
		{"set a password", func(c *cast) error { return c.SetPassword(c.ctx(), db.CommandLine, "bob", newPassword) }, db.PasswordChanged},
		{"revoke by command", func(c *cast) error { _, err := c.RevokeSession(c.ctx(), db.CommandLine, 0, c.laptop.ID); return err }, db.Revoked},
		{"revoke all by command", func(c *cast) error { _, err := c.RevokeAll(c.ctx(), db.CommandLine); return err }, db.Revoked},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := openCast(t)
			c.expire(1)
			known := c.number(`SELECT MAX(id) FROM activity`)
			arrived, release := c.holdWriter()
			var all sync.WaitGroup
			all.Go(func() {
				if err := c.Sweep(c.ctx(), time.Time{}); err != nil {
					t.Error("sweep:", err)
				}
			})
			arrived(1)
			for i := range 5 {
				all.Go(func() { c.signIn(c.alice, "curl", "203.0.113.66") })
				arrived(2 + i)
			}
			all.Go(func() {
				if err := test.do(c); err != nil {
					t.Errorf("%s: %v", test.name, err)
				}
			})
			arrived(7)
			release()
			all.Wait()
			got := c.order(known)
			if len(got) == 0 || got[0] != test.kind {
				t.Errorf("the order was %v, want %s first", got, test.kind)
			}
			if signedIn, swept := slices.Index(got, db.SignedIn), slices.Index(got, db.Expired); swept < signedIn {
				t.Errorf("the order was %v: the sweep came before those who sign in", got)
			}
		})
	}
}

// Many revocations do not starve other writes.
func TestNoWriteWaitsForever(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.expire(1)
	const revocations = 60
	known := c.number(`SELECT MAX(id) FROM activity`)
	arrived, release := c.holdWriter()
	var all sync.WaitGroup
	for i := range revocations {
		all.Go(func() {
			if err := c.Rename(c.ctx(), c.phone.Session, c.phone.ID, fmt.Sprint("phone ", i)); err != nil {
				t.Error(err)
			}
		})
		arrived(i + 1)
	}
	all.Go(func() { c.signIn(c.bob, "curl", "203.0.113.66") })
	arrived(revocations + 1)
	all.Go(func() {
		if err := c.Sweep(c.ctx(), time.Time{}); err != nil {
			t.Error("sweep:", err)
		}
	})
	arrived(revocations + 2)
	release()
	all.Wait()
	got := c.order(known)
	if signedIn := slices.Index(got, db.SignedIn); signedIn < 1 || signedIn > 10 {
		t.Errorf("the sign-in was number %d of %d", signedIn+1, len(got))
	}
	if swept := slices.Index(got, db.Expired); swept < 0 || swept == len(got)-1 {
		t.Errorf("the sweep was number %d of %d", swept+1, len(got))
	}
}

// A write that gives up leaves the queue, and the next one gets the turn.
func TestTheQueueForgetsWritesThatGaveUp(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	arrived, release := c.holdWriter()
	ctx, cancel := context.WithCancel(c.ctx())
	var all sync.WaitGroup
	all.Go(func() {
		if _, err := c.Revoke(ctx, c.phone.Session, c.laptop.ID); !errors.Is(err, context.Canceled) {
			t.Errorf("revoke: %v, want Canceled", err)
		}
	})
	arrived(1)
	cancel()
	all.Wait()
	if n := c.Waiting(); n != 0 {
		t.Errorf("%d wait", n)
	}
	all.Go(func() {
		if _, err := c.Revoke(c.ctx(), c.phone.Session, c.laptop.ID); err != nil {
			t.Error(err)
		}
	})
	arrived(1)
	if c.Waiting() != 1 {
		t.Error("a second write has the turn")
	}
	c.alive(c.laptop)
	release()
	all.Wait()
	c.wantEnded(c.laptop)
}
