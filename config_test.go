package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// setting is one setting, with its default and another valid value.
type setting struct {
	flag, variable string
	inHelp         string // the default, as --help prints it
	standard       string // the default, as read returns it
	other, want    string // the other value, and what read returns for it
	read           func(*settings) any
}

var everySetting = []setting{
	{"listen", "PORCHLIGHT_LISTEN", "127.0.0.1:3000", "127.0.0.1:3000", "[::1]:8080", "[::1]:8080", func(s *settings) any { return s.Listen }},
	{"data", "PORCHLIGHT_DATA", "data", "data", "/srv/porch light", "/srv/porch light", func(s *settings) any { return s.Data }},
	{"url", "PORCHLIGHT_URL", "http://localhost", "http://localhost:3000", "https://Auth.Example.com/", "https://auth.example.com",
		func(s *settings) any { return s.url }},
	{"trusted-proxies", "PORCHLIGHT_TRUSTED_PROXIES", "none", "[]", "10.0.0.0/8", "[10.0.0.0/8]", func(s *settings) any { return s.proxies }},
	{"signup", "PORCHLIGHT_SIGNUP", "closed", "closed", "open", "open", func(s *settings) any { return s.Signup }},
	{"idle-timeout", "PORCHLIGHT_IDLE_TIMEOUT", "336h", "336h0m0s", "1500ms", "1.5s", func(s *settings) any { return s.limits().IdleTimeout }},
	{"max-lifetime", "PORCHLIGHT_MAX_LIFETIME", "720h", "720h0m0s", "48h", "48h0m0s", func(s *settings) any { return s.limits().MaxLifetime }},
	{"shared-idle-timeout", "PORCHLIGHT_SHARED_IDLE_TIMEOUT", "30m", "30m0s", "5m", "5m0s",
		func(s *settings) any { return s.limits().SharedIdleTimeout }},
	{"shared-max-lifetime", "PORCHLIGHT_SHARED_MAX_LIFETIME", "24h", "24h0m0s", "1h30m", "1h30m0s",
		func(s *settings) any { return s.limits().SharedMaxLifetime }},
	{"sweep-interval", "PORCHLIGHT_SWEEP_INTERVAL", "10m", "10m0s", "1m", "1m0s", func(s *settings) any { return s.SweepInterval }},
	{"activity-retention", "PORCHLIGHT_ACTIVITY_RETENTION", "4320h", "4320h0m0s", "24h", "24h0m0s",
		func(s *settings) any { return s.ActivityRetention }},
	{"max-sessions", "PORCHLIGHT_MAX_SESSIONS", "100", "100", "7", "7", func(s *settings) any { return s.MaxSessions }},
	{"cookie-domain", "PORCHLIGHT_COOKIE_DOMAIN", "none", "", "Example.COM", "example.com", func(s *settings) any { return s.CookieDomain }},
	{"apps-default", "PORCHLIGHT_APPS_DEFAULT", "allow", "allow", "deny", "deny", func(s *settings) any { return s.AppsDefault }},
	{"require-second-factor", "PORCHLIGHT_REQUIRE_SECOND_FACTOR", "none", "none", "admins", "admins",
		func(s *settings) any { return s.RequireSecondFactor }},
	{"mail", "PORCHLIGHT_MAIL", "none", "<nil>", "smtp://ada:pw@mail.example.com", "mail.example.com:587", func(s *settings) any {
		if s.mail == nil {
			return nil
		}
		return s.mail.Server
	}},
	{"mail-from", "PORCHLIGHT_MAIL_FROM", "porchlight@", "porchlight@localhost", "Door <door@example.com>", "door@example.com",
		func(s *settings) any { return s.mailFrom.Address }},
	{"ntfy", "PORCHLIGHT_NTFY", "none", "<nil>", "https://ntfy.example.com/", "https://ntfy.example.com/",
		func(s *settings) any { return s.ntfy }},
	{"webhook", "PORCHLIGHT_WEBHOOK", "none", "<nil>", "http://hooks.example.com:8080/a?b=c", "http://hooks.example.com:8080/a?b=c",
		func(s *settings) any { return s.webhook }},
	{"clear-app-data", "PORCHLIGHT_CLEAR_APP_DATA", "off", "off", "on", "on", func(s *settings) any { return s.ClearAppData }},
	{"log-format", "PORCHLIGHT_LOG_FORMAT", "text", "text", "json", "json", func(s *settings) any { return s.LogFormat }},
	{"log-level", "PORCHLIGHT_LOG_LEVEL", "info", "info", "debug", "debug", func(s *settings) any { return s.LogLevel }},
}

