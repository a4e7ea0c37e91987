package db_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/text/unicode/norm"

	"porchlight/db"
	"porchlight/db/dbtest"
)

// characters are n letters without a pattern, each of the given alphabet; the same on every run.
func characters(n int, alphabet string) string {
	letters, source := []rune(alphabet), rand.New(rand.NewPCG(15, 256))
	chosen := make([]rune, n)
	for i := range chosen {
		chosen[i] = letters[source.IntN(len(letters))]
	}
	return string(chosen)
}

const (
	oneByte   = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
	fourBytes = "🦉🐙🦋🌵🍄🌻🍇🥝🧀🚲🛶🪁🎈🧵🔭🧭"
)

func TestPasswordLengthIsCountedInCodePoints(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, password, reason string
	}{
		{"empty", "", "at least 15 characters. This password has 0"},
		{"14", characters(14, oneByte), "at least 15 characters. This password has 14"},
		{"14 of four bytes", characters(14, fourBytes), "at least 15 characters. This password has 14"},
		{"14 of two code points each", strings.Repeat("e\u0301x", 7), "at least 15 characters. This password has 14"},
		{"15", characters(15, oneByte), ""},
		{"15 of four bytes", characters(15, fourBytes), ""},
		{"256", characters(256, oneByte), ""},
		{"256 of four bytes", characters(256, fourBytes), ""},
		{"257", characters(257, oneByte), "at most 256 characters. This password has 257"},
		{"a megabyte", strings.Repeat("lantern velvet ", 70_000), "at most 256 characters"},
		{"not text", characters(15, oneByte) + "\xff", "not valid text"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := openHouse(t)
			reason := h.wrong(db.NewUser{Username: "ada", Password: test.password})["password"]
			if (test.reason == "") != (reason == "") || !strings.Contains(reason, test.reason) {
				t.Errorf("reason: %q, want %q", reason, test.reason)
			}
			_, err := h.Authenticate(h.ctx(), "ada", test.password, db.Client{})
			if accepted := err == nil; accepted != (test.reason == "") {
				t.Errorf("sign in: %v", err)
			}
		})
	}
}

func TestPasswordsThatAreEasyToGuessAreRefused(t *testing.T) {
	t.Parallel()
	h := openHouse(t, func(o *db.Options) { o.Site = "login.lighthouse.example" })
	for _, test := range []struct {
		password, reason string
	}{
		{"passwordpassword", "common"},
		{"password1234567", "common"},
		{"123456789012345", "keyboard"},
		{"qwertyuiopasdfgh", "keyboard"},
		{"aaaaaaaaaaaaaaaa", "repeats"},
		{"abcabcabcabcabcabc", "repeats"},
		{"iloveyouiloveyou", "repeats"},
		{"11/04/1987 password", "dates"},
		{"bartholomewbartholomew", "username"},
		{"Bartholomew-2026!", "username"},
		{"bartholomew.bartholomew@example.net", "e-mail"},
		{"smithereens12345", "e-mail"},
		{"smithereens example.net 1", "e-mail"},
		{"lighthouse 12345", "site"},
		{"login.lighthouse.example", "site"},
		{"Porchlight Porchlight", "site"},
	} {
		invalid := h.wrong(db.NewUser{Username: "bartholomew", Email: "smithereens@example.net", Password: test.password})
		if len(invalid) != 1 || !strings.Contains(invalid["password"], test.reason) {
			t.Errorf("%q: %q, want a reason with %q", test.password, invalid["password"], test.reason)
		}
	}
	if has, err := h.HasUsers(h.ctx()); has || err != nil {
		t.Errorf("an account was made: %v, %v", has, err)
	}
}

func TestPasswordsThatRepeatThemselvesAreRefused(t *testing.T) {
	t.Parallel()
	h := openHouse(t)
	for _, password := range []string{
		strings.Repeat("ab", 8), strings.Repeat("ab", 7) + "a", strings.Repeat("love", 8), strings.Repeat("dragon ", 4),
		strings.Repeat("monkey", 40),
		"1987-04-11 1987-04-11", strings.Repeat("é", 15), strings.Repeat("日本", 12),
	} {
		if invalid := h.wrong(db.NewUser{Username: "bartholomew", Password: password}); !strings.Contains(invalid["password"], "repeats") {
			t.Errorf("%q: %q", password, invalid["password"])
		}
	}
}

