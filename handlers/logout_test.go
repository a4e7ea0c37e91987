package handlers_test

import (
	"html"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"porchlight/handlers/handlerstest"
)

// This file tests signing out: the page, the responses, and that the session ends.

func TestSignOutPage(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	check := c.Unchanged()
	for _, who := range []*handlerstest.Client{c.Alice, c.NewClient(handlerstest.FirefoxOnLinux)} {
		got := who.Page("/logout")
		got.Is(t, 200)
		got.Has(t, "<h1>Sign out</h1>", `<form class="stack" method="post" action="/logout">`)
		if touched(got) {
			t.Error("the page set or deleted a cookie")
		}
	}
	check(t)
}

// A person without access to an app signs out, signs in as somebody else, and returns to the app.
func TestSignOutAndBack(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	allow(c.House, notes) // only administrators
	at := toNotes.at("/books/7?page=2&q=a%26b")
	refused := forward.ask(c.Bob, at, navigating...)
	link := html.UnescapeString(regexp.MustCompile(`href="([^"]*)"`).FindStringSubmatch(refused.Body)[1])
	page := c.Bob.Page(strings.TrimPrefix(link, publicURL))
	page.Is(t, 200)
	page.Has(t, "You're signed in as <strong>bob</strong>.", "continue to <strong>notes.example.com</strong>.")
	next := html.UnescapeString(regexp.MustCompile(`name="next" value="([^"]*)"`).FindStringSubmatch(page.Body)[1])
	if next != at.address() {
		t.Errorf("next is %q", next)
	}
	c.Bob.Form("/logout", "next", next).Is(t, 303, "/login?done=signed-out&next="+url.QueryEscape(next))
	c.Bob.Page("/login?done=signed-out&next="+url.QueryEscape(next)).Has(t,
		"You&#39;re signed out.", `name="next" value="`+html.EscapeString(next))
	c.Bob.Form("/login", "username", "alice", "password", handlerstest.AlicePassword, "next", next).Is(t, 303, next)
	passes(t, forward.ask(c.Bob, at, navigating...), "alice")

	for _, evil := range []string{"http://evil.test/", "//evil.test", "https://notes.example.com/",
		"http://notes.example.com@evil.test/", "x"} {
		page := c.Alice.Page("/logout?next=" + url.QueryEscape(evil))
		page.Is(t, 200)
		page.Lacks(t, "evil", `name="next"`)
		c.AlicePhone.Form("/logout", "next", evil).Is(t, 303, "/login?done=signed-out")
	}
}

func TestSignOut(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	for name, test := range map[string]struct {
		send   func(*handlerstest.Client) handlerstest.Answer
		status int
		to     string
		body   string
	}{
		"form": {func(b *handlerstest.Client) handlerstest.Answer { return b.Form("/logout") }, 303, "/login?done=signed-out", ""},
		"htmx": {func(b *handlerstest.Client) handlerstest.Answer { return b.HTMX("POST", "/logout") }, 303, "/login?done=signed-out", ""},
		"script": {func(b *handlerstest.Client) handlerstest.Answer { return b.API("POST", "/logout", "") }, 200, "",
			`{"message":"Logged out"}`},
		"script, JSON": {func(b *handlerstest.Client) handlerstest.Answer { return b.API("POST", "/logout", "{}") }, 200, "",
			`{"message":"Logged out"}`},
		"script, JSON named": {func(b *handlerstest.Client) handlerstest.Answer {
			return b.Do("POST", "/logout", "", "Accept", "application/json")
		}, 200, "", `{"message":"Logged out"}`},
	} {
		t.Run(name, func(t *testing.T) {
			browser := c.SignIn("alice", handlerstest.AlicePassword, handlerstest.FirefoxOnLinux)
			token, others := browser.Token(), slices.DeleteFunc(c.SessionsOf("alice"), func(id string) bool { return id == browser.ID })
			// The first is signed in, the second is already signed out, and the third never signed in.
			for _, who := range []*handlerstest.Client{browser, browser, c.NewClient(handlerstest.FirefoxOnLinux)} {
				got := test.send(who)
				got.Is(t, test.status, test.to)
				if test.body != "" && got.Body != test.body {
					t.Errorf("the body is %s", got.Body)
				}
				if !cleared(got, "porchlight") {
					t.Errorf("Set-Cookie %q", got.Header.Get("Set-Cookie"))
				}
				if values := got.Header.Values("Clear-Site-Data"); len(values) != 1 || values[0] != `"cache", "storage"` {
					t.Errorf("Clear-Site-Data %q", values)
				}
			}
			if got := c.SessionsOf("alice"); !slices.Equal(got, others) {
				t.Errorf("alice's sessions are %q, want %q", got, others)
			}
			kinds := c.Rows(`SELECT kind FROM activity WHERE session_id = ? ORDER BY id`, browser.ID)
			if !slices.Equal(kinds, []string{"signed_in", "signed_out"}) {
				t.Errorf("activity %q", kinds)
			}
			old := []string{"Cookie", "porchlight=" + token}
			stranger := c.NewClient(handlerstest.FirefoxOnLinux)
			stranger.Page("/sessions", old...).Is(t, 303, "/login?next=%2Fsessions")
			stranger.Do("GET", "/sessions/list", "", append(old, "HX-Request", "true")...).Is(t, 401)
			stranger.Do("GET", "/me/sessions", "", old...).Is(t, 401)
			stranger.Page("/login", old...).Has(t, signedOutHere)
		})
	}
	t.Run("a body of another type", func(t *testing.T) {
		check := c.Unchanged()
		c.Alice.Do("POST", "/logout", "x=y", "Content-Type", "text/plain").Is(t, 415)
		check(t)
	})
	t.Run("every session in the cookies", func(t *testing.T) {
		one := c.SignIn("alice", handlerstest.AlicePassword, handlerstest.FirefoxOnLinux)
		two := c.SignIn("alice", handlerstest.AlicePassword, handlerstest.FirefoxOnLinux)
		c.NewClient("x").Do("POST", "/logout", "", "Cookie", "porchlight="+one.Token()+"; porchlight="+two.Token()).Is(t, 200)
		if left := c.SessionsOf("alice"); slices.Contains(left, one.ID) || slices.Contains(left, two.ID) {
			t.Error("one of the sessions is still there")
		}
	})
}
