package handlers

import (
	"strings"

	"github.com/gofiber/fiber/v2"

	"porchlight/db"
)

// This file owns the list of people.

const (
	usersPath  = "/admin/users"
	usersShown = 50
)

type usersPage struct {
	adminPage
	Filter  string // a part of a username or an e-mail address, or ""
	Waiting bool   // shows only those who are waiting for approval
	Others  int    // how many are waiting for approval; only on the page with everybody
	People  []personRow
	After   string // the username after which this page begins; "" on the first page
	Next    string // the username after which the next page begins, or ""
	Invite  inviteForm
	Pending *pendingInvitations // only on the first page with everybody
}

// personRow is an account in the list of people.
type personRow struct {
	db.User
	Created moment
	You     bool
}

// GroupList returns the groups, separated by commas.
func (r personRow) GroupList() string { return strings.Join(r.Groups, ", ") }

func newPersonRow(user db.User, current db.Session) personRow {
	return personRow{user, newMoment(user.CreatedAt), user.ID == current.UserID}
}

func (h *handler) showUsers(c *fiber.Ctx) error {
	p, err := h.newUsersPage(c)
	if err != nil {
		return err
	}
	p.notice = flashMessages[c.Query("done")]
	return c.Render("admin/users", p)
}

func (h *handler) newUsersPage(c *fiber.Ctx) (usersPage, error) {
	filter, err := queryText(c, "q")
	if err != nil {
		return usersPage{}, err
	}
	p := usersPage{
		adminPage: h.adminPageFor(c, "people", "People"),
		Filter:    filter,
		Waiting:   c.Query("waiting") == "1",
		After:     strings.ToValidUTF8(c.Query("after"), "\ufffd"),
		Invite:    h.newInviteForm(),
	}
	users, more, err := h.Store.FindUsers(db.UserFilter{Text: p.Filter, Waiting: p.Waiting, After: p.After}, usersShown)
	if err != nil {
		return p, err
	}
	if !p.Waiting {
		if p.Others, err = h.waitingForApproval(c); err != nil {
			return p, err
		}
	}
	for _, user := range users {
		p.People = append(p.People, newPersonRow(user, currentSession(c)))
	}
	if more {
		p.Next = users[len(users)-1].Username
	}
	if p.Filter == "" && p.After == "" && !p.Waiting {
		p.Pending, err = h.loadInvitations(strings.ToValidUTF8(c.Query("invited_after"), "\ufffd"))
	}
	return p, err
}
