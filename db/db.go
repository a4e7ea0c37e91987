// Package db keeps users, sessions and activity in one SQLite file, which is the only truth there is.
package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"

	"github.com/mattn/go-sqlite3"
)

var (
	// ErrNotFound says that there is no such row, or none that the caller may touch.
	ErrNotFound = errors.New("not found")
	// ErrOver says that the session that asks has ended since the request came in; nothing was changed.
	ErrOver = errors.New("the session is over")
	// ErrUnavailable says that the database did not answer: nothing was read, nothing was changed.
	ErrUnavailable = errors.New("the database does not answer")
)

// readers is how many connections read at once. Reads are short and never wait for a write.
const readers = 2

// The questions that the lookups named tokens answer.
const (
	askResume = iota
	askVerify
	askExpired
)

// Store is the database, opened and migrated. Its methods may be called from many goroutines at once.
type Store struct {
	options Options
	writer  *sql.DB // one connection, for whoever has the queue's turn
	queue   writeQueue
	reader  *sql.DB
	tokens  *lookups // what tokens name: every request asks, and for a request to an app its proxy
	devices *lookups // the sessions of a user: every device list asks
	hasher  *hasher
	checker *passwordChecker
	file    os.FileInfo // the database file as it was opened
	lock    *fileLock   // of a server, until Close

	openedAfter int64 // the last id of a user that was given out before the store was opened

	pending pending
}

// Every setting is part of the address, so that it holds for every connection. FULL, because the driver
// would choose NORMAL, which loses acknowledged commits in a power cut. What is deleted is overwritten: accounts that were
// deleted must not be found in the file's free pages. Each reader caches 1 MB: the inner pages of the
// indexes, even of a million sessions; the rest is in the system's own cache anyway.
const (
	writerSettings = "_journal_mode=WAL&_sync=FULL&_busy_timeout=1000&_txlock=immediate&_fk=1&_secure_delete=1"
	readerSettings = "mode=ro&_query_only=1&_busy_timeout=1000&_cache_size=-1000"
)

func (s *Store) connect(ctx context.Context) error {
	var err error
	if s.writer, err = openPool(s.options.Path, writerSettings, 1); err != nil {
		return err
	}
	if err := s.writer.PingContext(ctx); err != nil {
		return err
	}
	if s.reader, err = openPool(s.options.Path, readerSettings, readers); err != nil {
		return err
	}
	if err := s.reader.QueryRowContext(ctx, lastUserID).Scan(&s.openedAfter); err != nil {
		return err
	}
	if s.tokens, err = openLookups(s.options.Path, readerSettings, readers, resumeSession, verifySession, expiredSession); err != nil {
		return err
	}
	if s.devices, err = openLookups(s.options.Path, readerSettings, readers, sessionsOfUser); err != nil {
		return err
	}
	s.file, err = os.Stat(s.options.Path)
	return err
}

// there answers ErrUnavailable when the database file is gone or another has taken its place. SQLite would go on with the
// file that it has open, and what it acknowledged would be gone with the process.
func (s *Store) there() error {
	file, err := os.Stat(s.options.Path)
	if err == nil && !os.SameFile(file, s.file) {
		err = errors.New("another file has taken its place")
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return nil
}

// dsn is the address of the database for the driver; odd characters of the path are escaped.
func dsn(path, settings string) string {
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + settings
}

func openPool(path, settings string, connections int) (*sql.DB, error) {
	pool, err := sql.Open("sqlite3", dsn(path, settings))
	if err != nil {
		return nil, err
	}
	pool.SetMaxOpenConns(connections)
	pool.SetMaxIdleConns(connections)
	return pool, nil
}

// Close writes what is still noted in memory, then closes the database.
func (s *Store) Close() error {
	var errs []error
	if s.file != nil { // everything is open
		errs = append(errs, s.Flush(context.Background()))
	}
	errs = append(errs, s.tokens.close(), s.devices.close())
	for _, pool := range []*sql.DB{s.reader, s.writer} {
		if pool != nil {
			errs = append(errs, pool.Close())
		}
	}
	return errors.Join(append(errs, s.lock.release())...)
}

// Ping asks for a session that cannot be: the database answers.
func (s *Store) Ping() error {
	if err := s.there(); err != nil {
		return err
	}
	_, err := askAll(s.tokens, askResume, scanSession, []byte{}, s.now())
	return err
}

// now is the clock as the database keeps it: milliseconds since 1970.
func (s *Store) now() int64 { return s.options.Now().UnixMilli() }

// SQLiteVersion is the version of the library that is built in.
func SQLiteVersion() string {
	version, _, _ := sqlite3.Version()
	return version
}
