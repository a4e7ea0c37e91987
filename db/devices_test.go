package db_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"testing"
	"time"

	"porchlight/db"
)

// This file tests the devices: browsers that a user has signed in from before.

// signInOn signs in from a browser with this device cookie.
func (h *house) signInOn(user db.User, cookie string, change ...func(*db.NewSession)) device {
	h.t.Helper()
	return h.signIn(user, "Firefox on Linux", "192.0.2.10", append([]func(*db.NewSession){func(n *db.NewSession) {
		n.Remember, n.Device = true, cookie
	}}, change...)...)
}

func (h *house) devices(user db.User) []db.Device {
	h.t.Helper()
	all, err := h.Devices(user.ID)
	if err != nil {
		h.t.Fatal(err)
	}
	return all
}

func TestADeviceIsRecognised(t *testing.T) {
	t.Parallel()
	h := openHouse(t)
	alice := h.addUser("alice", alicePassword)
	first := h.signInOn(alice, "")
	began := h.clock.Now()
	if len(first.DeviceToken) != db.TokenLength {
		t.Fatalf("the cookie is %q", first.DeviceToken)
	}
	if stored := h.text(`SELECT hex(token_hash) FROM devices`); stored != fmt.Sprintf("%X", hashOf(first.DeviceToken)) {
		t.Errorf("stored is %s, not the SHA-256 of the token", stored)
	}
	if err := h.Rename(h.ctx(), first.Session, first.ID, "Kitchen tablet"); err != nil {
		t.Fatal(err)
	}
	if err := h.SignOut(h.ctx(), first.Session); err != nil {
		t.Fatal(err)
	}
	h.clock.Advance(10 * 24 * time.Hour)
	again := h.signInOn(alice, first.DeviceToken)
	if again.DeviceToken != first.DeviceToken || again.DeviceName != "Kitchen tablet" || h.alive(again).DeviceName != "Kitchen tablet" {
		t.Errorf("signed in again: %+v", again.Session)
	}
	if h.listed(alice, again).IsNew {
		t.Error("a device from ten days ago is new")
	}
	want := db.Device{
		ID: h.devices(alice)[0].ID, Name: "Kitchen tablet", DetectedName: "Firefox on Linux", CustomName: "Kitchen tablet", Kind: "desktop",
		FirstSeenAt: began.Local(), LastSeenAt: h.clock.Now().Local(), SignedIn: true,
	}
	if all := h.devices(alice); len(all) != 1 || all[0] != want {
		t.Errorf("devices %+v, want %+v", all, want)
	}
	// Not remembered: on a shared computer, and where no browser signs in.
	if other := h.signIn(alice, "curl", "192.0.2.10"); other.DeviceToken != "" || len(h.devices(alice)) != 1 {
		t.Errorf("cookie %q, %d devices", other.DeviceToken, len(h.devices(alice)))
	}
}

// Nobody can choose the token of somebody else's device, and two users of one browser do not forget each other.
func TestADeviceTokenIsNeverAdopted(t *testing.T) {
	t.Parallel()
	h := openHouse(t)
	alice, bob := h.addUser("alice", alicePassword), h.addUser("bob", bobPassword)
	planted := h.signInOn(bob, "")
	victim := h.signInOn(alice, planted.DeviceToken)
	if victim.DeviceToken == planted.DeviceToken {
		t.Fatal("the token that the client brought was adopted")
	}
	if n := h.number(`SELECT COUNT(DISTINCT token_hash) FROM devices`); n != 1 || len(h.devices(alice)) != 1 || len(h.devices(bob)) != 1 {
		t.Errorf("%d tokens, %d and %d devices", n, len(h.devices(alice)), len(h.devices(bob)))
	}
	if again := h.signInOn(bob, victim.DeviceToken); again.DeviceToken != victim.DeviceToken || len(h.devices(bob)) != 1 {
		t.Error("the other user of the browser is no longer known")
	}
	if unknown := h.signInOn(alice, tokenOf(7)); unknown.DeviceToken == tokenOf(7) || len(h.devices(alice)) != 2 {
		t.Error("an unknown token was adopted")
	}
}

