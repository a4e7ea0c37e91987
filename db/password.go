package db

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/ccojocar/zxcvbn-go"
	"github.com/ccojocar/zxcvbn-go/matching"
	"golang.org/x/crypto/argon2"
	"golang.org/x/text/unicode/norm"
)

// ErrBusy says that too many passwords are waiting to be hashed; try again in a moment.
var ErrBusy = errors.New("too many sign-ins at once")

// HashCost is what one Argon2id hash costs. One lane (p = 1) always.
type HashCost struct {
	Memory uint32 // KiB
	Time   uint32 // passes
}

// DefaultHashCost is the OWASP Password Storage Cheat Sheet's m = 19 MiB, t = 2, p = 1.
var DefaultHashCost = HashCost{Memory: 19 * 1024, Time: 2}

const (
	passwordMin = 15  // code points: NIST SP 800-63B-4 for a password that is the only factor
	passwordMax = 256 // code points
	scoredMax   = 100 // code points that zxcvbn is shown: its time grows much faster than the length
	scoreMin    = 3   // of 4: "safely unguessable", at least 10^8 guesses

	hashingAtOnce  = 2  // each takes HashCost.Memory
	hashingWaiting = 64 // about a second's worth
	hashingRest    = time.Second
)

// hasher bounds how many passwords are hashed or scored at once, and how many wait for that.
type hasher struct {
	cost    HashCost
	slots   chan struct{}
	waiting atomic.Int32
	rest    *time.Timer // gives the memory back once nothing was hashed for a while
}

func newHasher(cost HashCost) *hasher {
	h := &hasher{cost: cost, slots: make(chan struct{}, hashingAtOnce), rest: time.AfterFunc(time.Hour, debug.FreeOSMemory)}
	h.rest.Stop()
	return h
}

