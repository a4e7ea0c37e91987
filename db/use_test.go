package db_test

import (
	"fmt"
	"testing"
	"time"

	"porchlight/db"
)

// This file tests what a session was last used from: the address, the browser and the network.

// from returns a client whose User-Agent is described as its browser.
func from(ip, browser string) db.Client {
	return db.Client{IP: ip, UserAgent: "Mozilla/5.0 " + browser, Describe: func(_ string, wait bool) (string, string) {
		if !wait {
			return "Unknown device", "unknown"
		}
		return browser, "desktop"
	}}
}

// useFrom touches a session from elsewhere and writes it.
func (h *house) useFrom(d device, client db.Client) db.Session {
	h.t.Helper()
	session := h.alive(d)
	h.Store.Touch(&session, client)
	h.flush()
	return h.alive(d)
}

func TestASessionShowsWhereItWasLastUsed(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	before := c.alive(c.laptop)
	got := c.useFrom(c.laptop, from("203.0.113.9", "curl"))
	if got.IP != "203.0.113.9" || got.Network != "203.0.113.0/24" || got.Browser != "curl" || got.OtherBrowser != "curl" ||
		got.UserAgent != "Mozilla/5.0 curl" || got.SignInIP != before.IP || got.DetectedName != before.DetectedName ||
		got.DeviceName != before.DeviceName {
		t.Errorf("used by curl from elsewhere: %+v", got)
	}
	if listed := c.listed(c.alice, c.laptop); listed.Browser != "curl" || listed.IP != "203.0.113.9" {
		t.Errorf("the list shows %+v", listed)
	}
	want := happening{db.BrowserChanged, "203.0.113.9", before.DeviceName, before.ID, "curl", 1}
	if all := c.activity(c.alice); all[len(all)-1] != want {
		t.Errorf("recorded %+v, want %+v", all[len(all)-1], want)
	}
	recorded := len(c.activity(c.alice))

	// Back at the first browser, the other one is still known. Another one again is no second event.
	got = c.useFrom(c.laptop, from(before.IP, before.Browser))
	if got.Browser != before.Browser || got.OtherBrowser != "curl" || got.IP != before.IP {
		t.Errorf("back at the first browser: %+v", got)
	}
	if got = c.useFrom(c.laptop, from("203.0.113.9", "Lynx")); got.OtherBrowser != "Lynx" {
		t.Errorf("used by a third browser: %+v", got)
	}
	if n := len(c.activity(c.alice)); n != recorded {
		t.Errorf("%d events more", n-recorded)
	}
}

// A version of the same browser is another User-Agent, but no other browser.
func TestAnUpdateOfTheBrowserIsNoChange(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	recorded := len(c.activity(c.alice))
	update := from(c.laptop.IP, c.laptop.DetectedName)
	update.UserAgent = "Mozilla/6.0"
	if got := c.useFrom(c.laptop, update); got.UserAgent != "Mozilla/6.0" || got.OtherBrowser != "" {
		t.Errorf("after an update: %+v", got)
	}
	if n := len(c.activity(c.alice)); n != recorded {
		t.Errorf("%d events more", n-recorded)
	}
}

// A stolen cookie in a background request of an app is visible, too, but it keeps no session alive.
func TestAnAppsBackgroundRequestMovesTheSession(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.clock.Advance(time.Hour)
	access := c.authorize(c.laptop, notes)
	before := c.alive(c.laptop)
	c.Store.UseApp(access, from("203.0.113.9", "curl"), false)
	c.flush()
	got := c.alive(c.laptop)
	if got.IP != "203.0.113.9" || got.OtherBrowser != "curl" {
		t.Errorf("used in the background from elsewhere: %+v", got)
	}
	if !got.LastActiveAt.Equal(before.LastActiveAt) || !got.ExpiresAt.Equal(before.ExpiresAt) {
		t.Errorf("last active %v, before %v", got.LastActiveAt, before.LastActiveAt)
	}
}

// A change is noted at once, even if the last note is fresh, and wakes the flusher. Without a change, nothing does.
func TestAMoveIsNotedAtOnce(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	woken := func() bool {
		select {
		case <-c.Moved():
			return true
		default:
			return false
		}
	}
	session := c.alive(c.laptop)
	c.Store.Touch(&session, lastClient(session))
	c.clock.Advance(2 * time.Minute)
	c.Store.Touch(&session, lastClient(session))
	if woken() {
		t.Error("use without a change wakes the flusher")
	}
	c.flush()
	session = c.alive(c.laptop)
	c.Store.Touch(&session, from("203.0.113.9", session.Browser))
	if !woken() {
		t.Error("another address does not wake the flusher")
	}
	c.flush()
	if got := c.alive(c.laptop); got.IP != "203.0.113.9" {
		t.Errorf("the address is %s", got.IP)
	}
	session = c.alive(c.laptop)
	c.Store.Touch(&session, from("203.0.113.9", "Lynx"))
	if !woken() {
		t.Error("another browser does not wake the flusher")
	}
}

func TestAMoveOfAnEndedSessionIsDropped(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	session := c.alive(c.laptop)
	if _, err := c.Revoke(c.ctx(), c.phone.Session, c.laptop.ID); err != nil {
		t.Fatal(err)
	}
	recorded, networks := len(c.activity(c.alice)), c.number(`SELECT COUNT(*) FROM networks`)
	c.Store.Touch(&session, from("203.0.113.9", "curl"))
	c.flush()
	c.wantEnded(c.laptop)
	if n := len(c.activity(c.alice)); n != recorded {
		t.Errorf("%d events more", n-recorded)
	}
	if n := c.number(`SELECT COUNT(*) FROM networks`); n != networks {
		t.Errorf("%d networks, before %d", n, networks)
	}
}

