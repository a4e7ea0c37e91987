// Passwords creates db/common_passwords.txt.gz from a list of passwords, one per line, the most common first:
//
//	go run ./scripts/passwords 10_million_password_list_top_1M.txt >db/common_passwords.txt.gz
//
// It includes passwords that the other rules would accept: those of 15 characters or more, and shorter ones among the first 100,000 that
// zxcvbn considers strong, because people lengthen these by repeating them or adding a year.
package main

import (
	"bufio"
	"compress/gzip"
	"fmt"
	"io"
	"log"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/ccojocar/zxcvbn-go"
	"github.com/ccojocar/zxcvbn-go/matching"
)

const header = `# Common passwords, from the first million of the "10 million passwords" that Mark Burnett collected from leaks and released
# into the public domain in 2015, as ordered in SecLists (https://github.com/danielmiessler/SecLists, MIT License, Copyright
# Daniel Miessler). Made by scripts/passwords.
`

const (
	minPasswordLength = 15      // as in db
	minShortLength    = 8       // shorter ones are too weak even twice
	shortRank         = 100_000 // only the shorter ones before this rank are included
	minScore          = 3       // as in db
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: go run ./scripts/passwords LIST >db/common_passwords.txt.gz")
	}
	list, err := os.Open(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	defer list.Close()
	if err := write(os.Stdout, list); err != nil {
		log.Fatal(err)
	}
}

func write(out io.Writer, list io.Reader) error {
	kept := []string{}
	lines := bufio.NewScanner(list)
	for rank := 1; lines.Scan(); rank++ {
		password := strings.ToLower(lines.Text())
		if strings.HasPrefix(password, "#") || !utf8.ValidString(password) {
			continue
		}
		length := utf8.RuneCountInString(password)
		if length >= minPasswordLength || length >= minShortLength && rank <= shortRank && looksStrong(password) {
			kept = append(kept, password)
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	slices.Sort(kept) // similar neighbours compress well
	zipped, err := gzip.NewWriterLevel(out, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprint(zipped, header, strings.Join(slices.Compact(kept), "\n"), "\n"); err != nil {
		return err
	}
	return zipped.Close()
}

func looksStrong(password string) bool {
	return zxcvbn.PasswordStrength(password, nil, matching.FilterL33tMatcher).Score >= minScore
}
