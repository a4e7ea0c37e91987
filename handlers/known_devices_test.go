package handlers_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"porchlight/db"
	"porchlight/handlers"
	"porchlight/handlers/handlerstest"
)

// This file tests the browsers that a user has signed in from before.

// deviceCookie returns the client's device cookie, or "".
func deviceCookie(c *handlerstest.Client) string {
	at, _ := url.Parse(c.URL)
	for _, cookie := range c.HTTP.Jar.Cookies(at) {
		if cookie.Name == "porchlight-device" {
			return cookie.Value
		}
	}
	return ""
}

func TestOnlyABrowserOfOnePersonIsRemembered(t *testing.T) {
	t.Parallel()
	h := handlerstest.OpenHouse(t)
	h.AddUser("alice", handlerstest.AlicePassword)
	shared := h.NewClient(handlerstest.FirefoxOnLinux)
	shared.Form("/login", "username", "alice", "password", handlerstest.AlicePassword, "shared", "1").Is(t, 303)
	script := h.NewClient("curl/8.5.0")
	script.API("POST", "/login", `{"username":"alice","password":"`+handlerstest.AlicePassword+`"}`).Is(t, 200)
	if deviceCookie(shared)+deviceCookie(script) != "" {
		t.Error("a shared computer or a script is remembered")
	}
	h.SameRows(t, []string{"0"}, `SELECT COUNT(*) FROM devices`)
	own := h.NewClient(handlerstest.FirefoxOnLinux)
	own.Form("/login", "username", "alice", "password", handlerstest.AlicePassword).Is(t, 303)
	token := deviceCookie(own)
	h.SameRows(t, []string{"1"}, `SELECT COUNT(*) FROM devices WHERE token_hash = unhex(?)`, handlerstest.SHA256Hex(token))
	for _, page := range []string{"/sessions", "/account", "/me/sessions", "/me/export"} {
		if got := own.Page(page); strings.Contains(got.Body, token) {
			t.Errorf("%s contains the token of the device", page)
		}
	}
}

func TestANameOutlivesTheSession(t *testing.T) {
	t.Parallel()
	h := handlerstest.OpenHouse(t)
	h.AddUser("alice", handlerstest.AlicePassword)
	browser := h.NewClient(handlerstest.FirefoxOnLinux)
	signIn := func() {
		t.Helper()
		browser.Form("/login", "username", "alice", "password", handlerstest.AlicePassword).Is(t, 303)
	}
	signIn()
	id := h.Only(`SELECT id FROM sessions`)
	browser.Form("/sessions/"+id+"/name", "name", "Kitchen tablet").Is(t, 303)
	browser.Form("/logout").Is(t, 303)
	signIn()
	browser.API("GET", "/me/sessions/current", "").Has(t, `"deviceName":"Kitchen tablet","browser":"Firefox on Linux"`)

	device := h.Only(`SELECT id FROM devices`)
	page := browser.Page("/account")
	page.Has(t, "Known devices", "Kitchen tablet", `action="/account/devices/`+device+`/forget"`)
	browser.API("GET", "/me/export", "").Has(t,
		`"devices":[{"name":"Kitchen tablet","detectedName":"Firefox on Linux"`, `"network":"127.0.0.0/24"`)
	browser.Form("/account/devices/"+device+"/forget").Is(t, 303, "/account?done=forgotten")
	browser.Page("/account?done=forgotten").Has(t, "The device was forgotten.")
	browser.Page("/account").Lacks(t, "Known devices", "Kitchen tablet")
	h.SameRows(t, []string{"0"}, `SELECT COUNT(*) FROM devices`)
	browser.API("GET", "/me/sessions/current", "").Has(t, `"deviceName":"Firefox on Linux"`)
}

func TestNobodyForgetsSomebodyElsesDevice(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	device := c.Only(`SELECT d.id FROM devices d JOIN users u ON u.id = d.user_id WHERE u.username = 'bob'`)
	check := c.Unchanged()
	c.Alice.Form("/account/devices/"+device+"/forget").Is(t, 303)
	check(t)
}

// Failed attempts by others do not lock a user out in a known browser, not even when they lock the account.
func TestAKnownDeviceGetsInPastTheThrottle(t *testing.T) {
	t.Parallel()
	h := handlerstest.OpenHouse(t)
	h.AddUser("alice", handlerstest.AlicePassword)
	known := h.NewClient(handlerstest.FirefoxOnLinux)
	known.Form("/login", "username", "alice", "password", handlerstest.AlicePassword).Is(t, 303)
	known.Form("/logout").Is(t, 303)
	stranger := h.NewClient("curl/8.5.0")
	for range 10 {
		stranger.Form("/login", "username", "alice", "password", "wrong").Is(t, 422)
	}
	stranger.Form("/login", "username", "alice", "password", handlerstest.AlicePassword).Is(t, 429)
	known.Form("/login", "username", "alice", "password", handlerstest.AlicePassword).Is(t, 303)
}

