package db

import (
	"context"
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

// ErrWrongPassword means that the name or the password is wrong, or that the account is disabled, but not which.
var ErrWrongPassword = errors.New("username or password is incorrect")

// ErrDisabled means that the account is disabled. Only Invite returns it.
var ErrDisabled = errors.New("the account is disabled")

// Invalid says what is wrong with the input, by field: username, email, groups or password.
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
	Approved  bool     // false for those who signed themselves up, until an administrator approves them
	Groups    []string // sorted
	CreatedAt time.Time
	Sessions  int // how many are live; set only by Users

	SecondFactor bool // the user has one; see ErrSecondFactor

	passwordHash string
	chosen       *chosenPassword // nil for none
}

// NewUser describes an account to create.
type NewUser struct {
	Username string // trimmed and lower-cased before use
	Email    string // trimmed and lower-cased before use; "" for none
	Password string
	Groups   []string
	IsAdmin  bool   // the very first account is always an administrator, unless SignUp is set
	First    bool   // return ErrNotFound unless the store is fresh (see IsFresh)
	SignUp   bool   // a sign-up: the account waits for approval, and some names are reserved
	IP       string // of the browser that signs up
	Reuse    bool   // allow the name of a deleted account

	MustBeNew bool // for Invite: return Invalid if the account exists

	ResetSecondFactor bool // for Invite: accepting the invitation to an existing account needs no second factor
}

// canonical returns the description with its names as they are stored.
func (n NewUser) canonical() NewUser {
	n.Username, n.Email, n.Groups = canonical(n.Username), canonical(n.Email), canonicalGroups(n.Groups)
	return n
}

const maxUsernameLength = 32 // characters

var usernamePattern = regexp.MustCompile(fmt.Sprintf(`^[a-z0-9][a-z0-9._-]{0,%d}$`, maxUsernameLength-1))

// canonical returns the form in which usernames and e-mail addresses are stored and compared.
func canonical(name string) string { return strings.ToLower(strings.TrimSpace(name)) }

// HasUsers reports whether any account exists.
func (s *Store) HasUsers() (bool, error) {
	return queryValue[bool](s.reader, `SELECT EXISTS (SELECT 1 FROM users)`)
}

// Ids are never reused, so the last one shows whether an account was created, even if it was deleted.
const lastUserID = `SELECT COALESCE(MAX(seq), 0) FROM sqlite_sequence WHERE name = 'users'`

const isFresh = `SELECT NOT EXISTS (SELECT 1 FROM users) AND (` + lastUserID + `) = $1`

// IsFresh reports whether no account exists, and none has existed since the store was opened.
func (s *Store) IsFresh() (bool, error) {
	return queryValue[bool](s.reader, isFresh, s.openedAfter)
}

// HasAdministrator reports whether an administrator exists who can sign in.
func (s *Store) HasAdministrator() (bool, error) {
	return queryValue[bool](s.reader, `SELECT EXISTS (SELECT 1 FROM users WHERE is_admin = 1 AND disabled = 0)`)
}

// CreateUser creates an account. It returns Invalid with everything that is wrong, or Throttled if too many accounts were created from
// the IP address of a sign-up.
func (s *Store) CreateUser(ctx context.Context, newUser NewUser) (user User, err error) {
	newUser = newUser.canonical()
	invalid := checkNames(newUser)
	if newUser.SignUp { // first, because hashing a password is expensive
		if err := s.checkSignUps(ctx, s.reader, newUser.IP); err != nil {
			return User{}, err
		}
	}
	hash, err := s.hashNewPassword(ctx, newUser.Password, newUser.Username, newUser.Email)
	if weak, ok := errors.AsType[Invalid](err); ok {
		maps.Copy(invalid, weak)
	} else if err != nil {
		return User{}, err
	}
	if len(invalid) > 0 {
		return User{}, invalid
	}
	err = s.write(ctx, func(tx *tx) error {
		if newUser.SignUp {
			if err := s.recordSignUp(ctx, tx, newUser.IP); err != nil {
				return err
			}
		}
		if user, err = s.insertUser(tx, newUser, hash); err != nil || !newUser.SignUp {
			return err
		}
		return tx.alertAdministrators(user.Username, newUser.IP)
	})
	return user, err
}

// CheckNewUser returns Invalid if CreateUser would refuse the names. Call it before asking for a password.
func (s *Store) CheckNewUser(ctx context.Context, newUser NewUser) error {
	newUser = newUser.canonical()
	if invalid := checkNames(newUser); len(invalid) > 0 {
		return invalid
	}
	rollBack := errors.New("roll back")
	err := s.write(ctx, func(tx *tx) error {
		if _, err := s.insertUser(tx, newUser, ""); err != nil {
			return err
		}
		return rollBack
	})
	if errors.Is(err, rollBack) {
		return nil
	}
	return err
}

