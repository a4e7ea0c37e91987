package handlers_test

import (
	"fmt"
	"html"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"porchlight/handlers"
	"porchlight/handlers/handlerstest"
)

// This file tests /admin/proxy, which shows an administrator what Porchlight believes about the request.

// facts returns the rows of a section of the page: the name, and the value with its note.
func facts(t testing.TB, got handlerstest.Answer, section string) map[string]string {
	t.Helper()
	got.Is(t, 200)
	_, rest, found := strings.Cut(got.Body, `<h2 id="`+section+`">`)
	if !found {
		t.Fatalf("no section %s: %s", section, got.Body)
	}
	rest, _, _ = strings.Cut(rest, "</section>")
	all := map[string]string{}
	for _, fact := range regexp.MustCompile(`(?s)<dt>(.*?)</dt><dd>(.*?)</dd>`).FindAllStringSubmatch(rest, -1) {
		all[fact[1]] = html.UnescapeString(strings.Join(strings.Fields(markup.ReplaceAllString(fact[2], "")), " "))
	}
	return all
}

func wantFacts(t testing.TB, got handlerstest.Answer, section string, want map[string]string) {
	t.Helper()
	if shown := facts(t, got, section); fmt.Sprint(shown) != fmt.Sprint(want) {
		t.Errorf("%s:\n got %q\nwant %q", section, shown, want)
	}
}

// These words identify each warning.
const (
	warnsOfIgnored   = "sent forwarded headers, and they were ignored"
	warnsOfElsewhere = "This request did not come to"
	warnsOfUnguarded = "So every auth check is refused"
	warnsOfOneIP     = "All live sessions began from"
)

func warns(t testing.TB, a handlerstest.Answer, warnings ...string) {
	t.Helper()
	for _, warning := range []string{warnsOfIgnored, warnsOfElsewhere, warnsOfUnguarded, warnsOfOneIP} {
		wanted := strings.Contains(strings.Join(warnings, " "), warning)
		if wanted != strings.Contains(a.Body, warning) {
			t.Errorf("%q: shown %v, want %v", warning, !wanted, wanted)
		}
	}
	if count := strings.Count(a.Body, `<p class="notice"`); count != len(warnings) {
		t.Errorf("%d notices, want %d", count, len(warnings))
	}
	a.Has(t, "<strong>"+[]string{"Looks right", "1 thing to fix", "2 things to fix"}[len(warnings)]+"</strong>")
}

func TestProxyPageIsForAdministrators(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	c.Alice.Page("/admin/proxy").Is(t, 200)
	for _, method := range []string{"GET", "HEAD"} {
		got := c.Bob.Do(method, "/admin/proxy", "", "Accept", handlerstest.BrowserAccept, "X-Forwarded-For", "198.51.100.1")
		got.Is(t, 403)
		got.Lacks(t, "198.51.100.1", "--trusted-proxies", "127.0.0.1")
	}
	c.Bob.Page("/admin/proxy").Has(t, "Only an administrator can see this")
	c.NewClient(handlerstest.FirefoxOnLinux).Page("/admin/proxy").Is(t, 303, "/login?next=%2Fadmin%2Fproxy")
	c.Alice.Do("POST", "/admin/proxy", "").Is(t, 405)
	// Bob gets 403 for unknown paths, too, so new routes are closed to him from the start.
	for _, method := range []string{"GET", "POST"} {
		c.Alice.Do(method, "/admin/nowhere", "").Is(t, 404)
		c.Bob.Do(method, "/admin/nowhere", "").Is(t, 403)
	}
	c.Bob.Do("POST", "/admin/proxy", "").Is(t, 403)
	// A change of the account takes effect at once.
	c.Exec(`UPDATE users SET is_admin = 1 WHERE username = 'bob'`)
	c.Bob.Page("/admin/proxy").Is(t, 200)
	c.Exec(`UPDATE users SET is_admin = 0 WHERE username = 'alice'`)
	c.Alice.Page("/admin/proxy").Is(t, 403)
}

func TestOnlyAdministratorsSeeTheirLinks(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	c.Alice.Page("/sessions").Has(t, `<a href="/admin/users">Admin</a>`)
	c.Alice.Page("/admin/users").Has(t, `<a href="/admin/proxy">Proxy</a>`, `<a href="/admin/users" aria-current="page">Admin</a>`,
		`<a href="/admin/users" aria-current="page">People</a>`)
	c.Bob.Page("/account").Lacks(t, "/admin/", "dministrator")
}

