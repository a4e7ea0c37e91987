package handlers_test

import (
	"fmt"
	"html"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"porchlight/handlers"
)

// This file owns the page on which an administrator sees what is believed about the request that asks for it.

// facts returns the rows of a section of the page: by name, the value and the note beside it.
func facts(t testing.TB, got answer, section string) map[string]string {
	t.Helper()
	got.is(t, 200)
	_, rest, found := strings.Cut(got.body, `<h2 id="`+section+`">`)
	if !found {
		t.Fatalf("no section %s: %s", section, got.body)
	}
	rest, _, _ = strings.Cut(rest, "</section>")
	all := map[string]string{}
	for _, fact := range regexp.MustCompile(`(?s)<dt>(.*?)</dt><dd>(.*?)</dd>`).FindAllStringSubmatch(rest, -1) {
		all[fact[1]] = html.UnescapeString(strings.Join(strings.Fields(markup.ReplaceAllString(fact[2], "")), " "))
	}
	return all
}

func wantFacts(t testing.TB, got answer, section string, want map[string]string) {
	t.Helper()
	if told := facts(t, got, section); fmt.Sprint(told) != fmt.Sprint(want) {
		t.Errorf("%s:\n got %q\nwant %q", section, told, want)
	}
}

// The warnings, by the words that tell them apart.
const (
	warnsOfIgnored   = "sent forwarded headers, and they were ignored"
	warnsOfElsewhere = "This request did not come to"
	warnsOfOneIP     = "All live sessions were begun from"
)

func (a answer) warns(t testing.TB, warnings ...string) {
	t.Helper()
	for _, warning := range []string{warnsOfIgnored, warnsOfElsewhere, warnsOfOneIP} {
		wanted := strings.Contains(strings.Join(warnings, " "), warning)
		if wanted != strings.Contains(a.body, warning) {
			t.Errorf("%q: shown %v, want %v", warning, !wanted, wanted)
		}
	}
	if count := strings.Count(a.body, `<p class="notice"`); count != len(warnings) {
		t.Errorf("%d notices, want %d", count, len(warnings))
	}
}

func TestProxyPageIsForAdministrators(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.alice.page("/admin/proxy").is(t, 200)
	for _, method := range []string{"GET", "HEAD"} {
		got := c.bob.do(method, "/admin/proxy", "", "Accept", browserAccept, "X-Forwarded-For", "198.51.100.1")
		got.is(t, 403)
		got.lacks(t, "198.51.100.1", "--trusted-proxies", "127.0.0.1")
	}
	c.bob.page("/admin/proxy").has(t, "Only an administrator can see this")
	c.newClient(firefoxOnLinux).page("/admin/proxy").is(t, 303, "/login?next=%2Fadmin%2Fproxy")
	c.alice.do("POST", "/admin/proxy", "").is(t, 405)
	// A path that does not exist tells others nothing, and a route that is added is shut to them from the start.
	for _, method := range []string{"GET", "POST"} {
		c.alice.do(method, "/admin/nowhere", "").is(t, 404)
		c.bob.do(method, "/admin/nowhere", "").is(t, 403)
	}
	c.bob.do("POST", "/admin/proxy", "").is(t, 403)
	// From the moment on at which that changes.
	c.exec(`UPDATE users SET is_admin = 1 WHERE username = 'bob'`)
	c.bob.page("/admin/proxy").is(t, 200)
	c.exec(`UPDATE users SET is_admin = 0 WHERE username = 'alice'`)
	c.alice.page("/admin/proxy").is(t, 403)
}

func TestAccountPageLinksToTheProxyPage(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.alice.page("/account").has(t, `<a href="/admin/proxy">`)
	c.bob.page("/account").lacks(t, "/admin/", "administrator")
	// With what was wrong about the form, too.
	c.alice.form("/account/password", "current_password", "x", "new_password", "x").has(t, `<a href="/admin/proxy">`)
	c.bob.form("/account/password", "current_password", "x", "new_password", "x").lacks(t, "/admin/")
}

func TestProxyPageDirectly(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.exec(`UPDATE sessions SET ip = '203.0.113.5' WHERE id = ?`, c.bob.id)
	got := c.alice.page("/admin/proxy")
	got.warns(t)
	wantFacts(t, got, "believed", map[string]string{
		"Client address": "127.0.0.1, from the connection itself", "Scheme": "http, from the connection itself", "Host": c.at + ", from Host, which 127.0.0.1 sent", "Connected by": "127.0.0.1, not in --trusted-proxies",
	})
	wantFacts(t, got, "received", map[string]string{"Host": c.at + ", counts where no believed X-Forwarded-Host is"})
	wantFacts(t, got, "settings", map[string]string{"--url": c.url, "--cookie-domain": "none", "--trusted-proxies": "none"})
}

