package db

import "context"

// This file lists the invitations that nobody has used yet, and cancels them.

// Invitations returns at most limit invitations whose link still works, sorted by username, and reports whether there are more. It begins
// with the first username after the given one.
func (s *Store) Invitations(after string, limit int) (list []Invitation, more bool, err error) {
	list, err = queryAll(s.reader, scanInvitation, `
		SELECT `+invitationColumns+`
		FROM invitations i
		WHERE i.username > $1 AND i.expires_at > $2
		ORDER BY i.username
		LIMIT $3 + 0`, after, s.now(), limit+1)
	if len(list) > limit {
		list, more = list[:limit], true
	}
	return list, more, err
}

// InvitationOf returns the invitation of a username, or ErrNotFound if there is none that still works.
func (s *Store) InvitationOf(username string) (Invitation, error) {
	return queryOne(s.reader, scanInvitation, `
		SELECT `+invitationColumns+`
		FROM invitations i
		WHERE i.username = $1 AND i.expires_at > $2`, canonical(username), s.now())
}

// CancelInvitation voids an invitation, its mails included. It returns ErrNotFound if there is none that still works. If the account
// exists, its activity shows who cancelled the invitation.
func (s *Store) CancelInvitation(ctx context.Context, by Operator, username string) error {
	return s.writeForOperator(ctx, urgent, by, func(tx *tx) error {
		var userID int64
		err := tx.QueryRow(`
			DELETE FROM invitations
			WHERE username = $1 AND expires_at > $2
			RETURNING COALESCE(user_id, 0)`, canonical(username), tx.now).Scan(&userID)
		if err != nil {
			return err
		}
		if err := tx.voidMailedInvitation(canonical(username)); err != nil || userID == 0 {
			return err
		}
		return tx.record(event{userID: userID, kind: InvitationCancelled, by: by.actor()})
	})
}
