package db

import (
	"context"
	"database/sql"
	"encoding/json"
)

// Ended is a session that has ended.
type Ended struct {
	ID         string
	UserID     int64
	DeviceName string
	IP         string
}

// endSessions runs a DELETE FROM sessions and records each session that it deleted. Sessions end in no other way, except with their
// account (see deleteSessions).
func (tx *tx) endSessions(kind string, by Actor, statement string, args ...any) (ended []Ended, err error) {
	rows, err := tx.Query(statement+`
		RETURNING id, user_id, COALESCE(NULLIF(custom_name, ''), detected_name), COALESCE(NULLIF(last_ip, ''), ip),
		          kind, token_hash, created_at, shared`, args...)
	var tokens []endedToken
	ended, err = scanAll(rows, err, func(row scanner) (e Ended, err error) {
		var token endedToken
		err = row.Scan(&e.ID, &e.UserID, &e.DeviceName, &e.IP, &token.kind, &token.hash, &token.createdAt, &token.shared)
		tokens = append(tokens, token)
		return e, err
	})
	if err != nil {
		return nil, err
	}
	for _, e := range ended {
		if err := tx.record(event{userID: e.UserID, kind: kind, ip: e.IP, deviceName: e.DeviceName, sessionID: e.ID, by: by}); err != nil {
			return nil, err
		}
		if kind == Revoked {
			if err := tx.voidEmailLinks(e.UserID); err != nil { // the session may have asked for one
				return nil, err
			}
		}
	}
	if kind == Revoked {
		return ended, tx.keepRevoked(tokens)
	}
	return ended, nil
}

// endSession is endSessions for one session. It returns ErrNotFound if the statement ended none.
func (tx *tx) endSession(kind string, by Actor, statement string, args ...any) (Ended, error) {
	ended, err := tx.endSessions(kind, by, statement, args...)
	if err != nil {
		return Ended{}, err
	}
	if len(ended) == 0 {
		return Ended{}, ErrNotFound
	}
	return ended[0], nil
}

// Revoke ends another session of the same user. For one that is unknown, has ended or is somebody else's, it returns ErrNotFound.
func (s *Store) Revoke(ctx context.Context, by Session, id string) (ended Ended, err error) {
	err = s.writeForSession(ctx, by, func(tx *tx) (err error) {
		ended, err = tx.endSession(Revoked, ByDevice(by.DeviceName), `
			DELETE FROM sessions
			WHERE id = $1 AND user_id = $2 AND expires_at > $3`, id, by.UserID, tx.now)
		return err
	})
	return ended, err
}

// A single statement, so that RevokeOthers keeps only the caller's session, and returns the right count.
const endOtherSessions = `
	DELETE FROM sessions
	WHERE user_id = $1 AND id <> $2 AND expires_at > $3`

// RevokeOthers ends every session of the user except the caller's, and returns how many it ended.
func (s *Store) RevokeOthers(ctx context.Context, by Session) (count int, err error) {
	err = s.writeForSession(ctx, by, func(tx *tx) error {
		ended, err := tx.endSessions(Revoked, ByDevice(by.DeviceName), endOtherSessions, by.UserID, by.ID, tx.now)
		count = len(ended)
		return err
	})
	return count, err
}

// NotMe ends another session of the user, which somebody else began, and every other one except the caller's. It forgets the device of that
// session, and voids the invitations that the user created. It returns ErrNotFound, and changes nothing, if there is no such session.
func (s *Store) NotMe(ctx context.Context, by Session, id string) error {
	return s.writeForSession(ctx, by, func(tx *tx) error {
		var device, own sql.NullString
		err := tx.QueryRow(`
			SELECT device_id, (SELECT device_id FROM sessions WHERE id = $1)
			FROM sessions
			WHERE id = $2 AND id <> $1 AND user_id = $3 AND expires_at > $4`, by.ID, id, by.UserID, tx.now).Scan(&device, &own)
		if err != nil {
			return err
		}
		if device.Valid && device != own {
			if err := tx.changeOne(`DELETE FROM devices WHERE id = $1 AND user_id = $2`, device, by.UserID); err != nil {
				return err
			}
		}
		if err := tx.voidInvitationsBy(by.Username); err != nil {
			return err
		}
		_, err = tx.endSessions(Revoked, ByDevice(by.DeviceName), endOtherSessions, by.UserID, by.ID, tx.now)
		return err
	})
}

