package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"net/mail"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/mattn/go-sqlite3"
)

// ErrWrongPassword says that the name, the password or both are wrong, or that the account is disabled; never which.
var ErrWrongPassword = errors.New("username or password is incorrect")

// ErrNotFirst says that an account exists already, so that nobody can make the first one.
var ErrNotFirst = errors.New("an account exists already")

// Invalid says what is wrong with what was given, by field: username, email, password, name.
type Invalid map[string]string

func (i Invalid) Error() string {
	reasons := []string{}
	for _, field := range slices.Sorted(maps.Keys(i)) {
		reasons = append(reasons, i[field])
	}
	return strings.Join(reasons, " ")
}

// User is an account.
type User struct {
	ID        int64
	Username  string
	Email     string // "" when not set
	IsAdmin   bool
	Disabled  bool
	CreatedAt time.Time
	Sessions  int // that are alive; only Users fills it

	passwordHash string
}

// NewUser is an account that is to be made.
type NewUser struct {
	Username string // trimmed and lower-cased before use
	Email    string // likewise; "" is none
	Password string
	IsAdmin  bool // the very first account is an administrator whatever this says
	First    bool // make it only while no account exists, else ErrNotFirst
}

var usernamePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,31}$`)

// canonical is how names and addresses are kept and compared.
func canonical(name string) string { return strings.ToLower(strings.TrimSpace(name)) }

// HasUsers tells whether any account exists.
func (s *Store) HasUsers(ctx context.Context) (has bool, err error) {
	err = s.reader.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM users)`).Scan(&has)
	return has, unavailable(err)
}

// CreateUser makes an account. What is wrong with it comes back as Invalid, all of it at once.
func (s *Store) CreateUser(ctx context.Context, new NewUser) (User, error) {
	new.Username, new.Email = canonical(new.Username), canonical(new.Email)
	if err := s.checkUser(ctx, new); err != nil {
		return User{}, err
	}
	hash, err := s.hasher.hash(ctx, new.Password)
	if err != nil {
		return User{}, err
	}
	user := User{Username: new.Username, Email: new.Email, CreatedAt: time.UnixMilli(s.now()), passwordHash: hash}
	err = s.write(ctx, func(tx *sql.Tx) error {
		var others bool
		if err := tx.QueryRow(`SELECT EXISTS (SELECT 1 FROM users)`).Scan(&others); err != nil {
			return err
		}
		if new.First && others {
			return ErrNotFirst
		}
		user.IsAdmin = new.IsAdmin || !others
		result, err := tx.Exec(`
			INSERT INTO users (username, email, password_hash, is_admin, created_at)
			VALUES ($1, NULLIF($2, ''), $3, $4, $5)`,
			user.Username, user.Email, user.passwordHash, user.IsAdmin, user.CreatedAt.UnixMilli())
		if err != nil {
			return taken(err)
		}
		user.ID, err = result.LastInsertId()
		return err
	})
	return user, err
}

func (s *Store) checkUser(ctx context.Context, new NewUser) error {
	invalid := Invalid{}
	if !usernamePattern.MatchString(new.Username) {
		invalid["username"] = "A username has 1 to 32 letters (a to z), digits, dots, dashes or underscores, and begins with a letter or a digit."
	}
	if address, err := mail.ParseAddress(new.Email); new.Email != "" && (err != nil || address.Address != new.Email || len(new.Email) > 254) {
		invalid["email"] = "This is not an e-mail address."
	}
	reason, err := s.hasher.checkPassword(ctx, new.Password, new.Username, new.Email, s.options.Site)
	if err != nil {
		return err
	}
	if reason != "" {
		invalid["password"] = reason
	}
	if len(invalid) > 0 {
		return invalid
	}
	return nil
}

// taken turns SQLite's word on a name or address that exists already into ours.
func taken(err error) error {
	var sqliteErr sqlite3.Error
	if !errors.As(err, &sqliteErr) || sqliteErr.ExtendedCode != sqlite3.ErrConstraintUnique {
		return err
	}
	if strings.Contains(sqliteErr.Error(), "users.email") {
		return Invalid{"email": "This e-mail address is taken."}
	}
	return Invalid{"username": "This username is taken."}
}

// Authenticate finds the account by username or e-mail address and checks the password. A name that does not
// exist, a wrong password and a disabled account are one error, ErrWrongPassword, after the same work.
func (s *Store) Authenticate(ctx context.Context, name, password, ip, deviceName string) (User, error) {
	user, err := s.findUser(ctx, name)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return User{}, err
	}
	matches, outdated, err := s.hasher.verify(ctx, user.passwordHash, password)
	switch {
	case err != nil:
		return User{}, err
	case !matches || user.Disabled:
		// Noted in memory: a write here would make known names slower than unknown ones.
		s.noteFailure(user.ID, ip, deviceName)
		return user, ErrWrongPassword
	case outdated:
		return s.rehash(ctx, user, password)
	}
	return user, nil
}

