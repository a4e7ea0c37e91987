package db

import (
	"context"
	"slices"
	"sync"
)

// class is the order in which writes get their turn.
type class int

// Whoever signs a device out does not wait for strangers who sign in, and nobody waits for the sweep.
const (
	urgent     class = iota // revocations, and what else a signed-in user or an administrator asks for
	normal                  // sign-ins, counted attempts, notes of activity
	background              // the sweep
	classes
)

// maxPassedOver is how often a class is passed over before it gets one turn. It keeps a stream of urgent writes from
// starving the others: urgent writes come from live sessions, each waits for its own fsync, and every ninth turn goes to
// those that wait. A revocation waits for one other write at the most.
const maxPassedOver = 8

// writeQueue gives one write at a time its turn. SQLite has one writer; its own waiting is unfair and knows no order.
type writeQueue struct {
	mu         sync.Mutex
	busy       bool
	waiting    [classes][]chan struct{}
	passedOver [classes]int
}

// enter waits for a turn, which leave ends, or for the end of ctx.
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
	if i < 0 { // the turn came at the same moment
		q.leave()
	}
	return ctx.Err()
}

// leave hands the turn to the next write.
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

// next is the first class that has waited long enough, else the most urgent one.
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
