package e2e

import (
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp/kb"
)

// This file tests that pages show times in the reader's time zone, which is Tokyo's.

func saysTimesOfTheReader(t *testing.T, c *chromiumProcess) {
	b, _ := c.browserOfAlice(t, device("One", "10.0.0.1")) // signed in at 10:03 UTC, in Tokyo 19:03
	row := rowOf("10.0.0.1")
	b.same(row+`.querySelector('dd time').textContent`, "18 Nov 2026, 19:03")
	b.same(row+`.querySelector('time').dateTime`, "2026-11-18T10:03:00Z")
	b.house.Clock.Advance(10 * 60e9)
	b.click(row+`.querySelector('summary')`, 1)
	b.click(row+`.querySelector('.rename input')`, 1)
	b.typeText("Renamed")
	b.press(kb.Enter)
	b.untilText(row+`.querySelector('h3').textContent`, "Renamed")
	b.untilText(row+`.querySelector('dd time').textContent`, "18 Nov 2026, 19:03") // also in the swapped list
	b.same(row+`.querySelector('.facts time').textContent`, "11 minutes ago")
}

// Activity is grouped by the days of the reader, or by days in UTC if the browser runs no script.
func groupsByDaysOfTheReader(t *testing.T, c *chromiumProcess) {
	b, _ := c.browserOfAlice(t) // signed in at 10:03 UTC
	for _, at := range []string{"2026-11-18T14:59:00Z", "2026-11-18T15:01:00Z", "2026-11-18T23:00:00Z", "2026-11-19T01:00:00Z"} {
		b.house.Exec(`
			INSERT INTO activity (user_id, kind, happened_at, device_name)
			SELECT id, 'exported', unixepoch(?) * 1000, 'Tablet' FROM users`, at)
	}
	days := `[...document.querySelectorAll('main section')].map((day) => day.querySelector('h2').textContent + ': '
		+ [...day.querySelectorAll('li time')].map((time) => time.dateTime.slice(8, 16)).join()).join('; ')`
	b.visit("/activity")
	b.same(days, "19 Nov 2026: 19T01:00,18T23:00,18T15:01; 18 Nov 2026: 18T14:59,18T10:03")
	b.run(emulation.SetScriptExecutionDisabled(true))
	b.visit("/activity")
	b.same(days, "19 Nov 2026 (UTC): 19T01:00; 18 Nov 2026 (UTC): 18T23:00,18T15:01,18T14:59,18T10:03")
	b.same(`document.querySelector('main li').textContent`, "Downloaded all data on Tablet 19 Nov 2026, 01:00 UTC")
}
