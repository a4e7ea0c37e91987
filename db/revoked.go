package db

// This file keeps the tokens of sessions that were revoked, or deleted with their account, so that an auth check can tell a browser that
// was signed out by somebody else to delete the cookies of the apps. Tokens of sessions that were signed out, expired, replaced or evicted
// are not kept.

// storeKeepRevoked stores whether this server keeps the tokens, because commands revoke sessions too and do not know its settings.
func (tx *tx) storeKeepRevoked(keep bool) error {
	return tx.changeOne(`UPDATE limits SET keep_revoked = $1`, keep)
}

// endedToken is the token of a session that has just ended.
type endedToken struct {
	kind      SessionKind
	hash      []byte
	createdAt int64
	shared    bool
}

// keepRevoked stores the tokens of revoked browsers for as long as a browser may keep the cookie.
func (tx *tx) keepRevoked(tokens []endedToken) error {
	var keep bool
	var lifetime, sharedLifetime int64
	err := tx.QueryRow(`SELECT keep_revoked, lifetime, shared_lifetime FROM limits`).Scan(&keep, &lifetime, &sharedLifetime)
	if err != nil || !keep {
		return err
	}
	insert, err := tx.Prepare(`INSERT OR IGNORE INTO revoked_tokens (token_hash, expires_at) VALUES ($1, $2)`)
	if err != nil {
		return err
	}
	defer insert.Close()
	for _, token := range tokens {
		if token.kind == AppKey { // in no cookie
			continue
		}
		expiresAt := token.createdAt + lifetime
		if token.shared {
			expiresAt = token.createdAt + sharedLifetime
		}
		if _, err := insert.Exec(token.hash, expiresAt); err != nil {
			return err
		}
	}
	return nil
}

// WasRevoked reports whether a token belonged to a session that was revoked while Options.KeepRevoked was set.
func (s *Store) WasRevoked(token string) (bool, error) {
	if !s.options.KeepRevoked {
		return false, nil
	}
	return queryValue[bool](s.reader, `SELECT EXISTS (SELECT 1 FROM revoked_tokens WHERE token_hash = $1)`, hashToken(token))
}
