package db_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"porchlight/db"
)

// fillUsers adds accounts with an address. Every thousandth is waiting for approval.
func (h *house) fillUsers(n int) {
	h.t.Helper()
	h.exec(`
		WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1)
		INSERT INTO users (username, email, password_hash, approved, created_at)
		SELECT printf('user%06d', i), printf('person.%d@mail.example.com', i), '', i % 1000 > 0, $2 FROM n`,
		n, h.clock.Now().UnixMilli())
}

// BenchmarkFindUsers reads a page of the list of people. A page with few matches reads every account, the others do not.
func BenchmarkFindUsers(b *testing.B) {
	for _, n := range []int{500, 50_000} {
		h := openHouse(b)
		h.fillUsers(n)
		for _, page := range []struct {
			name   string
			filter db.UserFilter
		}{
			{"first page", db.UserFilter{}}, {"last page", db.UserFilter{After: fmt.Sprintf("user%06d", n-20)}},
			{"waiting", db.UserFilter{Waiting: true}}, {"no match", db.UserFilter{Text: "nobody"}},
		} {
			b.Run(fmt.Sprintf("accounts=%d %s", n, page.name), func(b *testing.B) {
				for b.Loop() {
					if _, _, err := h.FindUsers(page.filter, 50); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func TestFindUsers(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.exec(`UPDATE users SET email = 'wonder@example.com' WHERE username = 'alice'`)
	c.exec(`UPDATE users SET approved = 0 WHERE username = 'bob'`)
	for _, test := range []struct {
		filter db.UserFilter
		limit  int
		want   string
	}{
		{db.UserFilter{}, 2, "alice bob"},
		{db.UserFilter{}, 1, "alice …"},
		{db.UserFilter{After: "alice"}, 1, "bob"},
		{db.UserFilter{After: "bob"}, 1, ""},
		{db.UserFilter{Text: " LIC "}, 2, "alice"},
		{db.UserFilter{Text: "wonder@"}, 2, "alice"},
		{db.UserFilter{Text: "%"}, 2, ""},
		{db.UserFilter{Waiting: true}, 2, "bob"},
		{db.UserFilter{Waiting: true, Text: "alice"}, 2, ""},
	} {
		users, more, err := c.FindUsers(test.filter, test.limit)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, user := range users {
			got += " " + user.Username
		}
		if more {
			got += " …"
		}
		if got = got[min(1, len(got)):]; got != test.want {
			t.Errorf("%+v: %q, want %q", test.filter, got, test.want)
		}
	}
	if n, err := c.WaitingForApproval(5); err != nil || n != 1 {
		t.Errorf("%d wait, %v", n, err)
	}
	c.exec(`UPDATE users SET disabled = 1 WHERE username = 'bob'`)
	if users, _, err := c.FindUsers(db.UserFilter{Waiting: true}, 2); err != nil || len(users) != 0 {
		t.Errorf("disabled, and still waiting: %+v, %v", users, err)
	}
	if n, err := c.WaitingForApproval(5); err != nil || n != 0 {
		t.Errorf("disabled, and %d wait, %v", n, err)
	}
	if user, err := c.User(c.alice.ID); err != nil || user.Username != "alice" || user.Sessions != 2 {
		t.Errorf("User: %+v, %v", user, err)
	}
	if _, err := c.User(999); !errors.Is(err, db.ErrNotFound) {
		t.Error(err)
	}
}

// The pages show every account once.
func TestFindUsersInPages(t *testing.T) {
	t.Parallel()
	h := openHouse(t)
	h.fillUsers(123)
	var got []string
	after := ""
	for _, wantMore := range []bool{true, true, false} {
		users, more, err := h.FindUsers(db.UserFilter{After: after}, 50)
		if err != nil || more != wantMore {
			t.Fatalf("after %q: more is %v, %v", after, more, err)
		}
		for _, user := range users {
			after = user.Username
			got = append(got, after)
		}
	}
	if want := h.texts(`SELECT username FROM users ORDER BY username`); !slices.Equal(got, want) {
		t.Errorf("%d accounts, want %d", len(got), len(want))
	}
}
