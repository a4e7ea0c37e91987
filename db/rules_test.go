package db_test

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"porchlight/db"
)

// This file tests how rules are stored. What a rule means for a request is tested in authorize_rules_test.go.

func (h *house) wantRules(want ...db.AppRule) {
	h.t.Helper()
	got, err := h.AppRules()
	if err != nil || !reflect.DeepEqual(got, want) {
		h.t.Errorf("the rules are %+v, %v; want %+v", got, err, want)
	}
}

// Each step adds to what the rule allows. None removes anything.
func TestAllowAppAdds(t *testing.T) {
	t.Parallel()
	type step struct {
		admins bool
		users  []string
		want   db.AppRule // without Host
	}
	for name, steps := range map[string][]step{
		"everyone": {
			{false, nil, db.AppRule{Everyone: true}},
			{false, nil, db.AppRule{Everyone: true}},
		},
		"administrators, then a user, then everyone": {
			{true, nil, db.AppRule{Admins: true}},
			{false, []string{"bob"}, db.AppRule{Admins: true, Users: []string{"bob"}}},
			{false, nil, db.AppRule{Everyone: true, Admins: true, Users: []string{"bob"}}},
		},
		"everyone, then fewer": {
			{false, nil, db.AppRule{Everyone: true}},
			{true, nil, db.AppRule{Everyone: true, Admins: true}},
			{false, []string{"alice"}, db.AppRule{Everyone: true, Admins: true, Users: []string{"alice"}}},
		},
		"users, in order": {
			{false, []string{"bob"}, db.AppRule{Users: []string{"bob"}}},
			{false, []string{"carol", "aaron"}, db.AppRule{Users: []string{"aaron", "bob", "carol"}}},
		},
		"users again": {
			{false, []string{"bob", "bob"}, db.AppRule{Users: []string{"bob"}}},
			{false, []string{"bob"}, db.AppRule{Users: []string{"bob"}}},
		},
		"administrators and users at once": {
			{true, []string{"bob"}, db.AppRule{Admins: true, Users: []string{"bob"}}},
		},
		"names as people type them": {
			{false, []string{" Bob ", "ALICE"}, db.AppRule{Users: []string{"alice", "bob"}}},
		},
		"one who is disabled": { // once enabled again, he has access again
			{false, []string{"dave"}, db.AppRule{Users: []string{"dave"}}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := openCast(t)
			c.addUser("carol", newPassword)
			c.addUser("dave", newPassword)
			c.addUser("aaron", newPassword) // the newest account, but the first by name
			if err := c.DisableUser(c.ctx(), db.CommandLine, "dave", true); err != nil {
				t.Fatal(err)
			}
			untouched := c.allow("other.example.com", true)
			for i, step := range steps {
				step.want.Host = notes
				got, err := c.AllowApp(c.ctx(), db.CommandLine, ruleOf(notes, step.admins, step.users...))
				if err != nil || !reflect.DeepEqual(got, step.want) {
					t.Errorf("step %d: %+v, %v; want %+v", i+1, got, err, step.want)
				}
				c.wantRules(step.want, untouched)
			}
		})
	}
}

// A misspelt name changes nothing. A rule for the other names would allow fewer people than the default, and a rule without names would
// allow everybody.
func TestAllowAppWithAnUnknownUserChangesNothing(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		admins  bool
		users   []string
		unknown []string // as they were given, in the same order
	}{
		{false, []string{"nobody"}, []string{"nobody"}},
		{false, []string{"nobody", "nowhere"}, []string{"nobody", "nowhere"}},
		{false, []string{""}, []string{""}},
		{false, []string{" "}, []string{" "}},
		{false, []string{"bob@example.com"}, []string{"bob@example.com"}},
		{false, []string{"bob,alice"}, []string{"bob,alice"}},
		{false, []string{"alice", "nobody"}, []string{"nobody"}},
		{false, []string{"nobody", "bob", "Nowhere", "alice"}, []string{"nobody", "Nowhere"}},
		{true, []string{"nobody"}, []string{"nobody"}},
		{true, []string{"alice", "the door is closed"}, []string{"the door is closed"}}, // like an error of the database
	} {
		c := openCast(t)
		c.exec(`UPDATE users SET email = 'bob@example.com' WHERE username = 'bob'`)
		allow := func() {
			t.Helper()
			got, err := c.AllowApp(c.ctx(), db.CommandLine, ruleOf(notes, test.admins, test.users...))
			var unknown db.UnknownUsers
			if !errors.As(err, &unknown) || !slices.Equal(unknown, test.unknown) || !reflect.DeepEqual(got, db.AppRule{}) {
				t.Errorf("%q: %+v, %v", test.users, got, err)
			}
		}
		allow()
		c.wantRules()
		c.wantAllowed(notes, true, true)
		bobs := c.allow(notes, false, "bob")
		allow()
		c.wantRules(bobs)
	}
}

