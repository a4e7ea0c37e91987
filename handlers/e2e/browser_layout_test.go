package e2e

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp/kb"

	"porchlight/db"
	"porchlight/handlers"
	"porchlight/handlers/handlerstest"
)

// This file tests the layout of every page, narrow and wide, light and dark.

const layoutFaults = `(() => {
	const faults = [], name = (e) => e.tagName + (e.id ? '#' + e.id : '') + '.' + e.className + ' "' + e.textContent.trim().slice(0, 30) + '"';
	const hidden = (e) => e.closest('.hidden, [hidden], script, style, .skip:not(:focus)') || !e.checkVisibility();
	if (document.documentElement.scrollWidth > innerWidth) faults.push('page is ' + document.documentElement.scrollWidth + ' wide');
	for (const e of document.body.querySelectorAll('*')) {
		if (hidden(e)) continue;
		const r = e.getBoundingClientRect(), style = getComputedStyle(e);
		if (r.width && (r.right > innerWidth + 0.5 || r.left < -0.5)) faults.push('sticks out: ' + name(e));
		if (e.scrollWidth > e.clientWidth + 1 && e.clientWidth && style.overflowX !== 'visible' && e.tagName !== 'INPUT') {
			faults.push('cut off: ' + name(e));
		}
		const hasText = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
		const smallest = e.matches('.pill, .chip') ? 14 : 16;
		if (parseFloat(style.fontSize) < smallest && hasText) faults.push('text of ' + style.fontSize + ': ' + name(e));
		if (e.matches('a[href], button, input:not([type=hidden]), summary, select, textarea')) {
			const box = e.type === 'checkbox' ? e.labels[0].getBoundingClientRect() : r;
			const inText = e.tagName === 'A' && style.display === 'inline' && e.closest('p, .entries');
			if (!inText && box.height < 44) faults.push(box.height + ' high: ' + name(e));
			if (!inText && box.width < 44) faults.push(box.width + ' wide: ' + name(e));
		}
	}
	return faults;
})()`

