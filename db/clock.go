package db

import (
	"errors"
)

// This file owns what a clock that was ahead has left behind. Rows made then lie in the future and would outlive every limit.
// They are brought back to where they would be if they had been made now. (A clock that is behind does the same to rows
// that were right: people are signed out early, never late.)

// bringBackSessions brings back at most limit sessions of a kind; -1 is all. No session that was made or used in the past can
// end after now plus the shorter of its limits, so the index on expires_at finds those that were not.
func (s *Store) bringBackSessions(tx *tx, shared bool, limit int) (int, error) {
	idle, lifetime := s.options.Limits.of(shared)
	statement := `UPDATE sessions` + broughtBack + `
		WHERE id IN (SELECT id FROM sessions WHERE shared = 0 AND expires_at > $1 + MIN($2, $3) ORDER BY expires_at LIMIT $4)`
	if shared { // a statement of its own, because a placeholder would not use the index of these
		statement = `UPDATE sessions` + broughtBack + `
		WHERE id IN (SELECT id FROM sessions WHERE shared = 1 AND expires_at > $1 + MIN($2, $3) ORDER BY expires_at LIMIT $4)`
	}
	return tx.changeRows(statement, tx.now, idle.Milliseconds(), lifetime.Milliseconds(), limit)
}

const broughtBack = `
		SET created_at = MIN(created_at, $1), last_active_at = MIN(last_active_at, $1),
		    expires_at = MIN(MIN(last_active_at, $1) + $2, MIN(created_at, $1) + $3)`

// bringBackActivity keeps activity from outliving its retention.
func (s *Store) bringBackActivity(tx *tx, limit int) (int, error) {
	return tx.changeRows(`
		UPDATE activity
		SET happened_at = $1
		WHERE id IN (SELECT id FROM activity WHERE happened_at > $1 ORDER BY happened_at LIMIT $2)`, tx.now, limit)
}

// bringBackInvitations also takes care of attempts at a secret: one from the future would count for nothing now, and lock
// somebody out once its time has come.
func (s *Store) bringBackInvitations(tx *tx) error {
	_, err := tx.Exec(`UPDATE invitations SET expires_at = $1 WHERE expires_at > $1`, tx.now+InvitationLasts.Milliseconds())
	if err != nil {
		return err
	}
	_, err = tx.Exec(`DELETE FROM attempts WHERE failed_at > $1`, tx.now)
	if err != nil {
		return err
	}
	_, err = tx.Exec(`UPDATE consecutive_failures SET last_failed_at = $1 WHERE last_failed_at > $1`, tx.now)
	return err
}

// bringBackAll does all of it at once, for a start.
func (s *Store) bringBackAll(tx *tx) error {
	_, err := s.bringBackSessions(tx, false, -1)
	_, sharedErr := s.bringBackSessions(tx, true, -1)
	_, activityErr := s.bringBackActivity(tx, -1)
	return errors.Join(err, sharedErr, activityErr, s.bringBackInvitations(tx))
}
