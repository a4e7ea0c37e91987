package handlers

import (
	"errors"
	"log/slog"

	"github.com/gofiber/fiber/v2"

	"porchlight/db"
)

// This file resets forgotten passwords: a user asks for a link, and chooses a new password with it.

const (
	forgotPath = "/forgot"
	resetPath  = "/reset"
)

type forgotPage struct {
	page
	Name field
}

// ifMail returns a handler that responds with 404 if the server sends no mail.
func (h *handler) ifMail(handle fiber.Handler) fiber.Handler {
	if !h.Mail {
		return func(*fiber.Ctx) error { return fiber.ErrNotFound }
	}
	return handle
}

func (h *handler) showForgot(c *fiber.Ctx) error {
	p := forgotPage{page: page{Title: "Forgot your password?"}, Name: field{Kind: "login", Name: "name"}}
	p.notice = flashMessages[c.Query("done")]
	p.Name.Autofocus = p.Message == ""
	return c.Render("reset/forgot", p)
}

// requestReset gives the same response whether the account exists or not.
func (h *handler) requestReset(c *fiber.Ctx, body formBody) error {
	if err := h.Store.RequestReset(c.UserContext(), body.get("name"), h.client(c)); err != nil {
		return err
	}
	return c.Redirect(forgotPath+"?done=link-sent", fiber.StatusSeeOther)
}

// showReset changes nothing, because mail scanners open links.
func (h *handler) showReset(c *fiber.Ctx) error {
	token := c.Query("token")
	user, err := h.Store.Reset(c.UserContext(), token, h.client(c))
	if errors.Is(err, db.ErrNotFound) {
		return h.refuseLink(c)
	}
	if err != nil {
		return err
	}
	return c.Render("reset/index", newChoosePasswordPage(resetPath, token, user.Username))
}

// errLink is the same for used, expired and unknown links.
var errLink = problem{fiber.StatusNotFound, "This link is not valid. It has been used, has expired, or was replaced by a newer one."}

// refuseLink logs the attempt, because nobody types a token by hand, and responds with 404. It does not log the token, which may be valid
// on another server.
func (h *handler) refuseLink(c *fiber.Ctx) error {
	ip := h.client(c).IP
	h.logLimited(slog.LevelWarn, "wrong link", logSubject(ip), "path", c.Path(), "ip", ip)
	return errLink
}

// resetPassword sets the new password and signs in, or redirects to the second step, so that access to the mailbox is not enough.
func (h *handler) resetPassword(c *fiber.Ctx, body formBody) error {
	token := body.get("token")
	err := h.createOnce(c, body, db.ByReset, func() (db.User, error) {
		user, err := h.Store.ResetPassword(c.UserContext(), token, body.secret("password"), h.client(c))
		if err == nil {
			h.Log.Info("password reset", "user", user.Username, "ip", h.client(c).IP)
		}
		return user, err
	})
	invalid, isInvalid := errors.AsType[db.Invalid](err)
	switch {
	case errors.Is(err, db.ErrNotFound):
		return h.refuseLink(c)
	case isInvalid:
		user, err := h.Store.Reset(c.UserContext(), token, h.client(c))
		if errors.Is(err, db.ErrNotFound) {
			return h.refuseLink(c)
		}
		if err != nil {
			return err
		}
		p := newChoosePasswordPage(resetPath, token, user.Username)
		p.Form.mark(invalid, &p.Password)
		return refuse(c, "reset/index", &p)
	}
	return redirectSignedIn(c, "", err)
}
