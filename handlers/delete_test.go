package handlers_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"

	"porchlight/db"
	"porchlight/handlers/handlerstest"
)

// deleteCast is the cast, with bob, who is not an administrator, signed in on a second device.
func deleteCast(t *testing.T) (c *handlerstest.Cast, bobPhone *handlerstest.Client) {
	c = handlerstest.OpenCast(t)
	return c, c.SignIn("bob", handlerstest.BobPassword, handlerstest.SafariOnIPhone)
}

// everything returns the rows of every table.
func everything(h *handlerstest.House) (all []string) {
	h.T.Helper()
	for _, table := range h.Rows(`SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY 1`) {
		all = append(all, table)
		all = append(all, h.Rows(`SELECT * FROM `+table+` ORDER BY 1`)...)
	}
	return all
}

func wantUnchanged(h *handlerstest.House, before []string) {
	h.T.Helper()
	if after := everything(h); !slices.Equal(before, after) {
		h.T.Errorf("something has changed\n was %q\n is  %q", before, after)
	}
}

func TestDeleteAccountAsksFirst(t *testing.T) {
	t.Parallel()
	c, bobPhone := deleteCast(t)
	before := everything(c.House)
	for _, values := range [][]string{
		{"password", handlerstest.BobPassword}, {"password", throttleWrong}, {}, {"password", handlerstest.BobPassword, "confirm", ""},
	} {
		got := wantStatus(c.House, c.Bob.Form("/account/delete", values...), http.StatusOK)
		if !strings.Contains(got.Body, `name="confirm" value="1"`) || !strings.Contains(got.Body, `action="/account/delete"`) ||
			strings.Contains(got.Body, handlerstest.BobPassword) {
			t.Errorf("the page does not ask: %s", got.Body)
		}
		if len(got.Header.Values("Set-Cookie")) > 0 || got.Header.Get("Clear-Site-Data") != "" {
			t.Errorf("headers %v", got.Header)
		}
	}
	wantStatus(c.House, c.Bob.Page("/account"), http.StatusOK)
	wantStatus(c.House, bobPhone.Page("/account"), http.StatusOK)
	wantUnchanged(c.House, before)
}

func TestDeleteAccountWrongPassword(t *testing.T) {
	t.Parallel()
	c, _ := deleteCast(t)
	users, sessions := c.Rows(`SELECT * FROM users`), c.Rows(`SELECT id FROM sessions`)
	for _, password := range []string{throttleWrong, "", handlerstest.AlicePassword} {
		got := wantStatus(c.House, c.Bob.Form("/account/delete", "password", password, "confirm", "1"), http.StatusUnprocessableEntity)
		if !strings.Contains(got.Body, "This is not your password.") || len(got.Header.Values("Set-Cookie")) > 0 {
			t.Errorf("%q: %v %s", password, got.Header, got.Body)
		}
	}
	wantRows(c.House, users, `SELECT * FROM users`)
	wantRows(c.House, sessions, `SELECT id FROM sessions`)
	wantStatus(c.House, c.Bob.Page("/sessions"), http.StatusOK)
}

func TestDeleteAccount(t *testing.T) {
	t.Parallel()
	c, bobPhone := deleteCast(t)
	invite(c.House, db.NewUser{Username: "bob"})
	old := c.Bob.Token()
	of := func(name string) (all []string) {
		id := c.Only(`SELECT id FROM users WHERE username = ?`, name)
		all = append(all, c.Rows(`SELECT * FROM users WHERE id = ?`, id)...)
		all = append(all, c.Rows(`SELECT * FROM sessions WHERE user_id = ?`, id)...)
		return append(all, c.Rows(`SELECT * FROM activity WHERE user_id = ?`, id)...)
	}
	alice, bobsID := of("alice"), c.Only(`SELECT id FROM users WHERE username = 'bob'`)

	got := wantStatus(c.House, c.Bob.Form("/account/delete", "password", handlerstest.BobPassword, "confirm", "1"), http.StatusSeeOther)
	if got.Header.Get("Location") != "/login?done=deleted" || got.Header.Get("Clear-Site-Data") != `"cache", "storage"` ||
		got.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("headers %v", got.Header)
	}
	if c.Bob.Token() != "" {
		t.Error("the cookie was not cleared")
	}
	c.Bob.Page("/login?done=deleted").Has(t, "Deleted the account, its sessions and its activity.")
	for _, table := range []string{"sessions", "activity", "invitations"} {
		wantRows(c.House, nil, `SELECT user_id FROM `+table+` WHERE user_id = ?`, bobsID)
	}
	wantRows(c.House, []string{"alice"}, `SELECT username FROM users`)
	wantStatus(c.House, bobPhone.Page("/sessions"), http.StatusSeeOther)
	wantStatus(c.House, bobPhone.API("GET", "/me/sessions", ""), http.StatusUnauthorized)
	wantStatus(c.House, bobPhone.HTMX("GET", "/sessions/list"), http.StatusUnauthorized)
	wantStatus(c.House, c.NewClient(handlerstest.ChromeOnMac).Do("GET", "/me/sessions", "", "Cookie", "porchlight="+old),
		http.StatusUnauthorized)
	wantStatus(c.House, c.NewClient(handlerstest.ChromeOnMac).Form("/login", "username", "bob", "password", handlerstest.BobPassword),
		http.StatusUnprocessableEntity)
	if now := of("alice"); !slices.Equal(alice, now) {
		t.Errorf("somebody else's data\n was %q\n is  %q", alice, now)
	}
	wantStatus(c.House, c.Alice.Page("/sessions"), http.StatusOK)
	wantStatus(c.House, c.AlicePhone.Page("/sessions"), http.StatusOK)

	// A new account with the same name inherits nothing, and the old account's cookies do not work for it.
	if _, err := c.Store.CreateUser(context.Background(), db.NewUser{
		Username: "bob", Password: handlerstest.AlicePassword, Reuse: true,
	}); err != nil {
		t.Fatal(err)
	}
	wantStatus(c.House, bobPhone.Page("/sessions"), http.StatusSeeOther)
	wantRows(c.House, nil, `SELECT a.id FROM activity a JOIN users u ON u.id = a.user_id WHERE username = 'bob'`)
}

