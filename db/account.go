package db

import (
	"context"
	"errors"
)

// PasswordChange is what a user enters to change their password.
type PasswordChange struct {
	Current   string
	New       string
	EndOthers bool // end the user's other sessions, and void the invitations that the user made
}

// ChangePassword sets a new password, and returns a new token for the caller's session; the old one no longer works. Its errors are
// ErrWrongPassword, Throttled, ErrBusy, Invalid (field "password") and ErrSessionEnded.
func (s *Store) ChangePassword(ctx context.Context, by Session, client Client, change PasswordChange) (token string, err error) {
	user, err := s.reauthenticate(ctx, by, client, change.Current)
	if err != nil {
		return "", err
	}
	hash, err := s.hashNewPassword(ctx, change.New, user.Username, user.Email)
	if err != nil {
		return "", err
	}
	token = newToken()
	err = s.writeForSession(ctx, by, func(tx *tx) error {
		// The old hash is in the condition so that of two changes at once, the second does not overwrite the first.
		err := tx.changeOne(`UPDATE users SET password_hash = $1 WHERE id = $2 AND password_hash = $3`, hash, by.UserID, user.passwordHash)
		if errors.Is(err, ErrNotFound) {
			return ErrWrongPassword
		}
		if err != nil {
			return err
		}
		err = tx.changeOne(`
			UPDATE sessions SET token_hash = $1, confirmed_at = $2
			WHERE id = $3 AND user_id = $4`, hashToken(token), tx.now, by.ID, by.UserID)
		if err != nil {
			return err
		}
		if err := tx.voidPending(by.UserID); err != nil {
			return err
		}
		if err := tx.record(eventOf(by, PasswordChanged)); err != nil {
			return err
		}
		if !change.EndOthers {
			return nil
		}
		if err := tx.voidInvitationsBy(by.Username); err != nil { // whoever is signed out may have made them
			return err
		}
		_, err = tx.endSessions(Revoked, ByDevice(by.DeviceName), endOtherSessions, by.UserID, by.ID, tx.now)
		return err
	})
	return token, err
}

// SetPassword sets the password of a user, ends every session of the user, voids the invitations that the user made, and resets the
// counters of failed attempts. It returns ErrNotFound, or Invalid (field "password").
func (s *Store) SetPassword(ctx context.Context, by Operator, username, password string) error {
	user, err := s.UserByName(username)
	if err != nil {
		return err
	}
	hash, err := s.hashNewPassword(ctx, password, user.Username, user.Email)
	if err != nil {
		return err
	}
	return s.writeForOperator(ctx, urgent, by, func(tx *tx) error {
		_, err := s.setPassword(tx, user.Username, hash, event{kind: PasswordChanged, by: by.actor()})
		return err
	})
}

// setPassword stores the hash of a new password, records the event, and ends every session of the user.
func (s *Store) setPassword(tx *tx, username, hash string, changed event) (user User, err error) {
	user = User{Username: username, passwordHash: hash}
	err = tx.QueryRow(`
		UPDATE users SET password_hash = $1 WHERE username = $2
		RETURNING id, COALESCE(email, ''), is_admin, disabled, approved`, hash, username).
		Scan(&user.ID, &user.Email, &user.IsAdmin, &user.Disabled, &user.Approved)
	if err != nil {
		return user, err
	}
	changed.userID = user.ID
	if err := tx.record(changed); err != nil {
		return user, err
	}
	err = errors.Join(s.forgetWrongPasswords(tx, user), s.forgetWrongCodes(tx, user.ID), tx.voidPending(user.ID),
		tx.voidInvitationsBy(user.Username))
	if err != nil {
		return user, err
	}
	_, err = tx.endSessions(Revoked, changed.by, `DELETE FROM sessions WHERE user_id = $1 AND expires_at > $2`, user.ID, tx.now)
	return user, err
}

