package db_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"porchlight/db"
	"porchlight/db/dbtest"
)

// wantRefused checks that Open fails with one line that contains the words.
func wantRefused(t testing.TB, options db.Options, words ...string) {
	t.Helper()
	store, err := db.Open(t.Context(), options)
	if err == nil {
		store.Close()
		t.Fatal("Open succeeded")
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("not one line: %q", err)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q does not say %q", err, word)
		}
	}
}

func serves(o *db.Options) { o.Serve = true }

func TestOpenCreatesOnlyWhenAsked(t *testing.T) {
	t.Parallel()
	options := db.Options{Path: filepath.Join(t.TempDir(), "data", "porchlight.db"), HashCost: dbtest.HashCost}
	wantRefused(t, options, options.Path, "--data")
	if _, err := os.Stat(filepath.Dir(options.Path)); err == nil {
		t.Error("it created the folder")
	}
	if err := os.Mkdir(filepath.Dir(options.Path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(options.Path, nil, 0o600); err != nil { // left by a start that was killed at once
		t.Fatal(err)
	}
	wantRefused(t, options, options.Path, "--data")
	options.Create = true
	store, err := db.Open(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	store.Close()
}

// SQLite would put the WAL beside the target of the link.
func TestOpenRefusesALink(t *testing.T) {
	t.Parallel()
	h := openHouse(t)
	options := db.Options{Path: filepath.Join(t.TempDir(), "porchlight.db"), Create: true}
	if err := os.Symlink(h.options.Path, options.Path); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, options, options.Path+" is a symbolic link to "+h.options.Path, "--data")
}

// liveFiles copies the database and its WAL while the store has them open, as if the process were killed now.
func (h *house) liveFiles(folder string) (path string) {
	h.t.Helper()
	path = filepath.Join(folder, "porchlight.db")
	for _, suffix := range []string{"", "-wal"} {
		if err := os.WriteFile(path+suffix, read(h.t, h.options.Path+suffix), 0o600); err != nil {
			h.t.Fatal(err)
		}
	}
	return path
}

// When SQLite creates a database, it deletes a WAL and the revocations in it.
func TestOpenRefusesAWALWithoutItsDatabase(t *testing.T) {
	t.Parallel()
	for name, hide := range map[string]func(path string) error{
		"moved": func(path string) error { return os.Rename(path, path+".moved") },
		"empty": func(path string) error {
			return os.WriteFile(path+".moved", read(t, path), 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := openCast(t)
			if _, err := c.Revoke(c.ctx(), c.phone.Session, c.laptop.ID); err != nil {
				t.Fatal(err)
			}
			path := c.liveFiles(t.TempDir())
			if err := hide(path); err != nil {
				t.Fatal(err)
			}
			if name == "empty" {
				if err := os.Truncate(path, 0); err != nil {
					t.Fatal(err)
				}
			}
			wal := read(t, path+"-wal")
			for _, options := range []db.Options{{Path: path}, {Path: path, Create: true}, {Path: path, Create: true, Serve: true}} {
				wantRefused(t, options, path+"-wal", "move")
			}
			if !bytes.Equal(read(t, path+"-wal"), wal) {
				t.Error("the WAL was changed")
			}
			if err := os.Rename(path+".moved", path); err != nil {
				t.Fatal(err)
			}
			back := &house{t: t, clock: c.clock, options: db.Options{Path: path, HashCost: dbtest.HashCost, Now: c.clock.Now}}
			back.open()
			defer back.Close()
			back.wantEnded(c.laptop)
			back.alive(c.phone)
		})
	}
}

// grown returns a database whose last pages are only in the WAL, and the length of the file without them.
func grown(t *testing.T) (path string, size int64) {
	t.Helper()
	c := openCast(t)
	c.exec(`PRAGMA wal_checkpoint(TRUNCATE)`)
	for i := range 20 {
		c.signIn(c.bob, fmt.Sprint("device ", i), "192.0.2.1", func(n *db.NewSession) { n.UserAgent = strings.Repeat("x", 500) })
	}
	path = c.liveFiles(t.TempDir())
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return path, info.Size()
}

func TestServeRefusesADamagedDatabase(t *testing.T) {
	t.Parallel()
	zero := func(path string, from, length int64) error {
		t.Helper()
		file, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer file.Close()
		_, err = file.WriteAt(make([]byte, length), from)
		return err
	}
	for _, test := range []struct {
		name   string
		damage func(path string, size int64) error
		word   string
	}{
		{"shorter than it says", func(path string, size int64) error { return os.Truncate(path, size-4096) }, "malformed"},
		{"a page of zeros", func(path string, size int64) error {
			h := &house{t: t, disk: openDisk(t, path)}
			page := h.number(`SELECT rootpage FROM sqlite_master WHERE name = 'activity'`) // which is not read at the start
			h.disk.Close()
			return zero(path, (page-1)*4096, 4096)
		}, "page"},
		{"a schema of zeros", func(path string, size int64) error { return zero(path, 100, 3996) }, "malformed"},
		{"a header of zeros", func(path string, size int64) error { return zero(path, 0, 100) }, "not a database"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path, size := grown(t)
			if err := os.Remove(path + "-wal"); err != nil {
				t.Fatal(err)
			}
			if err := test.damage(path, size); err != nil {
				t.Fatal(err)
			}
			wantRefused(t, db.Options{Path: path, Serve: true}, "damaged", test.word, "restore a backup")
		})
	}
}

// If there is a WAL, SQLite does not notice that the end of the file is missing. The check of the pages would, but in a big file it stops
// early.
func TestServeRefusesATruncatedDatabase(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.fill(1000)
	c.exec(`PRAGMA wal_checkpoint(TRUNCATE)`)
	c.signIn(c.bob, "curl", "192.0.2.1")
	path := c.liveFiles(t.TempDir())
	size := int64(len(read(t, path))) - 40*4096
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, db.Options{Path: path, Serve: true}, "damaged", fmt.Sprint(size, " bytes of"), "restore a backup")
}

