package handlers_test

import (
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"porchlight/db/dbtest"
	"porchlight/handlers"
	"porchlight/handlers/handlerstest"
)

// This file tests the lines for requests in a log at level debug.

// openDebugging opens the cast with a log at level debug. It returns the lines about requests to a path.
func openDebugging(t *testing.T, change ...func(*handlers.Options)) (c *handlerstest.Cast, requests func(path string) []string) {
	t.Helper()
	log := &dbtest.Logs{}
	c = handlerstest.OpenCast(t, append(change, func(o *handlers.Options) {
		o.Log = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})...)
	c.Log = log
	return c, func(path string) (lines []string) {
		for _, line := range logLines(c.House, "msg=request") {
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
	c.Alice.Page("/sessions?all=1").Is(t, http.StatusOK)
	c.NewClient("curl/8.5.0").API("GET", "/me/sessions", "").Is(t, http.StatusUnauthorized)
	c.Bob.API("DELETE", "/me/sessions/"+c.Alice.ID, "").Is(t, http.StatusNotFound)
	for path, words := range map[string]string{
		"/sessions":    "method=GET path=/sessions status=200 duration=0s ip=127.0.0.1 session=" + c.Alice.ID + "\n",
		"/me/sessions": "method=GET path=/me/sessions status=401 duration=0s ip=127.0.0.1\n",
		"/me/sessions/" + c.Alice.ID: "method=DELETE path=/me/sessions/" + c.Alice.ID + " status=404 duration=0s ip=127.0.0.1 session=" +
			c.Bob.ID + "\n",
	} {
		if lines := requests(path); len(lines) != 1 || !strings.HasSuffix(lines[0], words) {
			t.Errorf("%q, want one that ends in %q", lines, words)
		}
	}
}

// The path is Porchlight's own, because the path of the request to the app may contain one of the app's tokens.
func TestAuthChecksAreLogged(t *testing.T) {
	t.Parallel()
	c, requests := openDebugging(t, behindProxy)
	for _, e := range endpoints {
		e.ask(c.Alice, toNotes.at("/?token=SECRET"), "X-Forwarded-For", "192.0.2.7").Is(t, http.StatusOK)
		words := "method=GET path=" + e.path + " status=200 duration=0s ip=192.0.2.7 session=" + c.Alice.ID + "\n"
		if lines := requests(e.path); len(lines) != 1 || !strings.HasSuffix(lines[0], words) {
			t.Errorf("%q, want one that ends in %q", lines, words)
		}
	}
	if strings.Contains(c.Log.String(), "SECRET") {
		t.Errorf("the log has the query:\n%s", c.Log)
	}
}

// Tokens are in cookies and queries, so the log contains neither. Text from clients stays short and on one line.
func TestLoggedRequestsContainNoSecrets(t *testing.T) {
	t.Parallel()
	c, requests := openDebugging(t)
	c.Alice.Page("/invite?token=SECRETINVITATION").Is(t, http.StatusNotFound)
	c.Alice.Page("/login?next=/SECRETQUERY")
	c.Alice.Page("/a%0Ab"+strings.Repeat("x", 8<<10)).Is(t, http.StatusNotFound)
	if len(requests("/invite")) != 1 {
		t.Error("the request is not logged")
	}
	for _, secret := range []string{
		"SECRET", c.Alice.Token(), c.Bob.Token(), handlerstest.AlicePassword, strings.ReplaceAll(handlerstest.AlicePassword, " ", "+"),
		handlerstest.FirefoxOnLinux,
	} {
		if strings.Contains(c.Log.String(), secret) {
			t.Errorf("the log has %q", secret)
		}
	}
	for line := range strings.Lines(c.Log.String()) {
		if !strings.HasPrefix(line, "time=") || len(line) > 600 {
			t.Errorf("%d bytes: %.100q", len(line), line)
		}
	}
}
