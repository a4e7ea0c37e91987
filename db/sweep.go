package db

import (
	"context"
	"errors"
	"time"
)

// Sweep deletes, in small batches, what has expired, activity and networks from before keepSince, devices that are too old, attempts and
// challenges that no longer count, and messages that no sender has claimed. First it corrects rows that were written while the clock was
// ahead.
func (s *Store) Sweep(ctx context.Context, keepSince time.Time) error {
	work := []func(*tx) (int, error){
		func(tx *tx) (int, error) { return s.fixFutureSessions(tx, false, batchSize) },
		func(tx *tx) (int, error) { return s.fixFutureSessions(tx, true, batchSize) },
		func(tx *tx) (int, error) { return s.fixFutureActivity(tx, batchSize) },
		func(tx *tx) (int, error) { return 0, s.fixFutureInvitations(tx) },
		func(tx *tx) (int, error) {
			return 0, errors.Join(tx.fixFutureKeys(), tx.fixFutureFactors(), tx.fixFutureMail())
		},
		s.sweepSessions,
		func(tx *tx) (int, error) { return tx.sweepDevices(batchSize) },
		func(tx *tx) (int, error) { // a full counter stays, because the account must not unlock with time
			return tx.changeRows(`
				DELETE FROM consecutive_failures
				WHERE key IN (SELECT key FROM consecutive_failures
				              WHERE last_failed_at <= $1 AND failures < $2 ORDER BY last_failed_at LIMIT $3)`,
				tx.now-consecutiveFailureRetention.Milliseconds(), maxConsecutiveFailures, batchSize)
		},
	}
	now := time.UnixMilli(s.now())
	for _, old := range []struct {
		until     time.Time // older rows are deleted
		statement string
	}{
		{keepSince, `
			DELETE FROM activity
			WHERE id IN (SELECT id FROM activity WHERE happened_at < $1 ORDER BY happened_at LIMIT $2)`},
		{keepSince, `
			DELETE FROM networks
			WHERE (user_id, network) IN (SELECT user_id, network FROM networks WHERE last_used_at < $1 ORDER BY last_used_at LIMIT $2)`},
		{now.Add(-max(attemptsWindow, signUpsWindow, linksWindow)), `
			DELETE FROM attempts
			WHERE id IN (SELECT id FROM attempts WHERE failed_at <= $1 ORDER BY failed_at LIMIT $2)`},
		{now, `
			DELETE FROM invitations
			WHERE username IN (SELECT username FROM invitations WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)`},
		{now, `
			DELETE FROM second_steps
			WHERE token_hash IN (SELECT token_hash FROM second_steps WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)`},
		{now.Add(-challengeRetention), `
			DELETE FROM used_challenges
			WHERE challenge_hash IN (SELECT challenge_hash FROM used_challenges WHERE used_at <= $1 ORDER BY used_at LIMIT $2)`},
		{now, `
			DELETE FROM links
			WHERE token_hash IN (SELECT token_hash FROM links WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)`},
		{now, `
			DELETE FROM revoked_tokens
			WHERE token_hash IN (SELECT token_hash FROM revoked_tokens WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)`},
		{now, `
			DELETE FROM email_changes
			WHERE user_id IN (SELECT user_id FROM email_changes WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)`},
		// A sender gives up on a message earlier, but a way that was switched off has no sender.
		{now.Add(-retryFor), `
			DELETE FROM outbox
			WHERE id IN (SELECT id FROM outbox WHERE give_up_at <= $1 ORDER BY give_up_at LIMIT $2)`},
		{now.Add(-quietFor), `
			DELETE FROM recent_alerts
			WHERE (user_id, kind, about) IN (SELECT user_id, kind, about FROM recent_alerts WHERE at <= $1 ORDER BY at LIMIT $2)`},
	} {
		work = append(work, func(tx *tx) (int, error) {
			return tx.changeRows(old.statement, old.until.UnixMilli(), batchSize)
		})
	}
	for _, sweep := range work {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := s.writeInBatches(ctx, background, sweep); err != nil {
			return err
		}
	}
	return nil
}

// sweepSessions has a statement for each kind, because each kind has a partial index.
func (s *Store) sweepSessions(tx *tx) (count int, err error) {
	for _, statement := range []string{`
		DELETE FROM sessions
		WHERE id IN (SELECT id FROM sessions WHERE kind = 'browser' AND expires_at <= $1 ORDER BY expires_at LIMIT $2)`, `
		DELETE FROM sessions
		WHERE id IN (SELECT id FROM sessions WHERE kind = 'app_key' AND expires_at <= $1 ORDER BY expires_at LIMIT $2)`,
	} {
		swept, err := tx.endSessions(Expired, "", statement, tx.now, batchSize-count)
		if err != nil {
			return count, err
		}
		count += len(swept)
	}
	return count, nil
}

// ApplyLimits shortens sessions of browsers that began under longer limits, so that stricter settings apply when the server starts. Longer
// limits apply from the next use of a session. If the limits have not changed since the last start, ApplyLimits only corrects rows that
// were written while the clock was ahead, because it takes seconds to go through a million sessions.
func (s *Store) ApplyLimits(ctx context.Context) error {
	l := s.options.Limits
	idle, lifetime := l.IdleTimeout.Milliseconds(), l.MaxLifetime.Milliseconds()
	sharedIdle, sharedLifetime := l.SharedIdleTimeout.Milliseconds(), l.SharedMaxLifetime.Milliseconds()
	return s.write(ctx, func(tx *tx) error {
		err := tx.changeOne(`
			UPDATE limits
			SET idle = $1, lifetime = $2, shared_idle = $3, shared_lifetime = $4
			WHERE (idle, lifetime, shared_idle, shared_lifetime) <> ($1, $2, $3, $4)`, idle, lifetime, sharedIdle, sharedLifetime)
		if errors.Is(err, ErrNotFound) {
			return s.fixFuture(tx)
		}
		if err != nil {
			return err
		}
		_, err = tx.Exec(`
			UPDATE sessions
			SET expires_at = MIN(expires_at, CASE shared WHEN 0 THEN MIN(last_active_at + $1, created_at + $2)
			                                 ELSE MIN(last_active_at + $3, created_at + $4) END)
			WHERE kind = 'browser'`,
			idle, lifetime, sharedIdle, sharedLifetime)
		if err != nil {
			return err
		}
		return s.fixFuture(tx)
	})
}
