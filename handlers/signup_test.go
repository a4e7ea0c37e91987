package handlers_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"porchlight/db"
	"porchlight/handlers"
)

// This file owns how accounts come to be: sign-up, and the first one.

const newPassword = "basalt umbrella crayon fjord"

func openSignUp(o *handlers.Options) { o.Signup = true }

func TestSignUpClosed(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	check := c.unchanged()
	stranger := c.newClient(firefoxOnLinux)
	stranger.page("/signup").is(t, 404)
	stranger.form("/signup", "username", "eve", "password", newPassword).is(t, 404)
	stranger.page("/login").lacks(t, "/signup")
	check(t)
}

// Before the first account exists, the first to sign up would become the administrator.
func TestSignUpWithoutAnAccount(t *testing.T) {
	t.Parallel()
	c := openHouse(t, openSignUp)
	stranger := c.newClient(firefoxOnLinux)
	stranger.page("/signup").is(t, 404)
	stranger.form("/signup", "username", "eve", "password", newPassword).is(t, 404)
	got := stranger.page("/login")
	got.lacks(t, "/signup")
	got.has(t, "There is no account yet.")
	if rows := c.rows(everyAccount); len(rows) != 0 {
		t.Errorf("accounts %q", rows)
	}
}

func TestSignUp(t *testing.T) {
	t.Parallel()
	c := openCast(t, openSignUp)
	browser := c.newClient(firefoxOnLinux)
	browser.page("/login").has(t, `href="/signup"`)
	browser.page("/signup").has(t, "<h1>Create an account</h1>", `autocomplete="new-password"`, "At least 15 characters")
	got := browser.form("/signup", "username", " Carol ", "password", newPassword, "email", "carol@example.com", "is_admin", "1")
	got.is(t, 303, "/sessions")
	if !newCookie.MatchString(got.header.Get("Set-Cookie")) {
		t.Errorf("Set-Cookie %q", got.header.Get("Set-Cookie"))
	}
	if row := c.only(`SELECT username, COALESCE(email, '-'), is_admin, disabled FROM users WHERE username = 'carol'`); row != "carol - 0 0" {
		t.Errorf("the row is %s: only a name and a password are taken", row)
	}
	if got := c.sessionsOf("carol"); len(got) != 1 {
		t.Errorf("sessions %q", got)
	}
	browser.page("/sessions").has(t, "This is your only active session.")
}

// A user who signed up can use Porchlight's own pages at once, but no app before approval.
func TestSignUpWaitsForApproval(t *testing.T) {
	t.Parallel()
	c := openCast(t, openSignUp, behindProxy)
	carol := c.newClient(firefoxOnLinux)
	carol.page("/signup").has(t, "once an administrator has approved your account")
	carol.form("/signup", "username", "carol", "password", newPassword).is(t, 303, "/sessions")
	carol.page("/sessions").is(t, 200)
	carol.page("/account").is(t, 200)
	for _, e := range endpoints {
		for name, headers := range map[string][]string{"navigating": navigating, "fetching": fetching} {
			got := e.ask(carol, toNotes, headers...)
			got.stops(t, 403, "")
			if name == "navigating" {
				got.has(t, "Your account is waiting for approval", "once an administrator has approved your account", "<strong>carol</strong>", `href="`+publicURL+`/logout"`)
			}
		}
	}
	c.allow("wiki.example.com", "carol")
	forward.ask(carol, toNotes.of("wiki.example.com")).passes(t, "carol")
	c.allow("wiki.example.com", "bob")
	if err := c.store.ChangeUser(context.Background(), "carol", db.UserChange{Approve: true}); err != nil {
		t.Fatal(err)
	}
	for _, e := range endpoints {
		e.ask(carol, toNotes).passes(t, "carol")
	}
	c.allow("secret.example.com", "alice")
	got := forward.ask(carol, toNotes.of("secret.example.com"), navigating...)
	got.stops(t, 403, "")
	got.lacks(t, "approv")
}

