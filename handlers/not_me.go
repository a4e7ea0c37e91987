package handlers

import (
	"errors"
	"fmt"

	"github.com/gofiber/fiber/v2"

	"porchlight/db"
)

// This file owns "This wasn't me": the link in every mailed alert. It works signed out.

const notMePath = "/not-me"

type notMePage struct {
	page
	Token    string
	Username string
	What     string // happened
	At       moment
	Email    string // the address that becomes the user's again, or ""
}

// showNotMe says what will happen. It changes nothing, because mail scanners open links.
func (h *handler) showNotMe(c *fiber.Ctx) error {
	token := c.Query("token")
	alert, err := h.Store.NotMeAlert(c.UserContext(), token, h.client(c))
	if errors.Is(err, db.ErrNotFound) {
		return h.refuseLink(c)
	}
	if err != nil {
		return err
	}
	return c.Render("reset/not_me", notMePage{
		page: page{Title: "Wasn't this you?"}, Token: token, Username: alert.Username,
		What: whatHappened(alert), At: newMoment(alert.At), Email: alert.Email,
	})
}

func whatHappened(alert db.NotMeAlert) string {
	if alert.Kind == db.BrowserChanged { // the alert does not say which browser it is now
		return fmt.Sprintf("The session of %s was used with another browser, from %s", isolate(alert.DeviceName), alert.IP)
	}
	return sentence(db.Activity{Kind: alert.Kind, At: alert.At, IP: alert.IP, DeviceName: alert.DeviceName}, db.Session{})
}

// useNotMe signs the user out everywhere and redirects to the password form, because the other person may know the old one.
func (h *handler) useNotMe(c *fiber.Ctx, body formBody) error {
	client := h.client(c)
	token, err := h.Store.UseNotMe(c.UserContext(), body.get("token"), client)
	if errors.Is(err, db.ErrNotFound) {
		return h.refuseLink(c)
	}
	if err != nil {
		return err
	}
	h.Log.Warn("an alert was answered with: this wasn't me", "ip", client.IP)
	return c.Redirect(resetPath+"?token="+token, fiber.StatusSeeOther)
}
