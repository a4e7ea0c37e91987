package notify

import (
	"net/url"
	"strings"
	"testing"

	"porchlight/db"
)

// This file tests what messages say.

// A device can have the name of an administrator, but then it is in quotes.
func TestMessagesNameTheActor(t *testing.T) {
	t.Parallel()
	for by, want := range map[db.Actor]string{
		db.ByCommand: "a command on the server", "admin ada": "the administrator ada", db.ByDevice("admin ada"): `"admin ada"`, "Tablet": "",
	} {
		got := ""
		for _, fact := range factsOf(db.Message{DeviceName: "Tablet", By: by}) {
			if fact.Name == "Done by" {
				got = fact.Value
			}
		}
		if got != want {
			t.Errorf("%q: %q, want %q", by, got, want)
		}
	}
}

// An invitation without a user creates an account. With one, it lets the user choose a new password.
func TestInvitationByMail(t *testing.T) {
	t.Parallel()
	h := openHouse(t, db.Ways{})
	s := New(Options{Store: h.Store, URL: &url.URL{Scheme: "https", Host: "auth.example.com"}})
	for userID, want := range map[int64][]string{
		0: {"You are invited", "Your username is ada.", "Choose a password:"},
		7: {"Choose a new password", "You can choose a new password for the account ada.", "Choose a new password:"},
	} {
		message := s.compose(db.Message{UserID: userID, Kind: db.InvitationLink, Username: "ada", Token: "abc", By: "admin bo", Count: 1})
		text, _, err := message.render()
		if err != nil || message.Subject != want[0] {
			t.Errorf("the subject is %q, %v", message.Subject, err)
		}
		for _, part := range append(want[1:], "The administrator bo sent you this link.",
			"https://auth.example.com/invite?token=abc", "72 hours") {
			if !strings.Contains(text, part) {
				t.Errorf("the mail for user %d lacks %q:\n%s", userID, part, text)
			}
		}
	}
}

// The name in the alert of an app key is not that of a device.
func TestFactsOfAnAppKey(t *testing.T) {
	t.Parallel()
	facts := factsOf(db.Message{Kind: db.KeyMade, DeviceName: "Calendar", By: "Tablet"})
	if len(facts) != 3 || facts[0] != (Fact{"App key", "Calendar"}) || facts[1] != (Fact{"Done by", "Tablet"}) {
		t.Errorf("the facts are %+v", facts)
	}
}

// Every kind has a text, and its mail has a link if and only if there is a token.
func TestEveryKind(t *testing.T) {
	t.Parallel()
	h := openHouse(t, db.Ways{})
	s := New(Options{Store: h.Store, URL: &url.URL{Scheme: "https", Host: "auth.example.com"}})
	subjects := map[string]bool{}
	for kind := range wordsByKind {
		m := db.Message{Kind: kind, Username: "ada", Token: "abc", Count: 1, DeviceName: "Fire\u202efox\r\n", By: db.ByCommand}
		if kind == db.TestAlert || kind == db.UserWaiting {
			m.Token = ""
		}
		message := s.compose(m)
		text, html, err := message.render()
		if err != nil || !strings.Contains(text, "ada") || !strings.Contains(html, "ada") || subjects[message.Subject] {
			t.Errorf("%s: %v\n%s", kind, err, text)
		}
		subjects[message.Subject] = true
		if strings.Contains(text, "token=abc") != (m.Token != "") || strings.ContainsAny(text, "\r\u202e") || strings.Contains(text, "%!") {
			t.Errorf("%s: %q", kind, text)
		}
		if strings.ContainsAny(message.Subject, "%\n") {
			t.Errorf("the subject of %s is %q", kind, message.Subject)
		}
	}
	for _, kind := range db.AlertKinds() {
		if _, ok := wordsByKind[kind]; !ok {
			t.Errorf("no words for %s", kind)
		}
	}
	summed := s.compose(db.Message{Kind: db.SignedIn, Username: "ada", Count: 3}).Text
	if text := strings.Join(summed, " "); !strings.Contains(text, "It happened 3 times") {
		t.Error(text)
	}
}

// The plain text of an alert, from the first line to the last.
func TestText(t *testing.T) {
	t.Parallel()
	h := openHouse(t, db.Ways{})
	s := New(Options{Store: h.Store, URL: &url.URL{Scheme: "https", Host: "auth.example.com"}})
	text, _, err := s.compose(db.Message{
		Kind: db.SignedIn, Username: "ada", Token: "abc", Count: 2, At: h.clock.Now(),
		DeviceName: "Chrome on Windows", IP: "192.0.2.7", By: "Chrome on Windows",
	}).render()
	const want = `Somebody signed in to the account ada from a new device.

It happened 2 times; this was the last.

Device: Chrome on Windows
IP address: 192.0.2.7
Time: 18 November 2026, 10:02 UTC

If it was you, you don't need to do anything.

This wasn't me:
https://auth.example.com/not-me?token=abc

The link opens a page with one button. It signs out every device, and lets you choose a new password. It is valid for 3 days.

-- ` + "\nPorchlight, https://auth.example.com\n"
	if err != nil || text != want {
		t.Errorf("%v: the text is\n%s", err, text)
	}
	locked := s.compose(db.Message{Kind: db.AccountLocked, Username: "ada", Token: "abc"})
	if locked.Advice != "" || locked.Action == nil {
		t.Errorf("a locked account: %+v", locked)
	}
	text, _, err = s.compose(db.Message{Kind: db.PasswordLink, Username: "ada", Token: "abc", Count: 1, At: h.clock.Now()}).render()
	const link = `Somebody asked for a new password for the account ada.

Choose a new password:
https://auth.example.com/reset?token=abc

The link is valid for one hour and works once. If it wasn't you, ignore this mail: nothing changes.

-- ` + "\nPorchlight, https://auth.example.com\n"
	if err != nil || text != link {
		t.Errorf("%v: the text is\n%s", err, text)
	}
}

// The alert names the new user and links to the page on which an administrator can approve the account.
func TestTextOfWaitingAlert(t *testing.T) {
	t.Parallel()
	h := openHouse(t, db.Ways{})
	s := New(Options{Store: h.Store, URL: &url.URL{Scheme: "https", Host: "auth.example.com"}})
	text, _, err := s.compose(db.Message{
		Kind: db.UserWaiting, Username: "ada", Count: 3, At: h.clock.Now(), IP: "192.0.2.7", By: "carol",
	}).render()
	const want = `Somebody signed up and can't open apps until an administrator, such as ada, approves the account.

It happened 3 times; this was the last.

IP address: 192.0.2.7
Username: carol
Time: 18 November 2026, 10:02 UTC

Review sign-ups:
https://auth.example.com/admin/users?waiting=1
`
	if err != nil || !strings.HasPrefix(text, want) {
		t.Errorf("%v\n%s", err, text)
	}
}
