package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/pressly/goose/v3"

	"porchlight/migrations"
)

// keptCopies is how many of the copies that are made before a migration are kept beside the database.
const keptCopies = 3

// secureDeleteSince is the first version of the database that is written with secure_delete on.
const secureDeleteSince = 7

// commandWait is how long a command waits for another process to migrate the database.
const commandWait = 2 * time.Second

// Foreign keys are off: with them on, rebuilding a table would delete its children.
const migrateSettings = "_busy_timeout=1000&_fk=0&_sync=FULL&_secure_delete=1"

var errNotOurs = errors.New("not a Porchlight database")

// migrate migrates the database to this binary's version. A server already holds the lock. A command takes it if migrations are
// missing, and fails while a server holds it. If anything fails, the database is unchanged.
func migrate(ctx context.Context, path string, locked bool) error {
	return migrateWith(ctx, path, locked, migrations.FS)
}

func migrateWith(ctx context.Context, path string, locked bool, steps fs.FS) error {
	pool, err := openPool(path, migrateSettings, 1)
	if err != nil {
		return err
	}
	defer pool.Close()
	current, newest, err := versions(ctx, pool, steps)
	if err == nil && current < newest && !locked {
		lock, lockErr := lockToMigrate(ctx, path)
		defer lock.release()
		// The process that held the lock may have migrated the database.
		if current, newest, err = versions(ctx, pool, steps); err == nil && current < newest && lockErr != nil {
			return lockErr
		}
	}
	switch {
	case errors.Is(err, errNotOurs):
		return fmt.Errorf("%s is not a Porchlight database; choose another folder with --data", path)
	case err != nil:
		return explain(path, err)
	case current > newest:
		return fmt.Errorf("%s has version %d, newer than this Porchlight, which knows %d; run the newer Porchlight, or restore a backup",
			path, current, newest)
	case current == newest:
		return nil
	}
	kept := ""
	if current > 0 {
		if kept, err = keepCopy(ctx, pool, path, current); err != nil {
			return explain(path, fmt.Errorf("copy the database before migrating it: %w", err))
		}
	}
	if err := apply(ctx, pool, current, steps); err != nil {
		if kept != "" {
			os.Remove(kept) // the database is unchanged
		}
		return explain(path, fmt.Errorf("migrate the database (nothing was changed): %w", err))
	}
	return nil
}

// versions returns the version of the database, and the version that it has after all migrations.
func versions(ctx context.Context, pool *sql.DB, steps fs.FS) (current, newest int64, err error) {
	provider, err := newProvider(pool, steps)
	if err != nil {
		return 0, 0, err
	}
	sources := provider.ListSources()
	current, err = version(ctx, pool)
	return current, sources[len(sources)-1].Version, err
}

// version returns 0 for an empty file, and errNotOurs for a database of another program.
func version(ctx context.Context, pool *sql.DB) (int64, error) {
	var tables, ours int
	err := pool.QueryRowContext(ctx, `
		SELECT COUNT(*), COUNT(*) FILTER (WHERE name = 'goose_db_version')
		FROM sqlite_master`).Scan(&tables, &ours)
	switch {
	case err != nil || tables == 0:
		return 0, err
	case ours == 0:
		return 0, errNotOurs
	}
	var version int64
	err = pool.QueryRowContext(ctx, `SELECT COALESCE(MAX(version_id), 0) FROM goose_db_version WHERE is_applied = 1`).Scan(&version)
	return version, err
}

// apply runs all missing migrations in one transaction, so that a crash leaves the old version or the new one, and nothing in between.
func apply(ctx context.Context, pool *sql.DB, current int64, steps fs.FS) (err error) {
	if 0 < current && current < secureDeleteSince {
		// What was deleted before is still in free pages.
		if _, err := pool.ExecContext(ctx, `VACUUM`); err != nil {
			return err
		}
	}
	provider, err := newProvider(pool, steps)
	if err != nil {
		return err
	}
	if _, err := pool.ExecContext(ctx, `BEGIN IMMEDIATE`); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			pool.Exec(`ROLLBACK`) // fails if SQLite has already rolled back
		}
	}()
	var partial *goose.PartialError
	if _, err := provider.Up(ctx); errors.As(err, &partial) {
		return fmt.Errorf("%s: %w", filepath.Base(partial.Failed.Source.Path), partial.Err)
	} else if err != nil {
		return err
	}
	if err := checkParents(ctx, pool); err != nil {
		return err
	}
	_, err = pool.ExecContext(ctx, `COMMIT`)
	return err
}

// newProvider reads the migrations. A provider that isolates DDL begins no transactions. The pool has a single connection, so its
// statements are part of the transaction that apply begins.
func newProvider(pool *sql.DB, steps fs.FS) (*goose.Provider, error) {
	return goose.NewProvider(goose.DialectSQLite3, pool, steps, goose.WithDisableGlobalRegistry(true), goose.WithIsolateDDL(true))
}

// checkParents looks for rows without a parent, because the migrations ran with foreign keys off.
func checkParents(ctx context.Context, pool *sql.DB) error {
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

// keepCopy writes a copy whose name contains the database's version. It never overwrites a copy, but removes old ones.
func keepCopy(ctx context.Context, pool *sql.DB, path string, version int64) (kept string, err error) {
	removeLeftovers(path)
	kept = fmt.Sprintf("%s.version-%d", path, version)
	for i := 2; ; i++ { // an earlier start was killed, or an older backup was put back
		if _, err := os.Lstat(kept); errors.Is(err, fs.ErrNotExist) {
			break
		} else if err != nil {
			return "", err
		}
		kept = fmt.Sprintf("%s.version-%d.%d", path, version, i)
	}
	if err := copyDatabase(ctx, pool, kept, inheritOwner); err != nil {
		return "", err
	}
	return kept, pruneCopies(path)
}

// pruneCopies removes all but the newest keptCopies copies, because deleted accounts are still in them. Earlier versions of Porchlight
// named a copy .before-N for the version that the database was migrated to.
func pruneCopies(path string) error {
	type keptCopy struct {
		name         string
		version, nth int64
	}
	var copies []keptCopy
	names, err := filepath.Glob(globPath(path) + ".*")
	if err != nil {
		return err
	}
	for _, name := range names {
		c := keptCopy{name: name}
		suffix := name[len(path):]
		if n, _ := fmt.Sscanf(suffix, ".version-%d.%d", &c.version, &c.nth); n == 0 {
			if n, _ := fmt.Sscanf(suffix, ".before-%d", &c.version); n == 0 {
				continue
			}
			c.version--
		}
		copies = append(copies, c)
	}
	slices.SortFunc(copies, func(a, b keptCopy) int {
		return slices.Compare([]int64{b.version, b.nth}, []int64{a.version, a.nth})
	})
	var errs []error
	for i, c := range copies {
		if i >= keptCopies {
			errs = append(errs, os.Remove(c.name))
		}
	}
	return errors.Join(errs...)
}