func settingByFlag(flag string) setting {
	return everySetting[slices.IndexFunc(everySetting, func(s setting) bool { return s.flag == flag })]
}

func TestEverySettingIsTested(t *testing.T) {
	var tested, existing []string
	for _, s := range everySetting {
		tested = append(tested, s.variable)
	}
	parser, err := newParser(&commands{})
	if err != nil {
		t.Fatal(err)
	}
	for _, flag := range parser.Model.Flags {
		if isSetting(flag) {
			existing = append(existing, variableOf(flag.Name))
		}
	}
	slices.Sort(tested)
	slices.Sort(existing)
	if !slices.Equal(tested, existing) {
		t.Errorf("the tested variables are %q, the existing ones are %q", tested, existing)
	}
}

// wantSetting parses a command line and reads one setting.
func wantSetting(t *testing.T, s setting, want string, args ...string) {
	t.Helper()
	var c commands
	if _, err := parse(&c, args, io.Discard); err != nil {
		t.Fatalf("%q: %v", args, err)
	}
	if got := fmt.Sprint(s.read(&c.settings)); got != want {
		t.Errorf("%q: %s is %s, want %s", args, s.flag, got, want)
	}
}

func TestSettings(t *testing.T) {
	for _, s := range everySetting {
		t.Run(s.flag, func(t *testing.T) {
			if s.flag == "cookie-domain" {
				t.Setenv("PORCHLIGHT_URL", "https://auth.example.com") // the domain must contain its host
			}
			flag := []string{"--" + s.flag, s.other}
			wantSetting(t, s, s.standard)
			wantSetting(t, s, s.want, flag...)
			wantSetting(t, s, s.want, append([]string{"user", "list"}, flag...)...) // every command accepts it
			wantSetting(t, s, s.want, append(flag, "session", "list")...)
			if s.flag != "trusted-proxies" && s.standard != "<nil>" { // may be repeated; have no default
				wantSetting(t, s, s.want, append([]string{"--" + s.flag + "=" + s.standard}, flag...)...) // the last counts
			}

			t.Setenv(s.variable, "")
			wantSetting(t, s, s.standard) // an empty variable counts as unset
			t.Setenv(s.variable, s.other)
			wantSetting(t, s, s.want)
			wantSetting(t, s, s.want, "user", "list")
			if s.inHelp != "none" && s.flag != "url" && s.flag != "mail-from" {
				wantSetting(t, s, s.standard, "--"+s.flag, s.inHelp) // the flag beats the variable
			}
		})
	}
	t.Setenv("PORCHLIGHT_URL", "https://variable.example.com")
	t.Setenv("PORCHLIGHT_TRUSTED_PROXIES", "192.0.2.1")
	wantSetting(t, everySetting[2], "http://flag.example.com", "--url", "http://flag.example.com")
	wantSetting(t, everySetting[3], "[192.0.2.2/32]", "--trusted-proxies", "192.0.2.2")
}

func TestHelpListsEverySetting(t *testing.T) {
	t.Setenv("PORCHLIGHT_IDLE_TIMEOUT", "nonsense") // an invalid setting may be why somebody needs help
	for _, args := range [][]string{{"--help"}, {"serve", "--help"}, {"doctor", "--help"}, {"-h"}} {
		help, err := command(t, "", args...)
		if status(err) != 0 {
			t.Errorf("%q: %v", args, err)
		}
		for _, s := range everySetting {
			// The section ends at the next flag, or at the end of the flags.
			_, section, found := strings.Cut(help, " --"+s.flag+"=")
			if !found {
				t.Errorf("%q does not list --%s", args, s.flag)
				continue
			}
			section = regexp.MustCompile(`\n\n|\n +(-\w, )?--\w[\w-]*=`).Split(section, 2)[0]
			section = strings.Join(strings.Fields(section), " ")
			for _, want := range []string{s.variable, s.inHelp} {
				if !regexp.MustCompile(`(^|[^\w|-])` + regexp.QuoteMeta(want) + `($|[^\w|-])`).MatchString(section) {
					t.Errorf("%q: --%s=%s does not contain %s", args, s.flag, section, want)
				}
			}
		}
	}
}

