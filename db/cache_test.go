package db_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"porchlight/db"
	"porchlight/db/dbtest"
)

// A cached session is checked against the clock each time.
func TestACachedSessionExpires(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	for range 2 { // the second time from the cache
		c.alive(c.phone)
		if _, err := c.Authorize(c.phone.token, "notes.example.com"); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Session(c.alice.ID, c.phone.ID); err != nil {
			t.Fatal(err)
		}
	}
	c.clock.Advance(db.DefaultLimits.IdleTimeout)
	if _, err := c.Session(c.alice.ID, c.phone.ID); !errors.Is(err, db.ErrNotFound) {
		t.Error("by its id:", err)
	}
	if _, err := c.Authorize(c.phone.token, "notes.example.com"); !errors.Is(err, db.ErrNotFound) {
		t.Error("for an app:", err)
	}
	c.wantEnded(c.phone)
	c.clock.Advance(-time.Hour)
	c.wantEnded(c.phone) // a session that was refused stays refused
}

// A session that is cached by its id is shown only to its user.
func TestACachedSessionBelongsToItsUser(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	for range 2 {
		if _, err := c.Session(c.alice.ID, c.phone.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Session(c.bob.ID, c.phone.ID); !errors.Is(err, db.ErrNotFound) {
			t.Error("bob sees alice's phone:", err)
		}
	}
}

// While no connection is free, the cache answers until the next commit of any process. After that, a request waits for a connection, but
// only for a limited time.
func TestCachedAnswersNeedNoConnection(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.alive(c.phone)
	release := c.HoldReads()
	c.alive(c.phone)
	c.exec(`UPDATE users SET email = 'bob@example.com' WHERE id = $1`, c.bob.ID)
	if _, err := c.Resume(c.phone.token); !errors.Is(err, db.ErrUnavailable) {
		t.Errorf("after a commit, without a connection: %v, want ErrUnavailable", err)
	}
	release()
	c.alive(c.phone)
}

// Unknown tokens are not cached, and hosts that a client invents do not fill the memory.
func TestTheCacheIsBounded(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	for i := range 2 * db.CachePlaces {
		c.Resume(fmt.Sprintf("MADEUP%020d", i))
	}
	if sessions, _ := c.Cached(); sessions != 0 {
		t.Errorf("%d entries for tokens that name nothing", sessions)
	}
	for i := range 2 * db.CachePlaces {
		if _, err := c.Authorize(c.phone.token, fmt.Sprintf("h%d.example.com", i)); err != nil {
			t.Fatal(err)
		}
	}
	if _, access := c.Cached(); access < db.CachePlaces/2 || access > db.CachePlaces {
		t.Errorf("%d entries after %d hosts, want at most %d", access, 2*db.CachePlaces, db.CachePlaces)
	}
}

// If the counter of commits cannot be mapped, nothing is cached.
func TestWithoutTheCounter(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.StopCaching()
	c.alive(c.phone)
	c.exec(`DELETE FROM sessions WHERE id = $1`, c.phone.ID)
	c.wantEnded(c.phone)
	if sessions, access := c.Cached(); sessions != 0 || access != 0 {
		t.Errorf("%d and %d entries without a counter", sessions, access)
	}
}

// subject is a session that readers check again and again. A reader notes which change was acknowledged before it reads, and which one had
// begun when it has the result. If they are the same, the result must show that change.
type subject struct {
	device
	user  db.User
	host  string // if not "", the readers run auth checks for it
	begun atomic.Int64
	truth atomic.Pointer[truth] // after the last acknowledged change
}

type truth struct {
	change       int64
	token, state string
}

// change commits a change, records what is true afterwards, and checks it once.
func (s *subject) change(h *house, state string, commit func()) {
	n := s.begun.Add(1)
	commit()
	s.truth.Store(&truth{n, s.token, state})
	s.check(h)
}

// check reads once, and reports whether the result could be judged.
func (s *subject) check(h *house) bool {
	before := s.truth.Load()
	got, err := h.state(before.token, s.host)
	if s.begun.Load() != before.change {
		return false
	}
	if err != nil || got != before.state {
		h.t.Errorf("%s after change %d: got %q, %v, want %q", s.user.Username, before.change, got, err, before.state)
	}
	return true
}

// state returns what a token names: the name of its device, whether it may reach the app, or nothing.
func (h *house) state(token, host string) (string, error) {
	var session *db.Session
	var access *db.AppAccess
	var err error
	if host == "" {
		session, err = h.Resume(token)
	} else {
		access, err = h.Authorize(token, host)
	}
	switch {
	case errors.Is(err, db.ErrNotFound):
		return "ended", nil
	case err != nil:
		return "", err
	case session != nil:
		return session.DeviceName, nil
	}
	return fmt.Sprint(access.Allowed), nil
}

// Readers check 200 tokens while this process, commands in other processes and another program change their sessions. In between there are
// checkpoints, restarts of the WAL and killed processes. No result may show the state from before the last acknowledged change.
func TestNoStaleAnswer(t *testing.T) {
	t.Parallel()
	h := openHouse(t)
	h.addUser("admin", alicePassword) // the first account; the others are no administrators
	subjects := make([]*subject, 200)
	for i := range subjects {
		s := &subject{user: h.addUser(fmt.Sprint("user", i), alicePassword)}
		s.device = h.signIn(s.user, firefoxOnLinux, "192.0.2.1")
		s.truth.Store(&truth{token: s.token, state: firefoxOnLinux})
		if i%4 == 0 {
			s.host = fmt.Sprintf("app%d.example.com", i)
			s.truth.Store(&truth{token: s.token, state: "true"})
		}
		subjects[i] = s
	}
	enough, leastChanges := int64(1_000_000), 1000
	if testing.Short() {
		enough, leastChanges = 50_000, 100
	}

	var judged, current atomic.Int64 // current is the subject that changes
	var readers sync.WaitGroup
	done := make(chan struct{})
	for range 4 {
		readers.Go(func() {
			for !t.Failed() {
				select {
				case <-done:
					return
				default:
				}
				for range 100 {
					i := current.Load()
					if rand.IntN(2) == 0 {
						i = rand.Int64N(int64(len(subjects)))
					}
					if subjects[i].check(h) {
						judged.Add(1)
					}
				}
			}
		})
	}
	other := startOther(t, h.options.Path)
	for i := 0; (i < leastChanges || judged.Load() < enough) && !t.Failed(); i++ {
		current.Store(int64(i % len(subjects)))
		s := subjects[i%len(subjects)]
		if s.host != "" {
			h.changeRule(s, other, i)
		} else {
			h.changeSession(s, other, i)
		}
		switch i % 50 {
		case 10:
			h.must(h.Checkpoint(h.ctx()))
		case 20:
			h.exec(`PRAGMA wal_checkpoint(TRUNCATE)`)
		case 30:
			other.do("sql", `PRAGMA wal_checkpoint(RESTART)`)
		case 40:
			other.kill()
			other = startOther(t, h.options.Path)
		}
	}
	close(done)
	readers.Wait()
	t.Logf("%d answers judged", judged.Load())
}

func (h *house) changeSession(s *subject, other *other, i int) {
	name := fmt.Sprint("name ", i)
	signIn := func() { s.device = h.signIn(s.user, firefoxOnLinux, "192.0.2.1") }
	switch i / 4 % 7 {
	case 0:
		s.change(h, name, func() { h.must(h.Rename(h.ctx(), s.Session, s.ID, name)) })
	case 1:
		s.change(h, name, func() {
			other.do("sql", fmt.Sprintf(`UPDATE sessions SET custom_name = '%s' WHERE id = '%s'`, name, s.ID))
		})
	case 2:
		s.change(h, "ended", func() { h.must(h.SignOut(h.ctx(), s.Session)) })
		s.change(h, firefoxOnLinux, signIn)
	case 3:
		s.change(h, "ended", func() { other.do("revoke", s.ID) })
		s.change(h, firefoxOnLinux, signIn)
	case 4:
		s.change(h, "ended", func() { h.exec(`UPDATE users SET disabled = 1 WHERE id = $1`, s.user.ID) })
		s.change(h, s.DeviceName, func() { h.exec(`UPDATE users SET disabled = 0 WHERE id = $1`, s.user.ID) })
	case 5:
		s.change(h, "ended", func() { h.exec(`UPDATE sessions SET expires_at = 1 WHERE id = $1`, s.ID) })
		s.change(h, firefoxOnLinux, signIn)
	case 6:
		s.change(h, "ended", func() { h.exec(`DELETE FROM sessions WHERE id = $1`, s.ID) })
		s.change(h, firefoxOnLinux, signIn)
	}
}

func (h *house) changeRule(s *subject, other *other, i int) {
	switch i / 4 % 3 {
	case 0:
		s.change(h, "false", func() { _, err := h.AllowApp(h.ctx(), db.CommandLine, ruleOf(s.host, true)); h.must(err) })
		s.change(h, "true", func() {
			_, err := h.AllowApp(h.ctx(), db.CommandLine, ruleOf(s.host, false, s.user.Username))
			h.must(err)
		})
		h.removeRule(s)
	case 1:
		s.change(h, "false", func() { other.do("admins", s.host) })
		h.removeRule(s)
	case 2:
		s.change(h, "false", func() { h.exec(`UPDATE users SET approved = 0 WHERE id = $1`, s.user.ID) })
		s.change(h, "true", func() { h.exec(`UPDATE users SET approved = 1 WHERE id = $1`, s.user.ID) })
	}
}

// removeRule leaves the host without a rule, so that the next change begins where this one did.
func (h *house) removeRule(s *subject) {
	s.change(h, "true", func() { _, err := h.RemoveAppRule(h.ctx(), db.CommandLine, s.host); h.must(err) })
}

func (h *house) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// other is another process that has the database open, as a command does.
type other struct {
	t       *testing.T
	command *exec.Cmd
	stdin   io.Writer
	answers *bufio.Scanner
}

const otherEnv = "PORCHLIGHT_TEST_OTHER"

func startOther(t *testing.T, path string) *other {
	t.Helper()
	o := &other{t: t, command: exec.Command(os.Args[0], "-test.run=^TestHelperOtherProcess$")}
	o.command.Env = append(os.Environ(), otherEnv+"="+path)
	o.command.Stderr = os.Stderr
	stdin, err := o.command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := o.command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := o.command.Start(); err != nil {
		t.Fatal(err)
	}
	o.stdin, o.answers = stdin, bufio.NewScanner(stdout)
	t.Cleanup(func() { stdin.Close(); o.command.Wait() })
	o.want("ready")
	return o
}

// do runs a verb in the process, and returns when it is done.
func (o *other) do(verb, argument string) {
	o.t.Helper()
	if _, err := fmt.Fprintln(o.stdin, verb, argument); err != nil {
		o.t.Fatal(err)
	}
	o.want("done")
}

func (o *other) want(answer string) {
	o.t.Helper()
	if !o.answers.Scan() || o.answers.Text() != answer {
		o.t.Fatalf("the other process said %q, want %q", o.answers.Text(), answer)
	}
}

// kill kills the process during its commits.
func (o *other) kill() {
	o.t.Helper()
	o.do("commit", "for ever")
	for range rand.IntN(5) {
		o.want("done")
	}
	o.command.Process.Kill()
	o.command.Wait()
}

// TestHelperOtherProcess is not a test, but the process that startOther starts.
func TestHelperOtherProcess(t *testing.T) {
	path := os.Getenv(otherEnv)
	if path == "" {
		t.Skip("for TestNoStaleAnswer and TestMessageSurvivesAKill")
	}
	store, err := db.Open(context.Background(), db.Options{Path: path, HashCost: dbtest.HashCost, Now: dbtest.NewClock().Now})
	if err != nil {
		t.Fatal(err)
	}
	disk := openDisk(t, path)
	exec := func(statement string) error { _, err := disk.Exec(statement); return err }
	fmt.Println("ready")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); fmt.Println("done") {
		verb, argument, _ := strings.Cut(lines.Text(), " ")
		switch verb {
		case "sql":
			err = exec(argument)
		case "revoke":
			_, err = store.RevokeSession(context.Background(), db.CommandLine, 0, argument)
		case "passwd":
			err = store.SetPassword(context.Background(), db.CommandLine, argument, newPassword)
		case "admins":
			_, err = store.AllowApp(context.Background(), db.CommandLine, ruleOf(argument, true))
		case "commit":
			for err == nil {
				fmt.Println("done")
				err = exec(`UPDATE users SET created_at = created_at + 1`)
			}
		}
		if err != nil {
			t.Fatal(verb, argument, err)
		}
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
}
