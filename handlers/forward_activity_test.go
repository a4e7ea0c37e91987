package handlers_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// This file tests what an auth check records: when the session was last active, which app it was used for, and the log. Without a
// session it records nothing.

// usedFor are the rows of what a session was used for, last used first.
const usedFor = `SELECT host || ' ' || last_used_at FROM session_apps WHERE session_id = ? ORDER BY last_used_at DESC, host`

func (h *house) lastActive(id string) string {
	h.t.Helper()
	h.flush()
	return h.only(`SELECT last_active_at || ' ' || expires_at FROM sessions WHERE id = ?`, id)
}

// Somebody who looks at an app, or changes something there, is active; a page that asks for news by itself is not, or a browser
// that was left open would never fall idle.
func TestForwardWhatCountsAsActivity(t *testing.T) {
	t.Parallel()
	c := openCast(t, behindProxy)
	mode := func(mode string) []string { return []string{"Sec-Fetch-Mode", mode} }
	for name, test := range map[string]struct {
		asked   asked
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
		"an old browser":              {toNotes, []string{"Accept", browserAccept}, true},
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
		c.allow("secret.example.com", "alice")
		for _, e := range endpoints {
			t.Run(e.path+" "+name, func(t *testing.T) {
				c.clock.Advance(2 * time.Minute)
				before := c.lastActive(c.bob.id)
				e.ask(c.bob, test.asked, test.headers...)
				want := before
				if test.counts {
					want = fmt.Sprint(c.clock.Now().UnixMilli(), c.clock.Now().Add(14*24*time.Hour).UnixMilli())
				}
				if after := c.lastActive(c.bob.id); after != want {
					t.Errorf("last active and the end: %s, want %s (before %s)", after, want, before)
				}
			})
		}
	}
	t.Run("an app that asks for news all the time ends all the same", func(t *testing.T) {
		for range 13 {
			c.clock.Advance(24 * time.Hour)
			forward.ask(c.alicePhone, toNotes, fetching...).passes(t, "alice")
			c.flush()
		}
		c.clock.Advance(24 * time.Hour)
		forward.ask(c.alicePhone, toNotes, fetching...).stops(t, 401, "")
	})
}

// Every pass notes the app, whether it counts as activity or not.
func TestForwardNotesTheApp(t *testing.T) {
	t.Parallel()
	c := openCast(t, behindProxy)
	c.allow("secret.example.com", "alice")
	at := func() string { return fmt.Sprint(c.clock.Now().UnixMilli()) }
	first := at()
	forward.ask(c.bob, toNotes, fetching...).passes(t, "bob")
	c.clock.Advance(time.Second)
	nginx.ask(c.bob, toNotes.of("photos.example.com").as("wss"), "Sec-Fetch-Mode", "websocket").passes(t, "bob")
	want := []string{"photos.example.com " + at(), notes + " " + first}
	c.flush()
	c.sameRows(t, want, usedFor, c.bob.id)

	t.Run("only the host, in one form", func(t *testing.T) {
		c.clock.Advance(2 * time.Minute)
		for _, host := range []string{"NOTES.example.com", "notes.example.com.", "notes.example.com:8443", "Notes.Example.Com.:1"} {
			forward.ask(c.bob, toNotes.of(host).at("/secret?token=x")).passes(t, "bob")
		}
		c.flush()
		want = []string{notes + " " + at(), want[0]}
		c.sameRows(t, want, usedFor, c.bob.id)
	})
	t.Run("not what was refused", func(t *testing.T) {
		c.clock.Advance(2 * time.Minute)
		for _, e := range endpoints {
			e.ask(c.bob, toNotes.of("secret.example.com"), navigating...).stops(t, 403, "")
			e.ask(c.bob, toNotes.of("evil.test")).stops(t, 403, "")
			e.ask(c.bob, toNotes.by("G T")).stops(t, 403, "")
			e.ask(c.bob, toNotes.as("ftp")).stops(t, 403, "")
			e.ask(c.newClient(firefoxOnLinux), toNotes).stops(t, 401, "")
		}
		c.flush()
		c.sameRows(t, want, usedFor, c.bob.id)
	})
	t.Run("of that session alone", func(t *testing.T) {
		c.sameRows(t, []string{c.bob.id}, `SELECT DISTINCT session_id FROM session_apps`)
		forward.ask(c.alicePhone, toNotes).passes(t, "alice")
		c.flush()
		c.sameRows(t, nil, usedFor, c.alice.id)
		c.sameRows(t, []string{notes + " " + at()}, usedFor, c.alicePhone.id)
	})
	t.Run("of the session that may", func(t *testing.T) {
		forward.ask(c.newClient(firefoxOnLinux), toNotes.of("secret.example.com"), "Cookie",
			withCookie("ABCDEFGHIJKLMNOPQRSTUVWXYZ", c.alice.token())).passes(t, "alice")
		c.flush()
		c.sameRows(t, want, usedFor, c.bob.id)
		c.sameRows(t, []string{"secret.example.com " + at()}, usedFor, c.alice.id)
	})
	t.Run("gone with the session", func(t *testing.T) {
		forward.ask(c.bob, toNotes.of("late.example.com")).passes(t, "bob") // noted, and not yet written
		c.bob.form("/logout").is(t, 303)
		c.sameRows(t, nil, usedFor, c.bob.id)
		c.flush()
		c.sameRows(t, nil, usedFor, c.bob.id)
		c.alice.api("DELETE", "/me/sessions/"+c.alicePhone.id, "").is(t, 200)
		c.flush()
		c.sameRows(t, []string{c.alice.id}, `SELECT DISTINCT session_id FROM session_apps`)
	})
}

