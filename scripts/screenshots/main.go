// Screenshots takes the pictures in docs/ with Chromium, of a server with a few devices, and of a mail that it sends. Run it from the top
// of the repository:
//
//	go run ./scripts/screenshots
package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
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
	h, err := serve(folder)
	if err != nil {
		return err
	}
	defer h.stop()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox, chromedp.Flag("hide-scrollbars", true))
	allocator, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	defer cancel()
	browser, cancel := chromedp.NewContext(allocator)
	defer cancel()
	for _, p := range []picture{
		{"devices-light", "/sessions", "light", 820, 2, ""},
		{"devices-dark", "/sessions", "dark", 820, 2, ""},
		{"security", "/account/security", "light", 640, 1, ""},
		{"alerts", "/account/alerts", "light", 640, 1, ""},
		{"admin-person", "/admin/users/1", "light", 820, 1, ""},
		{"admin-sessions", "/admin/sessions", "light", 820, 1, ""},
		{"code", "/login/code", "light", 640, 1, "signed out"},
		{"mail", "", "light", 640, 1, ""},
	} {
		if err := h.take(browser, p); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

// picture is a page in one colour scheme.
type picture struct {
	name   string
	path   string // "" is the mail
	scheme string
	width  int64
	scale  float64
	as     string
}

func (h *house) take(browser context.Context, p picture) error {
	address, site := h.site+p.path, h.site
	if p.path == "" {
		address = "data:text/html;base64," + base64.StdEncoding.EncodeToString(h.mail)
	}
	session := h.session
	if p.as == "signed out" {
		session = ""
	}
	var taken []byte
	err := chromedp.Run(browser,
		chromedp.EmulateViewport(p.width, 400, chromedp.EmulateScale(p.scale)),
		emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: p.scheme}}),
		network.SetCookie("porchlight", session).WithURL(site),
		network.SetCookie("porchlight-code", h.secondStep).WithURL(site),
		chromedp.Navigate(address),
		chromedp.FullScreenshot(&taken, 100),
	)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join("docs", p.name+".png"), taken, 0o644)
}
