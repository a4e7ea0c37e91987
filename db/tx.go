package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mattn/go-sqlite3"
)

// writeWait is how long a write waits for its turn. With SQLite's own wait for a lock that another process holds (busy_timeout, 1 s),
// a write returns within 3 seconds.
const writeWait = 1500 * time.Millisecond

// tx is a write transaction. Everything that it records gets the same time.
type tx struct {
	*sql.Tx
	now    int64   // milliseconds since 1970
	toWake []int64 // ids of the users to wake after the commit, for changes without activity
}

// write runs work in one transaction. When it returns nil, the changes are on disk and survive a power cut. It returns ErrUnavailable if
// nothing was changed, and ErrUncertain if that is unknown.
func (s *Store) write(ctx context.Context, work func(*tx) error) error {
	return s.writeInTurn(ctx, normal, work)
}

// writeUrgent is like write, but goes ahead of all writes that are not urgent. It is for revocations.
func (s *Store) writeUrgent(ctx context.Context, work func(*tx) error) error {
	return s.writeInTurn(ctx, urgent, work)
}

// writeForSession is writeUrgent on behalf of the caller's session. It returns ErrSessionEnded if that has ended since the request arrived.
func (s *Store) writeForSession(ctx context.Context, by Session, work func(*tx) error) error {
	return s.writeUrgent(ctx, func(tx *tx) error {
		var alive bool
		err := tx.QueryRow(`
			SELECT EXISTS (SELECT 1 FROM sessions WHERE id = $1 AND user_id = $2 AND expires_at > $3)`,
			by.ID, by.UserID, tx.now).Scan(&alive)
		if err != nil {
			return err
		}
		if !alive {
			return ErrSessionEnded
		}
		return work(tx)
	})
}

// writeForOperator is write on behalf of an operator, with the given priority. For an administrator it also returns the errors of
// checkOperator.
func (s *Store) writeForOperator(ctx context.Context, p priority, by Operator, work func(*tx) error) error {
	return s.writeInTurn(ctx, p, func(tx *tx) error {
		if err := tx.checkOperator(by); err != nil {
			return err
		}
		return work(tx)
	})
}

// writeInBatches runs work in one transaction after another until it changes fewer rows than batchSize. After each it pauses for as
// long as the transaction took, so that other writes, including those of other processes, get half of the time. It returns how many rows
// it changed in total, even if a batch fails.
func (s *Store) writeInBatches(ctx context.Context, p priority, work func(*tx) (changed int, err error)) (total int, err error) {
	for {
		var changed int
		var began time.Time
		err := s.writeInTurn(ctx, p, func(tx *tx) (err error) {
			began = time.Now()
			changed, err = work(tx)
			return err
		})
		if err != nil {
			return total, err
		}
		total += changed
		if changed < batchSize {
			return total, nil
		}
		select {
		case <-ctx.Done():
			return total, ctx.Err()
		case <-time.After(time.Since(began)):
		}
	}
}

// batchSize is how many rows a batch changes. It takes a few milliseconds, which is how long a revocation may wait for it.
const batchSize = 50

func (s *Store) writeInTurn(ctx context.Context, p priority, work func(*tx) error) error {
	if err := s.takeTurn(ctx, p); err != nil {
		return err
	}
	defer s.queue.leave()
	// From here on there is no deadline: after a commit that was interrupted, nobody would know whether it succeeded.
	begun, err := s.writer.BeginTx(context.WithoutCancel(ctx), nil)
	if err != nil {
		return storeError(err)
	}
	defer begun.Rollback() // also after a panic, which would otherwise keep the only connection
	t := &tx{Tx: begun, now: s.now()}
	if err := work(t); err != nil {
		return storeError(err)
	}
	if err := begun.Commit(); err != nil {
		select {
		case s.uncertain <- struct{}{}:
		default: // settle has not handled the previous one yet
		}
		return fmt.Errorf("%w: %v", ErrUncertain, err)
	}
	if err := s.files.check(); err != nil { // the change may be in files that were removed
		return fmt.Errorf("%w: %v", ErrUncertain, err)
	}
	next := make(chan struct{})
	close(*s.committed.Swap(&next))
	if len(t.toWake) > 0 {
		s.followers.wake(t.toWake...)
	}
	return nil
}

// wakeUserOf wakes the followers of a session's user after the commit, for a change that the activity does not show.
func (tx *tx) wakeUserOf(sessionID string) error {
	var userID int64
	err := tx.QueryRow(`SELECT user_id FROM sessions WHERE id = $1`, sessionID).Scan(&userID)
	if errors.Is(err, sql.ErrNoRows) {
		return nil // the session has ended, which is activity
	}
	tx.toWake = append(tx.toWake, userID)
	return err
}

// takeTurn waits until it is the caller's turn to write, and checks the files. The caller ends the turn with queue.leave.
func (s *Store) takeTurn(ctx context.Context, p priority) error {
	wait, cancel := context.WithTimeout(ctx, writeWait)
	defer cancel()
	if err := s.queue.enter(wait, p); err != nil {
		return storeError(err)
	}
	err := s.files.check()
	if err != nil {
		s.queue.leave()
	}
	return err
}

// Changed returns a channel that the next commit of this process closes. Call it before you read what may change.
func (s *Store) Changed() <-chan struct{} { return *s.committed.Load() }

// settleEvery is how long settle waits before it retries.
const settleEvery = time.Second

// settle cleans up after a COMMIT that failed. Its frames may be in the WAL, complete but not synced: this process has rolled the change
// back, but after a crash the next one would find and apply it. So settle overwrites those frames with a small change, and retries until
// that succeeds.
func (s *Store) settle(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.uncertain:
		}
		for s.overwrite(ctx) != nil {
			select {
			case <-ctx.Done():
				return
			case <-time.After(settleEvery):
			}
		}
	}
}

// overwrite commits a page without changing anything. Setting user_version, which is not used, writes the first page even if the value
// stays the same.
func (s *Store) overwrite(ctx context.Context) error {
	return s.write(ctx, func(tx *tx) error {
		_, err := tx.Exec(`PRAGMA user_version = 0`)
		return err
	})
}

// changeOne runs a statement that must change a row. It returns ErrNotFound if it changes none.
func (tx *tx) changeOne(statement string, args ...any) error {
	n, err := tx.changeRows(statement, args...)
	if err == nil && n == 0 {
		err = ErrNotFound
	}
	return err
}

// changeRows runs a statement and returns how many rows it changed.
func (tx *tx) changeRows(statement string, args ...any) (int, error) {
	result, err := tx.Exec(statement, args...)
	if err != nil {
		return 0, err
	}
	n, err := result.RowsAffected()
	return int(n), err
}

// storeError returns ErrNotFound for a missing row. It wraps errors that mean that the database does not answer (locked, full, gone,
// unreadable) in ErrUnavailable, which distinguishes them from bugs.
func storeError(err error) error {
	var sqliteErr sqlite3.Error
	switch {
	case err == nil:
		return nil
	case errors.Is(err, sql.ErrNoRows):
		return ErrNotFound
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, sql.ErrConnDone):
	case strings.HasSuffix(err.Error(), "is closed"): // database/sql exports no error for that
	case errors.As(err, &sqliteErr) && sqliteErr.Code != sqlite3.ErrConstraint && sqliteErr.Code != sqlite3.ErrError:
	default:
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}
