package db_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"porchlight/db"
)

// This file tests the list of pending invitations, and cancelling one.

func TestPendingInvitations(t *testing.T) {
	t.Parallel()
	c := openMailCast(t)
	invite := func(newUser db.NewUser) (token string) {
		token, _, err := c.Invite(c.ctx(), db.Administrator(c.laptop.Session), newUser)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	invite(db.NewUser{Username: "early"})
	c.clock.Advance(time.Hour)
	used := invite(db.NewUser{Username: "used"})
	invite(db.NewUser{Username: "dora", Email: "dora@example.com", IsAdmin: true, Groups: []string{"staff"}})
	made := c.clock.Now()
	invite(db.NewUser{Username: "bob"})
	if err := c.acceptInvitation(used); err != nil {
		t.Fatal(err)
	}
	c.mailInvitation(db.NewUser{Username: "mia", Email: "mia@example.com"})
	c.clock.Advance(time.Hour)
	c.onlyMail() // which moves the end of the invitation, not its age

	c.clock.Advance(db.InvitationLifetime - 2*time.Hour)
	var names []string
	after := ""
	for more := true; more; {
		var list []db.Invitation
		var err error
		if list, more, err = c.Invitations(after, 2); err != nil || len(list) == 0 || len(list) > 2 {
			t.Fatal(list, err)
		}
		for _, i := range list {
			names = append(names, i.Username)
			if i.By != "admin alice" || !i.CreatedAt.Equal(made) || i.New == (i.Username == "bob") || i.New != (i.UserID == 0) {
				t.Errorf("%+v", i)
			}
			lifetime := db.InvitationLifetime
			if i.Username == "mia" {
				lifetime += time.Hour
			}
			if got := i.ExpiresAt.Sub(i.CreatedAt); got != lifetime {
				t.Errorf("%s lasts %s", i.Username, got)
			}
			if got := fmt.Sprintln(i.Email, i.IsAdmin, i.Groups); i.Username == "dora" && got != "dora@example.com true [staff]\n" {
				t.Error(got)
			}
			after = i.Username
		}
	}
	if want := []string{"bob", "dora", "mia"}; !slices.Equal(names, want) { // the one for early has expired
		t.Errorf("%q are pending, want %q", names, want)
	}
}

// A link that was cancelled does not work, whether it was copied, mailed, or still waits to be mailed.
func TestCancelledInvitation(t *testing.T) {
	t.Parallel()
	c := openMailCast(t)
	copied, _, err := c.Invite(c.ctx(), db.CommandLine, db.NewUser{Username: "bob"})
	if err != nil {
		t.Fatal(err)
	}
	c.mailInvitation(db.NewUser{Username: "carol", Email: "carol@example.com"})
	mailed := c.onlyMail()
	c.mailInvitation(db.NewUser{Username: "dora", Email: "dora@example.com"})
	by := db.Administrator(c.laptop.Session)
	for _, name := range []string{" Bob ", "carol", "dora"} {
		if err := c.CancelInvitation(c.ctx(), by, name); err != nil {
			t.Error(name, err)
		}
		if err := c.CancelInvitation(c.ctx(), by, name); !errors.Is(err, db.ErrNotFound) {
			t.Errorf("%s, cancelled twice: %v", name, err)
		}
	}
	for what, token := range map[string]string{"copied": copied, "mailed": mailed.Token} {
		if err := c.acceptInvitation(token); !errors.Is(err, db.ErrNotFound) {
			t.Errorf("the %s link: %v", what, err)
		}
	}
	if n := c.number(`SELECT (SELECT COUNT(*) FROM outbox WHERE is_link = 1) + (SELECT COUNT(*) FROM invitation_tokens)`); n != 0 {
		t.Errorf("%d mails or tokens are left", n)
	}
	c.wantLatest(c.bob, happening{Kind: db.InvitationCancelled, By: "admin alice", Count: 1})

	if _, _, err := c.Invite(c.ctx(), db.CommandLine, db.NewUser{Username: "erin"}); err != nil {
		t.Fatal(err)
	}
	c.clock.Advance(db.InvitationLifetime)
	if err := c.CancelInvitation(c.ctx(), db.CommandLine, "erin"); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("an invitation that has expired: %v", err)
	}
}
