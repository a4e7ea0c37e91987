package db

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/mattn/go-sqlite3"

	"porchlight/migrations"
)

// Contents describes what a backup holds.
type Contents struct {
	Users    int
	Sessions int   // that have not expired
	Size     int64 // in bytes
}

// Backup writes a consistent copy of the database to a new file. A server may be running. Backup neither migrates the database nor
// overwrites a file. When it returns, the copy has passed SQLite's integrity check and is on disk.
func Backup(ctx context.Context, options Options, to string) (contents Contents, err error) {
	options = options.withDefaults()
	path := options.Path
	if found, err := findDatabase(path); err != nil {
		return contents, err
	} else if !found {
		return contents, fmt.Errorf("there is no database %s; name the server's data folder with --data", path)
	}
	if isOwnName(path, to) {
		return contents, fmt.Errorf("%s is a name that Porchlight uses itself; choose another name", to)
	}
	if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
		return contents, fmt.Errorf("%s already exists; choose another name", to)
	}
	pool, err := openPool(path, "mode=rw&_busy_timeout=1000", 1)
	if err != nil {
		return contents, explain(path, err)
	}
	defer pool.Close()
	if version, err := version(ctx, pool); errors.Is(err, errNotOurs) || (err == nil && version == 0) {
		return contents, fmt.Errorf("%s is not a Porchlight database; name the server's data folder with --data", path)
	} else if err != nil {
		return contents, explain(path, err)
	}
	err = copyDatabase(ctx, pool, to, func(file *os.File) error {
		copied, err := openPool(file.Name(), "mode=rw", 1) // with mode=ro, the check would skip constraints
		if err != nil {
			return err
		}
		defer copied.Close()
		if err := checkPages(ctx, copied, `PRAGMA integrity_check(1)`); err != nil {
			return err
		}
		info, err := file.Stat()
		if err != nil {
			return err
		}
		contents.Size = info.Size()
		return copied.QueryRowContext(ctx, `
			SELECT (SELECT COUNT(*) FROM users), (SELECT COUNT(*) FROM sessions WHERE expires_at > $1)`,
			options.Now().UnixMilli()).Scan(&contents.Users, &contents.Sessions)
	})
	if err != nil {
		return contents, fmt.Errorf("cannot back up %s to %s: %w", path, to, err)
	}
	return contents, nil
}

// Restored describes what a restored database holds, and what Restore removed from it.
type Restored struct {
	Users       int
	Ended       int // sessions that had not expired
	Invitations int // links that had not been used and had not expired
}

// Restore creates a database from a backup, in a folder without a database. It checks the copy, migrates it, and removes every
// session and invitation before it gives the copy its name, because some of them may have been revoked or used after the backup.
func Restore(ctx context.Context, options Options, from string) (restored Restored, err error) {
	path := options.Path
	if err := checkNoDatabase(path); err != nil {
		return restored, err
	}
	resolved, err := filepath.EvalSymlinks(from)
	if err != nil {
		return restored, fmt.Errorf("cannot read the backup: %w", err)
	}
	aside := path + ".restoring"
	if sameFolder(resolved, aside) && filepath.Base(resolved) == filepath.Base(aside) {
		return restored, fmt.Errorf("%s was left behind by an interrupted restore; restore from the backup itself", from)
	}
	if info, err := os.Stat(resolved); err != nil {
		return restored, fmt.Errorf("cannot read the backup: %w", err)
	} else if !info.Mode().IsRegular() || info.Size() == 0 {
		return restored, fmt.Errorf("%s is not a backup: it is empty, or not a file", from)
	}
	if err := createFolder(filepath.Dir(path)); err != nil {
		return restored, explain(path, fmt.Errorf("create the data folder: %w", err))
	}
	lock, err := lockToServe(ctx, path)
	if err != nil {
		return restored, err
	}
	defer func() { err = errors.Join(err, lock.release()) }()
	if err := checkNoDatabase(path); err != nil { // another process may have created one before this one got the lock
		return restored, err
	}
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} { // left by a restore that was killed
		os.Remove(aside + suffix)
		defer os.Remove(aside + suffix)
	}
	if err := copyFiles(from, aside); err != nil {
		return restored, explain(path, err)
	}
	if err := migrateBackup(ctx, aside, from); err != nil {
		return restored, err
	}
	options.Path = aside
	if restored, err = clearSessions(ctx, options); err != nil {
		return restored, explain(path, err)
	}
	os.Remove(path) // at most an empty file
	return restored, explain(path, publish(aside, path))
}