// hostsOfRules are hosts as people type them, and as they are stored.
var hostsOfRules = []struct{ text, host string }{
	{notes, notes},
	{"Notes.EXAMPLE.com", notes},
	{"notes.example.com.", notes},
	{"notes.example.com:8443", notes},
	{"Notes.Example.com.:8443", notes},
	{"localhost", "localhost"},
	{"my_notes.example.com", "my_notes.example.com"},
	{"xn--mller-kva.example", "xn--mller-kva.example"},
	{"192.0.2.7", "192.0.2.7"},
	{"192.0.2.7:80", "192.0.2.7"},
	{"[2001:DB8:0:0::1]", "2001:db8::1"},
	{"[2001:db8::1]:443", "2001:db8::1"},
	{"*.example.com", "*.example.com"},
	{"*.EXAMPLE.com.:8443", "*.example.com"},
	{"*.com", "*.com"},
	{"*." + strings.Repeat("a", 63) + ".example", "*." + strings.Repeat("a", 63) + ".example"},
}

func TestRulesAreStoredByCanonicalHost(t *testing.T) {
	t.Parallel()
	for _, test := range hostsOfRules {
		c := openCast(t)
		if got := c.allow(test.text, true); got.Host != test.host {
			t.Errorf("%q is stored as %q, want %q", test.text, got.Host, test.host)
		}
		c.wantRules(db.AppRule{Host: test.host, Admins: true})
		other := c.allow("other.example.com", false)
		if _, err := c.RemoveAppRule(c.ctx(), db.CommandLine, test.text); err != nil {
			t.Errorf("remove %q: %v", test.text, err)
		}
		c.wantRules(other)
	}
}

func TestOnlyHostsHaveRules(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	for _, text := range []string{
		"", " ", ".", "*", "*.", "**", "*example.com", "*.*.example.com", "notes.*.com", "notes.example.*", "*.*", "*.:80",
		".example.com", "notes..example.com", "notes.example.com..", "notes example.com", " notes.example.com", "notes.example.com\n",
		"https://notes.example.com", "notes.example.com/", "notes.example.com/wiki", "ada@notes.example.com",
		"notes.example.com,photos.example.com",
		"notes.example.com:", "notes.example.com:0", "notes.example.com:65536", "notes.example.com:-1", "notes.example.com:door",
		"notes.example.com:80:80", ":80",
		"[notes.example.com]", "[192.0.2.7]", "[fe80::1%eth0]", "[]", "[", "]", "[2001:db8::1", "[2001:db8::1]:", "[2001:db8::1].",
		"[2001:db8::g]",
		"*.[2001:db8::1]", "*.192.0.2.7", "*.0.2.7", // an IP address has no siblings
		"\u212Aiosk.example.com", "müller.example", "notes\x00.example.com", "not\u200bes.example.com", "'; DROP TABLE app_rules; --",
		strings.Repeat("a", 64) + ".example", strings.Repeat("a.", 127) + "com", "*." + strings.Repeat("a", 64) + ".example",
	} {
		got, err := c.AllowApp(c.ctx(), db.CommandLine, ruleOf(text, false))
		if !errors.Is(err, db.ErrNotAHost) || !reflect.DeepEqual(got, db.AppRule{}) {
			t.Errorf("allow %q: %+v, %v", text, got, err)
		}
		if _, err := c.RemoveAppRule(c.ctx(), db.CommandLine, text); !errors.Is(err, db.ErrNotAHost) {
			t.Errorf("remove %q: %v", text, err)
		}
	}
	c.wantRules()
}

