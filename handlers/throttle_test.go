package handlers_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"porchlight/db"
	"porchlight/handlers"
)

const (
	throttleWrong = "not the password of anybody"
	throttleToken = "SETUPTOKENSETUPTOKENSETUPT"
)

// throttleBehindProxy lets a test come from any address.
func throttleBehindProxy(o *handlers.Options) {
	o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
}

// formFrom is form from another address.
func (c *client) formFrom(ip, path string, values ...string) answer {
	c.t.Helper()
	return c.do("POST", path, encode(values), "Accept", browserAccept, "Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site",
		"same-origin", "X-Forwarded-For", ip)
}

func (c *client) pageFrom(ip, path string) answer {
	c.t.Helper()
	return c.page(path, "X-Forwarded-For", ip)
}

// throttleSignIn signs in from an address, as a page (with nothing kept from one to the next) or as a script.
func (h *house) throttleSignIn(asJSON bool, ip, name, password string) answer {
	h.t.Helper()
	c := h.newClient(firefoxOnLinux)
	defer c.http.CloseIdleConnections()
	if asJSON {
		body, _ := json.Marshal(map[string]string{"username": name, "password": password})
		return c.do("POST", "/login", string(body), "Content-Type", "application/json", "X-Forwarded-For", ip)
	}
	return c.formFrom(ip, "/login", "username", name, "password", password)
}

func (h *house) wantStatus(got answer, status int) answer {
	h.t.Helper()
	if got.status != status {
		h.t.Fatalf("%d, want %d: %s", got.status, status, got.body)
	}
	return got
}

// wantThrottled checks a 429: exact seconds, and the message.
func (h *house) wantThrottled(got answer, seconds, message string) {
	h.t.Helper()
	h.wantStatus(got, http.StatusTooManyRequests)
	if got.header.Get("Retry-After") != seconds {
		h.t.Errorf("Retry-After %q, want %q", got.header.Get("Retry-After"), seconds)
	}
	if !strings.Contains(got.body, message) {
		h.t.Errorf("%q is not said: %s", message, got.body)
	}
	if got.header.Get("Cache-Control") != "no-store" || len(got.header.Values("Set-Cookie")) > 0 {
		h.t.Errorf("headers of a 429: %v", got.header)
	}
}

// tooManyInARow says what helps. Time does not. A page has the sentence before it as its heading.
const tooManyInARow = "Ask whoever runs this server for an invitation link."

const in15Minutes = "Too many attempts. Try again in 15 minutes."

func TestThrottleSignIn(t *testing.T) {
	t.Parallel()
	for _, asJSON := range []bool{false, true} {
		t.Run(fmt.Sprintf("JSON %v", asJSON), func(t *testing.T) {
			h := openHouse(t, throttleBehindProxy)
			h.addUser("alice", alicePassword)
			wrong, right := http.StatusUnprocessableEntity, http.StatusSeeOther
			if asJSON {
				wrong, right = http.StatusUnauthorized, http.StatusOK
			}
			for range 10 {
				h.wantStatus(h.throttleSignIn(asJSON, "192.0.2.1", "alice", throttleWrong), wrong)
			}
			got := h.throttleSignIn(asJSON, "192.0.2.1", "alice", throttleWrong)
			h.wantThrottled(got, "900", in15Minutes)
			if asJSON && strings.TrimSpace(got.body) != `{"error":"`+in15Minutes+`"}` {
				t.Errorf("body %s", got.body)
			}
			h.wantThrottled(h.throttleSignIn(asJSON, "198.51.100.9", "ALICE", alicePassword), "900", in15Minutes) // right, but too late
			h.clock.Advance(11*time.Minute + 500*time.Millisecond)
			h.wantThrottled(h.throttleSignIn(asJSON, "192.0.2.1", "alice", alicePassword), "240", "Too many attempts. Try again in 4 minutes.")
			h.clock.Advance(3*time.Minute + 29*time.Second)
			h.wantThrottled(h.throttleSignIn(asJSON, "192.0.2.1", "alice", alicePassword), "31", "Too many attempts. Try again in 1 minute.")
			if rows := h.sessionsOf("alice"); len(rows) != 0 {
				t.Errorf("sessions %q", rows)
			}
			h.clock.Advance(31 * time.Second)
			h.wantStatus(h.throttleSignIn(asJSON, "192.0.2.1", "alice", alicePassword), right)
			if rows := h.sessionsOf("alice"); len(rows) != 1 {
				t.Errorf("sessions %q", rows)
			}
			if n := h.only(`SELECT COUNT(*) FROM attempts`); n != "30" {
				t.Errorf("%s attempts are counted", n) // ten wrong ones, for the name, the account and the address; nothing else
			}
		})
	}
}

