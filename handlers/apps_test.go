package handlers_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"
)

// This file owns what a device was used for, as the device list, the API and the export show it.

// use lets a session through to an app, and writes that down.
func (c *cast) use(who *client, hosts ...string) {
	c.t.Helper()
	for _, host := range hosts {
		forward.ask(who, toNotes.of(host), fetching...).is(c.t, 200)
	}
	c.flush()
}

// usedLine is the line of a row that names the apps, as somebody reads it; "" where there is none.
func usedLine(t testing.TB, row string) string {
	t.Helper()
	found := regexp.MustCompile(`(?s)<p class="apps">(.*?)</p>`).FindStringSubmatch(row)
	if found == nil {
		return ""
	}
	return strings.Join(strings.Fields(markup.ReplaceAllString(found[1], "")), " ")
}

var markup = regexp.MustCompile(`<[^>]*>`)

func TestDeviceListNamesTheApps(t *testing.T) {
	t.Parallel()
	c := openCast(t, behindProxy)
	got := c.alice.page("/sessions")
	got.lacks(t, "Used for")
	c.use(c.alicePhone, "photos.example.com")
	c.clock.Advance(26 * time.Hour)
	c.use(c.alicePhone, notes)
	c.clock.Advance(2 * time.Minute)

	got = c.alice.page("/sessions")
	if line := usedLine(t, got.row(t, c.alicePhone.id)); line != "Used for notes.example.com (2 minutes ago), photos.example.com (yesterday)" {
		t.Errorf("the phone: %q", line)
	}
	if row := got.row(t, c.alice.id); strings.Contains(row, "Used for") {
		t.Errorf("this device was used for nothing: %s", row)
	}
	row := got.row(t, c.alicePhone.id)
	for _, want := range []string{
		`<time datetime="2026-11-19T12:04:00Z" title="19 Nov 2026, 12:04 UTC">2 minutes ago</time>`, `<time datetime="2026-11-18T10:04:00Z" title="18 Nov 2026, 10:04 UTC">yesterday</time>`,
		`<dt>Used for</dt>`, `<li>notes.example.com <span class="hint">on <time datetime="2026-11-19T12:04:00Z" data-exact>19 Nov 2026, 12:04 UTC</time></span></li><li>photos.example.com <span class="hint">on <time datetime="2026-11-18T10:04:00Z" data-exact>18 Nov 2026, 10:04 UTC</time></span></li>`,
	} {
		if !strings.Contains(row, want) {
			t.Errorf("the row lacks %q: %s", want, row)
		}
	}
	// The list by itself and the page on the phone show the same. Other users' pages do not.
	for what, got := range map[string]answer{"list": c.alice.htmx("GET", "/sessions/list"), "its own page": c.alicePhone.page("/sessions"), "after naming": c.alice.htmx("POST", "/sessions/"+c.alicePhone.id+"/name", "name", "Phone")} {
		if line := usedLine(t, got.row(t, c.alicePhone.id)); line != "Used for notes.example.com (2 minutes ago), photos.example.com (yesterday)" {
			t.Errorf("%s: %q", what, line)
		}
	}
	c.bob.page("/sessions").lacks(t, "Used for", notes)
	// As time goes by, and as it is used again.
	c.clock.Advance(58 * time.Minute)
	if line := usedLine(t, c.alice.page("/sessions").row(t, c.alicePhone.id)); line != "Used for notes.example.com (1 hour ago), photos.example.com (yesterday)" {
		t.Errorf("an hour later: %q", line)
	}
	c.use(c.alicePhone, "photos.example.com")
	if line := usedLine(t, c.alice.page("/sessions").row(t, c.alicePhone.id)); line != "Used for photos.example.com (just now), notes.example.com (1 hour ago)" {
		t.Errorf("used again: %q", line)
	}
}

// A row names four apps, the details all.
func TestDeviceListNamesFourApps(t *testing.T) {
	t.Parallel()
	c := openCast(t, behindProxy)
	line, hosts := "", []string{}
	for i := range 7 {
		c.clock.Advance(2 * time.Minute)
		host := fmt.Sprintf("app-%d.example.com", i+1)
		c.use(c.alicePhone, host)
		hosts = append([]string{host}, hosts...)
		got := c.alice.page("/sessions")
		parts := []string{}
		for n, host := range hosts[:min(len(hosts), 4)] {
			ago := "just now"
			if n > 0 {
				ago = fmt.Sprintf("%d minutes ago", 2*n)
			}
			parts = append(parts, host+" ("+ago+")")
		}
		line = "Used for " + strings.Join(parts, ", ")
		if len(hosts) > 4 {
			line += fmt.Sprintf(" and %d more", len(hosts)-4)
		}
		row := got.row(t, c.alicePhone.id)
		if shown := usedLine(t, row); shown != line {
			t.Errorf("%q, want %q", shown, line)
		}
		_, details, _ := strings.Cut(row, "<details")
		last := -1
		for _, host := range hosts {
			at := strings.Index(details, "<li>"+host+" <")
			if at < last || at < 0 {
				t.Errorf("with %d apps, %s is not in its place in the details", len(hosts), host)
			}
			last = at
		}
		if count := strings.Count(details, "example.com <span"); count != len(hosts) {
			t.Errorf("%d apps in the details, want %d", count, len(hosts))
		}
	}
}