func TestSignUpIsThrottled(t *testing.T) {
	t.Parallel()
	c := openCast(t, openSignUp)
	for i := range 10 {
		c.newClient(firefoxOnLinux).form("/signup", "username", "user"+string(rune('a'+i)), "password", newPassword).is(t, 303, "/sessions")
	}
	check := c.unchanged()
	got := c.newClient(firefoxOnLinux).form("/signup", "username", "carol", "password", newPassword)
	got.is(t, 429)
	got.has(t, "Try again in 60 minutes.")
	if got.header.Get("Retry-After") != "3600" {
		t.Errorf("Retry-After %q", got.header.Get("Retry-After"))
	}
	check(t)
	c.clock.Advance(time.Hour)
	c.newClient(firefoxOnLinux).form("/signup", "username", "carol", "password", newPassword).is(t, 303, "/sessions")
}

func TestSignUpRefuses(t *testing.T) {
	t.Parallel()
	c := openCast(t, openSignUp)
	c.addUser("dan", newPassword)
	if err := c.store.DeleteUser(context.Background(), "dan", false); err != nil {
		t.Fatal(err)
	}
	check := c.unchanged()
	for name, test := range map[string]struct {
		username, password string
		reasons            []string
	}{
		"taken":            {"Alice", newPassword, []string{"This username is taken."}},
		"reserved":         {"admin", newPassword, []string{"This username is reserved."}},
		"of a deleted one": {"dan", newPassword, []string{"This username is taken."}},
		"a bad name":       {"-eve&co", newPassword, []string{"A username has 1 to 32"}},
		"no name":          {"", newPassword, []string{"A username has 1 to 32"}},
		"a long name":      {big("e", 33), newPassword, []string{"A username has 1 to 32"}},
		"a short password": {"eve", "kept secret", []string{"Use at least 15 characters. This password has 11."}},
		"no password":      {"eve", "", []string{"Use at least 15 characters."}},
		"common":           {"eve", "passwordpassword", []string{"too easy to guess"}},
		"made of the name": {"evelyn.harker", "evelynharker123", []string{"made of your username"}},
		"both":             {"e e", "short", []string{"A username has 1 to 32", "Use at least 15 characters."}},
	} {
		t.Run(name, func(t *testing.T) {
			browser := c.newClient(firefoxOnLinux)
			got := browser.form("/signup", "username", test.username, "password", test.password)
			got.is(t, 422)
			got.has(t, test.reasons...)
			got.has(t, `role="alert"`, `aria-invalid="true"`)
			if test.username != "" && name != "a bad name" {
				got.has(t, `value="`+test.username+`"`)
			}
			if name == "a bad name" {
				got.has(t, `value="-eve&amp;co"`)
			}
			if test.password != "" {
				got.lacks(t, test.password)
			}
			if touched(got) {
				t.Error("a cookie was set")
			}
		})
	}
	c.newClient("x").do("POST", "/signup", `{"username":"eve"}`, "Content-Type", "application/json").is(t, 415)
	check(t)
}

const setupToken = "SETUPSETUPSETUPSETUPSETUPS"

func withSetupToken(o *handlers.Options) { o.SetupToken = setupToken }

