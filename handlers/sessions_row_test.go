package handlers_test

import (
	"fmt"
	"html"
	"regexp"
	"strings"
	"testing"
	"time"

	"porchlight/handlers/handlerstest"
)

// This file tests what the row of a device says.

// textOf returns the text of a part of a page, without markup.
func textOf(part string) string {
	return strings.Join(strings.Fields(html.UnescapeString(markup.ReplaceAllString(part, " "))), " ")
}

func TestRowSaysWhatIsTrue(t *testing.T) {
	t.Parallel()
	for what, test := range map[string]struct {
		set         string // changes the phone's session
		line        string // the row down to its details
		details     string
		laptopsToo  string // changes the laptop's session, whose page it is
		notInTheRow string
	}{
		"as signed in": {
			line:        "Safari on iPhone New 127.0.0.1 10 minutes ago Same network as this device.",
			details:     "Signed in 18 Nov 2026, 10:03 UTC , with a password Safari on iPhone, 127.0.0.1 Last used",
			notInTheRow: "Browser changed",
		},
		"named elsewhere": {
			set:     `custom_name = 'My phone', named_by = 'curl'`,
			line:    "My phone New Safari on iPhone 127.0.0.1 10 minutes ago Same network as this device.",
			details: "Named by curl",
		},
		"a shared computer, seen before": {
			set:         `shared = 1, days_looked = 2`,
			line:        "Safari on iPhone Shared 127.0.0.1",
			notInTheRow: "New",
		},
		"used by another browser": {
			set: `other_browser = 'curl', last_browser = 'curl', last_ip = '10.0.0.77', network = '10.0.0.0/24'`,
			line: "Safari on iPhone New Browser changed Now used by curl 10.0.0.77 10 minutes ago " +
				"Signed in with Safari on iPhone from 127.0.0.1.",
			details:     "UTC curl, 10.0.0.77",
			notInTheRow: "Same network",
		},
		"used by another browser for a while": {
			set:  `other_browser = 'curl', custom_name = 'Mine'`,
			line: "Mine New Browser changed Also used by curl 127.0.0.1 10 minutes ago Signed in with Safari on iPhone from 127.0.0.1.",
		},
		"a network of its own": {
			set:        `network = '127.0.1.0/24'`,
			laptopsToo: `network = '127.0.2.0/24'`,
			line:       "Safari on iPhone New 127.0.0.1 10 minutes ago Details",
		},
		"a network that nobody knows": {
			set:         `network = ''`,
			laptopsToo:  `network = ''`,
			notInTheRow: "network",
		},
		"one limit": {
			set:         `expires_at = created_at + 30 * 86400000`,
			details:     "Expires 18 Dec 2026, 10:03 UTC User-Agent",
			notInTheRow: "at the latest",
		},
		"by invitation": {set: `method = 'invite'`, details: "10:03 UTC , with an invitation"},
		"from before":   {set: `method = ''`, details: "10:03 UTC Safari on iPhone, 127.0.0.1"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			c := handlerstest.OpenCast(t)
			c.Clock.Advance(9 * time.Minute)
			flush(c.House)
			if test.set != "" {
				c.Exec(`UPDATE sessions SET `+test.set+` WHERE id = ?`, c.AlicePhone.ID)
			}
			if test.laptopsToo != "" {
				c.Exec(`UPDATE sessions SET `+test.laptopsToo+` WHERE id = ?`, c.Alice.ID)
			}
			row := textOf(rowOf(t, c.Alice.Page("/sessions"), c.AlicePhone.ID))
			if !strings.HasPrefix(row, "> "+test.line) {
				t.Errorf("the row lacks %q:\n%s", test.line, row)
			}
			if !strings.Contains(row, test.details) {
				t.Errorf("the details lack %q:\n%s", test.details, row)
			}
			if test.notInTheRow != "" && strings.Contains(row, test.notInTheRow) {
				t.Errorf("the row has %q:\n%s", test.notInTheRow, row)
			}
		})
	}
}

// What is said about other devices is not said about this one.
func TestOwnRowIsPlain(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	flush(c.House)
	row := textOf(rowOf(t, c.Alice.Page("/sessions"), c.Alice.ID))
	if want := "> Firefox on Linux 127.0.0.1 Active now Details"; !strings.HasPrefix(row, want) {
		t.Errorf("it lacks %q:\n%s", want, row)
	}
}

