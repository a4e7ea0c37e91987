package db

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"errors"
	"time"
)

// Limits are how long a session lasts: unused, and however busy; shorter on a shared computer.
type Limits struct {
	IdleTimeout       time.Duration
	MaxLifetime       time.Duration
	SharedIdleTimeout time.Duration
	SharedMaxLifetime time.Duration
}

// DefaultLimits follow OWASP ASVS 5.0, 7.3: both an idle and an absolute limit.
var DefaultLimits = Limits{
	IdleTimeout:       14 * 24 * time.Hour,
	MaxLifetime:       30 * 24 * time.Hour,
	SharedIdleTimeout: 30 * time.Minute,
	SharedMaxLifetime: 24 * time.Hour,
}

// DefaultMaxSessions is how many live sessions a user may have. Signing in beyond that ends the one unused longest.
const DefaultMaxSessions = 100

func (l Limits) of(shared bool) (idle, lifetime time.Duration) {
	if shared {
		return l.SharedIdleTimeout, l.SharedMaxLifetime
	}
	return l.IdleTimeout, l.MaxLifetime
}

// Session is one browser, or other client, that is signed in as one user, together with what a request needs to
// know of that user.
type Session struct {
	ID           string // public; tells nothing about the token
	UserID       int64
	Username     string
	IsAdmin      bool   // the user is an administrator
	DeviceName   string // the name that the user gave, else the one made from the User-Agent
	DetectedName string // made from the User-Agent
	DeviceKind   string // desktop, phone, tablet, terminal or unknown
	CustomName   string // the name that the user gave; "" is none
	UserAgent    string
	IP           string // at sign-in
	Shared       bool   // a shared or public computer
	CreatedAt    time.Time
	LastActiveAt time.Time
	ExpiresAt    time.Time // when it ends if it is not used again
	EndsAt       time.Time // when it ends however busy it is
	Apps         []AppUse  // last used first; read for lists, not for every request
}

// NewSession is what a sign-in brings.
type NewSession struct {
	Client
	Shared   bool
	Replaces []string // tokens that the client brought: one browser is one row, so the sessions that they name end
}

// newToken makes the secret for the cookie: 130 random bits in base32, 26 characters.
func newToken() string { return rand.Text() }

// TokenLength is how many characters a token has; nothing else needs to be looked up.
const TokenLength = 26

func hashToken(token string) []byte {
	hash := sha256.Sum256([]byte(token))
	return hash[:]
}

// SignIn begins a session of a user whom Authenticate or CreateUser returned, under a new token. It returns
// ErrWrongPassword when the password was changed, or the account disabled or deleted, in between.
func (s *Store) SignIn(ctx context.Context, user User, new NewSession) (token string, session Session, err error) {
	token, new.Client = newToken(), new.described()
	session = Session{
		ID: rand.Text(), UserID: user.ID, Username: user.Username, IsAdmin: user.IsAdmin,
		DeviceName: new.DeviceName, DetectedName: new.DeviceName, DeviceKind: new.DeviceKind, UserAgent: new.UserAgent, IP: new.IP, Shared: new.Shared,
	}
	err = s.write(ctx, func(tx *tx) error {
		idle, lifetime := s.options.Limits.of(new.Shared)
		session.CreatedAt, session.LastActiveAt = time.UnixMilli(tx.now), time.UnixMilli(tx.now)
		session.ExpiresAt, session.EndsAt = session.CreatedAt.Add(min(idle, lifetime)), session.CreatedAt.Add(lifetime)
		for _, brought := range new.Replaces {
			if _, err := tx.end(Replaced, new.DeviceName, `
				DELETE FROM sessions
				WHERE token_hash = $1 AND expires_at > $2`, hashToken(brought), tx.now); err != nil {
				return err
			}
		}
		err := tx.changeOne(`
			INSERT INTO sessions (id, token_hash, user_id, detected_name, device_kind, user_agent, ip, shared, created_at, last_active_at, expires_at)
			SELECT $1, $2, id, $3, $4, $5, $6, $7, $8, $8, $9
			FROM users
			WHERE id = $10 AND disabled = 0 AND password_hash = $11`,
			session.ID, hashToken(token), session.DeviceName, session.DeviceKind, session.UserAgent, session.IP, session.Shared, tx.now, session.ExpiresAt.UnixMilli(),
			user.ID, user.passwordHash)
		if errors.Is(err, ErrNotFound) {
			return ErrWrongPassword
		}
		if err != nil {
			return err
		}
		if _, err := tx.end(Evicted, new.DeviceName, `
			DELETE FROM sessions
			WHERE id IN (SELECT id FROM sessions
			             WHERE user_id = $1 AND id <> $2 AND expires_at > $3
			             ORDER BY last_active_at DESC
			             LIMIT -1 OFFSET $4)`, user.ID, session.ID, tx.now, s.options.MaxSessions-1); err != nil {
			return err
		}
		if err := s.forgetConsecutiveFailures(tx, user); err != nil {
			return err
		}
		return tx.record(eventOf(session, SignedIn))
	})
	return token, session, err
}