func fitsEveryScreen(t *testing.T, c *chromiumProcess) {
	h := handlerstest.OpenHouse(t, func(o *handlers.Options) { o.Signup = true })
	ids := seed(h, h.AddUser("alice", handlerstest.AlicePassword), manyDevices(25)...)
	b := c.newTab(t, h, handlerstest.FirefoxOnLinux)
	fresh := handlerstest.OpenHouse(t, func(o *handlers.Options) { o.SetupToken = "token" })
	setup := c.newTab(t, fresh, handlerstest.FirefoxOnLinux)
	for _, browser := range []*tab{b, setup} {
		for _, status := range []string{"403", "404", "422"} {
			browser.provokes("status of " + status)
		}
	}

	check := func(what string, b *tab) {
		t.Helper()
		b.checkLayout(what)
	}

	setup.visit("/setup?token=token")
	check("set-up", setup)
	setup.fill("username", "?", "password", "short")
	setup.press(kb.Enter)
	setup.until(`document.querySelector('.errors') && document.readyState === 'complete'`)
	check("set-up with errors", setup)
	setup.visit("/setup?token=wrong")
	check("wrong set-up link", setup)

	b.visit("/login")
	check("sign in", b)
	b.fill("username", "alice", "password", "wrong")
	b.press(kb.Enter)
	b.until(`document.querySelector('.errors') && document.readyState === 'complete'`)
	check("sign in with an error", b)
	b.visit("/signup")
	check("sign up", b)
	b.signIn("alice", handlerstest.AlicePassword)
	b.visit("/sessions?all=1&done=revoked")
	b.eval(`document.querySelectorAll('details').forEach((d, i) => d.open = i < 4)`)
	b.eval(`(document.querySelectorAll('#other-devices button[data-confirm]')[1].click(), 1)`)
	b.holds(armedCount + ` === 1`)
	check("devices", b)
	for _, width := range []int64{320, 500, 1100} { // the button stays at the top right of its row
		b.run(emulation.SetDeviceMetricsOverride(width, 800, 1, false))
		b.until(fmt.Sprintf(`innerWidth === %d`, width))
		b.holds(`[...document.querySelectorAll('#other-devices .device')].every((row) => {
			const box = row.getBoundingClientRect(), button = row.querySelector('button[hx-delete]').getBoundingClientRect();
			return button.top - box.top < 20 && box.right - button.right < 20;
		})`)
	}
	b.visit("/activity")
	check("activity", b)
	b.visit("/account?done=password")
	check("account", b)
	b.visit("/account/security?done=totp-removed")
	check("security without a second factor", b)
	b.click(`document.querySelector('[action="/account/totp/begin"] button')`, 1)
	b.at("/account/totp/begin")
	check("set up an authenticator app", b)
	secret := b.text(`document.querySelector('.secret').textContent`)
	b.fill("code", "000000")
	b.press(kb.Enter)
	b.until(`document.querySelector('.errors') && document.readyState === 'complete'`)
	check("set up an authenticator app with an error", b)
	b.fill("code", handlerstest.TOTP(t, secret, h.Clock.Now()))
	b.press(kb.Enter)
	b.untilText(`document.querySelector('h1').textContent`, "Your recovery codes")
	b.holds(`location.pathname === '/account/security'`) // so that a reload does not send the form again
	check("recovery codes", b)
	b.visit("/account/security")
	check("security", b)
	h.Clock.Advance(db.ConfirmLifetime)
	b.visit("/confirm?next=/account/security")
	check("confirm it's you", b)
	b.visit("/logout")
	check("sign out", b)
	b.visit("/nowhere")
	check("error", b)
	b.openConfirm(ids[1])
	check("the page that asks", b)
	b.visit("/sessions")
	b.click(`document.querySelector('.sign-out button')`, 1)
	b.at("/login")
	b.fill("username", "alice", "password", handlerstest.AlicePassword)
	b.press(kb.Enter)
	b.at("/login/code")
	check("code", b)
	b.fill("code", "000000")
	b.press(kb.Enter)
	b.until(`document.querySelector('.errors') && document.readyState === 'complete'`)
	check("code with an error", b)
}