// DisableUser disables an account and ends its sessions. It returns ErrNotFound for an unknown name, and ErrLastAdmin unless force is set.
// Disabling a disabled account changes nothing and is not an error.
func (s *Store) DisableUser(ctx context.Context, by Operator, username string, force bool) error {
	user, err := s.UserByName(username)
	if err != nil {
		return err
	}
	return s.writeForOperator(ctx, urgent, by, func(tx *tx) error {
		if err := tx.checkNotLastAdmin(user.ID, force); err != nil {
			return err
		}
		changed, err := tx.setFlag(`UPDATE users SET disabled = 1 WHERE id = $1 AND disabled = 0`, by, user.ID, Disabled)
		if err != nil || !changed {
			return err
		}
		if err := errors.Join(tx.voidPending(user.ID), tx.voidNotMeLinks(user.ID), tx.voidInvitationsBy(user.Username)); err != nil {
			return err
		}
		_, err = tx.endSessions(Revoked, by.actor(), `DELETE FROM sessions WHERE user_id = $1`, user.ID)
		return err
	})
}

// EnableUser enables a disabled account. It returns ErrNotFound for an unknown name. Enabling an enabled account changes nothing and is
// not an error.
func (s *Store) EnableUser(ctx context.Context, by Operator, username string) error {
	user, err := s.UserByName(username)
	if err != nil {
		return err
	}
	return s.writeForOperator(ctx, normal, by, func(tx *tx) error {
		_, err := tx.setFlag(`UPDATE users SET disabled = 0 WHERE id = $1 AND disabled = 1`, by, user.ID, Enabled)
		return err
	})
}

// UserChange describes a change to an account. Nil fields stay as they are.
type UserChange struct {
	Approve bool
	IsAdmin *bool     // true also approves the account
	Email   *string   // trimmed and lower-cased; "" removes it
	Groups  *[]string // replaces all; empty removes the user from every group
	Force   bool      // demote even the last administrator who can sign in

	ResetSecondFactor bool // remove every factor and the recovery codes
}

// ChangeUser changes an account. If one change fails, none is made. It returns ErrNotFound, ErrLastAdmin, or Invalid (field "email" or
// "groups"). It records only what has changed.
func (s *Store) ChangeUser(ctx context.Context, by Operator, username string, change UserChange) error {
	user, err := s.UserByName(username)
	if err != nil {
		return err
	}
	return s.writeForOperator(ctx, normal, by, func(tx *tx) error {
		if change.Approve || change.IsAdmin != nil && *change.IsAdmin {
			if _, err := tx.setFlag(`UPDATE users SET approved = 1 WHERE id = $1 AND approved = 0`, by, user.ID, Approved); err != nil {
				return err
			}
		}
		if change.IsAdmin != nil {
			if err := tx.setAdmin(by, user, *change.IsAdmin, change.Force); err != nil {
				return err
			}
		}
		if change.Groups != nil {
			if err := tx.setGroups(by, user.ID, *change.Groups); err != nil {
				return err
			}
		}
		if change.ResetSecondFactor {
			if err := s.resetSecondFactor(tx, by.actor(), user.ID); err != nil {
				return err
			}
		}
		if change.Email != nil {
			return s.setEmail(tx, by, user.ID, *change.Email)
		}
		return nil
	})
}

func (tx *tx) setAdmin(by Operator, user User, isAdmin, force bool) error {
	if isAdmin {
		_, err := tx.setFlag(`UPDATE users SET is_admin = 1 WHERE id = $1 AND is_admin = 0`, by, user.ID, MadeAdmin)
		return err
	}
	if err := tx.checkNotLastAdmin(user.ID, force); err != nil {
		return err
	}
	changed, err := tx.setFlag(`UPDATE users SET is_admin = 0 WHERE id = $1 AND is_admin = 1`, by, user.ID, UnmadeAdmin)
	if err != nil || !changed {
		return err
	}
	return tx.voidInvitationsBy(user.Username)
}

// setFlag runs a statement that changes one user, and records the change if there was one.
func (tx *tx) setFlag(statement string, by Operator, userID int64, kind string) (changed bool, err error) {
	n, err := tx.changeRows(statement, userID)
	if err != nil || n == 0 {
		return false, err
	}
	return true, tx.record(event{userID: userID, kind: kind, by: by.actor()})
}

