package handlers_test

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"porchlight/db"
	"porchlight/handlers/handlerstest"
)

// This file tests app keys in auth checks.

const otherHost = "photos.example.com"

func bearer(key string) string { return "Bearer " + key }
func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// Each way to write the header, and whether the key in it counts.
func TestForwardWithAKey(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	c.Exec(`UPDATE users SET email = 'bob@example.com' WHERE username = 'bob'`)
	key, made := c.CreateKey(c.Bob.Token(), notes)
	unpadded := "Basic " + base64.RawStdEncoding.EncodeToString([]byte("bob:"+key))
	if !strings.HasPrefix(basic("bob", key), unpadded+"=") {
		t.Fatal("there is no padding to leave out in ", unpadded)
	}
	for name, test := range map[string]struct {
		lines  []string
		passes bool
	}{
		"Bearer":                      {[]string{bearer(key)}, true},
		"Bearer in capitals":          {[]string{"BEARER " + key}, true},
		"Bearer, more spaces":         {[]string{"bearer   " + key + " "}, true},
		"Basic":                       {[]string{basic("bob", key)}, true},
		"Basic in lower case":         {[]string{"basic " + base64.StdEncoding.EncodeToString([]byte("bob:"+key))}, true},
		"Basic, another user name":    {[]string{basic("alice", key)}, true},
		"Basic, no user name":         {[]string{basic("", key)}, true},
		"Basic, name in UTF-8":        {[]string{basic("böb", key)}, true},
		"Basic, without padding":      {[]string{unpadded}, true},
		"Basic, key as user name":     {[]string{basic(key, "")}, false},
		"Basic, key after another :":  {[]string{basic("bob", "x:"+key)}, false},
		"Basic, not in base64":        {[]string{"Basic bob:" + key}, false},
		"no scheme":                   {[]string{key}, false},
		"another scheme":              {[]string{"Token " + key}, false},
		"a parameter":                 {[]string{`Digest username="bob", response="` + key + `"`}, false},
		"joined with another":         {[]string{basic("bob", "secret") + ", " + bearer(key)}, false},
		"joined before another":       {[]string{bearer(key) + ", " + basic("bob", "secret")}, false},
		"twice":                       {[]string{bearer(key), bearer(key)}, false},
		"beside the app's own":        {[]string{basic("bob", "secret"), bearer(key)}, false},
		"before the app's own":        {[]string{bearer(key), basic("bob", "secret")}, false},
		"a part of it":                {[]string{bearer(key[:29])}, false},
		"more than it":                {[]string{bearer(key + "A")}, false},
		"in lower case":               {[]string{bearer(strings.ToLower(key))}, false},
		"only its prefix":             {[]string{bearer("plk_")}, false},
		"its hash":                    {[]string{bearer("plk_" + handlerstest.SHA256Hex(key))}, false},
		"its id":                      {[]string{bearer("plk_" + made.ID)}, false},
		"a session's token":           {[]string{bearer("plk_" + c.Bob.Token())}, false},
		"invented":                    {[]string{bearer("plk_ABCDEFGHIJKLMNOPQRSTUVWXYZ")}, false},
		"with bytes that are no text": {[]string{bearer("plk_\xff\xfe")}, false},
		"SQL":                         {[]string{bearer("plk_' OR 1=1 --")}, false},
		"10 KB":                       {[]string{bearer("plk_" + big("A", 10<<10))}, false},
	} {
		for _, e := range endpoints {
			for who, cookie := range map[string][]string{"": nil, ", and a session of alice": {"Cookie", withCookie(c.Alice.Token())}} {
				t.Run(e.path+" "+name+who, func(t *testing.T) {
					headers := append(slices.Concat(e.headers(toNotes), cookie), navigating...)
					for _, line := range test.lines {
						headers = append(headers, "Authorization", line)
					}
					got := c.Raw(e.raw("GET", headers...))
					if test.passes {
						passes(t, got, "bob")
						checkVerdict(t, got)
						if who := identity(got); !slices.Equal(who, []string{"bob", "bob", "bob@example.com", "", made.ID}) {
							t.Errorf("passes as %q", who)
						}
						if values := got.Header.Values("Authorization"); values != nil {
							t.Errorf("the app gets Authorization %q", values)
						}
						return
					}
					stops(t, got, 401, "")
					if challenge := got.Header.Get("WWW-Authenticate"); challenge != `Basic realm="notes.example.com", charset="UTF-8"` {
						t.Errorf("WWW-Authenticate: %q", challenge)
					}
					got.Lacks(t, key)
				})
			}
		}
	}
}

