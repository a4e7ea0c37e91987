package db

import (
	"context"
	"slices"
	"sync"
)

// class is the priority of a write. A revocation does not wait for sign-ins, and nothing waits for the sweep.
type class int

const (
	urgent     class = iota // revocations, and other changes by a signed-in user or an administrator
	normal                  // sign-ins, counted attempts, notes of activity
	background              // the sweep
	classes
)

// maxPassedOver is how many times a waiting class is passed over before it gets one turn, so that many urgent writes do not starve the
// others: at least every ninth turn is theirs. A single revocation still waits for at most one other write.
const maxPassedOver = 8

// writeQueue gives one write at a time its turn. SQLite allows one writer, and its own way to wait is neither fair nor ordered.
type writeQueue struct {
	mu         sync.Mutex
	busy       bool
	waiting    [classes][]chan struct{}
	passedOver [classes]int
}

// enter waits for a turn, which the caller ends with leave. It returns the context's error if ctx ends first.
func (q *writeQueue) enter(ctx context.Context, c class) error {
	q.mu.Lock()
	if !q.busy {
		q.busy = true
		q.mu.Unlock()
		return nil
	}
	turn := make(chan struct{})
	q.waiting[c] = append(q.waiting[c], turn)
	q.mu.Unlock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	q.mu.Lock()
	i := slices.Index(q.waiting[c], turn)
	if i >= 0 {
		q.waiting[c] = slices.Delete(q.waiting[c], i, i+1)
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
	for c := next + 1; c < classes; c++ {
		if len(q.waiting[c]) > 0 {
			q.passedOver[c]++
		}
	}
	q.passedOver[next] = 0
	close(q.waiting[next][0])
	q.waiting[next] = slices.Delete(q.waiting[next], 0, 1)
}

// next returns a waiting class that was passed over too often, or else the most urgent waiting class.
func (q *writeQueue) next() (next class, found bool) {
	for c := range classes {
		if len(q.waiting[c]) == 0 {
			continue
		}
		if q.passedOver[c] >= maxPassedOver {
			return c, true
		}
		if !found {
			next, found = c, true
		}
	}
	return next, found
}
