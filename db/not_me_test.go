package db_test

import (
	"errors"
	"testing"

	"porchlight/db"
)

// One press ends every session, forgets the device that the alert was about, and leads to a new password.
func TestNotMeByLink(t *testing.T) {
	t.Parallel()
	c := openMailCast(t)
	own := c.signIn(c.alice, firefoxOnLinux, "192.0.2.10", remembered)
	c.emptyOutbox()
	intruder := c.signIn(c.alice, safariOnIPhone, "203.0.113.99", remembered)
	token := c.linkTo(db.SignedIn)
	alert, err := c.NotMeAlert(c.ctx(), token, somewhere)
	want := db.NotMeAlert{Username: "alice", Kind: db.SignedIn, At: alert.At, IP: "203.0.113.99", DeviceName: safariOnIPhone}
	if err != nil || alert != want || !alert.At.Equal(c.clock.Now()) {
		t.Errorf("NotMeAlert: %+v, %v", alert, err)
	}
	pending, stolen := c.emailLink("intruder@example.com"), c.resetLink()
	// The session ends before the press, which does not save the device.
	if err := c.SignOut(c.ctx(), intruder.Session); err != nil {
		t.Fatal(err)
	}
	reset, err := c.UseNotMe(c.ctx(), token, somewhere)
	if err != nil {
		t.Fatal(err)
	}
	c.wantEnded(c.laptop, c.phone, own, intruder)
	c.alive(c.desk)
	devices, err := c.Devices(c.alice.ID)
	if err != nil || len(devices) != 1 || devices[0].DetectedName != firefoxOnLinux {
		t.Errorf("known are %+v, %v", devices, err)
	}
	if err := uses["e-mail"].use(c, pending); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("the intruder's address: %v", err)
	}
	if err := uses["reset"].look(c, stolen); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("a reset link from before: %v", err)
	}
	if user, err := c.ResetPassword(c.ctx(), reset, newPassword, somewhere); err != nil || user.Username != "alice" {
		t.Error(user, err)
	}
}

// Somebody has changed the address. The link in the mail to the old one puts it back, and nothing that went to the new one works any more.
func TestNotMeRestoresTheAddress(t *testing.T) {
	t.Parallel()
	c := openMailCast(t)
	if _, err := c.ConfirmEmail(c.ctx(), c.emailLink("intruder@example.com"), somewhere); err != nil {
		t.Fatal(err)
	}
	tokens := map[string]string{}
	for _, m := range c.claim(db.Mail) {
		tokens[m.Address] = m.Token
	}
	if alert, err := c.NotMeAlert(c.ctx(), tokens[aliceEmail], somewhere); err != nil || alert.Email != aliceEmail {
		t.Errorf("the old address: %+v, %v", alert, err)
	}
	if alert, err := c.NotMeAlert(c.ctx(), tokens["intruder@example.com"], somewhere); err != nil || alert.Email != "" {
		t.Errorf("the new address: %+v, %v", alert, err)
	}
	if err := c.RequestReset(c.ctx(), "alice", somewhere); err != nil { // to the new address
		t.Fatal(err)
	}
	stolen := c.linkTo(db.PasswordLink)
	if err := c.RequestReset(c.ctx(), "alice", somewhere); err != nil { // not sent yet
		t.Fatal(err)
	}
	c.signIn(c.alice, "curl", "203.0.113.99")

	reset, err := c.UseNotMe(c.ctx(), tokens[aliceEmail], somewhere)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.email(c.alice); got != aliceEmail {
		t.Errorf("the address is %s", got)
	}
	for what, err := range map[string]error{
		"not me": uses["not me"].use(c, tokens["intruder@example.com"]), "reset": uses["reset"].use(c, stolen),
	} {
		if !errors.Is(err, db.ErrNotFound) {
			t.Errorf("the intruder's link, %s: %v", what, err)
		}
	}
	if got := c.texts(`SELECT kind FROM outbox WHERE address = 'intruder@example.com'`); len(got) > 0 {
		t.Errorf("the intruder still gets %v", got)
	}
	if got := c.texts(`SELECT kind FROM outbox WHERE address = $1 AND attempts = 0`, aliceEmail); len(got) != 1 || got[0] != db.EmailChanged {
		t.Errorf("alice gets %v", got)
	}
	if _, err := c.ResetPassword(c.ctx(), reset, newPassword, somewhere); err != nil {
		t.Error(err)
	}
}

// If somebody else has the old address now, the rest still happens.
func TestNotMeWithATakenAddress(t *testing.T) {
	t.Parallel()
	c := openMailCast(t)
	if _, err := c.ConfirmEmail(c.ctx(), c.emailLink("intruder@example.com"), somewhere); err != nil {
		t.Fatal(err)
	}
	var token string
	for _, m := range c.claim(db.Mail) {
		if m.Former {
			token = m.Token
		}
	}
	c.exec(`UPDATE users SET email = $1 WHERE id = $2`, aliceEmail, c.bob.ID)
	if _, err := c.UseNotMe(c.ctx(), token, somewhere); err != nil {
		t.Fatal(err)
	}
	c.wantEnded(c.laptop, c.phone)
	if got := c.email(c.alice); got != "intruder@example.com" {
		t.Errorf("the address is %s", got)
	}
}