func (s *Store) insertUser(tx *tx, newUser NewUser, hash string) (User, error) {
	var others, fresh bool
	if err := tx.QueryRow(`SELECT EXISTS (SELECT 1 FROM users), (`+isFresh+`)`, s.openedAfter).Scan(&others, &fresh); err != nil {
		return User{}, err
	}
	if newUser.First && !fresh {
		return User{}, ErrNotFound
	}
	if err := s.checkAvailable(tx, newUser); err != nil {
		return User{}, err
	}
	user := User{
		Username: newUser.Username, Email: newUser.Email, IsAdmin: newUser.IsAdmin || !others && !newUser.SignUp, Approved: !newUser.SignUp,
		Groups: newUser.Groups, CreatedAt: time.UnixMilli(tx.now), passwordHash: hash,
	}
	result, err := tx.Exec(`
		INSERT INTO users (username, email, password_hash, is_admin, approved, created_at)
		VALUES ($1, NULLIF($2, ''), $3, $4, $5, $6)`,
		user.Username, user.Email, user.passwordHash, user.IsAdmin, user.Approved, user.CreatedAt.UnixMilli())
	if err != nil {
		return User{}, uniqueViolation(err)
	}
	if user.ID, err = result.LastInsertId(); err != nil {
		return User{}, err
	}
	if err := tx.addGroups(user.ID, user.Groups); err != nil {
		return User{}, err
	}
	return user, s.forgetWrongPasswords(tx, user)
}

// checkNames returns what is wrong with the username, the e-mail address and the groups.
func checkNames(newUser NewUser) Invalid {
	invalid := Invalid{}
	if !usernamePattern.MatchString(newUser.Username) {
		invalid["username"] = fmt.Sprintf("A username must have 1 to %d letters (a to z), digits, dots, dashes or underscores, "+
			"and begin with a letter or a digit.", maxUsernameLength)
	} else if newUser.SignUp && isReserved(newUser.Username) {
		invalid["username"] = usernameReserved
	}
	if reason := checkEmail(newUser.Email); reason != "" {
		invalid["email"] = reason
	}
	if reason := checkUserGroups(newUser.Groups); reason != "" {
		invalid["groups"] = reason
	}
	return invalid
}

// checkEmail returns what is wrong with an e-mail address, or "". An empty address is allowed.
func checkEmail(email string) string {
	if address, err := mail.ParseAddress(email); email != "" && (err != nil || address.Address != email || len(email) > 254) {
		return "This is not an e-mail address."
	}
	return ""
}

// hashNewPassword checks a new password and hashes it. It returns Invalid (field "password") for a password that is refused.
func (s *Store) hashNewPassword(ctx context.Context, password, username, email string) (hash string, err error) {
	reason, err := s.checkNewPassword(ctx, password, username, email, s.options.Site)
	if err != nil {
		return "", err
	}
	if reason != "" {
		return "", Invalid{"password": reason}
	}
	return s.hasher.hash(ctx, password)
}

// uniqueViolation turns SQLite's error about a name or address that already exists into Invalid.
func uniqueViolation(err error) error {
	var sqliteErr sqlite3.Error
	if !errors.As(err, &sqliteErr) || sqliteErr.ExtendedCode != sqlite3.ErrConstraintUnique {
		return err
	}
	if strings.Contains(sqliteErr.Error(), "users.email") {
		return Invalid{"email": "This e-mail address is already in use."}
	}
	return Invalid{"username": usernameTaken}
}

// userColumns is what scanUser reads from users u. The last column is the number of live sessions, or 0.
const userColumns = `u.id, u.username, COALESCE(u.email, ''), u.password_hash, u.is_admin, u.disabled, u.approved, u.created_at,
	       ` + hasSecondFactor + `, ` + groupsOfUser + `, `

func scanUser(row scanner) (user User, err error) {
	var createdAt int64
	var groups string
	err = row.Scan(&user.ID, &user.Username, &user.Email, &user.passwordHash, &user.IsAdmin, &user.Disabled, &user.Approved, &createdAt,
		&user.SecondFactor, &groups, &user.Sessions)
	user.CreatedAt, user.Groups = time.UnixMilli(createdAt), readNames(groups)
	return user, err
}

// findUser finds an account by its username or e-mail address. It returns ErrNotFound if there is none.
func (s *Store) findUser(name string) (User, error) {
	return queryOne(s.reader, scanUser, `
		SELECT `+userColumns+`0
		FROM users u
		WHERE u.username = $1 OR u.email = $1`, canonical(name))
}

// Account returns the account of the user who is signed in.
func (s *Store) Account(by Session) (User, error) {
	return s.findUser(by.Username)
}

// UserByName finds an account by its username only, as commands name it. It returns ErrNotFound if there is none.
func (s *Store) UserByName(username string) (User, error) {
	user, err := s.findUser(username)
	if err == nil && user.Username != canonical(username) {
		err = ErrNotFound
	}
	return user, err
}

// Users returns every account, sorted by username. A disabled one has no live sessions, even if DeleteUser has not deleted them all yet.
func (s *Store) Users() ([]User, error) {
	return queryAll(s.reader, scanUser, `
		SELECT `+userColumns+`
		       (SELECT COUNT(*) FROM sessions WHERE user_id = u.id AND u.disabled = 0 AND expires_at > $1)
		FROM users u
		ORDER BY u.username`, s.now())
}
