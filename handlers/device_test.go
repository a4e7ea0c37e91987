package handlers

import (
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"
)

// This file tests the detected names of devices: people recognise them, and clients cannot inject anything into them.

var testNamer = sync.OnceValue(newDeviceNamer)

const (
	onWindows = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
	onMac     = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) "
	onIPhone  = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
	onAndroid = "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) "
	onLinux   = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
)

func TestDeviceNames(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ userAgent, name, kind string }{
		{onWindows + "Chrome/138.0.0.0 Safari/537.36", "Chrome on Windows", "desktop"},
		{onWindows + "Chrome/138.0.0.0 Safari/537.36 Edg/138.0.0.0", "Edge on Windows", "desktop"},
		{onWindows + "Chrome/137.0.0.0 Safari/537.36 OPR/121.0.0.0", "Opera on Windows", "desktop"},
		{onWindows + "Chrome/136.0.0.0 Safari/537.36 Vivaldi/7.4.3684.52", "Vivaldi on Windows", "desktop"},
		{"Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox on Windows", "desktop"},
		{"Mozilla/5.0 (Windows NT 6.1; WOW64; rv:52.0) Gecko/20100101 Firefox/52.0", "Firefox on Windows", "desktop"},
		{"Mozilla/5.0 (Windows NT 10.0; WOW64; Trident/7.0; rv:11.0) like Gecko", "Internet Explorer on Windows", "desktop"},
		{"Opera/9.80 (Windows NT 6.1; U; en) Presto/2.8.131 Version/11.11", "Opera on Windows", "desktop"},
		{onMac + "Version/18.5 Safari/605.1.15", "Safari on macOS", "desktop"},
		{"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36",
			"Chrome on macOS", "desktop"},
		{"Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox on macOS", "desktop"},
		{onIPhone + "Version/18.5 Mobile/15E148 Safari/604.1", "Safari on iPhone", "phone"},
		{onIPhone + "CriOS/138.0.7204.119 Mobile/15E148 Safari/604.1", "Chrome on iPhone", "phone"},
		{onIPhone + "FxiOS/140.0 Mobile/15E148 Safari/605.1.15", "Firefox on iPhone", "phone"},
		{onIPhone + "Version/18.0 EdgiOS/138.0.3351.83 Mobile/15E148 Safari/605.1.15", "Edge on iPhone", "phone"},
		{onIPhone + "Version/18.5 Mobile/15E148 DuckDuckGo/7 Safari/605.1.15", "DuckDuckGo on iPhone", "phone"},
		{onIPhone + "Mobile/15E148", "Safari on iPhone", "phone"},
		{"Mozilla/5.0 (iPad; CPU OS 16_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/16.6 Mobile/15E148 Safari/604.1",
			"Safari on iPad", "tablet"},
		{onAndroid + "Chrome/138.0.0.0 Mobile Safari/537.36", "Chrome on Android", "phone"},
		{onAndroid + "Chrome/138.0.0.0 Safari/537.36", "Chrome on Android", "tablet"},
		{onAndroid + "SamsungBrowser/28.0 Chrome/130.0.0.0 Mobile Safari/537.36", "Samsung Internet on Android", "phone"},
		{onAndroid + "Chrome/138.0.0.0 Mobile Safari/537.36 EdgA/138.0.0.0", "Edge on Android", "phone"},
		{onAndroid + "Chrome/137.0.0.0 Mobile Safari/537.36 OPR/90.0.0.0", "Opera on Android", "phone"},
		{"Mozilla/5.0 (Android 15; Mobile; rv:140.0) Gecko/140.0 Firefox/140.0", "Firefox on Android", "phone"},
		{"Mozilla/5.0 (Android 14; Tablet; rv:140.0) Gecko/140.0 Firefox/140.0", "Firefox on Android", "tablet"},
		{"Mozilla/5.0 (Linux; Android 14; Pixel 8 Build/UQ1A; wv) AppleWebKit/537.36 (KHTML, like Gecko) " +
			"Version/4.0 Chrome/138.0.7204.63 Mobile Safari/537.36", "Chrome on Android", "phone"},
		{onLinux + "Chrome/138.0.0.0 Safari/537.36", "Chrome on Linux", "desktop"},
		{onLinux + "HeadlessChrome/138.0.0.0 Safari/537.36", "Headless Chrome on Linux", "desktop"},
		{"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox on Linux", "desktop"},
		{"Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox on Ubuntu", "desktop"},
		{"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36", "Chrome on ChromeOS",
			"desktop"},
		{"Mozilla/5.0 (X11; FreeBSD amd64; rv:128.0) Gecko/20100101 Firefox/128.0", "Firefox on FreeBSD", "desktop"},
		{"Mozilla/5.0 (Mobile; Nokia_8110_4G; rv:48.0) Gecko/48.0 Firefox/48.0 KAIOS/2.5", "Firefox on KaiOS", "phone"},
		{"Mozilla/5.0 (Windows Phone 10.0; Android 6.0.1; Microsoft; Lumia 950) AppleWebKit/537.36 (KHTML, like Gecko) " +
			"Chrome/52.0.2743.116 Mobile Safari/537.36 Edge/15.15254", "Edge on Windows Phone", "phone"},
		{"Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "Googlebot", "unknown"},
		{"curl/8.5.0", "curl", "terminal"},
		{"Wget/1.21.4", "Wget", "terminal"},
		{"python-requests/2.32.3", "Python Requests", "terminal"},
		{"Go-http-client/1.1", "Go-http-client", "terminal"},
		{"HTTPie/3.2.2", "HTTPie", "terminal"},
		{"Lynx/2.9.0 libwww-FM/2.14", "Lynx", "terminal"},
		{"", "Unknown device", "unknown"},
		{"x", "Unknown device", "unknown"},
		{"Mozilla/5.0", "Unknown device", "unknown"},
		{"Other", "Unknown device", "unknown"},
		{"<img src=x onerror=alert(1)>", "Unknown device", "unknown"},
		{"hx-get=\"/evil\"", "Unknown device", "unknown"},
		{"\u202egnp.exe", "Unknown device", "unknown"},
	} {
		if name, kind := testNamer().name(cutUserAgent(test.userAgent), true); name != test.name || kind != test.kind {
			t.Errorf("%q (%s), want %q (%s): %s", name, kind, test.name, test.kind, test.userAgent)
		}
	}
}

