package db_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"porchlight/db"
)

// backup writes a backup while the store is open, as a command does while a server runs.
func (h *house) backup() (file string) {
	h.t.Helper()
	file = filepath.Join(h.t.TempDir(), "backup.db")
	if _, err := db.Backup(h.ctx(), h.options, file); err != nil {
		h.t.Fatal(err)
	}
	return file
}

// restore restores into a new folder and opens the result.
func (h *house) restore(file string) (restored db.Restored, back *house) {
	h.t.Helper()
	back = &house{t: h.t, clock: h.clock, options: h.options}
	back.options.Path = filepath.Join(h.t.TempDir(), "new", "porchlight.db")
	restored, err := db.Restore(h.ctx(), back.options, file)
	if err != nil {
		h.t.Fatal(err)
	}
	if left := folder(h.t, back.options.Path); len(left) != 2 { // the database and the lock
		h.t.Errorf("the folder holds %q", left)
	}
	back.open()
	h.t.Cleanup(func() { back.Close() })
	back.disk = openDisk(h.t, back.options.Path)
	return restored, back
}

func TestBackupHoldsWhatIsInTheWAL(t *testing.T) {
	t.Parallel()
	c := openCast(t, serves)
	c.clock.Advance(time.Hour)
	if _, err := c.Revoke(c.ctx(), c.phone.Session, c.laptop.ID); err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(read(t, c.options.Path), []byte("alice")) {
		t.Fatal("alice is in the database file, but must be only in the WAL")
	}
	file := filepath.Join(t.TempDir(), "backup.db")
	contents, err := db.Backup(t.Context(), c.options, file)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the backup: %v, %v", info, err)
	}
	if want := (db.Contents{Users: 2, Sessions: 2, Size: info.Size()}); contents != want {
		t.Errorf("it holds %+v, want %+v", contents, want)
	}
	if left := folder(t, file); len(left) != 1 {
		t.Errorf("beside it lie %q", left)
	}
	copied := &house{t: t, disk: openDisk(t, file)}
	if users := copied.texts(`SELECT username FROM users ORDER BY id`); strings.Join(users, " ") != "alice bob" {
		t.Errorf("it holds %q", users)
	}
	c.alive(c.phone)
}

func TestBackupRefuses(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	empty := filepath.Join(t.TempDir(), "porchlight.db")
	copied := c.backup()
	taken := filepath.Join(t.TempDir(), "taken.db")
	if err := os.WriteFile(taken, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		path, to string
		words    []string
	}{
		"a file that exists":       {c.options.Path, taken, []string{taken, "exists"}},
		"a folder that is missing": {c.options.Path, filepath.Join(taken+"s", "backup.db"), []string{"in " + taken + "s: no such"}},
		"the WAL's name":           {copied, copied + "-wal", []string{"uses itself"}},
		"the index's name":         {copied, copied + "-shm", []string{"uses itself"}},
		"the journal's name":       {copied, copied + "-journal", []string{"uses itself"}},
		"the lock's name":          {copied, copied + ".lock", []string{"uses itself"}},
		"a restore's name":         {copied, copied + ".restoring", []string{"uses itself"}},
		"a migration's name":       {copied, copied + ".version-7", []string{"uses itself"}},
		"the key's name":           {copied, filepath.Join(filepath.Dir(copied), "porchlight.key"), []string{"uses itself"}},
		"no database":              {empty, filepath.Join(t.TempDir(), "backup.db"), []string{empty, "--data"}},
	} {
		if _, err := db.Backup(t.Context(), db.Options{Path: test.path}, test.to); err == nil {
			t.Errorf("%s: no error", name)
		} else {
			for _, word := range test.words {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("%s: %q does not say %q", name, err, word)
				}
			}
		}
	}
	if beside := folder(t, copied); len(beside) != 1 {
		t.Errorf("beside the database lie %q", beside)
	}
	if string(read(t, taken)) != "mine" {
		t.Error("the file was overwritten")
	}
	// Backup also refuses a database that fails SQLite's check.
	path := c.backup()
	breakCheck(t, path)
	to := filepath.Join(t.TempDir(), "backup.db")
	if _, err := db.Backup(t.Context(), db.Options{Path: path}, to); err == nil {
		t.Error("a database that fails the check was backed up")
	}
	if left := folder(t, to); len(left) != 0 {
		t.Errorf("it left %q", left)
	}
}

// breakCheck writes a value that the schema forbids, which only an integrity check finds.
func breakCheck(t *testing.T, path string) {
	t.Helper()
	disk := openDisk(t, path)
	disk.SetMaxOpenConns(1)
	if _, err := disk.Exec(`PRAGMA ignore_check_constraints = 1; UPDATE users SET is_admin = 7`); err != nil {
		t.Fatal(err)
	}
	disk.Close()
}

