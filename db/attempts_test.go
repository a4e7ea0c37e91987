package db_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"porchlight/db"
	"porchlight/db/dbtest"
)

// This file tests what attempts write, and attempts at the same time.

func TestThrottleCountsOnlyFailures(t *testing.T) {
	t.Parallel()
	for name, given := range map[string]error{
		"right": nil, "busy": db.ErrBusy, "unavailable": fmt.Errorf("%w: locked", db.ErrUnavailable),
		"another error": errors.New("something else"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openAccountStore(t)
			s.add(db.NewUser{Username: "alice"})
			s.fail(9, "alice", accountIP)
			written := s.dataVersion()
			for range 35 {
				ran := false
				err := s.CheckSecret(context.Background(), accountIP, func() error {
					ran = true
					return given
				})
				if !errors.Is(err, given) || !ran {
					t.Fatalf("got %v, want %v", err, given)
				}
			}
			if written() {
				t.Error("attempts that did not fail were written")
			}
			s.fail(1, "alice", accountIP)
			s.throttled(s.try("alice", accountPassword, accountIP))
		})
	}
}

// dataVersion returns a function that reports whether anything was committed since the last call.
func (s *accountStore) dataVersion() (written func() bool) {
	s.t.Helper()
	pool, err := sql.Open("sqlite3", "file:"+s.options.Path+"?mode=ro")
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { pool.Close() })
	pool.SetMaxOpenConns(1) // each connection has its own version
	version := func() (v int) {
		if err := pool.QueryRow(`PRAGMA data_version`).Scan(&v); err != nil {
			s.t.Fatal(err)
		}
		return v
	}
	before := version()
	return func() bool { return version() != before }
}

// Refused attempts must write nothing, or a flood of them would keep the disk busy.
func TestThrottleRefusalsWriteNothing(t *testing.T) {
	t.Parallel()
	s := openAccountStore(t)
	alice := s.add(db.NewUser{Username: "alice"})
	_, session := s.signIn(alice, "Firefox on Linux")
	s.fail(10, "alice", accountIP)
	for i := range 20 {
		s.fail(1, fmt.Sprintf("nobody%d", i), accountIP)
	}
	for range 10 {
		s.wantErr(s.DeleteAccount(context.Background(), session, db.Client{IP: accountIP}, accountWrong), db.ErrWrongPassword)
	}
	if err := s.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	written := s.dataVersion()
	for name, err := range map[string]error{
		"by account": s.try("alice", accountWrong, "198.51.100.1"), "by address": s.try("bob", accountWrong, accountIP),
		"right password": s.try("alice", accountPassword, accountIP),
		"by session":     s.DeleteAccount(context.Background(), session, db.Client{IP: accountIP}, accountPassword),
	} {
		var throttled db.Throttled
		if !errors.As(err, &throttled) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := s.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	if written() {
		t.Error("a refused attempt was written")
	}
	s.wantErr(s.try("bob", accountWrong, "198.51.100.1"), db.ErrWrongPassword)
	if !written() {
		t.Error("a failure was not written") // otherwise the check above could not fail
	}
}

// manyAtOnce runs n attempts at once, and counts the results.
func (s *accountStore) manyAtOnce(n int, attempt func(i int) error) (right, wrong, throttled, other int) {
	var mu sync.Mutex
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			err := attempt(i)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				right++
			case errors.Is(err, db.ErrWrongPassword):
				wrong++
			case errors.As(err, new(db.Throttled)):
				throttled++
			default:
				other++
			}
		})
	}
	all.Wait()
	return right, wrong, throttled, other
}

func TestOfFiftyGuessesAtOnceTenAreChecked(t *testing.T) {
	t.Parallel()
	s := openAccountStore(t)
	s.add(db.NewUser{Username: "alice", Email: "ada@example.com"})
	right, wrong, throttled, other := s.manyAtOnce(50, func(i int) error {
		return s.try("alice", accountWrong, fmt.Sprintf("192.0.2.%d", i))
	})
	if right != 0 || wrong != 10 || throttled != 40 || other != 0 {
		t.Errorf("%d right, %d wrong, %d throttled, %d others", right, wrong, throttled, other)
	}
}

