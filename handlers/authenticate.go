package handlers

import (
	"errors"
	"net/url"
	"time"

	"github.com/gofiber/fiber/v2"

	"porchlight/db"
)

// cookiesTried bounds the values of our cookie's name that are looked up: no browser keeps more cookies of one domain. Fiber
// would return the first alone, which a sibling subdomain may have planted.
const cookiesTried = 256

// tokens are the values of our cookie that could be tokens.
func (h *handler) tokens(c *fiber.Ctx) (tokens []string) {
	for name, value := range c.Request().Header.Cookies() {
		if string(name) == h.cookieName && len(value) == db.TokenLength && len(tokens) < cookiesTried {
			tokens = append(tokens, string(value))
		}
	}
	return tokens
}

// findSession finds the first live session that a token of the request names, and that token; db.ErrNotFound when there
// is none.
func (h *handler) findSession(c *fiber.Ctx) (session db.Session, token string, err error) {
	for _, token := range h.tokens(c) {
		session, err := h.Store.Resume(token)
		if !errors.Is(err, db.ErrNotFound) {
			return session, token, err
		}
	}
	return db.Session{}, "", db.ErrNotFound
}

const sessionKey = "session"

// requireSession lets only those pass who are signed in.
func (h *handler) requireSession(c *fiber.Ctx) error {
	session, _, err := h.findSession(c)
	if errors.Is(err, db.ErrNotFound) {
		return answerNotSignedIn(c)
	}
	if err != nil {
		return err
	}
	c.Locals(sessionKey, session)
	return c.Next()
}

// currentSession is the session that requireSession found.
func currentSession(c *fiber.Ctx) db.Session { return c.Locals(sessionKey).(db.Session) }

func (h *handler) noteActivity(c *fiber.Ctx) error {
	h.Store.Touch(currentSession(c))
	return c.Next()
}

// answerNotSignedIn sends a person to the sign-in page and from there back, and tells a script. The cookie is left
// alone: the sign-in page clears it, once it has told why.
func answerNotSignedIn(c *fiber.Ctx) error {
	if isAPI(c) {
		return problem{fiber.StatusUnauthorized, "Not signed in."}
	}
	next := "/sessions"
	switch {
	case isHTMX(c):
		if at, err := url.Parse(c.Get("HX-Current-URL")); err == nil && at.Path != "" {
			next = at.RequestURI()
		}
	case c.Method() == fiber.MethodGet:
		next = c.OriginalURL()
	}
	if next = safePath(next); next == "" {
		next = "/sessions"
	}
	signIn := "/login?next=" + url.QueryEscape(next)
	if isHTMX(c) {
		c.Set("HX-Redirect", signIn)
		return c.SendStatus(fiber.StatusUnauthorized)
	}
	return c.Redirect(signIn, fiber.StatusSeeOther)
}

// startSession signs the user in on this client under a new token.
func (h *handler) startSession(c *fiber.Ctx, user db.User, shared bool) error {
	device := h.deviceOf(c)
	token, session, err := h.Store.SignIn(c.UserContext(), user, db.NewSession{
		DeviceName: device.Name, DeviceKind: device.Kind, UserAgent: userAgentOf(c), IP: h.clientIP(c), Shared: shared, Replaces: h.tokens(c),
	})
	if err != nil {
		return err
	}
	h.Log.Info("signed in", "user", user.Username, "session", session.ID, "device", session.DeviceName, "ip", session.IP)
	h.setCookie(c, token, session)
	return nil
}

// setCookie hands the token over; this is the only way in which it ever leaves. On a shared computer the cookie
// ends with the browser.
func (h *handler) setCookie(c *fiber.Ctx, token string, session db.Session) {
	cookie := h.cookie(token)
	if !session.Shared {
		rest := session.CreatedAt.Add(h.Store.Lifetime(false)).Sub(h.Now())
		cookie.MaxAge = max(int(rest/time.Second), 1)
	}
	c.Cookie(cookie)
}

func (h *handler) clearCookie(c *fiber.Ctx) {
	cookie := h.cookie("")
	cookie.Expires = time.Unix(0, 0)
	cookie.MaxAge = -1
	c.Cookie(cookie)
	if h.CookieDomain != "" && !h.secure() { // one from before there was a cookie domain has the same name
		c.Response().Header.Add(fiber.HeaderSetCookie, h.cookieName+"=; max-age=0; path=/; HttpOnly; SameSite=Lax")
	}
}

func (h *handler) cookie(value string) *fiber.Cookie {
	return &fiber.Cookie{Name: h.cookieName, Value: value, Path: "/", Domain: h.CookieDomain, HTTPOnly: true, SameSite: fiber.CookieSameSiteLaxMode, Secure: h.secure()}
}
