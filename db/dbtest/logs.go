package dbtest

import (
	"bytes"
	"sync"
)

// Logs is a log that is written and read at the same time.
type Logs struct {
	mu sync.Mutex
	bytes.Buffer
}

func (l *Logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.Write(p)
}

func (l *Logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.String()
}
