package handlers_test

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// This file owns which of the cookies that a browser sends counts, and how it is rid of those that a sibling app planted.

// A session that a stranger could have named in a link or a form must not count.
func TestTokenIsTakenFromTheCookieAlone(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	token, stranger := c.alice.token(), c.newClient(firefoxOnLinux)
	for name, got := range map[string]answer{
		"query":  stranger.api("GET", "/me/sessions?porchlight="+token+"&token="+token+"&session="+token, ""),
		"body":   stranger.api("GET", "/me/sessions", `{"porchlight":"`+token+`","token":"`+token+`"}`),
		"bearer": stranger.do("GET", "/me/sessions", "", "Authorization", "Bearer "+token),
		"basic":  stranger.do("GET", "/me/sessions", "", "Authorization", token),
		"headers": stranger.do("GET", "/me/sessions", "", "porchlight", token, "X-Session", token, "X-Auth-Token", token, "Set-Cookie",
			"porchlight="+token),
		"another name":  stranger.do("GET", "/me/sessions", "", "Cookie", "session="+token+"; Porchlight="+token+"; __Host-porchlight="+token),
		"session id":    stranger.do("GET", "/me/sessions", "", "Cookie", "porchlight="+c.alice.id),
		"token's hash":  stranger.do("GET", "/me/sessions", "", "Cookie", "porchlight="+sha256Hex(token)),
		"lower case":    stranger.do("GET", "/me/sessions", "", "Cookie", "porchlight="+strings.ToLower(token)),
		"with a suffix": stranger.do("GET", "/me/sessions", "", "Cookie", "porchlight="+token+"A"),
		"a part":        stranger.do("GET", "/me/sessions", "", "Cookie", "porchlight="+token[:25]),
	} {
		if got.status != 401 {
			t.Errorf("%s: %d", name, got.status)
		}
	}
	got := stranger.form("/logout?porchlight="+token, "porchlight", token)
	got.is(t, 303, "/login")
	c.alice.api("GET", "/me/sessions", "").is(t, 200)
}

// inventedTokens are tokens that nobody was ever given.
func inventedTokens(count int) (tokens []string) {
	for i := range count {
		tokens = append(tokens, "ABCDEFGHIJKLMNOPQRSTUVWX"+string(rune('A'+i/26))+string(rune('A'+i%26)))
	}
	return tokens
}

// A sibling app can plant a cookie of our name, and browsers send that first.
func TestSeveralCookiesOfOneName(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	good, ended := c.alice.token(), c.signIn("alice", alicePassword, firefoxOnLinux)
	ended.api("DELETE", "/me/sessions/current", "").is(t, 204)
	invented := "porchlight=ABCDEFGHIJKLMNOPQRSTUVWXYZ; "
	stranger := c.newClient(firefoxOnLinux)
	for name, test := range map[string]struct {
		cookies []string
		status  int
	}{
		"good alone":           {[]string{"porchlight=" + good}, 200},
		"garbage first":        {[]string{"porchlight=garbage; porchlight=" + good}, 200},
		"garbage last":         {[]string{"porchlight=" + good + "; porchlight=garbage"}, 200},
		"invented first":       {[]string{invented + "porchlight=" + good}, 200},
		"twenty invented":      {[]string{big(invented, 20) + "porchlight=" + good}, 200},
		"two hundred planted":  {[]string{big(invented, 200) + "porchlight=" + good}, 200},
		"15 planted":           {[]string{withCookie(append(inventedTokens(15), good)...)}, 200},
		"16 planted":           {[]string{withCookie(append(inventedTokens(16), good)...)}, 401},
		"16 planted behind":    {[]string{withCookie(append([]string{good}, inventedTokens(16)...)...)}, 401},
		"300 planted":          {[]string{withCookie(append(inventedTokens(300), good)...)}, 401},
		"her own other one":    {[]string{withCookie(c.alicePhone.token(), good)}, 200},
		"somebody else's":      {[]string{withCookie(c.bob.token(), good)}, 401},
		"… behind":             {[]string{withCookie(good, c.bob.token())}, 401},
		"… in another header":  {[]string{withCookie(good), withCookie(c.bob.token())}, 401},
		"… 16th":               {[]string{withCookie(slices.Concat([]string{good}, inventedTokens(14), []string{c.bob.token()})...)}, 401},
		"ended first":          {[]string{"porchlight=" + ended.token() + "; porchlight=" + good}, 200},
		"empty first":          {[]string{"porchlight=; porchlight=" + good}, 200},
		"two headers":          {[]string{"porchlight=garbage", "porchlight=" + good}, 200},
		"two headers, again":   {[]string{"porchlight=" + good, "porchlight=garbage"}, 200},
		"among others":         {[]string{"a=b; porchlight=" + good + "; c=d"}, 200},
		"garbage twice":        {[]string{"porchlight=garbage; porchlight=rubbish"}, 401},
		"bytes":                {[]string{"porchlight=\xff\xfe\x80; porchlight"}, 401},
		"separators":           {[]string{";;;=;porchlight==;,"}, 401},
		"quotes":               {[]string{`porchlight="` + strings.Repeat(`\"`, 13) + `"`}, 401},
		"percent":              {[]string{"porchlight=%00%0d%0a%27"}, 401},
		"long":                 {[]string{"porchlight=" + big("A", 8000)}, 401},
		"many":                 {[]string{big("porchlight=A; ", 1000)}, 401},
		"SQL":                  {[]string{"porchlight=' OR 1=1 --aaaaaaaaaaaaaa"}, 401},
		"ended and invented":   {[]string{"porchlight=" + ended.token() + "; " + invented}, 401},
		"of the session's id":  {[]string{"porchlight=" + c.alice.id}, 401},
		"too large altogether": {[]string{big(invented, 600)}, 431},
	} {
		headers := []string{}
		for _, cookie := range test.cookies {
			headers = append(headers, "Cookie", cookie)
		}
		if got := stranger.do("GET", "/me/sessions", "", headers...); got.status != test.status {
			t.Errorf("%s: %d, want %d", name, got.status, test.status)
		}
	}
}

