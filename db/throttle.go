package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Failed attempts at a secret are counted for 15 minutes. For an account, consecutive failures are counted too (NIST SP 800-63B-4,
// 3.2.2).
const (
	attemptsWindow              = 15 * time.Minute
	attemptsPerAccount          = 10
	attemptsPerSession          = 10
	attemptsPerAddress          = 30
	attemptsPerSite             = 300                 // an IPv6 /48: one customer may have all of its 65,536 networks
	maxConsecutiveFailures      = 100                 // then only a new password by a link or `user passwd` unlocks the account
	consecutiveFailureRetention = 30 * 24 * time.Hour // after the last one; a counter that has reached the maximum is kept forever
	attemptsWaiting             = hashingWaiting      // attempts that may wait for others to be checked
)

// Throttled says that there were too many failed attempts. The attempt that it refuses was not checked and does not count.
type Throttled struct {
	RetryAfter time.Duration
	Locked     bool // after maxConsecutiveFailures; waiting does not help
	Codes      bool // they were codes of a second factor, not passwords
}

func (t Throttled) Error() string {
	if t.Locked {
		return "too many failed attempts in a row"
	}
	return fmt.Sprintf("too many attempts; try again in %s", t.RetryAfter.Round(time.Second))
}

// CheckSecret checks a secret that belongs to no account, such as a token in a link, and counts failures by IP address. It returns
// check's error, Throttled or ErrBusy. The attempt has failed if check returns ErrWrongPassword or ErrNotFound.
func (s *Store) CheckSecret(ctx context.Context, ip string, check func() error) error {
	return s.attempt(ctx, s.addressCounters(ip), func(bool) error { return check() }, nil)
}

// attempt makes a reservation in every counter, checks the secret, and counts the attempt if it failed. If failed is not nil, it runs
// in the transaction that counts the failure. If check is called with blocked, it must do the same work and return ErrWrongPassword.
//
// Reservations are in memory, so a success or a refusal writes nothing, and a crash leaves nothing reserved. A second process on the
// same database could let through as many more attempts as are being checked at that moment. Failures are in the database, so they
// count for both processes and after a restart.
func (s *Store) attempt(ctx context.Context, counters []counter, check func(blocked bool) error, failed func(*tx) error) error {
	blocked, err := s.reserve(ctx, counters)
	if err != nil {
		return err
	}
	defer s.attempts.release(counters)
	checked := check(blocked)
	if !errors.Is(checked, ErrWrongPassword) && !errors.Is(checked, ErrNotFound) {
		return checked
	}
	// The failure is counted before the reservation is released. If the write fails, its error reveals nothing about the guess.
	err = s.write(ctx, func(tx *tx) error {
		if err := tx.count(counters); err != nil || failed == nil {
			return err
		}
		return failed(tx)
	})
	if err != nil {
		return err
	}
	return checked
}

// reservations are the attempts that are being checked, by counter. They are not failures, but each could become one: while failures
// and reservations together reach a limit, further attempts wait. So of fifty guesses at once only ten are checked, while forty people
// behind one address can all sign in at once.
type reservations struct {
	mu       sync.Mutex // held while failures are read, so that counting and reserving are one step
	checking map[attemptKey]*reservation
	waiting  int
}

type reservation struct {
	attempts int
	released chan struct{} // closed when one of the attempts has been checked
}

func newReservations() reservations {
	return reservations{checking: map[attemptKey]*reservation{}}
}

// reserve returns Throttled if a counter is full, and ErrBusy if too many attempts are already waiting.
func (s *Store) reserve(ctx context.Context, counters []counter) (blocked bool, err error) {
	r := &s.attempts
	r.mu.Lock()
	defer r.mu.Unlock()
	for waiting := false; ; {
		released, blocked, err := s.checkCounters(ctx, counters)
		if err != nil {
			return false, err
		}
		if released == nil {
			r.add(counters)
			return blocked, nil
		}
		if !waiting {
			if r.waiting == attemptsWaiting {
				return false, ErrBusy
			}
			waiting = true
			r.waiting++
			defer func() { r.waiting-- }()
		}
		r.mu.Unlock()
		select {
		case <-released:
		case <-ctx.Done():
			err = ctx.Err()
		}
		r.mu.Lock()
		if err != nil {
			return false, err
		}
	}
}

// checkCounters returns Throttled if one of the counters is full. If one would be full after all attempts that are being checked have
// failed, it returns a channel to wait for. Attempts do not wait for a hidden counter, because the time would reveal it.
func (s *Store) checkCounters(ctx context.Context, counters []counter) (released chan struct{}, blocked bool, err error) {
	var refused Throttled
	for _, c := range counters {
		left, full, err := s.attemptsLeft(ctx, s.reader, c)
		if err != nil {
			return nil, false, err
		}
		reserved := s.attempts.checking[c.key]
		switch {
		case c.hidden:
			blocked = left == 0 || reserved != nil && reserved.attempts >= left
		case left == 0:
			refused.Locked = refused.Locked || full.Locked
			refused.RetryAfter = max(refused.RetryAfter, full.RetryAfter)
		case reserved != nil && reserved.attempts >= left:
			released = reserved.released
		}
	}
	if refused != (Throttled{}) {
		return nil, false, refused
	}
	return released, blocked, nil
}

// attemptsLeft returns how many attempts a counter has left or, if it has none, the error to return: the counter is full until the
// oldest of its failures leaves the window. A failure in the future does not count: the clock has been set back since.
func (s *Store) attemptsLeft(ctx context.Context, from querier, c counter) (left int, full Throttled, err error) {
	var failures, consecutive int
	var oldest int64
	now := s.now()
	// Without "+ 0", SQLite would compile the statement again on each run.
	err = from.QueryRowContext(ctx, `
		SELECT COUNT(*), COALESCE(MIN(failed_at), 0), COALESCE((SELECT failures FROM consecutive_failures WHERE key = $1), 0)
		FROM (SELECT failed_at FROM attempts
		      WHERE key = $1 AND failed_at > $2 AND failed_at <= $3
		      ORDER BY failed_at DESC
		      LIMIT $4 + 0)`, c.key[:], now-c.window.Milliseconds(), now, c.limit).Scan(&failures, &oldest, &consecutive)
	switch {
	case err != nil:
		return 0, full, storeError(err)
	case c.consecutive && consecutive >= maxConsecutiveFailures:
		return 0, Throttled{RetryAfter: attemptsWindow, Locked: true}, nil // waiting does not help, but a 429 must name a time
	case failures >= c.limit:
		return 0, Throttled{RetryAfter: time.Duration(oldest+c.window.Milliseconds()-now) * time.Millisecond}, nil
	case c.consecutive:
		return min(c.limit-failures, maxConsecutiveFailures-consecutive), full, nil
	}
	return c.limit - failures, full, nil
}

// checkThrottle returns Throttled if one of the counters is full. Unlike attempt, it reserves nothing: call it in the transaction that
// counts.
func (s *Store) checkThrottle(ctx context.Context, from querier, counters []counter) error {
	for _, c := range counters {
		left, full, err := s.attemptsLeft(ctx, from, c)
		if err != nil {
			return err
		}
		if left == 0 {
			return full
		}
	}
	return nil
}

// querier is the read pool or a transaction.
type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func (r *reservations) add(counters []counter) {
	for _, c := range counters {
		if r.checking[c.key] == nil {
			r.checking[c.key] = &reservation{released: make(chan struct{})}
		}
		r.checking[c.key].attempts++
	}
}

func (r *reservations) release(counters []counter) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range counters {
		reserved := r.checking[c.key]
		close(reserved.released)
		reserved.released = make(chan struct{})
		if reserved.attempts--; reserved.attempts == 0 {
			delete(r.checking, c.key)
		}
	}
}

