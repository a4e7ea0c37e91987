package db

import (
	"context"
	"errors"
	"time"
)

// This file owns "This wasn't me": the link in every mailed alert, with which users sign out an intruder.

// NotMeAlert is the alert that a link for "This wasn't me" came with.
type NotMeAlert struct {
	Username   string
	Kind       string // of activity
	At         time.Time
	IP         string
	DeviceName string
	Email      string // the address that the link restores, or ""
}

func notMeData(m Message) linkData {
	data := linkData{Kind: m.Kind, At: m.At.UnixMilli(), IP: m.IP, DeviceName: m.DeviceName, DeviceID: m.deviceID}
	if m.Former {
		data.Email = m.Address
	}
	return data
}

// NotMeAlert returns what a link for "This wasn't me" is about. It changes nothing. It returns ErrNotFound if the token was used or voided,
// has expired or is unknown, and Throttled after too many of those.
func (s *Store) NotMeAlert(ctx context.Context, token string, client Client) (NotMeAlert, error) {
	found, err := s.findLink(ctx, token, linkNotMe, client)
	if err != nil {
		return NotMeAlert{}, err
	}
	data := found.data
	return NotMeAlert{found.user.Username, data.Kind, time.UnixMilli(data.At), data.IP, data.DeviceName, data.Email}, nil
}

// UseNotMe ends every session of the user, voids the invitations that the user created, forgets the device that the alert was about, and
// returns a token for ResetPassword. If the alert said that the address was changed and went to the old one, it restores that address,
// because otherwise the person who changed it could reset the password again. It returns the errors of NotMeAlert.
func (s *Store) UseNotMe(ctx context.Context, token string, client Client) (resetToken string, err error) {
	if _, err := s.findLink(ctx, token, linkNotMe, client); err != nil {
		return "", err
	}
	client = client.described(true) // before the transaction, which must not wait for it
	err = s.writeUrgent(ctx, func(tx *tx) error {
		used, err := tx.useLink(hashToken(token), linkNotMe)
		if err != nil {
			return err
		}
		user, by := used.user, ByDevice(client.DeviceName)
		if err := errors.Join(tx.voidPending(user.ID), tx.voidInvitationsBy(user.Username)); err != nil {
			return err
		}
		if used.data.Email != "" {
			restored := event{userID: user.ID, kind: EmailChanged, ip: client.IP, deviceName: client.DeviceName, by: by}
			if err := s.restoreEmail(tx, user, used.data.Email, restored); err != nil {
				return err
			}
		}
		_, err = tx.endSessions(Revoked, by, `DELETE FROM sessions WHERE user_id = $1 AND expires_at > $2`, user.ID, tx.now)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(`DELETE FROM devices WHERE id = $1 AND user_id = $2`, used.data.DeviceID, user.ID); err != nil {
			return err
		}
		resetToken, err = tx.addLink(user.ID, linkReset, linkData{}, 0)
		return err
	})
	if err != nil {
		return "", err
	}
	return resetToken, nil
}

// restoreEmail gives the user an old address back, unless another account has it now. The address that it replaces gets no
// alert and loses every link, because such a link could undo this.
func (s *Store) restoreEmail(tx *tx, user User, email string, restored event) error {
	err := s.changeEmail(tx, user, email, restored)
	if invalid := (Invalid{}); errors.As(err, &invalid) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := tx.voidNotMeLinks(user.ID); err != nil {
		return err
	}
	_, err = tx.Exec(`DELETE FROM outbox WHERE user_id = $1 AND is_link IN (0, 1) AND way = 'mail' AND address <> $2`, user.ID, email)
	return err
}
