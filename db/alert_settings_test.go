package db_test

import (
	"fmt"
	"strings"
	"testing"

	"porchlight/db"
)

// Users can switch off some alerts, but none that could hide that somebody takes over their account.
func TestSwitchedOffAlerts(t *testing.T) {
	t.Parallel()
	c := openMailCast(t)
	settings := db.AlertSettings{Topic: aliceTopic, Off: []string{db.SignedIn}}
	if err := c.SetAlertSettings(c.ctx(), c.laptop.Session, settings); err != nil {
		t.Fatal(err)
	}
	if got, err := c.AlertSettings(c.alice.ID); err != nil || fmt.Sprint(got) != fmt.Sprint(settings) {
		t.Errorf("stored are %+v, %v", got, err)
	}
	c.signIn(c.alice, "curl", "192.0.2.1")
	c.wantWaiting("switched off", "webhook signed_in 1")

	c.emptyOutbox()
	if err := c.SetAlertSettings(c.ctx(), c.laptop.Session, db.AlertSettings{Topic: aliceTopic}); err != nil {
		t.Fatal(err)
	}
	c.signIn(c.alice, "curl", "192.0.2.1")
	c.wantWaiting("no mail", "webhook signed_in 1", "ntfy alice_phone signed_in 1")

	c.emptyOutbox()
	if err := c.SetAlertSettings(c.ctx(), c.laptop.Session, db.AlertSettings{Topic: aliceTopic, Off: db.OptionalAlerts}); err != nil {
		t.Fatal(err)
	}
	c.addPasskey(c.laptop, "key")
	c.wantWaiting("important", everyWayTo(db.PasskeyAdded, 1)...)
}

func TestAlertSettingsAreChecked(t *testing.T) {
	t.Parallel()
	c := openMailCast(t)
	for _, topic := range []string{"a/b", "https://evil.example", "a b", "../x", "é", strings.Repeat("x", 65), "x\n", "a?b"} {
		err := c.SetAlertSettings(c.ctx(), c.laptop.Session, db.AlertSettings{Topic: topic})
		if invalid, ok := err.(db.Invalid); !ok || invalid["topic"] == "" {
			t.Errorf("topic %q: %v", topic, err)
		}
	}
	for _, kind := range []string{db.PasswordChanged, db.PasskeyAdded, "nonsense", ""} {
		err := c.SetAlertSettings(c.ctx(), c.laptop.Session, db.AlertSettings{Off: []string{kind}})
		if invalid, ok := err.(db.Invalid); !ok || invalid["off"] == "" {
			t.Errorf("off %q: %v", kind, err)
		}
	}
	if got, err := c.AlertSettings(c.alice.ID); err != nil || got.Topic != aliceTopic {
		t.Errorf("AlertSettings: %+v, %v", got, err)
	}
	if got, err := c.AlertSettings(c.bob.ID); err != nil || !got.Mail || got.Topic != "" || len(got.Off) != 0 {
		t.Errorf("without settings: %+v, %v", got, err)
	}
}

func TestTestAlert(t *testing.T) {
	t.Parallel()
	c := openMailCast(t)
	if err := c.SendTestAlert(c.ctx(), c.desk.Session); err != db.ErrNotFound {
		t.Errorf("without an address: %v", err)
	}
	c.wantWaiting("bob")
	for range 5 {
		c.exec(`DELETE FROM outbox`)
		if err := c.SendTestAlert(c.ctx(), c.laptop.Session); err != nil {
			t.Fatal(err)
		}
	}
	c.wantWaiting("an administrator", everyWayTo(db.TestAlert, 1)...)
	if m := c.onlyMail(); m.Token != "" {
		t.Errorf("a test has a link: %+v", m)
	}
	if _, throttled := c.SendTestAlert(c.ctx(), c.laptop.Session).(db.Throttled); !throttled {
		t.Error("a sixth test within the hour was sent")
	}
	c.exec(`UPDATE users SET email = 'bob@example.com' WHERE id = $1`, c.bob.ID)
	c.exec(`DELETE FROM outbox`)
	if err := c.SendTestAlert(c.ctx(), c.desk.Session); err != nil {
		t.Fatal(err)
	}
	c.wantWaiting("a user", "mail bob@example.com test 1")
}
