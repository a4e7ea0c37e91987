package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// This file accepts connections: how many may be open, which one makes room for a new one, and what happens when the system has no
// descriptors left.

const (
	// reservedDescriptors is how many file descriptors are left for everything but clients: standard streams, poller and listener, the
	// database, its WAL and its lock, and the occasional temporary file. TestDescriptors counts them.
	reservedDescriptors = 36
	minConnections      = 8
	maxConnections      = 8192 // bounds memory, to about 300 MB, if the limit of open files is higher
)

// listener accepts connections up to a limit. At the limit, the connection that has gone longest without an answer makes
// room for the new one, unless the server is working on its request.
//
// If new clients had to wait until a timeout ends an old connection, an attacker who keeps the listener full with idle or slow
// connections would keep out the person who wants to revoke a session: she would wait behind the attacker's next connections, for 15
// seconds each. This way she connects at once, and stays connected as long as fewer than limit connections arrive between two of her
// requests. A browser whose idle connection was closed opens another. Sending a byte now and then does not help a slow client,
// because only responses count.
type listener struct {
	net.Listener
	limit int
	log   *slog.Logger

	acceptFailed, wasFull time.Time // when each was last logged; used only by Accept

	turns atomic.Uint64 // counts the connections that were accepted and the answers that were written
	full  atomic.Bool   // Accept waits for room

	mu      sync.Mutex
	changed *sync.Cond // a connection was closed or, while full is set, started to wait for its client
	open    map[*conn]struct{}
	evicted int // connections that are being closed to make room
	closed  bool
	done    chan struct{}
}

// listen opens the address. The error is one line for the person who runs the server.
func listen(address string, limit int, log *slog.Logger) (*listener, error) {
	inner, err := net.Listen("tcp", address)
	if err != nil {
		return nil, listenError(address, err)
	}
	return limitConnections(inner, limit, log), nil
}

func listenError(address string, err error) error {
	advice := "check --listen"
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		advice = "stop the program that listens there, or choose another address with --listen"
	case errors.Is(err, syscall.EACCES):
		advice = "choose a port of 1024 or higher with --listen, or give the program the capability CAP_NET_BIND_SERVICE"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		advice = "this machine does not have that address; give one of its addresses with --listen, or only a port, such as :3000"
	case errors.As(err, new(*net.DNSError)):
		advice = "give an IP address of this machine with --listen, or only a port, such as :3000"
	}
	return fmt.Errorf("cannot listen on %s: %w; %s", address, err, advice)
}

// connectionLimit returns how many connections fit below the limit of open files. The Go runtime has raised the soft
// limit to the hard one before main (see syscall/rlimit.go).
func connectionLimit() (int, error) {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return 0, fmt.Errorf("cannot read the limit of open files: %w", err)
	}
	if files.Cur < reservedDescriptors+minConnections {
		return 0, fmt.Errorf("the limit of open files is %d and must be at least %d; raise it with ulimit -n or LimitNOFILE=",
			files.Cur, reservedDescriptors+minConnections)
	}
	return int(min(files.Cur-reservedDescriptors, maxConnections)), nil
}

func limitConnections(inner net.Listener, limit int, log *slog.Logger) *listener {
	l := &listener{Listener: inner, limit: limit, log: log, open: map[*conn]struct{}{}, done: make(chan struct{})}
	l.changed = sync.NewCond(&l.mu)
	return l
}

// Accept returns the next connection. It fails only when the listener is closed or broken.
func (l *listener) Accept() (net.Conn, error) {
	inner, err := l.acceptNext()
	if err != nil {
		return nil, err
	}
	return l.admit(inner)
}

// acceptNext returns the next connection. While the system is short of descriptors or memory, it pauses for up to a second at a time,
// because fasthttp stops serving at such an error.
func (l *listener) acceptNext() (net.Conn, error) {
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		inner, err := l.Listener.Accept()
		if !isShortage(err) {
			return inner, err
		}
		l.warn(&l.acceptFailed, "cannot accept connections; trying again until it works", "error", err)
		select {
		case <-time.After(pause):
		case <-l.done:
			return nil, net.ErrClosed
		}
	}
}

