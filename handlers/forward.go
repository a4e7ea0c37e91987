package handlers

import (
	"bytes"
	"errors"
	"log/slog"
	"net/url"
	"slices"
	"strings"

	"github.com/gofiber/fiber/v2"

	"porchlight/db"
)

// This file owns forward auth: a reverse proxy asks about every request to an app whether its session is alive, and passes
// the request on only when it is. The proxy's question carries the headers of the client's request.

// answerForwardAuth answers Caddy, Traefik, HAProxy and Envoy, which hand a refusal to the client as it is.
func (h *handler) answerForwardAuth(c *fiber.Ctx) error {
	cookie := otherCookies(c) // before they are parsed, which changes them
	err := h.answerAuthCheck(c, readForwarded, func(asked appRequest, location string) error {
		status := fiber.StatusFound
		if asked.method != fiber.MethodGet && asked.method != fiber.MethodHead {
			status = fiber.StatusSeeOther
		}
		return c.Redirect(location, status)
	})
	if err == nil && len(cookie) > 0 && c.Response().StatusCode() == fiber.StatusOK {
		c.Response().Header.SetBytesV(fiber.HeaderCookie, cookie)
	}
	return err
}

// answerNginxAuth answers nginx, which knows 401 and 403 alone and leaves it to its configuration to follow the Location.
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

// hasUnknownRemote reports whether the client sent a header that an app may take for one of Porchlight's. nginx passes on each
// header that its configuration does not name, and it cannot name all that begin with Remote.
func hasUnknownRemote(c *fiber.Ctx) bool {
	for name := range c.Request().Header.All() {
		if len(name) < len("Remote") || !strings.EqualFold(string(name[:len("Remote")]), "Remote") {
			continue
		}
		if !slices.ContainsFunc(identityHeaders, func(known string) bool { return strings.EqualFold(string(name), known) }) {
			return true
		}
	}
	return false
}

// verify answers a proxy's question. Whatever is in doubt is refused, and a client without a session leaves no trace.
func (h *handler) answerAuthCheck(c *fiber.Ctx, read func(*fiber.Ctx) (asked appRequest, unclear string), signIn func(asked appRequest, location string) error) error {
	if !h.trusts(peerAddress(c)) {
		return h.rejectAuthCheck(c, "Only a reverse proxy that is named in --trusted-proxies may ask this.")
	}
	asked, unclear := read(c)
	access, err := h.findAppAccess(c, asked.host)
	if err == nil && h.logsRequests {
		c.Locals(sessionIDKey, access.ID)
	}
	signedOut := errors.Is(err, db.ErrNotFound)
	switch {
	case err != nil && !signedOut:
		return err
	case unclear != "":
		return h.rejectAuthCheck(c, "The reverse proxy does not say clearly what is asked for: "+unclear+" is missing or malformed.")
	case !h.guards(asked.host) && h.CookieDomain == "":
		return h.rejectAuthCheck(c, "Porchlight guards no other host than its own: --cookie-domain is not set.")
	case !h.guards(asked.host): // not logged: a client can make up hosts
		return problem{fiber.StatusForbidden, "Porchlight does not guard this host: it is not under --cookie-domain " + h.CookieDomain + "."}
	case signedOut && h.isOwnSignIn(asked):
		return h.rejectAuthCheck(c, "Porchlight's own pages cannot be guarded: nobody could sign in. Let the proxy ask about the apps alone.")
	case signedOut && navigates(c, asked):
		return signIn(asked, h.signInFor(asked))
	case signedOut:
		return answerSignedOut(c)
	case !access.Allowed:
		return h.deny(c, access, asked)
	}
	h.Store.UseApp(access, isActivity(c, asked))
	writeIdentity(c, access)
	return nil
}

// rejectAuthCheck answers a question that shows a mistake in how the proxy, or this server, is set up. The log tells it once a
// minute: a proxy may not show the answer.
func (h *handler) rejectAuthCheck(c *fiber.Ctx, reason string) error {
	h.logLimited(slog.LevelWarn, "refused an auth check", reason, "reason", reason, "path", c.Path(), "peer", peerAddress(c).String())
	return problem{fiber.StatusForbidden, reason}
}

// isOwnSignIn reports whether somebody is on the way to sign in: to be sent there would lead in a circle.
func (h *handler) isOwnSignIn(asked appRequest) bool {
	path, _, _ := strings.Cut(asked.path, "?")
	return path == signInPath && asked.site() == h.origin
}

