package handlerstest

import (
	"bufio"
	"context"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Patience is how long a test waits for what must happen.
const Patience = 20 * time.Second

// Stream is an open event stream.
type Stream struct {
	Cancel func() // closes the client's end

	t     testing.TB
	lines chan string // closed when the stream ends
}

// Stream opens an event stream. The headers are pairs of name and value.
func (c *Client) Stream(path string, headers ...string) *Stream {
	c.T.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	c.T.Cleanup(cancel)
	request, err := http.NewRequestWithContext(ctx, "GET", c.URL+path, nil)
	if err != nil {
		c.T.Fatal(err)
	}
	request.Header.Set("User-Agent", c.UserAgent)
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	late := time.AfterFunc(Patience, cancel)
	response, err := c.HTTP.Do(request)
	late.Stop()
	if err != nil {
		c.T.Fatal(err)
	}
	c.T.Cleanup(func() { response.Body.Close() })
	if response.StatusCode != 200 || response.Header.Get("Content-Type") != "text/event-stream" ||
		response.Header.Get("Cache-Control") != "no-store" {
		c.T.Fatalf("%s: %s %v", path, response.Status, response.Header)
	}
	s := &Stream{Cancel: cancel, t: c.T, lines: make(chan string)}
	go func() {
		defer close(s.lines)
		for scanner := bufio.NewScanner(response.Body); scanner.Scan(); {
			select {
			case s.lines <- scanner.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	return s
}

// Next returns the next event, ":" for a heartbeat, or "end".
func (s *Stream) Next() string {
	s.t.Helper()
	for timeout := time.After(Patience); ; {
		select {
		case line, open := <-s.lines:
			if !open {
				return "end"
			}
			if event, found := strings.CutPrefix(line, "event: "); found {
				return event
			}
			if strings.HasPrefix(line, ":") {
				return ":"
			}
		case <-timeout:
			s.t.Fatal("no event came in time")
		}
	}
}

// Wants fails the test unless these events come next.
func (s *Stream) Wants(events ...string) {
	s.t.Helper()
	for _, want := range events {
		if got := s.Next(); got != want {
			s.t.Fatalf("the next event is %q, want %q", got, want)
		}
	}
}
