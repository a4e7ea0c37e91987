package db_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"porchlight/db"
)

// This file has the helpers of the tests of alerts and mailed links, and tests who gets which alert.

const (
	aliceEmail = "alice@example.com"
	aliceTopic = "alice_phone"
)

var everyWay = db.Ways{Mail: true, Ntfy: true, Webhook: true}

func withWays(ways db.Ways) func(*db.Options) {
	return func(o *db.Options) { o.Serve, o.Ways = true, ways }
}

// openMailCast returns the cast on a server that can use every way. Alice has an address and a topic, bob has neither. No message waits.
func openMailCast(t testing.TB, change ...func(*db.Options)) *cast {
	t.Helper()
	c := openCast(t, append([]func(*db.Options){withWays(everyWay)}, change...)...)
	c.exec(`UPDATE users SET email = $1 WHERE id = $2`, aliceEmail, c.alice.ID)
	if err := c.SetAlertSettings(c.ctx(), c.laptop.Session, db.AlertSettings{Mail: true, Topic: aliceTopic}); err != nil {
		t.Fatal(err)
	}
	c.clock.Advance(2 * time.Hour)
	c.emptyOutbox()
	return c
}

func (h *house) emptyOutbox() {
	h.t.Helper()
	h.exec(`DELETE FROM outbox`)
	h.exec(`DELETE FROM recent_alerts`)
}

// waiting returns the messages in the outbox as "way address kind count".
func (h *house) waiting() []string {
	h.t.Helper()
	return h.texts(`
		SELECT trim(way || ' ' || address || iif(former, ' former', '')) || ' ' || kind || ' ' || count
		FROM outbox WHERE user_id IS NOT NULL ORDER BY id`)
}

func (h *house) wantWaiting(what string, want ...string) {
	h.t.Helper()
	got := h.waiting()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		h.t.Errorf("%s: these messages wait\n%s\nwant\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// everyWayTo returns the messages that wait after an alert to alice.
func everyWayTo(kind string, count int) []string {
	return []string{
		fmt.Sprintf("mail %s %s %d", aliceEmail, kind, count),
		fmt.Sprintf("ntfy %s %s %d", aliceTopic, kind, count),
		fmt.Sprintf("webhook %s %d", kind, count),
	}
}

func (h *house) claim(way db.Way) []db.Message {
	h.t.Helper()
	messages, err := h.ClaimMessages(h.ctx(), way, 100)
	if err != nil {
		h.t.Fatal(err)
	}
	return messages
}

// onlyMail claims the only mail that is due.
func (h *house) onlyMail() db.Message {
	h.t.Helper()
	messages := h.claim(db.Mail)
	if len(messages) != 1 {
		h.t.Fatalf("%d mails are due: %+v", len(messages), messages)
	}
	return messages[0]
}

var somewhere = clientOf("192.0.2.77", "Edge on Windows")

func remembered(new *db.NewSession) { new.Remember = true }

func with(deviceToken string) func(*db.NewSession) {
	return func(new *db.NewSession) { new.Remember, new.Device = true, deviceToken }
}

func method(m string) func(*db.NewSession) { return func(new *db.NewSession) { new.Method = m } }

// Every important event causes an alert in every way.
func TestAlertKinds(t *testing.T) {
	t.Parallel()
	for kind, cause := range map[string]func(*cast) error{
		db.PasswordChanged: func(c *cast) error {
			_, err := c.changePassword(c.laptop.Session, alicePassword, newPassword, false)
			return err
		},
		db.PasskeyAdded: func(c *cast) error { // the recovery codes that come with it are no alert of their own
			c.addPasskey(c.laptop, "key")
			return nil
		},
		db.TOTPOn: func(c *cast) error {
			c.addTOTP(c.laptop)
			return nil
		},
		db.PasskeyRemoved: func(c *cast) error {
			c.addPasskey(c.laptop, "key")
			c.emptyOutbox()
			return c.RemovePasskey(c.ctx(), c.laptop.Session, c.factors(c.alice).Passkeys[0].ID)
		},
		db.TOTPOff: func(c *cast) error {
			c.addTOTP(c.laptop)
			c.emptyOutbox()
			return c.ChangeUser(c.ctx(), db.CommandLine, "alice", db.UserChange{ResetSecondFactor: true})
		},
		db.PasskeyRefused: func(c *cast) error {
			c.addPasskey(c.laptop, "key")
			c.SignInWithPasskey(c.ctx(), use("key", 5), onCurl)
			c.emptyOutbox()
			c.SignInWithPasskey(c.ctx(), use("key", 4), onCurl)
			return nil
		},
		db.RecoveryCodesMade: func(c *cast) error {
			c.addTOTP(c.laptop)
			c.emptyOutbox()
			_, err := c.ReplaceRecoveryCodes(c.ctx(), c.laptop.Session)
			return err
		},
		db.BrowserChanged: func(c *cast) error {
			session := c.alive(c.laptop)
			c.Store.Touch(&session, db.Client{IP: "198.51.100.9", UserAgent: "another", DeviceName: "curl"})
			return c.Flush(c.ctx())
		},
		db.SignedIn: func(c *cast) error {
			c.signIn(c.alice, "curl", "198.51.100.9")
			return nil
		},
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			c := openMailCast(t)
			if err := cause(c); err != nil {
				t.Fatal(err)
			}
			c.wantWaiting(kind, everyWayTo(kind, 1)...)
		})
	}
}

