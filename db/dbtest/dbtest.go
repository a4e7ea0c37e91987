// Package dbtest has what the tests of all packages share: a clock that only tests advance, a cheap hash, a migrated database, and
// functions that read and change a database from outside the store.
package dbtest

import (
	"context"
	"database/sql"
	"flag"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"porchlight/db"
)

// HashCost makes the hash of a password as cheap as the format allows.
var HashCost = db.HashCost{Memory: 8, Time: 1}

// Clock stands still until a test advances it.
type Clock struct {
	mu     sync.Mutex
	now    time.Time
	broken error
}

// NewClock returns a clock that shows 10:02 UTC on 18 November 2026.
func NewClock() *Clock { return &Clock{now: time.Date(2026, 11, 18, 10, 2, 0, 0, time.UTC)} }

// Now returns the time that the clock shows.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken != nil {
		panic(c.broken)
	}
	return c.now
}

// Advance moves the clock forward, or back if the duration is negative.
func (c *Clock) Advance(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(by)
}

// Break makes Now panic with err until Break is called with nil.
func (c *Clock) Break(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.broken = err
}

// Run runs the tests of a package. With -short, it runs three at once for each processor, because most of them wait for a lock, a time
// limit or a response. In a full run, that many could make a test miss a time limit of the database.
func Run(m *testing.M) {
	flag.Parse()
	// Each test opens databases and soon drops them, so the garbage collector would take a tenth of the time.
	debug.SetGCPercent(400)
	isDefault := flag.Lookup("test.parallel").Value.String() == strconv.Itoa(runtime.GOMAXPROCS(0))
	if testing.Short() && isDefault {
		flag.Set("test.parallel", strconv.Itoa(3*runtime.GOMAXPROCS(0)))
	}
	os.Exit(m.Run())
}

// NewDatabase returns the path of a migrated database without accounts, in a new data folder.
func NewDatabase(t testing.TB) (path string) {
	t.Helper()
	migrated, err := migrateOnce()
	if err != nil {
		t.Fatal("migrate the database that tests copy:", err)
	}
	folder := filepath.Join(t.TempDir(), "data")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(folder, "porchlight.db")
	if err := os.WriteFile(path, migrated, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// migrateOnce returns the bytes of a migrated database. A closed store leaves no WAL, so the file is complete.
var migrateOnce = sync.OnceValues(func() ([]byte, error) {
	folder, err := os.MkdirTemp("", "porchlight-test-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(folder)
	path := filepath.Join(folder, "porchlight.db")
	store, err := db.Open(context.Background(), db.Options{Path: path, Create: true, HashCost: HashCost})
	if err != nil {
		return nil, err
	}
	if err := store.Close(); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})

// Rows queries a database from outside the store. It returns one string for each row, with the columns joined by spaces.
func Rows(t testing.TB, path, query string, args ...any) []string {
	t.Helper()
	pool := open(t, path+"?_query_only=1&_busy_timeout=5000") // with mode=ro, SQLite would leave a WAL behind
	defer pool.Close()
	rows, err := pool.Query(query, args...)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	all := []string{}
	for rows.Next() {
		cells, scan := make([]sql.NullString, len(names)), make([]any, len(names))
		for i := range cells {
			scan[i] = &cells[i]
		}
		if err := rows.Scan(scan...); err != nil {
			t.Fatal(err)
		}
		texts := make([]string, len(names))
		for i := range cells {
			texts[i] = cells[i].String
		}
		all = append(all, strings.Join(texts, " "))
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// Exec changes a database from outside the store, as another process would.
func Exec(t testing.TB, path, statement string, args ...any) {
	t.Helper()
	pool := open(t, path+"?_busy_timeout=5000&_fk=1")
	defer pool.Close()
	if _, err := pool.Exec(statement, args...); err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, path string) *sql.DB {
	t.Helper()
	pool, err := sql.Open("sqlite3", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	return pool
}
