package db

import (
	"strings"
	"time"
)

// AppAccess is the result of an auth check: whose live session a request to an app belongs to, and whether the rules allow that user to
// reach the host. It holds only the parts of the session that auth checks need, because one page of an app causes dozens of them.
type AppAccess struct {
	SessionID string // the public id
	Username  string
	Email     string // "" when not set
	IsAdmin   bool
	Approved  bool   // false for those who signed themselves up, until an administrator approves them
	Groups    string // the user's, and "admins" for an administrator, sorted and separated by commas
	Allowed   bool   // by the rules, and not MustSetUpFactor

	MustSetUpFactor bool // as in Session

	LastUse

	host         string
	expiresAt    time.Time
	shared       bool
	lastActiveAt time.Time
	lastUsedAt   time.Time // when the session was last noted to have used the host
}

// authorizeSession reads an AppAccess by the hash of its token. It applies the rule for the host, or else the wildcard rule that matches
// the host, or else the default. An unapproved user needs a rule that names them or one of their groups. Without the plus before s.kind,
// SQLite would compile the statement again on each run, which takes 85 µs: the value could make a partial index useful.
const authorizeSession = `
	SELECT s.id, u.username, COALESCE(u.email, ''), u.is_admin, u.approved, ` + hasSecondFactor + `, ` + groupsOfUser + `,
	       s.shared, s.last_active_at, s.expires_at,
	       ` + allowedAtHost + `,
	       COALESCE((SELECT a.last_used_at FROM session_apps a WHERE a.session_id = s.id AND a.host = $1), 0),
	       COALESCE(NULLIF(s.last_ip, ''), s.ip), s.network, COALESCE(NULLIF(s.last_user_agent, ''), s.user_agent),
	       COALESCE(NULLIF(s.last_browser, ''), s.detected_name)
	FROM sessions s JOIN users u ON u.id = s.user_id
	WHERE s.token_hash = $4 AND +s.kind = $5 AND s.host IN ('', $1) AND u.disabled = 0`

// allowedAtHost is a column that says whether users u may reach the host $1. $2 is the host of its wildcard rule, $3 the default.
const allowedAtHost = `
	       COALESCE((SELECT ` + ruleAllows + ` FROM app_rules r WHERE r.host = $1),
	                (SELECT ` + ruleAllows + ` FROM app_rules r WHERE r.host = $2), $3 AND u.approved = 1)`

const ruleAllows = `
	CASE WHEN u.approved = 1 AND (r.everyone = 1 OR r.admins = 1 AND u.is_admin = 1)
	          OR EXISTS (SELECT 1 FROM app_rule_users g WHERE g.host = r.host AND g.user_id = u.id)
	          OR EXISTS (SELECT 1 FROM app_rule_groups g JOIN user_groups m ON m.name = g.name
	                     WHERE g.host = r.host AND m.user_id = u.id) THEN 1 ELSE 0 END`

// Authorize returns whose live session the token in a cookie names, and whether that user may reach the host, which is in CanonicalHost's
// form. If there is no such session, it returns ErrNotFound. Every auth check without an app key calls it. The result is shared with other
// requests, so the caller must not change it.
func (s *Store) Authorize(token, host string) (*AppAccess, error) {
	if IsKey(token) {
		return nil, ErrNotFound
	}
	return s.authorize(Browser, token, host)
}

// AuthorizeKey is like Authorize, but for an app key. It also returns ErrNotFound if the key is for another host.
func (s *Store) AuthorizeKey(key, host string) (*AppAccess, error) {
	if !IsKey(key) {
		return nil, ErrNotFound
	}
	return s.authorize(AppKey, key, host)
}

// authorize caches the result by token and host, without the kind: the prefix of a token shows its kind.
func (s *Store) authorize(kind SessionKind, token, host string) (*AppAccess, error) {
	return sessionByToken(s, &s.access, token, host, func(hash []byte) (AppAccess, error) {
		access, err := queryOne(s.reader, s.scanAppAccess, authorizeSession, host, wildcardOf(host), !s.options.DenyApps, hash, kind)
		access.host = host
		return access, err
	})
}

func (access AppAccess) expiry() time.Time { return access.expiresAt }

// wildcardOf returns the wildcard rule that matches the host, or "" if there can be none.
func wildcardOf(host string) string {
	if _, parent, found := strings.Cut(host, "."); found { // of an IP address too, but no rule can exist for that
		return "*." + parent
	}
	return ""
}

func (s *Store) scanAppAccess(row scanner) (access AppAccess, err error) {
	var lastActiveAt, expiresAt, lastUsedAt int64
	var hasFactor bool
	var groups string
	err = row.Scan(&access.SessionID, &access.Username, &access.Email, &access.IsAdmin, &access.Approved, &hasFactor, &groups,
		&access.shared, &lastActiveAt, &expiresAt, &access.Allowed, &lastUsedAt,
		&access.IP, &access.Network, &access.UserAgent, &access.Browser)
	s.decide(&access, groups, hasFactor)
	access.lastActiveAt, access.expiresAt = time.UnixMilli(lastActiveAt), time.UnixMilli(expiresAt)
	access.lastUsedAt = time.UnixMilli(lastUsedAt)
	return access, err
}

// decide sets the fields that depend on the settings as well as on the database.
func (s *Store) decide(access *AppAccess, groups string, hasFactor bool) {
	access.Groups = allGroups(groups, access.IsAdmin)
	access.MustSetUpFactor = !hasFactor && s.options.RequireSecondFactor.includes(access.IsAdmin)
	access.Allowed = access.Allowed && !access.MustSetUpFactor
}

// UseApp notes that the session was allowed to reach the host just now, and where and with which browser it is used. If active, it also
// notes that the session's user did something: a background request of an app does not count as activity. It never blocks, because Flush
// writes the notes.
func (s *Store) UseApp(access *AppAccess, client Client, active bool) {
	now := s.Now()
	if s.worthNoting(access.shared, access.lastUsedAt, now) {
		s.pending.useApp(appUse{access.SessionID, access.host}, now.UnixMilli())
	}
	s.noteUse(access.SessionID, access.LastUse, client, active && s.worthNoting(access.shared, access.lastActiveAt, now), now)
}