func TestRestoreEndsEverySession(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	ended := c.signIn(c.alice, "library", "192.0.2.12")
	invitation, _, err := c.Invite(c.ctx(), db.CommandLine, db.NewUser{Username: "bob"})
	if err != nil {
		t.Fatal(err)
	}
	short := c.signIn(c.bob, "cafe", "192.0.2.13", shared)
	c.clock.Advance(time.Hour) // the one on the shared computer has expired
	c.addTOTP(c.laptop)
	step := c.beginStep("alice", alicePassword)
	file := c.backup()
	if _, err := c.Revoke(c.ctx(), c.phone.Session, ended.ID); err != nil { // after the backup
		t.Fatal(err)
	}
	before := c.number(`SELECT COUNT(*) FROM activity`)

	restored, back := c.restore(file)
	if want := (db.Restored{Users: 2, Ended: 4, Invitations: 1}); restored != want {
		t.Errorf("restored %+v, want %+v", restored, want)
	}
	back.wantEnded(c.laptop, c.phone, c.desk, ended, short)
	if _, err := back.SecondStep(step); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("the second step of a sign-in: %v", err)
	}
	back.clock.Advance(-time.Hour) // if the clock was ahead, nothing comes back
	back.wantEnded(short)
	if ids := back.ids(); len(ids) != 0 {
		t.Errorf("there are rows of %q", ids)
	}
	if n := back.number(`SELECT COUNT(*) FROM activity WHERE kind = 'revoked' AND done_by = 'command'`); n != 4 {
		t.Errorf("%d sessions are recorded as revoked by a command, want 4", n)
	}
	if _, err := back.Invitation(back.ctx(), invitation, db.Client{IP: "192.0.2.1"}); err == nil {
		t.Error("the invitation is still valid")
	}
	back.alive(back.signIn(back.bob(), "curl", "192.0.2.14"))
	if after := c.number(`SELECT COUNT(*) FROM activity`); after != before {
		t.Error("the original was changed")
	}
}

// bob returns the account in the restored database.
func (h *house) bob() db.User {
	h.t.Helper()
	user, err := h.Authenticate(h.ctx(), "bob", bobPassword, clientOf("192.0.2.14", "curl"))
	if err != nil {
		h.t.Fatal(err)
	}
	return user
}

// A backup may be a manual copy of the files, or of an older version.
func TestRestoreAcceptsOtherBackups(t *testing.T) {
	t.Parallel()
	t.Run("a copied database and its WAL", func(t *testing.T) {
		c := openCast(t)
		path := c.liveFiles(t.TempDir())
		files := append(read(t, path), read(t, path+"-wal")...)
		restored, back := c.restore(path)
		if want := (db.Restored{Users: 2, Ended: 3}); restored != want {
			t.Errorf("restored %+v, want %+v", restored, want)
		}
		back.wantEnded(c.laptop, c.phone, c.desk)
		if left := folder(t, path); len(left) != 2 || !bytes.Equal(append(read(t, path), read(t, path+"-wal")...), files) {
			t.Errorf("the backup was changed: %q", left)
		}
	})
	t.Run("an older version", func(t *testing.T) {
		old := filepath.Join(t.TempDir(), "old.db")
		steps := withSteps(t, nil)
		for name := range steps {
			if name > "00003_z" {
				delete(steps, name)
			}
		}
		if err := db.MigrateWith(t.Context(), old, steps); err != nil {
			t.Fatal(err)
		}
		h := openHouse(t)
		restored, back := h.restore(old)
		if restored != (db.Restored{}) || back.version() != newest(t) {
			t.Errorf("restored %+v, version %d", restored, back.version())
		}
	})
}

func TestRestoreRefuses(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	good := c.backup()
	file := func(content []byte) string {
		path := filepath.Join(t.TempDir(), "backup.db")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	holed := bytes.Clone(read(t, good))
	clear(holed[len(holed)/2:])
	other, newer, unchecked := file(nil), file(read(t, good)), file(read(t, good))
	breakCheck(t, unchecked)
	for path, statement := range map[string]string{
		other: `CREATE TABLE recipes (name TEXT)`,
		newer: `INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, 1)`,
	} {
		if _, err := openDisk(t, path).Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	for name, test := range map[string]struct{ file, word string }{
		"missing":         {filepath.Join(t.TempDir(), "none.db"), "none.db"},
		"empty":           {file(nil), "not a backup"},
		"a folder":        {t.TempDir(), "not a backup"},
		"garbage":         {file(bytes.Repeat([]byte("dear diary, "), 1000)), "not a SQLite database"},
		"cut short":       {file(read(t, good)[:20000]), "damaged"},
		"holed":           {file(holed), "damaged"},
		"fails the check": {unchecked, "damaged"},
		"somebody else's": {other, "not a Porchlight database"},
		"newer":           {newer, "newer"},
	} {
		options := db.Options{Path: filepath.Join(t.TempDir(), "porchlight.db")}
		_, err := db.Restore(t.Context(), options, test.file)
		if err == nil || !strings.Contains(err.Error(), test.word) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want one line with %q", name, err, test.word)
		}
		for _, left := range folder(t, options.Path) {
			if left != options.Path+".lock" {
				t.Errorf("%s: it left %s", name, left)
			}
		}
	}
	// Restore also refuses to work beside the journal of another database, or from the file that a restore itself writes.
	options := db.Options{Path: filepath.Join(t.TempDir(), "porchlight.db")}
	for path, from := range map[string]string{options.Path + "-journal": good, options.Path + ".restoring": options.Path + ".restoring"} {
		if err := os.WriteFile(path, read(t, good), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := db.Restore(t.Context(), options, from); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
		if left := folder(t, options.Path); len(left) != 1 || left[0] != path {
			t.Errorf("%s: the folder holds %q", path, left)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	// Restore never overwrites a database.
	c.exec(`PRAGMA wal_checkpoint(TRUNCATE)`)
	before := read(t, c.options.Path)
	if _, err := db.Restore(t.Context(), c.options, good); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("over a database: %v", err)
	}
	if !bytes.Equal(read(t, c.options.Path), before) {
		t.Error("the database was changed")
	}
}
