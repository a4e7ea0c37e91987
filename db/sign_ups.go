package db

import (
	"context"
	"errors"
	"time"
)

// This file limits how many accounts may be signed up for: from one address, and in total until somebody approves them. Only accounts that
// were created count.

// ErrSignUpsFull means that maxSignUpsWaiting accounts wait for approval.
var ErrSignUpsFull = errors.New("too many accounts wait for approval")

const (
	signUpsPerAddress = 10
	signUpsPerSite    = 100 // an IPv6 site (/48) has 65,536 networks (/64)
	signUpsWindow     = time.Hour

	maxSignUpsWaiting = 1000 // accounts of strangers are never deleted by themselves, so this bounds them
)

func (s *Store) signUpCounters(ip string) []counter {
	return s.networkCounters("sign-up", ip, signUpsPerAddress, signUpsPerSite, signUpsWindow)
}

// checkSignUps returns ErrSignUpsFull if too many accounts wait for approval, and Throttled once the address has created as many accounts
// as it may.
func (s *Store) checkSignUps(ctx context.Context, from querier, ip string) error {
	var waiting int
	err := from.QueryRowContext(ctx, countWaiting, maxSignUpsWaiting).Scan(&waiting)
	switch {
	case err != nil:
		return err
	case waiting == maxSignUpsWaiting:
		return ErrSignUpsFull
	}
	return s.checkThrottle(ctx, from, s.signUpCounters(ip))
}

// recordSignUp counts an account in the transaction that creates it next, so of twenty at once, ten succeed.
func (s *Store) recordSignUp(ctx context.Context, tx *tx, ip string) error {
	if err := s.checkSignUps(ctx, tx, ip); err != nil {
		return err
	}
	return tx.count(s.signUpCounters(ip))
}
