package db

import (
	"database/sql"
	"errors"
	"strings"
)

// This file owns who may change other people's accounts, and how that is recorded.

// Operator is somebody who runs the server: a person with a shell on it, or an administrator who is signed in.
type Operator struct {
	session *Session // of the administrator; nil for the command line
}

// CommandLine is the Operator with a shell on the server.
var CommandLine = Operator{}

// Administrator returns the user of a session as an Operator. Whether the user is an administrator is checked when something is changed.
func Administrator(session Session) Operator { return Operator{&session} }

// ErrNotAdmin means that the user of a session is not an administrator, or no longer one.
var ErrNotAdmin = errors.New("only an administrator can do this")

const adminPrefix = "admin "

func (o Operator) actor() Actor {
	if o.session == nil {
		return ByCommand
	}
	return Actor(adminPrefix + o.session.Username)
}

// sessionID returns the id of the administrator's own session, or "".
func (o Operator) sessionID() string {
	if o.session == nil {
		return ""
	}
	return o.session.ID
}

// Administrator returns the username of the administrator who did something, or "" if it was somebody else.
func (a Actor) Administrator() string {
	if username, ok := strings.CutPrefix(string(a), adminPrefix); ok {
		return username
	}
	return ""
}

// checkOperator returns ErrSessionEnded if the session of an administrator has ended since the request arrived, and ErrNotAdmin if its
// user is not an administrator.
func (tx *tx) checkOperator(by Operator) error {
	if by.session == nil {
		return nil
	}
	var isAdmin bool
	err := tx.QueryRow(`
		SELECT u.is_admin
		FROM sessions s JOIN users u ON u.id = s.user_id
		WHERE s.id = $1 AND s.user_id = $2 AND s.expires_at > $3 AND u.disabled = 0`,
		by.session.ID, by.session.UserID, tx.now).Scan(&isAdmin)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return ErrSessionEnded
	case err == nil && !isAdmin:
		return ErrNotAdmin
	}
	return err
}
