package handlers_test

import (
	"context"
	"database/sql"
	"net/http"
	"strings"
	"sync"
	"testing"

	"porchlight/handlers/handlerstest"
)

// This file tests what happens when the database does not answer, and when many requests come at once.

const nothingChanged = "reach its data. Nothing was changed." // "The server can't", escaped in pages

// checkUnavailable checks a response while the database does not answer.
func checkUnavailable(t testing.TB, got handlerstest.Answer, isJSON bool) {
	t.Helper()
	got.Is(t, http.StatusServiceUnavailable)
	got.Has(t, nothingChanged)
	got.Lacks(t, "sql", "SQL", "database", "locked", "closed", ".go")
	if strings.HasPrefix(got.Body, `{"error":`) != isJSON {
		t.Errorf("JSON or not: %.60q", got.Body)
	}
	if got.Header.Get("Retry-After") == "" || got.Header.Get("Cache-Control") != "no-store" || touched(got) {
		t.Errorf("headers %v", got.Header)
	}
	checkSecurityHeaders(t, got)
}

// Nobody passes, and nobody who is signed in sees a sign-in page.
func TestDatabaseGone(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	isJSON(t, c.Alice.API("GET", "/healthz", ""), 200, `{"status":"ok"}`)
	if err := c.Store.Close(); err != nil {
		t.Fatal(err)
	}
	const credentials = `{"username":"alice","password":"` + handlerstest.AlicePassword + `"}`
	for name, got := range map[string]handlerstest.Answer{
		"page": c.Alice.Page("/sessions"), "sign-in page": c.Alice.Page("/login"),
		"sign in":  c.Alice.Form("/login", "username", "alice", "password", handlerstest.AlicePassword),
		"sign out": c.Alice.Form("/logout"), "account": c.Alice.Page("/account"), "set-up": c.Alice.Page("/setup?token=x"),
	} {
		t.Run(name, func(t *testing.T) { checkUnavailable(t, got, false) })
	}
	for name, got := range map[string]handlerstest.Answer{
		"healthz": c.Alice.API("GET", "/healthz", ""), "list": c.Alice.API("GET", "/me/sessions", ""),
		"revoke":            c.Alice.API("DELETE", "/me/sessions/"+c.AlicePhone.ID, ""),
		"sign in by script": c.Alice.API("POST", "/login", credentials), "sign out by script": c.Alice.API("POST", "/logout", ""),
	} {
		t.Run(name, func(t *testing.T) { checkUnavailable(t, got, true) })
	}
	t.Run("htmx", func(t *testing.T) {
		got := c.Alice.HTMX("DELETE", "/sessions/"+c.AlicePhone.ID)
		checkUnavailable(t, got, false)
		got.Has(t, `id="status"`)
		got.Lacks(t, "<h1", "<section")
	})
	c.Alice.Page("/public/app.css").Is(t, 200)
	if log := c.Log.String(); !strings.Contains(log, "the database does not answer") {
		t.Errorf("the log does not say so: %s", log)
	}
}

// If COMMIT fails, the change may or may not be saved. The response must not say that nothing was changed.
func TestCommitFails(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	c.Exec(`CREATE TABLE parents (id INTEGER PRIMARY KEY)`)
	c.Exec(`CREATE TABLE children (id INTEGER REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED)`)
	c.Exec(`CREATE TRIGGER orphan AFTER DELETE ON sessions BEGIN INSERT INTO children VALUES (1); END`)
	check := c.Unchanged()
	script := c.Alice.API("DELETE", "/me/sessions/"+c.AlicePhone.ID, "")
	isJSON(t, script, 503, `{"error":"The server can't write its data. Your change may or may not have been saved. Check again in a moment."}`)
	for _, got := range []handlerstest.Answer{script, c.Alice.HTMX("DELETE", "/sessions/"+c.AlicePhone.ID),
		c.Alice.Form("/sessions/"+c.AlicePhone.ID+"/revoke", "confirm", "1")} {
		got.Is(t, 503)
		got.Has(t, "may or may not have been saved")
		got.Lacks(t, "Nothing was changed", "SQL", "constraint")
	}
	check(t)
}