// SignOut ends a session for its own user. If the session has already ended, that is not an error.
func (s *Store) SignOut(ctx context.Context, session Session) error {
	return s.writeUrgent(ctx, func(tx *tx) error {
		_, err := tx.endSessions(SignedOut, ByDevice(session.DeviceName), `
			DELETE FROM sessions
			WHERE id = $1 AND user_id = $2`, session.ID, session.UserID)
		return err
	})
}

// RevokeSession ends the session with this id, if its user is the one with the id userID; 0 stands for every user. It returns ErrNotFound
// if there is no such session.
func (s *Store) RevokeSession(ctx context.Context, by Operator, userID int64, id string) (ended Ended, err error) {
	err = s.writeForOperator(ctx, urgent, by, func(tx *tx) (err error) {
		ended, err = tx.endSession(Revoked, by.actor(), `
			DELETE FROM sessions
			WHERE id = $1 AND expires_at > $2 AND ($3 = 0 OR user_id = $3)`, id, tx.now, userID)
		return err
	})
	return ended, err
}

// RevokeSessions ends the live sessions with these ids, except the administrator's own, and returns how many it ended. It ignores unknown
// ids.
func (s *Store) RevokeSessions(ctx context.Context, by Operator, ids []string) (count int, err error) {
	list, err := json.Marshal(ids)
	if err != nil {
		return 0, err
	}
	err = s.writeForOperator(ctx, urgent, by, func(tx *tx) error {
		ended, err := tx.endSessions(Revoked, by.actor(), `
			DELETE FROM sessions
			WHERE id IN (SELECT value FROM json_each($1)) AND expires_at > $2 AND id <> $3`, string(list), tx.now, by.sessionID())
		count = len(ended)
		return err
	})
	return count, err
}

// RevokeUser ends every session of one user in batches, and returns how many it ended. It returns ErrNotFound for an unknown name. An
// administrator's own session stays.
func (s *Store) RevokeUser(ctx context.Context, by Operator, username string) (count int, err error) {
	user, err := s.UserByName(username)
	if err != nil {
		return 0, err
	}
	return s.revokeInBatches(ctx, by, `
		DELETE FROM sessions
		WHERE id IN (SELECT id FROM sessions WHERE expires_at > $1 AND user_id = $2 AND id <> $3 LIMIT $4)`,
		s.now(), user.ID, by.sessionID(), batchSize)
}

// RevokeAll ends every session of every user in batches, and returns how many it ended. An administrator's own session stays. There is a
// statement for each kind, because each kind has a partial index.
func (s *Store) RevokeAll(ctx context.Context, by Operator) (count int, err error) {
	for _, statement := range []string{`
		DELETE FROM sessions
		WHERE id IN (SELECT id FROM sessions WHERE kind = 'browser' AND expires_at > $1 AND id <> $2 ORDER BY expires_at LIMIT $3)`, `
		DELETE FROM sessions
		WHERE id IN (SELECT id FROM sessions WHERE kind = 'app_key' AND expires_at > $1 AND id <> $2 ORDER BY expires_at LIMIT $3)`,
	} {
		ended, err := s.revokeInBatches(ctx, by, statement, s.now(), by.sessionID(), batchSize)
		if count += ended; err != nil {
			return count, err
		}
	}
	return count, nil
}

// revokeInBatches runs a DELETE of live sessions in batches. If one fails, count is how many sessions the previous ones ended.
func (s *Store) revokeInBatches(ctx context.Context, by Operator, statement string, args ...any) (count int, err error) {
	return s.writeInBatches(ctx, urgent, func(tx *tx) (int, error) {
		if err := tx.checkOperator(by); err != nil {
			return 0, err
		}
		ended, err := tx.endSessions(Revoked, by.actor(), statement, args...)
		return len(ended), err
	})
}

// deleteSessions ends up to limit sessions of an account that is being deleted, without an entry in its activity, which goes too.
func (tx *tx) deleteSessions(userID int64, limit int) (count int, err error) {
	rows, err := tx.Query(`
		DELETE FROM sessions
		WHERE id IN (SELECT id FROM sessions WHERE user_id = $1 LIMIT $2)
		RETURNING kind, token_hash, created_at, shared`, userID, limit)
	tokens, err := scanAll(rows, err, func(row scanner) (token endedToken, err error) {
		err = row.Scan(&token.kind, &token.hash, &token.createdAt, &token.shared)
		return token, err
	})
	if err != nil {
		return 0, err
	}
	return len(tokens), tx.keepRevoked(tokens)
}
