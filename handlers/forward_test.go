package handlers_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"porchlight/handlers"
	"porchlight/handlers/handlerstest"
)

// This file tests the responses to well-formed auth checks: passed, redirected to the sign-in page, not signed in, not allowed.
// Malformed ones are in forward_refused_test.go.

// identity is what an app receives: user, name, e-mail, groups, session; "-" is a header that is missing or repeated.
func identity(got handlerstest.Answer) (all []string) {
	for _, name := range []string{"Remote-User", "Remote-Name", "Remote-Email", "Remote-Groups", "Remote-Session"} {
		values := got.Header.Values(name)
		if len(values) != 1 {
			values = []string{"-"}
		}
		all = append(all, values[0])
	}
	return all
}

func TestForwardPasses(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	c.Exec(`UPDATE users SET email = 'Bob@example.com' WHERE username = 'bob'`)
	for _, e := range endpoints {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "MKCOL",
			"REPORT", "PRI", "BREW", "get", "X-Y_Z~!", big("M", 64)} {
			for name, headers := range map[string][]string{"navigating": navigating, "fetching": fetching, "silent": nil,
				"websocket": {"Sec-Fetch-Mode", "websocket"}} {
				for _, scheme := range []string{"http", "https", "ws", "wss", "HTTPS", "Wss"} {
					t.Run(fmt.Sprint(e.path, " ", method, " ", name, " ", scheme), func(t *testing.T) {
						got := e.ask(c.Bob, toNotes.by(method).as(scheme), headers...)
						passes(t, got, "bob")
						checkVerdict(t, got)
					})
				}
			}
		}
		got := e.ask(c.Alice, toNotes)
		if who := identity(got); !slices.Equal(who, []string{"alice", "alice", "", "admins", c.Alice.ID}) {
			t.Errorf("%s: alice passes as %q", e.path, who)
		}
		got = e.ask(c.Bob, toNotes)
		if who := identity(got); !slices.Equal(who, []string{"bob", "bob", "Bob@example.com", "", c.Bob.ID}) {
			t.Errorf("%s: bob passes as %q", e.path, who)
		}
	}
}

// An app gets all groups of the user in one header, whatever the client sent in one of that name.
func TestForwardSendsGroups(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	setGroups(c.House, "alice", "staff", "accounts")
	setGroups(c.House, "bob", "family")
	for _, e := range endpoints {
		for user, test := range map[string]struct {
			client *handlerstest.Client
			want   string
		}{"alice": {c.Alice, "accounts,admins,staff"}, "bob": {c.Bob, "family"}} {
			for _, forged := range [][]string{nil, {"Remote-Groups", "admins"}, {"remote-groups", "admins", "Remote-Groups", "root"}} {
				got := e.ask(test.client, toNotes, forged...)
				passes(t, got, user)
				if groups := identity(got)[3]; groups != test.want {
					t.Errorf("%s: %s is in %q, want %q", e.path, user, groups, test.want)
				}
			}
		}
	}
	setGroups(c.House, "bob")
	if groups := identity(forward.ask(c.Bob, toNotes))[3]; groups != "" {
		t.Errorf("the next request says %q", groups)
	}
}

// A proxy may send the auth check with any method. Only the method in the header counts.
func TestForwardAcceptsAnyMethod(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	cookie := withCookie(c.Alice.Token())
	for _, e := range endpoints {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "PROPPATCH", "MKCOL",
			"COPY", "MOVE", "LOCK", "UNLOCK", "REPORT", "SEARCH", "QUERY", "PURGE", "PRI", "get", "X"} {
			t.Run(e.path+" "+method, func(t *testing.T) {
				got := c.Raw(e.raw(method, append(e.headers(toNotes), "Cookie", cookie)...))
				passes(t, got, "alice")
				checkVerdict(t, got)
				got = c.Raw(e.raw(method, append(e.headers(toNotes), "Sec-Fetch-Mode", "navigate")...))
				if e.path == nginx.path {
					stops(t, got, 401, signInFor(toNotes.address()))
				} else {
					stops(t, got, 302, signInFor(toNotes.address()))
				}
				got = c.Raw(e.raw(method, append(e.headers(toNotes.by("POST")), "Sec-Fetch-Mode", "cors")...))
				stops(t, got, 401, "")
				got = c.Raw(e.raw(method, append(e.headers(toNotes.of("evil.test")), "Cookie", cookie)...))
				stops(t, got, 403, "")
			})
		}
	}
}

