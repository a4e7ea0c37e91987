package handlers_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"porchlight/db"
	"porchlight/handlers"
	"porchlight/handlers/handlerstest"
)

// This file tests how accounts are created: sign-up and set-up.

const newPassword = "basalt umbrella crayon fjord"

func openSignUp(o *handlers.Options) { o.Signup = true }

func TestSignUpClosed(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	check := c.Unchanged()
	stranger := c.NewClient(handlerstest.FirefoxOnLinux)
	stranger.Page("/signup").Is(t, 404)
	stranger.Form("/signup", "username", "eve", "password", newPassword).Is(t, 404)
	stranger.Page("/login").Lacks(t, "/signup")
	check(t)
}

// Before the first account exists, the first to sign up would become the administrator.
func TestSignUpWithoutAnAccount(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenHouse(t, openSignUp)
	stranger := c.NewClient(handlerstest.FirefoxOnLinux)
	stranger.Page("/signup").Is(t, 404)
	stranger.Form("/signup", "username", "eve", "password", newPassword).Is(t, 404)
	got := stranger.Page("/login")
	got.Lacks(t, "/signup")
	got.Has(t, "There is no account yet.")
	if rows := c.Rows(handlerstest.EveryAccount); len(rows) != 0 {
		t.Errorf("accounts %q", rows)
	}
}

func TestSignUp(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, openSignUp)
	browser := c.NewClient(handlerstest.FirefoxOnLinux)
	browser.Page("/login").Has(t, `href="/signup"`)
	browser.Page("/signup").Has(t, "<h1>Create an account</h1>", `autocomplete="new-password"`, "At least 15 characters")
	got := browser.Form("/signup", "username", " Carol ", "password", newPassword, "email", "carol@example.com", "is_admin", "1")
	got.Is(t, 303, "/sessions")
	if !newCookie.MatchString(got.Header.Get("Set-Cookie")) {
		t.Errorf("Set-Cookie %q", got.Header.Get("Set-Cookie"))
	}
	if row := c.Only(`SELECT username, COALESCE(email, '-'), is_admin, disabled FROM users WHERE username = 'carol'`); row != "carol - 0 0" {
		t.Errorf("the row is %s: only a name and a password are taken", row)
	}
	if got := c.SessionsOf("carol"); len(got) != 1 {
		t.Errorf("sessions %q", got)
	}
	browser.Page("/sessions").Has(t, "This is your only active session.")
}

// A user who signed up can use Porchlight's own pages at once, but no app before approval.
func TestSignUpWaitsForApproval(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, openSignUp, behindProxy)
	carol := c.NewClient(handlerstest.FirefoxOnLinux)
	carol.Page("/signup").Has(t, "once an administrator has approved your account")
	carol.Form("/signup", "username", "carol", "password", newPassword).Is(t, 303, "/sessions")
	carol.Page("/sessions").Is(t, 200)
	carol.Page("/account").Is(t, 200)
	const waits = `1 person is waiting for approval. <a href="/admin/users?waiting=1">`
	for _, path := range []string{"/sessions", "/account"} {
		c.Alice.Page(path).Has(t, waits)
		c.Bob.Page(path).Lacks(t, "approval")
	}
	for _, e := range endpoints {
		for name, headers := range map[string][]string{"navigating": navigating, "fetching": fetching} {
			got := e.ask(carol, toNotes, headers...)
			stops(t, got, 403, "")
			if name == "navigating" {
				got.Has(t, "Your account is waiting for approval", "once an administrator has approved your account", "<strong>carol</strong>",
					`href="`+publicURL+`/logout?next=http%3A%2F%2Fnotes.example.com%2F"`)
			}
		}
	}
	allow(c.House, "wiki.example.com", "carol")
	passes(t, forward.ask(carol, toNotes.of("wiki.example.com")), "carol")
	setGroups(c.House, "carol", "family")
	allowMore(c.House, db.AppRule{Host: "photos.example.com", Groups: []string{"family"}})
	passes(t, forward.ask(carol, toNotes.of("photos.example.com")), "carol")
	allow(c.House, "wiki.example.com", "bob")
	if err := c.Store.ChangeUser(context.Background(), db.CommandLine, "carol", db.UserChange{Approve: true}); err != nil {
		t.Fatal(err)
	}
	for _, e := range endpoints {
		passes(t, e.ask(carol, toNotes), "carol")
	}
	c.Alice.Page("/sessions").Lacks(t, "approval")
	c.Alice.Page("/account").Lacks(t, "approval")
	allow(c.House, "secret.example.com", "alice")
	got := forward.ask(carol, toNotes.of("secret.example.com"), navigating...)
	stops(t, got, 403, "")
	got.Lacks(t, "approv")
}

