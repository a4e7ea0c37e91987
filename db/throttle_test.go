package db_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"porchlight/db"
)

// throttled returns how long an error says to wait. It fails the test for any other error.
func (s *accountStore) throttled(err error) time.Duration {
	s.t.Helper()
	var throttled db.Throttled
	if !errors.As(err, &throttled) {
		s.t.Fatalf("got %v, want Throttled", err)
	}
	return throttled.RetryAfter
}

func (s *accountStore) fail(times int, name, ip string) {
	s.t.Helper()
	for i := range times {
		if err := s.try(name, accountWrong, ip); !errors.Is(err, db.ErrWrongPassword) {
			s.t.Fatalf("wrong attempt %d of %d for %q: %v", i+1, times, name, err)
		}
	}
}

// failInTens fails n times without filling the window of 15 minutes.
func (s *accountStore) failInTens(times int, name string) {
	s.t.Helper()
	for ; times > 0; times -= 10 {
		s.fail(min(times, 10), name, accountIP)
		s.clock.Advance(15 * time.Minute)
	}
}

func TestThrottleWindowSlides(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"alice", "nobody"} {
		t.Run(name, func(t *testing.T) {
			s := openAccountStore(t)
			s.add(db.NewUser{Username: "alice"})
			for range 10 { // 10:00, 10:01 … 10:09
				s.fail(1, name, accountIP)
				s.clock.Advance(time.Minute)
			}
			if wait := s.throttled(s.try(name, accountPassword, accountIP)); wait != 5*time.Minute {
				t.Errorf("at 10:10 wait %s", wait)
			}
			s.clock.Advance(5*time.Minute - time.Millisecond)
			if wait := s.throttled(s.try(name, accountPassword, accountIP)); wait != time.Millisecond {
				t.Errorf("just before 10:15 wait %s", wait)
			}
			s.clock.Advance(time.Millisecond)
			s.fail(1, name, accountIP) // the first attempt has left the window
			if wait := s.throttled(s.try(name, accountPassword, accountIP)); wait != time.Minute {
				t.Errorf("at 10:15 wait %s", wait)
			}
		})
	}
}

func TestThrottleCountsNothingWhileThrottled(t *testing.T) {
	t.Parallel()
	s := openAccountStore(t)
	s.add(db.NewUser{Username: "alice"})
	s.fail(10, "alice", accountIP)
	counted := s.rows(`SELECT hex(key), failed_at FROM attempts ORDER BY id`)
	streak := s.rows(`SELECT hex(key), failures, last_failed_at FROM consecutive_failures`)
	s.clock.Advance(14 * time.Minute)
	for range 40 { // more than an address may fail as well
		s.throttled(s.try("alice", accountWrong, accountIP))
	}
	s.wantRows(counted, `SELECT hex(key), failed_at FROM attempts ORDER BY id`)
	s.wantRows(streak, `SELECT hex(key), failures, last_failed_at FROM consecutive_failures`)
	s.wantErr(s.try("nobody", accountWrong, accountIP), db.ErrWrongPassword) // they do not throttle the address
	s.clock.Advance(time.Minute)
	s.wantErr(s.try("alice", accountPassword, accountIP), nil)
}

func TestThrottlePerAddress(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name              string
		failures          int
		from              func(i int) string
		throttled, passes []string
	}{
		{"IPv4", 30, func(int) string { return accountIP }, []string{accountIP}, []string{"203.0.113.8"}},
		{
			"IPv6 by its /48", 300, func(i int) string { return fmt.Sprintf("2001:db8:1:%x::%x", i/29, i) },
			[]string{"2001:db8:1:ffff::1", "2001:db8:1:1::1"}, []string{"2001:db8:2:1::1", "2001:db8:0:1::1", "203.0.113.8"},
		},
		{
			"IPv6 by its /64", 30, func(i int) string { return fmt.Sprintf("2001:db8:1:2:%x::%x", i, i*7) },
			[]string{"2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff"}, []string{"2001:db8:1:3::1", "2001:db8:1:1:ffff::1", "203.0.113.8"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := openAccountStore(t)
			s.add(db.NewUser{Username: "alice"})
			for i := range test.failures {
				s.fail(1, fmt.Sprintf("nobody%d", i), test.from(i))
				s.clock.Advance(time.Second)
			}
			left := 15*time.Minute - time.Duration(test.failures)*time.Second
			for _, ip := range test.throttled {
				for range 12 { // these must not count for the account
					if wait := s.throttled(s.try("alice", accountPassword, ip)); wait != left {
						t.Fatalf("%s: wait %s", ip, wait)
					}
				}
			}
			for _, ip := range test.passes {
				s.wantErr(s.try("alice", accountPassword, ip), nil)
			}
			s.clock.Advance(left)
			s.wantErr(s.try("alice", accountPassword, test.throttled[0]), nil)
		})
	}
}

