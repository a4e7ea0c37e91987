package db

import (
	"context"
	"errors"
	"time"
)

// Client describes who sent a request: a browser or another program.
type Client struct {
	IP         string
	UserAgent  string
	Device     string // the token of the device cookie, or ""
	DeviceName string // detected from the User-Agent, such as "Firefox on Linux"
	DeviceKind string // desktop, phone, tablet, terminal or unknown

	// Describe, unless it is nil, returns DeviceName and DeviceKind for a User-Agent. It parses the User-Agent, which is expensive, so
	// the store calls it only when it needs them. Unless wait is set, it gives up if another User-Agent is being parsed.
	Describe func(userAgent string, wait bool) (deviceName, deviceKind string)
}

// described returns the client with its DeviceName and DeviceKind. Do not call it in a transaction.
func (c Client) described(wait bool) Client {
	if c.Describe != nil {
		c.DeviceName, c.DeviceKind = c.Describe(c.UserAgent, wait)
	}
	return c
}

// Authenticate finds an account by its username or e-mail address, and checks the password. For an unknown name, a wrong password
// and a disabled account it does the same work and returns ErrWrongPassword. After too many failures it returns Throttled, even if
// the password is right. If too many sign-ins are already waiting, it returns ErrBusy.
func (s *Store) Authenticate(ctx context.Context, name, password string, client Client) (User, error) {
	user, err := s.findUser(name)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return User{}, err
	}
	device, err := s.deviceOf(user.ID, client.Device)
	if err != nil {
		return User{}, err
	}
	err = s.attempt(ctx, s.signInCounters(canonical(name), user.ID, device, client.IP), func(blocked bool) error {
		if blocked {
			user.passwordHash = "" // takes as long to compare, and never matches
		}
		return s.checkPassword(ctx, &user, password)
	}, func(tx *tx) error {
		return tx.recordLockout(s.accountKey(canonical(name), user.ID), user.ID, device, client.IP)
	})
	if errors.Is(err, ErrWrongPassword) {
		// In memory for now, because a write would make known names slower than unknown ones. Failures can come in any number,
		// so none waits for a parse.
		s.noteFailure(user.ID, client.IP, client.described(false).DeviceName)
	}
	return user, err // empty for an unknown name, because people type passwords there by mistake
}

// reauthenticate checks the password of a user who is signed in. It returns ErrWrongPassword, Throttled, ErrBusy or
// ErrSessionEnded.
func (s *Store) reauthenticate(ctx context.Context, by Session, client Client, password string) (User, error) {
	user, err := s.findUser(by.Username)
	if errors.Is(err, ErrNotFound) {
		return user, ErrSessionEnded // the account was deleted, and its sessions with it
	}
	if err != nil {
		return user, err
	}
	failed := eventOf(by, ConfirmFailed)
	failed.ip = client.IP
	return user, s.attempt(ctx, s.sessionCounters(by.ID), func(bool) error {
		return s.checkPassword(ctx, &user, password)
	}, func(tx *tx) error {
		return tx.recordRepeat(failed)
	})
}

// ConfirmLifetime is how long after a session has checked a password or a passkey it may make changes that need such a check.
const ConfirmLifetime = 15 * time.Minute

// Confirmed reports whether the session has checked a password or a passkey within ConfirmLifetime. Signing in counts.
func (s *Store) Confirmed(session Session) bool {
	age := s.Now().Sub(session.ConfirmedAt)
	return 0 <= age && age < ConfirmLifetime // a negative age means that the clock was set back
}

// ConfirmWithPassword checks the password of the session's user, after which Confirmed reports true. It returns ErrWrongPassword,
// Throttled, ErrBusy or ErrSessionEnded.
func (s *Store) ConfirmWithPassword(ctx context.Context, by Session, client Client, password string) error {
	if _, err := s.reauthenticate(ctx, by, client, password); err != nil {
		return err
	}
	return s.writeForSession(ctx, by, func(tx *tx) error { return tx.confirm(by) })
}

func (tx *tx) confirm(by Session) error {
	return tx.changeOne(`UPDATE sessions SET confirmed_at = $1 WHERE id = $2 AND user_id = $3`, tx.now, by.ID, by.UserID)
}

// checkPassword returns ErrWrongPassword unless the password is right and the account is enabled. If the stored hash is cheaper
// than the current cost, it replaces it.
func (s *Store) checkPassword(ctx context.Context, user *User, password string) error {
	matches, outdated, err := s.hasher.compare(ctx, user.passwordHash, password)
	switch {
	case err != nil:
		return err
	case !matches || user.Disabled:
		return ErrWrongPassword
	case !outdated:
		return nil
	}
	err = s.rehash(ctx, user, password)
	if !errors.Is(err, ErrNotFound) {
		return err
	}
	// Another sign-in replaced the hash first, or the password was changed: check again.
	if *user, err = s.findUser(user.Username); errors.Is(err, ErrNotFound) {
		return ErrWrongPassword
	} else if err != nil {
		return err
	}
	return s.checkPassword(ctx, user, password)
}

// rehash replaces the stored hash with one of the current cost. It returns ErrNotFound if the stored hash has changed since it was
// checked.
func (s *Store) rehash(ctx context.Context, user *User, password string) error {
	hash, err := s.hasher.hash(ctx, password)
	if err != nil {
		return err
	}
	err = s.write(ctx, func(tx *tx) error {
		return tx.changeOne(`UPDATE users SET password_hash = $1 WHERE id = $2 AND password_hash = $3`, hash, user.ID, user.passwordHash)
	})
	user.passwordHash = hash
	return err
}
