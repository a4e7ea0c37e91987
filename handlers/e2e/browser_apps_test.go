package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"porchlight/db"
	"porchlight/handlers/handlerstest"
)

// opensAppsBehindAProxy signs in once, opens two apps, loses both to another browser, and comes back to the page it wanted.
func opensAppsBehindAProxy(t *testing.T, c *chromiumProcess) {
	s := openPlainSite(t, "caddy", func(*db.Options) {})
	notes, photos := strings.Replace(s.URL, "auth.", "notes.", 1), strings.Replace(s.URL, "auth.", "photos.", 1)
	browser := func(userAgent string) *tab {
		b := c.newTab(t, s.House, userAgent)
		b.apps = ".porch.localhost:"
		return b
	}
	goTo := func(b *tab, address string) { b.run(chromedp.Navigate(address)) }
	library, phone := browser(handlerstest.FirefoxOnLinux), browser(handlerstest.SafariOnIPhone)

	// A deep link leads to the sign-in page, and from there back to the same page.
	const deep = "/books/7?page=2&q=a%26b#end"
	goTo(library, notes+deep)
	library.at("/login")
	library.same(`document.querySelector('main p strong').textContent`, strings.TrimPrefix(notes, "http://"))
	library.fill("username", "alice", "password", handlerstest.AlicePassword)
	library.click(`document.querySelector('main button.primary')`, 1)
	library.at("/books/7")
	library.same(`location.href`, notes+deep)
	library.same(`document.body.textContent`, strings.TrimPrefix(notes, "http://")+"for alice at /books/7?page=2&q=a%26b")
	goTo(library, photos+"/")
	library.same(`document.querySelector('h1').textContent`, strings.TrimPrefix(photos, "http://"))

	// On the phone, she sees which apps the browser used, and signs it out.
	if err := s.Store.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	phone.signIn("alice", handlerstest.AlicePassword)
	phone.same(`[...document.querySelectorAll('#other-devices .chip')].map((app) => app.textContent).join()`,
		"notes.porch.localhost,photos.porch.localhost")
	phone.click(buttonOf("127.0.0.1"), 1)
	phone.until(armedCount + ` === 1`)
	phone.click(buttonOf("127.0.0.1"), 1)
	phone.until(otherRows + ` === 0`)

	// The next click in either app leads to the sign-in page.
	s.notes.take()
	s.photos.take()
	goTo(library, photos+"/albums")
	library.at("/login")
	library.same(`document.querySelector('#status').textContent`, "You've been signed out on this device.")
	goTo(library, notes+deep)
	library.at("/login")
	s.untouched(t)

	library.fill("username", "alice", "password", handlerstest.AlicePassword)
	library.click(`document.querySelector('main button.primary')`, 1)
	library.at("/books/7")
	library.same(`location.href`, notes+deep)
}

// isRefusedUnderTheApp opens an app that bob has no access to, signs out there, and returns as alice. The pages under the app's address fit
// every screen, and their style is not blocked.
func isRefusedUnderTheApp(t *testing.T, c *chromiumProcess) {
	for _, proxyName := range []string{"caddy", "nginx"} {
		t.Run(proxyName, func(t *testing.T) {
			s := openPlainSite(t, proxyName, func(*db.Options) {})
			_, err := s.Store.AllowApp(t.Context(), db.CommandLine, db.AppRule{Host: "notes.porch.localhost", Users: []string{"alice"}})
			if err != nil {
				t.Fatal(err)
			}
			deep := strings.Replace(s.URL, "auth.", "notes.", 1) + "/books/7?page=2&q=a%26b"
			b := c.newTab(t, s.House, handlerstest.FirefoxOnLinux)
			b.apps = ".porch.localhost:"
			b.provokes("status of 403")
			b.provokes("status of 50") // 503, or what nginx makes of it
			b.signIn("bob", handlerstest.BobPassword)
			b.run(chromedp.Navigate(deep))
			b.same(`document.querySelector('h1').textContent`, "This app is not open to you")
			b.same(`getComputedStyle(document.querySelector('a')).minHeight`, "44px")
			b.checkLayout("not allowed")
			b.click(`document.querySelector('main a')`, 1)
			b.at("/logout")
			b.checkLayout("sign-out with an app")
			b.click(`document.querySelector('main button.primary')`, 1)
			b.at("/login")
			b.fill("username", "alice", "password", handlerstest.AlicePassword)
			b.click(`document.querySelector('main button.primary')`, 1)
			b.at("/books/7")
			b.same(`location.href`, deep)
			s.Exec(`ALTER TABLE sessions RENAME TO gone`)
			b.run(chromedp.Navigate(deep))
			b.same(`document.querySelector('h1').textContent`, "You can't get in right now")
			b.checkLayout("not responding")
			s.Exec(`ALTER TABLE gone RENAME TO sessions`)
		})
	}
}

// forgetsTheApps revokes the session of a browser in which an app has set its own cookie, which no script can read.
func forgetsTheApps(t *testing.T, c *chromiumProcess) {
	for _, test := range []struct {
		proxy  string
		clears bool
		next   string // the page that is opened after the revocation
	}{
		{"caddy", true, "notes."}, {"nginx", true, "notes."}, {"caddy", true, "auth."},
		{"caddy", false, "notes."}, {"nginx", false, "notes."}, {"caddy", false, "auth."},
	} {
		t.Run(fmt.Sprint(test.proxy, " ", test.clears, " ", test.next), func(t *testing.T) {
			own, changeStore := []string{"own-session"}, func(*db.Options) {}
			if test.clears {
				own, changeStore = nil, handlerstest.KeepsRevoked
			}
			s := openPlainSite(t, test.proxy, changeStore)
			notes := strings.Replace(s.URL, "auth.", "notes.", 1)
			library := c.newTab(t, s.House, handlerstest.FirefoxOnLinux)
			library.apps = ".porch.localhost:"
			library.signIn("alice", handlerstest.AlicePassword)
			library.run(chromedp.Navigate(notes + "/remember"))
			if got := library.cookies(notes); !slices.Equal(got, []string{"own-session", "porchlight"}) {
				t.Fatalf("signed in, the browser has the cookies %q", got)
			}
			if _, err := s.Store.RevokeUser(t.Context(), db.CommandLine, "alice"); err != nil {
				t.Fatal(err)
			}
			s.notes.take()
			library.run(chromedp.Navigate(strings.Replace(s.URL, "auth.", test.next, 1)))
			library.at("/login")
			s.untouched(t)
			if got := library.cookies(notes); !slices.Equal(got, own) {
				t.Errorf("signed out, the browser has the cookies %q, want %q", got, own)
			}
			library.fill("username", "alice", "password", handlerstest.AlicePassword)
			library.click(`document.querySelector('main button.primary')`, 1)
			library.until(`!location.pathname.startsWith('/login')`)
			library.run(chromedp.Navigate(notes + "/"))
			if seen := s.notes.take(); len(seen) == 0 || (seen[0].header.Get("Cookie") == "") != test.clears {
				t.Errorf("signed in again, the app saw %v", seen)
			}
		})
	}
}

// cookies returns the names of the cookies that the browser would send to an address.
func (b *tab) cookies(address string) (names []string) {
	b.t.Helper()
	b.run(chromedp.ActionFunc(func(ctx context.Context) error {
		found, err := network.GetCookies().WithURLs([]string{address}).Do(ctx)
		for _, cookie := range found {
			names = append(names, cookie.Name)
		}
		return err
	}))
	slices.Sort(names)
	return names
}
