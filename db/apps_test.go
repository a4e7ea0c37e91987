package db_test

import (
	"errors"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"porchlight/db"
)

// This file tests which apps are stored for a session, and that they are deleted with it. How often a use is noted is tested in
// authorize_test.go.

// maxApps is how many apps the list of a session has at most.
const maxApps = 50

// appsOf returns the hosts that are stored for a session, sorted.
func (h *house) appsOf(d device) []string {
	h.t.Helper()
	return h.texts(`SELECT host FROM session_apps WHERE session_id = $1 ORDER BY host`, d.ID)
}

func (h *house) wantApps(d device, hosts ...string) {
	h.t.Helper()
	if got := h.appsOf(d); !slices.Equal(got, hosts) {
		h.t.Errorf("the session on %s has the apps %q, want %q", d.DeviceName, got, hosts)
	}
}

// countWrites records what is inserted from now on, even if the same transaction deletes it again.
func (h *house) countWrites() {
	h.t.Helper()
	h.exec(`CREATE TABLE written (session_id TEXT, host TEXT)`)
	h.exec(`CREATE TRIGGER count_writes AFTER INSERT ON session_apps BEGIN INSERT INTO written VALUES (NEW.session_id, NEW.host); END`)
}

func (h *house) writtenFor(d device) int64 {
	h.t.Helper()
	return h.number(`SELECT COUNT(*) FROM written WHERE session_id = $1`, d.ID)
}

// lock holds the write lock as another process would, until release is called.
func (h *house) lock() (release func()) {
	h.t.Helper()
	conn, err := h.disk.Conn(h.ctx())
	if err != nil {
		h.t.Fatal(err)
	}
	if _, err := conn.ExecContext(h.ctx(), `BEGIN IMMEDIATE`); err != nil {
		h.t.Fatal(err)
	}
	return func() {
		h.t.Helper()
		if _, err := conn.ExecContext(h.ctx(), `ROLLBACK`); err != nil {
			h.t.Error(err)
		}
		conn.Close()
	}
}

// moveAway moves the database file away. At the end of the test it moves it back, so that the store can be closed.
func (h *house) moveAway() {
	h.t.Helper()
	path := h.options.Path
	if err := os.Rename(path, path+".moved"); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		if err := os.Rename(path+".moved", path); err != nil {
			h.t.Error(err)
		}
	})
}

func TestFlushWritesWhatWasUsed(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.use(c.laptop, notes, "photos.example.com")
	c.clock.Advance(time.Second)
	c.use(c.laptop, notes) // not on disk yet, so it is noted again
	c.use(c.desk, "2001:db8::1")
	if n := c.number(`SELECT COUNT(*) FROM session_apps`); n != 0 {
		t.Errorf("%d rows before the flush", n)
	}
	c.flush()
	c.wantApps(c.laptop, notes, "photos.example.com")
	c.wantApps(c.phone)
	c.wantApps(c.desk, "2001:db8::1")
	if got := c.lastUsed(c.laptop, notes); !got.Equal(c.clock.Now()) {
		t.Errorf("last used at %v, want %v", got, c.clock.Now())
	}
	if got := c.lastUsed(c.laptop, "photos.example.com"); !got.Equal(c.clock.Now().Add(-time.Second)) {
		t.Errorf("last used at %v, want a second ago", got)
	}
	c.exec(`DELETE FROM session_apps`)
	c.flush()
	if n := c.number(`SELECT COUNT(*) FROM session_apps`); n != 0 {
		t.Errorf("%d rows were written twice", n)
	}
}

func TestCloseWritesWhatWasUsed(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.use(c.laptop, notes)
	c.reopen()
	c.wantApps(c.laptop, notes)
}

func TestFlushWritesMoreThanOneBatchOfApps(t *testing.T) {
	t.Parallel()
	h := openHouse(t)
	alice := h.addUser("alice", alicePassword)
	devices := []device{}
	for range 2*db.FlushBatch/maxApps + 1 {
		devices = append(devices, h.signIn(alice, firefoxOnLinux, "192.0.2.10"))
	}
	for _, d := range devices {
		h.use(d, madeUp(0, maxApps)...)
	}
	h.flush()
	for _, d := range devices {
		h.wantApps(d, madeUp(0, maxApps)...)
	}
}

