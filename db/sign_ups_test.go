package db_test

import (
	"errors"
	"fmt"
	"maps"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"porchlight/db"
)

// This file tests how many accounts one address may create for itself.

func (h *house) signUp(username, ip string) error {
	_, err := h.CreateUser(h.ctx(), db.NewUser{Username: username, Password: newPassword, SignUp: true, IP: ip})
	return err
}

// Strangers from many addresses cannot fill the disk. Approving or deleting somebody makes room.
func TestAThousandAccountsWaitForApproval(t *testing.T) {
	t.Parallel()
	h := openHouse(t)
	h.addUser("alice", newPassword)
	h.exec(`
		WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 999)
		INSERT INTO users (username, password_hash, approved, created_at) SELECT 'stranger' || i, '', 0, 0 FROM n`)
	if err := h.signUp("carol", "192.0.2.1"); err != nil {
		t.Fatal("the last:", err)
	}
	for range 2 {
		if err := h.signUp("dave", "192.0.2.2"); !errors.Is(err, db.ErrSignUpsFull) {
			t.Fatal("one too many:", err)
		}
	}
	h.addUser("erin", newPassword) // by command
	if err := h.ChangeUser(h.ctx(), db.CommandLine, "carol", db.UserChange{Approve: true}); err != nil {
		t.Fatal(err)
	}
	if err := h.signUp("dave", "192.0.2.2"); err != nil {
		t.Error("after one was approved:", err)
	}
	if err := h.DeleteUser(h.ctx(), db.CommandLine, "stranger1", false); err != nil {
		t.Fatal(err)
	}
	if err := h.signUp("frank", "192.0.2.2"); err != nil {
		t.Error("after one was deleted:", err)
	}
}

func TestAnAddressCreatesTenAccountsAnHour(t *testing.T) {
	t.Parallel()
	for first, same := range map[string]string{"192.0.2.7": "192.0.2.7", "2001:db8:1:2::1": "2001:db8:1:2:ffff::2"} {
		h := openHouse(t)
		for i := range 10 {
			if invalid := h.wantInvalid(db.NewUser{Username: "carol", Password: "short", SignUp: true, IP: first}); len(invalid) != 1 { // does not count
				t.Fatal(invalid)
			}
			if err := h.signUp(fmt.Sprintf("user%d", i), first); err != nil {
				t.Fatal(err)
			}
			h.clock.Advance(time.Minute)
		}
		for range 3 {
			err := h.signUp("carol", same)
			if throttled, ok := errors.AsType[db.Throttled](err); !ok || throttled.RetryAfter != 50*time.Minute {
				t.Errorf("the eleventh from %s: %v", same, err)
			}
		}
		if err := h.signUp("dan", "2001:db8:1:3::1"); err != nil {
			t.Error("another network:", err)
		}
		h.addUser("erin", newPassword) // by command
		h.reopen()
		h.clock.Advance(50*time.Minute - time.Millisecond)
		if err := h.Sweep(h.ctx(), h.clock.Now()); err != nil {
			t.Fatal(err)
		}
		if err := h.signUp("carol", same); err == nil {
			t.Error("accepted a millisecond too early")
		}
		h.clock.Advance(time.Millisecond)
		if err := h.signUp("carol", same); err != nil {
			t.Error("after an hour:", err)
		}
		if err := h.signUp("frank", same); err == nil {
			t.Error("only the first of the ten has left the window")
		}
		h.clock.Advance(time.Hour)
		if err := h.Sweep(h.ctx(), h.clock.Now()); err != nil {
			t.Fatal(err)
		}
		if n := h.number(`SELECT COUNT(*) FROM attempts`); n != 0 {
			t.Errorf("%d rows are left after the sweep", n)
		}
	}
}

