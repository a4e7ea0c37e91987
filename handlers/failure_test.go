package handlers_test

import (
	"context"
	"database/sql"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// This file owns what happens when the database does not answer, and when many ask at once.

const nothingChanged = "reach its data. Nothing was changed." // "The server can't", escaped in pages

// checkUnavailable is for what is answered while the database does not.
func checkUnavailable(t testing.TB, got answer, isJSON bool) {
	t.Helper()
	got.is(t, http.StatusServiceUnavailable)
	got.has(t, nothingChanged)
	got.lacks(t, "sql", "SQL", "database", "locked", "closed", ".go")
	if strings.HasPrefix(got.body, `{"error":`) != isJSON {
		t.Errorf("%.60q", got.body)
	}
	if got.header.Get("Retry-After") == "" || got.header.Get("Cache-Control") != "no-store" || touched(got) {
		t.Errorf("headers %v", got.header)
	}
	checkSecurityHeaders(t, got)
}

// The door stays shut: never a pass, and never a sign-in page for who is signed in.
func TestDatabaseGone(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.alice.api("GET", "/healthz", "").isJSON(t, 200, `{"status":"ok"}`)
	if err := c.store.Close(); err != nil {
		t.Fatal(err)
	}
	const credentials = `{"username":"alice","password":"` + alicePassword + `"}`
	for name, got := range map[string]answer{
		"page": c.alice.page("/sessions"), "sign-in page": c.alice.page("/login"),
		"sign in":  c.alice.form("/login", "username", "alice", "password", alicePassword),
		"sign out": c.alice.form("/logout"), "account": c.alice.page("/account"), "set-up": c.alice.page("/setup?token=x"),
	} {
		t.Run(name, func(t *testing.T) { checkUnavailable(t, got, false) })
	}
	for name, got := range map[string]answer{
		"healthz": c.alice.api("GET", "/healthz", ""), "list": c.alice.api("GET", "/me/sessions", ""),
		"revoke":            c.alice.api("DELETE", "/me/sessions/"+c.alicePhone.id, ""),
		"sign in by script": c.alice.api("POST", "/login", credentials), "sign out by script": c.alice.api("POST", "/logout", ""),
	} {
		t.Run(name, func(t *testing.T) { checkUnavailable(t, got, true) })
	}
	t.Run("htmx", func(t *testing.T) {
		got := c.alice.htmx("DELETE", "/sessions/"+c.alicePhone.id)
		checkUnavailable(t, got, false)
		got.has(t, `id="status"`)
		got.lacks(t, "<h1", "<section")
	})
	c.alice.page("/public/app.css").is(t, 200)
	if log := c.log.String(); !strings.Contains(log, "the database does not answer") {
		t.Errorf("the log does not tell: %s", log)
	}
}

// A COMMIT fails, so the change may be saved or not: nobody is told that it was not.
func TestCommitFails(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.exec(`CREATE TABLE parents (id INTEGER PRIMARY KEY)`)
	c.exec(`CREATE TABLE children (id INTEGER REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED)`)
	c.exec(`CREATE TRIGGER orphan AFTER DELETE ON sessions BEGIN INSERT INTO children VALUES (1); END`)
	check := c.unchanged()
	script := c.alice.api("DELETE", "/me/sessions/"+c.alicePhone.id, "")
	script.isJSON(t, 503, `{"error":"The server can't write its data. Your change may or may not have been saved. Check again in a moment."}`)
	for _, got := range []answer{script, c.alice.htmx("DELETE", "/sessions/"+c.alicePhone.id),
		c.alice.form("/sessions/"+c.alicePhone.id+"/revoke", "confirm", "1")} {
		got.is(t, 503)
		got.has(t, "may or may not have been saved")
		got.lacks(t, "Nothing was changed", "SQL", "constraint")
	}
	check(t)
}

// Another process holds the write lock: reads go on, writes are refused, and then all is well again.
func TestDatabaseLocked(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	pool, err := sql.Open("sqlite3", "file:"+c.path+"?_txlock=immediate&_busy_timeout=5000")
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	lock, err := pool.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Rollback()
	check := c.unchanged()
	stranger := c.newClient(firefoxOnLinux)
	var group sync.WaitGroup
	var page, script, fragment answer
	group.Go(func() { page = stranger.form("/login", "username", "bob", "password", bobPassword) })
	group.Go(func() { script = c.bob.api("POST", "/me/sessions/revoke-all", "") })
	group.Go(func() { fragment = c.alicePhone.htmx("DELETE", "/sessions/"+c.alice.id) })
	c.alice.page("/sessions").is(t, 200)
	c.alice.api("GET", "/me/sessions", "").is(t, 200)
	c.alice.api("GET", "/healthz", "").is(t, 200)
	stranger2 := c.newClient(firefoxOnLinux)
	stranger2.page("/login").is(t, 200)
	group.Wait()
	checkUnavailable(t, page, false)
	checkUnavailable(t, script, true)
	checkUnavailable(t, fragment, false)
	check(t)
	if err := lock.Rollback(); err != nil {
		t.Fatal(err)
	}
	c.alicePhone.htmx("DELETE", "/sessions/"+c.alice.id).is(t, 200)
	stranger.form("/login", "username", "bob", "password", bobPassword).is(t, 303)
	if len(c.sessionsOf("alice")) != 1 || len(c.sessionsOf("bob")) != 2 {
		t.Errorf("sessions %q %q", c.sessionsOf("alice"), c.sessionsOf("bob"))
	}
}

// Whatever is under way, a session that was revoked is dead once that is answered, and nothing brings it back.
func TestRevokeWhileManyUseIt(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	var group sync.WaitGroup
	var revoked sync.RWMutex // locked while the answer is awaited, so that "after" is certain
	done := false
	const clients, asks = 50, 6
	token := c.alicePhone.token()
	for range clients {
		browser := c.newClient(safariOnIPhone)
		group.Go(func() {
			for range asks {
				revoked.RLock()
				after := done
				got := browser.do("GET", "/me/sessions/current", "", "Cookie", "porchlight="+token)
				revoked.RUnlock()
				if got.status != 401 && (after || got.status != 200) {
					t.Errorf("after the end (%v): %d", after, got.status)
				}
				c.clock.Advance(2_000_000_000) // so that every use is noted
			}
		})
	}
	group.Go(func() {
		for range 5 {
			if err := c.store.Flush(context.Background()); err != nil {
				t.Error(err)
			}
		}
	})
	if got := c.alice.api("DELETE", "/me/sessions/"+c.alicePhone.id, ""); got.status != 200 {
		t.Errorf("revoke: %d %s", got.status, got.body)
	}
	revoked.Lock()
	done = true
	revoked.Unlock()
	group.Wait()
	if err := c.store.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := c.sessionsOf("alice"); len(got) != 1 || got[0] != c.alice.id {
		t.Errorf("alice's sessions are %q", got)
	}
	c.alicePhone.api("GET", "/me/sessions", "").is(t, 401)
}

// Of two devices that sign out everywhere else at once, one stays at the most, and neither sees a fault.
func TestRevokeOthersAtOnce(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	var group sync.WaitGroup
	var one, two answer
	group.Go(func() { one = c.alice.api("POST", "/me/sessions/revoke-all", "") })
	group.Go(func() { two = c.alicePhone.api("POST", "/me/sessions/revoke-all", "") })
	group.Wait()
	for _, got := range []answer{one, two} {
		if got.status != 200 && got.status != 401 {
			t.Errorf("%d %s", got.status, got.body)
		}
	}
	if left := c.sessionsOf("alice"); len(left) != 1 {
		t.Errorf("alice's sessions are %q, want one", left)
	}
	if n := c.only(`SELECT COUNT(*) FROM activity WHERE kind = 'revoked'`); n != "1" {
		t.Errorf("%s are recorded", n)
	}
}

// The same session revoked by many at once ends once.
func TestRevokeAtOnce(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	var group sync.WaitGroup
	var statuses [20]int
	for i := range statuses {
		group.Go(func() {
			statuses[i] = c.alice.api("DELETE", "/me/sessions/"+c.alicePhone.id, "").status
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
	if n := c.only(`SELECT COUNT(*) FROM activity WHERE kind = 'revoked'`); n != "1" {
		t.Errorf("%s are recorded", n)
	}
}
