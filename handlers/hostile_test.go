package handlers_test

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"porchlight/handlers/handlerstest"
)

// This file tests that text from clients stays text, on the pages and in the log.

const (
	hostileAgent = "Mozilla/5.0 (X11; Linux x86_64) <img src=x onerror=alert(1)>\" hx-get=\"/evil\" ' " +
		"\u202egnp.exe\u2066 {{.}} Firefox/140.0"
	hostileName = "<img onerror=alert(1)>\" hx-get=\"/evil\" hx-on=' \u202egnp"
)

// Attributes for htmx contain only fixed text and ids, never text from users.
var (
	tag       = regexp.MustCompile(`<[a-z][^>]*>`)
	attribute = regexp.MustCompile(`\s([^\s=>"']+)(?:=("[^"]*"|'[^']*'|[^\s"'>]+))?`)
	htmxFixed = regexp.MustCompile(`^"(/sessions/revoke-others|/sessions/[A-Z2-7]{26}(/name)?|/sessions/list|/sessions/events(\?after=\d+)?|` +
		`/admin/users/cancel-invitation|/admin/users/\d+/(revoke|sessions(/[A-Z2-7]{26})?|events(\?after=\d+)?)|` +
		`never|none|replaced|changed from:#events|#sessions|#invitations|outerMorph|outerHTML|innerHTML|body:queue all)"$`)
	known = regexp.MustCompile(`^(accept-charset|action|alt|aria-[a-z]+|autocapitalize|autocomplete|autofocus|charset|checked|class|` +
		`content|crossorigin|cx|cy|d|data-(ago|busy|confirm|date|day|exact|now|second|used)|datetime|defer|` +
		`dir|fill|for|height|hidden|href|id|inputmode|lang|lowercase|method|` +
		`name|placeholder|r|readonly|rel|required|role|rx|ry|selected|spellcheck|src|tabindex|title|type|value|viewBox|width|x|y|/)$`)
)

