package db

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"time"
)

// This file makes app keys. A key is the token of a session without a browser, which opens one app and none of Porchlight's own pages. It is
// listed and revoked like any session. It has no idle limit, because a backup may run once a year.

// keyPrefix begins every key, so that nobody mistakes one for another secret. Tokens of browsers consist of capital letters and digits.
const keyPrefix = "plk_"

// keyLength is how many characters every key has.
const keyLength = len(keyPrefix) + TokenLength

// keysMax is how many live keys a user may have.
const keysMax = 50

// neverExpires is when a key ends that never does. Every statement that looks for live sessions compares with it like with any other time.
var neverExpires = time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)

var (
	// ErrTooManyKeys says that the user has 50 live app keys.
	ErrTooManyKeys = errors.New("too many app keys")
	// ErrKeyShown says that the form has made a key before, which was shown then.
	ErrKeyShown = errors.New("the app key was shown before")
)

// IsKey reports whether a secret is meant to be an app key.
func IsKey(secret string) bool { return strings.HasPrefix(secret, keyPrefix) }

// NeverExpires reports whether the session is an app key that ends only when somebody ends it. Its ExpiresAt is in the year 9999.
func (s Session) NeverExpires() bool { return !s.ExpiresAt.Before(neverExpires) }

// NewKey describes an app key to make.
type NewKey struct {
	IP    string        // of the client that makes it
	Name  string        // "" for none
	Host  string        // the app, in CanonicalHost's form
	Lasts time.Duration // 0 means for ever
	Form  string        // the random id of the form, or ""
}

// MakeKey makes an app key for the caller. Nothing but its hash is stored, so the caller must show it now. It returns ErrTooManyKeys or
// ErrSessionEnded. If the form has just made such a key, that key is replaced, because the browser may not have got it; after a minute,
// MakeKey returns ErrKeyShown.
func (s *Store) MakeKey(ctx context.Context, by Session, key NewKey) (secret string, made Session, err error) {
	secret = keyPrefix + newToken()
	err = s.writeAs(ctx, by, func(tx *tx) error {
		id, err := tx.keyOfForm(by, key)
		switch {
		case errors.Is(err, ErrNotFound):
			id, err = tx.insertKey(by, key, secret)
		case err == nil:
			err = tx.changeOne(`UPDATE sessions SET token_hash = $1 WHERE id = $2`, hashToken(secret), id)
		}
		if err != nil {
			return err
		}
		made, err = s.scanSession(tx.QueryRow(sessionByID, id))
		return err
	})
	if err != nil {
		return "", Session{}, err
	}
	return secret, made, nil
}

// keyOfForm returns the id of the key that a form has just made. It returns ErrNotFound if the form has made none, or one for another app,
// name or time: a person who goes back may change what they typed.
func (tx *tx) keyOfForm(by Session, key NewKey) (id string, err error) {
	if key.Form == "" {
		return "", ErrNotFound
	}
	var createdAt int64
	err = tx.QueryRow(`
		SELECT id, created_at
		FROM sessions
		WHERE form_hash = $1 AND user_id = $2 AND kind = 'app_key' AND host = $3 AND custom_name = $4
		      AND expires_at > $5 AND expires_at = CASE $6 WHEN 0 THEN $7 ELSE created_at + $6 END`,
		hashToken(key.Form), by.UserID, key.Host, key.Name, tx.now, key.Lasts.Milliseconds(), neverExpires.UnixMilli()).Scan(&id, &createdAt)
	if err == nil && createdAt <= tx.now-formCounts.Milliseconds() {
		err = ErrKeyShown
	}
	return id, storeError(err)
}

func (tx *tx) insertKey(by Session, key NewKey, secret string) (id string, err error) {
	var live int
	if err := tx.QueryRow(`
		SELECT COUNT(*) FROM sessions WHERE user_id = $1 AND kind = 'app_key' AND expires_at > $2`, by.UserID, tx.now).Scan(&live); err != nil {
		return "", err
	}
	if live >= keysMax {
		return "", ErrTooManyKeys
	}
	var form []byte
	if key.Form != "" {
		form = hashToken(key.Form)
	}
	expiresAt := neverExpires.UnixMilli()
	if key.Lasts > 0 {
		expiresAt = tx.now + key.Lasts.Milliseconds()
	}
	namedBy := ""
	if key.Name != "" {
		namedBy = by.DeviceName
	}
	made := event{userID: by.UserID, kind: KeyMade, ip: key.IP, sessionID: rand.Text(), by: ByDevice(by.DeviceName), maker: by.ID}
	err = tx.QueryRow(`
		INSERT INTO sessions (id, token_hash, user_id, kind, host, detected_name, custom_name, named_by, device_kind, user_agent, ip, network,
		                      shared, form_hash, created_at, last_active_at, expires_at)
		VALUES ($1, $2, $3, 'app_key', $4, 'App key for ' || $4, $5, $6, 'unknown', '', $7, $8, 0, $9, $10, $10, $11)
		RETURNING COALESCE(NULLIF(custom_name, ''), detected_name)`,
		made.sessionID, hashToken(secret), by.UserID, key.Host, key.Name, namedBy, key.IP, networkOf(key.IP),
		form, tx.now, expiresAt).Scan(&made.deviceName)
	if err != nil {
		return "", err
	}
	return made.sessionID, tx.record(made)
}
