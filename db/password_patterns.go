package db

import (
	_ "embed"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// This file finds the patterns that make a long password easy to guess in any script: keyboard walks, sequences and repeats.

// minUnpredictable is how many letters a password must have besides a pattern, for the pattern to be harmless.
const minUnpredictable = MinPasswordLength / 2

// letters returns the text in lower case without spaces and symbols, and without digits at both ends. People add these to a pattern to
// make it look different. If that would remove more than half of the text, it removes less.
func letters(text string) string {
	text = strings.ToLower(text)
	half := (utf8.RuneCountInString(text) + 1) / 2
	spelled := strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsMark(r) || unicode.IsDigit(r) {
			return r
		}
		return -1
	}, text)
	trimmed := strings.TrimFunc(spelled, unicode.IsDigit)
	switch {
	case utf8.RuneCountInString(trimmed) >= half:
		return trimmed
	case utf8.RuneCountInString(spelled) >= half:
		return spelled
	}
	return text
}

func reversed(text string) string {
	runes := []rune(text)
	slices.Reverse(runes)
	return string(runes)
}

// isRepeat reports whether little is left of the text without its repeats.
func isRepeat(text string) bool {
	runes := []rune(text)
	short := collapse(runes)
	return len(short) < len(runes) && len(short) < minUnpredictable
}

// isShortRepeat reports whether the text only repeats one part that is too short for a password.
func isShortRepeat(text string) bool {
	runes := []rune(text)
	length, times := repeatAt(runes)
	return times > 1 && length < MinPasswordLength && length*times >= len(runes)
}

// collapse replaces repeated parts with a single one: "dragondragon" becomes "dragon". A double letter stays. At the end of the text, the
// last repeat may be incomplete: "dragondrag" becomes "dragon".
func collapse(text []rune) (short []rune) {
	for i := 0; i < len(text); {
		length, times := repeatAt(text[i:])
		short = append(short, text[i:i+length]...)
		i = min(i+length*times, len(text))
	}
	return short
}

// repeatAt returns the length of the shortest part that repeats at the start of the text, and how many times it occurs.
func repeatAt(text []rune) (length, times int) {
	for length = 1; length < len(text); length++ {
		times = 1
		for end := length * 2; end <= len(text) && slices.Equal(text[:length], text[end-length:end]); end += length {
			times++
		}
		rest := text[length*times:]
		ends := len(rest) < length && slices.Equal(rest, text[:len(rest)])
		switch {
		case times == 1 && !(ends && len(rest) > length/2), times == 2 && length == 1:
			continue
		case ends:
			times++
		}
		return length, times
	}
	return 1, 1
}

//go:embed keyboards.txt
var keyboards string

type key struct{ row, column int }

var layouts = sync.OnceValue(func() (all []map[rune]key) {
	for _, rows := range listLines(keyboards) {
		keys := map[rune]key{}
		for row, letters := range strings.Fields(rows) {
			for column, letter := range []rune(letters) {
				keys[letter] = key{row, column}
			}
		}
		delete(keys, '.')
		all = append(all, keys)
	}
	return all
})

// isWalk reports whether the text consists of straight walks over neighbouring keys and sequences such as "abcd", with little else. Two
// walks may alternate, as in "1a2s3d4f5g6h7j".
func isWalk(text string) bool {
	runes := []rune(text)
	var odd, even []rune
	for i, r := range runes {
		if i%2 == 0 {
			even = append(even, r)
		} else {
			odd = append(odd, r)
		}
	}
	for _, keys := range layouts() {
		if left := notWalked(runes, keys); left < minUnpredictable && left <= len(runes)/3 {
			return true
		}
		// A random password may hold two short walks by chance, so these must be nearly all of it.
		if notWalked(even, keys)+notWalked(odd, keys) <= len(runes)/6 {
			return true
		}
	}
	return false
}

// notWalked returns how many letters are part of no walk and no sequence.
func notWalked(text []rune, keys map[rune]key) (count int) {
	steps := make([]key, max(len(text)-1, 0))
	for i := range steps {
		steps[i] = keyStep(text[i], text[i+1], keys)
	}
	for i := 0; i < len(text); {
		if walked := 1 + max(straight(steps[i:], 1), straight(steps[i:], 2), sequence(text[i:])); walked >= 3 {
			i += walked
			continue
		}
		count++
		i++
	}
	return count
}

// keyStep returns the step from one key to its neighbour, or noStep if the keys are not neighbours.
func keyStep(a, b rune, keys map[rune]key) key {
	from, known := keys[a]
	to, also := keys[b]
	if !known || !also {
		if a == b {
			return key{}
		}
		return noStep
	}
	step := key{to.row - from.row, to.column - from.column}
	if !slices.Contains(neighbours, step) {
		return noStep
	}
	return step
}

var (
	neighbours = []key{{0, 0}, {0, 1}, {0, -1}, {1, 0}, {1, -1}, {-1, 0}, {-1, 1}}
	noStep     = key{9, 9}
)

// straight returns how many steps at the start go in one direction (period 1) or alternate between two as in "1q2w3e" (period 2).
func straight(steps []key, period int) (count int) {
	for count < len(steps) && steps[count] != noStep && (count < period || steps[count] == steps[count-period]) {
		count++
	}
	if count <= period { // no step was repeated
		return 0
	}
	return count
}

// sequence returns how many letters at the start are each followed by the next letter of the alphabet, or each by the previous one.
func sequence(text []rune) (count int) {
	for count < len(text)-1 {
		step := text[count+1] - text[count]
		if step != 1 && step != -1 || step != text[1]-text[0] {
			break
		}
		count++
	}
	return count
}
