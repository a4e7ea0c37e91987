package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"porchlight/db/dbtest"
)

func TestServeAFreshFolder(t *testing.T) {
	data := filepath.Join(t.TempDir(), "deep", "data")
	s := start(t, data)
	_, port, err := net.SplitHostPort(s.listen)
	if err != nil || port == "0" {
		t.Fatalf("listening on %q: %v", s.listen, err)
	}
	line := <-s.lines
	link, ok := strings.CutPrefix(line, "Create the first account: http://localhost:"+port+"/setup?token=")
	if !ok {
		t.Fatalf("the second line is %q", line)
	}
	token, err := url.QueryUnescape(link)
	if err != nil || len(token) < 26 { // 128 bits in base32
		t.Errorf("the token is %q: %v", token, err)
	}

	c := s.newClient()
	c.want(http.StatusOK, "/healthz")
	c.want(http.StatusForbidden, "/setup")
	c.want(http.StatusForbidden, "/setup?token="+token[1:]+"A")
	c.want(http.StatusOK, "/setup?token="+link)
	if status, _ := c.form("/setup", "token", "wrong", "username", "eve", "password", boPassword); status != http.StatusForbidden {
		t.Errorf("set up with a wrong token: %d", status)
	}
	if status, body := c.form("/setup", "token", token, "username", "ada", "password", adaPassword); status != http.StatusSeeOther {
		t.Fatalf("set up: %d %s", status, body)
	}
	c.want(http.StatusOK, "/sessions")
	c.want(http.StatusNotFound, "/setup?token="+link)
	if status, _ := c.form("/setup", "token", token, "username", "eve", "password", boPassword); status != http.StatusNotFound {
		t.Errorf("set up again: %d", status)
	}
	if got := dbtest.Rows(t, data+"/porchlight.db", `SELECT username || is_admin FROM users`); !slices.Equal(got, []string{"ada1"}) {
		t.Errorf("the accounts are %q", got)
	}

	// Only the owner can read the files, including the WAL and its index while the server runs.
	for path, mode := range map[string]fs.FileMode{
		"": 0o700, "porchlight.db": 0o600, "porchlight.db-wal": 0o600, "porchlight.db-shm": 0o600,
	} {
		info, err := os.Stat(filepath.Join(data, path))
		if err != nil || info.Mode().Perm() != mode {
			t.Errorf("%q: %v, want %v: %v", path, info.Mode(), mode, err)
		}
	}
	if rest := s.stopAndRead(); len(rest) > 0 {
		t.Errorf("also printed %q", rest)
	}

	again := start(t, data)
	again.newClient().want(http.StatusNotFound, "/setup?token="+link)
	if rest := again.stopAndRead(); len(rest) > 0 {
		t.Errorf("a later start printed %q", rest)
	}
}

// Until there is an account, each start prints a link with a new token and the public address.
func TestServePrintsANewSetUpLinkAtEachStart(t *testing.T) {
	data := t.TempDir()
	seen := map[string]bool{}
	for range 2 {
		s := start(t, data, "--url", "https://auth.example.com")
		line := <-s.lines
		if !strings.HasPrefix(line, "Create the first account: https://auth.example.com/setup?token=") {
			t.Errorf("the second line is %q", line)
		}
		seen[line] = true
		s.newClient().want(http.StatusOK, "/healthz")
		s.stop()
	}
	if len(seen) != 2 {
		t.Errorf("the links are %v", seen)
	}
}

// What a command does takes effect on the server's next request.
func TestCommandsWhileTheServerRuns(t *testing.T) {
	f := newFixture(t, nil)
	s := start(t, f.data)
	mustRun(t, boPassword+"\n", f.with("user", "add", "cy")...)
	ada, bo, cy := s.signIn("ada", adaPassword), s.signIn("bo", boPassword), s.signIn("cy", boPassword)

	id := dbtest.Rows(t, f.path(), `SELECT s.id FROM sessions s JOIN users u ON u.id = s.user_id WHERE u.username = 'ada'`)
	mustRun(t, "", f.with("session", "revoke", id[0])...)
	ada.want(http.StatusUnauthorized, "/me/sessions")
	bo.want(http.StatusOK, "/me/sessions")

	mustRun(t, "", f.with("session", "revoke", "--user", "bo")...)
	bo.want(http.StatusUnauthorized, "/me/sessions")
	cy.want(http.StatusOK, "/me/sessions")

	mustRun(t, "", f.with("session", "revoke", "--all")...)
	cy.want(http.StatusUnauthorized, "/me/sessions")
	if rows := readRows(t, mustRun(t, "", f.with("session", "list", "--json")...)); len(rows) != 0 {
		t.Errorf("the live sessions are %v", rows)
	}
}

