package handlers

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"strings"
	"testing"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	"porchlight/db"
	"porchlight/db/dbtest"
)

// This file tests the settings of the server, and the responses that a client cannot provoke at will.

func TestTheServerIsBounded(t *testing.T) {
	t.Parallel()
	server := New(Options{URL: &url.URL{Scheme: "http", Host: "localhost"}, Log: slog.New(slog.DiscardHandler)}).Server()
	if server.ReadTimeout <= 0 || server.WriteTimeout <= 0 || server.IdleTimeout <= 0 {
		t.Errorf("timeouts: read %v, write %v, idle %v", server.ReadTimeout, server.WriteTimeout, server.IdleTimeout)
	}
	if server.ReadBufferSize < 16<<10 || server.MaxRequestBodySize != 64<<10 {
		t.Errorf("headers of %d bytes, bodies of %d", server.ReadBufferSize, server.MaxRequestBodySize)
	}
}

// handlerOn returns the handler of an empty database.
func handlerOn(t *testing.T) *handler {
	t.Helper()
	store, err := db.Open(context.Background(), db.Options{Path: dbtest.NewDatabase(t), HashCost: dbtest.HashCost})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return newHandler(Options{Store: store, URL: &url.URL{Scheme: "http", Host: "localhost"}, Log: slog.New(slog.DiscardHandler)})
}

// A session can end while its request is under way. The client is then signed out, and the session is not merely missing.
func TestASessionEndsDuringItsRequest(t *testing.T) {
	t.Parallel()
	h, app := handlerOn(t), fiber.New()
	c := app.AcquireCtx(new(fasthttp.RequestCtx))
	defer app.ReleaseCtx(c)
	c.Locals(sessionKey, &db.Session{ID: "ended"})
	for name, handle := range map[string]fiber.Handler{"API": h.apiShowCurrent, "page": h.showSessions, "list": h.listSessions} {
		if err := handle(c); !errors.Is(err, db.ErrSessionEnded) {
			t.Errorf("%s: got %v, want ErrSessionEnded", name, err)
		}
	}
}

func TestErrorsThatAskForPatience(t *testing.T) {
	t.Parallel()
	h := handlerOn(t)
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

// The message must not offer a reset by mail where Porchlight sends no mail.
func TestLockedAccountMessageNamesAWayIn(t *testing.T) {
	t.Parallel()
	for mail, want := range map[bool]string{true: "Forgot your password?", false: "invitation link"} {
		h := &handler{Options: Options{Mail: mail}}
		if got := h.tooManyAttempts(db.Throttled{Locked: true}); !strings.Contains(got, want) {
			t.Errorf("mail %v: %q, want %q", mail, got, want)
		}
	}
}