// A sibling app that plants its own session beside a person's could watch what they do in it, so both count for nothing.
func TestCookiesOfTwoUsersCountForNothing(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	check := c.unchanged()
	stranger := c.newClient(firefoxOnLinux)
	for _, cookies := range []string{withCookie(c.alice.token(), c.bob.token()), withCookie(c.bob.token(), "garbage", c.alice.token())} {
		stranger.page("/sessions", "Cookie", cookies).is(t, 303, "/login?next=%2Fsessions")
		stranger.do("GET", "/sessions/list", "", "Cookie", cookies, "HX-Request", "true").is(t, 401)
		stranger.do("DELETE", "/sessions/"+c.alicePhone.id, "", "Cookie", cookies, "HX-Request", "true").is(t, 401)
		stranger.do("DELETE", "/me/sessions/"+c.alicePhone.id, "", "Cookie", cookies).isJSON(t, 401, `{"error":"Not signed in."}`)
		got := stranger.page("/login", "Cookie", cookies)
		got.is(t, 200)
		got.has(t, "You&#39;ve been signed out on this device.")
		if !cleared(got, "porchlight") {
			t.Errorf("Set-Cookie %q", got.header.Values("Set-Cookie"))
		}
	}
	check(t)
	const warning = "refused session cookies of two users"
	if count := strings.Count(c.log.String(), warning); count != 1 {
		t.Errorf("logged %d times in one minute", count)
	}
	c.clock.Advance(time.Minute)
	stranger.page("/sessions", "Cookie", withCookie(c.alice.token(), c.bob.token()))
	if count := strings.Count(c.log.String(), warning); count != 2 {
		t.Errorf("logged %d times in two minutes", count)
	}
	c.exec(`UPDATE users SET disabled = 1 WHERE username = 'bob'`) // then only one of them is alive
	stranger.do("GET", "/me/sessions", "", "Cookie", withCookie(c.alice.token(), c.bob.token())).is(t, 200)
}

// plant puts a session of bob's into a browser, as a host under example.com can.
func plant(t testing.TB, browser *client, domain, path, token string) {
	t.Helper()
	at, err := url.Parse(browser.url + path)
	if err != nil {
		t.Fatal(err)
	}
	browser.http.Jar.SetCookies(at, []*http.Cookie{{Name: "porchlight", Value: token, Domain: domain, Path: path}})
}

// Without the deletion, the page and the sign-in page redirect to each other forever: only the good cookie is sent to the latter.
func TestPlantedCookiesAreDeleted(t *testing.T) {
	t.Parallel()
	for _, planted := range []struct{ domain, path string }{
		{"example.com", "/sessions"}, {"auth.example.com", "/sessions"}, {"", "/sessions"}, {"auth.example.com", "/"}, {"", "/"},
		{"example.com", "/sessions/list"},
	} {
		t.Run(planted.domain+planted.path, func(t *testing.T) {
			c := openCast(t, behindProxy)
			plant(t, c.alice, planted.domain, planted.path, c.bob.token())
			path := planted.path
			if path == "/" {
				path = "/sessions"
			}
			c.alice.page(path).is(t, 303)
			got := c.alice.page(path)
			got.is(t, 200)
			got.has(t, c.alice.id)
			if len(c.sessionsOf("alice")) != 2 || len(c.sessionsOf("bob")) != 1 {
				t.Error("a session ended")
			}
		})
	}
	t.Run("for an app alone", func(t *testing.T) {
		c := openCast(t, behindProxy)
		plant(t, c.alice, "example.com", "/inbox", c.bob.token())
		app, _ := url.Parse("http://" + notes + "/inbox/new")
		seen := func() (count int) {
			for _, cookie := range c.alice.http.Jar.Cookies(app) {
				if cookie.Name == "porchlight" {
					count++
				}
			}
			return count
		}
		if seen() != 2 {
			t.Fatal("the app gets no planted cookie: this test shows nothing")
		}
		c.alice.page("/login?next="+url.QueryEscape(app.String()+"?x=1")).is(t, 303, app.String()+"?x=1")
		if seen() != 1 {
			t.Errorf("the app still gets %d cookies", seen())
		}
		c.alice.page("/sessions").is(t, 200)
	})
}

