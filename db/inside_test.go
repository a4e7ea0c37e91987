package db

import (
	"context"
	"database/sql"
	"io/fs"
	"time"
)

// This file exports what the tests need from inside the package.
const (
	BatchSize       = batchSize
	FlushBatch      = flushBatch
	CachePlaces     = cachePlaces
	PendingFailures = pendingFailures
	HashingInAll    = hashingAtOnce + hashingWaiting
	CheckingInAll   = checkingAtOnce + checkingWaiting
	AttemptsWaiting = attemptsWaiting
)

var (
	OpenServerKey = openServerKey
	ParseAppUses  = parseAppUses
)

func (k serverKey) Derive(purpose string) []byte { return k.derive(purpose) }

// MigrateWith migrates as a command does, with other migrations.
func MigrateWith(ctx context.Context, path string, steps fs.FS) error {
	return migrateWith(ctx, path, false, steps)
}

// Writer is the pool of the one connection that writes.
func (s *Store) Writer() *sql.DB { return s.writer }

// EnterQueue takes the turn to write, and LeaveQueue ends it. Waiting returns how many writes are waiting.
func (s *Store) EnterQueue(ctx context.Context) error { return s.queue.enter(ctx, urgent) }
func (s *Store) LeaveQueue()                          { s.queue.leave() }
func (s *Store) Waiting() (n int) {
	s.queue.mu.Lock()
	defer s.queue.mu.Unlock()
	for _, waiting := range s.queue.waiting {
		n += len(waiting)
	}
	return n
}

// Write runs work in one transaction. Overwrite is the small write that follows a COMMIT that failed.
func (s *Store) Write(ctx context.Context, work func(*sql.Tx) error) error {
	return s.write(ctx, func(tx *tx) error { return work(tx.Tx) })
}
func (s *Store) Overwrite(ctx context.Context) error { return s.overwrite(ctx) }

// Agree waits until the server that has the lock has the same files open, as commands do.
func (s *Store) Agree(ctx context.Context) (note string, err error) { return s.files.awaitServer(ctx) }

// CheckFiles does what the store does in the background a few times a second.
func (s *Store) CheckFiles() error { return s.files.check() }

// SetWALLimit sets how many bytes may wait in the WAL before Checkpoint warns.
func (s *Store) SetWALLimit(bytes int64) { s.walLimit = bytes }

// Hash runs work in a slot of the hasher. Hashing returns how many have a slot or wait for one.
func (s *Store) Hash(ctx context.Context, work func()) error { return s.hasher.queue.run(ctx, work) }
func (s *Store) Hashing() int                                { return int(s.hasher.queue.count.Load()) }

// CheckPassword runs work in a slot of the password checker. Checking returns how many have a slot or wait for one.
func (s *Store) CheckPassword(ctx context.Context, work func()) error {
	return s.checking.run(ctx, work)
}
func (s *Store) Checking() int { return int(s.checking.count.Load()) }

// NoteFailure notes a failed sign-in that the throttle does not count.
func (s *Store) NoteFailure(userID int64, ip, deviceName string) {
	s.noteFailure(userID, ip, deviceName)
}

// Weakness checks a password without the queue.
func Weakness(password string) string { return weakness(password, nil) }

// AttemptsThatWait returns how many attempts wait for others to be checked.
func (s *Store) AttemptsThatWait() int {
	s.attempts.mu.Lock()
	defer s.attempts.mu.Unlock()
	return s.attempts.waiting
}

// HoldReads occupies every connection of the prepared statements until release is called.
func (s *Store) HoldReads() (release func()) {
	for range readers {
		s.reader.turns <- struct{}{}
	}
	return func() {
		for range readers {
			<-s.reader.turns
		}
	}
}

// StopCaching makes the store behave as on a platform that cannot map the -shm file.
func (s *Store) StopCaching() { s.walIndex.close() }

// Cached returns how many entries the caches hold.
func (s *Store) Cached() (sessions, access int) {
	for i := range cachePlaces {
		if s.sessions.places[i].Load() != nil {
			sessions++
		}
		if s.access.places[i].Load() != nil {
			access++
		}
	}
	return sessions, access
}

// LastClient returns the client that the session was last used by, as far as the database knows.
func (a AppAccess) LastClient() Client {
	return Client{IP: a.IP, UserAgent: a.UserAgent, DeviceName: a.Browser}
}

// TOTPCode returns the code that an authenticator app shows at a time.
func TOTPCode(secret []byte, at time.Time) string {
	return totpCode(secret, totpCounter(at.UnixMilli()))
}
