package handlers_test

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"porchlight/handlers/handlerstest"
)

// This file tests which of a browser's cookies counts, and how cookies that a sibling app planted are deleted.

// A token in a link or a form must not count: anybody could have put it there.
func TestTokenIsReadOnlyFromTheCookie(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	token, stranger := c.Alice.Token(), c.NewClient(handlerstest.FirefoxOnLinux)
	for name, got := range map[string]handlerstest.Answer{
		"query":  stranger.API("GET", "/me/sessions?porchlight="+token+"&token="+token+"&session="+token, ""),
		"body":   stranger.API("GET", "/me/sessions", `{"porchlight":"`+token+`","token":"`+token+`"}`),
		"bearer": stranger.Do("GET", "/me/sessions", "", "Authorization", "Bearer "+token),
		"basic":  stranger.Do("GET", "/me/sessions", "", "Authorization", token),
		"headers": stranger.Do("GET", "/me/sessions", "", "porchlight", token, "X-Session", token, "X-Auth-Token", token, "Set-Cookie",
			"porchlight="+token),
		"another name":  stranger.Do("GET", "/me/sessions", "", "Cookie", "session="+token+"; Porchlight="+token+"; __Host-porchlight="+token),
		"session id":    stranger.Do("GET", "/me/sessions", "", "Cookie", "porchlight="+c.Alice.ID),
		"token's hash":  stranger.Do("GET", "/me/sessions", "", "Cookie", "porchlight="+handlerstest.SHA256Hex(token)),
		"lower case":    stranger.Do("GET", "/me/sessions", "", "Cookie", "porchlight="+strings.ToLower(token)),
		"with a suffix": stranger.Do("GET", "/me/sessions", "", "Cookie", "porchlight="+token+"A"),
		"a part":        stranger.Do("GET", "/me/sessions", "", "Cookie", "porchlight="+token[:25]),
	} {
		if got.Status != 401 {
			t.Errorf("%s: %d", name, got.Status)
		}
	}
	got := stranger.Form("/logout?porchlight="+token, "porchlight", token)
	got.Is(t, 303, "/login?done=signed-out")
	c.Alice.API("GET", "/me/sessions", "").Is(t, 200)
}

// inventedTokens are tokens that were never issued.
func inventedTokens(count int) (tokens []string) {
	for i := range count {
		tokens = append(tokens, "ABCDEFGHIJKLMNOPQRSTUVWX"+string(rune('A'+i/26))+string(rune('A'+i%26)))
	}
	return tokens
}

// A sibling app can plant a cookie of our name, and browsers send that first.
func TestSeveralCookiesOfOneName(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	good, ended := c.Alice.Token(), c.SignIn("alice", handlerstest.AlicePassword, handlerstest.FirefoxOnLinux)
	ended.API("DELETE", "/me/sessions/current", "").Is(t, 204)
	invented := "porchlight=ABCDEFGHIJKLMNOPQRSTUVWXYZ; "
	stranger := c.NewClient(handlerstest.FirefoxOnLinux)
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
		"her own other one":    {[]string{withCookie(c.AlicePhone.Token(), good)}, 200},
		"somebody else's":      {[]string{withCookie(c.Bob.Token(), good)}, 401},
		"… behind":             {[]string{withCookie(good, c.Bob.Token())}, 401},
		"… in another header":  {[]string{withCookie(good), withCookie(c.Bob.Token())}, 401},
		"… 16th":               {[]string{withCookie(slices.Concat([]string{good}, inventedTokens(14), []string{c.Bob.Token()})...)}, 401},
		"ended first":          {[]string{"porchlight=" + ended.Token() + "; porchlight=" + good}, 200},
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
		"ended and invented":   {[]string{"porchlight=" + ended.Token() + "; " + invented}, 401},
		"of the session's id":  {[]string{"porchlight=" + c.Alice.ID}, 401},
		"too large altogether": {[]string{big(invented, 600)}, 431},
	} {
		headers := []string{}
		for _, cookie := range test.cookies {
			headers = append(headers, "Cookie", cookie)
		}
		if got := stranger.Do("GET", "/me/sessions", "", headers...); got.Status != test.status {
			t.Errorf("%s: %d, want %d", name, got.Status, test.status)
		}
	}
}

