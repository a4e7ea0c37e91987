package main

import (
	"bufio"
	"net/http"
	"strings"
	"testing"
	"time"

	"porchlight/db/dbtest"
)

// This file tests the event stream of the program with its own clock and its own background work.

// events opens the event stream. Each call of next returns the next event, ":" for a heartbeat, or "end".
func (c *client) events() (next func() string) {
	c.t.Helper()
	response, err := c.http.Get(c.url + "/sessions/events")
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { response.Body.Close() })
	scanner := bufio.NewScanner(response.Body)
	return func() string {
		for scanner.Scan() {
			if event, found := strings.CutPrefix(scanner.Text(), "event: "); found {
				return event
			}
			if strings.HasPrefix(scanner.Text(), ":") {
				return ":"
			}
		}
		return "end"
	}
}

// An open page does not keep its session alive, and learns at once that it has ended, not at the next heartbeat.
func TestServeEndsTheStreamOfAnIdleSession(t *testing.T) {
	f := newFixture(t, nil)
	s := start(t, f.data, "--idle-timeout", "2s")
	ada := s.signIn("ada", adaPassword)
	begun := time.Now()
	next := ada.events()
	for _, want := range []string{":", "ended", "end"} {
		if got := next(); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
	ada.want(http.StatusUnauthorized, "/me/sessions")
}

// Use from another browser is written and shown at once. If it were written with other activity, every five seconds, the second of two
// uses would wait that long.
func TestServeReportsAnotherBrowserAtOnce(t *testing.T) {
	f := newFixture(t, nil)
	s := start(t, f.data)
	ada := s.signIn("ada", adaPassword)
	next := ada.events()
	if got := next(); got != ":" {
		t.Fatalf("the first event is %q", got)
	}
	var took time.Duration
	for _, userAgent := range []string{"curl/8.5.0", "Wget/1.21.4"} {
		request, err := http.NewRequest("GET", s.url+"/me/sessions", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("User-Agent", userAgent)
		begun := time.Now()
		response, err := ada.http.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		for len(dbtest.Rows(t, f.path(), `SELECT id FROM sessions WHERE last_user_agent = ?`, userAgent)) == 0 {
			if got := next(); got != "changed" {
				t.Fatalf("got %q", got)
			}
		}
		took = time.Since(begun)
	}
	if took > 3*time.Second {
		t.Errorf("it took %s", took)
	}
}
