package db

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Options configure a Store.
type Options struct {
	Path        string               // of the database file
	Create      bool                 // create the database and its folder if there is none; otherwise Open fails
	Serve       bool                 // this process is the server: only one can be open, and no command migrates the database meanwhile
	Limits      Limits               // the zero value means DefaultLimits
	MaxSessions int                  // live sessions a user may have; 0 means DefaultMaxSessions
	Site        string               // the host of the public address; passwords that are made of it are refused
	HashCost    HashCost             // the zero value means DefaultHashCost
	DenyApps    bool                 // nobody may reach a guarded host without a rule; otherwise every approved user may
	Now         func() time.Time     // nil means time.Now
	Warn        func(message string) // called with problems that do not prevent the database from opening; may be nil

	Ways                Ways        // in which a server can send messages to users; commands use those of the server that ran last
	KeepRevoked         bool        // keep the tokens of revoked sessions (see WasRevoked); commands do as the server that ran last
	RequireSecondFactor Requirement // who must have a second factor (see Session.MustSetUpFactor)
}

// roomNeeded is the free space, in bytes, that Open requires. SQLite maps its -shm file into memory, and if the disk is full when a
// page of it is first written, the process ends with SIGBUS. (SQLite allocates one byte per 4 kB, so with blocks of 1 kB three of four
// are holes.)
const roomNeeded = 1 << 20

// damageTimeout limits the search for damage when a server starts. With a million sessions, a full search takes 1.8 s.
const damageTimeout = time.Second

func (o Options) withDefaults() Options {
	o.Limits = cmp.Or(o.Limits, DefaultLimits)
	o.MaxSessions = cmp.Or(o.MaxSessions, DefaultMaxSessions)
	o.HashCost = cmp.Or(o.HashCost, DefaultHashCost)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Warn == nil {
		o.Warn = func(string) {}
	}
	return o
}

func newStore(options Options) *Store {
	options = options.withDefaults()
	return &Store{
		options: options, hasher: newHasher(options.HashCost), checking: newWorkQueue(checkingAtOnce, checkingWaiting),
		pending: newPending(), attempts: newReservations(),
	}
}

// Open migrates and opens the database. Its error is one line for the person who runs the server: what is wrong, and what to do.
func Open(ctx context.Context, options Options) (*Store, error) {
	s := newStore(options)
	err := s.prepare(ctx)
	if err == nil {
		err = explain(options.Path, s.connect(ctx))
	}
	if err == nil {
		err = s.openKey()
	}
	if err == nil {
		err = s.compareWithServer(ctx)
	}
	if err == nil && options.Serve {
		err = explain(options.Path, s.tryWriting(ctx))
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// prepare creates the database if needed, checks it for damage, and migrates it to this binary's version.
func (s *Store) prepare(ctx context.Context) (err error) {
	path := s.options.Path
	found, err := findDatabase(path)
	if err != nil {
		return err
	}
	if !found && !s.options.Create {
		return fmt.Errorf("there is no database %s; name the server's data folder with --data", path)
	}
	if err := s.prepareFolder(); err != nil {
		return err
	}
	if s.options.Serve {
		if s.lock, err = lockToServe(ctx, path); err != nil {
			return err
		}
		if found, err = findDatabase(path); err != nil { // another process may have created one before this one got the lock
			return err
		}
	}
	if !found {
		if err := ensureFile(path); err != nil {
			return explain(path, err)
		}
	} else if s.options.Serve {
		if err := checkDamage(ctx, path); err != nil {
			return explain(path, err)
		}
	}
	return migrate(ctx, path, s.lock != nil)
}

// prepareFolder creates the folder if it is missing, makes it accessible only to its owner, and checks that there is room on the disk.
func (s *Store) prepareFolder() error {
	path := s.options.Path
	folder := filepath.Dir(path)
	if err := createFolder(folder); err != nil {
		return explain(path, fmt.Errorf("create the data folder: %w", err))
	}
	if err := restrictFolder(folder); err != nil {
		s.options.Warn(fmt.Sprintf("other users of this machine can look into the data folder %s, and its mode cannot be changed to 0700: %v",
			folder, err))
	}
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o077 != 0 {
		if err := os.Chmod(path, 0o600); err != nil {
			s.options.Warn(fmt.Sprintf("other users of this machine may read %s, and its mode cannot be changed to 0600: %v", path, err))
		}
	}
	if info, err := os.Stat(path + "-shm"); !s.options.Serve && err == nil && info.Size() > 0 {
		return nil // a server created it and may be running: a command must be able to revoke even if the disk is full
	}
	return checkRoom(path)
}

// tryWriting writes to the database once, so that a server that cannot write does not start. The first write to the WAL also fills
// the holes of -shm (see roomNeeded) while there is room.
func (s *Store) tryWriting(ctx context.Context) error {
	return s.write(ctx, func(tx *tx) error {
		if _, err := tx.Exec(`UPDATE limits SET id = id`); err != nil {
			return err
		}
		return errors.Join(tx.storeWays(s.options.Ways), tx.storeKeepRevoked(s.options.KeepRevoked))
	})
}

func checkRoom(path string) error {
	var disk unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(path), &disk); err != nil {
		return nil // the file system does not report it
	}
	free := disk.Bavail
	if os.Geteuid() == 0 {
		free = disk.Bfree
	}
	if free < roomNeeded/uint64(disk.Bsize) {
		return explain(path, errNoRoom)
	}
	return nil
}

// checkDamage looks for damage before the database is written to: in its length, and in its pages for at most damageTimeout. The caller
// holds the lock.
func checkDamage(ctx context.Context, path string) error {
	pool, err := openPool(path, "_busy_timeout=1000", 1)
	if err != nil {
		return err
	}
	defer pool.Close()
	if err := checkLength(ctx, pool, path); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, damageTimeout)
	defer cancel()
	err = checkPages(limited, pool, `PRAGMA quick_check(1)`)
	if limited.Err() != nil && ctx.Err() == nil {
		return nil // too big to check completely; no damage so far
	}
	return err
}

// checkLength compares the length of the file with the number of its pages. SQLite does so itself only if there is no WAL; otherwise it
// reads missing pages as zeros. Only pages that are in the WAL may be missing from the file.
func checkLength(ctx context.Context, pool *sql.DB, path string) error {
	var pages, pageSize, inWAL int64
	row := pool.QueryRowContext(ctx, `SELECT page_count, page_size FROM pragma_page_count, pragma_page_size`)
	if err := row.Scan(&pages, &pageSize); err != nil {
		return err
	}
	const walHeader, frameHeader = 32, 24 // https://sqlite.org/fileformat2.html#walformat
	if wal, err := os.Stat(path + "-wal"); err == nil {
		inWAL = max(0, wal.Size()-walHeader) / (frameHeader + pageSize)
	}
	file, err := os.Stat(path)
	if err != nil {
		return err
	}
	if missing := pages - file.Size()/pageSize; missing > inWAL {
		return damage(fmt.Sprintf("it has %d bytes of %d", file.Size(), pages*pageSize))
	}
	return nil
}

// checkPages runs a pragma that checks the database and returns "ok" or what it found.
func checkPages(ctx context.Context, pool *sql.DB, pragma string) error {
	var found string
	if err := pool.QueryRowContext(ctx, pragma).Scan(&found); err != nil {
		return err
	}
	if found != "ok" {
		return damage(strings.ReplaceAll(found, "\n", " "))
	}
	return nil
}
