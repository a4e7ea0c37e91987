package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/binary"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	netmail "net/mail"
	"net/url"
	"path/filepath"
	"time"

	"porchlight/db"
	"porchlight/handlers"
	"porchlight/notify"
)

const (
	email    = "ada@example.com"
	password = "lantern velvet orbit marmalade"
)

// house is a server with a user, ada.
type house struct {
	site       string // http://localhost:PORT
	session    string // the token of her last session
	secondStep string // the token of a sign-in that waits for a code
	mail       []byte // the HTML of an alert
	stop       func()

	store *db.Store
	at    time.Time // the time that the store sees
}

// serve starts the app with ada, who is signed in on four devices and has an authenticator app.
func serve(folder string) (*house, error) {
	h := &house{at: time.Now()}
	var err error
	h.store, err = db.Open(context.Background(), db.Options{
		Path: filepath.Join(folder, "porchlight.db"), Create: true, Serve: true, Ways: db.Ways{Mail: true},
		Now: func() time.Time { return h.at },
	})
	if err != nil {
		return nil, err
	}
	last, err := h.signInEverywhere()
	if err != nil {
		return nil, err
	}
	if err := h.setUpAccount(last); err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	h.site = fmt.Sprintf("http://localhost:%d", listener.Addr().(*net.TCPAddr).Port) // where browsers accept passkeys
	at, err := url.Parse(h.site)
	if err != nil {
		return nil, err
	}
	if err := h.sendMails(); err != nil {
		return nil, err
	}
	app := handlers.New(handlers.Options{Store: h.store, URL: at, Mail: true, Ntfy: true, Log: slog.New(slog.DiscardHandler)})
	go func() {
		if err := app.Listener(listener); err != nil {
			log.Print(err)
		}
	}()
	if _, err := http.Get(h.site + "/healthz"); err != nil {
		return nil, fmt.Errorf("the server does not answer: %w", err)
	}
	h.stop = func() { app.Shutdown() }
	return h, nil
}

func (h *house) signInEverywhere() (last db.Session, err error) {
	user, err := h.store.CreateUser(context.Background(), db.NewUser{Username: "ada", Email: email, Password: password})
	if err != nil {
		return last, err
	}
	now := h.at
	for _, device := range []struct {
		ago            time.Duration
		name, kind, ip string
		shared         bool
		apps           []string
	}{
		{ago: 9 * 24 * time.Hour, name: "Safari on iPad", kind: "tablet", ip: "2001:db8:7::a1", apps: []string{"photos.example.com"}},
		{ago: 26 * time.Hour, name: "curl", kind: "terminal", ip: "198.51.100.23"},
		{ago: 10 * time.Minute, name: "Firefox on Linux", kind: "desktop", ip: "203.0.113.80", shared: true,
			apps: []string{"mail.example.com", "notes.example.com"}},
		{ago: 0, name: "Safari on iPhone", kind: "phone", ip: "198.51.100.23"},
	} {
		h.at = now.Add(-device.ago)
		client := db.Client{DeviceName: device.name, DeviceKind: device.kind, IP: device.ip}
		h.session, last, err = h.store.SignIn(context.Background(), user,
			db.NewSession{Client: client, Method: db.ByPassword, Shared: device.shared})
		if err != nil {
			return last, err
		}
		for _, app := range device.apps {
			access, err := h.store.Authorize(h.session, app)
			if err != nil {
				return last, err
			}
			h.store.UseApp(access, client, true)
		}
	}
	return last, h.store.Flush(context.Background())
}

// setUpAccount adds the authenticator app and a topic, and begins a sign-in.
func (h *house) setUpAccount(by db.Session) error {
	ctx := context.Background()
	if err := h.store.SetAlertSettings(ctx, by, db.AlertSettings{Mail: true, Topic: "ada-alerts"}); err != nil {
		return err
	}
	secret, err := h.store.BeginTOTP(ctx, by)
	if err != nil {
		return err
	}
	if _, err := h.store.EnableTOTP(ctx, by, code(secret, h.at)); err != nil {
		return err
	}
	client := db.Client{DeviceName: "Chrome on Windows", DeviceKind: "desktop", IP: "203.0.113.80"}
	user, err := h.store.Authenticate(ctx, "ada", password, client)
	if err != nil {
		return err
	}
	h.secondStep, err = h.store.BeginSecondStep(ctx, user, db.NewSession{Client: client})
	return err
}

// sendMails delivers the outbox to a local mail server, and keeps the mail about the shared computer.
func (h *house) sendMails() error {
	host, err := listenForMail()
	if err != nil {
		return err
	}
	defer host.Close()
	server, err := notify.ParseMailServer("smtp+insecure://" + host.address)
	if err != nil {
		return err
	}
	sender := notify.New(notify.Options{
		Store: h.store, URL: &url.URL{Scheme: "https", Host: "auth.example.com"}, Log: slog.New(slog.DiscardHandler),
		Mail: &notify.Mailer{
			Server: server, From: &netmail.Address{Name: "Porchlight", Address: "porchlight@example.com"}, Host: "auth.example.com",
		},
	})
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	done := make(chan struct{})
	go func() {
		sender.Run(ctx)
		close(done)
	}()
	h.mail, err = host.find(ctx, "Firefox on Linux")
	for waits := err == nil; waits && ctx.Err() == nil; { // so that the alerts page shows all of them as delivered
		_, err := h.store.NextDue(db.Mail)
		waits = err == nil
		time.Sleep(10 * time.Millisecond)
	}
	cancel()
	<-done
	return err
}

// code returns the code that an authenticator app shows (RFC 6238).
func code(secret []byte, at time.Time) string {
	mac := hmac.New(sha1.New, secret)
	binary.Write(mac, binary.BigEndian, at.Unix()/30)
	sum := mac.Sum(nil)
	return fmt.Sprintf("%06d", binary.BigEndian.Uint32(sum[sum[19]&15:])&0x7fffffff%1_000_000)
}
