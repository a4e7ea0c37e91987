package db_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"porchlight/db"
)

// This file tests what administrators see about access. Each test of an auth check also tests that the two agree: see wantAllowed.

func TestReachNamesTheRule(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.allow("*.example.com", true)
	c.allowGroups("wiki.example.com", "family")
	c.setGroups("bob", "family")
	c.exec(`UPDATE users SET disabled = 1 WHERE username = 'bob'`)
	for host, want := range map[string]string{notes: "*.example.com", "wiki.example.com": "wiki.example.com", "example.com": ""} {
		got, err := c.Reach(" Bob ", host)
		if err != nil || got.Rule != want || got.Username != "bob" || !got.Disabled || got.Groups != "family" || got.Allowed != (host != notes) {
			t.Errorf("%s: %+v, %v", host, got, err)
		}
	}
	for _, name := range []string{"nobody", "", "alice@example.com"} {
		if _, err := c.Reach(name, notes); !errors.Is(err, db.ErrNotFound) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestHostsWithoutRule(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	want := func(want ...string) {
		t.Helper()
		if got, err := c.HostsWithoutRule(); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
	}
	want()
	for _, host := range []string{notes, "wiki.example.com", "localhost", "2001:db8::1"} {
		c.use(c.laptop, host)
		c.use(c.desk, host)
	}
	c.flush()
	want("2001:db8::1", "localhost", notes, "wiki.example.com")
	c.allow(notes, true)
	want("2001:db8::1", "localhost", "wiki.example.com")
	c.allow("*.example.com", true)
	want("2001:db8::1", "localhost")
	c.exec(`DELETE FROM sessions`)
	want()

	c.laptop = c.signIn(c.alice, firefoxOnLinux, "192.0.2.10")
	for i := range 600 {
		c.exec(`INSERT INTO session_apps VALUES ($1, $2, 1)`, c.laptop.ID, fmt.Sprintf("h%d.example.org", i))
	}
	if got, err := c.HostsWithoutRule(); err != nil || len(got) != 500 {
		t.Errorf("%d hosts, %v", len(got), err)
	}
}
