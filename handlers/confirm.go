package handlers

import (
	"cmp"
	"errors"
	"net/url"
	"strings"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	"porchlight/db"
)

// This file owns step-up: before a change that could lock the owner out, the person in front of the browser proves to be the owner, with a
// password or a passkey.

// requireConfirmed lets a request pass if the session was confirmed a short time ago. Otherwise it asks for the password, and keeps
// what was typed into the form that was sent.
func (h *handler) requireConfirmed(c *fiber.Ctx) error {
	if h.isConfirmed(c) {
		return c.Next()
	}
	switch {
	case isAPI(c) || isJSON(c):
		return c.Status(fiber.StatusForbidden).JSON(fiber.Map{"error": "Confirm it's you first.", "confirm": true})
	case isHTMX(c):
		c.Set("HX-Redirect", confirmPath+"?next="+url.QueryEscape(currentPath(c)))
		return c.SendStatus(fiber.StatusForbidden)
	case c.Method() == fiber.MethodGet:
		return c.Redirect(confirmPath+"?next="+url.QueryEscape(currentPath(c)), fiber.StatusSeeOther)
	}
	body, err := readForm(c)
	if err != nil {
		return err
	}
	p, err := h.newConfirmPage(c, c.Path(), "", body)
	if err != nil {
		return err
	}
	return c.Status(fiber.StatusForbidden).Render("confirm/index", p)
}

func (h *handler) isConfirmed(c *fiber.Ctx) bool { return h.Store.Confirmed(currentSession(c)) }

const confirmPath = "/confirm"

type confirmPage struct {
	page
	Form     form
	Password field
	Passkeys bool        // the user has one, and browsers accept passkeys at the public address
	Back     string      // target of "Cancel"
	Next     string      // the page to continue to, if no form was sent
	To       string      // the path that the form was sent to, or ""
	Kept     []formField // what the form holds
}

type formField struct{ Name, Value string }

// Fields of the confirm page itself. No other form has one of these names, because the next page gets the fields of both.
const (
	confirmPassword = "confirm_password"
	confirmTo       = "confirm_to"
	confirmNext     = "confirm_next"
)

// fields returns the fields of a form except those of the confirm page.
func (b formBody) fields() (fields []formField) {
	for name, value := range b.args.All() {
		if !strings.HasPrefix(string(name), "confirm_") {
			fields = append(fields, formField{string(name), string(value)})
		}
	}
	return fields
}

func (h *handler) newConfirmPage(c *fiber.Ctx, to, next string, body formBody) (confirmPage, error) {
	factors, err := h.Store.Factors(currentSession(c).UserID)
	p := confirmPage{
		page:     h.pageFor(c, "Confirm it's you"),
		Password: field{Kind: "your-password", Name: confirmPassword, Autofocus: true},
		Passkeys: len(factors.Passkeys) > 0 && h.passkeys != nil,
		To:       to,
		Next:     next,
		Kept:     body.fields(),
		Back:     accountPath,
	}
	p.Section = "account"
	if strings.HasPrefix(cmp.Or(to, next), "/admin/") {
		p.Section, p.Back = "admin", usersPath
	}
	return p, err
}

func (h *handler) showConfirm(c *fiber.Ctx) error {
	next := safePath(c.Query("next"))
	if h.isConfirmed(c) {
		return c.Redirect(cmp.Or(next, accountPath), fiber.StatusSeeOther)
	}
	p, err := h.newConfirmPage(c, "", next, formBody{new(fasthttp.Args)})
	if err != nil {
		return err
	}
	return c.Render("confirm/index", p)
}

// confirm checks the password, unless the session has just been confirmed, and continues with the original request. A form that
// was held back is sent again by the browser: 307 keeps the method and the body.
func (h *handler) confirm(c *fiber.Ctx, body formBody) error {
	to, next := safePath(body.get(confirmTo)), safePath(body.get(confirmNext))
	if !h.isConfirmed(c) || body.has(confirmPassword) {
		err := h.Store.ConfirmWithPassword(c.UserContext(), currentSession(c), h.client(c), body.secret(confirmPassword))
		if errors.Is(err, db.ErrWrongPassword) {
			h.logFailedCheck(c)
			p, err := h.newConfirmPage(c, to, next, body)
			if err != nil {
				return err
			}
			p.Form.mark(db.Invalid{confirmPassword: "This is not your password."}, &p.Password)
			return refuse(c, "confirm/index", &p)
		}
		if err != nil {
			return err
		}
		h.Log.Info("confirmed", "user", currentSession(c).Username, "session", currentSession(c).ID)
	}
	if to != "" {
		return c.Redirect(to, fasthttp.StatusTemporaryRedirect)
	}
	return c.Redirect(cmp.Or(next, accountPath), fiber.StatusSeeOther)
}
