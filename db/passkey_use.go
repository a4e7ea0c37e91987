package db

import (
	"cmp"
	"context"
	"errors"
)

// This file owns what a passkey is used for: to sign in, as the second step after a password, and to confirm who uses a session.

// SignInWithPasskey begins a session without a password. It returns ErrNotFound for a passkey that is unknown or whose user is disabled,
// ErrChallengeUsed, or ErrPasskeyRefused.
func (s *Store) SignInWithPasskey(ctx context.Context, use PasskeyUse, newSession NewSession) (token string, session Session, err error) {
	token, newSession.Client = newToken(), newSession.described(true)
	newSession.Method = ByPasskey
	var refused error // after the commit
	err = s.write(ctx, func(tx *tx) error {
		userID, err := tx.usePasskey(use, newSession.Client)
		if errors.Is(err, ErrPasskeyRefused) {
			refused = err
			return nil
		}
		if err != nil {
			return err
		}
		user, err := scanUser(tx.QueryRow(`SELECT `+userColumns+`0 FROM users u WHERE u.id = $1 AND u.disabled = 0`, userID))
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

// FinishSecondStepWithPasskey is FinishSecondStep with a passkey of the step's user. It returns ErrNotFound if there is no such step or the
// passkey is not the user's, ErrChallengeUsed, or ErrPasskeyRefused.
func (s *Store) FinishSecondStepWithPasskey(ctx context.Context, token string, use PasskeyUse, newSession NewSession) (
	sessionToken string, session Session, err error,
) {
	if _, err := s.SecondStep(token); err != nil { // before the User-Agent is parsed
		return "", Session{}, err
	}
	return s.finishSecondStep(ctx, token, newSession, func(tx *tx, step SecondStep, client Client) (method string, err error) {
		userID, err := tx.usePasskey(use, client)
		if err == nil && userID != step.UserID {
			err = ErrNotFound
		}
		return ByPasswordAndPasskey, err
	})
}

// ConfirmWithPasskey uses a passkey of the session's user, after which Confirmed reports true. It returns ErrNotFound for a passkey of
// somebody else, ErrChallengeUsed, ErrPasskeyRefused or ErrSessionEnded.
func (s *Store) ConfirmWithPasskey(ctx context.Context, by Session, client Client, use PasskeyUse) error {
	client = client.described(true)
	var refused error // after the commit
	err := s.writeForSession(ctx, by, func(tx *tx) error {
		userID, err := tx.usePasskey(use, client)
		switch {
		case errors.Is(err, ErrPasskeyRefused):
			refused = err
			return nil
		case err != nil:
			return err
		case userID != by.UserID:
			return ErrNotFound
		}
		return tx.confirm(by)
	})
	return cmp.Or(err, refused)
}

// usePasskey notes that a passkey was used, and returns whose it is. If its counter went back, it records that and returns
// ErrPasskeyRefused; the caller commits. After any other error the caller rolls back.
func (tx *tx) usePasskey(use PasskeyUse, client Client) (userID int64, err error) {
	if err := tx.useChallenge(use.ChallengeHash); err != nil {
		return 0, err
	}
	passkey, err := scanPasskey(tx.QueryRow(passkeyByCredential, use.CredentialID))
	if err != nil {
		return 0, storeError(err)
	}
	err = tx.changeOne(`
		UPDATE passkeys SET sign_count = $1, credential = $2, last_used_at = $3
		WHERE id = $4 AND (sign_count < $1 OR sign_count = 0 AND $1 = 0)`, use.SignCount, use.Credential, tx.now, passkey.ID)
	if !errors.Is(err, ErrNotFound) {
		return passkey.UserID, err
	}
	err = tx.recordRepeat(event{userID: passkey.UserID, kind: PasskeyRefused, ip: client.IP, deviceName: client.DeviceName})
	return passkey.UserID, cmp.Or(err, ErrPasskeyRefused)
}
