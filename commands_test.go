package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"porchlight/db"
	"porchlight/db/dbtest"
)

func TestUserAdd(t *testing.T) {
	f := newFixture(t, nil)
	for _, test := range []struct {
		stdin string
		args  []string
		want  string // username, e-mail and whether it is an administrator
	}{
		{boPassword + "\n", []string{"cy"}, "cy  0"},
		{boPassword + "\r\n", []string{" Di "}, "di  0"},
		{boPassword, []string{"ed", "--admin"}, "ed  1"}, // a last line without a line break
		{boPassword + "\nanother line\n", []string{"fay", "--email", " Fay@Example.com"}, "fay fay@example.com 0"},
	} {
		out := mustRun(t, test.stdin, f.with(append([]string{"user", "add"}, test.args...)...)...)
		name, _, _ := strings.Cut(test.want, " ")
		isAdmin := strings.HasSuffix(test.want, "1")
		if !strings.Contains(out, name) || strings.Contains(out, "administrator") != isAdmin || strings.Contains(out, boPassword) {
			t.Errorf("%q printed %q", test.args, out)
		}
		got := dbtest.Rows(t, f.path(), `
			SELECT username || ' ' || COALESCE(email, '') || ' ' || is_admin
			FROM users ORDER BY id DESC LIMIT 1`)
		if !slices.Equal(got, []string{test.want}) {
			t.Errorf("%q created %q, want %q", test.args, got, test.want)
		}
		f.withStore(func(store *db.Store) {
			if user, err := store.Authenticate(t.Context(), name, boPassword, db.Client{}); err != nil || user.Username != name {
				t.Errorf("%q: the password from standard input does not work: %v", test.args, err)
			}
		})
	}
}

// The first account is an administrator even without --admin. Its data folder is created.
func TestUserAddMakesTheFirstAnAdministrator(t *testing.T) {
	data := t.TempDir() + "/deep/down"
	if out := mustRun(t, adaPassword+"\n", "--data", data, "user", "add", "ada"); !strings.Contains(out, "administrator") {
		t.Errorf("printed %q", out)
	}
	if got := dbtest.Rows(t, data+"/porchlight.db", `SELECT username || is_admin FROM users`); !slices.Equal(got, []string{"ada1"}) {
		t.Errorf("the users are %q", got)
	}
}

func TestUserAddRefuses(t *testing.T) {
	f := newFixture(t, nil)
	for _, test := range []struct {
		stdin string
		args  []string
		word  string
	}{
		{boPassword + "\n", []string{"ADA"}, "taken"},
		{boPassword + "\n", []string{"cy", "--email", "ADA@example.com"}, "already in use"},
		{"short\n", []string{"cy"}, "15 characters"},
		{"passwordpassword\n", []string{"cy"}, "guess"},
		{"\n", []string{"cy"}, "15 characters"},
		{strings.Repeat("lantern velvet orbit ", 400) + "\n", []string{"cy"}, "256 characters"},
		{"", []string{"cy"}, "standard input"},
		{"short\n", []string{"c y", "--email", "nobody"}, "username"},
		{boPassword + "\n", []string{""}, "username"},
		{boPassword + "\n", []string{"\x1b[31mcy"}, "username"},
	} {
		out, err := command(t, test.stdin, f.with(append([]string{"user", "add"}, test.args...)...)...)
		wantError(t, err, 1, test.word)
		if out != "" {
			t.Errorf("%q printed %q", test.args, out)
		}
	}
	if got := dbtest.Rows(t, f.path(), `SELECT username FROM users`); !slices.Equal(got, []string{"ada", "bo"}) {
		t.Errorf("the users are %q", got)
	}
}

// readRows parses the output of --json.
func readRows(t *testing.T, out string) (rows []map[string]any) {
	t.Helper()
	if err := json.Unmarshal([]byte(out), &rows); err != nil || rows == nil {
		t.Fatalf("not JSON: %v: %s", err, out)
	}
	return rows
}

