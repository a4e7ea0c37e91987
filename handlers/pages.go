package handlers

import (
	"crypto/rand"
	"errors"
	"html/template"
	"io"
	"io/fs"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/template/html/v2"

	"porchlight/db"
	"porchlight/views"
)

// page is the data that every page has, for layouts/_head.
type page struct {
	notice
	Title   string
	User    string // who is signed in, or ""
	IsError bool
	IsAdmin bool   // an administrator is signed in
	Section string // of the navigation: devices, activity, account or admin

	Events       string // where the page finds its event stream
	LastActivity int64  // the newest id when the page was read, if the page shows a list of devices
}

// FullTitle returns the content of <title>, such as "Your devices – Porchlight", after the message or "Error: " if there is one.
func (p page) FullTitle() string {
	title := p.Title + " – Porchlight"
	if p.IsError {
		title = "Error: " + title
	}
	if p.Message != "" {
		title = p.Message + " – " + title
	}
	return title
}

func (p *page) setError() { p.IsError = true }

// pageFor returns the page data for the person who is signed in, if there is one.
func (h *handler) pageFor(c *fiber.Ctx, title string) page {
	p := page{Title: title, Events: eventsPath}
	if session, ok := c.Locals(sessionKey).(*db.Session); ok {
		p.User, p.IsAdmin = session.Username, session.IsAdmin
	}
	return p
}

// newViews parses every template. It panics if one has an error, which every test would notice.
func (h *handler) newViews() *html.Engine {
	var files fs.FS = views.FS
	if h.Files != nil {
		files, _ = fs.Sub(h.Files, "views")
	}
	engine := html.NewFileSystem(http.FS(files), ".html")
	engine.Reload(h.Files != nil) // for each request, and then without the fragment caches
	rows := &fragmentCache[sessionRow, rowKey]{key: sessionRow.key}
	entries := &fragmentCache[activityEntry, activityEntry]{key: activityEntry.key}
	engine.AddFunc("asset", h.assetURL)
	engine.AddFunc("refusalStyle", func() template.CSS { return template.CSS(h.assets()[refusalStyle].body) })
	engine.AddFunc("otherDevices", otherDevices)
	engine.AddFunc("isolate", isolate)
	engine.AddFunc("formID", rand.Text)
	engine.AddFunc("minPasswordLength", func() int { return db.MinPasswordLength })
	engine.AddFunc("row", rows.render)
	engine.AddFunc("entry", entries.render)
	if err := engine.Load(); err != nil {
		panic(err)
	}
	if err := errors.Join(
		rows.serve(engine.Templates, "sessions/_row", "{{row .}}"),
		entries.serve(engine.Templates, "activity/_entry", "{{entry .}}"),
	); err != nil {
		panic(err)
	}
	// The first execution of a template completes it, which would race with requests for which the engine copies it. An execution without
	// data completes it too, and then fails.
	for _, parsed := range engine.Templates.Templates() {
		parsed.Execute(io.Discard, nil)
	}
	return engine
}

// isolate keeps a name that may be written from right to left from changing the order of the text around it, where <bdi> cannot be
// used. It removes the name's own direction marks, because an unclosed one would affect the text after the name.
func isolate(name string) string {
	if !strings.ContainsFunc(name, func(r rune) bool { return r > unicode.MaxASCII }) {
		return name
	}
	unmarked := strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Bidi_Control, r) {
			return -1
		}
		return r
	}, name)
	return "\u2068" + unmarked + "\u2069"
}

// moment is a point in time as a page shows it.
type moment struct{ at time.Time }

func newMoment(at time.Time) moment { return moment{at.UTC()} }

// Machine returns the time for <time datetime>.
func (m moment) Machine() string { return m.at.Format(time.RFC3339) }

// Exact returns, for example, "18 Nov 2026, 10:02 UTC".
func (m moment) Exact() string { return m.at.Format("2 Jan 2006, 15:04 UTC") }

// Second returns Exact with seconds.
func (m moment) Second() string { return m.at.Format("2 Jan 2006, 15:04:05 UTC") }

// Date returns, for example, "18 Nov 2026".
func (m moment) Date() string { return m.at.Format("2 Jan 2006") }

// Day returns, for example, "18 Nov".
func (m moment) Day() string { return m.at.Format("2 Jan") }

// ago returns, for example, "9 minutes ago" or, after a month, "18 Nov 2026". Days are calendar days, so "yesterday" is yesterday.
func (m moment) ago(now time.Time) string {
	const day = 24 * time.Hour
	since, days := now.Sub(m.at), int(now.Truncate(day).Sub(m.at.Truncate(day))/day)
	switch {
	case since < time.Minute:
		return "just now"
	case since < time.Hour:
		return quantity(int(since/time.Minute), "minute") + " ago"
	case days < 1:
		return quantity(int(since/time.Hour), "hour") + " ago"
	case days == 1:
		return "yesterday"
	case days < 30:
		return quantity(days, "day") + " ago"
	default:
		return m.at.Format("2 Jan 2006")
	}
}

// quantity returns "1 minute" or "4 minutes".
func quantity(count int, noun string) string {
	if count != 1 {
		noun += "s"
	}
	return strconv.Itoa(count) + " " + noun
}