// A sibling app that plants its own session beside a person's could watch what they do in it, so neither counts.
func TestCookiesOfTwoUsersAreIgnored(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	check := c.Unchanged()
	stranger := c.NewClient(handlerstest.FirefoxOnLinux)
	for _, cookies := range []string{withCookie(c.Alice.Token(), c.Bob.Token()), withCookie(c.Bob.Token(), "garbage", c.Alice.Token())} {
		stranger.Page("/sessions", "Cookie", cookies).Is(t, 303, "/login?next=%2Fsessions")
		stranger.Do("GET", "/sessions/list", "", "Cookie", cookies, "HX-Request", "true").Is(t, 401)
		stranger.Do("DELETE", "/sessions/"+c.AlicePhone.ID, "", "Cookie", cookies, "HX-Request", "true").Is(t, 401)
		isJSON(t, stranger.Do("DELETE", "/me/sessions/"+c.AlicePhone.ID, "", "Cookie", cookies), 401, `{"error":"Not signed in."}`)
		got := stranger.Page("/login", "Cookie", cookies)
		got.Is(t, 200)
		got.Has(t, "You&#39;ve been signed out on this device.")
		if !cleared(got, "porchlight") {
			t.Errorf("Set-Cookie %q", got.Header.Values("Set-Cookie"))
		}
	}
	check(t)
	const warning = "refused session cookies of two users"
	if count := strings.Count(c.Log.String(), warning); count != 1 {
		t.Errorf("logged %d times in one minute", count)
	}
	c.Clock.Advance(time.Minute)
	stranger.Page("/sessions", "Cookie", withCookie(c.Alice.Token(), c.Bob.Token()))
	if count := strings.Count(c.Log.String(), warning); count != 2 {
		t.Errorf("logged %d times in two minutes", count)
	}
	c.Exec(`UPDATE users SET disabled = 1 WHERE username = 'bob'`) // then only one of them is alive
	stranger.Do("GET", "/me/sessions", "", "Cookie", withCookie(c.Alice.Token(), c.Bob.Token())).Is(t, 200)
}

// plant puts a session of bob's into a browser, as any host under example.com can.
func plant(t testing.TB, browser *handlerstest.Client, domain, path, token string) {
	t.Helper()
	at, err := url.Parse(browser.URL + path)
	if err != nil {
		t.Fatal(err)
	}
	browser.HTTP.Jar.SetCookies(at, []*http.Cookie{{Name: "porchlight", Value: token, Domain: domain, Path: path}})
}

// Without the deletion, the page and the sign-in page would redirect to each other forever, because only the good cookie is sent to the
// sign-in page.
func TestPlantedCookiesAreDeleted(t *testing.T) {
	t.Parallel()
	for _, planted := range []struct{ domain, path string }{
		{"example.com", "/sessions"}, {"auth.example.com", "/sessions"}, {"", "/sessions"}, {"auth.example.com", "/"}, {"", "/"},
		{"example.com", "/sessions/list"},
	} {
		t.Run(planted.domain+planted.path, func(t *testing.T) {
			c := handlerstest.OpenCast(t, behindProxy)
			plant(t, c.Alice, planted.domain, planted.path, c.Bob.Token())
			path := planted.path
			if path == "/" {
				path = "/sessions"
			}
			c.Alice.Page(path).Is(t, 303)
			got := c.Alice.Page(path)
			got.Is(t, 200)
			got.Has(t, c.Alice.ID)
			if len(c.SessionsOf("alice")) != 2 || len(c.SessionsOf("bob")) != 1 {
				t.Error("a session ended")
			}
		})
	}
	t.Run("for one app", func(t *testing.T) {
		c := handlerstest.OpenCast(t, behindProxy)
		plant(t, c.Alice, "example.com", "/inbox", c.Bob.Token())
		app, _ := url.Parse("http://" + notes + "/inbox/new")
		seen := func() (count int) {
			for _, cookie := range c.Alice.HTTP.Jar.Cookies(app) {
				if cookie.Name == "porchlight" {
					count++
				}
			}
			return count
		}
		if seen() != 2 {
			t.Fatal("the app gets no planted cookie, so this test checks nothing")
		}
		c.Alice.Page("/login?next="+url.QueryEscape(app.String()+"?x=1")).Is(t, 303, app.String()+"?x=1")
		if seen() != 1 {
			t.Errorf("the app still gets %d cookies", seen())
		}
		c.Alice.Page("/sessions").Is(t, 200)
	})
}

