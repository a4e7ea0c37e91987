package handlers

import (
	"bytes"
	"html/template"
	"io/fs"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

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
	IsError bool
	IsAdmin bool   // an administrator is signed in
	Section string // of the navigation: devices or account
}

// FullTitle is "[message, or "Error: " – ]Your devices – Porchlight".
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

// pageFor is a page for whoever asks.
func (h *handler) pageFor(c *fiber.Ctx, title string) page {
	p := page{Title: title}
	if session, ok := c.Locals(sessionKey).(db.Session); ok {
		p.User, p.IsAdmin = session.Username, session.IsAdmin
	}
	return p
}

// newViews parses every template. An error in one that is built in is ours and stops the start.
func (h *handler) newViews() *html.Engine {
	var files fs.FS = views.FS
	if h.Files != nil {
		files, _ = fs.Sub(h.Files, "views")
	}
	engine := html.NewFileSystem(http.FS(files), ".html")
	engine.Reload(h.Files != nil)
	rows := &rowCache{}
	engine.AddFunc("asset", h.assetURL)
	engine.AddFunc("otherDevices", otherDevices)
	engine.AddFunc("isolate", isolate)
	engine.AddFunc("passwordMin", func() int { return db.PasswordMin })
	engine.AddFunc("row", rows.render)
	if err := engine.Load(); err != nil {
		panic(err)
	}
	if err := rows.serve(engine.Templates); err != nil {
		panic(err)
	}
	return engine
}

// isolate keeps a name that may be written from right to left from turning round the text beside it, where <bdi> cannot.
// The name's own marks for that are left out: one that is not closed would reach beyond the name.
func isolate(name string) string {
	if !strings.ContainsFunc(name, func(r rune) bool { return r > unicode.MaxASCII }) {
		return name
	}
	return "\u2068" + bidiMarks.Replace(name) + "\u2069"
}

var bidiMarks = strings.NewReplacer("\u202a", "", "\u202b", "", "\u202c", "", "\u202d", "", "\u202e", "",
	"\u2066", "", "\u2067", "", "\u2068", "", "\u2069", "")

// rowCache keeps the rows of device lists as they were rendered: rendering ten of them again would take most of the time of a page.
// The key is everything that a row shows, so what is kept can never be out of date.
type rowCache struct {
	uncached *template.Template
	mu       sync.RWMutex
	rows     map[rowKey]template.HTML
}

type rowKey struct {
	rowFacts
	apps string
}

func (r sessionRow) key() rowKey {
	var apps strings.Builder
	for _, app := range r.Apps {
		apps.WriteString(app.Host + "\t" + app.LastUsed.Machine() + "\t" + app.Ago + "\n")
	}
	return rowKey{r.rowFacts, apps.String()}
}

const rowFragment = "sessions/_row"

// serve puts the cache in front of the fragment, wherever a template includes it or a handler renders it alone.
func (r *rowCache) serve(templates *template.Template) (err error) {
	r.uncached, err = templates.AddParseTree(rowFragment+".uncached", templates.Lookup(rowFragment).Tree)
	if err == nil {
		_, err = templates.New(rowFragment).Parse(`{{row .}}`)
	}
	return err
}

// rowsKept bounds the cache to some 5 MB. Beyond it everything goes, and what is still in use comes back.
const rowsKept = 2000

// indentation is for those who read the template; it would be a fifth of what is sent.
var indentation = regexp.MustCompile(`\n\s+`)

func (r *rowCache) render(row sessionRow) (template.HTML, error) {
	key := row.key()
	r.mu.RLock()
	kept, known := r.rows[key]
	r.mu.RUnlock()
	if known {
		return kept, nil
	}
	var out bytes.Buffer
	if err := r.uncached.Execute(&out, row); err != nil {
		return "", err
	}
	kept = template.HTML(indentation.ReplaceAll(out.Bytes(), []byte("\n")))
	if row.NameError != "" { // holds what somebody typed, of any length
		return kept, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.rows) >= rowsKept || r.rows == nil {
		r.rows = map[rowKey]template.HTML{}
	}
	r.rows[key] = kept
	return kept, nil
}

// moment is a point in time as a page shows it.
type moment struct{ at time.Time }

func newMoment(at time.Time) moment { return moment{at.UTC()} }

// Machine is for <time datetime>.
func (m moment) Machine() string { return m.at.Format(time.RFC3339) }

// Exact is "18 Nov 2026, 10:02 UTC".
func (m moment) Exact() string { return m.at.Format("2 Jan 2006, 15:04 UTC") }

// Day is "18 Nov 2026".
func (m moment) Day() string { return m.at.Format("2 Jan 2006") }

// ago is "9 minutes ago"; after a month, the day.
func (m moment) ago(now time.Time) string {
	switch since := now.Sub(m.at); {
	case since < time.Minute:
		return "just now"
	case since < time.Hour:
		return plural(int(since/time.Minute), "minute") + " ago"
	case since < 24*time.Hour:
		return plural(int(since/time.Hour), "hour") + " ago"
	case since < 48*time.Hour:
		return "yesterday"
	case since < 30*24*time.Hour:
		return plural(int(since/(24*time.Hour)), "day") + " ago"
	default:
		return "on " + m.Day()
	}
}

// plural returns "1 minute" or "4 minutes".
func plural(count int, noun string) string {
	if count != 1 {
		noun += "s"
	}
	return strconv.Itoa(count) + " " + noun
}
