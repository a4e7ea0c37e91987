package e2e

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
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"porchlight/db"
	"porchlight/db/dbtest"
	"porchlight/handlers"
	"porchlight/handlers/handlerstest"
)

// This file starts what the proxy tests need: Porchlight, two apps, a proxy, and clients of the proxy.

// site is Porchlight at https://auth.example.com, two apps that it guards, and a proxy in front of them.
type site struct {
	*handlerstest.House
	notes, photos *demoApp
	address       string // of the proxy, for TLS
	folder        string // for the files of the proxy
	proxy         *process
	recipe        map[string][2]string // what an app needs in a sample, by its file: a text and what replaces it
	publicPath    bool                 // everybody may reach /public/ of the app notes
	serverName    string               // nginx's variable, with the port if that is not the one of the scheme
}

// newSite returns a site without a proxy.
func newSite(t testing.TB, changeStore func(*db.Options), change func(*handlers.Options)) *site {
	t.Helper()
	h := handlerstest.OpenHouseWith(t, changeStore, change)
	h.AddUser("alice", handlerstest.AlicePassword)
	h.AddUser("bob", handlerstest.BobPassword)
	return &site{
		House: h, notes: startDemoApp(t), photos: startDemoApp(t), address: dbtest.FreeAddress(t), folder: t.TempDir(),
		serverName: "$server_name",
	}
}

// openSite starts a site. change may change it before the proxy starts.
func openSite(t testing.TB, p proxy, change ...func(*site)) *site {
	t.Helper()
	p.skipIfMissing(t)
	s := newSite(t, func(*db.Options) {}, handlerstest.GuardsExample)
	for _, c := range change {
		c(s)
	}
	s.proxy = p.start(t, s)
	early := s.visit(handlerstest.FirefoxOnLinux)
	for address, want := range map[string]int{ownSite + "/healthz": 200, notesSite + "/": 302} {
		s.proxy.await(t, func() error { // the proxy may still be creating certificates or reading routes
			request, err := http.NewRequest("GET", address, nil)
			if err != nil {
				return err
			}
			request.Header.Set("Accept", handlerstest.BrowserAccept)
			response, err := early.HTTP.Do(request)
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

// visit returns a client of the proxy, which does not follow redirects.
func (s *site) visit(userAgent string) *handlerstest.Client {
	s.T.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.T.Fatal(err)
	}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, s.address)
		},
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // the certificate of the proxy is self-signed
	}
	s.T.Cleanup(transport.CloseIdleConnections)
	return &handlerstest.Client{T: s.T, UserAgent: userAgent, HTTP: &http.Client{
		Timeout: patience,
		Jar:     jar, Transport: transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// signedIn returns a visitor who has signed in on Porchlight's own page.
func (s *site) signedIn(name, password, userAgent string) *handlerstest.Client {
	s.T.Helper()
	c := s.visit(userAgent)
	c.Do("POST", "https://auth.example.com/login", handlerstest.Encode([]string{"username", name, "password", password}),
		"Accept", handlerstest.BrowserAccept, "Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "same-origin").
		Is(s.T, 303, "/sessions")
	c.ID = s.Only(`SELECT id FROM sessions WHERE token_hash = unhex(?)`, handlerstest.SHA256Hex(domainCookie(c).Value))
	return c
}

// domainCookie returns the cookie that all apps share.
func domainCookie(c *handlerstest.Client) *http.Cookie {
	c.T.Helper()
	for _, cookie := range c.HTTP.Jar.Cookies(&url.URL{Scheme: "https", Host: "notes.example.com"}) {
		if cookie.Name == "__Secure-porchlight" {
			return cookie
		}
	}
	c.T.Fatal("there is no cookie for the apps")
	return nil
}

// dial opens an HTTP/1.1 connection to the proxy, for a host.
func (s *site) dial(host string) *tls.Conn {
	s.T.Helper()
	conn, err := tls.Dial("tcp", s.address, &tls.Config{InsecureSkipVerify: true, ServerName: host, NextProtos: []string{"http/1.1"}})
	if err != nil {
		s.T.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		s.T.Fatal(err)
	}
	return conn
}

// send writes a raw request for a host, and reads one response.
func (s *site) send(host, request string) handlerstest.Answer {
	s.T.Helper()
	conn := s.dial(host)
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		s.T.Fatal(err)
	}
	method, _, _ := strings.Cut(request, " ")
	response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		s.T.Fatalf("%.80q: %v", request, err)
	}
	defer response.Body.Close()
	var body bytes.Buffer
	if response.StatusCode != http.StatusSwitchingProtocols {
		if _, err := io.Copy(&body, response.Body); err != nil {
			s.T.Fatal(err)
		}
	}
	return handlerstest.Answer{Status: response.StatusCode, Header: response.Header, Body: body.String()}
}

// process is a server in a separate process. Its output is shown if the test fails.
type process struct {
	command *exec.Cmd
	said    dbtest.Logs
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

// sendHTTP2 requests the front page of a host with HTTP/2. Go's client splits the Cookie headers into one for each cookie.
func (s *site) sendHTTP2(t *testing.T, host string, header http.Header) handlerstest.Answer {
	t.Helper()
	c := s.visit(handlerstest.FirefoxOnLinux)
	c.HTTP.Transport.(*http.Transport).ForceAttemptHTTP2 = true
	request, err := http.NewRequestWithContext(t.Context(), "GET", "https://"+host+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header = header
	response, err := c.HTTP.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.ProtoMajor != 2 {
		t.Fatalf("the proxy answered with %s", response.Proto)
	}
	return handlerstest.Answer{Status: response.StatusCode, Header: response.Header}
}
