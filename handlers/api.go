package handlers

import (
	"errors"
	"time"

	"github.com/gofiber/fiber/v2"

	"porchlight/db"
)

// apiSession is a session as the API tells it. Times are RFC 3339 in UTC.
type apiSession struct {
	ID           string   `json:"id"`
	DeviceName   string   `json:"deviceName"`
	IP           string   `json:"ip"`
	LastActiveAt string   `json:"lastActiveAt"`
	CreatedAt    string   `json:"createdAt"`
	ExpiresAt    string   `json:"expiresAt"`
	IsCurrent    bool     `json:"isCurrent"`
	Apps         []apiApp `json:"apps"` // last used first
}

// apiApp is an app that a session was used for.
type apiApp struct {
	Host       string `json:"host"`
	LastUsedAt string `json:"lastUsedAt"`
}

func newAPISession(session, current db.Session) apiSession {
	apps := []apiApp{}
	for _, use := range session.Apps.All() {
		apps = append(apps, apiApp{use.Host, rfc3339(use.LastUsedAt)})
	}
	return apiSession{
		ID: session.ID, DeviceName: session.DeviceName, IP: session.IP,
		LastActiveAt: rfc3339(session.LastActiveAt), CreatedAt: rfc3339(session.CreatedAt), ExpiresAt: rfc3339(session.ExpiresAt),
		IsCurrent: session.ID == current.ID, Apps: apps,
	}
}

func rfc3339(at time.Time) string { return at.UTC().Format(time.RFC3339) }

func (h *handler) apiListSessions(c *fiber.Ctx) error {
	current := currentSession(c)
	sessions, _, err := h.Store.Sessions(c.UserContext(), current.UserID, 0)
	if err != nil {
		return err
	}
	list := make([]apiSession, 0, len(sessions))
	for _, session := range sessions {
		list = append(list, newAPISession(session, current))
	}
	return c.JSON(list)
}

func (h *handler) apiShowCurrent(c *fiber.Ctx) error {
	current := currentSession(c)
	session, err := h.Store.Session(c.UserContext(), current.UserID, current.ID)
	if errors.Is(err, db.ErrNotFound) {
		return db.ErrSessionEnded
	}
	if err != nil {
		return err
	}
	return c.JSON(newAPISession(session, current))
}

func (h *handler) apiEndCurrent(c *fiber.Ctx) error {
	if err := h.endSession(c, currentSession(c)); err != nil {
		return err
	}
	h.clearCookie(c)
	return c.SendStatus(fiber.StatusNoContent)
}

func (h *handler) apiRevokeSession(c *fiber.Ctx) error {
	_, err := h.revoke(c, c.Params("id"))
	switch {
	case errors.Is(err, errOwnSession):
		return problem{fiber.StatusBadRequest, "Use POST /logout to end your current session."}
	case errors.Is(err, db.ErrNotFound):
		return problem{fiber.StatusNotFound, "Session not found"}
	case err != nil:
		return err
	}
	return c.JSON(fiber.Map{"message": "Session revoked."})
}

func (h *handler) apiRevokeOthers(c *fiber.Ctx) error {
	count, err := h.revokeAllOthers(c)
	if err != nil {
		return err
	}
	return c.JSON(fiber.Map{"message": "All other sessions have been revoked.", "revoked": count})
}

func (h *handler) apiNameSession(c *fiber.Ctx) error {
	var body struct {
		Name *string `json:"name"`
	}
	if err := readJSON(c, &body); err != nil {
		return err
	}
	if body.Name == nil {
		return problem{fiber.StatusUnprocessableEntity, "Give name as a string; an empty one forgets the name."}
	}
	name, err := checkName(*body.Name)
	if err != nil {
		return err
	}
	current, id := currentSession(c), c.Params("id")
	var renamed db.Session
	if err = h.Store.Rename(c.UserContext(), current, id, name); err == nil {
		renamed, err = h.Store.Session(c.UserContext(), current.UserID, id)
	}
	if errors.Is(err, db.ErrNotFound) {
		return problem{fiber.StatusNotFound, "Session not found"}
	}
	if err != nil {
		return err
	}
	return c.JSON(newAPISession(renamed, current))
}
