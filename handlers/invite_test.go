package handlers_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"porchlight/db"
	"porchlight/handlers/handlerstest"
)

const invitePassword = "another dozen pickled lamps"

func invite(h *handlerstest.House, new db.NewUser) (token string) {
	h.T.Helper()
	token, _, err := h.Store.Invite(context.Background(), db.CommandLine, new)
	if err != nil {
		h.T.Fatal(err)
	}
	return token
}

func wantRows(h *handlerstest.House, want []string, query string, args ...any) {
	h.T.Helper()
	if got := h.Rows(query, args...); !slices.Equal(got, want) {
		h.T.Errorf("%s\n got %q\nwant %q", query, got, want)
	}
}

func TestInviteNewAccountSignsIn(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	for _, new := range []db.NewUser{{Username: "carol", Email: "carol@example.com"}, {Username: "dave", IsAdmin: true}} {
		token := invite(c.House, new)
		browser := c.NewClient(handlerstest.FirefoxOnLinux)
		got := wantStatus(c.House, browser.Page("/invite?token="+token), http.StatusOK)
		if !strings.Contains(got.Body, "<strong>"+new.Username+"</strong>") || !strings.Contains(got.Body, token) ||
			strings.Contains(got.Body, "new password for") {
			t.Errorf("page %s", got.Body)
		}
		if browser.Token() != "" || got.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("headers of the page: %v", got.Header)
		}
		wantRows(c.House, nil, `SELECT id FROM users WHERE username = ?`, new.Username) // a GET changes nothing

		got = wantStatus(c.House, browser.Form("/invite", "token", token, "password", invitePassword), http.StatusSeeOther)
		if got.Header.Get("Location") != "/sessions" {
			t.Errorf("to %q", got.Header.Get("Location"))
		}
		wantStatus(c.House, browser.Page("/sessions"), http.StatusOK)
		wantRows(c.House, []string{new.Username + " " + new.Email + " " + map[bool]string{true: "1", false: "0"}[new.IsAdmin] + " 0"},
			`SELECT username, email, is_admin, disabled FROM users WHERE username = ?`, new.Username)
		wantRows(c.House, []string{"invited", "signed_in"},
			`SELECT kind FROM activity a JOIN users u ON u.id = a.user_id WHERE username = ? ORDER BY a.id`, new.Username)
		c.SignIn(new.Username, invitePassword, handlerstest.SafariOnIPhone)

		wantStatus(c.House, browser.Page("/invite?token="+token), http.StatusNotFound)
		wantStatus(c.House, browser.Form("/invite", "token", token, "password", handlerstest.BobPassword), http.StatusNotFound)
		c.SignIn(new.Username, invitePassword, handlerstest.SafariOnIPhone)
	}
	wantRows(c.House, nil, `SELECT username FROM invitations`)
	c.SignIn("carol@example.com", invitePassword, handlerstest.ChromeOnMac)
	wantStatus(c.House, c.Alice.Page("/sessions"), http.StatusOK)
}

func TestInviteFirstAccountIsAdministrator(t *testing.T) {
	t.Parallel()
	h := handlerstest.OpenHouse(t)
	browser := h.NewClient(handlerstest.FirefoxOnLinux)
	wantStatus(h, browser.Form("/invite", "token", invite(h, db.NewUser{Username: "carol"}), "password", invitePassword), http.StatusSeeOther)
	wantRows(h, []string{"carol 1"}, `SELECT username, is_admin FROM users`)
	wantStatus(h, browser.Page("/setup"), http.StatusNotFound)
}

