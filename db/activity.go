package db

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"math"
	"slices"
	"strings"
	"time"
)

// The kinds of activity, as they appear in the API.
const (
	SignedIn        = "signed_in"
	SignInFailed    = "sign_in_failed"
	SignedOut       = "signed_out"
	Revoked         = "revoked"
	Replaced        = "replaced" // by a sign-in on the same browser
	Expired         = "expired"
	Evicted         = "evicted" // the user had too many sessions
	PasswordChanged = "password_changed"
	Renamed         = "renamed"
	Exported        = "exported"
	Invited         = "invited"
	Disabled        = "disabled"
	Enabled         = "enabled"
	Approved        = "approved"
	MadeAdmin       = "made_admin"
	UnmadeAdmin     = "unmade_admin"
	GroupsChanged   = "groups_changed"
	EmailChanged    = "email_changed"
	BrowserChanged  = "browser_changed" // the session is used with another browser than at sign-in
	ConfirmFailed   = "confirm_failed"  // a live session gave a wrong password

	TOTPOn            = "totp_on"
	TOTPOff           = "totp_off"
	PasskeyAdded      = "passkey_added"
	PasskeyRemoved    = "passkey_removed"
	PasskeyRefused    = "passkey_refused" // its counter went back
	RecoveryCodesMade = "recovery_codes_made"
	RecoveryCodeUsed  = "recovery_code_used"
	KeyMade           = "key_made"

	InvitationCancelled = "invitation_cancelled"

	PasswordReset  = "password_reset"  // with a mailed link
	AccountLocked  = "account_locked"  // after maxConsecutiveFailures
	DeliveryFailed = "delivery_failed" // a message to the user was given up; By is the Way
)

// Actor is who did something, as the API shows it: the name of a device, ByCommand, "admin NAME", or "" for nobody.
type Actor string

// ByCommand is the Actor on the command line.
const ByCommand = "command"

// ByDevice returns a device as an Actor. A user can name a device "command" or "admin alice". Such a name is quoted, because without
// quotes it would stand for the command line or for an administrator.
func ByDevice(name string) Actor {
	if name == ByCommand || strings.HasPrefix(name, adminPrefix) {
		name = `"` + name + `"`
	}
	return Actor(name)
}

// event is a row of activity to write.
type event struct {
	userID     int64
	kind       string
	at         int64  // milliseconds since 1970; 0 means the time of the transaction
	ip         string // of the session that it happened to, or of the failed attempt
	deviceName string // of the same
	sessionID  string // "" for a failed sign-in
	by         Actor
	count      int // 0 means 1

	maker       string // the id of the session that did it, if sessionID names a key: an alert is about its device
	silent      bool   // nobody is alerted
	formerEmail string // the address that was replaced, which gets the alert too
}

// eventOf returns an event for something that the user of a session did, or failed to do.
func eventOf(by Session, kind string) event {
	return event{userID: by.UserID, kind: kind, ip: by.IP, deviceName: by.DeviceName, sessionID: by.ID, by: ByDevice(by.DeviceName)}
}

// record writes an event and the alerts about it in the transaction of the change, so that none exists without the others.
func (tx *tx) record(e event) error {
	if err := tx.insertActivity(e); err != nil {
		return err
	}
	return tx.alert(e)
}

func (tx *tx) insertActivity(e event) error {
	_, err := tx.Exec(`
		INSERT INTO activity (user_id, kind, happened_at, ip, device_name, session_id, done_by, count)
		SELECT $1, $2, $3, $4, $5, $6, $7, $8
		WHERE EXISTS (SELECT 1 FROM users WHERE id = $1)`, // an event noted in memory may outlive its account
		e.userID, e.kind, cmp.Or(e.at, tx.now), e.ip, e.deviceName, e.sessionID, e.by, max(e.count, 1))
	return err
}

// recordRepeat is like record, but for events that can repeat, so that somebody who guesses passwords all night does not fill the disk. If
// the user's newest event is like e, e replaces it, with the count of both. It gets a new id, because followers of the activity look for
// larger ids.
func (tx *tx) recordRepeat(e event) error {
	var count int
	err := tx.QueryRow(`
		DELETE FROM activity
		WHERE id = (SELECT MAX(id) FROM activity WHERE user_id = $1)
		  AND kind = $2 AND ip = $3 AND device_name = $4 AND session_id = $5 AND done_by = $6
		RETURNING count`,
		e.userID, e.kind, e.ip, e.deviceName, e.sessionID, e.by).Scan(&count)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	n := max(e.count, 1)
	e.count = count + n
	if err := tx.insertActivity(e); err != nil {
		return err
	}
	e.count = n // the earlier ones have had their alert
	return tx.alert(e)
}

