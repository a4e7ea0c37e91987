package db

import (
	"cmp"
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"maps"
	"sync"
	"time"
)

// pending holds notes that are in memory and not yet on disk, so that reading never waits for a write. Every map is bounded, by the
// number of sessions, with maxApps apps each, or by pendingFailures.
type pending struct {
	flushing sync.Mutex // one flush at a time, so that each note is written once

	mu       sync.Mutex
	touches  map[string]note            // by session id: when it was last active, and where it was last used from
	looks    map[string]note            // by session id: on which day the user saw it in the list
	apps     map[appUse]note            // by session and host: when it was last used there
	appsOf   map[string]int             // by session id: how many apps are noted
	refused  map[[sha256.Size]byte]note // by token hash: sessions that were refused because they had expired
	failures map[failure]note           // failed sign-ins
}

func newPending() pending {
	return pending{
		touches: map[string]note{}, looks: map[string]note{}, apps: map[appUse]note{}, appsOf: map[string]int{},
		refused: map[[sha256.Size]byte]note{}, failures: map[failure]note{},
	}
}

type failure struct {
	userID         int64
	ip, deviceName string
}

// note says when something last happened. A touch with at 0 is a background request of an app, which does not count as activity.
type note struct {
	at    int64   // milliseconds since 1970; for looks the day
	count int     // of failures
	from  *Client // for a touch: who sent the request, if that has changed
}

const (
	pendingFailures = 1000 // different failures between two flushes; more are only logged
	flushBatch      = 100  // notes in one transaction, so that a revocation waits a few milliseconds at most
)

// noteUse notes that a session was used, if active is set or the address or the browser has changed. A change is written soon, because it
// may be the first sign of a stolen cookie.
func (s *Store) noteUse(sessionID string, last LastUse, client Client, active bool, now time.Time) {
	moved := client.IP != last.IP || client.UserAgent != last.UserAgent
	if !active && !moved {
		return
	}
	touch := note{}
	if active {
		touch.at = now.UnixMilli()
	}
	if moved || last.Network == "" {
		from := client
		if from.UserAgent == last.UserAgent {
			from.DeviceName, from.Describe = last.Browser, nil
		}
		touch.from = &from
	}
	s.pending.touch(sessionID, touch)
	if moved {
		select {
		case s.moved <- struct{}{}:
		default: // the flush has not begun yet
		}
	}
}

// Moved returns a channel that receives when Flush should be called soon, because a session is used from another address or browser.
func (s *Store) Moved() <-chan struct{} { return s.moved }

func (p *pending) touch(id string, touch note) {
	p.mu.Lock()
	defer p.mu.Unlock()
	noted := p.touches[id]
	touch.at = max(touch.at, noted.at)
	touch.from = cmp.Or(touch.from, noted.from)
	p.touches[id] = touch
}

// NoteSeen notes that a user has seen these of their sessions in the list.
func (s *Store) NoteSeen(ids []string) {
	p, today := &s.pending, s.now()/(24*time.Hour).Milliseconds()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, id := range ids {
		p.looks[id] = note{at: today}
	}
}

// refuse remembers an expired session by the hash of its token.
func (p *pending) refuse(hash [sha256.Size]byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refused[hash] = note{}
}

func (p *pending) isRefused(hash [sha256.Size]byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, refused := p.refused[hash]
	return refused
}

// noteFailure notes a failed sign-in to an account. With userID 0 it notes nothing.
func (s *Store) noteFailure(userID int64, ip, deviceName string) {
	p := &s.pending
	p.mu.Lock()
	defer p.mu.Unlock()
	key := failure{userID, ip, deviceName}
	if noted, known := p.failures[key]; userID != 0 && (known || len(p.failures) < pendingFailures) {
		p.failures[key] = note{at: s.now(), count: noted.count + 1}
	}
}

// FlushEvery returns how often to call Flush, so that notes are on disk within 10 seconds, or within a quarter of the idle timeout if
// that is shorter. It is half of that time, because a note may be made just after a flush.
func (s *Store) FlushEvery() time.Duration {
	idle := min(s.options.Limits.IdleTimeout, s.options.Limits.SharedIdleTimeout)
	return max(min(10*time.Second, idle/4)/2, time.Millisecond)
}

// Flush writes the notes. Notes that it cannot write stay in memory.
func (s *Store) Flush(ctx context.Context) error {
	p := &s.pending
	p.flushing.Lock()
	defer p.flushing.Unlock()
	if err := flushNotes(ctx, s, p.touches, s.writeTouches); err != nil {
		return err
	}
	if err := flushNotes(ctx, s, p.looks, s.writeLooks); err != nil {
		return err
	}
	if err := flushNotes(ctx, s, p.apps, s.writeApps); err != nil {
		return err
	}
	p.recountApps()
	if err := flushNotes(ctx, s, p.refused, s.deleteRefused); err != nil {
		return err
	}
	return flushNotes(ctx, s, p.failures, s.recordFailures)
}

