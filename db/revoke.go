package db

import (
	"context"
	"database/sql"
)

// Ended is a session that is over.
type Ended struct {
	ID         string
	UserID     int64
	DeviceName string
	IP         string
}

// end runs a DELETE FROM sessions and records each session that it deleted. No session ends in another way, but
// with its user.
func end(tx *sql.Tx, kind, by string, at int64, statement string, args ...any) (ended []Ended, err error) {
	rows, err := tx.Query(statement+` RETURNING id, user_id, COALESCE(NULLIF(given_name, ''), device_name), ip`, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var e Ended
		if err := rows.Scan(&e.ID, &e.UserID, &e.DeviceName, &e.IP); err != nil {
			return nil, err
		}
		ended = append(ended, e)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	for _, e := range ended {
		if err := record(tx, event{userID: e.UserID, kind: kind, at: at, ip: e.IP, deviceName: e.DeviceName, sessionID: e.ID, by: by}); err != nil {
			return nil, err
		}
	}
	return ended, nil
}

// Revoke ends another session of the same user. Unknown, already over or somebody else's: ErrNotFound.
func (s *Store) Revoke(ctx context.Context, by Session, id string) (ended Ended, err error) {
	err = s.write(ctx, func(tx *sql.Tx) error {
		now := s.now()
		// Whoever asks must still be signed in when it happens, not only when the request came in.
		all, err := end(tx, Revoked, by.DeviceName, now, `
			DELETE FROM sessions
			WHERE id = $1 AND user_id = $2 AND expires_at > $3
			  AND EXISTS (SELECT 1 FROM sessions WHERE id = $4 AND expires_at > $3)`, id, by.UserID, now, by.ID)
		if err != nil {
			return err
		}
		if len(all) == 0 {
			return ErrNotFound
		}
		ended = all[0]
		return nil
	})
	return ended, err
}

// One statement, and it keeps the caller's session only; where that is over, nothing ends.
const endOtherSessions = `
	DELETE FROM sessions
	WHERE user_id = $1 AND id <> $2 AND expires_at > $3
	  AND EXISTS (SELECT 1 FROM sessions WHERE id = $2 AND expires_at > $3)`

// RevokeOthers ends every session of the user but the one that asks, and tells how many those were.
func (s *Store) RevokeOthers(ctx context.Context, by Session) (count int, err error) {
	err = s.write(ctx, func(tx *sql.Tx) error {
		now := s.now()
		ended, err := end(tx, Revoked, by.DeviceName, now, endOtherSessions, by.UserID, by.ID, now)
		count = len(ended)
		return err
	})
	return count, err
}

// SignOut ends a session at its own wish. That it was over already is no error.
func (s *Store) SignOut(ctx context.Context, session Session) error {
	return s.write(ctx, func(tx *sql.Tx) error {
		_, err := end(tx, SignedOut, session.DeviceName, s.now(), `
			DELETE FROM sessions
			WHERE id = $1 AND user_id = $2`, session.ID, session.UserID)
		return err
	})
}

// RevokeByCommand ends one session by its id, for the person with a shell on the server; ErrNotFound when there is none.
func (s *Store) RevokeByCommand(ctx context.Context, id string) (ended Ended, err error) {
	err = s.write(ctx, func(tx *sql.Tx) error {
		now := s.now()
		all, err := end(tx, Revoked, ByCommand, now, `
			DELETE FROM sessions
			WHERE id = $1 AND expires_at > $2`, id, now)
		if err == nil && len(all) == 0 {
			err = ErrNotFound
		}
		if err == nil {
			ended = all[0]
		}
		return err
	})
	return ended, err
}

// RevokeAllByCommand ends every session of one user, or with "" of everybody, and tells how many those were. An
// unknown user is ErrNotFound.
func (s *Store) RevokeAllByCommand(ctx context.Context, username string) (count int, err error) {
	username = canonical(username)
	err = s.write(ctx, func(tx *sql.Tx) error {
		if username != "" {
			var known bool
			if err := tx.QueryRow(`SELECT EXISTS (SELECT 1 FROM users WHERE username = $1)`, username).Scan(&known); err != nil {
				return err
			}
			if !known {
				return ErrNotFound
			}
		}
		now := s.now()
		ended, err := end(tx, Revoked, ByCommand, now, `
			DELETE FROM sessions
			WHERE ($1 = '' OR user_id = (SELECT id FROM users WHERE username = $1)) AND expires_at > $2`, username, now)
		count = len(ended)
		return err
	})
	return count, err
}