// While the tenth guess by the username is being checked, the right password arrives with the e-mail address.
func TestGuessesByTwoNamesAtOnce(t *testing.T) {
	t.Parallel()
	s := openAccountStore(t)
	s.add(db.NewUser{Username: "alice", Email: "ada@example.com"})
	s.fail(9, "alice", accountIP)
	var all sync.WaitGroup
	free := make(chan bool)
	queued := func(n int, work func()) {
		all.Go(work)
		for s.Hashing() < n {
			runtime.Gosched()
		}
	}
	for i := range 2 {
		queued(i+1, func() { s.Hash(context.Background(), func() { <-free }) })
	}
	var tenth, eleventh error
	queued(3, func() { tenth = s.try("alice", accountWrong, accountIP) })
	queued(4, func() { eleventh = s.try("ada@example.com", accountPassword, accountIP) })
	close(free)
	all.Wait()
	s.wantErr(tenth, db.ErrWrongPassword)
	s.wantErr(eleventh, db.ErrWrongPassword)
}

// If attempts that are being checked would use up the limit, further attempts wait and are not refused.
func TestFortyPeopleBehindOneAddress(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		checking int // at once, of 40; the others wait
		username func(i int) string
	}{
		"forty people": {30, func(i int) string { return fmt.Sprintf("user%d", i) }},
		"one person":   {10, func(int) string { return "user1" }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openAccountStore(t)
			for i := range 40 {
				s.add(db.NewUser{Username: fmt.Sprintf("user%d", i)})
			}
			free := make(chan bool)
			for range 2 {
				go s.Hash(context.Background(), func() { <-free })
			}
			for s.Hashing() < 2 {
				runtime.Gosched()
			}
			go func() {
				defer close(free)
				for s.Hashing() < 2+test.checking || s.AttemptsThatWait() < 40-test.checking {
					if t.Failed() {
						return
					}
					runtime.Gosched()
				}
			}()
			right, wrong, throttled, other := s.manyAtOnce(40, func(i int) error {
				err := s.try(test.username(i), accountPassword, accountIP)
				if err != nil {
					t.Error(err)
				}
				return err
			})
			if right != 40 {
				t.Errorf("%d right, %d wrong, %d throttled, %d others", right, wrong, throttled, other)
			}
		})
	}
}

// The number of waiting attempts is bounded, so that memory does not grow with the number of connections.
func TestAttemptsThatWaitAreBounded(t *testing.T) {
	t.Parallel()
	s := openAccountStore(t)
	checking, decide := make(chan bool, 200), make(chan error)
	check := func() error {
		return s.CheckSecret(context.Background(), accountIP, func() error { checking <- true; return <-decide })
	}
	var all sync.WaitGroup
	for range 30 {
		all.Go(func() { check() })
	}
	for range 30 {
		<-checking
	}
	refused := make(chan error, 1)
	for range db.AttemptsWaiting {
		all.Go(func() {
			if err := check(); err != nil {
				refused <- err
			}
		})
	}
	for s.AttemptsThatWait() < db.AttemptsWaiting {
		runtime.Gosched()
	}
	if err := check(); !errors.Is(err, db.ErrBusy) {
		t.Errorf("one more: %v", err)
	}
	if err := s.CheckSecret(context.Background(), "198.51.100.1", func() error { return nil }); err != nil {
		t.Errorf("from elsewhere: %v", err)
	}
	close(decide) // every secret was right
	all.Wait()
	if len(refused) > 0 {
		t.Errorf("one that waited: %v", <-refused)
	}
	if n := s.AttemptsThatWait(); n != 0 {
		t.Errorf("%d attempts wait", n)
	}
}

