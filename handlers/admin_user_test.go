package handlers_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"porchlight/db"
	"porchlight/handlers/handlerstest"
)

// This file tests the page of one person, and invitations by administrators.

func TestPersonPage(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	c.Exec(`UPDATE users SET approved = 0, email = 'bob@example.com' WHERE username = 'bob'`)
	page := c.Alice.Page("/admin/users/2")
	page.Is(t, 200)
	page.Has(t, "<h1>bob</h1>", "Devices (1)", `id="device-`+c.Bob.ID, `hx-delete="/admin/users/2/sessions/`+c.Bob.ID+`"`,
		`hx-sse:connect="/admin/users/2/events?after=`, `hx-get="/admin/users/2/sessions"`, `value="bob@example.com"`,
		"Signed in on Chrome on macOS", "No second factor.", ">Approve</button>", `<a href="/admin/users" aria-current="page">People</a>`)
	page.Lacks(t, "(this device)", "your")

	got := c.Alice.HTMX("DELETE", "/admin/users/2/sessions/"+c.Bob.ID)
	got.Is(t, 200)
	got.Has(t, "Signed out Chrome on macOS, 127.0.0.1.", "bob isn't signed in anywhere.")
	got.Lacks(t, "Not yours?", "<h1")
	c.Bob.Page("/sessions").Is(t, 303)
	bob := c.SignIn("bob", handlerstest.BobPassword, handlerstest.ChromeOnMac)
	bob.Page("/activity").Has(t, "Signed out Chrome on macOS, 127.0.0.1, by the administrator alice")
	for done, want := range map[string]string{
		"approved": "Approved bob.", "made-admin": "bob is an administrator now.", "%3Cb%3E": "", "password": "",
	} {
		page := c.Alice.Page("/admin/users/2?done=" + done)
		_, status, _ := strings.Cut(page.Body, `id="status" class="room" role="status">`)
		if status, _, _ = strings.Cut(status, "</div>"); status != strings.TrimSuffix("<p>"+want+"</p>", "<p></p>") {
			t.Errorf("done=%s: %q", done, status)
		}
	}
}

// An administrator sees changes to the devices of somebody else at once. The stream ends with their own session or role.
func TestEventsOfAnotherPerson(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	c.AddUser("carol", "pebble sonnet harbour walnut")
	first, second := c.Alice.Stream("/admin/users/2/events"), c.AlicePhone.Stream("/admin/users/2/events")
	first.Wants(":")
	second.Wants(":")
	c.SignIn("carol", "pebble sonnet harbour walnut", handlerstest.ChromeOnMac)
	bob := c.SignIn("bob", handlerstest.BobPassword, handlerstest.ChromeOnMac)
	first.Wants("changed") // the first: nothing of carol's reached it
	second.Wants("changed")
	bob.Form("/sessions/"+c.Bob.ID+"/revoke", "confirm", "1").Is(t, 303)
	first.Wants("changed")
	second.Wants("changed")

	// What happens to alice makes the stream look for her session, at once and not at the next heartbeat.
	looked := 0
	for i := range 20 {
		c.Alice.Form("/sessions/"+c.Alice.ID+"/name", "name", fmt.Sprint("Desk ", i)).Is(t, 303)
		bob.Form("/sessions/"+bob.ID+"/name", "name", fmt.Sprint("Desk ", i)).Is(t, 303)
		for first.Next() == ":" {
			looked++
		}
	}
	if looked == 0 {
		t.Error("nothing of alice's reached her own stream")
	}
	c.Alice.Form("/sessions/"+c.AlicePhone.ID+"/revoke", "confirm", "1").Is(t, 303)
	for event := second.Next(); event != "ended"; event = second.Next() {
		if event == "end" {
			t.Fatal("the stream ended without an event")
		}
	}
	yes, no := true, false
	for name, isAdmin := range map[string]*bool{"bob": &yes, "alice": &no} {
		if err := c.Store.ChangeUser(t.Context(), db.CommandLine, name, db.UserChange{IsAdmin: isAdmin, Force: true}); err != nil {
			t.Fatal(err)
		}
	}
	for event := first.Next(); event != "ended"; event = first.Next() {
		if event == "end" {
			t.Fatal("the stream ended without an event")
		}
	}
	got := c.Bob.Do("GET", "/admin/users/1/events", "")
	got.Is(t, 303)
	c.Alice.Page("/admin/users/2/events").Is(t, 403)
}

