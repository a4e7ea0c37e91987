package db_test

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"porchlight/db"
)

// writes holds every method that changes something.
var writes = map[string]func(*cast) error{
	"sign in": func(c *cast) error {
		_, _, err := c.SignIn(c.ctx(), c.bob, onCurl)
		return err
	},
	"sign out": func(c *cast) error { return c.SignOut(c.ctx(), c.phone.Session) },
	"revoke": func(c *cast) error {
		_, err := c.Revoke(c.ctx(), c.phone.Session, c.laptop.ID)
		return err
	},
	"revoke others": func(c *cast) error {
		_, err := c.RevokeOthers(c.ctx(), c.phone.Session)
		return err
	},
	"revoke by command": func(c *cast) error {
		_, err := c.RevokeSession(c.ctx(), db.CommandLine, 0, c.laptop.ID)
		return err
	},
	"rename": func(c *cast) error { return c.Rename(c.ctx(), c.phone.Session, c.laptop.ID, "mine") },
	"change the password": func(c *cast) error {
		_, err := c.changePassword(c.laptop.Session, alicePassword, newPassword, true)
		return err
	},
	"create an account": func(c *cast) error {
		_, err := c.CreateUser(c.ctx(), db.NewUser{Username: "carol", Password: newPassword})
		return err
	},
	"authenticate": func(c *cast) error {
		_, err := c.Authenticate(c.ctx(), "bob", alicePassword, db.Client{}) // a guess that cannot be counted gets no result
		return err
	},
	"flush":        func(c *cast) error { return c.Flush(c.ctx()) },
	"sweep":        func(c *cast) error { return c.Sweep(c.ctx(), time.Time{}) },
	"apply limits": func(c *cast) error { return c.ApplyLimits(c.ctx()) },
}

// wantWritesRefused runs all of them at once, and checks that each returns ErrUnavailable.
func (c *cast) wantWritesRefused() {
	c.t.Helper()
	var all sync.WaitGroup
	for name, write := range writes {
		all.Go(func() {
			if err := write(c); !errors.Is(err, db.ErrUnavailable) {
				c.t.Errorf("%s: %v, want ErrUnavailable", name, err)
			}
		})
	}
	all.Wait()
}

// wantReads checks that everything that only reads still works.
func (c *cast) wantReads() {
	c.t.Helper()
	for _, d := range []device{c.laptop, c.phone, c.desk} {
		c.alive(d)
	}
	if _, total, err := c.Sessions(c.alice.ID, 20); err != nil || total != 2 {
		c.t.Errorf("Sessions: %d, %v", total, err)
	}
	if _, err := c.Session(c.alice.ID, c.laptop.ID); err != nil {
		c.t.Error("Session:", err)
	}
	if err := c.Ping(); err != nil {
		c.t.Error("Ping:", err)
	}
}

// wantRecovered checks that everything works again, and that nothing from before is half done.
func (c *cast) wantRecovered() {
	c.t.Helper()
	if sessions := c.number(`SELECT COUNT(*) FROM sessions`); sessions != 3 {
		c.t.Errorf("%d sessions, though nothing could be written", sessions)
	}
	if users := c.number(`SELECT COUNT(*) FROM users`); users != 2 {
		c.t.Errorf("%d accounts, though nothing could be written", users)
	}
	c.flush()
	if got := c.lastActive(c.phone); !got.Equal(c.clock.Now()) {
		c.t.Errorf("the touch is lost: last active %v", got)
	}
	if _, err := c.Revoke(c.ctx(), c.phone.Session, c.laptop.ID); err != nil {
		c.t.Error("revoke:", err)
	}
	c.wantEnded(c.laptop)
	c.alive(c.signIn(c.bob, "curl", "203.0.113.31"))
}

