package db_test

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/pressly/goose/v3"

	"porchlight/db"
	"porchlight/db/dbtest"
	"porchlight/migrations"
)

// newest returns the version of the newest migration.
func newest(t testing.TB) int64 {
	t.Helper()
	steps, err := fs.Glob(migrations.FS, "*.sql")
	if err != nil || len(steps) == 0 {
		t.Fatal("no migrations:", err)
	}
	version, err := goose.NumericComponent(steps[len(steps)-1])
	if err != nil {
		t.Fatal(err)
	}
	return version
}

// withSteps returns the existing migrations and more.
func withSteps(t testing.TB, more map[string]string) fstest.MapFS {
	t.Helper()
	steps := fstest.MapFS{}
	for name, sql := range more {
		steps[name] = &fstest.MapFile{Data: []byte("-- +goose Up\n" + sql)}
	}
	names, err := fs.Glob(migrations.FS, "*.sql")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		content, err := migrations.FS.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		steps[name] = &fstest.MapFile{Data: content}
	}
	return steps
}

func (h *house) version() int64 {
	h.t.Helper()
	return h.number(`SELECT MAX(version_id) FROM goose_db_version`)
}

// closed closes the store and every connection of the test, so that everything is in the file, and returns the file.
func (h *house) closed() []byte {
	h.t.Helper()
	h.disk.Close()
	if err := h.Close(); err != nil {
		h.t.Fatal(err)
	}
	return read(h.t, h.options.Path)
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func TestOpenCreatesADatabase(t *testing.T) {
	t.Parallel()
	h := openHouse(t)
	if got, want := h.version(), newest(t); got != want {
		t.Errorf("version %d, want %d", got, want)
	}
	tables := h.texts(`SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'
		AND name NOT LIKE 'goose_%' ORDER BY name`)
	for _, table := range []string{"activity", "sessions", "users"} {
		if !slices.Contains(tables, table) {
			t.Errorf("no table %s among %v", table, tables)
		}
	}
	if loose := h.texts(`SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND strict = 0
		AND name NOT LIKE 'sqlite_%' AND name NOT LIKE 'goose_%'`); len(loose) != 0 {
		t.Errorf("not STRICT: %v", loose)
	}
	if copies, _ := filepath.Glob(h.options.Path + ".version-*"); len(copies) != 0 {
		t.Errorf("a new database has the copies %v", copies)
	}
}

func TestOpenAgainFindsTheSameData(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.reopen()
	for _, d := range []device{c.laptop, c.phone, c.desk} {
		if got := c.alive(d); !reflect.DeepEqual(got, d.Session) {
			t.Errorf("got %+v\nwant %+v", got, d.Session)
		}
	}
	if got, want := c.version(), newest(t); got != want {
		t.Errorf("version %d, want %d", got, want)
	}
}

func TestOpenTwiceAtOnce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "data", "porchlight.db")
	stores := make([]*db.Store, 4)
	var all sync.WaitGroup
	for i := range stores {
		all.Go(func() {
			var err error
			if stores[i], err = db.Open(context.Background(), db.Options{Path: path, Create: true, HashCost: dbtest.HashCost}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if t.Failed() {
		return
	}
	alice, err := stores[0].CreateUser(t.Context(), db.NewUser{Username: "alice", Password: alicePassword})
	if err != nil {
		t.Fatal(err)
	}
	token, _, err := stores[1].SignIn(t.Context(), alice, onCurl)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stores[2].Resume(token); err != nil {
		t.Error(err)
	}
	var repeated int
	if err := openDisk(t, path).QueryRow(`SELECT COUNT(*) - COUNT(DISTINCT version_id) FROM goose_db_version`).
		Scan(&repeated); err != nil || repeated != 0 {
		t.Errorf("%d steps were recorded twice, %v", repeated, err)
	}
	for _, store := range stores {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestOpenLeavesOtherDatabasesUnchanged(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		make  func(t *testing.T, path string)
		wants string
	}{
		{"newer", func(t *testing.T, path string) {
			c := openCast(t)
			c.exec(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, 1)`)
			if err := os.WriteFile(path, c.closed(), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "newer than this Porchlight"},
		{"newer by one step", func(t *testing.T, path string) {
			c := openCast(t)
			c.exec(`INSERT INTO goose_db_version (version_id, is_applied) SELECT MAX(version_id) + 1, 1 FROM goose_db_version`)
			if err := os.WriteFile(path, c.closed(), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "newer than this Porchlight"},
		{"somebody else's", func(t *testing.T, path string) {
			disk := openDisk(t, path)
			if _, err := disk.Exec(`CREATE TABLE users (recipe TEXT); INSERT INTO users VALUES ('soup')`); err != nil {
				t.Fatal(err)
			}
			disk.Close()
		}, "not a Porchlight database"},
		{"somebody else's, in WAL mode", func(t *testing.T, path string) {
			disk := openDisk(t, path)
			if _, err := disk.Exec(`PRAGMA journal_mode = WAL; CREATE TABLE recipes (recipe TEXT)`); err != nil {
				t.Fatal(err)
			}
			disk.Close()
		}, "not a Porchlight database"},
		{"garbage", func(t *testing.T, path string) {
			if err := os.WriteFile(path, bytes.Repeat([]byte("dear diary, "), 1000), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "is damaged"},
		{"cut short", func(t *testing.T, path string) {
			if err := os.WriteFile(path, openCast(t).closed()[:5000], 0o600); err != nil {
				t.Fatal(err)
			}
		}, "is damaged"},
		{"a folder", func(t *testing.T, path string) {
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		}, "is not a file"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "porchlight.db")
			test.make(t, path)
			before, _ := os.ReadFile(path)
			store, err := db.Open(t.Context(), db.Options{Path: path, Create: true, HashCost: dbtest.HashCost})
			if err == nil {
				store.Close()
				t.Fatal("it was opened")
			}
			if !strings.Contains(err.Error(), test.wants) || strings.Contains(err.Error(), "\n") {
				t.Errorf("the error is %q, want one line with %q", err, test.wants)
			}
			if after, _ := os.ReadFile(path); !bytes.Equal(after, before) {
				t.Error("the file was changed")
			}
			for _, left := range folder(t, path) {
				if left != path && left != path+".lock" {
					t.Errorf("it left %s", filepath.Base(left))
				}
			}
		})
	}
}

func TestMigrationKeepsACopy(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	if err := db.MigrateWith(t.Context(), c.options.Path,
		withSteps(t, map[string]string{"00098_colours.sql": `ALTER TABLE users ADD COLUMN colour TEXT;`})); err != nil {
		t.Fatal(err)
	}
	if n := c.number(`SELECT COUNT(*) FROM users WHERE colour IS NULL`); n != 2 || c.version() != 98 {
		t.Errorf("%d users, version %d", n, c.version())
	}
	kept := fmt.Sprintf("%s.version-%d", c.options.Path, newest(t))
	info, err := os.Stat(kept)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the copy: %v, %v", info, err)
	}
	// The copy is a database that this binary opens, with everything in it.
	old, err := db.Open(t.Context(), db.Options{Path: kept, HashCost: dbtest.HashCost, Now: c.clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	if _, err := old.Resume(c.laptop.token); err != nil {
		t.Error(err)
	}
}

func TestAFailedMigrationChangesNothing(t *testing.T) {
	t.Parallel()
	const good = `ALTER TABLE users ADD COLUMN colour TEXT;`
	for name, steps := range map[string]map[string]string{
		"the second of two steps": {"00098_good.sql": good, "00099_bad.sql": `ALTER TABLE nothing ADD COLUMN colour TEXT;`},
		"the second statement of the second step": {"00098_good.sql": good,
			"00099_bad.sql": `CREATE TABLE colours (name TEXT); INSERT INTO nothing VALUES (1);`},
		"a row that would be left without a parent": {"00098_good.sql": good, "00099_bad.sql": `DELETE FROM users WHERE username = 'alice';`},
	} {
		t.Run(name, func(t *testing.T) {
			c := openCast(t)
			before := c.closed()
			err := db.MigrateWith(t.Context(), c.options.Path, withSteps(t, steps))
			if err == nil || !strings.Contains(err.Error(), "nothing was changed") {
				t.Errorf("the error is %v", err)
			}
			if !bytes.Equal(read(t, c.options.Path), before) {
				t.Error("the file was changed")
			}
			if left, _ := filepath.Glob(c.options.Path + ".version-*"); len(left) != 0 {
				t.Errorf("it left %v, though nothing was changed", left)
			}
			c.open()
			for _, d := range []device{c.laptop, c.phone, c.desk} {
				c.alive(d)
			}
		})
	}
}

func TestMigrationThatRebuildsATableKeepsItsChildren(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	schema := strings.Replace(c.text(`SELECT sql FROM sqlite_master WHERE name = 'users'`), "CREATE TABLE users", "CREATE TABLE users_new", 1)
	before := c.ids()
	steps := withSteps(t, map[string]string{"00098_rebuild.sql": schema + `;
		INSERT INTO users_new SELECT * FROM users;
		DROP TABLE users;
		ALTER TABLE users_new RENAME TO users;`})
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := db.MigrateWith(t.Context(), c.options.Path, steps); err != nil {
		t.Fatal(err)
	}
	if after := c.ids(); !slices.Equal(after, before) {
		t.Errorf("sessions were %v, are %v", before, after)
	}
}

func TestFilesAreAccessibleOnlyToTheirOwner(t *testing.T) {
	t.Parallel()
	c := openCast(t, func(o *db.Options) { o.Path, o.Create = filepath.Join(t.TempDir(), "data", "porchlight.db"), true })
	if info, err := os.Stat(filepath.Dir(c.options.Path)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder: %v, %v", info.Mode(), err)
	}
	for _, suffix := range []string{"", "-wal", "-shm", ".lock"} {
		if info, err := os.Stat(c.options.Path + suffix); err != nil {
			t.Error(err)
		} else if info.Mode().Perm() != 0o600 {
			t.Errorf("porchlight.db%s: %v", suffix, info.Mode())
		}
	}
}

func TestOpenInAFolderOfAnyName(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"my data", "50% off?", "a#b", "a&_sync=OFF", "é:ü", "file:x", "+plus+"} {
		path := filepath.Join(t.TempDir(), name, "porchlight.db")
		store, err := db.Open(t.Context(), db.Options{Path: path, Create: true, HashCost: dbtest.HashCost})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if has, err := store.HasUsers(); has || err != nil {
			t.Errorf("%s: %v, %v", name, has, err)
		}
		if info, err := os.Stat(path); err != nil || info.Size() == 0 {
			t.Errorf("%s: the database is elsewhere: %v", name, err)
		}
		store.Close()
	}
}

func TestConnectionsHaveTheirSettings(t *testing.T) {
	t.Parallel()
	h := openHouse(t)
	setting := func(pool *sql.DB, name string) (value string) {
		if err := pool.QueryRow(`PRAGMA ` + name).Scan(&value); err != nil {
			t.Fatal(err)
		}
		return value
	}
	for name, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1",
		"busy_timeout": "1000", "journal_size_limit": "16777216"} {
		if got := setting(h.Writer(), name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	if h.Writer().Stats().MaxOpenConnections != 1 {
		t.Error("more than one connection writes")
	}
	// A transaction that took the lock only at its first write would fail if another process wrote in the meantime.
	tx, err := h.Writer().Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := h.disk.Exec(`PRAGMA busy_timeout = 0; BEGIN IMMEDIATE`); err == nil {
		t.Error("a transaction begins without the lock")
	}
}