func TestSetUp(t *testing.T) {
	t.Parallel()
	c := openHouse(t, withSetupToken)
	browser := c.newClient(firefoxOnLinux)
	fields := []string{"username", "Ada", "email", "Ada@example.com", "password", newPassword}
	for _, token := range []string{"", "wrong", setupToken[:25], setupToken + "A"} {
		browser.page("/setup?token="+token).is(t, 403)
		browser.form("/setup", append(fields, "token", token)...).is(t, 403)
	}
	browser.form("/setup?token="+setupToken, fields...).is(t, 403) // an address is no place to take it from
	if rows := c.rows(everyAccount); len(rows) != 0 {
		t.Fatalf("accounts %q", rows)
	}
	got := browser.page("/setup?token=" + setupToken)
	got.is(t, 200)
	got.has(t, "<h1>Create the first account</h1>", "It will be the administrator.", `value="`+setupToken+`"`, "E-mail (optional)")

	got = browser.form("/setup", "token", setupToken, "username", "ada", "email", "not an address", "password", "kept secret")
	got.is(t, 422)
	got.has(t, `value="ada"`, `value="not an address"`, "This is not an e-mail address.", "Use at least 15 characters.", `value="`+setupToken+`"`)
	got.lacks(t, "kept secret")

	browser.form("/setup", append(fields, "token", setupToken)...).is(t, 303, "/sessions")
	if row := c.only(`SELECT username, email, is_admin FROM users`); row != "ada ada@example.com 1" {
		t.Errorf("the account is %s", row)
	}
	if len(c.sessionsOf("ada")) != 1 {
		t.Error("not signed in")
	}
	browser.page("/sessions").is(t, 200)

	browser.page("/setup?token="+setupToken).is(t, 404)
	browser.page("/setup").is(t, 404)
	c.newClient(firefoxOnLinux).form("/setup", "token", setupToken, "username", "eve", "password", newPassword).is(t, 404)
	if len(c.rows(everyAccount)) != 1 {
		t.Error("a second account")
	}
}

// Without a token nobody can claim the server, whatever they send.
func TestSetUpWithoutAToken(t *testing.T) {
	t.Parallel()
	c := openHouse(t)
	browser := c.newClient(firefoxOnLinux)
	browser.page("/setup").is(t, 403)
	browser.page("/setup?token=").is(t, 403)
	browser.form("/setup", "token", "", "username", "eve", "password", newPassword).is(t, 403)
	if len(c.rows(everyAccount)) != 0 {
		t.Error("an account was made")
	}
}

func TestSetUpAtOnce(t *testing.T) {
	t.Parallel()
	c := openHouse(t, withSetupToken)
	var statuses [8]int
	var group sync.WaitGroup
	for i := range statuses {
		browser := c.newClient(firefoxOnLinux)
		group.Go(func() {
			statuses[i] = browser.form("/setup", "token", setupToken, "username", "ada"+string(rune('a'+i)), "password", newPassword).status
		})
	}
	group.Wait()
	slices.Sort(statuses[:])
	if statuses != [8]int{303, 404, 404, 404, 404, 404, 404, 404} {
		t.Errorf("statuses %v", statuses)
	}
	if rows := c.rows(`SELECT is_admin FROM users`); !slices.Equal(rows, []string{"1"}) {
		t.Errorf("accounts %q", rows)
	}
}

// The token works only until the first account exists. Somebody who finds it in a log later cannot use it.
func TestSetUpIsOverWhenEveryAccountWasDeleted(t *testing.T) {
	t.Parallel()
	const deleteAll = `PRAGMA foreign_keys = on; DELETE FROM users`
	for name, created := range map[string]func(*house){
		"here": func(c *house) {
			c.newClient(firefoxOnLinux).form("/setup", "token", setupToken, "username", "ada", "password", newPassword).is(t, 303, "/sessions")
		},
		"by a command": func(c *house) {
			c.exec(`INSERT INTO users (username, password_hash, is_admin, created_at) VALUES ('ada', '', 1, 0)`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := openHouse(t, withSetupToken)
			browser := c.newClient(firefoxOnLinux)
			browser.page("/setup?token="+setupToken).is(t, 200)
			created(c)
			c.exec(deleteAll)
			for _, token := range []string{setupToken, "wrong"} {
				browser.page("/setup?token="+token).is(t, 404)
				browser.form("/setup", "token", token, "username", "eve", "password", newPassword).is(t, 404)
			}
			browser.page("/login").has(t, "There is no account yet. The server prints a link to create the first one when it starts.")
			if rows := c.rows(everyAccount); len(rows) != 0 {
				t.Errorf("accounts %q", rows)
			}
		})
	}
}