func TestRulesAreListedByHost(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.wantRules()
	for _, host := range []string{"wiki.example.com", "*.example.com", notes, "localhost", "192.0.2.7", "[2001:db8::1]", "bank.example.com"} {
		c.allow(host, false, "bob", "alice")
	}
	var want []db.AppRule
	for _, host := range []string{"*.example.com", "192.0.2.7", "2001:db8::1", "bank.example.com", "localhost", notes, "wiki.example.com"} {
		want = append(want, db.AppRule{Host: host, Users: []string{"alice", "bob"}})
	}
	c.wantRules(want...)
}

func TestRemoveAppRule(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	siblings := c.allow("*.example.com", false)
	c.allow(notes, true, "bob")
	if _, err := c.RemoveAppRule(c.ctx(), db.CommandLine, "photos.example.com"); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("a host that the wildcard covers has no rule of its own: %v", err)
	}
	if next, err := c.RemoveAppRule(c.ctx(), db.CommandLine, notes); err != nil || !reflect.DeepEqual(next, siblings) {
		t.Errorf("the rule that applies next is %+v, %v; want %+v", next, err, siblings)
	}
	c.wantRules(siblings)
	if n := c.number(`SELECT COUNT(*) FROM app_rule_users`); n != 0 {
		t.Errorf("%d names are left of it", n)
	}
	if _, err := c.RemoveAppRule(c.ctx(), db.CommandLine, notes); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("again: %v", err)
	}
	// A new rule is empty: the users of the old one are not in it.
	c.wantRules(siblings)
	if got := c.allow(notes, true); len(got.Users) != 0 {
		t.Errorf("the new rule allows %v", got.Users)
	}
}

// Half of a rule would shut out the right people, or allow the wrong ones.
func TestARuleIsWrittenAsAWhole(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.exec(`CREATE TRIGGER refuse BEFORE INSERT ON app_rule_users WHEN NEW.user_id = ` +
		c.text(`SELECT id FROM users WHERE username = 'bob'`) + ` BEGIN SELECT RAISE(ABORT, 'refused'); END`)
	if _, err := c.AllowApp(c.ctx(), db.CommandLine, ruleOf(notes, true, "alice", "bob")); err == nil {
		t.Error("no error")
	}
	c.wantRules()
	c.wantAllowed(notes, true, true)
}

// If the commit fails, the new rule is not returned.
func TestARuleThatWasNotCommittedDoesNotComeBack(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.exec(`CREATE TABLE orphans (user_id INTEGER REFERENCES users (id) DEFERRABLE INITIALLY DEFERRED)`)
	c.exec(`CREATE TRIGGER fail_at_commit AFTER INSERT ON app_rules BEGIN INSERT INTO orphans VALUES (-1); END`)
	if got, err := c.AllowApp(c.ctx(), db.CommandLine, ruleOf(notes, true)); err == nil || !reflect.DeepEqual(got, db.AppRule{}) {
		t.Errorf("AllowApp: %+v, %v", got, err)
	}
	c.wantRules()
}

func TestRulesWhenTheDatabaseDoesNotAnswer(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	rule := c.allow(notes, true)
	release := c.lock()
	if got, err := c.AllowApp(c.ctx(), db.CommandLine, ruleOf(notes, false)); !errors.Is(err, db.ErrUnavailable) || got.Host != "" {
		t.Errorf("allow: %+v, %v, want ErrUnavailable", got, err)
	}
	if _, err := c.RemoveAppRule(c.ctx(), db.CommandLine, notes); !errors.Is(err, db.ErrUnavailable) {
		t.Errorf("remove: %v, want ErrUnavailable", err)
	}
	c.wantRules(rule)
	release()
	c.wantRules(rule)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if rules, err := c.AppRules(); !errors.Is(err, db.ErrUnavailable) {
		t.Errorf("a closed store lists %+v, %v", rules, err)
	}
}