func TestProxyPageWithoutAProxy(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	c.Exec(`UPDATE sessions SET ip = '203.0.113.5' WHERE id = ?`, c.Bob.ID)
	got := c.Alice.Page("/admin/proxy")
	warns(t, got)
	wantFacts(t, got, "believed", map[string]string{
		"Client address": "127.0.0.1, from the connection itself", "Scheme": "http, from the connection itself",
		"Host": c.At + ", from Host, which 127.0.0.1 sent", "Connected by": "127.0.0.1, not in --trusted-proxies",
	})
	wantFacts(t, got, "received", map[string]string{"Host": c.At + ", used unless a trusted proxy sends X-Forwarded-Host"})
	wantFacts(t, got, "settings", map[string]string{"--url": c.URL, "--cookie-domain": "none", "--trusted-proxies": "none"})
}

func TestProxyPageThroughATrustedProxy(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	c.Exec(`UPDATE sessions SET ip = '203.0.113.5' WHERE id = ?`, c.Bob.ID)
	got := c.Alice.Page("/admin/proxy", "Cookie", withCookie(c.Alice.Token()), "Host", "10.0.0.7:3000",
		"X-Forwarded-For", "1.2.3.4, 198.51.100.1", "X-Forwarded-For", "10.0.0.2", "X-Forwarded-Proto", "http, https",
		"X-Forwarded-Host", "auth.example.com, inner.example.com", "X-Real-IP", "9.9.9.9", "Forwarded", "for=8.8.8.8")
	warns(t, got)
	wantFacts(t, got, "believed", map[string]string{
		"Client address": "198.51.100.1, from X-Forwarded-For, which 127.0.0.1 sent",
		"Scheme":         "http, from X-Forwarded-Proto, which 127.0.0.1 sent",
		"Host":           "auth.example.com, from X-Forwarded-Host, which 127.0.0.1 sent", "Connected by": "127.0.0.1, in --trusted-proxies",
	})
	wantFacts(t, got, "received", map[string]string{
		"Host":              "10.0.0.7:3000, used unless a trusted proxy sends X-Forwarded-Host",
		"X-Forwarded-For":   "1.2.3.4, 198.51.100.1, 10.0.0.2, believed: only the last 2; anyone can write what comes before",
		"X-Forwarded-Proto": "http, https, believed", "X-Forwarded-Host": "auth.example.com, inner.example.com, believed",
		"X-Real-IP": "9.9.9.9, never read", "Forwarded": "for=8.8.8.8, never read",
	})
	wantFacts(t, got, "settings", map[string]string{"--url": publicURL, "--cookie-domain": "example.com",
		"--trusted-proxies": "127.0.0.1, 10.0.0.0/8"})
	// Without forwarded headers, a trusted proxy is itself the client.
	got = c.Alice.Page("/admin/proxy")
	warns(t, got)
	if shown := facts(t, got, "believed")["Client address"]; shown != "127.0.0.1, from the connection itself" {
		t.Errorf("client address: %q", shown)
	}
}

// The proxy is probably missing from --trusted-proxies. The page says which address to add.
func TestProxyPageThroughAnUntrustedProxy(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	c.Exec(`UPDATE sessions SET ip = '203.0.113.5' WHERE id = ?`, c.Bob.ID)
	for _, header := range []string{"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host"} {
		t.Run(header, func(t *testing.T) {
			got := c.Alice.Page("/admin/proxy", header, "198.51.100.1")
			warns(t, got, warnsOfIgnored)
			got.Has(t, "127.0.0.1 sent forwarded headers, and they were ignored", "<code>--trusted-proxies 127.0.0.1</code>")
			wantFacts(t, got, "believed", map[string]string{
				"Client address": "127.0.0.1, from the connection itself", "Scheme": "http, from the connection itself",
				"Host": c.At + ", from Host, which 127.0.0.1 sent", "Connected by": "127.0.0.1, not in --trusted-proxies",
			})
			wantFacts(t, got, "received", map[string]string{"Host": c.At + ", used unless a trusted proxy sends X-Forwarded-Host",
				header: "198.51.100.1, ignored: 127.0.0.1 is not in --trusted-proxies"})
		})
	}
	got := c.Alice.Page("/admin/proxy", "X-Real-Ip", "198.51.100.1", "Forwarded", "for=198.51.100.1")
	warns(t, got) // these are never read, so nothing was ignored
}

