package handlers_test

import (
	"slices"
	"strings"
	"testing"

	"porchlight/handlers"
	"porchlight/handlers/handlerstest"
)

// This file tests the cookies of an auth check: which of several counts, and which ones the app receives.

func TestForwardSeveralCookies(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	good, other := c.Alice.Token(), c.Bob.Token()
	ended := c.SignIn("alice", handlerstest.AlicePassword, handlerstest.FirefoxOnLinux)
	dead := ended.Token()
	c.Alice.API("DELETE", "/me/sessions/"+ended.ID, "").Is(t, 200)
	const invented = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	for name, test := range map[string]struct {
		cookies []string // one header each
		user    string   // "" means nobody
	}{
		"alone":                   {[]string{withCookie(good)}, "alice"},
		"garbage first":           {[]string{withCookie("garbage", "", invented, "%00", good)}, "alice"},
		"garbage last":            {[]string{withCookie(good, "garbage", invented)}, "alice"},
		"ended first":             {[]string{withCookie(dead, good)}, "alice"},
		"two hundred planted":     {[]string{withCookie(append(slices.Repeat([]string{invented}, 200), good)...)}, "alice"},
		"15 planted":              {[]string{withCookie(append(inventedTokens(15), good)...)}, "alice"},
		"16 planted":              {[]string{withCookie(append(inventedTokens(16), good)...)}, ""},
		"16 planted behind":       {[]string{withCookie(append([]string{good}, inventedTokens(16)...)...)}, ""},
		"of two lines the second": {[]string{withCookie(invented), withCookie(good)}, "alice"},
		"of two lines the first":  {[]string{withCookie(good), withCookie("garbage")}, "alice"},
		"two sessions of alice":   {[]string{withCookie(c.AlicePhone.Token(), good)}, "alice"},
		"two users":               {[]string{withCookie(good, other)}, ""},
		"two users, other first":  {[]string{withCookie(other, good)}, ""},
		"two users, far apart":    {[]string{withCookie(append(append([]string{other}, inventedTokens(14)...), good)...)}, ""},
		"two users in two lines":  {[]string{withCookie(good), withCookie(other)}, ""},
		"5 KB of others before":   {[]string{big("app_state=0123456789abcdef; ", 190) + withCookie(good)}, "alice"},
		"5 KB of others behind":   {[]string{withCookie(good) + big("; app_state=0123456789abcdef", 190)}, "alice"},
		"one of 10 KB":            {[]string{"app=" + big("x", 10<<10) + "; " + withCookie(good)}, "alice"},
		"no space between":        {[]string{"a=b;" + withCookie(good) + ";c=d"}, "alice"},
		"no cookie":               {nil, ""},
		"all garbage":             {[]string{withCookie("garbage", invented, "", dead)}, ""},
		"another name": {[]string{"Porchlight=" + good + "; __Host-porchlight=" + good + "; __Secure-porchlight=" + good +
			"; xporchlight=" + good + "; porchlight-device=" + good}, ""},
		"in another's value":  {[]string{"a=porchlight=" + good}, ""},
		"the session's id":    {[]string{withCookie(c.Alice.ID)}, ""},
		"the token's hash":    {[]string{withCookie(handlerstest.SHA256Hex(good))}, ""},
		"a part of the token": {[]string{withCookie(good[:25], good[1:])}, ""},
		"more than the token": {[]string{withCookie(good+"A", "A"+good)}, ""},
		"in lower case":       {[]string{withCookie(strings.ToLower(good))}, ""},
		"bytes":               {[]string{"porchlight=\xff\xfe\x80" + big("\xff", 23) + "; porchlight"}, ""},
		"separators":          {[]string{";;;=;porchlight==;,"}, ""},
		"SQL":                 {[]string{withCookie("' OR 1=1 --aaaaaaaaaaaaaa")}, ""},
	} {
		for _, e := range endpoints {
			t.Run(e.path+" "+name, func(t *testing.T) {
				headers := e.headers(toNotes)
				for _, cookie := range test.cookies {
					headers = append(headers, "Cookie", cookie)
				}
				got := c.Raw(e.raw("GET", headers...))
				if test.user == "" {
					stops(t, got, 401, "")
				} else {
					passes(t, got, test.user)
				}
			})
		}
	}
	// A token is read only from the cookie.
	for _, e := range endpoints {
		stops(t, e.ask(c.NewClient("curl"), toNotes, "Authorization", "Bearer "+good, "porchlight", good, "X-Auth-Token", good,
			"Remote-User", "alice", "Remote-Session", c.Alice.ID), 401, "")
	}
}