func TestSignUpIsThrottled(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, openSignUp)
	for i := range 10 {
		c.NewClient(handlerstest.FirefoxOnLinux).Form("/signup", "username", "user"+string(rune('a'+i)),
			"password", newPassword).Is(t, 303, "/sessions")
	}
	check := c.Unchanged()
	got := c.NewClient(handlerstest.FirefoxOnLinux).Form("/signup", "username", "carol", "password", newPassword)
	got.Is(t, 429)
	got.Has(t, "Try again in 60 minutes.")
	if got.Header.Get("Retry-After") != "3600" {
		t.Errorf("Retry-After %q", got.Header.Get("Retry-After"))
	}
	check(t)
	c.Clock.Advance(time.Hour)
	c.NewClient(handlerstest.FirefoxOnLinux).Form("/signup", "username", "carol", "password", newPassword).Is(t, 303, "/sessions")
}

func TestSignUpRefuses(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, openSignUp)
	c.AddUser("dan", newPassword)
	if err := c.Store.DeleteUser(context.Background(), db.CommandLine, "dan", false); err != nil {
		t.Fatal(err)
	}
	check := c.Unchanged()
	for name, test := range map[string]struct {
		username, password string
		reasons            []string
	}{
		"taken":            {"Alice", newPassword, []string{"This username is taken."}},
		"reserved":         {"admin", newPassword, []string{"This username is reserved."}},
		"of a deleted one": {"dan", newPassword, []string{"This username is taken."}},
		"a bad name":       {"-eve&co", newPassword, []string{"A username must have 1 to 32"}},
		"no name":          {"", newPassword, []string{"A username must have 1 to 32"}},
		"a long name":      {big("e", 33), newPassword, []string{"A username must have 1 to 32"}},
		"a short password": {"eve", "kept secret", []string{"Use at least 15 characters. This password has 11."}},
		"no password":      {"eve", "", []string{"Use at least 15 characters."}},
		"common":           {"eve", "passwordpassword", []string{"too easy to guess"}},
		"made of the name": {"evelyn.harker", "evelynharker123", []string{"made of your username"}},
		"both":             {"e e", "short", []string{"A username must have 1 to 32", "Use at least 15 characters."}},
	} {
		t.Run(name, func(t *testing.T) {
			browser := c.NewClient(handlerstest.FirefoxOnLinux)
			got := browser.Form("/signup", "username", test.username, "password", test.password)
			got.Is(t, 422)
			got.Has(t, test.reasons...)
			got.Has(t, "<title>Error: Create an account – Porchlight</title>", "At least 15 characters.", `role="alert"`, `aria-invalid="true"`)
			if test.username != "" && name != "a bad name" {
				got.Has(t, `value="`+test.username+`"`)
			}
			if name == "a bad name" {
				got.Has(t, `value="-eve&amp;co"`)
			}
			if test.password != "" {
				got.Lacks(t, test.password)
			}
			if touched(got) {
				t.Error("a cookie was set")
			}
		})
	}
	c.NewClient("x").Do("POST", "/signup", `{"username":"eve"}`, "Content-Type", "application/json").Is(t, 415)
	check(t)
}

const setupToken = "SETUPSETUPSETUPSETUPSETUPS"

func withSetupToken(o *handlers.Options) { o.SetupToken = setupToken }