// DeleteUser deletes an account with its sessions and its activity. It returns ErrNotFound for an unknown name, and ErrLastAdmin unless
// force is set. If it fails halfway, the account is disabled, and DeleteUser can be called again.
func (s *Store) DeleteUser(ctx context.Context, by Operator, username string, force bool) error {
	user, err := s.UserByName(username)
	if err != nil {
		return err
	}
	return s.deleteUser(ctx, user, force, func(work func(*tx) error) error { return s.writeForOperator(ctx, urgent, by, work) })
}

// ErrLastAdmin means that no administrator who can sign in would be left.
var ErrLastAdmin = errors.New("this is the last administrator who can sign in")

// checkNotLastAdmin returns ErrLastAdmin if the user is the only administrator who is not disabled. Whether an account is locked does not
// matter: a known device or a mailed link still lets its user in, and a stranger who locks accounts must not decide who may be demoted.
//
// It runs in the transaction of the change, so if two administrators remove each other at once, one stays.
func (tx *tx) checkNotLastAdmin(userID int64, force bool) error {
	if force {
		return nil
	}
	var last bool
	err := tx.QueryRow(`
		SELECT EXISTS (SELECT 1 FROM users WHERE is_admin = 1 AND disabled = 0 AND id = $1)
		       AND NOT EXISTS (SELECT 1 FROM users WHERE is_admin = 1 AND disabled = 0 AND id <> $1)`, userID).Scan(&last)
	if err == nil && last {
		err = ErrLastAdmin
	}
	return err
}

// DeleteAccount deletes the caller's own account, with its sessions and its activity. It returns ErrWrongPassword, Throttled, ErrBusy,
// ErrLastAdmin or ErrSessionEnded.
func (s *Store) DeleteAccount(ctx context.Context, by Session, client Client, password string) error {
	user, err := s.reauthenticate(ctx, by, client, password)
	if err != nil {
		return err
	}
	return s.deleteUser(ctx, user, false, func(work func(*tx) error) error { return s.writeForSession(ctx, by, work) })
}

// deleteUser deletes an account in batches. Only the first goes through begin, which checks the operator: it may end their own session.
func (s *Store) deleteUser(ctx context.Context, user User, force bool, begin func(work func(*tx) error) error) error {
	deleted := 0
	err := begin(func(tx *tx) (err error) {
		deleted, err = s.deleteSome(tx, user, force)
		return err
	})
	if err != nil || deleted < batchSize {
		return err
	}
	_, err = s.writeInBatches(ctx, urgent, func(tx *tx) (int, error) { return s.deleteSome(tx, user, force) })
	return err
}

// deleteSome deletes one batch of an account. The first batch disables the account. The last one, which for most accounts is also
// the first, deletes the account and what is stored by its name: attempts, and an invitation that would create it again. It also
// retires the name.
func (s *Store) deleteSome(tx *tx, user User, force bool) (deleted int, err error) {
	if err := tx.checkNotLastAdmin(user.ID, force); err != nil {
		return 0, err
	}
	if err := tx.changeOne(`UPDATE users SET disabled = 1 WHERE id = $1`, user.ID); err != nil {
		return 0, err
	}
	if err := errors.Join(tx.voidPending(user.ID), tx.voidInvitationsBy(user.Username)); err != nil {
		return 0, err
	}
	deleted, err = tx.deleteSessions(user.ID, batchSize)
	if err != nil || deleted == batchSize {
		return deleted, err
	}
	n, err := tx.changeRows(`
		DELETE FROM activity
		WHERE id IN (SELECT id FROM activity WHERE user_id = $1 LIMIT $2)`, user.ID, batchSize-deleted)
	if deleted += n; err != nil || deleted == batchSize {
		return deleted, err
	}
	// This row goes with the account, but not its id: followers of the activity see the gap.
	if err := tx.record(event{userID: user.ID, kind: Disabled}); err != nil {
		return 0, err
	}
	if err := tx.changeOne(`DELETE FROM users WHERE id = $1`, user.ID); err != nil {
		return 0, err
	}
	if _, err := tx.Exec(`DELETE FROM invitations WHERE username = $1`, user.Username); err != nil {
		return 0, err
	}
	return deleted, errors.Join(s.forgetWrongPasswords(tx, user), s.forgetWrongCodes(tx, user.ID), s.retireUsername(tx, user.Username))
}