// The other commands use few settings. Their own flags must not drown in those of the server.
func TestHelpOfACommandIsShort(t *testing.T) {
	help := mustRun(t, "", "user", "add", "--help")
	for _, listed := range []string{"--admin", "--data=", "--url=", "porchlight serve --help"} {
		if !strings.Contains(help, listed) {
			t.Errorf("no %s in:\n%s", listed, help)
		}
	}
	if strings.Contains(help, "--sweep-interval") {
		t.Errorf("a setting of the server in:\n%s", help)
	}
}

func TestBadSettings(t *testing.T) {
	const (
		domain   = "such as example.com"
		duration = "such as 30m, 12h or 14d"
		listen   = "127.0.0.1:3000"
		port     = "0 to 65535"
		address  = "https://auth.example.com"
		proxies  = "10.0.0.0/8"
	)
	for _, bad := range []struct{ flag, value, right string }{
		{"listen", "3000", listen},
		{"listen", "127.0.0.1", listen},
		{"listen", "[::1:3000", listen},
		{"listen", "127.0.0.1:65536", port},
		{"listen", "127.0.0.1:-1", port},
		{"listen", "127.0.0.1:door", port},
		{"url", "auth.example.com", address},
		{"url", "//auth.example.com", address},
		{"url", "ftp://auth.example.com", address},
		{"url", "https://", address},
		{"url", "https://:3000", address},
		{"url", "https://auth.example.com/porch", address},
		{"url", "https://auth.example.com/?a=b", address},
		{"url", "https://auth.example.com#a", address},
		{"url", "https://ada@auth.example.com", address},
		{"url", "https://auth example.com", address},
		{"url", "https://auth.example.com:", address},
		{"url", "https://auth.example.com:65536", address},
		{"url", "https://auth.example.com:door", address},
		{"url", "http://[fe80::1%25eth0]:3000", address},
		{"trusted-proxies", "proxy.example.com", proxies},
		{"trusted-proxies", "10.0.0.0/33", proxies},
		{"trusted-proxies", "10.0.0", proxies},
		{"signup", "Open", "open or closed"},
		{"signup", "yes", "open or closed"},
		{"clear-app-data", "On", "off or on"},
		{"idle-timeout", "0", duration},
		{"idle-timeout", "0s", duration},
		{"idle-timeout", "-5m", duration},
		{"idle-timeout", "d", duration},
		{"idle-timeout", "0d", duration},
		{"idle-timeout", "-1d", duration},
		{"idle-timeout", "+1d", duration},
		{"idle-timeout", "1.5d", duration},
		{"idle-timeout", "1d-2h", duration},
		{"idle-timeout", "2h1d", duration},
		{"idle-timeout", "1h2h1d", duration},
		{"idle-timeout", "1d1d", duration},
		{"idle-timeout", "14 d", duration},
		{"idle-timeout", "1w", duration},
		{"idle-timeout", "106752d", duration},
		{"idle-timeout", "106751d24h", duration},
		{"idle-timeout", "99999999999999999999d", duration},
		{"idle-timeout", "30", duration},
		{"idle-timeout", "999us", duration},
		{"max-lifetime", "0", duration},
		{"max-lifetime", "soon", duration},
		{"shared-idle-timeout", "0", duration},
		{"shared-idle-timeout", "soon", duration},
		{"shared-max-lifetime", "-1h", duration},
		{"shared-max-lifetime", "soon", duration},
		{"sweep-interval", "0", duration},
		{"sweep-interval", "soon", duration},
		{"activity-retention", "0", duration},
		{"activity-retention", "99999999h", duration},
		{"max-sessions", "0", "at least 1"},
		{"max-sessions", "-1", "at least 1"},
		{"max-sessions", "many", "at least 1"},
		{"max-sessions", "99999999999999999999", "at least 1"},
		{"cookie-domain", "example.com", "the host of --url, localhost,"},
		{"cookie-domain", ".example.com", domain},
		{"cookie-domain", "*.example.com", domain},
		{"cookie-domain", "example.com:443", domain},
		{"cookie-domain", "https://example.com", domain},
		{"cookie-domain", "exa mple.com", domain},
		{"cookie-domain", "192.168.1.5", domain},
		{"cookie-domain", "[::1]", domain},
		{"cookie-domain", "example..com", domain},
		{"cookie-domain", "com", "public suffix"},
		{"cookie-domain", "co.uk", "public suffix"},
		{"cookie-domain", "github.io", "public suffix"},
		{"cookie-domain", "localhost", "public suffix"},
		{"cookie-domain", "home.arpa", "public suffix"},
		{"cookie-domain", "::1", domain},
		{"cookie-domain", "[2001:db8::1]:443", domain},
		{"cookie-domain", "192.168.1.5.", domain},
		{"cookie-domain", "example.com:", domain},
		{"cookie-domain", "example.com:http", domain},
		{"cookie-domain", "//example.com", domain},
		{"cookie-domain", "example.com/", domain},
		{"cookie-domain", "ada@example.com", domain},
		{"cookie-domain", "example.com,example.org", domain},
		{"cookie-domain", "example.com..", domain},
		{"cookie-domain", ".", domain},
		{"cookie-domain", " ", domain},
		{"cookie-domain", " example.com", domain},
		{"cookie-domain", "müller.example", domain},
		{"apps-default", "Deny", "allow or deny"},
		{"apps-default", "deny ", "allow or deny"},
		{"apps-default", "open", "allow or deny"},
		{"apps-default", "none", "allow or deny"},
		{"require-second-factor", "admin", "none, admins or all"},
		{"require-second-factor", "All", "none, admins or all"},
		{"mail", "mail.example.com", "smtp://"},
		{"mail", "mail.example.com:587", "smtp://user:password@mail.example.com:587"},
		{"mail", "http://mail.example.com", "smtp://"},
		{"mail", "smtp://mail.example.com:0", "1 to 65535"},
		{"mail", "smtp://mail.example.com:65536", "1 to 65535"},
		{"mail", "smtp://mail.example.com:door", "smtp://user:password@"},
		{"mail", "smtp://mail.example.com/path", "smtp://user:password@"},
		{"mail", "smtp://mail.example.com?tls=no", "smtp://user:password@"},
		{"mail", "smtp:mail.example.com", "smtp://user:password@"},
		{"mail", "smtps://", "smtp://user:password@"},
		{"mail-from", "ada", "porchlight@example.com"},
		{"mail-from", "ada@example.com, bo@example.com", "porchlight@example.com"},
		{"mail-from", "ada@example.com\nBcc: two@example.com", "porchlight@example.com"},
		{"ntfy", "ntfy.example.com", "https://ntfy.example.com"},
		{"ntfy", "ftp://ntfy.example.com", "https://ntfy.example.com"},
		{"ntfy", "https://", "https://ntfy.example.com"},
		{"ntfy", "https://ntfy.example.com/topic", "without a topic"},
		{"ntfy", "https://ntfy.example.com?auth=x", "without a topic"},
		{"ntfy", "https://ntfy.example.com:0", "1 to 65535"},
		{"webhook", "/hook", "https://hooks.example.com/porchlight"},
		{"webhook", "mailto:ada", "https://hooks.example.com/porchlight"},
		{"webhook", "https://hooks.example.com#a", "https://hooks.example.com/porchlight"},
		{"log-format", "xml", "text or json"},
		{"log-format", "two\nlines", "text or json"},
		{"log-level", "error", "debug, info or warn"},
	} {
		t.Run(bad.flag+"="+bad.value, func(t *testing.T) {
			shown := strings.ReplaceAll(bad.value, "\n", "") // the error may replace the line break
			if shown != bad.value {
				shown = "two"
			}
			serve := func(args ...string) error {
				ctx, cancel := context.WithCancel(t.Context())
				cancel() // if the setting is accepted, the server stops at once
				return run(ctx, append(args, "--data", t.TempDir()), strings.NewReader(""), io.Discard)
			}
			wantError(t, serve("--"+bad.flag+"="+bad.value), 2, "--"+bad.flag, shown, bad.right)
			// The error names the variable if that was used. A valid flag overrides the variable.
			variable := "PORCHLIGHT_" + strings.ToUpper(strings.ReplaceAll(bad.flag, "-", "_"))
			t.Setenv(variable, bad.value)
			err := serve()
			wantError(t, err, 2, variable+" ", shown, bad.right)
			if strings.HasPrefix(err.Error(), "--") {
				t.Errorf("%q names the flag", err)
			}
			if s := settingByFlag(bad.flag); s.standard != "" { // the cookie domain has none
				wantSetting(t, s, s.want, "--"+s.flag, s.other)
			}
		})
	}
	_, err := command(t, "", "user", "list", "--data=")
	wantError(t, err, 2, `--data "": give a folder`)
}