// files returns the contents of the files in a folder, except for the lock, the WAL and its index.
func files(t *testing.T, folder string) map[string]string {
	t.Helper()
	all := map[string]string{}
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if extension := regexp.MustCompile(`\.lock$|-wal$|-shm$`); entry.IsDir() || extension.MatchString(entry.Name()) {
			continue
		}
		content, err := os.ReadFile(filepath.Join(folder, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[entry.Name()] = string(content)
	}
	return all
}

func TestServeRefusesADatabaseItCannotUse(t *testing.T) {
	write := func(path, content string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		name string
		make func(path string)
		word string
	}{
		{"garbage", func(path string) { write(path, strings.Repeat("not a database ", 1000)) }, "--data"},
		{"a short file", func(path string) { write(path, "hello") }, "--data"},
		{"cut off", func(path string) {
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			write(path, string(content[:len(content)/2]))
		}, "restore"},
		{"newer", func(path string) {
			dbtest.Exec(t, path, `INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, 1)`)
		}, "newer"},
		{"somebody else's", func(path string) {
			write(path, "")
			dbtest.Exec(t, path, `CREATE TABLE recipes (name TEXT)`)
		}, "not a Porchlight database"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFixture(t, map[string]int{"ada": 1})
			test.make(f.path())
			before := files(t, f.data)
			for _, words := range [][]string{{"serve", "--listen", "127.0.0.1:0"}, {"user", "list"}, {"session", "revoke", "--all"}} {
				out, err := command(t, "", f.with(words...)...)
				wantError(t, err, 1, f.path(), test.word)
				if out != "" {
					t.Errorf("%q printed %q", words, out)
				}
			}
			if after := files(t, f.data); fmt.Sprint(after) != fmt.Sprint(before) {
				t.Errorf("the folder was changed: %d files before, %d after", len(before), len(after))
			}
		})
	}
}

