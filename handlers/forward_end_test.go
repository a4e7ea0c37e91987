package handlers_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"porchlight/db"
	"porchlight/handlers/handlerstest"
)

// This file tests that the next auth check after the end of a session is refused, however it ended, and that a browser whose session
// somebody else ended must delete the cookies of the apps.

// clearsNothing are those ends of a session in TestForwardAfterTheEnd after which the browser keeps the cookies of the apps.
var clearsNothing = []string{
	"signed out", "signed out by script", "ended by itself", "replaced by a sign-in", "idle", "expired in the row", "its row deleted",
	"user disabled in the row",
}

// clears fails the test unless the response tells the browser to delete cookies, or does not, as wanted.
func clears(t *testing.T, got handlerstest.Answer, want bool) {
	t.Helper()
	header := ""
	if want {
		header = `"cookies"`
	}
	if is := got.Header.Get("Clear-Site-Data"); is != header {
		t.Errorf("%d with Clear-Site-Data %q, want %q", got.Status, is, header)
	}
}

func TestForwardAfterTheEnd(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for name, end := range map[string]func(t *testing.T, c *handlerstest.Cast, target *handlerstest.Client){
		"revoked by htmx": func(t *testing.T, c *handlerstest.Cast, target *handlerstest.Client) {
			c.Alice.HTMX("DELETE", "/sessions/"+target.ID).Is(t, 200)
		},
		"revoked by form": func(t *testing.T, c *handlerstest.Cast, target *handlerstest.Client) {
			c.Alice.Form("/sessions/"+target.ID+"/revoke", "confirm", "1").Is(t, 303)
		},
		"revoked by script": func(t *testing.T, c *handlerstest.Cast, target *handlerstest.Client) {
			c.Alice.API("DELETE", "/me/sessions/"+target.ID, "").Is(t, 200)
		},
		"revoked with others": func(t *testing.T, c *handlerstest.Cast, target *handlerstest.Client) {
			c.Alice.HTMX("POST", "/sessions/revoke-others").Is(t, 200)
		},
		"all others by script": func(t *testing.T, c *handlerstest.Cast, target *handlerstest.Client) {
			c.Alice.API("POST", "/me/sessions/revoke-all", "").Is(t, 200)
		},
		"signed out": func(t *testing.T, c *handlerstest.Cast, target *handlerstest.Client) {
			target.Form("/logout").Is(t, 303)
		},
		"signed out by script": func(t *testing.T, c *handlerstest.Cast, target *handlerstest.Client) {
			target.API("POST", "/logout", "").Is(t, 200)
		},
		"ended by itself": func(t *testing.T, c *handlerstest.Cast, target *handlerstest.Client) {
			target.API("DELETE", "/me/sessions/current", "").Is(t, 204)
		},
		"replaced by a sign-in": func(t *testing.T, c *handlerstest.Cast, target *handlerstest.Client) {
			target.Form("/login", "username", "bob", "password", handlerstest.BobPassword).Is(t, 303)
		},
		"password changed": func(t *testing.T, c *handlerstest.Cast, target *handlerstest.Client) {
			c.Alice.Form("/account/password", "current_password", handlerstest.AlicePassword, "new_password", "basalt umbrella crayon fjord",
				"end_others", "1").Is(t, 303)
		},
		"idle": func(t *testing.T, c *handlerstest.Cast, target *handlerstest.Client) {
			c.Clock.Advance(14 * 24 * time.Hour)
		},
		"expired in the row": func(t *testing.T, c *handlerstest.Cast, target *handlerstest.Client) {
			c.Exec(`UPDATE sessions SET expires_at = ? WHERE id = ?`, c.Clock.Now().UnixMilli(), target.ID)
		},
		"its row deleted": func(t *testing.T, c *handlerstest.Cast, target *handlerstest.Client) {
			c.Exec(`DELETE FROM sessions WHERE id = ?`, target.ID)
		},
		"user disabled in the row": func(t *testing.T, c *handlerstest.Cast, target *handlerstest.Client) {
			c.Exec(`UPDATE users SET disabled = 1 WHERE username = 'alice'`)
		},
		"revoked by command": func(t *testing.T, c *handlerstest.Cast, target *handlerstest.Client) {
			if _, err := c.Store.RevokeSession(ctx, db.CommandLine, 0, target.ID); err != nil {
				t.Fatal(err)
			}
		},
		"all of the user by command": func(t *testing.T, c *handlerstest.Cast, target *handlerstest.Client) {
			if _, err := c.Store.RevokeUser(ctx, db.CommandLine, "alice"); err != nil {
				t.Fatal(err)
			}
		},
		"all by command": func(t *testing.T, c *handlerstest.Cast, target *handlerstest.Client) {
			if _, err := c.Store.RevokeAll(ctx, db.CommandLine); err != nil {
				t.Fatal(err)
			}
		},
		"password set by command": func(t *testing.T, c *handlerstest.Cast, target *handlerstest.Client) {
			if err := c.Store.SetPassword(ctx, db.CommandLine, "alice", "basalt umbrella crayon fjord"); err != nil {
				t.Fatal(err)
			}
		},
		"user disabled by command": func(t *testing.T, c *handlerstest.Cast, target *handlerstest.Client) {
			if err := c.Store.DisableUser(ctx, db.CommandLine, "alice", true); err != nil {
				t.Fatal(err)
			}
		},
		"user deleted by command": func(t *testing.T, c *handlerstest.Cast, target *handlerstest.Client) {
			if err := c.Store.DeleteUser(ctx, db.CommandLine, "alice", true); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := handlerstest.OpenCastWith(t, handlerstest.KeepsRevoked, behindProxy)
			mustClear := !slices.Contains(clearsNothing, name)
			target := c.SignIn("alice", handlerstest.AlicePassword, handlerstest.SafariOnIPhone)
			cookie := withCookie(target.Token())
			asker := c.NewClient(handlerstest.SafariOnIPhone)
			for _, e := range endpoints {
				passes(t, e.ask(asker, toNotes, "Cookie", cookie), "alice")
			}
			end(t, c, target)
			for range 2 { // the second time, too
				for _, e := range endpoints {
					script := e.ask(asker, toNotes, "Cookie", cookie)
					stops(t, script, 401, "")
					clears(t, script, mustClear)
					post := e.ask(asker, toNotes.by("POST"), "Cookie", cookie)
					stops(t, post, 401, "")
					clears(t, post, mustClear)
					status := 302
					if e.path == nginx.path {
						status = 401
					}
					person := e.ask(asker, toNotes, append([]string{"Cookie", cookie}, navigating...)...)
					stops(t, person, status, signInFor(toNotes.address()))
					clears(t, person, mustClear)
				}
				flush(c.House) // the pending activity does not bring it back
				c.Clock.Advance(time.Minute)
			}
		})
	}
}