// A server that is killed while it checks passwords must not leave the account blocked.
func TestCrashLeavesNothingReserved(t *testing.T) {
	t.Parallel()
	s := openAccountStore(t)
	s.add(db.NewUser{Username: "alice"})
	checking, decide := make(chan bool), make(chan error)
	var all sync.WaitGroup
	for range 30 {
		all.Go(func() {
			s.CheckSecret(context.Background(), accountIP, func() error { checking <- true; return <-decide })
		})
	}
	for range 30 {
		<-checking
	}
	after, err := db.Open(context.Background(), db.Options{Path: s.options.Path, HashCost: dbtest.HashCost, Now: s.clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer after.Close()
	if _, err := after.Authenticate(context.Background(), "alice", accountPassword, clientOf(accountIP, "")); err != nil {
		t.Errorf("after the restart: %v", err)
	}
	close(decide)
	all.Wait()
}

// A success resets only the consecutive failures of its own account.
func TestSuccessLeavesOtherAccountsFailures(t *testing.T) {
	t.Parallel()
	s := openAccountStore(t)
	s.add(db.NewUser{Username: "alice", Email: "ada@example.com"})
	s.add(db.NewUser{Username: "bob"})
	s.fail(3, "alice", accountIP)
	s.fail(2, "ada@example.com", accountIP)
	s.fail(5, "bob", accountIP)
	s.wantErr(s.trySession("alice", accountPassword, accountIP), nil)
	s.wantRows([]string{"5", "5"}, `SELECT failures FROM consecutive_failures`) // bob's name and his account
}

// Failures from before a name had an account, or had an account that was deleted, must not shut out the new owner.
func TestNewAccountStartsClean(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for name, create := range map[string]func(s *accountStore){
		"created": func(s *accountStore) { s.add(db.NewUser{Username: "carol", Email: "carol@example.com"}) },
		"invitation": func(s *accountStore) {
			token, _, err := s.Invite(ctx, db.CommandLine, db.NewUser{Username: "carol", Email: "carol@example.com"})
			if err != nil {
				s.t.Fatal(err)
			}
			s.wantErr(s.accept(token, accountPassword), nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openAccountStore(t)
			s.add(db.NewUser{Username: "alice"})
			s.failInTens(100, "carol")
			s.failInTens(100, "carol@example.com")
			create(s)
			for _, name := range []string{"carol", "carol@example.com"} {
				s.wantErr(s.try(name, accountPassword, accountIP), nil)
			}
			s.wantErr(s.DeleteUser(ctx, db.CommandLine, "carol", false), nil)
			s.wantRows([]string{}, `SELECT failures FROM consecutive_failures`)
		})
	}
}

// Password checks by a live session are counted per session: other people cannot keep the owner from changing the password, and somebody
// at an unattended browser gets ten guesses.
func TestLiveSessionIsCountedByItself(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := openAccountStore(t)
	alice := s.add(db.NewUser{Username: "alice"})
	_, laptop := s.signIn(alice, "Firefox on Linux")
	_, library := s.signIn(alice, "Chrome on Windows")
	change := func(by db.Session, current string) error {
		_, err := s.ChangePassword(ctx, by, db.Client{IP: accountIP}, db.PasswordChange{Current: current, New: accountNewPassword})
		return err
	}
	for range 10 {
		s.wantErr(change(library, accountWrong), db.ErrWrongPassword)
	}
	s.throttled(change(library, accountPassword))
	s.wantErr(s.try("alice", accountPassword, accountIP), nil) // neither the account nor the address is blocked
	s.wantRows([]string{"confirm_failed Chrome on Windows " + library.ID + " 10"},
		`SELECT kind || ' ' || device_name || ' ' || session_id || ' ' || count FROM activity WHERE kind = 'confirm_failed'`)

	s.fail(10, "alice", "198.51.100.1")
	for i := range 30 {
		s.try(fmt.Sprintf("nobody%d", i), accountWrong, accountIP)
	}
	s.throttled(s.try("alice", accountPassword, accountIP))
	s.wantErr(change(laptop, accountPassword), nil)
	s.clock.Advance(15 * time.Minute)
	s.wantErr(change(library, accountNewPassword), nil)
}

// A copy of the database does not reveal which names were typed, without the key file.
func TestAttemptKeysNeedTheServersKey(t *testing.T) {
	t.Parallel()
	keys := map[string]bool{}
	for range 2 {
		s := openAccountStore(t)
		s.fail(1, "nobody", "")
		for _, key := range s.rows(`SELECT hex(key) FROM attempts`) {
			if keys[key] {
				t.Errorf("%s is the key of one name on two servers", key)
			}
			keys[key] = true
		}
	}
	if len(keys) != 6 {
		t.Errorf("%d keys", len(keys))
	}
}
