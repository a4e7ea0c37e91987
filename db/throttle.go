package db

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Tries that fail are counted per account and per address (NIST SP 800-63B-4, 3.2.2).
const (
	triesWindow     = 15 * time.Minute
	triesPerAccount = 10
	triesPerAddress = 30
	triesInARow     = 100                 // after these only an invitation or `passwd` lets the account in
	streakKept      = 30 * 24 * time.Hour // fewer, and nobody tried since: forgotten
)

// Throttled says that there were too many tries; this one was not looked at.
type Throttled struct{ RetryAfter time.Duration }

func (t Throttled) Error() string {
	return fmt.Sprintf("too many tries; try again in %s", t.RetryAfter.Round(time.Second))
}

// Try is who tries a secret, and from where.
type Try struct {
	Account string // the username, or what was given for one; "" counts the address alone
	IP      string
}

func (t Try) accountKey() []byte { return tryKey("account", t.Account) }

// addressKey counts an IPv6 network (/64) as one address: a single customer has all of it.
func (t Try) addressKey() []byte {
	name := t.IP
	if address, err := netip.ParseAddr(name); err == nil && address.Is6() {
		network, _ := address.Prefix(64)
		name = network.String()
	}
	return tryKey("address", name)
}

func tryKey(kind, name string) []byte {
	key := sha256.Sum256([]byte(kind + "\x00" + name))
	return key[:]
}

// Try counts a try, then checks the secret. The count comes first, so that fifty tries at once are fifty tries. It is
// given back unless check says that the secret was wrong: with ErrWrongPassword, or ErrNotFound for a token.
func (s *Store) Try(ctx context.Context, t Try, check func() error) error {
	var counted []int64
	err := s.write(ctx, func(tx *sql.Tx) (err error) {
		counted, err = s.countTry(tx, t)
		return err
	})
	if err != nil {
		return err
	}
	err = check()
	if errors.Is(err, ErrWrongPassword) || errors.Is(err, ErrNotFound) {
		return err
	}
	giveBack := s.write(ctx, func(tx *sql.Tx) error { return giveTryBack(tx, t, counted, err == nil) })
	if err == nil {
		err = giveBack
	}
	return err
}

func (s *Store) countTry(tx *sql.Tx, t Try) (counted []int64, err error) {
	now := s.now()
	limits := []struct {
		key  []byte
		most int
	}{{t.addressKey(), triesPerAddress}}
	if t.Account != "" {
		limits = append(limits, struct {
			key  []byte
			most int
		}{t.accountKey(), triesPerAccount})
	}
	for _, limit := range limits {
		if err := checkTries(tx, limit.key, limit.most, now); err != nil {
			return nil, err
		}
	}
	for _, limit := range limits {
		result, err := tx.Exec(`INSERT INTO tries (key, tried_at) VALUES ($1, $2)`, limit.key, now)
		if err != nil {
			return nil, err
		}
		id, err := result.LastInsertId()
		if err != nil {
			return nil, err
		}
		counted = append(counted, id)
	}
	if t.Account == "" {
		return counted, nil
	}
	return counted, checkStreak(tx, t.accountKey(), now)
}

// checkTries answers Throttled when the window is full, until the oldest try that fills it has left it. A try from the
// future counts for nothing: the clock was set back.
func checkTries(tx *sql.Tx, key []byte, most int, now int64) error {
	var oldest int64
	err := tx.QueryRow(`
		SELECT tried_at FROM tries
		WHERE key = $1 AND tried_at > $2 AND tried_at <= $3
		ORDER BY tried_at DESC
		LIMIT 1 OFFSET $4`, key, now-triesWindow.Milliseconds(), now, most-1).Scan(&oldest)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	return Throttled{time.Duration(oldest+triesWindow.Milliseconds()-now) * time.Millisecond}
}

// checkStreak counts one more failure in a row, and answers Throttled after too many.
func checkStreak(tx *sql.Tx, key []byte, now int64) error {
	var failures int
	err := tx.QueryRow(`
		INSERT INTO streaks (key, failures, last_tried_at) VALUES ($1, 1, $2)
		ON CONFLICT (key) DO UPDATE SET failures = failures + 1, last_tried_at = $2
		RETURNING failures`, key, now).Scan(&failures)
	if err != nil {
		return err
	}
	if failures > triesInARow {
		return Throttled{triesWindow}
	}
	return nil
}

// giveTryBack takes a try out of the count. A success also ends the row of failures.
func giveTryBack(tx *sql.Tx, t Try, counted []int64, success bool) error {
	for _, id := range counted {
		if _, err := tx.Exec(`DELETE FROM tries WHERE id = $1`, id); err != nil {
			return err
		}
	}
	if t.Account == "" {
		return nil
	}
	if success {
		return forgetStreak(tx, t.accountKey())
	}
	_, err := tx.Exec(`UPDATE streaks SET failures = failures - 1 WHERE key = $1`, t.accountKey())
	return err
}

func forgetStreak(tx *sql.Tx, key []byte) error {
	_, err := tx.Exec(`DELETE FROM streaks WHERE key = $1`, key)
	return err
}

// forgetTries lets an account be tried anew: whoever runs the server has seen to it.
func forgetTries(tx *sql.Tx, username string) error {
	key := Try{Account: username}.accountKey()
	if _, err := tx.Exec(`DELETE FROM tries WHERE key = $1`, key); err != nil {
		return err
	}
	return forgetStreak(tx, key)
}
