package db

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"maps"
	"sync"
	"time"
)

// pending is what was noted in memory and is not yet on disk, so that reading never waits for a write. Each map
// is bounded: by the sessions that there are, with appsKept apps each, or by pendingFailures.
type pending struct {
	flushing sync.Mutex // one flush at a time: what was noted once is written once

	mu       sync.Mutex
	touches  map[string]int64               // session id -> when it was last active
	apps     map[appUse]int64               // session and host -> when it was last used there
	appsOf   map[string]int                 // session id -> how many apps were noted since the last flush
	refused  map[[sha256.Size]byte]struct{} // token hashes of expired sessions that were asked for
	failures map[failure]failureCount       // sign-ins that failed
}

func newPending() pending {
	return pending{
		touches: map[string]int64{}, apps: map[appUse]int64{}, appsOf: map[string]int{},
		refused: map[[sha256.Size]byte]struct{}{}, failures: map[failure]failureCount{},
	}
}

type failure struct {
	userID         int64
	ip, deviceName string
}

type failureCount struct {
	count int
	at    int64
}

const (
	pendingFailures = 1000 // accounts and addresses within one flush; more are told by the log alone
	flushBatch      = 100  // notes in one transaction, so that a revocation waits for a few milliseconds at most
)

func (p *pending) touch(id string, at int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.touches[id] = at
}

func (p *pending) refuse(hash [sha256.Size]byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refused[hash] = struct{}{}
}

func (p *pending) isRefused(hash [sha256.Size]byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, refused := p.refused[hash]
	return refused
}

// noteFailure notes a sign-in that failed; there is nothing to note where no account was meant.
func (s *Store) noteFailure(userID int64, ip, deviceName string) {
	p := &s.pending
	p.mu.Lock()
	defer p.mu.Unlock()
	key := failure{userID, ip, deviceName}
	if noted, known := p.failures[key]; userID != 0 && (known || len(p.failures) < pendingFailures) {
		p.failures[key] = failureCount{noted.count + 1, s.now()}
	}
}

// FlushEvery is how often to call Flush: what was noted is on disk within 10 seconds, or a quarter of a shorter
// idle limit. Half of that, because a note may come just after a flush.
func (s *Store) FlushEvery() time.Duration {
	idle := min(s.options.Limits.IdleTimeout, s.options.Limits.SharedIdleTimeout)
	return max(min(10*time.Second, idle/4)/2, time.Millisecond)
}

// Flush writes what was noted. What cannot be written now stays noted.
func (s *Store) Flush(ctx context.Context) error {
	p := &s.pending
	p.flushing.Lock()
	defer p.flushing.Unlock()
	if err := s.flushTouches(ctx); err != nil {
		return err
	}
	if err := s.flushApps(ctx); err != nil {
		return err
	}
	p.mu.Lock()
	refused, failures := maps.Clone(p.refused), maps.Clone(p.failures)
	p.mu.Unlock()
	if len(refused) == 0 && len(failures) == 0 {
		return nil
	}
	err := s.write(ctx, func(tx *sql.Tx) error {
		for hash := range refused {
			if _, err := end(tx, Expired, "", s.now(), `
				DELETE FROM sessions
				WHERE token_hash = $1`, hash[:]); err != nil {
				return err
			}
		}
		for key, noted := range failures {
			if err := recordRepeat(tx, event{userID: key.userID, kind: SignInFailed, at: noted.at, ip: key.ip, deviceName: key.deviceName, by: key.deviceName, count: noted.count}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for hash := range refused {
		delete(p.refused, hash)
	}
	for key, written := range failures {
		if noted := p.failures[key]; noted.count > written.count {
			p.failures[key] = failureCount{noted.count - written.count, noted.at}
		} else {
			delete(p.failures, key)
		}
	}
	return nil
}

// flushTouches writes when sessions were last active. A touch is an UPDATE with the expiry in it, so it cannot bring back a
// session that has ended meanwhile.
func (s *Store) flushTouches(ctx context.Context) error {
	limits, now := s.options.Limits, s.now()
	return flushNotes(ctx, s, s.pending.touches, func(tx *sql.Tx, batch map[string]int64) error {
		touch, err := tx.Prepare(`
			UPDATE sessions
			SET last_active_at = $1,
			    created_at = MIN(created_at, $1), -- a clock that was ahead when it was made must not lengthen its lifetime
			    expires_at = CASE shared WHEN 1 THEN MIN($1 + $2, MIN(created_at, $1) + $3) ELSE MIN($1 + $4, MIN(created_at, $1) + $5) END
			WHERE id = $6 AND expires_at > $7`)
		if err != nil {
			return err
		}
		defer touch.Close()
		for id, at := range batch {
			if _, err := touch.Exec(min(at, now), limits.SharedIdleTimeout.Milliseconds(), limits.SharedMaxLifetime.Milliseconds(),
				limits.IdleTimeout.Milliseconds(), limits.MaxLifetime.Milliseconds(), id, now); err != nil {
				return err
			}
		}
		return nil
	})
}

// flushNotes writes notes batch by batch, and forgets those that were not noted again meanwhile.
func flushNotes[K comparable](ctx context.Context, s *Store, noted map[K]int64, write func(tx *sql.Tx, batch map[K]int64) error) error {
	s.pending.mu.Lock()
	left := maps.Clone(noted)
	s.pending.mu.Unlock()
	for len(left) > 0 {
		batch := map[K]int64{}
		for key, at := range left {
			if len(batch) == flushBatch {
				break
			}
			batch[key] = at
		}
		if err := s.write(ctx, func(tx *sql.Tx) error { return write(tx, batch) }); err != nil {
			return err
		}
		s.pending.mu.Lock()
		for key, at := range batch {
			delete(left, key)
			if noted[key] == at {
				delete(noted, key)
			}
		}
		s.pending.mu.Unlock()
	}
	return nil
}
