package handlers_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"porchlight/handlers/handlerstest"
)

// This file tests how the device list, the API and the export show the apps of a session.

// use sends an auth check for an app, and writes it to the database.
func use(c *handlerstest.Cast, who *handlerstest.Client, hosts ...string) {
	c.T.Helper()
	for _, host := range hosts {
		forward.ask(who, toNotes.of(host), fetching...).Is(c.T, 200)
	}
	flush(c.House)
}

// usedLine returns the apps that a row shows, separated by spaces.
func usedLine(t testing.TB, row string) string {
	t.Helper()
	found := regexp.MustCompile(`(?s)<ul class="apps" role="list">(.*?)</ul>`).FindStringSubmatch(row)
	if found == nil {
		return ""
	}
	return strings.Join(strings.Fields(markup.ReplaceAllString(found[1], "")), " ")
}

var markup = regexp.MustCompile(`<[^>]*>`)

func TestDeviceListNamesTheApps(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	got := c.Alice.Page("/sessions")
	got.Lacks(t, `class="apps"`, "<dt>Apps</dt>")
	use(c, c.AlicePhone, "photos.example.com")
	c.Clock.Advance(26 * time.Hour)
	use(c, c.AlicePhone, notes)
	c.Clock.Advance(2 * time.Minute)

	const notesFirst = "notes.example.com photos.example.com"
	got = c.Alice.Page("/sessions")
	line := usedLine(t, rowOf(t, got, c.AlicePhone.ID))
	if line != notesFirst {
		t.Errorf("the phone: %q", line)
	}
	if row := rowOf(t, got, c.Alice.ID); strings.Contains(row, `class="apps"`) {
		t.Errorf("this device was used for no app: %s", row)
	}
	row := rowOf(t, got, c.AlicePhone.ID)
	for _, want := range []string{
		`<li class="chip" title="19 Nov 2026, 12:04 UTC" data-used="2026-11-19T12:04:00Z">notes.example.com</li>`,
		`<dt>Apps</dt>`,
		`<li>notes.example.com <span class="hint">` +
			`<time datetime="2026-11-19T12:04:00Z" data-exact>19 Nov 2026, 12:04 UTC</time></span></li>` +
			`<li>photos.example.com <span class="hint">` +
			`<time datetime="2026-11-18T10:04:00Z" data-exact>18 Nov 2026, 10:04 UTC</time></span></li>`,
	} {
		if !strings.Contains(row, want) {
			t.Errorf("the row lacks %q: %s", want, row)
		}
	}
	// The list fragment and the phone's own page show the same. Other users' pages do not.
	for what, got := range map[string]handlerstest.Answer{
		"list": c.Alice.HTMX("GET", "/sessions/list"), "its own page": c.AlicePhone.Page("/sessions"),
		"after naming": c.Alice.HTMX("POST", "/sessions/"+c.AlicePhone.ID+"/name", "name", "Phone"),
	} {
		line := usedLine(t, rowOf(t, got, c.AlicePhone.ID))
		if line != notesFirst {
			t.Errorf("%s: %q", what, line)
		}
	}
	c.Bob.Page("/sessions").Lacks(t, `class="apps"`, notes)
	use(c, c.AlicePhone, "photos.example.com")
	line = usedLine(t, rowOf(t, c.Alice.Page("/sessions"), c.AlicePhone.ID))
	if line != "photos.example.com notes.example.com" {
		t.Errorf("used again: %q", line)
	}
}

// A row names three apps and counts the others. The details name all.
func TestDeviceListNamesThreeApps(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	hosts := []string{}
	for i := range 7 {
		c.Clock.Advance(2 * time.Minute)
		host := fmt.Sprintf("app-%d.example.com", i+1)
		use(c, c.AlicePhone, host)
		hosts = append([]string{host}, hosts...)
		got := c.Alice.Page("/sessions")
		line := strings.Join(hosts[:min(len(hosts), 3)], " ")
		if len(hosts) > 3 {
			line += fmt.Sprintf(" +%d more", len(hosts)-3)
		}
		row := rowOf(t, got, c.AlicePhone.ID)
		if shown := usedLine(t, row); shown != line {
			t.Errorf("%q, want %q", shown, line)
		}
		_, details, _ := strings.Cut(row, "<details")
		last := -1
		for _, host := range hosts {
			at := strings.Index(details, "<li>"+host+" <")
			if at < last || at < 0 {
				t.Errorf("with %d apps, %s is missing from the details, or out of order", len(hosts), host)
			}
			last = at
		}
		if count := strings.Count(details, "example.com <span"); count != len(hosts) {
			t.Errorf("%d apps in the details, want %d", count, len(hosts))
		}
	}
}