func TestLockedByAnotherProcess(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.clock.Advance(time.Hour)
	c.Touch(c.alive(c.phone))
	lock, err := c.disk.Conn(c.ctx())
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if _, err := lock.ExecContext(c.ctx(), `BEGIN IMMEDIATE`); err != nil {
		t.Fatal(err)
	}
	c.wantWritesRefused()
	c.wantReads()
	if _, err := lock.ExecContext(c.ctx(), `ROLLBACK`); err != nil {
		t.Fatal(err)
	}
	c.wantRecovered()
}

func TestDiskIsFull(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.clock.Advance(time.Hour)
	c.Touch(c.alive(c.phone))
	pages := c.number(`PRAGMA page_count`)
	if _, err := c.Writer().Exec(`PRAGMA max_page_count = ` + c.text(`SELECT $1`, pages)); err != nil {
		t.Fatal(err)
	}
	// Fill the pages that are left.
	big := onCurl
	big.UserAgent = string(make([]byte, 3000))
	var full error
	for range 1000 {
		if _, _, full = c.SignIn(c.ctx(), c.bob, big); full != nil {
			break
		}
	}
	if !errors.Is(full, db.ErrUnavailable) {
		t.Errorf("on a full disk: %v", full)
	}
	sessions := c.ids()
	if _, _, err := c.SignIn(c.ctx(), c.bob, big); !errors.Is(err, db.ErrUnavailable) {
		t.Errorf("again: %v", err)
	}
	if left := c.ids(); !slices.Equal(left, sessions) {
		t.Errorf("there were %d sessions, are %d", len(sessions), len(left))
	}
	c.wantReads()
	if _, err := c.Writer().Exec(`PRAGMA max_page_count = 1000000`); err != nil {
		t.Fatal(err)
	}
	c.exec(`DELETE FROM sessions WHERE detected_name = 'curl'`)
	c.wantRecovered()
}

func TestDatabaseIsDamaged(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.exec(`PRAGMA wal_checkpoint(TRUNCATE)`)
	if err := os.Truncate(c.options.Path, 4096); err != nil {
		t.Fatal(err)
	}
	if session, err := c.Resume(c.laptop.token); err == nil || errors.Is(err, db.ErrNotFound) {
		t.Errorf("Resume from a damaged database: %+v, %v", session, err)
	}
}

// failDisk replaces the WAL that the store has open: /dev/full accepts no write, and /dev/null accepts every write but no fsync. The disk
// works again once mend is called.
func (c *cast) failDisk(device string) (mend func()) {
	c.t.Helper()
	wal, err := filepath.EvalSymlinks(c.options.Path + "-wal")
	if err != nil {
		c.t.Fatal(err)
	}
	broken, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		c.t.Skip("needs ", device, ": ", err)
	}
	defer broken.Close()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		c.t.Skip("needs /proc: ", err)
	}
	open := []int{}
	for _, entry := range entries {
		if target, _ := os.Readlink("/proc/self/fd/" + entry.Name()); target == wal {
			fd, _ := strconv.Atoi(entry.Name())
			open = append(open, fd)
		}
	}
	working := map[int]int{}
	for _, fd := range open {
		if working[fd], err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0); err == nil {
			err = unix.Dup3(int(broken.Fd()), fd, unix.O_CLOEXEC)
		}
		if err != nil {
			c.t.Fatal(err)
		}
	}
	if len(working) == 0 {
		c.t.Fatal("the store has no WAL open")
	}
	return func() {
		for fd, saved := range working {
			if err := errors.Join(unix.Dup3(saved, fd, unix.O_CLOEXEC), unix.Close(saved)); err != nil {
				c.t.Error(err)
			}
		}
	}
}

