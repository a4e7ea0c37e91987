package handlers

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/gofiber/fiber/v2"

	"porchlight/db"
)

// This file owns the page of one person, and what an administrator changes there.

const maxPersonEntries = 20 // entries of activity on the page

type personPage struct {
	adminPage
	Form     form
	Person   personRow
	Factors  db.Factors
	Email    field
	Groups   field
	Sessions personSessions
	Recent   []activityEntry
	Mail     bool // the server sends mail, so a link can be mailed
}

// personMessages holds the messages of the page, like flashMessages. %s is the username.
var personMessages = map[string]string{
	"signed-out": "Signed %s out everywhere.",
	"revoked":    "Signed out that device of %s.",
	"gone":       "That device of %s was already signed out. The list is up to date.",
	"approved":   "Approved %s.",
	"disabled":   "Disabled %s. Every session has ended.",
	"enabled":    "Enabled %s.",
	"changed":    "Changed %s.",

	"made-admin":   "%s is an administrator now.",
	"unmade-admin": "%s is no longer an administrator.",
	"factor-reset": "Removed the second factor of %s.",
}

// person returns the account in the path, or db.ErrNotFound.
func (h *handler) person(c *fiber.Ctx) (db.User, error) {
	id, err := strconv.ParseInt(c.Params("id"), 10, 64)
	if err != nil {
		return db.User{}, db.ErrNotFound
	}
	return h.Store.User(id)
}

// personPath returns the path of a person's page.
func personPath(id int64) string { return fmt.Sprintf("%s/%d", usersPath, id) }

func (h *handler) newPersonPage(c *fiber.Ctx, person db.User) (personPage, error) {
	p := personPage{
		adminPage: h.adminPageFor(c, "people", person.Username), Person: newPersonRow(person, currentSession(c)),
		Email: field{Kind: "their-email", Name: "email", Value: person.Email},
	}
	p.Mail = h.Mail && person.Email != ""
	p.Groups = field{Kind: "groups", Name: "groups", Value: p.Person.GroupList()}
	recent, err := h.Store.Activity(person.ID, 0, maxPersonEntries) // before the devices: see sessionList.lastActivity
	if err != nil {
		return p, err
	}
	p.Recent = newEntries(recent, currentSession(c))
	if len(recent) > 0 {
		p.LastActivity = recent[0].ID
	}
	p.Events = personPath(person.ID) + "/events"
	if p.Factors, err = h.Store.Factors(person.ID); err != nil {
		return p, err
	}
	p.Sessions, err = h.loadPersonSessions(c, person)
	return p, err
}

func (h *handler) showUser(c *fiber.Ctx) error {
	person, err := h.person(c)
	if err != nil {
		return err
	}
	p, err := h.newPersonPage(c, person)
	if err != nil {
		return err
	}
	if message, ok := personMessages[c.Query("done")]; ok {
		p.Message = fmt.Sprintf(message, person.Username)
	}
	return c.Render("admin/user", p)
}

// changePerson changes the account in the path, and shows the page again with the message done.
func (h *handler) changePerson(c *fiber.Ctx, done string, change func(by db.Operator, username string) error) error {
	person, err := h.person(c)
	if err != nil {
		return err
	}
	current := currentSession(c)
	err = change(db.Administrator(current), person.Username)
	invalid, isInvalid := errors.AsType[db.Invalid](err)
	switch {
	case errors.Is(err, db.ErrLastAdmin), isInvalid:
		return h.refuseChange(c, person, invalid)
	case err != nil:
		return err
	}
	h.Log.Info("account changed", "user", person.Username, "change", done, "by", current.Username, "session", current.ID)
	to := personPath(person.ID)
	switch {
	case done == "deleted":
		to = usersPath
	case done == "unmade-admin" && person.ID == current.UserID: // who can no longer see the page
		return c.Redirect(accountPath, fiber.StatusSeeOther)
	}
	return c.Redirect(to+"?done="+done, fiber.StatusSeeOther)
}

