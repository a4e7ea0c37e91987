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
)

// This file owns what attempts are counted by, as clients see it.

// The routes that ask for the password again count by session: neither the account nor the address.
func TestThrottleLiveSession(t *testing.T) {
	t.Parallel()
	c := openCast(t, throttleBehindProxy)
	change := func(by *client, ip, current string) answer {
		return by.formFrom(ip, "/account/password", "current_password", current, "new_password", "another dozen pickled lamps")
	}
	remove := func(by *client, ip, password string) answer {
		return by.formFrom(ip, "/account/delete", "password", password, "confirm", "1")
	}
	for i := range 10 {
		if i%2 == 0 {
			c.wantStatus(change(c.bob, "192.0.2.1", throttleWrong), http.StatusUnprocessableEntity)
		} else {
			c.wantStatus(remove(c.bob, "192.0.2.1", throttleWrong), http.StatusUnprocessableEntity)
		}
	}
	before := c.rows(`SELECT * FROM users`)
	for _, ip := range []string{"192.0.2.1", "192.0.2.2"} {
		c.wantThrottled(change(c.bob, ip, bobPassword), "900", in15Minutes)
		c.wantThrottled(remove(c.bob, ip, bobPassword), "900", in15Minutes)
		c.wantStatus(c.throttleSignIn(true, ip, "bob", bobPassword), http.StatusOK)
	}
	if after := c.rows(`SELECT * FROM users`); !slices.Equal(before, after) {
		t.Errorf("users %q", after)
	}
	c.wantStatus(c.bob.page("/sessions"), http.StatusOK) // still signed in
	c.sameRows(t, []string{"confirm_failed 10 " + c.bob.id}, `SELECT kind, count, session_id FROM activity WHERE kind = 'confirm_failed'`)
	if got := strings.Count(c.log.String(), "password check failed"); got != 1 || !strings.Contains(c.log.String(), "session="+c.bob.id) {
		t.Errorf("%d lines about failed checks:\n%s", got, c.log)
	}

	// Strangers' failures do not keep alice from changing her password.
	for range 10 {
		c.throttleSignIn(true, "198.51.100.1", "alice", throttleWrong)
	}
	for i := range 30 {
		c.throttleSignIn(true, "192.0.2.1", fmt.Sprintf("nobody%d", i), throttleWrong)
	}
	c.wantThrottled(c.throttleSignIn(true, "192.0.2.1", "alice", alicePassword), "900", in15Minutes)
	c.wantStatus(change(c.alice, "192.0.2.1", alicePassword), http.StatusSeeOther)

	c.clock.Advance(15 * time.Minute)
	for range 12 { // right passwords do not count
		c.wantStatus(change(c.bob, "192.0.2.1", bobPassword), http.StatusSeeOther)
		c.wantStatus(c.bob.formFrom("192.0.2.1", "/account/password", "current_password", "another dozen pickled lamps", "new_password",
			bobPassword), http.StatusSeeOther)
	}
	c.wantStatus(remove(c.bob, "192.0.2.1", bobPassword), http.StatusSeeOther)
}

// As somebody from outside sees it, alice's address is like an address that nobody has: the same statuses, bodies and waits.
func TestThrottleTellsNotWhichNamesBelongTogether(t *testing.T) {
	t.Parallel()
	seen := map[string][]string{}
	for _, email := range []string{"ada@example.com", "other@example.com"} {
		h := openHouse(t, throttleBehindProxy)
		if _, err := h.store.CreateUser(context.Background(), db.NewUser{Username: "alice", Email: email, Password: alicePassword}); err != nil {
			t.Fatal(err)
		}
		for i, name := range slices.Concat(slices.Repeat([]string{"alice"}, 10), slices.Repeat([]string{"ada@example.com"}, 12),
			[]string{"alice"}) {
			got := h.throttleSignIn(true, fmt.Sprintf("192.0.2.%d", i), name, throttleWrong)
			seen[email] = append(seen[email], fmt.Sprint(name, got.status, got.header.Get("Retry-After"), got.body))
		}
	}
	if hers, nobodys := seen["ada@example.com"], seen["other@example.com"]; !slices.Equal(hers, nobodys) {
		t.Errorf("of one account:\n%q\nof two:\n%q", hers, nobodys)
	}
}

// Everybody in an office comes from one address and may sign in at nine sharp.
func TestThrottleFortySignInsAtOnce(t *testing.T) {
	t.Parallel()
	h := openHouse(t, throttleBehindProxy)
	for i := range 40 {
		h.addUser(fmt.Sprintf("user%d", i), alicePassword)
	}
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			if got := h.throttleSignIn(true, "192.0.2.1", fmt.Sprintf("user%d", i), alicePassword); got.status != http.StatusOK {
				t.Errorf("%d: %s", got.status, got.body)
			}
		})
	}
	all.Wait()
}
