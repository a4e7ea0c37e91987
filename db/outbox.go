package db

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"time"
	"unicode"
)

// This file stores the messages that wait to be sent, and gives them to the senders. A message leaves the outbox once a sender reports
// that it was delivered, so a crash may send it twice, but never loses it.

// The kinds of messages that are not activity.
const (
	UserWaiting  = "user_waiting" // somebody signed up, and waits for approval; By is the last username
	TestAlert    = "test"
	EmailLink    = "email_link" // confirms the address that it is sent to
	PasswordLink = "reset_link" // lets the user choose a new password

	InvitationLink = "invitation" // of MailInvitation; for a new account it has no UserID
)

const (
	messagesPerUser = 100    // waiting alerts; beyond that, the oldest is deleted
	messagesInTotal = 10_000 // the same for all users
	claimLifetime   = time.Minute
	retryFor        = 24 * time.Hour
	longestPause    = time.Hour
	longestError    = 300 // bytes
)

// Recipient is where a message goes to.
type Recipient struct {
	Way     Way
	Address string // an e-mail address or an ntfy topic; "" for the webhook
	Former  bool   // the message says that another address has replaced this one
}

// Message is a message to send.
type Message struct {
	ID       int64
	UserID   int64
	Username string
	Recipient
	Kind string // of activity, or UserWaiting, TestAlert, EmailLink or PasswordLink

	// What happened, as in Activity.
	At         time.Time
	IP         string
	DeviceName string
	SessionID  string
	By         Actor
	Count      int

	// Token is for the link in a mail: to confirm the address, to choose a new password, or else for "This wasn't me". It is "" for the
	// other ways, and for TestAlert and UserWaiting.
	Token    string
	Attempts int // including this one

	about      string // see aboutOf
	invitation string // the username of an invitation; "" for another message
	deviceID   string // of the session; "" for none
}

func (m Message) isLink() bool {
	return m.Kind == EmailLink || m.Kind == PasswordLink || m.Kind == InvitationLink
}

// enqueue adds a message to the outbox. One without a user is for nobody: it is dropped instead of sent, unless it is an invitation.
func (tx *tx) enqueue(m Message, dueAt int64) error {
	_, err := tx.Exec(`
		INSERT INTO outbox (user_id, way, address, former, kind, is_link, about,
		                    happened_at, ip, device_name, session_id, device_id, done_by, count, next_at, give_up_at, invitation)
		VALUES (NULLIF($1, 0), $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)`,
		m.UserID, m.Way, m.Address, m.Former, m.Kind, m.isLink(), m.about,
		m.At.UnixMilli(), m.IP, m.DeviceName, m.SessionID, m.deviceID, m.By, m.Count, dueAt, dueAt+retryFor.Milliseconds(), m.invitation)
	return err
}

// boundOutbox deletes the oldest alerts if too many wait. Links stay, because how often they can be asked for is limited.
func (tx *tx) boundOutbox(userID int64) error {
	if _, err := tx.Exec(`
		DELETE FROM outbox
		WHERE id IN (SELECT id FROM outbox WHERE user_id = $1 AND is_link = 0 ORDER BY id DESC LIMIT -1 OFFSET $2)`,
		userID, messagesPerUser); err != nil {
		return err
	}
	_, err := tx.Exec(`
		DELETE FROM outbox
		WHERE id IN (SELECT id FROM outbox WHERE is_link = 0 ORDER BY id DESC LIMIT -1 OFFSET $1)`, messagesInTotal)
	return err
}

// NextDue returns when the next message of a way is due. It returns ErrNotFound if none waits.
func (s *Store) NextDue(way Way) (time.Time, error) {
	// One MIN for both kinds would go through every message of the way.
	next, err := queryValue[int64](s.reader, `
		SELECT COALESCE(MIN(next_at), 0)
		FROM (SELECT MIN(next_at) AS next_at FROM outbox WHERE way = $1 AND is_link = 0
		      UNION ALL
		      SELECT MIN(next_at) FROM outbox WHERE way = $1 AND is_link = 1)`, way)
	if err == nil && next == 0 {
		err = ErrNotFound
	}
	return time.UnixMilli(next), err
}

