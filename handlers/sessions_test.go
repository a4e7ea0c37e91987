package handlers_test

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// This file owns "Your devices": what the page shows, and what its buttons do, with and without htmx.

// inOrder fails the test unless the texts come in this order.
func (a answer) inOrder(t testing.TB, texts ...string) {
	t.Helper()
	rest := a.body
	for _, text := range texts {
		_, after, found := strings.Cut(rest, text)
		if !found {
			t.Errorf("%q is missing, or not after the texts before it", text)
			return
		}
		rest = after
	}
}

// row is the piece of the page that shows one device.
func (a answer) row(t testing.TB, id string) string {
	t.Helper()
	_, rest, found := strings.Cut(a.body, `id="device-`+id+`"`)
	if !found {
		t.Fatalf("no row of %s", id)
	}
	row, _, _ := strings.Cut(rest, "\n</li>") // lists within the row end within a line
	return row
}

func TestDevicesPage(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.clock.Advance(9 * time.Minute)
	got := c.alice.page("/sessions")
	got.is(t, 200)
	got.has(t, `<html lang="en">`, "<title>Your devices – Porchlight</title>", `<div id="status" role="status"></div>`, `href="#main"`)
	got.inOrder(t, "<h1>Your devices</h1>", "You are signed in on these devices.", `<a href="/account">change your password</a>`, `id="status"`,
		"<h2>This device</h2>", "Firefox on Linux", "Active now", "IP 127.0.0.1", "Signed in", "18 Nov 2026",
		"Other devices (1)", "Sign out of 1 other device<", "Safari on iPhone", "Last active", "10 minutes ago")
	got.lacks(t, "Chrome on macOS", c.bob.id, "This is your only active session", "Show all", "revoke</", "Revoke")
	mine, other := got.row(t, c.alice.id), got.row(t, c.alicePhone.id)
	if strings.Contains(mine, "Sign out") || strings.Contains(mine, "hx-delete") {
		t.Errorf("this device has a button: %s", mine)
	}
	for _, want := range []string{`hx-delete="/sessions/` + c.alicePhone.id + `"`, `<span>Sign out</span><span class="hidden"> Safari on iPhone, 127.0.0.1</span>`,
		`action="/sessions/` + c.alicePhone.id + `/revoke"`, `datetime="2026-11-18T10:03:00Z"`, safariOnIPhone} {
		if !strings.Contains(other, want) {
			t.Errorf("the row lacks %q: %s", want, other)
		}
	}
	if strings.Count(got.body, "<h1") != 1 || strings.Count(got.body, `<li class="device"`) != 2 {
		t.Error("one heading and two rows were expected")
	}
}

func TestDevicesPageAlone(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	got := c.bob.page("/sessions")
	got.has(t, "This is your only active session. You are not signed in anywhere else.", ">Other devices<")
	got.lacks(t, "Sign out of", "(0)", "0 other", `data-confirm=`)
}

// An expired session is no device any more, whether it has been swept or not.
func TestDevicesPageLeavesOutWhatIsOver(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.exec(`UPDATE sessions SET expires_at = ? WHERE id = ?`, c.clock.Now().UnixMilli(), c.alicePhone.id)
	got := c.alice.page("/sessions")
	got.has(t, "This is your only active session.")
	got.lacks(t, c.alicePhone.id)
}