// A device stops being new once the page was opened on two days. A page that refreshes its list by itself does not count.
func TestNewUntilLookedAtOnTwoDays(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	for _, step := range []struct {
		what string
		look string
		want bool
	}{{"the first day", "/sessions", true}, {"the second day", "/sessions/list", true}, {"the second day again", "/sessions", true},
		{"after two days", "/sessions", false}} {
		got := c.Alice.HTMX("GET", step.look)
		if shown := strings.Contains(rowOf(t, got, c.AlicePhone.ID), ">New<"); shown != step.want {
			t.Errorf("%s: new is %v", step.what, shown)
		}
		flush(c.House)
		c.Clock.Advance(map[string]time.Duration{"the first day": 24 * time.Hour}[step.what])
	}
}

// Two buttons never have the same name for a screen reader.
func TestTwinsHaveDifferentButtons(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	c.SignIn("alice", handlerstest.AlicePassword, handlerstest.ChromeOnMac)
	c.Clock.Advance(time.Second)
	c.SignIn("alice", handlerstest.AlicePassword, handlerstest.ChromeOnMac)
	page := textOf(c.Alice.Page("/sessions").Body)
	for _, want := range []string{
		"Sign out Chrome on macOS, 127.0.0.1, signed in 18 Nov 2026, 10:04:00 UTC",
		"Chrome on macOS, 127.0.0.1, signed in 18 Nov 2026, 10:04:01 UTC",
		"Sign out Safari on iPhone, 127.0.0.1, signed in 18 Nov",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("no button %q:\n%s", want, page)
		}
	}
}

// A page shows a hundred of many devices. The next pages show the others.
func TestPagesOfDevices(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	for i := range 249 { // with the phone 250
		addPhone(c, fmt.Sprintf("MANY%022d", i), i+1)
	}
	seen := map[string]bool{}
	for _, page := range []struct {
		path  string
		rows  int
		links string // the end of the list
	}{
		{"/sessions", 20, "Show all (250)"},
		{"/sessions?all=1", 100, "Next page Show fewer"},
		{"/sessions?all=2", 100, "Previous page Next page Show fewer"},
		{"/sessions?all=3", 50, "Previous page Show fewer"},
		{"/sessions?all=4", 50, "Previous page Show fewer"}, // the last one
		{"/sessions?all=99999999999999999999", 50, "Previous page Show fewer"},
		{"/sessions?all=-1", 20, "Show all (250)"},
		{"/sessions?all=x", 20, "Show all (250)"},
	} {
		got := c.Alice.Page(page.path)
		_, end, _ := strings.Cut(got.Body, `<p class="more">`)
		end, _, _ = strings.Cut(end, "</p>")
		if text := textOf(end); text != page.links {
			t.Errorf("%s: %q, want %q", page.path, text, page.links)
		}
		rows := regexp.MustCompile(`<li class="device" id="device-(\w+)"`).FindAllStringSubmatch(got.Body, -1)
		if len(rows) != page.rows+1 {
			t.Errorf("%s: %d rows, want this device and %d", page.path, len(rows), page.rows)
		}
		if len(got.Body) > 400_000 {
			t.Errorf("%s: %d bytes", page.path, len(got.Body))
		}
		for _, row := range rows {
			seen[row[1]] = true
		}
	}
	if len(seen) != 251 {
		t.Errorf("%d devices on all pages, want 251", len(seen))
	}
	c.Alice.Page("/sessions?all=2").Has(t, `href="/sessions?all=1#others"`, `href="/sessions?all=3#others"`, `href="/sessions#others"`)
	// The page stays when a row goes.
	got := c.Alice.Do("DELETE", "/sessions/"+c.AlicePhone.ID, "", "HX-Request", "true", "HX-Current-URL", c.URL+"/sessions?all=3")
	got.Has(t, "Other devices (249)", "Previous page")
	if rows := strings.Count(got.Body, `<li class="device"`); rows != 50 {
		t.Errorf("%d rows on the last page, want 50", rows)
	}
}
