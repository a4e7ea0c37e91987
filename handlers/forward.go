package handlers

import (
	"bytes"
	"cmp"
	"errors"
	"log/slog"
	"net/url"
	"slices"
	"strings"

	"github.com/gofiber/fiber/v2"

	"porchlight/db"
)

// This file implements forward auth: for every request to an app, a reverse proxy asks whether to pass it on. Such an auth check carries
// the headers of the client's request.

// answerForwardAuth answers auth checks of Caddy, Traefik, HAProxy and Envoy, which pass a refusal to the client unchanged.
func (h *handler) answerForwardAuth(c *fiber.Ctx) error {
	cookie := otherCookies(c) // before they are parsed, because parsing changes them
	err := h.answerAuthCheck(c, readForwarded, func(request appRequest, location string) error {
		status := fiber.StatusFound
		if request.method != fiber.MethodGet && request.method != fiber.MethodHead {
			status = fiber.StatusSeeOther
		}
		return c.Redirect(location, status)
	})
	if err == nil && len(cookie) > 0 && c.Response().StatusCode() == fiber.StatusOK {
		c.Response().Header.SetBytesV(fiber.HeaderCookie, cookie)
	}
	return err
}

// answerNginxAuth answers auth checks of nginx, which accepts only 401 and 403 as refusals. Its configuration redirects to the Location.
func (h *handler) answerNginxAuth(c *fiber.Ctx) error {
	if h.trusts(peerAddress(c)) && hasUnknownRemote(c) {
		return problem{fiber.StatusForbidden,
			"A header of this request has a name that begins with Remote. Only Porchlight sends such headers to an app."}
	}
	return h.answerAuthCheck(c, readOriginal, func(_ appRequest, location string) error {
		c.Set(fiber.HeaderLocation, location)
		return answerSignedOut(c)
	})
}

// hasUnknownRemote reports whether the client sent a header that an app could mistake for one of Porchlight's. nginx passes on every
// header that its configuration does not name, and it cannot name all that begin with Remote.
func hasUnknownRemote(c *fiber.Ctx) bool {
	for name := range c.Request().Header.All() {
		isRemote := len(name) >= len("Remote") && strings.EqualFold(string(name[:len("Remote")]), "Remote")
		if isRemote && !slices.ContainsFunc(identityHeaders, func(known []byte) bool { return bytes.EqualFold(name, known) }) {
			return true
		}
	}
	return false
}

// answerAuthCheck refuses whatever is in doubt, and stores nothing for a client without a session. read returns the request to the app
// that the headers describe, and signIn sends the client to the sign-in page.
func (h *handler) answerAuthCheck(
	c *fiber.Ctx, read func(*fiber.Ctx) (request appRequest, unclear string), signIn func(request appRequest, location string) error,
) error {
	if !h.trusts(peerAddress(c)) {
		return h.rejectAuthCheck(c, "Only a reverse proxy that is named in --trusted-proxies may send auth checks.")
	}
	request, unclear := read(c)
	key := readKey(c)
	// The database comes first, before unclear and guards, so that every auth check gets a 503 while it does not answer.
	access, err := h.findAppAccess(c, key, request.host)
	if err == nil && h.logsRequests {
		c.Locals(sessionIDKey, access.SessionID)
	}
	if err == nil && unclear == "" {
		h.noteRefusal(access, request.host)
	}
	signedOut := errors.Is(err, db.ErrNotFound)
	switch {
	case err != nil && !signedOut:
		return err
	case unclear != "":
		return h.rejectAuthCheck(c, "The reverse proxy does not say clearly which request to check: "+unclear+" is missing or malformed.")
	case !h.guards(request.host) && h.CookieDomain == "":
		return h.rejectAuthCheck(c, "Porchlight guards only its own host, because --cookie-domain is not set.")
	case !h.guards(request.host): // not logged: a client can make up hosts
		return problem{fiber.StatusForbidden, "Porchlight does not guard this host: it is not under --cookie-domain " + h.CookieDomain + "."}
	case signedOut && key.sent:
		return rejectKey(c, request.host)
	case signedOut && h.isOwnSignIn(request):
		return h.rejectAuthCheck(c, "Porchlight's own pages cannot be guarded: nobody could sign in. Let the proxy check only the apps.")
	case signedOut:
		if err := h.clearAppData(c); err != nil {
			return err
		}
		if navigates(c, request) {
			return signIn(request, h.signInFor(request))
		}
		return answerSignedOut(c)
	case access.MustSetUpFactor && !key.sent && navigates(c, request):
		return signIn(request, h.origin+securityPath)
	case access.MustSetUpFactor:
		return problem{fiber.StatusForbidden, needsFactor}
	case !access.Allowed:
		return h.deny(c, access, request)
	}
	h.Store.UseApp(access, h.clientLike(c, access.LastUse), key.sent || isActivity(c, request))
	writeIdentity(c, access)
	returnAuthorization(c, key)
	return nil
}