func TestProxyPageThroughATrustedProxy(t *testing.T) {
	t.Parallel()
	c := openCast(t, behindProxy)
	c.exec(`UPDATE sessions SET ip = '203.0.113.5' WHERE id = ?`, c.bob.id)
	got := c.alice.page("/admin/proxy", "Cookie", withCookie(c.alice.token()), "Host", "10.0.0.7:3000", "X-Forwarded-For", "1.2.3.4, 198.51.100.1", "X-Forwarded-For", "10.0.0.2", "X-Forwarded-Proto", "http, https", "X-Forwarded-Host", "auth.example.com, inner.example.com", "X-Real-IP", "9.9.9.9", "Forwarded", "for=8.8.8.8")
	got.warns(t)
	wantFacts(t, got, "believed", map[string]string{
		"Client address": "198.51.100.1, from X-Forwarded-For, which 127.0.0.1 sent", "Scheme": "http, from X-Forwarded-Proto, which 127.0.0.1 sent", "Host": "auth.example.com, from X-Forwarded-Host, which 127.0.0.1 sent", "Connected by": "127.0.0.1, in --trusted-proxies",
	})
	wantFacts(t, got, "received", map[string]string{
		"Host":            "10.0.0.7:3000, counts where no believed X-Forwarded-Host is",
		"X-Forwarded-For": "1.2.3.4, 198.51.100.1, 10.0.0.2, believed: the last 2 of them; what stands before, anybody can write", "X-Forwarded-Proto": "http, https, believed", "X-Forwarded-Host": "auth.example.com, inner.example.com, believed",
		"X-Real-IP": "9.9.9.9, never read", "Forwarded": "for=8.8.8.8, never read",
	})
	wantFacts(t, got, "settings", map[string]string{"--url": publicURL, "--cookie-domain": "example.com", "--trusted-proxies": "127.0.0.1, 10.0.0.0/8"})
	// Without its headers a trusted proxy is the client itself.
	got = c.alice.page("/admin/proxy")
	got.warns(t)
	if told := facts(t, got, "believed")["Client address"]; told != "127.0.0.1, from the connection itself" {
		t.Errorf("client address: %q", told)
	}
}

// Most likely somebody forgot to name the proxy: the page says which address to name.
func TestProxyPageThroughAStranger(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.exec(`UPDATE sessions SET ip = '203.0.113.5' WHERE id = ?`, c.bob.id)
	for _, header := range []string{"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host"} {
		t.Run(header, func(t *testing.T) {
			got := c.alice.page("/admin/proxy", header, "198.51.100.1")
			got.warns(t, warnsOfIgnored)
			got.has(t, "127.0.0.1 sent forwarded headers, and they were ignored", "<code>--trusted-proxies 127.0.0.1</code>")
			wantFacts(t, got, "believed", map[string]string{
				"Client address": "127.0.0.1, from the connection itself", "Scheme": "http, from the connection itself", "Host": c.at + ", from Host, which 127.0.0.1 sent", "Connected by": "127.0.0.1, not in --trusted-proxies",
			})
			wantFacts(t, got, "received", map[string]string{"Host": c.at + ", counts where no believed X-Forwarded-Host is", header: "198.51.100.1, ignored: 127.0.0.1 is not in --trusted-proxies"})
		})
	}
	got := c.alice.page("/admin/proxy", "X-Real-Ip", "198.51.100.1", "Forwarded", "for=198.51.100.1")
	got.warns(t) // nobody reads these, so nothing was ignored
}

func TestProxyPageAtAnotherAddress(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		headers   []string
		elsewhere bool
	}{
		"the public one":               {nil, false},
		"the public one, in capitals":  {[]string{"Host", "AUTH.example.com"}, false},
		"the public one, by its port":  {[]string{"Host", "auth.example.com:80"}, false},
		"the public one, by the proxy": {[]string{"Host", "10.0.0.7:3000", "X-Forwarded-Host", "auth.example.com"}, false},
		"another host":                 {[]string{"Host", "10.0.0.7:3000"}, true},
		"another host, by the proxy":   {[]string{"X-Forwarded-Host", "wrong.example.com"}, true},
		"another port":                 {[]string{"Host", "auth.example.com:8080"}, true},
		"another scheme":               {[]string{"X-Forwarded-Proto", "https"}, true},
		"another scheme, and its port": {[]string{"X-Forwarded-Proto", "https", "X-Forwarded-Host", "auth.example.com:443"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			c := openCast(t, behindProxy)
			c.exec(`UPDATE sessions SET ip = '203.0.113.5' WHERE id = ?`, c.bob.id)
			got := c.newClient(firefoxOnLinux).page("/admin/proxy", append([]string{"Cookie", withCookie(c.alice.token())}, test.headers...)...)
			if test.elsewhere {
				got.warns(t, warnsOfElsewhere)
				got.has(t, "did not come to "+publicURL+", the address in <code>--url</code>")
			} else {
				got.warns(t)
			}
		})
	}
	// Over https the proxy has to say so.
	h := openHouse(t, func(o *handlers.Options) {
		o.URL = &url.URL{Scheme: "https", Host: "auth.example.com"}
		o.TrustedProxies = localProxies
	})
	h.addUser("alice", alicePassword)
	_, token := h.signInTo("")
	h.exec(`UPDATE sessions SET ip = '203.0.113.5'`)
	cookie := []string{"Cookie", "__Host-porchlight=" + token, "Host", "auth.example.com"}
	h.newClient(firefoxOnLinux).page("/admin/proxy", cookie...).warns(t, warnsOfElsewhere)
	h.newClient(firefoxOnLinux).page("/admin/proxy", append(cookie, "X-Forwarded-Proto", "https")...).warns(t)
}