func TestGoodPassphrasesAreAccepted(t *testing.T) {
	t.Parallel()
	h := openHouse(t, func(o *db.Options) { o.Site = "login.lighthouse.example" })
	for i, password := range []string{
		alicePassword,
		bobPassword,
		"pebble sonnet harbour walnut in the lighthouse", // one word of the site among others
		"user3 pebble sonnet harbour walnut",             // likewise of the username
		"correct-mule-battery-walnut",
		"Zahnbürste Regenbogen Kürbis Ölgemälde",
		"лодка синица маяк варенье",
		"毎朝六時に起きて海岸を散歩する犬", // 16
		characters(15, oneByte),
		alicePassword + alicePassword, // good already before it repeats itself
	} {
		username := fmt.Sprintf("user%d", i)
		if invalid := h.wrong(db.NewUser{Username: username, Password: password}); len(invalid) != 0 {
			t.Errorf("%q: %v", password, invalid)
		} else if _, err := h.Authenticate(h.ctx(), username, password, db.Client{}); err != nil {
			t.Errorf("%q: %v", password, err)
		}
	}
}

func TestPasswordIsCheckedAsItWasTyped(t *testing.T) {
	t.Parallel()
	h := openHouse(t)
	long := characters(256, oneByte)
	spaced := "  Lantern velvet orbit marmalade "
	h.addUser("long", long)
	h.addUser("spaced", spaced)
	for name, test := range map[string]struct {
		username, password string
		right              bool
	}{
		"256 characters":            {"long", long, true},
		"another last one":          {"long", long[:255] + "!", false},
		"without the last one":      {"long", long[:255], false},
		"one more":                  {"long", long + "x", false},
		"72 bytes, bcrypt's all":    {"long", long[:72], false},
		"spaces":                    {"spaced", spaced, true},
		"trimmed":                   {"spaced", strings.TrimSpace(spaced), false},
		"in lower case":             {"spaced", strings.ToLower(spaced), false},
		"with a NUL after it":       {"spaced", spaced + "\x00", false},
		"with a newline after it":   {"spaced", spaced + "\n", false},
		"with a no-break space":     {"spaced", strings.Replace(spaced, " ", "\u00a0", 1), false},
		"with two spaces in it":     {"spaced", strings.Replace(spaced, "n v", "n  v", 1), false},
		"with something else wrong": {"spaced", alicePassword, false},
	} {
		if _, err := h.Authenticate(h.ctx(), test.username, test.password, db.Client{}); (err == nil) != test.right ||
			err != nil && !errors.Is(err, db.ErrWrongPassword) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPasswordIsTheSameOnAnotherKeyboard(t *testing.T) {
	t.Parallel()
	h := openHouse(t)
	const typed = "Zahnbürste café Ölgemälde Kürbis"
	composed, decomposed := norm.NFC.String(typed), norm.NFD.String(typed)
	if composed == decomposed {
		t.Fatal("the two forms are the same bytes")
	}
	h.addUser("composed", composed)
	d := h.signIn(h.addUser("decomposed", decomposed), firefoxOnLinux, "192.0.2.10")
	for _, username := range []string{"composed", "decomposed"} {
		for _, password := range []string{composed, decomposed} {
			if _, err := h.Authenticate(h.ctx(), username, password, db.Client{}); err != nil {
				t.Errorf("%s with %+q: %v", username, password, err)
			}
		}
	}
	if _, err := h.changePassword(d.Session, composed, decomposed+" Bergsteiger", true); err != nil {
		t.Error("change:", err)
	}
	if _, err := h.Authenticate(h.ctx(), "decomposed", composed+" Bergsteiger", db.Client{}); err != nil {
		t.Error("after the change:", err)
	}
	// NFC and not NFKC: what looks alike is not the same.
	h.addUser("ligature", "pebble sonnet ﬁgment walnut")
	if _, err := h.Authenticate(h.ctx(), "ligature", "pebble sonnet figment walnut", db.Client{}); !errors.Is(err, db.ErrWrongPassword) {
		t.Error("a ligature:", err)
	}
}

func TestPasswordHashIsArgon2id(t *testing.T) {
	t.Parallel()
	h := openHouse(t)
	h.addUser("alice", alicePassword)
	h.addUser("twin", alicePassword)
	hashes := h.texts(`SELECT password_hash FROM users`)
	for _, hash := range hashes {
		if !regexp.MustCompile(`^\$argon2id\$v=19\$m=8,t=1,p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$`).MatchString(hash) {
			t.Errorf("stored: %s", hash)
		}
	}
	if hashes[0] == hashes[1] {
		t.Error("two accounts share a salt")
	}
	if cost := db.DefaultHashCost; cost.Memory < 19*1024 || cost.Time < 2 {
		t.Errorf("by default a hash costs %+v", cost)
	}
}

func TestPasswordIsHashedAnewWhenTheCostGrows(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		cost  db.HashCost
		grows bool
	}{
		{"more memory", db.HashCost{Memory: 16, Time: 1}, true},
		{"more passes", db.HashCost{Memory: 8, Time: 2}, true},
		{"the same", dbtest.HashCost, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := openCast(t)
			stored := func() string { return c.text(`SELECT password_hash FROM users WHERE username = 'alice'`) }
			before := stored()
			c.reopen(func(o *db.Options) { o.HashCost = test.cost })
			c.failToSignIn("alice", "192.0.2.66", "curl")
			if stored() != before {
				t.Error("a wrong password changed the hash")
			}
			alice, err := c.Authenticate(c.ctx(), "alice", alicePassword, db.Client{})
			if err != nil {
				t.Fatal(err)
			}
			after := stored()
			if cost := fmt.Sprintf("$m=%d,t=%d,p=1$", test.cost.Memory, test.cost.Time); (after != before) != test.grows ||
				!strings.Contains(after, cost) {
				t.Errorf("the hash was %s, is %s", before, after)
			}
			c.alive(c.signIn(alice, "curl", "192.0.2.13"))
			if _, err := c.Authenticate(c.ctx(), "alice", alicePassword, db.Client{}); err != nil {
				t.Error(err)
			}
			if again := stored(); again != after {
				t.Error("it is hashed anew each time")
			}
			c.alive(c.laptop)
		})
	}
}

