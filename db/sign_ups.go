package db

import (
	"context"
	"database/sql"
	"errors"
	"net/netip"
	"time"
)

// This file owns how many accounts one address may create for itself. Every account counts, a refused attempt does not.

const (
	signUpsPerAddress = 10
	signUpsWindow     = time.Hour
)

// signUpKey counts an IPv6 network (/64) as one address, like addressCounters.
func (s *Store) signUpKey(ip string) attemptKey {
	if address, err := netip.ParseAddr(ip); err == nil && !address.Unmap().Is4() {
		network, _ := address.Prefix(64)
		ip = network.String()
	}
	return s.attemptKey("sign-up", ip)
}

// checkSignUps returns Throttled once the address has created as many accounts as it may. A sign-up from the future does
// not count: the clock was set back.
func (s *Store) checkSignUps(ctx context.Context, queryRow func(context.Context, string, ...any) *sql.Row, ip string) error {
	var first int64 // of those that fill the window
	key, now := s.signUpKey(ip), s.now()
	err := queryRow(ctx, `
		SELECT failed_at FROM attempts
		WHERE key = $1 AND failed_at > $2 AND failed_at <= $3
		ORDER BY failed_at DESC
		LIMIT 1 OFFSET $4 + 0`, key[:], now-signUpsWindow.Milliseconds(), now, signUpsPerAddress-1).Scan(&first)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return unavailable(err)
	}
	return Throttled{RetryAfter: time.Duration(first+signUpsWindow.Milliseconds()-now) * time.Millisecond}
}

// recordSignUp counts an account in the transaction that creates it, so twenty at once are ten.
func (s *Store) recordSignUp(ctx context.Context, tx *tx, ip string) error {
	if err := s.checkSignUps(ctx, tx.QueryRowContext, ip); err != nil {
		return err
	}
	key := s.signUpKey(ip)
	_, err := tx.ExecContext(ctx, `INSERT INTO attempts (key, failed_at) VALUES ($1, $2)`, key[:], tx.now)
	return err
}
