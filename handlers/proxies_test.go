package handlers_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	mathbig "math/big"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"porchlight/handlers"
)

// This file owns the real proxies: each is started with the sample from deploy/, in which nothing is changed but ports and
// the place of the certificate, in front of the real app and of two apps that tell what they see. What is asked of them
// stands in proxies_suite_test.go.

// proxy is a reverse proxy that a test can start.
type proxy struct {
	name    string // of its command
	mustBe  bool   // in CI it is no excuse that it is not installed
	start   func(t testing.TB, s *site) *process
	sayings sayings
}

// sayings are what proxies do in different ways of their own.
type sayings struct {
	redirect int  // of a form that is sent without a session: 303, or what nginx makes of it
	down     int  // while Porchlight does not answer
	tidies   bool // it tidies a path up before it asks
}

var proxies = []proxy{
	{"caddy", true, startCaddy, sayings{redirect: 303, down: 502}},
	{"nginx", true, startNginx, sayings{redirect: 302, down: 500}},
	{"traefik", false, startTraefik, sayings{redirect: 303, down: 500, tidies: true}},
}

// find gives the path of the proxy's command. Without it the test ends here.
func (p proxy) find(t testing.TB) string {
	t.Helper()
	path, err := exec.LookPath(p.name)
	switch {
	case err == nil:
		return path
	case p.mustBe && os.Getenv("CI") == "true":
		t.Fatalf("no %s on the PATH: forward auth cannot be tested with it", p.name)
	default:
		t.Skipf("no %s on the PATH: forward auth is not tested with it", p.name)
	}
	return ""
}

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

// sample is a file from deploy/ with some texts replaced, each of which must be in it.
func sample(t testing.TB, name string, replace ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "deploy", name))
	if err != nil {
		t.Fatal(err)
	}
	changed := string(text)
	for i := 0; i < len(replace); i += 2 {
		if !strings.Contains(changed, replace[i]) {
			t.Fatalf("deploy/%s has no %s any more", name, replace[i])
		}
		changed = strings.ReplaceAll(changed, replace[i], replace[i+1])
	}
	return changed
}

func (s *site) write(name, text string) (path string) {
	s.t.Helper()
	path = filepath.Join(s.folder, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// upstreams are the addresses in the samples, and those in the test.
func (s *site) upstreams() []string {
	return []string{"127.0.0.1:3000", s.at, "127.0.0.1:8080", s.notes.address}
}

func startCaddy(t testing.TB, s *site) *process {
	_, port, _ := net.SplitHostPort(s.address)
	_, plain, _ := net.SplitHostPort(freeAddress(t))
	options := fmt.Sprintf("local_certs\n\tskip_install_trust\n\thttps_port %s\n\thttp_port %s\n", port, plain)
	return s.runCaddy(t, options)
}

// runCaddy runs the sample with further global options and texts that are replaced.
func (s *site) runCaddy(t testing.TB, options string, replace ...string) *process {
	options = "{\n\tlog {\n\t\tlevel ERROR\n\t}\n\tadmin off\n\tdefault_bind 127.0.0.1\n\t" + options
	replace = append(replace, "{\n\t# Else", options+"\t# Else", "127.0.0.1:8081", s.photos.address)
	file := s.write("Caddyfile", sample(t, "Caddyfile", append(replace, s.upstreams()...)...))
	return startProcess(t, []string{"XDG_DATA_HOME=" + s.folder, "XDG_CONFIG_HOME=" + s.folder, "HOME=" + s.folder}, "caddy", "run", "--adapter", "caddyfile", "--config", file)
}

// openPlainSite is a server without TLS, whose names every browser finds on this machine: auth.porch.localhost and two apps.
func openPlainSite(t testing.TB) *site {
	t.Helper()
	proxy{name: "caddy", mustBe: true}.find(t)
	address := freeAddress(t)
	_, port, _ := net.SplitHostPort(address)
	h := openHouse(t, func(o *handlers.Options) {
		guardsExample(o)
		o.URL = &url.URL{Scheme: "http", Host: "auth.porch.localhost:" + port}
		o.CookieDomain = "porch.localhost"
	})
	h.addUser("alice", alicePassword)
	s := &site{house: h, notes: startDemoApp(t), photos: startDemoApp(t), address: address, folder: t.TempDir()}
	s.proxy = s.runCaddy(t, "", "auth.example.com {", "http://auth.porch.localhost:"+port+" {", "notes.example.com {", "http://notes.porch.localhost:"+port+" {",
		"photos.example.com {", "http://photos.porch.localhost:"+port+" {")
	s.proxy.await(t, func() error {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
		}
		return err
	})
	h.url = "http://auth.porch.localhost:" + port // where its pages are
	return s
}

func startNginx(t testing.TB, s *site) *process {
	certificate, key := s.certificate()
	text := sample(t, "nginx.conf", append(s.upstreams(), "listen 443 ssl", "listen "+s.address+" ssl", "/etc/ssl/example.com.pem", certificate, "/etc/ssl/example.com.key", key)...)
	second := strings.NewReplacer("notes.example.com", "photos.example.com", s.notes.address, s.photos.address) // the sample has one app
	servers := s.write("porchlight.conf", text+second.Replace(text[strings.LastIndex(text, "\nserver {"):]))
	temp := ""
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		temp += fmt.Sprintf("\t%s_temp_path %s;\n", kind, filepath.Join(s.folder, kind))
	}
	main := s.write("nginx.conf", fmt.Sprintf("daemon off;\nmaster_process off;\npid %s;\nerror_log stderr;\nevents {}\nhttp {\n\taccess_log off;\n%s\tinclude %s;\n}\n", filepath.Join(s.folder, "pid"), temp, servers))
	return startProcess(t, nil, "nginx", "-p", s.folder, "-e", "stderr", "-c", main)
}

