package db

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"time"
)

// InvitationLifetime is how long the link of an invitation is valid.
const InvitationLifetime = 72 * time.Hour

// Invitation lets its bearer choose the password of one account, once.
type Invitation struct {
	Username  string
	UserID    int64    // 0 if New
	New       bool     // accepting it creates the account; otherwise it changes the password of an existing one
	Email     string   // of the new account
	IsAdmin   bool     // the new account is an administrator
	Groups    []string // of the new account
	By        Actor
	CreatedAt time.Time
	ExpiresAt time.Time

	ResetSecondFactor bool // accepting it removes the second factor
}

// Invite creates an invitation and returns its token, of which only the hash is stored. If the account exists, the invitation lets its
// user choose a new password. It returns Invalid for a name or an address that cannot be used, and ErrDisabled for a disabled account.
func (s *Store) Invite(ctx context.Context, by Operator, newUser NewUser) (token string, invitation Invitation, err error) {
	token = newToken()
	invitation, err = s.invite(ctx, by, newUser, hashToken(token), func(*tx, Invitation) error { return nil })
	return token, invitation, err
}

// MailInvitation is like Invite, but mails the link instead of returning its token: to the address of newUser, or of the account that
// exists. If there is none, it returns Invalid (field "email").
func (s *Store) MailInvitation(ctx context.Context, by Operator, newUser NewUser) (invitation Invitation, err error) {
	unusable := hashToken(newToken()) // each mail gets a token of its own
	return s.invite(ctx, by, newUser, unusable, func(tx *tx, invitation Invitation) error {
		if invitation.Email == "" {
			return Invalid{"email": "Enter the address to send the link to."}
		}
		return tx.enqueue(Message{
			UserID: invitation.UserID, Recipient: Recipient{Way: Mail, Address: invitation.Email}, Kind: InvitationLink,
			At: time.UnixMilli(tx.now), By: by.actor(), Count: 1, invitation: invitation.Username,
		}, tx.now)
	})
}

// invite stores an invitation whose token has this hash, and calls send in the same transaction.
func (s *Store) invite(ctx context.Context, by Operator, newUser NewUser, tokenHash []byte, send func(*tx, Invitation) error) (
	invitation Invitation, err error,
) {
	newUser = newUser.canonical()
	if invalid := checkNames(newUser); len(invalid) > 0 {
		return invitation, invalid
	}
	invitation = Invitation{Username: newUser.Username, New: true, Email: newUser.Email}
	err = s.writeForOperator(ctx, normal, by, func(tx *tx) error {
		var disabled, emailTaken bool
		if err := tx.QueryRow(`SELECT EXISTS (SELECT 1 FROM users WHERE email = $1)`, newUser.Email).Scan(&emailTaken); err != nil {
			return err
		}
		err := tx.QueryRow(`SELECT id, disabled, COALESCE(email, '') FROM users WHERE username = $1`, newUser.Username).
			Scan(&invitation.UserID, &disabled, &invitation.Email)
		switch {
		case errors.Is(err, sql.ErrNoRows) && emailTaken:
			return Invalid{"email": "This e-mail address is already in use."}
		case errors.Is(err, sql.ErrNoRows) && newUser.ResetSecondFactor:
			return Invalid{"username": "There is no such account: --reset-second-factor is for existing ones."}
		case errors.Is(err, sql.ErrNoRows):
			if err := s.checkAvailable(tx, newUser); err != nil {
				return err
			}
		case err != nil:
			return err
		case newUser.MustBeNew:
			return Invalid{"username": usernameTaken}
		case disabled:
			return ErrDisabled
		case newUser.Email != "" || newUser.IsAdmin || newUser.Reuse || len(newUser.Groups) > 0:
			return Invalid{"username": "This account already exists: --admin, --email, --groups and --reuse are for new ones."}
		default:
			invitation.New = false
			if err := tx.record(event{userID: invitation.UserID, kind: Invited, by: by.actor()}); err != nil {
				return err
			}
		}
		_, err = tx.Exec(`
			INSERT INTO invitations (username, token_hash, user_id, email, is_admin, group_names, reset_second_factor, invited_by,
			                         created_at, expires_at)
			VALUES ($1, $2, NULLIF($3, 0), NULLIF($4, ''), $5, $6, $7, $8, $9, $10)
			ON CONFLICT (username) DO UPDATE
			SET token_hash = $2, user_id = NULLIF($3, 0), email = NULLIF($4, ''), is_admin = $5, group_names = $6,
			    reset_second_factor = $7, invited_by = $8, created_at = $9, expires_at = $10`,
			newUser.Username, tokenHash, invitation.UserID, newUser.Email, newUser.IsAdmin, strings.Join(newUser.Groups, ","),
			newUser.ResetSecondFactor, by.actor(), tx.now, tx.now+InvitationLifetime.Milliseconds())
		if err != nil {
			return err
		}
		if err := tx.voidMailedInvitation(newUser.Username); err != nil {
			return err
		}
		return send(tx, invitation)
	})
	return invitation, err
}

// voidMailedInvitation voids the mails of an invitation, sent or not. It looks for them by name, because a mail that was queued before the
// account existed has no user.
func (tx *tx) voidMailedInvitation(username string) error {
	if _, err := tx.Exec(`DELETE FROM invitation_tokens WHERE username = $1`, username); err != nil {
		return err
	}
	_, err := tx.Exec(`DELETE FROM outbox WHERE is_link = 1 AND invitation = $1`, username)
	return err
}

// voidInvitationsBy voids the invitations that an administrator created. Neither an administrator who loses the role nor an intruder in
// the account may leave a way back in.
func (tx *tx) voidInvitationsBy(username string) error {
	_, err := tx.Exec(`DELETE FROM invitations WHERE invited_by = $1`, adminPrefix+username)
	return err
}

