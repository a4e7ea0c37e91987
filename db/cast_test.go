package db_test

import (
	"context"
	"database/sql"
	"errors"
	"runtime"
	"slices"
	"testing"
	"time"

	"porchlight/db"
	"porchlight/db/dbtest"
)

const (
	alicePassword = "quartz lamp fjord"
	bobPassword   = "umber quill basil"
	newPassword   = "pebble sonnet harbour walnut"
)

const (
	firefoxOnLinux = "Firefox on Linux"
	safariOnIPhone = "Safari on iPhone"
	chromeOnMac    = "Chrome on macOS"
)

// house is a store in a real file, without accounts.
type house struct {
	*db.Store
	t       testing.TB
	options db.Options
	clock   *dbtest.Clock
	disk    *sql.DB // another connection, as another process would have
}

func openHouse(t testing.TB, change ...func(*db.Options)) *house {
	t.Helper()
	h := &house{t: t, clock: dbtest.NewClock()}
	h.options = db.Options{Path: dbtest.NewDatabase(t), HashCost: dbtest.HashCost, Now: h.clock.Now}
	h.open(change...)
	h.disk = openDisk(t, h.options.Path)
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error("close the store:", err)
		}
	})
	return h
}

func (h *house) open(change ...func(*db.Options)) {
	h.t.Helper()
	for _, c := range change {
		c(&h.options)
	}
	var err error
	if h.Store, err = db.Open(context.Background(), h.options); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) reopen(change ...func(*db.Options)) {
	h.t.Helper()
	if err := h.Close(); err != nil {
		h.t.Fatal("close the store:", err)
	}
	h.open(change...)
}

func openDisk(t testing.TB, path string) *sql.DB {
	t.Helper()
	disk, err := sql.Open("sqlite3", "file:"+path+"?_busy_timeout=5000&_fk=1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { disk.Close() })
	return disk
}

// Touch is Store.Touch for a request from where the session was last used.
func (h *house) Touch(session db.Session) { h.Store.Touch(&session, lastClient(session)) }

// UseApp is Store.UseApp for a request from where the session was last used.
func (h *house) UseApp(access *db.AppAccess, active bool) {
	h.Store.UseApp(access, access.LastClient(), active)
}

func lastClient(session db.Session) db.Client {
	return db.Client{IP: session.IP, UserAgent: session.UserAgent, DeviceName: session.Browser}
}

func (h *house) ctx() context.Context { return context.Background() }

func (h *house) exec(statement string, args ...any) {
	h.t.Helper()
	if _, err := h.disk.Exec(statement, args...); err != nil {
		h.t.Fatalf("%s: %v", statement, err)
	}
}

func (h *house) number(query string, args ...any) (n int64) {
	h.t.Helper()
	if err := h.disk.QueryRow(query, args...).Scan(&n); err != nil {
		h.t.Fatalf("%s: %v", query, err)
	}
	return n
}

func (h *house) text(query string, args ...any) (text string) {
	h.t.Helper()
	if err := h.disk.QueryRow(query, args...).Scan(&text); err != nil {
		h.t.Fatalf("%s: %v", query, err)
	}
	return text
}

// texts returns the values of a column.
func (h *house) texts(query string, args ...any) (texts []string) {
	h.t.Helper()
	rows, err := h.disk.Query(query, args...)
	if err != nil {
		h.t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			h.t.Fatal(err)
		}
		texts = append(texts, text)
	}
	if err := rows.Err(); err != nil {
		h.t.Fatal(err)
	}
	return texts
}

// happening is a row of activity.
type happening struct {
	Kind, IP, DeviceName, SessionID, By string
	Count                               int
}

// activity returns the stored activity of a user, oldest first.
func (h *house) activity(user db.User) (all []happening) {
	h.t.Helper()
	rows, err := h.disk.Query(`SELECT kind, ip, device_name, session_id, done_by, count FROM activity WHERE user_id = $1 ORDER BY id`, user.ID)
	if err != nil {
		h.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var one happening
		if err := rows.Scan(&one.Kind, &one.IP, &one.DeviceName, &one.SessionID, &one.By, &one.Count); err != nil {
			h.t.Fatal(err)
		}
		all = append(all, one)
	}
	if err := rows.Err(); err != nil {
		h.t.Fatal(err)
	}
	return all
}

