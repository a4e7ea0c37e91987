package handlers

import (
	"errors"
	"log/slog"

	"github.com/gofiber/fiber/v2"

	"porchlight/db"
)

type accountPage struct {
	page
	Form       form // to change the password
	Current    field
	New        field
	EndOthers  bool
	DeleteForm form
	Delete     field
	Confirming bool // the page is account/delete
	Devices    []deviceRow
	Waiting    int // as in sessionsPage

	SecondFactor bool // the user has one
	Email        string
	Groups       []string
	Mail         bool // the server sends mail, so the user can change the address
}

// deviceRow is one of the user's known devices.
type deviceRow struct {
	ID           string
	Name         string
	DetectedName string
	FirstSeen    moment
	LastSeen     moment
	SignedIn     bool
}

func (h *handler) newAccountPage(c *fiber.Ctx) accountPage {
	p := accountPage{
		page:      h.pageFor(c, "Your account"),
		Current:   field{Kind: "current-password", Name: "current_password"},
		New:       field{Kind: "new-password", Name: "new_password"},
		EndOthers: true,
		Delete:    field{Kind: "your-password", Name: "password"},
	}
	p.Section = "account"
	return p
}

func (h *handler) showAccount(c *fiber.Ctx) error {
	p := h.newAccountPage(c)
	devices, err := h.Store.Devices(currentSession(c).UserID)
	if err != nil {
		return err
	}
	factors, err := h.Store.Factors(currentSession(c).UserID)
	if err != nil {
		return err
	}
	account, err := h.Store.Account(currentSession(c))
	if err != nil {
		return err
	}
	if p.Waiting, err = h.waitingForApproval(c); err != nil {
		return err
	}
	p.SecondFactor, p.Email, p.Groups, p.Mail = factors.Any(), account.Email, account.Groups, h.Mail
	for _, d := range devices {
		p.Devices = append(p.Devices, deviceRow{
			ID: d.ID, Name: d.Name, DetectedName: d.DetectedName, SignedIn: d.SignedIn,
			FirstSeen: newMoment(d.FirstSeenAt), LastSeen: newMoment(d.LastSeenAt),
		})
	}
	p.notice = flashMessages[c.Query("done")]
	return c.Render("account/index", p)
}

// forgetDevice forgets a known device and its name. Forgetting a device twice is not an error.
func (h *handler) forgetDevice(c *fiber.Ctx) error {
	current := currentSession(c)
	err := h.Store.ForgetDevice(c.UserContext(), current, c.Params("id"))
	if err != nil && !errors.Is(err, db.ErrNotFound) {
		return err
	}
	h.Log.Info("device forgotten", "user", current.Username, "device", c.Params("id"), "by", current.ID)
	return c.Redirect("/account?done=forgotten", fiber.StatusSeeOther)
}

// redirectToPassword tells password managers where the form is (W3C, A Well-Known URL for Changing Passwords). They ask without cookies.
func redirectToPassword(c *fiber.Ctx) error { return c.Redirect(passwordPath, fiber.StatusFound) }

// showPassword shows only the form, for the links that lead to it.
func (h *handler) showPassword(c *fiber.Ctx) error {
	p := h.newAccountPage(c)
	p.Title = "Change your password"
	p.notice = flashMessages[c.Query("done")]
	return c.Render("account/password", p)
}

// changePassword changes the password. This browser stays signed in, with a new token.
func (h *handler) changePassword(c *fiber.Ctx, body formBody) error {
	current := currentSession(c)
	token, err := h.Store.ChangePassword(c.UserContext(), current, h.client(c), db.PasswordChange{
		Current: body.secret("current_password"), New: body.secret("new_password"), EndOthers: body.has("end_others"),
	})
	var invalid db.Invalid
	switch {
	case errors.Is(err, db.ErrWrongPassword):
		h.logFailedCheck(c)
		invalid = db.Invalid{"current_password": "This is not your current password."}
	case errors.As(err, &invalid):
		invalid = db.Invalid{"new_password": invalid["password"]}
	case err != nil:
		return err
	}
	if invalid != nil {
		p := h.newAccountPage(c)
		p.EndOthers = body.has("end_others")
		p.Form.mark(invalid, &p.Current, &p.New)
		return refuse(c, "account/password", &p)
	}
	h.Log.Info("password changed", "user", current.Username, "session", current.ID)
	h.setCookie(c, token, current)
	return c.Redirect("/account?done=password", fiber.StatusSeeOther)
}

// logFailedCheck logs a wrong password from a live session, because somebody else may be using an unattended browser.
func (h *handler) logFailedCheck(c *fiber.Ctx) {
	session, ip := currentSession(c), h.client(c).IP
	h.logLimited(slog.LevelWarn, "password check failed", logSubject(ip),
		"user", session.Username, "session", session.ID, "path", c.Path(), "ip", ip)
}

// deleteAccount asks for confirmation if the page's script has not. It then asks for the password again, because no page contains one.
func (h *handler) deleteAccount(c *fiber.Ctx, body formBody) error {
	p := h.newAccountPage(c)
	p.Confirming = true
	if body.get("confirm") != "1" {
		p.Delete.Autofocus = true
		return c.Render("account/delete", p)
	}
	current := currentSession(c)
	err := h.Store.DeleteAccount(c.UserContext(), current, h.client(c), body.secret("password"))
	switch {
	case errors.Is(err, db.ErrWrongPassword):
		h.logFailedCheck(c)
		p.DeleteForm.mark(db.Invalid{"password": "This is not your password."}, &p.Delete)
		return refuse(c, "account/delete", &p)
	case errors.Is(err, db.ErrLastAdmin):
		p.DeleteForm.Error = "You are the last administrator. Whoever runs this server can appoint another one or delete this account " +
			"with the porchlight command."
		return refuse(c, "account/delete", &p)
	case err != nil:
		return err
	}
	h.Log.Info("account deleted", "user", current.Username, "session", current.ID)
	h.clearCookie(c)
	c.Set(headerClearSiteData, clearSiteData)
	return c.Redirect(signInPath+"?done=deleted", fiber.StatusSeeOther)
}
