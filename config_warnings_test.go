package main

import (
	"bytes"
	"io"
	"log/slog"
	"strings"
	"testing"

	"porchlight/db/dbtest"
)

func TestWarningsAboutSettings(t *testing.T) {
	const (
		links    = "its links lead to "
		network  = "--url is http, so anyone on your network can read passwords and cookies; "
		clear    = "--url is http, so anyone on the path can read passwords and cookies; "
		refuses  = "every auth check is refused because no proxy is trusted; set --trusted-proxies"
		everyone = " trusts everyone; give only the address of the reverse proxy"
	)
	for _, test := range []struct {
		args string
		want string // part of the only warning; "" for none
	}{
		{"--listen 127.0.0.1:3000", ""},
		{"--listen 127.8.8.8:3000", ""},
		{"--listen [::1]:3000", ""},
		{"--listen localhost:3000", ""},
		{"--listen :3000", links + "http://localhost:3000; set --url"},
		{"--listen 0.0.0.0:3000", links},
		{"--listen [::]:3000", links},
		{"--listen 192.0.2.7:3000", links},
		{"--listen :3000 --url http://localhost:3000", links},
		{"--listen :3000 --url https://LOCALHOST", links},
		{"--listen :3000 --url http://127.0.0.1:3000", links},
		{"--listen :3000 --url http://[::1]:3000", links},
		{"--listen :3000 --url http://auth.porch.localhost:8000", links},
		{"--listen :3000 --url https://auth.example.com", ""},
		{"--listen 127.0.0.1:3000 --url https://auth.example.com", ""}, // behind a proxy on the same machine

		{"--url http://auth.porch.localhost:8000", ""},
		{"--url http://127.8.8.8", ""},
		{"--url http://[::1]:3000", ""},
		{"--url http://auth.example.com", clear},
		{"--url http://localhost.example.com", clear},
		{"--url http://notlocalhost", clear},
		{"--url http://192.0.2.7:3000", clear},
		{"--listen 0.0.0.0:3000 --url http://192.168.1.5:3000", network},
		{"--url http://10.0.0.5", network},
		{"--url http://[fd00::5]:3000", network},
		{"--url http://[fe80::5]:3000", network},
		{"--url https://192.168.1.5", ""},

		{"--url https://auth.example.com --cookie-domain example.com", refuses},
		{"--url https://auth.example.com --cookie-domain example.com --trusted-proxies 127.0.0.1", ""},
		{"--url https://auth.example.com --trusted-proxies 127.0.0.1", ""},
		{"--trusted-proxies 0.0.0.0/0", "--trusted-proxies 0.0.0.0/0" + everyone},
		{"--trusted-proxies 127.0.0.1,::/0", "--trusted-proxies ::/0" + everyone},
	} {
		var c commands
		if _, err := parse(&c, strings.Fields(test.args), io.Discard); err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		c.warn(slog.New(slog.NewTextHandler(&log, nil)))
		warnings := strings.Count(log.String(), "level=WARN")
		if !strings.Contains(log.String(), test.want) || warnings != min(len(test.want), 1) {
			t.Errorf("%s: the log is %q, want %q", test.args, log.String(), test.want)
		}
	}
}

// The server logs the warnings about settings, and also warns if no administrator can sign in.
func TestServeWarnsOfNoAdministrator(t *testing.T) {
	const warning = "no administrator can sign in"
	for _, test := range []struct {
		statement string
		warns     bool
	}{
		{`DELETE FROM users`, false}, // the set-up link creates one
		{`UPDATE users SET disabled = 0`, false},
		{`UPDATE users SET disabled = 1 WHERE username = 'ada'`, true},
		{`UPDATE users SET is_admin = 0`, true},
		{`UPDATE users SET is_admin = 1 - is_admin`, false},
		{`DELETE FROM users WHERE username = 'ada'`, true},
	} {
		f := newFixture(t, nil)
		dbtest.Exec(t, f.path(), test.statement)
		p := startProcess(t, "--data", f.data, "--url", "http://auth.example.com")
		p.terminate()
		if got := strings.Count(p.errors.String(), warning); got != map[bool]int{true: 1}[test.warns] {
			t.Errorf("%s: the log is %s", test.statement, p.errors)
		}
		if !strings.Contains(p.errors.String(), "--url is http") {
			t.Errorf("no warning about http: %s", p.errors)
		}
	}
}
