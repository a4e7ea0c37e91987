package handlers

import (
	"net"
	"net/netip"
	"strings"

	"github.com/gofiber/fiber/v2"
)

// clientIP is the client's address: the peer's, or what trusted proxies say of it.
func (h *handler) clientIP(c *fiber.Ctx) string {
	client, _ := h.client(c)
	return client.String()
}

// client is the client's address, and how many addresses of X-Forwarded-For were believed for it. They are read from the
// right, past the trusted proxies, since everything left of that is the client's own writing.
func (h *handler) client(c *fiber.Ctx) (address netip.Addr, believed int) {
	address = peerAddress(c)
	if !h.trusts(address) {
		return address, 0
	}
	hops := forwardedFor(c)
	for i := len(hops) - 1; i >= 0; i-- {
		hop, err := parseAddress(hops[i])
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

// forwardedFor are the addresses in X-Forwarded-For, as they stand there.
func forwardedFor(c *fiber.Ctx) []string {
	hops := strings.Split(strings.Join(headerValues(c, fiber.HeaderXForwardedFor), ","), ",")
	for i, hop := range hops {
		hops[i] = strings.TrimSpace(hop)
	}
	return hops
}

// requestOrigin is the scheme and host that the client asked for, as far as a trusted proxy can tell.
func (h *handler) requestOrigin(c *fiber.Ctx) string {
	scheme, host := strings.ToLower(h.scheme(c).value), strings.ToLower(h.host(c).value)
	switch scheme {
	case "https":
		host = strings.TrimSuffix(host, ":443")
	case "http":
		host = strings.TrimSuffix(host, ":80")
	}
	return scheme + "://" + host
}

// told is something about a request, and the header that told it; "" is the connection itself.
type told struct{ value, header string }

func (h *handler) scheme(c *fiber.Ctx) told {
	if forwarded := h.forwarded(c, fiber.HeaderXForwardedProto); forwarded.value != "" {
		return forwarded
	}
	return told{"http", ""}
}

func (h *handler) host(c *fiber.Ctx) told {
	if forwarded := h.forwarded(c, fiber.HeaderXForwardedHost); forwarded.value != "" {
		return forwarded
	}
	return told{string(c.Request().Host()), fiber.HeaderHost}
}

// forwarded is what a trusted proxy says in a header; of several proxies, what the outermost saw.
func (h *handler) forwarded(c *fiber.Ctx, name string) told {
	if !h.trusts(peerAddress(c)) {
		return told{}
	}
	first, _, _ := strings.Cut(c.Get(name), ",")
	return told{strings.TrimSpace(first), name}
}

// trusts reports whether an address is a proxy's whose forwarded headers are believed.
func (h *handler) trusts(peer netip.Addr) bool {
	for _, proxies := range h.TrustedProxies {
		if proxies.Contains(peer) {
			return true
		}
	}
	return false
}

// warnOfProxy tells once of forwarded headers from a peer that is not trusted: most likely a proxy nobody named.
func (h *handler) warnOfProxy(c *fiber.Ctx) error {
	if !h.warnedOfProxy.Load() && hasForwarded(c) && !h.trusts(peerAddress(c)) && h.warnedOfProxy.CompareAndSwap(false, true) {
		h.Log.Warn("ignored forwarded headers: if this is your reverse proxy, name it in --trusted-proxies", "peer", peerAddress(c).String())
	}
	return c.Next()
}

func hasForwarded(c *fiber.Ctx) bool {
	header := &c.Request().Header
	return len(header.Peek(fiber.HeaderXForwardedFor))+len(header.Peek(fiber.HeaderXForwardedHost))+len(header.Peek(fiber.HeaderXForwardedProto)) > 0
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
	if at, err := netip.ParseAddrPort(text); err == nil {
		return at.Addr().Unmap().WithZone(""), nil
	}
	at, err := netip.ParseAddr(strings.Trim(text, "[]"))
	return at.Unmap().WithZone(""), err
}

// headerValues are all values of a header that may come more than once.
func headerValues(c *fiber.Ctx, name string) (values []string) {
	for _, value := range c.Request().Header.PeekAll(name) {
		values = append(values, string(value))
	}
	return values
}
