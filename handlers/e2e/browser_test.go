package e2e

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
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
		{"errors in forms", showsErrorsInForms},
		{"an invitation", acceptsAnInvitation},
		{"deleting an account", deletesAnAccount},
		{"names and roles", namesEverything},
		{"times of the reader", saysTimesOfTheReader},
		{"days of the reader", groupsByDaysOfTheReader},
		{"open pages follow", followsTheOthers},
		{"a hidden page catches up", catchesUp},
		{"a page makes room", makesRoom},
		{"a stolen cookie", seesAnotherBrowser},
		{"axe-core", hasAxe},
		{"layout", fitsEveryScreen},
		{"layout for administrators", showsAdminPagesOnEveryScreen},
		{"an administrator ends the sessions of others", endsSessionsOfOthers},
		{"an administrator cancels invitations", cancelsInvitations},
		{"an administrator copies a link", copiesALink},
		{"an administrator without JavaScript", administersWithoutJavaScript},
		{"everybody's sessions", endsTickedSessions},
		{"rules", changesRules},
		{"the list is morphed", morphsTheList},
		{"rows come and go", movesRows},
		{"half a second", asksForHalfASecond},
		{"nothing moves", movesNothing},
		{"the filter", filtersALongList},
		{"print", printsADocument},
		{"said once", saysItOnce},
		{"each form once", sendsEachFormOnce},
		{"a name once", savesANameOnce},
		{"times stay true", keepsTimesTrue},
		{"an authenticator app", usesAnAuthenticatorApp},
		{"apps behind a proxy", opensAppsBehindAProxy},
		{"an app that is not open", isRefusedUnderTheApp},
		{"cookies of the apps", forgetsTheApps},
		{"app keys", makesAKey},
		{"mail: a forgotten password", findsTheWayBack},
		{"mail: this wasn't me", throwsOutAThief},
		{"mail: layout", showsMailPagesOnEveryScreen},
		{"mail: each form once", sendsEachMailFormOnce},
		{"passkeys: sign in", signsInWithAPasskey},
		{"passkeys: from the username field", signsInFromTheUsernameField},
		{"passkeys: after the password", usesAPasskeyAfterThePassword},
		{"passkeys: confirm", confirmsWithAPasskey},
		{"passkeys: a forged one", refusesAForgedPasskey},
		{"passkeys: a copied one", refusesACopiedPasskey},
		{"passkeys: the user is verified", needsAVerifiedUser},
		{"passkeys: two users", sharesAnAuthenticator},
		{"passkeys: a removed one", removesAPasskey},
		{"passkeys: without JavaScript", needsJavaScriptForPasskeys},
		{"passkeys: layout and names", showsPasskeysOnEveryScreen},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, chromium) })
	}
}

// patience is how long a test in the browser may take before it fails.
const patience = 90 * time.Second

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

// plain makes both kinds of apostrophe one.
func plain(text string) string { return strings.ReplaceAll(text, "’", "'") }

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

// These expressions read the page.
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
	return `[...document.querySelectorAll('#other-devices button[data-confirm]')]
		.find((b) => b.textContent.includes(` + quote(", "+ip+", ") + `))`
}

// rowOf is the row of a device, this one included.
func rowOf(ip string) string {
	return `[...document.querySelectorAll('.devices > .device')]
		.find((d) => [...d.querySelectorAll('.facts span')].some((s) => s.textContent === ` + quote(ip) + `))`
}

// headingOf is the heading of a device's row, which gets the focus after the row before it has gone.
func headingOf(ip string) string { return rowOf(ip) + `.querySelector('h3')` }

// signedOut is what the status says after one device was signed out.
func signedOut(name, ip string) string {
	return "Signed out " + name + ", " + ip + ". Not yours? Change your password."
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
