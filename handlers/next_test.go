package handlers

import (
	"net/url"
	"strings"
	"testing"
	"unicode"
)

// This file tests where sign-in may redirect to.

func TestSafePath(t *testing.T) {
	t.Parallel()
	for _, next := range []string{
		"/", "/sessions", "/sessions?all=1", "/account?x=1&y=%26", "/a/b/c", "/a//b", "/a?next=//evil.example", "/a?u=https://evil.example/",
		"/a#b", "/%20a", "/caf%C3%A9", "/café",
		"/a:b", "/@evil.example", "/a%2fb", "/a?b=%5c", "/" + strings.Repeat("a", 4095),
	} {
		if got := safePath(next); got != next {
			t.Errorf("%.60q became %q", next, got)
		}
	}
	for _, next := range []string{
		"", " ", "sessions", "?x", "#x", "//", "//evil.example", "///evil.example", "////evil.example", "/\\evil.example", "\\/evil.example",
		"\\\\evil.example", "/a\\b", "/a?b\\c",
		"https://evil.example", "https:evil.example", "http:///evil.example", "HTTPS://evil.example", "javascript:alert(1)", "data:text/html,x",
		"//user@evil.example", "//user:pass@evil.example/",
		"/\t/evil.example", "/\n/evil.example", "/\r/evil.example", "/\x00/evil.example", "/ /evil.example", "\t//evil.example", " /sessions",
		"/a b", "/a\x7f", "/\u0085/evil.example", "/a\u009fb",
		"/%2fevil.example", "/%2Fevil.example", "/%2f%2fevil.example", "/%5cevil.example", "/%5Cevil.example", "/%255cevil.example",
		"/%252fevil.example", "/%09/evil.example", "/%0a/evil.example",
		"/%00", "/%7f", "/%250d%250aX:%20y", "/%zz", "/%", "/\xff", "/\xc0\xaf", "/" + strings.Repeat("a", 4096),
	} {
		if got := safePath(next); got != "" {
			t.Errorf("%.60q became %q", next, got)
		}
	}
}

// checkSafe checks what must hold for every next.
func checkSafe(t testing.TB, next string) {
	t.Helper()
	safe := safePath(next)
	if safe == "" {
		return
	}
	if safe != next {
		t.Errorf("%q was changed to %q", next, safe)
	}
	if strings.Contains(safe, "\\") || strings.ContainsFunc(safe, unicode.IsControl) {
		t.Errorf("%q has a backslash or a control character", safe)
	}
	here, _ := url.Parse("https://auth.example")
	at, err := here.Parse(safe)
	if err != nil {
		t.Fatalf("%q: %v", safe, err)
	}
	if at.Scheme != "https" || at.Host != "auth.example" || at.User != nil {
		t.Errorf("%q leads to %s", safe, at)
	}
}
