package handlers

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/gofiber/fiber/v2"
)

// proxyPage shows an administrator what Porchlight believes about the request for the page itself.
type proxyPage struct {
	adminPage
	Peer      string // the address at the other end of the connection
	Trusted   bool   // the peer is in --trusted-proxies
	Reported  bool   // the peer is trusted, and reported the client's address
	Ignored   bool   // the peer is not trusted, and sent forwarded headers
	Elsewhere bool   // the request came to another address than --url
	Unguarded bool   // --cookie-domain is set, but no proxy is trusted, so every auth check is refused
	OnlyIP    string // the private address that all live sessions have in common, or ""
	Beliefs   []fact
	Headers   []fact
	Settings  []fact
}

// ToFix returns how many things are probably not set up right. The page has a notice for each.
func (p proxyPage) ToFix() (count int) {
	for _, wrong := range []bool{p.Ignored, p.Elsewhere, p.Unguarded, p.OnlyIP != ""} {
		if wrong {
			count++
		}
	}
	return count
}

// fact is a value with its name and a note.
type fact struct{ Name, Value, Note string }

func (h *handler) showProxy(c *fiber.Ctx) error {
	onlyIP, err := h.Store.OnlyAddress()
	if err != nil {
		return err
	}
	if address, err := netip.ParseAddr(onlyIP); err != nil || !(address.IsPrivate() || address.IsLoopback() || address.IsLinkLocalUnicast()) {
		onlyIP = ""
	}
	peer := peerAddress(c)
	p := proxyPage{
		adminPage: h.adminPageFor(c, "proxy", "Your reverse proxy"), Peer: peer.String(), Trusted: h.trusts(peer), OnlyIP: onlyIP,
		Ignored:   hasForwarded(c) && !h.trusts(peer),
		Elsewhere: h.requestOrigin(c) != h.origin,
		Unguarded: h.CookieDomain != "" && len(h.TrustedProxies) == 0,
		Settings: []fact{
			{Name: "--url", Value: h.origin},
			{Name: "--cookie-domain", Value: h.CookieDomain},
			{Name: "--trusted-proxies", Value: joinPrefixes(h.TrustedProxies)},
		},
	}
	client, hops := h.clientAddress(c)
	p.Reported = hops > 0
	from := reported{client.String(), ""}
	if hops > 0 {
		from.header = fiber.HeaderXForwardedFor
	}
	p.Beliefs = []fact{p.belief("Client address", from), p.belief("Scheme", h.scheme(c)), p.belief("Host", h.host(c))}
	for _, name := range []string{
		fiber.HeaderHost, fiber.HeaderXForwardedFor, fiber.HeaderXForwardedProto, fiber.HeaderXForwardedHost, "X-Real-IP", "Forwarded",
	} {
		if value := strings.Join(headerValues(c, name), ", "); value != "" {
			p.Headers = append(p.Headers, fact{name, value, p.verdict(c, name, hops)})
		}
	}
	return c.Render("admin/proxy", p)
}

func (p proxyPage) belief(name string, from reported) fact {
	if from.header == "" {
		return fact{name, from.value, "from the connection itself"}
	}
	return fact{name, from.value, "from " + from.header + ", which " + p.Peer + " sent"}
}

// verdict says how a header was used. hops is how many addresses of X-Forwarded-For were believed.
func (p proxyPage) verdict(c *fiber.Ctx, name string, hops int) string {
	switch {
	case name == fiber.HeaderHost:
		return "used unless a trusted proxy sends X-Forwarded-Host"
	case name == "X-Real-IP" || name == "Forwarded":
		return "never read"
	case !p.Trusted:
		return "ignored: " + p.Peer + " is not in --trusted-proxies"
	case name == fiber.HeaderXForwardedFor && hops == 0:
		return "ignored: it does not end in an address"
	case name == fiber.HeaderXForwardedFor && hops < len(slices.Collect(forwardedFor(c))):
		return fmt.Sprintf("believed: only the last %d; anyone can write what comes before", hops)
	}
	return "believed"
}

func joinPrefixes(prefixes []netip.Prefix) string {
	texts := []string{}
	for _, prefix := range prefixes {
		texts = append(texts, strings.TrimSuffix(strings.TrimSuffix(prefix.String(), "/32"), "/128"))
	}
	return strings.Join(texts, ", ")
}
