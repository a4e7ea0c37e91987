package handlers_test

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"porchlight/handlers/handlerstest"
)

// This file tests "Your devices": what the page shows, and what its buttons do, with and without htmx.

// inOrder fails the test unless the texts come in this order.
func inOrder(t testing.TB, a handlerstest.Answer, texts ...string) {
	t.Helper()
	rest := a.Body
	for _, text := range texts {
		_, after, found := strings.Cut(rest, text)
		if !found {
			t.Errorf("%q is missing or out of order", text)
			return
		}
		rest = after
	}
}

// rowOf returns the part of the page that shows one device.
func rowOf(t testing.TB, a handlerstest.Answer, id string) string {
	t.Helper()
	_, rest, found := strings.Cut(a.Body, `id="device-`+id+`"`)
	if !found {
		t.Fatalf("no row of %s", id)
	}
	row, _, _ := strings.Cut(rest, "\n</li>") // lists within the row end within a line
	return row
}

func TestDevicesPage(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	c.Clock.Advance(9 * time.Minute)
	got := c.Alice.Page("/sessions")
	got.Is(t, 200)
	got.Has(t, `<html lang="en">`, "<title>Your devices – Porchlight</title>", `href="#main"`,
		`<div id="status" class="room" role="status"></div>`)
	inOrder(t, got, "<h1>Your devices</h1>", "You're signed in on these devices. Don't recognise one?",
		`<a href="/account/password">change your password</a>`, `id="status"`, `data-now="2026-11-18T10:13:00Z"`, "<h2>This device</h2>",
		"Firefox on Linux</bdi></h3>", "<span>127.0.0.1</span>", "Active now", "Other devices (1)", "Sign out of 1 other device<",
		"Safari on iPhone</bdi></h3>", "<span>127.0.0.1</span>", ">10 minutes ago</time>")
	got.Lacks(t, "Chrome on macOS", c.Bob.ID, "This is your only active session", "Show all", "revoke</", "Revoke")
	mine, other := rowOf(t, got, c.Alice.ID), rowOf(t, got, c.AlicePhone.ID)
	if strings.Contains(mine, "Sign out") || strings.Contains(mine, "hx-delete") {
		t.Errorf("this device has a button: %s", mine)
	}
	for _, want := range []string{
		`hx-delete="/sessions/` + c.AlicePhone.ID + `"`, `<span>Sign out</span>` +
			`<span class="hidden"> Safari on iPhone, 127.0.0.1, signed in <time datetime="2026-11-18T10:03:00Z" data-day>18 Nov</time></span>`,
		`action="/sessions/` + c.AlicePhone.ID + `/revoke"`, `datetime="2026-11-18T10:03:00Z"`, handlerstest.SafariOnIPhone,
	} {
		if !strings.Contains(other, want) {
			t.Errorf("the row lacks %q: %s", want, other)
		}
	}
	if strings.Count(got.Body, "<h1") != 1 || strings.Count(got.Body, `<li class="device"`) != 2 {
		t.Error("want one heading and two rows")
	}
}

func TestDevicesPageWithOneDevice(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	got := c.Bob.Page("/sessions")
	got.Has(t, "This is your only active session. You're not signed in anywhere else.", ">Other devices<")
	got.Lacks(t, "Sign out of", "(0)", "0 other", `data-confirm=`)
}

// An expired session is not shown, whether it has been swept or not.
func TestDevicesPageOmitsEndedSessions(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	c.Exec(`UPDATE sessions SET expires_at = ? WHERE id = ?`, c.Clock.Now().UnixMilli(), c.AlicePhone.ID)
	got := c.Alice.Page("/sessions")
	got.Has(t, "This is your only active session.")
	got.Lacks(t, c.AlicePhone.ID)
}

// addPhone adds a session like that of alice's phone, last active the given number of milliseconds after it.
func addPhone(c *handlerstest.Cast, id string, later int) {
	c.Exec(`INSERT INTO sessions (id, token_hash, user_id, detected_name, device_kind, user_agent, ip, shared,
			created_at, last_active_at, expires_at)
		SELECT ?, randomblob(32), user_id, detected_name, device_kind, user_agent, ip, shared,
			created_at, last_active_at + ?, expires_at
		FROM sessions WHERE id = ?`, id, later, c.AlicePhone.ID)
}

