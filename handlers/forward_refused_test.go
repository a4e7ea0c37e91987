package handlers_test

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"porchlight/handlers"
	"porchlight/handlers/handlerstest"
)

// This file tests which auth checks are refused: headers that are missing, repeated or malformed, a peer that is not trusted, a
// database that does not answer; and which of these reasons comes first.

// without returns the headers except one.
func without(headers []string, name string) (left []string) {
	for i := 0; i < len(headers); i += 2 {
		if headers[i] != name {
			left = append(left, headers[i], headers[i+1])
		}
	}
	return left
}

// signedInAndOut returns a client with a session and one without. Neither may pass an auth check that is in doubt.
func signedInAndOut(c *handlerstest.Cast) map[string]*handlerstest.Client {
	return map[string]*handlerstest.Client{"signed in": c.Alice, "anybody": c.NewClient(handlerstest.FirefoxOnLinux)}
}

func TestForwardHeadersMissingOrRepeated(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	for _, e := range endpoints {
		described := e.headers(toNotes)
		passes(t, e.ask(c.Alice, toNotes), "alice")
		for who, client := range signedInAndOut(c) {
			stops(t, client.Do("GET", e.path, "", navigating...), 403, "")
			for i := 0; i < len(described); i += 2 {
				name, value := described[i], described[i+1]
				for what, headers := range map[string][]string{
					"missing":                      without(described, name),
					"empty":                        append(without(described, name), name, ""),
					"twice":                        append(slices.Clone(described), name, value),
					"twice, the second being evil": append(slices.Clone(described), name, "evil"),
					"twice, the first empty":       append([]string{name, ""}, described...),
					"twice, the second empty":      append(slices.Clone(described), name, ""),
					"a list":                       append(without(described, name), name, value+", "+value),
					"a list without a space":       append(without(described, name), name, value+","+value),
					"under another name":           append(without(described, name), "X-"+name, value, strings.ReplaceAll(name, "-", "_"), value),
				} {
					t.Run(fmt.Sprint(e.path, " ", who, ", ", name, " is ", what), func(t *testing.T) {
						if strings.HasPrefix(what, "a list") && (name == "X-Forwarded-Uri" || name == "X-Original-URL") {
							if what == "a list" {
								stops(t, client.Do("GET", e.path, "", append(headers, navigating...)...), 403, "")
							}
							return // a path may contain commas
						}
						got := client.Do("GET", e.path, "", append(headers, navigating...)...)
						stops(t, got, 403, "")
						got.Has(t, "is missing or malformed")
						if !strings.HasPrefix(what, "a list") {
							got.Has(t, name)
						}
						checkStandsAlone(t, got)
					})
				}
			}
		}
	}
}

// A badly configured proxy adds its headers to the client's instead of replacing them.
func TestForwardHeadersOfBothClientAndProxy(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	for _, e := range endpoints {
		for _, forged := range [][]string{e.headers(toNotes.of("photos.example.com")), e.headers(toNotes)} {
			for i := 0; i < len(forged); i += 2 {
				for _, name := range []string{forged[i], strings.ToLower(forged[i]), strings.ToUpper(forged[i])} {
					got := c.Raw(e.raw("GET", slices.Concat([]string{name, forged[i+1]}, e.headers(toNotes),
						[]string{"Cookie", withCookie(c.Alice.Token())})...))
					stops(t, got, 403, "")
				}
			}
		}
	}
	// The headers of the other kind of proxy are ignored.
	passes(t, forward.ask(c.Alice, toNotes, toNotes.of("evil.test").original()...), "alice")
	passes(t, nginx.ask(c.Alice, toNotes, toNotes.of("evil.test").forwarded()...), "alice")
	stops(t, c.Alice.Do("GET", forward.path, "", toNotes.original()...), 403, "")
	stops(t, c.Alice.Do("GET", nginx.path, "", toNotes.forwarded()...), 403, "")
}

func TestForwardHostileSchemesPathsAndMethods(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	requests := map[string]appRequest{}
	for _, scheme := range []string{"ftp", "file", "javascript", "data", "httpss", "http:", "http,https", "http, https", "https http", "h2",
		"HTTP/1.1", "xhttp", "ws s", "0", "\u017fhttp", "http\u017f", "w\u017f", "\xff"} {
		requests["scheme "+scheme] = toNotes.as(scheme)
	}
	for _, path := range []string{"/a b", "/a\tb", "/x?a b", "/x?\ty"} {
		requests["path "+path] = toNotes.at(path)
	}
	for _, method := range []string{"GE T", "GET,POST", "GET\tX", "G@T", "(GET)", "GET/1", "<GET>", "\"GET\"", "G\u00c9T", "GET:", "{}",
		"\xff", "[GET]", "GET;", "=", "?", "\\", big("G", 65)} {
		requests["method "+method] = toNotes.by(method)
	}
	for what, request := range requests {
		for _, e := range endpoints {
			for who, client := range signedInAndOut(c) {
				t.Run(fmt.Sprintf("%s %s %q", e.path, who, what), func(t *testing.T) {
					got := e.ask(client, request, navigating...)
					stops(t, got, 403, "")
					got.Has(t, "is missing or malformed")
				})
			}
		}
	}
	// A path begins with a slash. Anything else would become part of the host.
	for _, path := range []string{"x", "?x=1", "#x", "*", ".evil.test/", ":8080/", "@evil.test/", "http://evil.test/",
		"http://notes.example.com/", "\\x", "%2fx", " "} {
		for who, client := range signedInAndOut(c) {
			t.Run(fmt.Sprintf("%s %q", who, path), func(t *testing.T) {
				stops(t, forward.ask(client, toNotes.at(path), navigating...), 403, "")
			})
		}
	}
}