// isShortage reports whether accepting connections may succeed later.
func isShortage(err error) bool {
	for _, shortage := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED} {
		if errors.Is(err, shortage) {
			return true
		}
	}
	return false
}

// warn logs at most once a minute, because clients can cause these warnings at will.
func (l *listener) warn(last *time.Time, message string, args ...any) {
	if now := time.Now(); now.Sub(*last) >= time.Minute {
		*last = now
		l.log.Warn(message, args...)
	}
}

// admit waits until the connection fits below the limit, and makes room if necessary. A slot is free only after its connection was
// closed, so the descriptors never exceed the limit by more than the one that waits here.
func (l *listener) admit(inner net.Conn) (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.full.Store(false)
	for len(l.open)+l.evicted >= l.limit && !l.closed {
		l.full.Store(true)
		longest := l.longestWaiting()
		if longest == nil || l.evicted > 0 {
			l.changed.Wait()
			continue
		}
		l.warn(&l.wasFull, "too many open connections; closing those that have gone longest without an answer", "limit", l.limit)
		delete(l.open, longest)
		longest.evicted = true
		l.evicted++
		l.mu.Unlock()
		longest.Conn.Close() // without the lock, because it waits for reads and writes to return
		l.mu.Lock()
	}
	if l.closed {
		inner.Close()
		return nil, net.ErrClosed
	}
	c := &conn{Conn: inner, listener: l}
	c.waiting.Store(true)
	c.answered.Store(l.turns.Add(1))
	l.open[c] = struct{}{}
	return c, nil
}

// longestWaiting returns the connection to close, or nil if the server is working on every one of them.
func (l *listener) longestWaiting() (longest *conn) {
	for c := range l.open {
		if c.waiting.Load() && (longest == nil || c.answered.Load() < longest.answered.Load()) {
			longest = c
		}
	}
	return longest
}

// count returns how many connections are open.
func (l *listener) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.open) + l.evicted
}

// Close ends Accept. Open connections stay open.
func (l *listener) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return net.ErrClosed
	}
	l.closed = true
	close(l.done)
	l.changed.Broadcast()
	return l.Listener.Close()
}

// conn is a connection that knows whether it waits for its client. Reads and writes take no lock, because all connections share one.
type conn struct {
	net.Conn
	listener *listener
	waiting  atomic.Bool
	answered atomic.Uint64 // the turn of the last answer, or of Accept
	evicted  bool          // this and closed are guarded by the listener's mutex
	closed   bool
}

func (c *conn) Read(p []byte) (int, error) {
	c.wait()
	n, err := c.Conn.Read(p)
	c.waiting.Store(false)
	return n, err
}

// Write counts as waiting too, because a client that does not read its responses must not hold the connection.
func (c *conn) Write(p []byte) (int, error) {
	c.answered.Store(c.listener.turns.Add(1))
	c.wait()
	n, err := c.Conn.Write(p)
	c.waiting.Store(false)
	return n, err
}

// wait notes that the connection waits for its client. Accept sets full before it looks for such a connection, so either it sees this
// one, or this one sees full and wakes it.
func (c *conn) wait() {
	c.waiting.Store(true)
	if c.listener.full.Load() {
		c.listener.mu.Lock()
		defer c.listener.mu.Unlock()
		c.listener.changed.Signal()
	}
}

// Close frees the slot. It may be called more than once.
func (c *conn) Close() error {
	err := c.Conn.Close()
	l := c.listener
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.closed {
		return err
	}
	c.closed = true
	if c.evicted {
		l.evicted--
	} else {
		delete(l.open, c)
	}
	l.changed.Signal()
	return err
}
