package handlers

import (
	"errors"
	"time"

	"github.com/gofiber/fiber/v2"

	"porchlight/db"
)

// SessionJSON is a session as the API and the commands show it. Times are RFC 3339 in UTC.
type SessionJSON struct {
	ID           string       `json:"id"`
	Username     string       `json:"username,omitempty"` // for commands, which list everybody's sessions
	Kind         string       `json:"kind"`               // browser or app_key
	Host         string       `json:"host,omitempty"`     // the only one that an app key opens
	DeviceName   string       `json:"deviceName"`
	Browser      string       `json:"browser"`        // with which it was last used
	Changed      bool         `json:"browserChanged"` // whether it was used with another browser than at sign-in
	IP           string       `json:"ip"`             // from which it was last used
	SignInIP     string       `json:"signInIp"`
	Method       string       `json:"method"` // "" if that was not stored
	IsNew        bool         `json:"isNew"`
	Shared       bool         `json:"shared"`
	LastActiveAt string       `json:"lastActiveAt"`
	CreatedAt    string       `json:"createdAt"`
	ExpiresAt    *string      `json:"expiresAt"`           // null for an app key that never expires
	IsCurrent    *bool        `json:"isCurrent,omitempty"` // for the API, which has a caller
	Apps         []AppUseJSON `json:"apps"`                // most recently used first
}

// AppUseJSON is an app that a session was used for.
type AppUseJSON struct {
	Host       string `json:"host"`
	LastUsedAt string `json:"lastUsedAt"`
}

// NewSessionJSON returns a session as JSON, without Username and IsCurrent, which the caller may set.
func NewSessionJSON(session db.Session) SessionJSON {
	apps := []AppUseJSON{}
	for _, use := range session.Apps {
		apps = append(apps, AppUseJSON{use.Host, RFC3339(use.LastUsedAt)})
	}
	var expiresAt *string
	if !session.NeverExpires() {
		expiresAt = new(RFC3339(session.ExpiresAt))
	}
	return SessionJSON{
		ID: session.ID, Kind: string(session.Kind), Host: session.Host, DeviceName: session.DeviceName,
		Browser: session.Browser, Changed: session.OtherBrowser != "",
		IP: session.IP, SignInIP: session.SignInIP, Method: session.Method, IsNew: session.IsNew, Shared: session.Shared,
		LastActiveAt: RFC3339(session.LastActiveAt), CreatedAt: RFC3339(session.CreatedAt), ExpiresAt: expiresAt,
		Apps: apps,
	}
}

func sessionForCaller(session, caller db.Session) SessionJSON {
	shown := NewSessionJSON(session)
	isCurrent := session.ID == caller.ID
	shown.IsCurrent = &isCurrent
	shown.IsNew = shown.IsNew && !isCurrent
	return shown
}

// RFC3339 formats a time for JSON: in UTC, to the second.
func RFC3339(at time.Time) string { return at.UTC().Format(time.RFC3339) }

func (h *handler) apiListSessions(c *fiber.Ctx) error {
	current := currentSession(c)
	sessions, _, err := h.Store.Sessions(current.UserID, 0)
	if err != nil {
		return err
	}
	list := make([]SessionJSON, 0, len(sessions))
	for _, session := range sessions {
		list = append(list, sessionForCaller(session, current))
	}
	return c.JSON(list)
}

func (h *handler) apiShowCurrent(c *fiber.Ctx) error {
	session, err := h.readOwnSession(c)
	if err != nil {
		return err
	}
	return c.JSON(sessionForCaller(session, session))
}

func (h *handler) apiEndCurrent(c *fiber.Ctx) error {
	if err := h.endSession(c, currentSession(c)); err != nil {
		return err
	}
	h.clearCookie(c)
	return c.SendStatus(fiber.StatusNoContent)
}

func (h *handler) apiRevokeSession(c *fiber.Ctx) error {
	_, err := h.endOtherSession(c, c.Params("id"))
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
	count, err := h.endOtherSessions(c)
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
		return problem{fiber.StatusUnprocessableEntity, "Send name as a string; an empty string clears it."}
	}
	name, err := checkName(*body.Name)
	if err != nil {
		return err
	}
	current, id := currentSession(c), c.Params("id")
	var renamed db.Session
	if err = h.Store.Rename(c.UserContext(), current, id, name); err == nil {
		renamed, err = h.Store.Session(current.UserID, id)
	}
	if errors.Is(err, db.ErrNotFound) {
		return problem{fiber.StatusNotFound, "Session not found"}
	}
	if err != nil {
		return err
	}
	return c.JSON(sessionForCaller(renamed, current))
}
