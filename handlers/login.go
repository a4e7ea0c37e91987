package handlers

import (
	"cmp"
	"errors"
	"log/slog"
	"net/url"
	"strings"

	"github.com/gofiber/fiber/v2"

	"porchlight/db"
)

const wrongPassword = "That username or password isn't right."

type signInPage struct {
	page
	Form       form
	Username   field
	Password   field
	Shared     bool
	Next       string
	App        string // the host that Next leads to, or "" if that is this server
	RightPlace string // the sign-in page at the public address, or "" if this is it
	NoUsers    bool   // no account exists
	SignUp     bool   // sign-up is open
	Mail       bool   // a link to choose a new password can be mailed
	Passkeys   bool   // browsers accept passkeys at the public address
}

func (h *handler) newSignInPage(c *fiber.Ctx, next string) (signInPage, error) {
	hasUsers, err := h.Store.HasUsers()
	if h.CookieDomain != "" {
		c.Set(fiber.HeaderContentSecurityPolicy, h.signInPolicy)
	}
	return signInPage{
		page:       page{Title: "Sign in"},
		Username:   field{Kind: "login", Name: "username", Autofocus: true},
		Password:   field{Kind: "password", Name: "password"},
		Next:       next,
		App:        appOf(next),
		RightPlace: h.rightPlace(c, next),
		NoUsers:    !hasUsers,
		SignUp:     h.Signup && hasUsers,
		Mail:       h.Mail,
		Passkeys:   h.passkeys != nil,
	}, err
}

// showSignIn redirects to next if the client is signed in. If its cookie names no live session, the page says that the device was
// signed out, and clears the cookie, so that it says so once.
func (h *handler) showSignIn(c *fiber.Ctx) error {
	next := h.safeNext(c.Query("next"))
	session, token, err := h.findSession(c)
	if err == nil {
		h.handCookieToApp(c, next, token, *session)
		return c.Redirect(cmp.Or(next, sessionsPath), fiber.StatusSeeOther)
	}
	if !errors.Is(err, db.ErrNotFound) {
		return err
	}
	p, err := h.newSignInPage(c, next)
	if err != nil {
		return err
	}
	p.notice = flashMessages[c.Query("done")]
	if c.Request().Header.Cookie(h.cookieName) != nil {
		p.Message = "You've been signed out on this device."
		if err := h.clearAppData(c); err != nil { // no app will see this cookie any more
			return err
		}
		h.clearCookie(c)
	}
	return c.Render("login/index", p)
}

// handCookieToApp makes the session visible to the app in next. Two kinds of cookies can hide it from the app: with plain http, our
// own from before --cookie-domain was set, and a planted one for the app's path.
func (h *handler) handCookieToApp(c *fiber.Ctx, next, token string, session db.Session) {
	authority := appOf(next)
	if authority == "" {
		return
	}
	if tokens, _ := h.tokens(c); !h.secure() && len(tokens) == 1 { // if there are several, an app may have planted this one
		h.setCookie(c, token, session)
	}
	host, _, _ := db.CanonicalHost(authority)
	_, path := splitAuthority(strings.TrimPrefix(next, h.URL.Scheme+"://"))
	path, _, _ = strings.Cut(path, "?")
	h.clearForeignCookies(c, host, path)
}

// rightPlace returns the sign-in page at the public address, or "" if the request came to that address. At another one, the browser
// would not store the cookie, or not send it.
func (h *handler) rightPlace(c *fiber.Ctx, next string) string {
	if h.requestOrigin(c) == h.origin {
		return ""
	}
	link := h.URL.JoinPath(signInPath)
	if next != "" {
		link.RawQuery = url.Values{"next": {next}}.Encode()
	}
	return link.String()
}

// credentials is the body of POST /login. A pointer is nil if the key is missing from the JSON.
type credentials struct {
	Username *string `json:"username"`
	Password *string `json:"password"`
	Shared   bool    `json:"shared"`
	Code     string  `json:"code"` // of the second factor
	next     string
	form     string
}

