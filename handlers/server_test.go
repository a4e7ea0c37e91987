package handlers

import (
	"context"
	"log/slog"
	"net/url"
	"testing"

	"github.com/valyala/fasthttp"

	"porchlight/db"
	"porchlight/db/dbtest"
)

// This file owns what the server itself is set to, and the answers that no client can provoke at will.

func TestTheServerIsBounded(t *testing.T) {
	t.Parallel()
	server := New(Options{URL: &url.URL{Scheme: "http", Host: "localhost"}, Log: slog.New(slog.DiscardHandler)}).Server()
	if server.ReadTimeout <= 0 || server.WriteTimeout <= 0 || server.IdleTimeout <= 0 {
		t.Errorf("timeouts: read %v, write %v, idle %v", server.ReadTimeout, server.WriteTimeout, server.IdleTimeout)
	}
	if server.ReadBufferSize < 16<<10 || server.MaxRequestBodySize != 64<<10 {
		t.Errorf("headers of %d bytes, bodies of %d", server.ReadBufferSize, server.MaxRequestBodySize)
	}
	if !server.ReduceMemoryUsage {
		t.Error("idle connections keep their buffers")
	}
}

func TestErrorsThatAskForPatience(t *testing.T) {
	t.Parallel()
	store, err := db.Open(context.Background(), db.Options{Path: dbtest.NewDatabase(t), HashCost: dbtest.HashCost})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	h := newHandler(Options{Store: store, URL: &url.URL{Scheme: "http", Host: "localhost"}, Log: slog.New(slog.DiscardHandler)})
	for _, err := range []error{db.ErrBusy, db.ErrUnavailable} {
		app := New(h.Options)
		c := app.AcquireCtx(new(fasthttp.RequestCtx))
		if err := h.answerError(c, err); err != nil {
			t.Fatal(err)
		}
		if status, after := c.Response().StatusCode(), c.GetRespHeader("Retry-After"); status != 503 || after != "2" {
			t.Errorf("%v: %d, Retry-After %q", err, status, after)
		}
		app.ReleaseCtx(c)
	}
}
