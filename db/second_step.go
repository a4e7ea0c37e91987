package db

import (
	"cmp"
	"context"
	"errors"
	"time"
)

// This file owns the second step of a sign-in: what happens between the right password and the second factor. Until it is done, there is
// no session.

// SecondStepLifetime is how long the second step may take after the password.
const SecondStepLifetime = 10 * time.Minute

const (
	secondStepAttempts = 5  // wrong codes, then the sign-in begins again
	maxSecondSteps     = 10 // unfinished ones of a user in one known browser, and in all that are not known
)

// SecondStep is a sign-in that waits for a second factor.
type SecondStep struct {
	UserID   int64
	Username string
	Shared   bool
	TOTP     bool // the user has an authenticator app
	Passkeys bool // the user has passkeys

	NewPassword bool // it was chosen with a link, and takes effect after the second factor

	user      User
	method    string // how the sign-in began: ByPassword, ByReset or ByInvitation
	chosen    chosenPassword
	deviceID  string // "" for a browser that is not known
	attempts  int
	done      bool
	expiresAt int64
}

// BeginSecondStep begins the second step for a user for whom SignIn, ResetPassword or AcceptInvitation returned ErrSecondFactor. Put the
// token into a cookie of the browser that sent the password; it is valid for SecondStepLifetime. Only Client, Method and Shared of
// newSession are used. BeginSecondStep returns ErrWrongPassword as SignIn does.
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
		// Counted for each browser, so that somebody who knows the password cannot push out the owner's.
		_, err := tx.Exec(`
			DELETE FROM second_steps
			WHERE token_hash IN (SELECT token_hash FROM second_steps
			                     WHERE user_id = $1 AND device_id = $2
			                     ORDER BY expires_at DESC
			                     LIMIT -1 OFFSET $3)`, user.ID, device, maxSecondSteps-1)
		if err != nil {
			return err
		}
		err = tx.changeOne(`
			INSERT INTO second_steps (token_hash, user_id, device_id, method, new_password_hash, link_hash, shared, expires_at)
			SELECT $1, id, $2, $3, $4, $5, $6, $7
			FROM users
			WHERE id = $8 AND disabled = 0 AND password_hash = $9`,
			hashToken(token), device, method, chosen.hash, chosen.linkHash, newSession.Shared, tx.now+SecondStepLifetime.Milliseconds(),
			user.ID, user.passwordHash)
		if errors.Is(err, ErrNotFound) {
			return ErrWrongPassword
		}
		return err
	})
	if err != nil {
		return "", err
	}
	return token, nil
}

const secondStepByToken = `
	SELECT u.id, u.username, COALESCE(u.email, ''), u.password_hash, u.is_admin,
	       n.device_id, n.method, n.new_password_hash, n.link_hash, n.shared, n.attempts, n.done, n.expires_at,
	       EXISTS (SELECT 1 FROM totp f WHERE f.user_id = u.id AND f.on_at > 0), EXISTS (SELECT 1 FROM passkeys p WHERE p.user_id = u.id)
	FROM second_steps n JOIN users u ON u.id = n.user_id
	WHERE n.token_hash = $1 AND u.disabled = 0`

func scanSecondStep(row scanner) (step SecondStep, err error) {
	err = row.Scan(&step.user.ID, &step.user.Username, &step.user.Email, &step.user.passwordHash, &step.user.IsAdmin,
		&step.deviceID, &step.method, &step.chosen.hash, &step.chosen.linkHash,
		&step.Shared, &step.attempts, &step.done, &step.expiresAt, &step.TOTP, &step.Passkeys)
	step.UserID, step.Username, step.NewPassword = step.user.ID, step.user.Username, step.method != ByPassword
	return step, err
}

// SecondStep returns the sign-in that a token names, or ErrNotFound if there is none or it is done or has expired.
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
// It returns ErrWrongCode for a wrong code (with ErrNotFound for the last one), Throttled after too many, and ErrNotFound if there is no
// such step or its link is no longer valid: the sign-in begins again with the password or the link.
func (s *Store) FinishSecondStep(ctx context.Context, token, code string, newSession NewSession) (
	sessionToken string, session Session, err error,
) {
	step, err := queryOne(s.reader, scanSecondStep, secondStepByToken, hashToken(token))
	if err == nil {
		err = s.checkWrongCodes(ctx, s.reader, step, newSession.IP) // before the User-Agent is parsed
	}
	if err != nil {
		return "", Session{}, err
	}
	return s.finishSecondStep(ctx, token, newSession, func(tx *tx, step SecondStep, client Client) (method string, err error) {
		if err := s.checkWrongCodes(ctx, tx, step, client.IP); err != nil {
			return "", err
		}
		return s.useCode(tx, step.UserID, code, client)
	})
}

// checkWrongCodes returns Throttled after too many wrong codes. It may refuse a code openly, because the client already knows the account.
func (s *Store) checkWrongCodes(ctx context.Context, from querier, step SecondStep, ip string) error {
	err := s.checkThrottle(ctx, from, s.codeCounters(step.UserID, step.deviceID, ip))
	if throttled, ok := errors.AsType[Throttled](err); ok {
		throttled.Codes = true
		return throttled
	}
	return err
}

// SignInWithCode signs a user for whom SignIn returned ErrSecondFactor in with a code, for programs that send the password and the code in
// one request. It leaves no second step behind. It returns ErrWrongCode, Throttled, or ErrWrongPassword as SignIn does.
func (s *Store) SignInWithCode(ctx context.Context, user User, code string, newSession NewSession) (
	token string, session Session, err error,
) {
	step := SecondStep{UserID: user.ID}
	if step.deviceID, err = s.deviceOf(user.ID, newSession.Device); err != nil {
		return "", Session{}, err
	}
	if err := s.checkWrongCodes(ctx, s.reader, step, newSession.IP); err != nil { // before the User-Agent is parsed
		return "", Session{}, err
	}
	token, newSession.Client = newToken(), newSession.described(true)
	var refused error // after the commit
	err = s.write(ctx, func(tx *tx) error {
		err := s.checkWrongCodes(ctx, tx, step, newSession.IP)
		if err != nil {
			return err
		}
		newSession.Method, err = s.useCode(tx, user.ID, code, newSession.Client)
		if errors.Is(err, ErrWrongCode) {
			refused = err
			return s.countWrongCode(tx, step, newSession.Client)
		}
		if err != nil {
			return err
		}
		session, err = s.beginSession(tx, user, newSession, token)
		return err
	})
	if err = cmp.Or(err, refused); err != nil {
		return "", Session{}, err
	}
	return token, session, nil
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
			if refused = err; step.attempts+1 == secondStepAttempts {
				refused = errors.Join(ErrNotFound, err)
			}
			return errors.Join(s.countWrongCode(tx, step, newSession.Client), tx.countAttempt(step, token))
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

// countWrongCode counts a wrong code and records the failed sign-in.
func (s *Store) countWrongCode(tx *tx, step SecondStep, client Client) error {
	if err := tx.count(s.codeCounters(step.UserID, step.deviceID, client.IP)); err != nil {
		return err
	}
	if err := tx.recordLockout(s.wrongCodesKey(step.UserID, ""), step.UserID, step.deviceID, client.IP); err != nil {
		return err
	}
	return tx.recordRepeat(event{userID: step.UserID, kind: SignInFailed, ip: client.IP, deviceName: client.DeviceName})
}

// countAttempt counts a wrong code for the step. The last attempt deletes the step.
func (tx *tx) countAttempt(step SecondStep, token string) error {
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
