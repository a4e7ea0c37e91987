package handlers_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"porchlight/db"
)

const invitePassword = "another dozen pickled lamps"

func (h *house) invite(new db.NewUser) (token string) {
	h.t.Helper()
	token, _, err := h.store.Invite(context.Background(), new)
	if err != nil {
		h.t.Fatal(err)
	}
	return token
}

func (h *house) wantRows(want []string, query string, args ...any) {
	h.t.Helper()
	if got := h.rows(query, args...); !slices.Equal(got, want) {
		h.t.Errorf("%s\n got %q\nwant %q", query, got, want)
	}
}

func TestInviteNewAccountSignsIn(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	for _, new := range []db.NewUser{{Username: "carol", Email: "carol@example.com"}, {Username: "dave", IsAdmin: true}} {
		token := c.invite(new)
		browser := c.newClient(firefoxOnLinux)
		got := c.wantStatus(browser.page("/invite?token="+token), http.StatusOK)
		if !strings.Contains(got.body, "<strong>"+new.Username+"</strong>") || !strings.Contains(got.body, token) || strings.Contains(got.body, "new password for") {
			t.Errorf("page %s", got.body)
		}
		if browser.token() != "" || got.header.Get("Cache-Control") != "no-store" {
			t.Errorf("headers of the page: %v", got.header)
		}
		c.wantRows(nil, `SELECT id FROM users WHERE username = ?`, new.Username) // a GET changes nothing

		got = c.wantStatus(browser.form("/invite", "token", token, "password", invitePassword), http.StatusSeeOther)
		if got.header.Get("Location") != "/sessions" {
			t.Errorf("to %q", got.header.Get("Location"))
		}
		c.wantStatus(browser.page("/sessions"), http.StatusOK)
		c.wantRows([]string{new.Username + " " + new.Email + " " + map[bool]string{true: "1", false: "0"}[new.IsAdmin] + " 0"},
			`SELECT username, email, is_admin, disabled FROM users WHERE username = ?`, new.Username)
		c.wantRows([]string{"invited", "signed_in"}, `SELECT kind FROM activity a JOIN users u ON u.id = a.user_id WHERE username = ? ORDER BY a.id`, new.Username)
		c.signIn(new.Username, invitePassword, safariOnIPhone)

		c.wantStatus(browser.page("/invite?token="+token), http.StatusNotFound)
		c.wantStatus(browser.form("/invite", "token", token, "password", bobPassword), http.StatusNotFound)
		c.signIn(new.Username, invitePassword, safariOnIPhone)
	}
	c.wantRows(nil, `SELECT username FROM invitations`)
	c.signIn("carol@example.com", invitePassword, chromeOnMac)
	c.wantStatus(c.alice.page("/sessions"), http.StatusOK)
}

func TestInviteFirstAccountIsAdministrator(t *testing.T) {
	t.Parallel()
	h := openHouse(t)
	browser := h.newClient(firefoxOnLinux)
	h.wantStatus(browser.form("/invite", "token", h.invite(db.NewUser{Username: "carol"}), "password", invitePassword), http.StatusSeeOther)
	h.wantRows([]string{"carol 1"}, `SELECT username, is_admin FROM users`)
	h.wantStatus(browser.page("/setup"), http.StatusNotFound)
}

func TestInviteExistingAccountSetsPassword(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	token := c.invite(db.NewUser{Username: "alice"})
	browser := c.newClient(chromeOnMac)
	got := c.wantStatus(browser.page("/invite?token="+token), http.StatusOK)
	if !strings.Contains(got.body, "new password for <strong>alice</strong>") || strings.Contains(got.body, "You were invited") {
		t.Errorf("page %s", got.body)
	}
	c.wantStatus(c.alice.page("/sessions"), http.StatusOK)
	last := c.only(`SELECT MAX(id) FROM activity`)

	c.wantStatus(browser.form("/invite", "token", token, "password", invitePassword), http.StatusSeeOther)
	c.wantStatus(browser.page("/sessions"), http.StatusOK)
	for _, out := range []*client{c.alice, c.alicePhone} {
		c.wantStatus(out.page("/sessions"), http.StatusSeeOther)
		c.wantStatus(out.api("GET", "/me/sessions", ""), http.StatusUnauthorized)
	}
	c.wantStatus(c.bob.page("/sessions"), http.StatusOK)
	if rows := c.sessionsOf("alice"); len(rows) != 1 || rows[0] == c.alice.id || rows[0] == c.alicePhone.id {
		t.Errorf("sessions %q", rows)
	}
	c.wantStatus(c.newClient(firefoxOnLinux).form("/login", "username", "alice", "password", alicePassword), http.StatusUnprocessableEntity)
	c.signIn("alice", invitePassword, firefoxOnLinux)
	c.wantRows([]string{"alice password_changed ", "alice revoked Firefox on Linux", "alice revoked Safari on iPhone", "alice signed_in Chrome on macOS"},
		`SELECT username, kind, device_name FROM activity a JOIN users u ON u.id = a.user_id WHERE a.id > ? AND session_id <> (SELECT id FROM sessions ORDER BY rowid DESC LIMIT 1) ORDER BY kind, device_name`, last)
	c.wantRows([]string{"command"}, `SELECT done_by FROM activity WHERE kind = 'invited'`)
	c.wantRows([]string{"alice", "bob"}, `SELECT username FROM users ORDER BY id`)
}