func wantKeys(t *testing.T, row map[string]any, keys ...string) {
	t.Helper()
	slices.Sort(keys)
	if got := slices.Sorted(maps.Keys(row)); !slices.Equal(got, keys) {
		t.Errorf("the keys are %q, want %q", got, keys)
	}
}

// wantTime checks that a time is RFC 3339 in UTC and between the two durations from now.
func wantTime(t *testing.T, value any, from, until time.Duration) {
	t.Helper()
	text := fmt.Sprint(value)
	at, err := time.Parse(time.RFC3339, text)
	if err != nil || !strings.HasSuffix(text, "Z") || time.Until(at) < from-time.Second || time.Until(at) > until {
		t.Errorf("%s is not a time in UTC between %s and %s from now: %v", text, from, until, err)
	}
}

func TestUserList(t *testing.T) {
	f := newFixture(t, map[string]int{"ada": 2, "bo": 2})
	dbtest.Exec(t, f.path(), `UPDATE sessions SET expires_at = 1 WHERE id = ?`, f.ids["ada"][0])
	dbtest.Exec(t, f.path(), `UPDATE users SET disabled = 1, approved = 0 WHERE username = 'bo'`)
	addPasskey(t, f.path(), "ada")
	mustRun(t, "", f.with("user", "set", "bo", "--groups", "friends,family")...)

	rows := readRows(t, mustRun(t, "", f.with("user", "list", "--json")...))
	if len(rows) != 2 {
		t.Fatalf("%d rows: %v", len(rows), rows)
	}
	for i, want := range []map[string]any{
		{"username": "ada", "email": "ada@example.com", "isAdmin": true, "disabled": false, "approved": true,
			"groups": []any{}, "secondFactor": true, "sessions": 1.0},
		// A disabled user has no live session.
		{"username": "bo", "email": "", "isAdmin": false, "disabled": true, "approved": false,
			"groups": []any{"family", "friends"}, "secondFactor": false, "sessions": 0.0},
	} {
		wantKeys(t, rows[i], "username", "email", "isAdmin", "disabled", "approved", "groups", "secondFactor", "sessions", "createdAt")
		for key, value := range want {
			if !reflect.DeepEqual(rows[i][key], value) {
				t.Errorf("%s of %s is %v, want %v", key, want["username"], rows[i][key], value)
			}
		}
		wantTime(t, rows[i]["createdAt"], -patience, 0)
	}

	table := mustRun(t, "", f.with("user", "list")...)
	if strings.Count(table, "\n") != 3 || !strings.HasPrefix(table, "USERNAME") || !strings.Contains(table, "\nada ") ||
		!strings.Contains(table, "\nbo ") || !strings.Contains(table, " family,friends ") {
		t.Errorf("the table is %q", table)
	}
}

// Without accounts the lists are empty, and --json prints [].
func TestListsOfAnEmptyDatabase(t *testing.T) {
	data := t.TempDir()
	if err := start(t, data).stop(); err != nil {
		t.Fatal(err)
	}
	for _, what := range []string{"user", "session"} {
		if out := mustRun(t, "", "--data", data, what, "list", "--json"); strings.TrimSpace(out) != "[]" {
			t.Errorf("%s list --json printed %q", what, out)
		}
		if out := mustRun(t, "", "--data", data, what, "list"); strings.Count(out, "\n") != 1 {
			t.Errorf("%s list printed %q", what, out)
		}
	}
}