func (h *handler) readCredentials(c *fiber.Ctx) (credentials, error) {
	var given credentials
	if isAPI(c) && (isJSON(c) || len(c.Body()) == 0) {
		err := readJSON(c, &given)
		if err == nil && (given.Username == nil || given.Password == nil) {
			err = problem{fiber.StatusUnprocessableEntity, "Send username and password as strings."}
		}
		return given, err
	}
	body, err := readForm(c)
	if err != nil {
		return given, err
	}
	username, password := body.get("username"), body.secret("password")
	return credentials{
		Username: &username, Password: &password, Code: body.get("code"), Shared: body.has("shared"),
		next: h.safeNext(body.get("next")), form: formID(body),
	}, nil
}

func (h *handler) signIn(c *fiber.Ctx) error {
	given, err := h.readCredentials(c)
	if err != nil {
		return err
	}
	client := h.client(c)
	user, err := h.Store.Authenticate(c.UserContext(), *given.Username, *given.Password, client)
	newSession := db.NewSession{Method: db.ByPassword, Shared: given.Shared, Form: given.form}
	if err == nil {
		err = h.startSession(c, user, newSession)
	}
	if errors.Is(err, db.ErrSecondFactor) && isAPI(c) {
		return h.signInWithCode(c, user, newSession, given.Code)
	}
	if errors.Is(err, db.ErrWrongPassword) {
		deviceName, _ := client.Describe(client.UserAgent, false)
		h.logLimited(slog.LevelWarn, "sign-in failed", logSubject(client.IP),
			"user", user.Username, "ip", client.IP, "device", deviceName)
		return h.refuseSignIn(c, given)
	}
	if err == nil && isAPI(c) {
		return c.JSON(fiber.Map{"username": user.Username})
	}
	return redirectSignedIn(c, given.next, err)
}

func (h *handler) refuseSignIn(c *fiber.Ctx, given credentials) error {
	if isAPI(c) {
		return problem{fiber.StatusUnauthorized, wrongPassword}
	}
	p, err := h.newSignInPage(c, given.next)
	if err != nil {
		return err
	}
	p.Username.Value, p.Shared = *given.Username, given.Shared
	p.Form.Error = wrongPassword
	return refuse(c, "login/index", &p)
}

type signOutPage struct {
	page
	Username string // who is signed in, or ""
	Next     string // where to go after signing in again, or ""
	App      string // the host that Next leads to, or "" if that is this server
}

func (h *handler) showSignOut(c *fiber.Ctx) error {
	next := h.safeNext(c.Query("next"))
	p := signOutPage{page: page{Title: "Sign out"}, Next: next, App: appOf(next)}
	session, _, err := h.findSession(c)
	switch {
	case err == nil:
		p.Username = session.Username
	case !errors.Is(err, db.ErrNotFound):
		return err
	}
	return c.Render("logout/index", p)
}

const headerClearSiteData = "Clear-Site-Data"

// clearSiteData makes the browser delete what it has stored. It omits "cookies", which would delete those of sibling apps too.
const clearSiteData = `"cache", "storage"`

// signOut ends every live session that the client's cookies name, even those of different users, so that this browser is signed out
// whatever was planted in it. An attacker who planted a cookie loses only their own session.
func (h *handler) signOut(c *fiber.Ctx) error {
	if err := requireJSONBody(c); err != nil && isAPI(c) {
		return err
	}
	tokens, _ := h.tokens(c)
	for _, token := range tokens {
		session, err := h.Store.Resume(token)
		if errors.Is(err, db.ErrNotFound) {
			continue
		}
		if err == nil {
			err = h.endSession(c, *session)
		}
		if err != nil {
			return err
		}
	}
	h.clearCookie(c)
	c.Set(headerClearSiteData, clearSiteData)
	if isAPI(c) {
		return c.JSON(fiber.Map{"message": "Logged out"})
	}
	signIn := signInPath + "?done=signed-out"
	if body, err := readForm(c); err == nil {
		if next := h.safeNext(body.get("next")); next != "" {
			signIn += "&next=" + url.QueryEscape(next)
		}
	}
	return c.Redirect(signIn, fiber.StatusSeeOther)
}

func (h *handler) endSession(c *fiber.Ctx, session db.Session) error {
	if err := h.Store.SignOut(c.UserContext(), session); err != nil {
		return err
	}
	h.Log.Info("signed out", "user", session.Username, "session", session.ID)
	return nil
}
