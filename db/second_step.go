package db

import (
	"cmp"
	"context"
	"errors"
	"time"
)

// This file owns the second step of a sign-in: what happens between the right password and the second factor. Until it is done, there is
// no session.

// SecondStepLasts is how long the second step may take after the password.
const SecondStepLasts = 10 * time.Minute

const (
	secondStepAttempts = 5  // wrong codes, then the sign-in begins again
	secondStepsKept    = 10 // unfinished ones of a user in one known browser, and in all that are not known
)

// SecondStep is a sign-in that waits for a second factor.
type SecondStep struct {
	UserID   int64
	Username string
	Shared   bool
	TOTP     bool // the user has an authenticator app
	Passkeys bool // the user has passkeys

	NewPassword bool // it was chosen with a link, and counts once the second factor was given

	user      User
	name      string // that was typed
	method    string // how the sign-in began: ByPassword, ByReset or ByInvitation
	chosen    chosenPassword
	deviceID  string // "" for a browser that is not known
	attempts  int
	done      bool
	expiresAt int64
}

// BeginSecondStep begins the second step for a user for whom SignIn, ResetPassword or AcceptInvitation returned ErrSecondFactor. Put the
// token into a cookie of the browser that sent the password; it is valid for SecondStepLasts. Only Client, Name, Method and Shared of
// newSession count. BeginSecondStep returns ErrWrongPassword as SignIn does.
func (s *Store) BeginSecondStep(ctx context.Context, user User, newSession NewSession) (token string, err error) {
	device, err := s.deviceOf(user.ID, newSession.Device)
	if err != nil {
		return "", err
	}
	method, chosen := ByPassword, chosenPassword{linkHash: []byte{}}
	if user.chosen != nil {
		method, chosen = newSession.Method, *user.chosen
	}
	token = newToken()
	err = s.write(ctx, func(tx *tx) error {
		err := tx.changeOne(`
			INSERT INTO second_steps (token_hash, user_id, name, device_id, method, new_password_hash, link_hash, shared, expires_at)
			SELECT $1, id, $2, $3, $4, $5, $6, $7, $8
			FROM users
			WHERE id = $9 AND disabled = 0 AND password_hash = $10`,
			hashToken(token), canonical(cmp.Or(newSession.Name, user.Username)), device, method, chosen.hash, chosen.linkHash,
			newSession.Shared, tx.now+SecondStepLasts.Milliseconds(), user.ID, user.passwordHash)
		if errors.Is(err, ErrNotFound) {
			return ErrWrongPassword
		}
		if err != nil {
			return err
		}
		// Counted for each browser, so that somebody who knows the password cannot push out the owner's.
		_, err = tx.Exec(`
			DELETE FROM second_steps
			WHERE token_hash IN (SELECT token_hash FROM second_steps
			                     WHERE user_id = $1 AND device_id = $2
			                     ORDER BY expires_at DESC
			                     LIMIT -1 OFFSET $3)`, user.ID, device, secondStepsKept)
		return err
	})
	if err != nil {
		return "", err
	}
	return token, nil
}

const secondStepByToken = `
	SELECT u.id, u.username, COALESCE(u.email, ''), u.password_hash, u.is_admin,
	       n.name, n.device_id, n.method, n.new_password_hash, n.link_hash, n.shared, n.attempts, n.done, n.expires_at,
	       EXISTS (SELECT 1 FROM totp f WHERE f.user_id = u.id AND f.on_at > 0), EXISTS (SELECT 1 FROM passkeys p WHERE p.user_id = u.id)
	FROM second_steps n JOIN users u ON u.id = n.user_id
	WHERE n.token_hash = $1 AND u.disabled = 0`

func scanSecondStep(row scanner) (step SecondStep, err error) {
	err = row.Scan(&step.user.ID, &step.user.Username, &step.user.Email, &step.user.passwordHash, &step.user.IsAdmin,
		&step.name, &step.deviceID, &step.method, &step.chosen.hash, &step.chosen.linkHash,
		&step.Shared, &step.attempts, &step.done, &step.expiresAt, &step.TOTP, &step.Passkeys)
	step.UserID, step.Username, step.NewPassword = step.user.ID, step.user.Username, step.method != ByPassword
	return step, err
}

// SecondStep returns the sign-in that a token names. It returns ErrNotFound if there is none, or it is done or has expired.
func (s *Store) SecondStep(token string) (SecondStep, error) {
	step, err := queryOne(s.reader, scanSecondStep, secondStepByToken, hashToken(token))
	if err == nil && (step.done || step.expiresAt <= s.now()) {
		err = ErrNotFound
	}
	if err != nil {
		return SecondStep{}, err
	}
	return step, nil
}

