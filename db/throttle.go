package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Failed attempts at a secret are counted for 15 minutes, and per account also in a row (NIST SP 800-63B-4, 3.2.2).
const (
	attemptsWindow          = 15 * time.Minute
	attemptsPerAccount      = 10
	attemptsPerSession      = 10
	attemptsPerAddress      = 30
	attemptsPerSite         = 300                 // an IPv6 /48, of which one customer may have all 65,536 networks
	maxConsecutiveFailures  = 100                 // after these, only an invitation or `user passwd` lets the account in
	consecutiveFailuresKept = 30 * 24 * time.Hour // fewer than that are forgotten after so long
	attemptsWaiting         = hashingWaiting      // attempts that may wait for others to be checked
)

// Throttled says that there were too many failed attempts. This one was not checked, and does not count.
type Throttled struct {
	RetryAfter time.Duration
	Locked     bool // after maxConsecutiveFailures: time alone does not help
}

func (t Throttled) Error() string {
	if t.Locked {
		return "too many failed attempts in a row"
	}
	return fmt.Sprintf("too many attempts; try again in %s", t.RetryAfter.Round(time.Second))
}

// CheckSecret checks a secret that belongs to no account, such as a token in a link, and counts failures by the address
// alone. It returns check's error, Throttled or ErrBusy. An attempt has failed if check returns ErrWrongPassword or
// ErrNotFound.
func (s *Store) CheckSecret(ctx context.Context, ip string, check func() error) error {
	return s.attempt(ctx, s.addressCounters(ip), func(bool) error { return check() }, nil)
}

// attempt reserves a place in every counter, checks the secret, and counts the attempt if it failed. If failed is not
// nil, it runs in the transaction that counts. When check is told that the attempt is blocked, it must do the same work
// and return ErrWrongPassword.
//
// Reservations are kept in memory. So a success or a refusal writes nothing, and a crash leaves nothing reserved. A second
// process on the same database could let as many more attempts through as are being checked at that moment; the
// failures themselves are in the database, and count for both and after a restart.
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
	// Before the place is given up. If the write fails, the answer is 503 and tells nothing about the guess.
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

// reservations are the attempts that are being checked, by counter. They are not failures, but each could become one:
// while failures and reservations together reach a limit, further attempts wait. So fifty guesses at once are ten, and
// yet forty people behind one address all sign in at once.
type reservations struct {
	mu       sync.Mutex // held while failures are read, so that counting and reserving are one step
	checking map[attemptKey]*reservation
	waiting  int
}

type reservation struct {
	attempts int
	released chan struct{} // closed when one of the attempts was checked
}

func newReservations() reservations {
	return reservations{checking: map[attemptKey]*reservation{}}
}

// reserve returns Throttled if a counter is full, and ErrBusy if too many attempts wait already.
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

// checkCounters returns Throttled if one of the counters is full, or else a channel to wait for if one would be full
// should every attempt that is being checked fail. A hidden counter does not wait: the time would tell.
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

// attemptsLeft returns how many attempts a counter has left, and with none left the refusal: until the oldest of the
// failures that fill the counter has left the window. A failure from the future does not count: the clock was set back.
func (s *Store) attemptsLeft(ctx context.Context, from querier, c counter) (left int, full Throttled, err error) {
	var failures, consecutive int
	var oldest int64
	now := s.now()
	// "+ 0", or SQLite would compile the statement again for each limit.
	err = from.QueryRowContext(ctx, `
		SELECT COUNT(*), COALESCE(MIN(failed_at), 0), COALESCE((SELECT failures FROM consecutive_failures WHERE key = $1), 0)
		FROM (SELECT failed_at FROM attempts
		      WHERE key = $1 AND failed_at > $2 AND failed_at <= $3
		      ORDER BY failed_at DESC
		      LIMIT $4 + 0)`, c.key[:], now-c.window.Milliseconds(), now, c.most).Scan(&failures, &oldest, &consecutive)
	switch {
	case err != nil:
		return 0, full, unavailable(err)
	case c.consecutive && consecutive >= maxConsecutiveFailures:
		return 0, Throttled{RetryAfter: attemptsWindow, Locked: true}, nil // no time helps, but a 429 names one
	case failures >= c.most:
		return 0, Throttled{RetryAfter: time.Duration(oldest+c.window.Milliseconds()-now) * time.Millisecond}, nil
	case c.consecutive:
		return min(c.most-failures, maxConsecutiveFailures-consecutive), full, nil
	}
	return c.most - failures, full, nil
}

// querier is what both the store's readers and a transaction can do.
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

// forgetConsecutiveFailures ends the row of failures of an account, by whichever of its names they came.
func (s *Store) forgetConsecutiveFailures(tx *tx, user User) error {
	return s.forgetCounters(tx, user, `DELETE FROM consecutive_failures WHERE key = $1`)
}

// forgetAttempts starts an account clean: after it is created or renamed, or when an administrator restores access.
func (s *Store) forgetAttempts(tx *tx, user User) error {
	if err := s.forgetCounters(tx, user, `DELETE FROM attempts WHERE key = $1`); err != nil {
		return err
	}
	return s.forgetConsecutiveFailures(tx, user)
}

func (s *Store) forgetCounters(tx *tx, user User, statement string) error {
	for _, name := range []string{user.Username, user.Email} {
		if name == "" {
			continue
		}
		// What was counted before the name had an account must not wait for the next time it has none.
		for _, key := range []attemptKey{s.attemptKey("name", name), s.accountKey(name, 0), s.accountKey(name, user.ID)} {
			if _, err := tx.Exec(statement, key[:]); err != nil {
				return err
			}
		}
	}
	return nil
}
