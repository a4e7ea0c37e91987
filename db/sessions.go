package db

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"time"
)

// Limits are how long a session may last: without use, and in total. Sessions on shared computers have separate limits.
type Limits struct {
	IdleTimeout       time.Duration
	MaxLifetime       time.Duration
	SharedIdleTimeout time.Duration
	SharedMaxLifetime time.Duration
}

// DefaultLimits follows OWASP ASVS 5.0, 7.3, which asks for an idle and an absolute limit.
var DefaultLimits = Limits{
	IdleTimeout:       14 * 24 * time.Hour,
	MaxLifetime:       30 * 24 * time.Hour,
	SharedIdleTimeout: 30 * time.Minute,
	SharedMaxLifetime: 24 * time.Hour,
}

// DefaultMaxSessions is how many live sessions a user may have. Another sign-in ends the session that has been unused for longest.
const DefaultMaxSessions = 100

func (l Limits) of(shared bool) (idle, lifetime time.Duration) {
	if shared {
		return l.SharedIdleTimeout, l.SharedMaxLifetime
	}
	return l.IdleTimeout, l.MaxLifetime
}

// SessionKind is the kind of a session.
type SessionKind string

// The kinds of sessions.
const (
	Browser SessionKind = "browser" // or another client that has signed in
	AppKey  SessionKind = "app_key" // see CreateKey
)

// Session is one browser, or other client, that is signed in as one user, or an app key. It includes what a request needs to know about the
// user.
type Session struct {
	ID           string // public, and not derived from the token
	Kind         SessionKind
	Host         string // the only one that an app key opens, in CanonicalHost's form; "" for a browser
	UserID       int64
	Username     string
	IsAdmin      bool   // the user is an administrator
	DeviceName   string // CustomName, or else DetectedName
	DetectedName string // the browser at sign-in, such as "Firefox on Linux"; of an app key "App key for notes.example.com"
	DeviceKind   string // desktop, phone, tablet, terminal or unknown
	CustomName   string // the name that the user gave, or ""
	NamedBy      string // the device that gave CustomName; "" if this one did
	Method       string // how the user signed in, such as ByPassword; "" if that was not stored
	Shared       bool   // a shared or public computer

	SecondFactor    bool      // the user has one
	MustSetUpFactor bool      // the user has none but must have one, and may do nothing else until then
	ConfirmedAt     time.Time // when it last checked a password or a passkey (see Store.Confirmed); zero if that was not stored

	LastUse
	SignInIP     string
	OtherBrowser string // the last Browser that was not DetectedName, or ""

	// Read for lists, not for every request.
	IsNew      bool // the device was first seen in the last three days, and the user saw it on fewer than two days
	NewNetwork bool // no other session has used Network, and this one for less than three days

	CreatedAt    time.Time
	LastActiveAt time.Time
	ExpiresAt    time.Time // when it ends without further use; see NeverExpires
	EndsAt       time.Time // when it ends even if it is used
	DeviceToken  string    // to be sent as the device cookie; "" for none; set only by SignIn
	Apps         []AppUse  // most recently used first; only in sessions that Sessions, AllSessions and Session return
}

// LastUse is the address and the browser that a session was last used from. Both may be up to two seconds old.
type LastUse struct {
	IP        string
	Network   string // of IP: its /24, or the /48 of an IPv6 address; "" if not known yet
	UserAgent string
	Browser   string // detected from UserAgent
}

// newToken returns a secret for a cookie or a link: 130 random bits in base32, 26 characters.
func newToken() string { return rand.Text() }

// TokenLength is how many characters every token has.
const TokenLength = 26

func hashToken(token string) []byte {
	hash := sha256.Sum256([]byte(token))
	return hash[:]
}

// sessionColumns is what scanSession reads from sessions s and users u. listColumns follow it in a list, and noListColumns where only the
// session matters.
const sessionColumns = `s.id, s.kind, s.host, s.user_id, u.username, u.is_admin,
	       s.detected_name, s.device_kind, s.custom_name, s.named_by, s.method, s.shared,
	       ` + hasSecondFactor + `, s.confirmed_at,
	       s.ip, COALESCE(NULLIF(s.last_ip, ''), s.ip), s.network, COALESCE(NULLIF(s.last_user_agent, ''), s.user_agent),
	       COALESCE(NULLIF(s.last_browser, ''), s.detected_name), s.other_browser,
	       s.created_at, s.last_active_at, s.expires_at, `

const noListColumns = `0, 0, ''`

const listColumns = `
	       CASE WHEN s.days_looked < 2 THEN COALESCE(NULLIF(s.first_seen_at, 0), s.created_at) ELSE 0 END,` +
	networkSince + `, ` + appsOfSession