func TestForwardAfterTheAccountDeletedItself(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	cookie := withCookie(c.Bob.Token())
	passes(t, forward.ask(c.Bob, toNotes), "bob")
	c.Bob.Form("/account/delete", "password", handlerstest.BobPassword, "confirm", "1").Is(t, 303)
	stops(t, forward.ask(c.NewClient(handlerstest.ChromeOnMac), toNotes, "Cookie", cookie), 401, "")
	stops(t, nginx.ask(c.NewClient(handlerstest.ChromeOnMac), toNotes, "Cookie", cookie), 401, "")
}

// A session that was refused as expired stays refused when the clock is set back.
func TestForwardClockSetBack(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	c.Clock.Advance(14 * 24 * time.Hour)
	stops(t, forward.ask(c.Alice, toNotes), 401, "")
	c.Clock.Advance(-14 * 24 * time.Hour)
	stops(t, forward.ask(c.Alice, toNotes), 401, "")
	stops(t, nginx.ask(c.Alice, toNotes), 401, "")
	passes(t, nginx.ask(c.AlicePhone, toNotes), "alice")
}

// A server with --clear-app-data off never tells a browser to delete cookies. With it on, it does so only for a token that it knows to be
// revoked, among tokens that name no live session. The response is otherwise the same, and the check stores nothing.
func TestForwardClearsAppData(t *testing.T) {
	t.Parallel()
	off, on := handlerstest.OpenCast(t, behindProxy), handlerstest.OpenCastWith(t, handlerstest.KeepsRevoked, behindProxy)
	for _, c := range []*handlerstest.Cast{off, on} {
		revoked, phone, unknown := c.Alice.Token(), c.AlicePhone.Token(), inventedTokens(15)
		c.AlicePhone.API("DELETE", "/me/sessions/"+c.Alice.ID, "").Is(t, 200)
		asker := c.NewClient(handlerstest.FirefoxOnLinux)
		check := noTrace(c.House)
		for _, e := range endpoints {
			ask := func(headers ...string) handlerstest.Answer {
				return e.ask(asker, toNotes, append(headers, navigating...)...)
			}
			signedOut := ask()
			clears(t, signedOut, false)
			clears(t, ask("Cookie", withCookie(unknown...)), false)
			got := ask("Cookie", withCookie(revoked))
			clears(t, got, c == on)
			if got.Status != signedOut.Status || got.Body != signedOut.Body || got.Header.Get("Location") != signedOut.Header.Get("Location") {
				t.Errorf("%d %q %q, and without a cookie %d %q %q", got.Status, got.Header.Get("Location"), got.Body,
					signedOut.Status, signedOut.Header.Get("Location"), signedOut.Body)
			}
			clears(t, ask("Cookie", withCookie(append(unknown, revoked)...)), c == on)
			clears(t, e.ask(asker, toNotes.of("evil.test"), "Cookie", withCookie(revoked)), false)
		}
		// The sign-in page does the same, because it clears our cookie, and then no app sees the token. Other pages do not. The sign-in
		// page sets no cookie for a browser that has just deleted its own.
		clears(t, asker.Page("/sessions", "Cookie", withCookie(revoked)), false)
		clears(t, asker.Page("/login", "Cookie", withCookie(revoked)), c == on)
		clears(t, asker.Page("/login", "Cookie", withCookie(unknown...)), false)
		if got := asker.Page("/login?next=" + toNotes.address()); got.Header.Get("Set-Cookie") != "" {
			t.Errorf("the sign-in page sets %q", got.Header.Get("Set-Cookie"))
		}
		check(t)
		for _, e := range endpoints {
			clears(t, asker.Do("GET", e.path, "", "Cookie", withCookie(revoked)), false) // it does not say which request
			live := e.ask(asker, toNotes, "Cookie", withCookie(revoked, phone))
			passes(t, live, "alice")
			clears(t, live, false)
		}
	}
}

// While the database is unavailable, no response clears cookies.
func TestForwardClearsNothingWithoutDatabase(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCastWith(t, handlerstest.KeepsRevoked, behindProxy)
	revoked := c.Alice.Token()
	c.AlicePhone.API("DELETE", "/me/sessions/"+c.Alice.ID, "").Is(t, 200)
	c.Exec(`ALTER TABLE revoked_tokens RENAME TO gone`)
	for _, e := range endpoints {
		got := e.ask(c.NewClient(handlerstest.FirefoxOnLinux), toNotes, "Cookie", withCookie(revoked))
		stops(t, got, 500, "")
		clears(t, got, false)
	}
}