func TestLastAdministratorStaysOnPages(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	check := c.Unchanged()
	for _, change := range []string{"disable", "unmake-admin", "delete"} {
		got := c.Alice.Form("/admin/users/1/"+change, "confirm", "1")
		got.Is(t, 422)
		got.Has(t, "alice is the last administrator who can sign in. First make somebody else an administrator.", "<title>Error: alice")
	}
	check(t)
	c.Alice.Form("/admin/users/2/make-admin").Is(t, 303, "/admin/users/2?done=made-admin")
	c.Alice.Form("/admin/users/1/unmake-admin", "confirm", "1").Is(t, 303, "/account")
	c.Alice.Page("/admin/users").Is(t, 403)
	c.Bob.Form("/admin/users/1/delete", "confirm", "1").Is(t, 303, "/admin/users?done=deleted")
	c.Bob.Page("/admin/users?done=deleted").Has(t, "Deleted the account, its sessions and its activity.")
	c.Alice.Page("/sessions").Is(t, 303)
}

func TestAdministratorSetsAnAddress(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	c.Exec(`UPDATE users SET email = 'alice@example.com' WHERE username = 'alice'`)
	for email, reason := range map[string]string{
		"alice@example.com": "This e-mail address is already in use.", "<img src=x>": "This is not an e-mail address.",
	} {
		got := c.Alice.Form("/admin/users/2/account", "email", email)
		got.Is(t, 422)
		got.Has(t, reason, `aria-invalid="true"`)
		got.Lacks(t, "<img")
	}
	c.Alice.Form("/admin/users/2/account", "email", " Bob@Example.com ").Is(t, 303, "/admin/users/2?done=changed")
	c.SameRows(t, []string{"bob@example.com"}, `SELECT email FROM users WHERE username = 'bob'`)
	c.Alice.Form("/admin/users/2/account", "email", "").Is(t, 303)
	c.SameRows(t, []string{""}, `SELECT COALESCE(email, '') FROM users WHERE username = 'bob'`)

	c.Alice.Form("/admin/users/2/account", "groups", "staff, family").Is(t, 303)
	c.Alice.Page("/admin/users/2").Has(t, `value="family, staff"`)
	c.Alice.Page("/admin/users").Has(t, "<span>In family, staff</span>")
	check := c.Unchanged()
	got := c.Alice.Form("/admin/users/2/account", "email", "bob@example.com", "groups", "staff, admins")
	got.Is(t, 422)
	got.Has(t, "The name admins is reserved", `value="staff, admins"`, `value="bob@example.com"`)
	check(t)
	c.SameRows(t, []string{"family", "staff"}, `SELECT name FROM user_groups ORDER BY name`)
	c.SameRows(t, []string{""}, `SELECT COALESCE(email, '') FROM users WHERE username = 'bob'`)
}

// The address and the groups have a form each. A page that has been open for a while must not restore an old address when somebody changes
// the groups there.
func TestAddressAndGroupsAreSavedApart(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	var found []string
	accountForm := regexp.MustCompile(`(?s)action="/admin/users/2/account">.*?</form>`)
	for _, form := range accountForm.FindAllString(c.Alice.Page("/admin/users/2").Body, -1) {
		for _, input := range regexp.MustCompile(`name="(\w+)"`).FindAllStringSubmatch(form, -1) {
			found = append(found, input[1])
		}
		found = append(found, "end")
	}
	if want := []string{"email", "end", "groups", "end"}; !slices.Equal(found, want) {
		t.Errorf("the forms have the fields %q, want %q", found, want)
	}
	c.Exec(`UPDATE users SET email = 'new@example.com' WHERE username = 'bob'`)
	c.Alice.Form("/admin/users/2/account", "groups", "staff").Is(t, 303)
	c.SameRows(t, []string{"new@example.com"}, `SELECT email FROM users WHERE username = 'bob'`)
	c.Alice.Form("/admin/users/2/account", "email", "newer@example.com").Is(t, 303)
	c.SameRows(t, []string{"staff"}, `SELECT name FROM user_groups`)
}