// rejectAuthCheck refuses an auth check because the proxy, or this server, is set up wrong. It also logs the reason, once a minute,
// because a proxy may not show the response.
func (h *handler) rejectAuthCheck(c *fiber.Ctx, reason string) error {
	h.logLimited(slog.LevelWarn, "refused an auth check", reason, "reason", reason, "path", c.Path(), "peer", peerAddress(c).String())
	return problem{fiber.StatusForbidden, reason}
}

// isOwnSignIn reports whether the request is for Porchlight's own sign-in page, from which a redirect to that page would be a loop.
func (h *handler) isOwnSignIn(request appRequest) bool {
	path, _, _ := strings.Cut(request.path, "?")
	return path == signInPath && request.site() == h.origin
}

// findAppAccess is findSession for an app. If there is an app key, cookies don't count.
func (h *handler) findAppAccess(c *fiber.Ctx, key sentKey, host string) (*db.AppAccess, error) {
	if key.sent {
		return h.findKeyAccess(key, host)
	}
	tokens, tooMany := h.tokens(c)
	if tooMany || len(tokens) == 0 { // nothing to look up, but the client must not be sent to sign in while the database does not answer
		return nil, cmp.Or(h.Store.Reachable(), db.ErrNotFound)
	}
	authorize := func(token string) (*db.AppAccess, error) { return h.Store.Authorize(token, host) }
	access, _, err := findOfOneUser(h, c, tokens, authorize, func(access *db.AppAccess) string { return access.Username })
	return access, err
}

// clearAppData tells a browser that still has the token of a revoked session to delete the cookies of every site under the registered
// domain, because an app may have set one that keeps the person signed in there. With --clear-app-data off, it does nothing.
func (h *handler) clearAppData(c *fiber.Ctx) error {
	tokens, _ := h.tokens(c)
	for _, token := range tokens {
		revoked, err := h.Store.WasRevoked(token)
		if err != nil {
			return err
		}
		if revoked {
			c.Set(headerClearSiteData, `"cookies"`)
			return nil
		}
	}
	return nil
}

func answerSignedOut(c *fiber.Ctx) error {
	return c.Status(fiber.StatusUnauthorized).SendString("Not signed in.")
}

// signInFor returns the address of the sign-in page, which returns to the request or, if its address is too long, to the front
// page of the app.
func (h *handler) signInFor(request appRequest) string {
	if request.scheme != h.URL.Scheme && h.secure() {
		h.logLimited(slog.LevelWarn, "cannot return to an app after sign-in: the proxy says http, and --url is https", "",
			"host", request.host)
	}
	return h.origin + signInPath + "?next=" + returnTo(request)
}

// returnTo returns the address of the request or, if it is too long, of the front page of the app, as the value of next.
func returnTo(request appRequest) string {
	address := request.site() + request.path
	next := url.QueryEscape(address)
	if len(address) > maxNextBytes || len(next) > maxEscapedNextBytes {
		next = url.QueryEscape(request.site() + "/")
	}
	return next
}

// identityHeaders tell an app who is signed in. The names are in canonical form.
var identityHeaders = [][]byte{
	[]byte("Remote-User"), []byte("Remote-Name"), []byte("Remote-Email"), []byte("Remote-Groups"), []byte("Remote-Session"),
}

// writeIdentity sets every identity header, even to nothing, so that the proxy overwrites one that the client forged.
func writeIdentity(c *fiber.Ctx, access *db.AppAccess) {
	for i, value := range [...]string{access.Username, access.Username, access.Email, access.Groups, access.SessionID} {
		c.Response().Header.SetCanonical(identityHeaders[i], []byte(value))
	}
}

// otherCookies returns the request's cookies without ours. A proxy that copies them to the app hides the token from it. With the token,
// a malicious app could act as the user in all others.
func otherCookies(c *fiber.Ctx) []byte {
	var others [][]byte
	for _, line := range c.Request().Header.PeekAll(fiber.HeaderCookie) {
		for pair := range bytes.SplitSeq(line, []byte(";")) {
			if pair = bytes.TrimSpace(pair); len(pair) > 0 && !isOurCookie(pair) {
				others = append(others, pair)
			}
		}
	}
	return bytes.Join(others, []byte("; "))
}

// isOurCookie reports whether a cookie has one of our names, porchlight or porchlight-…, under any settings, because browsers still have
// the old ones after a change.
func isOurCookie(pair []byte) bool {
	name, _, _ := bytes.Cut(pair, []byte("="))
	name = bytes.TrimSpace(name)
	for _, prefix := range []string{"__host-", "__secure-"} {
		if startsWith(name, prefix) {
			name = name[len(prefix):]
		}
	}
	return bytes.EqualFold(name, []byte("porchlight")) || startsWith(name, "porchlight-")
}
