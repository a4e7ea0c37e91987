package main

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"porchlight/db"
	"porchlight/db/dbtest"
)

// This file tests how the server stops.

// When the server stops, it writes what it holds in memory: when sessions were last active, and failed sign-ins.
func TestServeFlushesActivityWhenItStops(t *testing.T) {
	f := newFixture(t, nil)
	s := start(t, f.data)
	ada := s.signIn("ada", adaPassword)
	dbtest.Exec(t, f.path(), `UPDATE sessions SET last_active_at = last_active_at - 3600000`)
	ada.want(http.StatusOK, "/me/sessions")
	if status, _ := s.newClient().form("/login", "username", "ada", "password", "wrong"); status != http.StatusUnauthorized {
		t.Errorf("a wrong password: %d", status)
	}
	if err := s.stop(); err != nil {
		t.Fatalf("stop: %v", err)
	}
	f.wantRows([]string{db.SignedIn, db.SignInFailed}, `SELECT kind FROM activity ORDER BY id`)
	since := time.Now().Add(-patience).UnixMilli()
	if got := dbtest.Rows(t, f.path(), `SELECT id FROM sessions WHERE last_active_at >= ?`, since); len(got) != 1 {
		t.Error("the activity of the session is not on disk")
	}
	if left, _ := filepath.Glob(f.path() + "-*"); len(left) > 0 {
		t.Errorf("the database was not closed: %q is left", left)
	}
	if _, err := net.Dial("tcp", s.listen); err == nil {
		t.Error("the port is still open")
	}
}

// Browsers open connections that they never use, and slow clients send half a request. Neither makes the shutdown fail or take long.
func TestServeStopsDespiteSilentClients(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for the server's own limit of 5 seconds")
	}
	t.Parallel()
	f := newFixture(t, nil)
	s := start(t, f.data)
	for _, text := range []string{"", "GET /healthz HTTP/1.1\r\nHo"} {
		conn, err := net.Dial("tcp", s.listen)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, text); err != nil {
			t.Fatal(err)
		}
	}
	s.newClient().want(http.StatusOK, "/healthz") // by now the others have been accepted
	if err := s.stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
}

// A request that is in progress when the server stops still gets its response.
func TestServeFinishesPendingRequests(t *testing.T) {
	f := newFixture(t, nil)
	s := start(t, f.data)
	body, in := io.Pipe()
	request, err := http.NewRequest("POST", s.url+"/login", body)
	if err != nil {
		t.Fatal(err)
	}
	form := "username=ada&password=" + url.QueryEscape(adaPassword)
	request.ContentLength = int64(len(form))
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	answered := make(chan error, 1)
	c := s.newClient()
	go func() {
		response, err := c.http.Do(request)
		if err == nil {
			response.Body.Close()
			if response.StatusCode != http.StatusOK {
				err = errors.New(response.Status)
			}
		}
		answered <- err
	}()
	if _, err := io.WriteString(in, form[:10]); err != nil { // returns once the transport has read it
		t.Fatal(err)
	}
	s.newClient().want(http.StatusOK, "/healthz")
	s.cancel()
	eventually(t, "the server accepts no more connections", func() bool {
		conn, err := net.Dial("tcp", s.listen)
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	if _, err := io.WriteString(in, form[10:]); err != nil {
		t.Error(err)
	}
	in.Close()
	if err := <-answered; err != nil {
		t.Errorf("sign in while the server stops: %v", err)
	}
	if err := s.stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
	if got := f.sessions(); len(got) != 1 {
		t.Errorf("%d sessions are on disk", len(got))
	}
}
