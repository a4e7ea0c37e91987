package handlers_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"porchlight/handlers/handlerstest"
)

// This file tests the account page and changing the password.

func TestAccountPage(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	got := c.Alice.Page("/account")
	got.Is(t, 200)
	got.Has(t, "<title>Your account – Porchlight</title>", "You're signed in as <strong>alice</strong>.",
		`autocomplete="current-password"`, `autocomplete="new-password"`,
		`name="end_others" type="checkbox" value="1" aria-describedby="end_others-hint" checked`)
	got.Lacks(t, "Your groups")
	setGroups(c.House, "alice", "staff", "accounts")
	c.Alice.Page("/account").Has(t, "Your groups: <strong>accounts</strong>, <strong>staff</strong>.")
}

func TestChangePassword(t *testing.T) {
	t.Parallel()
	for _, endOthers := range []bool{true, false} {
		t.Run(map[bool]string{true: "and end the others", false: "and keep the others"}[endOthers], func(t *testing.T) {
			c := handlerstest.OpenCast(t)
			c.Clock.Advance(24 * time.Hour)
			old := c.Alice.Token()
			fields := []string{"current_password", handlerstest.AlicePassword, "new_password", newPassword}
			if endOthers {
				fields = append(fields, "end_others", "1")
			}
			got := c.Alice.Form("/account/password", fields...)
			got.Is(t, 303, "/account?done=password")
			// The rest of the session's lifetime, not a new one.
			rest := regexp.MustCompile(`^porchlight=[A-Z2-7]{26}; max-age=2505480; path=/; HttpOnly; SameSite=Lax$`)
			if cookie := got.Header.Get("Set-Cookie"); !rest.MatchString(cookie) {
				t.Errorf("Set-Cookie %q", cookie)
			}
			if c.Alice.Token() == old {
				t.Error("the token was kept")
			}
			c.NewClient("x").Do("GET", "/me/sessions", "", "Cookie", "porchlight="+old).Is(t, 401)
			c.Alice.Page("/account?done=password").Has(t, "Your password was changed.")
			want, status := []string{c.Alice.ID, c.AlicePhone.ID}, 200
			if endOthers {
				want, status = []string{c.Alice.ID}, 401
			}
			if left := c.SessionsOf("alice"); !slices.Equal(left, want) {
				t.Errorf("alice's sessions are %q, want %q", left, want)
			}
			c.AlicePhone.API("GET", "/me/sessions", "").Is(t, status)
			c.Bob.API("GET", "/me/sessions", "").Is(t, 200)
			hash := c.Only(`SELECT hex(token_hash) FROM sessions WHERE id = ?`, c.Alice.ID)
			if !strings.EqualFold(hash, handlerstest.SHA256Hex(c.Alice.Token())) {
				t.Error("the row has another token")
			}
			script := c.NewClient("curl/8.5.0")
			script.API("POST", "/login", `{"username":"alice","password":"`+handlerstest.AlicePassword+`"}`).Is(t, 401)
			script.API("POST", "/login", `{"username":"alice","password":"`+newPassword+`"}`).Is(t, 200)
			kinds := c.Rows(`SELECT kind FROM activity WHERE session_id = ? ORDER BY id`, c.Alice.ID)
			if !slices.Equal(kinds, []string{"signed_in", "password_changed"}) {
				t.Errorf("activity %q", kinds)
			}
		})
	}
}

func TestChangePasswordOnASharedComputer(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	browser := c.NewClient(handlerstest.FirefoxOnLinux)
	browser.Form("/login", "username", "alice", "password", handlerstest.AlicePassword, "shared", "1").Is(t, 303)
	got := browser.Form("/account/password", "current_password", handlerstest.AlicePassword, "new_password", newPassword)
	got.Is(t, 303)
	if cookie := got.Header.Get("Set-Cookie"); !sharedCookie.MatchString(cookie) {
		t.Errorf("Set-Cookie %q: it must end with the browser", cookie)
	}
}

func TestChangePasswordRefuses(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	check := c.Unchanged()
	for name, test := range map[string]struct {
		current, new string
		reason       string
	}{
		"wrong":           {handlerstest.BobPassword, newPassword, "This is not your current password."},
		"nothing":         {"", "", "This is not your current password."},
		"short":           {handlerstest.AlicePassword, "kept secret", "Use at least 15 characters. This password has 11."},
		"long":            {handlerstest.AlicePassword, big("ab", 129), "Use at most 256 characters."},
		"common":          {handlerstest.AlicePassword, "passwordpassword", "too easy to guess"},
		"not valid text":  {handlerstest.AlicePassword, newPassword + "\xff", "This password is not valid text."},
		"almost the same": {handlerstest.AlicePassword + " ", newPassword, "This is not your current password."},
	} {
		t.Run(name, func(t *testing.T) {
			got := c.Alice.Form("/account/password", "current_password", test.current, "new_password", test.new)
			got.Is(t, 422)
			got.Has(t, test.reason, `role="alert"`, `aria-invalid="true"`)
			got.Lacks(t, newPassword, "kept secret", handlerstest.BobPassword, handlerstest.AlicePassword,
				`name="end_others" type="checkbox" value="1" aria-describedby="end_others-hint" checked`)
			if touched(got) {
				t.Error("a cookie was set")
			}
			c.Alice.Form("/account/password", "current_password", test.current, "new_password", test.new,
				"end_others", "1").Has(t, `end_others-hint" checked`)
		})
	}
	query := "/account/password?" + handlerstest.Encode([]string{"current_password", handlerstest.AlicePassword, "new_password", newPassword})
	c.Alice.Form(query).Is(t, 422)
	c.Alice.Do("POST", "/account/password", `{"current_password":"x"}`, "Content-Type", "application/json").Is(t, 415)
	check(t)
}
