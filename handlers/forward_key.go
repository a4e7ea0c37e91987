package handlers

import (
	"cmp"
	"encoding/base64"
	"errors"
	"slices"
	"strings"

	"github.com/gofiber/fiber/v2"

	"porchlight/db"
)

// This file reads app keys, which sync clients and scripts send in the Authorization header of their requests to an app. Apps use that
// header too, so Porchlight ignores it unless it contains a key.

// sentKey is the app key in the Authorization header of a request.
type sentKey struct {
	sent   bool   // a key, or what could be one
	secret string // "" if it is malformed
}

// readKey returns the app key of a request. Several headers count as a malformed key, whatever they contain: nobody knows which of them the
// proxy and the app would read.
func readKey(c *fiber.Ctx) sentKey {
	lines := c.Request().Header.PeekAll(fiber.HeaderAuthorization)
	switch len(lines) {
	case 0:
		return sentKey{}
	case 1:
		return parseKey(string(lines[0]))
	}
	return sentKey{sent: true}
}

// parseKey takes a key as a Bearer token (RFC 6750) or as the password of Basic (RFC 7617). A key anywhere else is malformed rather
// than absent, because the app would get it.
func parseKey(authorization string) sentKey {
	scheme, credentials, _ := strings.Cut(authorization, " ")
	credentials = strings.TrimSpace(credentials)
	switch {
	case strings.EqualFold(scheme, "Bearer") && db.IsKey(credentials):
		return sentKey{true, credentials}
	case strings.EqualFold(scheme, "Basic"):
		// Some clients leave the padding out.
		pair, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(credentials, "="))
		if err != nil {
			break
		}
		_, password, _ := strings.Cut(string(pair), ":")
		if db.IsKey(password) {
			return sentKey{true, password}
		}
		authorization += " " + string(pair)
	}
	return sentKey{sent: mentionsKey(authorization)}
}

// mentionsKey reports whether a word of a text begins like a key. The middle of a word does not count: the app's own token may have the
// same letters there by chance.
func mentionsKey(text string) bool {
	words := strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" \t,;:=\"'", r) })
	return slices.ContainsFunc(words, db.IsKey)
}

// findKeyAccess is findAppAccess for a request with an app key.
func (h *handler) findKeyAccess(key sentKey, host string) (*db.AppAccess, error) {
	access, err := h.Store.AuthorizeKey(key.secret, host)
	if errors.Is(err, db.ErrNotFound) { // as for cookies, the client must not be refused while the database does not answer
		err = cmp.Or(h.Store.Reachable(), err)
	}
	return access, err
}

// rejectKey responds to a request with an app key that has ended, is for another host, or is malformed. A live session in a cookie does not
// help, because then the app would get the key.
func rejectKey(c *fiber.Ctx, host string) error {
	c.Set(fiber.HeaderWWWAuthenticate, `Basic realm="`+host+`", charset="UTF-8"`)
	return c.Status(fiber.StatusUnauthorized).SendString("This app key does not open " + host + ".")
}

// returnAuthorization returns the client's Authorization header with a pass, unless it contains an app key. A proxy that copies it to the
// app, and drops the client's own, hides the key from the app. With the key, anyone who reads the app's logs could act as the user there.
func returnAuthorization(c *fiber.Ctx, key sentKey) {
	if value := c.Request().Header.Peek(fiber.HeaderAuthorization); !key.sent && len(value) > 0 {
		c.Response().Header.SetBytesV(fiber.HeaderAuthorization, value)
	}
}