// No error repeats the password in a URL, however it is written.
func TestBadURLHidesThePassword(t *testing.T) {
	for bad, flag := range map[string]string{
		"smtp://ada:s3cret@":                          "mail",
		"smtp://ada:s3cret@mail.example.com:x":        "mail",
		"smtp://ada:s3cret#@mail.example.com":         "mail",
		"ada:s3cret@mail.example.com":                 "mail",
		"smtp://:s3cret@mail.example.com":             "mail",
		"smtp+insecure://ada:s3cret@mail.example.com": "mail",
		"http://ada:s3cret@mail.example.com":          "mail",
		"smtp://ada:s3cret%@mail.example.com":         "mail",
		"smtp://ada:s3cret @mail.example.com":         "mail",
		"smtp://ada@s3cret@mail.example.com/":         "mail",
		"https://:s3cret@ntfy.example.com/topic":      "ntfy",
		"https://ada:s3cret@hooks.example.com:0":      "webhook",
	} {
		_, err := command(t, "", "version", "--"+flag, bad)
		wantError(t, err, 2, "--"+flag+" ", "…@")
		if strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", bad, err)
		}
		variable := "PORCHLIGHT_" + strings.ToUpper(flag)
		t.Setenv(variable, bad)
		_, err = command(t, "", "version")
		wantError(t, err, 2, variable+" ", "…@")
		if strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", bad, err)
		}
		t.Setenv(variable, "")
	}
}