// If a sibling app plants its own session beside the user's, neither reaches an app.
func TestForwardCookiesOfTwoUsers(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	allow(c.House, notes) // administrators, of whom alice is one
	alice, bob := c.Alice.Token(), c.Bob.Token()
	check := c.Unchanged()
	for _, e := range endpoints {
		for _, cookies := range [][]string{{alice, bob}, {bob, alice}, {"garbage", bob, alice}, {bob, "ABCDEFGHIJKLMNOPQRSTUVWXYZ", alice, bob}} {
			stops(t, e.ask(c.NewClient(handlerstest.FirefoxOnLinux), toNotes, "Cookie", withCookie(cookies...)), 401, "")
			status := 302
			if e.path == nginx.path {
				status = 401
			}
			got := e.ask(c.NewClient(handlerstest.FirefoxOnLinux), toNotes, append([]string{"Cookie", withCookie(cookies...)}, navigating...)...)
			stops(t, got, status, signInFor(toNotes.address()))
			if touched(got) {
				t.Errorf("a proxy got a cookie: %q", got.Header.Values("Set-Cookie"))
			}
		}
		for _, cookies := range [][]string{{bob}, {bob, "garbage"}, {bob, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}, {"ABCDEFGHIJKLMNOPQRSTUVWXYZ", bob}} {
			got := e.ask(c.NewClient(handlerstest.FirefoxOnLinux), toNotes, append([]string{"Cookie", withCookie(cookies...)}, navigating...)...)
			stops(t, got, 403, "")
			got.Has(t, "<strong>bob</strong>")
		}
	}
	check(t)
	c.Bob.Form("/logout").Is(t, 303)
	passes(t, forward.ask(c.NewClient(handlerstest.FirefoxOnLinux), toNotes, "Cookie", withCookie(bob, alice)), "alice")
}