// Without a trusted proxy, forward auth refuses every app.
func TestProxyPageOfAGuardWithoutProxies(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy, func(o *handlers.Options) { o.TrustedProxies = nil })
	warns(t, c.Alice.Page("/admin/proxy"), warnsOfUnguarded, warnsOfOneIP)
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
			c := handlerstest.OpenCast(t, behindProxy)
			c.Exec(`UPDATE sessions SET ip = '203.0.113.5' WHERE id = ?`, c.Bob.ID)
			got := c.NewClient(handlerstest.FirefoxOnLinux).Page("/admin/proxy",
				append([]string{"Cookie", withCookie(c.Alice.Token())}, test.headers...)...)
			if test.elsewhere {
				warns(t, got, warnsOfElsewhere)
				got.Has(t, "did not come to "+publicURL+", the address in <code>--url</code>")
			} else {
				warns(t, got)
			}
		})
	}
	// With https, the proxy has to send the scheme.
	h := handlerstest.OpenHouse(t, func(o *handlers.Options) {
		o.URL = &url.URL{Scheme: "https", Host: "auth.example.com"}
		o.TrustedProxies = localProxies
	})
	h.AddUser("alice", handlerstest.AlicePassword)
	_, token := signInTo(h, "")
	h.Exec(`UPDATE sessions SET ip = '203.0.113.5'`)
	cookie := []string{"Cookie", "__Host-porchlight=" + token, "Host", "auth.example.com"}
	warns(t, h.NewClient(handlerstest.FirefoxOnLinux).Page("/admin/proxy", cookie...), warnsOfElsewhere)
	warns(t, h.NewClient(handlerstest.FirefoxOnLinux).Page("/admin/proxy", append(cookie, "X-Forwarded-Proto", "https")...))
}

// If every session has the same private address, it is probably the proxy's.
func TestProxyPageOfSessionsFromOneAddress(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	got := c.Alice.Page("/admin/proxy") // three sessions from 127.0.0.1
	warns(t, got, warnsOfOneIP)
	got.Has(t, warnsOfOneIP+" 127.0.0.1, a private address.")
	for ip, private := range map[string]bool{
		"10.1.2.3": true, "172.17.0.1": true, "172.31.255.255": true, "192.168.1.1": true, "169.254.1.1": true, "fd00::1": true,
		"fe80::1": true, "::1": true, "127.9.9.9": true,
		"203.0.113.5": false, "8.8.8.8": false, "2001:db8::1": false, "172.32.0.1": false, "11.0.0.1": false, "": false, "nonsense": false,
	} {
		t.Run(ip, func(t *testing.T) {
			c.Exec(`UPDATE sessions SET ip = ?`, ip)
			got := c.Alice.Page("/admin/proxy")
			if !private {
				warns(t, got)
				return
			}
			warns(t, got, warnsOfOneIP)
			got.Has(t, warnsOfOneIP+" "+ip+",")
		})
	}
	c.Exec(`UPDATE sessions SET ip = '172.17.0.1'`)
	c.Exec(`UPDATE sessions SET ip = '172.17.0.2' WHERE id = ?`, c.Bob.ID)
	warns(t, c.Alice.Page("/admin/proxy")) // one differs
	c.Exec(`UPDATE sessions SET expires_at = ? WHERE id = ?`, c.Clock.Now().UnixMilli(), c.Bob.ID)
	warns(t, c.Alice.Page("/admin/proxy"), warnsOfOneIP) // that session has ended
	c.Exec(`UPDATE sessions SET expires_at = ? WHERE id = ?`, c.Clock.Now().UnixMilli(), c.AlicePhone.ID)
	warns(t, c.Alice.Page("/admin/proxy"), warnsOfOneIP) // a fresh server has only one session
}

func TestProxyPageShowsText(t *testing.T) {
	t.Parallel()
	const hostile = `<img src=x onerror=alert(1)>"'&{{.}}`
	escaped := "&lt;img src=x onerror=alert(1)&gt;&#34;&#39;&amp;{{.}}"
	for name, change := range map[string]func(*handlers.Options){"trusted": behindProxy, "a stranger": func(*handlers.Options) {}} {
		t.Run(name, func(t *testing.T) {
			c := handlerstest.OpenCast(t, change)
			got := c.Alice.Page("/admin/proxy", "X-Forwarded-For", hostile, "X-Forwarded-Proto", hostile, "X-Forwarded-Host", hostile,
				"X-Real-Ip", hostile, "Forwarded", hostile)
			got.Is(t, 200)
			got.Lacks(t, "<img", hostile)
			want := 5
			if name == "trusted" {
				want = 7 // the scheme and the host that are believed
			}
			if count := strings.Count(got.Body, escaped); count != want {
				t.Errorf("shown %d times as text, want %d", count, want)
			}
			checkSecurityHeaders(t, got)
		})
	}
}

// The request contains the cookie, but the page does not show it.
func TestProxyPageShowsNoSecret(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	c.Alice.Page("/admin/proxy", "Authorization", "Bearer "+c.Alice.Token()).Lacks(t, c.Alice.Token(),
		handlerstest.SHA256Hex(c.Alice.Token()), "Authorization", "Cookie:")
}

func TestProxyPageDatabaseGone(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	if err := c.Store.Close(); err != nil {
		t.Fatal(err)
	}
	checkUnavailable(t, c.Alice.Page("/admin/proxy"), false)
}
