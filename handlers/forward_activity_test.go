package handlers_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"porchlight/handlers/handlerstest"
)

// This file tests what an auth check records: when the session was last active, which app it was used for, and the log. Without a
// session it records nothing.

// usedFor are the rows of what a session was used for, last used first.
const usedFor = `SELECT host || ' ' || last_used_at FROM session_apps WHERE session_id = ? ORDER BY last_used_at DESC, host`

func lastActive(h *handlerstest.House, id string) string {
	h.T.Helper()
	flush(h)
	return h.Only(`SELECT last_active_at || ' ' || expires_at FROM sessions WHERE id = ?`, id)
}

// Somebody who opens a page of an app, or changes something there, is active. Requests that a page sends by itself are no activity, or a
// session would never become idle while a page is open.
func TestForwardWhatCountsAsActivity(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	mode := func(mode string) []string { return []string{"Sec-Fetch-Mode", mode} }
	for name, test := range map[string]struct {
		request appRequest
		headers []string
		counts  bool
	}{
		"follows a link":              {toNotes, navigating, true},
		"HEAD of a page":              {toNotes.by("HEAD"), navigating, true},
		"sends a form":                {toNotes.by("POST"), navigating, true},
		"a script sends":              {toNotes.by("POST"), fetching, true},
		"a script puts":               {toNotes.by("PUT"), mode("same-origin"), true},
		"a script deletes":            {toNotes.by("DELETE"), mode("no-cors"), true},
		"a script patches":            {toNotes.by("PATCH"), fetching, true},
		"WebDAV writes":               {toNotes.by("PROPPATCH"), fetching, true},
		"WebDAV moves":                {toNotes.by("MOVE"), fetching, true},
		"does not say how":            {toNotes, nil, true},
		"an old browser":              {toNotes, []string{"Accept", handlerstest.BrowserAccept}, true},
		"curl":                        {toNotes.by("HEAD"), []string{"Accept", "*/*"}, true},
		"WebDAV reads and says no":    {toNotes.by("PROPFIND"), nil, true},
		"a script asks":               {toNotes, fetching, false},
		"a script asks its own":       {toNotes, mode("same-origin"), false},
		"an image":                    {toNotes, mode("no-cors"), false},
		"a script asks for a head":    {toNotes.by("HEAD"), fetching, false},
		"a script asks what it may":   {toNotes.by("OPTIONS"), fetching, false},
		"a script reads by WebDAV":    {toNotes.by("PROPFIND"), fetching, false},
		"a script asks for a report":  {toNotes.by("REPORT"), fetching, false},
		"a WebSocket":                 {toNotes.as("wss"), mode("websocket"), false},
		"a mode that nobody knows":    {toNotes, mode("Navigate"), false},
		"a script that takes HTML":    {toNotes, []string{"Sec-Fetch-Mode", "cors", "Accept", "text/html"}, false},
		"navigates at a shut app":     {toNotes.of("secret.example.com"), navigating, false},
		"sends a form to a shut app":  {toNotes.of("secret.example.com").by("POST"), navigating, false},
		"navigates outside":           {toNotes.of("evil.test"), navigating, false},
		"is asked for without a path": {toNotes.at("x y"), navigating, false},
	} {
		allow(c.House, "secret.example.com", "alice")
		for _, e := range endpoints {
			t.Run(e.path+" "+name, func(t *testing.T) {
				c.Clock.Advance(2 * time.Minute)
				before := lastActive(c.House, c.Bob.ID)
				e.ask(c.Bob, test.request, test.headers...)
				want := before
				if test.counts {
					want = fmt.Sprint(c.Clock.Now().UnixMilli(), c.Clock.Now().Add(14*24*time.Hour).UnixMilli())
				}
				if after := lastActive(c.House, c.Bob.ID); after != want {
					t.Errorf("last active and the end: %s, want %s (before %s)", after, want, before)
				}
			})
		}
	}
	t.Run("an app that asks for news all the time ends all the same", func(t *testing.T) {
		for range 13 {
			c.Clock.Advance(24 * time.Hour)
			passes(t, forward.ask(c.AlicePhone, toNotes, fetching...), "alice")
			flush(c.House)
		}
		c.Clock.Advance(24 * time.Hour)
		stops(t, forward.ask(c.AlicePhone, toNotes, fetching...), 401, "")
	})
}

