package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"porchlight/db/demo"
)

// This file takes pictures with Chromium.

const (
	safariOnIPhone = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 " +
		"Mobile/15E148 Safari/604.1"
	firefoxOnLinux = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"
)

// browser is a Chromium that says it is another browser.
type browser struct{ context.Context }

// fonts makes Inter the font of the system.
const fonts = `<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <include>/etc/fonts/fonts.conf</include>
  <match target="pattern"><edit name="family" mode="prepend" binding="strong"><string>Inter</string></edit></match>
</fontconfig>
`

// setClock is a script that makes it the server's time when a page opens.
const setClock = `const ahead = Date.now() - %d
Date = class extends Date {
  constructor(...args) { args.length ? super(...args) : super(Date.now()) }
  static now() { return super.now() - ahead }
}`

// openBrowser starts a Chromium that finds every host of example.com at Caddy's address.
func openBrowser(ctx context.Context, s *site, userAgent, ip string) (browser, context.CancelFunc, error) {
	file := filepath.Join(s.folder, "fonts.conf")
	if err := os.WriteFile(file, []byte(fonts), 0o600); err != nil {
		return browser{}, nil, err
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox,
		chromedp.Env("FONTCONFIG_FILE="+file),
		chromedp.Flag("hide-scrollbars", true),
		chromedp.Flag("host-resolver-rules", "MAP *.example.com "+s.caddy),
		chromedp.Flag("ignore-certificate-errors", true), // Caddy made the certificates for this run
	)
	ctx, stop := chromedp.NewExecAllocator(ctx, options...)
	ctx, _ = chromedp.NewContext(ctx) // stop closes it, too
	return browser{ctx}, stop, chromedp.Run(ctx,
		emulation.SetUserAgentOverride(userAgent),
		network.SetExtraHTTPHeaders(network.Headers{"X-Forwarded-For": ip}),
		emulation.SetTimezoneOverride("UTC"),
		emulation.SetLocaleOverride().WithLocale("en-GB"),
		colourScheme("light"),
		chromedp.ActionFunc(func(ctx context.Context) error {
			_, err := page.AddScriptToEvaluateOnNewDocument(fmt.Sprintf(setClock, now.UnixMilli())).Do(ctx)
			return err
		}),
	)
}

var schemes = []string{"light", "dark"}

func colourScheme(scheme string) chromedp.Action {
	return emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
	})
}

func (b browser) signIn() error {
	return chromedp.Run(b,
		chromedp.Navigate(auth),
		chromedp.SendKeys("[name=username]", "ada", chromedp.ByQuery),
		chromedp.SendKeys("[name=password]", demo.Password+"\r", chromedp.ByQuery),
		chromedp.WaitReady("#other-devices", chromedp.ByQuery),
	)
}

func (b browser) setSession(token string) error {
	return chromedp.Run(b, network.SetCookie("__Secure-porchlight", token).WithURL(auth).WithDomain(".example.com").WithSecure(true))
}

// picture is a page in docs/NAME.png.
type picture struct {
	name          string
	address, html string // one of the two
	width, height int64  // CSS pixels; height 0 is the whole page
}

func (b browser) take(p picture) error {
	open := chromedp.Navigate(p.address)
	if p.html != "" {
		open = show(p.html)
	}
	var taken []byte
	capture := chromedp.CaptureScreenshot(&taken)
	if p.height == 0 {
		p.height = 400
		capture = chromedp.FullScreenshot(&taken, 100)
	}
	if err := chromedp.Run(b, chromedp.EmulateViewport(p.width, p.height, chromedp.EmulateScale(2)), open, capture); err != nil {
		return err
	}
	return write(p.name, taken)
}

func show(html string) chromedp.Action {
	return chromedp.Tasks{
		chromedp.Navigate("about:blank"),
		chromedp.ActionFunc(func(ctx context.Context) error {
			tree, err := page.GetFrameTree().Do(ctx)
			if err != nil {
				return err
			}
			return page.SetDocumentContent(tree.Frame.ID, html).Do(ctx)
		}),
		chromedp.Poll(`[...document.images].every((image) => image.complete)`, nil),
	}
}
