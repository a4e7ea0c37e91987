package db

import (
	"context"
	"time"
)

// This file limits how many accounts may be signed up for from one address. Only accounts that were created count.

const (
	signUpsPerAddress = 10
	signUpsPerSite    = 100 // an IPv6 site (/48) has 65,536 networks (/64)
	signUpsWindow     = time.Hour
)

func (s *Store) signUpCounters(ip string) []counter {
	return s.networkCounters("sign-up", ip, signUpsPerAddress, signUpsPerSite, signUpsWindow)
}

// checkSignUps returns Throttled once the address has created as many accounts as it may.
func (s *Store) checkSignUps(ctx context.Context, from querier, ip string) error {
	return s.checkThrottle(ctx, from, s.signUpCounters(ip))
}

// recordSignUp counts an account in the transaction that creates it, so of twenty at once, ten succeed.
func (s *Store) recordSignUp(ctx context.Context, tx *tx, ip string) error {
	if err := s.checkSignUps(ctx, tx, ip); err != nil {
		return err
	}
	return tx.count(s.signUpCounters(ip))
}
