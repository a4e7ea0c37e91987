package handlers

import (
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/gofiber/fiber/v2"

	"porchlight/db"
)

// This file owns the event stream. It notifies an open page when its list of sessions changes, and when the page's own
// session ends.

// heartbeatEvery is the longest time that a stream is silent. A client that has gone is noticed only when something is written.
const heartbeatEvery = 15 * time.Second

const (
	heartbeat     = ":\n\n"                            // a comment; the browser takes a stream as open after its first bytes
	changedEvent  = "id: 1\nevent: changed\ndata:\n\n" // the id makes the browser send a Last-Event-ID when it connects again
	endedEvent    = "event: ended\ndata:\n\n"
	replacedEvent = "event: replaced\ndata:\n\n"
)

// eventsPath is where pages find the stream, unless they show somebody else's list.
const eventsPath = "/sessions/events"

func (h *handler) streamEvents(c *fiber.Ctx) error { return h.stream(c, currentSession(c).UserID) }

// stream sends server-sent events until the session ends, the client is gone, or the server stops: "changed" when the list of sessions of
// the user listOf may have changed, "ended" when this session has ended, and "replaced" when its user has opened too many streams since. An
// open stream does not count as activity.
//
// A page that shows the list passes the id of the newest activity that it shows as after. If there is a newer one, the first event is
// "changed". A client that connects again, with a Last-Event-ID, always gets "changed" first: what it missed may have left no activity.
func (h *handler) stream(c *fiber.Ctx, listOf int64) error {
	c.Set(fiber.HeaderContentType, "text/event-stream")
	if c.Method() == fiber.MethodHead {
		return nil
	}
	session := currentSession(c)
	stream := &eventStream{
		h: h, listOf: listOf, userID: session.UserID, sessionID: session.ID, conn: c.Context().Conn(),
		first: heartbeat, timer: time.NewTimer(heartbeatEvery), replaced: make(chan struct{}),
	}
	stream.changed, stream.unsubscribe = h.Store.Subscribe(listOf)
	if listOf != session.UserID {
		own, unsubscribeOwn := h.Store.Subscribe(session.UserID)
		unsubscribe := stream.unsubscribe
		stream.ownChanged, stream.unsubscribe = own, func() { unsubscribe(); unsubscribeOwn() }
	}
	known, err := h.Store.LastActivity(listOf)
	if err != nil {
		stream.Close()
		return err
	}
	if c.Get("Last-Event-ID") != "" || c.Query("after") != "" && c.Query("after") != fmt.Sprint(known) {
		stream.first = changedEvent
	}
	h.streams.enter(stream)
	c.Set("X-Accel-Buffering", "no") // nginx would hold the events back
	c.Context().SetBodyStream(stream, -1)
	return nil
}

// eventStream is the body of a response. The server reads it in the goroutine of the connection. SetBodyStreamWriter would add a goroutine,
// a pipe and two buffers, which take half as much memory again.
type eventStream struct {
	h           *handler
	listOf      int64 // the user whose list the page shows
	userID      int64 // the user who looks at it; if it is another one, an administrator
	sessionID   string
	conn        net.Conn
	changed     <-chan struct{}
	ownChanged  <-chan struct{} // of userID; nil if it is the same user
	unsubscribe func()
	replaced    chan struct{} // closed when a newer stream takes the place of this one
	first       string        // the event to begin with; "" after it
	timer       *time.Timer
	expiry      time.Time // when the next of the sessions expires; zero before it is known
	last        bool      // no event follows
}

// Read waits for the next event, and returns the whole of it. It also moves the server's write timeout, which is meant for a whole
// response.
func (s *eventStream) Read(buffer []byte) (int, error) {
	event, err := s.next()
	if err != nil {
		return 0, err
	}
	s.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	return copy(buffer, event), nil
}

// Close is called by the server when the stream has ended, or when an event could not be written.
func (s *eventStream) Close() error {
	s.timer.Stop()
	s.unsubscribe()
	s.h.streams.leave(s)
	return nil
}

// next returns the next event. It looks the session up before each one, so a stream without events costs no query.
func (s *eventStream) next() (event string, err error) {
	event, s.first = s.first, ""
	if event == "" {
		event, err = s.await()
	}
	if err != nil {
		return "", err
	}
	session, err := s.h.Store.Session(s.userID, s.sessionID)
	if errors.Is(err, db.ErrNotFound) || err == nil && s.listOf != s.userID && !session.IsAdmin {
		s.last = true
		return endedEvent, nil
	}
	if err == nil && (event == changedEvent || s.expiry.IsZero()) {
		s.expiry, err = s.h.Store.NextExpiry(s.listOf)
	}
	if err != nil {
		return "", io.EOF // the browser connects again, more and more rarely, and gets 503 until the database answers
	}
	if s.expiry.IsZero() || s.listOf != s.userID && session.ExpiresAt.Before(s.expiry) {
		s.expiry = session.ExpiresAt
	}
	s.timer.Reset(min(heartbeatEvery, max(s.expiry.Sub(s.h.Store.Now()), time.Millisecond)))
	return event, nil
}

func (s *eventStream) await() (event string, err error) {
	if s.last {
		return "", io.EOF
	}
	select {
	case <-s.h.Done:
		return "", io.EOF
	case <-s.replaced:
		s.last = true
		return replacedEvent, nil
	case <-s.changed:
		return changedEvent, nil
	case <-s.ownChanged:
		return heartbeat, nil // next checks whether the session has ended
	case <-s.timer.C:
	}
	if s.h.Store.Now().Before(s.expiry) {
		return heartbeat, nil
	}
	return changedEvent, nil
}
