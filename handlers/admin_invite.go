package handlers

import (
	"errors"

	"github.com/gofiber/fiber/v2"

	"porchlight/db"
)

// This file owns the invitations that administrators make: for new people, and as the way back in for others.

// invitedPage shows the link of an invitation, once: only its hash is stored.
type invitedPage struct {
	adminPage
	Username string
	New      bool
	Hours    int // how long the link is valid
	Link     string
}

func (h *handler) showInvited(c *fiber.Ctx, token string, invitation db.Invitation) error {
	current := currentSession(c)
	h.Log.Info("invited", "user", invitation.Username, "new", invitation.New, "by", current.Username, "session", current.ID)
	link := h.URL.JoinPath(invitePath)
	link.RawQuery = "token=" + token
	return c.Render("admin/invited", invitedPage{
		adminPage: h.adminPageFor(c, "people", "A link for "+invitation.Username), Username: invitation.Username, New: invitation.New,
		Hours: int(db.InvitationLasts.Hours()), Link: link.String(),
	})
}

// inviteForm is the form on the list of people.
type inviteForm struct {
	Form     form
	Username field
	Email    field
	Groups   field
	IsAdmin  bool
	Deleted  bool // the username belonged to an account that was deleted
}

func newInviteForm() inviteForm {
	return inviteForm{
		Username: field{Kind: "their-username", Name: "username"},
		Email:    field{Kind: "their-email", Name: "email"},
		Groups:   field{Kind: "groups", Name: "groups"},
	}
}

func (h *handler) inviteNewUser(c *fiber.Ctx, body formBody) error {
	token, invitation, err := h.Store.Invite(c.UserContext(), db.Administrator(currentSession(c)), db.NewUser{
		Username: body.get("username"), Email: body.get("email"), Groups: db.SplitGroups(body.get("groups")),
		IsAdmin: body.has("admin"), Reuse: body.has("reuse"), MustBeNew: true,
	})
	if invalid, ok := errors.AsType[db.Invalid](err); ok {
		p, err := h.newUsersPage(c)
		if err != nil {
			return err
		}
		p.Invite.Username.Value, p.Invite.Email.Value, p.Invite.Groups.Value = body.get("username"), body.get("email"), body.get("groups")
		p.Invite.IsAdmin, p.Invite.Deleted = body.has("admin"), invalid["username"] == db.UsernameDeleted
		p.Invite.Form.mark(invalid, &p.Invite.Username, &p.Invite.Email, &p.Invite.Groups)
		return refuse(c, "admin/users", &p)
	}
	if err != nil {
		return err
	}
	return h.showInvited(c, token, invitation)
}

// inviteUser makes a link with which a person who has an account chooses a new password.
func (h *handler) inviteUser(c *fiber.Ctx, body formBody) error {
	person, err := h.person(c)
	if err != nil {
		return err
	}
	token, invitation, err := h.Store.Invite(c.UserContext(), db.Administrator(currentSession(c)), db.NewUser{
		Username: person.Username, ResetSecondFactor: body.has("reset_second_factor"),
	})
	if errors.Is(err, db.ErrDisabled) {
		return problem{fiber.StatusUnprocessableEntity, person.Username + " is disabled. Enable the account first."}
	}
	if err != nil {
		return err
	}
	return h.showInvited(c, token, invitation)
}
