package handlers

import (
	"context"
	"log/slog"
	"maps"
	"net/netip"
	"sync"
	"time"
)

// logLimiter keeps repeated events from filling the log: each event is logged at most once a minute about each subject. The zero value
// is ready to use.
type logLimiter struct {
	mu      sync.Mutex
	events  map[loggedEvent]lastLine
	cleaned time.Time // when outdated events were last removed
}

type loggedEvent struct{ message, subject string }

type lastLine struct {
	at      time.Time
	skipped int // events since then
}

const (
	logPause       = time.Minute
	maxLogSubjects = 1000 // events within one logPause; after that, all other subjects of a message share one line
)

// allow reports whether to log an event now, and how many like it were skipped since the last line about the subject.
func (l *logLimiter) allow(message, subject string, now time.Time) (skipped int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	event := loggedEvent{message, subject}
	if l.events == nil {
		l.events = map[loggedEvent]lastLine{}
	}
	if _, known := l.events[event]; !known && len(l.events) >= maxLogSubjects {
		l.clean(now)
		if len(l.events) >= maxLogSubjects {
			event.subject = ""
		}
	}
	last, known := l.events[event]
	if known && !last.outdated(now) {
		l.events[event] = lastLine{last.at, last.skipped + 1}
		return 0, false
	}
	l.events[event] = lastLine{at: now}
	return last.skipped, true
}

// outdated reports whether the line is older than logPause, or was logged before the clock was set back.
func (l lastLine) outdated(now time.Time) bool { return now.Sub(l.at).Abs() >= logPause }

// clean removes outdated events, at most once a second, because a flood of new subjects would go through all events each time.
func (l *logLimiter) clean(now time.Time) {
	if now.Sub(l.cleaned).Abs() < time.Second {
		return
	}
	l.cleaned = now
	maps.DeleteFunc(l.events, func(_ loggedEvent, last lastLine) bool { return last.outdated(now) })
}

// logLimited logs a message about a subject at most once a minute, with the number of times that it was skipped since. The message must
// be a constant, because only the number of subjects is bounded.
func (h *handler) logLimited(level slog.Level, message, subject string, attributes ...any) {
	skipped, ok := h.logLimiter.allow(message, subject, h.Store.Now())
	if !ok {
		return
	}
	if skipped > 0 {
		attributes = append(attributes, "skipped", skipped)
	}
	h.Log.Log(context.Background(), level, message, attributes...)
}

// logSubject returns the log subject for a client: its address or, for IPv6, its /64 network, because a single customer has all of it.
func logSubject(ip string) string {
	address, err := netip.ParseAddr(ip)
	if err != nil || address.Unmap().Is4() {
		return ip
	}
	network, _ := address.Prefix(64)
	return network.String()
}
