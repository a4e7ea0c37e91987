package db_test

import (
	"testing"

	"porchlight/db"
)

// This file tests which users the rules allow to reach a host.

// allow opens a host to administrators, to the users or, if neither is given, to everyone.
func (h *house) allow(host string, admins bool, usernames ...string) db.AppRule {
	h.t.Helper()
	return h.allowMore(ruleOf(host, admins, usernames...))
}

func ruleOf(host string, admins bool, usernames ...string) db.AppRule {
	return db.AppRule{Host: host, Everyone: !admins && len(usernames) == 0, Admins: admins, Users: usernames}
}

// allowGroups opens a host to the groups.
func (h *house) allowGroups(host string, groups ...string) db.AppRule {
	h.t.Helper()
	return h.allowMore(db.AppRule{Host: host, Groups: groups})
}

func (h *house) allowMore(more db.AppRule) db.AppRule {
	h.t.Helper()
	rule, err := h.AllowApp(h.ctx(), db.CommandLine, more)
	if err != nil {
		h.t.Fatalf("allow %s: %v", more.Host, err)
	}
	return rule
}

// wantAllowed checks which of the two may reach the host, and that administrators get the same answer.
func (c *cast) wantAllowed(host string, alice, bob bool) {
	c.t.Helper()
	for _, test := range []struct {
		device
		want bool
	}{{c.laptop, alice}, {c.desk, bob}} {
		if got := c.authorize(test.device, host); got.Allowed != test.want {
			c.t.Errorf("%s at %s: allowed is %t, want %t", test.Username, host, got.Allowed, test.want)
		}
		if reach, err := c.Reach(test.Username, host); err != nil || reach.Allowed != test.want {
			c.t.Errorf("the answer about %s at %s: %+v, %v", test.Username, host, reach, err)
		}
	}
}

// alice is an administrator. bob is not.
func TestAllowedByRule(t *testing.T) {
	t.Parallel()
	type rule struct {
		host   string
		admins bool
		users  []string
	}
	for _, test := range []struct {
		name       string
		rules      []rule
		host       string
		alice, bob bool // Allowed, with either default
	}{
		{"everyone", []rule{{notes, false, nil}}, notes, true, true},
		{"administrators", []rule{{notes, true, nil}}, notes, true, false},
		{"one who is named", []rule{{notes, false, []string{"bob"}}}, notes, false, true},
		{"a rule may name only an administrator", []rule{{notes, false, []string{"alice"}}}, notes, true, false},
		{"both by name", []rule{{notes, false, []string{"alice", "bob"}}}, notes, true, true},
		{"administrators and who is named", []rule{{notes, true, []string{"bob"}}}, notes, true, true},
		{"one after the other", []rule{{notes, true, nil}, {notes, false, []string{"bob"}}}, notes, true, true},
		{"an address", []rule{{"[2001:DB8:0::1]", true, nil}}, "2001:db8::1", true, false},
		{"one label", []rule{{"localhost", true, nil}}, "localhost", true, false},

		{"siblings", []rule{{"*.example.com", false, nil}}, notes, true, true},
		{"siblings, administrators", []rule{{"*.example.com", true, nil}}, notes, true, false},
		{"siblings, who is named", []rule{{"*.example.com", false, []string{"bob"}}}, notes, false, true},
		{"siblings at the top", []rule{{"*.com", true, nil}}, "example.com", true, false},
		{"siblings further down", []rule{{"*.notes.example.com", true, nil}}, "a.notes.example.com", true, false},

		// If the host itself has a rule, a wildcard rule does not count.
		{"siblings open, the host closed", []rule{{"*.example.com", false, nil}, {notes, true, nil}}, notes, true, false},
		{"siblings open, another host closed", []rule{{"*.example.com", false, nil}, {notes, true, nil}}, "photos.example.com", true, true},
		{"siblings closed, the host open", []rule{{"*.example.com", true, nil}, {notes, false, nil}}, notes, true, true},
		{"siblings closed, another host open", []rule{{"*.example.com", true, nil}, {notes, false, nil}}, "photos.example.com", true, false},
		{"users are not put together", []rule{{"*.example.com", false, []string{"alice"}}, {notes, false, []string{"bob"}}}, notes, false, true},
		{"a nearer wildcard", []rule{{"*.example.com", true, nil}, {"*.notes.example.com", false, nil}}, "a.notes.example.com", true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, by := range []func(*db.Options){func(*db.Options) {}, denyApps} {
				c := openCast(t, by)
				for _, r := range test.rules {
					c.allow(r.host, r.admins, r.users...)
				}
				c.wantAllowed(test.host, test.alice, test.bob)
			}
		})
	}
}