// FinishSecondStep signs the user in with a code from the authenticator app, or with a recovery code. The method and whether the computer
// is shared come from the step; everything else in newSession counts as in SignIn. A form that is sent again gets a new token for the
// session that it has begun.
//
// A password that was chosen with a link is set in the same transaction.
//
// It returns ErrWrongCode for a wrong code, Throttled after too many, and ErrNotFound if there is no such step or its link is no longer
// valid: the sign-in begins again with the password or the link.
func (s *Store) FinishSecondStep(ctx context.Context, token, code string, newSession NewSession) (
	sessionToken string, session Session, err error,
) {
	step, err := queryOne(s.reader, scanSecondStep, secondStepByToken, hashToken(token))
	if err == nil {
		err = s.checkThrottle(ctx, s.reader, s.codeCounters(step, newSession.IP)) // before the User-Agent is parsed
	}
	if err != nil {
		return "", Session{}, err
	}
	return s.finishSecondStep(ctx, token, newSession, func(tx *tx, step SecondStep, client Client) (method string, err error) {
		if err := s.checkThrottle(ctx, tx, s.codeCounters(step, client.IP)); err != nil {
			return "", err
		}
		return s.useCode(tx, step.UserID, code, client)
	})
}

// codeCounters returns the counters of a wrong code. They are those of a wrong password, so that somebody who knows the password gets no
// more guesses at codes. A right password resets none of them; SignIn does. The hidden one may refuse a code openly, because the client
// already knows the account.
func (s *Store) codeCounters(step SecondStep, ip string) []counter {
	return s.signInCounters(step.name, step.UserID, step.deviceID, ip)
}

// useCode accepts a code of the authenticator app, or a recovery code, once. It returns ErrWrongCode for any other.
func (s *Store) useCode(tx *tx, userID int64, code string, client Client) (method string, err error) {
	switch code = cleanCode(code); len(code) {
	case totpDigits:
		return ByPasswordAndCode, s.useTOTP(tx, userID, code)
	case recoveryCodeLength:
		if err := tx.useRecoveryCode(userID, code); err != nil {
			return "", err
		}
		return ByPasswordAndRecovery, tx.record(event{userID: userID, kind: RecoveryCodeUsed, ip: client.IP, deviceName: client.DeviceName})
	}
	return "", ErrWrongCode
}

// finishSecondStep begins the session if check accepts the second factor. Everything happens in one transaction: of two requests with
// one code, or one step, only the first gets a session.
func (s *Store) finishSecondStep(ctx context.Context, token string, newSession NewSession,
	check func(*tx, SecondStep, Client) (method string, err error),
) (sessionToken string, session Session, err error) {
	sessionToken, newSession.Client = newToken(), newSession.described(true)
	var refused error // after the commit
	err = s.write(ctx, func(tx *tx) error {
		step, err := scanSecondStep(tx.QueryRow(secondStepByToken, hashToken(token)))
		switch {
		case err != nil:
			return storeError(err)
		case step.expiresAt <= tx.now: // deleted, so that it stays refused even if the clock is set back
			refused = ErrNotFound
			return tx.deleteSecondStep(token)
		case step.done:
			session, err = s.signInAgain(tx, step.user, newSession.Form, sessionToken)
			return err
		}
		newSession.Method, err = check(tx, step, newSession.Client)
		newSession.Shared = step.Shared
		newSession.Remember = newSession.Remember && !step.Shared
		if errors.Is(err, ErrWrongCode) || errors.Is(err, ErrPasskeyRefused) {
			refused = err
			if step.attempts+1 == secondStepAttempts {
				refused = ErrNotFound
			}
			return s.countWrongCode(tx, step, token, newSession.Client)
		}
		if err != nil {
			return err
		}
		// First, because a new password voids every step that is not done.
		if err := tx.changeOne(`UPDATE second_steps SET done = 1, new_password_hash = '' WHERE token_hash = $1`, hashToken(token)); err != nil {
			return err
		}
		user, err := s.setChosenPassword(tx, step, newSession.Client)
		if err != nil {
			return err
		}
		session, err = s.beginSession(tx, user, newSession, sessionToken)
		return err
	})
	if err = cmp.Or(err, refused); err != nil {
		return "", Session{}, err
	}
	return sessionToken, session, nil
}

// countWrongCode counts a wrong code and records the failed sign-in. The last attempt deletes the step.
func (s *Store) countWrongCode(tx *tx, step SecondStep, token string, client Client) error {
	if err := tx.count(s.codeCounters(step, client.IP)); err != nil {
		return err
	}
	if err := s.recordLockout(tx, step.name, step.UserID, step.deviceID, client.IP); err != nil {
		return err
	}
	err := tx.recordRepeat(event{userID: step.UserID, kind: SignInFailed, ip: client.IP, deviceName: client.DeviceName})
	if err != nil {
		return err
	}
	if step.attempts+1 == secondStepAttempts {
		return tx.deleteSecondStep(token)
	}
	return tx.changeOne(`UPDATE second_steps SET attempts = attempts + 1 WHERE token_hash = $1`, hashToken(token))
}

func (tx *tx) deleteSecondStep(token string) error {
	return tx.changeOne(`DELETE FROM second_steps WHERE token_hash = $1`, hashToken(token))
}

// voidSecondSteps deletes the unfinished sign-ins of a user.
func (tx *tx) voidSecondSteps(userID int64) error {
	_, err := tx.Exec(`DELETE FROM second_steps WHERE user_id = $1 AND done = 0`, userID)
	return err
}