func TestManyDevices(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	newest := ""
	for i := range 36 { // with the phone 37
		addPhone(c, fmt.Sprintf("MANY%022d", i), i+1)
		newest = fmt.Sprintf("MANY%022d", i)
	}
	rows := func(got handlerstest.Answer) int { return strings.Count(got.Body, `<li class="device"`) }
	got := c.Alice.Page("/sessions")
	got.Has(t, "Other devices (37)", "Sign out of all 37 other devices", `href="/sessions?all=1#others">Show all (37)</a>`)
	if rows(got) != 21 {
		t.Errorf("%d rows, want this device and 20", rows(got))
	}
	inOrder(t, got, "device-"+c.Alice.ID, "device-"+newest)
	got.Lacks(t, c.AlicePhone.ID, "Show fewer")

	got = c.Alice.Page("/sessions?all=1")
	got.Has(t, "Other devices (37)", c.AlicePhone.ID, `href="/sessions#others">Show fewer</a>`)
	got.Lacks(t, "Show all")
	if rows(got) != 38 {
		t.Errorf("%d rows, want 38", rows(got))
	}
	// The list stays unfolded when a row is removed.
	fresh := c.Alice.Do("DELETE", "/sessions/"+newest, "", "HX-Request", "true", "HX-Current-URL", c.URL+"/sessions?all=1")
	if rows(fresh) != 37 {
		t.Errorf("%d rows after one was removed, want 37", rows(fresh))
	}
	if fresh = c.Alice.HTMX("GET", "/sessions/list"); rows(fresh) != 21 {
		t.Errorf("%d rows, want 21", rows(fresh))
	}
	// A device that is not among the newest also sees 20 others.
	c.Clock.Advance(time.Second)
	for i := range 36 {
		c.Exec(`UPDATE sessions SET last_active_at = ? WHERE id = ?`, c.Clock.Now().UnixMilli(), fmt.Sprintf("MANY%022d", i))
	}
	got = c.AlicePhone.Page("/sessions")
	got.Has(t, "Other devices (36)")
	if rows(got) != 21 || !strings.Contains(rowOf(t, got, c.AlicePhone.ID), "Active now") {
		t.Errorf("%d rows, want this device and 20", rows(got))
	}
}

func TestListFragment(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	got := c.Alice.HTMX("GET", "/sessions/list")
	got.Is(t, 200)
	got.Lacks(t, "<html", "<h1", `id="status"`)
	if !strings.HasPrefix(strings.TrimSpace(got.Body), `<section id="sessions"`) ||
		!strings.HasPrefix(got.Header.Get("Content-Type"), "text/html") {
		t.Errorf("%s: %.100s", got.Header.Get("Content-Type"), got.Body)
	}
	// The page contains the same section.
	section := strings.TrimSpace(got.Body)
	c.Alice.Page("/sessions").Has(t, section)
}

func TestRevokeByHTMX(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	got := c.Alice.HTMX("DELETE", "/sessions/"+c.AlicePhone.ID)
	got.Is(t, 200)
	got.Has(t, `<section id="sessions"`, "This is your only active session.",
		`<div id="status" hx-swap-oob="innerHTML"><p>`+
			`Signed out Safari on iPhone, 127.0.0.1. Not yours? <a href="/account/password">Change your password</a>.</p>`)
	got.Lacks(t, "<html", c.AlicePhone.ID)
	c.SameRows(t, []string{c.Alice.ID}, `SELECT s.id FROM sessions s JOIN users u ON u.id = s.user_id WHERE username = 'alice'`)
	row := c.Only(`SELECT device_name, ip, done_by, count FROM activity WHERE kind = 'revoked' AND session_id = ?`, c.AlicePhone.ID)
	if row != "Safari on iPhone 127.0.0.1 Firefox on Linux 1" {
		t.Errorf("activity: %s", row)
	}
	c.AlicePhone.Page("/sessions").Is(t, 303, "/login?next=%2Fsessions")
	c.AlicePhone.API("GET", "/me/sessions", "").Is(t, 401)
	c.AlicePhone.HTMX("GET", "/sessions/list").Is(t, 401)

	for range 2 {
		got = c.Alice.HTMX("DELETE", "/sessions/"+c.AlicePhone.ID)
		got.Is(t, 200)
		got.Has(t, "That device was already signed out. The list is up to date.", `<section id="sessions"`)
	}
	if n := c.Only(`SELECT COUNT(*) FROM activity WHERE kind = 'revoked'`); n != "1" {
		t.Errorf("recorded %s times", n)
	}
	log := c.Log.String()
	if !strings.Contains(log, "msg=revoked user=alice session="+c.AlicePhone.ID) || !strings.Contains(log, "by="+c.Alice.ID) {
		t.Errorf("the log does not say who did it: %s", log)
	}
}

func TestRevokeOwn(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	check := c.Unchanged()
	got := c.Alice.HTMX("DELETE", "/sessions/"+c.Alice.ID)
	got.Is(t, 400)
	got.Has(t, `id="status"`, "Sign out at the top of the page instead.")
	got.Lacks(t, "<section")
	c.Alice.Form("/sessions/"+c.Alice.ID+"/revoke", "confirm", "1").Is(t, 400)
	c.Alice.Form("/sessions/"+c.Alice.ID+"/revoke").Is(t, 400)
	check(t)
	c.Alice.Page("/sessions").Is(t, 200)
}

