package db

import (
	"context"
	"fmt"
	"time"
)

const (
	// walSizeLimit, in bytes, is what remains of the WAL's file once its frames are in the database and it begins again.
	// SQLite keeps it near 4 MB unless a reader holds it up.
	walSizeLimit = 16 << 20

	// CheckpointEvery is how often to call Checkpoint.
	CheckpointEvery = time.Minute

	// walWarnSize is how many bytes of the WAL may be waiting to be written to the database before somebody is told.
	walWarnSize = 64 << 20

	walWarnEvery = time.Hour
)

// Checkpoint writes the WAL back to the database, which SQLite does by itself, and warns when that no longer works. A reader
// keeps the WAL from beginning again for as long as its transaction is open: a forgotten shell would let it fill the disk.
func (s *Store) Checkpoint(ctx context.Context) error {
	wait, cancel := context.WithTimeout(ctx, writeWait)
	defer cancel()
	if err := s.queue.enter(wait, background); err != nil {
		return unavailable(err)
	}
	defer s.queue.leave()
	if err := s.files.check(); err != nil {
		return err
	}
	var busy, frames, done, pageSize int64
	if err := s.writer.QueryRowContext(ctx, `PRAGMA wal_checkpoint(PASSIVE)`).Scan(&busy, &frames, &done); err != nil {
		return unavailable(err)
	}
	if err := s.writer.QueryRowContext(ctx, `PRAGMA page_size`).Scan(&pageSize); err != nil {
		return unavailable(err)
	}
	left := (frames - done) * pageSize
	if now := s.Now(); left > s.walLimit && now.Sub(s.walWarned).Abs() >= walWarnEvery {
		s.walWarned = now
		s.options.Warn(fmt.Sprintf("%s-wal has grown to %d MB, because %s holds a read transaction open on the database; "+
			"end that program or its transaction", s.options.Path, left>>20, holder("READ", s.options.Path+"-shm")))
	}
	return nil
}