func TestNotMe(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	thief := c.NewClient(handlerstest.ChromeOnMac)
	thief.Form("/login", "username", "alice", "password", handlerstest.AlicePassword).Is(t, 303)
	id := c.Only(`SELECT id FROM sessions WHERE token_hash = unhex(?)`, handlerstest.SHA256Hex(thief.Token()))
	c.Alice.Page("/sessions").Has(t, `action="/sessions/`+id+`/not-me"`)
	check := c.Unchanged()
	c.Alice.Form("/sessions/"+id+"/not-me").Has(t, "Wasn&#39;t this you?", "Chrome on macOS", `name="confirm" value="1"`)
	c.Alice.Form("/sessions/"+c.Alice.ID+"/not-me", "confirm", "1").Is(t, 400)
	c.Alice.Form("/sessions/"+c.Bob.ID+"/not-me", "confirm", "1").Is(t, 303, "/sessions?done=gone")
	check(t)
	c.Alice.Form("/sessions/"+id+"/not-me", "confirm", "1").Is(t, 303, "/account/password?done=not-me")
	if left := c.SessionsOf("alice"); len(left) != 1 || left[0] != c.Alice.ID {
		t.Errorf("left are %q", left)
	}
	c.SameRows(t, []string{"0"}, `SELECT COUNT(*) FROM devices WHERE token_hash = unhex(?)`, handlerstest.SHA256Hex(deviceCookie(thief)))
	c.Alice.Page("/account/password?done=not-me").Has(t, "Every other device is signed out. Now choose a new password.", `name="new_password"`)
}

// An impatient press sends a form twice, here at the same time. Both answers lead on, and the work is done once.
func TestAFormThatIsSentTwice(t *testing.T) {
	t.Parallel()
	const form = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	const password = "gravel lantern opera thimble"
	for name, test := range map[string]struct {
		path   string
		body   []string
		change func(*handlers.Options)
		invite bool
	}{
		"sign in": {path: "/login", body: []string{"username", "alice", "password", handlerstest.AlicePassword}},
		"sign up": {path: "/signup", body: []string{"username", "dora", "password", password},
			change: func(o *handlers.Options) { o.Signup = true }},
		"invitation": {path: "/invite", body: []string{"password", password}, invite: true},
		"set up":     {path: "/setup", body: []string{"token", "the-token", "username", "dora", "password", password}},
	} {
		t.Run(name, func(t *testing.T) {
			h := handlerstest.OpenHouse(t, func(o *handlers.Options) {
				o.SetupToken = "the-token"
				if test.change != nil {
					test.change(o)
				}
			})
			if name != "set up" {
				h.AddUser("alice", handlerstest.AlicePassword)
			}
			body := append([]string{"form", form}, test.body...)
			if test.invite {
				token, _, err := h.Store.Invite(context.Background(), db.CommandLine, db.NewUser{Username: "dora"})
				if err != nil {
					t.Fatal(err)
				}
				body = append(body, "token", token)
			}
			answers := make(chan handlerstest.Answer, 2)
			clients := []*handlerstest.Client{h.NewClient(handlerstest.FirefoxOnLinux), h.NewClient(handlerstest.FirefoxOnLinux)}
			for _, client := range clients {
				go func() { answers <- client.Form(test.path, body...) }()
			}
			for range clients {
				(<-answers).Is(t, http.StatusSeeOther, "/sessions")
			}
			h.SameRows(t, []string{"1 1 1"}, `SELECT (SELECT COUNT(*) FROM sessions), (SELECT COUNT(*) FROM devices),
				(SELECT COUNT(*) FROM activity WHERE kind = 'signed_in')`)
			alive := 0
			for _, client := range clients {
				if client.API("GET", "/me/sessions/current", "").Status == 200 {
					alive++
				}
			}
			if alive != 1 {
				t.Errorf("%d of the two cookies are good", alive)
			}

			// The id of the form is worthless without the password.
			for i := range body {
				if body[i] == "password" {
					body[i+1] = "not the password"
				}
			}
			if got := h.NewClient(handlerstest.FirefoxOnLinux).Form(test.path, body...); got.Status == 303 || touched(got) {
				t.Errorf("with a wrong password: %d, Set-Cookie %q", got.Status, got.Header.Get("Set-Cookie"))
			}
		})
	}
}