func TestRevokeByForm(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	check := c.Unchanged()
	for _, confirm := range [][]string{nil, {"confirm", ""}, {"confirm", "0"}, {"confirm", "yes"}} {
		got := c.Alice.Form("/sessions/"+c.AlicePhone.ID+"/revoke", confirm...)
		got.Is(t, 200)
		got.Has(t, "<h1>Sign out Safari on iPhone?</h1>", "IP 127.0.0.1", `name="confirm" value="1"`,
			`action="/sessions/`+c.AlicePhone.ID+`/revoke"`, ">Sign out Safari on iPhone</button>", `href="/sessions"`)
	}
	c.Alice.Form("/sessions/"+c.AlicePhone.ID+"/revoke?confirm=1").Is(t, 200) // the query does not count as confirmation
	check(t)
	c.Alice.Form("/sessions/"+c.AlicePhone.ID+"/revoke", "confirm", "1").Is(t, 303, "/sessions?done=revoked")
	if got := c.SessionsOf("alice"); !slices.Equal(got, []string{c.Alice.ID}) {
		t.Errorf("alice's sessions are %q", got)
	}
	c.Alice.Form("/sessions/"+c.AlicePhone.ID+"/revoke", "confirm", "1").Is(t, 303, "/sessions?done=gone")
	c.Alice.Form("/sessions/"+c.AlicePhone.ID+"/revoke").Is(t, 303, "/sessions?done=gone")
	c.Alice.Do("POST", "/sessions/"+c.Bob.ID+"/revoke", `{"confirm":"1"}`, "Content-Type", "application/json",
		"Accept", handlerstest.BrowserAccept).Is(t, 415)
	if len(c.SessionsOf("bob")) != 1 {
		t.Error("bob is signed out")
	}
}

func TestRevokeOthers(t *testing.T) {
	t.Parallel()
	for _, others := range []int{1, 3} {
		for name, send := range map[string]func(*handlerstest.Client) handlerstest.Answer{
			"htmx": func(b *handlerstest.Client) handlerstest.Answer { return b.HTMX("POST", "/sessions/revoke-others") },
			"form": func(b *handlerstest.Client) handlerstest.Answer {
				return b.Form("/sessions/revoke-others", "confirm", "1")
			},
		} {
			words := map[int]string{1: "1 other device", 3: "all 3 other devices"}[others]
			t.Run(name+", "+words, func(t *testing.T) {
				c := handlerstest.OpenCast(t)
				for range others - 1 {
					c.SignIn("alice", handlerstest.AlicePassword, handlerstest.FirefoxOnLinux)
				}
				check := c.Unchanged()
				got := c.Alice.Form("/sessions/revoke-others")
				got.Is(t, 200)
				got.Has(t, "<h1>Sign out of "+words+"?</h1>", `action="/sessions/revoke-others"`, `name="confirm" value="1"`)
				check(t)
				got = send(c.Alice)
				if name == "htmx" {
					got.Is(t, 200)
					got.Has(t, `<section id="sessions"`, "<p>Signed out of "+words+".</p>", "This is your only active session.")
				} else {
					got.Is(t, 303, "/sessions?done=others")
				}
				if got := c.SessionsOf("alice"); !slices.Equal(got, []string{c.Alice.ID}) {
					t.Errorf("alice's sessions are %q, want only hers", got)
				}
				if got := c.SessionsOf("bob"); !slices.Equal(got, []string{c.Bob.ID}) {
					t.Errorf("bob's sessions are %q", got)
				}
				if n := c.Only(`SELECT COUNT(*) FROM activity WHERE kind = 'revoked' AND done_by = 'Firefox on Linux'`); n != fmt.Sprint(others) {
					t.Errorf("%s are recorded", n)
				}
				c.AlicePhone.API("GET", "/me/sessions", "").Is(t, 401)
				c.Alice.API("GET", "/me/sessions", "").Is(t, 200)
				// With no other session left, the message says so.
				got = c.Alice.HTMX("POST", "/sessions/revoke-others")
				got.Is(t, 200)
				got.Has(t, "You were not signed in anywhere else.")
				c.Alice.Form("/sessions/revoke-others").Is(t, 303, "/sessions")
			})
		}
	}
}

// Sessions that have already ended are not counted.
func TestRevokeOthersCountsLiveSessions(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	over := c.SignIn("alice", handlerstest.AlicePassword, handlerstest.FirefoxOnLinux)
	c.Exec(`UPDATE sessions SET expires_at = ? WHERE id = ?`, c.Clock.Now().UnixMilli(), over.ID)
	c.Alice.HTMX("POST", "/sessions/revoke-others").Has(t, "Signed out of 1 other device.")
}

