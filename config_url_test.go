package main

import (
	"io"
	"net"
	"testing"
)

// This file tests which addresses --url accepts, and which settings need https in it.

func TestURL(t *testing.T) {
	s := everySetting[2]
	for listen, want := range map[string]string{
		"127.0.0.1:8080": "http://localhost:8080",
		":8080":          "http://localhost:8080",
		"192.0.2.7:8080": "http://localhost:8080",
		"[::1]:8080":     "http://localhost:8080",
	} {
		wantSetting(t, s, want, "--listen", listen)
		wantSetting(t, s, "https://auth.example.com", "--listen", listen, "--url", "https://auth.example.com")
	}
	for given, want := range map[string]string{
		"https://auth.example.com":      "https://auth.example.com",
		"https://auth.example.com:443":  "https://auth.example.com",
		"https://auth.example.com:8443": "https://auth.example.com:8443",
		"http://auth.example.com:80/":   "http://auth.example.com",
		"HTTP://AUTH.example.com:443":   "http://auth.example.com:443",
		"http://[2001:DB8::1]:3000":     "http://[2001:db8::1]:3000",
		"http://[2001:db8::1]:80":       "http://[2001:db8::1]",
		"http://192.0.2.7:3000":         "http://192.0.2.7:3000",
		"https://auth.example.com.":     "https://auth.example.com", // people and browsers leave out the dot
		"https://auth.example.com.:443": "https://auth.example.com",
	} {
		wantSetting(t, s, want, "--url", given)
	}
	const noPath, ascii = "only a scheme and a host", "give the host in ASCII, as browsers do: "
	for given, right := range map[string]string{
		"https://müller.example":             ascii + "https://xn--mller-kva.example",
		"http://Auth.MÜLLER.example:8443/":   ascii + "http://auth.xn--mller-kva.example:8443",
		"https://m%C3%BCller.example":        ascii + "https://xn--mller-kva.example",
		"https://例え.テスト":                     ascii + "https://xn--r8jz45g.xn--zckzah",
		"https://auth\u3002example\u3002com": ascii + "https://auth.example.com", // full stops of another script
		"https://au_th.müller.example":       noPath,
		"https://-ü.example":                 noPath,
		"https://auth..example.com":          noPath,
		"https://auth$.example.com":          noPath,
		"https://auth.example.com:0":         noPath,
	} {
		_, err := command(t, "", "version", "--url", given)
		wantError(t, err, 2, "--url", given, right)
	}
}

// With port 0, the default --url gets the port that the system chose. A --url that was given stays.
func TestURLHasTheRealPort(t *testing.T) {
	for want, args := range map[string][]string{
		"http://localhost:41234": {"--listen", "127.0.0.1:0"},
		"http://auth.example":    {"--listen", "127.0.0.1:0", "--url", "http://auth.example"},
	} {
		var c commands
		if _, err := parse(&c, args, io.Discard); err != nil {
			t.Fatal(err)
		}
		c.useRealPort(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 41234})
		if c.url.String() != want {
			t.Errorf("%q: %s, want %s", args, c.url, want)
		}
	}
	var c commands
	if _, err := parse(&c, []string{"--listen", ":80"}, io.Discard); err != nil {
		t.Fatal(err)
	}
	c.useRealPort(&net.TCPAddr{Port: 80})
	if c.url.String() != "http://localhost" { // as browsers send it
		t.Error(c.url)
	}
}

// Browsers ignore Clear-Site-Data from a site without https, except on their own machine.
func TestClearAppDataNeedsHTTPS(t *testing.T) {
	s := settingByFlag("clear-app-data")
	for _, url := range []string{
		"https://auth.example.com", "http://localhost:3000", "http://auth.porch.localhost:8000", "http://127.0.0.1:3000", "http://[::1]:3000",
	} {
		wantSetting(t, s, "on", "--url", url, "--clear-app-data", "on")
	}
	for _, url := range []string{"http://auth.example.com", "http://192.168.1.5:3000", "http://localhost.example.com"} {
		wantSetting(t, s, "off", "--url", url, "--clear-app-data", "off")
		_, err := command(t, "", "version", "--url", url, "--clear-app-data", "on")
		wantError(t, err, 2, "--clear-app-data on: ", "set --url to an https address")
	}
}
