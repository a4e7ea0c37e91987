package db

import (
	"context"
	"crypto/sha256"
	"maps"
	"sync"
	"time"
)

// pending holds notes that are in memory and not yet on disk, so that reading never waits for a write. Every map is bounded, by the
// number of sessions, with appsKept apps each, or by pendingFailures.
type pending struct {
	flushing sync.Mutex // one flush at a time, so that each note is written once

	mu       sync.Mutex
	touches  map[string]note            // by session id: when it was last active
	apps     map[appUse]note            // by session and host: when it was last used there
	appsOf   map[string]int             // by session id: how many apps are noted
	refused  map[[sha256.Size]byte]note // by token hash: sessions that were refused because they had expired
	failures map[failure]note           // failed sign-ins
}

func newPending() pending {
	return pending{
		touches: map[string]note{}, apps: map[appUse]note{}, appsOf: map[string]int{},
		refused: map[[sha256.Size]byte]note{}, failures: map[failure]note{},
	}
}

type failure struct {
	userID         int64
	ip, deviceName string
}

// note is when something last happened, in milliseconds since 1970, and for failures how many times.
type note struct {
	at    int64
	count int
}

const (
	pendingFailures = 1000 // different failures between two flushes; more are only logged
	flushBatch      = 100  // notes in one transaction, so that a revocation waits a few milliseconds at most
)

func (p *pending) touch(id string, at int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.touches[id] = note{at: at}
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
		p.failures[key] = note{s.now(), noted.count + 1}
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
				noted[key] = note{now.at, now.count - written.count}
			}
		}
		s.pending.mu.Unlock()
	}
	return nil
}

// writeTouches writes when sessions were last active. It is an UPDATE with the expiry in its condition, so it cannot bring back a
// session that has ended in the meantime.
func (s *Store) writeTouches(tx *tx, batch map[string]note) error {
	limits := s.options.Limits
	touch, err := tx.Prepare(`
		UPDATE sessions
		SET last_active_at = $1,
		    created_at = MIN(created_at, $1), -- if the clock was ahead at sign-in, the lifetime must not be longer
		    expires_at = CASE shared WHEN 1 THEN MIN($1 + $2, MIN(created_at, $1) + $3) ELSE MIN($1 + $4, MIN(created_at, $1) + $5) END
		WHERE id = $6 AND expires_at > $7`)
	if err != nil {
		return err
	}
	defer touch.Close()
	for id, n := range batch {
		if _, err := touch.Exec(min(n.at, tx.now), limits.SharedIdleTimeout.Milliseconds(), limits.SharedMaxLifetime.Milliseconds(),
			limits.IdleTimeout.Milliseconds(), limits.MaxLifetime.Milliseconds(), id, tx.now); err != nil {
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
			ip: key.ip, deviceName: key.deviceName, by: key.deviceName, count: n.count,
		}); err != nil {
			return err
		}
	}
	return nil
}