// findAppAccess is findSession for an app.
func (h *handler) findAppAccess(c *fiber.Ctx, host string) (db.AppAccess, error) {
	tokens, crowded := h.tokens(c)
	if crowded || len(tokens) == 0 { // nothing to look up, and yet a stranger is not sent to sign in where nobody can
		if err := h.Store.Ping(); err != nil {
			return db.AppAccess{}, err
		}
		return db.AppAccess{}, db.ErrNotFound
	}
	verify := func(token string) (db.AppAccess, error) { return h.Store.Authorize(token, host) }
	access, _, err := findOfOneUser(h, c, tokens, verify, func(v db.AppAccess) string { return v.Username })
	return access, err
}

func answerSignedOut(c *fiber.Ctx) error {
	return c.Status(fiber.StatusUnauthorized).SendString("Not signed in.")
}

// signInFor is the sign-in page, and from there back. Where the address is too long for that, it leads back to the front page
// of the app.
func (h *handler) signInFor(asked appRequest) string {
	if asked.scheme != h.URL.Scheme && h.secure() {
		h.logLimited(slog.LevelWarn, "cannot lead back to an app after signing in: the proxy says http, and --url is https", "",
			"host", asked.host)
	}
	address := asked.site() + asked.path
	next := url.QueryEscape(address)
	if len(address) > nextMax || len(next) > nextEscapedMax {
		next = url.QueryEscape(asked.site() + "/")
	}
	return h.origin + signInPath + "?next=" + next
}

// identityHeaders tell an app who is signed in.
var identityHeaders = []string{"Remote-User", "Remote-Name", "Remote-Email", "Remote-Groups", "Remote-Session"}

// writeIdentity sets every identity header, even to nothing, so that the proxy overwrites one that the client forged.
func writeIdentity(c *fiber.Ctx, who db.AppAccess) {
	groups := ""
	if who.IsAdmin {
		groups = "admins"
	}
	for i, value := range []string{who.Username, who.Username, who.Email, groups, who.ID} {
		c.Set(identityHeaders[i], value)
	}
}

// otherCookies are the request's cookies without ours. A proxy that copies them to the app keeps the token from it, which
// one bad app could use at all others.
func otherCookies(c *fiber.Ctx) (others []byte) {
	for _, line := range c.Request().Header.PeekAll(fiber.HeaderCookie) {
		for pair := range bytes.SplitSeq(line, []byte(";")) {
			pair = bytes.TrimSpace(pair)
			if len(pair) == 0 || isOurCookie(pair) {
				continue
			}
			if len(others) > 0 {
				others = append(others, "; "...)
			}
			others = append(others, pair...)
		}
	}
	return others
}

// isOurCookie knows the cookies of every setting: after a change of settings, the old ones are alive for a while.
func isOurCookie(pair []byte) bool {
	name, _, _ := bytes.Cut(bytes.ToLower(pair), []byte("="))
	name = bytes.TrimPrefix(bytes.TrimPrefix(bytes.TrimSpace(name), []byte("__host-")), []byte("__secure-"))
	return string(name) == "porchlight" || string(name) == "porchlight-device"
}

// refusalPage is shown under an app's own address, or a proxy's: no style sheet of ours is there.
type refusalPage struct {
	Title   string
	Text    string
	User    string // who is signed in; "" is nobody, or it does not matter
	SignOut string // the address of the page to sign out on
}

// deny answers somebody who is signed in and not let in at this host.
func (h *handler) deny(c *fiber.Ctx, access db.AppAccess, asked appRequest) error {
	h.logLimited(slog.LevelWarn, "denied", access.ID+" "+asked.host,
		"user", access.Username, "session", access.ID, "host", asked.host, "ip", h.clientIP(c))
	p := refusalPage{
		Title:   "This app is not open to you",
		Text:    "You may not open " + asked.host + ". Whoever runs this server decides who may: you can ask them, or sign in as somebody else.",
		User:    access.Username,
		SignOut: h.origin + signOutPath,
	}
	if !access.Approved {
		p.Title = "Your account is waiting for approval"
		p.Text = "You can open " + asked.host + " once an administrator has approved your account. Ask whoever runs this server."
	}
	return c.Status(fiber.StatusForbidden).Render("forward/refused", p)
}
