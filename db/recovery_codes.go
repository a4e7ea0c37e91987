package db

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
)

// This file owns recovery codes, with which a user signs in without the phone or the passkey. Each works once.

const (
	recoveryCodeCount  = 10
	recoveryCodeLength = 16 // characters of base32, so 80 bits
)

// ReplaceRecoveryCodes replaces the user's recovery codes with ten new ones, such as "abcd-efgh-ijkl-mnop", and returns them. Only their
// hashes are stored. It returns ErrNotFound if the user has no second factor, or ErrSessionEnded.
func (s *Store) ReplaceRecoveryCodes(ctx context.Context, by Session) (codes []string, err error) {
	err = s.writeForSession(ctx, by, func(tx *tx) error {
		has, err := tx.hasSecondFactor(by.UserID)
		if err != nil {
			return err
		}
		if !has {
			return ErrNotFound
		}
		codes, err = tx.replaceRecoveryCodes(eventOf(by, RecoveryCodesMade))
		return err
	})
	if err != nil {
		return nil, err
	}
	return codes, nil
}

// replaceRecoveryCodes creates new codes and records the event.
func (tx *tx) replaceRecoveryCodes(made event) (codes []string, err error) {
	if _, err := tx.Exec(`DELETE FROM recovery_codes WHERE user_id = $1`, made.userID); err != nil {
		return nil, err
	}
	for range recoveryCodeCount {
		code := strings.ToLower(rand.Text()[:recoveryCodeLength])
		_, err := tx.Exec(`INSERT INTO recovery_codes (user_id, code_hash, used_at) VALUES ($1, $2, 0)`, made.userID, hashToken(code))
		if err != nil {
			return nil, err
		}
		codes = append(codes, code[:4]+"-"+code[4:8]+"-"+code[8:12]+"-"+code[12:])
	}
	return codes, tx.record(made)
}

// useRecoveryCode accepts a recovery code once, or returns ErrWrongCode. A fast hash is enough for 80 random bits.
func (tx *tx) useRecoveryCode(userID int64, code string) error {
	err := tx.changeOne(`
		UPDATE recovery_codes SET used_at = $1
		WHERE user_id = $2 AND code_hash = $3 AND used_at = 0`, tx.now, userID, hashToken(code))
	if errors.Is(err, ErrNotFound) {
		err = ErrWrongCode
	}
	return err
}

// cleanCode removes the spaces and dashes that people type into a code, or copy with it.
func cleanCode(code string) string {
	return strings.ToLower(strings.NewReplacer(" ", "", "-", "", "\u00a0", "", "\t", "").Replace(code))
}
