package handlers

import (
	"strings"

	"github.com/gofiber/fiber/v2"

	"porchlight/db"
)

// This file owns what a proxy's question says: which request to an app it is about, and who is behind it, a person or a script.

// appRequest is the request to an app that a proxy asks about.
type appRequest struct {
	method string
	scheme string
	host   string // as db.CanonicalHost gives it
	port   string // "" where none is named
	path   string // with the query
}

// opensSocket reports whether a WebSocket is to be opened.
func (r appRequest) opensSocket() bool { return r.scheme == "ws" || r.scheme == "wss" }

// site is the app's scheme and host.
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

// The headers that tell of a request to an app: its method, scheme, host, and path with query.
var (
	forwardedHeaders = [4]string{"X-Forwarded-Method", fiber.HeaderXForwardedProto, fiber.HeaderXForwardedHost, "X-Forwarded-Uri"}
	originalHeaders  = [4]string{"X-Original-Method", "X-Original-URL", "X-Original-URL", "X-Original-URL"}
)

// readForwarded reads what Caddy and Traefik tell by themselves, and others when they are told to.
func readForwarded(c *fiber.Ctx) (asked appRequest, unclear string) {
	var parts [4]string
	for i, name := range forwardedHeaders {
		parts[i] = onlyValue(c, name)
	}
	return newAppRequest(parts, forwardedHeaders)
}

// readOriginal reads what the sample for nginx has it tell.
func readOriginal(c *fiber.Ctx) (asked appRequest, unclear string) {
	scheme, rest, _ := strings.Cut(onlyValue(c, "X-Original-URL"), "://")
	authority, path := splitAuthority(rest)
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	return newAppRequest([4]string{onlyValue(c, "X-Original-Method"), scheme, authority, path}, originalHeaders)
}

// newAppRequest checks the parts of a request. unclear names the header of the first that is missing or malformed.
func newAppRequest(parts, headers [4]string) (asked appRequest, unclear string) {
	r := appRequest{method: parts[0], scheme: strings.ToLower(parts[1]), path: parts[3]}
	isHost := false
	r.host, r.port, isHost = db.CanonicalHost(parts[2])
	for i, fine := range [4]bool{
		isToken(r.method),
		r.scheme == "http" || r.scheme == "https" || r.opensSocket(),
		isHost,
		strings.HasPrefix(r.path, "/") && !strings.ContainsFunc(r.path, func(c rune) bool { return c <= ' ' || c == 0x7f }),
	} {
		if !fine {
			return appRequest{}, headers[i]
		}
	}
	return r, ""
}

// onlyValue is the value of a header that comes once; "" where it is missing, or several could be meant.
func onlyValue(c *fiber.Ctx, name string) string {
	values := c.Request().Header.PeekAll(name)
	if len(values) != 1 {
		return ""
	}
	return string(values[0])
}

// isToken reports whether a text can be a method (RFC 9110, 5.6.2).
func isToken(method string) bool {
	return method != "" && len(method) <= 64 && !strings.ContainsFunc(method, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	})
}

// navigates reports whether a person is looking at what comes back, so that the sign-in page can be shown.
func navigates(c *fiber.Ctx, asked appRequest) bool {
	if asked.opensSocket() || asked.method == fiber.MethodOptions {
		return false
	}
	if mode := c.Request().Header.Peek("Sec-Fetch-Mode"); len(mode) > 0 {
		return string(mode) == "navigate"
	}
	return acceptsHTML(c)
}

// isActivity reports whether the session's user did something. An app's polling is not, or a browser that was left open would never
// fall idle; a client that does not say how it fetches is taken at its best.
func isActivity(c *fiber.Ctx, asked appRequest) bool {
	mode := c.Request().Header.Peek("Sec-Fetch-Mode")
	return len(mode) == 0 || string(mode) == "navigate" || !isSafe(asked.method)
}

// isSafe reports whether a method only reads, as IANA's registry of methods has it.
func isSafe(method string) bool {
	switch method {
	case "GET", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "REPORT", "SEARCH", "QUERY", "PRI":
		return true
	}
	return false
}
