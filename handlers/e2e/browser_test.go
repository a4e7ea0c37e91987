package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"porchlight/db"
	"porchlight/handlers/handlerstest"
)

// TestBrowser uses the pages in Chromium. Each test has its own browser contexts.
func TestBrowser(t *testing.T) {
	if testing.Short() {
		t.Skip("starts Chromium")
	}
	chromium := startChromium(t)
	for _, test := range []struct {
		name string
		run  func(*testing.T, *chromiumProcess)
	}{
		{"two browsers, one ends the other", endsTheOther},
		{"where the focus goes", keepsTheFocus},
		{"asking twice", asksTwice},
		{"ending all others", endsAllOthers},
		{"a long list", showsAll},
		{"a press too many", pressesTooOften},
		{"two at once", endsTwoAtOnce},
		{"the server cannot", saysWhatWentWrong},
		{"gone already", findsItGone},
		{"ended elsewhere", isEndedElsewhere},
		{"naming a device", namesADevice},
		{"hostile names", showsNamesAsText},
		{"without JavaScript", worksWithoutJavaScript},
		{"back after signing out", showsNothingAfterSigningOut},
		{"showing a password", showsAPassword},
		{"header and skip link", hasAHeader},
		{"errors in forms", tellsErrorsInForms},
		{"an invitation", acceptsAnInvitation},
		{"deleting an account", deletesAnAccount},
		{"names and roles", namesEverything},
		{"times of the reader", saysTimesOfTheReader},
		{"layout", fitsEveryScreen},
		{"apps behind a proxy", opensAppsBehindAProxy},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, chromium) })
	}
}

// patience is how long a test in the browser may take before it fails.
const patience = 45 * time.Second

type chromiumProcess struct{ ctx context.Context }

func startChromium(t *testing.T) *chromiumProcess {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	switch {
	case path == "" && os.Getenv("CI") == "true":
		t.Fatal("no Chromium on the PATH: the pages cannot be tested")
	case path == "":
		t.Skip("no Chromium on the PATH: the pages are not tested")
	}
	allocator, cancel := chromedp.NewExecAllocator(context.Background(),
		chromedp.ExecPath(path),
		chromedp.Headless,
		chromedp.NoFirstRun,
		chromedp.NoDefaultBrowserCheck,
		chromedp.NoSandbox, // it cannot be had as root, nor in most containers; only our own pages are opened
		chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true),
		chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.Flag("disable-background-timer-throttling", true),
		chromedp.Flag("disable-backgrounding-occluded-windows", true),
		chromedp.Flag("disable-renderer-backgrounding", true),
		chromedp.Flag("disable-features", "Translate,PasswordManagerOnboarding"),
		chromedp.Flag("lang", "en-GB"),
	)
	t.Cleanup(cancel)
	// The browser may be newer than the protocol that was compiled in: events that we do not know are no error.
	ctx, cancel := chromedp.NewContext(allocator, chromedp.WithErrorf(func(string, ...any) {}))
	t.Cleanup(cancel)
	if err := chromedp.Run(ctx); err != nil {
		t.Fatal("start Chromium: ", err)
	}
	return &chromiumProcess{ctx}
}

// tab is a separate browser (cookies, cache, User-Agent) with one tab. The test fails if there are messages in its
// console at the end.
type tab struct {
	t     *testing.T
	ctx   context.Context
	house *handlerstest.House
	apps  string // a text in the address of every app that it may visit, too; "" lets it visit none

	mu         sync.Mutex
	complaints []string
	provoked   []string
	sent       []string // "DELETE /sessions/…", in order
}