// This device shows its apps, too, even if it is not among the newest.
func TestDeviceListNamesTheAppsOfThisDevice(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	use(c, c.Alice, notes)
	const line = "notes.example.com"
	if shown := usedLine(t, rowOf(t, c.Alice.Page("/sessions"), c.Alice.ID)); shown != line {
		t.Errorf("the line of apps is %q", shown)
	}
	for i := range 30 {
		addPhone(c, fmt.Sprintf("MANY%022d", i), 600_000+i)
	}
	for what, got := range map[string]handlerstest.Answer{
		"page": c.Alice.Page("/sessions"), "list": c.Alice.HTMX("GET", "/sessions/list"), "all": c.Alice.Page("/sessions?all=1"),
	} {
		if shown := usedLine(t, rowOf(t, got, c.Alice.ID)); shown != line {
			t.Errorf("%s: %q", what, shown)
		}
		if !strings.Contains(rowOf(t, got, c.Alice.ID), "<li>notes.example.com <") {
			t.Errorf("%s: not in the details", what)
		}
		got.Has(t, "Other devices (31)")
	}
}

// The API lists all of them, last used first, with times in UTC.
func TestAppsByAPI(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	for i := range 6 {
		use(c, c.AlicePhone, fmt.Sprintf("app-%d.example.com", i+1))
		c.Clock.Advance(time.Second)
	}
	use(c, c.Alice, notes)
	const laptop = `[{"host":"notes.example.com","lastUsedAt":"2026-11-18T10:04:06Z"}]`
	const phone = `[{"host":"app-6.example.com","lastUsedAt":"2026-11-18T10:04:05Z"},` +
		`{"host":"app-5.example.com","lastUsedAt":"2026-11-18T10:04:04Z"},` +
		`{"host":"app-4.example.com","lastUsedAt":"2026-11-18T10:04:03Z"},` +
		`{"host":"app-3.example.com","lastUsedAt":"2026-11-18T10:04:02Z"},` +
		`{"host":"app-2.example.com","lastUsedAt":"2026-11-18T10:04:01Z"},` +
		`{"host":"app-1.example.com","lastUsedAt":"2026-11-18T10:04:00Z"}]`
	type shownSession struct {
		ID   string          `json:"id"`
		Apps json.RawMessage `json:"apps"`
	}
	read := func(got handlerstest.Answer, into any) {
		t.Helper()
		got.Is(t, 200)
		if err := json.Unmarshal([]byte(got.Body), into); err != nil {
			t.Fatalf("not JSON: %v: %s", err, got.Body)
		}
	}
	check := func(what string, all ...shownSession) {
		t.Helper()
		want := map[string]string{c.Alice.ID: laptop, c.AlicePhone.ID: phone, c.Bob.ID: "[]"}
		for _, one := range all {
			if string(one.Apps) != want[one.ID] {
				t.Errorf("%s: %s of %s, want %s", what, one.Apps, one.ID, want[one.ID])
			}
		}
	}
	var list []shownSession
	read(c.Alice.API("GET", "/me/sessions", ""), &list)
	if len(list) != 2 {
		t.Errorf("%d sessions", len(list))
	}
	check("list", list...)
	var current shownSession
	read(c.AlicePhone.API("GET", "/me/sessions/current", ""), &current)
	check("current", current)
	read(c.Alice.API("GET", "/me/sessions/current", ""), &current)
	check("current of the laptop", current)
	var renamed shownSession
	read(c.Alice.API("PATCH", "/me/sessions/"+c.AlicePhone.ID, `{"name":"Phone"}`), &renamed)
	check("renamed", renamed)
	read(c.Bob.API("GET", "/me/sessions/current", ""), &current)
	check("bob", current)
	var export struct {
		Sessions []shownSession `json:"sessions"`
	}
	read(c.Alice.API("GET", "/me/export", ""), &export)
	if len(export.Sessions) != 2 {
		t.Errorf("%d sessions in the export", len(export.Sessions))
	}
	check("export", export.Sessions...)
}

// Hosts are checked before they are stored. If a row contains something else, it is still escaped.
func TestAppHostsAreEscaped(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	const hostile = `<script>alert(1)</script>"onx=y'&amp;{{.}}`
	c.Exec(`INSERT INTO session_apps (session_id, host, last_used_at) VALUES (?, ?, ?)`, c.AlicePhone.ID, hostile, c.Clock.Now().UnixMilli())
	for what, got := range map[string]handlerstest.Answer{
		"page": c.Alice.Page("/sessions"), "list": c.Alice.HTMX("GET", "/sessions/list"), "its own page": c.AlicePhone.Page("/sessions"),
	} {
		got.Is(t, 200)
		got.Lacks(t, "<script>alert", hostile)
		if shown := strings.Count(got.Body, "&lt;script&gt;alert(1)&lt;/script&gt;"); shown != 2 {
			t.Errorf("%s: escaped %d times, want in the row and in the details", what, shown)
		}
	}
	var list []struct{ Apps []struct{ Host string } }
	got := c.Alice.API("GET", "/me/sessions", "")
	err := json.Unmarshal([]byte(got.Body), &list)
	if err != nil || len(list) != 2 || len(list[0].Apps) != 1 || list[0].Apps[0].Host != hostile {
		t.Errorf("the apps in the list: %v: %s", err, got.Body)
	}
}