// When everybody seems to sit at one private address, that is a proxy's.
func TestProxyPageOfSessionsFromOneAddress(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	got := c.alice.page("/admin/proxy") // three sessions from 127.0.0.1
	got.warns(t, warnsOfOneIP)
	got.has(t, warnsOfOneIP+" 127.0.0.1, a private address.")
	for ip, private := range map[string]bool{
		"10.1.2.3": true, "172.17.0.1": true, "172.31.255.255": true, "192.168.1.1": true, "169.254.1.1": true, "fd00::1": true, "fe80::1": true, "::1": true, "127.9.9.9": true,
		"203.0.113.5": false, "8.8.8.8": false, "2001:db8::1": false, "172.32.0.1": false, "11.0.0.1": false, "": false, "nonsense": false,
	} {
		t.Run(ip, func(t *testing.T) {
			c.exec(`UPDATE sessions SET ip = ?`, ip)
			got := c.alice.page("/admin/proxy")
			if !private {
				got.warns(t)
				return
			}
			got.warns(t, warnsOfOneIP)
			got.has(t, warnsOfOneIP+" "+ip+",")
		})
	}
	c.exec(`UPDATE sessions SET ip = '172.17.0.1'`)
	c.exec(`UPDATE sessions SET ip = '172.17.0.2' WHERE id = ?`, c.bob.id)
	c.alice.page("/admin/proxy").warns(t) // one differs
	c.exec(`UPDATE sessions SET expires_at = ? WHERE id = ?`, c.clock.Now().UnixMilli(), c.bob.id)
	c.alice.page("/admin/proxy").warns(t, warnsOfOneIP) // that session has ended
	c.exec(`UPDATE sessions SET expires_at = ? WHERE id = ?`, c.clock.Now().UnixMilli(), c.alicePhone.id)
	c.alice.page("/admin/proxy").warns(t, warnsOfOneIP) // a fresh server has only one session
}

func TestProxyPageShowsText(t *testing.T) {
	t.Parallel()
	const hostile = `<img src=x onerror=alert(1)>"'&{{.}}`
	escaped := "&lt;img src=x onerror=alert(1)&gt;&#34;&#39;&amp;{{.}}"
	for name, change := range map[string]func(*handlers.Options){"trusted": behindProxy, "a stranger": func(*handlers.Options) {}} {
		t.Run(name, func(t *testing.T) {
			c := openCast(t, change)
			got := c.alice.page("/admin/proxy", "X-Forwarded-For", hostile, "X-Forwarded-Proto", hostile, "X-Forwarded-Host", hostile, "X-Real-Ip", hostile, "Forwarded", hostile)
			got.is(t, 200)
			got.lacks(t, "<img", hostile)
			want := 5
			if name == "trusted" {
				want = 7 // the scheme and the host, as they are believed
			}
			if count := strings.Count(got.body, escaped); count != want {
				t.Errorf("shown %d times as text, want %d", count, want)
			}
			checkSecurityHeaders(t, got)
		})
	}
}

// The cookie came with the same request: it is not shown.
func TestProxyPageShowsNoSecret(t *testing.T) {
	t.Parallel()
	c := openCast(t, behindProxy)
	c.alice.page("/admin/proxy", "Authorization", "Bearer "+c.alice.token()).lacks(t, c.alice.token(), sha256Hex(c.alice.token()), "Authorization", "Cookie:")
}

func TestProxyPageDatabaseGone(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	if err := c.store.Close(); err != nil {
		t.Fatal(err)
	}
	checkUnavailable(t, c.alice.page("/admin/proxy"), false)
}
