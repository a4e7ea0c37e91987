// Package db stores users, sessions and activity in one SQLite file.
package db

import (
	"context"
	"crypto/cipher"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mattn/go-sqlite3"
)

var (
	// ErrNotFound means that the row does not exist, or that the caller may not touch it.
	ErrNotFound = errors.New("not found")
	// ErrSessionEnded means that the caller's session has ended since the request arrived. Nothing was changed.
	ErrSessionEnded = errors.New("the session has ended")
	// ErrUnavailable means that the database did not answer. Nothing was read or changed.
	ErrUnavailable = errors.New("the database does not answer")
	// ErrUncertain means that the database could not confirm a change, which may be saved or not.
	ErrUncertain = errors.New("the change may not have been saved; check, and repeat it if it is missing")
)

// readers is how many connections the read pool has. Reads are short and never wait for a write.
const readers = 2

// Store is an open and migrated database. Its methods are safe for concurrent use.
type Store struct {
	options Options
	writer  *sql.DB // one connection, for the write whose turn it is in queue
	queue   writeQueue
	reader  *readPool

	walIndex walIndex
	sessions cache[Session]   // by token, without apps; by id, with apps
	access   cache[AppAccess] // by token and host

	hasher   *hasher
	checking *workQueue // new passwords
	files    *fileWatch
	lock     *fileLock // held by a server until Close

	openedAfter int64 // the last user id that was assigned before the store was opened

	pending        pending
	moved          chan struct{} // see Moved
	attempts       reservations
	key            serverKey
	totpCipher     cipher.AEAD
	attemptSecret  []byte // the HMAC key of attemptKey
	usernameSecret []byte // the HMAC key of deletedKey

	committed  atomic.Pointer[chan struct{}] // see Changed
	uncertain  chan struct{}                 // receives when a COMMIT has failed
	walLimit   int64                         // walWarnSize, except in tests
	walWarned  time.Time
	followers  followers
	running    context.Context    // ends with the store
	stop       context.CancelFunc // ends the work in the background
	background sync.WaitGroup
}

// Every setting is part of the DSN, so it applies to every connection. With NORMAL, the driver's default, a power cut loses
// acknowledged commits. secure_delete overwrites what is deleted, so that deleted accounts are not left in free pages of the file.
// Each reader caches 1 MB, which is enough for the inner pages of the indexes, even of a million sessions. The operating system
// caches the rest.
const (
	writerSettings = "_journal_mode=WAL&_sync=FULL&_busy_timeout=1000&_txlock=immediate&_fk=1&_secure_delete=1"
	readerSettings = "mode=ro&_query_only=1&_busy_timeout=1000&_cache_size=-1000"
)

func (s *Store) connect(ctx context.Context) (err error) {
	s.files = &fileWatch{path: s.options.Path, walIndex: &s.walIndex, onErr: s.warnOfFiles}
	s.uncertain, s.walLimit = make(chan struct{}, 1), walWarnSize
	s.moved = make(chan struct{}, 1)
	next := make(chan struct{})
	s.committed.Store(&next)
	if s.writer, err = openPool(s.options.Path, writerSettings, 1); err != nil {
		return err
	}
	if _, err = s.writer.ExecContext(ctx, fmt.Sprintf(`PRAGMA journal_size_limit = %d`, walSizeLimit)); err != nil {
		return err
	}
	pool, err := openPool(s.options.Path, readerSettings, readers)
	if err != nil {
		return err
	}
	s.reader = &readPool{DB: pool, files: s.files, turns: make(chan struct{}, readers)}
	if s.openedAfter, err = queryValue[int64](s.reader, lastUserID); err != nil {
		return err
	}
	if err = s.files.remember(); err != nil {
		return err
	}
	s.sessions.walIndex, s.access.walIndex = &s.walIndex, &s.walIndex
	s.running, s.stop = context.WithCancel(context.Background())
	s.followers.byUser = map[int64]map[chan struct{}]bool{}
	s.background.Go(func() { s.files.checkEvery(s.running, watchEvery) })
	s.background.Go(func() { s.settle(s.running) })
	return nil
}

// compareWithServer notes in the lock file which files this server has open. In a command, it compares that note with the files that
// the command has open.
func (s *Store) compareWithServer(ctx context.Context) error {
	if s.options.Serve {
		return s.files.note(s.files.identity())
	}
	note, err := s.files.awaitServer(ctx)
	if note == shutNote {
		s.options.Warn("the running server stopped using the database, because its files were removed, replaced or truncated; restart it")
	}
	return err
}

func (s *Store) warnOfFiles(err error) {
	if s.options.Serve {
		err = errors.Join(err, s.files.note(shutNote))
	}
	s.options.Warn(fmt.Sprintf("the files of the database %s were removed, replaced or truncated while it was open (%s); "+
		"nothing is read or written until a restart", s.options.Path, strings.ReplaceAll(err.Error(), "\n", "; ")))
}

// dsn returns the data source name of a database file. It escapes special characters in the path.
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

// Close writes the notes in memory, then closes the database. If its files were removed or replaced, the connections stay open until the
// process ends: closing the last one would write the WAL back, and would delete the files that now have the names of the old ones.
func (s *Store) Close() error {
	var errs []error
	if s.stop != nil { // connect succeeded
		if s.files.check() == nil {
			errs = append(errs, s.Flush(context.Background()))
		}
		s.stop()
		s.background.Wait()
	}
	if s.files != nil && s.files.err() == nil {
		s.walIndex.close()
		if s.reader != nil {
			errs = append(errs, s.reader.Close())
		}
		if s.writer != nil {
			errs = append(errs, s.writer.Close())
		}
	}
	return errors.Join(append(errs, s.lock.release())...)
}

// Ping returns an error if the database does not answer. It looks for a session that cannot exist.
func (s *Store) Ping() error {
	if err := s.files.check(); err != nil {
		return err
	}
	_, err := queryAll(s.reader, s.scanSession, resumeSession, []byte{})
	return err
}

// Reachable is like Ping, but it queries the database only if it has changed since the last query that succeeded.
func (s *Store) Reachable() error {
	_, err := s.sessions.get(cacheKey{}, func() (Session, error) { return Session{}, s.Ping() })
	return err
}

// Now returns the current time. The handlers use it too, so that the whole program has one clock, which tests can set.
func (s *Store) Now() time.Time { return s.options.Now() }

// now returns Now in milliseconds since 1970, as the database stores times.
func (s *Store) now() int64 { return s.Now().UnixMilli() }

// SQLiteVersion returns the version of SQLite that is built into the program.
func SQLiteVersion() string {
	version, _, _ := sqlite3.Version()
	return version
}