// A page chooses its message by a fixed code, and never shows text from the address.
func TestDoneCodes(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	for code, message := range map[string]string{
		"revoked": "Signed out that device.", "gone": "That device was already signed out. The list is up to date.",
		"others": "Signed out of your other devices.", "named": "The name was changed.",
	} {
		got := c.Alice.Page("/sessions?done=" + code)
		shown := message
		if code == "revoked" {
			shown += ` Not yours? <a href="/account/password">Change your password</a>.`
		}
		got.Has(t, `role="status"><p>`+shown+"</p>", "<title>"+message+" – Your devices – Porchlight</title>")
	}
	plain := c.Alice.Page("/sessions").Body
	for _, code := range []string{
		"unknown", "", "Revoked", "revoked%20", "%3Cimg%3E", "Your+account+is+locked", "revoked&done=x&x=y", "gone%00",
	} {
		got := c.Alice.Page("/sessions?done=" + code)
		if strings.HasPrefix(code, "revoked&") {
			continue // two codes, both with a fixed text
		}
		if got.Body != plain {
			t.Errorf("done=%s changes the page", code)
		}
	}
	c.Alice.Page("/account?done=password").Has(t, "Your password was changed.")
	c.Alice.Page("/account?done=evil").Lacks(t, "evil")
}

// Refreshing the list does not count as activity; everything else does.
func TestWhatCountsAsActivity(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	lastActive := func(id string) string {
		t.Helper()
		if err := c.Store.Flush(context.Background()); err != nil {
			t.Fatal(err)
		}
		return c.Only(`SELECT last_active_at || ' ' || expires_at FROM sessions WHERE id = ?`, id)
	}
	for path, counts := range map[string]bool{
		"/sessions/list": false, "/sessions/list?all=1": false,
		"/sessions": true, "/account": true, "/me/sessions": true, "/me/sessions/current": true, "/nowhere": true, "/me/nowhere": true, "/": true,
		"/login": false, "/logout": false, "/public/app.css": false, "/healthz": false,
	} {
		t.Run(path, func(t *testing.T) {
			c.Clock.Advance(2 * time.Minute)
			before := lastActive(c.Alice.ID)
			c.Alice.Page(path)
			want := before
			if counts {
				want = fmt.Sprint(c.Clock.Now().UnixMilli(), c.Clock.Now().Add(14*24*time.Hour).UnixMilli())
			}
			if after := lastActive(c.Alice.ID); after != want {
				t.Errorf("last active and expires: %s, want %s (before %s)", after, want, before)
			}
		})
	}
	t.Run("refused by another site", func(t *testing.T) {
		c.Clock.Advance(2 * time.Minute)
		before := lastActive(c.Alice.ID)
		c.Alice.Do("POST", "/sessions/revoke-others", "", "Sec-Fetch-Site", "cross-site").Is(t, 403)
		if after := lastActive(c.Alice.ID); after != before {
			t.Error("a request from another site keeps the session alive")
		}
	})
	t.Run("an idle page that refreshes itself ends all the same", func(t *testing.T) {
		for range 15 {
			c.Clock.Advance(24 * time.Hour)
			c.AlicePhone.HTMX("GET", "/sessions/list")
			if err := c.Store.Flush(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		c.AlicePhone.HTMX("GET", "/sessions/list").Is(t, 401)
	})
}

// A session ends after its lifetime even if it is in use, and the page says when.
func TestSessionEndsAfterItsLifetime(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	c.Alice.Page("/sessions").Has(t, "18 Dec 2026, 10:02 UTC</time> at the latest")
	for range 29 {
		c.Clock.Advance(24 * time.Hour)
		c.Alice.Page("/sessions").Is(t, 200)
		if err := c.Store.Flush(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	c.Clock.Advance(24*time.Hour - 3*time.Minute)
	c.Alice.Page("/sessions").Is(t, 200)
	c.Clock.Advance(time.Minute)
	c.Alice.Page("/sessions").Is(t, 303)
}

func TestDevicesPageIsAccessible(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	body := c.Alice.Page("/sessions").Body
	for _, input := range regexp.MustCompile(`<input[^>]*id="([^"]*)"`).FindAllStringSubmatch(body, -1) {
		if !strings.Contains(body, `<label for="`+input[1]+`"`) {
			t.Errorf("%s has no label", input[1])
		}
	}
	ids := map[string]bool{}
	for _, match := range regexp.MustCompile(`\sid="([^"]*)"`).FindAllStringSubmatch(body, -1) {
		if ids[match[1]] {
			t.Errorf("the id %s is repeated", match[1])
		}
		ids[match[1]] = true
	}
}
