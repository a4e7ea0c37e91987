package handlers_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"

	"porchlight/db"
)

// deleteCast is the cast, with bob (no administrator) signed in on a second device.
func deleteCast(t *testing.T) (c *cast, bobPhone *client) {
	c = openCast(t)
	return c, c.signIn("bob", bobPassword, safariOnIPhone)
}

// everything is all that is kept, table by table.
func (h *house) everything() (all []string) {
	h.t.Helper()
	for _, table := range h.rows(`SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY 1`) {
		all = append(all, table)
		all = append(all, h.rows(`SELECT * FROM `+table+` ORDER BY 1`)...)
	}
	return all
}

func (h *house) wantUnchanged(before []string) {
	h.t.Helper()
	if after := h.everything(); !slices.Equal(before, after) {
		h.t.Errorf("something has changed\n was %q\n is  %q", before, after)
	}
}

func TestDeleteAccountAsksFirst(t *testing.T) {
	t.Parallel()
	c, bobPhone := deleteCast(t)
	before := c.everything()
	for _, values := range [][]string{{"password", bobPassword}, {"password", throttleWrong}, {}, {"password", bobPassword, "confirm", ""}} {
		got := c.wantStatus(c.bob.form("/account/delete", values...), http.StatusOK)
		if !strings.Contains(got.body, `name="confirm" value="1"`) || !strings.Contains(got.body, `action="/account/delete"`) || strings.Contains(got.body, bobPassword) {
			t.Errorf("the page does not ask: %s", got.body)
		}
		if len(got.header.Values("Set-Cookie")) > 0 || got.header.Get("Clear-Site-Data") != "" {
			t.Errorf("headers %v", got.header)
		}
	}
	c.wantStatus(c.bob.page("/account"), http.StatusOK)
	c.wantStatus(bobPhone.page("/account"), http.StatusOK)
	c.wantUnchanged(before)
}

func TestDeleteAccountWrongPassword(t *testing.T) {
	t.Parallel()
	c, _ := deleteCast(t)
	users, sessions := c.rows(`SELECT * FROM users`), c.rows(`SELECT id FROM sessions`)
	for _, password := range []string{throttleWrong, "", alicePassword} {
		got := c.wantStatus(c.bob.form("/account/delete", "password", password, "confirm", "1"), http.StatusUnprocessableEntity)
		if !strings.Contains(got.body, "This is not your password.") || len(got.header.Values("Set-Cookie")) > 0 {
			t.Errorf("%q: %v %s", password, got.header, got.body)
		}
	}
	c.wantRows(users, `SELECT * FROM users`)
	c.wantRows(sessions, `SELECT id FROM sessions`)
	c.wantStatus(c.bob.page("/sessions"), http.StatusOK)
}

func TestDeleteAccount(t *testing.T) {
	t.Parallel()
	c, bobPhone := deleteCast(t)
	c.invite(db.NewUser{Username: "bob"})
	old := c.bob.token()
	of := func(name string) (all []string) {
		id := c.only(`SELECT id FROM users WHERE username = ?`, name)
		all = append(all, c.rows(`SELECT * FROM users WHERE id = ?`, id)...)
		all = append(all, c.rows(`SELECT * FROM sessions WHERE user_id = ?`, id)...)
		return append(all, c.rows(`SELECT * FROM activity WHERE user_id = ?`, id)...)
	}
	alice, bobsID := of("alice"), c.only(`SELECT id FROM users WHERE username = 'bob'`)

	got := c.wantStatus(c.bob.form("/account/delete", "password", bobPassword, "confirm", "1"), http.StatusSeeOther)
	if got.header.Get("Location") != "/login" || got.header.Get("Clear-Site-Data") != `"cache", "storage"` || got.header.Get("Cache-Control") != "no-store" {
		t.Errorf("headers %v", got.header)
	}
	if c.bob.token() != "" {
		t.Error("the cookie was not cleared")
	}
	for _, table := range []string{"sessions", "activity", "invitations"} {
		c.wantRows(nil, `SELECT user_id FROM `+table+` WHERE user_id = ?`, bobsID)
	}
	c.wantRows([]string{"alice"}, `SELECT username FROM users`)
	c.wantStatus(bobPhone.page("/sessions"), http.StatusSeeOther)
	c.wantStatus(bobPhone.api("GET", "/me/sessions", ""), http.StatusUnauthorized)
	c.wantStatus(bobPhone.htmx("GET", "/sessions/list"), http.StatusUnauthorized)
	c.wantStatus(c.newClient(chromeOnMac).do("GET", "/me/sessions", "", "Cookie", "porchlight="+old), http.StatusUnauthorized)
	c.wantStatus(c.newClient(chromeOnMac).form("/login", "username", "bob", "password", bobPassword), http.StatusUnprocessableEntity)
	if now := of("alice"); !slices.Equal(alice, now) {
		t.Errorf("somebody else's data\n was %q\n is  %q", alice, now)
	}
	c.wantStatus(c.alice.page("/sessions"), http.StatusOK)
	c.wantStatus(c.alicePhone.page("/sessions"), http.StatusOK)

	// A new account of the same name has nothing of the old one, nor is it met by the old one's cookies.
	if _, err := c.store.CreateUser(context.Background(), db.NewUser{Username: "bob", Password: alicePassword, Reuse: true}); err != nil {
		t.Fatal(err)
	}
	c.wantStatus(bobPhone.page("/sessions"), http.StatusSeeOther)
	c.wantRows(nil, `SELECT a.id FROM activity a JOIN users u ON u.id = a.user_id WHERE username = 'bob'`)
}