// Every auth check that passes records the app, even if it does not count as activity.
func TestForwardNotesTheApp(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	allow(c.House, "secret.example.com", "alice")
	at := func() string { return fmt.Sprint(c.Clock.Now().UnixMilli()) }
	first := at()
	passes(t, forward.ask(c.Bob, toNotes, fetching...), "bob")
	c.Clock.Advance(time.Second)
	passes(t, nginx.ask(c.Bob, toNotes.of("photos.example.com").as("wss"), "Sec-Fetch-Mode", "websocket"), "bob")
	want := []string{"photos.example.com " + at(), notes + " " + first}
	flush(c.House)
	c.SameRows(t, want, usedFor, c.Bob.ID)

	t.Run("only the host, in one form", func(t *testing.T) {
		c.Clock.Advance(2 * time.Minute)
		for _, host := range []string{"NOTES.example.com", "notes.example.com.", "notes.example.com:8443", "Notes.Example.Com.:1"} {
			passes(t, forward.ask(c.Bob, toNotes.of(host).at("/secret?token=x")), "bob")
		}
		flush(c.House)
		want = []string{notes + " " + at(), want[0]}
		c.SameRows(t, want, usedFor, c.Bob.ID)
	})
	t.Run("not what was refused", func(t *testing.T) {
		c.Clock.Advance(2 * time.Minute)
		for _, e := range endpoints {
			stops(t, e.ask(c.Bob, toNotes.of("secret.example.com"), navigating...), 403, "")
			stops(t, e.ask(c.Bob, toNotes.of("evil.test")), 403, "")
			stops(t, e.ask(c.Bob, toNotes.by("G T")), 403, "")
			stops(t, e.ask(c.Bob, toNotes.as("ftp")), 403, "")
			stops(t, e.ask(c.NewClient(handlerstest.FirefoxOnLinux), toNotes), 401, "")
		}
		flush(c.House)
		c.SameRows(t, want, usedFor, c.Bob.ID)
	})
	t.Run("of that session alone", func(t *testing.T) {
		c.SameRows(t, []string{c.Bob.ID}, `SELECT DISTINCT session_id FROM session_apps`)
		passes(t, forward.ask(c.AlicePhone, toNotes), "alice")
		flush(c.House)
		c.SameRows(t, nil, usedFor, c.Alice.ID)
		c.SameRows(t, []string{notes + " " + at()}, usedFor, c.AlicePhone.ID)
	})
	t.Run("of the session that may", func(t *testing.T) {
		passes(t, forward.ask(c.NewClient(handlerstest.FirefoxOnLinux), toNotes.of("secret.example.com"), "Cookie",
			withCookie("ABCDEFGHIJKLMNOPQRSTUVWXYZ", c.Alice.Token())), "alice")
		flush(c.House)
		c.SameRows(t, want, usedFor, c.Bob.ID)
		c.SameRows(t, []string{"secret.example.com " + at()}, usedFor, c.Alice.ID)
	})
	t.Run("gone with the session", func(t *testing.T) {
		passes(t, forward.ask(c.Bob, toNotes.of("late.example.com")), "bob") // noted, and not yet written
		c.Bob.Form("/logout").Is(t, 303)
		c.SameRows(t, nil, usedFor, c.Bob.ID)
		flush(c.House)
		c.SameRows(t, nil, usedFor, c.Bob.ID)
		c.Alice.API("DELETE", "/me/sessions/"+c.AlicePhone.ID, "").Is(t, 200)
		flush(c.House)
		c.SameRows(t, []string{c.Alice.ID}, `SELECT DISTINCT session_id FROM session_apps`)
	})
}