// A person is redirected to the sign-in page; a script gets 401.
func TestForwardSignedOut(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	ended := c.SignIn("alice", handlerstest.AlicePassword, handlerstest.FirefoxOnLinux)
	ended.Form("/logout").Is(t, 303)
	const plain = "text/html"
	for name, test := range map[string]struct {
		request appRequest
		headers []string
		status  int // of /auth/forward; 302 and 303 are 401 with a Location at /auth/nginx
	}{
		"follows a link":                   {toNotes, navigating, 302},
		"HEAD of a page":                   {toNotes.by("HEAD"), navigating, 302},
		"sends a form":                     {toNotes.by("POST"), navigating, 303},
		"DELETE":                           {toNotes.by("DELETE"), navigating, 303},
		"PROPFIND":                         {toNotes.by("PROPFIND"), navigating, 303},
		"a method in lower case":           {toNotes.by("get"), navigating, 303},
		"an old browser":                   {toNotes, []string{"Accept", handlerstest.BrowserAccept}, 302},
		"an old browser sends a form":      {toNotes.by("POST"), []string{"Accept", handlerstest.BrowserAccept}, 303},
		"text/html alone":                  {toNotes, []string{"Accept", plain}, 302},
		"text/html among others":           {toNotes, []string{"Accept", "application/json, TEXT/HTML ;q=0.1"}, 302},
		"navigates and takes anything":     {toNotes, []string{"Sec-Fetch-Mode", "navigate", "Accept", "*/*"}, 302},
		"navigates and names nothing":      {toNotes, []string{"Sec-Fetch-Mode", "navigate"}, 302},
		"an empty mode":                    {toNotes, []string{"Sec-Fetch-Mode", "", "Accept", plain}, 302},
		"over https":                       {toNotes.as("https"), navigating, 302},
		"a scheme in capitals":             {toNotes.as("HTTP"), navigating, 302},
		"a script":                         {toNotes, fetching, 401},
		"a script that takes pages":        {toNotes, []string{"Sec-Fetch-Mode", "cors", "Accept", handlerstest.BrowserAccept}, 401},
		"a script of the same origin":      {toNotes, []string{"Sec-Fetch-Mode", "same-origin", "Accept", plain}, 401},
		"an image":                         {toNotes, []string{"Sec-Fetch-Mode", "no-cors", "Accept", "image/avif,*/*"}, 401},
		"a mode that nobody knows":         {toNotes, []string{"Sec-Fetch-Mode", "Navigate", "Accept", plain}, 401},
		"curl":                             {toNotes, []string{"Accept", "*/*"}, 401},
		"curl sends":                       {toNotes.by("POST"), []string{"Accept", "*/*"}, 401},
		"no headers of its own":            {toNotes, nil, 401},
		"any text":                         {toNotes, []string{"Accept", "text/*"}, 401},
		"almost text/html":                 {toNotes, []string{"Accept", "text/html-sandboxed, application/text/html"}, 401},
		"JSON":                             {toNotes, []string{"Accept", "application/json"}, 401},
		"XHR":                              {toNotes, []string{"Accept", "application/json, */*", "X-Requested-With", "XMLHttpRequest"}, 401},
		"a WebSocket by its mode":          {toNotes, []string{"Sec-Fetch-Mode", "websocket", "Accept", plain}, 401},
		"a WebSocket by its scheme":        {toNotes.as("ws"), []string{"Accept", plain}, 401},
		"a WebSocket that navigates":       {toNotes.as("wss"), navigating, 401},
		"a WebSocket, in capitals":         {toNotes.as("WSS"), navigating, 401},
		"asks what is allowed":             {toNotes.by("OPTIONS"), []string{"Accept", plain}, 401},
		"asks what is allowed, navigating": {toNotes.by("OPTIONS"), navigating, 401},
	} {
		for _, e := range endpoints {
			for who, cookie := range map[string]string{"no cookie": "", "garbage": withCookie("garbage"), "ended": withCookie(ended.Token()),
				"invented": withCookie("ABCDEFGHIJKLMNOPQRSTUVWXYZ"), "empty": withCookie("")} {
				t.Run(e.path+" "+name+", "+who, func(t *testing.T) {
					headers := test.headers
					if cookie != "" {
						headers = append(slices.Clone(headers), "Cookie", cookie)
					}
					status, location := test.status, ""
					if status != 401 {
						at := test.request
						at.scheme = strings.ToLower(at.scheme)
						location = signInFor(at.address())
					}
					if e.path == nginx.path {
						status = 401
					}
					got := e.ask(c.NewClient(handlerstest.FirefoxOnLinux), test.request, headers...)
					stops(t, got, status, location)
					if location == "" && got.Header.Values("Location") != nil {
						t.Error("an empty Location")
					}
				})
			}
		}
	}
}