// The API says of "by": the name of the device that did it, or "command".
func TestInviteActivityTellsWhoDidIt(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	last := c.only(`SELECT MAX(id) FROM activity`)
	browser := c.newClient(chromeOnMac)
	c.wantStatus(browser.form("/invite", "token", c.invite(db.NewUser{Username: "alice"}), "password", invitePassword), http.StatusSeeOther)
	c.wantRows(nil, `SELECT kind, done_by FROM activity WHERE id > ? AND done_by NOT IN ('command', 'Chrome on macOS')`, last)
}

func TestInviteRefusesLinks(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	old := c.invite(db.NewUser{Username: "carol"})
	c.clock.Advance(72*time.Hour - time.Second)
	c.wantStatus(c.newClient(firefoxOnLinux).page("/invite?token="+old), http.StatusOK)
	c.clock.Advance(time.Second)
	voided := c.invite(db.NewUser{Username: "dave"})
	newer := c.invite(db.NewUser{Username: "dave"})
	disabled := c.invite(db.NewUser{Username: "bob"})
	if err := c.store.DisableUser(context.Background(), "bob", true); err != nil {
		t.Fatal(err)
	}
	users := c.rows(`SELECT * FROM users`)
	browser := c.newClient(firefoxOnLinux)
	var pages []string
	for _, token := range []string{old, voided, disabled, "", "WRONG", strings.ToLower(newer), newer + "A", strings.Repeat("A", 4000), "%00", "'%20OR%201=1--"} {
		got := c.wantStatus(browser.page("/invite?token="+token), http.StatusNotFound)
		pages = append(pages, got.body)
		got = c.wantStatus(browser.form("/invite", "token", token, "password", invitePassword), http.StatusNotFound)
		pages = append(pages, got.body)
	}
	if pages = slices.Compact(pages); len(pages) != 1 {
		t.Errorf("a used, an old and a wrong link are told apart: %q", pages)
	}
	// The token of a form is read only from its body.
	c.wantStatus(browser.form("/invite?token="+newer, "password", invitePassword), http.StatusNotFound)
	c.wantRows(users, `SELECT * FROM users`)
	if browser.token() != "" {
		t.Error("a refused link signed somebody in")
	}
	c.wantStatus(browser.page("/invite?token="+newer), http.StatusOK)
}

func TestInviteVoidAfterPasswordChange(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	token := c.invite(db.NewUser{Username: "bob"})
	c.wantStatus(c.bob.form("/account/password", "current_password", bobPassword, "new_password", invitePassword), http.StatusSeeOther)
	c.wantStatus(c.newClient(firefoxOnLinux).page("/invite?token="+token), http.StatusNotFound)
	token = c.invite(db.NewUser{Username: "bob"})
	if err := c.store.SetPassword(context.Background(), "bob", bobPassword); err != nil {
		t.Fatal(err)
	}
	c.wantStatus(c.newClient(firefoxOnLinux).form("/invite", "token", token, "password", alicePassword), http.StatusNotFound)
	c.signIn("bob", bobPassword, chromeOnMac)
}

func TestInviteWeakPassword(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	for _, name := range []string{"alice", "carol"} {
		token := c.invite(db.NewUser{Username: name})
		browser := c.newClient(firefoxOnLinux)
		users := c.rows(`SELECT * FROM users`)
		for password, reason := range map[string]string{"": "Use at least 15 characters. This password has 0.", "short": "Use at least 15 characters. This password has 5.", "password1234567890": "too easy to guess", name + name + name + name: "made of your username"} {
			got := c.wantStatus(browser.form("/invite", "token", token, "password", password), http.StatusUnprocessableEntity)
			if !strings.Contains(got.body, reason) || !strings.Contains(got.body, token) || !strings.Contains(got.body, name) {
				t.Errorf("%q: %s", password, got.body)
			}
			if password != "" && strings.Contains(got.body, `"`+password+`"`) {
				t.Errorf("the page holds the password %q", password)
			}
		}
		c.wantRows(users, `SELECT * FROM users`)
		if browser.token() != "" {
			t.Error("signed in")
		}
		c.wantStatus(browser.form("/invite", "token", token, "password", invitePassword), http.StatusSeeOther)
	}
}