// alice is in the groups staff and everybody, bob in family and everybody.
func TestAllowedByGroup(t *testing.T) {
	t.Parallel()
	const siblings = "*.example.com"
	for name, test := range map[string]struct {
		rules      []db.AppRule
		alice, bob bool // Allowed, with either default
	}{
		"a group":         {[]db.AppRule{{Host: notes, Groups: []string{"family"}}}, false, true},
		"a group of both": {[]db.AppRule{{Host: notes, Groups: []string{"everybody"}}}, true, true},
		"two groups":      {[]db.AppRule{{Host: notes, Groups: []string{"family", "staff"}}}, true, true},
		"one after the other": {
			[]db.AppRule{{Host: notes, Groups: []string{"family"}}, {Host: notes, Groups: []string{"staff"}}}, true, true},
		"a group without members":    {[]db.AppRule{{Host: notes, Groups: []string{"nobody"}}}, false, false},
		"the beginning of a group":   {[]db.AppRule{{Host: notes, Groups: []string{"fam"}}}, false, false},
		"the name of a user":         {[]db.AppRule{{Host: notes, Groups: []string{"bob"}}}, false, false},
		"a user named like a group":  {[]db.AppRule{{Host: notes, Users: []string{"staff"}}}, false, false},
		"administrators and a group": {[]db.AppRule{{Host: notes, Admins: true, Groups: []string{"family"}}}, true, true},
		"a user and a group":         {[]db.AppRule{{Host: notes, Users: []string{"alice"}, Groups: []string{"family"}}}, true, true},
		"everyone, and a group":      {[]db.AppRule{{Host: notes, Everyone: true, Groups: []string{"family"}}}, true, true},
		"siblings":                   {[]db.AppRule{{Host: siblings, Groups: []string{"family"}}}, false, true},
		"siblings, and the host for another group": {
			[]db.AppRule{{Host: siblings, Groups: []string{"family"}}, {Host: notes, Groups: []string{"staff"}}}, true, false},
		"siblings, and the host for administrators": {
			[]db.AppRule{{Host: siblings, Groups: []string{"family"}}, {Host: notes, Admins: true}}, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			for _, by := range []func(*db.Options){func(*db.Options) {}, denyApps} {
				c := openCast(t, by)
				c.addUser("staff", newPassword)
				c.setGroups("alice", "staff", "everybody")
				c.setGroups("bob", "family", "everybody")
				for _, rule := range test.rules {
					c.allowMore(rule)
				}
				c.wantAllowed(notes, test.alice, test.bob)
			}
		})
	}
}

// "*" stands for exactly one label. Where no rule matches, the default applies.
func TestWithoutAMatchingRuleTheDefaultApplies(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ rule, host string }{
		{"", notes},
		{"", "localhost"},
		{"", "2001:db8::1"},
		{"*.example.com", "example.com"},         // no label in its place
		{"*.example.com", "a.notes.example.com"}, // two
		{"*.example.com", "com"},
		{"*.example.com", "notes.example.org"},
		{"*.example.com", "notesexample.com"},
		{"*.example.com", "notes.example.com.evil.example"},
		{"*.com", notes},
		{notes, "a.notes.example.com"},
		{notes, "example.com"},
		{notes, "xnotes.example.com"},
		{"example.com", notes},
	} {
		for _, deny := range []bool{false, true} {
			c := openCast(t, func(o *db.Options) { o.DenyApps = deny })
			if test.rule != "" {
				c.allow(test.rule, !deny) // for bob, the opposite of the default
				if got := c.authorize(c.desk, test.host).Allowed; got != !deny {
					t.Errorf("the rule for %s reaches %s", test.rule, test.host)
				}
			}
			c.wantAllowed(test.host, !deny, !deny)
		}
	}
}

// Nobody gets access when the last user of a rule is deleted, nor when somebody gets the name of a user that a rule named.
func TestARuleWhoseLastUserWasDeletedAllowsNobody(t *testing.T) {
	t.Parallel()
	for _, host := range []string{notes, "*.example.com"} {
		c := openCast(t)
		c.allow(host, false, "bob")
		c.wantAllowed(notes, false, true)
		if err := c.DeleteUser(c.ctx(), db.CommandLine, "bob", true); err != nil {
			t.Fatal(err)
		}
		var err error
		if c.bob, err = c.CreateUser(c.ctx(), db.NewUser{Username: "bob", Password: bobPassword, Reuse: true}); err != nil {
			t.Fatal(err)
		}
		c.desk = c.signIn(c.bob, chromeOnMac, "203.0.113.30")
		c.wantAllowed(notes, false, false)
		rules, err := c.AppRules()
		if err != nil || len(rules) != 1 || rules[0].Host != host || rules[0].Everyone || rules[0].Admins || len(rules[0].Users) != 0 {
			t.Errorf("the rules are %+v, %v", rules, err)
		}
		if n := c.number(`SELECT COUNT(*) FROM app_rule_users`); n != 0 {
			t.Errorf("%d rows still name the account that is gone", n)
		}
	}
}

func TestARuleAppliesToTheNextAuthCheck(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	other := c.openAgain()
	want := func(host string, alice, bob bool) {
		t.Helper()
		c.wantAllowed(host, alice, bob)
	}
	must := func(_ db.AppRule, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	allow := func(host string, admins bool, usernames ...string) {
		t.Helper()
		must(other.AllowApp(c.ctx(), db.CommandLine, ruleOf(host, admins, usernames...)))
	}
	want(notes, true, true)
	allow("*.example.com", true)
	want(notes, true, false)
	allow(notes, false, "bob")
	want(notes, false, true)
	allow(notes, true)
	want(notes, true, true)
	must(other.RemoveAppRule(c.ctx(), db.CommandLine, notes))
	want(notes, true, false)
	must(other.RemoveAppRule(c.ctx(), db.CommandLine, "*.example.com"))
	want(notes, true, true)

	// A change of the administrator role applies at once.
	allow(notes, true)
	want(notes, true, false)
	c.exec(`UPDATE users SET is_admin = 1 - is_admin`)
	want(notes, false, true)
}
