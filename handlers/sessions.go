package handlers

import (
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/gofiber/fiber/v2"

	"porchlight/db"
)

const (
	rowsShown = 20  // other devices on the page; "Show all" shows the rest
	rowsMost  = 500 // even then: a page stays a page
)

// sessionList is the section with the devices, for the page and for the fragment alike.
type sessionList struct {
	Current sessionRow
	Others  []sessionRow
	Count   int // of the others, shown or not
	All     bool
	Most    int // how many of the others a page shows at the most
	Status  string
}

// Hidden is how many devices are not shown.
func (l sessionList) Hidden() int { return max(l.Count-len(l.Others), 0) }

// find returns the row of a session, or nil when the list does not show it.
func (l *sessionList) find(id string) *sessionRow {
	if l.Current.ID == id {
		return &l.Current
	}
	for i := range l.Others {
		if l.Others[i].ID == id {
			return &l.Others[i]
		}
	}
	return nil
}

// sessionRow is one device in the list, with all that its row shows.
type sessionRow struct {
	rowFacts
	Apps usedApps
}

// rowFacts can be compared: see rowCache.
type rowFacts struct {
	ID         string
	DeviceName string
	CustomName string
	NameError  string // what is wrong with the name that was typed, which CustomName then is
	Kind       string
	IP         string
	UserAgent  string
	Shared     bool
	Current    bool
	Active     string // "9 minutes ago"; "" is now
	LastActive moment
	SignedIn   moment
	Expires    moment
	Ends       moment // however busy it is
}

// activeNow is how long after its last use a device counts as active now.
const activeNow = 3 * time.Minute

func (h *handler) newRow(session db.Session, current bool) sessionRow {
	row := sessionRow{rowFacts: rowFacts{
		ID: session.ID, DeviceName: session.DeviceName, CustomName: session.CustomName, Kind: session.DeviceKind,
		IP: session.IP, UserAgent: session.UserAgent, Shared: session.Shared, Current: current,
		LastActive: newMoment(session.LastActiveAt), SignedIn: newMoment(session.CreatedAt), Expires: newMoment(session.ExpiresAt),
		Ends: newMoment(session.EndsAt),
	}}
	now := h.Store.Now()
	if !current && now.Sub(session.LastActiveAt) >= activeNow {
		row.Active = row.LastActive.ago(now)
	}
	row.Apps = newUsedApps(session.Apps, now)
	return row
}

// loadList reads the caller's devices: this one first, then the others, last active first.
func (h *handler) loadList(c *fiber.Ctx, all bool) (sessionList, error) {
	own, err := h.readOwnSession(c)
	if err != nil {
		return sessionList{}, err
	}
	list := sessionList{Current: h.newRow(own, true), All: all, Most: rowsMost}
	limit := rowsShown
	if all {
		limit = rowsMost
	}
	sessions, total, err := h.Store.Sessions(own.UserID, limit+1)
	if err != nil {
		return list, err
	}
	for _, session := range sessions {
		if session.ID != own.ID && len(list.Others) < limit {
			list.Others = append(list.Others, h.newRow(session, false))
		}
	}
	list.Count = max(total-1, len(list.Others))
	return list, nil
}

// readOwnSession returns the caller's session with its apps, which currentSession does not have, or db.ErrSessionEnded.
func (h *handler) readOwnSession(c *fiber.Ctx) (db.Session, error) {
	current := currentSession(c)
	session, err := h.Store.Session(current.UserID, current.ID)
	if errors.Is(err, db.ErrNotFound) {
		err = db.ErrSessionEnded
	}
	return session, err
}

type sessionsPage struct {
	page
	List sessionList
}

// flashMessages are the messages that a page shows after a redirect, by their code: never text from the address.
var flashMessages = map[string]string{
	"revoked":  "Signed out that device.",
	"gone":     "That device was already signed out. The list is up to date.",
	"others":   "Signed out of your other devices.",
	"named":    "The name was changed.",
	"password": "Your password was changed.",
}

func (h *handler) showSessions(c *fiber.Ctx) error {
	list, err := h.loadList(c, c.Query("all") == "1")
	if err != nil {
		return err
	}
	p := sessionsPage{page: h.pageFor(c, "Your devices"), List: list}
	p.Section, p.Message = "devices", flashMessages[c.Query("done")]
	return c.Render("sessions/index", p)
}

func (h *handler) listSessions(c *fiber.Ctx) error { return h.answerList(c, "") }

// answerList is the list section alone, and beside it what happened, for the standing status region.
func (h *handler) answerList(c *fiber.Ctx, status string) error {
	list, err := h.loadList(c, c.Query("all") == "1" || currentURLQuery(c).Get("all") == "1")
	if err != nil {
		return err
	}
	list.Status = status
	return c.Render("sessions/_list", list)
}

// currentURLQuery is the query of the page that htmx asks from.
func currentURLQuery(c *fiber.Ctx) url.Values {
	at, err := url.Parse(c.Get("HX-Current-URL"))
	if err != nil {
		return nil
	}
	return at.Query()
}

