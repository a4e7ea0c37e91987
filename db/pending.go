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
// is bounded: by the sessions that there are, or by pendingFailures.
type pending struct {
	flushing sync.Mutex // one flush at a time: what was noted once is written once

	mu       sync.Mutex
	touches  map[string]int64               // session id -> when it was last active
	refused  map[[sha256.Size]byte]struct{} // token hashes of expired sessions that were asked for
	failures map[failure]tries              // sign-ins that failed
}

type failure struct {
	userID         int64
	ip, deviceName string
}

type tries struct {
	count int
	at    int64
}

const (
	pendingFailures = 1000 // accounts and addresses within one flush; more are told by the log alone
	flushBatch      = 500  // notes in one transaction, so that a revocation waits for a few milliseconds at most
)

func (p *pending) touch(id string, at int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.touches == nil {
		p.touches = map[string]int64{}
	}
	p.touches[id] = at
}

func (p *pending) refuse(hash [sha256.Size]byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refused == nil {
		p.refused = map[[sha256.Size]byte]struct{}{}
	}
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
	if p.failures == nil {
		p.failures = map[failure]tries{}
	}
	key := failure{userID, ip, deviceName}
	if noted, known := p.failures[key]; userID != 0 && (known || len(p.failures) < pendingFailures) {
		p.failures[key] = tries{noted.count + 1, s.now()}
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
	p.mu.Lock()
	touches, refused, failures := maps.Clone(p.touches), maps.Clone(p.refused), maps.Clone(p.failures)
	p.mu.Unlock()

	for len(touches) > 0 {
		if err := s.flushTouches(ctx, touches); err != nil {
			return err
		}
	}
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
			p.failures[key] = tries{noted.count - written.count, noted.at}
		} else {
			delete(p.failures, key)
		}
	}
	return nil
}

// flushTouches writes one batch and takes it out of touches. A touch is an UPDATE with the expiry in it, so it
// cannot bring back a session that has ended meanwhile.
func (s *Store) flushTouches(ctx context.Context, touches map[string]int64) error {
	limits, now := s.options.Limits, s.now()
	batch := map[string]int64{}
	for id, at := range touches {
		if len(batch) == flushBatch {
			break
		}
		batch[id] = at
	}
	err := s.write(ctx, func(tx *sql.Tx) error {
		touch, err := tx.Prepare(`
			UPDATE sessions
			SET last_active_at = $1,
			    expires_at = CASE shared WHEN 1 THEN MIN($1 + $2, created_at + $3) ELSE MIN($1 + $4, created_at + $5) END
			WHERE id = $6 AND expires_at > $7`)
		if err != nil {
			return err
		}
		defer touch.Close()
		for id, at := range batch {
			if _, err := touch.Exec(at, limits.SharedIdleTimeout.Milliseconds(), limits.SharedMaxLifetime.Milliseconds(),
				limits.IdleTimeout.Milliseconds(), limits.MaxLifetime.Milliseconds(), id, now); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.pending.mu.Lock()
	defer s.pending.mu.Unlock()
	for id, at := range batch {
		delete(touches, id)
		if s.pending.touches[id] == at {
			delete(s.pending.touches, id)
		}
	}
	return nil
}