func TestManyDevices(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	newest := ""
	for i := range 36 { // with the phone 37
		c.exec(`INSERT INTO sessions (id, token_hash, user_id, device_name, device_kind, user_agent, ip, shared, created_at, last_active_at, expires_at)
			SELECT ?, randomblob(32), user_id, device_name, device_kind, user_agent, ip, 0, created_at, last_active_at + ?, expires_at FROM sessions WHERE id = ?`,
			fmt.Sprintf("MANY%022d", i), i+1, c.alicePhone.id)
		newest = fmt.Sprintf("MANY%022d", i)
	}
	rows := func(got answer) int { return strings.Count(got.body, `<li class="device"`) }
	got := c.alice.page("/sessions")
	got.has(t, "Other devices (37)", "Sign out of 37 other devices", `href="/sessions?all=1#others">Show all (37)</a>`)
	if rows(got) != 21 {
		t.Errorf("%d rows, want this device and 20", rows(got))
	}
	got.inOrder(t, "device-"+c.alice.id, "device-"+newest)
	got.lacks(t, c.alicePhone.id)

	got = c.alice.page("/sessions?all=1")
	got.has(t, "Other devices (37)", c.alicePhone.id)
	got.lacks(t, "Show all")
	if rows(got) != 38 {
		t.Errorf("%d rows, want 38", rows(got))
	}
	// What was unfolded stays unfolded when a row goes.
	fresh := c.alice.do("DELETE", "/sessions/"+newest, "", "HX-Request", "true", "HX-Current-URL", c.url+"/sessions?all=1")
	if rows(fresh) != 37 {
		t.Errorf("%d rows after one went, want 37", rows(fresh))
	}
	if fresh = c.alice.htmx("GET", "/sessions/list"); rows(fresh) != 21 {
		t.Errorf("%d rows, want 21", rows(fresh))
	}
	// From a device that is not among the newest, too.
	c.clock.Advance(time.Second)
	for i := range 36 {
		c.exec(`UPDATE sessions SET last_active_at = ? WHERE id = ?`, c.clock.Now().UnixMilli(), fmt.Sprintf("MANY%022d", i))
	}
	got = c.alicePhone.page("/sessions")
	got.has(t, "Other devices (36)")
	if rows(got) != 21 || !strings.Contains(got.row(t, c.alicePhone.id), "Active now") {
		t.Errorf("%d rows, want this device and 20", rows(got))
	}
}

func TestListAlone(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	got := c.alice.htmx("GET", "/sessions/list")
	got.is(t, 200)
	got.lacks(t, "<html", "<h1", `id="status"`)
	if !strings.HasPrefix(strings.TrimSpace(got.body), `<section id="sessions"`) || !strings.HasPrefix(got.header.Get("Content-Type"), "text/html") {
		t.Errorf("%s: %.100s", got.header.Get("Content-Type"), got.body)
	}
	// The page holds the very same section.
	section := strings.TrimSpace(got.body)
	c.alice.page("/sessions").has(t, section)
}

func TestRevokeByHTMX(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	got := c.alice.htmx("DELETE", "/sessions/"+c.alicePhone.id)
	got.is(t, 200)
	got.has(t, `<section id="sessions"`, "This is your only active session.", `<div id="status" hx-swap-oob="innerHTML">Signed out Safari on iPhone, 127.0.0.1.</div>`)
	got.lacks(t, "<html", c.alicePhone.id)
	c.sameRows(t, []string{c.alice.id}, `SELECT s.id FROM sessions s JOIN users u ON u.id = s.user_id WHERE username = 'alice'`)
	if row := c.only(`SELECT device_name, ip, done_by, count FROM activity WHERE kind = 'revoked' AND session_id = ?`, c.alicePhone.id); row != "Safari on iPhone 127.0.0.1 Firefox on Linux 1" {
		t.Errorf("activity: %s", row)
	}
	c.alicePhone.page("/sessions").is(t, 303, "/login?next=%2Fsessions")
	c.alicePhone.api("GET", "/me/sessions", "").is(t, 401)
	c.alicePhone.htmx("GET", "/sessions/list").is(t, 401)

	for range 2 {
		got = c.alice.htmx("DELETE", "/sessions/"+c.alicePhone.id)
		got.is(t, 200)
		got.has(t, "That device was already signed out. The list is up to date.", `<section id="sessions"`)
	}
	if n := c.only(`SELECT COUNT(*) FROM activity WHERE kind = 'revoked'`); n != "1" {
		t.Errorf("recorded %s times", n)
	}
	if log := c.log.String(); !strings.Contains(log, "msg=revoked user=alice session="+c.alicePhone.id) || !strings.Contains(log, "by="+c.alice.id) {
		t.Errorf("the log does not tell who did it: %s", log)
	}
}

func TestRevokeOwn(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	check := c.unchanged()
	got := c.alice.htmx("DELETE", "/sessions/"+c.alice.id)
	got.is(t, 400)
	got.has(t, `id="status"`, "Sign out at the top of the page instead.")
	got.lacks(t, "<section")
	c.alice.form("/sessions/"+c.alice.id+"/revoke", "confirm", "1").is(t, 400)
	c.alice.form("/sessions/"+c.alice.id+"/revoke").is(t, 400)
	check(t)
	c.alice.page("/sessions").is(t, 200)
}