// ClaimMessages returns at most limit messages of a way that are due, links first. No other sender gets them for a minute. Report each
// with Delivered, Failed or Refused within that time; otherwise it is sent again.
func (s *Store) ClaimMessages(ctx context.Context, way Way, limit int) (messages []Message, err error) {
	if next, err := s.NextDue(way); errors.Is(err, ErrNotFound) || err == nil && next.After(s.Now()) {
		return nil, nil // without a write
	} else if err != nil {
		return nil, err
	}
	err = s.write(ctx, func(tx *tx) error {
		if _, err := tx.Exec(`DELETE FROM outbox WHERE user_id IS NULL AND invitation = ''`); err != nil {
			return err
		}
		if err := tx.dropVoidInvitations(way); err != nil {
			return err
		}
		rows, err := tx.Query(`
			SELECT o.id, COALESCE(o.user_id, 0), COALESCE(u.username, o.invitation), o.way, o.address, o.former, o.kind,
			       o.happened_at, o.ip, o.device_name, o.session_id, o.device_id, o.done_by, o.count, o.attempts + 1
			FROM outbox o LEFT JOIN users u ON u.id = o.user_id
			WHERE o.way = $1 AND o.next_at <= $2
			ORDER BY o.is_link DESC, o.next_at
			LIMIT $3`, way, tx.now, limit)
		if messages, err = scanAll(rows, err, scanMessage); err != nil {
			return err
		}
		for i := range messages {
			if err := tx.claim(&messages[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return messages, nil
}

// dropVoidInvitations deletes the due mails of invitations that were used or voided.
func (tx *tx) dropVoidInvitations(way Way) error {
	_, err := tx.Exec(`
		DELETE FROM outbox
		WHERE way = $1 AND is_link = 1 AND next_at <= $2 AND invitation <> ''
		  AND NOT EXISTS (SELECT 1 FROM invitations i WHERE i.username = outbox.invitation)`, way, tx.now)
	return err
}

func scanMessage(row scanner) (m Message, err error) {
	var happenedAt int64
	err = row.Scan(&m.ID, &m.UserID, &m.Username, &m.Way, &m.Address, &m.Former, &m.Kind,
		&happenedAt, &m.IP, &m.DeviceName, &m.SessionID, &m.deviceID, &m.By, &m.Count, &m.Attempts)
	m.At = time.UnixMilli(happenedAt)
	return m, err
}

func (tx *tx) claim(m *Message) error {
	_, err := tx.Exec(`UPDATE outbox SET attempts = $1, next_at = $2 WHERE id = $3`, m.Attempts, tx.now+claimLifetime.Milliseconds(), m.ID)
	if err != nil || m.Way != Mail {
		return err
	}
	switch m.Kind {
	case TestAlert, UserWaiting:
	case EmailLink:
		m.Token, err = tx.addLink(m.UserID, linkEmail, linkData{Email: m.Address}, m.ID)
	case PasswordLink:
		m.Token, err = tx.addLink(m.UserID, linkReset, linkData{}, m.ID)
	case InvitationLink:
		m.Token, err = tx.addInvitationToken(m.Username)
	default:
		m.Token, err = tx.addLink(m.UserID, linkNotMe, notMeData(*m), m.ID)
	}
	return err
}

// Delivered reports that a message was sent. The outbox forgets it.
func (s *Store) Delivered(ctx context.Context, m Message) error {
	return s.write(ctx, func(tx *tx) error {
		if _, err := tx.Exec(`DELETE FROM outbox WHERE id = $1`, m.ID); err != nil {
			return err
		}
		return tx.noteDelivery(m, "")
	})
}

// Failed reports that a message could not be sent, and why. It is due again after a pause that grows from a minute to an hour. After a day
// Failed gives up: it deletes the message and records that.
func (s *Store) Failed(ctx context.Context, m Message, problem string) (givenUp bool, err error) {
	problem = oneLine(problem)
	nextAt := s.now() + retryPause(m.Attempts).Milliseconds()
	err = s.write(ctx, func(tx *tx) error {
		// A message that another sender has claimed since then has more attempts.
		retry, err := tx.changeRows(`
			UPDATE outbox SET next_at = $1, last_error = $2
			WHERE id = $3 AND attempts = $4 AND give_up_at > $1`, nextAt, problem, m.ID, m.Attempts)
		if err != nil {
			return err
		}
		if retry == 0 {
			if givenUp, err = tx.giveUp(m); err != nil {
				return err
			}
		}
		return tx.noteDelivery(m, cmp.Or(problem, "unknown"))
	})
	return givenUp, err
}

// Refused reports that another attempt would not help, and why. It gives up at once: it deletes the message and records that.
func (s *Store) Refused(ctx context.Context, m Message, problem string) error {
	return s.write(ctx, func(tx *tx) error {
		if _, err := tx.giveUp(m); err != nil {
			return err
		}
		return tx.noteDelivery(m, cmp.Or(oneLine(problem), "unknown"))
	})
}

// giveUp deletes a message and records that, unless another sender has claimed it since then.
func (tx *tx) giveUp(m Message) (givenUp bool, err error) {
	deleted, err := tx.changeRows(`DELETE FROM outbox WHERE id = $1 AND attempts = $2`, m.ID, m.Attempts)
	if err != nil || deleted == 0 {
		return false, err
	}
	failed := event{userID: m.UserID, kind: DeliveryFailed, by: Actor(m.Way)}
	if m.UserID == 0 { // an invitation for a new account: record the failure for the administrator who created it
		err := tx.QueryRow(`
			SELECT COALESCE((SELECT id FROM users WHERE username = $1), 0)`, m.By.Administrator()).Scan(&failed.userID)
		if err != nil {
			return false, err
		}
	}
	return true, tx.recordRepeat(failed)
}

// retryPause returns how long to wait after the given number of attempts: 1, 2, 4 … minutes.
func retryPause(attempts int) time.Duration {
	return min(time.Minute<<min(max(attempts, 1)-1, 10), longestPause)
}

// oneLine makes a message of another server safe to store and to show on one line.
func oneLine(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
	if len(text) > longestError {
		text = strings.ToValidUTF8(text[:longestError], "")
	}
	return strings.TrimSpace(text)
}

func (tx *tx) noteDelivery(m Message, problem string) error {
	_, err := tx.Exec(`
		INSERT INTO deliveries (user_id, way, at, error)
		SELECT id, $1, $2, $3 FROM users WHERE id = $4
		ON CONFLICT (user_id, way) DO UPDATE SET at = $2, error = $3`, m.Way, tx.now, problem, m.UserID)
	return err
}

// Delivery is the result of the last attempt to reach a user in one way.
type Delivery struct {
	Way   Way
	At    time.Time
	Error string // what the other server said, or ""
}

// Deliveries returns the last result of each way in which a user was sent something, sorted by way.
func (s *Store) Deliveries(userID int64) ([]Delivery, error) {
	return queryAll(s.reader, func(row scanner) (d Delivery, err error) {
		var at int64
		err = row.Scan(&d.Way, &at, &d.Error)
		d.At = time.UnixMilli(at)
		return d, err
	}, `SELECT way, at, error FROM deliveries WHERE user_id = $1 ORDER BY way`, userID)
}

// WaitingMessage is a message of a user that has not been delivered yet.
type WaitingMessage struct {
	Way       Way
	Kind      string
	Address   string
	At        time.Time
	LastError string // "" before the first attempt
}

// WaitingMessages returns the messages of a user that have not been delivered yet: links, then alerts, newest first.
func (s *Store) WaitingMessages(userID int64) ([]WaitingMessage, error) {
	return queryAll(s.reader, func(row scanner) (m WaitingMessage, err error) {
		var at int64
		err = row.Scan(&m.Way, &m.Kind, &m.Address, &at, &m.LastError)
		m.At = time.UnixMilli(at)
		return m, err
	}, `
		SELECT way, kind, address, happened_at, last_error
		FROM outbox
		WHERE user_id = $1
		ORDER BY is_link DESC, id DESC`, userID)
}