// newTab opens a browser for one house.
func (c *chromiumProcess) newTab(t *testing.T, h *handlerstest.House, userAgent string) *tab {
	t.Helper()
	// chromedp's own way opens no window, and without one a new browser context has no tab.
	browser := cdp.WithExecutor(c.ctx, chromedp.FromContext(c.ctx).Browser)
	own, err := target.CreateBrowserContext().Do(browser)
	if err != nil {
		t.Fatal("open a browser: ", err)
	}
	t.Cleanup(func() { target.DisposeBrowserContext(own).Do(browser) })
	window, err := target.CreateTarget("about:blank").WithBrowserContextID(own).WithNewWindow(true).Do(browser)
	if err != nil {
		t.Fatal("open a window: ", err)
	}
	ctx, cancel := chromedp.NewContext(c.ctx, chromedp.WithTargetID(window))
	t.Cleanup(cancel)
	b := &tab{t: t, ctx: ctx, house: h}
	chromedp.ListenTarget(ctx, b.listen)
	err = chromedp.Run(ctx,
		chromedp.ActionFunc(func(ctx context.Context) error {
			_, err := page.AddScriptToEvaluateOnNewDocument(`addEventListener('securitypolicyviolation', (e) => console.error('Content-Security-Policy:', e.violatedDirective, e.blockedURI))`).Do(ctx)
			return err
		}),
		emulation.SetUserAgentOverride(userAgent),
		emulation.SetFocusEmulationEnabled(true), // each has the focus, as the windows of different people do
		emulation.SetTimezoneOverride("Asia/Tokyo"),
		emulation.SetDeviceMetricsOverride(1100, 800, 1, false),
	)
	if err != nil {
		t.Fatal("open a tab: ", err)
	}
	ctx, cancel = context.WithTimeout(ctx, patience)
	t.Cleanup(cancel)
	b.ctx = ctx
	t.Cleanup(b.checkComplaints)
	return b
}

func (b *tab) listen(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	complain := func(format string, args ...any) { b.complaints = append(b.complaints, fmt.Sprintf(format, args...)) }
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		complain("exception: %s", e.ExceptionDetails.Error())
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.APITypeError || e.Type == runtime.APITypeWarning || e.Type == runtime.APITypeAssert {
			var said []string
			for _, arg := range e.Args {
				said = append(said, string(arg.Value)+arg.Description)
			}
			complain("console %s: %s", e.Type, strings.Join(said, " "))
		}
	case *log.EventEntryAdded:
		if e.Entry.Level == log.LevelError || e.Entry.Level == log.LevelWarning || e.Entry.Source == log.SourceSecurity {
			complain("%s %s: %s %s", e.Entry.Source, e.Entry.Level, e.Entry.Text, e.Entry.URL)
		}
	case *network.EventRequestWillBeSent:
		path, ours := strings.CutPrefix(e.Request.URL, b.house.URL)
		if !ours && strings.HasPrefix(e.Request.URL, "http") && (b.apps == "" || !strings.Contains(e.Request.URL, b.apps)) {
			complain("request to elsewhere: %s", e.Request.URL)
		}
		b.sent = append(b.sent, e.Request.Method+" "+path)
	}
}

// provokes says that the test makes the browser, or htmx, write to the console that something could not be loaded, with
// this status or error.
func (b *tab) provokes(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.provoked = append(b.provoked, text)
}