// Apps use Authorization, too. Without a key, it is as if it were not there, but the app gets it.
func TestForwardLeavesTheAppsAuthorizationAlone(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	for _, own := range []string{
		"Bearer eyJhbGciOi.plk.aplk_b-plk_c.xplk_", basic("alice", "secret"), basic("alice", "splk_"), basic("plka", "xplk_x"), "Basic",
		"Basic !!!", "Negotiate " + big("YII", 2000), "", " ", "x", "Bearer", "Bearer " + c.Alice.Token(), "Bearer PLK_" + big("A", 26),
		"\xff\xfe", "GNAP plk-", "Digest username=\"alice\"",
	} {
		for _, e := range endpoints {
			t.Run(e.path+" "+own[:min(len(own), 30)], func(t *testing.T) {
				got := c.Raw(e.raw("GET", append(e.headers(toNotes), "Authorization", own, "Cookie", withCookie(c.Alice.Token()))...))
				passes(t, got, "alice")
				if echoed := got.Header.Get("Authorization"); echoed != strings.TrimSpace(own) {
					t.Errorf("the app gets %q, want %q", echoed, own)
				}
				got = c.Raw(e.raw("GET", append(e.headers(toNotes), append([]string{"Authorization", own}, fetching...)...)...))
				stops(t, got, 401, "")
				if challenge := got.Header.Values("WWW-Authenticate"); challenge != nil {
					t.Errorf("WWW-Authenticate: %q", challenge)
				}
			})
		}
	}
	for _, e := range endpoints {
		if got := e.ask(c.Alice, toNotes); got.Header.Values("Authorization") != nil {
			t.Errorf("%s: the app gets %q", e.path, got.Header.Values("Authorization"))
		}
	}
}

func TestForwardWithAKeyForAnotherHost(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	key, _ := c.CreateKey(c.Bob.Token(), notes)
	script := c.NewClient("DAVx5/4")
	for _, e := range endpoints {
		for at, status := range map[string]int{otherHost: 401, "x.notes.example.com": 401, "auth.example.com": 401, "example.com": 401,
			"notes.example.com.": 200, "NOTES.example.com:8443": 200, "notes.evil.test": 403, "notes_example.com": 403} {
			got := e.ask(script, toNotes.of(at), "Authorization", bearer(key))
			if got.Status != status {
				t.Errorf("%s at %s: %d, want %d", e.path, at, got.Status, status)
			}
		}
		for _, method := range []string{"PUT", "PROPFIND", "REPORT", "DELETE", "OPTIONS", "MKCALENDAR"} {
			passes(t, e.ask(script, toNotes.by(method), "Authorization", basic("x", key)), "bob")
		}
		passes(t, e.ask(script, toNotes.as("wss"), "Authorization", bearer(key)), "bob")
		stops(t, e.ask(script, toNotes.at("x"), "Authorization", bearer(key)), 403, "") // a proxy that is not set up right
	}
	// The rules apply as ever: nobody asks for a password that would not help.
	allow(c.House, notes, "alice")
	for _, e := range endpoints {
		got := e.ask(script, toNotes, "Authorization", bearer(key))
		stops(t, got, 403, "")
		if got.Header.Values("WWW-Authenticate") != nil {
			t.Error("a user who may not use the app is asked for a password")
		}
	}
	c.Exec(`UPDATE users SET disabled = 1 WHERE username = 'bob'`)
	stops(t, forward.ask(script, toNotes, "Authorization", bearer(key)), 401, "")
}

// What ends a key is tested in db. Here it must not linger in a cache of this server.
func TestForwardAfterTheEndOfAKey(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	script := c.NewClient("DAVx5/4")
	for name, end := range map[string]func(id string){
		"on Your devices": func(id string) { c.Alice.HTMX("DELETE", "/sessions/"+id).Is(t, 200) },
		"by a plain form": func(id string) { c.Alice.Form("/sessions/"+id+"/revoke", "confirm", "1").Is(t, 303) },
		"by a script":     func(id string) { c.Alice.API("DELETE", "/me/sessions/"+id, "").Is(t, 200) },
		"with all others": func(string) { c.Alice.API("POST", "/me/sessions/revoke-all", "").Is(t, 200) },
	} {
		key, made := c.CreateKey(c.Alice.Token(), notes)
		for _, e := range endpoints {
			passes(t, e.ask(script, toNotes, "Authorization", bearer(key)), "alice")
		}
		end(made.ID)
		for _, e := range endpoints {
			if got := e.ask(script, toNotes, "Authorization", bearer(key)); got.Status != 401 {
				t.Errorf("%s, %s: %d", name, e.path, got.Status)
			}
		}
	}
}