const resumeSession = `
	SELECT ` + sessionColumns + noListColumns + `
	FROM sessions s JOIN users u ON u.id = s.user_id
	WHERE s.token_hash = $1 AND s.kind = 'browser' AND u.disabled = 0`

// Resume returns the live session that a token names, or ErrNotFound. Every request to a page or to the API calls it, so it does not find
// app keys. The session is shared with other requests, so the caller must not change it.
func (s *Store) Resume(token string) (*Session, error) {
	return sessionByToken(s, &s.sessions, token, "", func(hash []byte) (Session, error) {
		return queryOne(s.reader, s.scanSession, resumeSession, hash)
	})
}

// expiring is a Session or an AppAccess: what a token can name.
type expiring interface{ expiry() time.Time }

func (s Session) expiry() time.Time { return s.ExpiresAt }

// sessionByToken is the only way from a token to a session, so that pages and auth checks refuse the same sessions. A session that was
// refused because it had expired stays refused, even if the clock is set back: it is remembered until Flush has deleted it.
func sessionByToken[T expiring](s *Store, c *cache[T], token, name string, read func(hash []byte) (T, error)) (*T, error) {
	key := cacheKey{sha256.Sum256([]byte(token)), name}
	if s.pending.isRefused(key.hash) {
		return nil, ErrNotFound
	}
	found, err := c.get(key, func() (T, error) { return read(key.hash[:]) })
	if err != nil {
		return nil, err
	}
	if !(*found).expiry().After(s.Now()) {
		s.pending.refuse(key.hash)
		return nil, ErrNotFound
	}
	return found, nil
}

// Touch notes that the session's user did something just now, and where and with which browser. It never blocks, because Flush writes
// the notes.
func (s *Store) Touch(session *Session, client Client) {
	now := s.Now()
	s.noteUse(session.ID, session.LastUse, client, s.worthNoting(session.Shared, session.LastActiveAt, now), now)
}

// worthNoting reports whether to note again that a session is in use: the last note must be a minute old, or a quarter of the idle
// timeout if that is shorter.
func (s *Store) worthNoting(shared bool, last, now time.Time) bool {
	idle, _ := s.options.Limits.of(shared)
	return now.Sub(last).Abs() >= min(time.Minute, idle/4) // Abs, so that notes continue after the clock was set back
}

// newFor is how long a device or a network counts as new.
const newFor = 3 * 24 * time.Hour

func (s *Store) scanSession(row scanner) (session Session, err error) {
	var confirmedAt, createdAt, lastActiveAt, expiresAt, firstSeenAt, networkSince int64
	var apps string
	err = row.Scan(&session.ID, &session.Kind, &session.Host, &session.UserID, &session.Username, &session.IsAdmin,
		&session.DetectedName, &session.DeviceKind, &session.CustomName, &session.NamedBy, &session.Method, &session.Shared,
		&session.SecondFactor, &confirmedAt,
		&session.SignInIP, &session.IP, &session.Network, &session.UserAgent, &session.Browser, &session.OtherBrowser,
		&createdAt, &lastActiveAt, &expiresAt, &firstSeenAt, &networkSince, &apps)
	session.DeviceName = cmp.Or(session.CustomName, session.DetectedName)
	session.MustSetUpFactor = !session.SecondFactor && s.options.RequireSecondFactor.includes(session.IsAdmin)
	if confirmedAt > 0 {
		session.ConfirmedAt = time.UnixMilli(confirmedAt)
	}
	_, lifetime := s.options.Limits.of(session.Shared)
	session.CreatedAt, session.LastActiveAt = time.UnixMilli(createdAt), time.UnixMilli(lastActiveAt)
	session.ExpiresAt, session.EndsAt = time.UnixMilli(expiresAt), session.CreatedAt.Add(lifetime)
	if session.Kind == AppKey {
		session.EndsAt = session.ExpiresAt
	}
	newSince := s.now() - newFor.Milliseconds()
	session.IsNew, session.NewNetwork = firstSeenAt > newSince, networkSince > newSince
	session.Apps = parseAppUses(apps)
	return session, err
}

// With a bare $3 as its limit, SQLite would compile the statement again on each run, to plan for that number.
const sessionsOfUser = `
	SELECT ` + sessionColumns + listColumns + `
	FROM sessions s JOIN users u ON u.id = s.user_id
	WHERE s.user_id = $1 AND s.expires_at > $2 AND u.disabled = 0
	ORDER BY s.last_active_at DESC
	LIMIT $3 + 0`