func TestThrottleRefundsOnlySignIns(t *testing.T) {
	t.Parallel()
	s := openAccountStore(t)
	s.add(db.NewUser{Username: "alice"})
	s.fail(9, "alice", accountIP)
	for range 20 {
		s.wantErr(s.try("alice", accountPassword, accountIP), nil)
	}
	s.fail(1, "alice", accountIP) // earlier failures still count
	s.throttled(s.try("alice", accountPassword, accountIP))
}

func TestThrottleAfterHundredInARow(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	lets := map[string]func(s *accountStore) string{
		"passwd": func(s *accountStore) string {
			if err := s.SetPassword(ctx, db.CommandLine, "alice", accountNewPassword); err != nil {
				s.t.Fatal(err)
			}
			return accountNewPassword
		},
		"invitation": func(s *accountStore) string {
			token, _, err := s.Invite(ctx, db.CommandLine, db.NewUser{Username: "alice"})
			if err != nil {
				s.t.Fatal(err)
			}
			s.throttled(s.try("alice", accountPassword, accountIP)) // not before it is accepted
			if err := s.accept(token, accountNewPassword); err != nil {
				s.t.Fatal(err)
			}
			return accountNewPassword
		},
	}
	for name, let := range lets {
		t.Run(name, func(t *testing.T) {
			s := openAccountStore(t)
			s.add(db.NewUser{Username: "alice"})
			bob := s.add(db.NewUser{Username: "bob"})
			s.failInTens(100, "alice")
			for range 3 {
				var throttled db.Throttled
				if err := s.try("alice", accountPassword, accountIP); !errors.As(err, &throttled) ||
					throttled != (db.Throttled{RetryAfter: 15 * time.Minute, Locked: true}) {
					t.Errorf("got %#v", err)
				}
				s.throttled(s.try("Alice", accountPassword, "198.51.100.1"))
				s.clock.Advance(24 * time.Hour)
			}
			s.wantErr(s.try(bob.Username, accountPassword, accountIP), nil)
			s.reopen()
			s.throttled(s.try("alice", accountPassword, accountIP))
			password := let(s)
			s.wantErr(s.trySession("alice", password, accountIP), nil)
			s.wantRows([]string{}, `SELECT key FROM consecutive_failures`)
		})
	}
}

func TestThrottleHundredInARowOfUnknownName(t *testing.T) {
	t.Parallel()
	s := openAccountStore(t)
	s.failInTens(100, "nobody")
	s.throttled(s.try("nobody", accountWrong, accountIP))
}

func TestThrottleSuccessResetsConsecutiveFailures(t *testing.T) {
	t.Parallel()
	s := openAccountStore(t)
	s.add(db.NewUser{Username: "alice"})
	s.failInTens(99, "alice")
	s.wantErr(s.trySession("alice", accountPassword, accountIP), nil)
	s.failInTens(99, "alice")
	s.wantErr(s.trySession("alice", accountPassword, accountIP), nil)
	s.wantRows([]string{}, `SELECT failures FROM consecutive_failures`)
}

// After a hundred consecutive failures only a person can unlock the account, not time.
func TestThrottleHundredInARowIsNotForgotten(t *testing.T) {
	t.Parallel()
	s := openAccountStore(t)
	s.add(db.NewUser{Username: "alice"})
	s.failInTens(100, "alice")
	s.clock.Advance(366 * 24 * time.Hour)
	if err := s.Sweep(context.Background(), s.clock.Now()); err != nil {
		t.Fatal(err)
	}
	s.throttled(s.try("alice", accountPassword, accountIP))
}

func TestThrottleIsKeptInTheDatabase(t *testing.T) {
	t.Parallel()
	s := openAccountStore(t)
	s.add(db.NewUser{Username: "alice"})
	s.fail(10, "alice", accountIP)
	s.reopen()
	if wait := s.throttled(s.try("alice", accountPassword, "198.51.100.1")); wait != 15*time.Minute {
		t.Errorf("wait %s", wait)
	}
	for i := range 20 {
		s.fail(1, fmt.Sprintf("nobody%d", i), accountIP)
	}
	s.reopen()
	s.throttled(s.try("nobody", accountWrong, accountIP))
}

