package db_test

import (
	"errors"
	"testing"
	"time"

	"porchlight/db"
)

// This file tests how operators end sessions.

func TestRevokeSessionNotFound(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	library := c.signIn(c.alice, "library", "192.0.2.12", shared)
	c.clock.Advance(30 * time.Minute)
	if _, err := c.RevokeSession(c.ctx(), db.CommandLine, 0, c.desk.ID); err != nil {
		t.Fatal(err)
	}
	for name, id := range map[string]string{"repeated": c.desk.ID, "unknown": "nothing", "expired": library.ID} {
		if ended, err := c.RevokeSession(c.ctx(), db.CommandLine, 0, id); !errors.Is(err, db.ErrNotFound) || ended != (db.Ended{}) {
			t.Errorf("%s: %+v, %v", name, ended, err)
		}
	}
	c.alive(c.laptop)
}

func TestRevokeUserAndAllCountLiveSessions(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.signIn(c.alice, "library", "192.0.2.12", shared)
	c.clock.Advance(30 * time.Minute)
	for _, test := range []struct {
		username string
		count    int
		err      error
	}{
		{"carol", 0, db.ErrNotFound}, {"ALICE", 2, nil}, {"alice", 0, nil}, {"", 0, db.ErrNotFound}, {" ", 0, db.ErrNotFound},
	} {
		if count, err := c.RevokeUser(c.ctx(), db.CommandLine, test.username); count != test.count || !errors.Is(err, test.err) {
			t.Errorf("%q: %d, %v; want %d, %v", test.username, count, err, test.count, test.err)
		}
	}
	c.wantEnded(c.laptop, c.phone)
	c.alive(c.desk)
	for _, want := range []int{1, 0} {
		if count, err := c.RevokeAll(c.ctx(), db.CommandLine); err != nil || count != want {
			t.Errorf("everybody's: %d, %v; want %d", count, err, want)
		}
	}
	c.wantEnded(c.desk)
}
