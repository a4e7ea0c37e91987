package db

import (
	"context"
	"errors"
	"sync/atomic"
)

// ErrBusy means that too much expensive work is already waiting. The caller may try again in a moment.
var ErrBusy = errors.New("too many passwords at once")

// workQueue limits how much work of one kind runs at once, and how much waits.
type workQueue struct {
	slots chan struct{}
	max   int32 // in a slot or waiting
	count atomic.Int32
}

func newWorkQueue(atOnce, waiting int) *workQueue {
	return &workQueue{slots: make(chan struct{}, atOnce), max: int32(atOnce + waiting)}
}

// run runs work in one of the slots. It returns ErrBusy if the queue is full.
func (q *workQueue) run(ctx context.Context, work func()) error {
	if q.count.Add(1) > q.max {
		q.count.Add(-1)
		return ErrBusy
	}
	defer q.count.Add(-1)
	select {
	case q.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-q.slots }()
	work()
	return nil
}