func TestInviteExistingAccountSetsPassword(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	token := invite(c.House, db.NewUser{Username: "alice"})
	browser := c.NewClient(handlerstest.ChromeOnMac)
	got := wantStatus(c.House, browser.Page("/invite?token="+token), http.StatusOK)
	if !strings.Contains(got.Body, "new password for <strong>alice</strong>") || strings.Contains(got.Body, "You were invited") {
		t.Errorf("page %s", got.Body)
	}
	wantStatus(c.House, c.Alice.Page("/sessions"), http.StatusOK)
	last := c.Only(`SELECT MAX(id) FROM activity`)

	wantStatus(c.House, browser.Form("/invite", "token", token, "password", invitePassword), http.StatusSeeOther)
	wantStatus(c.House, browser.Page("/sessions"), http.StatusOK)
	for _, out := range []*handlerstest.Client{c.Alice, c.AlicePhone} {
		wantStatus(c.House, out.Page("/sessions"), http.StatusSeeOther)
		wantStatus(c.House, out.API("GET", "/me/sessions", ""), http.StatusUnauthorized)
	}
	wantStatus(c.House, c.Bob.Page("/sessions"), http.StatusOK)
	if rows := c.SessionsOf("alice"); len(rows) != 1 || rows[0] == c.Alice.ID || rows[0] == c.AlicePhone.ID {
		t.Errorf("sessions %q", rows)
	}
	wantStatus(c.House, c.NewClient(handlerstest.FirefoxOnLinux).Form("/login",
		"username", "alice", "password", handlerstest.AlicePassword), http.StatusUnprocessableEntity)
	c.SignIn("alice", invitePassword, handlerstest.FirefoxOnLinux)
	wantRows(c.House, []string{
		"alice password_changed ", "alice revoked Firefox on Linux", "alice revoked Safari on iPhone", "alice signed_in Chrome on macOS",
	}, `SELECT username, kind, device_name FROM activity a JOIN users u ON u.id = a.user_id
		WHERE a.id > ? AND session_id <> (SELECT id FROM sessions ORDER BY rowid DESC LIMIT 1) ORDER BY kind, device_name`, last)
	wantRows(c.House, []string{"command"}, `SELECT done_by FROM activity WHERE kind = 'invited'`)
	wantRows(c.House, []string{"alice", "bob"}, `SELECT username FROM users ORDER BY id`)
}

// In the API, "by" is the name of the device that did it, or "command".
func TestInviteActivityNamesTheDevice(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	last := c.Only(`SELECT MAX(id) FROM activity`)
	browser := c.NewClient(handlerstest.ChromeOnMac)
	wantStatus(c.House, browser.Form("/invite", "token", invite(c.House, db.NewUser{Username: "alice"}), "password", invitePassword),
		http.StatusSeeOther)
	wantRows(c.House, nil, `SELECT kind, done_by FROM activity WHERE id > ? AND done_by NOT IN ('command', 'Chrome on macOS')`, last)
}

func TestInviteRefusesLinks(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	old := invite(c.House, db.NewUser{Username: "carol"})
	c.Clock.Advance(72*time.Hour - time.Second)
	wantStatus(c.House, c.NewClient(handlerstest.FirefoxOnLinux).Page("/invite?token="+old), http.StatusOK)
	c.Clock.Advance(time.Second)
	voided := invite(c.House, db.NewUser{Username: "dave"})
	newer := invite(c.House, db.NewUser{Username: "dave"})
	disabled := invite(c.House, db.NewUser{Username: "bob"})
	if err := c.Store.DisableUser(context.Background(), db.CommandLine, "bob", true); err != nil {
		t.Fatal(err)
	}
	users := c.Rows(`SELECT * FROM users`)
	browser := c.NewClient(handlerstest.FirefoxOnLinux)
	var pages []string
	for _, token := range []string{
		old, voided, disabled, "", "WRONG", strings.ToLower(newer), newer + "A", strings.Repeat("A", 4000), "%00", "'%20OR%201=1--",
	} {
		got := wantStatus(c.House, browser.Page("/invite?token="+token), http.StatusNotFound)
		pages = append(pages, got.Body)
		got = wantStatus(c.House, browser.Form("/invite", "token", token, "password", invitePassword), http.StatusNotFound)
		pages = append(pages, got.Body)
	}
	if pages = slices.Compact(pages); len(pages) != 1 {
		t.Errorf("the pages of a used, an old and a wrong link differ: %q", pages)
	}
	// The token of a form is read only from its body.
	wantStatus(c.House, browser.Form("/invite?token="+newer, "password", invitePassword), http.StatusNotFound)
	wantRows(c.House, users, `SELECT * FROM users`)
	if browser.Token() != "" {
		t.Error("a refused link signed somebody in")
	}
	wantStatus(c.House, browser.Page("/invite?token="+newer), http.StatusOK)
}

