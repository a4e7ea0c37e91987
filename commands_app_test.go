package main

import (
	"slices"
	"strings"
	"testing"
	"unicode"

	"porchlight/db"
	"porchlight/db/dbtest"
)

// This file tests what the app commands print and how they fail.

// rules returns the rules in the database, each as host, everyone and admins, and @groups and users.
func (f *fixture) rules() []string {
	f.t.Helper()
	return dbtest.Rows(f.t, f.path(), `
		SELECT host || ' ' || everyone || admins || ' ' || (
			SELECT COALESCE(group_concat(name), '') FROM (
				SELECT username AS name FROM app_rule_users g JOIN users u ON u.id = g.user_id WHERE g.host = r.host
				UNION ALL SELECT '@' || name FROM app_rule_groups g WHERE g.host = r.host ORDER BY name))
		FROM app_rules r ORDER BY host`)
}

// guarding puts the settings of a server that guards example.com before the arguments.
func (f *fixture) guarding(args ...string) []string { return f.with(slices.Concat(guard, args)...) }

func (f *fixture) wantRules(want ...string) {
	f.t.Helper()
	if got := f.rules(); !slices.Equal(got, want) {
		f.t.Errorf("the rules are %q, want %q", got, want)
	}
}

func TestAppAllow(t *testing.T) {
	f := newFixture(t, nil)
	mustRun(t, "", f.with("user", "set", "bo", "--groups", "family")...)
	for _, test := range []struct {
		args []string
		out  string
		want string
	}{
		{[]string{"a.example.com"}, "a.example.com is open to every approved user.\n", "a.example.com 10 "},
		{[]string{"B.Example.com.:8443", "--admins"}, "b.example.com is open to administrators.\n", "b.example.com 01 "},
		{[]string{"c.example.com", "--user", "bo"}, "c.example.com is open to bo.\n", "c.example.com 00 bo"},
		{[]string{"d.example.com", "--user", " Bo ", "--user=ADA"}, "d.example.com is open to ada, bo.\n", "d.example.com 00 ada,bo"},
		{[]string{"--user", "bo", "e.example.com", "--admins"}, "e.example.com is open to administrators, bo.\n", "e.example.com 01 bo"},
		{[]string{"*.example.com"}, "*.example.com is open to every approved user.\n", "*.example.com 10 "},
		{[]string{"Example.com"}, "example.com is open to every approved user.\n", "example.com 10 "},
		{[]string{"f.example.com", "--group", "Family", "--group", "books"},
			"f.example.com is open to group books, group family.\nNobody is in the group books yet.\n", "f.example.com 00 @books,@family"},
		{[]string{"g.example.com", "--admins", "--group=family", "--user=bo"},
			"g.example.com is open to administrators, group family, bo.\n", "g.example.com 01 @family,bo"},
		// People who were allowed before stay allowed, and are printed.
		{[]string{"c.example.com", "--user", "ada"}, "c.example.com is open to ada, bo.\n", "c.example.com 00 ada,bo"},
		{[]string{"c.example.com", "--admins"}, "c.example.com is open to administrators, ada, bo.\n", "c.example.com 01 ada,bo"},
		{[]string{"c.example.com"}, "c.example.com is open to every approved user, ada, bo.\n", "c.example.com 11 ada,bo"},
		{[]string{"a.example.com", "--admins"}, "a.example.com is open to every approved user.\n", "a.example.com 11 "},
	} {
		if out := mustRun(t, "", f.guarding(append([]string{"app", "allow"}, test.args...)...)...); out != test.out {
			t.Errorf("%q printed %q, want %q", test.args, out, test.out)
		}
		if !slices.Contains(f.rules(), test.want) {
			t.Errorf("%q: the rules are %q, want %q among them", test.args, f.rules(), test.want)
		}
	}
	if got := len(f.rules()); got != 9 {
		t.Errorf("%d rules", got)
	}
}

// One unknown name is enough to change nothing: a rule for the other names would lock out the person whose name was misspelt.
func TestAppAllowOfUnknownUsers(t *testing.T) {
	f := newFixture(t, nil)
	mustRun(t, "", f.guarding("app", "allow", "c.example.com", "--user", "bo")...)
	for _, test := range []struct {
		args    []string
		unknown string
	}{
		{[]string{"a.example.com", "--user", "nobody"}, "nobody"},
		{[]string{"a.example.com", "--user", "nobody", "--user", "nowhere"}, "nobody, nowhere"},
		{[]string{"a.example.com", "--user", "ada,bo"}, "ada,bo"}, // a comma is part of the name
		{[]string{"a.example.com", "--user", "nobody", "--user", "bo", "--user", "Nowhere"}, "nobody, Nowhere"},
		{[]string{"a.example.com", "--user", "bo", "--user", "nobody"}, "nobody"},
		{[]string{"b.example.com", "--admins", "--user", "nobody"}, "nobody"},
		{[]string{"c.example.com", "--user", "ada", "--user", "nobody", "--admins"}, "nobody"},
	} {
		out, err := command(t, "", f.guarding(append([]string{"app", "allow"}, test.args...)...)...)
		wantError(t, err, 1, "there is no user "+test.unknown+"; nothing was changed")
		if out != "" {
			t.Errorf("%q printed %q", test.args, out)
		}
		f.wantRules("c.example.com 00 bo")
	}
}