// Browsers accept no __Host- cookie from a sibling, and __Secure- ones only with Secure.
func TestPlantedCookiesWithHTTPS(t *testing.T) {
	t.Parallel()
	for _, s := range settings[2:] {
		t.Run(s.String(), func(t *testing.T) {
			h := openHouse(t, s.apply)
			h.addUser("alice", alicePassword)
			h.addUser("bob", bobPassword)
			_, alice := h.signInTo("")
			bob := handed(t, h.newClient(firefoxOnLinux).form("/login", "username", "bob", "password", bobPassword)).Value
			got := h.newClient(firefoxOnLinux).page("/account", "Cookie", s.name+"="+alice+"; "+s.name+"="+bob)
			got.is(t, 303, "/login?next=%2Faccount")
			var want []string
			if s.domain != "" {
				for _, at := range []string{"path=/", "path=/account", "domain=auth.example.com; path=/", "domain=auth.example.com; path=/account",
					"domain=example.com; path=/account"} {
					want = append(want, s.name+"=; max-age=0; "+at+"; HttpOnly; secure; SameSite=Lax")
				}
			}
			if cookies := got.header.Values("Set-Cookie"); !slices.Equal(cookies, want) {
				t.Errorf("Set-Cookie %q, want %q", cookies, want)
			}
		})
	}
}

// The paths come from the client: they stay short, and inside the attribute.
func TestPlantedCookiesOfHostilePaths(t *testing.T) {
	t.Parallel()
	c := openCast(t, behindProxy)
	for _, path := range []string{"/" + big("a", 2000), big("/a", 500), "/a;domain=example.com", "/a;b/c", "/%0d%0aSet-Cookie:%20x=y",
		"/caf\u00e9/x", "/a//b/", "/a?b/c", "//"} {
		got := c.raw("GET " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\nCookie: " + withCookie(c.alice.token(), c.bob.token()) +
			"\r\n\r\n")
		got.is(t, 303)
		cookies := got.header.Values("Set-Cookie")
		if len(cookies) < 2 || len(strings.Join(cookies, "")) > 4<<10 {
			t.Errorf("%.40s: %d cookies of %d bytes", path, len(cookies), len(strings.Join(cookies, "")))
		}
		for _, cookie := range cookies {
			if !regexp.MustCompile(`^porchlight=; max-age=0; (domain=(auth\.)?example\.com; )?path=/[!-:<-~]{0,63}; HttpOnly; SameSite=Lax$`).MatchString(cookie) {
				t.Errorf("%.40s: Set-Cookie %q", path, cookie)
			}
		}
	}
}

func TestSigningInEndsPlantedSessions(t *testing.T) {
	t.Parallel()
	c := openCast(t, behindProxy)
	browser := c.newClient(firefoxOnLinux)
	plant(t, browser, "example.com", "/login", c.bob.token())
	plant(t, browser, "example.com", "/", c.alice.token())
	browser.form("/login", "username", "alice", "password", alicePassword).is(t, 303, "/sessions")
	browser.page("/sessions").is(t, 200)
	browser.page("/login").is(t, 303, "/sessions") // where both are sent, the planted one is dead
	if left := c.sessionsOf("bob"); len(left) != 0 {
		t.Errorf("bob's sessions %q", left)
	}
	if left := c.sessionsOf("alice"); len(left) != 2 || slices.Contains(left, c.alice.id) {
		t.Errorf("alice's sessions %q", left)
	}
}

func TestSigningOutEndsPlantedSessions(t *testing.T) {
	t.Parallel()
	c := openCast(t, behindProxy)
	plant(t, c.alice, "example.com", "/logout", c.bob.token())
	got := c.alice.form("/logout")
	got.is(t, 303, "/login")
	if !cleared(got, "porchlight") {
		t.Errorf("Set-Cookie %q", got.header.Values("Set-Cookie"))
	}
	if left := c.sessionsOf("alice"); !slices.Equal(left, []string{c.alicePhone.id}) || len(c.sessionsOf("bob")) != 0 {
		t.Errorf("left are %q and %q", left, c.sessionsOf("bob"))
	}
	for _, path := range []string{"/logout", "/sessions"} {
		at, _ := url.Parse(c.alice.url + path)
		if left := c.alice.http.Jar.Cookies(at); len(left) > 0 {
			t.Errorf("%s is sent %v", path, left)
		}
	}
}
