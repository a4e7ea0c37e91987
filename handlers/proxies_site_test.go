package handlers_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"porchlight/handlers"
)

// This file owns the server that the tests of proxies run: Porchlight, two apps, a proxy, and the clients that come through it.

// site is a whole server: Porchlight at https://auth.example.com, two apps that it guards, and a proxy in front of them.
type site struct {
	*house
	notes, photos *demoApp
	address       string // of the proxy, for TLS
	folder        string // for what the proxy writes
	proxy         *process
}

func openSite(t testing.TB, p proxy) *site {
	t.Helper()
	p.find(t)
	h := openHouse(t, guardsExample)
	h.addUser("alice", alicePassword)
	h.addUser("bob", bobPassword)
	s := &site{house: h, notes: startDemoApp(t), photos: startDemoApp(t), address: freeAddress(t), folder: t.TempDir()}
	s.proxy = p.start(t, s)
	early := s.visit(firefoxOnLinux)
	for address, want := range map[string]int{ownSite + "/healthz": 200, notesSite + "/": 302} {
		s.proxy.await(t, func() error { // it may still be making its certificates, or reading its routes
			request, err := http.NewRequest("GET", address, nil)
			if err != nil {
				return err
			}
			request.Header.Set("Accept", browserAccept)
			response, err := early.http.Do(request)
			if err != nil {
				return err
			}
			response.Body.Close()
			if response.StatusCode != want {
				return fmt.Errorf("%s: %s", address, response.Status)
			}
			return nil
		})
	}
	return s
}

// guardsExample sets the app up as the samples say.
func guardsExample(o *handlers.Options) {
	o.URL = &url.URL{Scheme: "https", Host: "auth.example.com"}
	o.CookieDomain = "example.com"
	o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
}

// visit is a browser, or another client, that comes through the proxy. It follows no redirect.
func (s *site) visit(userAgent string) *client {
	s.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, s.address)
		},
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // the proxy signs for itself
	}
	s.t.Cleanup(transport.CloseIdleConnections)
	return &client{t: s.t, userAgent: userAgent, http: &http.Client{
		Timeout: patience,
		Jar:     jar, Transport: transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// signedIn is a visitor who has signed in on Porchlight's own page.
func (s *site) signedIn(name, password, userAgent string) *client {
	s.t.Helper()
	c := s.visit(userAgent)
	c.do("POST", "https://auth.example.com/login", encode([]string{"username", name, "password", password}),
		"Accept", browserAccept, "Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "same-origin").is(s.t, 303, "/sessions")
	c.id = s.only(`SELECT id FROM sessions WHERE token_hash = unhex(?)`, sha256Hex(c.domainCookie().Value))
	return c
}

// domainCookie is the cookie that the apps share.
func (c *client) domainCookie() *http.Cookie {
	c.t.Helper()
	for _, cookie := range c.http.Jar.Cookies(&url.URL{Scheme: "https", Host: "notes.example.com"}) {
		if cookie.Name == "__Secure-porchlight" {
			return cookie
		}
	}
	c.t.Fatal("there is no cookie for the apps")
	return nil
}

// dial opens a connection of HTTP/1.1 to the proxy, for a host.
func (s *site) dial(host string) *tls.Conn {
	s.t.Helper()
	conn, err := tls.Dial("tcp", s.address, &tls.Config{InsecureSkipVerify: true, ServerName: host, NextProtos: []string{"http/1.1"}})
	if err != nil {
		s.t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		s.t.Fatal(err)
	}
	return conn
}

// send writes a request byte by byte as it is given, for a host, and reads one answer.
func (s *site) send(host, request string) answer {
	s.t.Helper()
	conn := s.dial(host)
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		s.t.Fatal(err)
	}
	method, _, _ := strings.Cut(request, " ")
	response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		s.t.Fatalf("%.80q: %v", request, err)
	}
	defer response.Body.Close()
	var body bytes.Buffer
	if response.StatusCode != http.StatusSwitchingProtocols {
		if _, err := io.Copy(&body, response.Body); err != nil {
			s.t.Fatal(err)
		}
	}
	return answer{response.StatusCode, response.Header, body.String()}
}

// process is a server beside the test. What it says is shown when the test fails.
type process struct {
	command *exec.Cmd
	said    logs
	ended   chan struct{}
}

func startProcess(t testing.TB, environment []string, name string, args ...string) *process {
	t.Helper()
	p := &process{command: exec.Command(name, args...), ended: make(chan struct{})}
	p.command.Env = append(os.Environ(), environment...)
	p.command.Stdout, p.command.Stderr = &p.said, &p.said
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.command.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		p.command.Process.Kill()
		<-p.ended
		if t.Failed() {
			t.Logf("%s said:\n%s", name, p.said.String())
		}
	})
	return p
}

// await returns once something succeeds.
func (p *process) await(t testing.TB, what func() error) {
	t.Helper()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	late := time.After(patience)
	for {
		err := what()
		if err == nil {
			return
		}
		select {
		case <-again.C:
		case <-p.ended:
			t.Fatal("the proxy does not run: ", p.said.String())
		case <-late:
			t.Fatal("the proxy does not listen: ", err)
		}
	}
}

// freeAddress is one on which nothing listens just now.
func freeAddress(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// sendHTTP2 asks for the front page of a host with HTTP/2. Go's client splits the Cookie headers into one for each cookie.
func (s *site) sendHTTP2(t *testing.T, host string, header http.Header) answer {
	t.Helper()
	c := s.visit(firefoxOnLinux)
	c.http.Transport.(*http.Transport).ForceAttemptHTTP2 = true
	request, err := http.NewRequestWithContext(t.Context(), "GET", "https://"+host+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header = header
	response, err := c.http.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.ProtoMajor != 2 {
		t.Fatalf("the proxy answered with %s", response.Proto)
	}
	return answer{status: response.StatusCode, header: response.Header}
}
