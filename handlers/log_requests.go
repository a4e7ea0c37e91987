package handlers

import (
	"github.com/gofiber/fiber/v2"

	"porchlight/db"
)

// This file logs each request at level debug.

// maxLoggedPathBytes is how many bytes of a path are logged, because a client can send 16 KB.
const maxLoggedPathBytes = 256

// sessionIDKey is where an auth check stores the id of the session for logRequest.
const sessionIDKey = "session id"

// logRequest logs a request after it was answered. Queries and headers can contain tokens, so neither is logged.
func (h *handler) logRequest(c *fiber.Ctx) error {
	start := h.Store.Now()
	if err := c.Next(); err != nil {
		if err := h.answerError(c, err); err != nil { // answered here, because the line needs the status
			return err
		}
	}
	path := c.Path()
	attributes := []any{
		"method", c.Method(), "path", path[:min(len(path), maxLoggedPathBytes)], "status", c.Response().StatusCode(),
		"duration", h.Store.Now().Sub(start), "ip", h.client(c).IP,
	}
	if session, ok := c.Locals(sessionKey).(*db.Session); ok {
		attributes = append(attributes, "session", session.ID)
	} else if id, ok := c.Locals(sessionIDKey).(string); ok {
		attributes = append(attributes, "session", id)
	}
	h.Log.Debug("request", attributes...)
	return nil
}
