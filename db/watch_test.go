package db_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"porchlight/db"
)

// If a command had other files open than the running server, it would revoke sessions that the server still accepts.
func TestACommandComparesItsFilesWithTheServers(t *testing.T) {
	t.Parallel()
	h := openHouse(t, func(o *db.Options) { o.Serve = true })
	var warnings []string
	command := h.options
	command.Serve = false
	command.Warn = func(warning string) { warnings = append(warnings, warning) }
	for _, test := range []struct {
		name, note string // "" means the server's own
		refused    bool
		warned     bool
	}{
		{name: "the same files"},
		{name: "other files", note: "1:2\n1:3\n1:4\n", refused: true},
		{name: "the server is shut", note: "shut\n", warned: true},
	} {
		warnings = nil
		if test.note != "" {
			if err := os.WriteFile(h.options.Path+".lock", []byte(test.note), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		store, err := db.Open(context.Background(), command)
		if reported := err != nil && strings.Contains(err.Error(), "restart it, then try again"); reported != test.refused ||
			errors.Is(err, db.ErrUnavailable) != test.refused {
			t.Errorf("%s: %v", test.name, err)
		}
		if err == nil {
			err = store.Close()
		}
		if err != nil && !test.refused {
			t.Errorf("%s: %v", test.name, err)
		}
		if got := slices.ContainsFunc(warnings, func(w string) bool { return strings.Contains(w, "restart") }); got != test.warned {
			t.Errorf("%s: warned of %q", test.name, warnings)
		}
	}
}

// A note that is just being written is empty for a moment. That does not mean that no server is running.
func TestACommandWaitsForTheServersNote(t *testing.T) {
	t.Parallel()
	h := openHouse(t, func(o *db.Options) { o.Serve = true })
	if err := os.Truncate(h.options.Path+".lock", 0); err != nil {
		t.Fatal(err)
	}
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	if note, err := h.Agree(cancelled); !errors.Is(err, context.Canceled) {
		t.Errorf("it did not wait: %q, %v", note, err)
	}
}

// Without its -wal, acknowledged changes would be lost when the process ends. Without its -shm, the store and other processes would not
// see each other's changes.
func TestTheStoreShutsWhenItsFilesAreRemoved(t *testing.T) {
	t.Parallel()
	for _, suffix := range []string{"", "-wal", "-shm"} {
		for name, remove := range map[string]func(string) error{
			"deleted": os.Remove,
			"moved":   func(path string) error { return os.Rename(path, path+".moved") },
			"replaced": func(path string) error {
				content, err := os.ReadFile(path)
				return errors.Join(err, os.Rename(path, path+".moved"), os.WriteFile(path, content, 0o600))
			},
		} {
			t.Run("porchlight.db"+suffix+" "+name, func(t *testing.T) {
				var warnings []string
				c := openCast(t, func(o *db.Options) { o.Warn = func(w string) { warnings = append(warnings, w) } })
				c.clock.Advance(time.Hour)
				c.Touch(c.alive(c.phone))
				if err := c.CheckFiles(); err != nil {
					t.Fatal("as it was opened:", err)
				}
				if err := remove(c.options.Path + suffix); err != nil {
					t.Fatal(err)
				}
				if err := c.CheckFiles(); !errors.Is(err, db.ErrUnavailable) {
					t.Errorf("beside the requests: %v, want ErrUnavailable", err)
				}
				before := c.snapshot()
				c.wantWritesRefused()
				c.wantReadsRefused()
				if err := c.Close(); err != nil {
					t.Error("close:", err)
				}
				if len(warnings) != 1 || !strings.Contains(warnings[0], "restart") {
					t.Errorf("warned of %q", warnings)
				}
				if after := c.snapshot(); after != before {
					t.Errorf("the folder was\n%s, and is\n%s", before, after)
				}
			})
		}
	}
}

// A write checks the files itself, before the next check in the background.
func TestAWriteChecksTheFiles(t *testing.T) {
	t.Parallel()
	for _, suffix := range []string{"", "-wal", "-shm"} {
		c := openCast(t)
		if err := os.Remove(c.options.Path + suffix); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Revoke(c.ctx(), c.phone.Session, c.laptop.ID); !errors.Is(err, db.ErrUnavailable) {
			t.Errorf("without porchlight.db%s: %v, want ErrUnavailable", suffix, err)
		}
	}
}

// If the files are removed during a write, it may be saved or not, so it is no success.
func TestFilesAreRemovedDuringAWrite(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	err := c.Write(c.ctx(), func(tx *sql.Tx) error {
		if _, err := tx.Exec(`DELETE FROM sessions`); err != nil {
			return err
		}
		return os.Remove(c.options.Path + "-wal")
	})
	if !errors.Is(err, db.ErrUncertain) || errors.Is(err, db.ErrUnavailable) {
		t.Errorf("got %v, want ErrUncertain", err)
	}
	c.wantReadsRefused()
}

// The WAL keeps its inode, and SQLite would append to the rest of it.
func TestTheWALIsOverwrittenInPlace(t *testing.T) {
	t.Parallel()
	for name, overwrite := range map[string]func(file *os.File, size int64) error{
		"emptied":         func(file *os.File, size int64) error { return file.Truncate(0) },
		"without its end": func(file *os.File, size int64) error { return file.Truncate(size - 1) },
		"only its header": func(file *os.File, size int64) error { return file.Truncate(32) },
		"magic":           func(file *os.File, size int64) error { _, err := file.WriteAt([]byte("SQLite"), 0); return err },
		"salts":           func(file *os.File, size int64) error { _, err := file.WriteAt(make([]byte, 8), 16); return err },
		"zeros": func(file *os.File, size int64) error {
			return errors.Join(file.Truncate(0), file.Truncate(size))
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := openCast(t)
			c.clock.Advance(time.Hour)
			c.Touch(c.alive(c.phone))
			spoil := func() error {
				file, err := os.OpenFile(c.options.Path+"-wal", os.O_RDWR, 0)
				if err != nil {
					return err
				}
				info, err := file.Stat()
				if err != nil {
					return err
				}
				return errors.Join(overwrite(file, info.Size()), file.Close())
			}
			if err := c.CheckFiles(); err != nil {
				t.Fatal("as it was opened:", err)
			}
			if err := spoil(); err != nil {
				t.Fatal(err)
			}
			c.wantWritesRefused()
			c.wantReadsRefused()
		})
	}
}

// The WAL is emptied after the check of the files that comes before each write.
func TestTheWALIsEmptiedDuringAWrite(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	err := c.Write(c.ctx(), func(tx *sql.Tx) error {
		if _, err := tx.Exec(`DELETE FROM sessions`); err != nil {
			return err
		}
		return os.Truncate(c.options.Path+"-wal", 0)
	})
	if !errors.Is(err, db.ErrUncertain) || errors.Is(err, db.ErrUnavailable) {
		t.Errorf("got %v, want ErrUncertain", err)
	}
	c.wantReadsRefused()
}

// The end of a file is missing. That is not an error of the disk.
func TestACommandWithATruncatedWAL(t *testing.T) {
	t.Parallel()
	h := openHouse(t)
	if err := h.Overwrite(h.ctx()); err != nil { // the first page is in the WAL
		t.Fatal(err)
	}
	if err := os.Truncate(h.options.Path+"-wal", 0); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, h.options, "cut short", "restart the server")
}

