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
	"porchlight/handlers/handlerstest"
)

const (
	throttleWrong = "not the password of anybody"
	throttleToken = "SETUPTOKENSETUPTOKENSETUPT"
)

// throttleBehindProxy lets a test send requests from any address.
func throttleBehindProxy(o *handlers.Options) {
	o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
}

// formFrom posts a form from another address.
func formFrom(c *handlerstest.Client, ip, path string, values ...string) handlerstest.Answer {
	c.T.Helper()
	return c.Do("POST", path, handlerstest.Encode(values), "Accept", handlerstest.BrowserAccept,
		"Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "same-origin", "X-Forwarded-For", ip)
}

func pageFrom(c *handlerstest.Client, ip, path string) handlerstest.Answer {
	c.T.Helper()
	return c.Page(path, "X-Forwarded-For", ip)
}

// throttleSignIn signs in from an address, as a new browser or as a script.
func throttleSignIn(h *handlerstest.House, asJSON bool, ip, name, password string) handlerstest.Answer {
	h.T.Helper()
	c := h.NewClient(handlerstest.FirefoxOnLinux)
	defer c.HTTP.CloseIdleConnections()
	if asJSON {
		body, _ := json.Marshal(map[string]string{"username": name, "password": password})
		return c.Do("POST", "/login", string(body), "Content-Type", "application/json", "X-Forwarded-For", ip)
	}
	return formFrom(c, ip, "/login", "username", name, "password", password)
}

func wantStatus(h *handlerstest.House, got handlerstest.Answer, status int) handlerstest.Answer {
	h.T.Helper()
	if got.Status != status {
		h.T.Fatalf("%d, want %d: %s", got.Status, status, got.Body)
	}
	return got
}

// wantThrottled checks a 429: exact seconds, and the message.
func wantThrottled(h *handlerstest.House, got handlerstest.Answer, seconds, message string) {
	h.T.Helper()
	wantStatus(h, got, http.StatusTooManyRequests)
	if got.Header.Get("Retry-After") != seconds {
		h.T.Errorf("Retry-After %q, want %q", got.Header.Get("Retry-After"), seconds)
	}
	if !strings.Contains(got.Body, message) {
		h.T.Errorf("the message %q is missing: %s", message, got.Body)
	}
	if got.Header.Get("Cache-Control") != "no-store" || len(got.Header.Values("Set-Cookie")) > 0 {
		h.T.Errorf("headers of a 429: %v", got.Header)
	}
}

// tooManyInARow says what helps, which is not waiting. On a page, the sentence before it is the heading.
const tooManyInARow = "Ask whoever runs this server for an invitation link."

const in15Minutes = "Too many attempts. Try again in 15 minutes."

func TestThrottleSignIn(t *testing.T) {
	t.Parallel()
	for _, asJSON := range []bool{false, true} {
		t.Run(fmt.Sprintf("JSON %v", asJSON), func(t *testing.T) {
			h := handlerstest.OpenHouse(t, throttleBehindProxy)
			h.AddUser("alice", handlerstest.AlicePassword)
			wrong, right := http.StatusUnprocessableEntity, http.StatusSeeOther
			if asJSON {
				wrong, right = http.StatusUnauthorized, http.StatusOK
			}
			for range 10 {
				wantStatus(h, throttleSignIn(h, asJSON, "192.0.2.1", "alice", throttleWrong), wrong)
			}
			got := throttleSignIn(h, asJSON, "192.0.2.1", "alice", throttleWrong)
			wantThrottled(h, got, "900", in15Minutes)
			if asJSON && strings.TrimSpace(got.Body) != `{"error":"`+in15Minutes+`"}` {
				t.Errorf("body %s", got.Body)
			}
			// The password is right, but it comes too late.
			wantThrottled(h, throttleSignIn(h, asJSON, "198.51.100.9", "ALICE", handlerstest.AlicePassword), "900", in15Minutes)
			h.Clock.Advance(11*time.Minute + 500*time.Millisecond)
			wantThrottled(h, throttleSignIn(h, asJSON, "192.0.2.1", "alice", handlerstest.AlicePassword), "240",
				"Too many attempts. Try again in 4 minutes.")
			h.Clock.Advance(3*time.Minute + 29*time.Second)
			wantThrottled(h, throttleSignIn(h, asJSON, "192.0.2.1", "alice", handlerstest.AlicePassword), "31",
				"Too many attempts. Try again in 1 minute.")
			if rows := h.SessionsOf("alice"); len(rows) != 0 {
				t.Errorf("sessions %q", rows)
			}
			h.Clock.Advance(31 * time.Second)
			wantStatus(h, throttleSignIn(h, asJSON, "192.0.2.1", "alice", handlerstest.AlicePassword), right)
			if rows := h.SessionsOf("alice"); len(rows) != 1 {
				t.Errorf("sessions %q", rows)
			}
			if n := h.Only(`SELECT COUNT(*) FROM attempts`); n != "30" {
				t.Errorf("%s attempts are counted", n) // ten failures for the name, the account and the address, and nothing else
			}
		})
	}
}

// Responses must not reveal whether an account exists: they are the same for known, disabled and unknown names at every step.
func TestThrottleRevealsNothing(t *testing.T) {
	t.Parallel()
	for _, asJSON := range []bool{false, true} {
		t.Run(fmt.Sprintf("JSON %v", asJSON), func(t *testing.T) {
			names := []string{"alice", "carol", "nobody"}
			steps := map[string][]string{}
			for _, name := range names {
				h := handlerstest.OpenHouse(t, throttleBehindProxy)
				h.AddUser("alice", handlerstest.AlicePassword)
				h.AddUser("carol", handlerstest.AlicePassword)
				if err := h.Store.DisableUser(context.Background(), db.CommandLine, "carol", true); err != nil {
					t.Fatal(err)
				}
				for i := range 112 {
					got := throttleSignIn(h, asJSON, fmt.Sprintf("192.0.2.%d", i), name, throttleWrong)
					body := strings.ReplaceAll(strings.ReplaceAll(withoutFormID(got.Body), name, "NAME"), h.URL, "URL")
					steps[name] = append(steps[name], fmt.Sprintf("%d %s %s", got.Status, got.Header.Get("Retry-After"), body))
					if i%11 == 10 {
						h.Clock.Advance(15 * time.Minute)
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
	h := handlerstest.OpenHouse(t, throttleBehindProxy)
	h.AddUser("alice", handlerstest.AlicePassword)
	const bad, same = "2001:db8:0:1::1", "2001:db8:0:1:ffff::2"
	for i := range 30 {
		wantStatus(h, throttleSignIn(h, true, fmt.Sprintf("2001:db8:0:1::%x", i+1), fmt.Sprintf("nobody%d", i), throttleWrong),
			http.StatusUnauthorized)
	}
	for _, ip := range []string{bad, same, "[" + same + "]:4711"} {
		for range 5 {
			wantThrottled(h, throttleSignIn(h, true, ip, "alice", handlerstest.AlicePassword), "900", in15Minutes)
		}
	}
	for _, ip := range []string{"2001:db8:0:2::1", "192.0.2.1"} {
		wantStatus(h, throttleSignIn(h, true, ip, "alice", handlerstest.AlicePassword), http.StatusOK)
	}
	if rows := h.SessionsOf("alice"); len(rows) != 2 {
		t.Errorf("sessions %q", rows)
	}
}

func TestThrottleFiftyAtOnce(t *testing.T) {
	t.Parallel()
	for _, asJSON := range []bool{false, true} {
		t.Run(fmt.Sprintf("JSON %v", asJSON), func(t *testing.T) {
			h := handlerstest.OpenHouse(t, throttleBehindProxy)
			h.AddUser("alice", handlerstest.AlicePassword)
			var mu sync.Mutex
			var all sync.WaitGroup
			statuses := map[int]int{}
			for range 50 {
				all.Go(func() {
					got := throttleSignIn(h, asJSON, "192.0.2.1", "alice", throttleWrong)
					mu.Lock()
					defer mu.Unlock()
					statuses[got.Status]++
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
			if n := h.Only(`SELECT COUNT(*) FROM attempts`); n != "30" {
				t.Errorf("%s attempts are counted", n)
			}
		})
	}
}

// An attempt that got 503 is not counted.
func TestThrottleDoesNotCountUnavailable(t *testing.T) {
	t.Parallel()
	h := handlerstest.OpenHouse(t, throttleBehindProxy)
	h.AddUser("alice", handlerstest.AlicePassword)
	for range 9 {
		wantStatus(h, throttleSignIn(h, true, "192.0.2.1", "alice", throttleWrong), http.StatusUnauthorized)
	}
	lock, err := sql.Open("sqlite3", "file:"+h.Path+"?_txlock=immediate")
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	tx, err := lock.Begin()
	if err != nil {
		t.Fatal(err)
	}
	got := throttleSignIn(h, true, "192.0.2.1", "alice", handlerstest.AlicePassword)
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	wantStatus(h, got, http.StatusServiceUnavailable)
	if n := h.Only(`SELECT COUNT(*) FROM attempts`); n != "27" {
		t.Errorf("%s attempts are counted", n)
	}
	wantStatus(h, throttleSignIn(h, true, "192.0.2.1", "alice", throttleWrong), http.StatusUnauthorized)
	wantThrottled(h, throttleSignIn(h, true, "192.0.2.1", "alice", handlerstest.AlicePassword), "900", in15Minutes)
}

func TestThrottleInvitationWorksAfterAHundredFailures(t *testing.T) {
	t.Parallel()
	h := handlerstest.OpenHouse(t, throttleBehindProxy)
	h.AddUser("alice", handlerstest.AlicePassword)
	for i := range 100 {
		if i%10 == 0 {
			h.Clock.Advance(15 * time.Minute)
		}
		wantStatus(h, throttleSignIn(h, true, "192.0.2.1", "alice", throttleWrong), http.StatusUnauthorized)
	}
	h.Clock.Advance(time.Hour)
	for _, asJSON := range []bool{true, false} {
		got := throttleSignIn(h, asJSON, "198.51.100.1", "alice", handlerstest.AlicePassword)
		wantThrottled(h, got, "900", tooManyInARow)
		got.Lacks(t, "minutes")
	}
	if got := throttleSignIn(h, true, "198.51.100.1", "alice",
		handlerstest.AlicePassword); got.Body != `{"error":"Too many wrong passwords in a row. `+tooManyInARow+`"}` {
		t.Errorf("body %s", got.Body)
	}
	token, _, err := h.Store.Invite(context.Background(), db.CommandLine, db.NewUser{Username: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	browser := h.NewClient(handlerstest.FirefoxOnLinux)
	wantStatus(h, formFrom(browser, "192.0.2.1", "/invite", "token", token, "password", handlerstest.BobPassword), http.StatusSeeOther)
	wantStatus(h, browser.Page("/sessions"), http.StatusOK)
	wantStatus(h, throttleSignIn(h, true, "198.51.100.1", "alice", handlerstest.BobPassword), http.StatusOK)
}

// People type passwords into the name field by mistake.
func TestThrottleStoresNoTypedName(t *testing.T) {
	t.Parallel()
	h := handlerstest.OpenHouse(t, throttleBehindProxy)
	h.AddUser("alice", handlerstest.AlicePassword)
	typed := "Lantern Velvet Orbit Marmalade"
	for i := range 12 {
		throttleSignIn(h, i%2 == 0, "192.0.2.1", typed, "")
	}
	if err := h.Store.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	if n := h.Only(`SELECT COUNT(*) FROM attempts WHERE length(key) = 32`); n != "30" {
		t.Errorf("%s attempts are counted", n)
	}
	places := map[string]string{"the log": h.Log.String()}
	for _, path := range []string{h.Path, h.Path + "-wal"} {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		places[path] = string(content)
	}
	for where, text := range places {
		for _, form := range []string{typed, strings.ReplaceAll(typed, " ", "+"), strings.ReplaceAll(typed, " ", "%20")} {
			if strings.Contains(strings.ToLower(text), strings.ToLower(form)) {
				t.Errorf("the typed name is in %s", where)
			}
		}
	}
}

func TestThrottleSetUp(t *testing.T) {
	t.Parallel()
	h := handlerstest.OpenHouse(t, throttleBehindProxy, func(o *handlers.Options) { o.SetupToken = throttleToken })
	browser := h.NewClient(handlerstest.FirefoxOnLinux)
	show := func(ip, token string) handlerstest.Answer { return pageFrom(browser, ip, "/setup?token="+token) }
	send := func(ip, token string) handlerstest.Answer {
		return formFrom(browser, ip, "/setup", "token", token, "username", "alice", "password", "short")
	}
	for i := range 29 {
		if i%2 == 0 {
			wantStatus(h, show("192.0.2.1", "WRONG"), http.StatusForbidden)
		} else {
			wantStatus(h, send("192.0.2.1", "WRONG"), http.StatusForbidden)
		}
	}
	for range 3 { // an attempt with the right token is not counted
		wantStatus(h, show("192.0.2.1", throttleToken), http.StatusOK)
		wantStatus(h, send("192.0.2.1", throttleToken), http.StatusUnprocessableEntity)
	}
	wantStatus(h, show("192.0.2.1", ""), http.StatusForbidden)
	for range 3 {
		wantThrottled(h, show("192.0.2.1", throttleToken), "900", in15Minutes)
		wantThrottled(h, send("192.0.2.1", throttleToken), "900", in15Minutes)
	}
	if n := h.Only(`SELECT COUNT(*) FROM attempts`); n != "30" {
		t.Errorf("%s attempts are counted", n)
	}
	wantStatus(h, formFrom(browser, "192.0.2.2", "/setup", "token", throttleToken, "username", "alice",
		"password", handlerstest.AlicePassword), http.StatusSeeOther)
	if rows := h.Rows(`SELECT username, is_admin FROM users`); !slices.Equal(rows, []string{"alice 1"}) {
		t.Errorf("users %q", rows)
	}
}

func TestThrottleInvite(t *testing.T) {
	t.Parallel()
	h := handlerstest.OpenHouse(t, throttleBehindProxy)
	h.AddUser("alice", handlerstest.AlicePassword)
	token, _, err := h.Store.Invite(context.Background(), db.CommandLine, db.NewUser{Username: "carol"})
	if err != nil {
		t.Fatal(err)
	}
	browser := h.NewClient(handlerstest.FirefoxOnLinux)
	show := func(ip, token string) handlerstest.Answer { return pageFrom(browser, ip, "/invite?token="+token) }
	send := func(ip, token, password string) handlerstest.Answer {
		return formFrom(browser, ip, "/invite", "token", token, "password", password)
	}
	for i := range 29 {
		if i%2 == 0 {
			wantStatus(h, show("192.0.2.1", "WRONG"), http.StatusNotFound)
		} else {
			wantStatus(h, send("192.0.2.1", "WRONG", handlerstest.BobPassword), http.StatusNotFound)
		}
	}
	for range 3 {
		wantStatus(h, show("192.0.2.1", token), http.StatusOK)
		wantStatus(h, send("192.0.2.1", token, "short"), http.StatusUnprocessableEntity)
	}
	wantStatus(h, send("192.0.2.1", "", handlerstest.BobPassword), http.StatusNotFound)
	for range 3 {
		wantThrottled(h, show("192.0.2.1", token), "900", in15Minutes)
		wantThrottled(h, send("192.0.2.1", token, handlerstest.BobPassword), "900", in15Minutes)
	}
	if n := h.Only(`SELECT COUNT(*) FROM attempts`); n != "30" {
		t.Errorf("%s attempts are counted", n)
	}
	if rows := h.Rows(`SELECT username FROM users`); !slices.Equal(rows, []string{"alice"}) {
		t.Errorf("users %q", rows)
	}
	wantStatus(h, send("192.0.2.2", token, handlerstest.BobPassword), http.StatusSeeOther)
}