func TestForgetDevice(t *testing.T) {
	t.Parallel()
	h := openHouse(t)
	alice, bob := h.addUser("alice", alicePassword), h.addUser("bob", bobPassword)
	d, other := h.signInOn(alice, ""), h.signInOn(bob, "")
	if err := h.Rename(h.ctx(), d.Session, d.ID, "Kitchen tablet"); err != nil {
		t.Fatal(err)
	}
	id := h.devices(alice)[0].ID
	for _, id := range []string{"unknown", h.devices(bob)[0].ID} {
		if err := h.ForgetDevice(h.ctx(), d.Session, id); !errors.Is(err, db.ErrNotFound) {
			t.Errorf("forget %s: %v", id, err)
		}
	}
	if err := h.ForgetDevice(h.ctx(), d.Session, id); err != nil {
		t.Fatal(err)
	}
	if session := h.alive(d); session.CustomName != "" || len(h.devices(alice)) != 0 {
		t.Errorf("named %q, %d devices", session.CustomName, len(h.devices(alice)))
	}
	h.alive(other)
	if len(h.devices(bob)) != 1 {
		t.Error("somebody else's device was forgotten")
	}
	if again := h.signInOn(alice, d.DeviceToken); again.DeviceToken == d.DeviceToken || again.CustomName != "" {
		t.Error("the forgotten device is known")
	}
}

func TestDevicesAreBoundedAndSwept(t *testing.T) {
	t.Parallel()
	h := openHouse(t, func(o *db.Options) { o.MaxSessions = 1000 })
	alice := h.addUser("alice", alicePassword)
	for range 205 {
		h.signInOn(alice, "")
		h.clock.Advance(time.Second)
	}
	if n := len(h.devices(alice)); n != 200 {
		t.Errorf("%d devices", n)
	}
	used := h.signInOn(alice, "")
	h.clock.Advance(400*24*time.Hour + time.Minute)
	h.exec(`UPDATE sessions SET last_active_at = $1, expires_at = $1 + 1000 WHERE id = $2`, h.clock.Now().UnixMilli(), used.ID)
	h.exec(`DELETE FROM sessions WHERE id <> $1`, used.ID)
	if err := h.Sweep(h.ctx(), h.clock.Now()); err != nil {
		t.Fatal(err)
	}
	if all := h.devices(alice); len(all) != 1 || !all[0].SignedIn {
		t.Errorf("left after 400 days: %d devices", len(all))
	}
}

func TestNotMe(t *testing.T) {
	t.Parallel()
	h := openHouse(t)
	alice, bob := h.addUser("alice", alicePassword), h.addUser("bob", bobPassword)
	mine, thief, other, bobs := h.signInOn(alice, ""), h.signInOn(alice, ""), h.signInOn(alice, ""), h.signInOn(bob, "")
	if err := h.NotMe(h.ctx(), mine.Session, thief.ID); err != nil {
		t.Fatal(err)
	}
	h.alive(mine)
	h.alive(bobs)
	h.wantEnded(thief, other)
	known := func(d device) int64 {
		return h.number(`SELECT COUNT(*) FROM devices WHERE token_hash = $1`, hashOf(d.DeviceToken))
	}
	if known(thief) != 0 || known(other) != 1 || known(mine) != 1 || known(bobs) != 1 {
		t.Errorf("known are thief %d, other %d, mine %d, bob's %d", known(thief), known(other), known(mine), known(bobs))
	}
	later := h.signInOn(alice, "")
	for _, id := range []string{mine.ID, bobs.ID, thief.ID, "unknown"} {
		if err := h.NotMe(h.ctx(), mine.Session, id); !errors.Is(err, db.ErrNotFound) {
			t.Errorf("%s: %v", id, err)
		}
	}
	h.alive(later)
	if known(mine) != 1 || known(bobs) != 1 {
		t.Error("a refused NotMe forgot a device")
	}
	// A second session in the caller's own browser: the browser stays known.
	twin := h.signInOn(alice, mine.DeviceToken)
	if err := h.NotMe(h.ctx(), mine.Session, twin.ID); err != nil || known(mine) != 1 {
		t.Errorf("%v, known %d", err, known(mine))
	}
}

