package db

import (
	"errors"
	"time"
)

// This file says which second factors a user has, and who must have one. A second factor is an authenticator app or a passkey. Recovery
// codes come with the first and go with the last.

// Requirement is who must have a second factor.
type Requirement string

// Who must have a second factor. The zero Requirement means RequireNone.
const (
	RequireNone   Requirement = "none"
	RequireAdmins Requirement = "admins"
	RequireAll    Requirement = "all"
)

func (r Requirement) includes(isAdmin bool) bool {
	return r == RequireAll || r == RequireAdmins && isAdmin
}

var (
	// ErrSecondFactor means that the password alone does not sign this user in. Continue with BeginSecondStep.
	ErrSecondFactor = errors.New("a second factor is needed")
	// ErrFactorRequired means that the user must keep a second factor, and that this is the last one.
	ErrFactorRequired = errors.New("the last second factor cannot be removed, because one is required")
)

// Factors are the second factors of a user, without secrets.
type Factors struct {
	TOTP          bool      // an authenticator app is on
	TOTPSince     time.Time // when it was switched on; zero if it is off
	Passkeys      []Passkey // oldest first
	RecoveryCodes int       // how many have not been used
}

// Any reports whether there is a second factor.
func (f Factors) Any() bool { return f.TOTP || len(f.Passkeys) > 0 }

// Factors returns the second factors of a user.
func (s *Store) Factors(userID int64) (Factors, error) {
	f, err := queryOne(s.reader, func(row scanner) (f Factors, err error) {
		var onAt int64
		if err = row.Scan(&onAt, &f.RecoveryCodes); onAt > 0 {
			f.TOTP, f.TOTPSince = true, time.UnixMilli(onAt)
		}
		return f, err
	}, `
		SELECT COALESCE((SELECT on_at FROM totp WHERE user_id = $1), 0),
		       (SELECT COUNT(*) FROM recovery_codes WHERE user_id = $1 AND used_at = 0)`, userID)
	if err == nil {
		f.Passkeys, err = s.Passkeys(userID)
	}
	return f, err
}

// hasSecondFactor is a condition on users u.
const hasSecondFactor = `(EXISTS (SELECT 1 FROM totp f WHERE f.user_id = u.id AND f.on_at > 0)
	        OR EXISTS (SELECT 1 FROM passkeys p WHERE p.user_id = u.id))`

func (tx *tx) hasSecondFactor(userID int64) (has bool, err error) {
	err = tx.QueryRow(`SELECT EXISTS (SELECT 1 FROM users u WHERE u.id = $1 AND `+hasSecondFactor+`)`, userID).Scan(&has)
	return has, err
}

// factorAdded records a new factor. With the first one come recovery codes, which it returns.
func (tx *tx) factorAdded(by Session, kind string) (recoveryCodes []string, err error) {
	if err := tx.record(eventOf(by, kind)); err != nil {
		return nil, err
	}
	var exist bool
	if err := tx.QueryRow(`SELECT EXISTS (SELECT 1 FROM recovery_codes WHERE user_id = $1)`, by.UserID).Scan(&exist); err != nil || exist {
		return nil, err
	}
	codes := eventOf(by, RecoveryCodesMade)
	codes.silent = true // the alert is about the new factor
	return tx.replaceRecoveryCodes(codes)
}

// factorRemoved records that a factor was removed. It returns ErrFactorRequired, for which the caller rolls back, if none is left but the
// user must have one.
func (s *Store) factorRemoved(tx *tx, by Session, kind string) error {
	var isAdmin, left bool
	err := tx.QueryRow(`SELECT u.is_admin, `+hasSecondFactor+` FROM users u WHERE u.id = $1`, by.UserID).Scan(&isAdmin, &left)
	switch {
	case err != nil:
		return err
	case !left && s.options.RequireSecondFactor.includes(isAdmin):
		return ErrFactorRequired
	case !left:
		if _, err := tx.Exec(`DELETE FROM recovery_codes WHERE user_id = $1`, by.UserID); err != nil {
			return err
		}
	}
	return errors.Join(tx.voidSecondSteps(by.UserID), tx.record(eventOf(by, kind)))
}

// resetSecondFactor removes every factor of a user, even if one is required: the user is then led to set up another.
func (s *Store) resetSecondFactor(tx *tx, by Actor, userID int64) error {
	totp, err := tx.changeRows(`DELETE FROM totp WHERE user_id = $1 AND on_at > 0`, userID)
	if err != nil {
		return err
	}
	passkeys, err := tx.changeRows(`DELETE FROM passkeys WHERE user_id = $1`, userID)
	if err != nil {
		return err
	}
	for _, statement := range []string{
		`DELETE FROM totp WHERE user_id = $1`, // one that is being set up
		`DELETE FROM recovery_codes WHERE user_id = $1`,
	} {
		if _, err := tx.Exec(statement, userID); err != nil {
			return err
		}
	}
	for _, removed := range []struct {
		kind  string
		count int
	}{{TOTPOff, totp}, {PasskeyRemoved, passkeys}} {
		if removed.count == 0 {
			continue
		}
		if err := tx.record(event{userID: userID, kind: removed.kind, by: by, count: removed.count}); err != nil {
			return err
		}
	}
	return errors.Join(s.forgetWrongCodes(tx, userID), tx.voidSecondSteps(userID))
}
