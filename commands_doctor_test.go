package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"porchlight/db/dbtest"
	"porchlight/notify/notifytest"
)

// doctor runs the command, and returns the lines that begin with fix and those that begin with warn, with a line break after each.
func (f *fixture) doctor(args ...string) (fix, warn string) {
	f.t.Helper()
	stdout, err := command(f.t, "", f.with(append([]string{"doctor"}, args...)...)...)
	for line := range strings.Lines(stdout) {
		switch {
		case strings.HasPrefix(line, "fix   "):
			fix += line
		case strings.HasPrefix(line, "warn  "):
			warn += line
		case !strings.HasPrefix(line, "ok    "):
			f.t.Errorf("unexpected line %q", line)
		}
	}
	if wanted := map[bool]int{true: 1}[fix != ""]; status(err) != wanted {
		f.t.Errorf("status %d, want %d: %v\n%s", status(err), wanted, err, stdout)
	}
	return fix, warn
}

func TestDoctorFindsNoProblems(t *testing.T) {
	t.Parallel()
	f := newFixture(t, map[string]int{"bo": 1})
	if fix, warn := f.doctor(); fix+warn != "" {
		t.Errorf("printed fix %q, warn %q", fix, warn)
	}
	s := start(t, f.data)
	if fix, warn := f.doctor(); fix+warn != "" {
		t.Errorf("printed fix %q, warn %q", fix, warn)
	}
	s.signIn("bo", boPassword).want(200, "/sessions") // the server still works
}

func TestDoctorWithoutAKey(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	if err := os.Remove(filepath.Join(f.data, "porchlight.key")); err != nil {
		t.Fatal(err)
	}
	stdout := mustRun(t, "", f.with("doctor")...)
	if !strings.Contains(stdout, "ok    no key file is needed yet") || strings.Contains(stdout, "fits") {
		t.Error(stdout)
	}
}

func TestDoctorFindsProblems(t *testing.T) {
	t.Parallel()
	type test struct {
		name  string
		spoil func(t *testing.T, f *fixture)
		fix   string
	}
	execute := func(statement string) func(*testing.T, *fixture) {
		return func(t *testing.T, f *fixture) { dbtest.Exec(t, f.path(), statement) }
	}
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []test{
		{"no database", func(_ *testing.T, f *fixture) { must(os.Remove(f.path())) }, "--data"},
		{"open folder", func(_ *testing.T, f *fixture) { must(os.Chmod(f.data, 0o755)) }, "chmod 700"},
		{"open file", func(_ *testing.T, f *fixture) { must(os.Chmod(f.path(), 0o644)) }, "chmod 600"},
		{"open copy", func(_ *testing.T, f *fixture) { must(os.WriteFile(f.path()+".version-3", nil, 0o640)) }, ".version-3; run chmod 600"},
		{"open key", func(_ *testing.T, f *fixture) { must(os.Chmod(filepath.Join(f.data, "porchlight.key"), 0o640)) }, "chmod 600"},
		{"malformed key", func(_ *testing.T, f *fixture) {
			must(os.WriteFile(filepath.Join(f.data, "porchlight.key"), []byte("abc"), 0o600))
		}, "porchlight.key is malformed"},
		{"lost key", func(t *testing.T, f *fixture) {
			dbtest.Exec(t, f.path(), `
				INSERT INTO totp (user_id, secret, last_counter, on_at, created_at)
				SELECT id, x'00', 0, 1, 1 FROM users WHERE username = 'bo'`)
			must(os.Remove(filepath.Join(f.data, "porchlight.key")))
		}, "is missing, but the authenticator apps of bo need it"},
		{"another program's", func(_ *testing.T, f *fixture) { must(os.WriteFile(f.path(), []byte("not SQLite, but text"), 0o600)) }, "damaged"},
		{"cut short", func(t *testing.T, f *fixture) {
			info, err := os.Stat(f.path())
			must(err)
			must(os.Truncate(f.path(), info.Size()/2))
		}, "damaged"},
		{"newer", execute(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, 1)`), "has version 99999, newer"},
		{"older", execute(`DELETE FROM goose_db_version WHERE version_id > 9`), "has version 9, and this Porchlight needs"},
		{"no account", execute(`DELETE FROM users`), "there is no account"},
		{"no administrator", execute(`UPDATE users SET disabled = 1 WHERE username = 'ada'`), "no administrator can sign in"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, nil)
			test.spoil(t, f)
			before := folderModes(t, f.data)
			fix, _ := f.doctor()
			if !strings.Contains(fix, test.fix) || strings.Count(fix, "\n") != 1 {
				t.Errorf("printed fix %q, want only %q", fix, test.fix)
			}
			if after := folderModes(t, f.data); after != before {
				t.Errorf("the files were\n%sand are\n%s", before, after)
			}
		})
	}
}

// folderModes lists a folder and its files with their modes, except those that SQLite creates and removes itself.
func folderModes(t *testing.T, folder string) (modes string) {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{folder}
	for _, entry := range entries {
		if name := entry.Name(); !strings.HasSuffix(name, "-wal") && !strings.HasSuffix(name, "-shm") {
			names = append(names, filepath.Join(folder, name))
		}
	}
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		modes += info.Mode().String() + " " + name + "\n"
	}
	return modes
}

func TestDoctorPrintsTheWarningsAboutSettings(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	if fix, warn := f.doctor("--url", "http://auth.example.com", "--trusted-proxies", "0.0.0.0/0"); fix != "" ||
		!strings.Contains(warn, "--url is http") || !strings.Contains(warn, "trusts everyone") {
		t.Errorf("printed fix %q, warn %q", fix, warn)
	}
}

func TestDoctorSendsATestMail(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	host := notifytest.NewMailHost(t, "smtp+insecure")
	args := []string{"--mail", "smtp+insecure://" + host.Address, "--mail-from", "door@example.com"}
	if fix, _ := f.doctor(args...); fix != "" || len(host.Arrived) > 0 {
		t.Errorf("printed fix %q; %d mails arrived", fix, len(host.Arrived))
	}
	args = append(args, "--mail-to", "ada@example.com")
	if fix, _ := f.doctor(args...); fix != "" {
		t.Fatal(fix)
	}
	got := notifytest.Next(t, host.Arrived)
	if got.From != "door@example.com" || got.To != "ada@example.com" || !strings.Contains(got.Data, "Subject: Test mail from Porchlight\r\n") {
		t.Errorf("the mail is %+v", got)
	}
	host.Refuse(notifytest.Refusal(550, [3]int{5, 7, 1}, "we do not know you"))
	if fix, _ := f.doctor(args...); !strings.Contains(fix, host.Address+": 550 5.7.1 we do not know you") {
		t.Error(fix)
	}
	// The server offers no STARTTLS.
	if fix, _ := f.doctor("--mail", "smtp://"+host.Address); !strings.Contains(fix, "offers no STARTTLS") {
		t.Error(fix)
	}
}

func TestDoctorWrongUsage(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	_, err := command(t, "", f.with("doctor", "--mail-to", "ada@example.com")...)
	wantError(t, err, 2, "--mail-to needs --mail")
	_, err = command(t, "", f.with("doctor", "--mail-to=", "--mail", "smtp://127.0.0.1")...)
	wantError(t, err, 2, "--mail-to needs an address")
	for _, to := range []string{"ada", "Ada <ada@example.com>"} {
		_, err = command(t, "", f.with("doctor", "--mail-to", to, "--mail", "smtp://127.0.0.1")...)
		wantError(t, err, 2, "--mail-to "+to+": give only an address")
	}
}