func TestPasswdForgetsAttempts(t *testing.T) {
	t.Parallel()
	s := openAccountStore(t)
	s.add(db.NewUser{Username: "alice"})
	s.fail(10, "alice", accountIP)
	if err := s.SetPassword(context.Background(), db.CommandLine, "alice", accountNewPassword); err != nil {
		t.Fatal(err)
	}
	s.wantErr(s.try("alice", accountNewPassword, accountIP), nil)
}

func TestThrottleWithClockSetBack(t *testing.T) {
	t.Parallel()
	for name, step := range map[string]time.Duration{"an hour": time.Hour, "a year": 365 * 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			s := openAccountStore(t)
			s.add(db.NewUser{Username: "alice"})
			s.fail(10, "alice", accountIP)
			for i := range 20 {
				s.fail(1, fmt.Sprintf("nobody%d", i), accountIP)
			}
			s.throttled(s.try("alice", accountPassword, accountIP))
			s.clock.Advance(-step)
			s.wantErr(s.try("alice", accountPassword, accountIP), nil)
			s.fail(10, "alice", accountIP) // it counts again
			if wait := s.throttled(s.try("alice", accountPassword, accountIP)); wait != 15*time.Minute {
				t.Errorf("wait %s", wait)
			}
			s.clock.Advance(step) // back to the right time: never longer than the window
			if wait := s.throttled(s.try("alice", accountPassword, accountIP)); wait > 15*time.Minute {
				t.Errorf("wait %s", wait)
			}
			s.clock.Advance(15 * time.Minute)
			s.wantErr(s.try("alice", accountPassword, accountIP), nil)
		})
	}
}

// People type passwords into the name field by mistake.
func TestThrottleKeepsNoNames(t *testing.T) {
	t.Parallel()
	s := openAccountStore(t)
	s.add(db.NewUser{Username: "alice"})
	typed := "Typed My Secret Here"
	s.fail(10, typed, accountIP)
	s.throttled(s.try(typed, accountWrong, accountIP))
	if err := s.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	s.wantRows([]string{"32"}, `SELECT DISTINCT length(key) FROM attempts`)
	s.wantRows([]string{"32"}, `SELECT DISTINCT length(key) FROM consecutive_failures`)
	for _, file := range []string{s.options.Path, s.options.Path + "-wal"} {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(strings.ToLower(string(content)), strings.ToLower(typed)) {
			t.Errorf("%s holds what was typed for a name", file)
		}
	}
}

func TestSweepAttempts(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := openAccountStore(t)
	s.add(db.NewUser{Username: "alice"})
	s.fail(10, "alice", accountIP)
	s.clock.Advance(15*time.Minute - time.Millisecond)
	s.fail(1, "nobody", accountIP)
	if err := s.Sweep(ctx, s.clock.Now()); err != nil {
		t.Fatal(err)
	}
	s.wantRows([]string{"33"}, `SELECT COUNT(*) FROM attempts`)
	s.throttled(s.try("alice", accountPassword, accountIP))
	s.clock.Advance(45*time.Minute + time.Millisecond) // sign-ups in the same table count for an hour
	if err := s.Sweep(ctx, s.clock.Now()); err != nil {
		t.Fatal(err)
	}
	s.wantRows([]string{"3"}, `SELECT COUNT(*) FROM attempts`)
	s.wantRows([]string{"1", "1", "10", "10"}, `SELECT failures FROM consecutive_failures ORDER BY failures`)
	s.clock.Advance(31 * 24 * time.Hour)
	if err := s.Sweep(ctx, s.clock.Now()); err != nil {
		t.Fatal(err)
	}
	s.wantRows([]string{}, `SELECT key FROM attempts`)
	s.wantRows([]string{}, `SELECT key FROM consecutive_failures`) // unused names do not accumulate
}

// A username may look like an IP address. The two are counted separately.
func TestThrottleAccountNamedLikeAnAddress(t *testing.T) {
	t.Parallel()
	s := openAccountStore(t)
	s.fail(10, accountIP, accountIP)
	s.throttled(s.try(accountIP, accountWrong, "198.51.100.1"))
	s.wantErr(s.try("nobody", accountWrong, accountIP), db.ErrWrongPassword)
}
