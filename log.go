package main

import (
	"bytes"
	"io"
	"sync"
	"time"
)

// This file keeps output from blocking the server: a write to a full pipe that nobody reads never returns.

const (
	queuedBytes    = 256 << 10   // about 1,500 lines
	queueCloseWait = time.Second // how long close waits
)

// lineQueue is a bounded buffer in front of a writer that may block. Write never blocks. Lines that do not fit are dropped, and once
// the writer works again, one line says how many.
type lineQueue struct {
	to     io.Writer
	report func(to io.Writer, dropped int) error

	mu      sync.Mutex
	changed *sync.Cond
	lines   []byte // not yet written
	dropped int    // lines since the last report
	closing bool
	drained chan struct{}
}

func newLineQueue(to io.Writer, report func(to io.Writer, dropped int) error) *lineQueue {
	q := &lineQueue{to: to, report: report, drained: make(chan struct{})}
	q.changed = sync.NewCond(&q.mu)
	go q.run()
	return q
}

// Write queues whole lines. It always succeeds.
func (q *lineQueue) Write(lines []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.lines)+len(lines) > queuedBytes {
		q.dropped += countLines(lines)
		return len(lines), nil
	}
	q.lines = append(q.lines, lines...)
	q.changed.Signal()
	return len(lines), nil
}

// close writes the queued lines, for at most queueCloseWait: the process must end even if nobody reads its output.
func (q *lineQueue) close() {
	q.mu.Lock()
	q.closing = true
	q.changed.Signal()
	q.mu.Unlock()
	select {
	case <-q.drained:
	case <-time.After(queueCloseWait):
	}
}

// run writes the lines. While that blocks, new lines gather in a second buffer.
func (q *lineQueue) run() {
	defer close(q.drained)
	var batch []byte
	for {
		q.mu.Lock()
		for len(q.lines) == 0 && !q.closing {
			q.changed.Wait()
		}
		batch, q.lines = q.lines, batch[:0]
		dropped := q.dropped // all of them came after the batch
		q.dropped = 0
		q.mu.Unlock()
		if len(batch) == 0 {
			return
		}
		// An error means that the pipe is closed or that the disk is full, which may be temporary.
		if n, err := q.to.Write(batch); err != nil {
			dropped += countLines(batch[n:])
		}
		if dropped > 0 && q.report(q.to, dropped) != nil {
			q.mu.Lock()
			q.dropped += dropped
			q.mu.Unlock()
		}
	}
}

func countLines(text []byte) int { return bytes.Count(text, []byte("\n")) }

// openQueue returns a queue that reports dropped lines in the format of the log.
func (s *settings) openQueue(to io.Writer) *lineQueue {
	return newLineQueue(to, func(to io.Writer, dropped int) error {
		var line bytes.Buffer
		s.logger(&line).Warn("log lines were dropped because nobody read them in time", "lines", dropped)
		_, err := to.Write(line.Bytes())
		return err
	})
}