// endingsOfAccounts end sessions by a change of their account.
var endingsOfAccounts = map[string]func(*cast) error{
	"password set by command": func(c *cast) error { return c.SetPassword(c.ctx(), db.CommandLine, "alice", newPassword) },
	"disabled":                func(c *cast) error { return c.DisableUser(c.ctx(), db.CommandLine, "alice", true) },
	"deleted by command":      func(c *cast) error { return c.DeleteUser(c.ctx(), db.CommandLine, "alice", true) },
	"deleted": func(c *cast) error {
		c.exec(`UPDATE users SET is_admin = 1 WHERE username = 'bob'`) // the last administrator stays
		return c.DeleteAccount(c.ctx(), c.phone.Session, db.Client{IP: "198.51.100.20"}, alicePassword)
	},
}

// eachEnding runs try with every way in which sessions end. After end, the sessions in ended have no row.
func eachEnding(t *testing.T, try func(t *testing.T, c *cast, end func() error, ended, left []device)) {
	run := func(name string, end func(*cast) error, endedNames ...string) {
		t.Run(name, func(t *testing.T) {
			c, devices := openEndings(t)
			var ended, left []device
			for name, d := range devices {
				if slices.Contains(endedNames, name) {
					ended = append(ended, d)
				} else {
					left = append(left, d)
				}
			}
			try(t, c, func() error { return end(c) }, ended, left)
		})
	}
	for _, test := range endings {
		run(test.name, test.end, test.ended...)
	}
	for name, end := range endingsOfAccounts {
		run(name, end, "laptop", "phone")
	}
}

func TestAppsAreDeletedWithTheirSession(t *testing.T) {
	t.Parallel()
	eachEnding(t, func(t *testing.T, c *cast, end func() error, ended, left []device) {
		for _, d := range slices.Concat(ended, left) {
			c.use(d, notes, "photos.example.com")
		}
		c.flush()
		if n := c.number(`SELECT COUNT(*) FROM session_apps`); n != 6 {
			t.Fatalf("%d rows before", n)
		}
		if err := end(); err != nil {
			t.Fatal(err)
		}
		for _, d := range ended {
			c.wantApps(d)
		}
		for _, d := range left {
			c.wantApps(d, notes, "photos.example.com")
		}
	})
}

// A request may be allowed just before its session ends. Its note then finds no session, and is dropped.
func TestANoteOfAnEndedSessionIsDropped(t *testing.T) {
	t.Parallel()
	eachEnding(t, func(t *testing.T, c *cast, end func() error, ended, left []device) {
		var late []*db.AppAccess
		for _, d := range slices.Concat(ended, left) {
			late = append(late, c.authorize(d, "photos.example.com"))
			c.UseApp(c.authorize(d, notes), false)
		}
		if err := end(); err != nil {
			t.Fatal(err)
		}
		for _, access := range late {
			c.UseApp(access, false)
		}
		c.flush()
		for _, d := range ended {
			c.wantApps(d)
		}
		for _, d := range left {
			c.wantApps(d, notes, "photos.example.com")
		}
		// A new session with the same id would have no apps.
		if len(left) == 0 {
			return
		}
		for _, d := range ended {
			c.exec(`
				INSERT INTO sessions (id, token_hash, user_id, detected_name, device_kind, user_agent, ip, shared,
				                      created_at, last_active_at, expires_at)
				SELECT $1, randomblob(32), user_id, detected_name, device_kind, user_agent, ip, shared, created_at, last_active_at, expires_at
				FROM sessions WHERE id = $2`, d.ID, left[0].ID)
		}
		c.flush()
		for _, d := range ended {
			c.wantApps(d)
		}
	})
}

// The session that changes the password continues under a new token, and keeps its apps.
func TestASessionWithANewTokenKeepsItsApps(t *testing.T) {
	t.Parallel()
	for _, endOthers := range []bool{true, false} {
		c := openCast(t)
		c.use(c.laptop, notes)
		c.use(c.phone, notes)
		c.flush()
		c.use(c.laptop, "photos.example.com")
		token, err := c.changePassword(c.laptop.Session, alicePassword, newPassword, endOthers)
		if err != nil {
			t.Fatal(err)
		}
		c.flush()
		c.laptop.token = token
		c.use(c.laptop, "wiki.example.com")
		c.flush()
		c.wantApps(c.laptop, notes, "photos.example.com", "wiki.example.com")
		if endOthers {
			c.wantApps(c.phone)
		} else {
			c.wantApps(c.phone, notes)
		}
	}
}

