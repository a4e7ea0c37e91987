package handlers_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"porchlight/handlers/handlerstest"
)

// This file tests the list of everybody's sessions.

var tickBox = regexp.MustCompile(`name="id" value="([A-Z0-9]{26})"`)

// ticksOn returns the ids that a page of the list offers to tick.
func ticksOn(page handlerstest.Answer) (ids []string) {
	for _, match := range tickBox.FindAllStringSubmatch(page.Body, -1) {
		ids = append(ids, match[1])
	}
	return ids
}

func TestAdminSessionList(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	c.Exec(`UPDATE sessions SET last_ip = '203.0.113.9' WHERE id = ?`, c.AlicePhone.ID)
	c.Exec(`INSERT INTO session_apps (session_id, host, last_used_at) VALUES (?, 'notes.example.com', 0)`, c.Bob.ID)
	c.Exec(`UPDATE sessions SET last_active_at = ? WHERE id = ?`, c.Clock.Now().Add(-49*time.Hour).UnixMilli(), c.Bob.ID)
	bob, phone := c.Bob.ID, c.AlicePhone.ID
	both := strings.Join(c.Rows(`SELECT id FROM sessions WHERE id <> ? ORDER BY rowid DESC`, c.Alice.ID), " ")
	for query, want := range map[string]string{
		"":                                 both,
		"?person=bob":                      bob,
		"?person=%20BOB":                   bob,
		"?person=carol":                    "",
		"?app=Notes.example.com.":          bob,
		"?app=photos.example.com":          "",
		"?ip=203.0.113.9":                  phone,
		"?ip=%5B203.0.113.9%5D":            phone,
		"?ip=198.51.100.1":                 "",
		"?unused=2":                        bob,
		"?unused=3":                        "",
		"?unused=2&person=alice":           "",
		"?person=%3Cimg%20src%3Dx%3E":      "",
		"?person=%ff&app=%00&ip=%E2%80%AE": "",
	} {
		page := c.Alice.Page("/admin/sessions" + query)
		page.Is(t, 200)
		page.Lacks(t, "<img")
		if got := strings.Join(ticksOn(page), " "); got != want {
			t.Errorf("%s offers %q, want %q", query, got, want)
		}
	}
	c.Alice.Page("/admin/sessions").Has(t, `<span class="pill new">This device</span>`, ">bob</a>", `>notes.example.com</li>`)
	for _, query := range []string{"?unused=-1", "?unused=x", "?unused=9999999", "?before=0", "?person=" + strings.Repeat("a", 300)} {
		c.Alice.Page("/admin/sessions"+query).Is(t, 422)
	}
}

func TestSessionListPages(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	c.Exec(`
		WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 120)
		INSERT INTO sessions (id, token_hash, user_id, detected_name, device_kind, user_agent, ip, shared, created_at, last_active_at, expires_at)
		SELECT printf('AAAAAAAAAAAAAAAAAAAAAAA%03d', i), randomblob(32), user_id, 'Firefox', 'desktop', '', '192.0.2.1', 0,
		       created_at, last_active_at, expires_at
		FROM n, sessions WHERE id = ?`, c.Bob.ID)
	show := func(page handlerstest.Answer) string { return strings.Join(ticksOn(page), " ") }
	seen, last := walkPages(c.Alice, "/admin/sessions?person=bob", `href="(/admin/sessions\?person=bob&amp;before=\d+)">Next page`, show)
	want := c.Rows(`SELECT s.id FROM sessions s JOIN users u ON u.id = s.user_id WHERE u.username = 'bob' ORDER BY s.rowid DESC`)
	if seen != strings.Join(want, " ")+" " {
		t.Errorf("the pages show %q", seen)
	}
	last.Has(t, `href="/admin/sessions?person=bob">First page`)
}

// Ending sessions must be quick, so it needs no step-up. Without JavaScript, a page asks first.
func TestEndTickedSessions(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	c.Clock.Advance(time.Hour) // the password was checked too long ago for a step-up
	ticked := []string{"id", c.Bob.ID, "id", c.AlicePhone.ID, "id", c.Alice.ID}
	asked := c.Alice.Form("/admin/sessions/revoke?person=bob", ticked...)
	asked.Is(t, 200)
	asked.Has(t, "Sign out 3 devices?", `value="`+c.Bob.ID+`"`, `action="/admin/sessions/revoke?person=bob"`)
	c.Bob.Page("/sessions").Is(t, 200)
	c.Alice.Form("/admin/sessions/revoke?person=bob", append(ticked, "confirm", "1")...).Is(t, 303, "/admin/sessions?person=bob&done=ticked")
	c.Bob.API("GET", "/me/sessions", "").Is(t, 401)
	c.AlicePhone.API("GET", "/me/sessions", "").Is(t, 401)
	c.Alice.Page("/admin/sessions?done=ticked").Has(t, "Signed out the ticked devices.") // her own session stays
	wantRows(c.House, []string{"admin alice", "admin alice"}, `SELECT done_by FROM activity WHERE kind = 'revoked'`)
	c.Alice.Form("/admin/sessions/revoke", append(ticked, "confirm", "1")...).Is(t, 303, "/admin/sessions?&done=gone")
	c.Alice.Form("/admin/sessions/revoke", "confirm", "1").Is(t, 303, "/admin/sessions?&done=none-ticked")
	var many []string
	for range 51 {
		many = append(many, "id", "x")
	}
	c.Alice.Form("/admin/sessions/revoke", many...).Is(t, 422)
	c.Alice.Form("/admin/sessions/revoke", "id", `"><img src=x>`).Lacks(t, "<img")
}

func TestOnlyAdministratorsEndTickedSessions(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	c.Bob.Form("/admin/sessions/revoke", "id", c.AlicePhone.ID, "confirm", "1").Is(t, 403)
	c.Bob.Page("/admin/sessions").Is(t, 403)
	c.Bob.Page("/admin/activity").Is(t, 403)
	c.AlicePhone.Page("/sessions").Is(t, 200)
}