// What is asked again and again is written once a minute.
func TestForwardNotesTheAppOnceAMinute(t *testing.T) {
	t.Parallel()
	c := openCast(t, behindProxy)
	ask := func() {
		t.Helper()
		forward.ask(c.alice, toNotes, fetching...).passes(t, "alice")
		c.flush()
	}
	first := fmt.Sprint(c.clock.Now().UnixMilli())
	ask()
	for range 3 {
		c.clock.Advance(19 * time.Second)
		ask()
		c.sameRows(t, []string{notes + " " + first}, usedFor, c.alice.id)
	}
	c.clock.Advance(3 * time.Second)
	ask()
	c.sameRows(t, []string{notes + " " + fmt.Sprint(c.clock.Now().UnixMilli())}, usedFor, c.alice.id)
	// Another app of the same minute is noted all the same, and activity is throttled by itself.
	c.clock.Advance(time.Second)
	forward.ask(c.alice, toNotes.of("photos.example.com"), navigating...).passes(t, "alice")
	c.flush()
	at := c.clock.Now().UnixMilli()
	c.sameRows(t, []string{fmt.Sprint("photos.example.com ", at), fmt.Sprint(notes, " ", at-1000)}, usedFor, c.alice.id)
	c.sameRows(t, []string{fmt.Sprint(at)}, `SELECT last_active_at FROM sessions WHERE id = ?`, c.alice.id)
	c.clock.Advance(30 * time.Second)
	forward.ask(c.alice, toNotes.of("photos.example.com"), navigating...).passes(t, "alice")
	c.flush()
	c.sameRows(t, []string{fmt.Sprint(at)}, `SELECT last_active_at FROM sessions WHERE id = ?`, c.alice.id)
}

// With a wildcard in the DNS, clients can invent hosts, so only the apps that a session used last are stored.
func TestForwardKeepsTheAppsUsedLast(t *testing.T) {
	t.Parallel()
	c := openCast(t, behindProxy)
	want := []string{}
	for i := range 120 {
		c.clock.Advance(time.Second)
		host := fmt.Sprintf("app-%03d.example.com", i)
		forward.ask(c.alice, toNotes.of(host)).passes(t, "alice")
		want = append([]string{fmt.Sprint(host, " ", c.clock.Now().UnixMilli())}, want...)
		if i%10 == 0 {
			c.flush()
		}
	}
	c.flush()
	c.sameRows(t, want[:50], usedFor, c.alice.id)
	// What is used again is not the oldest any more.
	c.clock.Advance(2 * time.Minute)
	forward.ask(c.alice, toNotes.of("app-070.example.com")).passes(t, "alice")
	c.flush()
	c.clock.Advance(time.Second)
	forward.ask(c.alice, toNotes).passes(t, "alice")
	c.flush()
	rows := c.rows(usedFor, c.alice.id)
	if len(rows) != 50 || !strings.HasPrefix(rows[0], notes+" ") || !strings.HasPrefix(rows[1], "app-070.example.com ") ||
		!strings.HasPrefix(rows[49], "app-072.example.com ") {
		t.Errorf("%d rows: %q", len(rows), rows)
	}
	// Between two flushes no more than that are noted, however many there are.
	for i := range 300 {
		forward.ask(c.alicePhone, toNotes.of(fmt.Sprintf("made-up-%d.example.com", i))).passes(t, "alice")
	}
	c.flush()
	if count := c.only(`SELECT COUNT(*) FROM session_apps WHERE session_id = ?`, c.alicePhone.id); count != "50" {
		t.Errorf("%s rows, want 50", count)
	}
}