// next is the exact address that was requested, and no character in it ends the query of the sign-in page.
func TestForwardLocation(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	long := func(count int) string { return "/" + big("a", count) }
	for name, test := range map[string]struct {
		request appRequest
		want    string
	}{
		"query":               {toNotes.at("/a/b?x=1&y=2&next=/z"), "http://notes.example.com/a/b?x=1&y=2&next=/z"},
		"escapes":             {toNotes.at("/a%2fb/..//c/%C3%A9?q=%26%zz+%"), "http://notes.example.com/a%2fb/..//c/%C3%A9?q=%26%zz+%"},
		"what would end it":   {toNotes.at("/a?b=c&d#e\"'<>"), "http://notes.example.com/a?b=c&d#e\"'<>"},
		"bytes of a language": {toNotes.at("/caf\u00e9"), "http://notes.example.com/caf\u00e9"},
		"port":                {toNotes.of("notes.example.com:8443").as("https"), "https://notes.example.com:8443/"},
		"port and dot":        {toNotes.of("Notes.Example.COM.:8443"), "http://notes.example.com:8443/"},
		"capitals":            {toNotes.of("NOTES.example.com"), "http://notes.example.com/"},
		"trailing dot":        {toNotes.of("notes.example.com."), "http://notes.example.com/"},
		"the domain itself":   {toNotes.of("example.com"), "http://example.com/"},
		"deep below":          {toNotes.of("a.b.c_d.example.com"), "http://a.b.c_d.example.com/"},
		"itself":              {toNotes.of("auth.example.com").at("/x"), "http://auth.example.com/x"},
		"as long as may be": {toNotes.at(long(4096 - 1 - len("http://notes.example.com"))),
			"http://notes.example.com" + long(4096-1-len("http://notes.example.com"))},
		"too long":              {toNotes.at(long(4096 - len("http://notes.example.com"))), "http://notes.example.com/"},
		"too long, with a port": {toNotes.of("notes.example.com:81").at(long(9000)), "http://notes.example.com:81/"},
		"too long when escaped": {toNotes.at("/" + big("%", 3000)), "http://notes.example.com/"},
		"too long a query":      {toNotes.at("/x?" + big("q", 5000)), "http://notes.example.com/"},
	} {
		for _, e := range endpoints {
			t.Run(e.path+" "+name, func(t *testing.T) {
				status := 302
				if e.path == nginx.path {
					status = 401
				}
				got := e.ask(c.NewClient(handlerstest.FirefoxOnLinux), test.request, navigating...)
				stops(t, got, status, signInFor(test.want))
			})
		}
	}
	// nginx may send a URL without a path.
	stops(t, nginx.ask(c.NewClient(handlerstest.FirefoxOnLinux), toNotes.at(""), navigating...), 401, signInFor("http://notes.example.com/"))
	stops(t, nginx.ask(c.NewClient(handlerstest.FirefoxOnLinux), toNotes.at("?x=1"), navigating...), 401,
		signInFor("http://notes.example.com/?x=1"))
}

// The public address comes from the settings, whatever the auth check claims.
func TestForwardLocationIsBuiltFromTheSettings(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	for _, e := range endpoints {
		got := e.ask(c.NewClient(handlerstest.FirefoxOnLinux), toNotes,
			append([]string{"Host", "evil.test", "X-Forwarded-Port", "1", "Forwarded", "host=evil.test"}, navigating...)...)
		if got.Header.Get("Location") != signInFor(toNotes.address()) {
			t.Errorf("%s: %q", e.path, got.Header.Get("Location"))
		}
	}
}

