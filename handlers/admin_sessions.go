package handlers

import (
	"fmt"
	"html/template"
	"net/url"
	"strconv"
	"time"

	"github.com/gofiber/fiber/v2"

	"porchlight/db"
)

// This file owns the list of everybody's sessions.

const (
	adminSessionsPath  = "/admin/sessions"
	adminSessionsShown = 50
	maxUnusedDays      = 3650
)

type adminSessionsPage struct {
	adminPage
	Filter   sessionFilter
	Sessions []foundRow
	Next     int64 // the position before which the next page begins; 0 if there is none
	Later    bool  // this is not the first page
}

// sessionFilter is what an administrator typed to filter the sessions. A person, app or address that does not exist selects none.
type sessionFilter struct {
	Person string
	App    string
	IP     string
	Unused int64 // days; 0 is not typed
}

func readSessionFilter(c *fiber.Ctx) (f sessionFilter, err error) {
	for name, value := range map[string]*string{"person": &f.Person, "app": &f.App, "ip": &f.IP} {
		if *value, err = queryText(c, name); err != nil {
			return f, err
		}
	}
	f.Unused, err = queryNumber(c, "unused", 0, 0, maxUnusedDays)
	return f, err
}

// Query returns the filter for links to the list.
func (f sessionFilter) Query() template.URL {
	query := url.Values{}
	for name, value := range map[string]string{"person": f.Person, "app": f.App, "ip": f.IP} {
		if value != "" {
			query.Set(name, value)
		}
	}
	if f.Unused > 0 {
		query.Set("unused", strconv.FormatInt(f.Unused, 10))
	}
	return template.URL(query.Encode())
}

func (f sessionFilter) inStore(before int64) db.SessionFilter {
	filter := db.SessionFilter{
		Username: f.Person, Host: f.App, IP: canonicalIP(f.IP), UnusedFor: time.Duration(f.Unused) * 24 * time.Hour, Before: before,
	}
	if host, _, ok := db.CanonicalHost(f.App); ok {
		filter.Host = host
	}
	return filter
}

// foundRow is a session in the list of everybody's.
type foundRow struct {
	sessionRow
	UserID   int64
	Username string
}

func (h *handler) showAdminSessions(c *fiber.Ctx) error {
	before, err := queryNumber(c, "before", 0, 1, 1<<62)
	if err != nil {
		return err
	}
	p := adminSessionsPage{adminPage: h.adminPageFor(c, "sessions", "Sessions"), Later: before > 0}
	if p.Filter, err = readSessionFilter(c); err != nil {
		return err
	}
	found, err := h.Store.FindSessions(p.Filter.inStore(before), adminSessionsShown+1)
	if err != nil {
		return err
	}
	if len(found) > adminSessionsShown {
		found = found[:adminSessionsShown]
		p.Next = found[adminSessionsShown-1].Position
	}
	for _, session := range found {
		p.Sessions = append(p.Sessions, foundRow{h.newRow(session.Session, currentSession(c)), session.UserID, session.Username})
	}
	p.notice = flashMessages[c.Query("done")]
	return c.Render("admin/sessions", p)
}

// revokeTickedPage asks for confirmation when JavaScript is off.
type revokeTickedPage struct {
	adminPage
	Filter sessionFilter
	IDs    []string
}

// revokeTicked ends the sessions that an administrator ticked. Like every other way to end sessions, it does not ask for the password.
func (h *handler) revokeTicked(c *fiber.Ctx, body formBody) error {
	filter, err := readSessionFilter(c)
	if err != nil {
		return err
	}
	ids := body.getAll("id")
	switch {
	case len(ids) > adminSessionsShown:
		return problem{fiber.StatusUnprocessableEntity, fmt.Sprintf("Tick at most %d devices at once.", adminSessionsShown)}
	case len(ids) > 0 && body.get("confirm") != "1":
		p := revokeTickedPage{h.adminPageFor(c, "sessions", "Are you sure?"), filter, ids}
		return c.Render("admin/revoke_ticked", p)
	}
	current, done := currentSession(c), "none-ticked"
	if len(ids) > 0 {
		count, err := h.Store.RevokeSessions(c.UserContext(), db.Administrator(current), ids)
		if err != nil {
			return err
		}
		h.Log.Info("revoked sessions", "count", count, "by", current.ID, "administrator", current.Username)
		if done = "ticked"; count == 0 {
			done = "gone"
		}
	}
	return c.Redirect(adminSessionsPath+"?"+string(filter.Query())+"&done="+done, fiber.StatusSeeOther)
}
