package e2e

import (
	"context"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"

	"porchlight/db"
	"porchlight/db/dbtest"
	"porchlight/handlers"
	"porchlight/handlers/handlerstest"
)

// This file tests that open pages follow what happens elsewhere.

func (b *tab) follows() {
	b.t.Helper()
	b.until(`document.getElementById('events')._htmx?.sse?.status === 200`)
}

// hide shows another tab of the same window, until show is called.
func (b *tab) hide() (show func()) {
	b.t.Helper()
	b.run(emulation.SetFocusEmulationEnabled(false)) // it would keep the page visible
	window := chromedp.FromContext(b.ctx)
	browser := cdp.WithExecutor(b.ctx, window.Browser)
	info, err := target.GetTargetInfo().WithTargetID(window.Target.TargetID).Do(browser)
	if err != nil {
		b.t.Fatal(err)
	}
	other, err := target.CreateTarget("about:blank").WithBrowserContextID(info.BrowserContextID).Do(browser)
	if err != nil {
		b.t.Fatal(err)
	}
	b.until(`document.hidden`)
	return func() {
		b.t.Helper()
		if err := target.CloseTarget(other).Do(browser); err != nil {
			b.t.Fatal(err)
		}
		b.until(`!document.hidden`)
	}
}

// replay returns a client with the cookies of the browser.
func (b *tab) replay(userAgent string) *handlerstest.Client {
	b.t.Helper()
	client := b.house.NewClient(userAgent)
	at, err := url.Parse(b.house.URL)
	if err != nil {
		b.t.Fatal(err)
	}
	b.run(chromedp.ActionFunc(func(ctx context.Context) error {
		cookies, err := network.GetCookies().WithURLs([]string{b.house.URL}).Do(ctx)
		for _, cookie := range cookies {
			client.HTTP.Jar.SetCookies(at, []*http.Cookie{{Name: cookie.Name, Value: cookie.Value}})
		}
		return err
	}))
	return client
}

// deafen ends the event stream of the page, as a proxy that does not pass it on would.
func (b *tab) deafen() {
	b.t.Helper()
	b.eval(`document.getElementById('events').remove()`)
}

const (
	allActivity = `document.querySelector('#sessions a[href="/activity"]')`
	newestEntry = `document.querySelector('#sessions .entries li > span').textContent`
)

func followsTheOthers(t *testing.T, c *chromiumProcess) {
	h := handlerstest.OpenHouse(t)
	h.AddUser("alice", handlerstest.AlicePassword)
	a, b := c.newTab(t, h, handlerstest.FirefoxOnLinux), c.newTab(t, h, handlerstest.SafariOnIPhone)
	a.signIn("alice", handlerstest.AlicePassword)
	a.follows()
	a.eval(`(window.samePage = true)`)
	a.tabTo(allActivity)
	b.signIn("alice", handlerstest.AlicePassword)
	a.until(`document.getElementById('others').textContent === 'Other devices (1)'`)
	a.untilText(newestEntry, "Signed in on Safari on iPhone, 127.0.0.1")
	a.holds(focused + ` === ` + allActivity)

	b.follows()
	third := h.SignIn("alice", handlerstest.AlicePassword, "curl/8.5.0")
	a.until(`document.getElementById('others').textContent === 'Other devices (2)'`)
	b.until(`document.getElementById('others').textContent === 'Other devices (2)'`)
	third.API("PATCH", "/me/sessions/"+third.ID, `{"name":"Backup script"}`).Is(t, 200)
	for _, tab := range []*tab{a, b} {
		tab.until(`document.getElementById('other-devices').textContent.includes('Backup script')`)
	}
	for range 2 {
		third.API("GET", "/me/export", "").Is(t, 200)
	}
	a.untilText(newestEntry, "Downloaded all data on Backup script, 127.0.0.1, 2 times") // one entry, which was there before
	a.holds(`window.samePage === true`)

	// A command in another process.
	other, err := db.Open(t.Context(), db.Options{Path: h.Path, HashCost: dbtest.HashCost, Now: h.Clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, err := other.RevokeSession(t.Context(), db.CommandLine, 0, third.ID); err != nil {
		t.Fatal(err)
	}
	a.until(`document.getElementById('others').textContent === 'Other devices (1)'`)
	b.visit("/account")
	b.follows()
	if _, err := other.RevokeUser(t.Context(), db.CommandLine, "alice"); err != nil {
		t.Fatal(err)
	}
	for _, tab := range []*tab{a, b} {
		tab.at("/login")
		tab.same(statusText, "You've been signed out on this device.")
	}
}

// A hidden page has no stream. Once it is shown again, it makes up for what happened.
func catchesUp(t *testing.T, c *chromiumProcess) {
	h := handlerstest.OpenHouse(t)
	h.AddUser("alice", handlerstest.AlicePassword)
	a := c.newTab(t, h, handlerstest.FirefoxOnLinux)
	a.signIn("alice", handlerstest.AlicePassword)
	a.follows()
	show := a.hide()
	a.until(`document.getElementById('events')._htmx.sse.reader === null`)
	h.SignIn("alice", handlerstest.AlicePassword, "curl/8.5.0")
	a.holds(`document.getElementById('others').textContent === 'Other devices'`)
	show()
	a.until(`document.getElementById('others').textContent === 'Other devices (1)'`)
}

// Many streams opened with a stolen cookie replace that of the page, until somebody looks at the page again.
func makesRoom(t *testing.T, c *chromiumProcess) {
	h := handlerstest.OpenHouse(t)
	h.AddUser("alice", handlerstest.AlicePassword)
	a := c.newTab(t, h, handlerstest.FirefoxOnLinux)
	a.signIn("alice", handlerstest.AlicePassword)
	a.follows()
	thief := a.replay("curl/8.5.0")
	for range 20 {
		request, err := http.NewRequestWithContext(t.Context(), "GET", h.URL+"/sessions/events", nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := thief.HTTP.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
	}
	a.until(`!document.getElementById('events')._htmx.sse`)
	a.hide()()
	a.follows()
}

// A stolen cookie that is used from elsewhere is shown on the page of its owner.
func seesAnotherBrowser(t *testing.T, c *chromiumProcess) {
	h := handlerstest.OpenHouse(t, func(o *handlers.Options) { o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")} })
	h.AddUser("alice", handlerstest.AlicePassword)
	ctx, cancel := context.WithCancel(t.Context())
	var background sync.WaitGroup
	defer background.Wait()
	defer cancel()
	background.Go(func() { // as the server does; see startBackground in main.go
		for {
			select {
			case <-h.Store.Moved():
				if err := h.Store.Flush(ctx); err != nil && ctx.Err() == nil {
					t.Error(err)
				}
			case <-ctx.Done():
				return
			}
		}
	})
	a := c.newTab(t, h, handlerstest.FirefoxOnLinux)
	a.signIn("alice", handlerstest.AlicePassword)
	a.follows()
	a.holds(`!document.body.innerText.includes('Browser changed')`)
	a.replay("curl/8.5.0").Do("GET", "/me/sessions/current", "", "X-Forwarded-For", "203.0.113.9").Is(t, 200)
	a.until(`document.body.innerText.includes('Browser changed')`)
	a.until(`document.querySelector('.device').innerText.includes('203.0.113.9')`)
}