func startTraefik(t testing.TB, s *site) *process {
	dynamic := s.write("dynamic.yml", sample(t, "traefik.yml", s.upstreams()...))
	return startProcess(t, []string{"HOME=" + s.folder}, "traefik", "--entrypoints.websecure.address="+s.address, "--entrypoints.websecure.http.tls=true", "--providers.file.filename="+dynamic,
		"--global.checknewversion=false", "--global.sendanonymoususage=false")
}

// certificate is one of its own signing for *.example.com.
func (s *site) certificate() (certificate, key string) {
	s.t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		s.t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: mathbig.NewInt(1), DNSNames: []string{"*.example.com"}, NotAfter: time.Now().Add(time.Hour)}
	signed, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		s.t.Fatal(err)
	}
	encoded, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		s.t.Fatal(err)
	}
	return s.write("certificate.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed}))),
		s.write("key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: encoded})))
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

// send writes a request byte by byte as it is given, for a host, and reads one answer.
func (s *site) send(host, request string) answer {
	s.t.Helper()
	conn, err := tls.Dial("tcp", s.address, &tls.Config{InsecureSkipVerify: true, ServerName: host, NextProtos: []string{"http/1.1"}})
	if err != nil {
		s.t.Fatal(err)
	}
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

// The sample for containers has a Caddyfile of its own in it, which asks in the same way.
func TestComposeAsksLikeTheCaddyfile(t *testing.T) {
	snippet := func(name string) (lines []string) {
		_, text, found := strings.Cut(sample(t, name), "(porchlight) {")
		if !found {
			t.Fatalf("deploy/%s has no snippet", name)
		}
		for line := range strings.Lines(strings.ReplaceAll(text, "porchlight:3000", "127.0.0.1:3000")) {
			line = strings.TrimSpace(line)
			if strings.HasPrefix(line, "auth.example.com") {
				return lines
			}
			if line != "" && !strings.HasPrefix(line, "#") {
				lines = append(lines, line)
			}
		}
		t.Fatalf("deploy/%s has no site of Porchlight's", name)
		return nil
	}
	if want, got := snippet("Caddyfile"), snippet("compose.yaml"); !slices.Equal(got, want) {
		t.Errorf("compose.yaml asks with %q, the Caddyfile with %q", got, want)
	}
	sample(t, "compose.yaml", "order request_header before forward_auth", "")
}
