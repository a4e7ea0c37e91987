package db

import (
	"cmp"
	"encoding/json"
	"math"
)

// This file lists everybody's activity, for administrators.

// ActivityFilter selects activity. A zero field selects all.
type ActivityFilter struct {
	Username string // whose; in any form that CreateUser accepts
	IP       string
	Kinds    []string
	Before   int64 // only what has a smaller id
}

const findActivity = `
	SELECT u.username, ` + activityColumns + `
	FROM activity a CROSS JOIN users u ON u.id = a.user_id
	WHERE a.id < $1 AND ` + matchesActivityFilter + `
	ORDER BY a.id DESC
	LIMIT $4 + 0`

const findActivityOfUser = `
	SELECT u.username, ` + activityColumns + `
	FROM users u CROSS JOIN activity a ON a.user_id = u.id
	WHERE a.id < $1 AND ` + matchesActivityFilter + ` AND u.username = $4
	ORDER BY a.id DESC
	LIMIT $5 + 0`

const matchesActivityFilter = `($2 = '' OR a.ip = $2) AND ($3 = 'null' OR a.kind IN (SELECT value FROM json_each($3)))`

// FindActivity returns the activity that the filter selects, newest first and at most limit rows. An unknown username selects none.
func (s *Store) FindActivity(filter ActivityFilter, limit int) ([]UserActivity, error) {
	kinds, err := json.Marshal(filter.Kinds)
	if err != nil {
		return nil, err
	}
	statement, args := findActivity, []any{cmp.Or(filter.Before, math.MaxInt64), filter.IP, string(kinds)}
	if filter.Username != "" {
		statement, args = findActivityOfUser, append(args, canonical(filter.Username))
	}
	return queryAll(s.reader, scanUserActivity, statement, append(args, limit)...)
}
