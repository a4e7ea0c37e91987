package db

import (
	"context"
	"time"
)

// This file limits how many accounts may be signed up for from one address. Only accounts that were created count.

const (
	signUpsPerAddress = 10
	signUpsWindow     = time.Hour
)

func (s *Store) signUpCounter(ip string) counter {
	network, _ := networks(ip)
	return counter{key: s.attemptKey("sign-up", network), limit: signUpsPerAddress, window: signUpsWindow}
}

// checkSignUps returns Throttled once the address has created as many accounts as it may.
func (s *Store) checkSignUps(ctx context.Context, from querier, ip string) error {
	return s.checkThrottle(ctx, from, []counter{s.signUpCounter(ip)})
}

// recordSignUp counts an account in the transaction that creates it, so of twenty at once, ten succeed.
func (s *Store) recordSignUp(ctx context.Context, tx *tx, ip string) error {
	if err := s.checkSignUps(ctx, tx, ip); err != nil {
		return err
	}
	return tx.count([]counter{s.signUpCounter(ip)})
}
