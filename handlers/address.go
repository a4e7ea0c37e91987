package handlers

import (
	"bytes"
	"iter"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/gofiber/fiber/v2"
)

// clientAddress returns the client's address, and how many addresses of X-Forwarded-For were believed. They are read from the right, past
// the trusted proxies, because the client can write everything further left.
func (h *handler) clientAddress(c *fiber.Ctx) (address netip.Addr, believed int) {
	address = peerAddress(c)
	if !h.trusts(address) {
		return address, 0
	}
	for text := range forwardedFor(c) {
		hop, err := parseAddress(text)
		if err != nil {
			break
		}
		believed++
		if address = hop; !h.trusts(hop) {
			break
		}
	}
	return address, believed
}

// forwardedFor yields the addresses in X-Forwarded-For, the last one first.
func forwardedFor(c *fiber.Ctx) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, line := range slices.Backward(c.Request().Header.PeekAll(fiber.HeaderXForwardedFor)) {
			for more := true; more; {
				var hop []byte
				i := bytes.LastIndexByte(line, ',')
				line, hop, more = line[:max(i, 0)], line[i+1:], i >= 0
				if !yield(string(bytes.TrimSpace(hop))) {
					return
				}
			}
		}
	}
}

// requestOrigin returns the scheme and host of the request, as reported by a trusted proxy if there is one.
func (h *handler) requestOrigin(c *fiber.Ctx) string {
	scheme, host := strings.ToLower(h.scheme(c).value), strings.ToLower(h.host(c).value)
	defaultPort := map[string]string{"http": ":80", "https": ":443"}[scheme]
	return scheme + "://" + strings.TrimSuffix(host, defaultPort)
}

// reported is a fact about a request, and the header that it comes from, or "" if it comes from the connection itself.
type reported struct{ value, header string }

func (h *handler) scheme(c *fiber.Ctx) reported {
	return h.forwarded(c, fiber.HeaderXForwardedProto, reported{"http", ""})
}

func (h *handler) host(c *fiber.Ctx) reported {
	return h.forwarded(c, fiber.HeaderXForwardedHost, reported{string(c.Request().Host()), fiber.HeaderHost})
}

// forwarded returns a forwarded header from a trusted proxy, or fallback if there is none. If there are several proxies, the
// outermost counts.
func (h *handler) forwarded(c *fiber.Ctx, name string, fallback reported) reported {
	first, _, _ := strings.Cut(c.Get(name), ",")
	if first = strings.TrimSpace(first); first == "" || !h.trusts(peerAddress(c)) {
		return fallback
	}
	return reported{first, name}
}

// trusts reports whether the peer is a proxy whose forwarded headers are believed.
func (h *handler) trusts(peer netip.Addr) bool {
	return slices.ContainsFunc(h.TrustedProxies, func(proxies netip.Prefix) bool { return proxies.Contains(peer) })
}

// warnOfProxy logs once that an untrusted peer sent forwarded headers. Most likely it is a proxy that --trusted-proxies does not name.
func (h *handler) warnOfProxy(c *fiber.Ctx) error {
	if !h.warnedOfProxy.Load() && !h.trusts(peerAddress(c)) && hasForwarded(c) && h.warnedOfProxy.CompareAndSwap(false, true) {
		h.Log.Warn("ignored forwarded headers: if this is your reverse proxy, name it in --trusted-proxies", "peer", peerAddress(c).String())
	}
	return c.Next()
}

func hasForwarded(c *fiber.Ctx) bool {
	header := &c.Request().Header
	return len(header.Peek(fiber.HeaderXForwardedFor)) > 0 || len(header.Peek(fiber.HeaderXForwardedHost)) > 0 ||
		len(header.Peek(fiber.HeaderXForwardedProto)) > 0
}

func peerAddress(c *fiber.Ctx) netip.Addr {
	tcp, ok := c.Context().RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return tcp.AddrPort().Addr().Unmap().WithZone("")
}

// parseAddress reads an address as proxies write it: with or without a port, IPv6 with or without brackets.
func parseAddress(text string) (netip.Addr, error) {
	at, err := netip.ParseAddr(strings.Trim(text, "[]"))
	if err != nil {
		var withPort netip.AddrPort
		withPort, err = netip.ParseAddrPort(text)
		at = withPort.Addr()
	}
	return at.Unmap().WithZone(""), err
}

// headerValues returns all values of a header that may be repeated.
func headerValues(c *fiber.Ctx, name string) (values []string) {
	for _, value := range c.Request().Header.PeekAll(name) {
		values = append(values, string(value))
	}
	return values
}
