package handlers

import (
	"html/template"
	"net/url"

	"github.com/gofiber/fiber/v2"

	"porchlight/db"
)

// This file owns the page with the activity of all users, for administrators.

type adminActivityPage struct {
	adminPage
	Person  string
	IP      string
	What    string // the name of one of Choices, or ""
	Choices []activityChoice
	Days    []activityDay
	Next    int64 // the id before which the next page begins; 0 if there is none
	Later   bool  // this is not the first page
}

// Query returns the filter for links to other pages.
func (p adminActivityPage) Query() template.URL {
	query := url.Values{}
	for name, value := range map[string]string{"person": p.Person, "ip": p.IP, "what": p.What} {
		if value != "" {
			query.Set(name, value)
		}
	}
	return template.URL(query.Encode())
}

// activityChoice is a part of the activity that an administrator can ask for.
type activityChoice struct {
	Name  string
	Label string
	kinds []string
}

var activityChoices = []activityChoice{
	{"sign-ins", "Sign-ins", []string{db.SignedIn, db.BrowserChanged, db.RecoveryCodeUsed}},
	{"failures", "Failed attempts", []string{db.SignInFailed, db.ConfirmFailed, db.PasskeyRefused, db.AccountLocked}},
	{"ended", "Devices signed out", []string{db.SignedOut, db.Revoked, db.Replaced, db.Expired, db.Evicted}},
	{"accounts", "Account changes", []string{
		db.Invited, db.InvitationCancelled, db.Approved, db.Disabled, db.Enabled, db.MadeAdmin, db.UnmadeAdmin, db.GroupsChanged,
		db.EmailChanged, db.PasswordChanged, db.PasswordReset, db.TOTPOn, db.TOTPOff, db.PasskeyAdded, db.PasskeyRemoved, db.RecoveryCodesMade,
	}},
}

func (h *handler) showAdminActivity(c *fiber.Ctx) error {
	p := adminActivityPage{adminPage: h.adminPageFor(c, "activity", "Activity"), Choices: activityChoices}
	before, err := queryNumber(c, "before", 0, 1, 1<<62)
	if err != nil {
		return err
	}
	for name, value := range map[string]*string{"person": &p.Person, "ip": &p.IP, "what": &p.What} {
		if *value, err = queryText(c, name); err != nil {
			return err
		}
	}
	filter := db.ActivityFilter{Username: p.Person, IP: canonicalIP(p.IP), Before: before}
	for _, choice := range activityChoices {
		if choice.Name == p.What {
			filter.Kinds = choice.kinds
		}
	}
	rows, err := h.Store.FindActivity(filter, activityShown+1)
	if err != nil {
		return err
	}
	if p.Later = before > 0; len(rows) > activityShown {
		rows = rows[:activityShown]
		p.Next = rows[activityShown-1].ID
	}
	var entries []activityEntry
	for _, row := range rows {
		entry := newEntry(row.Activity, currentSession(c))
		entry.UserID, entry.Username = row.UserID, row.Username
		entries = append(entries, entry)
	}
	p.Days = groupByDay(entries)
	return c.Render("admin/activity", p)
}
