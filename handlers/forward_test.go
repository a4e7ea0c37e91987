package handlers_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"porchlight/handlers"
)

// This file owns the answers to a reverse proxy that asks clearly: let through, to the sign-in page, not signed in, not allowed.
// What is asked unclearly is in forward_refused_test.go.

// identity is what an app is told: user, name, e-mail, groups, session; "-" is a header that is missing, or there twice.
func identity(got answer) (all []string) {
	for _, name := range []string{"Remote-User", "Remote-Name", "Remote-Email", "Remote-Groups", "Remote-Session"} {
		values := got.header.Values(name)
		if len(values) != 1 {
			values = []string{"-"}
		}
		all = append(all, values[0])
	}
	return all
}

func TestForwardPasses(t *testing.T) {
	t.Parallel()
	c := openCast(t, behindProxy)
	c.exec(`UPDATE users SET email = 'Bob@example.com' WHERE username = 'bob'`)
	for _, e := range endpoints {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "MKCOL",
			"REPORT", "PRI", "BREW", "get", "X-Y_Z~!", big("M", 64)} {
			for name, headers := range map[string][]string{"navigating": navigating, "fetching": fetching, "silent": nil,
				"websocket": {"Sec-Fetch-Mode", "websocket"}} {
				for _, scheme := range []string{"http", "https", "ws", "wss", "HTTPS", "Wss"} {
					t.Run(fmt.Sprint(e.path, " ", method, " ", name, " ", scheme), func(t *testing.T) {
						got := e.ask(c.bob, toNotes.by(method).as(scheme), headers...)
						got.passes(t, "bob")
						checkVerdict(t, got)
					})
				}
			}
		}
		got := e.ask(c.alice, toNotes)
		if who := identity(got); !slices.Equal(who, []string{"alice", "alice", "", "admins", c.alice.id}) {
			t.Errorf("%s: alice is told as %q", e.path, who)
		}
		got = e.ask(c.bob, toNotes)
		if who := identity(got); !slices.Equal(who, []string{"bob", "bob", "Bob@example.com", "", c.bob.id}) {
			t.Errorf("%s: bob is told as %q", e.path, who)
		}
	}
}

// A proxy may send the auth check with any method. Only the method in the header counts.
func TestForwardIsAskedWithAnyMethod(t *testing.T) {
	t.Parallel()
	c := openCast(t, behindProxy)
	cookie := withCookie(c.alice.token())
	for _, e := range endpoints {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "PROPPATCH", "MKCOL",
			"COPY", "MOVE", "LOCK", "UNLOCK", "REPORT", "SEARCH", "QUERY", "PURGE", "PRI", "get", "X"} {
			t.Run(e.path+" "+method, func(t *testing.T) {
				got := c.raw(e.raw(method, append(e.tell(toNotes), "Cookie", cookie)...))
				got.passes(t, "alice")
				checkVerdict(t, got)
				got = c.raw(e.raw(method, append(e.tell(toNotes), "Sec-Fetch-Mode", "navigate")...))
				if e.path == nginx.path {
					got.stops(t, 401, signInFor(toNotes.address()))
				} else {
					got.stops(t, 302, signInFor(toNotes.address()))
				}
				got = c.raw(e.raw(method, append(e.tell(toNotes.by("POST")), "Sec-Fetch-Mode", "cors")...))
				got.stops(t, 401, "")
				got = c.raw(e.raw(method, append(e.tell(toNotes.of("evil.test")), "Cookie", cookie)...))
				got.stops(t, 403, "")
			})
		}
	}
}

