package db

import (
	"context"
	"database/sql"
	"time"
)

// sweepBatch is how many rows one transaction deletes: a revocation that comes in between waits a few milliseconds.
const sweepBatch = 500

// Sweep deletes what is over, batch by batch: sessions and invitations that have expired, activity from before keepSince,
// and tries that no longer count.
func (s *Store) Sweep(ctx context.Context, keepSince time.Time) error {
	for _, sweep := range []func(*sql.Tx) (int, error){
		s.sweepSessions,
		func(tx *sql.Tx) (int, error) {
			return sweepRows(tx, `DELETE FROM activity WHERE id IN (SELECT id FROM activity WHERE happened_at < $1 ORDER BY happened_at LIMIT $2)`, keepSince.UnixMilli())
		},
		func(tx *sql.Tx) (int, error) {
			return sweepRows(tx, `DELETE FROM tries WHERE id IN (SELECT id FROM tries WHERE tried_at <= $1 ORDER BY tried_at LIMIT $2)`, s.now()-triesWindow.Milliseconds())
		},
		func(tx *sql.Tx) (int, error) {
			return sweepRows(tx, `DELETE FROM streaks WHERE key IN (SELECT key FROM streaks WHERE last_tried_at <= $1 ORDER BY last_tried_at LIMIT $2)`, s.now()-streakKept.Milliseconds())
		},
		func(tx *sql.Tx) (int, error) {
			return sweepRows(tx, `DELETE FROM invitations WHERE username IN (SELECT username FROM invitations WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)`, s.now())
		},
	} {
		for more := true; more; {
			if err := ctx.Err(); err != nil {
				return err
			}
			err := s.write(ctx, func(tx *sql.Tx) error {
				swept, err := sweep(tx)
				more = swept == sweepBatch
				return err
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Store) sweepSessions(tx *sql.Tx) (int, error) {
	now := s.now()
	swept, err := end(tx, Expired, "", now, `
		DELETE FROM sessions
		WHERE id IN (SELECT id FROM sessions WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)`, now, sweepBatch)
	return len(swept), err
}

// sweepRows runs a DELETE of what is older than a time, at most a batch.
func sweepRows(tx *sql.Tx, statement string, olderThan int64) (int, error) {
	result, err := tx.Exec(statement, olderThan, sweepBatch)
	if err != nil {
		return 0, err
	}
	swept, err := result.RowsAffected()
	return int(swept), err
}

// ApplyLimits shortens the sessions that were begun under longer limits than today's, so that a stricter setting
// holds from the start of the server on. Longer limits come with the next use of a session.
func (s *Store) ApplyLimits(ctx context.Context) error {
	limits := s.options.Limits
	return s.write(ctx, func(tx *sql.Tx) error {
		_, err := tx.Exec(`
			UPDATE sessions
			SET expires_at = CASE shared WHEN 1 THEN MIN(last_active_at + $1, created_at + $2) ELSE MIN(last_active_at + $3, created_at + $4) END
			WHERE expires_at > CASE shared WHEN 1 THEN MIN(last_active_at + $1, created_at + $2) ELSE MIN(last_active_at + $3, created_at + $4) END`,
			limits.SharedIdleTimeout.Milliseconds(), limits.SharedMaxLifetime.Milliseconds(), limits.IdleTimeout.Milliseconds(), limits.MaxLifetime.Milliseconds())
		return err
	})
}
