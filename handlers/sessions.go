package handlers

import (
	"errors"
	"fmt"

	"github.com/gofiber/fiber/v2"

	"porchlight/db"
)

type sessionsPage struct {
	page
	List    sessionList
	Waiting int // how many people wait for an administrator to approve them
}

func (h *handler) showSessions(c *fiber.Ctx) error {
	list, err := h.loadList(c, listPage(c))
	if err != nil {
		return err
	}
	h.Store.NoteSeen(list.newOnes())
	p := sessionsPage{page: h.pageFor(c, "Your devices"), List: list}
	if p.Waiting, err = h.waitingForApproval(c); err != nil {
		return err
	}
	p.Section, p.notice, p.LastActivity = "devices", flashMessages[c.Query("done")], list.lastActivity()
	return c.Render("sessions/index", p)
}

func (h *handler) listSessions(c *fiber.Ctx) error { return h.answerList(c, notice{}) }

// answerList renders the list section for htmx, with a message about what has just happened for the page's status region.
func (h *handler) answerList(c *fiber.Ctx, status notice) error {
	list, err := h.loadList(c, listPage(c))
	if err != nil {
		return err
	}
	list.Status = status
	return c.Render("sessions/_list", list)
}

// endOtherSession ends another session of the caller.
func (h *handler) endOtherSession(c *fiber.Ctx, id string) (db.Ended, error) {
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

// endOtherSessions ends every session of the caller except the current one, and returns how many it ended.
func (h *handler) endOtherSessions(c *fiber.Ctx) (int, error) {
	current := currentSession(c)
	count, err := h.Store.RevokeOthers(c.UserContext(), current)
	if err == nil {
		h.Log.Info("revoked all others", "user", current.Username, "count", count, "by", current.ID)
	}
	return count, err
}

// errOwnSession is returned for an attempt to revoke the caller's own session.
var errOwnSession = problem{fiber.StatusBadRequest, "This is the device that you are using. Sign out at the top of the page instead."}

// revokeSession responds with 200 and the updated list, even if the session had already ended. With 204, htmx would leave the row in place.
func (h *handler) revokeSession(c *fiber.Ctx) error {
	ended, err := h.endOtherSession(c, c.Params("id"))
	if errors.Is(err, db.ErrNotFound) {
		return h.answerList(c, flashMessages["gone"])
	}
	if err != nil {
		return err
	}
	return h.answerList(c, notice{fmt.Sprintf("Signed out %s, %s.", isolate(ended.DeviceName), ended.IP), true})
}

// askToRevokePage asks for confirmation when JavaScript is off: to end the session ID or, if that is "", the Count other sessions.
type askToRevokePage struct {
	page
	ID         string
	DeviceName string
	Host       string // of an app key
	IP         string
	LastActive moment
	Count      int
}

// revokeSessionByForm is revokeSession for a plain form: it asks for confirmation first, and responds with a redirect.
func (h *handler) revokeSessionByForm(c *fiber.Ctx, body formBody) error {
	id := c.Params("id")
	if body.get("confirm") != "1" {
		return h.askToRevoke(c, id)
	}
	_, err := h.endOtherSession(c, id)
	return redirectToList(c, "revoked", err)
}

// redirectToList redirects to the list after a plain form, with done as the code of the message. If err is db.ErrNotFound, the message
// says that the session had already ended.
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
	return c.Render("sessions/ask", askToRevokePage{
		page: h.pageFor(c, "Are you sure?"),
		ID:   session.ID, DeviceName: session.DeviceName, Host: session.Host, IP: session.IP, LastActive: newMoment(session.LastActiveAt),
	})
}

// notMe ends a session that somebody else began, and all others, and redirects to the password form, because the person who signed in there
// knows the old one.
func (h *handler) notMe(c *fiber.Ctx, body formBody) error {
	current, id := currentSession(c), c.Params("id")
	if id == current.ID {
		return errOwnSession
	}
	if body.get("confirm") != "1" {
		session, err := h.Store.Session(current.UserID, id)
		if err != nil {
			return redirectToList(c, "", err)
		}
		return c.Render("sessions/not_me", askToRevokePage{
			page: h.pageFor(c, "Wasn't this you?"),
			ID:   session.ID, DeviceName: session.DeviceName, Host: session.Host, IP: session.IP, LastActive: newMoment(session.LastActiveAt),
		})
	}
	if err := h.Store.NotMe(c.UserContext(), current, id); err != nil {
		return redirectToList(c, "", err)
	}
	h.Log.Warn("reported a session that somebody else began", "user", current.Username, "session", id, "by", current.ID)
	return c.Redirect(passwordPath+"?done=not-me", fiber.StatusSeeOther)
}

func (h *handler) revokeOthers(c *fiber.Ctx, body formBody) error {
	if !isHTMX(c) && body.get("confirm") != "1" {
		return h.askToRevokeOthers(c)
	}
	count, err := h.endOtherSessions(c)
	if err != nil {
		return err
	}
	if isHTMX(c) {
		status := "You were not signed in anywhere else."
		if count > 0 {
			status = fmt.Sprintf("Signed out of %s.", otherDevices(count))
		}
		return h.answerList(c, notice{Message: status})
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
	return c.Render("sessions/ask", askToRevokePage{page: h.pageFor(c, "Are you sure?"), Count: count})
}

// otherDevices returns "1 other device" or, for example, "all 4 other devices".
func otherDevices(count int) string {
	if count == 1 {
		return "1 other device"
	}
	return fmt.Sprintf("all %d other devices", count)
}

func (h *handler) nameSession(c *fiber.Ctx, body formBody) error {
	id := c.Params("id")
	name, err := checkName(body.get("name"))
	switch {
	case err != nil && isHTMX(c):
		return err // the status region shows it, and the list stays, with what was typed
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
	list, err := h.loadList(c, 1) // up to 100 rows, because the form does not say which page it was on
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