// sessionColumns are what scanSession reads, from sessions s and users u; after them comes what the session was used for.
const sessionColumns = `s.id, s.user_id, u.username, u.is_admin, s.detected_name, s.device_kind, s.custom_name, s.user_agent, s.ip, s.shared,
	       s.created_at, s.last_active_at, s.expires_at, `

const resumeSession = `
	SELECT ` + sessionColumns + `''
	FROM sessions s JOIN users u ON u.id = s.user_id
	WHERE s.token_hash = $1 AND u.disabled = 0`

// Resume finds the live session that a token names, or returns ErrNotFound. Every request comes through here.
func (s *Store) Resume(token string) (Session, error) {
	return find(s, &s.sessions, token, "", func(hash []byte) (Session, error) { return queryOne(&s.resume, s.scanSession, hash) })
}

// expiring is what a token names. It does not count once it has expired.
type expiring interface{ expiry() time.Time }

func (s Session) expiry() time.Time { return s.ExpiresAt }

// find is the one way from a token to a session, so that every way in refuses alike. A session that was refused because it had
// expired stays refused, even when the clock is set back: it is remembered until the next flush has deleted it.
func find[T expiring](s *Store, c *cache[T], token, name string, read func(hash []byte) (T, error)) (found T, err error) {
	if err := s.files.err(); err != nil {
		return found, err
	}
	key := cacheKey{sha256.Sum256([]byte(token)), name}
	if s.pending.isRefused(key.hash) {
		return found, ErrNotFound
	}
	found, err = c.get(key, func() (T, error) { return read(key.hash[:]) })
	if err == nil && !found.expiry().After(s.Now()) {
		s.pending.refuse(key.hash)
		err = ErrNotFound
	}
	if err != nil {
		var none T
		return none, err
	}
	return found, nil
}

// Touch notes that the session's user did something just now. It waits for nothing: Flush writes the notes.
func (s *Store) Touch(session Session) {
	if now := s.Now(); s.worthNoting(session.Shared, session.LastActiveAt, now) {
		s.pending.touch(session.ID, now.UnixMilli())
	}
}

// worthNoting reports whether what a busy session does is to be noted again: when the last note is older than a minute,
// or a quarter of a shorter idle limit.
func (s *Store) worthNoting(shared bool, last, now time.Time) bool {
	idle, _ := s.options.Limits.of(shared)
	return now.Sub(last).Abs() >= min(time.Minute, idle/4) // Abs: a clock that was set back must not silence it
}

// scanSession reads sessionColumns and what the session was used for.
func (s *Store) scanSession(row scanner) (session Session, err error) {
	var createdAt, lastActiveAt, expiresAt int64
	var apps string
	err = row.Scan(&session.ID, &session.UserID, &session.Username, &session.IsAdmin,
		&session.DetectedName, &session.DeviceKind, &session.CustomName, &session.UserAgent, &session.IP, &session.Shared,
		&createdAt, &lastActiveAt, &expiresAt, &apps)
	if errors.Is(err, sql.ErrNoRows) {
		return Session{}, ErrNotFound
	}
	session.DeviceName = session.CustomName
	if session.DeviceName == "" {
		session.DeviceName = session.DetectedName
	}
	_, lifetime := s.options.Limits.of(session.Shared)
	session.CreatedAt, session.LastActiveAt = time.UnixMilli(createdAt), time.UnixMilli(lastActiveAt)
	session.ExpiresAt, session.EndsAt = time.UnixMilli(expiresAt), session.CreatedAt.Add(lifetime)
	session.Apps = parseAppUses(apps)
	return session, unavailable(err)
}

