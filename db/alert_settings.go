package db

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// This file stores which alerts users want, and where.

// AlertSettings are the alerts that a user wants, and where.
type AlertSettings struct {
	Mail  bool     // to the e-mail address, if there is one; important alerts are mailed anyway
	Topic string   // of ntfy: 1 to 64 letters, digits, "_" or "-"; "" for none
	Off   []string // those of OptionalAlerts that the user does not want
}

var topicPattern = regexp.MustCompile(`^[A-Za-z0-9_-]{0,64}$`)

// AlertSettings returns the settings of a user. Without any, everything is mailed.
func (s *Store) AlertSettings(userID int64) (AlertSettings, error) {
	settings, err := queryOne(s.reader, func(row scanner) (a AlertSettings, err error) {
		var off string
		err = row.Scan(&a.Mail, &a.Topic, &off)
		a.Off = strings.Fields(off)
		return a, err
	}, `SELECT mail, ntfy_topic, off FROM alert_settings WHERE user_id = $1`, userID)
	if errors.Is(err, ErrNotFound) {
		return AlertSettings{Mail: true}, nil
	}
	return settings, err
}

// SetAlertSettings stores the settings of the caller. It returns Invalid (fields "topic" and "off") or ErrSessionEnded.
func (s *Store) SetAlertSettings(ctx context.Context, by Session, settings AlertSettings) error {
	invalid := Invalid{}
	if !topicPattern.MatchString(settings.Topic) {
		invalid["topic"] = "A topic must have 1 to 64 letters (a to z), digits, dashes or underscores."
	}
	off := []string{}
	for _, kind := range OptionalAlerts {
		if slices.Contains(settings.Off, kind) {
			off = append(off, kind)
		}
	}
	for _, kind := range settings.Off {
		if !slices.Contains(OptionalAlerts, kind) {
			invalid["off"] = "Only optional alerts can be switched off."
		}
	}
	if len(invalid) > 0 {
		return invalid
	}
	return s.writeForSession(ctx, by, func(tx *tx) error {
		_, err := tx.Exec(`
			INSERT INTO alert_settings (user_id, mail, ntfy_topic, off) VALUES ($1, $2, $3, $4)
			ON CONFLICT (user_id) DO UPDATE SET mail = $2, ntfy_topic = $3, off = $4`,
			by.UserID, settings.Mail, settings.Topic, strings.Join(off, " "))
		return err
	})
}

// testsPerHour is how many test alerts a user can ask for.
const testsPerHour = 5

// SendTestAlert sends a test to the caller in every way that is set up, and for an administrator to the webhook. It returns ErrNotFound if
// no way is set up, Throttled or ErrSessionEnded.
func (s *Store) SendTestAlert(ctx context.Context, by Session) error {
	counters := []counter{{key: s.attemptKey("test alert", strconv.FormatInt(by.UserID, 10)), limit: testsPerHour, window: linksWindow}}
	return s.writeForSession(ctx, by, func(tx *tx) error {
		recipients, err := tx.recipients(event{userID: by.UserID}, true)
		if err != nil {
			return err
		}
		recipients = slices.DeleteFunc(recipients, func(r Recipient) bool { return r.Way == Webhook && !by.IsAdmin })
		if len(recipients) == 0 {
			return ErrNotFound
		}
		if err := s.checkThrottle(ctx, tx, counters); err != nil {
			return err
		}
		if err := tx.count(counters); err != nil {
			return err
		}
		m := Message{
			UserID: by.UserID, Kind: TestAlert,
			At: time.UnixMilli(tx.now), IP: by.IP, DeviceName: by.DeviceName, SessionID: by.ID, By: ByDevice(by.DeviceName), Count: 1,
		}
		for _, m.Recipient = range recipients {
			if err := tx.enqueue(m, tx.now); err != nil {
				return err
			}
		}
		return tx.boundOutbox(by.UserID)
	})
}