func TestAppsAreListedLastUsedFirst(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	first := c.clock.Now()
	c.use(c.laptop, "wiki.example.com", "photos.example.com")
	c.use(c.desk, "bank.example.com")
	c.clock.Advance(time.Hour)
	second := c.clock.Now()
	c.use(c.laptop, notes)
	c.flush()
	want := []db.AppUse{{notes, second}, {"photos.example.com", first}, {"wiki.example.com", first}}
	check := func(where string, session db.Session) {
		t.Helper()
		var wanted []db.AppUse
		switch session.ID {
		case c.laptop.ID:
			wanted = want
		case c.desk.ID:
			wanted = []db.AppUse{{"bank.example.com", first}}
		}
		if got := session.Apps; !slices.EqualFunc(got, wanted,
			func(a, b db.AppUse) bool { return a.Host == b.Host && a.LastUsedAt.Equal(b.LastUsedAt) }) {
			t.Errorf("%s: the apps of the session on %s are %v, want %v", where, session.DeviceName, got, wanted)
		}
	}
	sessions, total, err := c.Sessions(c.alice.ID, 0)
	if err != nil || total != 2 || len(sessions) != 2 {
		t.Fatalf("Sessions: %d of %d, %v", len(sessions), total, err)
	}
	for _, session := range sessions {
		check("Sessions", session)
	}
	all, err := c.AllSessions("")
	if err != nil || len(all) != 3 {
		t.Fatalf("AllSessions: %d, %v", len(all), err)
	}
	for _, session := range all {
		check("AllSessions", session)
	}
	for _, d := range []device{c.laptop, c.phone} {
		session, err := c.Session(c.alice.ID, d.ID)
		if err != nil {
			t.Fatal(err)
		}
		check("Session", session)
	}
	// Requests do not read the apps.
	if got := c.alive(c.laptop); got.Apps != nil {
		t.Errorf("Resume reads %v", got.Apps)
	}
}

func TestAppsUsedAtTheSameTimeAreListedByName(t *testing.T) {
	t.Parallel()
	got := db.ParseAppUses("wiki.example.com 1763460120000,2001:db8::1 1763460120001," +
		"notes.example.com 1763460120000,bank.example.com 1763460120000")
	var hosts []string
	for _, use := range got {
		hosts = append(hosts, use.Host)
	}
	if want := []string{"2001:db8::1", "bank.example.com", notes, "wiki.example.com"}; !slices.Equal(hosts, want) {
		t.Errorf("listed are %q, want %q", hosts, want)
	}
}

func TestNoAppsAreAnEmptyList(t *testing.T) {
	t.Parallel()
	if got := db.ParseAppUses(""); got != nil {
		t.Errorf("ParseAppUses of no text: %v", got)
	}
	c := openCast(t)
	if session, err := c.Session(c.alice.ID, c.laptop.ID); err != nil || session.Apps != nil {
		t.Errorf("a session that was used for nothing has %v, %v", session.Apps, err)
	}
}

// Many requests and flushes at once, while one session ends: every note is written, except those of the session that ended.
func TestManyUseAppsAtOnce(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	const hosts = 20
	var all sync.WaitGroup
	start := make(chan struct{})
	for range 4 {
		for _, d := range []device{c.laptop, c.phone, c.desk} {
			all.Go(func() {
				<-start
				for i := range hosts {
					c.clock.Advance(time.Second)
					access, err := c.Authorize(d.token, invented(i))
					if err == nil {
						c.UseApp(access, false)
					} else if d.ID != c.laptop.ID || !errors.Is(err, db.ErrNotFound) {
						t.Error(err)
					}
				}
			})
		}
		all.Go(func() {
			<-start
			for range 5 {
				if err := c.Flush(c.ctx()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Go(func() {
		<-start
		if _, err := c.Revoke(c.ctx(), c.phone.Session, c.laptop.ID); err != nil {
			t.Error(err)
		}
	})
	close(start)
	all.Wait()
	c.flush()
	c.wantApps(c.laptop)
	c.wantApps(c.phone, madeUp(0, hosts)...)
	c.wantApps(c.desk, madeUp(0, hosts)...)
}