// plainName matches what a page and the log may contain: letters, digits and a few other characters.
var plainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9 ._+-]*$`)

var kinds = []string{"desktop", "phone", "tablet", "terminal", "unknown"}

// checkDevice checks what must hold for every User-Agent.
func checkDevice(t testing.TB, userAgent string) {
	t.Helper()
	cut := cutUserAgent(userAgent)
	if len(cut) > 512 || !utf8.ValidString(cut) {
		t.Errorf("%.60q is cut to %d bytes, valid: %v", userAgent, len(cut), utf8.ValidString(cut))
	}
	name, kind := testNamer().name(cut, true)
	if len(name) > 90 || !plainName.MatchString(name) {
		t.Errorf("%.200q is called %q", userAgent, name)
	}
	if !slices.Contains(kinds, kind) {
		t.Errorf("%.200q is of kind %q, which the database refuses", userAgent, kind)
	}
	for _, word := range strings.Split(name, " on ") {
		if word == "Other" || word == "K" || strings.HasPrefix(word, "Mac OS") || strings.HasSuffix(word, " iOS") ||
			regexp.MustCompile(`^(Windows|macOS|Android|iOS) [0-9]`).MatchString(word) {
			t.Errorf("%.200q is called %q, which people would not understand", userAgent, name)
		}
	}
}

var hostileAgents = []string{
	"", " ", "\x00", "\xff\xfe\xc3\x28", "K", "Other", "Mac OS X", "Windows 11", "Android 10; K", "hx-get=\"/evil\"", "\u202e\u2066\u200f",
	"<img src=x onerror=alert(1)>/1.0", "Mozilla/5.0 <script>alert(1)</script>", "Mozilla/5.0 (X11; Linux x86_64) \" onload=\"x Firefox/140.0",
	"Mozilla/5.0 (Linux; Android 10; <b>K</b>) AppleWebKit/537.36 Chrome/138.0.0.0 Mobile Safari/537.36",
	"<b>Bot</b>/1.0 (+https://evil.example)", "\u202eevilbot/1.0", "Mozilla/5.0 (compatible; <img onerror=x>bot/1.0)", "{{.}}bot/1.0",
	"a\r\nSet-Cookie: x=y bot/1.0",
	strings.Repeat("A", 8192), strings.Repeat("(", 8192), strings.Repeat("Mozilla/5.0 (", 700), strings.Repeat("é", 4096),
	strings.Repeat("x", 511) + "é",
	strings.Repeat("Bot", 100) + "/1.0", "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) " + strings.Repeat("a/1 ", 2000),
	"Mozilla/5.0 (Windows NT 99.0; Windows 12) Firefox/999", "Mozilla/5.0 (Macintosh; Mac OS X 99) Safari/1",
	"Dalvik/2.1.0 (Linux; U; Android 14; Pixel 8)",
}

func TestHostileUserAgents(t *testing.T) {
	t.Parallel()
	for _, userAgent := range hostileAgents {
		checkDevice(t, userAgent)
	}
}
