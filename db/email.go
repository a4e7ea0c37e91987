package db

import (
	"context"
	"errors"
	"strconv"
	"time"
)

// This file changes the e-mail address of a user: by a link that is sent to the new address, or by an operator. Until the link is used, the
// old address counts.

// EmailChange is an address that waits to be confirmed.
type EmailChange struct {
	Username string
	Email    string
}

// RequestEmailChange sends a link to a new e-mail address of the user, and voids any earlier link. If the address belongs to somebody else,
// it sends nothing and returns nil all the same, because it must not reveal who has an account. It returns Invalid (field "email"),
// Throttled or ErrSessionEnded.
func (s *Store) RequestEmailChange(ctx context.Context, by Session, email string) error {
	email = canonical(email)
	if reason := checkEmail(email); reason != "" || email == "" {
		return Invalid{"email": "This is not an e-mail address."}
	}
	counters := append(s.linksFrom("email link from", by.IP),
		counter{key: s.attemptKey("email link", strconv.FormatInt(by.UserID, 10)), limit: linksPerHour, window: linksWindow})
	return s.writeForSession(ctx, by, func(tx *tx) error {
		if err := s.checkThrottle(ctx, tx, counters); err != nil {
			return err
		}
		if err := tx.count(counters); err != nil {
			return err
		}
		if err := tx.voidEmailLinks(by.UserID); err != nil {
			return err
		}
		var owner int64
		if err := tx.QueryRow(`SELECT COALESCE(MAX(id), 0) FROM users WHERE email = $1`, email).Scan(&owner); err != nil {
			return err
		}
		if owner == by.UserID {
			return Invalid{"email": "This is already your e-mail address."}
		}
		m := Message{
			UserID: by.UserID, Recipient: Recipient{Way: Mail, Address: email}, Kind: EmailLink,
			At: time.UnixMilli(tx.now), IP: by.IP, DeviceName: by.DeviceName, SessionID: by.ID, By: ByDevice(by.DeviceName), Count: 1,
		}
		if owner != 0 {
			m.UserID = 0
		}
		if _, err := tx.Exec(`
			INSERT INTO email_changes (user_id, email, expires_at) VALUES ($1, $2, $3)`,
			by.UserID, email, tx.now+EmailLinkLifetime.Milliseconds()); err != nil {
			return err
		}
		return tx.enqueue(m, tx.now)
	})
}

// UnconfirmedEmail returns the address that the user has entered and not confirmed yet, even if it belongs to somebody else. It returns
// ErrNotFound if there is none.
func (s *Store) UnconfirmedEmail(userID int64) (email string, err error) {
	return queryValue[string](s.reader, `SELECT email FROM email_changes WHERE user_id = $1 AND expires_at > $2`, userID, s.now())
}

// CancelEmailChange voids the link that could confirm another address. It returns ErrSessionEnded.
func (s *Store) CancelEmailChange(ctx context.Context, by Session) error {
	return s.writeForSession(ctx, by, func(tx *tx) error { return tx.voidEmailLinks(by.UserID) })
}

// voidEmailLinks voids the links that could still confirm an address of the user, sent or not.
func (tx *tx) voidEmailLinks(userID int64) error {
	if _, err := tx.Exec(`DELETE FROM links WHERE user_id = $1 AND kind = 'email'`, userID); err != nil {
		return err
	}
	if _, err := tx.Exec(`DELETE FROM email_changes WHERE user_id = $1`, userID); err != nil {
		return err
	}
	_, err := tx.Exec(`DELETE FROM outbox WHERE user_id = $1 AND is_link = 1 AND kind = 'email_link'`, userID)
	return err
}

// EmailChange returns the address that a link confirms. It changes nothing. It returns ErrNotFound if the token was used or voided, has
// expired or is unknown, and Throttled after too many of those.
func (s *Store) EmailChange(ctx context.Context, token string, client Client) (EmailChange, error) {
	found, err := s.findLink(ctx, token, linkEmail, client)
	if err != nil {
		return EmailChange{}, err
	}
	return EmailChange{Username: found.user.Username, Email: found.data.Email}, nil
}

// ConfirmEmail makes the address that a link confirms the address of the user. It returns the errors of EmailChange, or Invalid (field
// "email") if another account has taken the address in the meantime.
func (s *Store) ConfirmEmail(ctx context.Context, token string, client Client) (EmailChange, error) {
	change, err := s.EmailChange(ctx, token, client)
	if err != nil {
		return EmailChange{}, err
	}
	client = client.described(true) // before the transaction, which must not wait for it
	err = s.write(ctx, func(tx *tx) error {
		used, err := tx.useLink(hashToken(token), linkEmail)
		if err != nil {
			return err
		}
		changed := event{userID: used.user.ID, kind: EmailChanged, ip: client.IP, deviceName: client.DeviceName, by: ByDevice(client.DeviceName)}
		return s.changeEmail(tx, used.user, used.data.Email, changed)
	})
	if err != nil {
		return EmailChange{}, err
	}
	return change, nil
}

// setEmail changes the address of a user for an operator.
func (s *Store) setEmail(tx *tx, by Operator, userID int64, email string) error {
	email = canonical(email)
	if reason := checkEmail(email); reason != "" {
		return Invalid{"email": reason}
	}
	user, err := scanUser(tx.QueryRow(`SELECT `+userColumns+`0 FROM users u WHERE u.id = $1`, userID))
	if err != nil {
		return err
	}
	return s.changeEmail(tx, user, email, event{userID: userID, kind: EmailChanged, by: by.actor()})
}

// changeEmail stores another address, voids what was sent to the old one, and records the change unless there is none. Both addresses are
// alerted.
func (s *Store) changeEmail(tx *tx, user User, email string, changed event) error {
	if email == user.Email {
		return nil
	}
	if err := tx.changeOne(`UPDATE users SET email = NULLIF($1, '') WHERE id = $2`, email, user.ID); err != nil {
		return uniqueViolation(err)
	}
	changed.formerEmail = user.Email
	user.Email = email
	return errors.Join(s.forgetWrongPasswords(tx, user), tx.voidLinks(user.ID), tx.voidMailedInvitation(user.Username),
		tx.record(changed))
}
