package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	mathbig "math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"porchlight/db/dbtest"
)

// This file runs the real proxies. Each uses the sample from deploy/, with only its ports and the path of its certificate
// changed, in front of the real Porchlight and two apps that record what they see. proxies_suite_test.go has what must hold.

// proxy is a reverse proxy that a test can start.
type proxy struct {
	name     string   // of its command
	files    []string // that the sample expects on the machine, besides the command
	mustBe   bool     // in CI, a missing command fails the test instead of skipping it
	start    func(t testing.TB, s *site) *process
	expected expected
}

// expected are the responses in which proxies differ.
type expected struct {
	redirect int  // to a form sent without a session: 303, or what nginx makes of it
	down     int  // while Porchlight does not answer
	tidies   bool // it normalizes a path before it asks

	socketOverHTTP2 bool // it opens WebSockets for clients of HTTP/2
}

var proxies = []proxy{
	{name: "caddy", mustBe: true, start: startCaddy, expected: expected{redirect: 303, down: 502}},
	{name: "nginx", mustBe: true, start: startNginx, expected: expected{redirect: 302, down: 502}},
	{name: "haproxy", files: haproxyScripts, start: startHAProxy, expected: expected{redirect: 303, down: 500, socketOverHTTP2: true}},
	{name: "traefik", start: startTraefik, expected: expected{redirect: 303, down: 500, tidies: true}},
}

// missing returns what the proxy needs and this machine lacks, or "".
func (p proxy) missing() string {
	if _, err := exec.LookPath(p.name); err != nil {
		return p.name + " on the PATH"
	}
	for _, file := range p.files {
		if _, err := os.Stat(file); err != nil {
			return file
		}
	}
	return ""
}

// skipIfMissing skips the test if the proxy is not installed, or fails it in CI.
func (p proxy) skipIfMissing(t testing.TB) {
	t.Helper()
	switch missing := p.missing(); {
	case missing == "":
	case p.mustBe && os.Getenv("CI") == "true":
		t.Fatalf("no %s: forward auth cannot be tested with %s", missing, p.name)
	default:
		t.Skipf("no %s: forward auth is not tested with %s", missing, p.name)
	}
}

// sample returns a file from deploy/ with some texts replaced, each of which must be in it.
func sample(t testing.TB, name string, replace ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "deploy", name))
	if err != nil {
		t.Fatal(err)
	}
	return replaceAll(t, "deploy/"+name, string(text), replace...)
}

// replaceAll replaces texts in a file, each of which must be in it.
func replaceAll(t testing.TB, name, text string, replace ...string) string {
	t.Helper()
	for i := 0; i < len(replace); i += 2 {
		if !strings.Contains(text, replace[i]) {
			t.Fatalf("%s has no %s any more", name, replace[i])
		}
		text = strings.ReplaceAll(text, replace[i], replace[i+1])
	}
	return text
}

// commented is a line of a sample that people may uncomment. Comments in English have one space after the #.
var commented = regexp.MustCompile(`(?m)^( *)#(\S|\t|  )`)

// sample returns a file from deploy/. If the site has a public path, what the file says about that is not commented out.
func (s *site) sample(name string) string {
	s.T.Helper()
	text := sample(s.T, name)
	if recipe, found := s.recipe[name]; found {
		text = replaceAll(s.T, name, text, recipe[0], recipe[1])
	}
	if !s.publicPath {
		return text
	}
	before, after, found := strings.Cut(text, "verybody may reach")
	if !found {
		s.T.Fatalf("deploy/%s has no path that everybody may reach any more", name)
	}
	return before + "verybody may reach" + commented.ReplaceAllString(after, "$1$2")
}

func (s *site) write(name, text string) (path string) {
	s.T.Helper()
	path = filepath.Join(s.folder, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.T.Fatal(err)
	}
	return path
}

// upstreams returns the addresses in the samples, each with the one in the test.
func (s *site) upstreams() []string {
	return []string{"127.0.0.1:3000", s.At, "127.0.0.1:8080", s.notes.address}
}

// second returns the part of a sample that describes an app, for the second app.
func (s *site) second(app string) string {
	return strings.NewReplacer("notes.example.com", "photos.example.com", "127.0.0.1:8080", s.photos.address).Replace(app)
}

func startCaddy(t testing.TB, s *site) *process {
	_, port, _ := net.SplitHostPort(s.address)
	_, plain, _ := net.SplitHostPort(dbtest.FreeAddress(t))
	options := fmt.Sprintf("local_certs\n\tskip_install_trust\n\thttps_port %s\n\thttp_port %s\n", port, plain)
	return s.runCaddy(t, options)
}

