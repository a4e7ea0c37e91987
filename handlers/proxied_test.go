package handlers_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"porchlight/handlers"
	"porchlight/handlers/handlerstest"
)

// This file tests the effects of forwarded headers: the address on the row, and the warning.

var localProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("10.0.0.0/8")}

func TestForwardedAddressIsKept(t *testing.T) {
	c := handlerstest.OpenHouse(t, func(o *handlers.Options) { o.TrustedProxies = localProxies })
	c.AddUser("alice", handlerstest.AlicePassword)
	browser := c.NewClient(handlerstest.FirefoxOnLinux)
	got := browser.Do("POST", "/login", handlerstest.Encode([]string{"username", "alice", "password", handlerstest.AlicePassword}),
		"Content-Type", "application/x-www-form-urlencoded", "X-Forwarded-For", "1.2.3.4, 2001:db8::7", "X-Forwarded-For", "10.0.0.2")
	got.Is(t, 200)
	c.SameRows(t, []string{"2001:db8::7"}, `SELECT ip FROM sessions`)
	c.SameRows(t, []string{"2001:db8::7"}, `SELECT ip FROM activity`)
	browser.Page("/sessions").Has(t, "<span>2001:db8::7</span>")
	if strings.Contains(c.Log.String(), "forwarded") {
		t.Errorf("a warning about a trusted proxy: %s", c.Log)
	}
}

// A stolen cookie that is used from elsewhere is visible, whether on our own pages or in an app.
func TestAnotherBrowserWithTheCookieShows(t *testing.T) {
	t.Parallel()
	elsewhere := []string{"X-Forwarded-For", "203.0.113.9"}
	for name, use := range map[string]func(thief *handlerstest.Client) handlerstest.Answer{
		"page": func(thief *handlerstest.Client) handlerstest.Answer { return thief.Page("/account", elsewhere...) },
		"app": func(thief *handlerstest.Client) handlerstest.Answer {
			return forward.ask(thief, toNotes, slices.Concat(fetching, elsewhere, []string{"Cookie", withCookie(thief.Token())})...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := handlerstest.OpenCast(t, behindProxy)
			c.Clock.Advance(time.Second)
			thief := *c.AlicePhone
			thief.UserAgent = "curl/8.5.0"
			use(&thief).Is(t, 200)
			flush(c.House)
			c.Alice.API("GET", "/me/sessions", "").Has(t, `"browser":"curl","browserChanged":true,"ip":"203.0.113.9","signInIp":"127.0.0.1"`)
			c.SameRows(t, []string{"alice 203.0.113.9 Safari on iPhone " + c.AlicePhone.ID + " curl"}, `
				SELECT username, ip, device_name, session_id, done_by
				FROM activity a JOIN users u ON u.id = a.user_id
				WHERE kind = 'browser_changed'`)
		})
	}
}

func TestForwardedAddressFromAnUntrustedPeerIsIgnored(t *testing.T) {
	for _, header := range []string{"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host"} {
		t.Run(header, func(t *testing.T) {
			c := handlerstest.OpenHouse(t)
			c.AddUser("alice", handlerstest.AlicePassword)
			browser := c.NewClient(handlerstest.FirefoxOnLinux)
			for range 3 {
				browser.Do("GET", "/login", "", header, "198.51.100.1", "X-Real-IP", "198.51.100.1", "Forwarded", "for=198.51.100.1").Lacks(t,
					"198.51.100.1")
			}
			browser.Do("POST", "/login", handlerstest.Encode([]string{"username", "alice", "password", handlerstest.AlicePassword}), "Content-Type",
				"application/x-www-form-urlencoded", header, "198.51.100.1").Is(t, 200)
			c.SameRows(t, []string{"127.0.0.1"}, `SELECT ip FROM sessions`)
			log := c.Log.String()
			if count := strings.Count(log, "--trusted-proxies"); count != 1 {
				t.Errorf("logged %d times, want once: %s", count, log)
			}
		})
	}
}

func TestForwardedGarbageCausesNoError(t *testing.T) {
	c := handlerstest.OpenHouse(t, func(o *handlers.Options) { o.TrustedProxies = localProxies })
	for _, garbage := range []string{"", ",", "\t", "<img>", "a b c", "::", "[", "]:", "1.2.3.4:99999", "\xff\xfe"} {
		got := c.Raw(fmt.Sprintf("POST /login HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: %[1]s\r\nX-Forwarded-Proto: %[1]s\r\n"+
			"X-Forwarded-Host: %[1]s\r\nContent-Length: 0\r\n\r\n", garbage))
		if got.Status != 422 && got.Status != 400 {
			t.Errorf("%q: %d %s", garbage, got.Status, got.Body)
		}
		got = c.Raw(fmt.Sprintf("GET /login HTTP/1.1\r\nHost: x\r\nX-Forwarded-Proto: %s\r\nX-Forwarded-Host: %s\r\n\r\n", garbage, garbage))
		if got.Status != 200 && got.Status != 400 {
			t.Errorf("%q: %d %s", garbage, got.Status, got.Body)
		}
		got.Lacks(t, "<img>")
	}
}