// No HTTP library sends these bytes.
func TestForwardControlCharacters(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	cookie := []string{"Cookie", withCookie(c.Alice.Token())}
	for _, evil := range []string{"\x00", "\x01", "\x7f", "\x1b", "\x0b", "\x0c", "\r"} {
		for _, e := range endpoints {
			described := e.headers(toNotes)
			for i := 1; i < len(described); i += 2 {
				clean := described[i]
				for _, value := range []string{clean + evil + "x", clean + evil, evil + clean, clean + evil + ".example.com"} {
					headers := slices.Clone(described)
					headers[i] = value
					got := c.Raw(e.raw("GET", append(headers, cookie...)...))
					if got.Status != 400 && got.Status != 403 {
						t.Errorf("%s, %s: %q: %d", e.path, headers[i-1], value, got.Status)
					}
					for name := range got.Header {
						if strings.HasPrefix(name, "Remote-") {
							t.Errorf("%q: %d with %s", value, got.Status, name)
						}
					}
				}
			}
		}
	}
}

// Only a trusted proxy may send auth checks, with or without a session, and only its headers are believed.
func TestForwardPeerIsNotTrusted(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*handlers.Options){
		"none named": func(o *handlers.Options) { o.TrustedProxies = nil },
		"others named": func(o *handlers.Options) {
			o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("127.0.0.2/32"),
				netip.MustParsePrefix("::1/128")}
		},
		"others, by it": func(o *handlers.Options) { o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("198.51.100.1/32")} },
	} {
		t.Run(name, func(t *testing.T) {
			c := handlerstest.OpenCast(t, behindProxy, change)
			c.Alice.Page("/sessions").Is(t, 200)
			c.Alice.Do("GET", "/login", "", "X-Forwarded-For", "198.51.100.1") // its warning is logged once
			c.Alice.Do("GET", "/auth/forward", "")                             // and this one once a minute
			if !strings.Contains(c.Log.String(), `msg="refused an auth check" reason="Only a reverse proxy`) {
				t.Errorf("the log does not say so: %s", c.Log)
			}
			check := noTrace(c.House)
			for _, e := range endpoints {
				for who, client := range signedInAndOut(c) {
					for what, headers := range map[string][]string{
						"asks clearly": e.headers(toNotes), "for evil": e.headers(toNotes.of("evil.test")), "nothing": nil,
						"claims to be trusted": append(e.headers(toNotes), "X-Forwarded-For", "198.51.100.1", "X-Real-Ip", "198.51.100.1", "Forwarded",
							"for=198.51.100.1", "Remote-Addr", "127.0.0.1"),
					} {
						for _, method := range []string{"GET", "POST", "PROPFIND"} {
							t.Run(fmt.Sprint(e.path, " ", who, " ", what, " ", method), func(t *testing.T) {
								got := client.Do(method, e.path, "", append(headers, navigating...)...)
								stops(t, got, 403, "")
								got.Has(t, "--trusted-proxies")
								got.Lacks(t, "alice", notes)
								checkStandsAlone(t, got)
							})
						}
					}
				}
			}
			check(t)
		})
	}
}

// checkShut checks the response to a proxy while the database does not answer.
func checkShut(t *testing.T, got handlerstest.Answer) {
	t.Helper()
	stops(t, got, 503, "")
	got.Has(t, nothingChanged)
	got.Lacks(t, "sql", "SQL", "database", "closed", ".go", "alice")
	if got.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	checkStandsAlone(t, got)
}