// A key opens none of Porchlight's own pages, neither in its header nor as a cookie. A cookie opens none as a key.
func TestAKeyOpensNoPageOfPorchlight(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	key, _ := c.CreateKey(c.Alice.Token(), notes)
	script := c.NewClient("DAVx5/4")
	check := c.Unchanged()
	for _, path := range []string{"/sessions", "/sessions/list", "/account", "/account/keys", "/me/sessions", "/me/sessions/current",
		"/me/export",
		"/admin/users", "/sessions/events"} {
		for _, credential := range [][]string{{"Authorization", bearer(key)}, {"Authorization", basic("alice", key)},
			{"Cookie", withCookie(key)}, {"Cookie", withCookie(strings.TrimPrefix(key, "plk_"))}} {
			got := script.Do("GET", path, "", credential...)
			if want := 303; got.Status != want && (!strings.HasPrefix(path, "/me") || got.Status != 401) {
				t.Errorf("%s with %s: %d", path, credential[0], got.Status)
			}
		}
	}
	for _, e := range endpoints {
		for _, cookie := range []string{key, strings.TrimPrefix(key, "plk_")} {
			stops(t, e.ask(script, toNotes, "Cookie", withCookie(cookie)), 401, "")
		}
		stops(t, e.ask(script, toNotes, "Authorization", bearer(c.Alice.Token())), 401, "")
		stops(t, e.ask(script, toNotes, "X-Api-Key", key, "porchlight", key), 401, "")
		stops(t, script.Do("GET", e.path+"?key="+key, "", append(e.headers(toNotes), "Proxy-Authorization", bearer(key))...), 401, "")
	}
	check(t)
	// A sign-in ends the session that the cookie names, but not a key.
	script.Do("POST", "/login", handlerstest.Encode([]string{"username", "alice", "password", handlerstest.AlicePassword}),
		"Content-Type", "application/x-www-form-urlencoded", "Accept", "*/*", "Cookie", withCookie(key)).Is(t, 200)
	passes(t, forward.ask(script, toNotes, "Authorization", bearer(key)), "alice")
}

// Guessed keys leave no trace. The use of a real key is recorded like that of a session, whatever the client says about its requests.
func TestForwardRecordsKeyUse(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	key, made := c.CreateKey(c.Bob.Token(), notes)
	script := c.NewClient("DAVx5/4")
	check := noTrace(c.House)
	for i := range 200 {
		e := endpoints[i%2]
		stops(t, e.ask(script, toNotes, "Authorization", bearer(fmt.Sprintf("plk_%026d", i))), 401, "")
		stops(t, e.ask(script, toNotes.of(otherHost), "Authorization", basic("bob", key)), 401, "")
	}
	check(t)
	for i, mode := range []string{"cors", ""} {
		c.Clock.Advance(time.Hour)
		got := endpoints[i].ask(script, toNotes, "Authorization", bearer(key), "Sec-Fetch-Mode", mode, "X-Forwarded-For", "203.0.113.7")
		passes(t, got, "bob")
		flush(c.House)
		now := c.Clock.Now().UnixMilli()
		c.SameRows(t, []string{fmt.Sprintf("%d 203.0.113.7 DAVx5/4", now)},
			`SELECT last_active_at || ' ' || last_ip || ' ' || last_user_agent FROM sessions WHERE id = ?`, made.ID)
		c.SameRows(t, []string{fmt.Sprint(notes, " ", now)}, usedFor, made.ID)
	}
}

// A user who must set up a second factor reaches no app with a key either.
func TestForwardKeyWithoutRequiredFactor(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	key, _ := c.CreateKey(c.Bob.Token(), notes)
	strict := handlerstest.OpenHouseWith(t, func(o *db.Options) { o.RequireSecondFactor = db.RequireAll }, behindProxy)
	strict.AddUser("carol", handlerstest.BobPassword)
	carols, _ := strict.CreateKey(strict.SignIn("carol", handlerstest.BobPassword, handlerstest.FirefoxOnLinux).Token(), notes)
	for _, e := range endpoints {
		passes(t, e.ask(c.NewClient("curl"), toNotes, append([]string{"Authorization", bearer(key)}, navigating...)...), "bob")
		stops(t, e.ask(strict.NewClient("curl"), toNotes, append([]string{"Authorization", bearer(carols)}, navigating...)...), 403, "")
	}
}
