package handlers

import (
	"fmt"
	"strconv"

	"github.com/gofiber/fiber/v2"

	"porchlight/db"
)

// This file shows the activity of an account, as a page and as JSON.

const (
	activityShown    = 50  // entries on a page, and in JSON unless the client asks for another number
	maxActivityLimit = 200 // entries that a client can ask for
)

// activityPage shows entries, newest first, by day.
type activityPage struct {
	page
	Days  []activityDay
	Older int64 // the id before which the next page begins; 0 if there is none
	Newer int64 // the id after which the previous page ends; 0 if there is none
}

type activityDay struct {
	Day     moment
	Entries []activityEntry
}

type activityEntry struct {
	ID       int64
	Sentence string
	At       moment

	UserID   int64 // this and the next are set only in the activity of everybody
	Username string
}

func (e activityEntry) key() (key activityEntry, cacheable bool) { return e, true }

// newEntries returns entries as the session current sees them.
func newEntries(rows []db.Activity, current db.Session) (entries []activityEntry) {
	for _, a := range rows {
		entries = append(entries, newEntry(a, current))
	}
	return entries
}

func newEntry(a db.Activity, current db.Session) activityEntry {
	return activityEntry{ID: a.ID, Sentence: sentence(a, current), At: newMoment(a.At)}
}

func (h *handler) showActivity(c *fiber.Ctx) error {
	before, err := queryNumber(c, "before", 0, 1, 1<<62)
	if err != nil {
		return err
	}
	after, err := queryNumber(c, "after", 0, 1, 1<<62)
	if err != nil {
		return err
	}
	current := currentSession(c)
	p := activityPage{page: h.pageFor(c, "Activity")}
	p.Section = "activity"
	var rows []db.Activity
	if after > 0 {
		rows, err = h.Store.ActivityAfter(current.UserID, after, activityShown)
	} else {
		rows, err = h.Store.Activity(current.UserID, before, activityShown)
	}
	if err != nil {
		return err
	}
	if len(rows) > 0 {
		newest, oldest := rows[0].ID, rows[len(rows)-1].ID
		newer, err := h.Store.ActivityAfter(current.UserID, newest, 1)
		if err != nil {
			return err
		}
		older, err := h.Store.Activity(current.UserID, oldest, 1)
		if err != nil {
			return err
		}
		if len(newer) > 0 {
			p.Newer = newest
		}
		if len(older) > 0 {
			p.Older = oldest
		}
	}
	p.Days = groupByDay(newEntries(rows, current))
	return c.Render("activity/index", p)
}

// groupByDay groups entries by the calendar day in UTC. An entry stays in the order of its id, even if the clock was set back.
func groupByDay(entries []activityEntry) (days []activityDay) {
	for _, entry := range entries {
		if len(days) == 0 || days[len(days)-1].Day.Date() != entry.At.Date() {
			days = append(days, activityDay{Day: entry.At})
		}
		day := &days[len(days)-1]
		day.Entries = append(day.Entries, entry)
	}
	return days
}

