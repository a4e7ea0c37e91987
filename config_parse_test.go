package main

import (
	"context"
	"errors"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"porchlight/db/dbtest"
)

// This file tests the errors about the command line and the variables: one plain line each, and exit status 2.

// startError runs the program, which must fail with exit status 2, and returns its error. If it starts nevertheless, it stops at once.
func startError(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := run(ctx, args, strings.NewReader(boPassword+"\n"), io.Discard)
	if err == nil {
		t.Fatalf("%q succeeded", args)
	}
	wantError(t, err, 2)
	return err.Error()
}

func TestWrongCommandLines(t *testing.T) {
	f := newFixture(t, map[string]int{"ada": 2, "bo": 1})
	all, id := f.sessions(), f.ids["ada"][0]
	const revoke = "session revoke: give either session ids, --user NAME or --all"
	for _, test := range []struct {
		args []string
		want string
	}{
		// Commands.
		{[]string{"doorbell"}, "porchlight has no command doorbell; see porchlight --help"},
		{[]string{"usr"}, "porchlight has no command usr; did you mean user?"},
		{[]string{""}, `porchlight has no command ""; see porchlight --help`},
		{[]string{"-"}, "porchlight has no command -; see porchlight --help"},
		{[]string{"--", "--json"}, "porchlight has no command --json; see porchlight --help"},
		{[]string{"door\nbell"}, "porchlight has no command doorbell; see porchlight --help"},
		{[]string{"\x1b[2Jdoorbell"}, "porchlight has no command [2Jdoorbell; see porchlight --help"},
		{[]string{"session"}, "porchlight session needs a command: list, revoke"},
		{[]string{"app"}, "porchlight app needs a command: allow, list, remove"},
		{[]string{"session", "forget"}, "porchlight session has no command forget; see porchlight session --help"},
		{[]string{"user", "remove"}, "porchlight user has no command remove; see porchlight user --help"},
		{[]string{"user", "lst"}, "porchlight user has no command lst; did you mean list?"},
		{[]string{"help", "doorbell"}, "porchlight has no command doorbell; see porchlight --help"},
		{[]string{"help", "user", "lst"}, "porchlight user has no command lst; did you mean list?"},

		// Arguments.
		{[]string{"user", "add"}, "porchlight user add: NAME is missing; see porchlight user add --help"},
		{[]string{"user", "delete", "--yes"}, "porchlight user delete: NAME is missing; see porchlight user delete --help"},
		{[]string{"app", "allow", "--admins"}, "porchlight app allow: HOST is missing; see porchlight app allow --help"},
		{[]string{"user", "add", "cy", "di"}, "porchlight user add: too many arguments, beginning with di; see porchlight user add --help"},
		{[]string{"user", "add", "cy", ""}, `porchlight user add: too many arguments, beginning with ""; see porchlight user add --help`},
		{[]string{"user", "list", "ada"}, "porchlight user list: too many arguments, beginning with ada; see porchlight user list --help"},
		{[]string{"user", "list", "--", "--json"},
			"porchlight user list: too many arguments, beginning with --json; see porchlight user list --help"},
		{[]string{"serve", "now"}, "porchlight serve: too many arguments, beginning with now; see porchlight serve --help"},
		{[]string{"version", "now"}, "porchlight version: too many arguments, beginning with now; see porchlight version --help"},
		{[]string{"session", "revoke"}, revoke},
		{[]string{"session", "revoke", id, "--all"}, revoke},
		{[]string{"session", "revoke", id, "--user", "ada"}, revoke},
		{[]string{"session", "revoke", "--user", "ada", "--all"}, revoke},
		{[]string{"session", "revoke", id, "--user", "ada", "--all"}, revoke},
		{[]string{"session", "revoke", "--user="}, revoke},
		{[]string{"session", "revoke", "--user=", "--all"}, revoke}, // an unset variable in a script

		// Flags.
		{[]string{"--doorbell"}, "porchlight has no flag --doorbell; see porchlight --help"},
		{[]string{"--cookiedomain", "example.com"}, "porchlight has no flag --cookiedomain; did you mean --cookie-domain?"},
		{[]string{"-x"}, "porchlight has no flag -x; see porchlight --help"},
		{[]string{"-jx"}, "porchlight has no flag -jx; see porchlight --help"},
		{[]string{"--=x"}, "porchlight has no flag --; see porchlight --help"},
		{[]string{"user", "add", "cy", "--password", boPassword}, "porchlight user add has no flag --password; see porchlight user add --help"},
		{[]string{"user", "add", "cy", "--e-mail=cy@example.com"}, "porchlight user add has no flag --e-mail; did you mean --email?"},
		{[]string{"session", "list", "--all"}, "porchlight session list has no flag --all; see porchlight session list --help"},
		{[]string{"session", "list", "--user"}, "--user needs a value"},
		{[]string{"session", "list", "--user", "--json"}, "--user needs a value; if --json is the value, write --user=--json"},
		{[]string{"--listen"}, "--listen needs a value"},
		{[]string{"user", "list", "--trusted-proxies"}, "--trusted-proxies needs a value"},
		{[]string{"--max-sessions"}, "--max-sessions needs a value"},
		{[]string{"--idle-timeout", "-5m"}, "--idle-timeout needs a value; if -5m is the value, write --idle-timeout=-5m"},
		{[]string{"user", "list", "--json=perhaps"}, "--json=perhaps: give true or false, or omit the value"},
		{[]string{"session", "revoke", "--user", "ada", "--user", "bo"}, "--user was given twice"}, // ada's sessions would not end
		{[]string{"user", "add", "cy", "--email=a@example.com", "--admin", "--email=b@example.com"}, "--email was given twice"},
		{[]string{"user", "list", "--json", "--json"}, "--json was given twice"},

		// Values.
		{[]string{"--signup", "yes"}, "--signup yes: give open or closed"},
		{[]string{"user", "list", "--apps-default="}, `--apps-default "": give allow or deny`},
		{[]string{"--log-format", "xml"}, "--log-format xml: give text or json"},
		{[]string{"--max-sessions", "many"}, "--max-sessions many: give a whole number of at least 1"},
		{[]string{"--max-sessions", "1.5"}, "--max-sessions 1.5: give a whole number of at least 1"},
		{[]string{"--idle-timeout=soon"}, "--idle-timeout soon: give a duration from 1ms to 106751d, such as 30m, 12h or 14d"},
		{[]string{"--idle-timeout=106752d"}, "--idle-timeout 106752d: give a duration from 1ms to 106751d, such as 30m, 12h or 14d"},
		{[]string{"--idle-timeout=2562048h"}, "--idle-timeout 2562048h: give a duration from 1ms to 106751d, such as 30m, 12h or 14d"},
	} {
		if got := startError(t, f.with(test.args...)...); got != test.want {
			t.Errorf("%q: %q, want %q", test.args, got, test.want)
		}
	}
	if got := f.sessions(); !slices.Equal(got, all) {
		t.Errorf("the sessions are %q, want %q", got, all)
	}
	if got := dbtest.Rows(t, f.path(), `SELECT username FROM users`); !slices.Equal(got, []string{"ada", "bo"}) {
		t.Errorf("the users are %q", got)
	}
}