// SQLite also truncates and restarts the WAL itself. That is not an error.
func TestCheckpointsKeepTheStoreOpen(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	done := make(chan error, 1)
	go func() {
		for range 300 {
			for _, mode := range []string{"TRUNCATE", "RESTART"} {
				if _, err := c.disk.Exec(`PRAGMA wal_checkpoint(` + mode + `)`); err != nil {
					done <- err
					return
				}
			}
			if _, err := c.disk.Exec(`UPDATE limits SET id = id`); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for looks := 0; ; looks++ {
		select {
		case err := <-done:
			if err != nil || looks == 0 {
				t.Errorf("%d looks, %v", looks, err)
			}
			if info, err := os.Stat(c.options.Path + "-wal"); err != nil || info.Size() == 0 {
				t.Errorf("the WAL: %v, %v", info, err)
			}
			return
		default:
		}
		c.Overwrite(c.ctx()) // may find the database locked
		if err := c.CheckFiles(); err != nil {
			t.Fatal(err)
		}
	}
}

// snapshot returns the name, inode, size and time of each file in the data folder, except the lock.
func (c *cast) snapshot() (text string) {
	c.t.Helper()
	entries, err := os.ReadDir(filepath.Dir(c.options.Path))
	if err != nil {
		c.t.Fatal(err)
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			c.t.Fatal(err)
		}
		text += fmt.Sprintln(info.Name(), info.Size(), info.ModTime().UnixNano(), info.Sys().(*syscall.Stat_t).Ino)
	}
	return text
}

// wantReadsRefused checks that everything that reads returns ErrUnavailable.
func (c *cast) wantReadsRefused() {
	c.t.Helper()
	for name, read := range map[string]func() error{
		"Resume":      func() error { _, err := c.Resume(c.phone.token); return err },
		"Authorize":   func() error { _, err := c.Authorize(c.phone.token, "notes.example.com"); return err },
		"Sessions":    func() error { _, _, err := c.Sessions(c.alice.ID, 20); return err },
		"Session":     func() error { _, err := c.Session(c.alice.ID, c.phone.ID); return err },
		"AllSessions": func() error { _, err := c.AllSessions(""); return err },
		"Activity":    func() error { _, err := c.Activity(c.alice.ID, 0, 20); return err },
		"Users":       func() error { _, err := c.Users(); return err },
		"HasUsers":    func() error { _, err := c.HasUsers(); return err },
		"AppRules":    func() error { _, err := c.AppRules(); return err },
		"Ping":        func() error { return c.Ping() },
	} {
		if err := read(); !errors.Is(err, db.ErrUnavailable) {
			c.t.Errorf("%s: %v, want ErrUnavailable", name, err)
		}
	}
}
