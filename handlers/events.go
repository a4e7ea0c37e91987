package handlers

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/gofiber/fiber/v2"

	"porchlight/db"
)

// This file owns the event stream. It tells an open page that the user's list of sessions has changed, or that its own session has ended.

const (
	streamsMost    = 20               // open streams of one user
	heartbeatEvery = 15 * time.Second // how else to notice a client that is gone
)

// streams counts the open streams of each user.
type streams struct {
	mu     sync.Mutex
	byUser map[int64]int
}

// enter reports whether the user may open another stream. If so, leave must be called.
func (s *streams) enter(userID int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byUser == nil {
		s.byUser = map[int64]int{}
	}
	if s.byUser[userID] >= streamsMost {
		return false
	}
	s.byUser[userID]++
	return true
}

func (s *streams) leave(userID int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byUser[userID]--; s.byUser[userID] == 0 {
		delete(s.byUser, userID)
	}
}

// streamEvents answers with server-sent events until the session ends, the client is gone, or the server stops: "changed" when the user's
// list of sessions may have changed, and "ended" when this session has. A stream is no activity.
//
// A page that shows the list passes the newest activity that it knows as after, so what happens before the stream begins is not missed. A
// client that connects again gets a "changed" first, because its Last-Event-ID says nothing about use, which is no activity.
func (h *handler) streamEvents(c *fiber.Ctx) error {
	c.Set(fiber.HeaderContentType, "text/event-stream")
	if c.Method() == fiber.MethodHead {
		return nil
	}
	session := currentSession(c)
	if !h.streams.enter(session.UserID) {
		c.Set(fiber.HeaderRetryAfter, "15")
		return problem{fiber.StatusTooManyRequests, "Too many pages are open. Close some of them."}
	}
	changed, unsubscribe := h.Store.Subscribe(session.UserID)
	known, err := h.Store.LastActivity(session.UserID)
	if err != nil {
		unsubscribe()
		h.streams.leave(session.UserID)
		return err
	}
	stream := &eventStream{h: h, session: session, conn: c.Context().Conn(), changed: changed}
	stream.behind = c.Get("Last-Event-ID") != "" || c.Query("after") != "" && c.Query("after") != fmt.Sprint(known)
	c.Set("X-Accel-Buffering", "no") // nginx would hold the events back
	c.Context().SetBodyStreamWriter(func(w *bufio.Writer) {
		defer h.streams.leave(session.UserID)
		defer unsubscribe()
		stream.run(w)
	})
	return nil
}

type eventStream struct {
	h       *handler
	session db.Session
	conn    net.Conn
	changed <-chan struct{}
	behind  bool // the page may show an old list
}

// run writes events until one cannot be written, or the session has ended.
func (s *eventStream) run(w *bufio.Writer) {
	heartbeat := time.NewTicker(heartbeatEvery)
	defer heartbeat.Stop()
	expiry := time.NewTimer(heartbeatEvery)
	defer expiry.Stop()
	event := ":\n\n" // a comment, which makes the browser take the stream as open
	if s.behind {
		event = changedEvent
	}
	for {
		// The session is looked up again before each event.
		session, err := s.h.Store.Session(s.session.UserID, s.session.ID)
		if errors.Is(err, db.ErrNotFound) {
			s.write(w, "event: ended\ndata:\n\n")
			return
		}
		if err != nil {
			return // the browser connects again, more and more rarely, and gets 503 until the database answers
		}
		if s.write(w, event) != nil {
			return
		}
		next, err := s.h.Store.NextExpiry(s.session.UserID)
		if err != nil {
			return
		}
		if next.IsZero() {
			next = session.ExpiresAt
		}
		expiry.Reset(max(next.Sub(s.h.Store.Now()), time.Millisecond))
		select {
		case <-s.h.Done:
			return
		case <-s.changed:
			event = changedEvent
		case <-expiry.C: // of any session of the user
			event = changedEvent
		case <-heartbeat.C:
			event = ":\n\n"
		}
	}
}

// changedEvent has an id, so that the browser sends a Last-Event-ID when it connects again.
const changedEvent = "id: 1\nevent: changed\ndata:\n\n"

// write moves the server's write timeout, which is meant for a whole response.
func (s *eventStream) write(w *bufio.Writer, event string) error {
	s.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	w.WriteString(event)
	return w.Flush()
}