func TestSessionList(t *testing.T) {
	f := newFixture(t, map[string]int{"ada": 2, "bo": 1})
	now := time.Now().UnixMilli()
	dbtest.Exec(t, f.path(), `UPDATE sessions SET last_active_at = last_active_at - 60000 WHERE id = ?`, f.ids["ada"][1]) // used longer ago
	dbtest.Exec(t, f.path(), `UPDATE sessions SET custom_name = 'Kitchen tablet' WHERE id = ?`, f.ids["ada"][1])
	dbtest.Exec(t, f.path(), `
		INSERT INTO sessions (id, token_hash, user_id, detected_name, custom_name, device_kind, user_agent, ip, shared,
		                      created_at, last_active_at, expires_at)
		SELECT 'expired', x'00', user_id, detected_name, custom_name, device_kind, user_agent, ip, shared, created_at, last_active_at, ?
		FROM sessions WHERE id = ?`, now-1, f.ids["ada"][0])

	ids := func(args ...string) (ids []string) {
		t.Helper()
		for _, row := range readRows(t, mustRun(t, "", f.with(append([]string{"session", "list", "--json"}, args...)...)...)) {
			wantKeys(t, row, "id", "username", "kind", "deviceName", "browser", "browserChanged", "ip", "signInIp", "method", "isNew", "shared",
				"lastActiveAt", "createdAt", "expiresAt", "apps")
			wantTime(t, row["lastActiveAt"], -2*time.Minute, 0)
			wantTime(t, row["createdAt"], -patience, 0)
			wantTime(t, row["expiresAt"], 335*time.Hour, 336*time.Hour)
			ids = append(ids, fmt.Sprint(row["id"]))
		}
		return ids
	}
	ada, bo := f.ids["ada"], f.ids["bo"]
	if got := ids(); !slices.Equal(got, []string{ada[0], ada[1], bo[0]}) {
		t.Errorf("listed %q", got)
	}
	if got := ids("--user", "bo"); !slices.Equal(got, bo) {
		t.Errorf("the sessions of bo are %q", got)
	}
	if got := ids("--user", " ADA "); !slices.Equal(got, []string{ada[0], ada[1]}) {
		t.Errorf("the sessions of ada are %q", got)
	}

	row := readRows(t, mustRun(t, "", f.with("session", "list", "--json", "--user=ada")...))[1]
	if row["username"] != "ada" || row["deviceName"] != "Kitchen tablet" || row["ip"] != "192.0.2.7" {
		t.Errorf("the row is %v", row)
	}
	lines := strings.Split(strings.TrimSpace(mustRun(t, "", f.with("session", "list")...)), "\n")
	if len(lines) != 4 || !strings.HasPrefix(lines[1], ada[0]+" ") || !strings.Contains(lines[2], "Kitchen tablet") ||
		!strings.Contains(lines[3], " bo ") {
		t.Errorf("the table is %q", lines)
	}

	_, err := command(t, "", f.with("session", "list", "--user", "nobody")...)
	wantError(t, err, 1, "nobody")
	_, err = command(t, "", f.with("session", "list", "--json", "--user", "nobody")...)
	wantError(t, err, 1, "nobody")
}

// App keys are among the sessions, here and in user list.
func TestSessionListShowsAppKeys(t *testing.T) {
	f := newFixture(t, map[string]int{"ada": 1})
	var key db.Session
	f.withStore(func(store *db.Store) {
		maker, err := store.Session(1, f.ids["ada"][0])
		if err != nil {
			t.Fatal(err)
		}
		if _, key, err = store.CreateKey(t.Context(), maker, db.NewKey{Name: "Calendar sync", Host: "notes.example.com"}); err != nil {
			t.Fatal(err)
		}
	})
	for _, row := range readRows(t, mustRun(t, "", f.with("session", "list", "--json")...)) {
		kind, expires := "browser", true
		if row["id"] == key.ID {
			kind, expires = "app_key", false
		}
		if row["kind"] != kind || (row["expiresAt"] != nil) != expires || (row["host"] == "notes.example.com") == expires {
			t.Errorf("the row is %v", row)
		}
	}
	table := mustRun(t, "", f.with("session", "list")...)
	for line := range strings.Lines(table) {
		if strings.HasPrefix(line, key.ID) && (!strings.Contains(line, "  app_key  Calendar sync  ") || !strings.HasSuffix(line, "  never\n")) {
			t.Errorf("the line is %q", line)
		}
	}
	if !strings.Contains(table, key.ID) || !strings.Contains(table, "  browser  Firefox on Linux  ") {
		t.Errorf("the table is %q", table)
	}
	if users := readRows(t, mustRun(t, "", f.with("user", "list", "--json")...)); users[0]["sessions"] != 2.0 {
		t.Errorf("the user is %v", users[0])
	}
	if out := mustRun(t, "", f.with("session", "revoke", key.ID)...); !strings.Contains(out, "Calendar sync") {
		t.Errorf("printed %q", out)
	}
	if left := f.sessions(); !slices.Equal(left, f.ids["ada"]) {
		t.Errorf("the sessions left are %q", left)
	}
}

