package handlers

import (
	"errors"
	"net/url"
	"strings"

	"github.com/gofiber/fiber/v2"

	"porchlight/db"
)

// This file owns the list of pending invitations, and cancels them.

const invitationsShown = 50

// pendingInvitations is the data of the list, both as a part of the page and as a fragment.
type pendingInvitations struct {
	Rows   []invitationRow
	After  string // the username after which this part of the list begins; "" at its beginning
	Next   string // the username after which the next part begins, or ""
	Status notice // what has just happened, for the status region; only in the fragment
}

// invitationRow is a pending invitation in the list.
type invitationRow struct {
	db.Invitation
	Created, Expires moment
}

// GroupList returns the groups, separated by commas.
func (r invitationRow) GroupList() string { return strings.Join(r.Groups, ", ") }

func (h *handler) loadInvitations(after string) (*pendingInvitations, error) {
	list, more, err := h.Store.Invitations(after, invitationsShown)
	p := &pendingInvitations{After: after}
	for _, i := range list {
		p.Rows = append(p.Rows, invitationRow{i, newMoment(i.CreatedAt), newMoment(i.ExpiresAt)})
	}
	if more {
		p.Next = list[len(list)-1].Username
	}
	return p, err
}

// askInvitationPage asks for confirmation when JavaScript is off.
type askInvitationPage struct {
	adminPage
	Username string
	After    string
}

// cancelInvitation cancels a pending invitation, like "porchlight user uninvite". The answer is for htmx or for a plain form.
func (h *handler) cancelInvitation(c *fiber.Ctx, body formBody) error {
	current, username, after := currentSession(c), body.get("username"), body.get("after")
	invitation, err := h.Store.InvitationOf(username)
	switch {
	case err != nil: // answered below
	case !isHTMX(c) && body.get("confirm") != "1":
		page := h.adminPageFor(c, "people", "Are you sure?")
		return c.Render("admin/ask_invitation", askInvitationPage{page, invitation.Username, after})
	default:
		err = h.Store.CancelInvitation(c.UserContext(), db.Administrator(current), username)
	}
	done := "cancelled"
	switch {
	case errors.Is(err, db.ErrNotFound):
		done = "uninvited"
	case err != nil:
		return err
	default:
		h.Log.Info("invitation cancelled", "user", invitation.Username, "by", current.Username, "session", current.ID)
	}
	if !isHTMX(c) {
		return c.Redirect(usersPath+"?invited_after="+url.QueryEscape(after)+"&done="+done, fiber.StatusSeeOther)
	}
	list, err := h.loadInvitations(after)
	if err != nil {
		return err
	}
	list.Status = flashMessages[done]
	return c.Render("admin/_invitations", list)
}