func checkNoDatabase(path string) error {
	if found, err := findDatabase(path); err != nil {
		return err
	} else if found {
		return fmt.Errorf("the database %s already exists; move it away with its -wal and -shm, or choose another folder with --data", path)
	}
	// SQLite would roll a journal back into the restored database.
	if journal, err := os.Stat(path + "-journal"); err == nil && journal.Size() > 0 {
		return fmt.Errorf("%s belongs to a database that is missing; move it away, then restore again", path+"-journal")
	}
	return nil
}

var ownSuffix = regexp.MustCompile(`^(|\.lock|(\.restoring)?(|-wal|-shm|-journal)|\.(version|before)-[0-9].*)$`)

// isOwnName reports whether name is one of the files that SQLite or Porchlight itself puts beside the database at path.
func isOwnName(path, name string) bool {
	suffix, ours := strings.CutPrefix(filepath.Base(name), filepath.Base(path))
	return sameFolder(path, name) && (ours && ownSuffix.MatchString(suffix) || filepath.Base(name) == keyName)
}

func sameFolder(a, b string) bool {
	folder, err := os.Stat(filepath.Dir(a))
	other, otherErr := os.Stat(filepath.Dir(b))
	return err == nil && otherErr == nil && os.SameFile(folder, other)
}

// copyFiles copies a backup, and the WAL beside it if somebody copied the files of a database by hand. It only reads the originals,
// whereas SQLite would write to their folder.
func copyFiles(from, to string) error {
	for _, suffix := range []string{"", "-wal"} {
		source, err := os.Open(from + suffix)
		if suffix != "" && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		defer source.Close()
		file, err := createFile(to + suffix)
		if err != nil {
			return err
		}
		_, err = io.Copy(file, source)
		if err := errors.Join(err, file.Close()); err != nil {
			return err
		}
	}
	return nil
}

// migrateBackup checks a copied backup and migrates it to this binary's version. Its errors name the backup.
func migrateBackup(ctx context.Context, copied, from string) error {
	pool, err := openPool(copied, migrateSettings, 1)
	if err != nil {
		return err
	}
	defer pool.Close()
	current, newest, err := versions(ctx, pool, migrations.FS)
	switch {
	case errors.Is(err, errNotOurs), err == nil && current == 0:
		return fmt.Errorf("%s is not a Porchlight database", from)
	case err == nil && current > newest:
		return fmt.Errorf("%s has version %d, newer than this Porchlight, which knows %d; restore it with the newer Porchlight",
			from, current, newest)
	case err == nil:
		err = checkLength(ctx, pool, copied)
	}
	if err == nil {
		err = checkPages(ctx, pool, `PRAGMA integrity_check(1)`)
	}
	if sqliteErr := (sqlite3.Error{}); errors.As(err, &sqliteErr) && sqliteErr.Code == sqlite3.ErrNotADB {
		return fmt.Errorf("%s is not a SQLite database; give a file that porchlight backup wrote", from)
	}
	if err != nil {
		return fmt.Errorf("%s is damaged (%w); take an older backup", from, err)
	}
	if current < newest {
		if err := apply(ctx, pool, current, migrations.FS); err != nil {
			return fmt.Errorf("cannot migrate %s: %w; nothing was restored", from, err)
		}
	}
	return nil
}

// clearSessions ends every session and sign-in, voids every invitation and link, and drops every message. The database is not in use yet.
func clearSessions(ctx context.Context, options Options) (restored Restored, err error) {
	s := newStore(options)
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := s.connect(ctx); err != nil {
		return restored, err
	}
	if restored.Ended, err = s.RevokeAll(ctx, CommandLine); err != nil {
		return restored, err
	}
	// Expired sessions too: if the clock is ahead now, they would be alive again once it is right.
	if err := s.Sweep(ctx, time.Time{}); err != nil {
		return restored, err
	}
	err = s.write(ctx, func(tx *tx) (err error) {
		if restored.Invitations, err = tx.changeRows(`DELETE FROM invitations`); err != nil {
			return err
		}
		for _, statement := range []string{`DELETE FROM second_steps`, `DELETE FROM links`, `DELETE FROM email_changes`, `DELETE FROM outbox`} {
			if _, err := tx.Exec(statement); err != nil {
				return err
			}
		}
		return tx.QueryRow(`SELECT COUNT(*) FROM users`).Scan(&restored.Users)
	})
	return restored, err
}