// refuseChange shows the page of a person again, with the reasons. Without reasons, the person is the last administrator.
func (h *handler) refuseChange(c *fiber.Ctx, person db.User, invalid db.Invalid) error {
	p, err := h.newPersonPage(c, person)
	if err != nil {
		return err
	}
	if invalid == nil {
		p.Form.Error = person.Username + " is the last administrator who can sign in. First make somebody else an administrator."
	} else {
		body, err := readForm(c)
		if err != nil {
			return err
		}
		if body.sent("email") {
			p.Email.Value = body.get("email")
		}
		if body.sent("groups") {
			p.Groups.Value = body.get("groups")
		}
		p.Form.mark(invalid, &p.Email, &p.Groups)
	}
	return refuse(c, "admin/user", &p)
}

// askPersonPage asks for confirmation when JavaScript is off.
type askPersonPage struct {
	adminPage
	Person personRow
	Change string // the last part of the form's path: revoke, disable, unmake-admin, reset-second-factor or delete
}

// askPerson asks for confirmation before a change to the account in the path.
func (h *handler) askPerson(c *fiber.Ctx, change string) error {
	person, err := h.person(c)
	if err != nil {
		return err
	}
	return c.Render("admin/ask", askPersonPage{
		adminPage: h.adminPageFor(c, "people", "Are you sure?"), Person: newPersonRow(person, currentSession(c)), Change: change,
	})
}

func (h *handler) approveUser(c *fiber.Ctx) error {
	return h.changePerson(c, "approved", func(by db.Operator, username string) error {
		return h.Store.ChangeUser(c.UserContext(), by, username, db.UserChange{Approve: true})
	})
}

func (h *handler) disableUser(c *fiber.Ctx, body formBody) error {
	if body.get("confirm") != "1" {
		return h.askPerson(c, "disable")
	}
	return h.changePerson(c, "disabled", func(by db.Operator, username string) error {
		return h.Store.DisableUser(c.UserContext(), by, username, false)
	})
}

func (h *handler) enableUser(c *fiber.Ctx) error {
	return h.changePerson(c, "enabled", func(by db.Operator, username string) error {
		return h.Store.EnableUser(c.UserContext(), by, username)
	})
}

func (h *handler) makeAdmin(c *fiber.Ctx) error {
	return h.changePerson(c, "made-admin", func(by db.Operator, username string) error {
		isAdmin := true
		return h.Store.ChangeUser(c.UserContext(), by, username, db.UserChange{IsAdmin: &isAdmin})
	})
}

func (h *handler) unmakeAdmin(c *fiber.Ctx, body formBody) error {
	if body.get("confirm") != "1" {
		return h.askPerson(c, "unmake-admin")
	}
	return h.changePerson(c, "unmade-admin", func(by db.Operator, username string) error {
		isAdmin := false
		return h.Store.ChangeUser(c.UserContext(), by, username, db.UserChange{IsAdmin: &isAdmin})
	})
}

// setUser sets the e-mail address and the groups, if the form has them.
func (h *handler) setUser(c *fiber.Ctx, body formBody) error {
	return h.changePerson(c, "changed", func(by db.Operator, username string) error {
		change := db.UserChange{}
		email, groups := body.get("email"), db.SplitNames(body.get("groups"))
		if body.sent("email") {
			change.Email = &email
		}
		if body.sent("groups") {
			change.Groups = &groups
		}
		return h.Store.ChangeUser(c.UserContext(), by, username, change)
	})
}

func (h *handler) resetUserFactor(c *fiber.Ctx, body formBody) error {
	if body.get("confirm") != "1" {
		return h.askPerson(c, "reset-second-factor")
	}
	return h.changePerson(c, "factor-reset", func(by db.Operator, username string) error {
		return h.Store.ChangeUser(c.UserContext(), by, username, db.UserChange{ResetSecondFactor: true})
	})
}

func (h *handler) deleteUser(c *fiber.Ctx, body formBody) error {
	if body.get("confirm") != "1" {
		return h.askPerson(c, "delete")
	}
	return h.changePerson(c, "deleted", func(by db.Operator, username string) error {
		return h.Store.DeleteUser(c.UserContext(), by, username, false)
	})
}