func TestInviteNameTakenMeanwhile(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	token := c.invite(db.NewUser{Username: "carol", IsAdmin: true})
	c.addUser("carol", bobPassword)
	stranger := c.signIn("carol", bobPassword, chromeOnMac)
	users := c.rows(`SELECT * FROM users`)
	browser := c.newClient(firefoxOnLinux)
	got := c.wantStatus(browser.form("/invite", "token", token, "password", invitePassword), http.StatusUnprocessableEntity)
	if !strings.Contains(got.body, "This username is taken.") || browser.token() != "" {
		t.Errorf("page %s", got.body)
	}
	c.wantRows(users, `SELECT * FROM users`)
	c.wantStatus(stranger.page("/sessions"), http.StatusOK)
	c.wantRows([]string{"signed_in"}, `SELECT kind FROM activity a JOIN users u ON u.id = a.user_id WHERE username = 'carol'`)
}

func TestInviteAddressTakenMeanwhile(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	token := c.invite(db.NewUser{Username: "carol", Email: "carol@example.com"})
	if _, err := c.store.CreateUser(context.Background(), db.NewUser{Username: "dave", Email: "carol@example.com", Password: bobPassword}); err != nil {
		t.Fatal(err)
	}
	users := c.rows(`SELECT * FROM users`)
	got := c.wantStatus(c.newClient(firefoxOnLinux).form("/invite", "token", token, "password", invitePassword), http.StatusUnprocessableEntity)
	if !strings.Contains(got.body, "This e-mail address is taken.") {
		t.Errorf("the page does not say what is wrong: %s", got.body)
	}
	c.wantRows(users, `SELECT * FROM users`)
}

func TestInviteTwoPostsAtOnce(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"alice", "carol"} {
		t.Run(name, func(t *testing.T) {
			c := openCast(t)
			token := c.invite(db.NewUser{Username: name})
			type result struct {
				browser  *client
				password string
				got      answer
			}
			results := make(chan result)
			for _, password := range []string{invitePassword, "violet anchor drizzle spoon"} {
				browser := c.newClient(firefoxOnLinux)
				go func() {
					results <- result{browser, password, browser.form("/invite", "token", token, "password", password)}
				}()
			}
			won := 0
			for range 2 {
				switch r := <-results; r.got.status {
				case http.StatusSeeOther:
					won++
					c.wantStatus(r.browser.page("/sessions"), http.StatusOK)
					c.wantStatus(c.newClient(chromeOnMac).api("POST", "/login", `{"username":"`+name+`","password":"`+r.password+`"}`), http.StatusOK)
				case http.StatusNotFound:
					if r.browser.token() != "" {
						t.Error("the loser is signed in")
					}
				default:
					t.Errorf("%d %s", r.got.status, r.got.body)
				}
			}
			if won != 1 {
				t.Errorf("%d posts passed", won)
			}
		})
	}
}

func TestInviteCrossSite(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	token := c.invite(db.NewUser{Username: "bob"})
	users := c.rows(`SELECT * FROM users`)
	body := encode([]string{"token", token, "password", invitePassword})
	browser := c.newClient(firefoxOnLinux)
	for _, headers := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.example"}, {"Origin", "null"}} {
		got := browser.do("POST", "/invite", body, append(headers, "Accept", browserAccept, "Content-Type", "application/x-www-form-urlencoded")...)
		c.wantStatus(got, http.StatusForbidden)
	}
	c.wantRows(users, `SELECT * FROM users`)
	c.wantStatus(browser.page("/invite?token="+token, "Sec-Fetch-Site", "cross-site"), http.StatusOK) // a link in a mail
	c.wantStatus(browser.form("/invite", "token", token, "password", invitePassword), http.StatusSeeOther)
}

func TestInviteMethodsAndLog(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	token := c.invite(db.NewUser{Username: "carol"})
	browser := c.newClient(firefoxOnLinux)
	for _, method := range []string{"PUT", "DELETE", "PATCH"} {
		c.wantStatus(browser.do(method, "/invite?token="+token, "", "Accept", browserAccept, "Sec-Fetch-Site", "same-origin"), http.StatusMethodNotAllowed)
	}
	c.wantStatus(browser.page("/invite?token="+token), http.StatusOK)
	c.wantStatus(browser.form("/invite", "token", token, "password", "short"), http.StatusUnprocessableEntity)
	c.wantStatus(browser.form("/invite", "token", token, "password", invitePassword), http.StatusSeeOther)
	c.wantStatus(browser.form("/invite", "token", token, "password", invitePassword), http.StatusNotFound)
	if strings.Contains(c.log.String(), token) || strings.Contains(c.log.String(), invitePassword) {
		t.Error("the log holds the token or the password")
	}
}
