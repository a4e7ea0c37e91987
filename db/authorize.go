package db

import (
	"strings"
	"time"
)

// AppAccess is what a reverse proxy is told about a request to an app: whose live session it is, and whether the rules let
// that user reach the host. It has no more of the session than that takes: an app's pages ask dozens of times.
type AppAccess struct {
	ID       string // of the session; public
	Username string
	Email    string // "" when not set
	IsAdmin  bool
	Approved bool // false for those who signed themselves up, until an administrator approves them
	Allowed  bool

	host         string
	expiresAt    time.Time
	shared       bool
	lastActiveAt time.Time
	lastUsedAt   time.Time // when the session was last noted to have used the host
}

// authorizeSession is resumeSession for what a proxy is told and, in the same statement, the host's rule for that user. The rule for
// the very host comes before the one for its siblings. An unapproved user needs a rule that names them.
const authorizeSession = `
	SELECT s.id, u.username, COALESCE(u.email, ''), u.is_admin, u.approved, s.shared, s.last_active_at, s.expires_at,
	       COALESCE((SELECT ` + ruleLetsIn + ` FROM app_rules r WHERE r.host = $1),
	                (SELECT ` + ruleLetsIn + ` FROM app_rules r WHERE r.host = $2), $3 AND u.approved = 1),
	       COALESCE((SELECT a.last_used_at FROM session_apps a WHERE a.session_id = s.id AND a.host = $1), 0)
	FROM sessions s JOIN users u ON u.id = s.user_id
	WHERE s.token_hash = $4 AND u.disabled = 0`

const ruleLetsIn = `
	CASE WHEN u.approved = 1 AND (r.everyone = 1 OR r.admins = 1 AND u.is_admin = 1)
	          OR EXISTS (SELECT 1 FROM app_rule_users g WHERE g.host = r.host AND g.user_id = u.id) THEN 1 ELSE 0 END`

// Authorize finds the live session that a token names, or returns ErrNotFound, and reports whether its user may reach the
// host: a name in lower case, without port and trailing dot. Every request to an app comes through here.
func (s *Store) Authorize(token, host string) (AppAccess, error) {
	return find(s, &s.access, token, host, func(hash []byte) (AppAccess, error) {
		access, err := queryOne(&s.authorize, scanAppAccess, host, siblings(host), !s.options.DenyApps, hash)
		access.host = host
		return access, err
	})
}

func (a AppAccess) expiry() time.Time { return a.expiresAt }

// siblings is the rule that matches any one label in the place of the host's first; "" where there can be none.
func siblings(host string) string {
	if _, parent, found := strings.Cut(host, "."); found { // of an address too, but for that no rule can be made
		return "*." + parent
	}
	return ""
}

func scanAppAccess(row scanner) (v AppAccess, err error) {
	var lastActiveAt, expiresAt, lastUsedAt int64
	err = row.Scan(&v.ID, &v.Username, &v.Email, &v.IsAdmin, &v.Approved, &v.shared, &lastActiveAt, &expiresAt, &v.Allowed, &lastUsedAt)
	v.lastActiveAt, v.expiresAt, v.lastUsedAt = time.UnixMilli(lastActiveAt), time.UnixMilli(expiresAt), time.UnixMilli(lastUsedAt)
	return v, err
}

// UseApp notes that the session was let through to the host just now and, where that was its user's doing and not the app's,
// that it is active. It waits for nothing: Flush writes the notes.
func (s *Store) UseApp(v AppAccess, active bool) {
	now := s.Now()
	if s.worthNoting(v.shared, v.lastUsedAt, now) {
		s.pending.useApp(appUse{v.ID, v.host}, now.UnixMilli())
	}
	if active && s.worthNoting(v.shared, v.lastActiveAt, now) {
		s.pending.touch(v.ID, now.UnixMilli())
	}
}
