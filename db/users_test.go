package db_test

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"porchlight/db"
)

// wantInvalid returns what CreateUser rejects, by field.
func (h *house) wantInvalid(new db.NewUser) db.Invalid {
	h.t.Helper()
	_, err := h.CreateUser(h.ctx(), new)
	var invalid db.Invalid
	if err != nil && !errors.As(err, &invalid) {
		h.t.Fatalf("create %q: %v", new.Username, err)
	}
	return invalid
}

func TestUsernameRules(t *testing.T) {
	t.Parallel()
	h := openHouse(t)
	for _, test := range []struct {
		typed, kept string // kept is "" if it is refused
	}{
		{"a", "a"}, {"0", "0"}, {"a.b-c_d", "a.b-c_d"}, {"ada.", "ada."}, {" Ada\t", "ada"}, {strings.Repeat("x", 32), strings.Repeat("x", 32)},
		{"", ""}, {"  ", ""}, {".ada", ""}, {"-ada", ""}, {"_ada", ""}, {strings.Repeat("x", 33), ""}, {"ada lovelace", ""},
		{"ada@example.com", ""}, {"ädä", ""},
		{"ada\nadmin", ""}, {"ada\x00", ""}, {"ada/..", ""}, {"<b>", ""}, {"аda", ""}, // the last begins with a Cyrillic a
	} {
		user, err := h.CreateUser(h.ctx(), db.NewUser{Username: test.typed, Password: alicePassword})
		var invalid db.Invalid
		switch {
		case test.kept == "":
			if !errors.As(err, &invalid) || len(invalid) != 1 || invalid["username"] == "" {
				t.Errorf("%q: %+v, %v", test.typed, user, err)
			}
		case err != nil || user.Username != test.kept:
			t.Errorf("%q: %q, %v", test.typed, user.Username, err)
		case h.number(`SELECT COUNT(*) FROM users WHERE username = $1 AND id = $2`, test.kept, user.ID) != 1:
			t.Errorf("%q has no row", test.kept)
		}
	}
	if n := h.number(`SELECT COUNT(*) FROM users`); n != 6 {
		t.Errorf("%d accounts were created", n)
	}
}

func TestEmailRules(t *testing.T) {
	t.Parallel()
	h := openHouse(t)
	for i, test := range []struct {
		typed string
		kept  string
		ok    bool
	}{
		{"", "", true}, {" ", "", true}, {" Ada@Example.COM ", "ada@example.com", true}, {"a+b@sub.example.com", "a+b@sub.example.com", true},
		{strings.Repeat("a", 64) + "@" + strings.Repeat("b.", 94) + "c",
			strings.Repeat("a", 64) + "@" + strings.Repeat("b.", 94) + "c", true}, // 254
		{"ada", "", false}, {"ada@", "", false}, {"@example.com", "", false}, {"Ada <ada@example.com>", "", false},
		{"<ada@example.com>", "", false},
		{"ada@example.com, bob@example.com", "", false}, {"a da@example.com", "", false}, {"ada@example.com\nBcc: eve@example.com", "", false},
		{strings.Repeat("a", 64) + "@" + strings.Repeat("b.", 95) + "c", "", false},
	} {
		user, err := h.CreateUser(h.ctx(), db.NewUser{Username: fmt.Sprintf("user%d", i), Email: test.typed, Password: alicePassword})
		var invalid db.Invalid
		switch {
		case !test.ok:
			if !errors.As(err, &invalid) || len(invalid) != 1 || invalid["email"] == "" {
				t.Errorf("%q: %+v, %v", test.typed, user, err)
			}
		case err != nil || user.Email != test.kept:
			t.Errorf("%q: %q, %v", test.typed, user.Email, err)
		case h.number(`SELECT COUNT(*) FROM users WHERE id = $1 AND email IS NULLIF($2, '')`, user.ID, test.kept) != 1:
			t.Errorf("%q is not what is stored", test.kept)
		}
	}
}