// count counts a failed attempt in every counter.
func (tx *tx) count(counters []counter) error {
	for _, c := range counters {
		if _, err := tx.Exec(`INSERT INTO attempts (key, failed_at) VALUES ($1, $2)`, c.key[:], tx.now); err != nil {
			return err
		}
		if !c.consecutive {
			continue
		}
		_, err := tx.Exec(`
			INSERT INTO consecutive_failures (key, failures, last_failed_at) VALUES ($1, 1, $2)
			ON CONFLICT (key) DO UPDATE SET failures = failures + 1, last_failed_at = $2`, c.key[:], tx.now)
		if err != nil {
			return err
		}
	}
	return nil
}

// recordLockout records that the attempt that was just counted has locked an account, or does nothing. Call it for a name that no account
// has, too, because it must take as long.
func (tx *tx) recordLockout(key attemptKey, userID int64, device, ip string) error {
	var failures int
	err := tx.QueryRow(`SELECT COALESCE(MAX(failures), 0) FROM consecutive_failures WHERE key = $1`, key[:]).Scan(&failures)
	if err != nil || failures != maxConsecutiveFailures || userID == 0 || device != "" {
		return err
	}
	return tx.record(event{userID: userID, kind: AccountLocked, ip: ip})
}

// forgetConsecutiveFailures resets the consecutive failures of an account, by any of its names and with codes. See codeCounters for what
// resets which counter.
func (s *Store) forgetConsecutiveFailures(tx *tx, user User) error {
	return tx.forget(append(s.passwordKeys(user), s.wrongCodesKey(user.ID, "")), false)
}

// forgetWrongPasswords resets the counters of wrong passwords of an account.
func (s *Store) forgetWrongPasswords(tx *tx, user User) error {
	return tx.forget(s.passwordKeys(user), true)
}

// forgetWrongCodes resets the counters of wrong codes of a user.
func (s *Store) forgetWrongCodes(tx *tx, userID int64) error {
	return tx.forget([]attemptKey{s.wrongCodesKey(userID, "")}, true)
}

// passwordKeys returns the counters of wrong passwords of an account. This includes what was counted before the name had an account,
// because it would count again once the name has none.
func (s *Store) passwordKeys(user User) (keys []attemptKey) {
	for _, name := range []string{user.Username, user.Email} {
		if name != "" {
			keys = append(keys, s.attemptKey("name", name), s.accountKey(name, 0), s.accountKey(name, user.ID))
		}
	}
	return keys
}

// forget resets consecutive failures or, if all is set, the failures of the last 15 minutes too.
func (tx *tx) forget(keys []attemptKey, all bool) error {
	for _, key := range keys {
		if _, err := tx.Exec(`DELETE FROM consecutive_failures WHERE key = $1`, key[:]); err != nil {
			return err
		}
		if !all {
			continue
		}
		if _, err := tx.Exec(`DELETE FROM attempts WHERE key = $1`, key[:]); err != nil {
			return err
		}
	}
	return nil
}
