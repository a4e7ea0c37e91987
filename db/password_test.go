package db_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"golang.org/x/text/unicode/norm"

	"porchlight/db"
)

// characters returns n letters of the alphabet without a pattern, the same on every run.
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
			reason := h.wantInvalid(db.NewUser{Username: "ada", Password: test.password})["password"]
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
		invalid := h.wantInvalid(db.NewUser{Username: "bartholomew", Email: "smithereens@example.net", Password: test.password})
		if len(invalid) != 1 || !strings.Contains(invalid["password"], test.reason) {
			t.Errorf("%q: %q, want a reason with %q", test.password, invalid["password"], test.reason)
		}
	}
	if has, err := h.HasUsers(); has || err != nil {
		t.Errorf("an account was created: %v, %v", has, err)
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
		if invalid := h.wantInvalid(db.NewUser{Username: "bartholomew", Password: password}); !strings.Contains(invalid["password"], "repeats") {
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
		alicePassword + alicePassword, // long enough before it repeats itself
	} {
		username := fmt.Sprintf("user%d", i)
		if invalid := h.wantInvalid(db.NewUser{Username: username, Password: password}); len(invalid) != 0 {
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
	// NFC and not NFKC: characters that look alike are not the same.
	h.addUser("ligature", "pebble sonnet ﬁgment walnut")
	if _, err := h.Authenticate(h.ctx(), "ligature", "pebble sonnet figment walnut", db.Client{}); !errors.Is(err, db.ErrWrongPassword) {
		t.Error("a ligature:", err)
	}
}

// A sign that stands for a letter is read as that letter, and no password takes so long that it keeps others waiting: zxcvbn's own matcher
// for such signs would try 10^9 combinations here.
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
			if err := h.DeleteUser(h.ctx(), db.CommandLine, "alice", true); err != nil {
				t.Fatal(err)
			}
		}
	}
}