func TestHostileTextStaysText(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCastWithMail(t)
	// Invalid UTF-8 and 8 KB can be sent only as raw bytes.
	send := func(agent string) {
		t.Helper()
		body := handlerstest.Encode([]string{"username", "alice", "password", handlerstest.AlicePassword})
		c.Raw(fmt.Sprintf("POST /login HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\nUser-Agent: %s\r\n"+
			"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s", agent, len(body), body)).Is(t, 303)
	}
	send("Mozilla/5.0 \xff\xfe\xc3<img src=y onerror=alert(2)>\x80 Firefox/1")
	send("<img src=z>" + big("<script>", 1000))
	hostile := c.SignIn("alice", handlerstest.AlicePassword, hostileAgent)
	named := c.SignIn("alice", handlerstest.AlicePassword, handlerstest.FirefoxOnLinux)
	c.Alice.HTMX("POST", "/sessions/"+named.ID+"/name", "name", hostileName).Is(t, 200)
	if got := c.Only(`SELECT custom_name FROM sessions WHERE id = ?`, named.ID); got != hostileName {
		t.Fatalf("stored as %q", got)
	}
	if got := c.Only(`SELECT MAX(length(CAST(user_agent AS BLOB))) FROM sessions`); got != "512" {
		t.Errorf("a User-Agent of %s bytes is stored", got)
	}
	for _, row := range c.Rows(`SELECT detected_name FROM sessions`) {
		if !regexp.MustCompile(`^[A-Za-z0-9 ._+-]+$`).MatchString(row) {
			t.Errorf("a device is called %q", row)
		}
	}
	c.Exec(`UPDATE users SET email = ? WHERE username = 'alice'`, hostileName)
	c.Exec(`INSERT INTO users (username, email, password_hash, created_at) VALUES (?, '<img src=w>', '', 0)`, hostileName)
	c.Exec(`INSERT INTO invitations (username, email, token_hash, invited_by, expires_at) VALUES (?, '<img src=v>', x'01', 'admin <img>', 1e15)`,
		hostileName)
	evil := c.Only(`SELECT id FROM users WHERE username = ?`, hostileName)
	c.Exec(`UPDATE outbox SET device_name = ? WHERE kind = 'signed_in'`, hostileName)
	var alert string
	for _, m := range c.Mails() {
		if m.DeviceName == hostileName {
			alert = m.Token
		}
	}
	for name, got := range map[string]handlerstest.Answer{
		"people":         c.Alice.Page("/admin/users?q=" + url.QueryEscape(hostileName) + "&after=" + url.QueryEscape("!"+hostileName)),
		"everybody":      c.Alice.Page("/admin/users"),
		"person":         c.Alice.Page("/admin/users/1"),
		"evil person":    c.Alice.Page("/admin/users/" + evil),
		"ask":            c.Alice.Form("/admin/users/" + evil + "/delete"),
		"ask to cancel":  c.Alice.Form("/admin/users/cancel-invitation", "username", hostileName, "after", hostileName),
		"ask to end":     c.Alice.Form("/admin/users/1/sessions/" + named.ID + "/revoke"),
		"address":        c.Alice.Form("/admin/users/1/account", "email", hostileName, "groups", hostileName),
		"invitation":     c.Alice.Form("/admin/users/invite", "username", hostileName, "email", hostileName),
		"alert":          c.Alice.Page("/not-me?token=" + alert),
		"page":           c.Alice.Page("/sessions"),
		"list":           c.Alice.HTMX("GET", "/sessions/list"),
		"confirm":        c.Alice.Form("/sessions/" + named.ID + "/revoke"),
		"their own page": named.Page("/sessions"),
		"admin sessions": c.Alice.Page("/admin/sessions"),
		"admin activity": c.Alice.Page("/admin/activity"),
		"revoked":        c.Alice.HTMX("DELETE", "/sessions/"+named.ID),
		"hostile signed": c.Alice.HTMX("DELETE", "/sessions/"+hostile.ID),
		"sign-in page": c.NewClient(handlerstest.FirefoxOnLinux).Form("/login", "username", hostileName, "password", "x", "next",
			"/x?"+url.QueryEscape(hostileName)),
		"unknown path": c.Alice.Page("/%3Cimg%20onerror%3D1%3E?x=<img>"),
	} {
		t.Run(name, func(t *testing.T) {
			if got.Status >= 500 {
				t.Error("status", got.Status)
			}
			got.Lacks(t, "<img", "<script>")
			if name == "page" || name == "list" || name == "person" {
				got.Has(t, "&lt;img src=x onerror=alert(1)&gt;", "&lt;img onerror=alert(1)&gt;", "&lt;img src=z&gt;")
			}
			if name == "alert" {
				got.Has(t, "Signed in on \u2068&lt;img onerror=alert(1)&gt;")
			}
			if !strings.Contains(got.Body, "\ufffd") == strings.Contains(strings.ToValidUTF8(got.Body, "\ufffd"), "\ufffd") {
				t.Error("the page is not valid UTF-8")
			}
			found := 0
			for _, opened := range tag.FindAllString(got.Body, -1) {
				for _, match := range attribute.FindAllStringSubmatch(opened, -1) {
					if strings.HasPrefix(match[1], "hx-") {
						found++
						if !htmxFixed.MatchString(match[2]) {
							t.Errorf("%s in %s", match[0], opened)
						}
					} else if !known.MatchString(match[1]) {
						t.Errorf("an unknown attribute, %s, in %s", match[0], opened)
					}
				}
			}
			if found == 0 && (name == "page" || name == "list" || name == "revoked" || name == "person") {
				t.Error("no htmx attribute was found, so this test checks nothing")
			}
		})
	}
}

// No text from a client can begin a line of the log.
func TestClientsCannotForgeLogLines(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	evil := "x\nlevel=INFO msg=\"signed in\" user=mallory\r\n"
	c.NewClient("curl/8.5.0").Form("/login", "username", evil, "password", "x").Is(t, 422)
	c.NewClient("curl/8.5.0").Form("/login", "username", "alice", "password", evil).Is(t, 422)
	c.Alice.Form("/sessions/"+c.AlicePhone.ID+"/name", "name", evil).Is(t, 303)
	c.Alice.Form("/sessions/"+c.AlicePhone.ID+"/revoke", "confirm", "1").Is(t, 303)
	c.Alice.Page("/%0alevel=INFO%20user=mallory").Is(t, 404)
	c.Exec(`UPDATE users SET password_hash = 'broken' WHERE username = 'bob'`)
	c.NewClient("curl/8.5.0").Form("/login?%0auser=mallory", "username", "bob", "password", "x").Is(t, 500)
	for line := range strings.Lines(c.Log.String()) {
		if !strings.HasPrefix(line, "time=") {
			t.Errorf("an invalid line: %q", line)
		}
		if strings.Contains(line, " user=mallory") && !strings.Contains(line, `\n`) && !strings.Contains(line, `user=mallory"`) {
			t.Errorf("forged: %q", line)
		}
	}
	if strings.Contains(c.Log.String(), handlerstest.AlicePassword) {
		t.Error("a password is in the log")
	}
}