// Repeated use of an app is written once a minute.
func TestForwardNotesTheAppOnceAMinute(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	ask := func() {
		t.Helper()
		passes(t, forward.ask(c.Alice, toNotes, fetching...), "alice")
		flush(c.House)
	}
	first := fmt.Sprint(c.Clock.Now().UnixMilli())
	ask()
	for range 3 {
		c.Clock.Advance(19 * time.Second)
		ask()
		c.SameRows(t, []string{notes + " " + first}, usedFor, c.Alice.ID)
	}
	c.Clock.Advance(3 * time.Second)
	ask()
	c.SameRows(t, []string{notes + " " + fmt.Sprint(c.Clock.Now().UnixMilli())}, usedFor, c.Alice.ID)
	// Another app is recorded even within the same minute. The time of the last activity is written once a minute, whatever the app.
	c.Clock.Advance(time.Second)
	passes(t, forward.ask(c.Alice, toNotes.of("photos.example.com"), navigating...), "alice")
	flush(c.House)
	at := c.Clock.Now().UnixMilli()
	c.SameRows(t, []string{fmt.Sprint("photos.example.com ", at), fmt.Sprint(notes, " ", at-1000)}, usedFor, c.Alice.ID)
	c.SameRows(t, []string{fmt.Sprint(at)}, `SELECT last_active_at FROM sessions WHERE id = ?`, c.Alice.ID)
	c.Clock.Advance(30 * time.Second)
	passes(t, forward.ask(c.Alice, toNotes.of("photos.example.com"), navigating...), "alice")
	flush(c.House)
	c.SameRows(t, []string{fmt.Sprint(at)}, `SELECT last_active_at FROM sessions WHERE id = ?`, c.Alice.ID)
}

// With a wildcard in the DNS, clients can invent hosts, so only the apps that a session used last are stored.
func TestForwardKeepsTheAppsUsedLast(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	want := []string{}
	for i := range 120 {
		c.Clock.Advance(time.Second)
		host := fmt.Sprintf("app-%03d.example.com", i)
		passes(t, forward.ask(c.Alice, toNotes.of(host)), "alice")
		want = append([]string{fmt.Sprint(host, " ", c.Clock.Now().UnixMilli())}, want...)
		if i%10 == 0 {
			flush(c.House)
		}
	}
	flush(c.House)
	c.SameRows(t, want[:50], usedFor, c.Alice.ID)
	// An app that is used again is not the oldest any more.
	c.Clock.Advance(2 * time.Minute)
	passes(t, forward.ask(c.Alice, toNotes.of("app-070.example.com")), "alice")
	flush(c.House)
	c.Clock.Advance(time.Second)
	passes(t, forward.ask(c.Alice, toNotes), "alice")
	flush(c.House)
	rows := c.Rows(usedFor, c.Alice.ID)
	if len(rows) != 50 || !strings.HasPrefix(rows[0], notes+" ") || !strings.HasPrefix(rows[1], "app-070.example.com ") ||
		!strings.HasPrefix(rows[49], "app-072.example.com ") {
		t.Errorf("%d rows: %q", len(rows), rows)
	}
	// No more than that are kept in memory between two flushes.
	for i := range 300 {
		passes(t, forward.ask(c.AlicePhone, toNotes.of(fmt.Sprintf("made-up-%d.example.com", i))), "alice")
	}
	flush(c.House)
	if count := c.Only(`SELECT COUNT(*) FROM session_apps WHERE session_id = ?`, c.AlicePhone.ID); count != "50" {
		t.Errorf("%s rows, want 50", count)
	}
}

