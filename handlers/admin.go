package handlers

import "github.com/gofiber/fiber/v2"

// This file owns what all pages for administrators share.

// adminPage is the data that every page for administrators has, for admin/_nav.
type adminPage struct {
	page
	AdminSection string // of the navigation among these pages: people or proxy
}

func (h *handler) adminPageFor(c *fiber.Ctx, section, title string) adminPage {
	p := adminPage{h.pageFor(c, title), section}
	p.Section = "admin"
	return p
}

var errNotAdmin = problem{fiber.StatusForbidden, "Only an administrator can see this."}

// requireAdmin rejects everyone but administrators.
func requireAdmin(c *fiber.Ctx) error {
	if !currentSession(c).IsAdmin {
		return errNotAdmin
	}
	return c.Next()
}

// requireConfirmedChange is requireConfirmed for what may change something.
func (h *handler) requireConfirmedChange(c *fiber.Ctx) error {
	if c.Method() == fiber.MethodGet || c.Method() == fiber.MethodHead {
		return c.Next()
	}
	return h.requireConfirmed(c)
}