// The sender is at the host of --url, even if that is an address.
func TestMailFrom(t *testing.T) {
	s := settingByFlag("mail-from")
	wantSetting(t, s, "porchlight@auth.example.com", "--url", "https://auth.example.com")
	wantSetting(t, s, "porchlight@[192.168.1.5]", "--url", "http://192.168.1.5:3000")
	wantSetting(t, s, "porchlight@[IPv6:fd00::5]", "--url", "http://[fd00::5]:3000")
}

func TestBadSettingWithADash(t *testing.T) {
	_, err := command(t, "", "--idle-timeout", "-5m")
	wantError(t, err, 2, "--idle-timeout", "-5m")
}

func TestItemsAreTrimmed(t *testing.T) {
	s := everySetting[3]
	list := " 10.1.2.3/8 ,127.0.0.1,\t::1 , ::ffff:192.0.2.1,fd00::/8"
	const want = "[10.0.0.0/8 127.0.0.1/32 ::1/128 192.0.2.1/32 fd00::/8]"
	wantSetting(t, s, want, "--trusted-proxies", list)
	t.Setenv(s.variable, list)
	wantSetting(t, s, want)
}

func TestTheLogIsInUTC(t *testing.T) {
	at := time.Date(2026, 11, 18, 15, 2, 0, 0, time.FixedZone("elsewhere", 5*3600))
	for _, format := range []string{"text", "json"} {
		var out strings.Builder
		s := settings{LogFormat: format}
		if err := s.logger(&out).Handler().Handle(t.Context(), slog.NewRecord(at, slog.LevelInfo, "hello", 0)); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out.String(), "2026-11-18T10:02:00") || !strings.Contains(out.String(), "Z") {
			t.Errorf("%s: %s", format, out.String())
		}
	}
}

func TestLogLevel(t *testing.T) {
	for _, test := range []struct{ level, want string }{{"debug", "debug info warn"}, {"info", "info warn"}, {"warn", "warn"}} {
		var out strings.Builder
		s := settings{LogLevel: test.level}
		log := s.logger(&out)
		log.Debug("debug")
		log.Info("info")
		log.Warn("warn")
		var got []string
		for line := range strings.Lines(out.String()) {
			_, message, _ := strings.Cut(strings.TrimSpace(line), " msg=")
			got = append(got, message)
		}
		if got := strings.Join(got, " "); got != test.want {
			t.Errorf("%s logs %q, want %q", test.level, got, test.want)
		}
	}
}
