package db_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"

	"porchlight/db"
	"porchlight/db/dbtest"
)

// This file tests how passwords are hashed, and how many at once.

func TestPasswordHashIsArgon2id(t *testing.T) {
	t.Parallel()
	h := openHouse(t)
	h.addUser("alice", alicePassword)
	h.addUser("twin", alicePassword)
	hashes := h.texts(`SELECT password_hash FROM users`)
	for _, hash := range hashes {
		if !regexp.MustCompile(`^\$argon2id\$v=19\$m=8,t=1,p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$`).MatchString(hash) {
			t.Errorf("stored: %s", hash)
		}
	}
	if hashes[0] == hashes[1] {
		t.Error("two accounts share a salt")
	}
	if cost := db.DefaultHashCost; cost.Memory < 19*1024 || cost.Time < 2 {
		t.Errorf("by default a hash costs %+v", cost)
	}
}

func TestPasswordIsHashedAgainWhenTheCostGrows(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		cost  db.HashCost
		grows bool
	}{
		{"more memory", db.HashCost{Memory: 16, Time: 1}, true},
		{"more passes", db.HashCost{Memory: 8, Time: 2}, true},
		{"the same", dbtest.HashCost, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := openCast(t)
			stored := func() string { return c.text(`SELECT password_hash FROM users WHERE username = 'alice'`) }
			before := stored()
			c.reopen(func(o *db.Options) { o.HashCost = test.cost })
			c.failToSignIn("alice", "192.0.2.66", "curl")
			if stored() != before {
				t.Error("a wrong password changed the hash")
			}
			alice, err := c.Authenticate(c.ctx(), "alice", alicePassword, db.Client{})
			if err != nil {
				t.Fatal(err)
			}
			after := stored()
			if cost := fmt.Sprintf("$m=%d,t=%d,p=1$", test.cost.Memory, test.cost.Time); (after != before) != test.grows ||
				!strings.Contains(after, cost) {
				t.Errorf("the hash was %s, is %s", before, after)
			}
			c.alive(c.signIn(alice, "curl", "192.0.2.13"))
			if _, err := c.Authenticate(c.ctx(), "alice", alicePassword, db.Client{}); err != nil {
				t.Error(err)
			}
			if again := stored(); again != after {
				t.Error("it is hashed again each time")
			}
			c.alive(c.laptop)
		})
	}
}

// Two browsers, or two tabs of one, with the right password.
func TestTwoSignInsAtOnceWhenTheCostGrows(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.reopen(func(o *db.Options) { o.HashCost = db.HashCost{Memory: 16, Time: 1} })
	arrived, release := c.holdWriter()
	users, errs := make([]db.User, 2), make([]error, 2)
	var both sync.WaitGroup
	for i := range users {
		both.Go(func() { users[i], errs[i] = c.Authenticate(c.ctx(), "alice", alicePassword, db.Client{}) })
	}
	arrived(2)
	release()
	both.Wait()
	for i := range users {
		if errs[i] != nil {
			t.Fatal(errs[i])
		}
		if _, _, err := c.SignIn(c.ctx(), users[i], onCurl); err != nil {
			t.Error("the right password:", err)
		}
	}
}

func TestACorruptHashMatchesNothing(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	for _, hash := range []string{
		"x", "$", "$$$$$", alicePassword, "$2a$10$abcdefghijklmnopqrstuv",
		"$argon2i$v=19$m=8,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
		"$argon2id$v=19$m=8,t=1,p=1$!$AAAA", "$argon2id$v=19$m=8,t=1,p=1$AAAA$!", "$argon2id$v=19$m=8,t=1,p=1$$",
		"$argon2id$v=19$m=8,t=1,p=1$AAAA$",
		"$argon2id$v=19$m=x,t=1,p=1$AAAA$AAAA", "$argon2id$v=19$m=-8,t=1,p=1$AAAA$AAAA", "$argon2id$v=19$m=0,t=0,p=1$AAAA$AAAA",
		"$argon2id$v=19$m=8,t=0,p=1$AAAA$AAAA",
		"$argon2id$v=19$m=8,t=1,p=0$AAAA$AAAA",
	} {
		c.exec(`UPDATE users SET password_hash = $1 WHERE username = 'alice'`, hash)
		for _, password := range []string{alicePassword, ""} {
			func() {
				defer func() {
					if r := recover(); r != nil {
						t.Errorf("%s: panic: %v", hash, r)
					}
				}()
				if _, err := c.Authenticate(c.ctx(), "alice", password, db.Client{}); err == nil {
					t.Errorf("%s: passed", hash)
				}
			}()
		}
	}
	if _, err := c.Authenticate(c.ctx(), "bob", bobPassword, db.Client{}); err != nil {
		t.Error("bob, whose hash is whole:", err)
	}
}

func TestHashingIsBounded(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	var all sync.WaitGroup
	done := make(chan struct{})
	for range db.HashingInAll {
		all.Go(func() {
			if err := c.Hash(c.ctx(), func() { <-done }); err != nil {
				t.Error("within the queue:", err)
			}
		})
	}
	for c.Hashing() < db.HashingInAll {
		runtime.Gosched()
	}
	if db.HashingInAll != 66 {
		t.Errorf("%d at once", db.HashingInAll)
	}
	impatient, cancel := context.WithCancel(c.ctx())
	cancel()
	if err := c.Hash(impatient, func() {}); !errors.Is(err, db.ErrBusy) {
		close(done)
		t.Fatalf("one more may wait: %v", err)
	}
	for _, username := range []string{"alice", "nobody"} { // both are hashed, or the time would reveal which exists
		if _, err := c.Authenticate(c.ctx(), username, alicePassword, db.Client{}); !errors.Is(err, db.ErrBusy) {
			t.Errorf("%s, beyond the queue: %v", username, err)
		}
	}
	if _, err := c.CreateUser(c.ctx(), db.NewUser{Username: "carol", Password: newPassword}); !errors.Is(err, db.ErrBusy) {
		t.Error("a new account:", err)
	}
	if _, err := c.changePassword(c.laptop.Session, alicePassword, newPassword, true); !errors.Is(err, db.ErrBusy) {
		t.Error("a new password:", err)
	}
	close(done)
	all.Wait()
	if _, err := c.Authenticate(c.ctx(), "alice", alicePassword, db.Client{}); err != nil {
		t.Error("once they are done:", err)
	}
	c.alive(c.phone)
}

func TestHashingTwoAtOnce(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	var now, most int
	var mu sync.Mutex
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			c.Hash(c.ctx(), func() {
				mu.Lock()
				now++
				most = max(most, now)
				mu.Unlock()
				for range 100 {
					runtime.Gosched()
				}
				mu.Lock()
				now--
				mu.Unlock()
			})
		})
	}
	all.Wait()
	if most > 2 {
		t.Errorf("%d at once", most)
	}
}
