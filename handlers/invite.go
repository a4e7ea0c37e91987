package handlers

import (
	"errors"
	"log/slog"

	"github.com/gofiber/fiber/v2"

	"porchlight/db"
)

// choosePasswordPage is the page behind the link of an invitation or a mail.
type choosePasswordPage struct {
	page
	Form     form
	Action   string
	Token    string
	Username string
	Password field
}

func newChoosePasswordPage(action, token, username string) choosePasswordPage {
	return choosePasswordPage{
		page: page{Title: "Choose a new password"}, Action: action, Token: token, Username: username,
		Password: field{Kind: "first-password", Name: "password", Autofocus: true},
	}
}

const invitePath = "/invite"

type invitePage struct {
	choosePasswordPage
	New bool // for a new account; otherwise for a new password of an existing one
}

func newInvitePage(token string, invitation db.Invitation) invitePage {
	p := invitePage{newChoosePasswordPage(invitePath, token, invitation.Username), invitation.New}
	p.Title = "Choose a password"
	if invitation.New {
		p.Title = "Welcome"
	}
	return p
}

// errInvitation is the same for used, expired and unknown links.
var errInvitation = problem{fiber.StatusNotFound,
	"This invitation is not valid. It has been used or has expired. Ask whoever runs this server for a new one."}

func (h *handler) showInvite(c *fiber.Ctx) error {
	token := c.Query("token")
	invitation, err := h.Store.Invitation(c.UserContext(), token, h.client(c))
	if errors.Is(err, db.ErrNotFound) {
		return h.refuseInvitation(c)
	}
	if err != nil {
		return err
	}
	return c.Render("invite/index", newInvitePage(token, invitation))
}

// refuseInvitation logs the attempt, because nobody types a token by hand, and responds with 404. It does not log the token, which may be
// valid on another server.
func (h *handler) refuseInvitation(c *fiber.Ctx) error {
	ip := h.client(c).IP
	h.logLimited(slog.LevelWarn, "wrong invitation", logSubject(ip), "ip", ip)
	return errInvitation
}

func (h *handler) acceptInvite(c *fiber.Ctx, body formBody) error {
	token := body.get("token")
	var invitation db.Invitation
	err := h.createOnce(c, body, db.ByInvitation, func() (user db.User, err error) {
		user, invitation, err = h.Store.AcceptInvitation(c.UserContext(), token, body.secret("password"), h.client(c))
		if err == nil {
			h.Log.Info("invitation accepted", "user", user.Username, "new", invitation.New)
		}
		return user, err
	})
	invalid, isInvalid := errors.AsType[db.Invalid](err)
	switch {
	case errors.Is(err, db.ErrNotFound):
		return h.refuseInvitation(c)
	case isInvalid:
		p := newInvitePage(token, invitation)
		p.Form.mark(invalid, &p.Password)
		p.Form.Error = invalid["username"] + invalid["email"] // at most one of them is set
		return refuse(c, "invite/index", &p)
	}
	return redirectSignedIn(c, "", err)
}
