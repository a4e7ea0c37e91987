package db

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// This file owns authenticator apps: TOTP (RFC 6238) with SHA-1, 6 digits and 30 seconds, which every app supports.

const (
	totpSecretSize = 20 // bytes; RFC 4226 recommends the size of the hash
	totpDigits     = 6
	totpPeriod     = 30 * time.Second
	totpTolerance  = 1 // periods that the clock of the phone may be off, either way
)

var (
	// ErrWrongCode means that a code is wrong, has expired, or was used before, but not which.
	ErrWrongCode = errors.New("the code is wrong, has expired or was used before")
	// ErrTOTPOn means that the user already has an authenticator app.
	ErrTOTPOn = errors.New("an authenticator app is already set up")
)

// BeginTOTP starts the set-up of an authenticator app, and returns its new secret: 20 bytes. It replaces an unfinished set-up. It returns
// ErrTOTPOn if the user already has an app, or ErrSessionEnded.
func (s *Store) BeginTOTP(ctx context.Context, by Session) (secret []byte, err error) {
	secret = make([]byte, totpSecretSize)
	rand.Read(secret)
	err = s.writeForSession(ctx, by, func(tx *tx) error {
		err := tx.changeOne(`
			INSERT INTO totp (user_id, secret, last_counter, on_at, created_at)
			VALUES ($1, $2, 0, 0, $3)
			ON CONFLICT (user_id) DO UPDATE SET secret = $2, created_at = $3 WHERE on_at = 0`,
			by.UserID, s.sealTOTP(by.UserID, secret), tx.now)
		if errors.Is(err, ErrNotFound) {
			err = ErrTOTPOn
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return secret, nil
}

const pendingTOTP = `SELECT secret FROM totp WHERE user_id = $1 AND on_at = 0`

// PendingTOTP returns the secret of the authenticator app that the user is setting up, or ErrNotFound if there is none.
func (s *Store) PendingTOTP(by Session) (secret []byte, err error) {
	sealed, err := queryValue[[]byte](s.reader, pendingTOTP, by.UserID)
	if err != nil {
		return nil, err
	}
	return s.openPendingTOTP(by.UserID, sealed)
}

// openPendingTOTP returns ErrNotFound for a secret that was encrypted with another key: the user begins again.
func (s *Store) openPendingTOTP(userID int64, sealed []byte) (secret []byte, err error) {
	if secret, err = s.openTOTP(userID, sealed); err != nil {
		err = ErrNotFound
	}
	return secret, err
}

// EnableTOTP switches on the authenticator app that the user is setting up, if the code is right. If it is the user's first factor, it
// returns new recovery codes. It returns ErrWrongCode, ErrSessionEnded, or ErrNotFound if no app is being set up.
func (s *Store) EnableTOTP(ctx context.Context, by Session, code string) (recoveryCodes []string, err error) {
	err = s.writeForSession(ctx, by, func(tx *tx) error {
		var sealed []byte
		if err := tx.QueryRow(pendingTOTP, by.UserID).Scan(&sealed); err != nil {
			return err
		}
		secret, err := s.openPendingTOTP(by.UserID, sealed)
		if err != nil {
			return err
		}
		counter, ok := matchTOTP(secret, cleanCode(code), tx.now)
		if !ok {
			return ErrWrongCode
		}
		// The code must not sign in as well, so its counter is the last one.
		if err := tx.changeOne(`UPDATE totp SET on_at = $1, last_counter = $2 WHERE user_id = $3`, tx.now, counter, by.UserID); err != nil {
			return err
		}
		recoveryCodes, err = tx.factorAdded(by, TOTPOn)
		return err
	})
	if err != nil {
		return nil, err
	}
	return recoveryCodes, nil
}

// DisableTOTP removes the user's authenticator app. It returns ErrNotFound if there is none, ErrFactorRequired or ErrSessionEnded.
func (s *Store) DisableTOTP(ctx context.Context, by Session) error {
	return s.writeForSession(ctx, by, func(tx *tx) error {
		if err := tx.changeOne(`DELETE FROM totp WHERE user_id = $1 AND on_at > 0`, by.UserID); err != nil {
			return err
		}
		return s.factorRemoved(tx, by, TOTPOff)
	})
}

// useTOTP accepts a code of the user's authenticator app once, or returns ErrWrongCode.
func (s *Store) useTOTP(tx *tx, userID int64, code string) error {
	var sealed []byte
	err := tx.QueryRow(`SELECT secret FROM totp WHERE user_id = $1 AND on_at > 0`, userID).Scan(&sealed)
	if errors.Is(storeError(err), ErrNotFound) {
		return ErrWrongCode
	}
	if err != nil {
		return err
	}
	secret, err := s.openTOTP(userID, sealed)
	if err != nil {
		return fmt.Errorf("decrypt the secret of an authenticator app: %w", err)
	}
	counter, ok := matchTOTP(secret, code, tx.now)
	if !ok {
		return ErrWrongCode
	}
	err = tx.changeOne(`UPDATE totp SET last_counter = $1 WHERE user_id = $2 AND last_counter < $1`, counter, userID)
	if errors.Is(err, ErrNotFound) {
		err = ErrWrongCode
	}
	return err
}

func totpCounter(now int64) int64 { return now / totpPeriod.Milliseconds() }

// matchTOTP returns the counter that a code belongs to, if the code is valid now (in milliseconds since 1970).
func matchTOTP(secret []byte, code string, now int64) (counter int64, ok bool) {
	middle := totpCounter(now)
	for c := middle - totpTolerance; c <= middle+totpTolerance; c++ {
		if subtle.ConstantTimeCompare([]byte(totpCode(secret, c)), []byte(code)) == 1 {
			counter, ok = c, true
		}
	}
	return counter, ok
}

// totpCode returns the code for a counter, as in RFC 4226, 5.3.
func totpCode(secret []byte, counter int64) string {
	mac := hmac.New(sha1.New, secret)
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(counter)))
	sum := mac.Sum(nil)
	offset := sum[len(sum)-1] & 0xf
	number := binary.BigEndian.Uint32(sum[offset:]) & 0x7fffffff
	return fmt.Sprintf("%0*d", totpDigits, number%1_000_000)
}

// newTOTPCipher returns the cipher for the secrets of authenticator apps.
func newTOTPCipher(key serverKey) cipher.AEAD {
	block, err := aes.NewCipher(key.derive("totp secrets"))
	if err != nil {
		panic(err) // only a key of another size fails
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err)
	}
	return aead
}

// sealTOTP encrypts a secret. The user id is authenticated with it, so a row that is copied to another user does not decrypt.
func (s *Store) sealTOTP(userID int64, secret []byte) []byte {
	return s.totpCipher.Seal(nil, nil, secret, strconv.AppendInt(nil, userID, 10))
}

func (s *Store) openTOTP(userID int64, sealed []byte) (secret []byte, err error) {
	return s.totpCipher.Open(nil, nil, sealed, strconv.AppendInt(nil, userID, 10))
}
