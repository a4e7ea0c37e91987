package db

import (
	"net/netip"
	"time"
)

// This file stores the networks from which users have used their sessions. A session that is used from a new network may have been stolen.

// networkOf returns the network of an IP address: its /24, or the /48 of an IPv6 address. It returns "" for any other text.
func networkOf(ip string) string {
	address, err := netip.ParseAddr(ip)
	if err != nil {
		return ""
	}
	bits := 48
	if address = address.Unmap(); address.Is4() {
		bits = 24
	}
	network, _ := address.Prefix(bits)
	return network.String()
}

// networkSince selects when the session was first used from its network. It is 0 if another session has used that network too, or if it
// is the user's first network.
const networkSince = `
	       COALESCE((SELECT n.first_used_at FROM networks n
	                 WHERE n.user_id = s.user_id AND n.network = s.network AND n.session_id = s.id
	                       AND EXISTS (SELECT 1 FROM networks WHERE user_id = s.user_id AND first_used_at < n.first_used_at)), 0)`

// maxNetworks is how many networks are stored for a user: the most recently used ones.
const maxNetworks = 200

// useNetwork records that a session is used from a network: since its sign-in, if networks were not stored yet at that time.
func (tx *tx) useNetwork(sessionID, network string, at int64) error {
	_, err := tx.Exec(`
		INSERT INTO networks (user_id, network, session_id, first_used_at, last_used_at)
		SELECT user_id, $1, id, CASE network WHEN '' THEN created_at ELSE $2 END, $2
		FROM sessions
		WHERE id = $3 AND $1 <> ''
		ON CONFLICT (user_id, network) DO UPDATE
		SET last_used_at = MAX(last_used_at, excluded.last_used_at),
		    session_id = CASE session_id WHEN excluded.session_id THEN session_id ELSE '' END`, network, at, sessionID)
	if err != nil {
		return err
	}
	_, err = tx.Exec(`
		DELETE FROM networks
		WHERE (user_id, network) IN (SELECT user_id, network FROM networks
		                             WHERE user_id = (SELECT user_id FROM sessions WHERE id = $1)
		                             ORDER BY last_used_at DESC
		                             LIMIT -1 OFFSET $2)`, sessionID, maxNetworks)
	return err
}

// NetworkUse is a network that a user has used.
type NetworkUse struct {
	Network                 string // as in Session
	FirstUsedAt, LastUsedAt time.Time
}

// Networks returns the networks that a user has used, the last used first.
func (s *Store) Networks(userID int64) ([]NetworkUse, error) {
	return queryAll(s.reader, scanNetworkUse, `
		SELECT network, first_used_at, last_used_at
		FROM networks
		WHERE user_id = $1
		ORDER BY last_used_at DESC`, userID)
}

func scanNetworkUse(row scanner) (n NetworkUse, err error) {
	var firstUsedAt, lastUsedAt int64
	err = row.Scan(&n.Network, &firstUsedAt, &lastUsedAt)
	n.FirstUsedAt, n.LastUsedAt = time.UnixMilli(firstUsedAt), time.UnixMilli(lastUsedAt)
	return n, err
}