func (s *Store) findUser(ctx context.Context, name string) (user User, err error) {
	var createdAt int64
	err = s.reader.QueryRowContext(ctx, `
		SELECT id, username, COALESCE(email, ''), password_hash, is_admin, disabled, created_at
		FROM users
		WHERE username = $1 OR email = $1`, canonical(name)).
		Scan(&user.ID, &user.Username, &user.Email, &user.passwordHash, &user.IsAdmin, &user.Disabled, &createdAt)
	if errors.Is(err, sql.ErrNoRows) {
		return User{}, ErrNotFound
	}
	user.CreatedAt = time.UnixMilli(createdAt)
	return user, unavailable(err)
}

// rehash keeps the password at today's cost.
func (s *Store) rehash(ctx context.Context, user User, password string) (User, error) {
	hash, err := s.hasher.hash(ctx, password)
	if err != nil {
		return User{}, err
	}
	err = s.write(ctx, func(tx *sql.Tx) error {
		_, err := tx.Exec(`UPDATE users SET password_hash = $1 WHERE id = $2 AND password_hash = $3`, hash, user.ID, user.passwordHash)
		return err
	})
	user.passwordHash = hash
	return user, err
}

// ChangePassword sets a new password and gives the session that asked a new token; with endOthers the user's other
// sessions end. It answers ErrWrongPassword, Invalid (field "password"), or ErrNotFound when the session is over.
func (s *Store) ChangePassword(ctx context.Context, by Session, current, password string, endOthers bool) (token string, err error) {
	user, err := s.findUser(ctx, by.Username)
	if err != nil {
		return "", err
	}
	matches, _, err := s.hasher.verify(ctx, user.passwordHash, current)
	if err != nil {
		return "", err
	}
	if !matches {
		return "", ErrWrongPassword
	}
	reason, err := s.hasher.checkPassword(ctx, password, user.Username, user.Email, s.options.Site)
	if err != nil {
		return "", err
	}
	if reason != "" {
		return "", Invalid{"password": reason}
	}
	hash, err := s.hasher.hash(ctx, password)
	if err != nil {
		return "", err
	}
	token = newToken()
	err = s.write(ctx, func(tx *sql.Tx) error {
		now := s.now()
		// The old hash in the condition: of two changes at once, the second does not overwrite the first.
		if err := changeOne(tx, `UPDATE users SET password_hash = $1 WHERE id = $2 AND password_hash = $3`, hash, by.UserID, user.passwordHash); err != nil {
			return err
		}
		if err := changeOne(tx, `UPDATE sessions SET token_hash = $1 WHERE id = $2 AND user_id = $3 AND expires_at > $4`, hashToken(token), by.ID, by.UserID, now); err != nil {
			return err
		}
		if err := record(tx, event{userID: by.UserID, kind: PasswordChanged, at: now, ip: by.IP, deviceName: by.DeviceName, sessionID: by.ID, by: by.DeviceName}); err != nil {
			return err
		}
		if !endOthers {
			return nil
		}
		_, err := end(tx, Revoked, by.DeviceName, now, endOtherSessions, by.UserID, by.ID, now)
		return err
	})
	return token, err
}

// changeOne runs a statement that must change one row, else it answers ErrNotFound.
func changeOne(tx *sql.Tx, statement string, args ...any) error {
	result, err := tx.Exec(statement, args...)
	if err != nil {
		return err
	}
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		return errors.Join(err, ErrNotFound)
	}
	return nil
}

// Users lists every account by name, each with how many of its sessions are alive.
func (s *Store) Users(ctx context.Context) (users []User, err error) {
	rows, err := s.reader.QueryContext(ctx, `
		SELECT id, username, COALESCE(email, ''), is_admin, disabled, created_at,
		       (SELECT COUNT(*) FROM sessions WHERE user_id = users.id AND users.disabled = 0 AND expires_at > $1)
		FROM users
		ORDER BY username`, s.now())
	if err != nil {
		return nil, unavailable(err)
	}
	defer rows.Close()
	for rows.Next() {
		var user User
		var createdAt int64
		if err := rows.Scan(&user.ID, &user.Username, &user.Email, &user.IsAdmin, &user.Disabled, &createdAt, &user.Sessions); err != nil {
			return nil, fmt.Errorf("list the accounts: %w", unavailable(err))
		}
		user.CreatedAt = time.UnixMilli(createdAt)
		users = append(users, user)
	}
	return users, unavailable(rows.Err())
}
