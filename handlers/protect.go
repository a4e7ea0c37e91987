package handlers

import (
	"net/http"
	"net/url"

	"github.com/gofiber/fiber/v2"
)

// securityHeaders go with every answer, errors included. Nothing is loaded from elsewhere, nothing is inline.
// Referrer-Policy is not no-referrer: that would have forms send Origin: null.
var securityHeaders = headerBytes([][2]string{
	{"Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"},
	{"X-Content-Type-Options", "nosniff"},
	{"Referrer-Policy", "same-origin"},
	{"Cross-Origin-Opener-Policy", "same-origin"},
	{"Cross-Origin-Resource-Policy", "same-origin"},
	{"Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()"},
	{"Cache-Control", "no-store"}, // only the static files say otherwise
})

// headerBytes turns names and values into bytes once, in the form in which they are sent.
func headerBytes(headers [][2]string) (all [][2][]byte) {
	for _, header := range headers {
		all = append(all, [2][]byte{[]byte(http.CanonicalHeaderKey(header[0])), []byte(header[1])})
	}
	return all
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

// refusePackedBody keeps bodies as small as they look: Fiber would unpack 64 KB to any size, before anybody signed in.
func refusePackedBody(c *fiber.Ctx) error {
	if len(c.Request().Header.Peek(fiber.HeaderContentEncoding)) > 0 {
		return problem{fiber.StatusUnsupportedMediaType, "Send the body as it is, not compressed."}
	}
	return c.Next()
}

// refuseCrossOrigin keeps other sites from acting in a signed-in browser. It reads what browsers send by themselves
// (Sec-Fetch-Site, else Origin); a client that sends neither is no browser.
func (h *handler) refuseCrossOrigin(c *fiber.Ctx) error {
	switch c.Method() {
	case fiber.MethodGet, fiber.MethodHead, fiber.MethodOptions:
		return c.Next()
	}
	request := &http.Request{
		Method: c.Method(),
		Host:   string(c.Request().Host()),
		URL:    &url.URL{Path: c.Path()},
		Header: http.Header{"Sec-Fetch-Site": {c.Get("Sec-Fetch-Site")}, "Origin": {c.Get(fiber.HeaderOrigin)}},
	}
	if h.crossOrigin.Check(request) != nil {
		return fiber.ErrForbidden
	}
	return c.Next()
}