func (h *house) listed(user db.User, d device) db.Session {
	h.t.Helper()
	all, _, err := h.Sessions(user.ID, 0)
	if err != nil {
		h.t.Fatal(err)
	}
	for _, session := range all {
		if session.ID == d.ID {
			return session
		}
	}
	h.t.Fatalf("%s is not listed", d.DeviceName)
	return db.Session{}
}

func TestANetworkIsNewUntilItIsUsedTwice(t *testing.T) {
	t.Parallel()
	h := openHouse(t)
	alice := h.addUser("alice", alicePassword)
	newNetwork := func(d device, want bool, when string) {
		t.Helper()
		if got := h.listed(alice, d).NewNetwork; got != want {
			t.Errorf("%s: new is %v", when, got)
		}
	}
	home := h.signIn(alice, "Firefox on Linux", "192.0.2.10")
	newNetwork(home, false, "the first network of an account")
	h.clock.Advance(time.Hour)
	tablet := h.signIn(alice, "Safari on iPad", "192.0.2.77")
	newNetwork(tablet, false, "another address of a known network")
	h.clock.Advance(time.Hour)
	library := h.signIn(alice, "Firefox on Windows", "2001:db8:7::1")
	newNetwork(library, true, "a network of its own")
	newNetwork(home, false, "the first network, when there is a second")
	h.useFrom(library, from("2001:db8:7:ffff::2", "Firefox on Windows"))
	newNetwork(library, true, "another address of its own network")
	h.clock.Advance(time.Hour)
	h.useFrom(tablet, from("198.51.100.4", "Safari on iPad"))
	newNetwork(tablet, true, "moved to a new network")
	h.useFrom(tablet, from("2001:db8:7:1::3", "Safari on iPad"))
	newNetwork(tablet, false, "moved to the network of another session")
	newNetwork(library, false, "another session has used it, too")
	h.useFrom(tablet, from("198.51.100.4", "Safari on iPad"))
	newNetwork(tablet, true, "back on a network of its own")
	h.clock.Advance(3 * 24 * time.Hour)
	newNetwork(tablet, false, "after three days")
	if n := h.number(`SELECT COUNT(*) FROM networks WHERE network = '192.0.2.0/24' AND session_id = ''`); n != 1 {
		t.Errorf("the shared network is stored %d times", n)
	}
}

// A session from before networks were stored has used its network since its sign-in.
func TestANetworkFromBeforeIsAsOldAsItsSession(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.exec(`DELETE FROM networks`)
	c.exec(`UPDATE sessions SET network = ''`)
	c.clock.Advance(time.Hour)
	c.Touch(c.alive(c.laptop))
	c.flush()
	if got := c.alive(c.laptop).Network; got != "192.0.2.0/24" {
		t.Errorf("the network is %q", got)
	}
	if n := c.number(`SELECT COUNT(*) FROM networks n JOIN sessions s ON s.id = n.session_id WHERE n.first_used_at = s.created_at`); n != 1 {
		t.Errorf("%d networks are as old as their session", n)
	}
}

func TestNetworksAreBounded(t *testing.T) {
	t.Parallel()
	h := openHouse(t)
	alice := h.addUser("alice", alicePassword)
	d := h.signIn(alice, "Firefox on Linux", "192.0.2.10")
	for i := range 205 {
		h.clock.Advance(time.Second)
		h.useFrom(d, from(fmt.Sprintf("10.0.%d.1", i), "Firefox on Linux"))
	}
	if n := h.number(`SELECT COUNT(*) FROM networks WHERE user_id = $1`, alice.ID); n != 200 {
		t.Errorf("%d networks are stored", n)
	}
	if n := h.number(`SELECT COUNT(*) FROM networks WHERE network = '10.0.204.0/24'`); n != 1 {
		t.Error("the newest network is not stored")
	}
	if err := h.Sweep(h.ctx(), h.clock.Now().Add(-time.Minute)); err != nil {
		t.Fatal(err)
	}
	if n := h.number(`SELECT COUNT(*) FROM networks`); n != 61 {
		t.Errorf("%d networks are left after a sweep of those older than a minute", n)
	}
}

func TestADeviceIsNewUntilItWasSeenOnTwoDays(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	isNew := func(want bool, when string) {
		t.Helper()
		if got := c.listed(c.alice, c.laptop).IsNew; got != want {
			t.Errorf("%s: new is %v", when, got)
		}
	}
	look := func() { c.NoteSeen([]string{c.laptop.ID}); c.flush() }
	isNew(true, "not looked at")
	look()
	look()
	isNew(true, "looked at twice on one day")
	c.clock.Advance(24 * time.Hour)
	isNew(true, "the next day")
	look()
	isNew(false, "looked at on two days")
	if got := c.listed(c.alice, c.phone).IsNew; !got {
		t.Error("another session is not new, although nobody looked at it")
	}
	c.clock.Advance(2 * 24 * time.Hour)
	if got := c.listed(c.alice, c.phone).IsNew; got {
		t.Error("a session is new for more than three days")
	}
}

func TestANameShowsWhoGaveIt(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	for _, step := range []struct {
		by         device
		name, want string
	}{
		{c.phone, "Kitchen tablet", c.phone.DeviceName}, {c.laptop, "Desk", ""}, {c.phone, "Mine", c.phone.DeviceName}, {c.phone, "", ""},
	} {
		if err := c.Rename(c.ctx(), step.by.Session, c.laptop.ID, step.name); err != nil {
			t.Fatal(err)
		}
		if got := c.alive(c.laptop); got.NamedBy != step.want || got.CustomName != step.name {
			t.Errorf("named %q by %q, want %q", got.CustomName, got.NamedBy, step.want)
		}
	}
}