func (b *tab) checkComplaints() {
	if b.ctx.Err() == nil {
		b.eval(`1`) // what the browser has to say has arrived before the answer
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, complaint := range b.complaints {
		ofNetwork := strings.HasPrefix(complaint, "network error: Failed to load resource:") || strings.HasPrefix(complaint, `console error: "htmx: htmx:error: Failed to fetch"`)
		if !ofNetwork || !slices.ContainsFunc(b.provoked, func(text string) bool { return strings.Contains(complaint, text) }) {
			b.t.Error("the browser complains:", complaint)
		}
	}
}

// requests returns the requests with a method to paths with a prefix.
func (b *tab) requests(start string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	count := 0
	for _, request := range b.sent {
		if strings.HasPrefix(request, start) {
			count++
		}
	}
	return count
}

func (b *tab) run(actions ...chromedp.Action) {
	b.t.Helper()
	if err := chromedp.Run(b.ctx, actions...); err != nil {
		b.t.Fatal(err)
	}
}

// eval evaluates an expression in the page, as JSON.
func (b *tab) eval(expression string) string {
	b.t.Helper()
	got, err := b.tryEval(expression)
	if err != nil {
		b.t.Fatalf("%s\n%v", expression, err)
	}
	return got
}

func (b *tab) tryEval(expression string) (string, error) {
	var got string
	err := chromedp.Run(b.ctx, chromedp.Evaluate(`JSON.stringify(`+expression+`) ?? 'undefined'`, &got))
	return got, err
}

// text is an expression that comes to a string. Both kinds of apostrophe are one here.
func (b *tab) text(expression string) string {
	b.t.Helper()
	var text string
	if err := json.Unmarshal([]byte(b.eval(expression)), &text); err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return plain(text)
}

func plain(text string) string { return strings.ReplaceAll(text, "’", "'") }

// same compares a text in the page with what it should be.
func (b *tab) same(expression, want string) {
	b.t.Helper()
	if got := b.text(expression); got != want {
		b.t.Errorf("%s\ngot  %q\nwant %q", expression, got, want)
	}
}

// holds checks that something is true now.
func (b *tab) holds(expression string) {
	b.t.Helper()
	if got := b.eval(expression); got != "true" {
		b.t.Errorf("%s is %s", expression, got)
	}
}

// until waits until something is true, even across page loads.
func (b *tab) until(expression string) {
	b.t.Helper()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		got, err := b.tryEval(`!!(` + expression + `)`)
		if got == "true" && err == nil {
			return
		}
		select {
		case <-again.C:
		case <-b.ctx.Done():
			b.t.Fatalf("never came true: %s (last: %s, %v)", expression, got, err)
		}
	}
}

// untilText waits for a text.
func (b *tab) untilText(expression, want string) {
	b.t.Helper()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		var got string
		said, err := b.tryEval(expression)
		if err == nil && json.Unmarshal([]byte(said), &got) == nil && plain(got) == want {
			return
		}
		select {
		case <-again.C:
		case <-b.ctx.Done():
			b.t.Fatalf("%s\ngot  %q (%v)\nwant %q", expression, plain(said), err, want)
		}
	}
}

// at waits until the page at a path has loaded.
func (b *tab) at(path string) {
	b.t.Helper()
	b.until(fmt.Sprintf(`location.pathname === %s && document.readyState === 'complete'`, quote(path)))
}

func (b *tab) visit(path string) {
	b.t.Helper()
	b.run(chromedp.Navigate(b.house.URL + path))
}

func (b *tab) reload() {
	b.t.Helper()
	b.run(chromedp.Reload())
}

// press presses keys, one after the other.
func (b *tab) press(keys ...string) {
	b.t.Helper()
	for _, key := range keys {
		b.run(chromedp.KeyEvent(key))
	}
}

func (b *tab) typeText(text string) {
	b.t.Helper()
	b.run(input.InsertText(text))
}

// tabTo presses Tab until an element has the focus.
func (b *tab) tabTo(element string) {
	b.t.Helper()
	for range 100 {
		if b.eval(`document.activeElement === `+element) == "true" {
			return
		}
		b.press(kb.Tab)
	}
	b.t.Fatalf("Tab does not get to %s", element)
}

// point is the middle of an element, scrolled into view.
func (b *tab) point(element string) (x, y float64) {
	b.t.Helper()
	var at []float64
	got := b.eval(`((e) => { e.scrollIntoView({block: 'center', behavior: 'instant'}); const r = e.getClientRects()[0]; return [r.x + r.width / 2, r.y + r.height / 2]; })(` + element + `)`)
	if err := json.Unmarshal([]byte(got), &at); err != nil || len(at) != 2 {
		b.t.Fatalf("no place of %s: %s", element, got)
	}
	return at[0], at[1]
}

// click clicks with the mouse as often as it says, so fast that the browser counts the clicks together.
func (b *tab) click(element string, times int) {
	b.t.Helper()
	x, y := b.point(element)
	for count := 1; count <= times; count++ {
		for _, kind := range []input.MouseType{input.MousePressed, input.MouseReleased} {
			b.run(input.DispatchMouseEvent(kind, x, y).WithButton(input.Left).WithClickCount(int64(count)))
		}
	}
}

