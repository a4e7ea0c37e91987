package handlers

import (
	"crypto/sha256"
	"encoding/base64"
	"log/slog"

	"github.com/gofiber/fiber/v2"

	"porchlight/db"
)

// This file shows the pages under an app's address that explain why a request did not reach the app.

// refusalPage is shown under an app's address, where our style sheet is not available. With a Host, it says that the user has no access to
// the app. With a Problem, it says what is wrong.
type refusalPage struct {
	Problem       string
	Misconfigured bool // the server or its proxy is not set up correctly
	User          string
	Approved      bool
	Host          string
	SignOut       string // the address of the sign-out page, which returns to the app
}

// deny responds with 403 to a signed-in user whom the rules do not allow to reach the host.
func (h *handler) deny(c *fiber.Ctx, access *db.AppAccess, request appRequest) error {
	h.logLimited(slog.LevelWarn, "denied", access.SessionID+" "+request.host,
		"user", access.Username, "session", access.SessionID, "host", request.host, "ip", h.client(c).IP)
	c.Status(fiber.StatusForbidden)
	return h.showRefusal(c, refusalPage{
		User: access.Username, Approved: access.Approved, Host: request.host,
		SignOut: h.origin + signOutPath + "?next=" + returnTo(request),
	})
}

// refusalStyle is the style sheet of a refusalPage.
const refusalStyle = "refused.css"

// showRefusal renders a refusalPage. Its Content-Security-Policy allows only its own style.
func (h *handler) showRefusal(c *fiber.Ctx, p refusalPage) error {
	hash := sha256.Sum256(h.assets()[refusalStyle].body)
	c.Set(fiber.HeaderContentSecurityPolicy, "default-src 'none'; style-src 'sha256-"+base64.StdEncoding.EncodeToString(hash[:])+
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	return c.Render("forward/refused", p)
}