// sentence says what happened in words that a person understands.
func sentence(a db.Activity, current db.Session) string {
	device := isolate(a.DeviceName)
	if a.SessionID != "" && a.SessionID == current.ID {
		device += " (this device)"
	}
	at := device
	if a.IP != "" {
		at += ", " + a.IP
	}
	by := ""
	switch {
	case a.By == db.ByCommand:
		by = ", by a command on the server"
	case a.By.Administrator() != "":
		by = ", by the administrator " + a.By.Administrator()
	case a.By != "" && a.By != db.ByDevice(a.DeviceName):
		by = ", from " + isolate(string(a.By))
	}
	times := ""
	if a.Count > 1 {
		times = fmt.Sprintf(", %d times", a.Count)
	}
	switch a.Kind {
	case db.SignedIn:
		return "Signed in on " + at
	case db.SignInFailed:
		if a.Count > 1 {
			return fmt.Sprintf("%d failed sign-ins from %s", a.Count, a.IP)
		}
		return "A failed sign-in from " + a.IP
	case db.SignedOut:
		return "Signed out on " + at
	case db.Revoked:
		return "Signed out " + at + by
	case db.Replaced:
		return "Signed out " + at + ", because the same browser signed in again"
	case db.Expired:
		return at + " was signed out after its time limit"
	case db.Evicted:
		return "Signed out " + at + ", because too many devices were signed in"
	case db.Renamed:
		return "Changed the name of a device to " + at + by + times
	case db.Exported:
		return "Downloaded all data on " + at + times
	case db.PasswordChanged:
		if a.DeviceName == "" {
			return "Changed the password" + by
		}
		return "Changed the password on " + at
	case db.ConfirmFailed:
		if a.Count > 1 {
			return fmt.Sprintf("A wrong password was given %d times on %s", a.Count, at)
		}
		return "A wrong password was given on " + at
	case db.BrowserChanged:
		return fmt.Sprintf("The session of %s was used with %s, from %s", device, isolate(string(a.By)), a.IP)
	case db.Invited:
		return "A link to choose a password was created" + by
	case db.InvitationCancelled:
		return "The link to choose a password was cancelled" + by
	case db.Disabled:
		return "The account was disabled" + by
	case db.Enabled:
		return "The account was enabled" + by
	case db.Approved:
		return "The account was approved" + by
	case db.MadeAdmin:
		return "The account became an administrator" + by
	case db.UnmadeAdmin:
		return "The account is no longer an administrator" + by
	case db.GroupsChanged:
		return "The account's groups were changed" + by
	case db.EmailChanged:
		if a.DeviceName != "" {
			return "Confirmed a new e-mail address on " + at
		}
		return "The e-mail address was changed" + by
	case db.TOTPOn:
		return "Set up an authenticator app on " + at
	case db.TOTPOff:
		if a.DeviceName == "" {
			return "The authenticator app was removed" + by
		}
		return "Removed the authenticator app on " + at
	case db.PasskeyAdded:
		return "Added a passkey on " + at
	case db.PasskeyRemoved:
		switch {
		case a.DeviceName != "":
			return "Removed a passkey on " + at
		case a.Count > 1:
			return fmt.Sprintf("%d passkeys were removed%s", a.Count, by)
		}
		return "A passkey was removed" + by
	case db.PasskeyRefused:
		return "A passkey was refused on " + at + times + ": its counter went back, so somebody may have copied it"
	case db.KeyMade:
		return "Created the app key " + at + by
	case db.PasswordReset:
		return "Chose a new password with a mailed link, on " + at
	case db.AccountLocked:
		return "The account was locked after too many failed sign-ins, the last from " + a.IP
	case db.DeliveryFailed:
		return fmt.Sprintf("A message could not be delivered by %s%s", isolate(string(a.By)), times)
	case db.RecoveryCodesMade:
		return "Created new recovery codes on " + at
	case db.RecoveryCodeUsed:
		return "Signed in with a recovery code on " + at
	}
	return "Something else happened, which this version does not know: " + isolate(a.Kind) + by // a newer version recorded it
}

// ActivityJSON is one entry of a user's activity. Times are RFC 3339 in UTC.
type ActivityJSON struct {
	ID         int64  `json:"id"`
	Username   string `json:"username,omitempty"` // for the command, which shows everybody's activity
	Kind       string `json:"kind"`
	At         string `json:"at"`
	IP         string `json:"ip"`
	DeviceName string `json:"deviceName"`
	SessionID  string `json:"sessionId"`
	By         string `json:"by"`
	Count      int    `json:"count"`
}

// NewActivityJSON returns an entry as JSON, without Username, which the caller may set.
func NewActivityJSON(a db.Activity) ActivityJSON {
	return ActivityJSON{
		ID: a.ID, Kind: a.Kind, At: RFC3339(a.At), IP: a.IP, DeviceName: a.DeviceName, SessionID: a.SessionID, By: string(a.By), Count: a.Count,
	}
}

func (h *handler) apiListActivity(c *fiber.Ctx) error {
	before, err := queryNumber(c, "before", 0, 1, 1<<62)
	if err != nil {
		return err
	}
	limit, err := queryNumber(c, "limit", activityShown, 1, maxActivityLimit)
	if err != nil {
		return err
	}
	rows, err := h.Store.Activity(currentSession(c).UserID, before, int(limit))
	if err != nil {
		return err
	}
	list := make([]ActivityJSON, 0, len(rows))
	for _, a := range rows {
		list = append(list, NewActivityJSON(a))
	}
	return c.JSON(list)
}

// queryNumber returns a number from the query, or fallback if there is none. A number that is not between least and most is a problem.
func queryNumber(c *fiber.Ctx, name string, fallback, least, most int64) (int64, error) {
	text := c.Query(name)
	if text == "" {
		return fallback, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < least || n > most {
		return 0, problem{fiber.StatusUnprocessableEntity, fmt.Sprintf("%s must be a number from %d to %d.", name, least, most)}
	}
	return n, nil
}