// hold presses a key and holds it down while it repeats.
func (b *tab) hold(key, code, text string, keyCode int64, repeats int) {
	b.t.Helper()
	down := func(repeat bool) {
		b.run(input.DispatchKeyEvent(input.KeyDown).WithKey(key).WithCode(code).WithText(text).WithUnmodifiedText(text).
			WithWindowsVirtualKeyCode(keyCode).WithNativeVirtualKeyCode(keyCode).WithAutoRepeat(repeat))
	}
	down(false)
	for range repeats {
		down(true)
	}
	b.run(input.DispatchKeyEvent(input.KeyUp).WithKey(key).WithCode(code).WithWindowsVirtualKeyCode(keyCode).WithNativeVirtualKeyCode(keyCode))
}

// fill types into fields by their id: pairs of id and text.
func (b *tab) fill(values ...string) {
	b.t.Helper()
	for i := 0; i < len(values); i += 2 {
		field := `document.getElementById(` + quote(values[i]) + `)`
		b.click(field, 3) // selects what stands there
		b.until(`document.activeElement === ` + field)
		b.typeText(values[i+1])
	}
}

// signIn signs in at the page as a person does.
func (b *tab) signIn(name, password string) {
	b.t.Helper()
	b.visit("/login")
	b.fill("username", name, "password", password)
	b.press(kb.Enter)
	b.at("/sessions")
}

func quote(text string) string {
	quoted, _ := json.Marshal(text)
	return string(quoted)
}

// What the tests look for in the page.
const (
	statusText  = `document.getElementById('status').textContent`
	confirming  = `document.getElementById('confirming').textContent`
	othersTitle = `document.getElementById('others').textContent`
	focused     = `document.activeElement`
	bulkButton  = `document.querySelector('.heading button')`
	otherRows   = `document.querySelectorAll('#other-devices > li').length`
	armedCount  = `document.querySelectorAll('.armed').length`
	pageText    = `document.body.innerText`
)

// buttonOf is the Sign out button of the other device with an IP address.
func buttonOf(ip string) string {
	return `[...document.querySelectorAll('#other-devices button[data-confirm]')].find((b) => b.textContent.endsWith(` + quote(", "+ip) + `))`
}

// rowOf is the row of a device, this one included.
func rowOf(ip string) string {
	return `[...document.querySelectorAll('.device')].find((d) => d.querySelector('.facts').textContent.includes(` + quote("IP "+ip) + `))`
}

// device is a device for seed, by its name and IP address.
func device(name, ip string) db.NewSession {
	return db.NewSession{Client: db.Client{DeviceName: name, DeviceKind: "desktop", UserAgent: handlerstest.FirefoxOnLinux, IP: ip}}
}

// seed signs a user in on devices, a minute apart, and returns the ids of the sessions. The last one is first in the list.
func seed(h *handlerstest.House, user db.User, devices ...db.NewSession) (ids []string) {
	h.T.Helper()
	for _, d := range devices {
		h.Clock.Advance(time.Minute)
		_, session, err := h.Store.SignIn(context.Background(), user, d)
		if err != nil {
			h.T.Fatal(err)
		}
		ids = append(ids, session.ID)
	}
	h.Clock.Advance(time.Minute)
	return ids
}

// browserOfAlice is a house in which alice has the devices, and a tab in which she has signed in and sees them.
func (c *chromiumProcess) browserOfAlice(t *testing.T, devices ...db.NewSession) (*tab, []string) {
	t.Helper()
	h := handlerstest.OpenHouse(t)
	ids := seed(h, h.AddUser("alice", handlerstest.AlicePassword), devices...)
	b := c.newTab(t, h, handlerstest.FirefoxOnLinux)
	b.signIn("alice", handlerstest.AlicePassword)
	return b, ids
}

// devtools calls the DevTools protocol directly, because the library may be older than the browser.
func (b *tab) devtools(method string, answer any) {
	b.t.Helper()
	b.run(chromedp.ActionFunc(func(ctx context.Context) error {
		return cdp.Execute(ctx, method, nil, answer)
	}))
}
