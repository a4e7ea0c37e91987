package handlers_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// This file owns the account page and changing the password.

func TestAccountPage(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	got := c.alice.page("/account")
	got.is(t, 200)
	got.has(t, "<title>Your account – Porchlight</title>", "You are signed in as <strong>alice</strong>.", `autocomplete="current-password"`, `autocomplete="new-password"`,
		`name="end_others" type="checkbox" value="1" aria-describedby="end_others-hint" checked`)
}

func TestChangePassword(t *testing.T) {
	t.Parallel()
	for _, endOthers := range []bool{true, false} {
		t.Run(map[bool]string{true: "and end the others", false: "and keep the others"}[endOthers], func(t *testing.T) {
			c := openCast(t)
			c.clock.Advance(24 * time.Hour)
			old := c.alice.token()
			fields := []string{"current_password", alicePassword, "new_password", newPassword}
			if endOthers {
				fields = append(fields, "end_others", "1")
			}
			got := c.alice.form("/account/password", fields...)
			got.is(t, 303, "/account?done=password")
			// The rest of the session's lifetime, not a new one.
			if cookie := got.header.Get("Set-Cookie"); !regexp.MustCompile(`^porchlight=[A-Z2-7]{26}; max-age=2505480; path=/; HttpOnly; SameSite=Lax$`).MatchString(cookie) {
				t.Errorf("Set-Cookie %q", cookie)
			}
			if c.alice.token() == old {
				t.Error("the token was kept")
			}
			c.newClient("x").do("GET", "/me/sessions", "", "Cookie", "porchlight="+old).is(t, 401)
			c.alice.page("/account?done=password").has(t, "Your password was changed.")
			want, status := []string{c.alice.id, c.alicePhone.id}, 200
			if endOthers {
				want, status = []string{c.alice.id}, 401
			}
			if left := c.sessionsOf("alice"); !slices.Equal(left, want) {
				t.Errorf("alice's sessions are %q, want %q", left, want)
			}
			c.alicePhone.api("GET", "/me/sessions", "").is(t, status)
			c.bob.api("GET", "/me/sessions", "").is(t, 200)
			if hash := c.only(`SELECT hex(token_hash) FROM sessions WHERE id = ?`, c.alice.id); !strings.EqualFold(hash, sha256Hex(c.alice.token())) {
				t.Error("the row holds another token")
			}
			script := c.newClient("curl/8.5.0")
			script.api("POST", "/login", `{"username":"alice","password":"`+alicePassword+`"}`).is(t, 401)
			script.api("POST", "/login", `{"username":"alice","password":"`+newPassword+`"}`).is(t, 200)
			if kinds := c.rows(`SELECT kind FROM activity WHERE session_id = ? ORDER BY id`, c.alice.id); !slices.Equal(kinds, []string{"signed_in", "password_changed"}) {
				t.Errorf("activity %q", kinds)
			}
		})
	}
}

func TestChangePasswordOnASharedComputer(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	browser := c.newClient(firefoxOnLinux)
	browser.form("/login", "username", "alice", "password", alicePassword, "shared", "1").is(t, 303)
	got := browser.form("/account/password", "current_password", alicePassword, "new_password", newPassword)
	got.is(t, 303)
	if cookie := got.header.Get("Set-Cookie"); !sharedCookie.MatchString(cookie) {
		t.Errorf("Set-Cookie %q: it must end with the browser", cookie)
	}
}

func TestChangePasswordRefuses(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	check := c.unchanged()
	for name, test := range map[string]struct {
		current, new string
		reason       string
	}{
		"wrong":           {bobPassword, newPassword, "This is not your current password."},
		"nothing":         {"", "", "This is not your current password."},
		"short":           {alicePassword, "kept secret", "Use at least 15 characters. This password has 11."},
		"long":            {alicePassword, big("ab", 129), "Use at most 256 characters."},
		"common":          {alicePassword, "passwordpassword", "too easy to guess"},
		"not valid text":  {alicePassword, newPassword + "\xff", "This password is not valid text."},
		"almost the same": {alicePassword + " ", newPassword, "This is not your current password."},
	} {
		t.Run(name, func(t *testing.T) {
			got := c.alice.form("/account/password", "current_password", test.current, "new_password", test.new)
			got.is(t, 422)
			got.has(t, test.reason, `role="alert"`, `aria-invalid="true"`)
			got.lacks(t, newPassword, "kept secret", bobPassword, alicePassword, `name="end_others" type="checkbox" value="1" aria-describedby="end_others-hint" checked`)
			if touched(got) {
				t.Error("a cookie was set")
			}
			c.alice.form("/account/password", "current_password", test.current, "new_password", test.new, "end_others", "1").has(t, `end_others-hint" checked`)
		})
	}
	query := "/account/password?" + encode([]string{"current_password", alicePassword, "new_password", newPassword})
	c.alice.form(query).is(t, 422)
	c.alice.do("POST", "/account/password", `{"current_password":"x"}`, "Content-Type", "application/json").is(t, 415)
	check(t)
}
