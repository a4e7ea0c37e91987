package handlers_test

import (
	"regexp"
	"strings"
	"testing"

	"porchlight/handlers/handlerstest"
)

// This file tests the activity of everybody.

var entryID = regexp.MustCompile(`<li id="activity-(\d+)">`)

func entriesOn(page handlerstest.Answer) string {
	var ids []string
	for _, match := range entryID.FindAllStringSubmatch(page.Body, -1) {
		ids = append(ids, match[1])
	}
	return strings.Join(ids, " ")
}

func TestAdminActivity(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	c.Exec(`INSERT INTO activity (user_id, kind, happened_at, ip)
		SELECT id, 'sign_in_failed', ?, '203.0.113.9' FROM users WHERE username = 'bob'`, c.Clock.Now().UnixMilli())
	ids := func(where string) string {
		return strings.Join(c.Rows(`SELECT a.id FROM activity a JOIN users u ON u.id = a.user_id WHERE `+where+` ORDER BY a.id DESC`), " ")
	}
	for query, where := range map[string]string{
		"":                          `1 = 1`,
		"?person=bob":               `u.username = 'bob'`,
		"?person=%20Bob":            `u.username = 'bob'`,
		"?person=carol":             `1 = 0`,
		"?ip=203.0.113.9":           `a.ip = '203.0.113.9'`,
		"?what=failures":            `a.kind = 'sign_in_failed'`,
		"?what=sign-ins&person=bob": `a.kind = 'signed_in' AND u.username = 'bob'`,
		"?what=ended":               `1 = 0`,
		"?what=%3Cimg%20src%3Dx%3E": `1 = 1`,
	} {
		page := c.Alice.Page("/admin/activity" + query)
		page.Is(t, 200)
		page.Lacks(t, "<img")
		if got, want := entriesOn(page), ids(where); got != want {
			t.Errorf("%s shows %q, want %q", query, got, want)
		}
	}
	c.Alice.Page("/admin/activity").Has(t, ">bob</a>: A failed sign-in from 203.0.113.9")
	c.Alice.Page("/admin/activity?what=failures").Has(t, `<option value="failures" selected>`)
	c.Alice.Page("/activity").Lacks(t, "/admin/users/") // one's own is without names
	for _, query := range []string{"?before=x", "?ip=" + strings.Repeat("1", 300)} {
		c.Alice.Page("/admin/activity"+query).Is(t, 422)
	}
}

func TestAdminActivityPages(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	c.Exec(`
		WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 120)
		INSERT INTO activity (user_id, kind, happened_at) SELECT u.id, 'exported', 0 FROM n, users u WHERE u.username = 'bob'`)
	for _, query := range []string{"person=bob", ""} {
		seen, last := walkPages(c.Alice, "/admin/activity?"+query, `href="(/admin/activity\?[^"]*before=\d+)">Older`, entriesOn)
		want := strings.Join(c.Rows(`SELECT a.id FROM activity a JOIN users u ON u.id = a.user_id
			WHERE ? = '' OR u.username = 'bob' ORDER BY a.id DESC`, query), " ") + " "
		if seen != want {
			t.Errorf("%q: the pages show %q", query, seen)
		}
		last.Has(t, `href="/admin/activity?`+query+`">Newest`)
	}
}
