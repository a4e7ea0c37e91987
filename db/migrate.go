package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/gofrs/flock"
	"github.com/pressly/goose/v3"

	"porchlight/migrations"
)

// migrate brings the database up to this binary's version. A file lock keeps two processes that start together apart.
// What cannot be migrated is refused and left as it was.
func migrate(ctx context.Context, path string) error {
	return migrateWith(ctx, path, migrations.FS)
}

func migrateWith(ctx context.Context, path string, steps fs.FS) (err error) {
	lock := flock.New(path+".lock", flock.SetPermissions(0o600))
	wait, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if _, err := lock.TryLockContext(wait, 50*time.Millisecond); errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("cannot lock %s.lock: another Porchlight seems to be migrating this database; try again", path)
	} else if err != nil {
		return fmt.Errorf("cannot lock the database: %w; check who owns the folder, or choose another with --data", err)
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()

	// Foreign keys are off here: with them on, rebuilding a table would delete its children.
	pool, err := openPool(path, "_busy_timeout=5000&_fk=0&_sync=FULL", 1)
	if err != nil {
		return err
	}
	defer pool.Close()
	current, err := version(ctx, pool)
	if err != nil {
		return fmt.Errorf("cannot read the database %s: %w; restore a backup, or choose another folder with --data", path, err)
	}
	newest, err := newestOf(steps)
	if err != nil {
		return err
	}
	switch {
	case current == newest:
		return nil
	case current > newest:
		return fmt.Errorf("the database %s is of version %d, newer than this Porchlight, which knows %d; run the newer Porchlight again, or restore a backup", path, current, newest)
	case current > 0:
		if err := rehearse(ctx, pool, path, fmt.Sprintf("%s.before-%d", path, newest), steps); err != nil {
			return err
		}
	}
	if err := up(ctx, pool, steps); err != nil {
		return fmt.Errorf("cannot migrate the database %s: %w; make sure that the disk has room, or choose another folder with --data", path, err)
	}
	return nil
}

// rehearse keeps a copy of an existing database, and migrates another copy first: several steps are several
// transactions, and one that fails half-way must not leave the real database between two versions.
func rehearse(ctx context.Context, pool *sql.DB, path, kept string, steps fs.FS) error {
	trial := path + ".trial"
	defer os.Remove(trial)
	for _, to := range []string{kept, trial} {
		if err := copyDatabase(ctx, pool, to); err != nil {
			return fmt.Errorf("cannot copy the database to %s before migrating it: %w; make room there", to, err)
		}
	}
	copied, err := openPool(trial, "_fk=0", 1)
	if err != nil {
		return err
	}
	defer copied.Close()
	if err := up(ctx, copied, steps); err != nil {
		return fmt.Errorf("cannot migrate the database %s: %w; nothing was changed: run the Porchlight that you had, and report this", path, err)
	}
	return nil
}

func newestOf(steps fs.FS) (int64, error) {
	provider, err := goose.NewProvider(goose.DialectSQLite3, new(sql.DB), steps, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return 0, fmt.Errorf("read the migrations: %w", err)
	}
	sources := provider.ListSources()
	return sources[len(sources)-1].Version, nil
}

// up runs the steps that are missing. They ran with foreign keys off, so what they left is checked.
func up(ctx context.Context, pool *sql.DB, steps fs.FS) error {
	provider, err := goose.NewProvider(goose.DialectSQLite3, pool, steps, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return err
	}
	if _, err := provider.Up(ctx); err != nil {
		return err
	}
	rows, err := pool.QueryContext(ctx, `PRAGMA foreign_key_check`)
	if err != nil {
		return err
	}
	defer rows.Close()
	if rows.Next() {
		return errors.New("a row would be left without its parent")
	}
	return rows.Err()
}

// version is 0 for an empty file. A database that somebody else made is an error: it is not ours to change.
func version(ctx context.Context, pool *sql.DB) (int64, error) {
	var tables, ours int
	err := pool.QueryRowContext(ctx, `
		SELECT COUNT(*), COUNT(*) FILTER (WHERE name = 'goose_db_version')
		FROM sqlite_master`).Scan(&tables, &ours)
	switch {
	case err != nil || tables == 0:
		return 0, err
	case ours == 0:
		return 0, errors.New("it is not Porchlight's")
	}
	var version int64
	err = pool.QueryRowContext(ctx, `SELECT COALESCE(MAX(version_id), 0) FROM goose_db_version WHERE is_applied = 1`).Scan(&version)
	return version, err
}

// copyDatabase writes a whole copy, for its owner alone. An older copy of the same name gives way.
func copyDatabase(ctx context.Context, pool *sql.DB, to string) error {
	if err := os.WriteFile(to, nil, 0o600); err != nil { // VACUUM INTO takes an empty file and keeps its mode
		return err
	}
	_, err := pool.ExecContext(ctx, `VACUUM INTO $1`, to)
	return err
}