func TestForwardDatabaseGone(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"closed", "moved"} {
		t.Run(name, func(t *testing.T) {
			c := handlerstest.OpenCast(t, behindProxy)
			allow(c.House, "photos.example.com")
			key, _ := c.CreateKey(c.Alice.Token(), notes)
			for _, e := range endpoints { // so that the answers are cached
				passes(t, e.ask(c.Alice, toNotes), "alice")
				passes(t, e.ask(c.Bob, toNotes, "Authorization", bearer(key)), "alice")
			}
			if name == "closed" {
				if err := c.Store.Close(); err != nil {
					t.Fatal(err)
				}
			} else if err := os.Rename(c.Path, c.Path+".moved"); err != nil {
				t.Fatal(err)
			}
			c.Alice.API("GET", "/healthz", "").Is(t, 503) // checks the files, which also happens a few times a second
			for _, e := range endpoints {
				for _, who := range []*handlerstest.Client{c.Alice, c.Bob, c.NewClient(handlerstest.FirefoxOnLinux)} {
					for _, headers := range [][]string{navigating, fetching, {"Cookie", withCookie("garbage", "ABCDEFGHIJKLMNOPQRSTUVWXYZ")},
						{"Cookie", withCookie(inventedTokens(17)...)},
						{"Authorization", bearer(key)}, {"Authorization", bearer("plk_")}, {"Authorization", "Token " + key}} {
						checkShut(t, e.ask(who, toNotes, headers...))
						checkShut(t, e.ask(who, toNotes.of("photos.example.com"), headers...)) // would not be allowed
						checkShut(t, e.ask(who, toNotes.of("evil.test"), headers...))          // would not be guarded
						checkShut(t, who.Do("GET", e.path, "", headers...))                    // would be malformed
					}
				}
			}
			if count := strings.Count(c.Log.String(), `msg="the database does not answer"`); count != 1 {
				t.Errorf("logged %d times in a minute, want once", count)
			}
			if name == "moved" { // the file may have changed meanwhile, so checks are refused until a restart
				if err := os.Rename(c.Path+".moved", c.Path); err != nil {
					t.Fatal(err)
				}
				checkShut(t, forward.ask(c.Alice, toNotes))
			}
		})
	}
}

// The reasons are checked in this order: malformed, not guarded, not signed in, not allowed.
func TestForwardOrderOfTheChecks(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	allow(c.House, notes)
	for _, e := range endpoints {
		e.ask(c.Bob, toNotes.by("G T")).Has(t, "is missing or malformed")
		e.ask(c.Bob, toNotes.of("evil.test")).Has(t, "does not guard this host")
		e.ask(c.Bob, toNotes.of("evil.test").by("G T")).Has(t, "is missing or malformed")
		e.ask(c.Bob, toNotes).Has(t, "You don't have access to notes.example.com")
		stranger := c.NewClient(handlerstest.FirefoxOnLinux)
		stops(t, e.ask(stranger, toNotes.by("G T"), navigating...), 403, "")
		stops(t, e.ask(stranger, toNotes.of("evil.test"), navigating...), 403, "")
		got := e.ask(stranger, toNotes, navigating...) // clients that are not signed in don't learn the rules
		if got.Header.Get("Location") != signInFor(toNotes.address()) {
			t.Errorf("%s: %d %q", e.path, got.Status, got.Header.Get("Location"))
		}
	}
}

// Mistakes in the settings are logged, because a proxy may hide the response. Each is logged once a minute.
func TestForwardMistakesAreLogged(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	stranger := c.NewClient(handlerstest.FirefoxOnLinux)
	for range 3 {
		for _, e := range endpoints {
			stranger.Do("GET", e.path, "").Is(t, 403)
			stops(t, e.ask(stranger, toNotes.of("notes.evil.test"), navigating...), 403, "")
		}
	}
	if strings.Contains(c.Log.String(), "does not guard this host") {
		t.Errorf("a host that any client can make up is logged: %s", c.Log)
	}
	for _, want := range []string{"X-Forwarded-Method is missing", "X-Original-Method is missing"} {
		if count := strings.Count(c.Log.String(), want); count != 1 {
			t.Errorf("%q is logged %d times: %s", want, count, c.Log)
		}
	}
	c.Clock.Advance(time.Minute)
	stranger.Do("GET", forward.path, "").Is(t, 403)
	if count := strings.Count(c.Log.String(), "X-Forwarded-Method is missing"); count != 2 {
		t.Errorf("after a minute it is logged %d times, want 2", count)
	}
}

// With an https URL, nobody is redirected back to an app that is http according to the proxy, because the cookie is not sent there. The
// log says so once a minute, and only then.
func TestForwardWarnsOfHTTPApps(t *testing.T) {
	t.Parallel()
	const warning = "cannot return to an app after sign-in"
	for _, test := range []struct {
		url, app string
		warnings int
	}{{"https", "http", 1}, {"https", "https", 0}, {"http", "http", 0}, {"http", "https", 0}} {
		t.Run(test.app+" under "+test.url, func(t *testing.T) {
			c := handlerstest.OpenHouse(t, behindProxy, func(o *handlers.Options) { o.URL.Scheme = test.url })
			stranger := c.NewClient(handlerstest.FirefoxOnLinux)
			ask := func() (count int) {
				for _, e := range endpoints {
					e.ask(stranger, toNotes.as(test.app), navigating...)
				}
				return strings.Count(c.Log.String(), warning)
			}
			if got := ask(); got != test.warnings {
				t.Errorf("logged %d times, want %d", got, test.warnings)
			}
			c.Clock.Advance(time.Minute)
			if got := ask(); got != 2*test.warnings {
				t.Errorf("logged %d times in two minutes, want %d", got, 2*test.warnings)
			}
		})
	}
}
