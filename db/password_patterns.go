package db

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// This file owns the patterns that make a long password easy to guess in any script: walks over the keyboard, sequences,
// and repeats.

// unpredictableMin is how many letters must be left beside a pattern, for it to be harmless.
const unpredictableMin = PasswordMin / 2

// letters is the text in lower case without spaces and signs, and without the digits around it: what people add to a pattern
// to make it look different. Where that would take more than half, it stays as it is.
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

// isRepeat reports whether little is left of the text once its repeats are taken out.
func isRepeat(text string) bool {
	runes := []rune(text)
	short := collapse(runes)
	return len(short) < len(runes) && len(short) < unpredictableMin
}

// isShortRepeat reports whether the text is nothing but one part, too short for a password, over and over.
func isShortRepeat(text string) bool {
	runes := []rune(text)
	length, times := repeatAt(runes)
	return times > 1 && length < PasswordMin && length*times >= len(runes)
}

// collapse writes everything that is said twice or more in a row once: "dragondragon" is "dragon". A double letter stays. What
// a password repeats to its very end counts as well, be it only in part: "dragondrag" is "dragon".
func collapse(text []rune) (short []rune) {
	for i := 0; i < len(text); {
		length, times := repeatAt(text[i:])
		short = append(short, text[i:i+length]...)
		i = min(i+length*times, len(text))
	}
	return short
}

// repeatAt returns the length of the shortest unit that repeats at the start of the text, and how often it is there.
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

// keyboards are rows of keys, each row half a key further to the right; a dot is a key without a letter.
var keyboards = [...]string{
	"1234567890 qwertyuiop asdfghjkl zxcvbnm",
	"1234567890ß qwertzuiopü asdfghjklöä yxcvbnm",
	".é..... è.çà azertyuiop qsdfghjklmù wxcvbn",
	"1234567890 azertyuiop qsdfghjklmù wxcvbn",
	"1234567890 ...pyfgcrl aoeuidhtns .qjkxbmwvz", // Dvorak
	"1234567890 йцукенгшщзхъ фывапролджэ ячсмитьбю",
	"1234567890 йцукенгшщзхї фівапролджє ячсмитьбю",
	"1234567890 .ςερτυθιοπ ασδφγηξκλ ζχψωβνμ",
	"1234567890 ..קראטוןםפ שדגכעיחלךף זסבהנמצתץ",
	// What people count in, where the signs do not follow each other in Unicode.
	"一二三四五六七八九十 甲乙丙丁戊己庚辛壬癸",
	"あいうえおかきくけこさしすせそたちつてとなにぬねの",
	"いろはにほへとちりぬるをわかよたれそつねならむ",
	"가나다라마바사아자차카타파하",
}

type key struct{ row, column int }

var layouts = func() (all []map[rune]key) {
	for _, rows := range keyboards {
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
}()

// isWalk reports whether the text is made of straight walks over neighbouring keys, or of sequences such as "abcd", with little
// else: also when two such walks alternate, as in "1a2s3d4f5g6h7j".
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
	for _, keys := range layouts {
		if left := notWalked(runes, keys); left < unpredictableMin && left <= len(runes)/3 {
			return true
		}
		// A random password may hold two short walks by chance, so these must be nearly all of it.
		if notWalked(even, keys)+notWalked(odd, keys) <= len(runes)/6 {
			return true
		}
	}
	return false
}

// notWalked counts the letters that belong to no walk and no sequence.
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

// keyStep is how far it is from one key to its neighbour; noStep where they do not touch.
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

// straight counts the steps at the start that go on in one direction (period 1), or in two by turns as in "1q2w3e" (period 2).
func straight(steps []key, period int) (count int) {
	for count < len(steps) && steps[count] != noStep && (count < period || steps[count] == steps[count-period]) {
		count++
	}
	if count <= period { // nothing went on
		return 0
	}
	return count
}

// sequence counts the letters at the start that are followed by the next one of their alphabet, or by the one before.
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