// A rule that could never apply is refused, and the error names the setting that is responsible.
func TestAppAllowOfUnguardedHosts(t *testing.T) {
	f := newFixture(t, nil)
	const domain, own = "not under --cookie-domain example.com;", "without --cookie-domain, only "
	for _, test := range []struct {
		settings []string
		host     string
		why      string // "" when the host can be guarded
	}{
		{guard, "example.com", ""},
		{guard, "auth.example.com", ""}, // an app may be on the same host, under another path
		{guard, "a.b.example.com", ""},
		{guard, "*.b.example.com", ""},
		{guard, "notes.example.org", domain},
		{guard, "notesexample.com", domain},
		{guard, "*.com", domain},
		{guard, "*.example.org", domain},
		{guard, "com", domain},
		{guard, "127.0.0.1", domain},
		{guard, "[2001:db8::1]", domain},
		{nil, "localhost", ""},
		{nil, "notes.example.com", own + "localhost,"}, // a command that was not given the server's settings
		{[]string{"--url", "http://auth.example.com:3000"}, "Auth.Example.com", ""},
		{[]string{"--url", "http://auth.example.com:3000"}, "notes.example.com", own + "auth.example.com,"},
		{[]string{"--url", "http://auth.example.com"}, "*.example.com", own},
		{[]string{"--url", "http://192.168.1.5:3000"}, "192.168.1.5", ""},
		{[]string{"--url", "http://192.168.1.5:3000"}, "192.168.1.6", own + "192.168.1.5,"},
	} {
		dbtest.Exec(t, f.path(), `DELETE FROM app_rules`)
		_, err := command(t, "", f.with(slices.Concat(test.settings, []string{"app", "allow", test.host})...)...)
		switch {
		case test.why == "" && err != nil:
			t.Errorf("%q: %s: %v", test.settings, test.host, err)
		case test.why == "" && len(f.rules()) != 1:
			t.Errorf("%q: %s: the rules are %q", test.settings, test.host, f.rules())
		case test.why != "":
			wantError(t, err, 1, strings.Trim(test.host, "[]")+" cannot be guarded: ", test.why, "give them to this command too")
			f.wantRules()
		}
	}
}

