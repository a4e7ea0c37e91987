package handlers

import (
	"strings"

	"github.com/gofiber/fiber/v2"
)

// This file owns what all pages for administrators share.

// adminPage is the data that every page for administrators has in common, for admin/_nav.
type adminPage struct {
	page
	AdminSection string // of the navigation among these pages: people, sessions, apps, activity or proxy
}

func (h *handler) adminPageFor(c *fiber.Ctx, section, title string) adminPage {
	p := adminPage{h.pageFor(c, title), section}
	p.Section = "admin"
	return p
}

var errNotAdmin = problem{fiber.StatusForbidden, "Only an administrator can see this."}

// requireAdmin rejects everyone except administrators.
func requireAdmin(c *fiber.Ctx) error {
	if !currentSession(c).IsAdmin {
		return errNotAdmin
	}
	return c.Next()
}

// maxFilterBytes is the maximum number of bytes in a filter field: the length of the longest e-mail address.
const maxFilterBytes = 254

// queryText returns the text of a field of a filter.
func queryText(c *fiber.Ctx, name string) (string, error) {
	text := strings.TrimSpace(strings.ToValidUTF8(c.Query(name), "\ufffd"))
	if len(text) > maxFilterBytes {
		return "", problem{fiber.StatusUnprocessableEntity, "That filter is too long."}
	}
	return text, nil
}

// canonicalIP returns an IP address as it is stored, or the text itself if it is none.
func canonicalIP(text string) string {
	address, err := parseAddress(text)
	if err != nil {
		return text
	}
	return address.String()
}

// requireConfirmedChange is requireConfirmed for requests that may change something.
func (h *handler) requireConfirmedChange(c *fiber.Ctx) error {
	if c.Method() == fiber.MethodGet || c.Method() == fiber.MethodHead {
		return c.Next()
	}
	return h.requireConfirmed(c)
}

// maxWaiting is how many of those who wait for approval are counted.
const maxWaiting = 99

// waitingForApproval returns how many people are waiting for an administrator's approval, at most maxWaiting, for admin/_waiting. It
// returns 0 for everyone else.
func (h *handler) waitingForApproval(c *fiber.Ctx) (int, error) {
	if !currentSession(c).IsAdmin {
		return 0, nil
	}
	return h.Store.WaitingForApproval(maxWaiting)
}
