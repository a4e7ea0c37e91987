package db_test

import (
	"errors"
	"testing"
	"time"

	"porchlight/db"
)

// This file tests invitations that are mailed.

func (c *cast) mailInvitation(newUser db.NewUser) {
	c.t.Helper()
	if _, err := c.MailInvitation(c.ctx(), db.Administrator(c.laptop.Session), newUser); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cast) acceptInvitation(token string) error {
	_, _, err := c.AcceptInvitation(c.ctx(), token, newPassword, clientOf("192.0.2.1", "curl"))
	return err
}

// An invitation for a new account has no user whom the mail could be for.
func TestMailedInvitationCreatesAnAccount(t *testing.T) {
	t.Parallel()
	c := openMailCast(t)
	c.mailInvitation(db.NewUser{Username: "Carol", Email: "Carol@Example.com"})
	c.clock.Advance(time.Hour) // the time counts from when the mail is sent
	m := c.onlyMail()
	if m.Kind != db.InvitationLink || m.Address != "carol@example.com" || m.Username != "carol" || m.UserID != 0 || m.By != "admin alice" {
		t.Errorf("the mail is %+v", m)
	}
	if err := c.Delivered(c.ctx(), m); err != nil {
		t.Fatal(err)
	}
	c.clock.Advance(db.InvitationLifetime - time.Second)
	if err := c.acceptInvitation(m.Token); err != nil {
		t.Fatal(err)
	}
	if err := c.acceptInvitation(m.Token); !errors.Is(err, db.ErrNotFound) {
		t.Error("used twice:", err)
	}
	if email := c.text(`SELECT email FROM users WHERE username = 'carol'`); email != "carol@example.com" {
		t.Errorf("the address is %q", email)
	}
}

func TestMailedInvitationForAnExistingAccount(t *testing.T) {
	t.Parallel()
	c := openMailCast(t)
	c.mailInvitation(db.NewUser{Username: "alice"})
	m := c.onlyMail()
	if m.Address != aliceEmail || m.UserID != c.alice.ID {
		t.Errorf("the mail is %+v", m)
	}
	if err := c.acceptInvitation(m.Token); err != nil {
		t.Fatal(err)
	}
	c.wantEnded(c.laptop, c.phone)
	for _, newUser := range []db.NewUser{{Username: "bob"}, {Username: "dave"}} { // who have no address
		_, err := c.MailInvitation(c.ctx(), db.CommandLine, newUser)
		if invalid, ok := errors.AsType[db.Invalid](err); !ok || invalid["email"] == "" {
			t.Errorf("%s: %v", newUser.Username, err)
		}
	}
	if n := c.number(`SELECT COUNT(*) FROM invitations`); n != 0 {
		t.Errorf("%d invitations are stored", n)
	}
}

// An attempt that seemed to fail may have arrived, so its link works too. The oldest go.
func TestMailedInvitationIsSentAgain(t *testing.T) {
	t.Parallel()
	c := openMailCast(t)
	c.mailInvitation(db.NewUser{Username: "carol", Email: "carol@example.com"})
	var tokens []string
	for range 4 {
		m := c.onlyMail()
		tokens = append(tokens, m.Token)
		if _, err := c.Failed(c.ctx(), m, "no answer"); err != nil {
			t.Fatal(err)
		}
		c.clock.Advance(2 * time.Hour)
	}
	for i, token := range tokens {
		_, err := c.Invitation(c.ctx(), token, clientOf("192.0.2.1", "curl"))
		if want := i > 0; (err == nil) != want {
			t.Errorf("token %d: %v", i, err)
		}
	}
	last := c.onlyMail()
	if err := c.Refused(c.ctx(), last, "no such mailbox"); err != nil {
		t.Fatal(err)
	}
	c.wantWaiting("after it was given up")
	c.wantLatest(c.alice, happening{Kind: db.DeliveryFailed, By: "mail", Count: 1})
	if err := c.acceptInvitation(tokens[3]); err != nil {
		t.Error(err)
	}
}

// A newer or used invitation voids earlier mails, both sent and waiting.
func TestVoidedInvitationIsNotMailed(t *testing.T) {
	t.Parallel()
	c := openMailCast(t)
	for name, void := range map[string]func(){
		"shown instead": func() {
			if _, _, err := c.Invite(c.ctx(), db.CommandLine, db.NewUser{Username: "carol"}); err != nil {
				t.Fatal(err)
			}
		},
		"mailed elsewhere": func() { c.mailInvitation(db.NewUser{Username: "carol", Email: "new@example.com"}) },
		"expired":          func() { c.exec(`DELETE FROM invitations`) },
	} {
		c.emptyOutbox()
		c.mailInvitation(db.NewUser{Username: "carol", Email: "old@example.com"})
		sent := c.onlyMail()
		c.mailInvitation(db.NewUser{Username: "alice"}) // of somebody else, which stays
		void()
		c.clock.Advance(time.Hour)
		for _, m := range c.claim(db.Mail) {
			if m.Address == "old@example.com" {
				t.Errorf("%s: it was mailed anyway", name)
			}
		}
		if _, err := c.Invitation(c.ctx(), sent.Token, clientOf("192.0.2.1", "curl")); !errors.Is(err, db.ErrNotFound) {
			t.Errorf("%s: the link works: %v", name, err)
		}
		if n := c.number(`SELECT COUNT(*) FROM outbox WHERE address = 'old@example.com'`); n != 0 {
			t.Errorf("%s: the message still waits", name)
		}
	}
}

// The account was created in another way while the mail waited, perhaps because its address was wrong. A later invitation, which changes
// the password of that account, must not go there.
func TestMailedInvitationAfterAccountExists(t *testing.T) {
	t.Parallel()
	c := openMailCast(t)
	c.mailInvitation(db.NewUser{Username: "carol", Email: "wrong@example.com"})
	c.addUser("carol", newPassword)
	if _, _, err := c.Invite(c.ctx(), db.CommandLine, db.NewUser{Username: "carol"}); err != nil {
		t.Fatal(err)
	}
	for _, m := range c.claim(db.Mail) {
		t.Errorf("mailed to %s: %s", m.Address, m.Kind)
	}
}

// The owner of the old address must no longer be able to choose the password. A link that was shown instead of mailed stays.
func TestAnotherAddressVoidsTheMailedInvitation(t *testing.T) {
	t.Parallel()
	c := openMailCast(t)
	other := "other@example.com"
	change := func(email string) {
		if err := c.ChangeUser(c.ctx(), db.CommandLine, "alice", db.UserChange{Email: &email}); err != nil {
			t.Fatal(err)
		}
	}
	c.mailInvitation(db.NewUser{Username: "alice"})
	mailed := c.linkTo(db.InvitationLink)
	change(other)
	if err := c.acceptInvitation(mailed); !errors.Is(err, db.ErrNotFound) {
		t.Error("the mailed link:", err)
	}
	shown, _, err := c.Invite(c.ctx(), db.CommandLine, db.NewUser{Username: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	change(aliceEmail)
	if err := c.acceptInvitation(shown); err != nil {
		t.Error("the link that was shown:", err)
	}
}
