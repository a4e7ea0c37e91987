package db

import (
	"context"
	"errors"
	"strconv"
	"time"
)

// This file lets users who have forgotten their password choose a new one.

// RequestReset sends a link to choose a new password, if the name or e-mail address belongs to an account that has an address. Neither the
// result nor the time reveals whether it does: every request writes the same rows. At most three links an hour are sent to an account.
// RequestReset returns Throttled after too many requests from an IP address.
func (s *Store) RequestReset(ctx context.Context, name string, client Client) error {
	byAddress := s.linksFrom("reset from", client.IP)
	if err := s.checkThrottle(ctx, s.reader, byAddress); err != nil { // without a write
		return err
	}
	// One row in every case: findUser takes longer for a user that exists.
	userID, err := queryValue[int64](s.reader, `SELECT COALESCE(MAX(id), 0) FROM users WHERE username = $1 OR email = $1`, canonical(name))
	if err != nil {
		return err
	}
	who := "name " + canonical(name)
	if userID != 0 {
		who = "user " + strconv.FormatInt(userID, 10)
	}
	byAccount := []counter{{key: s.attemptKey("reset link", who), limit: linksPerHour, window: linksWindow}}
	refused := []counter{{key: s.attemptKey("refused reset link", who)}} // never full: these must not keep the owner from asking later
	return s.write(ctx, func(tx *tx) error {
		if err := s.checkThrottle(ctx, tx, byAddress); err != nil {
			return err
		}
		m := Message{Recipient: Recipient{Way: Mail}, Kind: PasswordLink, At: time.UnixMilli(tx.now), IP: client.IP, Count: 1}
		err := tx.QueryRow(`
			SELECT COALESCE(MAX(id), 0), COALESCE(MAX(email), '')
			FROM users
			WHERE id = $1 AND disabled = 0 AND email IS NOT NULL`, userID).Scan(&m.UserID, &m.Address)
		if err != nil {
			return err
		}
		var throttled Throttled
		if err := s.checkThrottle(ctx, tx, byAccount); errors.As(err, &throttled) {
			m.UserID, byAccount = 0, refused
		} else if err != nil {
			return err
		}
		if err := tx.count(append(byAddress, byAccount...)); err != nil {
			return err
		}
		return tx.enqueue(m, tx.now)
	})
}

// Reset returns the user who may choose a new password with this link. It changes nothing. It returns ErrNotFound if the token was used or
// voided, has expired or is unknown, and Throttled after too many of those.
func (s *Store) Reset(ctx context.Context, token string, client Client) (User, error) {
	found, err := s.findLink(ctx, token, linkReset, client)
	if err != nil {
		return User{}, err
	}
	return found.user, nil
}

// ResetPassword sets the password, ends every session of the account, and resets the counters of failed attempts. If the user has a second
// factor, it changes nothing yet and returns ErrSecondFactor: continue with BeginSecondStep for the returned user. ResetPassword returns
// the errors of Reset, or Invalid (field "password"). After ErrSecondFactor or Invalid, the link is still valid.
func (s *Store) ResetPassword(ctx context.Context, token, password string, client Client) (User, error) {
	user, err := s.Reset(ctx, token, client)
	if err != nil {
		return User{}, err
	}
	hash, err := s.hashNewPassword(ctx, password, user.Username, user.Email)
	if err != nil {
		return User{}, err
	}
	client = client.described(true) // before the transaction, which must not wait for it
	err = s.writeUrgent(ctx, func(tx *tx) error {
		found, err := scanLink(tx.QueryRow(linkByToken, hashToken(token), linkReset, tx.now))
		if err != nil {
			return err
		}
		if found.user.SecondFactor {
			user = found.user.withChosenPassword(hash, token)
			return ErrSecondFactor
		}
		user, err = s.useReset(tx, hashToken(token), hash, client)
		return err
	})
	return user, err
}

// useReset uses a link to set a password.
func (s *Store) useReset(tx *tx, linkHash []byte, passwordHash string, client Client) (User, error) {
	used, err := tx.useLink(linkHash, linkReset)
	if err != nil {
		return User{}, err
	}
	reset := event{userID: used.user.ID, kind: PasswordReset, ip: client.IP, deviceName: client.DeviceName, by: ByDevice(client.DeviceName)}
	return s.setPassword(tx, used.user.Username, passwordHash, reset)
}
