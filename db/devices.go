package db

import (
	"cmp"
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"time"
)

// DeviceLifetime is how long a device is known without being used, and how long its cookie lasts.
const DeviceLifetime = 400 * 24 * time.Hour

// maxDevices is how many devices are stored for a user: those that were seen last.
const maxDevices = 200

// Device is a browser that a user has signed in from before.
type Device struct {
	ID           string // public
	Name         string // the name that the user gave, or else DetectedName
	DetectedName string // the browser at the last sign-in
	CustomName   string // "" for none
	NamedBy      string // the device that gave CustomName; "" if this one did
	Kind         string // as in Client
	FirstSeenAt  time.Time
	LastSeenAt   time.Time // the last sign-in or use
	SignedIn     bool      // it has a live session
}

// recogniseDevice finds the browser that signs in among the devices of the user, or adds it, and links the session to it. It returns the
// token for the device cookie.
//
// A token that is not known for this user is replaced by a new one, so that nobody can plant one that they know. The devices that other
// users have in the same browser get the new one, too.
func (s *Store) recogniseDevice(tx *tx, session *Session, brought string) (token string, err error) {
	var d Device
	var firstSeenAt int64
	err = tx.QueryRow(`
		UPDATE devices SET last_seen_at = $1, detected_name = $2, device_kind = $3
		WHERE user_id = $4 AND token_hash = $5
		RETURNING id, custom_name, named_by, first_seen_at`,
		tx.now, session.DetectedName, session.DeviceKind, session.UserID, hashToken(brought)).
		Scan(&d.ID, &d.CustomName, &d.NamedBy, &firstSeenAt)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		token = newToken()
		return token, tx.addDevice(session, brought, token)
	case err != nil:
		return "", err
	}
	if err := tx.forget([]attemptKey{s.deviceKey(d.ID), s.wrongCodesKey(0, d.ID)}, false); err != nil {
		return "", err
	}
	session.CustomName, session.NamedBy = d.CustomName, d.NamedBy
	session.DeviceName = cmp.Or(d.CustomName, session.DetectedName)
	_, err = tx.Exec(`
		UPDATE sessions SET device_id = $1, custom_name = $2, named_by = $3, first_seen_at = $4 WHERE id = $5`,
		d.ID, d.CustomName, d.NamedBy, firstSeenAt, session.ID)
	return brought, err
}

func (tx *tx) addDevice(session *Session, brought, token string) error {
	if _, err := tx.Exec(`UPDATE devices SET token_hash = $1 WHERE token_hash = $2`, hashToken(token), hashToken(brought)); err != nil {
		return err
	}
	id := rand.Text()
	_, err := tx.Exec(`
		INSERT INTO devices (id, user_id, token_hash, detected_name, device_kind, first_seen_at, last_seen_at)
		VALUES ($1, $2, $3, $4, $5, $6, $6)`,
		id, session.UserID, hashToken(token), session.DetectedName, session.DeviceKind, tx.now)
	if err != nil {
		return err
	}
	if _, err = tx.Exec(`UPDATE sessions SET device_id = $1 WHERE id = $2`, id, session.ID); err != nil {
		return err
	}
	_, err = tx.Exec(`
		DELETE FROM devices
		WHERE id IN (SELECT id FROM devices WHERE user_id = $1 ORDER BY last_seen_at DESC LIMIT -1 OFFSET $2)`, session.UserID, maxDevices)
	return err
}

// renewDevice gives the device of a session a new token, or returns "" if the session has none.
func (tx *tx) renewDevice(sessionID string) (token string, err error) {
	token = newToken()
	err = tx.changeOne(`
		UPDATE devices SET token_hash = $1
		WHERE token_hash = (SELECT d.token_hash FROM devices d JOIN sessions s ON s.device_id = d.id WHERE s.id = $2)`,
		hashToken(token), sessionID)
	if errors.Is(err, ErrNotFound) {
		return "", nil
	}
	return token, err
}

// deviceOf returns the id of the user's device with this token, or "" if there is none.
func (s *Store) deviceOf(userID int64, token string) (id string, err error) {
	if token == "" {
		return "", nil
	}
	id, err = queryValue[string](s.reader, `SELECT id FROM devices WHERE user_id = $1 AND token_hash = $2`, userID, hashToken(token))
	if errors.Is(err, ErrNotFound) {
		err = nil
	}
	return id, err
}

// Devices returns the devices of a user, last seen first.
func (s *Store) Devices(userID int64) ([]Device, error) {
	return queryAll(s.reader, scanDevice, `
		SELECT d.id, d.detected_name, d.device_kind, d.custom_name, d.named_by, d.first_seen_at,
		       MAX(d.last_seen_at, COALESCE(MAX(s.last_active_at), 0)) AS seen_at, COALESCE(MAX(s.expires_at), 0) > $1
		FROM devices d LEFT JOIN sessions s ON s.device_id = d.id
		WHERE d.user_id = $2
		GROUP BY d.id
		ORDER BY seen_at DESC`, s.now(), userID)
}

func scanDevice(row scanner) (d Device, err error) {
	var firstSeenAt, lastSeenAt int64
	err = row.Scan(&d.ID, &d.DetectedName, &d.Kind, &d.CustomName, &d.NamedBy, &firstSeenAt, &lastSeenAt, &d.SignedIn)
	d.Name = cmp.Or(d.CustomName, d.DetectedName)
	d.FirstSeenAt, d.LastSeenAt = time.UnixMilli(firstSeenAt), time.UnixMilli(lastSeenAt)
	return d, err
}

// ForgetDevice deletes one of the user's own devices and its name. Its session continues. It returns ErrNotFound if there is no such
// device.
func (s *Store) ForgetDevice(ctx context.Context, by Session, id string) error {
	return s.writeForSession(ctx, by, func(tx *tx) error {
		_, err := tx.Exec(`UPDATE sessions SET custom_name = '', named_by = '' WHERE device_id = $1 AND user_id = $2`, id, by.UserID)
		if err != nil {
			return err
		}
		tx.toWake = append(tx.toWake, by.UserID)
		return tx.changeOne(`DELETE FROM devices WHERE id = $1 AND user_id = $2`, id, by.UserID)
	})
}

// sweepDevices deletes devices that were not used for DeviceLifetime.
func (tx *tx) sweepDevices(limit int) (int, error) {
	return tx.changeRows(`
		DELETE FROM devices
		WHERE id IN (SELECT id FROM devices d
		             WHERE last_seen_at < $1 AND NOT EXISTS (SELECT 1 FROM sessions s WHERE s.device_id = d.id AND s.last_active_at >= $1)
		             ORDER BY last_seen_at
		             LIMIT $2)`, tx.now-DeviceLifetime.Milliseconds(), limit)
}
