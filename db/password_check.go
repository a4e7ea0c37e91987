package db

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/ccojocar/zxcvbn-go"
	"github.com/ccojocar/zxcvbn-go/matching"
	"golang.org/x/text/unicode/norm"
)

// This file decides which new passwords are accepted.

// MinPasswordLength is the minimum length of a new password in code points, from NIST SP 800-63B-4 for a password that is the only factor.
const MinPasswordLength = 15

const (
	maxPasswordLength = 256 // code points
	maxScoredLength   = 64  // code points that zxcvbn gets, because its time grows much faster than the length
	minScore          = 3   // of 4: "safely unguessable", at least 10^8 guesses

	// Checking takes a few milliseconds, or about 60 for a crafted password (BenchmarkCheckPassword). It has its own queue, so that many
	// crafted passwords do not keep sign-ins waiting, and one slot, so that it uses at most one processor.
	checkingAtOnce  = 1
	checkingWaiting = 32 // takes two seconds if all are crafted
)

// CheckPasswordLength returns Invalid (field "password") for a new password that is too short or too long. Call it before asking for the
// password a second time.
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
	case length < MinPasswordLength:
		return fmt.Sprintf("Use at least %d characters. This password has %d.", MinPasswordLength, length)
	case length > maxPasswordLength:
		return fmt.Sprintf("Use at most %d characters. This password has %d.", maxPasswordLength, length)
	}
	return ""
}

// checkNewPassword returns why a new password is refused, or "". The words are what an attacker would try first: the username, the e-mail
// address, the site. It returns ErrBusy if too many passwords are being checked.
func (s *Store) checkNewPassword(ctx context.Context, password string, words ...string) (reason string, err error) {
	password = norm.NFC.String(password)
	if reason := lengthReason(password); reason != "" {
		return reason, nil
	}
	err = s.checking.run(ctx, func() { reason = weakness(password, guessable(words)) })
	return reason, err
}

const tooEasy = "This password is too easy to guess: it %s. Try four or five unrelated words."

// weakness returns why a password is easy to guess, or "".
func weakness(password string, words []string) (reason string) {
	if isMadeOf(password, words) {
		return "This password is made of your username, your e-mail address or this site's name, which are guessed first. " +
			"Use words that have nothing to do with them."
	}
	for _, text := range readings(password) {
		switch text := letters(text); {
		case isRepeat(text):
			return fmt.Sprintf(tooEasy, "repeats itself")
		case isWalk(text):
			return fmt.Sprintf(tooEasy, "follows the keys of a keyboard, or the alphabet")
		case isPhrase(text), isPhrase(reversed(text)):
			return fmt.Sprintf(tooEasy, "is a well-known phrase")
		case isCommon(text):
			return fmt.Sprintf(tooEasy, "is common")
		}
	}
	if strength(password, words) < minScore {
		return fmt.Sprintf(tooEasy, "is common, or made of common words, dates, repeats or keyboard rows")
	}
	if isShortRepeat(letters(password)) { // last, because the other reasons say more
		return fmt.Sprintf(tooEasy, "repeats itself")
	}
	return ""
}

// readings returns the password and, if it contains symbols that stand for letters, what it reads as with those letters. If one symbol
// separates most of its letters, as in "p a s s", they are joined.
func readings(password string) []string {
	isSymbol := func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsMark(r) && !unicode.IsDigit(r) }
	if i := strings.IndexFunc(password, isSymbol); i >= 0 {
		symbol, size := utf8.DecodeRuneInString(password[i:])
		joined := strings.ReplaceAll(password, string(symbol), "")
		if symbols := (len(password) - len(joined)) / size; joined != "" && symbols*2 >= utf8.RuneCountInString(joined) {
			password = joined
		}
	}
	texts := []string{password}
	for _, replace := range leet {
		if text := replace.Replace(password); text != password {
			texts = append(texts, text)
		}
	}
	return texts
}

// leet holds the two ways to read symbols and digits as letters: 1 and | stand for i or for l.
var leet = [...]*strings.Replacer{newLeet("i"), newLeet("l")}

func newLeet(bar string) *strings.Replacer {
	return strings.NewReplacer("4", "a", "@", "a", "8", "b", "(", "c", "{", "c", "[", "c", "<", "c", "3", "e", "6", "g", "9", "g",
		"!", "i", "1", bar, "|", bar, "0", "o", "$", "s", "5", "s", "+", "t", "7", "t", "%", "x", "2", "z")
}

// strength returns the lowest of zxcvbn's scores, from 0 to 4, for the password as it is, without repeats, and backwards. zxcvbn itself
// checks neither repeats of words nor reversed words. Its matcher for symbols that stand for letters is left out, because it tries every
// combination, which takes seconds for a crafted password.
func strength(password string, words []string) int {
	score := 4
	for _, text := range readings(password) {
		short := collapse([]rune(text))
		for _, form := range []string{text, string(short), reversed(string(short))} {
			if seen := []rune(form); len(seen) > maxScoredLength {
				form = string(seen[:maxScoredLength])
			}
			score = min(score, zxcvbn.PasswordStrength(form, words, matching.FilterL33tMatcher).Score)
		}
	}
	return score
}

var separators = regexp.MustCompile(`[^\pL\pN]+`)

// guessable returns the words, their parts between punctuation, such as "ada" and "example" of ada@example.com, and "porchlight".
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

// isMadeOf reports whether little of the password is left once the words, digits and punctuation are taken out.
func isMadeOf(password string, words []string) bool {
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
	return found && letters < MinPasswordLength/2
}
