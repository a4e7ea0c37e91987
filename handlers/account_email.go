package handlers

import (
	"errors"

	"github.com/gofiber/fiber/v2"

	"porchlight/db"
)

// This file owns the change of the e-mail address: the form, and the page that the mailed link opens, which works signed out.

const (
	emailPath        = "/account/email"
	emailConfirmPath = emailPath + "/confirm"
)

type emailPage struct {
	page
	Form    form
	Current string // the address that counts now, or ""
	New     string // the address that waits to be confirmed, or ""
	Email   field
}

func (h *handler) newEmailPage(c *fiber.Ctx) (emailPage, error) {
	p := emailPage{page: h.pageFor(c, "Your e-mail address"), Email: field{Kind: "new-email", Name: "email"}}
	p.Section = "account"
	account, err := h.Store.Account(currentSession(c))
	if err != nil {
		return p, err
	}
	p.Current = account.Email
	if p.New, err = h.Store.UnconfirmedEmail(account.ID); errors.Is(err, db.ErrNotFound) {
		err = nil
	}
	return p, err
}

func (h *handler) showEmail(c *fiber.Ctx) error {
	p, err := h.newEmailPage(c)
	if err != nil {
		return err
	}
	p.notice = flashMessages[c.Query("done")]
	p.Email.Autofocus = p.Message == ""
	return c.Render("account/email", p)
}

// requestEmailChange mails a link to the new address. The response is the same if that address belongs to somebody else.
func (h *handler) requestEmailChange(c *fiber.Ctx, body formBody) error {
	current := currentSession(c)
	err := h.Store.RequestEmailChange(c.UserContext(), current, body.get("email"))
	if invalid, ok := errors.AsType[db.Invalid](err); ok {
		p, err := h.newEmailPage(c)
		if err != nil {
			return err
		}
		p.Email.Value = body.get("email")
		p.Form.mark(invalid, &p.Email)
		return refuse(c, "account/email", &p)
	}
	if err != nil {
		return err
	}
	h.Log.Info("another e-mail address was entered", "user", current.Username, "session", current.ID)
	return c.Redirect(emailPath+"?done=email-link", fiber.StatusSeeOther)
}

func (h *handler) cancelEmailChange(c *fiber.Ctx) error {
	if err := h.Store.CancelEmailChange(c.UserContext(), currentSession(c)); err != nil {
		return err
	}
	return c.Redirect(emailPath+"?done=email-cancelled", fiber.StatusSeeOther)
}

type confirmEmailPage struct {
	page
	Form     form
	Token    string
	Username string
	Email    string
}

// showConfirmEmail changes nothing, because mail scanners open links.
func (h *handler) showConfirmEmail(c *fiber.Ctx) error {
	p, err := h.newConfirmEmailPage(c, c.Query("token"))
	if err != nil {
		return err
	}
	return c.Render("account/confirm_email", p)
}

func (h *handler) newConfirmEmailPage(c *fiber.Ctx, token string) (confirmEmailPage, error) {
	change, err := h.Store.EmailChange(c.UserContext(), token, h.client(c))
	if errors.Is(err, db.ErrNotFound) {
		err = h.refuseLink(c)
	}
	return confirmEmailPage{
		page: page{Title: "Confirm your e-mail address"}, Token: token, Username: change.Username, Email: change.Email,
	}, err
}

func (h *handler) confirmEmail(c *fiber.Ctx, body formBody) error {
	token := body.get("token")
	change, err := h.Store.ConfirmEmail(c.UserContext(), token, h.client(c))
	invalid, isInvalid := errors.AsType[db.Invalid](err)
	switch {
	case errors.Is(err, db.ErrNotFound):
		return h.refuseLink(c)
	case isInvalid:
		p, err := h.newConfirmEmailPage(c, token)
		if err != nil {
			return err
		}
		p.Form.Error = invalid["email"]
		return refuse(c, "account/confirm_email", &p)
	case err != nil:
		return err
	}
	h.Log.Info("e-mail address confirmed", "user", change.Username, "ip", h.client(c).IP)
	to := emailPath
	if _, _, err := h.findSession(c); err != nil {
		to = signInPath
	}
	return c.Redirect(to+"?done=email", fiber.StatusSeeOther)
}