// run gives work one of the slots, or answers ErrBusy when the queue is full.
func (h *hasher) run(ctx context.Context, work func()) error {
	if h.waiting.Add(1) > hashingAtOnce+hashingWaiting {
		h.waiting.Add(-1)
		return ErrBusy
	}
	defer h.waiting.Add(-1)
	select {
	case h.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() {
		<-h.slots
		h.rest.Reset(hashingRest)
	}()
	work()
	return nil
}

// hash makes a PHC string: $argon2id$v=19$m=…,t=…,p=1$salt$key.
func (h *hasher) hash(ctx context.Context, password string) (string, error) {
	salt := make([]byte, 16)
	rand.Read(salt)
	var key []byte
	err := h.run(ctx, func() { key = h.cost.key(password, salt) })
	encode := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=1$%s$%s", argon2.Version, h.cost.Memory, h.cost.Time, encode(salt), encode(key)), err
}

// verify tells whether password made the hash, and whether the hash is cheaper than today's cost. An empty hash
// stands for an account that does not exist: it takes as long and never matches.
func (h *hasher) verify(ctx context.Context, hash, password string) (matches, outdated bool, err error) {
	cost, salt, key, parseErr := parseHash(hash)
	if hash == "" {
		cost, salt, key = h.cost, make([]byte, 16), make([]byte, 32)
	} else if parseErr != nil {
		return false, false, parseErr
	}
	err = h.run(ctx, func() {
		matches = subtle.ConstantTimeCompare(cost.key(password, salt), key) == 1 && hash != ""
	})
	return matches, cost.Memory < h.cost.Memory || cost.Time < h.cost.Time, err
}

// NFC, so that a password typed on another keyboard is the same password. Nothing else is changed.
func (c HashCost) key(password string, salt []byte) []byte {
	return argon2.IDKey([]byte(norm.NFC.String(password)), salt, c.Time, c.Memory, 1, 32)
}

func parseHash(hash string) (cost HashCost, salt, key []byte, err error) {
	var version int
	parts := strings.Split(hash, "$")
	if len(parts) != 6 || parts[1] != "argon2id" {
		return cost, nil, nil, errors.New("a stored password hash is not Argon2id")
	}
	if _, err = fmt.Sscanf(parts[2]+" "+parts[3], "v=%d m=%d,t=%d,p=1", &version, &cost.Memory, &cost.Time); err != nil {
		return cost, nil, nil, fmt.Errorf("a stored password hash cannot be read: %w", err)
	}
	if cost.Time < 1 {
		return cost, nil, nil, errors.New("a stored password hash cannot be read: no passes")
	}
	if salt, err = base64.RawStdEncoding.DecodeString(parts[4]); err != nil {
		return cost, nil, nil, err
	}
	key, err = base64.RawStdEncoding.DecodeString(parts[5])
	return cost, salt, key, err
}

// CheckPasswordLength returns Invalid for a new password that is refused for its length, whoever it is for. It is for those who
// ask for a password twice.
func CheckPasswordLength(password string) error {
	if reason := lengthReason(norm.NFC.String(password)); reason != "" {
		return Invalid{"password": reason}
	}
	return nil
}

func lengthReason(password string) (reason string) {
	length := utf8.RuneCountInString(password)
	switch {
	case !utf8.ValidString(password):
		return "This password is not valid text."
	case length < passwordMin:
		return fmt.Sprintf("Use at least %d characters. This password has %d.", passwordMin, length)
	case length > passwordMax:
		return fmt.Sprintf("Use at most %d characters. This password has %d.", passwordMax, length)
	}
	return ""
}

// checkPassword says why a new password will not do, or "" when it will. The words are what an attacker would
// try first: the username, the e-mail address, the site.
func (h *hasher) checkPassword(ctx context.Context, password string, words ...string) (reason string, err error) {
	password = norm.NFC.String(password)
	if reason := lengthReason(password); reason != "" {
		return reason, nil
	}
	words = guessable(words)
	if madeOf(password, words) {
		return "This password is made of your username, your e-mail address or this site's name, which are tried first. Use words that have nothing to do with them.", nil
	}
	scored := unit(password)
	if utf8.RuneCountInString(scored) > scoredMax {
		scored = string([]rune(scored)[:scoredMax])
	}
	score := 0
	err = h.run(ctx, func() { score = strength(scored, words) })
	if err == nil && score < scoreMin {
		reason = "This password is too easy to guess: it is common, or made of common words, dates, repeats or keyboard rows. Try four or five words that do not belong together."
	}
	return reason, err
}

// strength is zxcvbn's score, 0 to 4. Signs that stand for letters are read as those here: zxcvbn would try every
// combination of them, which takes seconds for a password that is made for it.
func strength(password string, words []string) int {
	score := zxcvbn.PasswordStrength(password, words, matching.FilterL33tMatcher).Score
	for _, reading := range leet {
		if plain := reading.Replace(password); plain != password {
			score = min(score, zxcvbn.PasswordStrength(plain, words, matching.FilterL33tMatcher).Score)
		}
	}
	return score
}

// leet are the two ways to read such signs: 1 and | stand for i or for l.
var leet = [...]*strings.Replacer{newLeet("i"), newLeet("l")}

func newLeet(bar string) *strings.Replacer {
	return strings.NewReplacer("4", "a", "@", "a", "8", "b", "(", "c", "{", "c", "[", "c", "<", "c", "3", "e", "6", "g", "9", "g",
		"!", "i", "1", bar, "|", bar, "0", "o", "$", "s", "5", "s", "+", "t", "7", "t", "%", "x", "2", "z")
}

// unit is what a password repeats, or all of it where it repeats nothing: zxcvbn sees repeats of one character alone.
func unit(password string) string {
	end := 1
	for !strings.HasPrefix(password, password[end:]) {
		end++
	}
	return password[:end]
}

var separators = regexp.MustCompile(`[^\pL\pN]+`)

// guessable breaks the words at their punctuation: ada@example.com is also "ada" and "example".
func guessable(words []string) []string {
	all := []string{"porchlight"}
	for _, word := range words {
		word = strings.ToLower(word)
		for _, part := range append(separators.Split(word, -1), word) {
			if len(part) >= 3 {
				all = append(all, part)
			}
		}
	}
	return all
}

// madeOf tells whether little of the password is left once the words, digits and punctuation are taken out.
func madeOf(password string, words []string) bool {
	rest, found := strings.ToLower(password), false
	for _, word := range words {
		if strings.Contains(rest, word) {
			found, rest = true, strings.ReplaceAll(rest, word, "")
		}
	}
	letters := 0
	for _, r := range rest {
		if (r >= 'a' && r <= 'z') || r >= utf8.RuneSelf {
			letters++
		}
	}
	return found && letters < passwordMin/2
}
