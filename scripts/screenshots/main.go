// Screenshots takes the pictures in docs/ with Chromium, of a server with a few devices. Run it from the top of the repository:
//
//	go run ./scripts/screenshots
package main

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"porchlight/db"
	"porchlight/handlers"
)

func main() {
	log.SetFlags(0)
	if err := run(); err != nil {
		log.Fatal("screenshots: ", err)
	}
}

func run() error {
	folder, err := os.MkdirTemp("", "porchlight-screenshots")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	token, address, err := serve(folder)
	if err != nil {
		return err
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox, chromedp.Flag("hide-scrollbars", true))
	allocator, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	defer cancel()
	browser, cancel := chromedp.NewContext(allocator)
	defer cancel()
	for _, scheme := range []string{"light", "dark"} {
		var picture []byte
		err := chromedp.Run(browser,
			chromedp.EmulateViewport(820, 700, chromedp.EmulateScale(2)),
			emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}),
			network.SetCookie("porchlight", token).WithURL("http://"+address),
			chromedp.Navigate("http://"+address+"/sessions"),
			chromedp.FullScreenshot(&picture, 100),
		)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join("docs", "devices-"+scheme+".png"), picture, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// serve starts the app with a user who is signed in on four devices, and returns the token of the last one.
func serve(folder string) (token, address string, err error) {
	now := time.Now()
	at := now
	store, err := db.Open(context.Background(), db.Options{
		Path: filepath.Join(folder, "porchlight.db"), Create: true, Now: func() time.Time { return at },
	})
	if err != nil {
		return "", "", err
	}
	user, err := store.CreateUser(context.Background(), db.NewUser{Username: "ada", Password: "lantern velvet orbit marmalade"})
	if err != nil {
		return "", "", err
	}
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
		at = now.Add(-device.ago)
		client := db.Client{DeviceName: device.name, DeviceKind: device.kind, IP: device.ip}
		token, _, err = store.SignIn(context.Background(), user, db.NewSession{Client: client, Method: db.ByPassword, Shared: device.shared})
		if err != nil {
			return "", "", err
		}
		for _, app := range device.apps {
			access, err := store.Authorize(token, app)
			if err != nil {
				return "", "", err
			}
			store.UseApp(access, client, true)
		}
	}
	if err := store.Flush(context.Background()); err != nil {
		return "", "", err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", "", err
	}
	address = listener.Addr().String()
	app := handlers.New(handlers.Options{Store: store, URL: &url.URL{Scheme: "http", Host: address}, Log: slog.New(slog.DiscardHandler)})
	go func() { log.Print(app.Listener(listener)) }()
	if _, err := http.Get("http://" + address + "/healthz"); err != nil {
		return "", "", fmt.Errorf("the server does not answer: %w", err)
	}
	return token, address, nil
}