// runCaddy runs the sample with further global options and texts that are replaced.
func (s *site) runCaddy(t testing.TB, options string, replace ...string) *process {
	options = "{\n\tlog {\n\t\tlevel ERROR\n\t}\n\tadmin off\n\tdefault_bind 127.0.0.1\n\t" + options
	const app = "\nnotes.example.com {"
	text := s.sample("Caddyfile")
	first, last := strings.Index(text, app), strings.LastIndex(text, app)
	if s.publicPath { // the last one is another form of the first
		text = text[:first] + text[last:]
		last = first
	}
	if !strings.Contains(text, "\nphotos.example.com {") { // the sample has one app
		text += s.second(text[last:])
	}
	replace = append(replace, append(s.upstreams(), "{\n\t# By default", options+"\t# By default")...)
	file := s.write("Caddyfile", replaceAll(t, "deploy/Caddyfile", text, replace...))
	return startProcess(t, []string{"XDG_DATA_HOME=" + s.folder, "XDG_CONFIG_HOME=" + s.folder, "HOME=" + s.folder},
		"caddy", "run", "--adapter", "caddyfile", "--config", file)
}

func startNginx(t testing.TB, s *site) *process {
	certificate, key := s.certificate()
	return s.runNginx(t, "listen 443 ssl", "listen "+s.address+" ssl http2",
		"/etc/ssl/example.com.pem", certificate, "/etc/ssl/example.com.key", key)
}

// runNginx runs the sample with further texts replaced.
func (s *site) runNginx(t testing.TB, replace ...string) *process {
	app := s.write("nginx-app.conf", sample(t, "nginx-app.conf", "127.0.0.1:3000", s.At, "$server_name", s.serverName))
	text := s.sample("nginx.conf")
	text += s.second(text[strings.LastIndex(text, "\nserver {"):]) // the sample has one app
	replace = append(replace, append(s.upstreams(), "include /etc/nginx/porchlight-app.conf", "include "+app, "$server_name", s.serverName)...)
	servers := s.write("porchlight.conf", replaceAll(t, "deploy/nginx.conf", text, replace...))
	temp := ""
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		temp += fmt.Sprintf("\t%s_temp_path %s;\n", kind, filepath.Join(s.folder, kind))
	}
	main := s.write("nginx.conf", fmt.Sprintf("daemon off;\nmaster_process off;\npid %s;\nerror_log stderr;\nevents {}\n"+
		"http {\n\taccess_log off;\n%s\tinclude %s;\n}\n", filepath.Join(s.folder, "pid"), temp, servers))
	return startProcess(t, nil, "nginx", "-p", s.folder, "-e", "stderr", "-c", main)
}

// haproxyScripts are where deploy/haproxy.cfg loads them from. Its first lines say where people get them.
var haproxyScripts = []string{"/usr/share/haproxy/auth-request.lua", "/usr/share/haproxy/haproxy-lua-http/http.lua"}

func startHAProxy(t testing.TB, s *site) *process {
	certificate, key := s.certificate()
	pem := ""
	for _, file := range []string{certificate, key} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		pem += string(text)
	}
	second := "    use_backend photos if { req.fhdr(host),host_only -m str -i photos.example.com }\n\n" + // the sample has one app
		"backend photos\n    server photos " + s.photos.address + "\n"
	text := replaceAll(t, "deploy/haproxy.cfg", s.sample("haproxy.cfg"), append(s.upstreams(),
		"\nbackend porchlight\n", second+"\nbackend porchlight\n",
		"bind :::443 v4v6 ssl crt /etc/haproxy/certs/", "bind "+s.address+" ssl crt "+s.write("haproxy.pem", pem))...)
	return startProcess(t, nil, "haproxy", "-db", "-f", s.write("haproxy.cfg", text))
}

func startTraefik(t testing.TB, s *site) *process {
	dynamic := s.write("dynamic.yml", replaceAll(t, "deploy/traefik.yml", s.sample("traefik.yml"), s.upstreams()...))
	return startProcess(t, []string{"HOME=" + s.folder}, "traefik",
		"--entrypoints.websecure.address="+s.address, "--entrypoints.websecure.http.tls=true", "--providers.file.filename="+dynamic,
		"--global.checknewversion=false", "--global.sendanonymoususage=false")
}

// certificate creates a self-signed certificate for *.example.com.
func (s *site) certificate() (certificate, key string) {
	s.T.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		s.T.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: mathbig.NewInt(1), DNSNames: []string{"*.example.com"}, NotAfter: time.Now().Add(time.Hour)}
	signed, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		s.T.Fatal(err)
	}
	encoded, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		s.T.Fatal(err)
	}
	return s.write("certificate.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed}))),
		s.write("key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: encoded})))
}
