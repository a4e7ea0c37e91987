package handlers_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"porchlight/db"
	"porchlight/handlers/handlerstest"
)

// This file tests by which keys failed attempts are counted, as clients see it.

// The routes that ask for the password again count by session: neither the account nor the address.
func TestThrottleLiveSession(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, throttleBehindProxy)
	change := func(by *handlerstest.Client, ip, current string) handlerstest.Answer {
		return formFrom(by, ip, "/account/password", "current_password", current, "new_password", "another dozen pickled lamps")
	}
	remove := func(by *handlerstest.Client, ip, password string) handlerstest.Answer {
		return formFrom(by, ip, "/account/delete", "password", password, "confirm", "1")
	}
	for i := range 10 {
		if i%2 == 0 {
			wantStatus(c.House, change(c.Bob, "192.0.2.1", throttleWrong), http.StatusUnprocessableEntity)
		} else {
			wantStatus(c.House, remove(c.Bob, "192.0.2.1", throttleWrong), http.StatusUnprocessableEntity)
		}
	}
	before := c.Rows(`SELECT * FROM users`)
	for _, ip := range []string{"192.0.2.1", "192.0.2.2"} {
		wantThrottled(c.House, change(c.Bob, ip, handlerstest.BobPassword), "900", in15Minutes)
		wantThrottled(c.House, remove(c.Bob, ip, handlerstest.BobPassword), "900", in15Minutes)
		wantStatus(c.House, throttleSignIn(c.House, true, ip, "bob", handlerstest.BobPassword), http.StatusOK)
	}
	if after := c.Rows(`SELECT * FROM users`); !slices.Equal(before, after) {
		t.Errorf("users %q", after)
	}
	wantStatus(c.House, c.Bob.Page("/sessions"), http.StatusOK) // still signed in
	c.SameRows(t, []string{"confirm_failed 10 " + c.Bob.ID}, `SELECT kind, count, session_id FROM activity WHERE kind = 'confirm_failed'`)
	if got := strings.Count(c.Log.String(), "password check failed"); got != 1 || !strings.Contains(c.Log.String(), "session="+c.Bob.ID) {
		t.Errorf("%d lines about failed checks:\n%s", got, c.Log)
	}

	// Strangers' failures do not keep alice from changing her password.
	for range 10 {
		throttleSignIn(c.House, true, "198.51.100.1", "alice", throttleWrong)
	}
	for i := range 30 {
		throttleSignIn(c.House, true, "192.0.2.1", fmt.Sprintf("nobody%d", i), throttleWrong)
	}
	wantThrottled(c.House, throttleSignIn(c.House, true, "192.0.2.1", "alice", handlerstest.AlicePassword), "900", in15Minutes)
	wantStatus(c.House, change(c.Alice, "192.0.2.1", handlerstest.AlicePassword), http.StatusSeeOther)

	c.Clock.Advance(15 * time.Minute)
	for range 12 { // right passwords do not count
		wantStatus(c.House, change(c.Bob, "192.0.2.1", handlerstest.BobPassword), http.StatusSeeOther)
		wantStatus(c.House, formFrom(c.Bob, "192.0.2.1", "/account/password", "current_password", "another dozen pickled lamps", "new_password",
			handlerstest.BobPassword), http.StatusSeeOther)
	}
	wantStatus(c.House, remove(c.Bob, "192.0.2.1", handlerstest.BobPassword), http.StatusSeeOther)
}

// From outside, alice's e-mail address looks like one that nobody has: the statuses, bodies and waits are the same.
func TestThrottleHidesWhichNamesBelongTogether(t *testing.T) {
	t.Parallel()
	seen := map[string][]string{}
	for _, email := range []string{"ada@example.com", "other@example.com"} {
		h := handlerstest.OpenHouse(t, throttleBehindProxy)
		if _, err := h.Store.CreateUser(context.Background(), db.NewUser{
			Username: "alice", Email: email, Password: handlerstest.AlicePassword,
		}); err != nil {
			t.Fatal(err)
		}
		for i, name := range slices.Concat(slices.Repeat([]string{"alice"}, 10), slices.Repeat([]string{"ada@example.com"}, 12),
			[]string{"alice"}) {
			got := throttleSignIn(h, true, fmt.Sprintf("192.0.2.%d", i), name, throttleWrong)
			seen[email] = append(seen[email], fmt.Sprint(name, got.Status, got.Header.Get("Retry-After"), got.Body))
		}
	}
	if hers, nobodys := seen["ada@example.com"], seen["other@example.com"]; !slices.Equal(hers, nobodys) {
		t.Errorf("of one account:\n%q\nof two:\n%q", hers, nobodys)
	}
}

// All people of an office have one address, and may sign in at the same time.
func TestThrottleFortySignInsAtOnce(t *testing.T) {
	t.Parallel()
	h := handlerstest.OpenHouse(t, throttleBehindProxy)
	for i := range 40 {
		h.AddUser(fmt.Sprintf("user%d", i), handlerstest.AlicePassword)
	}
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			if got := throttleSignIn(h, true, "192.0.2.1", fmt.Sprintf("user%d", i), handlerstest.AlicePassword); got.Status != http.StatusOK {
				t.Errorf("%d: %s", got.Status, got.Body)
			}
		})
	}
	all.Wait()
}