// Somebody with an IPv6 site has 65,536 networks.
func TestASiteCreatesAHundredAccountsAnHour(t *testing.T) {
	t.Parallel()
	h := openHouse(t)
	for i := range 100 {
		if err := h.signUp(fmt.Sprintf("user%d", i), fmt.Sprintf("2001:db8:1:%x::1", i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.signUp("carol", "2001:db8:1:ffff::1"); !errors.As(err, new(db.Throttled)) {
		t.Errorf("another network of the site: %v", err)
	}
	if err := h.signUp("carol", "2001:db8:2::1"); err != nil {
		t.Errorf("another site: %v", err)
	}
}

// The invited person gets the name, not a stranger who guesses it.
func TestSignUpWithTheNameOfAnInvitation(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	token, _, err := c.Invite(c.ctx(), db.CommandLine, db.NewUser{Username: "dan", Groups: []string{"family"}})
	if err != nil {
		t.Fatal(err)
	}
	taken := c.wantInvalid(db.NewUser{Username: "bob", Password: newPassword, SignUp: true})
	if got := c.wantInvalid(db.NewUser{Username: "Dan", Password: newPassword, SignUp: true}); got["username"] == "" || !maps.Equal(got, taken) {
		t.Errorf("%v, want %v", got, taken)
	}
	if _, _, err := c.AcceptInvitation(c.ctx(), token, newPassword, clientOf("192.0.2.1", "curl")); err != nil {
		t.Error(err)
	}
	if _, _, err := c.Invite(c.ctx(), db.CommandLine, db.NewUser{Username: "erin"}); err != nil {
		t.Fatal(err)
	}
	c.addUser("erin", newPassword) // an administrator may change their mind
	if _, _, err := c.Invite(c.ctx(), db.CommandLine, db.NewUser{Username: "frank"}); err != nil {
		t.Fatal(err)
	}
	c.clock.Advance(db.InvitationLifetime)
	if err := c.signUp("frank", "192.0.2.7"); err != nil {
		t.Errorf("the invitation has expired: %v", err)
	}
}

func TestAdministratorsAreAlertedOfSignUps(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		before func(c *cast)
		want   []string
	}{
		"alice": {func(*cast) {}, everyWayTo(db.UserWaiting, 1)},
		"both": {func(c *cast) { c.exec(`UPDATE users SET is_admin = 1`) },
			append(everyWayTo(db.UserWaiting, 1), "webhook user_waiting 1")},
		"none who can sign in": {func(c *cast) { c.exec(`UPDATE users SET disabled = 1 WHERE is_admin = 1`) }, nil},
		"switched off": {func(c *cast) {
			settings := db.AlertSettings{Mail: true, Topic: aliceTopic, Off: []string{db.UserWaiting}}
			if err := c.SetAlertSettings(c.ctx(), c.laptop.Session, settings); err != nil {
				c.t.Fatal(err)
			}
		}, []string{"webhook user_waiting 1"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := openMailCast(t)
			test.before(c)
			c.addUser("dan", newPassword) // by command, so nobody waits
			if err := c.signUp("dan", "192.0.2.7"); err == nil {
				t.Error("signed up with a taken name")
			}
			c.wantWaiting("before")
			if err := c.signUp("carol", "192.0.2.7"); err != nil {
				t.Fatal(err)
			}
			c.wantWaiting("after", test.want...)
		})
	}
}

// A client with many addresses fills neither the outbox nor a mailbox.
func TestManySignUpsAreOneAlert(t *testing.T) {
	t.Parallel()
	c := openMailCast(t)
	signUp := func(from, to int) {
		t.Helper()
		for i := from; i < to; i++ {
			if err := c.signUp(fmt.Sprintf("user%d", i), fmt.Sprintf("10.0.%d.1", i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	signUp(0, 1)
	first := c.onlyMail()
	if first.Count != 1 || first.By != "user0" || first.IP != "10.0.0.1" || first.Username != "alice" || first.Token != "" {
		t.Errorf("the mail is %+v", first)
	}
	signUp(1, 200) // the first is being sent
	if n := c.number(`SELECT COUNT(*) FROM outbox`); n != 4 {
		t.Errorf("%d messages wait, want 2 mails, 1 for ntfy and 1 for the webhook", n)
	}
	if err := c.Delivered(c.ctx(), first); err != nil {
		t.Fatal(err)
	}
	c.clock.Advance(time.Hour - time.Millisecond)
	if due := c.claim(db.Mail); len(due) > 0 {
		t.Errorf("within the hour: %+v", due)
	}
	c.clock.Advance(time.Millisecond)
	if sum := c.onlyMail(); sum.Count != 199 || sum.By != "user199" {
		t.Errorf("the sum: %+v", sum)
	}
}

func TestOfTwentySignUpsAtOnceTenSucceed(t *testing.T) {
	t.Parallel()
	h := openHouse(t)
	var created atomic.Int32
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			if err := h.signUp(fmt.Sprintf("user%d", i), "192.0.2.7"); err == nil {
				created.Add(1)
			}
		})
	}
	all.Wait()
	if n := h.number(`SELECT COUNT(*) FROM users`); n != 10 || created.Load() != 10 {
		t.Errorf("%d accounts, %d successes", n, created.Load())
	}
}

// Refused sign-ups cost neither a hash nor a write.
func TestRefusedSignUpWritesNothing(t *testing.T) {
	t.Parallel()
	h := openHouse(t)
	for i := range 10 {
		if err := h.signUp(fmt.Sprintf("user%d", i), "192.0.2.7"); err != nil {
			t.Fatal(err)
		}
	}
	free := make(chan struct{})
	defer close(free)
	for range db.HashingInAll { // no slot is free for a hash
		go h.Hash(h.ctx(), func() { <-free })
	}
	for h.Hashing() < db.HashingInAll {
		runtime.Gosched()
	}
	version := h.number(`PRAGMA data_version`)
	for range 5 {
		if err := h.signUp("carol", "192.0.2.7"); !errors.As(err, new(db.Throttled)) {
			t.Errorf("it needed a hash, or was accepted: %v", err)
		}
	}
	if now := h.number(`PRAGMA data_version`); now != version {
		t.Error("a refused sign-up was written down")
	}
}