// However a command is misused, the error is our own and not one of kong's, which describe its parser.
func TestUsageErrorsAreNotKongs(t *testing.T) {
	t.Parallel()
	parser, err := newParser(&commands{})
	if err != nil {
		t.Fatal(err)
	}
	kongs := regexp.MustCompile(`EOL|expected|positional|argument <|envar|token|must be one of|did you mean "|perhaps try|bool|%!`)
	tried := 0
	wrong := func(args ...string) {
		t.Helper()
		tried++
		var c commands
		_, err := parse(&c, args, io.Discard)
		if errors.Is(err, errPrinted) || err == nil {
			t.Errorf("%q was accepted", args)
			return
		}
		wantError(t, err, 2)
		if kongs.MatchString(err.Error()) {
			t.Errorf("%q: %s", args, err)
		}
	}
	var visit func(node *kong.Node, words []string)
	visit = func(node *kong.Node, words []string) {
		given := slices.Clone(words)
		for _, argument := range node.Positional {
			if argument.Required {
				wrong(given...)
			}
			given = append(given, "x")
		}
		if len(node.Children) > 0 && len(words) > 0 {
			wrong(words...)
		}
		if n := len(node.Positional); n == 0 || !node.Positional[n-1].IsCumulative() {
			wrong(append(given, "x", "y")...)
		}
		wrong(append(given, "--nonsense")...)
		wrong(append(given, "-x")...)
		for _, flags := range node.AllFlags(true) {
			for _, flag := range flags {
				name := "--" + flag.Name
				switch {
				case flag.Name == "help":
				case flag.IsBool():
					wrong(append(given, name+"=x")...)
				default:
					wrong(append(given, name)...)
					wrong(append(given, name, "--json")...)
				}
			}
		}
		for _, child := range node.Children {
			visit(child, append(slices.Clone(words), child.Name))
		}
	}
	visit(parser.Model.Node, nil)
	if tried < 300 {
		t.Errorf("only %d command lines were tried", tried)
	}
}

