package db_test

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"porchlight/db"
	"porchlight/db/dbtest"
)

// This file tests that a migration from the first schema keeps what the database holds.

// Sessions from before Porchlight had apps are still alive, and can be used for apps.
func TestADatabaseFromBeforeAppsKeepsItsSessions(t *testing.T) {
	t.Parallel()
	const before = 5
	path := filepath.Join(t.TempDir(), "porchlight.db")
	steps := withSteps(t, nil)
	for name := range steps {
		if name > "00006" {
			delete(steps, name)
		}
	}
	if len(steps) != before {
		t.Fatalf("%d steps", len(steps))
	}
	if err := db.MigrateWith(t.Context(), path, steps); err != nil {
		t.Fatal(err)
	}
	disk := openDisk(t, path)
	if _, err := disk.Exec(`SELECT 1 FROM session_apps`); err == nil {
		t.Fatal("the old schema already has apps")
	}
	at := dbtest.NewClock().Now().UnixMilli()
	devices := []device{{token: tokenOf(1)}, {token: tokenOf(2)}, {token: tokenOf(3)}}
	for i, ends := range []int64{at + 1000, at + 1000, at - 1} {
		devices[i].ID = fmt.Sprint("session", i)
		hash := sha256.Sum256([]byte(devices[i].token))
		for _, row := range []struct {
			statement string
			args      []any
		}{
			{`INSERT INTO users (id, username, password_hash, created_at) VALUES ($1 + 1, 'user' || $1, '', $2)`, []any{i, at}},
			{`INSERT INTO sessions (id, token_hash, user_id, device_name, given_name, device_kind, user_agent, ip, shared,
			                        created_at, last_active_at, expires_at)
			VALUES ('session' || $1, $2, $1 + 1, 'Firefox on Linux', 'Kitchen tablet', 'tablet', 'Mozilla/5.0', '192.0.2.10', 1,
			$3 - 2000, $3 - 1000, $4)`, []any{i, hash[:], at, ends}},
			{`INSERT INTO activity (user_id, kind, happened_at, ip, device_name, session_id, done_by)
			VALUES ($1 + 1, 'signed_in', $2, '192.0.2.10', 'Firefox on Linux', 'session' || $1, '')`, []any{i, at}},
		} {
			if _, err := disk.Exec(row.statement, row.args...); err != nil {
				t.Fatalf("%s: %v", row.statement, err)
			}
		}
	}
	columns := map[string][]string{} // from before the migration
	for _, table := range []string{"users", "sessions", "activity"} {
		columns[table] = (&house{t: t, disk: disk}).texts(`SELECT name FROM pragma_table_info($1) ORDER BY name`, table)
	}
	renamed := map[string]string{"sessions.device_name": "detected_name", "sessions.given_name": "custom_name"}
	contents := func(path string, renamed map[string]string) (rows []string) {
		t.Helper()
		h := &house{t: t, disk: openDisk(t, path)}
		for _, table := range []string{"users", "sessions", "activity"} {
			for _, column := range columns[table] {
				column = cmp.Or(renamed[table+"."+column], column)
				rows = append(rows, h.texts(`SELECT quote(`+column+`) FROM `+table+` ORDER BY rowid`)...)
			}
		}
		return rows
	}
	old := contents(path, nil)

	h := &house{t: t, clock: dbtest.NewClock(), options: db.Options{Path: path, HashCost: dbtest.HashCost}, disk: disk}
	h.options.Now = h.clock.Now
	h.open()
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	if got, want := h.version(), newest(t); got != want {
		t.Errorf("version %d, want %d", got, want)
	}
	if now := contents(path, renamed); !slices.Equal(now, old) {
		t.Errorf("there was\n%q, there is\n%q", old, now)
	}
	for _, d := range devices[:2] {
		if got := h.alive(d); got.ID != d.ID || got.DeviceName != "Kitchen tablet" || got.LastActiveAt.UnixMilli() != at-1000 {
			t.Errorf("after the migration, the session is %+v", got)
		}
		if got := h.authorize(d, notes); !got.Allowed {
			t.Error("without a rule, a host is not open")
		}
	}
	h.wantEnded(devices[2])
	h.allow(notes, true)
	h.use(devices[0], notes)
	h.flush()
	all, err := h.AllSessions("")
	if err != nil || len(all) != 2 || len(all[0].Apps) != 1 || all[1].Apps != nil {
		t.Errorf("listed are %+v, %v", all, err)
	}
	// The copy has the previous version, with the same content.
	kept := fmt.Sprintf("%s.version-%d", path, before)
	var version int64
	if err := openDisk(t, kept).QueryRow(`SELECT MAX(version_id) FROM goose_db_version`).Scan(&version); err != nil || version != before {
		t.Errorf("the copy is of version %d, %v", version, err)
	}
	if now := contents(kept, nil); !slices.Equal(now, old) {
		t.Errorf("there was\n%q, the copy has\n%q", old, now)
	}
}