// revoke ends another session of the caller.
func (h *handler) revoke(c *fiber.Ctx, id string) (db.Ended, error) {
	current := currentSession(c)
	if id == current.ID {
		return db.Ended{}, errOwnSession
	}
	ended, err := h.Store.Revoke(c.UserContext(), current, id)
	if err == nil {
		h.Log.Info("revoked", "user", current.Username, "session", ended.ID, "device", ended.DeviceName, "by", current.ID)
	}
	return ended, err
}

func (h *handler) revokeAllOthers(c *fiber.Ctx) (int, error) {
	current := currentSession(c)
	count, err := h.Store.RevokeOthers(c.UserContext(), current)
	if err == nil {
		h.Log.Info("revoked all others", "user", current.Username, "count", count, "by", current.ID)
	}
	return count, err
}

// errOwnSession refuses to revoke the session that is used for it, because that is signing out.
var errOwnSession = problem{fiber.StatusBadRequest, "This is the device that you are using. Sign out at the top of the page instead."}

// revokeSession answers 200 with the fresh list even when the session was gone: the list is what the person wants,
// and 204 would leave the row standing.
func (h *handler) revokeSession(c *fiber.Ctx) error {
	ended, err := h.revoke(c, c.Params("id"))
	if errors.Is(err, db.ErrNotFound) {
		return h.answerList(c, flashMessages["gone"])
	}
	if err != nil {
		return err
	}
	return h.answerList(c, fmt.Sprintf("Signed out %s, %s.", isolate(ended.DeviceName), ended.IP))
}

// confirmPage asks before something ends, where no script can: one session or, without an ID, Count others.
type confirmPage struct {
	page
	ID         string
	DeviceName string
	IP         string
	LastActive moment
	Count      int
}

// revokeSessionByForm is revokeSession for a plain form: it asks first, and ends with a redirect.
func (h *handler) revokeSessionByForm(c *fiber.Ctx, body formBody) error {
	id := c.Params("id")
	if body.get("confirm") != "1" {
		return h.askToRevoke(c, id)
	}
	_, err := h.revoke(c, id)
	return redirectToList(c, "revoked", err)
}

// redirectToList answers a plain form that changed a session. If the session had ended already, the page says so.
func redirectToList(c *fiber.Ctx, done string, err error) error {
	if errors.Is(err, db.ErrNotFound) {
		done, err = "gone", nil
	}
	if err != nil {
		return err
	}
	return c.Redirect(sessionsPath+"?done="+done, fiber.StatusSeeOther)
}

func (h *handler) askToRevoke(c *fiber.Ctx, id string) error {
	current := currentSession(c)
	if id == current.ID {
		return errOwnSession
	}
	session, err := h.Store.Session(current.UserID, id)
	if err != nil {
		return redirectToList(c, "", err)
	}
	return c.Render("sessions/confirm", confirmPage{
		page: h.pageFor(c, "Are you sure?"),
		ID:   session.ID, DeviceName: session.DeviceName, IP: session.IP, LastActive: newMoment(session.LastActiveAt),
	})
}

func (h *handler) revokeOthers(c *fiber.Ctx, body formBody) error {
	if !isHTMX(c) && body.get("confirm") != "1" {
		return h.askToRevokeOthers(c)
	}
	count, err := h.revokeAllOthers(c)
	if err != nil {
		return err
	}
	if isHTMX(c) {
		status := "You were not signed in anywhere else."
		if count > 0 {
			status = fmt.Sprintf("Signed out of %s.", otherDevices(count))
		}
		return h.answerList(c, status)
	}
	return redirectToList(c, "others", nil)
}

func (h *handler) askToRevokeOthers(c *fiber.Ctx) error {
	current := currentSession(c)
	_, total, err := h.Store.Sessions(current.UserID, 1)
	if err != nil {
		return err
	}
	count := max(total-1, 0)
	if count == 0 {
		return c.Redirect(sessionsPath, fiber.StatusSeeOther)
	}
	return c.Render("sessions/confirm", confirmPage{page: h.pageFor(c, "Are you sure?"), Count: count})
}

// otherDevices is "1 other device" or "4 other devices".
func otherDevices(count int) string { return plural(count, "other device") }

func (h *handler) nameSession(c *fiber.Ctx, body formBody) error {
	id := c.Params("id")
	name, err := checkName(body.get("name"))
	switch {
	case err != nil && isHTMX(c):
		return err // the status says it, and the list with what was typed stays
	case err != nil:
		return h.refuseName(c, id, body.get("name"), err)
	}
	err = h.Store.Rename(c.UserContext(), currentSession(c), id, name)
	switch {
	case isHTMX(c) && err == nil:
		return h.answerList(c, flashMessages["named"])
	case isHTMX(c) && errors.Is(err, db.ErrNotFound):
		return h.answerList(c, flashMessages["gone"])
	}
	return redirectToList(c, "named", err)
}

// refuseName shows the list again, with the reason beside the name that was typed.
func (h *handler) refuseName(c *fiber.Ctx, id, typed string, reason error) error {
	list, err := h.loadList(c, true)
	if err != nil {
		return err
	}
	row := list.find(id)
	if row == nil {
		return reason
	}
	row.CustomName = typed
	_, row.NameError = h.describe(c, reason)
	p := sessionsPage{page: h.pageFor(c, "Your devices"), List: list}
	p.Section = "devices"
	return refuse(c, "sessions/index", &p)
}