// Alerts about bob, who has no address and no topic, go only to the webhook.
func TestWebhookGetsEveryAlert(t *testing.T) {
	t.Parallel()
	c := openMailCast(t)
	if err := c.SetAlertSettings(c.ctx(), c.desk.Session, db.AlertSettings{Off: db.OptionalAlerts}); err != nil {
		t.Fatal(err)
	}
	c.signIn(c.bob, "curl", "198.51.100.9")
	c.wantWaiting("bob", "webhook signed_in 1")
	m := c.claim(db.Webhook)[0]
	if m.Username != "bob" || m.IP != "198.51.100.9" || m.DeviceName != "curl" || !m.At.Equal(c.clock.Now()) || m.Token != "" {
		t.Errorf("the message is %+v", m)
	}
}

func TestSignInAlerts(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		signIn func(c *cast)
		alerts bool
	}{
		"new device": {func(c *cast) { c.signIn(c.alice, "curl", "192.0.2.1", remembered) }, true},
		"known device": {func(c *cast) {
			known := c.signIn(c.alice, firefoxOnLinux, "192.0.2.1", remembered)
			c.emptyOutbox()
			c.signIn(c.alice, firefoxOnLinux, "192.0.2.99", with(known.DeviceToken))
		}, false},
		"device of somebody else": {func(c *cast) {
			known := c.signIn(c.bob, firefoxOnLinux, "192.0.2.1", remembered)
			c.emptyOutbox()
			c.signIn(c.alice, firefoxOnLinux, "192.0.2.1", with(known.DeviceToken))
		}, true},
		"forgotten device": {func(c *cast) {
			known := c.signIn(c.alice, firefoxOnLinux, "192.0.2.1", remembered)
			c.exec(`DELETE FROM devices`)
			c.emptyOutbox()
			c.signIn(c.alice, firefoxOnLinux, "192.0.2.1", with(known.DeviceToken))
		}, true},
		"shared computer":                      {func(c *cast) { c.signIn(c.alice, firefoxOnLinux, "192.0.2.1", shared) }, true},
		"shared computer, after an invitation": {func(c *cast) { c.signIn(c.alice, "x", "192.0.2.1", shared, method(db.ByInvitation)) }, true},
		"after an invitation":                  {func(c *cast) { c.signIn(c.alice, "x", "192.0.2.1", method(db.ByInvitation)) }, false},
		"after set-up":                         {func(c *cast) { c.signIn(c.alice, "x", "192.0.2.1", method(db.BySetup)) }, false},
		"after sign-up":                        {func(c *cast) { c.signIn(c.alice, "x", "192.0.2.1", method(db.BySignUp)) }, false},
		"after a reset":                        {func(c *cast) { c.signIn(c.alice, "x", "192.0.2.1", method(db.ByReset)) }, true},
		"first ever": {func(c *cast) {
			c.exec(`UPDATE users SET has_signed_in = 0 WHERE id = $1`, c.alice.ID) // as after user add
			c.signIn(c.alice, "x", "192.0.2.1")
		}, false},
		"second": {func(c *cast) {
			c.exec(`UPDATE users SET has_signed_in = 0 WHERE id = $1`, c.alice.ID)
			c.signIn(c.alice, "x", "192.0.2.1")
			c.exec(`DELETE FROM activity`) // as after the retention
			c.signIn(c.alice, "x", "192.0.2.1")
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := openMailCast(t)
			test.signIn(c)
			want := []string{}
			if test.alerts {
				want = everyWayTo(db.SignedIn, 1)
			}
			c.wantWaiting(name, want...)
		})
	}
}