// wantLeft checks which sessions are left, and that the others are recorded as revoked by a command.
func (f *fixture) wantLeft(left ...string) {
	f.t.Helper()
	if got := f.sessions(); !slices.Equal(got, left) {
		f.t.Errorf("the sessions left are %q, want %q", got, left)
	}
	var ended []string
	for _, ids := range f.ids {
		for _, id := range ids {
			if !slices.Contains(left, id) {
				ended = append(ended, id)
			}
		}
	}
	slices.Sort(ended)
	recorded := dbtest.Rows(f.t, f.path(), `
		SELECT session_id FROM activity
		WHERE kind = 'revoked' AND done_by = 'command' ORDER BY session_id`)
	if !slices.Equal(recorded, ended) {
		f.t.Errorf("the sessions recorded as revoked are %q, want %q", recorded, ended)
	}
}

func TestSessionRevoke(t *testing.T) {
	for _, test := range []struct {
		name string
		args func(ada, bo []string) []string
		left func(ada, bo []string) []string
		fail string // part of the error
	}{
		{"one", func(ada, _ []string) []string { return ada[:1] }, func(ada, bo []string) []string { return append(ada[1:], bo...) }, ""},
		{"several", func(ada, bo []string) []string { return []string{bo[0], ada[0]} }, func(ada, _ []string) []string { return ada[1:] }, ""},
		{"unknown", func(ada, _ []string) []string { return []string{"nothing"} },
			func(ada, bo []string) []string { return append(ada, bo...) }, "nothing"},
		{"unknown among known", func(ada, bo []string) []string { return []string{ada[0], "nothing", bo[0], "nowhere"} },
			func(ada, _ []string) []string { return ada[1:] }, "nothing, nowhere"},
		{"twice", func(_, bo []string) []string { return []string{bo[0], bo[0]} }, func(ada, _ []string) []string { return ada }, ""},
		{"of a user", func(_, _ []string) []string { return []string{"--user", "Ada"} }, func(_, bo []string) []string { return bo }, ""},
		{"of an unknown user", func(_, _ []string) []string { return []string{"--user", "nobody"} },
			func(ada, bo []string) []string { return append(ada, bo...) }, "nobody"},
		{"all", func(_, _ []string) []string { return []string{"--all"} }, func(_, _ []string) []string { return nil }, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFixture(t, map[string]int{"ada": 2, "bo": 1})
			ada, bo := slices.Clone(f.ids["ada"]), slices.Clone(f.ids["bo"])
			out, err := command(t, "", f.with(append([]string{"session", "revoke"}, test.args(ada, bo)...)...)...)
			switch {
			case test.fail != "":
				wantError(t, err, 1, test.fail)
			case test.name == "twice": // the second time, the session has ended and is unknown
				wantError(t, err, 1, bo[0])
			case err != nil || out == "":
				t.Errorf("printed %q: %v", out, err)
			}
			f.wantLeft(test.left(slices.Clone(ada), bo)...)
		})
	}
}

// The id of an expired session is unknown, even before it is swept.
func TestSessionRevokeOfAnExpiredSession(t *testing.T) {
	f := newFixture(t, map[string]int{"ada": 1})
	dbtest.Exec(t, f.path(), `UPDATE sessions SET expires_at = 1`)
	_, err := command(t, "", f.with("session", "revoke", f.ids["ada"][0])...)
	wantError(t, err, 1, f.ids["ada"][0])
}

