package db

import (
	"cmp"
	"math"
	"time"
)

// This file lists everybody's sessions, for administrators.

// SessionFilter selects live sessions. A zero field selects all.
type SessionFilter struct {
	Username  string        // whose; in any form that CreateUser accepts
	Host      string        // of an app that the session was used for, in CanonicalHost's form
	IP        string        // from which the user signed in or last used the session
	UnusedFor time.Duration // at least
	Before    int64         // only what has a smaller Position
}

// FoundSession is a session that FindSessions returns.
type FoundSession struct {
	Session
	Position int64 // for SessionFilter.Before
}

// The rows are read in table order, so a page needs neither a separate index nor a sort. The plus keeps SQLite from
// reading them by expiry.
const findSessions = `
	SELECT ` + sessionColumns + listColumns + `, s.rowid
	FROM sessions s CROSS JOIN users u ON u.id = s.user_id
	WHERE s.rowid < $1 AND ` + matchesSessionFilter + `
	ORDER BY s.rowid DESC
	LIMIT $6 + 0`

const findSessionsOfUser = `
	SELECT ` + sessionColumns + listColumns + `, s.rowid
	FROM users u CROSS JOIN sessions s ON s.user_id = u.id
	WHERE s.rowid < $1 AND ` + matchesSessionFilter + ` AND u.username = $6
	ORDER BY s.rowid DESC
	LIMIT $7 + 0`

const matchesSessionFilter = `+s.expires_at > $2 AND u.disabled = 0 AND s.last_active_at <= $3
	      AND ($4 = '' OR s.ip = $4 OR s.last_ip = $4)
	      AND ($5 = '' OR s.host = $5 OR EXISTS (SELECT 1 FROM session_apps a WHERE a.session_id = s.id AND a.host = $5))`

// FindSessions returns the live sessions that the filter selects, newest first and at most limit rows. An unknown username selects none.
func (s *Store) FindSessions(filter SessionFilter, limit int) ([]FoundSession, error) {
	now, before, usedUntil := s.now(), cmp.Or(filter.Before, math.MaxInt64), int64(math.MaxInt64)
	if filter.UnusedFor > 0 {
		usedUntil = now - filter.UnusedFor.Milliseconds()
	}
	statement, args := findSessions, []any{before, now, usedUntil, filter.IP, filter.Host}
	if filter.Username != "" {
		statement, args = findSessionsOfUser, append(args, canonical(filter.Username))
	}
	return queryAll(s.reader, func(row scanner) (found FoundSession, err error) {
		found.Session, err = s.scanSession(withColumn{row, &found.Position})
		return found, err
	}, statement, append(args, limit)...)
}
