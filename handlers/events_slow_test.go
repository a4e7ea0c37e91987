package handlers_test

import (
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"testing"
	"time"

	"porchlight/handlers"
	"porchlight/handlers/handlerstest"
)

// impatient is a listener whose connections have small buffers, and whose write deadlines come 29 of their 30 seconds early.
type impatient struct {
	net.Listener
	closed chan struct{} // receives when a connection was closed
}

type impatientConn struct {
	net.Conn
	closed chan struct{}
}

func (l impatient) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return impatientConn{conn, l.closed}, conn.(*net.TCPConn).SetWriteBuffer(1)
}

func (c impatientConn) SetWriteDeadline(at time.Time) error {
	if !at.IsZero() {
		at = at.Add(-29 * time.Second)
	}
	return c.Conn.SetWriteDeadline(at)
}

func (c impatientConn) Close() error {
	defer func() { c.closed <- struct{}{} }()
	return c.Conn.Close()
}

// A client that never reads its events loses its stream after the write timeout, once the buffers between it and the server are full.
func TestEventsOfAClientThatNeverReads(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener := impatient{inner, make(chan struct{}, 8)}
	app := handlers.New(handlers.Options{
		Store: c.Store, URL: &url.URL{Scheme: "http", Host: inner.Addr().String()}, Log: slog.New(slog.DiscardHandler),
	})
	served := make(chan error, 1)
	go func() { served <- app.Listener(listener) }()
	conn, err := net.Dial("tcp", inner.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.(*net.TCPConn).SetReadBuffer(1); err != nil {
		t.Fatal(err)
	}
	_, err = fmt.Fprintf(conn, "GET /sessions/events HTTP/1.1\r\nHost: localhost\r\nCookie: porchlight=%s\r\n\r\n", c.AlicePhone.Token())
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(handlerstest.Patience); len(listener.closed) == 0; {
		if time.Now().After(deadline) {
			t.Error("the stream is still open")
			break
		}
		c.Alice.Form("/sessions/"+c.Alice.ID+"/name", "name", fmt.Sprint(time.Now().UnixNano())).Is(t, 303)
	}
	conn.Close()
	if err := app.Shutdown(); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}