// A failed sign-in is noted in memory; the account that it was for may be gone when it is written.
func TestDeleteAccountAfterFailedSignIn(t *testing.T) {
	t.Parallel()
	c, _ := deleteCast(t)
	for _, name := range []string{"bob", "alice"} {
		c.wantStatus(c.newClient(chromeOnMac).form("/login", "username", name, "password", throttleWrong), http.StatusUnprocessableEntity)
	}
	c.wantStatus(c.bob.form("/account/delete", "password", bobPassword, "confirm", "1"), http.StatusSeeOther)
	if err := c.store.Flush(context.Background()); err != nil {
		t.Errorf("flush: %v", err)
	}
	c.wantRows([]string{"alice sign_in_failed 1"}, `SELECT username, kind, count FROM activity a JOIN users u ON u.id = a.user_id WHERE kind = 'sign_in_failed'`)
}

func TestDeleteAccountLastAdministrator(t *testing.T) {
	t.Parallel()
	c, _ := deleteCast(t)
	before := c.everything()
	refused := func() {
		t.Helper()
		got := c.wantStatus(c.alice.form("/account/delete", "password", alicePassword, "confirm", "1"), http.StatusUnprocessableEntity)
		if !strings.Contains(got.body, "last administrator") || len(got.header.Values("Set-Cookie")) > 0 {
			t.Errorf("%v %s", got.header, got.body)
		}
	}
	refused()
	c.wantUnchanged(before) // not even a try is counted: the password was right

	ctx := context.Background()
	if _, err := c.store.CreateUser(ctx, db.NewUser{Username: "carol", Password: bobPassword, IsAdmin: true}); err != nil {
		t.Fatal(err)
	}
	if err := c.store.DisableUser(ctx, "carol", true); err != nil {
		t.Fatal(err)
	}
	refused() // a disabled administrator does not count
	if err := c.store.EnableUser(ctx, "carol"); err != nil {
		t.Fatal(err)
	}
	c.wantStatus(c.alice.form("/account/delete", "password", alicePassword, "confirm", "1"), http.StatusSeeOther)
	c.wantRows([]string{"bob 0", "carol 1"}, `SELECT username, is_admin FROM users ORDER BY id`)
	c.wantStatus(c.alicePhone.page("/sessions"), http.StatusSeeOther)
	c.wantStatus(c.bob.page("/sessions"), http.StatusOK)
}

func TestDeleteAccountNotSignedInAndCrossSite(t *testing.T) {
	t.Parallel()
	c, _ := deleteCast(t)
	before := c.everything()
	body := encode([]string{"password", bobPassword, "confirm", "1"})
	send := func(by *client, headers ...string) answer {
		return by.do("POST", "/account/delete", body, append(headers, "Accept", browserAccept, "Content-Type", "application/x-www-form-urlencoded")...)
	}
	got := c.wantStatus(send(c.newClient(chromeOnMac), "Sec-Fetch-Site", "same-origin"), http.StatusSeeOther)
	if got.header.Get("Location") != "/login?next=%2Fsessions" {
		t.Errorf("to %q", got.header.Get("Location"))
	}
	got = c.wantStatus(c.newClient(chromeOnMac).htmx("POST", "/account/delete", "password", bobPassword, "confirm", "1"), http.StatusUnauthorized)
	if !strings.HasPrefix(got.header.Get("HX-Redirect"), "/login?next=") {
		t.Errorf("headers %v", got.header)
	}
	for _, headers := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.example"}, {"Origin", "null"}} {
		c.wantStatus(send(c.bob, headers...), http.StatusForbidden)
	}
	// What is asked for in the address does not count, and a GET deletes nothing.
	c.wantStatus(c.bob.form("/account/delete?confirm=1&password=x"), http.StatusOK)
	if got := c.bob.page("/account/delete?confirm=1"); got.status < 400 {
		t.Errorf("GET: %d", got.status)
	}
	c.wantUnchanged(before)
}