// Who is a person in front of a page is sent to the sign-in page; a script is told that it is not signed in.
func TestForwardSignedOut(t *testing.T) {
	t.Parallel()
	c := openCast(t, behindProxy)
	ended := c.signIn("alice", alicePassword, firefoxOnLinux)
	ended.form("/logout").is(t, 303)
	const plain = "text/html"
	for name, test := range map[string]struct {
		asked   asked
		headers []string
		status  int // of /auth/forward; 302 and 303 are 401 with a Location at /auth/nginx
	}{
		"follows a link":                   {toNotes, navigating, 302},
		"HEAD of a page":                   {toNotes.by("HEAD"), navigating, 302},
		"sends a form":                     {toNotes.by("POST"), navigating, 303},
		"DELETE":                           {toNotes.by("DELETE"), navigating, 303},
		"PROPFIND":                         {toNotes.by("PROPFIND"), navigating, 303},
		"a method in lower case":           {toNotes.by("get"), navigating, 303},
		"an old browser":                   {toNotes, []string{"Accept", browserAccept}, 302},
		"an old browser sends a form":      {toNotes.by("POST"), []string{"Accept", browserAccept}, 303},
		"text/html alone":                  {toNotes, []string{"Accept", plain}, 302},
		"text/html among others":           {toNotes, []string{"Accept", "application/json, TEXT/HTML ;q=0.1"}, 302},
		"navigates and takes anything":     {toNotes, []string{"Sec-Fetch-Mode", "navigate", "Accept", "*/*"}, 302},
		"navigates and names nothing":      {toNotes, []string{"Sec-Fetch-Mode", "navigate"}, 302},
		"an empty mode":                    {toNotes, []string{"Sec-Fetch-Mode", "", "Accept", plain}, 302},
		"over https":                       {toNotes.as("https"), navigating, 302},
		"a scheme in capitals":             {toNotes.as("HTTP"), navigating, 302},
		"a script":                         {toNotes, fetching, 401},
		"a script that takes pages":        {toNotes, []string{"Sec-Fetch-Mode", "cors", "Accept", browserAccept}, 401},
		"a script of the same origin":      {toNotes, []string{"Sec-Fetch-Mode", "same-origin", "Accept", plain}, 401},
		"an image":                         {toNotes, []string{"Sec-Fetch-Mode", "no-cors", "Accept", "image/avif,*/*"}, 401},
		"a mode that nobody knows":         {toNotes, []string{"Sec-Fetch-Mode", "Navigate", "Accept", plain}, 401},
		"curl":                             {toNotes, []string{"Accept", "*/*"}, 401},
		"curl sends":                       {toNotes.by("POST"), []string{"Accept", "*/*"}, 401},
		"nothing is told of it":            {toNotes, nil, 401},
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
			for who, cookie := range map[string]string{"no cookie": "", "garbage": withCookie("garbage"), "ended": withCookie(ended.token()),
				"invented": withCookie("ABCDEFGHIJKLMNOPQRSTUVWXYZ"), "empty": withCookie("")} {
				t.Run(e.path+" "+name+", "+who, func(t *testing.T) {
					headers := test.headers
					if cookie != "" {
						headers = append(slices.Clone(headers), "Cookie", cookie)
					}
					status, location := test.status, ""
					if status != 401 {
						at := test.asked
						at.scheme = strings.ToLower(at.scheme)
						location = signInFor(at.address())
					}
					if e.path == nginx.path {
						status = 401
					}
					got := e.ask(c.newClient(firefoxOnLinux), test.asked, headers...)
					got.stops(t, status, location)
					if location == "" && got.header.Values("Location") != nil {
						t.Error("an empty Location")
					}
				})
			}
		}
	}
}

// Back to the very place: what is told of it is kept, and nothing of it ends the address of the sign-in page.
func TestForwardLocation(t *testing.T) {
	t.Parallel()
	c := openCast(t, behindProxy)
	long := func(count int) string { return "/" + big("a", count) }
	for name, test := range map[string]struct {
		asked asked
		want  string
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
				got := e.ask(c.newClient(firefoxOnLinux), test.asked, navigating...)
				got.stops(t, status, signInFor(test.want))
			})
		}
	}
	// nginx may tell an address without a path.
	nginx.ask(c.newClient(firefoxOnLinux), toNotes.at(""), navigating...).stops(t, 401, signInFor("http://notes.example.com/"))
	nginx.ask(c.newClient(firefoxOnLinux), toNotes.at("?x=1"), navigating...).stops(t, 401, signInFor("http://notes.example.com/?x=1"))
}