// After a COMMIT that failed, the change may be in the WAL. So the error does not say that nothing was changed, and as soon as the disk
// works again, a small write overwrites the frames that may be there.
func TestCommitFails(t *testing.T) {
	t.Parallel()
	for _, device := range []string{"/dev/full", "/dev/null"} {
		t.Run(device, func(t *testing.T) {
			c := openCast(t)
			c.exec(`PRAGMA wal_checkpoint(TRUNCATE)`)
			mend := c.failDisk(device)
			_, err := c.Revoke(c.ctx(), c.phone.Session, c.laptop.ID)
			if !errors.Is(err, db.ErrUncertain) || errors.Is(err, db.ErrUnavailable) {
				t.Errorf("revoke: %v, want ErrUncertain", err)
			}
			if err := c.Overwrite(c.ctx()); !errors.Is(err, db.ErrUncertain) {
				t.Errorf("the small write: %v, want ErrUncertain", err)
			}
			_, release := c.holdWriter() // a write during the repair would go to both files
			mend()
			if info, err := os.Stat(c.options.Path + "-wal"); err != nil || info.Size() != 0 {
				t.Fatalf("the WAL has %d bytes, %v", info.Size(), err)
			}
			release()
			for deadline := time.Now().Add(30 * time.Second); ; runtime.Gosched() { // without any request
				if info, err := os.Stat(c.options.Path + "-wal"); err != nil || time.Now().After(deadline) {
					t.Fatal("nothing was written: ", err)
				} else if info.Size() > 0 {
					break
				}
			}
			_, release = c.holdWriter() // that write is done
			release()
			c.alive(c.laptop)
			if _, err := c.Revoke(c.ctx(), c.phone.Session, c.laptop.ID); err != nil {
				t.Error("revoke:", err)
			}
			c.wantEnded(c.laptop)
		})
	}
}

func TestAWriteThatHasBegunIsFinishedAfterItsRequest(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	ctx, cancel := context.WithCancel(c.ctx())
	cancel()
	_, err := c.Revoke(ctx, c.phone.Session, c.laptop.ID)
	_, alive := c.Resume(c.laptop.token)
	if (err == nil) != errors.Is(alive, db.ErrNotFound) {
		t.Errorf("revoke returned %v, and the session: %v", err, alive)
	}
	if _, err := c.Revoke(c.ctx(), c.phone.Session, c.laptop.ID); err != nil && !errors.Is(err, db.ErrNotFound) {
		t.Error("afterwards:", err)
	}
	c.wantEnded(c.laptop)
}

func TestCloseWritesWhatWasNoted(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	library := c.signIn(c.alice, "library", "192.0.2.12", shared)
	c.clock.Advance(time.Hour)
	c.Touch(c.alive(c.phone))
	c.failToSignIn("bob", "192.0.2.66", "curl")
	c.wantEnded(library)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if got := c.lastActive(c.phone); !got.Equal(c.clock.Now()) {
		t.Errorf("last active is %v", got)
	}
	if slices.Contains(c.ids(), library.ID) {
		t.Error("an expired session still has a row")
	}
	c.wantLatest(c.bob, happening{db.SignInFailed, "192.0.2.66", "curl", "", "curl", 1})
	c.wantLatest(c.alice, happening{db.Expired, "192.0.2.12", "library", library.ID, "", 1})
	if err := c.Close(); err != nil {
		t.Error("closed again:", err)
	}
}

func TestAClosedStoreAcceptsNobody(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if session, err := c.Resume(c.laptop.token); err == nil || errors.Is(err, db.ErrNotFound) || session != nil {
		t.Errorf("Resume: %+v, %v", session, err)
	}
	if _, err := c.Authenticate(c.ctx(), "alice", alicePassword, db.Client{}); err == nil || errors.Is(err, db.ErrWrongPassword) {
		t.Errorf("Authenticate: %v", err)
	}
	if _, err := c.Revoke(c.ctx(), c.phone.Session, c.laptop.ID); err == nil {
		t.Error("Revoke: no error")
	}
}

// A panic is caught by the server, which goes on. It must not keep the only connection that writes.
func TestAPanicFreesTheWriter(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	func() {
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		c.Write(c.ctx(), func(tx *sql.Tx) error {
			if _, err := tx.Exec(`DELETE FROM sessions`); err != nil {
				t.Error(err)
			}
			panic("in the middle of a write")
		})
	}()
	if _, err := c.Revoke(c.ctx(), c.phone.Session, c.laptop.ID); err != nil {
		t.Error("the next write:", err)
	}
	c.alive(c.phone)
}
