package handlers

import (
	"fmt"
	"net/http"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/template/html/v2"

	"porchlight/db"
	"porchlight/views"
)

// page is what every page has: the head and the header are drawn from it.
type page struct {
	Title   string
	Message string // what has just happened; "" says nothing
	User    string // who is signed in; "" is nobody
	Section string // of the navigation: devices or account
}

// FullTitle is "[message – ]Your devices – Porchlight".
func (p page) FullTitle() string {
	title := p.Title + " – Porchlight"
	if p.Message != "" {
		title = p.Message + " – " + title
	}
	return title
}

// pageFor is a page for whoever asks.
func (h *handler) pageFor(c *fiber.Ctx, title string) page {
	p := page{Title: title}
	if session, ok := c.Locals(sessionKey).(db.Session); ok {
		p.User = session.Username
	}
	return p
}

// newViews parses every template. They are built in, so an error is ours and stops the start.
func newViews() *html.Engine {
	engine := html.NewFileSystem(http.FS(views.FS), ".html")
	engine.AddFunc("asset", assetURL)
	engine.AddFunc("otherDevices", otherDevices)
	if err := engine.Load(); err != nil {
		panic(err)
	}
	return engine
}

// moment is a point in time as a page shows it.
type moment struct {
	at    time.Time
	since time.Duration // negative when it is to come
}

func newMoment(at, now time.Time) moment { return moment{at.UTC(), now.Sub(at)} }

// Machine is for <time datetime>.
func (m moment) Machine() string { return m.at.Format(time.RFC3339) }

// Exact is "18 Nov 2026, 10:02 UTC".
func (m moment) Exact() string { return m.at.Format("2 Jan 2006, 15:04 UTC") }

// Day is "18 Nov 2026".
func (m moment) Day() string { return m.at.Format("2 Jan 2006") }

// recent tells whether a device counts as active now.
func (m moment) recent() bool { return m.since < 3*time.Minute }

// Ago is "9 minutes ago"; after a month, the day.
func (m moment) Ago() string {
	count := func(n time.Duration, unit string) string {
		if n == 1 {
			return fmt.Sprintf("1 %s ago", unit)
		}
		return fmt.Sprintf("%d %ss ago", n, unit)
	}
	switch since := m.since; {
	case since < time.Minute:
		return "just now"
	case since < time.Hour:
		return count(since/time.Minute, "minute")
	case since < 24*time.Hour:
		return count(since/time.Hour, "hour")
	case since < 48*time.Hour:
		return "yesterday"
	case since < 30*24*time.Hour:
		return count(since/(24*time.Hour), "day")
	default:
		return "on " + m.Day()
	}
}