// The public address comes from the settings, whatever the auth check claims.
func TestForwardLocationIsBuiltFromTheSettings(t *testing.T) {
	t.Parallel()
	c := openCast(t, behindProxy)
	for _, e := range endpoints {
		got := e.ask(c.newClient(firefoxOnLinux), toNotes,
			append([]string{"Host", "evil.test", "X-Forwarded-Port", "1", "Forwarded", "host=evil.test"}, navigating...)...)
		if got.header.Get("Location") != signInFor(toNotes.address()) {
			t.Errorf("%s: %q", e.path, got.header.Get("Location"))
		}
	}
}

func TestForwardNotAllowed(t *testing.T) {
	t.Parallel()
	c := openCast(t, behindProxy)
	c.allow(notes) // only administrators
	c.allow("photos.example.com", "bob")
	for _, e := range endpoints {
		for name, headers := range map[string][]string{"navigating": navigating, "fetching": fetching, "htmx": {"HX-Request", "true"},
			"JSON": {"Accept", "application/json"}, "silent": nil} {
			for _, method := range []string{"GET", "POST", "OPTIONS", "PROPFIND"} {
				t.Run(e.path+" "+name+" "+method, func(t *testing.T) {
					got := e.ask(c.bob, toNotes.by(method), headers...)
					got.stops(t, 403, "")
					got.has(t, "<p>You may not open notes.example.com. ", "You are signed in as <strong>bob</strong>.", `<a href="`+publicURL+`/logout">`)
					if kind := got.header.Get("Content-Type"); kind != "text/html; charset=utf-8" {
						t.Errorf("Content-Type %q", kind)
					}
					checkStandsAlone(t, got)
				})
			}
		}
		e.ask(c.alice, toNotes).passes(t, "alice")
		e.ask(c.bob, toNotes.of("Notes.example.com.:8443")).stops(t, 403, "")
		e.ask(c.bob, toNotes.of("photos.example.com")).passes(t, "bob")
		e.ask(c.alice, toNotes.of("photos.example.com")).stops(t, 403, "")
		e.ask(c.bob, toNotes.of("music.example.com")).passes(t, "bob")
	}
}

// checkStandsAlone wants a page that is right under any address: it loads nothing, and sends nothing.
func checkStandsAlone(t testing.TB, got answer) {
	t.Helper()
	if found := regexp.MustCompile(`(?i)<(form|link|script|img|style|iframe|button|input)|\s(src|style|on[a-z]+|hx-[a-z-]+)=|url\(`).FindString(got.body); found != "" {
		t.Errorf("%d: the page has %q: %s", got.status, found, got.body)
	}
	for _, link := range regexp.MustCompile(`href="([^"]*)"`).FindAllStringSubmatch(got.body, -1) {
		if link[1] != publicURL+"/logout" {
			t.Errorf("a link to %q", link[1])
		}
	}
	if got.body == "" || !strings.Contains(got.body, "</html>") {
		t.Errorf("no page: %q", got.body)
	}
}

// Without a cookie domain Porchlight's own host is guarded, whatever the port, and no other.
func TestForwardWithoutCookieDomain(t *testing.T) {
	t.Parallel()
	c := openCast(t, func(o *handlers.Options) { o.TrustedProxies = localProxies })
	for _, e := range endpoints {
		e.ask(c.alice, toNotes.of("127.0.0.1")).passes(t, "alice")
		e.ask(c.alice, toNotes.of(c.at)).passes(t, "alice")
		e.ask(c.alice, toNotes.of("127.0.0.1:1")).passes(t, "alice")
		for _, host := range []string{notes, "example.com", "localhost", "127.0.0.2", "x.127.0.0.1", "127.0.0.1.evil.test", "127.1",
			"2130706433", "[::ffff:127.0.0.1]", "com"} {
			got := e.ask(c.alice, toNotes.of(host))
			got.stops(t, 403, "")
			e.ask(c.newClient(firefoxOnLinux), toNotes.of(host), navigating...).stops(t, 403, "")
		}
		got := e.ask(c.newClient(firefoxOnLinux), toNotes.of(c.at), navigating...)
		if want := c.url + "/login?next="; !strings.HasPrefix(got.header.Get("Location"), want) {
			t.Errorf("%q does not begin with %q", got.header.Get("Location"), want)
		}
	}
}

