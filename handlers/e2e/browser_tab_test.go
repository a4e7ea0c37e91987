package e2e

import (
	"context"
	"encoding/json"
	"fmt"
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

	"porchlight/handlers/handlerstest"
)

// This file has the browser of the tests, and what they do with its tabs.

type tab struct {
	t     *testing.T
	ctx   context.Context
	house *handlerstest.House
	apps  string // a text in the URL of every app that the tab may also visit; "" means none

	mu         sync.Mutex
	complaints []string
	provoked   []string
	sent       []string // "DELETE /sessions/…", in order
}

func (c *chromiumProcess) newTab(t *testing.T, h *handlerstest.House, userAgent string) *tab {
	t.Helper()
	// chromedp itself opens no window, and without one a new browser context has no tab.
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
			_, err := page.AddScriptToEvaluateOnNewDocument(`addEventListener('securitypolicyviolation', (e) => {
				console.error('Content-Security-Policy:', e.violatedDirective, e.blockedURI);
			})`).Do(ctx)
			return err
		}),
		emulation.SetUserAgentOverride(userAgent),
		emulation.SetFocusEmulationEnabled(true), // each tab has the focus, as if it belonged to another person
		emulation.SetTimezoneOverride("Asia/Tokyo"),
		emulation.SetLocaleOverride().WithLocale("en-GB"),
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

func (b *tab) provokes(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.provoked = append(b.provoked, text)
}

func (b *tab) checkComplaints() {
	if b.ctx.Err() == nil {
		b.eval(`1`) // the browser's messages arrive before the answer
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, complaint := range b.complaints {
		ofNetwork := strings.HasPrefix(complaint, "network error: Failed to load resource:") ||
			strings.HasPrefix(complaint, `console error: "htmx: htmx:error: Failed to fetch"`)
		if !ofNetwork || !slices.ContainsFunc(b.provoked, func(text string) bool { return strings.Contains(complaint, text) }) {
			b.t.Error("the browser reports:", complaint)
		}
	}
}

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

func (b *tab) text(expression string) string {
	b.t.Helper()
	var text string
	if err := json.Unmarshal([]byte(b.eval(expression)), &text); err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return plain(text)
}

func (b *tab) same(expression, want string) {
	b.t.Helper()
	if got := b.text(expression); got != want {
		b.t.Errorf("%s\ngot  %q\nwant %q", expression, got, want)
	}
}

func (b *tab) holds(expression string) {
	b.t.Helper()
	if got := b.eval(expression); got != "true" {
		b.t.Errorf("%s is %s", expression, got)
	}
}

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

func (b *tab) point(element string) (x, y float64) {
	b.t.Helper()
	var at []float64
	got := b.eval(`((e) => {
		e.scrollIntoView({block: 'center', behavior: 'instant'});
		const r = e.getClientRects()[0];
		return [r.x + r.width / 2, r.y + r.height / 2];
	})(` + element + `)`)
	if err := json.Unmarshal([]byte(got), &at); err != nil || len(at) != 2 {
		b.t.Fatalf("%s has no position: %s", element, got)
	}
	return at[0], at[1]
}

func (b *tab) click(element string, times int) {
	b.t.Helper()
	x, y := b.point(element)
	for count := 1; count <= times; count++ {
		for _, kind := range []input.MouseType{input.MousePressed, input.MouseReleased} {
			b.run(input.DispatchMouseEvent(kind, x, y).WithButton(input.Left).WithClickCount(int64(count)))
		}
	}
}

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

func (b *tab) fill(values ...string) {
	b.t.Helper()
	for i := 0; i < len(values); i += 2 {
		field := `document.getElementById(` + quote(values[i]) + `)`
		b.click(field, 3) // selects the text
		b.until(`document.activeElement === ` + field)
		b.typeText(values[i+1])
	}
}