func TestCreateUserReturnsEverythingThatIsWrong(t *testing.T) {
	t.Parallel()
	h := openHouse(t)
	invalid := h.wantInvalid(db.NewUser{Username: "Ada Lovelace", Email: "ada", Password: "short"})
	if fields := slices.Sorted(maps.Keys(invalid)); !slices.Equal(fields, []string{"email", "password", "username"}) {
		t.Errorf("wrong: %v", invalid)
	}
	if has, err := h.HasUsers(); has || err != nil {
		t.Errorf("an account was created: %v, %v", has, err)
	}
}

func TestTakenNamesAndAddresses(t *testing.T) {
	t.Parallel()
	h := openHouse(t)
	if _, err := h.CreateUser(h.ctx(), db.NewUser{Username: "ada", Email: "ada@example.com", Password: alicePassword}); err != nil {
		t.Fatal(err)
	}
	says := map[string]string{"username": " is taken.", "email": " is already in use."}
	for name, test := range map[string]struct {
		new  db.NewUser
		want string
	}{
		"username":                {db.NewUser{Username: "ada"}, "username"},
		"username in other case":  {db.NewUser{Username: " ADA "}, "username"},
		"e-mail":                  {db.NewUser{Username: "bob", Email: "ada@example.com"}, "email"},
		"e-mail in another case":  {db.NewUser{Username: "bob", Email: " Ada@EXAMPLE.com "}, "email"},
		"neither, without e-mail": {db.NewUser{Username: "carol"}, ""},
		"nor a second without":    {db.NewUser{Username: "dora"}, ""},
	} {
		test.new.Password = bobPassword
		invalid := h.wantInvalid(test.new)
		if (test.want == "") != (len(invalid) == 0) || test.want != "" && !strings.HasSuffix(invalid[test.want], says[test.want]) {
			t.Errorf("%s: %v", name, invalid)
		}
	}
	if users := h.texts(`SELECT username FROM users ORDER BY username`); !slices.Equal(users, []string{"ada", "carol", "dora"}) {
		t.Errorf("accounts: %v", users)
	}
}

func TestTheFirstAccountIsTheAdministrator(t *testing.T) {
	t.Parallel()
	h := openHouse(t)
	if has, err := h.HasUsers(); has || err != nil {
		t.Errorf("before: %v, %v", has, err)
	}
	first, second := h.addUser("alice", alicePassword), h.addUser("bob", bobPassword)
	third, err := h.CreateUser(h.ctx(), db.NewUser{Username: "carol", Password: newPassword, IsAdmin: true})
	if err != nil {
		t.Fatal(err)
	}
	if !first.IsAdmin || second.IsAdmin || !third.IsAdmin {
		t.Errorf("administrators: %v, %v, %v", first.IsAdmin, second.IsAdmin, third.IsAdmin)
	}
	if admins := h.texts(`SELECT username FROM users WHERE is_admin = 1 ORDER BY id`); !slices.Equal(admins, []string{"alice", "carol"}) {
		t.Errorf("administrators on disk: %v", admins)
	}
	if has, err := h.HasUsers(); !has || err != nil {
		t.Errorf("after: %v, %v", has, err)
	}
}