var invitationLink = regexp.MustCompile(`<input id="link" value="([^"]*)/invite\?token=([A-Z2-7]+)" readonly`)

// linkOn returns the token of the link on the page.
func linkOn(t *testing.T, c *handlerstest.Cast, page handlerstest.Answer) string {
	t.Helper()
	page.Is(t, 200)
	found := invitationLink.FindStringSubmatch(page.Body)
	if found == nil || found[1] != c.URL {
		t.Fatalf("no link: %q\n%s", found, page.Body)
	}
	if page.Header.Get("Cache-Control") != "no-store" {
		t.Error("the page with the link may be stored")
	}
	if strings.Contains(c.Log.String(), found[2]) {
		t.Error("the token is in the log")
	}
	return found[2]
}

func TestAdministratorInvitesSomebody(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	got := c.Alice.Form("/admin/users/invite", "username", " Dave ", "email", "dave@example.com", "admin", "1", "groups", "staff")
	got.Has(t, "A link for dave", "within 72 hours")
	token := linkOn(t, c, got)
	dave := c.NewClient(handlerstest.FirefoxOnLinux)
	dave.Page("/invite?token="+token).Has(t, "Your username is <strong>dave</strong>")
	dave.Form("/invite", "token", token, "password", "pebble sonnet harbour walnut").Is(t, 303)
	dave.Page("/activity").Has(t, "A link to choose a password was created, by the administrator alice")
	dave.Page("/admin/users").Is(t, 200)
	c.SameRows(t, []string{"dave dave@example.com 1 staff"}, `
		SELECT u.username, u.email, u.is_admin, g.name FROM users u JOIN user_groups g ON g.user_id = u.id WHERE u.username = 'dave'`)

	check := c.Unchanged()
	for _, test := range []struct {
		body   []string
		reason string
	}{
		{[]string{"username", "bob"}, "This username is taken."},
		{[]string{"username", "<img>"}, "A username must have 1 to 32 letters"},
		{[]string{"username", "erin", "email", "dave@example.com"}, "This e-mail address is already in use."},
		{[]string{"username", "erin", "email", "\"<img>"}, "This is not an e-mail address."},
	} {
		got := c.Alice.Form("/admin/users/invite", test.body...)
		got.Is(t, 422)
		got.Has(t, test.reason, `id="invite-heading"`)
		got.Lacks(t, "<img", `id="reuse"`)
	}
	check(t)
	c.SameRows(t, []string{}, `SELECT username FROM invitations`)
}

func TestInvitationForADeletedNameAsksFirst(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	c.Alice.Form("/admin/users/2/delete", "confirm", "1").Is(t, 303)
	got := c.Alice.Form("/admin/users/invite", "username", "bob")
	got.Is(t, 422)
	got.Has(t, "belonged to an account that was deleted", `id="reuse"`)
	got.Lacks(t, "--reuse")
	linkOn(t, c, c.Alice.Form("/admin/users/invite", "username", "bob", "reuse", "1"))
}

func TestLinkForANewPassword(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	token := linkOn(t, c, c.Alice.Form("/admin/users/2/invite"))
	bob := c.NewClient(handlerstest.FirefoxOnLinux)
	bob.Form("/invite", "token", token, "password", "pebble sonnet harbour walnut").Is(t, 303)
	c.Bob.Page("/sessions").Is(t, 303)
	c.Exec(`UPDATE users SET disabled = 1 WHERE username = 'bob'`)
	got := c.Alice.Form("/admin/users/2/invite")
	got.Is(t, 422)
	got.Has(t, "bob is disabled. Enable the account first")
}