func TestUnknownVariables(t *testing.T) {
	f := newFixture(t, map[string]int{"ada": 1})
	for _, test := range []struct{ variable, advice string }{
		{"PORCHLIGHT_COOKIE_DOMIAN", "did you mean PORCHLIGHT_COOKIE_DOMAIN?"},
		{"PORCHLIGHT_DOMAIN", "did you mean PORCHLIGHT_COOKIE_DOMAIN?"},
		{"PORCHLIGHT_SIGN_UP", "did you mean PORCHLIGHT_SIGNUP?"},
		{"PORCHLIGHT_APP_DEFAULT", "did you mean PORCHLIGHT_APPS_DEFAULT?"},
		{"PORCHLIGHT_PROXIES", "did you mean PORCHLIGHT_TRUSTED_PROXIES?"},
		{"PORCHLIGHT_listen", "see porchlight --help"},
		{"PORCHLIGHT_HELP", "see porchlight --help"},
		{"PORCHLIGHT_VERSION", "see porchlight --help"},
		{"PORCHLIGHT_", "see porchlight --help"},
		{"PORCHLIGHT_X\x1b[2J", "see porchlight --help"},
	} {
		t.Run(test.variable, func(t *testing.T) {
			t.Setenv(test.variable, "x")
			for _, args := range [][]string{{}, {"version"}, {"session", "revoke", "--all"}} {
				want := "the variable " + printable(test.variable) + " is not a setting; " + test.advice
				if got := startError(t, f.with(args...)...); got != want {
					t.Errorf("%q: %q, want %q", args, got, want)
				}
			}
			mustRun(t, "", "--help") // help works with any settings
			t.Setenv(test.variable, "")
			mustRun(t, "", "version") // an empty variable counts as unset
		})
	}
	if got := f.sessions(); !slices.Equal(got, f.ids["ada"]) {
		t.Errorf("the sessions are %q", got)
	}
	t.Setenv("PORCHLIGHTS_DOMAIN", "x")
	t.Setenv("MY_PORCHLIGHT_X", "x")
	mustRun(t, "", "version")
}

func TestDurationsInDays(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"14d":      14 * 24 * time.Hour,
		"1d12h":    36 * time.Hour,
		"0d1ms":    time.Millisecond,
		"2d1h30m":  49*time.Hour + 30*time.Minute,
		"1d0.5h":   24*time.Hour + 30*time.Minute,
		"106751d":  106751 * 24 * time.Hour,
		"1500ms":   1500 * time.Millisecond,
		"1h30m":    90 * time.Minute,
		"007d":     7 * 24 * time.Hour,
		"1d86400s": 48 * time.Hour,
	} {
		wantSetting(t, settingByFlag("idle-timeout"), want.String(), "--idle-timeout", text)
	}
}

func TestHelpCommand(t *testing.T) {
	if help := mustRun(t, "", "--help"); !strings.Contains(help, "--help       Print this help and exit.\n") {
		t.Error(help)
	}
	t.Setenv("PORCHLIGHT_IDLE_TIMEOUT", "nonsense") // an invalid setting may be why somebody needs help
	for _, words := range [][]string{{}, {"user"}, {"user", "add"}, {"app", "allow"}, {"serve"}, {"help"}} {
		want := mustRun(t, "", append(slices.Clone(words), "--help")...)
		got := mustRun(t, "", append([]string{"help"}, words...)...)
		if got != want {
			t.Errorf("help %q printed %q, want %q", words, got, want)
		}
		if usage := strings.Join(words, " "); !strings.Contains(strings.Split(got, "\n")[0], usage) {
			t.Errorf("help %q is about another command: %q", words, got)
		}
	}
}
