package handlers_test

import (
	"regexp"
	"strings"
	"testing"

	"porchlight/handlers/handlerstest"
)

// This file tests the list of people.

var personLink = regexp.MustCompile(`<h2><a href="/admin/users/\d+">([^<]*)</a></h2>`)

// peopleOn returns the usernames that a page of the list shows.
func peopleOn(page handlerstest.Answer) string {
	var names []string
	for _, match := range personLink.FindAllStringSubmatch(page.Body, -1) {
		names = append(names, match[1])
	}
	return strings.Join(names, " ")
}

// walkPages returns what each page of a list shows, each followed by a space, and the last page. next finds the link to the next page, of
// which there are at most four.
func walkPages(
	client *handlerstest.Client, path, next string, show func(handlerstest.Answer) string,
) (shown string, last handlerstest.Answer) {
	for range 4 {
		last = client.Page(path)
		shown += show(last) + " "
		link := regexp.MustCompile(next).FindStringSubmatch(last.Body)
		if link == nil {
			break
		}
		path = strings.ReplaceAll(link[1], "&amp;", "&")
	}
	return shown, last
}

func TestPeopleList(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	c.AddUser("carol", "pebble sonnet harbour walnut")
	c.Exec(`UPDATE users SET approved = 0, email = 'carol@example.com' WHERE username = 'carol'`)
	c.Exec(`UPDATE users SET disabled = 1 WHERE username = 'bob'`)
	page := c.Alice.Page("/admin/users")
	page.Is(t, 200)
	page.Has(t, "1 person is waiting for approval.", `<span class="pill">Administrator</span>`, `<span class="pill changed">Disabled</span>`,
		`<span class="pill changed">Waiting for approval</span>`, `<span class="pill">No second factor</span>`,
		`<span class="pill new">You</span>`, "<bdi>carol@example.com</bdi>", "<span>2 devices</span>")
	for path, want := range map[string]string{
		"/admin/users":                       "alice bob carol",
		"/admin/users?q=O":                   "bob carol",
		"/admin/users?q=carol%40example":     "carol",
		"/admin/users?q=nobody":              "",
		"/admin/users?waiting=1":             "carol",
		"/admin/users?waiting=1&q=bob":       "",
		"/admin/users?after=alice":           "bob carol",
		"/admin/users?after=zoe":             "",
		"/admin/users?q=%3Cimg%20src%3Dx%3E": "",
		"/admin/users?q=%ff":                 "",
	} {
		page := c.Alice.Page(path)
		page.Is(t, 200)
		page.Lacks(t, "<img")
		if got := peopleOn(page); got != want {
			t.Errorf("%s shows %q, want %q", path, got, want)
		}
	}
	c.Alice.Page("/admin/users?q="+strings.Repeat("a", 300)).Is(t, 422)
}

// The next page keeps the filter.
func TestPeopleListPages(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	c.Exec(`
		WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 120)
		INSERT INTO users (username, password_hash, created_at) SELECT printf('p&user%03d', i), '', 0 FROM n`)
	seen, last := walkPages(c.Alice, "/admin/users?q=p%26user", `href="(/admin/users\?q=p%26user&amp;after=[^"]*)">Next page`, peopleOn)
	if got, want := strings.ReplaceAll(seen, "&amp;", "&"), strings.Join(c.Rows(
		`SELECT username FROM users WHERE username LIKE 'p%' ORDER BY username`), " ")+" "; got != want {
		t.Errorf("the pages show %q", got)
	}
	last.Has(t, `href="/admin/users?q=p%26user">First page`)
}
