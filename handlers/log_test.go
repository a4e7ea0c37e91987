package handlers_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// This file owns what attacks leave in the log.

func (h *house) logLines(message string) (lines []string) {
	for line := range strings.Lines(h.log.String()) {
		if strings.Contains(line, message) {
			lines = append(lines, line)
		}
	}
	return lines
}

// A customer's network is one client, however many of its addresses it uses.
func TestFloodOfSignInsIsAFewLines(t *testing.T) {
	t.Parallel()
	h := openHouse(t, throttleBehindProxy)
	script := h.newClient("curl/8.5.0")
	attempt := func(i int) {
		script.do("POST", "/login", `{"username":"nobody","password":"x"}`, "Content-Type", "application/json", "X-Forwarded-For",
			fmt.Sprintf("2001:db8:1:2::%x", i))
	}
	for i := range 10_000 {
		attempt(i)
	}
	if lines := strings.Count(h.log.String(), "\n"); lines != 2 { // the first failure and the first refusal
		t.Errorf("%d lines:\n%s", lines, h.log)
	}
	h.clock.Advance(time.Minute)
	attempt(1)
	if lines := h.logLines("too many attempts"); len(lines) != 2 || !strings.Contains(lines[1], "skipped=9989") {
		t.Errorf("lines %q", lines)
	}
}

// A token is too long to be guessed by accident, so an attempt is worth a line; the token may be good elsewhere, so it is not in it.
func TestWrongInvitationIsLogged(t *testing.T) {
	t.Parallel()
	h := openHouse(t, throttleBehindProxy)
	browser := h.newClient(firefoxOnLinux)
	const token = "NOTATOKEN%0ATOKENTOKENTOKEN"
	browser.pageFrom("192.0.2.1", "/invite?token="+token).is(t, http.StatusNotFound)
	browser.formFrom("192.0.2.2", "/invite", "token", token, "password", bobPassword).is(t, http.StatusNotFound)
	browser.formFrom("192.0.2.2", "/invite", "token", token, "password", bobPassword).is(t, http.StatusNotFound)
	if lines := h.logLines("wrong invitation"); len(lines) != 2 || !strings.Contains(lines[0], "ip=192.0.2.1") ||
		!strings.Contains(lines[1], "ip=192.0.2.2") {
		t.Errorf("lines %q", lines)
	}
	if strings.Contains(h.log.String(), "NOTATOKEN") {
		t.Errorf("the token is in the log:\n%s", h.log)
	}
}
