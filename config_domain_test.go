package main

import "testing"

// This file tests --cookie-domain.

// Which cookie domains are valid depends on the host of --url.
func TestCookieDomain(t *testing.T) {
	s := settingByFlag("cookie-domain")
	for _, test := range []struct{ url, given, want string }{
		{"https://example.com", "example.com", "example.com"}, // the host itself
		{"https://auth.example.com", "auth.example.com", "auth.example.com"},
		{"https://auth.example.com", "example.com", "example.com"},      // its parent
		{"https://auth.home.example.com", "example.com", "example.com"}, // its grandparent
		{"https://auth.home.example.com", "home.example.com", "home.example.com"},
		{"https://auth.example.com", "Example.COM", "example.com"},
		{"https://auth.example.com", "example.com.", "example.com"},
		{"https://AUTH.Example.COM:8443/", "EXAMPLE.com.", "example.com"},
		{"http://auth.porch.localhost:3000", "porch.localhost", "porch.localhost"},
		{"http://auth.home.lan", "home.lan", "home.lan"}, // a suffix that is not in the list
		{"http://auth.ada.home.arpa", "ada.home.arpa", "ada.home.arpa"},
		{"https://auth.example.co.uk", "example.co.uk", "example.co.uk"},
		{"https://auth.ada.github.io", "ada.github.io", "ada.github.io"}, // a domain below a private suffix
		{"https://ada.duckdns.org", "ada.duckdns.org", "ada.duckdns.org"},
		{"https://auth.ada.duckdns.org", "ada.duckdns.org", "ada.duckdns.org"},
		{"https://auth.city.kawasaki.jp", "city.kawasaki.jp", "city.kawasaki.jp"}, // an exception to *.kawasaki.jp
		{"https://auth.my_home.example.com", "my_home.example.com", "my_home.example.com"},
		{"https://auth.xn--mller-kva.example", "XN--mller-kva.example", "xn--mller-kva.example"},
	} {
		wantSetting(t, s, test.want, "--url", test.url, "--cookie-domain", test.given)
	}
	const suffix, outside = "public suffix", "the host of --url, "
	for _, test := range []struct{ url, given, right string }{
		{"https://example.com", "com", suffix},
		{"https://auth.example.com", "COM.", suffix},
		{"https://auth.example.co.uk", "co.uk", suffix},
		{"https://auth.example.co.uk", "uk", suffix},
		{"https://ada.github.io", "github.io", suffix}, // other people have names there
		{"https://ada.github.io", "GitHub.io.", suffix},
		{"https://auth.ada.duckdns.org", "duckdns.org", suffix},
		{"https://auth.ada.ddns.net", "ddns.net", suffix},
		{"https://auth.ada.kawasaki.jp", "ada.kawasaki.jp", suffix}, // by the wildcard *.kawasaki.jp
		{"http://auth.home.lan", "lan", suffix},
		{"http://auth.porch.localhost", "localhost", suffix},
		{"http://localhost:3000", "localhost", suffix},

		{"https://auth.example.com", "example.org", outside + "auth.example.com,"},
		{"https://auth.example.com", "notes.example.com", outside},    // a sibling
		{"https://auth.example.com", "www.auth.example.com", outside}, // a child
		{"https://example.com", "auth.example.com", outside},          // the same
		{"https://auth.example.com", "ample.com", outside},            // a part of a label
		{"https://authexample.com", "example.com", outside},           // likewise
		{"https://auth.example.com.evil.example", "example.com", outside},
		{"https://auth.example.com:8443", "example.org", outside + "auth.example.com,"},
		{"https://192.168.1.5", "example.com", outside + "192.168.1.5,"},
		{"https://[2001:db8::1]:8443", "example.com", outside + "2001:db8::1,"},

		{"https://192.168.1.5", "192.168.1.5", "such as example.com"},
		{"https://[2001:db8::1]", "[2001:db8::1]", "such as example.com"},
		{"https://192.168.1.5", "168.1.5", "example.com"}, // an address is under no domain
		{"https://192.168.1.5", "1.5", "example.com"},
	} {
		_, err := command(t, "", "version", "--url", test.url, "--cookie-domain", test.given)
		wantError(t, err, 2, "--cookie-domain", test.given, test.right)
	}
}

// A value that begins with a dash looks like another flag.
