package db

import (
	"context"
	"crypto/rand"
	"errors"
	"time"
)

// This file begins sessions.

// NewSession describes a session to begin.
type NewSession struct {
	Client
	Method   string // ByPassword, ByInvitation, ByReset, BySetup or BySignUp; methods that check a code or a passkey set it themselves
	Shared   bool
	Remember bool     // as one of the user's devices
	Form     string   // the random id of the form, or ""
	Replaces []string // tokens that the client sent: their sessions end, so that one browser is one row
}

// The ways to sign in, as they appear in the API.
const (
	ByPassword            = "password"
	ByPasswordAndCode     = "password+code"
	ByPasswordAndRecovery = "password+recovery"
	ByPasswordAndPasskey  = "password+passkey"
	ByPasskey             = "passkey"
	ByInvitation          = "invite"
	ByReset               = "reset"
	BySetup               = "setup"
	BySignUp              = "signup"
)

// formWindow is how long a form that is sent again begins no second session.
const formWindow = time.Minute

// SignIn begins a session, under a new token, for a user that Authenticate, CreateUser or AcceptInvitation returned. If the form has just
// begun one, that session gets the new token instead. SignIn returns ErrSecondFactor if the user has a second factor, and ErrWrongPassword
// if the password was changed, or the account disabled or deleted, since then.
func (s *Store) SignIn(ctx context.Context, user User, newSession NewSession) (token string, session Session, err error) {
	token, newSession.Client = newToken(), newSession.described(true)
	err = s.write(ctx, func(tx *tx) (err error) {
		has, err := tx.hasSecondFactor(user.ID)
		if err != nil {
			return storeError(err)
		}
		if has {
			return ErrSecondFactor
		}
		if session, err = s.signInAgain(tx, user, newSession.Form, token); !errors.Is(err, ErrNotFound) {
			return err
		}
		session, err = s.beginSession(tx, user, newSession, token)
		return err
	})
	return token, session, err
}

// beginSession begins a session for a user who has given every factor. It returns ErrWrongPassword if the user cannot sign in any more.
func (s *Store) beginSession(tx *tx, user User, newSession NewSession, token string) (session Session, err error) {
	for _, brought := range newSession.Replaces {
		if _, err := tx.endSessions(Replaced, ByDevice(newSession.DeviceName), `
			DELETE FROM sessions
			WHERE token_hash = $1 AND expires_at > $2`, hashToken(brought), tx.now); err != nil {
			return session, err
		}
	}
	if session, err = s.insertSession(tx, user, newSession, token); err != nil {
		return session, err
	}
	if newSession.Remember {
		if session.DeviceToken, err = s.recogniseDevice(tx, &session, newSession.Device); err != nil {
			return session, err
		}
	}
	if _, err := tx.endSessions(Evicted, ByDevice(newSession.DeviceName), `
		DELETE FROM sessions
		WHERE id IN (SELECT id FROM sessions
		             WHERE user_id = $1 AND id <> $2 AND kind = 'browser' AND expires_at > $3
		             ORDER BY last_active_at DESC
		             LIMIT -1 OFFSET $4)`, user.ID, session.ID, tx.now, s.options.MaxSessions-1); err != nil {
		return session, err
	}
	if err := s.forgetConsecutiveFailures(tx, user); err != nil {
		return session, err
	}
	if err := tx.useNetwork(session.ID, session.Network, tx.now); err != nil {
		return session, err
	}
	signedIn := eventOf(session, SignedIn)
	known := newSession.Remember && session.DeviceToken == newSession.Device
	if signedIn.silent, err = tx.isExpectedSignIn(session, known); err != nil {
		return session, err
	}
	return session, tx.record(signedIn)
}

