package db

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha512"
	"errors"
	"strconv"
	"time"

	"github.com/mattn/go-sqlite3"
)

// This file stores passkeys (WebAuthn credentials). The handlers verify what an authenticator signed; what must happen once, or in order,
// happens here.

// MaxPasskeys is how many passkeys a user may have.
const MaxPasskeys = 20

// challengeRetention is how long the store remembers that a challenge was answered. It is much longer than a challenge is valid, in case
// the clock is set back.
const challengeRetention = 24 * time.Hour

var (
	// ErrChallengeUsed means that this challenge was answered before. Nothing was changed.
	ErrChallengeUsed = errors.New("the challenge was already used")
	// ErrPasskeyRefused means that the counter of a passkey went back, so there may be a copy of it. This was recorded.
	ErrPasskeyRefused = errors.New("the counter of the passkey went back")
	// ErrPasskeyExists means that the passkey is already registered, for this user or another.
	ErrPasskeyExists = errors.New("this passkey is already registered")
	// ErrTooManyPasskeys means that the user has MaxPasskeys.
	ErrTooManyPasskeys = errors.New("there are too many passkeys")
)

// Passkey is a WebAuthn credential of a user.
type Passkey struct {
	ID           string // public
	UserID       int64
	UserHandle   []byte // as PasskeyUserHandle returned it when the passkey was added
	CredentialID []byte
	Credential   []byte // the JSON that AddPasskey or the last PasskeyUse stored
	SignCount    uint32
	Name         string
	CreatedAt    time.Time
	LastUsedAt   time.Time // zero if it was never used
}

// NewPasskey describes a passkey to add.
type NewPasskey struct {
	UserHandle    []byte // as PasskeyUserHandle returned it
	CredentialID  []byte
	Credential    []byte // JSON
	SignCount     uint32
	Name          string // valid, and not empty
	ChallengeHash []byte
}

// PasskeyUse is a verified assertion: an authenticator has signed a challenge with a passkey.
type PasskeyUse struct {
	CredentialID  []byte
	Credential    []byte // updated JSON
	SignCount     uint32
	ChallengeHash []byte
}

// PasskeyUserHandle returns the 64 bytes by which authenticators know a user. They reveal nothing about the user, and do not change while
// the user has a passkey, not even if porchlight.key is lost.
func (s *Store) PasskeyUserHandle(userID int64) ([]byte, error) {
	passkeys, err := s.Passkeys(userID)
	if err != nil {
		return nil, err
	}
	if len(passkeys) > 0 {
		return passkeys[0].UserHandle, nil
	}
	mac := hmac.New(sha512.New, s.DerivedKey("passkey user handles"))
	mac.Write(strconv.AppendInt(nil, userID, 10))
	return mac.Sum(nil), nil
}

const passkeyColumns = `id, user_id, user_handle, credential_id, credential, sign_count, name, created_at, last_used_at`

// Passkeys returns the passkeys of a user, oldest first.
func (s *Store) Passkeys(userID int64) ([]Passkey, error) {
	return queryAll(s.reader, scanPasskey, `
		SELECT `+passkeyColumns+`
		FROM passkeys
		WHERE user_id = $1
		ORDER BY created_at`, userID)
}

const passkeyByCredential = `SELECT ` + passkeyColumns + ` FROM passkeys WHERE credential_id = $1`

// PasskeyByCredential returns the passkey with this credential id, or ErrNotFound.
func (s *Store) PasskeyByCredential(credentialID []byte) (Passkey, error) {
	return queryOne(s.reader, scanPasskey, passkeyByCredential, credentialID)
}

func scanPasskey(row scanner) (p Passkey, err error) {
	var createdAt, lastUsedAt int64
	err = row.Scan(&p.ID, &p.UserID, &p.UserHandle, &p.CredentialID, &p.Credential, &p.SignCount, &p.Name, &createdAt, &lastUsedAt)
	p.CreatedAt = time.UnixMilli(createdAt)
	if lastUsedAt > 0 {
		p.LastUsedAt = time.UnixMilli(lastUsedAt)
	}
	return p, err
}

// AddPasskey adds a passkey to the caller's account. If it is the user's first factor, it returns new recovery codes. Its errors are
// ErrPasskeyExists, ErrTooManyPasskeys, ErrChallengeUsed and ErrSessionEnded.
func (s *Store) AddPasskey(ctx context.Context, by Session, passkey NewPasskey) (recoveryCodes []string, err error) {
	err = s.writeForSession(ctx, by, func(tx *tx) error {
		if err := tx.useChallenge(passkey.ChallengeHash); err != nil {
			return err
		}
		err := tx.changeOne(`
			INSERT INTO passkeys (`+passkeyColumns+`)
			SELECT $1, $2, $3, $4, $5, $6, $7, $8, 0
			WHERE (SELECT COUNT(*) FROM passkeys WHERE user_id = $2) < $9`,
			rand.Text(), by.UserID, passkey.UserHandle, passkey.CredentialID, passkey.Credential, passkey.SignCount, passkey.Name, tx.now,
			MaxPasskeys)
		switch {
		case isDuplicate(err):
			return ErrPasskeyExists
		case errors.Is(err, ErrNotFound):
			return ErrTooManyPasskeys
		case err != nil:
			return err
		}
		recoveryCodes, err = tx.factorAdded(by, PasskeyAdded)
		return err
	})
	if err != nil {
		return nil, err
	}
	return recoveryCodes, nil
}

// isDuplicate reports whether an error is SQLite's about a value that must be unique.
func isDuplicate(err error) bool {
	sqliteErr, ok := errors.AsType[sqlite3.Error](err)
	return ok && (sqliteErr.ExtendedCode == sqlite3.ErrConstraintUnique || sqliteErr.ExtendedCode == sqlite3.ErrConstraintPrimaryKey)
}

// useChallenge returns ErrChallengeUsed for a challenge that was used before.
func (tx *tx) useChallenge(hash []byte) error {
	_, err := tx.Exec(`INSERT INTO used_challenges (challenge_hash, used_at) VALUES ($1, $2)`, hash, tx.now)
	if isDuplicate(err) {
		err = ErrChallengeUsed
	}
	return err
}

// RenamePasskey gives one of the user's own passkeys another name. It returns ErrNotFound if there is no such passkey.
func (s *Store) RenamePasskey(ctx context.Context, by Session, id, name string) error {
	return s.writeForSession(ctx, by, func(tx *tx) error {
		return tx.changeOne(`UPDATE passkeys SET name = $1 WHERE id = $2 AND user_id = $3`, name, id, by.UserID)
	})
}

// RemovePasskey removes one of the user's own passkeys. It returns ErrNotFound if there is no such passkey, ErrFactorRequired or
// ErrSessionEnded.
func (s *Store) RemovePasskey(ctx context.Context, by Session, id string) error {
	return s.writeForSession(ctx, by, func(tx *tx) error {
		if err := tx.changeOne(`DELETE FROM passkeys WHERE id = $1 AND user_id = $2`, id, by.UserID); err != nil {
			return err
		}
		return s.factorRemoved(tx, by, PasskeyRemoved)
	})
}