// flushNotes writes notes in batches. What is noted during the flush waits for the next one.
func flushNotes[K comparable](ctx context.Context, s *Store, noted map[K]note, write func(*tx, map[K]note) error) error {
	s.pending.mu.Lock()
	left := maps.Clone(noted)
	s.pending.mu.Unlock()
	for len(left) > 0 {
		batch := map[K]note{}
		for key, n := range left {
			if len(batch) == flushBatch {
				break
			}
			if n.from != nil { // before the transaction, because parsing a User-Agent is slow
				*n.from = n.from.described(true)
				n.from.Describe = nil
			}
			batch[key] = n
		}
		if err := s.write(ctx, func(tx *tx) error { return write(tx, batch) }); err != nil {
			return err
		}
		s.pending.mu.Lock()
		for key, written := range batch {
			delete(left, key)
			if now := noted[key]; now == written {
				delete(noted, key)
			} else {
				now.count -= written.count
				noted[key] = now
			}
		}
		s.pending.mu.Unlock()
	}
	return nil
}

// writeTouches writes when sessions were last active, and where from. Use does not change when an app key expires. It never inserts, and
// has the expiry in its condition, so it cannot bring back a session that has ended in the meantime.
func (s *Store) writeTouches(tx *tx, batch map[string]note) error {
	limits := s.options.Limits
	touch, err := tx.Prepare(`
		UPDATE sessions
		SET last_active_at = $1,
		    created_at = MIN(created_at, $1), -- if the clock was ahead at sign-in, the lifetime must not be longer
		    expires_at = CASE WHEN kind = 'app_key' THEN expires_at
		                      WHEN shared = 1 THEN MIN($1 + $2, MIN(created_at, $1) + $3)
		                      ELSE MIN($1 + $4, MIN(created_at, $1) + $5) END
		WHERE id = $6 AND expires_at > $7`)
	if err != nil {
		return err
	}
	defer touch.Close()
	for id, n := range batch {
		if err := tx.wakeUserOf(id); err != nil {
			return err
		}
		if n.from != nil {
			if err := tx.move(id, *n.from); err != nil {
				return err
			}
		}
		if n.at == 0 {
			continue
		}
		if _, err := touch.Exec(min(n.at, tx.now), limits.SharedIdleTimeout.Milliseconds(), limits.SharedMaxLifetime.Milliseconds(),
			limits.IdleTimeout.Milliseconds(), limits.MaxLifetime.Milliseconds(), id, tx.now); err != nil {
			return err
		}
	}
	return nil
}

// move writes where and with which browser a session is used now. The first time that this is not the browser of the sign-in, it
// records an event. An app key has none, and any number of clients may use it.
func (tx *tx) move(id string, from Client) error {
	network := networkOf(from.IP)
	if err := tx.useNetwork(id, network, tx.now); err != nil {
		return err
	}
	changed := event{kind: BrowserChanged, ip: from.IP, sessionID: id, by: ByDevice(from.DeviceName)}
	err := tx.QueryRow(`
		SELECT user_id, COALESCE(NULLIF(custom_name, ''), detected_name)
		FROM sessions
		WHERE id = $1 AND kind = 'browser' AND expires_at > $2 AND detected_name <> $3 AND other_browser = ''`, id, tx.now, from.DeviceName).
		Scan(&changed.userID, &changed.deviceName)
	if err == nil {
		err = tx.record(changed)
	}
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	_, err = tx.Exec(`
		UPDATE sessions
		SET last_ip = $1, network = $2, last_user_agent = $3, last_browser = $4,
		    other_browser = CASE WHEN kind = 'app_key' OR detected_name = $4 THEN other_browser ELSE $4 END
		WHERE id = $5 AND expires_at > $6`, from.IP, network, from.UserAgent, from.DeviceName, id, tx.now)
	return err
}

func (s *Store) writeLooks(tx *tx, batch map[string]note) error {
	for id, n := range batch {
		if _, err := tx.Exec(`
			UPDATE sessions SET days_looked = days_looked + 1, last_looked_day = $1
			WHERE id = $2 AND last_looked_day <> $1`, n.at, id); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) deleteRefused(tx *tx, batch map[[sha256.Size]byte]note) error {
	for hash := range batch {
		if _, err := tx.endSessions(Expired, "", `
			DELETE FROM sessions
			WHERE token_hash = $1`, hash[:]); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) recordFailures(tx *tx, batch map[failure]note) error {
	for key, n := range batch {
		if err := tx.recordRepeat(event{
			userID: key.userID, kind: SignInFailed, at: n.at,
			ip: key.ip, deviceName: key.deviceName, by: ByDevice(key.deviceName), count: n.count,
		}); err != nil {
			return err
		}
	}
	return nil
}
