package handlers

import (
	"net/netip"
	"testing"
)

// This file fuzzes the functions that read what clients write. Whole requests are fuzzed
// in requests_fuzz_test.go.

func FuzzSafePath(f *testing.F) {
	for _, next := range []string{"", "/", "/sessions?all=1", "//evil.example", "/\\evil.example", "/%2f/evil.example", "/%255cx",
		"https://evil.example", "/\u0085", "/..//evil.example", "/a?b#c", "/:80", "/\t//x"} {
		f.Add(next)
	}
	f.Fuzz(func(t *testing.T, next string) { checkSafe(t, next) })
}

func FuzzDeviceName(f *testing.F) {
	for _, userAgent := range hostileAgents {
		f.Add(userAgent)
	}
	f.Add(onWindows + "Chrome/138.0.0.0 Safari/537.36 Edg/138.0.0.0")
	f.Add(onAndroid + "SamsungBrowser/28.0 Chrome/130.0.0.0 Mobile Safari/537.36")
	f.Fuzz(func(t *testing.T, userAgent string) { checkDevice(t, userAgent) })
}

func FuzzClientIP(f *testing.F) {
	app, h := trusting("10.0.0.0/8", "fd00::/8")
	for _, forwarded := range []string{"", "198.51.100.1", "1.2.3.4, 10.0.0.2", "[2001:db8::1]:443", "::ffff:10.0.0.1", "fe80::1%eth0",
		"unknown", ",,", "10.0.0.1:99999", "[", "::ffff:1.2.3.4%x"} {
		f.Add(forwarded, forwarded)
	}
	f.Fuzz(func(t *testing.T, first, second string) {
		text := clientIPOf(app, h, "10.0.0.1", first, second)
		address, err := netip.ParseAddr(text)
		if err != nil || address.Is4In6() || address.Zone() != "" || address.String() != text {
			t.Errorf("%q and %q: %q is no plain address: %v", first, second, text, err)
		}
		if stranger := clientIPOf(app, h, "203.0.113.9", first, second); stranger != "203.0.113.9" {
			t.Errorf("a stranger is believed: %q", stranger)
		}
	})
}
