package handlers

import (
	"errors"
	"fmt"

	"github.com/gofiber/fiber/v2"

	"porchlight/db"
)

// This file owns the devices of one person, as an administrator sees them: the same rows as on "Your devices", with the same live updates.

// personSessions is the data of the list of devices, both as a part of the page and as a fragment.
type personSessions struct {
	Now    moment
	Person db.User
	Path   string // of the list
	Rows   []sessionRow
	Count  int    // of all devices, including those that are not shown
	Others int    // of the devices that "Sign out everywhere" ends: all but the administrator's own session
	Status notice // what has just happened, for the status region; only in the fragment
}

func (h *handler) loadPersonSessions(c *fiber.Ctx, person db.User) (personSessions, error) {
	own, err := h.readOwnSession(c)
	if err != nil {
		return personSessions{}, err
	}
	sessions, total, err := h.Store.Sessions(person.ID, maxRows)
	if err != nil {
		return personSessions{}, err
	}
	list := personSessions{
		Now: newMoment(h.Store.Now()), Person: person, Path: personPath(person.ID) + "/sessions", Count: total, Others: total,
		Rows: make([]sessionRow, 0, len(sessions)),
	}
	for _, session := range sessions {
		row := h.newRow(session, own)
		row.Path = list.Path
		list.Rows = append(list.Rows, row)
	}
	if person.ID == own.UserID {
		list.Others--
	}
	markTwins(list.Rows)
	return list, nil
}

func (h *handler) listPersonSessions(c *fiber.Ctx) error { return h.answerPersonSessions(c, notice{}) }

// answerPersonSessions renders the list for htmx, with a message about what has just happened.
func (h *handler) answerPersonSessions(c *fiber.Ctx, status notice) error {
	person, err := h.person(c)
	if err != nil {
		return err
	}
	list, err := h.loadPersonSessions(c, person)
	if err != nil {
		return err
	}
	list.Status = status
	return c.Render("admin/_sessions", list)
}

func (h *handler) streamPersonEvents(c *fiber.Ctx) error {
	person, err := h.person(c)
	if err != nil {
		return err
	}
	return h.stream(c, person.ID)
}

// endPersonSession ends a session of the person in the path.
func (h *handler) endPersonSession(c *fiber.Ctx) (person db.User, ended db.Ended, err error) {
	if person, err = h.person(c); err != nil {
		return person, ended, errNoPerson
	}
	current, id := currentSession(c), c.Params("session")
	if id == current.ID {
		return person, ended, errOwnSession
	}
	ended, err = h.Store.RevokeSession(c.UserContext(), db.Administrator(current), person.ID, id)
	if err == nil {
		h.Log.Info("revoked", "user", person.Username, "session", ended.ID, "device", ended.DeviceName, "by", current.Username)
	}
	return person, ended, err
}

// errNoPerson is different from db.ErrNotFound, which says that the session has ended.
var errNoPerson = problem{fiber.StatusNotFound, generic[fiber.StatusNotFound]}

func (h *handler) revokePersonSession(c *fiber.Ctx) error {
	person, ended, err := h.endPersonSession(c)
	if errors.Is(err, db.ErrNotFound) {
		return h.answerPersonSessions(c, notice{Message: fmt.Sprintf(personMessages["gone"], person.Username)})
	}
	if err != nil {
		return err
	}
	return h.answerPersonSessions(c, notice{Message: fmt.Sprintf("Signed out %s, %s.", isolate(ended.DeviceName), ended.IP)})
}

// askPersonSessionPage asks for confirmation to end one session when JavaScript is off.
type askPersonSessionPage struct {
	adminPage
	Person     personRow
	ID         string
	DeviceName string
	IP         string
	LastActive moment
}

// revokePersonSessionByForm is revokePersonSession for a plain form.
func (h *handler) revokePersonSessionByForm(c *fiber.Ctx, body formBody) error {
	if body.get("confirm") != "1" {
		return h.askToRevokePersonSession(c)
	}
	person, _, err := h.endPersonSession(c)
	done := "revoked"
	if errors.Is(err, db.ErrNotFound) {
		done, err = "gone", nil
	}
	if err != nil {
		return err
	}
	return c.Redirect(personPath(person.ID)+"?done="+done, fiber.StatusSeeOther)
}

func (h *handler) askToRevokePersonSession(c *fiber.Ctx) error {
	person, err := h.person(c)
	if err != nil {
		return err
	}
	current, id := currentSession(c), c.Params("session")
	if id == current.ID {
		return errOwnSession
	}
	session, err := h.Store.Session(person.ID, id)
	if errors.Is(err, db.ErrNotFound) {
		return c.Redirect(personPath(person.ID)+"?done=gone", fiber.StatusSeeOther)
	}
	if err != nil {
		return err
	}
	return c.Render("admin/ask_session", askPersonSessionPage{
		adminPage: h.adminPageFor(c, "people", "Are you sure?"), Person: newPersonRow(person, current),
		ID: session.ID, DeviceName: session.DeviceName, IP: session.IP, LastActive: newMoment(session.LastActiveAt),
	})
}

// revokePersonSessions signs a person out everywhere. Administrators who sign out themselves keep the session they are using.
func (h *handler) revokePersonSessions(c *fiber.Ctx, body formBody) error {
	if !isHTMX(c) && body.get("confirm") != "1" {
		return h.askPerson(c, "revoke")
	}
	person, err := h.person(c)
	if err != nil {
		return err
	}
	current := currentSession(c)
	count, err := h.Store.RevokeUser(c.UserContext(), db.Administrator(current), person.Username)
	if err != nil {
		return err
	}
	h.Log.Info("revoked all", "user", person.Username, "count", count, "by", current.Username)
	if isHTMX(c) {
		return h.answerPersonSessions(c, notice{Message: fmt.Sprintf(personMessages["signed-out"], person.Username)})
	}
	return c.Redirect(personPath(person.ID)+"?done=signed-out", fiber.StatusSeeOther)
}
