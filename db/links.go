package db

import (
	"context"
	"encoding/json"
	"time"
)

// This file owns the links in mails: how they are created, found, used once, and voided.

// ResetLinkLifetime, EmailLinkLifetime and NotMeLinkLifetime are how long a link is valid after it was sent.
const (
	ResetLinkLifetime = time.Hour
	EmailLinkLifetime = time.Hour
	NotMeLinkLifetime = 3 * 24 * time.Hour
)

// maxLinks is how many links of one kind a user has at most: the newest.
const maxLinks = 200

// How many mails with a link can be requested in linksWindow, counted apart for links that reset a password and links that confirm an
// address. The limits for IP addresses keep somebody with many accounts from filling the mailbox of a stranger.
const (
	linksPerHour    = 3   // for one account
	linksPerAddress = 20  // from one IP address
	linksPerSite    = 200 // from one IPv6 site (/48), which has 65,536 networks (/64)
	linksWindow     = time.Hour
)

func (s *Store) linksFrom(purpose, ip string) []counter {
	return s.networkCounters(purpose, ip, linksPerAddress, linksPerSite, linksWindow)
}

// linkKind is what a link is for.
type linkKind string

const (
	linkEmail linkKind = "email"
	linkReset linkKind = "reset"
	linkNotMe linkKind = "not_me"
)

func (k linkKind) lifetime() time.Duration {
	switch k {
	case linkEmail:
		return EmailLinkLifetime
	case linkReset:
		return ResetLinkLifetime
	}
	return NotMeLinkLifetime
}

// linkData is stored with a link.
type linkData struct {
	Email string `json:",omitempty"` // to confirm, or to restore

	// What the alert was about, for a link of the kind linkNotMe.
	Kind       string `json:",omitempty"`
	At         int64  `json:",omitempty"` // milliseconds since 1970
	IP         string `json:",omitempty"`
	DeviceName string `json:",omitempty"`
	DeviceID   string `json:",omitempty"`
}

// link is a row of links together with its user.
type link struct {
	user User
	data linkData
}

// addLink creates a link and returns its token, of which only the hash is stored. A message that is sent again gets another token; the
// previous one stays valid, because that mail may have arrived.
func (tx *tx) addLink(userID int64, kind linkKind, data linkData, messageID int64) (token string, err error) {
	stored, err := json.Marshal(data)
	if err != nil {
		return "", err
	}
	token = newToken()
	if _, err := tx.Exec(`
		INSERT INTO links (token_hash, user_id, kind, data, message_id, created_at, expires_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		hashToken(token), userID, kind, string(stored), messageID, tx.now, tx.now+kind.lifetime().Milliseconds()); err != nil {
		return "", err
	}
	if _, err := tx.Exec(`
		DELETE FROM links
		WHERE token_hash IN (SELECT token_hash FROM links
		                     WHERE user_id = $1 AND kind = $2 AND message_id = $3
		                     ORDER BY created_at DESC
		                     LIMIT -1 OFFSET 2)`, userID, kind, messageID); err != nil {
		return "", err
	}
	_, err = tx.Exec(`
		DELETE FROM links
		WHERE token_hash IN (SELECT token_hash FROM links
		                     WHERE user_id = $1 AND kind = $2
		                     ORDER BY created_at DESC
		                     LIMIT -1 OFFSET $3)`, userID, kind, maxLinks)
	return token, err
}

// linkByToken finds nothing while the user is disabled.
const linkByToken = `
	SELECT ` + userColumns + `0, l.data
	FROM links l JOIN users u ON u.id = l.user_id
	WHERE l.token_hash = $1 AND l.kind = $2 AND l.expires_at > $3 AND u.disabled = 0`

func scanLink(row scanner) (found link, err error) {
	var data string
	if found.user, err = scanUser(withColumn{row, &data}); err != nil {
		return found, err
	}
	return found, json.Unmarshal([]byte(data), &found.data)
}

// withColumn scans one more column after those that a scan function expects.
type withColumn struct {
	scanner
	last any
}

func (w withColumn) Scan(dest ...any) error { return w.scanner.Scan(append(dest, w.last)...) }

// findLink returns the valid link with this token. It returns ErrNotFound if the token was used or voided, has expired or is unknown, and
// Throttled after too many of those.
func (s *Store) findLink(ctx context.Context, token string, kind linkKind, client Client) (found link, err error) {
	err = s.CheckSecret(ctx, client.IP, func() error {
		found, err = queryOne(s.reader, scanLink, linkByToken, hashToken(token), kind, s.now())
		return err
	})
	return found, err
}

// useLink deletes a valid link and returns it, so that of two requests with the same link only one succeeds.
func (tx *tx) useLink(tokenHash []byte, kind linkKind) (used link, err error) {
	if used, err = scanLink(tx.QueryRow(linkByToken, tokenHash, kind, tx.now)); err != nil {
		return used, err
	}
	return used, tx.changeOne(`DELETE FROM links WHERE token_hash = $1`, tokenHash)
}

// voidLinks voids the links that could still change the user's password or address, sent or not. Those for "This wasn't me" stay: somebody
// who takes over an account must not be able to void them.
func (tx *tx) voidLinks(userID int64) error {
	if err := tx.voidEmailLinks(userID); err != nil {
		return err
	}
	if _, err := tx.Exec(`DELETE FROM links WHERE user_id = $1 AND kind = 'reset'`, userID); err != nil {
		return err
	}
	_, err := tx.Exec(`DELETE FROM outbox WHERE user_id = $1 AND is_link = 1`, userID)
	return err
}

// voidNotMeLinks voids the links for "This wasn't me" that were sent.
func (tx *tx) voidNotMeLinks(userID int64) error {
	_, err := tx.Exec(`DELETE FROM links WHERE user_id = $1 AND kind = 'not_me'`, userID)
	return err
}
