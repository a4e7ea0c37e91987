package e2e

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"porchlight/db"
	"porchlight/handlers"
	"porchlight/handlers/handlerstest"
)

// This file tests impatient presses, and times in a page that stays open.

// slowServer is a house whose server receives POST requests only while no test holds them.
type slowServer struct {
	*handlerstest.House
	gate  sync.RWMutex
	posts chan string // the path of each, as it arrives
}

func openSlowServer(t *testing.T, change ...func(*handlers.Options)) *slowServer {
	t.Helper()
	s := &slowServer{posts: make(chan string, 100)}
	front := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			s.posts <- r.URL.Path
			s.gate.RLock()
			defer s.gate.RUnlock()
		}
		proxy := httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: s.At})
			r.Out.Host = r.In.Host
		}}
		proxy.ServeHTTP(w, r)
	}))
	host := front.Listener.Addr().String()
	canMail := func(o *db.Options) { o.Serve, o.Ways = true, db.Ways{Mail: true} }
	s.House = handlerstest.OpenHouseWith(t, canMail, append(change, func(o *handlers.Options) { o.URL.Host = host })...)
	s.URL = "http://" + host
	front.Start()
	t.Cleanup(front.Close)
	return s
}

// hold keeps POST requests from the server until release is called.
func (s *slowServer) hold() (release func()) {
	s.gate.Lock()
	release = sync.OnceFunc(s.gate.Unlock)
	s.T.Cleanup(release)
	return release
}

// mainButton is the button of the one form of a page.
const mainButton = `document.querySelector('main button:not(.show)')`

// pressed presses a button four times while the server holds the request, and fails the test unless each path gets one request. Chromium
// evaluates no expression in a page that is about to be left, so the page itself records the texts of its button.
func (s *slowServer) pressed(b *tab, path, button, busy string, then ...string) {
	s.T.Helper()
	b.eval(`((button) => addEventListener('pagehide', () => {
		sessionStorage.setItem('button', button.disabled + ' ' + (button.querySelector('span') ?? button).textContent);
	}))(` + button + `)`)
	x, y := b.point(button)
	press := func() {
		for _, kind := range []input.MouseType{input.MousePressed, input.MouseReleased} {
			b.run(input.DispatchMouseEvent(kind, x, y).WithButton(input.Left).WithClickCount(1))
		}
	}
	release := s.hold()
	press()
	if first := <-s.posts; first != path {
		s.T.Errorf("a request to %s, want %s", first, path)
	}
	press()
	b.press(kb.Enter)
	press()
	release()
	b.until(`sessionStorage.getItem('button') && document.readyState === 'complete'`)
	b.same(`sessionStorage.getItem('button')`, "false "+busy)
	b.eval(`(sessionStorage.clear(), 1)`)
	for _, path := range then {
		if next := <-s.posts; next != path {
			s.T.Errorf("then a request to %s, want %s", next, path)
		}
	}
	for len(s.posts) > 0 {
		s.T.Errorf("another request to %s", <-s.posts)
	}
}

func sendsEachFormOnce(t *testing.T, c *chromiumProcess) {
	h := openSlowServer(t, func(o *handlers.Options) { o.Signup = true })
	h.AddUser("alice", handlerstest.AlicePassword)
	fresh := openSlowServer(t, func(o *handlers.Options) { o.SetupToken = "token" })
	token, _, err := h.Store.Invite(context.Background(), db.CommandLine, db.NewUser{Username: "carol"})
	if err != nil {
		t.Fatal(err)
	}
	const password = "basalt umbrella crayon fjord"
	pressed := func(s *slowServer, b *tab, path, button, busy string, then ...string) {
		t.Helper()
		s.pressed(b, path, button, busy, then...)
	}
	const main = mainButton

	s := c.newTab(t, fresh.House, handlerstest.FirefoxOnLinux)
	s.visit("/setup?token=token")
	s.fill("username", "alice", "password", password)
	pressed(fresh, s, "/setup", main, "Creating the account…")
	s.at("/sessions")

	b := c.newTab(t, h.House, handlerstest.FirefoxOnLinux)
	b.visit("/signup")
	b.fill("username", "dora", "password", password)
	pressed(h, b, "/signup", main, "Creating the account…")
	b.at("/sessions")
	const signOut = `document.querySelector('.sign-out button')`
	pressed(h, b, "/logout", signOut, "Signing out…")
	b.visit("/invite?token=" + token)
	b.fill("password", password)
	pressed(h, b, "/invite", main, "Saving…")
	b.at("/sessions")
	b.visit("/account")
	b.fill("password", password)
	b.press(kb.Enter) // asks
	pressed(h, b, "/account/delete", `document.querySelector('[action="/account/delete"] .danger')`, "Deleting…")
	b.at("/login")
	b.fill("username", "alice", "password", handlerstest.AlicePassword)
	pressed(h, b, "/login", main, "Signing in…")
	b.at("/sessions")
	b.visit("/account")
	b.fill("current_password", handlerstest.AlicePassword, "new_password", password)
	pressed(h, b, "/account/password", `document.querySelector('[action="/account/password"] .primary')`, "Saving…")
	b.at("/account")

	b.provokes("status of 403")
	h.Clock.Advance(db.ConfirmLifetime)
	b.visit("/account/security")
	begin := `document.querySelector('[action="/account/totp/begin"] button')`
	pressed(h, b, "/account/totp/begin", begin, "One moment…")
	b.until(`document.querySelector('#confirm_password')`)
	b.fill("confirm_password", password)
	pressed(h, b, "/confirm", main, "Checking…", "/account/totp/begin") // the form that was held back
	b.until(`document.querySelector('.secret')`)
	secret := b.text(`document.querySelector('.secret').textContent`)
	b.fill("code", handlerstest.TOTP(t, secret, h.Clock.Now()))
	pressed(h, b, "/account/totp", main, "Checking…")
	b.until(`document.querySelector('.codes')`)
	h.Clock.Advance(time.Minute)
	pressed(h, b, "/logout", signOut, "Signing out…")
	b.at("/login")
	b.fill("username", "alice", "password", password)
	pressed(h, b, "/login", main, "Signing in…")
	b.at("/login/code")
	b.fill("code", handlerstest.TOTP(t, secret, h.Clock.Now()))
	pressed(h, b, "/login/code", main, "Signing in…")
	b.at("/sessions")
}