// Activity is something that happened to an account.
type Activity struct {
	ID         int64 // larger than that of everything before it; changes when Count grows
	Kind       string
	At         time.Time
	IP         string // of the session that it happened to, or of the failed attempt
	DeviceName string // of the same
	SessionID  string // "" if there was none
	By         Actor
	Count      int // how many times in a row
}

// Activity returns what happened to a user's account, newest first and at most limit rows. If before is not 0, it returns only rows
// with a smaller id. The limit has "+ 0", because every list of devices runs this statement (see sessionsOfUser).
func (s *Store) Activity(userID, before int64, limit int) ([]Activity, error) {
	if before == 0 {
		before = math.MaxInt64
	}
	return queryAll(s.reader, scanActivity, `
		SELECT id, kind, happened_at, ip, device_name, session_id, done_by, count
		FROM activity
		WHERE user_id = $1 AND id < $2
		ORDER BY id DESC
		LIMIT $3 + 0`, userID, before, limit)
}

// ActivityAfter returns the rows of a user's activity that follow the one with the id after: at most limit, newest first.
func (s *Store) ActivityAfter(userID, after int64, limit int) ([]Activity, error) {
	rows, err := queryAll(s.reader, scanActivity, `
		SELECT id, kind, happened_at, ip, device_name, session_id, done_by, count
		FROM activity
		WHERE user_id = $1 AND id > $2
		ORDER BY id
		LIMIT $3`, userID, after, limit)
	slices.Reverse(rows)
	return rows, err
}

func scanActivity(row scanner) (a Activity, err error) {
	var happenedAt int64
	err = row.Scan(&a.ID, &a.Kind, &happenedAt, &a.IP, &a.DeviceName, &a.SessionID, &a.By, &a.Count)
	a.At = time.UnixMilli(happenedAt)
	return a, err
}

// RecordExport records that the caller exports their data. Call it before the data is sent.
func (s *Store) RecordExport(ctx context.Context, by Session) error {
	return s.write(ctx, func(tx *tx) error {
		return tx.recordRepeat(eventOf(by, Exported))
	})
}

// LastActivity returns the id of the newest activity of a user, or 0 if there is none.
func (s *Store) LastActivity(userID int64) (int64, error) {
	return queryValue[int64](s.reader, `SELECT COALESCE(MAX(id), 0) FROM activity WHERE user_id = $1`, userID)
}

// UserActivity is something that happened to an account, with its user.
type UserActivity struct {
	UserID   int64
	Username string
	Activity
}

// activityColumns is what scanUserActivity reads from activity a, after the username.
const activityColumns = `a.user_id, a.id, a.kind, a.happened_at, a.ip, a.device_name, a.session_id, a.done_by, a.count`

// AllActivity returns what has happened to one user, or to every user if username is "", since a time: the rows that follow the one with
// the id after, at most limit, oldest first. It returns ErrNotFound for an unknown user.
func (s *Store) AllActivity(username string, since time.Time, after int64, limit int) ([]UserActivity, error) {
	if username == "" {
		return queryAll(s.reader, scanUserActivity, `
			SELECT u.username, `+activityColumns+`
			FROM activity a CROSS JOIN users u ON u.id = a.user_id
			WHERE a.id > $1 AND a.happened_at >= $2
			ORDER BY a.id
			LIMIT $3`, after, since.UnixMilli(), limit)
	}
	user, err := s.UserByName(username)
	if err != nil {
		return nil, err
	}
	return queryAll(s.reader, scanUserActivity, `
		SELECT u.username, `+activityColumns+`
		FROM users u CROSS JOIN activity a ON a.user_id = u.id
		WHERE u.id = $1 AND a.id > $2 AND a.happened_at >= $3
		ORDER BY a.id
		LIMIT $4`, user.ID, after, since.UnixMilli(), limit)
}

func scanUserActivity(row scanner) (a UserActivity, err error) {
	var happenedAt int64
	err = row.Scan(&a.Username, &a.UserID, &a.ID, &a.Kind, &happenedAt, &a.IP, &a.DeviceName, &a.SessionID, &a.By, &a.Count)
	a.At = time.UnixMilli(happenedAt)
	return a, err
}