// ids returns the ids of all sessions that have a row, live or not.
func (h *house) ids() []string {
	h.t.Helper()
	return h.texts(`SELECT id FROM sessions ORDER BY id`)
}

func (h *house) flush() {
	h.t.Helper()
	if err := h.Flush(h.ctx()); err != nil {
		h.t.Fatal("flush:", err)
	}
}

func (h *house) addUser(username, password string) db.User {
	h.t.Helper()
	user, err := h.CreateUser(h.ctx(), db.NewUser{Username: username, Password: password})
	if err != nil {
		h.t.Fatalf("create %s: %v", username, err)
	}
	return user
}

// device is a session together with the token in its cookie.
type device struct {
	token string
	db.Session
}

func (h *house) signIn(user db.User, deviceName, ip string, change ...func(*db.NewSession)) device {
	h.t.Helper()
	new := db.NewSession{Client: db.Client{DeviceName: deviceName, DeviceKind: "desktop", UserAgent: "Mozilla/5.0", IP: ip}}
	for _, c := range change {
		c(&new)
	}
	token, session, err := h.SignIn(h.ctx(), user, new)
	if err != nil {
		h.t.Fatalf("sign in %s: %v", user.Username, err)
	}
	return device{token, session}
}

// onCurl is a sign-in without a browser.
var onCurl = db.NewSession{Client: db.Client{DeviceName: "curl", DeviceKind: "terminal"}}

func (h *house) changePassword(by db.Session, current, new string, endOthers bool) (token string, err error) {
	return h.ChangePassword(h.ctx(), by, db.Client{IP: "192.0.2.1"}, db.PasswordChange{Current: current, New: new, EndOthers: endOthers})
}

func shared(new *db.NewSession) { new.Shared = true }

func (h *house) alive(d device) db.Session {
	h.t.Helper()
	session, err := h.Resume(d.token)
	if err != nil {
		h.t.Fatalf("the session on %s should be alive: %v", d.DeviceName, err)
	}
	return *session
}

func (h *house) wantEnded(devices ...device) {
	h.t.Helper()
	for _, d := range devices {
		if _, err := h.Resume(d.token); !errors.Is(err, db.ErrNotFound) {
			h.t.Fatalf("the session on %s should have ended: %v", d.DeviceName, err)
		}
	}
}

// holdWriter keeps the store from writing until release is called. arrived waits until n writes are waiting, or for a while, because some
// of them may wait elsewhere.
func (h *house) holdWriter() (arrived func(n int), release func()) {
	h.t.Helper()
	if err := h.EnterQueue(h.ctx()); err != nil {
		h.t.Fatal(err)
	}
	arrived = func(n int) {
		for range 100_000 {
			if h.Waiting() >= n {
				return
			}
			runtime.Gosched()
		}
	}
	return arrived, h.LeaveQueue
}

// cast is the fixed cast: alice is signed in on two devices, bob on one.
type cast struct {
	*house
	alice, bob    db.User
	laptop, phone device // alice's; the phone was used last
	desk          device // bob's
}

func openCast(t testing.TB, change ...func(*db.Options)) *cast {
	t.Helper()
	c := &cast{house: openHouse(t, change...)}
	c.alice = c.addUser("alice", alicePassword)
	c.bob = c.addUser("bob", bobPassword)
	c.laptop = c.signIn(c.alice, firefoxOnLinux, "192.0.2.10")
	c.clock.Advance(time.Millisecond)
	c.phone = c.signIn(c.alice, safariOnIPhone, "198.51.100.20")
	c.clock.Advance(time.Millisecond)
	c.desk = c.signIn(c.bob, chromeOnMac, "203.0.113.30")
	return c
}

// tail returns the end of a list, as long as the other list.
func tail(all, want []happening) []happening { return all[max(0, len(all)-len(want)):] }

func (c *cast) wantLatest(user db.User, want ...happening) {
	c.t.Helper()
	if got := tail(c.activity(user), want); !slices.Equal(got, want) {
		c.t.Errorf("activity of %s:\n got %+v\nwant %+v", user.Username, got, want)
	}
}
