package handlers

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"time"

	"github.com/gofiber/fiber/v2"

	"porchlight/db"
)

// maxTokens is how many tokens of one request are looked up. Ours is one of them; the rest are planted.
const maxTokens = 16

// tokens returns the values of our cookie that could be tokens, each once and at most maxTokens of them. tooMany reports whether
// there were more.
func (h *handler) tokens(c *fiber.Ctx) (tokens []string, tooMany bool) {
	for name, value := range c.Request().Header.Cookies() {
		switch {
		case string(name) != h.cookieName, len(value) != db.TokenLength, slices.Contains(tokens, string(value)):
		case len(tokens) == maxTokens:
			return tokens, true
		default:
			tokens = append(tokens, string(value))
		}
	}
	return tokens, false
}

// errPlantedCookie is a db.ErrNotFound: some of the cookies come from another site, and it is unknown which.
var errPlantedCookie = fmt.Errorf("planted cookies: %w", db.ErrNotFound)

// findSession returns the live session that the cookies name, and its token. It returns db.ErrNotFound if there is none, and
// errPlantedCookie if the cookies name two users or are too many to look up.
func (h *handler) findSession(c *fiber.Ctx) (session *db.Session, token string, err error) {
	tokens, tooMany := h.tokens(c)
	if tooMany {
		return nil, "", errPlantedCookie
	}
	return findOfOneUser(h, c, tokens, h.Store.Resume, func(s *db.Session) string { return s.Username })
}

// findOfOneUser looks up every token and returns the first live session. If the tokens name sessions of two users, none of them counts,
// because a sibling app may have planted the token of its own session, to watch what this person does in it.
func findOfOneUser[T any](h *handler, c *fiber.Ctx, tokens []string, find func(string) (*T, error), username func(*T) string) (
	first *T, token string, err error,
) {
	for _, t := range tokens {
		found, err := find(t)
		switch {
		case errors.Is(err, db.ErrNotFound):
		case err != nil:
			return nil, "", err
		case token == "":
			first, token = found, t
		case username(found) != username(first):
			h.logLimited(slog.LevelWarn, "refused session cookies of two users: a site under the cookie domain may have planted one", "",
				"user", username(first), "other", username(found), "ip", h.client(c).IP)
			return nil, "", errPlantedCookie
		}
	}
	if token == "" {
		return nil, "", db.ErrNotFound
	}
	return first, token, nil
}

const sessionKey = "session"

// requireSession rejects requests without a session. It deletes planted cookies here rather than on the sign-in page: a cookie that
// is limited to this path is not sent there, and the two would redirect to each other forever.
func (h *handler) requireSession(c *fiber.Ctx) error {
	session, _, err := h.findSession(c)
	if errors.Is(err, errPlantedCookie) {
		h.clearForeignCookies(c, h.ownHost, requestPath(c))
	}
	if errors.Is(err, db.ErrNotFound) {
		return answerNotSignedIn(c)
	}
	if err != nil {
		return err
	}
	c.Locals(sessionKey, session)
	return c.Next()
}

// currentSession returns the session that requireSession found.
func currentSession(c *fiber.Ctx) db.Session { return *c.Locals(sessionKey).(*db.Session) }

// readOwnSession returns the caller's session with its apps, which currentSession does not have, or db.ErrSessionEnded.
func (h *handler) readOwnSession(c *fiber.Ctx) (db.Session, error) {
	current := currentSession(c)
	session, err := h.Store.Session(current.UserID, current.ID)
	if errors.Is(err, db.ErrNotFound) {
		err = db.ErrSessionEnded
	}
	return session, err
}

func (h *handler) noteActivity(c *fiber.Ctx) error {
	session := c.Locals(sessionKey).(*db.Session)
	h.Store.Touch(session, h.clientLike(c, session.LastUse))
	return c.Next()
}

// answerNotSignedIn redirects a person to the sign-in page, which returns here, and responds with 401 to a script. It does not clear our
// cookie, because the sign-in page does that and says why.
func answerNotSignedIn(c *fiber.Ctx) error {
	if isAPI(c) {
		return problem{fiber.StatusUnauthorized, "Not signed in."}
	}
	signIn := signInPath + "?next=" + url.QueryEscape(cmp.Or(currentPath(c), sessionsPath))
	if isHTMX(c) {
		c.Set("HX-Redirect", signIn)
		return c.SendStatus(fiber.StatusUnauthorized)
	}
	return c.Redirect(signIn, fiber.StatusSeeOther)
}