// An app that sees the token could use it at every other app. So the response contains the cookies without it, for the proxy to copy.
func TestForwardPassesOnTheOtherCookies(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	token := c.Alice.Token()
	ours := withCookie(token)
	for name, test := range map[string]struct {
		cookies []string // one header each
		want    string   // "" means no header
	}{
		"ours alone":       {[]string{ours}, ""},
		"first":            {[]string{ours + "; a=1; b=2"}, "a=1; b=2"},
		"last":             {[]string{"a=1; b=2; " + ours}, "a=1; b=2"},
		"between":          {[]string{"b=2; " + ours + "; a=1"}, "b=2; a=1"},
		"twice":            {[]string{ours + "; a=1; " + ours + "; porchlight=garbage"}, "a=1"},
		"others twice":     {[]string{"a=2; a=1; " + ours + "; a=2"}, "a=2; a=1; a=2"},
		"of every setting": {[]string{"__Host-porchlight=" + token + "; a=1; " + ours + "; __Secure-porchlight=" + token}, "a=1"},
		"of devices": {[]string{"porchlight-device=x; " + ours + "; __Host-porchlight-device=y; __Secure-porchlight-device=z; a=1"},
			"a=1"},
		"of sign-ins that have begun": {[]string{"porchlight-code=x; __Host-porchlight-code=y; a=1; __Host-porchlight-passkey=z; " + ours},
			"a=1"},
		"in capitals": {[]string{"Porchlight=x; PORCHLIGHT=y; __HOST-PORCHLIGHT=z; __secure-Porchlight-Device=w; a=1; " + ours},
			"a=1"},
		"of almost our name": {[]string{"xporchlight=1; porchlightx=2; porchlight_device=3; __Http-porchlight=4; porchlight.example=5; " +
			ours}, "xporchlight=1; porchlightx=2; porchlight_device=3; __Http-porchlight=4; porchlight.example=5"},
		"our name as a value":    {[]string{"a=porchlight; b=porchlight=x; " + ours}, "a=porchlight; b=porchlight=x"},
		"our name, no value":     {[]string{"porchlight; a=1; " + ours + "; porchlight="}, "a=1"},
		"spaces round our name":  {[]string{"porchlight =x;  porchlight = y ;\tporchlight\t=z; a=1; " + ours}, "a=1"},
		"two lines":              {[]string{"b=2; " + ours, "a=1"}, "b=2; a=1"},
		"two lines, ours in one": {[]string{ours, "a=1; b=2"}, "a=1; b=2"},
		"three lines":            {[]string{"c=3", ours + "; porchlight=x", "a=1"}, "c=3; a=1"},
		"odd values": {[]string{`q="a b\"c"; j={"x":[1,2]}; e=a=b==; p=%zz%20+; n=; =v; w; ` + ours},
			`q="a b\"c"; j={"x":[1,2]}; e=a=b==; p=%zz%20+; n=; =v; w`},
		"bytes":      {[]string{"u=\u00e9\xff; " + ours}, "u=\u00e9\xff"},
		"separators": {[]string{";; a=1 ;;b=2;" + ours + ";"}, "a=1; b=2"},
		"5 KB":       {[]string{big("app=0123456789; ", 320) + ours}, strings.TrimSuffix(big("app=0123456789; ", 320), "; ")},
	} {
		t.Run(name, func(t *testing.T) {
			ask := func(e endpoint) handlerstest.Answer {
				headers := e.headers(toNotes)
				for _, cookie := range test.cookies {
					headers = append(headers, "Cookie", cookie)
				}
				return c.Raw(e.raw("GET", headers...))
			}
			got := ask(forward)
			passes(t, got, "alice")
			var want []string
			if test.want != "" {
				want = []string{test.want}
			}
			if cookies := got.Header.Values("Cookie"); !slices.Equal(cookies, want) {
				t.Errorf("Cookie %q, want %q", cookies, want)
			}
			got = ask(nginx) // its configuration removes the cookie itself
			passes(t, got, "alice")
			if cookies := got.Header.Values("Cookie"); cookies != nil {
				t.Errorf("nginx got a cookie: %q", cookies)
			}
		})
	}
	// A refusal contains no cookies, because it goes to the client.
	allow(c.House, "photos.example.com", "bob")
	stops(t, forward.ask(c.Alice, toNotes.of("photos.example.com"), "Cookie", "a=1"), 403, "")
	stops(t, forward.ask(c.Alice, toNotes.of("evil.test"), "Cookie", "a=1"), 403, "")
	stops(t, forward.ask(c.NewClient(handlerstest.FirefoxOnLinux), toNotes, append([]string{"Cookie", "a=1"}, navigating...)...), 302,
		signInFor(toNotes.address()))
}

// With other settings the cookie has another name. Only that one counts, and the app sees neither.
func TestForwardCookieWithHTTPS(t *testing.T) {
	t.Parallel()
	for domain, name := range map[string]string{"": "__Host-porchlight", "example.com": "__Secure-porchlight"} {
		t.Run(name, func(t *testing.T) {
			h := handlerstest.OpenHouse(t, behindProxy, func(o *handlers.Options) { o.URL.Scheme, o.CookieDomain = "https", domain })
			h.AddUser("alice", handlerstest.AlicePassword)
			browser := h.NewClient(handlerstest.FirefoxOnLinux) // the client keeps no Secure cookie, because it is plain http behind the proxy
			token := handed(t, browser.Form("/login", "username", "alice", "password", handlerstest.AlicePassword)).Value
			self := toNotes.of("auth.example.com").as("https")
			got := h.Raw(forward.raw("GET", append(self.forwarded(), "Cookie", "a=1; "+name+"="+token+"; porchlight=x")...))
			passes(t, got, "alice")
			if got.Header.Get("Cookie") != "a=1" {
				t.Errorf("Cookie %q", got.Header.Get("Cookie"))
			}
			for _, wrong := range []string{"porchlight", "__Host-porchlight", "__Secure-porchlight"} {
				if wrong != name {
					got := h.Raw(forward.raw("GET", append(self.forwarded(), "Cookie", wrong+"="+token, "Sec-Fetch-Mode", "navigate")...))
					stops(t, got, 302, "https://auth.example.com/login?next=https%3A%2F%2Fauth.example.com%2F")
				}
			}
		})
	}
}