func TestOnlyOneFirstAccount(t *testing.T) {
	t.Parallel()
	h := openHouse(t)
	var made, refused atomic.Int32
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			_, err := h.CreateUser(h.ctx(), db.NewUser{Username: fmt.Sprintf("user%d", i%10), Password: alicePassword, First: true})
			switch {
			case err == nil:
				made.Add(1)
			case errors.Is(err, db.ErrNotFound):
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	all.Wait()
	if made.Load() != 1 || refused.Load() != 19 {
		t.Errorf("%d were created, %d refused", made.Load(), refused.Load())
	}
	if n := h.number(`SELECT COUNT(*) FROM users`); n != 1 {
		t.Errorf("%d accounts", n)
	}
}

func TestAuthenticateAcceptsUsernameAndEmail(t *testing.T) {
	t.Parallel()
	h := openHouse(t)
	ada, err := h.CreateUser(h.ctx(), db.NewUser{Username: "ada", Email: "ada@example.com", Password: alicePassword})
	if err != nil {
		t.Fatal(err)
	}
	h.addUser("bob", bobPassword)
	for _, name := range []string{"ada", " ADA ", "ada@example.com", "Ada@Example.com\t"} {
		if user, err := h.Authenticate(h.ctx(), name, alicePassword, db.Client{}); err != nil || !reflect.DeepEqual(user, ada) {
			t.Errorf("%q: %+v, %v", name, user, err)
		}
	}
	for _, name := range []string{"", "ad", "ada@", "@example.com", "ada@example.co", "bob", "%", "ada' OR '1'='1", "ada\x00"} {
		if _, err := h.Authenticate(h.ctx(), name, alicePassword, db.Client{}); !errors.Is(err, db.ErrWrongPassword) {
			t.Errorf("%q: %v", name, err)
		}
	}
	// The empty e-mail address names nobody, although most accounts have none.
	if _, err := h.Authenticate(h.ctx(), "", bobPassword, db.Client{}); !errors.Is(err, db.ErrWrongPassword) {
		t.Error(err)
	}
}

// Only one first account can be created since the start, even if it was deleted.
func TestOneFirstAccountPerStart(t *testing.T) {
	t.Parallel()
	h := openHouse(t)
	first := func(name string) error {
		_, err := h.CreateUser(h.ctx(), db.NewUser{Username: name, Password: alicePassword, First: true})
		return err
	}
	fresh := func(want bool) {
		t.Helper()
		if got, err := h.IsFresh(); err != nil || got != want {
			t.Errorf("fresh: %v, %v", got, err)
		}
	}
	fresh(true)
	if err := first("ada"); err != nil {
		t.Fatal(err)
	}
	fresh(false)
	h.exec(`DELETE FROM users`)
	fresh(false)
	if err := first("eve"); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("a second first account: %v", err)
	}
	h.reopen()
	fresh(true)
	if err := first("grace"); err != nil {
		t.Fatal(err)
	}
	h.reopen()
	fresh(false)
	if err := first("eve"); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("a first account beside another: %v", err)
	}
}

func TestUnknownWrongAndDisabledAreOneError(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.exec(`UPDATE users SET disabled = 1 WHERE username = 'bob'`)
	c.exec(`INSERT INTO users (username, password_hash, created_at) VALUES ('carol', '', 0)`)
	for name, try := range map[string][2]string{
		"unknown":                       {"nobody", alicePassword},
		"wrong":                         {"alice", bobPassword},
		"empty":                         {"alice", ""},
		"disabled":                      {"bob", bobPassword},
		"disabled and wrong":            {"bob", alicePassword},
		"without a password":            {"carol", alicePassword},
		"without a password, and empty": {"carol", ""},
	} {
		_, err := c.Authenticate(c.ctx(), try[0], try[1], db.Client{})
		if !errors.Is(err, db.ErrWrongPassword) || err.Error() != db.ErrWrongPassword.Error() {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestUsersAreListedWithTheirLiveSessions(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.signIn(c.alice, "library", "192.0.2.12", shared)
	c.addUser("aaron", newPassword)
	c.exec(`UPDATE users SET email = 'bob@example.com', disabled = 1 WHERE username = 'bob'`)
	c.clock.Advance(db.DefaultLimits.SharedIdleTimeout)
	users, err := c.Users()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, u := range users {
		got = append(got, fmt.Sprint(u.Username, " ", u.Email, " ", u.IsAdmin, " ", u.Disabled, " ", u.Sessions))
		if u.CreatedAt.After(c.clock.Now()) || u.CreatedAt.Year() != 2026 {
			t.Errorf("%s was created at %v", u.Username, u.CreatedAt)
		}
	}
	if want := []string{"aaron  false false 0", "alice  true false 2", "bob bob@example.com false true 0"}; !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestDeletingAUserDeletesSessionsAndActivity(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	if _, err := c.Writer().Exec(`DELETE FROM users WHERE username = 'alice'`); err != nil { // with the store's own settings
		t.Fatal(err)
	}
	if sessions, activity := c.ids(), c.number(`SELECT COUNT(*) FROM activity`); !slices.Equal(sessions, []string{c.desk.ID}) ||
		activity != 1 {
		t.Errorf("left are %v and %d rows of activity", sessions, activity)
	}
	c.wantEnded(c.laptop, c.phone)
	if again := c.addUser("alice", alicePassword); again.ID == c.alice.ID {
		t.Error("the id of a deleted account was given again")
	}
}
