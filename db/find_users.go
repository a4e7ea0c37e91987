package db

// This file finds accounts for administrators. There may be 50,000 of them, so a page is read by key and nothing counts them all.

// UserFilter selects the accounts that FindUsers returns.
type UserFilter struct {
	Text    string // a part of the username or of the e-mail address; "" for any
	Waiting bool   // only those that wait for approval, and are not disabled
	After   string // only usernames after this one
}

const (
	countSessions = `
	       (SELECT COUNT(*) FROM sessions WHERE user_id = u.id AND u.disabled = 0 AND expires_at > $1)`

	matchesText = `($3 = '' OR instr(u.username, $3) > 0 OR instr(u.email, $3) > 0)`

	findUsers = `
	SELECT ` + userColumns + countSessions + `
	FROM users u
	WHERE u.username > $2 AND ` + matchesText + `
	ORDER BY u.username
	LIMIT $4 + 0`

	findWaitingUsers = `
	SELECT ` + userColumns + countSessions + `
	FROM users u
	WHERE u.approved = 0 AND u.disabled = 0 AND u.username > $2 AND ` + matchesText + `
	ORDER BY u.username
	LIMIT $4 + 0`
)

// FindUsers returns at most limit accounts, sorted by username, and reports whether there are more.
func (s *Store) FindUsers(filter UserFilter, limit int) (users []User, more bool, err error) {
	query := findUsers
	if filter.Waiting {
		query = findWaitingUsers
	}
	users, err = queryAll(s.reader, scanUser, query, s.now(), filter.After, canonical(filter.Text), limit+1)
	if len(users) > limit {
		users, more = users[:limit], true
	}
	return users, more, err
}

const countWaiting = `
	SELECT COUNT(*)
	FROM (SELECT 1 FROM users WHERE approved = 0 AND disabled = 0 LIMIT $1 + 0)`

// WaitingForApproval returns how many accounts are waiting for approval, up to most.
func (s *Store) WaitingForApproval(most int) (int, error) {
	return queryValue[int](s.reader, countWaiting, most)
}

// User returns an account by its id, or ErrNotFound.
func (s *Store) User(id int64) (User, error) {
	return queryOne(s.reader, scanUser, `
		SELECT `+userColumns+countSessions+`
		FROM users u
		WHERE u.id = $2`, s.now(), id)
}