// The query of the auth check itself is ignored: with Caddy it is the client's.
func TestForwardIgnoresTheQuery(t *testing.T) {
	t.Parallel()
	c := openCast(t, behindProxy)
	c.allow(notes)
	query := "?next=http://evil.test&X-Forwarded-Host=photos.example.com&X-Original-URL=http://photos.example.com/&host=photos.example.com&uri=/x&porchlight=" + c.alice.token() + "&token=" + c.alice.token()
	for _, e := range endpoints {
		asking := endpoint{e.path + query, e.tell}
		asking.ask(c.alice, toNotes).passes(t, "alice")
		asking.ask(c.bob, toNotes).stops(t, 403, "")
		got := asking.ask(c.newClient(firefoxOnLinux), toNotes.at("/x"), navigating...)
		if got.header.Get("Location") != signInFor("http://notes.example.com/x") {
			t.Errorf("%s: %q", e.path, got.header.Get("Location"))
		}
		c.alice.do("GET", asking.path, "").stops(t, 403, "")
	}
}

// Some proxies pass on what the client sent with its request. What Porchlight refuses for itself, an app may want.
func TestForwardAnswersWhatComesFromOtherSites(t *testing.T) {
	t.Parallel()
	c := openCast(t, behindProxy)
	c.allow("photos.example.com")
	hostile := []string{"Origin", "https://evil.test", "Sec-Fetch-Site", "cross-site", "Content-Encoding", "gzip", "HX-Request", "true",
		"HX-Current-URL", "https://evil.test/", "Content-Type", "application/x-www-form-urlencoded", "Access-Control-Request-Method", "PUT"}
	for _, e := range endpoints {
		for _, method := range []string{"GET", "POST", "DELETE", "PROPFIND"} {
			for _, accept := range [][]string{navigating, fetching} {
				ask := func(c *client, a asked) answer {
					return c.do(method, e.path, "", slices.Concat(e.tell(a.by(method)), hostile, accept)...)
				}
				ask(c.alice, toNotes).passes(t, "alice")
				got := ask(c.bob, toNotes.of("photos.example.com"))
				got.stops(t, 403, "")
				got.has(t, "You may not open photos.example.com")
				got = ask(c.newClient(firefoxOnLinux), toNotes)
				switch {
				case accept[1] == "cors":
					got.stops(t, 401, "")
				case e.path == nginx.path:
					got.stops(t, 401, signInFor(toNotes.address()))
				case method == "GET":
					got.stops(t, 302, signInFor(toNotes.address()))
				default:
					got.stops(t, 303, signInFor(toNotes.address()))
				}
				if got.header.Get("HX-Redirect")+got.header.Get("HX-Reswap") != "" {
					t.Errorf("htmx is answered: %v", got.header)
				}
			}
		}
	}
}

// Nothing else is below /auth/, for anybody.
func TestForwardUnknownPaths(t *testing.T) {
	t.Parallel()
	c := openCast(t, behindProxy)
	for _, path := range []string{"/auth/", "/auth/forward/", "/auth/Forward", "/auth/nginx/x", "/auth/caddy", "/auth/traefik",
		"/auth/%66orward/x", "/auth//forward", "/auth/verify?x=1"} {
		for _, method := range []string{"GET", "POST", "PROPFIND"} {
			for _, who := range []*client{c.alice, c.newClient(firefoxOnLinux)} {
				got := who.do(method, path, "", slices.Concat(toNotes.forwarded(), toNotes.original(), navigating)...)
				if got.status != 404 {
					t.Errorf("%s %s: %d", method, path, got.status)
				}
				got.stops(t, 404, "")
			}
		}
	}
}

// nginx overwrites the five headers of Porchlight's by name, and passes on every other that the client sent.
func TestNginxUnknownRemoteHeader(t *testing.T) {
	t.Parallel()
	c := openCast(t, behindProxy)
	for _, name := range []string{"Remote-Role", "remote-id", "REMOTE_USER", "Remote.User", "RemoteUser", "Remote"} {
		for _, client := range c.signedInAndOut() {
			nginx.ask(client, toNotes, name, "alice").stops(t, 403, "")
		}
	}
	for _, name := range []string{"Remote-User", "REMOTE-GROUPS", "X-Remote-Role", "Remot"} {
		nginx.ask(c.alice, toNotes, name, "bob").passes(t, "alice")
	}
}
