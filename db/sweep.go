package db

import (
	"context"
	"database/sql"
	"time"
)

// sweepBatch is how many rows one transaction deletes: a revocation that comes in between waits a few milliseconds.
const sweepBatch = 500

// Sweep deletes the sessions that have expired, and the activity from before keepSince, batch by batch.
func (s *Store) Sweep(ctx context.Context, keepSince time.Time) error {
	for _, sweep := range []func(*sql.Tx) (int, error){
		s.sweepSessions,
		func(tx *sql.Tx) (int, error) { return sweepActivity(tx, keepSince) },
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

func sweepActivity(tx *sql.Tx, keepSince time.Time) (int, error) {
	result, err := tx.Exec(`
		DELETE FROM activity
		WHERE id IN (SELECT id FROM activity WHERE happened_at < $1 ORDER BY happened_at LIMIT $2)`, keepSince.UnixMilli(), sweepBatch)
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