// Browsers accept no __Host- cookie from a sibling app, and a __Secure- cookie only with Secure.
func TestPlantedCookiesWithHTTPS(t *testing.T) {
	t.Parallel()
	for _, s := range settings[2:] {
		t.Run(s.String(), func(t *testing.T) {
			h := handlerstest.OpenHouse(t, s.apply)
			h.AddUser("alice", handlerstest.AlicePassword)
			h.AddUser("bob", handlerstest.BobPassword)
			_, alice := signInTo(h, "")
			bob := handed(t, h.NewClient(handlerstest.FirefoxOnLinux).Form("/login", "username", "bob", "password", handlerstest.BobPassword)).Value
			got := h.NewClient(handlerstest.FirefoxOnLinux).Page("/account", "Cookie", s.name+"="+alice+"; "+s.name+"="+bob)
			got.Is(t, 303, "/login?next=%2Faccount")
			var want []string
			if s.domain != "" {
				for _, at := range []string{"path=/", "path=/account", "domain=auth.example.com; path=/", "domain=auth.example.com; path=/account",
					"domain=example.com; path=/account"} {
					want = append(want, s.name+"=; max-age=0; "+at+"; HttpOnly; secure; SameSite=Lax")
				}
			}
			if cookies := got.Header.Values("Set-Cookie"); !slices.Equal(cookies, want) {
				t.Errorf("Set-Cookie %q, want %q", cookies, want)
			}
		})
	}
}

// The paths come from the client. They must stay short, and must not leave their attribute.
func TestPlantedCookiesWithHostilePaths(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	for _, path := range []string{"/" + big("a", 2000), big("/a", 500), "/a;domain=example.com", "/a;b/c", "/%0d%0aSet-Cookie:%20x=y",
		"/caf\u00e9/x", "/a//b/", "/a?b/c", "//"} {
		got := c.Raw("GET " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\nCookie: " + withCookie(c.Alice.Token(), c.Bob.Token()) +
			"\r\n\r\n")
		got.Is(t, 303)
		cookies := got.Header.Values("Set-Cookie")
		if len(cookies) < 2 || len(strings.Join(cookies, "")) > 4<<10 {
			t.Errorf("%.40s: %d cookies of %d bytes", path, len(cookies), len(strings.Join(cookies, "")))
		}
		deleted := regexp.MustCompile(`^porchlight=; max-age=0; (domain=(auth\.)?example\.com; )?path=/[!-:<-~]{0,63}; HttpOnly; SameSite=Lax$`)
		for _, cookie := range cookies {
			if !deleted.MatchString(cookie) {
				t.Errorf("%.40s: Set-Cookie %q", path, cookie)
			}
		}
	}
}

func TestSigningInEndsPlantedSessions(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	browser := c.NewClient(handlerstest.FirefoxOnLinux)
	plant(t, browser, "example.com", "/login", c.Bob.Token())
	plant(t, browser, "example.com", "/", c.Alice.Token())
	browser.Form("/login", "username", "alice", "password", handlerstest.AlicePassword).Is(t, 303, "/sessions")
	browser.Page("/sessions").Is(t, 200)
	browser.Page("/login").Is(t, 303, "/sessions") // both are sent, but the planted one is dead
	if left := c.SessionsOf("bob"); len(left) != 0 {
		t.Errorf("bob's sessions %q", left)
	}
	if left := c.SessionsOf("alice"); len(left) != 2 || slices.Contains(left, c.Alice.ID) {
		t.Errorf("alice's sessions %q", left)
	}
}

func TestSigningOutEndsPlantedSessions(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	plant(t, c.Alice, "example.com", "/logout", c.Bob.Token())
	got := c.Alice.Form("/logout")
	got.Is(t, 303, "/login?done=signed-out")
	if !cleared(got, "porchlight") {
		t.Errorf("Set-Cookie %q", got.Header.Values("Set-Cookie"))
	}
	if left := c.SessionsOf("alice"); !slices.Equal(left, []string{c.AlicePhone.ID}) || len(c.SessionsOf("bob")) != 0 {
		t.Errorf("%q and %q are left", left, c.SessionsOf("bob"))
	}
	for _, path := range []string{"/logout", "/sessions"} {
		at, _ := url.Parse(c.Alice.URL + path)
		if left := c.Alice.HTTP.Jar.Cookies(at); len(left) != 1 || left[0].Name != "porchlight-device" {
			t.Errorf("%s is sent %v", path, left)
		}
	}
}
