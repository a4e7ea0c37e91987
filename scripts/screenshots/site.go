package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"porchlight/db"
	"porchlight/db/demo"
	"porchlight/handlers"
)

// This file starts Porchlight with the data of the demo, and an app, behind Caddy.

const (
	auth  = "https://auth.example.com"
	notes = "https://notes.example.com"
)

// now is the time of the server. It stands still, so that pictures taken on two days are equal.
var now = time.Date(2026, time.November, 18, 17, 40, 0, 0, time.UTC)

type site struct {
	folder  string // of everything that is written
	caddy   string // HOST:PORT
	library string // the token of the session on the library's computer
	mail    string // the HTML of the alert about that session

	store *db.Store
	ends  []func()
}

func (s *site) stop() {
	for _, end := range slices.Backward(s.ends) {
		end()
	}
}

// start returns when everything runs. Call stop even if it fails.
func (s *site) start(ctx context.Context) (err error) {
	options := db.Options{Path: filepath.Join(s.folder, "porchlight.db"), Serve: true, Ways: db.Ways{Mail: true}}
	if s.library, err = demo.Seed(ctx, options, now); err != nil {
		return err
	}
	options.Now = func() time.Time { return now }
	if s.store, err = db.Open(ctx, options); err != nil {
		return err
	}
	s.ends = append(s.ends, func() { s.store.Close() })
	if err := s.startMail(ctx); err != nil {
		return err
	}
	app := handlers.New(handlers.Options{
		Store: s.store, URL: &url.URL{Scheme: "https", Host: "auth.example.com"}, CookieDomain: "example.com",
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, Mail: true, Ntfy: true, Log: slog.New(slog.DiscardHandler),
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go app.Listener(listener)
	s.ends = append(s.ends, func() { app.ShutdownWithTimeout(time.Second) })
	wiki, err := s.startWiki(ctx)
	if err != nil {
		return err
	}
	return s.startCaddy(ctx, listener.Addr().String(), wiki)
}

// startWiki starts TiddlyWiki as docs/apps.md says.
func (s *site) startWiki(ctx context.Context) (address string, err error) {
	folder := filepath.Join(s.folder, "wiki")
	if said, err := exec.CommandContext(ctx, "tiddlywiki", folder, "--init", "server").CombinedOutput(); err != nil {
		return "", fmt.Errorf("tiddlywiki: %w %s", err, said)
	}
	if err := os.Mkdir(filepath.Join(folder, "tiddlers"), 0o700); err != nil {
		return "", err
	}
	for title, text := range map[string]string{
		"$:/SiteTitle": "Ada's notes", "$:/SiteSubtitle": "", "$:/DefaultTiddlers": "",
		"Reading list":    "* [[Middlemarch]]\n* [[The Summer Book]]\n",
		"Middlemarch":     "George Eliot, 1871",
		"The Summer Book": "Tove Jansson, 1972",
	} {
		file := filepath.Join(folder, "tiddlers", url.PathEscape(title)+".tid")
		if err := os.WriteFile(file, []byte("title: "+title+"\n\n"+text), 0o600); err != nil {
			return "", err
		}
	}
	address, port, err := freeAddress()
	if err != nil {
		return "", err
	}
	return address, s.startProcess(ctx, address, "tiddlywiki", folder, "--listen", "host=127.0.0.1", "port="+port,
		"authenticated-user-header=Remote-User", "readers=(authenticated)", "writers=(authenticated)")
}

// caddyOptions are added to those of deploy/Caddyfile. Both browsers are on this machine, so that Caddy may believe their X-Forwarded-For.
const caddyOptions = `
{
	admin off
	auto_https disable_redirects
	default_bind 127.0.0.1
	https_port PORT
	local_certs
	skip_install_trust
	log {
		level ERROR
	}
	servers {
		trusted_proxies static 127.0.0.1
	}
`

func (s *site) startCaddy(ctx context.Context, porchlight, app string) error {
	text, err := os.ReadFile("deploy/Caddyfile")
	if err != nil {
		return err
	}
	var port string
	if s.caddy, port, err = freeAddress(); err != nil {
		return err
	}
	config := strings.NewReplacer(
		"\n{\n", strings.Replace(caddyOptions, "PORT", port, 1),
		"\trequest_header -*Forwarded*\n", "",
		"127.0.0.1:3000", porchlight,
		"127.0.0.1:8080", app,
	).Replace(string(text))
	file := filepath.Join(s.folder, "Caddyfile")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return err
	}
	return s.startProcess(ctx, s.caddy, "caddy", "run", "--adapter", "caddyfile", "--config", file)
}

func freeAddress() (address, port string, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", "", err
	}
	defer listener.Close()
	address = listener.Addr().String()
	_, port, err = net.SplitHostPort(address)
	return address, port, err
}

// startProcess starts a program, and returns when it listens.
func (s *site) startProcess(ctx context.Context, address, name string, args ...string) error {
	command := exec.CommandContext(ctx, name, args...)
	command.Env = append(os.Environ(), "HOME="+s.folder, "XDG_DATA_HOME="+s.folder, "XDG_CONFIG_HOME="+s.folder)
	command.Stderr = os.Stderr
	if err := command.Start(); err != nil {
		return err
	}
	s.ends = append(s.ends, func() {
		command.Process.Kill()
		command.Wait()
	})
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if conn, err := net.Dial("tcp", address); err == nil {
			return conn.Close()
		}
	}
	return fmt.Errorf("%s does not listen on %s", name, address)
}
