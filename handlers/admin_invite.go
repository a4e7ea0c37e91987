package handlers

import (
	"errors"

	"github.com/gofiber/fiber/v2"

	"porchlight/db"
)

// This file owns the invitations that administrators create: for new people, and for those who forgot their password.

// invite creates an invitation, and shows its link or, if the form says so, mails it.
func (h *handler) invite(c *fiber.Ctx, body formBody, newUser db.NewUser) error {
	current := currentSession(c)
	by, token := db.Administrator(current), ""
	var invitation db.Invitation
	var err error
	mailed := h.Mail && body.has("mail")
	if mailed {
		invitation, err = h.Store.MailInvitation(c.UserContext(), by, newUser)
	} else {
		token, invitation, err = h.Store.Invite(c.UserContext(), by, newUser)
	}
	if err != nil {
		return err
	}
	h.Log.Info("invited", "user", invitation.Username, "new", invitation.New, "mailed", mailed, "by", current.Username, "session", current.ID)
	if mailed {
		return c.Redirect(usersPath+"?done=invited", fiber.StatusSeeOther)
	}
	return h.showInvited(c, token, invitation)
}

// invitedPage shows the link of an invitation, once: only its hash is stored.
type invitedPage struct {
	adminPage
	Username string
	New      bool
	Hours    int // how long the link is valid
	Link     string
}

func (h *handler) showInvited(c *fiber.Ctx, token string, invitation db.Invitation) error {
	link := h.URL.JoinPath(invitePath)
	link.RawQuery = "token=" + token
	return renderSecret(c, "admin/invited", invitedPage{
		adminPage: h.adminPageFor(c, "people", "A link for "+invitation.Username), Username: invitation.Username, New: invitation.New,
		Hours: int(db.InvitationLifetime.Hours()), Link: link.String(),
	})
}

// inviteForm is the form on the list of people.
type inviteForm struct {
	Form     form
	Username field
	Email    field
	Groups   field
	IsAdmin  bool
	Mail     bool // the server sends mail
	Mailed   bool // mail the link
	Deleted  bool // the username belonged to an account that was deleted
}

func (h *handler) newInviteForm() inviteForm {
	return inviteForm{
		Mail:     h.Mail,
		Username: field{Kind: "their-username", Name: "username"},
		Email:    field{Kind: "their-email", Name: "email"},
		Groups:   field{Kind: "groups", Name: "groups"},
	}
}

func (h *handler) inviteNewUser(c *fiber.Ctx, body formBody) error {
	err := h.invite(c, body, db.NewUser{
		Username: body.get("username"), Email: body.get("email"), Groups: db.SplitNames(body.get("groups")),
		IsAdmin: body.has("admin"), Reuse: body.has("reuse"), MustBeNew: true,
	})
	if invalid, ok := errors.AsType[db.Invalid](err); ok {
		p, err := h.newUsersPage(c)
		if err != nil {
			return err
		}
		p.Invite.Username.Value, p.Invite.Email.Value, p.Invite.Groups.Value = body.get("username"), body.get("email"), body.get("groups")
		p.Invite.IsAdmin, p.Invite.Mailed = body.has("admin"), body.has("mail")
		p.Invite.Deleted = invalid["username"] == db.UsernameDeleted
		p.Invite.Form.mark(invalid, &p.Invite.Username, &p.Invite.Email, &p.Invite.Groups)
		return refuse(c, "admin/users", &p)
	}
	return err
}

// inviteUser creates a link with which a person who has an account chooses a new password.
func (h *handler) inviteUser(c *fiber.Ctx, body formBody) error {
	person, err := h.person(c)
	if err != nil {
		return err
	}
	err = h.invite(c, body, db.NewUser{Username: person.Username})
	if errors.Is(err, db.ErrDisabled) {
		return problem{fiber.StatusUnprocessableEntity, person.Username + " is disabled. Enable the account first."}
	}
	if invalid, ok := errors.AsType[db.Invalid](err); ok {
		return h.refuseChange(c, person, invalid)
	}
	return err
}