// Failed sign-ins are kept in memory for a while. The account may be deleted before they are written.
func TestDeleteAccountAfterFailedSignIn(t *testing.T) {
	t.Parallel()
	c, _ := deleteCast(t)
	for _, name := range []string{"bob", "alice"} {
		wantStatus(c.House, c.NewClient(handlerstest.ChromeOnMac).Form("/login", "username", name, "password", throttleWrong),
			http.StatusUnprocessableEntity)
	}
	wantStatus(c.House, c.Bob.Form("/account/delete", "password", handlerstest.BobPassword, "confirm", "1"), http.StatusSeeOther)
	if err := c.Store.Flush(context.Background()); err != nil {
		t.Errorf("flush: %v", err)
	}
	wantRows(c.House, []string{"alice sign_in_failed 1"},
		`SELECT username, kind, count FROM activity a JOIN users u ON u.id = a.user_id WHERE kind = 'sign_in_failed'`)
}

func TestDeleteAccountLastAdministrator(t *testing.T) {
	t.Parallel()
	c, _ := deleteCast(t)
	before := everything(c.House)
	refused := func() {
		t.Helper()
		got := wantStatus(c.House, c.Alice.Form("/account/delete", "password", handlerstest.AlicePassword, "confirm", "1"),
			http.StatusUnprocessableEntity)
		if !strings.Contains(got.Body, "last administrator") || len(got.Header.Values("Set-Cookie")) > 0 {
			t.Errorf("the answer is %v %s", got.Header, got.Body)
		}
	}
	refused()
	wantUnchanged(c.House, before) // the password was right, so no attempt is counted

	ctx := context.Background()
	if _, err := c.Store.CreateUser(ctx, db.NewUser{Username: "carol", Password: handlerstest.BobPassword, IsAdmin: true}); err != nil {
		t.Fatal(err)
	}
	if err := c.Store.DisableUser(ctx, db.CommandLine, "carol", true); err != nil {
		t.Fatal(err)
	}
	refused() // a disabled administrator does not count
	if err := c.Store.EnableUser(ctx, db.CommandLine, "carol"); err != nil {
		t.Fatal(err)
	}
	wantStatus(c.House, c.Alice.Form("/account/delete", "password", handlerstest.AlicePassword, "confirm", "1"), http.StatusSeeOther)
	wantRows(c.House, []string{"bob 0", "carol 1"}, `SELECT username, is_admin FROM users ORDER BY id`)
	wantStatus(c.House, c.AlicePhone.Page("/sessions"), http.StatusSeeOther)
	wantStatus(c.House, c.Bob.Page("/sessions"), http.StatusOK)
}

func TestDeleteAccountNotSignedInAndCrossSite(t *testing.T) {
	t.Parallel()
	c, _ := deleteCast(t)
	before := everything(c.House)
	body := handlerstest.Encode([]string{"password", handlerstest.BobPassword, "confirm", "1"})
	send := func(by *handlerstest.Client, headers ...string) handlerstest.Answer {
		return by.Do("POST", "/account/delete", body, append(headers, "Accept", handlerstest.BrowserAccept,
			"Content-Type", "application/x-www-form-urlencoded")...)
	}
	got := wantStatus(c.House, send(c.NewClient(handlerstest.ChromeOnMac), "Sec-Fetch-Site", "same-origin"), http.StatusSeeOther)
	if got.Header.Get("Location") != "/login?next=%2Fsessions" {
		t.Errorf("to %q", got.Header.Get("Location"))
	}
	got = wantStatus(c.House, c.NewClient(handlerstest.ChromeOnMac).HTMX("POST", "/account/delete", "password", handlerstest.BobPassword,
		"confirm", "1"), http.StatusUnauthorized)
	if !strings.HasPrefix(got.Header.Get("HX-Redirect"), "/login?next=") {
		t.Errorf("headers %v", got.Header)
	}
	for _, headers := range [][]string{
		{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.example"}, {"Origin", "null"},
	} {
		wantStatus(c.House, send(c.Bob, headers...), http.StatusForbidden)
	}
	// The query is ignored, and a GET deletes nothing.
	wantStatus(c.House, c.Bob.Form("/account/delete?confirm=1&password=x"), http.StatusOK)
	if got := c.Bob.Page("/account/delete?confirm=1"); got.Status < 400 {
		t.Errorf("GET: %d", got.Status)
	}
	wantUnchanged(c.House, before)
}
