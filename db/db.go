// Package db keeps users, sessions and activity in one SQLite file, which is the only truth there is.
package db

import (
	"context"
	"database/sql"
	"database/sql/driver"
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
	// ErrNotFound says that there is no such row, or none that the caller may touch.
	ErrNotFound = errors.New("not found")
	// ErrSessionEnded says that the session that asks has ended since the request came in; nothing was changed.
	ErrSessionEnded = errors.New("the session is over")
	// ErrUnavailable says that the database did not answer: nothing was read, nothing was changed.
	ErrUnavailable = errors.New("the database does not answer")
	// ErrUncertain says that the database could not confirm a change: it may be saved or not.
	ErrUncertain = errors.New("the change may not have been saved; check, and repeat it if it is missing")
)

// readers is how many connections read at once. Reads are short and never wait for a write.
const readers = 2

// Store is the database, opened and migrated. Its methods may be called from many goroutines at once.
type Store struct {
	options Options
	writer  *sql.DB // one connection, for whoever has the queue's turn
	queue   writeQueue
	reader  *sql.DB
	tokens  *sql.DB // for the statements

	resume, authorize, byID, list statement // what nearly every request asks

	changes  changes
	answered atomic.Pointer[stamp] // Ping has succeeded since
	sessions cache[Session]        // by token, without apps; by id, with them
	access   cache[AppAccess]      // by token and host

	hasher  *hasher
	checker *passwordChecker
	files   *fileWatch
	lock    *fileLock // of a server, until Close

	openedAfter int64 // the last id of a user that was given out before the store was opened

	pending        pending
	attempts       reservations
	attemptSecret  []byte // the HMAC key of attemptKey
	usernameSecret []byte // the HMAC key of deletedKey

	committed  bell          // rings after each commit
	uncertain  chan struct{} // a COMMIT has failed
	walLimit   int64         // walWarnSize, but in tests
	walWarned  time.Time
	stop       context.CancelFunc // ends what runs in the background
	background sync.WaitGroup
}

// Every setting is part of the address, so that it holds for every connection. FULL, because the driver
// would choose NORMAL, which loses acknowledged commits in a power cut. What is deleted is overwritten: accounts that were
// deleted must not be found in the file's free pages. Each reader caches 1 MB: the inner pages of the
// indexes, even of a million sessions; the rest is in the system's own cache anyway.
const (
	writerSettings = "_journal_mode=WAL&_sync=FULL&_busy_timeout=1000&_txlock=immediate&_fk=1&_secure_delete=1"
	readerSettings = "mode=ro&_query_only=1&_busy_timeout=1000&_cache_size=-1000"
)

func (s *Store) connect(ctx context.Context) (err error) {
	s.files = &fileWatch{path: s.options.Path, changes: &s.changes, onErr: s.warnOfFiles}
	s.uncertain, s.walLimit = make(chan struct{}, 1), walWarnSize
	if s.writer, err = s.openWatchedPool(writerSettings, 1); err != nil {
		return err
	}
	if _, err = s.writer.ExecContext(ctx, fmt.Sprintf(`PRAGMA journal_size_limit = %d`, walSizeLimit)); err != nil {
		return err
	}
	if s.reader, err = s.openWatchedPool(readerSettings, readers); err != nil {
		return err
	}
	if err = s.reader.QueryRowContext(ctx, lastUserID).Scan(&s.openedAfter); err != nil {
		return err
	}
	if err = s.openStatements(map[*statement]string{
		&s.resume: resumeSession, &s.authorize: authorizeSession, &s.byID: sessionByID, &s.list: sessionsOfUser,
	}); err != nil {
		return err
	}
	if err = s.files.remember(); err != nil {
		return err
	}
	s.sessions.changes, s.access.changes = &s.changes, &s.changes
	running, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.background.Go(func() { s.files.checkEvery(running, watchEvery) })
	s.background.Go(func() { s.settle(running) })
	return nil
}

// meetServer tells the commands which files this server has open or, in a command, asks the server.
func (s *Store) meetServer(ctx context.Context) error {
	if s.options.Serve {
		return s.files.note(s.files.identity())
	}
	note, err := s.files.agree(ctx)
	if note == shutNote {
		s.options.Warn("the server that runs has shut itself, because its files were removed, replaced or truncated; restart it")
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

// openWatchedPool opens a pool for the store, which refuses once the store is shut.
func (s *Store) openWatchedPool(settings string, connections int) (*sql.DB, error) {
	pool := sql.OpenDB(connector{dsn(s.options.Path, settings), s.files})
	pool.SetMaxOpenConns(connections)
	pool.SetMaxIdleConns(connections)
	return pool, pool.Ping()
}

// connector opens connections, and asks the file watch before that and before each query.
type connector struct {
	dsn   string
	files *fileWatch
}

func (c connector) Driver() driver.Driver { return &sqlite3.SQLiteDriver{} }

func (c connector) Connect(context.Context) (driver.Conn, error) {
	if err := c.files.err(); err != nil {
		return nil, err
	}
	conn, err := c.Driver().Open(c.dsn)
	if err != nil {
		return nil, err
	}
	return watchedConn{conn.(*sqlite3.SQLiteConn), c.files}, nil
}

type watchedConn struct {
	*sqlite3.SQLiteConn
	files *fileWatch
}

func (c watchedConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if err := c.files.err(); err != nil {
		return nil, err
	}
	return c.SQLiteConn.QueryContext(ctx, query, args)
}

// Close writes what is still noted in memory, then closes the database. A store that is shut leaves its connections to
// the end of the process: closing the last one would write the WAL back, and delete by their paths files that are not its own.
func (s *Store) Close() error {
	var errs []error
	if s.stop != nil { // everything is open
		if s.files.check() == nil {
			errs = append(errs, s.Flush(context.Background()))
		}
		s.stop()
		s.background.Wait()
	}
	if s.files != nil && s.files.err() == nil {
		s.changes.close()
		for _, pool := range []*sql.DB{s.tokens, s.reader, s.writer} {
			if pool != nil {
				errs = append(errs, pool.Close())
			}
		}
	}
	return errors.Join(append(errs, s.lock.release())...)
}

// Ping asks for a session that cannot be: the database answers.
func (s *Store) Ping() error {
	if err := s.files.check(); err != nil {
		return err
	}
	return s.resume.query(func(scanner) error { return nil }, []byte{})
}

// Reachable is Ping, or nil if the database has answered since its last change.
func (s *Store) Reachable() error {
	now, ok := s.changes.loadStamp()
	if answered := s.answered.Load(); ok && answered != nil && *answered == now {
		return s.files.err()
	}
	err := s.Ping()
	if err == nil && ok {
		s.answered.Store(&now)
	}
	return err
}

// Now is the time by the store's clock, which everybody goes by.
func (s *Store) Now() time.Time { return s.options.Now() }

// now is Now as the database keeps it: milliseconds since 1970.
func (s *Store) now() int64 { return s.Now().UnixMilli() }

// SQLiteVersion is the version of the library that is built in.
func SQLiteVersion() string {
	version, _, _ := sqlite3.Version()
	return version
}
