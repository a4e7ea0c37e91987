package db_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"porchlight/db"
)

// This file tests resets of a forgotten password.

func TestResetPassword(t *testing.T) {
	t.Parallel()
	c := openMailCast(t)
	token := c.resetLink()
	if _, err := c.ResetPassword(c.ctx(), token, "short", somewhere); !errors.As(err, new(db.Invalid)) {
		t.Errorf("a bad password: %v", err)
	}
	c.alive(c.laptop)
	c.exec(`INSERT INTO consecutive_failures (key, failures, last_failed_at) SELECT randomblob(32), 1, 0`) // of somebody else
	c.emptyOutbox()
	user, err := c.ResetPassword(c.ctx(), token, newPassword, somewhere)
	if err != nil || user.Username != "alice" {
		t.Fatal(user, err)
	}
	c.wantEnded(c.laptop, c.phone)
	c.alive(c.desk)
	c.wantWaiting("reset", everyWayTo(db.PasswordReset, 1)...)
	c.signIn(user, "curl", somewhere.IP)
	c.must(c.passwordAlone("alice", newPassword))
	if got := c.activity(c.alice); !slices.Contains(got, happening{
		Kind: db.PasswordReset, IP: somewhere.IP, DeviceName: somewhere.DeviceName, By: somewhere.DeviceName, Count: 1}) {
		t.Errorf("the reset was not recorded: %+v", got)
	}
}

// A reset lets an account in that was locked after a hundred failures.
func TestResetUnlocksTheAccount(t *testing.T) {
	t.Parallel()
	c := openMailCast(t)
	for range 100 {
		c.clock.Advance(2 * time.Minute)
		c.Authenticate(c.ctx(), "alice", bobPassword, clientOf(fmt.Sprintf("203.0.113.%d", c.clock.Now().Unix()%200), "curl"))
	}
	c.clock.Advance(time.Hour)
	if _, err := c.Authenticate(c.ctx(), "alice", alicePassword, somewhere); !errors.As(err, new(db.Throttled)) {
		t.Fatalf("not locked: %v", err)
	}
	if _, err := c.ResetPassword(c.ctx(), c.resetLink(), newPassword, somewhere); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Authenticate(c.ctx(), "alice", newPassword, somewhere); err != nil {
		t.Error(err)
	}
}

// A request for a link reveals nothing about the name: every request succeeds and writes as many rows, but only a user with an address
// gets a mail.
func TestResetRequestsAreAllAlike(t *testing.T) {
	t.Parallel()
	c := openMailCast(t)
	carol := c.addUser("carol", newPassword)
	c.exec(`UPDATE users SET email = 'carol@example.com', disabled = 1 WHERE id = $1`, carol.ID)
	rows := func() string {
		return fmt.Sprint(c.number(`SELECT COUNT(*) FROM attempts`), c.number(`SELECT COUNT(*) FROM outbox`))
	}
	for i, name := range []string{"alice", "ALICE@example.com ", "bob", "carol", "carol@example.com", "nobody",
		"nobody@example.com", "", "alice", "alice", "nobody", "nobody", "nobody", "\x00\xff' OR 1=1"} {
		want := fmt.Sprint(2*(i+1), i+1)
		if err := c.RequestReset(c.ctx(), name, clientOf(fmt.Sprintf("203.0.113.%d", i), "curl")); err != nil {
			t.Errorf("%q: %v", name, err)
		}
		if got := rows(); got != want {
			t.Errorf("after %q there are %s attempts and messages, want %s", name, got, want)
		}
	}
	c.wantWaiting("only alice, three times", slices.Repeat([]string{"mail " + aliceEmail + " reset_link 1"}, 3)...)
	if got := c.claim(db.Mail); len(got) != 3 || c.number(`SELECT COUNT(*) FROM outbox`) != 3 {
		t.Errorf("messages to nobody are left: %+v", got)
	}
}

// An account gets at most three links an hour, however many are requested.
func TestResetRequestsAreLimited(t *testing.T) {
	t.Parallel()
	c := openMailCast(t)
	sent := 0
	for minute := range 180 {
		if err := c.RequestReset(c.ctx(), "alice", clientOf(fmt.Sprintf("203.0.113.%d", minute), "curl")); err != nil {
			t.Fatal(err)
		}
		for _, m := range c.claim(db.Mail) {
			sent++
			if err := c.Delivered(c.ctx(), m); err != nil {
				t.Fatal(err)
			}
		}
		c.clock.Advance(time.Minute)
	}
	if sent != 9 {
		t.Errorf("%d links in three hours", sent)
	}
	for range 20 {
		if err := c.RequestReset(c.ctx(), "bob", somewhere); err != nil {
			t.Fatal(err)
		}
	}
	attempts := c.number(`SELECT COUNT(*) FROM attempts`)
	for _, name := range []string{"bob", "alice", "nobody"} {
		if err := c.RequestReset(c.ctx(), name, somewhere); !errors.As(err, new(db.Throttled)) {
			t.Errorf("the 21st request of an address, for %s: %v", name, err)
		}
	}
	if n := c.number(`SELECT COUNT(*) FROM attempts`); n != attempts {
		t.Error("a request that was refused was written")
	}
}