// Two people's browsers, or one's two tabs: both typed the right password.
func TestTwoSignInsAtOnceWhenTheCostGrows(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.reopen(func(o *db.Options) { o.HashCost = db.HashCost{Memory: 16, Time: 1} })
	arrived, release := c.holdWriter()
	users, errs := make([]db.User, 2), make([]error, 2)
	var both sync.WaitGroup
	for i := range users {
		both.Go(func() { users[i], errs[i] = c.Authenticate(c.ctx(), "alice", alicePassword, db.Client{}) })
	}
	arrived(2)
	release()
	both.Wait()
	for i := range users {
		if errs[i] != nil {
			t.Fatal(errs[i])
		}
		if _, _, err := c.SignIn(c.ctx(), users[i], onCurl); err != nil {
			t.Error("the right password:", err)
		}
	}
}

func TestCorruptHashIsNotAPass(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	for _, hash := range []string{
		"x", "$", "$$$$$", alicePassword, "$2a$10$abcdefghijklmnopqrstuv",
		"$argon2i$v=19$m=8,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
		"$argon2id$v=19$m=8,t=1,p=1$!$AAAA", "$argon2id$v=19$m=8,t=1,p=1$AAAA$!", "$argon2id$v=19$m=8,t=1,p=1$$",
		"$argon2id$v=19$m=8,t=1,p=1$AAAA$",
		"$argon2id$v=19$m=x,t=1,p=1$AAAA$AAAA", "$argon2id$v=19$m=-8,t=1,p=1$AAAA$AAAA", "$argon2id$v=19$m=0,t=0,p=1$AAAA$AAAA",
		"$argon2id$v=19$m=8,t=0,p=1$AAAA$AAAA",
		"$argon2id$v=19$m=8,t=1,p=0$AAAA$AAAA",
	} {
		c.exec(`UPDATE users SET password_hash = $1 WHERE username = 'alice'`, hash)
		for _, password := range []string{alicePassword, ""} {
			func() {
				defer func() {
					if r := recover(); r != nil {
						t.Errorf("%s: panic: %v", hash, r)
					}
				}()
				if _, err := c.Authenticate(c.ctx(), "alice", password, db.Client{}); err == nil {
					t.Errorf("%s: passed", hash)
				}
			}()
		}
	}
	if _, err := c.Authenticate(c.ctx(), "bob", bobPassword, db.Client{}); err != nil {
		t.Error("bob, whose hash is whole:", err)
	}
}

