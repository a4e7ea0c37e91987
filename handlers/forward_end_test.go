package handlers_test

import (
	"context"
	"testing"
	"time"

	"porchlight/db"
	"porchlight/handlers/handlerstest"
)

// This file tests that the next auth check after the end of a session is refused, however it ended.

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
			c := handlerstest.OpenCast(t, behindProxy)
			target := c.SignIn("alice", handlerstest.AlicePassword, handlerstest.SafariOnIPhone)
			cookie := withCookie(target.Token())
			asker := c.NewClient(handlerstest.SafariOnIPhone)
			for _, e := range endpoints {
				passes(t, e.ask(asker, toNotes, "Cookie", cookie), "alice")
			}
			end(t, c, target)
			for range 2 { // the second time, too
				for _, e := range endpoints {
					stops(t, e.ask(asker, toNotes, "Cookie", cookie), 401, "")
					stops(t, e.ask(asker, toNotes.by("POST"), "Cookie", cookie), 401, "")
					status := 302
					if e.path == nginx.path {
						status = 401
					}
					stops(t, e.ask(asker, toNotes, append([]string{"Cookie", cookie}, navigating...)...), status, signInFor(toNotes.address()))
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