func TestAppList(t *testing.T) {
	f := newFixture(t, nil)
	if out := mustRun(t, "", f.with("app", "list")...); strings.Count(out, "\n") != 1 {
		t.Errorf("an empty list is %q", out)
	}
	if out := mustRun(t, "", f.with("app", "list", "--json")...); strings.TrimSpace(out) != "[]" {
		t.Errorf("an empty list is %q", out)
	}
	mustRun(t, "", f.guarding("app", "allow", "notes.example.com", "--user", "bo", "--user", "ada", "--admins")...)
	mustRun(t, "", f.guarding("app", "allow", "*.example.com", "--user", "bo")...)
	mustRun(t, "", f.guarding("app", "allow", "wiki.example.com")...)
	mustRun(t, "", f.guarding("app", "allow", "photos.example.com", "--group", "family")...)
	dbtest.Exec(t, f.path(), `DELETE FROM users WHERE username = 'bo'`)

	want := []string{"HOST OPEN TO", "*.example.com nobody", "notes.example.com administrators, ada",
		"photos.example.com group family", "wiki.example.com every approved user"}
	var lines []string
	for line := range strings.Lines(mustRun(t, "", f.with("app", "list")...)) {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	if !slices.Equal(lines, want) {
		t.Errorf("the table is %q, want %q", lines, want)
	}

	// An empty list is [] and not null.
	const wantJSON = `[
  {
    "host": "*.example.com",
    "everyone": false,
    "admins": false,
    "users": [],
    "groups": []
  },
  {
    "host": "notes.example.com",
    "everyone": false,
    "admins": true,
    "users": [
      "ada"
    ],
    "groups": []
  },
  {
    "host": "photos.example.com",
    "everyone": false,
    "admins": false,
    "users": [],
    "groups": [
      "family"
    ]
  },
  {
    "host": "wiki.example.com",
    "everyone": true,
    "admins": false,
    "users": [],
    "groups": []
  }
]
`
	if out := mustRun(t, "", f.with("app", "list", "--json")...); out != wantJSON {
		t.Errorf("printed %s", out)
	}
}

// allowBo creates rules that allow bo, even for hosts that the settings do not guard.
func (f *fixture) allowBo(hosts ...string) {
	f.t.Helper()
	f.withStore(func(store *db.Store) {
		for _, host := range hosts {
			if _, err := store.AllowApp(f.t.Context(), db.CommandLine, db.AppRule{Host: host, Users: []string{"bo"}}); err != nil {
				f.t.Fatal(err)
			}
		}
	})
}

func TestAppRemove(t *testing.T) {
	f := newFixture(t, nil)
	f.allowBo("notes.example.com", "*.example.com", "[2001:db8::1]")
	_, err := command(t, "", f.with("app", "remove", "wiki.example.com")...) // which the wildcard covers
	wantError(t, err, 1, "there is no rule for wiki.example.com")
	f.wantRules("*.example.com 00 bo", "2001:db8::1 00 bo", "notes.example.com 00 bo")

	mustRun(t, "", f.with("app", "remove", "Notes.Example.com:443")...)
	f.wantRules("*.example.com 00 bo", "2001:db8::1 00 bo")
	_, err = command(t, "", f.with("app", "remove", "notes.example.com")...)
	wantError(t, err, 1, "there is no rule for notes.example.com")

	mustRun(t, "", f.with("app", "remove", "*.example.com")...)
	mustRun(t, "", f.with("app", "remove", "[2001:db8::1]")...)
	f.wantRules()
}

// app remove prints who is allowed from then on.
func TestAppRemoveSaysWhatAppliesNow(t *testing.T) {
	f := newFixture(t, nil)
	f.allowBo("a.example.com", "b.example.com", "c.b.example.com", "*.example.com")
	const everybody = "--apps-default allow applies: open to every approved user."
	for _, test := range []struct{ args, want string }{
		{"A.example.com:443", "Removed the rule for a.example.com. Now the rule for *.example.com applies: open to bo."},
		{"c.b.example.com", "Removed the rule for c.b.example.com. Now " + everybody},
		{"*.example.com", "Removed the rule for *.example.com. Now " + everybody},
		{"b.example.com --apps-default deny", "Removed the rule for b.example.com. Now --apps-default deny applies: open to nobody."},
	} {
		args := append([]string{"app", "remove"}, strings.Fields(test.args)...)
		if out := mustRun(t, "", f.with(args...)...); out != test.want+"\n" {
			t.Errorf("%q printed %q, want %q", args, out, test.want)
		}
	}
}

// The help of app remove says: the host, as app list prints it.
func TestAppRemoveAcceptsWhatAppListPrints(t *testing.T) {
	f := newFixture(t, nil)
	f.allowBo("notes.example.com", "*.example.com", "192.0.2.7", "[2001:db8::1]")
	for _, row := range readRows(t, mustRun(t, "", f.with("app", "list", "--json")...)) {
		host, _ := row["host"].(string)
		if _, err := command(t, "", f.with("app", "remove", host)...); err != nil {
			t.Errorf("app remove %s: %v", host, err)
		}
	}
	f.wantRules()
}

// If the commit fails, app allow does not claim success.
func TestAppAllowPrintsOnlyAfterCommit(t *testing.T) {
	f := newFixture(t, nil)
	dbtest.Exec(t, f.path(), `CREATE TABLE orphans (user_id INTEGER REFERENCES users (id) DEFERRABLE INITIALLY DEFERRED)`)
	dbtest.Exec(t, f.path(), `CREATE TRIGGER fail_at_commit AFTER INSERT ON app_rules BEGIN INSERT INTO orphans VALUES (-1); END`)
	out, err := command(t, "", f.guarding("app", "allow", "notes.example.com", "--admins")...)
	wantError(t, err, 1)
	if out != "" {
		t.Errorf("printed %q", out)
	}
	f.wantRules()
}

func TestAppCommandsWithWrongArguments(t *testing.T) {
	f := newFixture(t, nil)
	mustRun(t, "", f.guarding("app", "allow", "notes.example.com", "--user", "bo")...)
	for _, args := range [][]string{
		{},
		{"allow"},
		{"remove"},
		{"forbid", "notes.example.com"},
		{"list", "notes.example.com"},
		{"list", "--user", "bo"},
		{"remove", "notes.example.com", "wiki.example.com"},
		{"remove", "notes.example.com", "--user", "bo"},
		{"allow", "notes.example.com", "wiki.example.com"},
		{"allow", "notes.example.com", "--user"},
		{"allow", "notes.example.com", "--user="}, // an unset variable in a script must not mean every user
		{"allow", "notes.example.com", "--user", " "},
		{"allow", "notes.example.com", "--user", "ada", "--user", ""},
		{"allow", "notes.example.com", "--admins", "--user="},
		{"allow", "notes.example.com", "--group"},
		{"allow", "notes.example.com", "--group="},
		{"allow", "notes.example.com", "--group", "family", "--group", " "},
		{"allow", "notes.example.com", "--everyone"},
		{"allow", "notes.example.com", "--admins=perhaps"},
		{"allow", "notes.example.com", "--admins=false"},
		{"allow", ""},
		{"allow", "https://notes.example.com"},
		{"allow", "notes.example.com/wiki", "--admins"},
		{"allow", "notes example.com"},
		{"allow", "notes..example.com"},
		{"allow", "notes.*.com"},
		{"allow", "*"},
		{"allow", "*.*.example.com"},
		{"allow", "*.192.0.2.7"},
		{"allow", "notes.example.com:http"},
		{"allow", "notes.example.com,wiki.example.com"},
		{"allow", "müller.example"},
		{"remove", ""},
		{"remove", "https://notes.example.com"},
		{"remove", "*"},
	} {
		out, err := command(t, "", f.guarding(append([]string{"app"}, args...)...)...)
		wantError(t, err, 2)
		if out != "" {
			t.Errorf("%q printed %q", args, out)
		}
		f.wantRules("notes.example.com 00 bo")
	}
	for _, word := range []string{"allow", "remove"} {
		_, err := command(t, "", f.with("app", word, "https://notes.example.com")...)
		wantError(t, err, 2, "https://notes.example.com is not a host", "such as notes.example.com or *.example.com")
	}
}

// Arguments may come from a script, and names from other people, so errors contain no control characters.
func TestAppErrorsHaveNoControlCharacters(t *testing.T) {
	const hostile = "\x1b[31mEvil\x1b]0;title\x07 \u009b2J\x7f\r\n\u202etablet\u2066\u200f\tend"
	f := newFixture(t, nil)
	for _, test := range []struct {
		code int
		args []string
	}{
		{2, []string{"allow", hostile}},
		{2, []string{"remove", hostile}},
		{2, []string{"allow", "*." + hostile}},
		{1, []string{"allow", "notes.example.com", "--user", hostile}},
		{1, []string{"allow", "notes.example.com", "--user", "bo", "--user", hostile}},
		{2, []string{hostile}},
	} {
		out, err := command(t, "", f.guarding(append([]string{"app"}, test.args...)...)...)
		wantError(t, err, test.code, "Evil")
		for _, text := range []string{strings.TrimSuffix(out, "\n"), err.Error()} {
			if i := strings.IndexFunc(text, func(r rune) bool {
				return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)
			}); i >= 0 {
				t.Errorf("%q: %q at %d of %q", test.args, text[i], i, text)
			}
		}
	}
}