func TestForwardNotAllowed(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	allow(c.House, notes) // only administrators
	allow(c.House, "photos.example.com", "bob")
	for _, e := range endpoints {
		for name, headers := range map[string][]string{"navigating": navigating, "fetching": fetching, "htmx": {"HX-Request", "true"},
			"JSON": {"Accept", "application/json"}, "silent": nil} {
			for _, method := range []string{"GET", "POST", "OPTIONS", "PROPFIND"} {
				t.Run(e.path+" "+name+" "+method, func(t *testing.T) {
					got := e.ask(c.Bob, toNotes.by(method), headers...)
					stops(t, got, 403, "")
					got.Has(t, "<p>You don't have access to notes.example.com. ", "You're signed in as <strong>bob</strong>.",
						`<a href="`+publicURL+`/logout?next=http%3A%2F%2Fnotes.example.com%2F">Sign in as somebody else</a>`)
					if kind := got.Header.Get("Content-Type"); kind != "text/html; charset=utf-8" {
						t.Errorf("Content-Type %q", kind)
					}
					checkStandsAlone(t, got)
				})
			}
		}
		passes(t, e.ask(c.Alice, toNotes), "alice")
		stops(t, e.ask(c.Bob, toNotes.of("Notes.example.com.:8443")), 403, "")
		passes(t, e.ask(c.Bob, toNotes.of("photos.example.com")), "bob")
		stops(t, e.ask(c.Alice, toNotes.of("photos.example.com")), 403, "")
		passes(t, e.ask(c.Bob, toNotes.of("music.example.com")), "bob")
	}
}

// checkStandsAlone checks that a page works under any address: it loads nothing and has no forms.
func checkStandsAlone(t testing.TB, got handlerstest.Answer) {
	t.Helper()
	needs := regexp.MustCompile(`(?i)<(form|link|script|img|iframe|button|input)|\s(src|style|on[a-z]+|hx-[a-z-]+)=|url\(`)
	if found := needs.FindString(got.Body); found != "" {
		t.Errorf("%d: the page has %q: %s", got.Status, found, got.Body)
	}
	for _, link := range regexp.MustCompile(`href="([^"]*)"`).FindAllStringSubmatch(got.Body, -1) {
		if !strings.HasPrefix(link[1], publicURL+"/logout?next=http%3A%2F%2Fnotes.example.com%2F") {
			t.Errorf("a link to %q", link[1])
		}
	}
	if got.Body == "" || !strings.Contains(got.Body, "</html>") {
		t.Errorf("not a page: %q", got.Body)
	}
}

// Without a cookie domain, only Porchlight's own host is guarded, on any port.
func TestForwardWithoutCookieDomain(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, func(o *handlers.Options) { o.TrustedProxies = localProxies })
	for _, e := range endpoints {
		passes(t, e.ask(c.Alice, toNotes.of("127.0.0.1")), "alice")
		passes(t, e.ask(c.Alice, toNotes.of(c.At)), "alice")
		passes(t, e.ask(c.Alice, toNotes.of("127.0.0.1:1")), "alice")
		for _, host := range []string{notes, "example.com", "localhost", "127.0.0.2", "x.127.0.0.1", "127.0.0.1.evil.test", "127.1",
			"2130706433", "[::ffff:127.0.0.1]", "com"} {
			got := e.ask(c.Alice, toNotes.of(host))
			stops(t, got, 403, "")
			stops(t, e.ask(c.NewClient(handlerstest.FirefoxOnLinux), toNotes.of(host), navigating...), 403, "")
		}
		got := e.ask(c.NewClient(handlerstest.FirefoxOnLinux), toNotes.of(c.At), navigating...)
		if want := c.URL + "/login?next="; !strings.HasPrefix(got.Header.Get("Location"), want) {
			t.Errorf("%q does not begin with %q", got.Header.Get("Location"), want)
		}
	}
}

