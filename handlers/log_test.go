package handlers_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"porchlight/handlers/handlerstest"
)

// This file tests what attacks leave in the log.

func logLines(h *handlerstest.House, message string) (lines []string) {
	for line := range strings.Lines(h.Log.String()) {
		if strings.Contains(line, message) {
			lines = append(lines, line)
		}
	}
	return lines
}

// A customer's network is one client, however many of its addresses it uses.
func TestFloodOfSignInsIsAFewLines(t *testing.T) {
	t.Parallel()
	h := handlerstest.OpenHouse(t, throttleBehindProxy)
	script := h.NewClient("curl/8.5.0")
	attempt := func(i int) {
		script.Do("POST", "/login", `{"username":"nobody","password":"x"}`, "Content-Type", "application/json", "X-Forwarded-For",
			fmt.Sprintf("2001:db8:1:2::%x", i))
	}
	for i := range 1000 {
		attempt(i)
	}
	if lines := strings.Count(h.Log.String(), "\n"); lines != 2 { // the first failure and the first refusal
		t.Errorf("%d lines:\n%s", lines, h.Log)
	}
	h.Clock.Advance(time.Minute)
	attempt(1)
	if lines := logLines(h, "too many attempts"); len(lines) != 2 || !strings.Contains(lines[1], "skipped=989") {
		t.Errorf("lines %q", lines)
	}
}

// An invalid token is hardly an accident, so the attempt is logged. The token may be valid elsewhere, so it is not logged.
func TestWrongInvitationIsLogged(t *testing.T) {
	t.Parallel()
	h := handlerstest.OpenHouse(t, throttleBehindProxy)
	browser := h.NewClient(handlerstest.FirefoxOnLinux)
	const token = "NOTATOKEN%0ATOKENTOKENTOKEN"
	pageFrom(browser, "192.0.2.1", "/invite?token="+token).Is(t, http.StatusNotFound)
	formFrom(browser, "192.0.2.2", "/invite", "token", token, "password", handlerstest.BobPassword).Is(t, http.StatusNotFound)
	formFrom(browser, "192.0.2.2", "/invite", "token", token, "password", handlerstest.BobPassword).Is(t, http.StatusNotFound)
	if lines := logLines(h, "wrong invitation"); len(lines) != 2 || !strings.Contains(lines[0], "ip=192.0.2.1") ||
		!strings.Contains(lines[1], "ip=192.0.2.2") {
		t.Errorf("lines %q", lines)
	}
	if strings.Contains(h.Log.String(), "NOTATOKEN") {
		t.Errorf("the token is in the log:\n%s", h.Log)
	}
}
