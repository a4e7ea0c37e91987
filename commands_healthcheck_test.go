package main

import (
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"porchlight/db"
	"porchlight/db/dbtest"
	"porchlight/handlers"
)

func TestHealthcheck(t *testing.T) {
	f := newFixture(t, nil)
	s := start(t, f.data)
	_, port, _ := net.SplitHostPort(s.listen)
	for _, listen := range []string{s.listen, "0.0.0.0:" + port, ":" + port} { // a server on all addresses is also on loopback
		if out := mustRun(t, "", f.with("healthcheck", "--listen", listen)...); out != "" {
			t.Errorf("--listen %s: printed %q", listen, out)
		}
	}
}

func TestHealthcheckWithoutServer(t *testing.T) {
	f := &fixture{t: t, data: filepath.Join(t.TempDir(), "data")}
	f.mustFail(1, "", "healthcheck", "--listen", dbtest.FreeAddress(t))
	if _, err := os.Stat(f.data); !os.IsNotExist(err) {
		t.Error("healthcheck created a database")
	}
}

func TestHealthcheckWhenTheDatabaseIsClosed(t *testing.T) {
	f := newFixture(t, nil)
	store, err := db.Open(t.Context(), db.Options{Path: f.path()})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, listen: listener.Addr().String(), url: "http://" + listener.Addr().String()}
	app := handlers.New(handlers.Options{Store: store, URL: &url.URL{Scheme: "http", Host: s.listen}, Log: slog.New(slog.DiscardHandler)})
	served := make(chan error, 1)
	go func() { served <- app.Listener(listener) }()
	t.Cleanup(func() {
		if err := app.ShutdownWithTimeout(5 * time.Second); err != nil {
			t.Error("shut down:", err)
		}
		<-served
	})
	mustRun(t, "", f.with("healthcheck", "--listen", s.listen)...)
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	f.mustFail(1, "", "healthcheck", "--listen", s.listen)
	if status, body := s.newClient().get("/healthz"); status != http.StatusServiceUnavailable || !strings.Contains(body, `"error"`) {
		t.Errorf("GET /healthz: %d %s", status, body)
	}
}

// If somebody moves the database while the server runs, the health check fails, so that nothing is lost unnoticed.
func TestHealthcheckWhenTheDatabaseIsMoved(t *testing.T) {
	f := newFixture(t, nil)
	s := start(t, f.data)
	mustRun(t, "", f.with("healthcheck", "--listen", s.listen)...)
	away := filepath.Join(t.TempDir(), "away")
	if err := os.Rename(f.data, away); err != nil {
		t.Fatal(err)
	}
	f.mustFail(1, "", "healthcheck", "--listen", s.listen)
	s.newClient().want(http.StatusServiceUnavailable, "/healthz")
	if err := os.Rename(away, f.data); err != nil {
		t.Fatal(err)
	}
	f.mustFail(1, "", "healthcheck", "--listen", s.listen) // until a restart, because the files may have changed
}