func TestInviteVoidAfterPasswordChange(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	token := invite(c.House, db.NewUser{Username: "bob"})
	wantStatus(c.House, c.Bob.Form("/account/password", "current_password", handlerstest.BobPassword, "new_password", invitePassword),
		http.StatusSeeOther)
	wantStatus(c.House, c.NewClient(handlerstest.FirefoxOnLinux).Page("/invite?token="+token), http.StatusNotFound)
	token = invite(c.House, db.NewUser{Username: "bob"})
	if err := c.Store.SetPassword(context.Background(), db.CommandLine, "bob", handlerstest.BobPassword); err != nil {
		t.Fatal(err)
	}
	wantStatus(c.House, c.NewClient(handlerstest.FirefoxOnLinux).Form("/invite", "token", token, "password", handlerstest.AlicePassword),
		http.StatusNotFound)
	c.SignIn("bob", handlerstest.BobPassword, handlerstest.ChromeOnMac)
}

func TestInviteWeakPassword(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	for _, name := range []string{"alice", "carol"} {
		token := invite(c.House, db.NewUser{Username: name})
		browser := c.NewClient(handlerstest.FirefoxOnLinux)
		users := c.Rows(`SELECT * FROM users`)
		for password, reason := range map[string]string{
			"":                        "Use at least 15 characters. This password has 0.",
			"short":                   "Use at least 15 characters. This password has 5.",
			"password1234567890":      "too easy to guess",
			name + name + name + name: "made of your username",
		} {
			got := wantStatus(c.House, browser.Form("/invite", "token", token, "password", password), http.StatusUnprocessableEntity)
			if !strings.Contains(got.Body, reason) || !strings.Contains(got.Body, token) || !strings.Contains(got.Body, name) {
				t.Errorf("%q: %s", password, got.Body)
			}
			if password != "" && strings.Contains(got.Body, `"`+password+`"`) {
				t.Errorf("the page contains the password %q", password)
			}
		}
		wantRows(c.House, users, `SELECT * FROM users`)
		if browser.Token() != "" {
			t.Error("signed in")
		}
		wantStatus(c.House, browser.Form("/invite", "token", token, "password", invitePassword), http.StatusSeeOther)
	}
}

func TestInviteNameTakenMeanwhile(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	token := invite(c.House, db.NewUser{Username: "carol", IsAdmin: true})
	c.AddUser("carol", handlerstest.BobPassword)
	stranger := c.SignIn("carol", handlerstest.BobPassword, handlerstest.ChromeOnMac)
	users := c.Rows(`SELECT * FROM users`)
	browser := c.NewClient(handlerstest.FirefoxOnLinux)
	got := wantStatus(c.House, browser.Form("/invite", "token", token, "password", invitePassword), http.StatusUnprocessableEntity)
	if !strings.Contains(got.Body, "This username is taken.") || browser.Token() != "" {
		t.Errorf("page %s", got.Body)
	}
	wantRows(c.House, users, `SELECT * FROM users`)
	wantStatus(c.House, stranger.Page("/sessions"), http.StatusOK)
	wantRows(c.House, []string{"signed_in"}, `SELECT kind FROM activity a JOIN users u ON u.id = a.user_id WHERE username = 'carol'`)
}

