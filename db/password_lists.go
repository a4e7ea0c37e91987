package db

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"fmt"
	"io"
	"strings"
	"sync"
)

// This file holds the passwords and phrases that attackers have on their lists. They are read when the first new password is checked.

// commonPasswords is written by scripts/passwords. Its first lines name its source.
//
//go:embed common_passwords.txt.gz
var commonPasswords []byte

// knownPhrases names its sources in its first lines.
//
//go:embed known_phrases.txt
var knownPhrases string

// minPhraseLength is how many characters a part of a well-known phrase must have to count as one.
const minPhraseLength = 12

// isCommon reports whether the text is a common password, forwards, backwards, or several times in a row.
func isCommon(text string) bool {
	common := commonSet()
	short := letters(string(collapse([]rune(text))))
	return common[text] || common[reversed(text)] || common[short] || common[reversed(short)]
}

var commonSet = sync.OnceValue(func() map[string]bool {
	unzipped, err := gzip.NewReader(bytes.NewReader(commonPasswords))
	if err != nil {
		panic(fmt.Sprintf("read the common passwords: %v", err))
	}
	text, err := io.ReadAll(unzipped)
	if err != nil {
		panic(fmt.Sprintf("read the common passwords: %v", err))
	}
	set := map[string]bool{}
	for _, line := range listLines(string(text)) {
		set[letters(line)] = true
	}
	return set
})

// isPhrase reports whether the text is a well-known phrase with little else, or a part of one.
func isPhrase(text string) bool {
	for _, phrase := range phraseList() {
		before, after, found := strings.Cut(text, phrase)
		if found && len([]rune(before+after)) < minUnpredictable || len([]rune(text)) >= minPhraseLength && strings.Contains(phrase, text) {
			return true
		}
	}
	return false
}

var phraseList = sync.OnceValue(func() []string {
	phrases := listLines(knownPhrases)
	for i, phrase := range phrases {
		phrases[i] = letters(phrase)
	}
	return phrases
})

// listLines returns the lines of a list without its comments.
func listLines(text string) (lines []string) {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			lines = append(lines, line)
		}
	}
	return lines
}