// What is answered must not tell whether there is such an account: known, disabled, unknown, at every step.
func TestThrottleTellsNothing(t *testing.T) {
	t.Parallel()
	for _, asJSON := range []bool{false, true} {
		t.Run(fmt.Sprintf("JSON %v", asJSON), func(t *testing.T) {
			names := []string{"alice", "carol", "nobody"}
			steps := map[string][]string{}
			for _, name := range names {
				h := openHouse(t, throttleBehindProxy)
				h.addUser("alice", alicePassword)
				h.addUser("carol", alicePassword)
				if err := h.store.DisableUser(context.Background(), "carol", true); err != nil {
					t.Fatal(err)
				}
				for i := range 112 {
					got := h.throttleSignIn(asJSON, fmt.Sprintf("192.0.2.%d", i), name, throttleWrong)
					body := strings.ReplaceAll(strings.ReplaceAll(got.body, name, "NAME"), h.url, "URL")
					steps[name] = append(steps[name], fmt.Sprintf("%d %s %s", got.status, got.header.Get("Retry-After"), body))
					if i%11 == 10 {
						h.clock.Advance(15 * time.Minute)
					}
				}
			}
			for _, name := range names[1:] {
				for i, step := range steps["alice"] {
					if steps[name][i] != step {
						t.Fatalf("attempt %d of %s: %s\nof alice: %s", i+1, name, steps[name][i], step)
					}
				}
			}
			if last := steps["alice"][111]; !strings.HasPrefix(last, "429 900 ") || !strings.Contains(last, tooManyInARow) {
				t.Errorf("after a hundred: %s", last)
			}
		})
	}
}

func TestThrottleAddressNotAccount(t *testing.T) {
	t.Parallel()
	h := openHouse(t, throttleBehindProxy)
	h.addUser("alice", alicePassword)
	const bad, same = "2001:db8:0:1::1", "2001:db8:0:1:ffff::2"
	for i := range 30 {
		h.wantStatus(h.throttleSignIn(true, fmt.Sprintf("2001:db8:0:1::%x", i+1), fmt.Sprintf("nobody%d", i), throttleWrong),
			http.StatusUnauthorized)
	}
	for _, ip := range []string{bad, same, "[" + same + "]:4711"} {
		for range 5 {
			h.wantThrottled(h.throttleSignIn(true, ip, "alice", alicePassword), "900", in15Minutes)
		}
	}
	for _, ip := range []string{"2001:db8:0:2::1", "192.0.2.1"} {
		h.wantStatus(h.throttleSignIn(true, ip, "alice", alicePassword), http.StatusOK)
	}
	if rows := h.sessionsOf("alice"); len(rows) != 2 {
		t.Errorf("sessions %q", rows)
	}
}

