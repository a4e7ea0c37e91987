package notify

import (
	"fmt"
	"strings"
	"unicode"

	"porchlight/db"
)

// This file composes the text of each kind of message.

// words holds the subject and the text of a kind of message. %s is the username.
type words struct{ subject, text string }

var wordsByKind = map[string]words{
	db.SignedIn: {"New sign-in to your account",
		"Somebody signed in to the account %s from a new device."},
	db.BrowserChanged: {"A different browser is using your session",
		"A session of the account %s is now used by a different browser or system. Its cookie may have been stolen."},
	db.AccountLocked: {"Your account is locked",
		"Somebody failed to sign in to the account %s 100 times in a row, with wrong passwords or wrong codes. Devices you have signed " +
			"in on before still work. On any other, choose “Forgot your password?” on the sign-in page. If your code is refused there, too, ask " +
			"whoever runs the server."},
	db.PasswordChanged: {"Your password was changed", "The password of the account %s was changed."},
	db.PasswordReset: {"Your password was reset",
		"A new password was chosen for the account %s through a mailed link. All devices were signed out."},
	db.EmailChanged:   {"Your e-mail address was changed", "This is now the e-mail address of the account %s."},
	db.TOTPOn:         {"An authenticator app was added", "The account %s now needs a code from an authenticator app after the password."},
	db.TOTPOff:        {"The authenticator app was removed", "The account %s no longer needs a code from an authenticator app."},
	db.PasskeyAdded:   {"A passkey was added", "The account %s has a new passkey. Anyone who has it can sign in."},
	db.PasskeyRemoved: {"A passkey was removed", "A passkey of the account %s was removed."},
	db.PasskeyRefused: {"A passkey was refused",
		"A passkey of the account %s was refused, because its counter went back: it may have been copied."},
	db.RecoveryCodesMade: {"New recovery codes were created",
		"New recovery codes were created for the account %s. The previous ones no longer work."},
	db.RecoveryCodeUsed: {"A recovery code was used", "A recovery code was used to sign in to the account %s."},
	db.KeyMade: {"A new app key",
		"An app key was created for the account %s. Anyone who has it can use one app as you, without signing in."},
	db.UserWaiting: {"Somebody is waiting for approval",
		"Somebody signed up and can't open apps until an administrator, such as %s, approves the account."},
	db.TestAlert:      {"Test from Porchlight", "This is the test you asked for. Alerts about the account %s arrive here."},
	db.EmailLink:      {"Confirm your e-mail address", "Somebody entered this address for the account %s. If it was you, confirm it."},
	db.InvitationLink: {"You are invited", "You are invited to create an account. Your username is %s."},
	db.PasswordLink:   {"Choose a new password", "Somebody asked for a new password for the account %s."},
}

// waitingPath is the page with the people who are waiting for approval.
const waitingPath = "/admin/users?waiting=1"

const afterLink = "The link is valid for one hour and works once. If it wasn't you, ignore this mail: nothing changes."

// compose returns the message to send, with its link if there is a token.
func (s *Sender) compose(m db.Message) Message {
	w, known := wordsByKind[m.Kind]
	if !known {
		w = words{"Something happened to your account", "Something happened to the account %s: " + m.Kind + "."}
	}
	message := Message{
		ID: fmt.Sprintf("%d.%d", m.ID, m.At.UnixMilli()), At: s.Store.Now(), Subject: w.subject, Site: s.URL.String(),
		Text: []string{fmt.Sprintf(w.text, m.Username)},
	}
	if m.Former {
		message.Text = []string{fmt.Sprintf(
			"The e-mail address of the account %s has changed. From now on, mail goes to the new address.", m.Username)}
	}
	if m.Count > 1 {
		message.Text = append(message.Text, fmt.Sprintf("It happened %d times; this was the last.", m.Count))
	}
	switch m.Kind {
	case db.TestAlert:
	case db.UserWaiting:
		message.Facts = factsOf(m)
		message.Action = &Link{"Review sign-ups", s.URL.String() + waitingPath}
	case db.EmailLink:
		message.Action = s.link("Confirm this address", "/account/email/confirm", m.Token)
		message.After = afterLink
	case db.InvitationLink:
		message.invite(s, m)
	case db.PasswordLink:
		message.Action = s.link("Choose a new password", "/reset", m.Token)
		message.After = afterLink
	default:
		message.Facts = factsOf(m)
		message.addNotMe(s, m)
	}
	return message
}

// invite completes an invitation: for a new account or, if there is a user, for a new password.
func (message *Message) invite(s *Sender, m db.Message) {
	label := "Choose a password"
	if m.UserID != 0 {
		label = "Choose a new password"
		message.Subject = label
		message.Text[0] = fmt.Sprintf("You can choose a new password for the account %s.", m.Username)
	}
	if name := m.By.Administrator(); name != "" {
		message.Text = append(message.Text, "The administrator "+name+" sent you this link.")
	}
	message.Action = s.link(label, "/invite", m.Token)
	message.After = fmt.Sprintf("The link is valid for %d hours and works once. If you did not expect it, ignore this mail: nothing changes.",
		int(db.InvitationLifetime.Hours()))
}

func (message *Message) addNotMe(s *Sender, m db.Message) {
	if m.Token == "" {
		return
	}
	does := "It signs out every device, and lets you choose a new password."
	if m.Former {
		does = "It signs out every device, puts this address back, and lets you choose a new password."
	}
	if m.Kind != db.AccountLocked { // which says what to do
		message.Advice = "If it was you, you don't need to do anything."
	}
	message.Action = s.link("This wasn't me", "/not-me", m.Token)
	message.After = "The link opens a page with one button. " + does + " It is valid for 3 days."
}

// link returns a link to one of our pages. Tokens consist of letters and digits.
func (s *Sender) link(label, path, token string) *Link {
	return &Link{label, s.URL.String() + path + "?token=" + token}
}

func factsOf(m db.Message) (facts []Fact) {
	by, label := string(m.By), "Done by"
	switch {
	case m.Kind == db.UserWaiting:
		label = "Username"
	case m.By == db.ByCommand:
		by = "a command on the server"
	case m.By.Administrator() != "":
		by = "the administrator " + m.By.Administrator()
	case m.By == db.ByDevice(m.DeviceName): // the same as the device
		by = ""
	}
	for _, fact := range []Fact{
		{nameOf(m.Kind), m.DeviceName}, {"IP address", m.IP}, {label, by}, {"Time", m.At.UTC().Format("2 January 2006, 15:04 UTC")},
	} {
		if fact.Value = plain(fact.Value); fact.Value != "" {
			facts = append(facts, fact)
		}
	}
	return facts
}

// nameOf returns the label for the DeviceName of a message.
func nameOf(kind string) string {
	if kind == db.KeyMade {
		return "App key"
	}
	return "Device"
}

// plain returns a name on one line, without marks that change the direction of the text after it.
func plain(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Bidi_Control, r) {
			return -1
		}
		return r
	}, oneLine(text))
}
