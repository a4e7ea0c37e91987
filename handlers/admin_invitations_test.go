package handlers_test

import (
	"fmt"
	"strings"
	"testing"

	"porchlight/db"
	"porchlight/handlers/handlerstest"
)

// This file tests the list of pending invitations.

func TestPendingInvitations(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	c.Alice.Page("/admin/users").Has(t, "There are none.")
	token := linkOn(t, c, c.Alice.Form("/admin/users/invite",
		"username", "dave", "email", "dave@example.com", "groups", "staff", "admin", "1"))
	if _, _, err := c.Store.Invite(t.Context(), db.CommandLine, db.NewUser{Username: "bob"}); err != nil {
		t.Fatal(err)
	}
	page := c.Alice.Page("/admin/users")
	page.Has(t, `<h3 tabindex="-1">dave</h3>`, "For a new account, <bdi>dave@example.com</bdi>, in staff. Created", "by alice. Expires",
		`<h3 tabindex="-1"><a href="/admin/users/2">bob</a></h3>`, "For a new password. Created", "by a command on the server. Expires",
		c.Clock.Now().Format("2 Jan 2006, 15:04 UTC"), c.Clock.Now().Add(db.InvitationLifetime).Format("2 Jan 2006, 15:04 UTC"))
	page.Lacks(t, "There are none.", token)
	c.Alice.Page("/admin/users?q=dave").Lacks(t, "Pending invitations")

	// Without JavaScript, a page asks.
	check := c.Unchanged()
	ask := c.Alice.Form("/admin/users/cancel-invitation", "username", "dave")
	ask.Is(t, 200)
	ask.Has(t, "Cancel the invitation for dave?")
	check(t)
	c.Alice.Form("/admin/users/cancel-invitation", "username", "dave", "confirm", "1").
		Is(t, 303, "/admin/users?invited_after=&done=cancelled")
	c.Alice.Page("/admin/users?done=cancelled").Has(t, "Cancelled the invitation. Its link no longer works.")
	c.NewClient(handlerstest.FirefoxOnLinux).Page("/invite?token="+token).Is(t, 404)
	if !strings.Contains(c.Log.String(), `msg="invitation cancelled" user=dave by=alice`) {
		t.Error("the log does not name the administrator")
	}
	for _, body := range [][]string{{"username", "dave"}, {"username", "dave", "confirm", "1"}, {"username", "<img>"}, {}} {
		c.Alice.Form("/admin/users/cancel-invitation", body...).Is(t, 303, "/admin/users?invited_after=&done=uninvited")
	}
	c.Alice.Page("/admin/users?done=uninvited").Has(t, "That invitation is no longer pending. The list is up to date.")

	got := c.Alice.HTMX("POST", "/admin/users/cancel-invitation", "username", "bob")
	got.Is(t, 200)
	got.Has(t, `<section id="invitations"`, "There are none.", `<div id="status" hx-swap-oob="innerHTML"><p>Cancelled the invitation.`)
	got.Lacks(t, "<html")
	c.Alice.HTMX("POST", "/admin/users/cancel-invitation", "username", "bob").Has(t, "That invitation is no longer pending.")
	c.Bob.Page("/activity").Has(t, "The link to choose a password was cancelled, by the administrator alice")

	c.Exec(`UPDATE sessions SET confirmed_at = 0`)
	got = c.Alice.HTMX("POST", "/admin/users/cancel-invitation", "username", "bob")
	got.Is(t, 403)
	if to := got.Header.Get("HX-Redirect"); !strings.HasPrefix(to, "/confirm?next=") {
		t.Errorf("step-up is at %q", to)
	}
}

func TestPendingInvitationsHavePages(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	for i := range 51 {
		_, _, err := c.Store.Invite(t.Context(), db.CommandLine, db.NewUser{Username: fmt.Sprintf("new%02d", i)})
		if err != nil {
			t.Fatal(err)
		}
	}
	first := c.Alice.Page("/admin/users")
	first.Has(t, `id="invitation-new49"`, `href="/admin/users?invited_after=new49#invitations"`)
	first.Lacks(t, `id="invitation-new50"`, "First page")
	second := c.Alice.Page("/admin/users?invited_after=new49")
	second.Has(t, `id="invitation-new50"`, `href="/admin/users#invitations"`, `name="after" value="new49"`)
	second.Lacks(t, `id="invitation-new49"`, "Next page")
	last := c.Alice.HTMX("POST", "/admin/users/cancel-invitation", "username", "new50", "after", "new49")
	last.Has(t, "There are no invitations after new49.", `href="/admin/users#invitations"`)
	c.Alice.Form("/admin/users/cancel-invitation", "username", "new48", "after", "<\xff", "confirm", "1").
		Is(t, 303, "/admin/users?invited_after=%3C%EF%BF%BD&done=cancelled")
	c.Alice.Page("/admin/users?invited_after=%3Cimg%FF").Lacks(t, "<img")
}

// A new password that signs out the other devices also voids the invitations, and the page says so to whoever can make them.
func TestNewPasswordVoidsInvitations(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	const warning = "Links that you sent to invite people stop working, too."
	c.Alice.Page("/account/password").Has(t, warning)
	c.Bob.Page("/account/password").Lacks(t, warning)
	password := handlerstest.AlicePassword
	for _, test := range []struct{ password, endOthers, want string }{
		{"pebble sonnet harbour walnut", "", "dave"}, {"marble lantern orchid saddle", "1", ""},
	} {
		linkOn(t, c, c.Alice.Form("/admin/users/invite", "username", "dave"))
		c.Alice.Form("/account/password", "current_password", password, "new_password", test.password, "end_others", test.endOthers).Is(t, 303)
		c.SameRows(t, []string{test.want}, `SELECT COALESCE(MAX(username), '') FROM invitations`)
		password = test.password
	}
}
