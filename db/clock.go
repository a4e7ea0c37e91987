package db

import (
	"errors"
)

// This file corrects rows that were written while the clock was ahead. Their times are in the future, so they would outlive every
// limit. They get the times that they would have if they were written now. (If the clock is behind now, this changes rows that were
// right: people are signed out early, never late.)

// fixFutureSessions corrects at most limit sessions of browsers, on shared computers or on others; -1 means all. A session that was created
// and used in the past ends at the latest after now plus the shorter of its limits, so the index on expires_at finds the others.
func (s *Store) fixFutureSessions(tx *tx, shared bool, limit int) (int, error) {
	idle, lifetime := s.options.Limits.of(shared)
	statement := `UPDATE sessions` + notInFuture + `
		WHERE id IN (SELECT id FROM sessions
		             WHERE kind = 'browser' AND shared = 0 AND expires_at > $1 + MIN($2, $3)
		             ORDER BY expires_at LIMIT $4)`
	if shared { // a separate statement, because with "shared = $5" SQLite could not use the partial index
		statement = `UPDATE sessions` + notInFuture + `
		WHERE id IN (SELECT id FROM sessions WHERE shared = 1 AND expires_at > $1 + MIN($2, $3) ORDER BY expires_at LIMIT $4)`
	}
	return tx.changeRows(statement, tx.now, idle.Milliseconds(), lifetime.Milliseconds(), limit)
}

const notInFuture = `
		SET created_at = MIN(created_at, $1), last_active_at = MIN(last_active_at, $1),
		    confirmed_at = CASE WHEN confirmed_at > $1 THEN 0 ELSE confirmed_at END,
		    expires_at = MIN(MIN(last_active_at, $1) + $2, MIN(created_at, $1) + $3)`

// fixFutureKeys corrects app keys. They have no limits other than the time that the user chose.
func (tx *tx) fixFutureKeys() error {
	_, err := tx.Exec(`
		UPDATE sessions
		SET created_at = $1, last_active_at = MIN(last_active_at, $1),
		    expires_at = CASE expires_at WHEN $2 THEN $2 ELSE expires_at - (created_at - $1) END
		WHERE kind = 'app_key' AND created_at > $1`, tx.now, neverExpires.UnixMilli())
	return err
}

// fixFutureActivity corrects at most limit rows of activity; -1 means all.
func (s *Store) fixFutureActivity(tx *tx, limit int) (int, error) {
	return tx.changeRows(`
		UPDATE activity
		SET happened_at = $1
		WHERE id IN (SELECT id FROM activity WHERE happened_at > $1 ORDER BY happened_at LIMIT $2)`, tx.now, limit)
}

// fixFutureInvitations corrects invitations and attempts. An attempt from the future would not count now, and would lock somebody out
// later.
func (s *Store) fixFutureInvitations(tx *tx) error {
	_, err := tx.Exec(`UPDATE invitations SET created_at = MIN(created_at, $1), expires_at = $2 WHERE expires_at > $2`,
		tx.now, tx.now+InvitationLifetime.Milliseconds())
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

// fixFutureFactors corrects second steps and challenges, and the counters of authenticator apps: codes would be refused until the clock
// has caught up. A code of this minute stays refused, because it may be the one that was used.
func (tx *tx) fixFutureFactors() error {
	_, err := tx.Exec(`UPDATE second_steps SET expires_at = $1 WHERE expires_at > $1`, tx.now+SecondStepLifetime.Milliseconds())
	if err != nil {
		return err
	}
	if _, err = tx.Exec(`UPDATE used_challenges SET used_at = $1 WHERE used_at > $1`, tx.now); err != nil {
		return err
	}
	_, err = tx.Exec(`UPDATE totp SET last_counter = $1 WHERE last_counter > $1`, totpCounter(tx.now)+totpTolerance)
	return err
}

// fixFutureMail corrects links and messages. What waits is due within the longest pause.
func (tx *tx) fixFutureMail() error {
	for _, kind := range []linkKind{linkEmail, linkReset, linkNotMe} {
		_, err := tx.Exec(`
			UPDATE links SET created_at = MIN(created_at, $1), expires_at = $2
			WHERE expires_at > $2 AND kind = $3`, tx.now, tx.now+kind.lifetime().Milliseconds(), kind)
		if err != nil {
			return err
		}
	}
	_, err := tx.Exec(`UPDATE email_changes SET expires_at = $1 WHERE expires_at > $1`, tx.now+EmailLinkLifetime.Milliseconds())
	if err != nil {
		return err
	}
	latest := tx.now + max(longestPause, quietFor).Milliseconds()
	_, err = tx.Exec(`
		UPDATE outbox SET next_at = MIN(next_at, $1), give_up_at = $1 + $2
		WHERE give_up_at > $1 + $2`, latest, retryFor.Milliseconds())
	if err != nil {
		return err
	}
	_, err = tx.Exec(`UPDATE recent_alerts SET at = $1 WHERE at > $1`, latest)
	return err
}

// fixFuture corrects everything at once, when a server starts.
func (s *Store) fixFuture(tx *tx) error {
	_, err := s.fixFutureSessions(tx, false, -1)
	_, sharedErr := s.fixFutureSessions(tx, true, -1)
	_, activityErr := s.fixFutureActivity(tx, -1)
	return errors.Join(err, sharedErr, activityErr, s.fixFutureInvitations(tx), tx.fixFutureKeys(), tx.fixFutureFactors(),
		tx.fixFutureMail())
}
