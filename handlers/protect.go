package handlers

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gofiber/fiber/v2"
)

const contentSecurityPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// policyLeadingTo lets the forms of a page redirect to apps under a domain, because Chromium applies form-action to redirects too.
func policyLeadingTo(scheme, domain string) string {
	apps := fmt.Sprintf("form-action 'self' %[1]s://%[2]s:* %[1]s://*.%[2]s:*", scheme, domain)
	return strings.Replace(contentSecurityPolicy, "form-action 'self'", apps, 1)
}

// securityHeaders are part of every response, errors included. Pages load nothing from other sites and have nothing inline.
// Referrer-Policy is not no-referrer, because forms would then send Origin: null. The names must be in canonical form. As bytes, these
// headers take 0.35 µs to set; as strings, they would take 0.95 µs, which is 4 % of a small request.
var securityHeaders = [][2][]byte{
	{[]byte("Content-Security-Policy"), []byte(contentSecurityPolicy)},
	{[]byte("X-Content-Type-Options"), []byte("nosniff")},
	{[]byte("Referrer-Policy"), []byte("same-origin")},
	{[]byte("Cross-Origin-Opener-Policy"), []byte("same-origin")},
	{[]byte("Cross-Origin-Resource-Policy"), []byte("same-origin")},
	{[]byte("Permissions-Policy"), []byte("camera=(), geolocation=(), microphone=(), payment=(), usb=()")},
	{[]byte("Cache-Control"), []byte("no-store")}, // static files replace it
}

func (h *handler) setSecurityHeaders(c *fiber.Ctx) error {
	h.writeSecurityHeaders(c)
	return c.Next()
}

func (h *handler) writeSecurityHeaders(c *fiber.Ctx) {
	response := &c.Response().Header
	for _, header := range securityHeaders {
		response.SetCanonical(header[0], header[1])
	}
	if h.secure() {
		c.Set(fiber.HeaderStrictTransportSecurity, "max-age=31536000")
	}
}

// rejectCrossOrigin rejects requests that other sites make in a signed-in browser. It checks two headers that no page can forge:
// Sec-Fetch-Site (missing over plain http and in old browsers) and Origin. A client that sends neither is not a browser.
//
// Origin is compared with --url and never with Host, which names the attacker's own domain after DNS rebinding.
func (h *handler) rejectCrossOrigin(c *fiber.Ctx) error {
	switch c.Method() {
	case fiber.MethodGet, fiber.MethodHead, fiber.MethodOptions:
		return c.Next()
	}
	if fetchedFromElsewhere(c) {
		return fiber.ErrForbidden
	}
	origin := c.Get(fiber.HeaderOrigin)
	switch {
	case origin == "", origin == h.origin:
		return c.Next()
	case origin == "null" && c.Get("Sec-Fetch-Site") != "": // one of our pages, without a referrer
		return c.Next()
	case origin == h.requestOrigin(c): // one of our pages, at another address than the public one
		return problem{fiber.StatusForbidden, "This does not work at this address. Go to " + h.origin + " instead."}
	}
	return fiber.ErrForbidden // "null" without Sec-Fetch-Site too, because a sandboxed frame of any site sends it
}

// fetchedFromElsewhere reports whether the browser says that another site, or another origin of the same site, made the request.
func fetchedFromElsewhere(c *fiber.Ctx) bool {
	return !slices.Contains([]string{"", "same-origin", "none"}, c.Get("Sec-Fetch-Site"))
}
