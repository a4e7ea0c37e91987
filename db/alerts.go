package db

import (
	"cmp"
	"database/sql"
	"errors"
	"slices"
	"strings"
	"time"
)

// This file decides which events cause an alert, and in which ways. The messages are written to the outbox in the transaction of the
// event.

// Way is a way to send messages to users.
type Way string

// The ways.
const (
	Mail    Way = "mail"
	Ntfy    Way = "ntfy"
	Webhook Way = "webhook" // gets every alert of every user
)

// Ways are the ways that the server can use.
type Ways struct{ Mail, Ntfy, Webhook bool }

// OptionalAlerts are the kinds of alerts that a user can switch off. Only administrators get UserWaiting.
var OptionalAlerts = []string{SignedIn, BrowserChanged, AccountLocked, UserWaiting}

// importantAlerts are the kinds that a user cannot switch off. Somebody who has taken over a session must not be able to hide them.
var importantAlerts = []string{
	PasswordChanged, PasswordReset, EmailChanged,
	TOTPOn, TOTPOff, PasskeyAdded, PasskeyRemoved, PasskeyRefused, RecoveryCodesMade, RecoveryCodeUsed,
	KeyMade,
}

// AlertKinds returns every kind of alert.
func AlertKinds() []string { return slices.Concat(OptionalAlerts, importantAlerts) }

// quietFor is how long further alerts of the same kind about the same session or device wait after an alert. They become one message.
const quietFor = time.Hour

// storeWays stores the ways of this server, because commands write alerts too and do not know its settings.
func (tx *tx) storeWays(ways Ways) error {
	for way, on := range map[Way]bool{Mail: ways.Mail, Ntfy: ways.Ntfy, Webhook: ways.Webhook} {
		statement := `DELETE FROM ways WHERE way = $1`
		if on {
			statement = `INSERT INTO ways (way) VALUES ($1) ON CONFLICT DO NOTHING`
		}
		if _, err := tx.Exec(statement, way); err != nil {
			return err
		}
	}
	return nil
}

// alert writes the messages about an event, if its user gets alerts about it.
func (tx *tx) alert(e event) error {
	important := slices.Contains(importantAlerts, e.kind)
	if e.silent || !important && !slices.Contains(OptionalAlerts, e.kind) {
		return nil
	}
	recipients, err := tx.recipients(e, important)
	if err != nil || len(recipients) == 0 {
		return err
	}
	m := Message{
		UserID: e.userID, Kind: e.kind, At: time.UnixMilli(cmp.Or(e.at, tx.now)), IP: e.ip, DeviceName: e.deviceName, SessionID: e.sessionID,
		By: e.by, Count: max(e.count, 1), about: aboutOf(e),
	}
	err = tx.QueryRow(`
		SELECT device_id FROM sessions WHERE id = $1 AND device_id IS NOT NULL`, cmp.Or(e.maker, e.sessionID)).Scan(&m.deviceID)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	dueAt := int64(0)
	for _, m.Recipient = range recipients {
		merged, err := tx.addToWaiting(m)
		if err != nil {
			return err
		}
		if merged {
			continue
		}
		if dueAt == 0 {
			if dueAt, err = tx.alertDueAt(m); err != nil {
				return err
			}
		}
		if err := tx.enqueue(m, dueAt); err != nil {
			return err
		}
	}
	return tx.boundOutbox(e.userID)
}

// alertAdministrators alerts every administrator that a new user is waiting for approval. Sign-ups share a message, so even thousands
// cause at most one message an hour for each administrator and way.
func (tx *tx) alertAdministrators(username, ip string) error {
	rows, err := tx.Query(`SELECT id FROM users WHERE is_admin = 1 AND disabled = 0`)
	ids, err := scanAll(rows, err, func(row scanner) (id int64, err error) {
		err = row.Scan(&id)
		return id, err
	})
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := tx.alert(event{userID: id, kind: UserWaiting, ip: ip, by: ByDevice(username)}); err != nil {
			return err
		}
	}
	return nil
}

// recipients returns who gets an alert about an event: nobody, if the user has switched it off.
func (tx *tx) recipients(e event, important bool) ([]Recipient, error) {
	rows, err := tx.Query(`
		SELECT w.way, COALESCE(u.email, ''), COALESCE(a.mail, 1), COALESCE(a.ntfy_topic, ''), COALESCE(a.off, '')
		FROM users u CROSS JOIN ways w LEFT JOIN alert_settings a ON a.user_id = u.id
		WHERE u.id = $1`, e.userID)
	all, err := scanAll(rows, err, func(row scanner) (found []Recipient, err error) {
		var way Way
		var email, topic, off string
		var mail bool
		if err := row.Scan(&way, &email, &mail, &topic, &off); err != nil {
			return nil, err
		}
		wanted := !slices.Contains(strings.Fields(off), e.kind) // always, if it is important
		switch {
		case way == Webhook:
			found = append(found, Recipient{Way: Webhook})
		case way == Ntfy && topic != "" && wanted:
			found = append(found, Recipient{Way: Ntfy, Address: topic})
		case way == Mail && wanted && (mail || important):
			if email != "" {
				found = append(found, Recipient{Way: Mail, Address: email})
			}
			if e.formerEmail != "" {
				found = append(found, Recipient{Way: Mail, Address: e.formerEmail, Former: true})
			}
		}
		return found, nil
	})
	return slices.Concat(all...), err
}

// addToWaiting merges an alert into one of the same kind about the same session or device that no sender has claimed yet. It reports
// whether there was one.
func (tx *tx) addToWaiting(m Message) (merged bool, err error) {
	n, err := tx.changeRows(`
		UPDATE outbox
		SET count = count + $1, happened_at = $2, ip = $3, device_name = $4, session_id = $5, device_id = $6, done_by = $7
		WHERE user_id = $8 AND is_link = 0 AND way = $9 AND address = $10 AND former = $11 AND kind = $12 AND about = $13 AND attempts = 0`,
		m.Count, m.At.UnixMilli(), m.IP, m.DeviceName, m.SessionID, m.deviceID, m.By, m.UserID, m.Way, m.Address, m.Former, m.Kind, m.about)
	return n > 0, err
}

// alertDueAt returns when to send an alert: now, or quietFor after the last one of its kind about the same session or device.
func (tx *tx) alertDueAt(m Message) (dueAt int64, err error) {
	if m.Kind == EmailChanged { // each one goes to other addresses
		return tx.now, nil
	}
	var last int64
	err = tx.QueryRow(`SELECT at FROM recent_alerts WHERE user_id = $1 AND kind = $2 AND about = $3`, m.UserID, m.Kind, m.about).Scan(&last)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, err
	}
	dueAt = tx.now
	if next := last + quietFor.Milliseconds(); last > 0 && tx.now < next {
		dueAt = min(next, tx.now+quietFor.Milliseconds()) // last is in the future if an alert waits, or the clock was set back
	}
	_, err = tx.Exec(`
		INSERT INTO recent_alerts (user_id, kind, about, at) VALUES ($1, $2, $3, $4)
		ON CONFLICT (user_id, kind, about) DO UPDATE SET at = $4`, m.UserID, m.Kind, m.about, dueAt)
	return dueAt, err
}

// aboutOf returns what an event is about: events about the same thing share a message. Each sign-in creates a session, so for sign-ins it
// is the device.
func aboutOf(e event) string {
	if e.kind == SignedIn {
		return e.deviceName
	}
	return cmp.Or(e.maker, e.sessionID, e.deviceName)
}
