package handlers

import "github.com/gofiber/fiber/v2"

// This file owns what every page for administrators shares.

var errNotAdmin = problem{fiber.StatusForbidden, "Only an administrator can see this."}

// requireAdmin rejects everyone but administrators.
func requireAdmin(c *fiber.Ctx) error {
	if !currentSession(c).IsAdmin {
		return errNotAdmin
	}
	return c.Next()
}
