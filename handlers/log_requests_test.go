package handlers_test

import (
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"porchlight/handlers"
)

// This file owns the lines that a log at level debug has for requests.

// openDebugging opens the cast with a log at level debug. It returns the lines about requests to a path.
func openDebugging(t *testing.T, change ...func(*handlers.Options)) (c *cast, requests func(path string) []string) {
	t.Helper()
	log := &logs{}
	c = openCast(t, append(change, func(o *handlers.Options) {
		o.Log = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})...)
	c.log = log
	return c, func(path string) (lines []string) {
		for _, line := range c.logLines("msg=request") {
			if strings.Contains(line, " path="+path+" ") {
				lines = append(lines, line)
			}
		}
		return lines
	}
}

func TestRequestsAreLogged(t *testing.T) {
	t.Parallel()
	c, requests := openDebugging(t)
	c.alice.page("/sessions?all=1").is(t, http.StatusOK)
	c.newClient("curl/8.5.0").api("GET", "/me/sessions", "").is(t, http.StatusUnauthorized)
	c.bob.api("DELETE", "/me/sessions/"+c.alice.id, "").is(t, http.StatusNotFound)
	for path, words := range map[string]string{
		"/sessions":    "method=GET path=/sessions status=200 duration=0s ip=127.0.0.1 session=" + c.alice.id + "\n",
		"/me/sessions": "method=GET path=/me/sessions status=401 duration=0s ip=127.0.0.1\n",
		"/me/sessions/" + c.alice.id: "method=DELETE path=/me/sessions/" + c.alice.id + " status=404 duration=0s ip=127.0.0.1 session=" +
			c.bob.id + "\n",
	} {
		if lines := requests(path); len(lines) != 1 || !strings.HasSuffix(lines[0], words) {
			t.Errorf("%q, want one that ends in %q", lines, words)
		}
	}
}

// The path is Porchlight's own: what the proxy says of the request to the app may hold a token of the app.
func TestAuthChecksAreLogged(t *testing.T) {
	t.Parallel()
	c, requests := openDebugging(t, behindProxy)
	for _, e := range endpoints {
		e.ask(c.alice, toNotes.at("/?token=SECRET"), "X-Forwarded-For", "192.0.2.7").is(t, http.StatusOK)
		words := "method=GET path=" + e.path + " status=200 duration=0s ip=192.0.2.7 session=" + c.alice.id + "\n"
		if lines := requests(e.path); len(lines) != 1 || !strings.HasSuffix(lines[0], words) {
			t.Errorf("%q, want one that ends in %q", lines, words)
		}
	}
	if strings.Contains(c.log.String(), "SECRET") {
		t.Errorf("the log has the query:\n%s", c.log)
	}
}

// Tokens are in cookies and queries. The log has neither, and what a client makes up stays short and on one line.
func TestLoggedRequestsHoldNoSecrets(t *testing.T) {
	t.Parallel()
	c, requests := openDebugging(t)
	c.alice.page("/invite?token=SECRETINVITATION").is(t, http.StatusNotFound)
	c.alice.page("/login?next=/SECRETQUERY")
	c.alice.page("/a%0Ab"+strings.Repeat("x", 8<<10)).is(t, http.StatusNotFound)
	if len(requests("/invite")) != 1 {
		t.Error("the request is not logged")
	}
	for _, secret := range []string{"SECRET", c.alice.token(), c.bob.token(), alicePassword, strings.ReplaceAll(alicePassword, " ", "+"),
		firefoxOnLinux} {
		if strings.Contains(c.log.String(), secret) {
			t.Errorf("the log has %q", secret)
		}
	}
	for line := range strings.Lines(c.log.String()) {
		if !strings.HasPrefix(line, "time=") || len(line) > 600 {
			t.Errorf("%d bytes: %.100q", len(line), line)
		}
	}
}