// A form that htmx sends comes back, and so does its button.
func savesANameOnce(t *testing.T, c *chromiumProcess) {
	h := openSlowServer(t)
	seed(h.House, h.AddUser("alice", handlerstest.AlicePassword), device("One", "10.0.0.1"))
	b := c.newTab(t, h.House, handlerstest.FirefoxOnLinux)
	b.signIn("alice", handlerstest.AlicePassword)
	row := rowOf("10.0.0.1")
	button := row + `.querySelector('.rename button')`
	b.click(row+`.querySelector('summary')`, 1)
	for _, name := range []string{"First", "Second"} {
		before := b.requests("POST ")
		release := h.hold()
		b.click(row+`.querySelector('.rename input')`, 3)
		b.typeText(name)
		b.press(kb.Enter, kb.Enter)
		b.until(button + `.classList.contains('busy')`)
		b.same(button+`.firstElementChild.textContent`, "Saving…")
		b.click(button, 2)
		release()
		b.untilText(row+`.querySelector('h3').textContent`, name)
		b.untilText(button+`.firstElementChild.textContent`, "Save")
		b.holds(`!` + button + `.classList.contains('busy')`)
		if n := b.requests("POST ") - before; n != 1 {
			t.Errorf("%s: %d requests", name, n)
		}
	}
}

// later lets the page's clock run ahead, and the tab be shown again.
func (b *tab) later(minutes int) {
	b.t.Helper()
	b.eval(fmt.Sprintf(`(Date.now = ((now) => () => now() + %d * 60e3)(Date.now),
		document.dispatchEvent(new Event('visibilitychange')), 1)`, minutes))
}

func keepsTimesTrue(t *testing.T, c *chromiumProcess) {
	b, _ := c.browserOfAlice(t, device("One", "10.0.0.1")) // last active at 19:03 in Tokyo, a minute ago
	b.run(chromedp.ActionFunc(func(ctx context.Context) error {
		_, err := page.AddScriptToEvaluateOnNewDocument(`window.ticks = []; setInterval = (tick, ms) => ticks.push({tick, ms});`).Do(ctx)
		return err
	}))
	b.reload()
	last := rowOf("10.0.0.1") + `.querySelector('.facts time')`
	b.same(last+`.title`, "18 Nov 2026, 19:03")
	for _, step := range []struct {
		minutes int
		want    string
	}{{0, "Active now"}, {1, "Active now"}, {1, "3 minutes ago"}, {56, "59 minutes ago"}, {1, "1 hour ago"}, {3*60 + 56, "4 hours ago"},
		{1, "yesterday"}, {24*60 - 1, "yesterday"}, {1, "2 days ago"}, {27 * 24 * 60, "29 days ago"}, {24 * 60, "18 Nov 2026"}} {
		b.later(step.minutes)
		b.same(last+`.textContent`, step.want)
		b.holds(fmt.Sprintf(`%s.classList.contains('now') === %t`, last, step.want == "Active now"))
	}
	b.same(rowOf("127.0.0.1")+`.querySelector('.now').textContent`, "Active now") // this device is in use

	// Each minute, too.
	b.reload()
	b.eval(`(Date.now = ((now) => () => now() + 5 * 60e3)(Date.now), 1)`)
	b.same(last+`.textContent`, "Active now")
	b.eval(`(ticks.filter(({ms}) => ms === 60e3).forEach(({tick}) => tick()), 1)`)
	b.same(last+`.textContent`, "6 minutes ago")

	// In the reader's language.
	b.run(emulation.SetLocaleOverride(), emulation.SetLocaleOverride().WithLocale("de-DE"))
	b.reload()
	b.later(5)
	b.same(last+`.textContent + ' ' + `+last+`.lang`, "vor 6 Minuten de-DE")
	b.same(rowOf("10.0.0.1")+`.querySelector('dd time').textContent`, "18.11.2026, 19:03")

	// Without a script, in UTC.
	b.house.Clock.Advance(14 * 60 * 60e9)
	b.run(emulation.SetScriptExecutionDisabled(true))
	b.reload()
	b.same(last+`.textContent`, "yesterday")
	b.same(rowOf("10.0.0.1")+`.querySelector('dd time').textContent`, "18 Nov 2026, 10:03 UTC")
}
