package db

import (
	"context"
	"fmt"
	"time"
)

const (
	// walSizeLimit, in bytes, is the size to which SQLite truncates the WAL when it restarts it. The WAL stays near 4 MB unless a reader
	// keeps it from restarting.
	walSizeLimit = 16 << 20

	// CheckpointEvery is how often to call Checkpoint.
	CheckpointEvery = time.Minute

	// walWarnSize is how many bytes of the WAL may wait to be written to the database before Checkpoint warns.
	walWarnSize = 64 << 20

	walWarnEvery = time.Hour
)

// Checkpoint writes the WAL back to the database, as SQLite does by itself, and warns if that no longer works. An open read transaction
// keeps the WAL from restarting, so a forgotten sqlite3 shell could make it fill the disk.
func (s *Store) Checkpoint(ctx context.Context) error {
	if err := s.takeTurn(ctx, background); err != nil {
		return err
	}
	defer s.queue.leave()
	var busy, frames, done, pageSize int64
	if err := s.writer.QueryRowContext(ctx, `PRAGMA wal_checkpoint(PASSIVE)`).Scan(&busy, &frames, &done); err != nil {
		return storeError(err)
	}
	if err := s.writer.QueryRowContext(ctx, `PRAGMA page_size`).Scan(&pageSize); err != nil {
		return storeError(err)
	}
	left := (frames - done) * pageSize
	if now := s.Now(); left > s.walLimit && now.Sub(s.walWarned).Abs() >= walWarnEvery {
		s.walWarned = now
		s.options.Warn(fmt.Sprintf("%s-wal has grown to %d MB, because %s holds a read transaction open on the database; "+
			"end that program or its transaction", s.options.Path, left>>20, lockHolder("READ", s.options.Path+"-shm")))
	}
	return nil
}