func TestThrottleFiftyAtOnce(t *testing.T) {
	t.Parallel()
	for _, asJSON := range []bool{false, true} {
		t.Run(fmt.Sprintf("JSON %v", asJSON), func(t *testing.T) {
			h := openHouse(t, throttleBehindProxy)
			h.addUser("alice", alicePassword)
			var mu sync.Mutex
			var all sync.WaitGroup
			statuses := map[int]int{}
			for range 50 {
				all.Go(func() {
					got := h.throttleSignIn(asJSON, "192.0.2.1", "alice", throttleWrong)
					mu.Lock()
					defer mu.Unlock()
					statuses[got.status]++
				})
			}
			all.Wait()
			wrong := http.StatusUnprocessableEntity
			if asJSON {
				wrong = http.StatusUnauthorized
			}
			if statuses[wrong] != 10 || statuses[http.StatusTooManyRequests] != 40 {
				t.Errorf("statuses %v", statuses)
			}
			if n := h.only(`SELECT COUNT(*) FROM attempts`); n != "30" {
				t.Errorf("%s attempts are counted", n)
			}
		})
	}
}

// An attempt that was answered 503 counts for nothing.
func TestThrottleGivesUnavailableBack(t *testing.T) {
	t.Parallel()
	h := openHouse(t, throttleBehindProxy)
	h.addUser("alice", alicePassword)
	for range 9 {
		h.wantStatus(h.throttleSignIn(true, "192.0.2.1", "alice", throttleWrong), http.StatusUnauthorized)
	}
	lock, err := sql.Open("sqlite3", "file:"+h.path+"?_txlock=immediate")
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	tx, err := lock.Begin()
	if err != nil {
		t.Fatal(err)
	}
	got := h.throttleSignIn(true, "192.0.2.1", "alice", alicePassword)
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	h.wantStatus(got, http.StatusServiceUnavailable)
	if n := h.only(`SELECT COUNT(*) FROM attempts`); n != "27" {
		t.Errorf("%s attempts are counted", n)
	}
	h.wantStatus(h.throttleSignIn(true, "192.0.2.1", "alice", throttleWrong), http.StatusUnauthorized)
	h.wantThrottled(h.throttleSignIn(true, "192.0.2.1", "alice", alicePassword), "900", in15Minutes)
}