// Sessions returns a user's live sessions, most recently active first, and how many there are in total. If limit is not 0, it returns
// at most that many.
func (s *Store) Sessions(userID int64, limit int) (sessions []Session, total int, err error) {
	if limit == 0 {
		limit = -1
	}
	now := s.now()
	sessions, err = queryAll(s.reader, s.scanSession, sessionsOfUser, userID, now, limit)
	if err != nil || len(sessions) != limit { // these are all
		return sessions, len(sessions), err
	}
	total, err = queryValue[int](s.reader, `SELECT COUNT(*) FROM sessions WHERE user_id = $1 AND expires_at > $2`, userID, now)
	return sessions, total, err
}

// AllSessions returns the live sessions of one user, or with "" of every user, sorted by username and then most recently active first.
// It returns ErrNotFound for an unknown user.
func (s *Store) AllSessions(username string) ([]Session, error) {
	username = canonical(username)
	if username != "" {
		if _, err := s.UserByName(username); err != nil {
			return nil, err
		}
	}
	return queryAll(s.reader, s.scanSession, `
		SELECT `+sessionColumns+listColumns+`
		FROM sessions s JOIN users u ON u.id = s.user_id
		WHERE ($1 = '' OR u.username = $1) AND s.expires_at > $2 AND u.disabled = 0
		ORDER BY u.username, s.last_active_at DESC`, username, s.now())
}

// OnlyAddress returns the IP address from which the users of all browser sessions that have not expired signed in. It returns "" if there
// are several, or no session.
func (s *Store) OnlyAddress() (string, error) {
	return queryValue[string](s.reader, `
		SELECT CASE COUNT(*) WHEN 1 THEN MIN(ip) ELSE '' END
		FROM (SELECT DISTINCT ip FROM sessions WHERE kind = 'browser' AND expires_at > $1 LIMIT 2)`, s.now())
}

const sessionByID = `
	SELECT ` + sessionColumns + listColumns + `
	FROM sessions s JOIN users u ON u.id = s.user_id
	WHERE s.id = $1 AND u.disabled = 0`

// Session returns one of a user's live sessions, or ErrNotFound. The cache finds it by id alone, so the user and the expiry are checked
// here.
func (s *Store) Session(userID int64, id string) (Session, error) {
	session, err := s.sessions.get(cacheKey{name: id}, func() (Session, error) { return queryOne(s.reader, s.scanSession, sessionByID, id) })
	if err != nil {
		return Session{}, err
	}
	if session.UserID != userID || session.ExpiresAt.UnixMilli() <= s.now() {
		return Session{}, ErrNotFound
	}
	return *session, nil
}

// Rename sets the name of one of the user's own sessions and of its device; "" removes it. It returns ErrNotFound if there is no such
// session.
func (s *Store) Rename(ctx context.Context, by Session, id, name string) error {
	return s.writeForSession(ctx, by, func(tx *tx) error {
		renamed := event{userID: by.UserID, kind: Renamed, sessionID: id, by: ByDevice(by.DeviceName)}
		var namedBy string
		var device sql.NullString
		err := tx.QueryRow(`
			UPDATE sessions SET custom_name = $1, named_by = CASE WHEN $1 = '' OR id = $2 THEN '' ELSE $3 END
			WHERE id = $4 AND user_id = $5 AND expires_at > $6
			RETURNING COALESCE(NULLIF(custom_name, ''), detected_name), COALESCE(NULLIF(last_ip, ''), ip), named_by, device_id`,
			name, by.ID, by.DeviceName, id, by.UserID, tx.now).Scan(&renamed.deviceName, &renamed.ip, &namedBy, &device)
		if err != nil {
			return err
		}
		for _, statement := range []string{
			`UPDATE devices SET custom_name = $1, named_by = $2 WHERE id = $3 AND user_id = $4`,
			`UPDATE sessions SET custom_name = $1, named_by = $2 WHERE device_id = $3 AND user_id = $4`,
		} {
			if _, err := tx.Exec(statement, name, namedBy, device, by.UserID); err != nil {
				return err
			}
		}
		return tx.recordRepeat(renamed)
	})
}

// NextExpiry returns when the next of a user's live sessions ends by itself if nothing is used, or the zero time if there is none.
func (s *Store) NextExpiry(userID int64) (time.Time, error) {
	next, err := queryValue[int64](s.reader, `
		SELECT COALESCE(MIN(expires_at), 0) FROM sessions WHERE user_id = $1 AND expires_at > $2`, userID, s.now())
	if err != nil || next == 0 {
		return time.Time{}, err
	}
	return time.UnixMilli(next), nil
}
