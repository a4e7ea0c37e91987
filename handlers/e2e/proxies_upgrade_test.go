package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"porchlight/handlers/handlerstest"
)

// This file tests connections on which the proxy sees no further request: a WebSocket, which apps need, and HTTP/2, on which a
// client could send an app any number of requests as anybody.

// webSocketKey makes a handshake complete. HAProxy refuses one that is not.
const webSocketKey = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

// upgradeRequest asks notes.example.com for another protocol.
func upgradeRequest(token, headers string) string {
	cookie := ""
	if token != "" {
		cookie = "Cookie: __Secure-porchlight=" + token + "\r\n"
	}
	return "GET /live HTTP/1.1\r\nHost: notes.example.com\r\n" + cookie + headers + "\r\n"
}

func opensASocket(t *testing.T, s *site, _ expected) {
	const webSocket = "Connection: Upgrade\r\nUpgrade: websocket\r\nOrigin: https://notes.example.com\r\n" + webSocketKey
	s.send("notes.example.com", upgradeRequest("", webSocket)).Is(t, 401, "")
	s.untouched(t)
	token := domainCookie(s.signedIn("alice", handlerstest.AlicePassword, handlerstest.FirefoxOnLinux)).Value
	s.send("notes.example.com", upgradeRequest(token, webSocket)).Is(t, 101)
	if seen := s.notes.take(); len(seen) != 1 || seen[0].header.Get("Remote-User") != "alice" {
		t.Errorf("the app saw %v", seen)
	}
}

// The session that opens the tunnel is revoked before it is used: neither that nor the identity is checked in there.
func refusesHTTP2Upgrade(t *testing.T, s *site, _ expected) {
	for _, upgrade := range []string{
		"Upgrade: h2c\r\n", "Upgrade: H2C\r\n", "Upgrade: websocket, h2c\r\n", "Upgrade: h2c, websocket\r\n",
		"Upgrade: websocket\r\nUpgrade: h2c\r\n", "Upgrade: h2c\r\nUpgrade: websocket\r\n",
	} {
		bob := s.signedIn("bob", handlerstest.BobPassword, handlerstest.ChromeOnMac)
		conn := s.dial("notes.example.com")
		defer conn.Close()
		headers := "Connection: Upgrade, HTTP2-Settings\r\n" + upgrade + "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n" + webSocketKey
		if _, err := io.WriteString(conn, upgradeRequest(domainCookie(bob).Value, headers)); err != nil {
			t.Fatal(err)
		}
		fromApp := bufio.NewReader(conn)
		response, err := http.ReadResponse(fromApp, nil)
		if err != nil {
			t.Fatalf("%q: %v", upgrade, err)
		}
		for _, seen := range s.notes.take() {
			if got := seen.header.Values("Upgrade"); len(got) > 1 || len(got) == 1 && got[0] != "websocket" {
				t.Errorf("%q: the app was asked for %q", upgrade, got)
			}
			if got := seen.header.Values("HTTP2-Settings"); len(got) > 0 {
				t.Errorf("%q: the app saw HTTP2-Settings %q", upgrade, got)
			}
		}
		if response.StatusCode != http.StatusSwitchingProtocols || response.Header.Get("Upgrade") != "h2c" {
			continue
		}
		bob.Do("POST", ownSite+"/logout", "", "Accept", handlerstest.BrowserAccept, "Sec-Fetch-Site", "same-origin").Is(t, 303)
		if err := forgeInTunnel(t, conn, fromApp); err != nil {
			t.Logf("%q: %v", upgrade, err)
		}
		for _, seen := range s.notes.take() {
			t.Errorf("%q: signed out, bob reached the app as %q", upgrade, seen.header.Values("Remote-User"))
		}
	}
}

// HTTP/2 has its own way to ask for another protocol (RFC 8441), which HAProxy translates to Upgrade.
func refusesHTTP2Connect(t *testing.T, s *site, want expected) {
	token := domainCookie(s.signedIn("bob", handlerstest.BobPassword, handlerstest.ChromeOnMac)).Value
	for _, protocol := range []string{"websocket", "h2c", "websocket, h2c"} {
		s.sendFields(t, [][2]string{
			{":method", "CONNECT"}, {":protocol", protocol}, {":scheme", "https"}, {":path", "/live"}, {":authority", "notes.example.com"},
			{"cookie", ours + token}, {"sec-websocket-version", "13"},
		})
		seen := s.notes.take()
		if want.socketOverHTTP2 && protocol == "websocket" && (len(seen) != 1 || seen[0].header.Get("Upgrade") != "websocket") {
			t.Errorf("the app was asked for no WebSocket: %v", seen)
		}
		for _, request := range seen {
			if got := request.header.Values("Upgrade"); len(got) > 1 || len(got) == 1 && got[0] != "websocket" {
				t.Errorf("%q: the app was asked for %q", protocol, got)
			}
		}
	}
}

// sendFields sends the header fields of a request over HTTP/2, valid or not, and waits until the proxy has answered or hung up.
func (s *site) sendFields(t *testing.T, fields [][2]string) {
	t.Helper()
	conn, err := tls.Dial("tcp", s.address, &tls.Config{InsecureSkipVerify: true, ServerName: "notes.example.com", NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	end := true
	for _, field := range fields {
		end = end && field[1] != "CONNECT"
		if err := encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	framer := http2.NewFramer(conn, conn)
	if err := framer.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	headers := http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: end}
	if err := framer.WriteHeaders(headers); err != nil {
		t.Fatal(err)
	}
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return
		}
		switch frame.(type) {
		case *http2.HeadersFrame, *http2.RSTStreamFrame, *http2.GoAwayFrame:
			return
		}
	}
}

// forgeInTunnel sends an app a request of HTTP/2 as an administrator.
func forgeInTunnel(t *testing.T, conn net.Conn, fromApp *bufio.Reader) error {
	t.Helper()
	transport := &http.Transport{
		Protocols:   new(http.Protocols),
		DialContext: func(context.Context, string, string) (net.Conn, error) { return tunnel{conn, fromApp}, nil },
	}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(t.Context(), "GET", "http://notes.example.com/admin", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Remote-User", "alice")
	request.Header.Set("Remote-Groups", "admins")
	response, err := (&http.Client{Transport: transport, Timeout: patience}).Do(request)
	if err != nil {
		return err
	}
	return response.Body.Close()
}

// tunnel is a connection of which some bytes were read ahead.
type tunnel struct {
	net.Conn
	ahead *bufio.Reader
}

func (t tunnel) Read(p []byte) (int, error) { return t.ahead.Read(p) }