// Revoking the sessions of a user who has none succeeds.
func TestSessionRevokeWithoutSessions(t *testing.T) {
	f := newFixture(t, nil)
	for _, args := range [][]string{{"--user", "bo"}, {"--all"}} {
		if out := mustRun(t, "", f.with(append([]string{"session", "revoke"}, args...)...)...); !strings.Contains(out, "0 sessions") {
			t.Errorf("%q printed %q", args, out)
		}
	}
}

func TestVersion(t *testing.T) {
	out := mustRun(t, "", "version")
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	if len(lines) != 4 || !strings.HasPrefix(lines[0], "porchlight ") || !strings.HasPrefix(lines[1], "commit ") ||
		lines[2] != runtime.Version() || lines[3] != "SQLite "+db.SQLiteVersion() {
		t.Errorf("printed %q", out)
	}
	t.Setenv("PORCHLIGHT_URL", "nonsense") // --version works with any settings
	for _, args := range [][]string{{"--version"}, {"user", "list", "--version"}} {
		if same := mustRun(t, "", args...); same != out {
			t.Errorf("%q printed %q, want %q", args, same, out)
		}
	}
	version = "1.2.3"
	defer func() { version = "" }()
	if out := mustRun(t, "", "--version"); !strings.HasPrefix(out, "porchlight 1.2.3\n") {
		t.Errorf("a release printed %q", out)
	}
}

// Text from other people cannot manipulate the terminal.
func TestOutputHasNoControlCharacters(t *testing.T) {
	const hostile = "\x1b[31mEvil\x1b]0;title\x07 \u009b2J\x7f\r\n\u202etablet\u2066\u200f\tend"
	f := newFixture(t, map[string]int{"ada": 3})
	dbtest.Exec(t, f.path(), `UPDATE sessions SET detected_name = ?`, hostile)
	dbtest.Exec(t, f.path(), `UPDATE sessions SET custom_name = ? WHERE id = ?`, hostile, f.ids["ada"][1])
	dbtest.Exec(t, f.path(), `UPDATE users SET email = ? WHERE username = 'ada'`, hostile)

	wantText := func(what, text string, lines int) {
		t.Helper()
		if strings.Count(text, "\n") != lines {
			t.Errorf("%s: not %d lines: %q", what, lines, text)
		}
		if i := strings.IndexFunc(text, func(r rune) bool {
			return (unicode.IsControl(r) && r != '\n') || unicode.Is(unicode.Bidi_Control, r)
		}); i >= 0 {
			t.Errorf("%s: %q at %d of %q", what, text[i], i, text)
		}
	}
	wantText("session list", mustRun(t, "", f.with("session", "list")...), 4)
	wantText("user list", mustRun(t, "", f.with("user", "list")...), 3)
	wantText("session revoke", mustRun(t, "", f.with("session", "revoke", f.ids["ada"][0], f.ids["ada"][1])...), 2)
	for _, args := range [][]string{
		{"session", "revoke", hostile},
		{"session", "revoke", "--user", hostile},
		{"user", "add", hostile},
	} {
		_, err := command(t, boPassword+"\n", f.with(args...)...)
		wantError(t, err, 1)
		wantText(strings.Join(args[:2], " "), err.Error(), 0)
	}
}

// Sessions are revoked in batches. If one batch fails, the error says how many sessions have ended.
func TestSessionRevokeFailsHalfway(t *testing.T) {
	f := newFixture(t, map[string]int{"ada": 60})
	dbtest.Exec(t, f.path(), `
		CREATE TRIGGER refuse BEFORE DELETE ON sessions WHEN (SELECT COUNT(*) FROM sessions) <= 10
		BEGIN SELECT RAISE(ABORT, 'refused'); END`)
	out, err := command(t, "", f.with("session", "revoke", "--all")...)
	wantError(t, err, 1, "ended 50 sessions", "repeat the command")
	if out != "" || len(f.sessions()) != 10 {
		t.Errorf("printed %q; %d sessions are left", out, len(f.sessions()))
	}
}