func TestServeRefusesAFolderItCannotUse(t *testing.T) {
	folder := t.TempDir()
	file := filepath.Join(folder, "file")
	if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(folder, "data", "porchlight.db"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, data := range []string{file, filepath.Join(file, "data"), filepath.Join(folder, "data"), filepath.Join(folder, "nul\x00")} {
		out, err := command(t, "", "--data", data, "--listen", "127.0.0.1:0")
		wantError(t, err, 1, "--data")
		if out != "" {
			t.Errorf("%q: printed %q", data, out)
		}
	}
	if content, err := os.ReadFile(file); string(content) != "mine" {
		t.Errorf("the file is %q: %v", content, err)
	}
}

// A second server on the same database fails to start, and so does one on a port that is taken. Neither changes anything: a start with
// other limits must not end the sessions of the running server.
func TestServeTwice(t *testing.T) {
	f := newFixture(t, map[string]int{"ada": 2})
	rows := func() []string {
		return dbtest.Rows(t, f.path(), `SELECT id || ' ' || expires_at || ' ' || last_active_at FROM sessions ORDER BY id`)
	}
	before := rows()
	s := start(t, f.data)
	limits := []string{"--idle-timeout", "1ms", "--max-lifetime", "1ms"}
	out, err := command(t, "", f.with(append(limits, "--listen", "127.0.0.1:0")...)...)
	wantError(t, err, 1, f.path(), "already")
	if out != "" {
		t.Errorf("printed %q", out)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // Ctrl-C while it waits for the first one
	wantError(t, run(ctx, f.with("--listen", "127.0.0.1:0"), nil, io.Discard), 1, "interrupted while opening "+f.path())
	out, err = command(t, "", append(limits, "--data", t.TempDir(), "--listen", s.listen)...)
	wantError(t, err, 1, s.listen, "--listen")
	if out != "" {
		t.Errorf("printed %q", out)
	}
	if after := rows(); !slices.Equal(after, before) {
		t.Errorf("the sessions were\n%q, and are\n%q", before, after)
	}
	s.newClient().want(http.StatusOK, "/healthz") // the first one still works
}

// Shorter limits apply as soon as the server starts, even to existing sessions.
func TestServeAppliesItsLimits(t *testing.T) {
	f := newFixture(t, nil)
	s := start(t, f.data)
	ada := s.signIn("ada", adaPassword)
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	again := start(t, f.data, "--max-lifetime", "1ms")
	ada.url = again.url
	ada.want(http.StatusUnauthorized, "/me/sessions")
}

// The server deletes expired sessions, records their end, and deletes old activity.
func TestServeSweeps(t *testing.T) {
	f := newFixture(t, map[string]int{"ada": 3, "bo": 1})
	dbtest.Exec(t, f.path(), `UPDATE sessions SET expires_at = 1 WHERE id <> ?`, f.ids["bo"][0])
	dbtest.Exec(t, f.path(), `UPDATE activity SET happened_at = happened_at - 7200000 WHERE session_id = ?`, f.ids["bo"][0])
	first := start(t, f.data, "--sweep-interval", "10ms", "--activity-retention", "1h")
	eventually(t, "only bo's session is left", func() bool { return slices.Equal(f.sessions(), f.ids["bo"]) })
	f.wantRows(slices.Sorted(slices.Values(f.ids["ada"])), `SELECT session_id FROM activity WHERE kind = 'expired' ORDER BY session_id`)
	eventually(t, "the activity of two hours ago is gone", func() bool {
		return len(dbtest.Rows(t, f.path(), `SELECT id FROM activity WHERE session_id = '`+f.ids["bo"][0]+`'`)) == 0
	})

	// A session that expires while the server runs.
	first.stop()
	s := start(t, f.data, "--sweep-interval", "10ms", "--shared-idle-timeout", "100ms")
	ada := s.newClient()
	if status, body := ada.form("/login", "username", "ada", "password", adaPassword, "shared", "1"); status != http.StatusOK {
		t.Fatalf("sign in: %d %s", status, body)
	}
	eventually(t, "the session on the shared computer is gone", func() bool { return slices.Equal(f.sessions(), f.ids["bo"]) })
	ada.want(http.StatusUnauthorized, "/me/sessions")
}

// The log goes to standard error, in the chosen format. Standard output has only the two lines.
func TestProcess(t *testing.T) {
	data := t.TempDir()
	p := startProcess(t, "--data", data, "--log-format", "json", "--listen", ":0")
	if line := <-p.lines; !strings.HasPrefix(line, "Create the first account: http://localhost:") {
		t.Errorf("the second line is %q", line)
	}
	p.newClient().want(http.StatusOK, "/healthz")
	p.terminate()
	if code := p.command.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit status %d after SIGTERM: %s", code, p.errors)
	}
	if more, ok := <-p.lines; ok {
		t.Errorf("also printed %q", more)
	}
	for line := range bytes.Lines(p.errors.Bytes()) {
		if !bytes.HasPrefix(line, []byte(`{"time":`)) {
			t.Errorf("not a line of JSON: %q", line)
		}
	}
	if !strings.Contains(p.errors.String(), `"level":"WARN"`) || !strings.Contains(p.errors.String(), "--url") {
		t.Errorf("no warning about localhost: %s", p.errors)
	}

	for _, test := range []struct {
		args []string
		code int
	}{
		{[]string{"--help"}, 0},
		{[]string{"version"}, 0},
		{[]string{"user", "list"}, 0},
		{[]string{"session", "revoke", "nothing"}, 1},
		{[]string{"user", "add", "cy"}, 1}, // with nothing on standard input
		{[]string{"--idle-timeout", "0"}, 2},
		{[]string{"doorbell"}, 2},
	} {
		stdout, stderr, code := runProcess(t, append([]string{"--data", data}, test.args...)...)
		if code != test.code || (stdout == "") != (code != 0) || strings.Count(stderr, "\n") != min(code, 1) {
			t.Errorf("%q: exit status %d, want %d: %q and on standard error %q", test.args, code, test.code, stdout, stderr)
		}
		if code != 0 && !strings.HasPrefix(stderr, "porchlight: ") {
			t.Errorf("%q: %q does not name the program", test.args, stderr)
		}
	}
}

// With --max-sessions 1, the second sign-in ends the first session.
func TestServeAppliesMaxSessions(t *testing.T) {
	f := newFixture(t, nil)
	s := start(t, f.data, "--max-sessions", "1")
	first := s.signIn("ada", adaPassword)
	s.signIn("ada", adaPassword).want(http.StatusOK, "/sessions")
	first.want(http.StatusSeeOther, "/sessions")
	if got := f.sessions(); len(got) != 1 {
		t.Errorf("%d sessions", len(got))
	}
}

// A session that is used from elsewhere is written at once, not at the next interval.
func TestRunEverySoon(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	soon, done := make(chan struct{}), make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		runEvery(ctx, slog.New(slog.DiscardHandler), "test", time.Hour, soon, func(context.Context) error {
			done <- struct{}{}
			return nil
		})
	})
	soon <- struct{}{}
	<-done
	cancel()
	running.Wait()
}