// Step-up keeps the input and continues with it.
func TestAdministratorConfirmsFirst(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	c.Exec(`UPDATE sessions SET confirmed_at = 0 WHERE id = ?`, c.Alice.ID)
	asked := c.Alice.Form("/admin/users/2/account", "email", "bob@example.com")
	asked.Is(t, 403)
	asked.Has(t, `name="email" value="bob@example.com"`, "because it decides who can sign in.", `<a href="/admin/users">Cancel`)
	c.Alice.Form("/confirm", "confirm_to", "/admin/users/2/account", "email", "bob@example.com",
		"confirm_password", handlerstest.AlicePassword).Is(t, 307, "/admin/users/2/account")
	c.Alice.Form("/admin/users/2/account", "email", "bob@example.com").Is(t, 303)
}

func TestAdministratorMailsTheLink(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCastWithMail(t)
	c.Alice.Page("/admin/users").Has(t, `name="mail"`)
	c.Alice.Page("/admin/users/1").Has(t, `name="mail"`, "mail it to alice@example.com")
	c.Alice.Page("/admin/users/2").Lacks(t, `name="mail"`) // bob has no address

	got := c.Alice.Form("/admin/users/invite", "username", "dave", "mail", "1")
	got.Is(t, 422)
	got.Has(t, "Enter the address to send the link to.", `name="mail" type="checkbox" value="1" checked`)
	c.Alice.Form("/admin/users/2/invite", "mail", "1").Is(t, 422)
	if mails := c.Mails(); len(mails) > 0 {
		t.Errorf("mailed %+v", mails)
	}

	c.Alice.Form("/admin/users/invite", "username", "dave", "email", "dave@example.com", "mail", "1").Is(t, 303, "/admin/users?done=invited")
	dave := c.NewClient(handlerstest.FirefoxOnLinux)
	dave.Form("/invite", "token", c.MailedToken(db.InvitationLink), "password", "pebble sonnet harbour walnut").Is(t, 303, "/sessions")
	c.Alice.Form("/admin/users/1/invite", "mail", "1").Is(t, 303, "/admin/users?done=invited")
	c.Alice.Page("/invite?token="+c.MailedToken(db.InvitationLink)).Has(t, "Choose a new password for <strong>alice</strong>")

	without := handlerstest.OpenCast(t)
	without.Exec(`UPDATE users SET email = 'bob@example.com' WHERE username = 'bob'`)
	without.Alice.Page("/admin/users").Lacks(t, `name="mail"`)
	without.Alice.Page("/admin/users/2").Lacks(t, `name="mail"`)
	linkOn(t, without, without.Alice.Form("/admin/users/2/invite", "mail", "1"))
}

// A form that an impatient press sends twice does its work once, and both answers are the same.
func TestAdminFormsSentTwice(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	for _, path := range []string{"/admin/users/invite", "/admin/users/2/invite"} {
		form := []string{"form", strings.Repeat("A", db.TokenLength), "username", "dave"}
		first, second := c.Alice.Form(path, form...), c.Alice.Form(path, form...)
		if linkOn(t, c, first) != linkOn(t, c, second) {
			t.Errorf("%s: the second link made the first one void", path)
		}
	}
	form := []string{"form", strings.Repeat("B", db.TokenLength), "confirm", "1"}
	c.Alice.Form("/admin/users/2/delete", form...).Is(t, 303, "/admin/users?done=deleted")
	c.Alice.Form("/admin/users/2/delete", form...).Is(t, 303, "/admin/users?done=deleted")
	c.Alice.Form("/admin/users/2/delete", "confirm", "1").Is(t, 404)
	for path, count := range map[string]int{"/admin/users": 1, "/admin/users/1": 2} {
		if n := strings.Count(c.Alice.Page(path).Body, `name="form"`); n != count {
			t.Errorf("%s: %d forms have an id, want %d", path, n, count)
		}
	}
	c.Alice.Form("/admin/users/1/delete").Has(t, `name="form"`)
}
