package db_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"porchlight/db"
)

// This file tests what attempts are counted by.

// answersTo returns the results of guesses at a name, as a guesser sees them.
func (s *accountStore) answersTo(name string, guesses int) (answers []string) {
	s.t.Helper()
	for i := range guesses {
		answers = append(answers, fmt.Sprint(s.try(name, accountWrong, fmt.Sprintf("198.51.100.%d", i))))
	}
	return answers
}

// In any mix of the names of one account, ten guesses are checked. After that, even the right password is refused.
func TestThrottleCountsTheAccountByAllItsNames(t *testing.T) {
	t.Parallel()
	s := openAccountStore(t)
	s.add(db.NewUser{Username: "alice", Email: "ada@example.com"})
	for i := range 10 {
		s.fail(1, []string{"alice", "ada@example.com", "ALICE", " Ada@Example.COM "}[i%4], fmt.Sprintf("192.0.2.%d", i))
	}
	for _, name := range []string{"alice", "ada@example.com"} {
		for i := range 5 {
			s.wantErr(s.try(name, accountPassword, fmt.Sprintf("203.0.113.%d", i)), db.ErrWrongPassword)
		}
		s.throttled(s.try(name, accountPassword, "203.0.113.99"))
	}
	s.clock.Advance(15 * time.Minute)
	s.wantErr(s.try("alice", accountPassword, accountIP), nil)
}

// A username and an e-mail address that belong together must look like two that do not, after any guesses.
func TestThrottleDoesNotRevealWhichNamesBelongTogether(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]func(s *accountStore){
		"ten guesses":            func(s *accountStore) { s.answersTo("alice", 10) },
		"more than ten":          func(s *accountStore) { s.answersTo("alice", 25) },
		"five guesses":           func(s *accountStore) { s.answersTo("alice", 5) },
		"a hundred in a row":     func(s *accountStore) { s.failInTens(100, "alice") },
		"five of each, then one": func(s *accountStore) { s.answersTo("alice", 5); s.answersTo("ada@example.com", 5) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seen := map[string][]string{}
			for _, email := range []string{"ada@example.com", "other@example.com"} { // hers, and an unknown one
				s := openAccountStore(t)
				s.add(db.NewUser{Username: "alice", Email: email})
				before(s)
				seen[email] = append(s.answersTo("ada@example.com", 12), s.answersTo("alice", 12)...)
			}
			if !slices.Equal(seen["ada@example.com"], seen["other@example.com"]) {
				t.Errorf("of one account:\n%q\nof two:\n%q", seen["ada@example.com"], seen["other@example.com"])
			}
		})
	}
}

// An unknown name is also one name in any spelling.
func TestThrottleCountsUnknownNames(t *testing.T) {
	t.Parallel()
	s := openAccountStore(t)
	for i := range 10 {
		s.fail(1, []string{"nobody", "Nobody", " NOBODY"}[i%3], fmt.Sprintf("192.0.2.%d", i))
	}
	s.throttled(s.try("nobody ", accountWrong, "198.51.100.1"))
}