func TestSetUp(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenHouse(t, withSetupToken)
	browser := c.NewClient(handlerstest.FirefoxOnLinux)
	fields := []string{"username", "Ada", "email", "Ada@example.com", "password", newPassword}
	for _, token := range []string{"", "wrong", setupToken[:25], setupToken + "A"} {
		browser.Page("/setup?token="+token).Is(t, 403)
		browser.Form("/setup", append(fields, "token", token)...).Is(t, 403)
	}
	browser.Form("/setup?token="+setupToken, fields...).Is(t, 403) // the token is not read from the query
	if rows := c.Rows(handlerstest.EveryAccount); len(rows) != 0 {
		t.Fatalf("accounts %q", rows)
	}
	got := browser.Page("/setup?token=" + setupToken)
	got.Is(t, 200)
	got.Has(t, "<h1>Create the first account</h1>", "It will be the administrator.", `value="`+setupToken+`"`, "E-mail (optional)")

	got = browser.Form("/setup", "token", setupToken, "username", "ada", "email", "not an address", "password", "kept secret")
	got.Is(t, 422)
	got.Has(t, `value="ada"`, `value="not an address"`, "This is not an e-mail address.", "Use at least 15 characters.",
		`value="`+setupToken+`"`)
	got.Lacks(t, "kept secret")

	browser.Form("/setup", append(fields, "token", setupToken)...).Is(t, 303, "/sessions")
	if row := c.Only(`SELECT username, email, is_admin FROM users`); row != "ada ada@example.com 1" {
		t.Errorf("the account is %s", row)
	}
	if len(c.SessionsOf("ada")) != 1 {
		t.Error("not signed in")
	}
	browser.Page("/sessions").Is(t, 200)

	browser.Page("/setup?token="+setupToken).Is(t, 404)
	browser.Page("/setup").Is(t, 404)
	c.NewClient(handlerstest.FirefoxOnLinux).Form("/setup", "token", setupToken, "username", "eve", "password", newPassword).Is(t, 404)
	if len(c.Rows(handlerstest.EveryAccount)) != 1 {
		t.Error("a second account")
	}
}

// Without the token, nobody can claim the server.
func TestSetUpWithoutAToken(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenHouse(t)
	browser := c.NewClient(handlerstest.FirefoxOnLinux)
	browser.Page("/setup").Is(t, 403)
	browser.Page("/setup?token=").Is(t, 403)
	browser.Form("/setup", "token", "", "username", "eve", "password", newPassword).Is(t, 403)
	if len(c.Rows(handlerstest.EveryAccount)) != 0 {
		t.Error("an account was created")
	}
}

func TestConcurrentSetUp(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenHouse(t, withSetupToken)
	var statuses [8]int
	var group sync.WaitGroup
	for i := range statuses {
		browser := c.NewClient(handlerstest.FirefoxOnLinux)
		group.Go(func() {
			statuses[i] = browser.Form("/setup", "token", setupToken, "username", "ada"+string(rune('a'+i)), "password", newPassword).Status
		})
	}
	group.Wait()
	slices.Sort(statuses[:])
	if statuses != [8]int{303, 404, 404, 404, 404, 404, 404, 404} {
		t.Errorf("statuses %v", statuses)
	}
	if rows := c.Rows(`SELECT is_admin FROM users`); !slices.Equal(rows, []string{"1"}) {
		t.Errorf("accounts %q", rows)
	}
}

// The token works only until the first account exists. Somebody who finds it in a log later cannot use it.
func TestSetUpStaysClosedWhenEveryAccountWasDeleted(t *testing.T) {
	t.Parallel()
	const deleteAll = `PRAGMA foreign_keys = on; DELETE FROM users`
	for name, created := range map[string]func(*handlerstest.House){
		"here": func(c *handlerstest.House) {
			c.NewClient(handlerstest.FirefoxOnLinux).Form("/setup", "token", setupToken, "username", "ada",
				"password", newPassword).Is(t, 303, "/sessions")
		},
		"by a command": func(c *handlerstest.House) {
			c.Exec(`INSERT INTO users (username, password_hash, is_admin, created_at) VALUES ('ada', '', 1, 0)`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := handlerstest.OpenHouse(t, withSetupToken)
			browser := c.NewClient(handlerstest.FirefoxOnLinux)
			browser.Page("/setup?token="+setupToken).Is(t, 200)
			created(c)
			c.Exec(deleteAll)
			for _, token := range []string{setupToken, "wrong"} {
				browser.Page("/setup?token="+token).Is(t, 404)
				browser.Form("/setup", "token", token, "username", "eve", "password", newPassword).Is(t, 404)
			}
			browser.Page("/login").Has(t, "There is no account yet. The server prints a link to create the first one when it starts.")
			if rows := c.Rows(handlerstest.EveryAccount); len(rows) != 0 {
				t.Errorf("accounts %q", rows)
			}
		})
	}
}

func TestSignUpIsFull(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, func(o *handlers.Options) { o.Signup = true })
	c.Exec(`
		WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
		INSERT INTO users (username, password_hash, approved, created_at) SELECT 'stranger' || i, '', 0, 0 FROM n`)
	got := c.NewClient(handlerstest.FirefoxOnLinux).Form("/signup", "username", "dave", "password", "pebble sonnet harbour walnut")
	got.Is(t, 503)
	got.Has(t, "Too many people are waiting for approval", "Ask whoever runs this server for an invitation.")
	c.SameRows(t, []string{}, `SELECT id FROM users WHERE username = 'dave'`)
}