func TestRevokeByForm(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	check := c.unchanged()
	for _, confirm := range [][]string{nil, {"confirm", ""}, {"confirm", "0"}, {"confirm", "yes"}} {
		got := c.alice.form("/sessions/"+c.alicePhone.id+"/revoke", confirm...)
		got.is(t, 200)
		got.has(t, "<h1>Sign out Safari on iPhone?</h1>", "IP 127.0.0.1", `name="confirm" value="1"`, `action="/sessions/`+c.alicePhone.id+`/revoke"`, ">Sign out Safari on iPhone</button>", `href="/sessions"`)
	}
	c.alice.form("/sessions/"+c.alicePhone.id+"/revoke?confirm=1").is(t, 200) // an address is no answer
	check(t)
	c.alice.form("/sessions/"+c.alicePhone.id+"/revoke", "confirm", "1").is(t, 303, "/sessions?done=revoked")
	if got := c.sessionsOf("alice"); !slices.Equal(got, []string{c.alice.id}) {
		t.Errorf("alice's sessions are %q", got)
	}
	c.alice.form("/sessions/"+c.alicePhone.id+"/revoke", "confirm", "1").is(t, 303, "/sessions?done=gone")
	c.alice.form("/sessions/"+c.alicePhone.id+"/revoke").is(t, 303, "/sessions?done=gone")
	c.alice.do("POST", "/sessions/"+c.bob.id+"/revoke", `{"confirm":"1"}`, "Content-Type", "application/json", "Accept", browserAccept).is(t, 415)
	if len(c.sessionsOf("bob")) != 1 {
		t.Error("bob is signed out")
	}
}

func TestRevokeOthers(t *testing.T) {
	t.Parallel()
	for _, others := range []int{1, 3} {
		for name, send := range map[string]func(*client) answer{
			"htmx": func(b *client) answer { return b.htmx("POST", "/sessions/revoke-others") },
			"form": func(b *client) answer { return b.form("/sessions/revoke-others", "confirm", "1") },
		} {
			words := map[int]string{1: "1 other device", 3: "3 other devices"}[others]
			t.Run(name+", "+words, func(t *testing.T) {
				c := openCast(t)
				for range others - 1 {
					c.signIn("alice", alicePassword, firefoxOnLinux)
				}
				check := c.unchanged()
				got := c.alice.form("/sessions/revoke-others")
				got.is(t, 200)
				got.has(t, "<h1>Sign out of "+words+"?</h1>", `action="/sessions/revoke-others"`, `name="confirm" value="1"`)
				check(t)
				got = send(c.alice)
				if name == "htmx" {
					got.is(t, 200)
					got.has(t, `<section id="sessions"`, "Signed out of "+words+".</div>", "This is your only active session.")
				} else {
					got.is(t, 303, "/sessions?done=others")
				}
				if got := c.sessionsOf("alice"); !slices.Equal(got, []string{c.alice.id}) {
					t.Errorf("alice's sessions are %q, want hers alone", got)
				}
				if got := c.sessionsOf("bob"); !slices.Equal(got, []string{c.bob.id}) {
					t.Errorf("bob's sessions are %q", got)
				}
				if n := c.only(`SELECT COUNT(*) FROM activity WHERE kind = 'revoked' AND done_by = 'Firefox on Linux'`); n != fmt.Sprint(others) {
					t.Errorf("%s are recorded", n)
				}
				c.alicePhone.api("GET", "/me/sessions", "").is(t, 401)
				c.alice.api("GET", "/me/sessions", "").is(t, 200)
				// With nobody left it says so, and breaks nothing.
				got = c.alice.htmx("POST", "/sessions/revoke-others")
				got.is(t, 200)
				got.has(t, "You were not signed in anywhere else.")
				c.alice.form("/sessions/revoke-others").is(t, 303, "/sessions")
			})
		}
	}
}

// Sessions that are over already are not counted.
func TestRevokeOthersCountsTheLiving(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	over := c.signIn("alice", alicePassword, firefoxOnLinux)
	c.exec(`UPDATE sessions SET expires_at = ? WHERE id = ?`, c.clock.Now().UnixMilli(), over.id)
	c.alice.htmx("POST", "/sessions/revoke-others").has(t, "Signed out of 1 other device.")
}