// Anybody can make a proxy send auth checks, so they must leave nothing behind.
func TestForwardWithoutASessionLeavesNoTrace(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	ended := c.SignIn("alice", handlerstest.AlicePassword, handlerstest.FirefoxOnLinux)
	dead := ended.Token()
	c.Alice.API("DELETE", "/me/sessions/"+ended.ID, "").Is(t, 200)
	allow(c.House, "secret.example.com")
	stranger := c.NewClient(handlerstest.FirefoxOnLinux)
	for _, e := range endpoints { // mistakes of a proxy are logged once a minute, and the clock stands still
		stranger.Do("GET", e.path, "")
		e.ask(stranger, toNotes.by("G T"))
		e.ask(stranger, toNotes.at("x"))
	}
	check := noTrace(c.House)
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
	for i := range 1000 {
		token := strings.Repeat(string(letters[i%32]), 13) + strings.Repeat(string(letters[i/32]), 13)
		for _, request := range []appRequest{
			toNotes.of(fmt.Sprintf("made-up-%d.example.com", i)).at(fmt.Sprintf("/%d?x=%d", i, i)),
			toNotes.of(fmt.Sprintf("evil-%d.test", i)),
		} {
			headers := [][]string{navigating, fetching, {"Cookie", withCookie(token)}, nil}[i%4]
			if got := endpoints[i/4%2].ask(stranger, request, headers...); got.Status == 200 || got.Status >= 500 {
				t.Fatalf("%v: %d", request, got.Status)
			}
		}
	}
	for _, e := range endpoints {
		for _, cookie := range []string{withCookie("garbage"), withCookie(dead), withCookie("", dead, "\xff"), "a=b"} {
			for _, request := range []appRequest{toNotes, toNotes.by("POST"), toNotes.by("G T"), toNotes.of("secret.example.com"),
				toNotes.of("evil.test"), toNotes.as("wss"), toNotes.at("x")} {
				e.ask(stranger, request, append([]string{"Cookie", cookie}, navigating...)...)
			}
			stranger.Do("GET", e.path, "", "Cookie", cookie)
			stranger.Do("POST", e.path+"/x", "", "Cookie", cookie)
		}
	}
	check(t)
}

// A signed-in user who opens an app without permission is logged, but not again for every image on the page.
func TestForwardLogsDenials(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	allow(c.House, "secret.example.com", "alice")
	allow(c.House, notes, "alice")
	denials := func() []string { return regexp.MustCompile(`.*msg=denied.*`).FindAllString(c.Log.String(), -1) }
	const address = "198.51.100.7"
	deny := func(host string, who *handlerstest.Client) {
		t.Helper()
		for _, e := range endpoints {
			for _, headers := range [][]string{navigating, fetching} {
				stops(t, e.ask(who, toNotes.of(host).at("/path?secret=word"),
					append([]string{"X-Forwarded-For", "1.2.3.4, " + address}, headers...)...), 403, "")
			}
		}
	}
	deny("secret.example.com", c.Bob)
	deny("Secret.Example.com.:8443", c.Bob)
	lines := denials()
	if len(lines) != 1 {
		t.Fatalf("logged %d times, want once: %q", len(lines), lines)
	}
	for _, part := range []string{"level=WARN", "user=bob", "session=" + c.Bob.ID, "host=secret.example.com", "ip=" + address} {
		if !slices.Contains(strings.Fields(lines[0]), part) {
			t.Errorf("%q lacks %s", lines[0], part)
		}
	}
	// Another host, and another session, are something else.
	deny(notes, c.Bob)
	phone := c.SignIn("bob", handlerstest.BobPassword, handlerstest.SafariOnIPhone)
	deny(notes, phone)
	if lines = denials(); len(lines) != 3 || !strings.Contains(lines[1], "host="+notes) || !strings.Contains(lines[2], "session="+phone.ID) {
		t.Errorf("denials in the log: %q", lines)
	}
	c.Clock.Advance(59 * time.Second)
	deny(notes, c.Bob)
	if lines = denials(); len(lines) != 3 {
		t.Errorf("logged again within a minute: %q", lines)
	}
	c.Clock.Advance(time.Second)
	deny(notes, c.Bob)
	deny(notes, c.Bob)
	if lines = denials(); len(lines) != 4 {
		t.Errorf("logged %d times, want once more after a minute: %q", len(lines), lines)
	}
	log := c.Log.String()
	for _, secret := range []string{c.Bob.Token(), phone.Token(), handlerstest.SHA256Hex(c.Bob.Token()), "secret=word"} {
		if strings.Contains(log, secret) {
			t.Errorf("%q is in the log", secret)
		}
	}
	// What was denied was not used.
	if count := c.Only(`SELECT COUNT(*) FROM session_apps`); count != "0" {
		t.Errorf("%s apps are recorded", count)
	}
}

// An auth check that passes is not logged.
func TestForwardDoesNotLogPasses(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	before := c.Log.String()
	for _, e := range endpoints {
		passes(t, e.ask(c.Alice, toNotes), "alice")
	}
	if after := c.Log.String(); after != before {
		t.Errorf("logged: %s", strings.TrimPrefix(after, before))
	}
}