// The query of the auth check itself is ignored: with Caddy it is the client's.
func TestForwardIgnoresTheQuery(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	allow(c.House, notes)
	query := "?next=http://evil.test&X-Forwarded-Host=photos.example.com&X-Original-URL=http://photos.example.com/" +
		"&host=photos.example.com&uri=/x&porchlight=" + c.Alice.Token() + "&token=" + c.Alice.Token()
	for _, e := range endpoints {
		asking := endpoint{e.path + query, e.headers}
		passes(t, asking.ask(c.Alice, toNotes), "alice")
		stops(t, asking.ask(c.Bob, toNotes), 403, "")
		got := asking.ask(c.NewClient(handlerstest.FirefoxOnLinux), toNotes.at("/x"), navigating...)
		if got.Header.Get("Location") != signInFor("http://notes.example.com/x") {
			t.Errorf("%s: %q", e.path, got.Header.Get("Location"))
		}
		stops(t, c.Alice.Do("GET", asking.path, ""), 403, "")
	}
}

// Some proxies pass on the client's headers. An app may accept what Porchlight refuses for itself.
func TestForwardAcceptsRequestsFromOtherSites(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	allow(c.House, "photos.example.com")
	hostile := []string{"Origin", "https://evil.test", "Sec-Fetch-Site", "cross-site", "Content-Encoding", "gzip", "HX-Request", "true",
		"HX-Current-URL", "https://evil.test/", "Content-Type", "application/x-www-form-urlencoded", "Access-Control-Request-Method", "PUT"}
	for _, e := range endpoints {
		for _, method := range []string{"GET", "POST", "DELETE", "PROPFIND"} {
			for _, accept := range [][]string{navigating, fetching} {
				ask := func(c *handlerstest.Client, a appRequest) handlerstest.Answer {
					return c.Do(method, e.path, "", slices.Concat(e.headers(a.by(method)), hostile, accept)...)
				}
				passes(t, ask(c.Alice, toNotes), "alice")
				got := ask(c.Bob, toNotes.of("photos.example.com"))
				stops(t, got, 403, "")
				got.Has(t, "You don't have access to photos.example.com")
				got = ask(c.NewClient(handlerstest.FirefoxOnLinux), toNotes)
				switch {
				case accept[1] == "cors":
					stops(t, got, 401, "")
				case e.path == nginx.path:
					stops(t, got, 401, signInFor(toNotes.address()))
				case method == "GET":
					stops(t, got, 302, signInFor(toNotes.address()))
				default:
					stops(t, got, 303, signInFor(toNotes.address()))
				}
				if got.Header.Get("HX-Redirect")+got.Header.Get("HX-Reswap") != "" {
					t.Errorf("htmx is answered: %v", got.Header)
				}
			}
		}
	}
}

// No other path under /auth/ exists.
func TestForwardUnknownPaths(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	for _, path := range []string{"/auth/", "/auth/forward/", "/auth/Forward", "/auth/nginx/x", "/auth/caddy", "/auth/traefik",
		"/auth/%66orward/x", "/auth//forward", "/auth/verify?x=1"} {
		for _, method := range []string{"GET", "POST", "PROPFIND"} {
			for _, who := range []*handlerstest.Client{c.Alice, c.NewClient(handlerstest.FirefoxOnLinux)} {
				got := who.Do(method, path, "", slices.Concat(toNotes.forwarded(), toNotes.original(), navigating)...)
				if got.Status != 404 {
					t.Errorf("%s %s: %d", method, path, got.Status)
				}
				stops(t, got, 404, "")
			}
		}
	}
}

// nginx overwrites Porchlight's five headers by name, and passes on all other headers of the client.
func TestNginxUnknownRemoteHeader(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	for _, name := range []string{"Remote-Role", "remote-id", "REMOTE_USER", "Remote.User", "RemoteUser", "Remote"} {
		for _, client := range signedInAndOut(c) {
			stops(t, nginx.ask(client, toNotes, name, "alice"), 403, "")
		}
	}
	for _, name := range []string{"Remote-User", "REMOTE-GROUPS", "X-Remote-Role", "Remot"} {
		passes(t, nginx.ask(c.Alice, toNotes, name, "bob"), "alice")
	}
}