func TestHashingIsBounded(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	var all sync.WaitGroup
	done := make(chan struct{})
	for range db.HashingInAll {
		all.Go(func() {
			if err := c.Hash(c.ctx(), func() { <-done }); err != nil {
				t.Error("within the queue:", err)
			}
		})
	}
	for c.Hashing() < db.HashingInAll {
		runtime.Gosched()
	}
	if db.HashingInAll != 66 {
		t.Errorf("%d at once", db.HashingInAll)
	}
	impatient, cancel := context.WithCancel(c.ctx())
	cancel()
	if err := c.Hash(impatient, func() {}); !errors.Is(err, db.ErrBusy) {
		close(done)
		t.Fatalf("one more may wait: %v", err)
	}
	for _, username := range []string{"alice", "nobody"} { // both are hashed, or the answer would tell which exists
		if _, err := c.Authenticate(c.ctx(), username, alicePassword, db.Client{}); !errors.Is(err, db.ErrBusy) {
			t.Errorf("%s, beyond the queue: %v", username, err)
		}
	}
	if _, err := c.CreateUser(c.ctx(), db.NewUser{Username: "carol", Password: newPassword}); !errors.Is(err, db.ErrBusy) {
		t.Error("a new account:", err)
	}
	if _, err := c.changePassword(c.laptop.Session, alicePassword, newPassword, true); !errors.Is(err, db.ErrBusy) {
		t.Error("a new password:", err)
	}
	close(done)
	all.Wait()
	if _, err := c.Authenticate(c.ctx(), "alice", alicePassword, db.Client{}); err != nil {
		t.Error("once they are done:", err)
	}
	c.alive(c.phone)
}

func TestHashingTwoAtOnce(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	var now, most int
	var mu sync.Mutex
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			c.Hash(c.ctx(), func() {
				mu.Lock()
				now++
				most = max(most, now)
				mu.Unlock()
				for range 100 {
					runtime.Gosched()
				}
				mu.Lock()
				now--
				mu.Unlock()
			})
		})
	}
	all.Wait()
	if most > 2 {
		t.Errorf("%d at once", most)
	}
}

// A sign that stands for a letter is read as that letter, and no password is so odd that it keeps the others waiting: the
// scorer's own way of reading such signs would look at 10^9 combinations here.
func TestPasswordsWithSignsForLetters(t *testing.T) {
	t.Parallel()
	h := openHouse(t)
	for password, weak := range map[string]bool{
		"p@$$w0rdp@55w0rd": true, "1l0vey0u1l0vey0u!": true, "4lice4lice4lice": true,
		"582ed8!5[g@6x{iagcs![o8[ss+736|$@|4+9!p[s904{+xt!(+[8(e8a%o+[8+c81o{%9g!e%#3+([xdao(7&32@x5s{%gx$441": false,
	} {
		_, err := h.CreateUser(h.ctx(), db.NewUser{Username: "alice", Password: password})
		var invalid db.Invalid
		if errors.As(err, &invalid) != weak || (err != nil && !weak) {
			t.Errorf("%s: %v", password, err)
		}
		if err == nil {
			if err := h.DeleteUser(h.ctx(), "alice", true); err != nil {
				t.Fatal(err)
			}
		}
	}
}