func TestThrottleAfterHundredLetsInvitationIn(t *testing.T) {
	t.Parallel()
	h := openHouse(t, throttleBehindProxy)
	h.addUser("alice", alicePassword)
	for i := range 100 {
		if i%10 == 0 {
			h.clock.Advance(15 * time.Minute)
		}
		h.wantStatus(h.throttleSignIn(true, "192.0.2.1", "alice", throttleWrong), http.StatusUnauthorized)
	}
	h.clock.Advance(time.Hour)
	for _, asJSON := range []bool{true, false} {
		got := h.throttleSignIn(asJSON, "198.51.100.1", "alice", alicePassword)
		h.wantThrottled(got, "900", tooManyInARow)
		got.lacks(t, "minutes")
	}
	if got := h.throttleSignIn(true, "198.51.100.1", "alice",
		alicePassword); got.body != `{"error":"Too many wrong passwords in a row. `+tooManyInARow+`"}` {
		t.Errorf("body %s", got.body)
	}
	token, _, err := h.store.Invite(context.Background(), db.NewUser{Username: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	browser := h.newClient(firefoxOnLinux)
	h.wantStatus(browser.formFrom("192.0.2.1", "/invite", "token", token, "password", bobPassword), http.StatusSeeOther)
	h.wantStatus(browser.page("/sessions"), http.StatusOK)
	h.wantStatus(h.throttleSignIn(true, "198.51.100.1", "alice", bobPassword), http.StatusOK)
}

// People type passwords into the name field by mistake.
func TestThrottleKeepsNoTypedName(t *testing.T) {
	t.Parallel()
	h := openHouse(t, throttleBehindProxy)
	h.addUser("alice", alicePassword)
	typed := "Lantern Velvet Orbit Marmalade"
	for i := range 12 {
		h.throttleSignIn(i%2 == 0, "192.0.2.1", typed, "")
	}
	if err := h.store.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	if n := h.only(`SELECT COUNT(*) FROM attempts WHERE length(key) = 32`); n != "30" {
		t.Errorf("%s attempts are counted", n)
	}
	places := map[string]string{"the log": h.log.String()}
	for _, path := range []string{h.path, h.path + "-wal"} {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		places[path] = string(content)
	}
	for where, text := range places {
		for _, form := range []string{typed, strings.ReplaceAll(typed, " ", "+"), strings.ReplaceAll(typed, " ", "%20")} {
			if strings.Contains(strings.ToLower(text), strings.ToLower(form)) {
				t.Errorf("what was typed for a name is in %s", where)
			}
		}
	}
}

func TestThrottleSetUp(t *testing.T) {
	t.Parallel()
	h := openHouse(t, throttleBehindProxy, func(o *handlers.Options) { o.SetupToken = throttleToken })
	browser := h.newClient(firefoxOnLinux)
	show := func(ip, token string) answer { return browser.pageFrom(ip, "/setup?token="+token) }
	send := func(ip, token string) answer {
		return browser.formFrom(ip, "/setup", "token", token, "username", "alice", "password", "short")
	}
	for i := range 29 {
		if i%2 == 0 {
			h.wantStatus(show("192.0.2.1", "WRONG"), http.StatusForbidden)
		} else {
			h.wantStatus(send("192.0.2.1", "WRONG"), http.StatusForbidden)
		}
	}
	for range 3 { // the right token is given back
		h.wantStatus(show("192.0.2.1", throttleToken), http.StatusOK)
		h.wantStatus(send("192.0.2.1", throttleToken), http.StatusUnprocessableEntity)
	}
	h.wantStatus(show("192.0.2.1", ""), http.StatusForbidden)
	for range 3 {
		h.wantThrottled(show("192.0.2.1", throttleToken), "900", in15Minutes)
		h.wantThrottled(send("192.0.2.1", throttleToken), "900", in15Minutes)
	}
	if n := h.only(`SELECT COUNT(*) FROM attempts`); n != "30" {
		t.Errorf("%s attempts are counted", n)
	}
	h.wantStatus(browser.formFrom("192.0.2.2", "/setup", "token", throttleToken, "username", "alice", "password", alicePassword),
		http.StatusSeeOther)
	if rows := h.rows(`SELECT username, is_admin FROM users`); !slices.Equal(rows, []string{"alice 1"}) {
		t.Errorf("users %q", rows)
	}
}

func TestThrottleInvite(t *testing.T) {
	t.Parallel()
	h := openHouse(t, throttleBehindProxy)
	h.addUser("alice", alicePassword)
	token, _, err := h.store.Invite(context.Background(), db.NewUser{Username: "carol"})
	if err != nil {
		t.Fatal(err)
	}
	browser := h.newClient(firefoxOnLinux)
	show := func(ip, token string) answer { return browser.pageFrom(ip, "/invite?token="+token) }
	send := func(ip, token, password string) answer {
		return browser.formFrom(ip, "/invite", "token", token, "password", password)
	}
	for i := range 29 {
		if i%2 == 0 {
			h.wantStatus(show("192.0.2.1", "WRONG"), http.StatusNotFound)
		} else {
			h.wantStatus(send("192.0.2.1", "WRONG", bobPassword), http.StatusNotFound)
		}
	}
	for range 3 {
		h.wantStatus(show("192.0.2.1", token), http.StatusOK)
		h.wantStatus(send("192.0.2.1", token, "short"), http.StatusUnprocessableEntity)
	}
	h.wantStatus(send("192.0.2.1", "", bobPassword), http.StatusNotFound)
	for range 3 {
		h.wantThrottled(show("192.0.2.1", token), "900", in15Minutes)
		h.wantThrottled(send("192.0.2.1", token, bobPassword), "900", in15Minutes)
	}
	if n := h.only(`SELECT COUNT(*) FROM attempts`); n != "30" {
		t.Errorf("%s attempts are counted", n)
	}
	if rows := h.rows(`SELECT username FROM users`); !slices.Equal(rows, []string{"alice"}) {
		t.Errorf("users %q", rows)
	}
	h.wantStatus(send("192.0.2.2", token, bobPassword), http.StatusSeeOther)
}