// Somebody else's failures do not keep the owner out on a known device, even after 100 in a row.
func TestAKnownDeviceIsCountedApart(t *testing.T) {
	t.Parallel()
	h := openHouse(t)
	alice := h.addUser("alice", alicePassword)
	d := h.signInOn(alice, "")
	attempt := func(cookie, password string) error {
		client := clientOf("203.0.113.9", "Firefox on Linux")
		client.Device = cookie
		_, err := h.Authenticate(h.ctx(), "alice", password, client)
		return err
	}
	var throttled db.Throttled
	for range 10 {
		for range 10 {
			if err := attempt("", "wrong"); !errors.Is(err, db.ErrWrongPassword) {
				t.Fatal(err)
			}
		}
		h.clock.Advance(16 * time.Minute)
	}
	for _, cookie := range []string{"", tokenOf(3)} {
		if err := attempt(cookie, alicePassword); !errors.As(err, &throttled) || !throttled.Locked {
			t.Errorf("with cookie %q: %v", cookie, err)
		}
	}
	if err := attempt(d.DeviceToken, alicePassword); err != nil {
		t.Errorf("the known device: %v", err)
	}
	// It has its own attempts, and no more than others.
	for range 10 {
		if err := attempt(d.DeviceToken, "wrong"); !errors.Is(err, db.ErrWrongPassword) {
			t.Fatal(err)
		}
	}
	if err := attempt(d.DeviceToken, alicePassword); !errors.As(err, &throttled) {
		t.Errorf("after ten failures on the known device: %v", err)
	}
	// The cookie of one user says nothing about another.
	h.addUser("bob", bobPassword)
	for range 10 {
		h.Authenticate(h.ctx(), "bob", "wrong", clientOf("198.51.100.7", "curl"))
	}
	client := clientOf("192.0.2.99", "Firefox on Linux")
	client.Device = d.DeviceToken
	if _, err := h.Authenticate(h.ctx(), "bob", bobPassword, client); !errors.As(err, &throttled) {
		t.Errorf("another user's device: %v", err)
	}
}

// A form that is sent twice begins one session. The browser keeps whichever cookie came last.
func TestAFormBeginsOneSession(t *testing.T) {
	t.Parallel()
	h := openHouse(t)
	alice, bob := h.addUser("alice", alicePassword), h.addUser("bob", bobPassword)
	form := func(n *db.NewSession) { n.Form = tokenOf(9) }
	first := h.signInOn(alice, "", form)
	recorded := len(h.activity(alice))
	second := h.signInOn(alice, "", form)
	if second.ID != first.ID || second.DeviceToken == first.DeviceToken || len(h.devices(alice)) != 1 {
		t.Errorf("the second press: %+v after %+v", second.Session, first.Session)
	}
	h.wantEnded(first)
	h.alive(second)
	if n := len(h.activity(alice)); n != recorded {
		t.Errorf("%d events more", n-recorded)
	}
	if name, err := h.UsernameByForm(tokenOf(9)); err != nil || name != "alice" {
		t.Errorf("begun by %q, %v", name, err)
	}
	if other := h.signInOn(bob, "", form); other.ID == first.ID {
		t.Error("another user's sign-in took the session over")
	}
	h.alive(second)
	h.clock.Advance(2 * time.Minute)
	if later := h.signInOn(alice, second.DeviceToken, form); later.ID == first.ID {
		t.Error("after two minutes, the form still belongs to the session")
	}
	if _, err := h.UsernameByForm(tokenOf(8)); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("an unknown form: %v", err)
	}
}

func hashOf(token string) []byte {
	hash := sha256.Sum256([]byte(token))
	return hash[:]
}