func TestSessionListShowsApps(t *testing.T) {
	f := newFixture(t, map[string]int{"ada": 2, "bo": 1})
	dbtest.Exec(t, f.path(), `UPDATE sessions SET last_active_at = last_active_at - 60000 WHERE id = ?`, f.ids["ada"][1])
	for _, use := range []struct {
		id, host string
		at       int64
	}{
		{f.ids["ada"][0], "wiki.example.com", 1763460120999},
		{f.ids["ada"][0], "notes.example.com", 1763463720000},
		{f.ids["ada"][0], "2001:db8::1", 1763460120000},
		{f.ids["bo"][0], "notes.example.com", 1763460120000},
	} {
		dbtest.Exec(t, f.path(), `INSERT INTO session_apps (session_id, host, last_used_at) VALUES (?, ?, ?)`, use.id, use.host, use.at)
	}
	app := func(host, at string) any { return map[string]any{"host": host, "lastUsedAt": at} }
	want := [][]any{
		{
			app("notes.example.com", "2025-11-18T11:02:00Z"),
			app("wiki.example.com", "2025-11-18T10:02:00Z"),
			app("2001:db8::1", "2025-11-18T10:02:00Z"),
		},
		{},
		{app("notes.example.com", "2025-11-18T10:02:00Z")},
	}
	out := mustRun(t, "", f.with("session", "list", "--json")...)
	rows := readRows(t, out)
	if len(rows) != 3 {
		t.Fatalf("%d rows: %s", len(rows), out)
	}
	for i, row := range rows {
		got, isList := row["apps"].([]any) // also [] if there are none
		same := isList && len(got) == len(want[i])
		for j := 0; same && j < len(got); j++ {
			one, _ := got[j].(map[string]any)
			wanted := want[i][j].(map[string]any)
			same = len(one) == 2 && one["host"] == wanted["host"] && one["lastUsedAt"] == wanted["lastUsedAt"]
		}
		if !same {
			t.Errorf("the apps of row %d are %v, want %v", i, row["apps"], want[i])
		}
	}
}