// Anybody can ask a proxy for anything: that must cost nothing that stays.
func TestForwardWithoutASessionLeavesNoTrace(t *testing.T) {
	t.Parallel()
	c := openCast(t, behindProxy)
	ended := c.signIn("alice", alicePassword, firefoxOnLinux)
	dead := ended.token()
	c.alice.api("DELETE", "/me/sessions/"+ended.id, "").is(t, 200)
	c.allow("secret.example.com")
	stranger := c.newClient(firefoxOnLinux)
	for _, e := range endpoints { // mistakes of a proxy are told once a minute, and the clock stands still
		stranger.do("GET", e.path, "")
		e.ask(stranger, toNotes.by("G T"))
		e.ask(stranger, toNotes.at("x"))
	}
	check := c.noTrace()
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
	for i := range 1000 {
		token := strings.Repeat(string(letters[i%32]), 13) + strings.Repeat(string(letters[i/32]), 13)
		for _, question := range []asked{
			toNotes.of(fmt.Sprintf("made-up-%d.example.com", i)).at(fmt.Sprintf("/%d?x=%d", i, i)),
			toNotes.of(fmt.Sprintf("evil-%d.test", i)),
		} {
			headers := [][]string{navigating, fetching, {"Cookie", withCookie(token)}, nil}[i%4]
			if got := endpoints[i/4%2].ask(stranger, question, headers...); got.status == 200 || got.status >= 500 {
				t.Fatalf("%v: %d", question, got.status)
			}
		}
	}
	for _, e := range endpoints {
		for _, cookie := range []string{withCookie("garbage"), withCookie(dead), withCookie("", dead, "\xff"), "a=b"} {
			for _, question := range []asked{toNotes, toNotes.by("POST"), toNotes.by("G T"), toNotes.of("secret.example.com"),
				toNotes.of("evil.test"), toNotes.as("wss"), toNotes.at("x")} {
				e.ask(stranger, question, append([]string{"Cookie", cookie}, navigating...)...)
			}
			stranger.do("GET", e.path, "", "Cookie", cookie)
			stranger.do("POST", e.path+"/x", "", "Cookie", cookie)
		}
	}
	check(t)
}

// Who is signed in and asks for what is not theirs is told of, though not with every picture on the page.
func TestForwardLogsDenials(t *testing.T) {
	t.Parallel()
	c := openCast(t, behindProxy)
	c.allow("secret.example.com", "alice")
	c.allow(notes, "alice")
	denials := func() []string { return regexp.MustCompile(`.*msg=denied.*`).FindAllString(c.log.String(), -1) }
	const address = "198.51.100.7"
	deny := func(host string, who *client) {
		t.Helper()
		for _, e := range endpoints {
			for _, headers := range [][]string{navigating, fetching} {
				e.ask(who, toNotes.of(host).at("/path?secret=word"),
					append([]string{"X-Forwarded-For", "1.2.3.4, " + address}, headers...)...).stops(t, 403, "")
			}
		}
	}
	deny("secret.example.com", c.bob)
	deny("Secret.Example.com.:8443", c.bob)
	told := denials()
	if len(told) != 1 {
		t.Fatalf("told %d times: %q", len(told), told)
	}
	for _, part := range []string{"level=WARN", "user=bob", "session=" + c.bob.id, "host=secret.example.com", "ip=" + address} {
		if !slices.Contains(strings.Fields(told[0]), part) {
			t.Errorf("%q lacks %s", told[0], part)
		}
	}
	// Another host, and another session, are something else.
	deny(notes, c.bob)
	phone := c.signIn("bob", bobPassword, safariOnIPhone)
	deny(notes, phone)
	if told = denials(); len(told) != 3 || !strings.Contains(told[1], "host="+notes) || !strings.Contains(told[2], "session="+phone.id) {
		t.Errorf("told: %q", told)
	}
	c.clock.Advance(59 * time.Second)
	deny(notes, c.bob)
	if told = denials(); len(told) != 3 {
		t.Errorf("told again within a minute: %q", told)
	}
	c.clock.Advance(time.Second)
	deny(notes, c.bob)
	deny(notes, c.bob)
	if told = denials(); len(told) != 4 {
		t.Errorf("told %d times, want once more after a minute: %q", len(told), told)
	}
	log := c.log.String()
	for _, secret := range []string{c.bob.token(), phone.token(), sha256Hex(c.bob.token()), "secret=word"} {
		if strings.Contains(log, secret) {
			t.Errorf("%q is in the log", secret)
		}
	}
	// What was denied was not used.
	if count := c.only(`SELECT COUNT(*) FROM session_apps`); count != "0" {
		t.Errorf("%s apps are noted", count)
	}
}

// An auth check that passes is not logged.
func TestForwardDoesNotLogPasses(t *testing.T) {
	t.Parallel()
	c := openCast(t, behindProxy)
	before := c.log.String()
	for _, e := range endpoints {
		e.ask(c.alice, toNotes).passes(t, "alice")
	}
	if after := c.log.String(); after != before {
		t.Errorf("told: %s", strings.TrimPrefix(after, before))
	}
}
