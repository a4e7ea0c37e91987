package handlers

import (
	"net"
	"net/netip"
	"strings"

	"github.com/gofiber/fiber/v2"
)

// clientIP is the client's address: the peer's, or what trusted proxies say of it. X-Forwarded-For is read from the
// right, past the trusted proxies, since everything left of that is the client's own writing.
func (h *handler) clientIP(c *fiber.Ctx) string {
	peer := peerAddress(c)
	if !h.trusts(peer) {
		return peer.String()
	}
	client := peer
	hops := strings.Split(strings.Join(headerValues(c, fiber.HeaderXForwardedFor), ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		hop, err := parseAddress(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		if client = hop; !h.trusts(hop) {
			break
		}
	}
	return client.String()
}

// requestOrigin is the scheme and host that the client asked for, as far as a trusted proxy can tell.
func (h *handler) requestOrigin(c *fiber.Ctx) string {
	scheme, host := "http", string(c.Request().Host())
	if h.trusts(peerAddress(c)) {
		if forwarded := firstOf(c.Get(fiber.HeaderXForwardedProto)); forwarded != "" {
			scheme = forwarded
		}
		if forwarded := firstOf(c.Get(fiber.HeaderXForwardedHost)); forwarded != "" {
			host = forwarded
		}
	}
	scheme, host = strings.ToLower(scheme), strings.ToLower(host)
	switch scheme {
	case "https":
		host = strings.TrimSuffix(host, ":443")
	case "http":
		host = strings.TrimSuffix(host, ":80")
	}
	return scheme + "://" + host
}

// trusts tells whether an address is a proxy's whose forwarded headers are believed.
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
	if !h.toldOfProxy.Load() && hasForwarded(c) && !h.trusts(peerAddress(c)) && h.toldOfProxy.CompareAndSwap(false, true) {
		h.Log.Warn("ignored forwarded headers: if this is your reverse proxy, name it in --trusted-proxies", "peer", peerAddress(c).String())
	}
	return c.Next()
}

// firstOf is the first of a list with commas: what the outermost proxy saw.
func firstOf(list string) string {
	first, _, _ := strings.Cut(list, ",")
	return strings.TrimSpace(first)
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
