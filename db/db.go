// Package db keeps users, sessions and activity in one SQLite file, which is the only truth there is.
package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

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

// writeWait bounds the wait for the one writing connection. SQLite's own wait for a lock that another
// process holds (busy_timeout, 1 s) comes on top, so a write answers within 3 seconds.
const writeWait = 1500 * time.Millisecond

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
	writer  *sql.DB // one connection: SQLite has one writer anyway, and a queue in Go is fair and bounded
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

// write runs work in one transaction. Once it returns nil, what work did is on disk and holds through a power cut.
func (s *Store) write(ctx context.Context, work func(*sql.Tx) error) error {
	if err := s.there(); err != nil {
		return err
	}
	wait, cancel := context.WithTimeout(ctx, writeWait)
	defer cancel()
	conn, err := s.writer.Conn(wait)
	if err != nil {
		return unavailable(err)
	}
	defer conn.Close()
	// From here on no deadline: a commit that was cut short could not be told from one that failed.
	tx, err := conn.BeginTx(context.WithoutCancel(ctx), nil)
	if err != nil {
		return unavailable(err)
	}
	if err := work(tx); err != nil {
		return errors.Join(unavailable(err), ignoreDone(tx.Rollback()))
	}
	return unavailable(tx.Commit())
}

// changeOne runs a statement that must change one row, else it answers ErrNotFound.
func changeOne(tx *sql.Tx, statement string, args ...any) error {
	result, err := tx.Exec(statement, args...)
	if err != nil {
		return err
	}
	n, err := result.RowsAffected()
	if err == nil && n == 0 {
		err = ErrNotFound
	}
	return err
}

// writeAs is write on behalf of a session, which must still be alive when it happens, not only when the request came in.
func (s *Store) writeAs(ctx context.Context, by Session, work func(tx *sql.Tx, now int64) error) error {
	return s.write(ctx, func(tx *sql.Tx) error {
		now := s.now()
		var alive bool
		err := tx.QueryRow(`SELECT EXISTS (SELECT 1 FROM sessions WHERE id = $1 AND user_id = $2 AND expires_at > $3)`, by.ID, by.UserID, now).Scan(&alive)
		if err != nil {
			return err
		}
		if !alive {
			return ErrOver
		}
		return work(tx, now)
	})
}

func ignoreDone(err error) error {
	if errors.Is(err, sql.ErrTxDone) {
		return nil
	}
	return err
}

// unavailable marks the errors that mean "the database does not answer" (locked, full, gone, unreadable), so
// that they can be told from a mistake of ours.
func unavailable(err error) error {
	var sqliteErr sqlite3.Error
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, sql.ErrConnDone), strings.HasSuffix(err.Error(), "is closed"): // for that database/sql names no error
	case errors.As(err, &sqliteErr) && sqliteErr.Code != sqlite3.ErrConstraint && sqliteErr.Code != sqlite3.ErrError:
	default:
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// SQLiteVersion is the version of the library that is built in.
func SQLiteVersion() string {
	version, _, _ := sqlite3.Version()
	return version
}
