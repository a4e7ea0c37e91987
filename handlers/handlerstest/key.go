package handlerstest

import (
	"context"

	"porchlight/db"
)

// CreateKey creates an app key for a host, on behalf of the session that a token names. The key never expires.
func (h *House) CreateKey(token, host string) (secret string, key db.Session) {
	h.T.Helper()
	by, err := h.Store.Resume(token)
	if err != nil {
		h.T.Fatal(err)
	}
	secret, key, err = h.Store.CreateKey(context.Background(), *by, db.NewKey{IP: "192.0.2.50", Name: "Calendar sync", Host: host})
	if err != nil {
		h.T.Fatal(err)
	}
	return secret, key
}
