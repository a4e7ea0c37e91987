package db_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"porchlight/db"
)

// This file tests who is in which group. What a group means for a request is tested in authorize_rules_test.go and approval_test.go.

// setGroups replaces the groups of a user.
func (h *house) setGroups(username string, groups ...string) {
	h.t.Helper()
	if err := h.ChangeUser(h.ctx(), db.CommandLine, username, db.UserChange{Groups: &groups}); err != nil {
		h.t.Fatalf("set the groups of %s: %v", username, err)
	}
}

// wantGroups checks which groups a user is in, and what an app receives.
func (c *cast) wantGroups(d device, inHeader string, groups ...string) {
	c.t.Helper()
	user, err := c.UserByName(d.Username)
	if err != nil || !slices.Equal(user.Groups, groups) {
		c.t.Errorf("%s is in %q, %v; want %q", d.Username, user.Groups, err, groups)
	}
	if got := c.authorize(d, notes).Groups; got != inHeader {
		c.t.Errorf("apps see that %s is in %q, want %q", d.Username, got, inHeader)
	}
}

func TestGroupsOfAUser(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.wantGroups(c.laptop, "admins")
	c.wantGroups(c.desk, "")

	c.setGroups("bob", " Friends ", "family", "FAMILY", "a.b-c_9")
	c.wantGroups(c.desk, "a.b-c_9,family,friends", "a.b-c_9", "family", "friends")
	c.wantLatest(c.bob, byCommand(db.GroupsChanged))
	c.setGroups("alice", "zebras", "aardvarks")
	c.wantGroups(c.laptop, "aardvarks,admins,zebras", "aardvarks", "zebras")

	before := len(c.activity(c.bob))
	c.setGroups("bob", "friends", "a.b-c_9", "family")
	if got := c.activity(c.bob)[before:]; len(got) != 0 {
		t.Errorf("nothing changed, and it was recorded: %+v", got)
	}

	c.setGroups("bob", "friends") // replaces all
	c.wantGroups(c.desk, "friends", "friends")
	c.setGroups("bob")
	c.wantGroups(c.desk, "")
	c.wantLatest(c.bob, byCommand(db.GroupsChanged), byCommand(db.GroupsChanged))
	c.wantGroups(c.laptop, "aardvarks,admins,zebras", "aardvarks", "zebras")
}

// manyGroups returns the names of count groups.
func manyGroups(count int) (groups []string) {
	for i := range count {
		groups = append(groups, fmt.Sprintf("%032d", i))
	}
	return groups
}

// An app must be able to separate the groups in the header, and to distinguish administrators from everybody else.
func TestNamesOfGroups(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.setGroups("bob", manyGroups(50)...)
	c.setGroups("bob", "family")
	for _, groups := range [][]string{
		{""}, {"family", " "}, {"a,b"}, {"a b"}, {".a"}, {"-a"}, {"_a"}, {"a\r\nRemote-User: alice"}, {"a\x00"}, {"müller"},
		{"<img>"}, {"*"}, {strings.Repeat("a", 33)}, {"admins"}, {" ADMINS "}, {"family", "admins"}, manyGroups(51),
	} {
		err := c.ChangeUser(c.ctx(), db.CommandLine, "bob", db.UserChange{Approve: true, Groups: &groups})
		if invalid, ok := errors.AsType[db.Invalid](err); !ok || invalid["groups"] == "" {
			t.Errorf("%q: %v", groups, err)
		}
		new := db.NewUser{Username: "carol", Password: newPassword, Groups: groups}
		if _, ok := c.wantInvalid(new)["groups"]; !ok {
			t.Errorf("a new user in %q is allowed", groups)
		}
		if _, _, err := c.Invite(c.ctx(), db.CommandLine, new); err == nil {
			t.Errorf("an invitation to %q is allowed", groups)
		}
		if len(groups) > 50 { // a rule may name as many as it likes
			continue
		}
		_, err = c.AllowApp(c.ctx(), db.CommandLine, db.AppRule{Host: notes, Groups: groups})
		if invalid, ok := errors.AsType[db.Invalid](err); !ok || invalid["groups"] == "" {
			t.Errorf("a rule for %q: %v", groups, err)
		}
	}
	c.wantGroups(c.desk, "family", "family")
	c.wantRules()
}

func TestNewUsersInGroups(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	carol, err := c.CreateUser(c.ctx(), db.NewUser{Username: "carol", Password: newPassword, Groups: []string{"Staff", "family"}})
	if err != nil {
		t.Fatal(err)
	}
	c.wantGroups(c.signIn(carol, firefoxOnLinux, "192.0.2.40"), "family,staff", "family", "staff")

	token, _, err := c.Invite(c.ctx(), db.CommandLine, db.NewUser{Username: "dan", Groups: []string{"Staff", "family"}})
	if err != nil {
		t.Fatal(err)
	}
	dan, _, err := c.AcceptInvitation(c.ctx(), token, newPassword, clientOf("192.0.2.1", "curl"))
	if err != nil {
		t.Fatal(err)
	}
	c.wantGroups(c.signIn(dan, firefoxOnLinux, "192.0.2.41"), "family,staff", "family", "staff")

	// The link for somebody who has an account changes only the password.
	_, _, err = c.Invite(c.ctx(), db.CommandLine, db.NewUser{Username: "dan", Groups: []string{"friends"}})
	if _, ok := errors.AsType[db.Invalid](err); !ok {
		t.Errorf("groups in the link for an existing account: %v", err)
	}
	if err := c.DeleteUser(c.ctx(), db.CommandLine, "dan", false); err != nil {
		t.Fatal(err)
	}
	if n := c.number(`SELECT COUNT(*) FROM user_groups WHERE user_id <> ?`, carol.ID); n != 0 {
		t.Errorf("%d groups are left of the deleted account", n)
	}
}

func TestEmptyGroups(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.setGroups("bob", "family")
	rule := c.allowGroups(notes, "Staff", "family", "all")
	if want := []string{"all", "family", "staff"}; !slices.Equal(rule.Groups, want) {
		t.Errorf("the rule names %q, want %q", rule.Groups, want)
	}
	if got, err := c.EmptyGroups(rule); err != nil || !slices.Equal(got, []string{"all", "staff"}) {
		t.Errorf("EmptyGroups: %q, %v", got, err)
	}
	if _, err := c.RemoveAppRule(c.ctx(), db.CommandLine, notes); err != nil {
		t.Fatal(err)
	}
	if n := c.number(`SELECT COUNT(*) FROM app_rule_groups`); n != 0 {
		t.Errorf("%d groups are left of the rule", n)
	}
}

// A change applies to the next auth check, even if another process makes it.
func TestGroupAppliesToNextAuthCheck(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	other := c.openAgain()
	c.allowGroups(notes, "family")
	c.wantAllowed(notes, false, false)
	groups := []string{"family"}
	if err := other.ChangeUser(c.ctx(), db.CommandLine, "bob", db.UserChange{Groups: &groups}); err != nil {
		t.Fatal(err)
	}
	c.wantAllowed(notes, false, true)
	groups = nil
	if err := other.ChangeUser(c.ctx(), db.CommandLine, "bob", db.UserChange{Groups: &groups}); err != nil {
		t.Fatal(err)
	}
	c.wantAllowed(notes, false, false)
}