// A page chooses its message by a fixed code, and never shows text from the address.
func TestDoneCodes(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	for code, message := range map[string]string{
		"revoked": "Signed out that device.", "gone": "That device was already signed out. The list is up to date.",
		"others": "Signed out of your other devices.", "named": "The name was changed.",
	} {
		got := c.alice.page("/sessions?done=" + code)
		got.has(t, `<div id="status" role="status">`+message+`</div>`, "<title>"+message+" – Your devices – Porchlight</title>")
	}
	plain := c.alice.page("/sessions").body
	for _, code := range []string{"unknown", "", "Revoked", "revoked%20", "%3Cimg%3E", "Your+account+is+locked", "revoked&done=x&x=y", "gone%00"} {
		got := c.alice.page("/sessions?done=" + code)
		if strings.HasPrefix(code, "revoked&") {
			continue // two codes: either is fixed text
		}
		if got.body != plain {
			t.Errorf("done=%s changes the page", code)
		}
	}
	c.alice.page("/account?done=password").has(t, "Your password was changed.")
	c.alice.page("/account?done=evil").lacks(t, "evil")
}

// Refreshing the list is not using the session; everything else is.
func TestWhatCountsAsActivity(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	lastActive := func(id string) string {
		t.Helper()
		if err := c.store.Flush(context.Background()); err != nil {
			t.Fatal(err)
		}
		return c.only(`SELECT last_active_at || ' ' || expires_at FROM sessions WHERE id = ?`, id)
	}
	for path, counts := range map[string]bool{
		"/sessions/list": false, "/sessions/list?all=1": false,
		"/sessions": true, "/account": true, "/me/sessions": true, "/me/sessions/current": true, "/nowhere": true, "/me/nowhere": true, "/": true,
		"/login": false, "/logout": false, "/public/app.css": false, "/healthz": false,
	} {
		t.Run(path, func(t *testing.T) {
			c.clock.Advance(2 * time.Minute)
			before := lastActive(c.alice.id)
			c.alice.page(path)
			want := before
			if counts {
				want = fmt.Sprint(c.clock.Now().UnixMilli(), c.clock.Now().Add(14*24*time.Hour).UnixMilli())
			}
			if after := lastActive(c.alice.id); after != want {
				t.Errorf("last active and the end: %s, want %s (before %s)", after, want, before)
			}
		})
	}
	t.Run("refused by another site", func(t *testing.T) {
		c.clock.Advance(2 * time.Minute)
		before := lastActive(c.alice.id)
		c.alice.do("POST", "/sessions/revoke-others", "", "Sec-Fetch-Site", "cross-site").is(t, 403)
		if after := lastActive(c.alice.id); after != before {
			t.Error("another site keeps the session alive")
		}
	})
	t.Run("an idle page that refreshes itself ends all the same", func(t *testing.T) {
		for range 15 {
			c.clock.Advance(24 * time.Hour)
			c.alicePhone.htmx("GET", "/sessions/list")
			if err := c.store.Flush(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		c.alicePhone.htmx("GET", "/sessions/list").is(t, 401)
	})
}

// However busy, a session ends after its lifetime; the page says when.
func TestSessionEndsAfterItsLifetime(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.alice.page("/sessions").has(t, "18 Dec 2026, 10:02 UTC</time> at the latest")
	for range 29 {
		c.clock.Advance(24 * time.Hour)
		c.alice.page("/sessions").is(t, 200)
		if err := c.store.Flush(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	c.clock.Advance(24*time.Hour - 3*time.Minute)
	c.alice.page("/sessions").is(t, 200)
	c.clock.Advance(time.Minute)
	c.alice.page("/sessions").is(t, 303)
}

func TestDevicesPageIsAccessible(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	body := c.alice.page("/sessions").body
	for _, input := range regexp.MustCompile(`<input[^>]*id="([^"]*)"`).FindAllStringSubmatch(body, -1) {
		if !strings.Contains(body, `<label for="`+input[1]+`"`) {
			t.Errorf("%s has no label", input[1])
		}
	}
	ids := map[string]bool{}
	for _, match := range regexp.MustCompile(`\sid="([^"]*)"`).FindAllStringSubmatch(body, -1) {
		if ids[match[1]] {
			t.Errorf("the id %s is there twice", match[1])
		}
		ids[match[1]] = true
	}
}