// Within an hour, alerts of one kind about one device become one message.
func TestQuietAlerts(t *testing.T) {
	t.Parallel()
	c := openMailCast(t)
	for range 2 { // the second is added to the first, because no sender has claimed it
		c.signIn(c.alice, "curl", "192.0.2.1")
	}
	first := c.onlyMail()
	if first.Count != 2 {
		t.Errorf("the first alert counts %d", first.Count)
	}
	c.signIn(c.alice, "curl", "192.0.2.1") // too late for the first, which is being sent
	if err := c.Delivered(c.ctx(), first); err != nil {
		t.Fatal(err)
	}
	sent := c.clock.Now()
	var last device
	for range 4 {
		c.clock.Advance(10 * time.Minute)
		last = c.signIn(c.alice, "curl", "192.0.2.2")
		if due := c.claim(db.Mail); len(due) > 0 {
			t.Errorf("within the hour: %+v", due)
		}
	}
	c.signIn(c.alice, "another", "192.0.2.3")
	if m := c.onlyMail(); m.DeviceName != "another" {
		t.Errorf("another device: %+v", m)
	}
	if err := c.Delivered(c.ctx(), db.Message{ID: c.number(`SELECT MAX(id) FROM outbox WHERE way = 'mail'`)}); err != nil {
		t.Fatal(err)
	}
	c.clock.Advance(time.Hour - c.clock.Now().Sub(sent) - time.Millisecond)
	if due := c.claim(db.Mail); len(due) > 0 {
		t.Errorf("just before the hour: %+v", due)
	}
	c.clock.Advance(time.Millisecond)
	if m := c.onlyMail(); m.Count != 5 || m.IP != "192.0.2.2" || m.SessionID != last.ID {
		t.Errorf("the sum: %+v", m)
	}
	// The hour begins again with the sum.
	c.exec(`DELETE FROM outbox`)
	c.clock.Advance(time.Minute)
	c.signIn(c.alice, "curl", "192.0.2.1")
	if due := c.claim(db.Mail); len(due) > 0 {
		t.Errorf("a minute after the sum: %+v", due)
	}
	c.clock.Advance(59 * time.Minute)
	c.onlyMail()
}

// A command does not know the settings of the server, so it uses the ways that the server stored.
func TestCommandsAlertInTheWaysOfTheServer(t *testing.T) {
	t.Parallel()
	c := openMailCast(t)
	command, err := db.Open(c.ctx(), db.Options{Path: c.options.Path, HashCost: c.options.HashCost, Now: c.clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer command.Close()
	if err := command.SetPassword(c.ctx(), db.CommandLine, "alice", newPassword); err != nil {
		t.Fatal(err)
	}
	c.wantWaiting("by command", everyWayTo(db.PasswordChanged, 1)...)
	if m := c.onlyMail(); m.By != db.ByCommand {
		t.Errorf("the mail is %+v", m)
	}

	c.reopen(withWays(db.Ways{Ntfy: true}))
	c.emptyOutbox()
	if err := command.SetPassword(c.ctx(), db.CommandLine, "alice", alicePassword); err != nil {
		t.Fatal(err)
	}
	c.wantWaiting("with one way left", "ntfy alice_phone password_changed 1")
}

// The hundredth failure in a row locks the account. Its user gets one alert.
func TestLockedAccountIsAnAlert(t *testing.T) {
	t.Parallel()
	c := openMailCast(t)
	fail := func(name string) {
		t.Helper()
		c.clock.Advance(2 * time.Minute)
		ip := fmt.Sprintf("203.0.113.%d", c.clock.Now().Unix()%200)
		c.Authenticate(c.ctx(), name, bobPassword, clientOf(ip, "curl"))
	}
	for range 99 {
		fail("alice")
		fail("nobody")
	}
	c.wantWaiting("after 99")
	fail("alice")
	c.wantWaiting("after 100", everyWayTo(db.AccountLocked, 1)...)
	fail("alice")
	fail("nobody")
	fail(aliceEmail) // its own counter is not full, but that of the account is
	c.wantWaiting("after more", everyWayTo(db.AccountLocked, 1)...)
	if n := c.number(`SELECT COUNT(*) FROM activity WHERE kind = 'account_locked'`); n != 1 {
		t.Errorf("recorded %d times", n)
	}
}

// Wrong codes after the right password count, too.
func TestAccountLockedByCodesIsAnAlert(t *testing.T) {
	t.Parallel()
	c := openMailCast(t)
	secret, _ := c.addTOTP(c.laptop)
	user, err := c.Authenticate(c.ctx(), "alice", alicePassword, somewhere)
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		c.clock.Advance(2 * time.Minute)
		c.emptyOutbox()
		_, _, err := c.SignInWithCode(c.ctx(), user, c.wrongCode(secret), db.NewSession{Client: somewhere})
		if !errors.Is(err, db.ErrWrongCode) {
			t.Fatal(err)
		}
	}
	c.wantWaiting("the hundredth failure", everyWayTo(db.AccountLocked, 1)...)
}
