package handlers

import (
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"
)

// This file tests which client address a request is attributed to.

// clientIPOf returns the client address of a request from peer with these X-Forwarded-For headers.
func clientIPOf(app *fiber.App, h *handler, peer string, forwarded ...string) string {
	var request fasthttp.Request
	for _, value := range forwarded {
		request.Header.Add("X-Forwarded-For", value)
	}
	var context fasthttp.RequestCtx
	context.Init(&request, net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(peer), 4711)), nil)
	c := app.AcquireCtx(&context)
	defer app.ReleaseCtx(c)
	return h.client(c).IP
}

func trusting(proxies ...string) (*fiber.App, *handler) {
	h := &handler{Options: Options{URL: &url.URL{Scheme: "http", Host: "localhost"}, Log: slog.New(slog.DiscardHandler)}}
	for _, text := range proxies {
		h.TrustedProxies = append(h.TrustedProxies, netip.MustParsePrefix(text))
	}
	return fiber.New(), h
}

func TestClientIP(t *testing.T) {
	t.Parallel()
	app, h := trusting("10.0.0.0/8", "127.0.0.1/32", "fd00::/8")
	for name, test := range map[string]struct {
		peer      string
		forwarded []string
		want      string
	}{
		"no header":                         {"203.0.113.9", nil, "203.0.113.9"},
		"a stranger's header":               {"203.0.113.9", []string{"198.51.100.1"}, "203.0.113.9"},
		"a stranger names a proxy":          {"203.0.113.9", []string{"10.0.0.1"}, "203.0.113.9"},
		"a proxy without a header":          {"10.0.0.1", nil, "10.0.0.1"},
		"a proxy":                           {"10.0.0.1", []string{"198.51.100.1"}, "198.51.100.1"},
		"what the client wrote":             {"10.0.0.1", []string{"1.2.3.4, 198.51.100.1"}, "198.51.100.1"},
		"two proxies":                       {"10.0.0.1", []string{"1.2.3.4, 198.51.100.1, 10.0.0.2"}, "198.51.100.1"},
		"the client names a proxy":          {"10.0.0.1", []string{"10.9.9.9, 198.51.100.1"}, "198.51.100.1"},
		"proxies alone":                     {"10.0.0.1", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		"two headers":                       {"10.0.0.1", []string{"1.2.3.4", "198.51.100.1"}, "198.51.100.1"},
		"two headers and two proxies":       {"10.0.0.1", []string{"1.2.3.4, 198.51.100.1", "10.0.0.2"}, "198.51.100.1"},
		"a port":                            {"10.0.0.1", []string{"198.51.100.1:51234"}, "198.51.100.1"},
		"IPv6":                              {"10.0.0.1", []string{"2001:db8::1"}, "2001:db8::1"},
		"IPv6 written long":                 {"10.0.0.1", []string{"2001:0DB8:0:0:0:0:0:1"}, "2001:db8::1"},
		"IPv6 in brackets":                  {"10.0.0.1", []string{"[2001:db8::1]"}, "2001:db8::1"},
		"IPv6 with a port":                  {"10.0.0.1", []string{"[2001:db8::1]:443"}, "2001:db8::1"},
		"IPv6 with a zone":                  {"10.0.0.1", []string{"fe80::1%eth0"}, "fe80::1"},
		"IPv6 proxy":                        {"fd00::1", []string{"198.51.100.1, fd00::2"}, "198.51.100.1"},
		"IPv4 within IPv6":                  {"10.0.0.1", []string{"::ffff:198.51.100.1"}, "198.51.100.1"},
		"a proxy within IPv6":               {"10.0.0.1", []string{"198.51.100.1, ::ffff:10.0.0.2"}, "198.51.100.1"},
		"the peer within IPv6":              {"::ffff:10.0.0.1", []string{"198.51.100.1"}, "198.51.100.1"},
		"a stranger within IPv6":            {"::ffff:203.0.113.9", []string{"198.51.100.1"}, "203.0.113.9"},
		"spaces":                            {"10.0.0.1", []string{"1.2.3.4 ,\t198.51.100.1 "}, "198.51.100.1"},
		"garbage":                           {"10.0.0.1", []string{"garbage"}, "10.0.0.1"},
		"garbage left of the client":        {"10.0.0.1", []string{"<script>, 198.51.100.1"}, "198.51.100.1"},
		"garbage between":                   {"10.0.0.1", []string{"1.2.3.4, garbage, 10.0.0.2"}, "10.0.0.2"},
		"unknown":                           {"10.0.0.1", []string{"unknown"}, "10.0.0.1"},
		"empty":                             {"10.0.0.1", []string{""}, "10.0.0.1"},
		"commas":                            {"10.0.0.1", []string{",,,"}, "10.0.0.1"},
		"a number out of range":             {"10.0.0.1", []string{"198.51.100.256"}, "10.0.0.1"},
		"leading zeros":                     {"10.0.0.1", []string{"010.051.100.001"}, "10.0.0.1"},
		"a host name":                       {"10.0.0.1", []string{"evil.example"}, "10.0.0.1"},
		"a very long list":                  {"10.0.0.1", []string{strings.Repeat("1.2.3.4, ", 1500) + "198.51.100.1"}, "198.51.100.1"},
		"a network is not its neighbour":    {"11.0.0.1", []string{"198.51.100.1"}, "11.0.0.1"},
		"the address that is trusted alone": {"127.0.0.2", []string{"198.51.100.1"}, "127.0.0.2"},
	} {
		if got := clientIPOf(app, h, test.peer, test.forwarded...); got != test.want {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
}

func TestClientIPTrustingNobody(t *testing.T) {
	t.Parallel()
	app, h := trusting()
	if got := clientIPOf(app, h, "127.0.0.1", "198.51.100.1"); got != "127.0.0.1" {
		t.Errorf("the client's address is %s", got)
	}
}