// maxMailedTokens is how many mails of one invitation have a link that works: the newest.
const maxMailedTokens = 3

// addInvitationToken creates a token for a mail with an invitation, and makes the invitation valid for InvitationLifetime from now on.
func (tx *tx) addInvitationToken(username string) (token string, err error) {
	token = newToken()
	if _, err := tx.Exec(`
		INSERT INTO invitation_tokens (token_hash, username, created_at)
		VALUES ($1, $2, $3)`, hashToken(token), username, tx.now); err != nil {
		return "", err
	}
	if _, err := tx.Exec(`
		DELETE FROM invitation_tokens
		WHERE token_hash IN (SELECT token_hash FROM invitation_tokens
		                     WHERE username = $1
		                     ORDER BY created_at DESC
		                     LIMIT -1 OFFSET $2)`, username, maxMailedTokens); err != nil {
		return "", err
	}
	return token, tx.changeOne(`UPDATE invitations SET expires_at = $1 WHERE username = $2`,
		tx.now+InvitationLifetime.Milliseconds(), username)
}

// Invitation returns the valid invitation with this token. It returns ErrNotFound if the token was used or voided, has expired or is
// unknown, and Throttled after too many of those.
func (s *Store) Invitation(ctx context.Context, token string, client Client) (invitation Invitation, err error) {
	err = s.CheckSecret(ctx, client.IP, func() error {
		invitation, err = queryOne(s.reader, scanInvitation, invitationByToken, hashToken(token), s.now())
		return err
	})
	return invitation, err
}

const invitationColumns = `
	       i.username, COALESCE(i.user_id, 0), COALESCE(i.email, ''), i.is_admin, i.group_names, i.reset_second_factor, i.invited_by,
	       i.created_at, i.expires_at`

const invitationByToken = `
	SELECT ` + invitationColumns + `
	FROM invitations i
	WHERE (i.token_hash = $1 OR i.username = (SELECT t.username FROM invitation_tokens t WHERE t.token_hash = $1)) AND i.expires_at > $2`

func scanInvitation(row scanner) (i Invitation, err error) {
	var groups string
	var createdAt, expiresAt int64
	err = row.Scan(&i.Username, &i.UserID, &i.Email, &i.IsAdmin, &groups, &i.ResetSecondFactor, &i.By, &createdAt, &expiresAt)
	i.New, i.Groups = i.UserID == 0, readNames(groups)
	i.CreatedAt, i.ExpiresAt = time.UnixMilli(createdAt), time.UnixMilli(expiresAt)
	return i, err
}

// AcceptInvitation sets the password, deletes the invitation, and ends every session of the account. If the user has a second factor, and
// the invitation does not reset it, AcceptInvitation changes nothing yet and returns ErrSecondFactor: continue with BeginSecondStep for the
// returned user. It returns the errors of Invitation, or Invalid if the password is refused or the name was taken in the meantime.
// After ErrSecondFactor or Invalid, the invitation is still valid.
func (s *Store) AcceptInvitation(ctx context.Context, token, password string, client Client) (user User, invitation Invitation,
	err error) {
	invitation, err = s.Invitation(ctx, token, client)
	if err != nil {
		return user, invitation, err
	}
	hash, err := s.hashNewPassword(ctx, password, invitation.Username, invitation.Email)
	if err != nil {
		return user, invitation, err
	}
	client = client.described(true) // before the transaction, which must not wait for it
	err = s.write(ctx, func(tx *tx) error {
		// Read again, because only one of two requests with the same link may succeed.
		i, err := scanInvitation(tx.QueryRow(invitationByToken, hashToken(token), tx.now))
		if err != nil {
			return err
		}
		if !i.New && !i.ResetSecondFactor {
			if user, err = scanUser(tx.QueryRow(`SELECT `+userColumns+`0 FROM users u WHERE u.id = $1`, i.UserID)); err != nil {
				return err
			}
			if user.SecondFactor {
				user = user.withChosenPassword(hash, token)
				return ErrSecondFactor
			}
		}
		user, err = s.useInvitation(tx, hashToken(token), hash, client)
		return err
	})
	return user, invitation, err
}

// useInvitation uses an invitation to set a password, or to create the account.
func (s *Store) useInvitation(tx *tx, linkHash []byte, passwordHash string, client Client) (user User, err error) {
	i, err := scanInvitation(tx.QueryRow(invitationByToken, linkHash, tx.now))
	if err != nil {
		return user, err
	}
	if _, err := tx.Exec(`DELETE FROM invitations WHERE username = $1`, i.Username); err != nil {
		return user, err
	}
	if i.ResetSecondFactor {
		if err := s.resetSecondFactor(tx, i.By, i.UserID); err != nil {
			return user, err
		}
	}
	if !i.New {
		return s.setPassword(tx, i.Username, passwordHash, event{kind: PasswordChanged, by: ByDevice(client.DeviceName)})
	}
	// Invite has checked that the name may be used: deleting an account also deletes the links that would create it again.
	newUser := NewUser{Username: i.Username, Email: i.Email, IsAdmin: i.IsAdmin, Groups: i.Groups, Reuse: true}
	user, err = s.insertUser(tx, newUser, passwordHash)
	if err != nil {
		return user, err
	}
	return user, tx.record(event{userID: user.ID, kind: Invited, by: i.By})
}

// voidPending voids the invitation and the links that could still change the account's password or address, and deletes sign-ins that wait
// for the second factor.
func (tx *tx) voidPending(userID int64) error {
	if _, err := tx.Exec(`DELETE FROM invitations WHERE user_id = $1`, userID); err != nil {
		return err
	}
	return errors.Join(tx.voidLinks(userID), tx.voidSecondSteps(userID))
}
