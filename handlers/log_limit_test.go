package handlers

import (
	"fmt"
	"strconv"
	"testing"
	"time"
)

// This file tests how often repeated events are logged.

func TestLogLimiter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 18, 10, 0, 0, 0, time.UTC)
	var l logLimiter
	want := func(subject string, wantSkipped int, wantOK bool) {
		t.Helper()
		if skipped, ok := l.allow("sign-in failed", subject, now); skipped != wantSkipped || ok != wantOK {
			t.Errorf("%s: %d skipped, %v; want %d, %v", subject, skipped, ok, wantSkipped, wantOK)
		}
	}
	want("a", 0, true)
	want("a", 0, false)
	want("b", 0, true) // another subject has its own line
	now = now.Add(time.Minute - time.Nanosecond)
	want("a", 0, false)
	now = now.Add(time.Nanosecond)
	want("a", 2, true)
	want("a", 0, false)
	if skipped, ok := l.allow("too many attempts", "a", now); skipped != 0 || !ok {
		t.Error("another message shares the line")
	}
	now = now.Add(-time.Hour) // the clock was set back
	want("a", 1, true)
}

// A new subject causes no search, even if all places are taken.
func BenchmarkLogLimiterFull(b *testing.B) {
	now := time.Date(2026, 11, 18, 10, 0, 0, 0, time.UTC)
	var l logLimiter
	for i := range 2 * maxLogSubjects {
		l.allow("sign-in failed", strconv.Itoa(i), now)
	}
	for b.Loop() {
		l.allow("sign-in failed", "another", now)
	}
}

// An attacker with a million networks gets a bounded number of lines and bytes.
func TestLogLimiterIsBounded(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 18, 10, 0, 0, 0, time.UTC)
	var l logLimiter
	lines := 0
	for i := range 100_000 {
		if _, ok := l.allow("sign-in failed", fmt.Sprint(i), now); ok {
			lines++
		}
	}
	if lines != maxLogSubjects+1 || len(l.events) != maxLogSubjects+1 {
		t.Errorf("%d lines, %d kept", lines, len(l.events))
	}
	if _, ok := l.allow("the database does not answer", "", now); !ok {
		t.Error("a flood of one message hides another")
	}
	now = now.Add(time.Minute)
	if skipped, ok := l.allow("sign-in failed", "another", now); skipped != 0 || !ok || len(l.events) != 1 {
		t.Errorf("after a minute: %d skipped, %v, %d kept", skipped, ok, len(l.events))
	}
}
