package db_test

import (
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"porchlight/db"
)

// This file tests the canonical form of a host. If the proxy parsed a host differently, or if a host had two forms, it could evade the
// rule for it.

func TestCanonicalHost(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 63) + "." + strings.Repeat("b", 63) + "." + strings.Repeat("c", 63) + "." + strings.Repeat("d", 61)
	for _, test := range []struct{ text, host, port string }{
		{"notes.example.com", "notes.example.com", ""},
		{"Notes.Example.com.:8443", "notes.example.com", "8443"},
		{"NOTES.EXAMPLE.COM", "notes.example.com", ""},
		{"notes.example.com.", "notes.example.com", ""},
		{"notes.example.com:1", "notes.example.com", "1"},
		{"notes.example.com:65535", "notes.example.com", "65535"},
		{"notes.example.com:0443", "notes.example.com", "443"},
		{"localhost", "localhost", ""},
		{"localhost:3000", "localhost", "3000"},
		{"a", "a", ""},
		{"my_notes.example.com", "my_notes.example.com", ""},
		{"_", "_", ""},
		{"xn--mller-kva.example", "xn--mller-kva.example", ""},
		{"192.0.2.7", "192.0.2.7", ""},
		{"192.0.2.7:80", "192.0.2.7", "80"},
		{"[::1]", "::1", ""},
		{"[::1]:3000", "::1", "3000"},
		{"[2001:DB8:0:0:0:0:0:1]", "2001:db8::1", ""},
		{"[2001:db8::0001]:443", "2001:db8::1", "443"},
		{"[::ffff:192.0.2.7]", "::ffff:192.0.2.7", ""},
		{"[::FFFF:C000:207]", "::ffff:192.0.2.7", ""},
		{strings.Repeat("a", 63), strings.Repeat("a", 63), ""},
		{long, long, ""},
		{long + ".", long, ""},
	} {
		if host, port, ok := db.CanonicalHost(test.text); host != test.host || port != test.port || !ok {
			t.Errorf("%q: %q, port %q, %t; want %q, port %q", test.text, host, port, ok, test.host, test.port)
		}
		checkHost(t, test.text)
	}
	for _, text := range []string{
		"", ".", "..", ":", ":80", ".:80", " ", "notes example.com", " notes.example.com", "notes.example.com ",
		"notes.example.com\t", "\nnotes.example.com", "notes.example.com\x00",
		".example.com", "notes..com", "notes.example.com..", "notes.example.com..:80", "*.example.com", "*",
		"notes.example.com:", "notes.example.com:0", "notes.example.com:00", "notes.example.com:65536",
		"notes.example.com:99999999999999999999", "notes.example.com:+80", "notes.example.com:-80", "notes.example.com: 80",
		"notes.example.com:80 ",
		"notes.example.com:http", "notes.example.com:0x50", "notes.example.com:8_0", "notes.example.com:80:80", "notes.example.com:٨٠",
		"https://notes.example.com", "notes.example.com/", "/notes.example.com", "notes.example.com?a", "notes.example.com#a",
		"ada@notes.example.com", "ada:secret@notes.example.com", "notes.example.com\\@evil.example",
		"notes.example.com,evil.example", "notes.example.com%2e", "notes%20",
		"\u212Aiosk.example.com", "w\u0130ki.example.com", // in lower case, these become a k and an i
		"7", "127.1", "1.2.3.4.5", "01.2.3.4", "0x7f.0.0.1", "0x7f000001", "auth.1", "auth.0x1", // browsers take these for addresses
		"müller.example", "notes。example.com", "not\u00ades.example.com", "notes\u200b.example.com", "\xff.example.com", "nótes",
		"[", "]", "[]", "[]:80", "[::1", "::1]", "::1", "2001:db8::1", "[::1]]", "[[::1]", "[::1]:", "[::1]:0", "[::1].", "[::1]x",
		"x[::1]", "[fe80::1%eth0]", "[fe80::1%25eth0]", "[::g]", "[192.0.2.7]", "[localhost]", "[ ::1]",
		strings.Repeat("a", 64), strings.Repeat("a", 64) + ".example", long + "d", "x." + long, strings.Repeat("a.", 5000),
	} {
		if host, port, ok := db.CanonicalHost(text); ok {
			t.Errorf("%q is taken for %q, port %q", text, host, port)
		}
	}
}

// checkHost checks what must be true for every text.
func checkHost(t *testing.T, text string) {
	t.Helper()
	host, port, ok := db.CanonicalHost(text)
	if !ok {
		return
	}
	if strings.ContainsFunc(text, func(r rune) bool { return r >= 0x80 }) {
		t.Errorf("%q, which is not ASCII, is taken for %q", text, host)
	}
	if host == "" || strings.ContainsFunc(host, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && !strings.ContainsRune("_.-:", r)
	}) {
		t.Errorf("%q: the host is %q", text, host)
	}
	// The canonical form of a canonical host is the same, with any port. An IPv6 address is in brackets.
	written := host
	if strings.Contains(host, ":") {
		written = "[" + host + "]"
	}
	for _, again := range []string{written, strings.ToUpper(written), written + ":8443"} {
		if got, _, ok := db.CanonicalHost(again); got != host || !ok {
			t.Errorf("%q: %q, and that again is %q, %t", text, host, got, ok)
		}
	}
	if port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || fmt.Sprint(n) != port {
			t.Errorf("%q: the port is %q", text, port)
		}
	}
	// As the authority of a URL, it has the same host and port.
	u, err := url.Parse("http://" + text + "/")
	if err != nil || u.Host != text || u.Path != "/" {
		t.Errorf("%q is ok, and not the authority of an address: %v, %v", text, u, err)
		return
	}
	seen := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	if address, err := netip.ParseAddr(seen); err == nil {
		seen = address.String()
	}
	if seen != host {
		t.Errorf("%q: %q, and as an address %q", text, host, seen)
	}
	if seen := strings.TrimLeft(u.Port(), "0"); seen != port {
		t.Errorf("%q: port %q, and as an address %q", text, port, seen)
	}
}

func FuzzCanonicalHost(f *testing.F) {
	for _, text := range []string{
		"", "notes.example.com", "Notes.Example.com.:8443", "*.example.com", "localhost:3000", "[2001:DB8::1]:443",
		"[::ffff:192.0.2.7]", "[fe80::1%25eth0]", "::1", "192.0.2.7:080",
		"a..b", "a.:80", "[::1].", "ada@notes.example.com", "notes.example.com/..", "a%2eb", "a\\b", "_", "-",
		"\u212Aiosk.example.com", "[", ":", "127.1", "0x7f.1", "xn--mller-kva.example", "\xff", "müller.example",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) { checkHost(t, text) })
}