// currentPath returns the path and query of the page that the person sees, or asks for; "" if that is unknown.
func currentPath(c *fiber.Ctx) string {
	switch {
	case isHTMX(c):
		if at := currentURL(c); at.Path != "" {
			return safePath(at.RequestURI())
		}
	case c.Method() == fiber.MethodGet:
		return safePath(c.OriginalURL())
	}
	return ""
}

// currentURL returns the URL of the page that sent the htmx request, or an empty one. The client can write anything into it.
func currentURL(c *fiber.Ctx) *url.URL {
	at, err := url.Parse(c.Get("HX-Current-URL"))
	if err != nil {
		return &url.URL{}
	}
	return at
}

// startSession signs the user in with a new token. If the user has a second factor, it returns db.ErrSecondFactor instead, and a browser
// gets the cookie for the second step.
func (h *handler) startSession(c *fiber.Ctx, user db.User, newSession db.NewSession) error {
	newSession = h.sessionFor(c, newSession)
	token, session, err := h.Store.SignIn(c.UserContext(), user, newSession)
	if errors.Is(err, db.ErrSecondFactor) && !isAPI(c) {
		if err := h.beginSecondStep(c, user, newSession); err != nil {
			return err
		}
	}
	if err != nil {
		return err
	}
	h.signedIn(c, token, session)
	return nil
}

// sessionFor completes a new session with what the request says. Every live session that the client's cookies name ends, including those
// of planted cookies. A browser is remembered as one of the user's devices, unless others use it too.
func (h *handler) sessionFor(c *fiber.Ctx, newSession db.NewSession) db.NewSession {
	newSession.Client = h.client(c)
	newSession.Replaces, _ = h.tokens(c)
	newSession.Remember = !newSession.Shared && (!isAPI(c) || isCeremony(c))
	return newSession
}

// signedIn gives the client the cookies of a session that has just begun.
func (h *handler) signedIn(c *fiber.Ctx, token string, session db.Session) {
	h.Log.Info("signed in", "user", session.Username, "session", session.ID, "device", session.DeviceName, "ip", session.IP,
		"method", session.Method)
	h.setCookie(c, token, session)
	if session.DeviceToken != "" {
		h.setDeviceCookie(c, session.DeviceToken)
	}
	h.clearSecondStepCookie(c)
}

// setCookie sends the token to the client. Nothing else sends it. On a shared computer, the browser deletes the cookie when it is closed.
func (h *handler) setCookie(c *fiber.Ctx, token string, session db.Session) {
	cookie := h.cookie(token)
	if !session.Shared {
		rest := session.EndsAt.Sub(h.Store.Now())
		cookie.MaxAge = max(int(rest/time.Second), 1)
	}
	c.Cookie(cookie)
}

// setDeviceCookie sends the token by which the browser is recognised at the next sign-in. No other host gets it.
func (h *handler) setDeviceCookie(c *fiber.Ctx, token string) {
	c.Cookie(&fiber.Cookie{
		Name: h.deviceCookieName, Value: token, Path: "/", MaxAge: int(db.DeviceLifetime / time.Second),
		HTTPOnly: true, SameSite: fiber.CookieSameSiteLaxMode, Secure: h.secure(),
	})
}

// clearCookie deletes the session cookie and, if the client sent several of that name, the others too.
func (h *handler) clearCookie(c *fiber.Ctx) {
	cookie := h.cookie("")
	cookie.Expires = time.Unix(0, 0)
	cookie.MaxAge = -1
	c.Cookie(cookie)
	switch {
	case h.sentSeveral(c):
		h.clearForeignCookies(c, h.ownHost, requestPath(c))
	case h.CookieDomain != "" && !h.secure(): // a cookie from before --cookie-domain was set has the same name
		h.clearCookieAt(c, "", "/")
	}
}

// sentSeveral reports whether the client sent two different values of our cookie, valid or not.
func (h *handler) sentSeveral(c *fiber.Ctx) bool {
	values := map[string]bool{}
	for name, value := range c.Request().Header.Cookies() {
		if string(name) == h.cookieName {
			values[string(value)] = true
		}
	}
	return len(values) > 1
}

func (h *handler) cookie(value string) *fiber.Cookie {
	return &fiber.Cookie{
		Name: h.cookieName, Value: value, Path: "/", Domain: h.CookieDomain,
		HTTPOnly: true, SameSite: fiber.CookieSameSiteLaxMode, Secure: h.secure(),
	}
}