func TestInviteAddressTakenMeanwhile(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	token := invite(c.House, db.NewUser{Username: "carol", Email: "carol@example.com"})
	if _, err := c.Store.CreateUser(context.Background(), db.NewUser{
		Username: "dave", Email: "carol@example.com", Password: handlerstest.BobPassword,
	}); err != nil {
		t.Fatal(err)
	}
	users := c.Rows(`SELECT * FROM users`)
	got := wantStatus(c.House, c.NewClient(handlerstest.FirefoxOnLinux).Form("/invite", "token", token, "password", invitePassword),
		http.StatusUnprocessableEntity)
	if !strings.Contains(got.Body, "This e-mail address is already in use.") {
		t.Errorf("the page does not say what is wrong: %s", got.Body)
	}
	wantRows(c.House, users, `SELECT * FROM users`)
}

func TestInviteTwoPostsAtOnce(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"alice", "carol"} {
		t.Run(name, func(t *testing.T) {
			c := handlerstest.OpenCast(t)
			token := invite(c.House, db.NewUser{Username: name})
			type result struct {
				browser  *handlerstest.Client
				password string
				got      handlerstest.Answer
			}
			results := make(chan result)
			for _, password := range []string{invitePassword, "violet anchor drizzle spoon"} {
				browser := c.NewClient(handlerstest.FirefoxOnLinux)
				go func() {
					results <- result{browser, password, browser.Form("/invite", "token", token, "password", password)}
				}()
			}
			won := 0
			for range 2 {
				switch r := <-results; r.got.Status {
				case http.StatusSeeOther:
					won++
					wantStatus(c.House, r.browser.Page("/sessions"), http.StatusOK)
					body := `{"username":"` + name + `","password":"` + r.password + `"}`
					wantStatus(c.House, c.NewClient(handlerstest.ChromeOnMac).API("POST", "/login", body), http.StatusOK)
				case http.StatusNotFound:
					if r.browser.Token() != "" {
						t.Error("the loser is signed in")
					}
				default:
					t.Errorf("unexpected answer %d %s", r.got.Status, r.got.Body)
				}
			}
			if won != 1 {
				t.Errorf("%d requests succeeded, want 1", won)
			}
		})
	}
}

func TestInviteCrossSite(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	token := invite(c.House, db.NewUser{Username: "bob"})
	users := c.Rows(`SELECT * FROM users`)
	body := handlerstest.Encode([]string{"token", token, "password", invitePassword})
	browser := c.NewClient(handlerstest.FirefoxOnLinux)
	for _, headers := range [][]string{
		{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.example"}, {"Origin", "null"},
	} {
		got := browser.Do("POST", "/invite", body, append(headers, "Accept", handlerstest.BrowserAccept,
			"Content-Type", "application/x-www-form-urlencoded")...)
		wantStatus(c.House, got, http.StatusForbidden)
	}
	wantRows(c.House, users, `SELECT * FROM users`)
	wantStatus(c.House, browser.Page("/invite?token="+token, "Sec-Fetch-Site", "cross-site"), http.StatusOK) // a link in a mail
	wantStatus(c.House, browser.Form("/invite", "token", token, "password", invitePassword), http.StatusSeeOther)
}

func TestInviteMethodsAndLog(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	token := invite(c.House, db.NewUser{Username: "carol"})
	browser := c.NewClient(handlerstest.FirefoxOnLinux)
	for _, method := range []string{"PUT", "DELETE", "PATCH"} {
		wantStatus(c.House, browser.Do(method, "/invite?token="+token, "", "Accept", handlerstest.BrowserAccept,
			"Sec-Fetch-Site", "same-origin"), http.StatusMethodNotAllowed)
	}
	wantStatus(c.House, browser.Page("/invite?token="+token), http.StatusOK)
	wantStatus(c.House, browser.Form("/invite", "token", token, "password", "short"), http.StatusUnprocessableEntity)
	wantStatus(c.House, browser.Form("/invite", "token", token, "password", invitePassword), http.StatusSeeOther)
	wantStatus(c.House, browser.Form("/invite", "token", token, "password", invitePassword), http.StatusNotFound)
	if strings.Contains(c.Log.String(), token) || strings.Contains(c.Log.String(), invitePassword) {
		t.Error("the log contains the token or the password")
	}
}
