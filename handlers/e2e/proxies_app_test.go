package e2e

import (
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// This file has the app behind the proxies.

// demoApp is an app behind the proxy. It records every request that reaches it, and accepts an upgrade to a WebSocket or to HTTP/2.
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
	server := &http.Server{Handler: a, Protocols: new(http.Protocols)}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	return a
}

func (a *demoApp) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	a.mu.Lock()
	a.seen = append(a.seen, seenRequest{r.Method, r.RequestURI, r.Host, r.Header, string(body)})
	a.mu.Unlock()
	upgrade := strings.ToLower(strings.Join(r.Header.Values("Upgrade"), ","))
	switch {
	case strings.Contains(upgrade, "h2c"):
		a.upgradeToHTTP2(w)
		return
	case upgrade == "websocket":
		accept := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) // RFC 6455, 4.2.2
		w.Header().Set("Sec-WebSocket-Accept", base64.StdEncoding.EncodeToString(accept[:]))
		w.Header().Set("Upgrade", "websocket")
		w.Header().Set("Connection", "Upgrade")
		w.WriteHeader(http.StatusSwitchingProtocols)
		return
	}
	if r.URL.Path == "/remember" {
		w.Header().Set("Set-Cookie", "own-session=1; Path=/; HttpOnly")
	}
	w.Header().Set("Content-Type", "text/html")
	// Without an icon of its own, a browser would ask for /favicon.ico whenever it likes, perhaps after a test took the requests.
	fmt.Fprintf(w, `<!doctype html><link rel="icon" href="data:,"><title>%[1]s</title><h1>%[1]s</h1>for %[2]s at %[3]s`,
		r.Host, r.Header.Get("Remote-User"), r.RequestURI)
}

// upgradeToHTTP2 turns the connection into one on which the client speaks HTTP/2. net/http has no such upgrade, only HTTP/2
// from the first byte on, so the bytes go through a second connection to this same app.
func (a *demoApp) upgradeToHTTP2(w http.ResponseWriter) {
	client, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer client.Close()
	tunnel, err := net.Dial("tcp", a.address)
	if err != nil {
		return
	}
	defer tunnel.Close()
	if _, err := io.WriteString(client, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"); err != nil {
		return
	}
	go func() {
		io.Copy(tunnel, buffered)
		tunnel.Close()
	}()
	io.Copy(client, tunnel)
}

// take returns the requests since the last call.
func (a *demoApp) take() []seenRequest {
	a.mu.Lock()
	defer a.mu.Unlock()
	seen := a.seen
	a.seen = nil
	return seen
}
