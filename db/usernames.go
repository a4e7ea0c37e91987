package db

import (
	"crypto/hmac"
	"crypto/sha256"
	_ "embed"
	"strings"
)

// This file decides which usernames a new account may have. Apps behind the reverse proxy know people only by their username, so a
// name must never be given to somebody else, or mean somebody more powerful.

// The reserved usernames are the names that apps and mail servers treat as powerful, or that people would believe to be the server's own.
// Nobody can sign up with one. They come from RFC 2142, Unix accounts, and the first administrators of common self-hosted apps.
//
//go:embed reserved_usernames.txt
var reservedUsernamesText string

var reservedUsernames = wordSet(reservedUsernamesText)

func wordSet(text string) map[string]bool {
	set := map[string]bool{}
	for word := range strings.FieldsSeq(text) {
		set[word] = true
	}
	return set
}

var fillerWords = wordSet("the real our my official")

// isReserved reports whether the username, or one that people would take for it, is reserved. Such variants have separators
// ("web-master"), digits before or after ("admin1") or instead of letters ("r0ot"), or several words ("the-admin-team").
func isReserved(username string) bool {
	username = strings.NewReplacer(".", "", "_", "", "-", "").Replace(username)
	for _, name := range []string{username, strings.Trim(username, "0123456789")} {
		for _, text := range readings(name) {
			if isMadeOfReserved(text) {
				return true
			}
		}
	}
	return false
}

// isMadeOfReserved reports whether the text is a reserved word, possibly with other reserved words and fillers.
func isMadeOfReserved(text string) bool {
	if reservedUsernames[text] {
		return true
	}
	for i := range text {
		first, rest := text[:i], text[i:]
		if fillerWords[first] && isMadeOfReserved(rest) || reservedUsernames[first] && (fillerWords[rest] || isMadeOfReserved(rest)) {
			return true
		}
	}
	return false
}

const (
	usernameTaken    = "This username is taken."
	usernameReserved = "This username is reserved. Choose another one."
)

// UsernameDeleted is why a username is refused unless NewUser.Reuse is set.
const UsernameDeleted = "This username belonged to an account that was deleted, and the apps may still hold that person's data."

// deletedKey returns what is stored of the username of a deleted account: an HMAC, so that nobody finds out the name without the key file.
func (s *Store) deletedKey(username string) []byte {
	mac := hmac.New(sha256.New, s.usernameSecret)
	mac.Write([]byte(username))
	return mac.Sum(nil)
}

// checkAvailable returns Invalid for the username of a deleted account and, at sign-up, for that of somebody who was invited: otherwise a
// stranger could be taken for them. At sign-up the message is that of a taken name, so that it does not reveal which accounts existed.
func (s *Store) checkAvailable(tx *tx, newUser NewUser) error {
	var deleted, invited bool
	err := tx.QueryRow(`
		SELECT EXISTS (SELECT 1 FROM deleted_usernames WHERE key = $1),
		       EXISTS (SELECT 1 FROM invitations WHERE username = $2 AND expires_at > $3)`,
		s.deletedKey(newUser.Username), newUser.Username, tx.now).Scan(&deleted, &invited)
	switch {
	case err != nil:
		return err
	case newUser.SignUp && (deleted || invited):
		return Invalid{"username": usernameTaken}
	case !deleted || newUser.Reuse:
		return nil
	}
	return Invalid{"username": UsernameDeleted}
}

// retireUsername keeps the username of a deleted account from being used again.
func (s *Store) retireUsername(tx *tx, username string) error {
	_, err := tx.Exec(`
		INSERT INTO deleted_usernames (key)
		VALUES ($1)
		ON CONFLICT DO NOTHING`, s.deletedKey(username))
	return err
}
