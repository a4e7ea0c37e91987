package db_test

import (
	"strings"
	"testing"
	"time"

	"porchlight/db"
)

// A read transaction that never ends keeps the WAL from restarting until the disk is full. Checkpoint warns of it.
func TestCheckpointWarnsOfAForgottenReader(t *testing.T) {
	t.Parallel()
	var warnings []string
	c := openCast(t, func(o *db.Options) { o.Warn = func(w string) { warnings = append(warnings, w) } })
	c.SetWALLimit(64 << 10)
	checkpoint := func(want int) {
		t.Helper()
		if err := c.Checkpoint(c.ctx()); err != nil {
			t.Fatal(err)
		}
		if len(warnings) != want {
			t.Errorf("warned %d times, want %d: %q", len(warnings), want, warnings)
		}
	}
	grow := func() {
		t.Helper()
		c.exec(`CREATE TABLE big (content BLOB)`)
		c.exec(`INSERT INTO big VALUES (randomblob(200000))`)
		c.exec(`DROP TABLE big`)
	}
	grow()
	checkpoint(0) // much was written, but all of it is in the database

	reader, err := c.disk.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Rollback()
	var n int
	if err := reader.QueryRow(`SELECT COUNT(*) FROM users`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	grow()
	checkpoint(1)
	if len(warnings) > 0 && !strings.Contains(warnings[0], "another process holds a read transaction open") {
		t.Errorf("the warning is %q", warnings[0])
	}
	checkpoint(1)
	c.clock.Advance(time.Hour)
	checkpoint(2)
	if err := reader.Rollback(); err != nil {
		t.Fatal(err)
	}
	c.clock.Advance(time.Hour)
	checkpoint(2)
}