// Until the WAL is written back, the file is shorter than its number of pages says.
func TestServeAcceptsPagesThatAreOnlyInTheWAL(t *testing.T) {
	t.Parallel()
	path, _ := grown(t)
	h := &house{t: t, clock: dbtest.NewClock(), options: db.Options{Path: path, Serve: true, HashCost: dbtest.HashCost}}
	h.open()
	defer h.Close()
	h.disk = openDisk(t, path)
	if n := h.number(`SELECT COUNT(*) FROM sessions`); n != 23 {
		t.Errorf("%d sessions, want 23", n)
	}
}

// lockVariable makes the test binary hold the write lock of the database that it names, until its standard input ends.
const lockVariable = "PORCHLIGHT_TEST_LOCK"

// TestHelperHoldTheWriteLock is the other process in the tests below.
func TestHelperHoldTheWriteLock(t *testing.T) {
	t.Parallel()
	path := os.Getenv(lockVariable)
	if path == "" {
		t.Skip("only for the tests that need another process")
	}
	disk := openDisk(t, path)
	disk.SetMaxOpenConns(1)
	if _, err := disk.Exec(os.Getenv(lockVariable + "_SQL")); err != nil {
		t.Fatal(err)
	}
	fmt.Println("held")
	io.Copy(io.Discard, os.Stdin)
}

// otherProcess runs SQL in another process, which keeps the connection open until the test ends.
func otherProcess(t *testing.T, path, statements string) (pid int) {
	t.Helper()
	child := exec.Command(os.Args[0], "-test.run=^TestHelperHoldTheWriteLock$")
	child.Env = append(os.Environ(), lockVariable+"="+path, lockVariable+"_SQL="+statements)
	stdin, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stdin.Close(); child.Wait() })
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "held\n" {
		t.Fatalf("the other process printed %q: %v", line, err)
	}
	return child.Process.Pid
}

func TestServeNamesWhoLocksTheDatabase(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.closed()
	pid := otherProcess(t, c.options.Path, `BEGIN IMMEDIATE`)
	wantRefused(t, db.Options{Path: c.options.Path, Serve: true}, "locked by", fmt.Sprintf("(process %d)", pid))
}

func TestNobodyMigratesWhileAServerRuns(t *testing.T) {
	t.Parallel()
	steps := withSteps(t, map[string]string{"00098_colours.sql": `CREATE TABLE colours (name TEXT);`})

	t.Run("that holds the lock", func(t *testing.T) {
		h := openHouse(t, serves)
		before := h.version()
		err := db.MigrateWith(t.Context(), h.options.Path, steps)
		if err == nil || !strings.Contains(err.Error(), "restart the server") || h.version() != before {
			t.Errorf("version %d, was %d: %v", h.version(), before, err)
		}
		h.addUser("alice", alicePassword) // the server still works
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
		if err := db.MigrateWith(t.Context(), h.options.Path, steps); err != nil {
			t.Error("after the server has stopped:", err)
		}
	})
	t.Run("from before the lock", func(t *testing.T) {
		h := openHouse(t)
		h.closed()
		pid := otherProcess(t, h.options.Path, `SELECT COUNT(*) FROM users`)
		err := db.MigrateWith(t.Context(), h.options.Path, steps)
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("(process %d)", pid)) ||
			!strings.HasSuffix(err.Error(), "restart the server with this version first") {
			t.Errorf("process %d: %v", pid, err)
		}
	})
}

func TestOneServerPerDatabase(t *testing.T) {
	t.Parallel()
	h := openHouse(t, serves)
	wantRefused(t, h.options, h.options.Path, "already")
	// It waits for a server that is about to end.
	ended := make(chan error)
	go func() { ended <- h.Close() }()
	second, err := db.Open(t.Context(), h.options)
	if err != nil {
		t.Fatal(err)
	}
	second.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