// With a bare $3 as its limit, SQLite would compile the statement again each time, to plan for that number.
const sessionsOfUser = `
	SELECT ` + sessionColumns + appsOfSession + `
	FROM sessions s JOIN users u ON u.id = s.user_id
	WHERE s.user_id = $1 AND s.expires_at > $2 AND u.disabled = 0
	ORDER BY s.last_active_at DESC
	LIMIT $3 + 0`

// Sessions lists a user's live sessions, last active first, at most limit of them (0: all); total counts all.
func (s *Store) Sessions(ctx context.Context, userID int64, limit int) (sessions []Session, total int, err error) {
	if limit == 0 {
		limit = -1
	}
	now := s.now()
	err = s.list.query(func(row scanner) error {
		session, err := s.scanSession(row)
		sessions = append(sessions, session)
		return err
	}, userID, now, limit)
	if err != nil || len(sessions) != limit {
		return sessions, len(sessions), err
	}
	err = s.reader.QueryRowContext(ctx, `SELECT COUNT(*) FROM sessions WHERE user_id = $1 AND expires_at > $2`, userID, now).Scan(&total)
	return sessions, total, unavailable(err)
}

// AllSessions lists the live sessions of every user, or of one, by name and last active first. An unknown user is
// ErrNotFound.
func (s *Store) AllSessions(ctx context.Context, username string) ([]Session, error) {
	username = canonical(username)
	var known bool
	if err := s.reader.QueryRowContext(ctx, `SELECT $1 = '' OR EXISTS (SELECT 1 FROM users WHERE username = $1)`, username).Scan(&known); err != nil {
		return nil, unavailable(err)
	}
	if !known {
		return nil, ErrNotFound
	}
	return queryAll(ctx, s, s.scanSession, `
		SELECT `+sessionColumns+appsOfSession+`
		FROM sessions s JOIN users u ON u.id = s.user_id
		WHERE ($1 = '' OR u.username = $1) AND s.expires_at > $2 AND u.disabled = 0
		ORDER BY u.username, s.last_active_at DESC`, username, s.now())
}

// OnlyAddress is the address from which every live session was begun; "" when there are two, or no session.
func (s *Store) OnlyAddress(ctx context.Context) (ip string, err error) {
	var addresses int
	err = s.reader.QueryRowContext(ctx, `
		SELECT COUNT(*), COALESCE(MIN(ip), '')
		FROM (SELECT DISTINCT ip FROM sessions WHERE expires_at > $1 LIMIT 2)`, s.now()).Scan(&addresses, &ip)
	if addresses != 1 {
		ip = ""
	}
	return ip, unavailable(err)
}

const sessionByID = `
	SELECT ` + sessionColumns + appsOfSession + `
	FROM sessions s JOIN users u ON u.id = s.user_id
	WHERE s.id = $1 AND u.disabled = 0`

// Session finds one of a user's live sessions, or returns ErrNotFound.
func (s *Store) Session(userID int64, id string) (Session, error) {
	if err := s.files.err(); err != nil {
		return Session{}, err
	}
	session, err := s.sessions.get(cacheKey{name: id}, func() (Session, error) { return queryOne(&s.byID, s.scanSession, id) })
	if err == nil && (session.UserID != userID || session.ExpiresAt.UnixMilli() <= s.now()) {
		return Session{}, ErrNotFound
	}
	return session, err
}

// Rename gives a session of the same user a name, or with "" takes it away again; ErrNotFound when there is no such
// session.
func (s *Store) Rename(ctx context.Context, by Session, id, name string) error {
	return s.writeAs(ctx, by, func(tx *tx) error {
		renamed := event{userID: by.UserID, kind: Renamed, sessionID: id, by: by.DeviceName}
		err := tx.QueryRow(`
			UPDATE sessions SET custom_name = $1
			WHERE id = $2 AND user_id = $3 AND expires_at > $4
			RETURNING COALESCE(NULLIF(custom_name, ''), detected_name), ip`, name, id, by.UserID, tx.now).Scan(&renamed.deviceName, &renamed.ip)
		if errors.Is(err, sql.ErrNoRows) {
			return ErrNotFound
		}
		if err != nil {
			return err
		}
		return tx.record(renamed)
	})
}
