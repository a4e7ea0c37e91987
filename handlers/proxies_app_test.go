package handlers_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
)

// This file owns the app behind the proxies.

// demoApp is an app behind the proxy: it keeps every request that reaches it, and opens WebSockets.
type demoApp struct {
	address string
	mu      sync.Mutex
	seen    []seenRequest
}

// seenRequest is a request as an app sees it.
type seenRequest struct {
	method, uri, host string
	header            http.Header
	body              string
}

func startDemoApp(t testing.TB) *demoApp {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := &demoApp{address: listener.Addr().String()}
	server := &http.Server{Handler: a}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	return a
}

func (a *demoApp) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	a.mu.Lock()
	a.seen = append(a.seen, seenRequest{r.Method, r.RequestURI, r.Host, r.Header, string(body)})
	a.mu.Unlock()
	if r.Header.Get("Upgrade") == "websocket" {
		w.Header().Set("Upgrade", "websocket")
		w.Header().Set("Connection", "Upgrade")
		w.WriteHeader(http.StatusSwitchingProtocols)
		return
	}
	w.Header().Set("Content-Type", "text/html")
	fmt.Fprintf(w, "<!doctype html><title>%[1]s</title><h1>%[1]s</h1>for %[2]s at %[3]s", r.Host, r.Header.Get("Remote-User"), r.RequestURI)
}

// take gives the requests that came since it was asked last.
func (a *demoApp) take() []seenRequest {
	a.mu.Lock()
	defer a.mu.Unlock()
	seen := a.seen
	a.seen = nil
	return seen
}
