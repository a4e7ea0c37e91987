package db_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"porchlight/db"
)

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

func awaits(t *testing.T, changed <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-changed:
	case <-time.After(patience):
		t.Fatalf("%s wakes nobody", what)
	}
}

// quiet checks that nobody was woken, after another subscriber was: changes are handed out in one go.
func quiet(t *testing.T, changed <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-changed:
		t.Errorf("%s wakes somebody else", what)
	default:
	}
}

func drain(changed <-chan struct{}) {
	select {
	case <-changed:
	default:
	}
}

// Every change that a list can show wakes the followers of its user and of nobody else, whether it is made here or by another process.
func TestSubscribe(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	other, err := db.Open(c.ctx(), db.Options{Path: c.options.Path, HashCost: c.options.HashCost, Now: c.clock.Now}) // as a command does
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { other.Close() })
	alice, cancelAlice := c.Subscribe(c.alice.ID)
	defer cancelAlice()
	bob, cancelBob := c.Subscribe(c.bob.ID)
	defer cancelBob()
	for _, change := range []struct {
		what string
		do   func() error
	}{
		{"a sign-in", func() error { c.signIn(c.alice, "curl", "192.0.2.1"); return nil }},
		{"a new name", func() error { return c.Rename(c.ctx(), c.phone.Session, c.laptop.ID, "Kitchen tablet") }},
		{"the same again", func() error { return c.Rename(c.ctx(), c.phone.Session, c.laptop.ID, "Kitchen tablet") }},
		{"a change of address", func() error { c.useFrom(c.phone, from("203.0.113.9", c.phone.DetectedName)); return nil }},
		{"activity", func() error { c.clock.Advance(2 * time.Minute); c.Touch(c.alive(c.phone)); c.flush(); return nil }},
		{"use of an app", func() error {
			c.clock.Advance(2 * time.Minute)
			c.UseApp(c.authorize(c.phone, notes), false)
			c.flush()
			return nil
		}},
		{"a revocation", func() error { _, err := c.Revoke(c.ctx(), c.phone.Session, c.laptop.ID); return err }},
		{"a command in another process", func() error { _, err := other.RevokeUser(c.ctx(), db.CommandLine, "alice"); return err }},
	} {
		if err := change.do(); err != nil {
			t.Fatal(change.what, err)
		}
		awaits(t, alice, change.what)
		quiet(t, bob, change.what)
		// A change can be two commits. When bob is woken by a later one, all of alice's have been handed out.
		if err := c.Rename(c.ctx(), c.desk.Session, c.desk.ID, change.what); err != nil {
			t.Fatal(err)
		}
		awaits(t, bob, "bob's own change")
		drain(alice)
	}
	if err := other.DeleteUser(c.ctx(), db.CommandLine, "bob", false); err != nil {
		t.Fatal(err)
	}
	awaits(t, bob, "the deletion of the account")
	c.signIn(c.alice, "curl", "192.0.2.2")
	awaits(t, alice, "a sign-in after a deletion")
	cancelBob()
	cancelAlice()
	c.signIn(c.alice, "curl", "192.0.2.1")
	quiet(t, alice, "a change after cancel")
}

// A repeated entry leaves a gap in the ids, like a deleted account. It wakes only its own user.
func TestRepeatsWakeNobodyElse(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	alice, cancelAlice := c.Subscribe(c.alice.ID)
	defer cancelAlice()
	bob, cancelBob := c.Subscribe(c.bob.ID)
	defer cancelBob()
	insert := `INSERT INTO activity (user_id, kind, happened_at, count) SELECT id, 'exported', 1, 1 FROM users WHERE username = 'alice';`
	c.exec(`BEGIN IMMEDIATE; ` + insert + `DELETE FROM activity WHERE kind = 'exported';` + insert + `COMMIT`)
	awaits(t, alice, "a repeated entry")
	c.exec(insert)
	awaits(t, alice, "a new entry") // now the first change has been handed out to everybody
	quiet(t, bob, "a repeated entry")
}

// Streams come and go while others are woken. Those that stay are still woken afterwards.
func TestSubscribeWhileOthersAreWoken(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 200 {
				_, cancelAlice := c.Subscribe(c.alice.ID)
				_, cancelBob := c.Subscribe(c.bob.ID)
				cancelAlice()
				cancelBob()
			}
		})
	}
	all.Go(func() {
		for i := range 100 {
			if err := c.Rename(c.ctx(), c.phone.Session, c.laptop.ID, fmt.Sprint("Tablet ", i)); err != nil {
				t.Error(err)
			}
		}
	})
	all.Wait()
	alice, cancel := c.Subscribe(c.alice.ID)
	defer cancel()
	if err := c.Rename(c.ctx(), c.phone.Session, c.laptop.ID, "Kitchen"); err != nil {
		t.Fatal(err)
	}
	awaits(t, alice, "a new name")
}

func TestFollow(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	disk, err := sql.Open("sqlite3", "file:"+c.options.Path+"?_busy_timeout=5000") // another program
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	ctx, cancel := context.WithCancel(t.Context())
	reads := 0
	err = c.Follow(ctx, func() error {
		switch reads++; reads {
		case 1:
			_, err := disk.Exec(`UPDATE limits SET id = id`)
			return err
		case 2:
			return c.Rename(c.ctx(), c.phone.Session, c.laptop.ID, "Kitchen tablet")
		case 3:
			return db.ErrUnavailable // Follow retries
		}
		cancel()
		return nil
	})
	if !errors.Is(err, context.Canceled) || reads != 4 {
		t.Errorf("read %d times: %v", reads, err)
	}
	broken := errors.New("broken")
	if err := c.Follow(t.Context(), func() error { return broken }); !errors.Is(err, broken) {
		t.Errorf("a read that fails: %v", err)
	}
}

func TestNextExpiry(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	kiosk := c.signIn(c.alice, "Firefox on Linux", "192.0.2.1", shared)
	for _, want := range []time.Time{kiosk.ExpiresAt, c.laptop.ExpiresAt, c.phone.ExpiresAt, {}} {
		if got, err := c.NextExpiry(c.alice.ID); err != nil || !got.Equal(want) {
			t.Errorf("next is %v, %v, want %v", got, err, want)
		}
		c.clock.Advance(want.Sub(c.clock.Now()))
	}
}