func showsAdminPagesOnEveryScreen(t *testing.T, c *chromiumProcess) {
	h := handlerstest.OpenHouse(t, func(o *handlers.Options) { o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")} })
	seed(h, h.AddUser("alice", handlerstest.AlicePassword), manyDevices(5)...)
	const longest = "a-username.of-the.greatest-lengt"
	h.AddUser(longest, handlerstest.BobPassword)
	h.Exec(`UPDATE users SET approved = 0, email = 'somebody.with-a-very-long-address@mail.subdomain.example.com' WHERE id = 2`)
	for _, rule := range []db.AppRule{
		{Host: "127.0.0.1", Admins: true, Groups: []string{"family", strings.Repeat("x", 32)}},
		{Host: "*.the-longest-name-of-a-domain-that-somebody-may-have.example.com", Everyone: true},
	} {
		if _, err := h.Store.AllowApp(t.Context(), db.CommandLine, rule); err != nil {
			t.Fatal(err)
		}
	}
	for _, newUser := range []db.NewUser{
		{Username: longest}, {Username: "another-" + longest[8:], Email: strings.Repeat("x", 64) + "@example.com", IsAdmin: true,
			Groups: []string{"family", strings.Repeat("x", 32)}},
	} {
		if _, _, err := h.Store.Invite(t.Context(), db.CommandLine, newUser); err != nil {
			t.Fatal(err)
		}
	}
	refused := h.SignIn(longest, handlerstest.BobPassword, handlerstest.ChromeOnMac).Do("GET", "/auth/forward", "",
		"X-Forwarded-Method", "GET", "X-Forwarded-Proto", "http", "X-Forwarded-Host", "127.0.0.1", "X-Forwarded-Uri", "/")
	refused.Is(t, 403)
	b := c.newTab(t, h, handlerstest.FirefoxOnLinux)
	b.provokes("status of 422")
	b.signIn("alice", handlerstest.AlicePassword)
	for _, path := range []string{
		"/sessions", "/account", "/admin/apps", "/admin/apps?app=127.0.0.1&person=" + longest, "/admin/apps?person=bob&app=-",
		"/admin/users", "/admin/sessions", "/admin/sessions?person=nobody", "/admin/activity", "/admin/activity?person=nobody", "/admin/proxy",
		"/admin/users/1", "/admin/users/2", "/admin/users?q=nobody", "/admin/users?waiting=1",
	} {
		b.visit(path)
		b.checkLayout(path)
	}
	b.visit("/admin/users")
	b.fill("username", "?", "email", "?@", "groups", "admins")
	b.eval(`(document.querySelector('[action="/admin/users/invite"]').noValidate = true, 1)`)
	b.press(kb.Enter)
	b.until(`document.querySelector('.errors') && document.readyState === 'complete'`)
	b.checkLayout("an invitation with errors")
	b.fill("username", "carol", "email", "", "groups", "")
	b.press(kb.Enter)
	b.until(`document.getElementById('link') && document.readyState === 'complete'`)
	b.checkLayout("an invitation")
	b.visit("/admin/users?invited_after=zz&done=uninvited")
	b.checkLayout("no pending invitations")
	b.visit("/admin/users")
	b.eval(`setTimeout(() => document.querySelector('#invitations form').submit())`)
	b.until(title + `.startsWith('Cancel the invitation') && document.readyState === 'complete'`)
	b.checkLayout("the page that asks, for an invitation")
	for _, change := range []string{"revoke", "disable", "unmake-admin", "reset-second-factor", "delete"} {
		b.post("/admin/users/2/" + change)
		b.checkLayout("the page that asks, for " + change)
	}
}

// checkLayout fails the test if the page does not fit a screen: narrow or wide, light or dark, or with forced colours.
func (b *tab) checkLayout(what string) {
	b.t.Helper()
	reported := map[string]bool{} // once for each page
	report := func(fault, where string) {
		b.t.Helper()
		if fault != "" && !reported[fault] {
			reported[fault] = true
			b.t.Errorf("%s, %s: %s", what, where, fault)
		}
	}
	for _, width := range []int64{320, 1100} {
		for _, media := range []struct{ scheme, forced string }{{"light", "none"}, {"dark", "none"}, {"dark", "active"}} {
			b.run(
				emulation.SetDeviceMetricsOverride(width, 800, 1, false),
				emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{
					{Name: "prefers-color-scheme", Value: media.scheme}, {Name: "forced-colors", Value: media.forced},
					{Name: "prefers-reduced-motion", Value: "reduce"},
				}),
			)
			b.until(fmt.Sprintf(`innerWidth === %d && matchMedia('(forced-colors: %s) and (prefers-color-scheme: %s)').matches`,
				width, media.forced, media.scheme))
			var faults []string
			if err := json.Unmarshal([]byte(b.eval(layoutFaults)), &faults); err != nil {
				b.t.Fatal(err)
			}
			where := fmt.Sprintf("%d px, %s, forced colours %s", width, media.scheme, media.forced)
			for _, fault := range faults {
				report(fault, where)
			}
			if width > 1000 && media.forced == "none" {
				for _, fault := range b.axeFaults() {
					report(fault, where)
				}
			}
			for range 12 {
				b.press(kb.Tab)
				report(b.text(focusFault), where)
			}
		}
	}
}

const focusFault = `((e) => {
	if (e === document.body) return '';
	const s = getComputedStyle(e), r = e.getBoundingClientRect(), name = e.tagName + ' ' + (e.id || e.textContent.trim().slice(0, 30));
	if (s.outlineStyle === 'none' || parseFloat(s.outlineWidth) < 3) return 'ring of ' + s.outlineStyle + ' ' + s.outlineWidth + ': ' + name;
	if (e.matches('.skip') && r.height < 44) return r.height + ' high: ' + name;
	if (r.bottom < 0 || r.top > innerHeight) return 'out of sight: ' + name;
	return '';
})(document.activeElement)`