// This device shows it too, even where it is not among the newest.
func TestDeviceListNamesTheAppsOfThisDevice(t *testing.T) {
	t.Parallel()
	c := openCast(t, behindProxy)
	c.use(c.alice, notes)
	const line = "Used for notes.example.com (just now)"
	if shown := usedLine(t, c.alice.page("/sessions").row(t, c.alice.id)); shown != line {
		t.Errorf("%q", shown)
	}
	for i := range 30 {
		c.exec(`INSERT INTO sessions (id, token_hash, user_id, device_name, device_kind, user_agent, ip, shared, created_at, last_active_at, expires_at)
			SELECT ?, randomblob(32), user_id, device_name, device_kind, user_agent, ip, 0, created_at, last_active_at + ?, expires_at FROM sessions WHERE id = ?`,
			fmt.Sprintf("MANY%022d", i), 600_000+i, c.alicePhone.id)
	}
	for what, got := range map[string]answer{"page": c.alice.page("/sessions"), "list": c.alice.htmx("GET", "/sessions/list"), "all": c.alice.page("/sessions?all=1")} {
		if shown := usedLine(t, got.row(t, c.alice.id)); shown != line {
			t.Errorf("%s: %q", what, shown)
		}
		if !strings.Contains(got.row(t, c.alice.id), "<li>notes.example.com <") {
			t.Errorf("%s: not in the details", what)
		}
		got.has(t, "Other devices (31)")
	}
}

// The API lists all of them, last used first, with times in UTC.
func TestAppsByAPI(t *testing.T) {
	t.Parallel()
	c := openCast(t, behindProxy)
	for i := range 6 {
		c.use(c.alicePhone, fmt.Sprintf("app-%d.example.com", i+1))
		c.clock.Advance(time.Second)
	}
	c.use(c.alice, notes)
	const laptop = `[{"host":"notes.example.com","lastUsedAt":"2026-11-18T10:04:06Z"}]`
	const phone = `[{"host":"app-6.example.com","lastUsedAt":"2026-11-18T10:04:05Z"},{"host":"app-5.example.com","lastUsedAt":"2026-11-18T10:04:04Z"},{"host":"app-4.example.com","lastUsedAt":"2026-11-18T10:04:03Z"},` +
		`{"host":"app-3.example.com","lastUsedAt":"2026-11-18T10:04:02Z"},{"host":"app-2.example.com","lastUsedAt":"2026-11-18T10:04:01Z"},{"host":"app-1.example.com","lastUsedAt":"2026-11-18T10:04:00Z"}]`
	type told struct {
		ID   string          `json:"id"`
		Apps json.RawMessage `json:"apps"`
	}
	read := func(got answer, into any) {
		t.Helper()
		got.is(t, 200)
		if err := json.Unmarshal([]byte(got.body), into); err != nil {
			t.Fatalf("%v: %s", err, got.body)
		}
	}
	check := func(what string, all ...told) {
		t.Helper()
		want := map[string]string{c.alice.id: laptop, c.alicePhone.id: phone, c.bob.id: "[]"}
		for _, one := range all {
			if string(one.Apps) != want[one.ID] {
				t.Errorf("%s: %s of %s, want %s", what, one.Apps, one.ID, want[one.ID])
			}
		}
	}
	var list []told
	read(c.alice.api("GET", "/me/sessions", ""), &list)
	if len(list) != 2 {
		t.Errorf("%d sessions", len(list))
	}
	check("list", list...)
	var current told
	read(c.alicePhone.api("GET", "/me/sessions/current", ""), &current)
	check("current", current)
	read(c.alice.api("GET", "/me/sessions/current", ""), &current)
	check("current of the laptop", current)
	var renamed told
	read(c.alice.api("PATCH", "/me/sessions/"+c.alicePhone.id, `{"name":"Phone"}`), &renamed)
	check("renamed", renamed)
	read(c.bob.api("GET", "/me/sessions/current", ""), &current)
	check("bob", current)
	var export struct {
		Sessions []told `json:"sessions"`
	}
	read(c.alice.api("GET", "/me/export", ""), &export)
	if len(export.Sessions) != 2 {
		t.Errorf("%d sessions in the export", len(export.Sessions))
	}
	check("export", export.Sessions...)
}

// Hosts are checked before they are kept. What gets into the table in another way is text all the same.
func TestAppsAreText(t *testing.T) {
	t.Parallel()
	c := openCast(t, behindProxy)
	const hostile = `<script>alert(1)</script>"onx=y'&amp;{{.}}`
	c.exec(`INSERT INTO session_apps (session_id, host, last_used_at) VALUES (?, ?, ?)`, c.alicePhone.id, hostile, c.clock.Now().UnixMilli())
	for what, got := range map[string]answer{"page": c.alice.page("/sessions"), "list": c.alice.htmx("GET", "/sessions/list"), "its own page": c.alicePhone.page("/sessions")} {
		got.is(t, 200)
		got.lacks(t, "<script>alert", hostile)
		if shown := strings.Count(got.body, "&lt;script&gt;alert(1)&lt;/script&gt;"); shown != 2 {
			t.Errorf("%s: shown %d times as text, want in the row and in the details", what, shown)
		}
	}
	var list []struct{ Apps []struct{ Host string } }
	got := c.alice.api("GET", "/me/sessions", "")
	if err := json.Unmarshal([]byte(got.body), &list); err != nil || len(list) != 2 || len(list[0].Apps) != 1 || list[0].Apps[0].Host != hostile {
		t.Errorf("%v: %s", err, got.body)
	}
}
