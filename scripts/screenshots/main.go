// Screenshots takes the pictures in docs/. They show the people and devices of "porchlight demo", and an app behind Caddy. It needs
// Chromium, Caddy and TiddlyWiki on the PATH, and the font Inter (in Debian, fonts-inter). Run it from the top of the repository:
//
//	go run ./scripts/screenshots
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"time"
)

func main() {
	log.SetFlags(0)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	if err := run(ctx); err != nil {
		log.Fatal("screenshots: ", err)
	}
}

func run(ctx context.Context) (err error) {
	folder, err := os.MkdirTemp("", "porchlight-screenshots-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	s := &site{folder: folder}
	defer s.stop()
	if err := s.start(ctx); err != nil {
		return err
	}
	phone, stop, err := openBrowser(ctx, s, safariOnIPhone, "203.0.113.24")
	if err != nil {
		return err
	}
	defer stop()
	if err := phone.signIn(); err != nil {
		return fmt.Errorf("sign in: %w", err)
	}
	if err := s.awaitMails(ctx); err != nil {
		return err
	}
	library, stop, err := openBrowser(ctx, s, firefoxOnLinux, "198.51.100.80")
	if err != nil {
		return err
	}
	defer stop()
	if err := library.setSession(s.library); err != nil {
		return err
	}
	for _, p := range []picture{
		{name: "security", address: auth + "/account/security", width: 640},
		{name: "alerts", address: auth + "/account/alerts", width: 640},
		{name: "admin-person", address: auth + "/admin/users/1", width: 820, height: 1165},
		{name: "admin-sessions", address: auth + "/admin/sessions", width: 820},
		{name: "mail", html: s.mail, width: 640},
	} {
		if err := phone.take(p); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	if err := takeStory(phone, library); err != nil {
		return fmt.Errorf("story: %w", err)
	}
	return nil
}
