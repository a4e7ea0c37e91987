package handlers_test

import (
	"fmt"
	"strings"
	"testing"

	"porchlight/handlers/handlerstest"
)

// This file tests which hosts forward auth guards, and how they may be written.

// hostileHosts look like hosts under example.com but are not, or are not hosts at all.
var hostileHosts = []string{
	"evil.test", "evil-example.com", "evilexample.com", "example.com.evil.test", "notes.example.com.evil.test", "example.org", "com",
	"example", "notes", "localhost", "127.0.0.1", "127.0.0.1:3000",
	"user@notes.example.com", "user:pass@notes.example.com", "notes.example.com@evil.test", "evil.test@notes.example.com",
	"evil.test:80@notes.example.com", "notes.example.com:80@evil.test",
	"[::1]", "[::1]:443", "::1", "[notes.example.com]", "[::1].example.com", "[fe80::1%25eth0]", "[::ffff:127.0.0.1]", "[", "]", "[]", "[]:80",
	"notes.example.com:", "notes.example.com:0", "notes.example.com:65536", "notes.example.com:99999999999999999999", "notes.example.com:-1",
	"notes.example.com:+80", "notes.example.com:8o", "notes.example.com:80:80", "notes.example.com:80.", ":80", ":",
	".", "..", ".example.com", "..example.com", "notes..example.com", "notes.example.com..", "example.com..", "*.example.com",
	"notes.example.com.:",
	"notes.example.com, evil.test", "evil.test, notes.example.com", "evil.test,notes.example.com", "evil.test notes.example.com",
	"notes.example.com evil.test", "notes.example.com\tevil.test", "evil.test;notes.example.com",
	"notes%2eexample%2ecom", "notes.example.com%00.evil.test", "evil.test%00.example.com", "evil.test%2f.example.com", "%65xample.com",
	"notes.example.com%0d%0a", "evil.test%23.example.com",
	"evil.test\\.example.com", "evil.test/.example.com", "evil.test?.example.com", "evil.test#.example.com", "evil.test#@notes.example.com",
	"evil.test\\@notes.example.com", "notes.example.com/", "notes.example.com\\",
	"http://notes.example.com", "//notes.example.com", "notes.example.com/../evil.test", "\"notes.example.com\"", "'notes.example.com'",
	"<notes.example.com>", "{notes}.example.com", "$http_host", "notes.example.com|",
	"n\u00f6tes.example.com", "not\u0435s.example.com", "notes.ex\u0430mple.com", "notes\u3002example\u3002com", "notes.example.com\u3002",
	"notes\uff0eexample.com", "\uff4e\uff4f\uff54\uff45\uff53.example.com", "example.c\u043em", "\u202enotes.example.com",
	"notes\u200b.example.com",
	"\xff.example.com", "\xc0\xae.example.com", "notes\xc2\xa0.example.com",
	strings.Repeat("a", 64) + ".example.com", strings.Repeat("a.", 125) + "example.com",
}

func TestForwardHostileHosts(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	for _, host := range hostileHosts {
		for _, e := range endpoints {
			for who, client := range signedInAndOut(c) {
				if e.path == nginx.path && strings.ContainsAny(host, "/?#") {
					continue // nginx sends a URL, in which the host ends before such a character
				}
				t.Run(fmt.Sprintf("%s %s %q", e.path, who, host), func(t *testing.T) {
					got := e.ask(client, toNotes.of(host), navigating...)
					stops(t, got, 403, "")
					checkStandsAlone(t, got)
				})
			}
		}
	}
	for _, address := range []string{"http://evil.test/.example.com", "http://evil.test?.example.com", "http://evil.test#.example.com",
		"http://evil.test#@notes.example.com", "http://evil.test/@notes.example.com",
		"http:///notes.example.com/", "http:/notes.example.com/", "http:notes.example.com", "//notes.example.com/", "notes.example.com/", "/",
		"", "http", "http://", "://notes.example.com/", "http:\\\\notes.example.com/", "http://\\notes.example.com/",
		"http ://notes.example.com/", "http://http://notes.example.com/"} {
		for who, client := range signedInAndOut(c) {
			t.Run(fmt.Sprintf("%s %q", who, address), func(t *testing.T) {
				stops(t, client.Do("GET", nginx.path, "", append([]string{"X-Original-Method", "GET", "X-Original-URL", address}, navigating...)...),
					403, "")
			})
		}
	}
}

// Some letters become ASCII when Go lower-cases them. To the proxy, the host may be another site.
func TestForwardHostsThatLowerCaseToASCII(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	for _, host := range []string{"\u212aitchen.example.com", "k\u0130tchen.example.com"} {
		for _, e := range endpoints {
			stops(t, e.ask(c.Alice, toNotes.of(host)), 403, "")
			stops(t, e.ask(c.NewClient(handlerstest.FirefoxOnLinux), toNotes.of(host), navigating...), 403, "")
		}
	}
}

// A host may be written in several ways, as long as they are unambiguous.
func TestForwardHostsBelowTheDomain(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	allow(c.House, "secret.example.com", "bob")
	for _, host := range []string{"example.com", "example.com.", "EXAMPLE.COM", "notes.example.com:1", "notes.example.com:65535",
		"notes.example.com.:00080", "a.b.c.d.example.com", "xn--ntes-5qa.example.com", "under_score.example.com", "-.example.com",
		"1.example.com",
		strings.Repeat("a", 63) + ".example.com", strings.Repeat("a.", 120) + "example.com", "example.com.example.com", "evil.test.example.com"} {
		for _, e := range endpoints {
			passes(t, e.ask(c.Alice, toNotes.of(host)), "alice")
		}
	}
	// A rule applies however the host is written.
	for _, host := range []string{"secret.example.com", "SECRET.example.com", "secret.example.com.", "secret.example.com:444",
		"Secret.Example.Com.:1"} {
		for _, e := range endpoints {
			stops(t, e.ask(c.Alice, toNotes.of(host)), 403, "")
			passes(t, e.ask(c.Bob, toNotes.of(host)), "bob")
		}
	}
}

// A proxy that guards Porchlight's own pages would redirect people from the sign-in page to the sign-in page.
func TestForwardOwnSignInPageIsNotGuarded(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	own := toNotes.of("auth.example.com")
	for _, e := range endpoints {
		got := e.ask(c.NewClient(handlerstest.FirefoxOnLinux), own.at("/login?next=x"), navigating...)
		stops(t, got, 403, "")
		got.Has(t, "own pages cannot be guarded")
		e.ask(c.NewClient(handlerstest.FirefoxOnLinux), own.at("/wiki/login"), navigating...).Lacks(t, "own pages")
		e.ask(c.NewClient(handlerstest.FirefoxOnLinux), toNotes.at("/login"), navigating...).Lacks(t, "own pages")
		passes(t, e.ask(c.Alice, own.at("/login")), "alice")
	}
}
