package db

import (
	"context"
	"database/sql"
	"errors"
)

// confirm checks the password of whoever asks, once more: ErrWrongPassword, Throttled, or ErrOver.
func (s *Store) confirm(ctx context.Context, by Session, password, ip string) (user User, err error) {
	user, err = s.findUser(ctx, by.Username)
	if errors.Is(err, ErrNotFound) {
		return user, ErrOver // the account is gone, and the session with it
	}
	if err != nil {
		return user, err
	}
	return user, s.Try(ctx, Try{Account: user.Username, IP: ip}, func() error { return s.verify(ctx, &user, password) })
}

// ChangePassword sets a new password and gives the session that asked a new token; with endOthers the user's other
// sessions end. It answers ErrWrongPassword, Throttled, Invalid (field "password"), or ErrOver.
func (s *Store) ChangePassword(ctx context.Context, by Session, ip, current, password string, endOthers bool) (token string, err error) {
	user, err := s.confirm(ctx, by, current, ip)
	if err != nil {
		return "", err
	}
	hash, err := s.hashNewPassword(ctx, password, user.Username, user.Email)
	if err != nil {
		return "", err
	}
	token = newToken()
	err = s.writeAs(ctx, by, func(tx *sql.Tx, now int64) error {
		// The old hash in the condition: of two changes at once, the second does not overwrite the first.
		err := changeOne(tx, `UPDATE users SET password_hash = $1 WHERE id = $2 AND password_hash = $3`, hash, by.UserID, user.passwordHash)
		if errors.Is(err, ErrNotFound) {
			return ErrWrongPassword
		}
		if err != nil {
			return err
		}
		if err := changeOne(tx, `UPDATE sessions SET token_hash = $1 WHERE id = $2 AND user_id = $3`, hashToken(token), by.ID, by.UserID); err != nil {
			return err
		}
		if err := voidInvitation(tx, by.UserID); err != nil {
			return err
		}
		if err := record(tx, event{userID: by.UserID, kind: PasswordChanged, at: now, ip: by.IP, deviceName: by.DeviceName, sessionID: by.ID, by: by.DeviceName}); err != nil {
			return err
		}
		if !endOthers {
			return nil
		}
		_, err = end(tx, Revoked, by.DeviceName, now, endOtherSessions, by.UserID, by.ID, now)
		return err
	})
	return token, err
}

// SetPassword sets a password from the command line; every session of the user ends, and tries that failed are
// forgotten. It answers ErrNotFound, or Invalid (field "password").
func (s *Store) SetPassword(ctx context.Context, username, password string) error {
	user, err := s.findUsername(ctx, username)
	if err != nil {
		return err
	}
	hash, err := s.hashNewPassword(ctx, password, user.Username, user.Email)
	if err != nil {
		return err
	}
	return s.write(ctx, func(tx *sql.Tx) error {
		_, err := s.setPassword(tx, user.Username, hash, ByCommand)
		return err
	})
}

// setPassword is the part that SetPassword and AcceptInvitation share.
func (s *Store) setPassword(tx *sql.Tx, username, hash, by string) (user User, err error) {
	user = User{Username: username, passwordHash: hash}
	err = tx.QueryRow(`
		UPDATE users SET password_hash = $1 WHERE username = $2
		RETURNING id, COALESCE(email, ''), is_admin, disabled`, hash, username).Scan(&user.ID, &user.Email, &user.IsAdmin, &user.Disabled)
	if errors.Is(err, sql.ErrNoRows) {
		return user, ErrNotFound
	}
	if err != nil {
		return user, err
	}
	now := s.now()
	if err := record(tx, event{userID: user.ID, kind: PasswordChanged, at: now, by: by}); err != nil {
		return user, err
	}
	if err := errors.Join(forgetTries(tx, username), voidInvitation(tx, user.ID)); err != nil {
		return user, err
	}
	_, err = end(tx, Revoked, by, now, `DELETE FROM sessions WHERE user_id = $1 AND expires_at > $2`, user.ID, now)
	return user, err
}

// SetDisabled disables an account, which ends every session of it, or enables it again; ErrNotFound for an unknown name.
// To do it twice is no error and changes nothing.
func (s *Store) SetDisabled(ctx context.Context, username string, disabled bool) error {
	user, err := s.findUsername(ctx, username)
	if err != nil {
		return err
	}
	kind := Enabled
	if disabled {
		kind = Disabled
	}
	return s.write(ctx, func(tx *sql.Tx) error {
		now := s.now()
		err := changeOne(tx, `UPDATE users SET disabled = $1 WHERE id = $2 AND disabled <> $1`, disabled, user.ID)
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := record(tx, event{userID: user.ID, kind: kind, at: now, by: ByCommand}); err != nil || !disabled {
			return err
		}
		if err := voidInvitation(tx, user.ID); err != nil {
			return err
		}
		_, err = end(tx, Revoked, ByCommand, now, `DELETE FROM sessions WHERE user_id = $1`, user.ID)
		return err
	})
}

// DeleteUser deletes an account with its sessions and its activity, from the command line; ErrNotFound for an unknown name.
func (s *Store) DeleteUser(ctx context.Context, username string) error {
	return s.write(ctx, func(tx *sql.Tx) error {
		username := canonical(username)
		if err := changeOne(tx, `DELETE FROM users WHERE username = $1`, username); err != nil {
			return err
		}
		return forgetName(tx, username)
	})
}

// ErrLastAdmin says that nobody would be left to administer the server.
var ErrLastAdmin = errors.New("the last administrator cannot be deleted")

// DeleteAccount deletes the account of whoever asks, with its sessions and its activity. It answers ErrWrongPassword,
// Throttled, ErrLastAdmin or ErrOver.
func (s *Store) DeleteAccount(ctx context.Context, by Session, password, ip string) error {
	user, err := s.confirm(ctx, by, password, ip)
	if err != nil {
		return err
	}
	return s.writeAs(ctx, by, func(tx *sql.Tx, _ int64) error {
		var last bool
		err := tx.QueryRow(`
			SELECT is_admin AND NOT EXISTS (SELECT 1 FROM users WHERE is_admin = 1 AND disabled = 0 AND id <> $1)
			FROM users
			WHERE id = $1`, user.ID).Scan(&last)
		if err != nil {
			return err
		}
		if last {
			return ErrLastAdmin
		}
		if err := changeOne(tx, `DELETE FROM users WHERE id = $1`, user.ID); err != nil {
			return err
		}
		return forgetName(tx, user.Username)
	})
}

// forgetName forgets what is kept by the name of an account that was deleted: tries, and an invitation that would make it
// again.
func forgetName(tx *sql.Tx, username string) error {
	_, err := tx.Exec(`DELETE FROM invitations WHERE username = $1`, username)
	return errors.Join(err, forgetTries(tx, username))
}
