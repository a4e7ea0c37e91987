package db

import (
	"context"
	"slices"
	"sync"
)

// priority is that of a write. A revocation does not wait for sign-ins, and nothing waits for the sweep.
type priority int

const (
	urgent     priority = iota // revocations, and other changes by a signed-in user or an administrator
	normal                     // sign-ins, counted attempts, notes of activity
	background                 // the sweep
	priorities
)

// maxPassedOver is how many times waiting writes of a priority are passed over before one gets its turn, so that many urgent writes do not
// starve others: at least every ninth turn is theirs. A single revocation still waits for at most one other write.
const maxPassedOver = 8

// writeQueue gives one write at a time its turn. SQLite allows one writer, and its own way to wait is neither fair nor ordered.
type writeQueue struct {
	mu         sync.Mutex
	busy       bool
	waiting    [priorities][]chan struct{}
	passedOver [priorities]int
}

// enter waits for a turn, which the caller ends with leave. It returns the context's error if ctx ends first.
func (q *writeQueue) enter(ctx context.Context, p priority) error {
	q.mu.Lock()
	if !q.busy {
		q.busy = true
		q.mu.Unlock()
		return nil
	}
	turn := make(chan struct{})
	q.waiting[p] = append(q.waiting[p], turn)
	q.mu.Unlock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	q.mu.Lock()
	i := slices.Index(q.waiting[p], turn)
	if i >= 0 {
		q.waiting[p] = slices.Delete(q.waiting[p], i, i+1)
	}
	q.mu.Unlock()
	if i < 0 { // the turn came at the same time
		q.leave()
	}
	return ctx.Err()
}

// leave passes the turn to the next write.
func (q *writeQueue) leave() {
	q.mu.Lock()
	defer q.mu.Unlock()
	next, found := q.next()
	if !found {
		q.busy = false
		return
	}
	for p := next + 1; p < priorities; p++ {
		if len(q.waiting[p]) > 0 {
			q.passedOver[p]++
		}
	}
	q.passedOver[next] = 0
	close(q.waiting[next][0])
	q.waiting[next] = slices.Delete(q.waiting[next], 0, 1)
}

// next returns a priority with a waiting write: one that was passed over too often, or else the most urgent one.
func (q *writeQueue) next() (next priority, found bool) {
	for p := range priorities {
		if len(q.waiting[p]) == 0 {
			continue
		}
		if q.passedOver[p] >= maxPassedOver {
			return p, true
		}
		if !found {
			next, found = p, true
		}
	}
	return next, found
}
