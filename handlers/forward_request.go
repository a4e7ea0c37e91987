package handlers

import (
	"slices"
	"strings"

	"github.com/gofiber/fiber/v2"

	"porchlight/db"
)

// This file reads auth checks: which request to an app a check is about, and whether a person or a script sent it.

// appRequest is the request to an app that an auth check is about.
type appRequest struct {
	method string
	scheme string
	host   string // in db.CanonicalHost's form
	port   string // "" if there is none
	path   string // with the query
}

// opensSocket reports whether the request opens a WebSocket.
func (r appRequest) opensSocket() bool { return r.scheme == "ws" || r.scheme == "wss" }

// site returns the app's scheme and host.
func (r appRequest) site() string {
	host := r.host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if r.port != "" {
		host += ":" + r.port
	}
	return r.scheme + "://" + host
}

// The headers that describe the request to an app: its method, scheme, host, and path with query.
var (
	forwardedHeaders = [4]string{"X-Forwarded-Method", fiber.HeaderXForwardedProto, fiber.HeaderXForwardedHost, "X-Forwarded-Uri"}
	originalHeaders  = [4]string{"X-Original-Method", "X-Original-URL", "X-Original-URL", "X-Original-URL"}
)

// readForwarded reads the headers that Caddy and Traefik send by default, and that others can be configured to send.
func readForwarded(c *fiber.Ctx) (request appRequest, unclear string) {
	var parts [4]string
	for i, name := range forwardedHeaders {
		parts[i] = onlyValue(c, name)
	}
	return newAppRequest(parts, forwardedHeaders)
}

// readOriginal reads the headers that the sample configuration for nginx sends.
func readOriginal(c *fiber.Ctx) (request appRequest, unclear string) {
	scheme, rest, _ := strings.Cut(onlyValue(c, "X-Original-URL"), "://")
	authority, path := splitAuthority(rest)
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	return newAppRequest([4]string{onlyValue(c, "X-Original-Method"), scheme, authority, path}, originalHeaders)
}

// newAppRequest checks the parts of a request, which come from those headers. unclear is the first header that is missing or malformed.
func newAppRequest(parts, headers [4]string) (request appRequest, unclear string) {
	r := appRequest{method: parts[0], scheme: strings.ToLower(parts[1]), path: parts[3]}
	isHost := false
	r.host, r.port, isHost = db.CanonicalHost(parts[2])
	for i, valid := range [4]bool{
		isToken(r.method),
		r.scheme == "http" || r.scheme == "https" || r.opensSocket(),
		isHost,
		strings.HasPrefix(r.path, "/") && !strings.ContainsFunc(r.path, func(c rune) bool { return c <= ' ' || c == 0x7f }),
	} {
		if !valid {
			return appRequest{}, headers[i]
		}
	}
	return r, ""
}

// onlyValue returns the value of a header, or "" unless there is exactly one.
func onlyValue(c *fiber.Ctx, name string) string {
	values := c.Request().Header.PeekAll(name)
	if len(values) != 1 {
		return ""
	}
	return string(values[0])
}

// isToken reports whether a text is a valid method (RFC 9110, 5.6.2) of sensible length.
func isToken(method string) bool {
	return method != "" && len(method) <= 64 && !strings.ContainsFunc(method, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	})
}

// navigates reports whether the browser would show the response to a person, so that it can be the sign-in page.
func navigates(c *fiber.Ctx, request appRequest) bool {
	if request.opensSocket() || request.method == fiber.MethodOptions {
		return false
	}
	if mode := c.Request().Header.Peek("Sec-Fetch-Mode"); len(mode) > 0 {
		return string(mode) == "navigate"
	}
	return acceptsHTML(c)
}

// isActivity reports whether the request counts as activity of the user. An app's polling does not, because an open tab would keep the
// session from becoming idle. If the client does not send Sec-Fetch-Mode, the request counts.
func isActivity(c *fiber.Ctx, request appRequest) bool {
	mode := c.Request().Header.Peek("Sec-Fetch-Mode")
	return len(mode) == 0 || string(mode) == "navigate" || !isSafe(request.method)
}

// isSafe reports whether a method is safe according to IANA's registry of HTTP methods.
func isSafe(method string) bool {
	return slices.Contains([]string{"GET", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "REPORT", "SEARCH", "QUERY", "PRI"}, method)
}
