package handlers_test

import (
	"context"
	"testing"
	"time"
)

// This file tests that the next auth check after the end of a session is refused, however it ended.

func TestForwardAfterTheEnd(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for name, end := range map[string]func(t *testing.T, c *cast, target *client){
		"revoked by htmx": func(t *testing.T, c *cast, target *client) { c.alice.htmx("DELETE", "/sessions/"+target.id).is(t, 200) },
		"revoked by form": func(t *testing.T, c *cast, target *client) {
			c.alice.form("/sessions/"+target.id+"/revoke", "confirm", "1").is(t, 303)
		},
		"revoked by script": func(t *testing.T, c *cast, target *client) {
			c.alice.api("DELETE", "/me/sessions/"+target.id, "").is(t, 200)
		},
		"revoked with others": func(t *testing.T, c *cast, target *client) {
			c.alice.htmx("POST", "/sessions/revoke-others").is(t, 200)
		},
		"all others by script": func(t *testing.T, c *cast, target *client) {
			c.alice.api("POST", "/me/sessions/revoke-all", "").is(t, 200)
		},
		"signed out":           func(t *testing.T, c *cast, target *client) { target.form("/logout").is(t, 303) },
		"signed out by script": func(t *testing.T, c *cast, target *client) { target.api("POST", "/logout", "").is(t, 200) },
		"ended by itself": func(t *testing.T, c *cast, target *client) {
			target.api("DELETE", "/me/sessions/current", "").is(t, 204)
		},
		"replaced by a sign-in": func(t *testing.T, c *cast, target *client) {
			target.form("/login", "username", "bob", "password", bobPassword).is(t, 303)
		},
		"password changed": func(t *testing.T, c *cast, target *client) {
			c.alice.form("/account/password", "current_password", alicePassword, "new_password", "basalt umbrella crayon fjord", "end_others",
				"1").is(t, 303)
		},
		"idle": func(t *testing.T, c *cast, target *client) { c.clock.Advance(14 * 24 * time.Hour) },
		"expired in the row": func(t *testing.T, c *cast, target *client) {
			c.exec(`UPDATE sessions SET expires_at = ? WHERE id = ?`, c.clock.Now().UnixMilli(), target.id)
		},
		"its row deleted": func(t *testing.T, c *cast, target *client) { c.exec(`DELETE FROM sessions WHERE id = ?`, target.id) },
		"user disabled in the row": func(t *testing.T, c *cast, target *client) {
			c.exec(`UPDATE users SET disabled = 1 WHERE username = 'alice'`)
		},
		"revoked by command": func(t *testing.T, c *cast, target *client) {
			if _, err := c.store.RevokeByCommand(ctx, target.id); err != nil {
				t.Fatal(err)
			}
		},
		"all of the user by command": func(t *testing.T, c *cast, target *client) {
			if _, err := c.store.RevokeUserByCommand(ctx, "alice"); err != nil {
				t.Fatal(err)
			}
		},
		"all by command": func(t *testing.T, c *cast, target *client) {
			if _, err := c.store.RevokeAllByCommand(ctx); err != nil {
				t.Fatal(err)
			}
		},
		"password set by command": func(t *testing.T, c *cast, target *client) {
			if err := c.store.SetPassword(ctx, "alice", "basalt umbrella crayon fjord"); err != nil {
				t.Fatal(err)
			}
		},
		"user disabled by command": func(t *testing.T, c *cast, target *client) {
			if err := c.store.DisableUser(ctx, "alice", true); err != nil {
				t.Fatal(err)
			}
		},
		"user deleted by command": func(t *testing.T, c *cast, target *client) {
			if err := c.store.DeleteUser(ctx, "alice", true); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := openCast(t, behindProxy)
			target := c.signIn("alice", alicePassword, safariOnIPhone)
			cookie := withCookie(target.token())
			asker := c.newClient(safariOnIPhone)
			for _, e := range endpoints {
				e.ask(asker, toNotes, "Cookie", cookie).passes(t, "alice")
			}
			end(t, c, target)
			for range 2 { // the second time, too
				for _, e := range endpoints {
					e.ask(asker, toNotes, "Cookie", cookie).stops(t, 401, "")
					e.ask(asker, toNotes.by("POST"), "Cookie", cookie).stops(t, 401, "")
					status := 302
					if e.path == nginx.path {
						status = 401
					}
					e.ask(asker, toNotes, append([]string{"Cookie", cookie}, navigating...)...).stops(t, status, signInFor(toNotes.address()))
				}
				c.flush() // what was noted of it brings nothing back
				c.clock.Advance(time.Minute)
			}
		})
	}
}

func TestForwardAfterTheAccountDeletedItself(t *testing.T) {
	t.Parallel()
	c := openCast(t, behindProxy)
	cookie := withCookie(c.bob.token())
	forward.ask(c.bob, toNotes).passes(t, "bob")
	c.bob.form("/account/delete", "password", bobPassword, "confirm", "1").is(t, 303)
	forward.ask(c.newClient(chromeOnMac), toNotes, "Cookie", cookie).stops(t, 401, "")
	nginx.ask(c.newClient(chromeOnMac), toNotes, "Cookie", cookie).stops(t, 401, "")
}

// Once refused as expired, it stays refused when the clock is set back.
func TestForwardClockSetBack(t *testing.T) {
	t.Parallel()
	c := openCast(t, behindProxy)
	c.clock.Advance(14 * 24 * time.Hour)
	forward.ask(c.alice, toNotes).stops(t, 401, "")
	c.clock.Advance(-14 * 24 * time.Hour)
	forward.ask(c.alice, toNotes).stops(t, 401, "")
	nginx.ask(c.alice, toNotes).stops(t, 401, "")
	nginx.ask(c.alicePhone, toNotes).passes(t, "alice")
}
