package db

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"time"
)

// This file creates app keys. A key is the token of a session without a browser, which opens one app and none of Porchlight's own pages. It
// is listed and revoked like any session. It has no idle limit, because a backup may run once a year.

// keyPrefix begins every key, so that nobody mistakes one for another secret. Tokens of browsers consist of capital letters and digits.
const keyPrefix = "plk_"

// MaxKeys is the maximum number of live keys of one user.
const MaxKeys = 50

// neverExpires is the expiry of a key that does not expire, so that every statement that looks for live sessions works for it, too.
var neverExpires = time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)

// ErrTooManyKeys means that the user has MaxKeys live app keys.
var ErrTooManyKeys = errors.New("too many app keys")

// IsKey reports whether a secret has the prefix of app keys.
func IsKey(secret string) bool { return strings.HasPrefix(secret, keyPrefix) }

// NeverExpires reports whether the session is an app key that ends only when somebody ends it. Its ExpiresAt is in the year 9999.
func (s Session) NeverExpires() bool { return !s.ExpiresAt.Before(neverExpires) }

// NewKey describes an app key to create.
type NewKey struct {
	IP       string        // of the client that creates it
	Name     string        // "" for none
	Host     string        // the app, in CanonicalHost's form
	Lifetime time.Duration // 0 means forever
}

// CreateKey creates an app key for the caller, and returns it with its session. Only its hash is stored, so it cannot be shown again.
// CreateKey returns ErrTooManyKeys or ErrSessionEnded.
func (s *Store) CreateKey(ctx context.Context, by Session, key NewKey) (secret string, made Session, err error) {
	secret = keyPrefix + newToken()
	err = s.writeForSession(ctx, by, func(tx *tx) error {
		var live int
		err := tx.QueryRow(`
			SELECT COUNT(*) FROM sessions WHERE user_id = $1 AND kind = 'app_key' AND expires_at > $2`, by.UserID, tx.now).Scan(&live)
		if err != nil {
			return err
		}
		if live >= MaxKeys {
			return ErrTooManyKeys
		}
		made, err = s.insertKey(tx, by, key, secret)
		return err
	})
	if err != nil {
		return "", Session{}, err
	}
	return secret, made, nil
}

func (s *Store) insertKey(tx *tx, by Session, key NewKey, secret string) (made Session, err error) {
	expiresAt := neverExpires.UnixMilli()
	if key.Lifetime > 0 {
		expiresAt = tx.now + key.Lifetime.Milliseconds()
	}
	namedBy := ""
	if key.Name != "" {
		namedBy = by.DeviceName
	}
	id := rand.Text()
	err = tx.changeOne(`
		INSERT INTO sessions (id, token_hash, user_id, kind, host, detected_name, custom_name, named_by, device_kind, user_agent, ip, network,
		                      shared, created_at, last_active_at, expires_at)
		VALUES ($1, $2, $3, 'app_key', $4, 'App key for ' || $4, $5, $6, 'unknown', '', $7, $8, 0, $9, $9, $10)`,
		id, hashToken(secret), by.UserID, key.Host, key.Name, namedBy, key.IP, networkOf(key.IP), tx.now, expiresAt)
	if err != nil {
		return made, err
	}
	if made, err = s.scanSession(tx.QueryRow(sessionByID, id)); err != nil {
		return made, err
	}
	return made, tx.record(event{
		userID: by.UserID, kind: KeyMade, ip: key.IP, deviceName: made.DeviceName, sessionID: id, by: ByDevice(by.DeviceName), maker: by.ID,
	})
}