// While another process holds the write lock, reads work and writes are refused. Afterwards everything works again.
func TestDatabaseLocked(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	laptop := c.Alice.Stream("/sessions/events")
	laptop.Wants(":")
	pool, err := sql.Open("sqlite3", "file:"+c.Path+"?_txlock=immediate&_busy_timeout=5000")
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	lock, err := pool.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Rollback()
	check := c.Unchanged()
	stranger := c.NewClient(handlerstest.FirefoxOnLinux)
	var group sync.WaitGroup
	var page, script, fragment handlerstest.Answer
	group.Go(func() { page = stranger.Form("/login", "username", "bob", "password", handlerstest.BobPassword) })
	group.Go(func() { script = c.Bob.API("POST", "/me/sessions/revoke-all", "") })
	group.Go(func() { fragment = c.AlicePhone.HTMX("DELETE", "/sessions/"+c.Alice.ID) })
	c.Alice.Page("/sessions").Is(t, 200)
	c.Alice.API("GET", "/me/sessions", "").Is(t, 200)
	c.Alice.API("GET", "/healthz", "").Is(t, 200)
	stranger2 := c.NewClient(handlerstest.FirefoxOnLinux)
	stranger2.Page("/login").Is(t, 200)
	phone := c.AlicePhone.Stream("/sessions/events")
	phone.Wants(":")
	group.Wait()
	checkUnavailable(t, page, false)
	checkUnavailable(t, script, true)
	checkUnavailable(t, fragment, false)
	check(t)
	if err := lock.Rollback(); err != nil {
		t.Fatal(err)
	}
	c.AlicePhone.HTMX("DELETE", "/sessions/"+c.Alice.ID).Is(t, 200)
	phone.Wants("changed")
	laptop.Wants("ended", "end")
	stranger.Form("/login", "username", "bob", "password", handlerstest.BobPassword).Is(t, 303)
	if len(c.SessionsOf("alice")) != 1 || len(c.SessionsOf("bob")) != 2 {
		t.Errorf("sessions %q %q", c.SessionsOf("alice"), c.SessionsOf("bob"))
	}
}

// Once a revocation is acknowledged, the session has ended, and no concurrent request brings it back.
func TestRevokeWhileManyUseIt(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	var group sync.WaitGroup
	var revoked sync.RWMutex // locked while the answer is awaited, so that "after" is certain
	done := false
	const clients, asks = 50, 6
	token := c.AlicePhone.Token()
	for range clients {
		browser := c.NewClient(handlerstest.SafariOnIPhone)
		group.Go(func() {
			for range asks {
				revoked.RLock()
				after := done
				got := browser.Do("GET", "/me/sessions/current", "", "Cookie", "porchlight="+token)
				revoked.RUnlock()
				if got.Status != 401 && (after || got.Status != 200) {
					t.Errorf("after the end (%v): %d", after, got.Status)
				}
				c.Clock.Advance(2_000_000_000) // so that every use is noted
			}
		})
	}
	group.Go(func() {
		for range 5 {
			if err := c.Store.Flush(context.Background()); err != nil {
				t.Error(err)
			}
		}
	})
	if got := c.Alice.API("DELETE", "/me/sessions/"+c.AlicePhone.ID, ""); got.Status != 200 {
		t.Errorf("revoke: %d %s", got.Status, got.Body)
	}
	revoked.Lock()
	done = true
	revoked.Unlock()
	group.Wait()
	if err := c.Store.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := c.SessionsOf("alice"); len(got) != 1 || got[0] != c.Alice.ID {
		t.Errorf("alice's sessions are %q", got)
	}
	c.AlicePhone.API("GET", "/me/sessions", "").Is(t, 401)
}

// If two devices sign each other out at the same time, at most one stays signed in, and neither gets a 500.
func TestRevokeOthersAtOnce(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	var group sync.WaitGroup
	var one, two handlerstest.Answer
	group.Go(func() { one = c.Alice.API("POST", "/me/sessions/revoke-all", "") })
	group.Go(func() { two = c.AlicePhone.API("POST", "/me/sessions/revoke-all", "") })
	group.Wait()
	for _, got := range []handlerstest.Answer{one, two} {
		if got.Status != 200 && got.Status != 401 {
			t.Errorf("unexpected answer %d %s", got.Status, got.Body)
		}
	}
	if left := c.SessionsOf("alice"); len(left) != 1 {
		t.Errorf("alice's sessions are %q, want one", left)
	}
	if n := c.Only(`SELECT COUNT(*) FROM activity WHERE kind = 'revoked'`); n != "1" {
		t.Errorf("%s are recorded", n)
	}
}

// A session that many requests revoke at once ends once.
func TestRevokeAtOnce(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	var group sync.WaitGroup
	var statuses [20]int
	for i := range statuses {
		group.Go(func() {
			statuses[i] = c.Alice.API("DELETE", "/me/sessions/"+c.AlicePhone.ID, "").Status
		})
	}
	group.Wait()
	count := map[int]int{}
	for _, status := range statuses {
		count[status]++
	}
	if count[200] != 1 || count[404] != 19 {
		t.Errorf("statuses %v", count)
	}
	if n := c.Only(`SELECT COUNT(*) FROM activity WHERE kind = 'revoked'`); n != "1" {
		t.Errorf("%s are recorded", n)
	}
}