// isExpectedSignIn records that the user has signed in, and reports whether that needs no alert: on a known device, for the first time, or
// right after an invitation, set-up or sign-up. A shared computer is never known, so a sign-in there always needs one.
func (tx *tx) isExpectedSignIn(session Session, known bool) (bool, error) {
	first, err := tx.changeRows(`UPDATE users SET has_signed_in = 1 WHERE id = $1 AND has_signed_in = 0`, session.UserID)
	if err != nil || session.Shared {
		return false, err
	}
	switch session.Method {
	case ByInvitation, BySetup, BySignUp:
		return true, nil
	}
	return known || first > 0, nil
}

// insertSession returns ErrWrongPassword if the user cannot sign in any more.
func (s *Store) insertSession(tx *tx, user User, newSession NewSession, token string) (Session, error) {
	has, err := tx.hasSecondFactor(user.ID)
	if err != nil {
		return Session{}, storeError(err)
	}
	idle, lifetime := s.options.Limits.of(newSession.Shared)
	now := time.UnixMilli(tx.now)
	session := Session{
		ID: rand.Text(), Kind: Browser, UserID: user.ID, Username: user.Username, IsAdmin: user.IsAdmin,
		DeviceName: newSession.DeviceName, DetectedName: newSession.DeviceName, DeviceKind: newSession.DeviceKind,
		LastUse: LastUse{
			IP: newSession.IP, Network: networkOf(newSession.IP), UserAgent: newSession.UserAgent, Browser: newSession.DeviceName,
		},
		SignInIP: newSession.IP, Method: newSession.Method, Shared: newSession.Shared,
		SecondFactor: has, MustSetUpFactor: !has && s.options.RequireSecondFactor.includes(user.IsAdmin), ConfirmedAt: now,
		CreatedAt: now, LastActiveAt: now, ExpiresAt: now.Add(min(idle, lifetime)), EndsAt: now.Add(lifetime),
	}
	var form []byte
	if newSession.Form != "" {
		form = hashToken(newSession.Form)
	}
	err = tx.changeOne(`
		INSERT INTO sessions (id, token_hash, user_id, detected_name, device_kind, user_agent, ip, network, method, shared, form_hash,
		                      created_at, last_active_at, confirmed_at, expires_at)
		SELECT $1, $2, id, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11, $11, $12
		FROM users
		WHERE id = $13 AND disabled = 0 AND password_hash = $14`,
		session.ID, hashToken(token), session.DeviceName, session.DeviceKind, session.UserAgent, session.IP, session.Network,
		session.Method, session.Shared, form, tx.now, session.ExpiresAt.UnixMilli(), user.ID, user.passwordHash)
	if errors.Is(err, ErrNotFound) {
		err = ErrWrongPassword
	}
	return session, err
}

const sessionByForm = `
	SELECT ` + sessionColumns + noListColumns + `
	FROM sessions s JOIN users u ON u.id = s.user_id
	WHERE s.form_hash = $1 AND s.user_id = $2 AND s.created_at > $3 AND s.expires_at > $4 AND u.disabled = 0 AND u.password_hash = $5`

// signInAgain gives the session that a form has just begun a new token: the browser may not have got the first one. It returns
// ErrNotFound if the form has not begun one.
func (s *Store) signInAgain(tx *tx, user User, form, token string) (Session, error) {
	if form == "" {
		return Session{}, ErrNotFound
	}
	session, err := s.scanSession(tx.QueryRow(sessionByForm,
		hashToken(form), user.ID, tx.now-formWindow.Milliseconds(), tx.now, user.passwordHash))
	if err != nil {
		return session, storeError(err)
	}
	if session.DeviceToken, err = tx.renewDevice(session.ID); err != nil {
		return session, err
	}
	return session, tx.changeOne(`UPDATE sessions SET token_hash = $1 WHERE id = $2`, hashToken(token), session.ID)
}

// UsernameByForm returns the user whose session a form has just begun, or ErrNotFound. It proves nothing about who sends the form again.
func (s *Store) UsernameByForm(form string) (username string, err error) {
	return queryValue[string](s.reader, `
		SELECT u.username
		FROM sessions s JOIN users u ON u.id = s.user_id
		WHERE s.form_hash = $1 AND s.created_at > $2`, hashToken(form), s.now()-formWindow.Milliseconds())
}
