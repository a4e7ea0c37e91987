package db_test

import (
	"testing"

	"porchlight/db"
)

// This file tests who waits for approval, and which apps they reach until then.

// Somebody who signed up reaches only hosts whose rule names them, until an administrator approves the account.
func TestUnapprovedUserReachesOnlyWhatNamesThem(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		rule          func(c *cast)
		before, after bool
		deny          bool // by default
	}{
		"no rule":               {func(*cast) {}, false, true, false},
		"no rule, default deny": {func(*cast) {}, false, false, true},
		"everyone":              {func(c *cast) { c.allow(notes, false) }, false, true, true},
		"everyone, by siblings": {func(c *cast) { c.allow("*.example.com", false) }, false, true, true},
		"administrators":        {func(c *cast) { c.allow(notes, true) }, false, false, false},
		"named":                 {func(c *cast) { c.allow(notes, false, "carol") }, true, true, true},
		"another is named":      {func(c *cast) { c.allow(notes, false, "bob") }, false, false, false},
		"a group of hers":       {func(c *cast) { c.allowGroups(notes, "family") }, true, true, true},
		"another group":         {func(c *cast) { c.allowGroups(notes, "friends") }, false, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			c := openCast(t, func(o *db.Options) { o.DenyApps = test.deny })
			carol, err := c.CreateUser(c.ctx(), db.NewUser{Username: "carol", Password: newPassword, SignUp: true})
			if err != nil {
				t.Fatal(err)
			}
			c.setGroups("carol", "family")
			tablet := c.signIn(carol, firefoxOnLinux, "192.0.2.40")
			test.rule(c)
			if got, err := c.Reach("carol", notes); err != nil || got.Allowed != test.before || got.Approved {
				t.Errorf("the answer before: %+v, %v", got, err)
			}
			if got := c.authorize(tablet, notes); got.Allowed != test.before || got.Approved {
				t.Errorf("before: %+v, want allowed to be %t", got, test.before)
			}
			if err := c.ChangeUser(c.ctx(), db.CommandLine, "carol", db.UserChange{Approve: true}); err != nil {
				t.Fatal(err)
			}
			if got := c.authorize(tablet, notes); got.Allowed != test.after || !got.Approved {
				t.Errorf("after: %+v, want allowed to be %t", got, test.after)
			}
			c.alive(tablet)
			c.wantLatest(carol, byCommand(db.Approved))
		})
	}
}

func TestOnlySignUpWaitsForApproval(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	token, _, err := c.Invite(c.ctx(), db.CommandLine, db.NewUser{Username: "dan"})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.AcceptInvitation(c.ctx(), token, newPassword, clientOf("192.0.2.1", "curl")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.CreateUser(c.ctx(), db.NewUser{Username: "carol", Password: newPassword, SignUp: true}); err != nil {
		t.Fatal(err)
	}
	users, err := c.Users()
	if err != nil {
		t.Fatal(err)
	}
	for _, user := range users {
		if user.Approved != (user.Username != "carol") {
			t.Errorf("%s: approved is %t", user.Username, user.Approved)
		}
	}
}
