package db_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"porchlight/db"
)

// This file tests how failed sign-ins are recorded as activity.

func (c *cast) failToSignIn(name, ip, deviceName string) {
	c.t.Helper()
	if _, err := c.Authenticate(c.ctx(), name, "wrong lantern velvet orbit", clientOf(ip, deviceName)); !errors.Is(err, db.ErrWrongPassword) {
		c.t.Fatalf("a wrong password for %s: %v", name, err)
	}
}

func TestFailedSignInsAreCountedInOneRow(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	known := len(c.activity(c.alice))
	want := func(want ...happening) {
		t.Helper()
		c.flush()
		if got := c.activity(c.alice)[known:]; !slices.Equal(got, want) {
			t.Errorf("activity:\n got %+v\nwant %+v", got, want)
		}
	}
	try := func(n int, name, ip string) {
		for range n {
			c.clock.Advance(time.Second)
			c.failToSignIn(name, ip, "curl")
		}
	}
	try(3, "alice", "192.0.2.66")
	want(happening{db.SignInFailed, "192.0.2.66", "curl", "", "curl", 3})
	try(2, "Alice", "192.0.2.66")
	want(happening{db.SignInFailed, "192.0.2.66", "curl", "", "curl", 5})
	if at := c.number(`SELECT happened_at FROM activity WHERE kind = 'sign_in_failed'`); at != c.clock.Now().UnixMilli() {
		t.Errorf("the row is of %v, the last try of %v", time.UnixMilli(at), c.clock.Now())
	}
	try(1, "alice", "192.0.2.67")
	want(happening{db.SignInFailed, "192.0.2.66", "curl", "", "curl", 5}, happening{db.SignInFailed, "192.0.2.67", "curl", "", "curl", 1})
	d := c.signIn(c.alice, "curl", "192.0.2.67")
	try(1, "alice", "192.0.2.67")
	want(happening{db.SignInFailed, "192.0.2.66", "curl", "", "curl", 5}, happening{db.SignInFailed, "192.0.2.67", "curl", "", "curl", 1},
		happening{db.SignedIn, "192.0.2.67", "curl", d.ID, "curl", 1}, happening{db.SignInFailed, "192.0.2.67", "curl", "", "curl", 1})
	if n := len(c.activity(c.bob)); n != 1 {
		t.Errorf("bob has %d rows", n)
	}
}

func TestFailedSignInsOfUnknownNamesAreNotWritten(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	before := c.number(`SELECT COUNT(*) FROM activity`)
	c.failToSignIn("carol", "192.0.2.66", "curl")
	c.failToSignIn("", "192.0.2.66", "curl")
	c.flush()
	if after := c.number(`SELECT COUNT(*) FROM activity`); after != before {
		t.Errorf("activity grew from %d to %d", before, after)
	}
}

func TestFailedSignInsOfADisabledUserAreCounted(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.exec(`UPDATE users SET disabled = 1 WHERE username = 'alice'`)
	if _, err := c.Authenticate(c.ctx(), "alice", alicePassword, clientOf("192.0.2.66", "curl")); !errors.Is(err, db.ErrWrongPassword) {
		t.Fatal(err)
	}
	c.flush()
	c.wantLatest(c.alice, happening{db.SignInFailed, "192.0.2.66", "curl", "", "curl", 1})
}

func TestFailedSignInsInMemoryAreBounded(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	for i := range db.PendingFailures + 1 {
		c.NoteFailure(c.alice.ID, fmt.Sprintf("2001:db8::%x", i), "curl")
	}
	c.NoteFailure(c.alice.ID, "2001:db8::0", "curl") // already known, so it still counts
	c.flush()
	if n := c.number(`SELECT COUNT(*) FROM activity WHERE kind = 'sign_in_failed'`); n != db.PendingFailures {
		t.Errorf("%d rows", n)
	}
	if n := c.number(`SELECT count FROM activity WHERE kind = 'sign_in_failed' AND ip = '2001:db8::0'`); n != 2 {
		t.Errorf("the known address was counted %d times", n)
	}
	c.failToSignIn("alice", "192.0.2.66", "curl")
	c.flush()
	c.wantLatest(c.alice, happening{db.SignInFailed, "192.0.2.66", "curl", "", "curl", 1})
}
