package handlers

import (
	"errors"
	"net/url"

	"github.com/gofiber/fiber/v2"

	"porchlight/db"
)

const wrongPassword = "Username or password is incorrect."

type signInPage struct {
	page
	Form       form
	Username   field
	Password   field
	Shared     bool
	Next       string
	RightPlace string // where to sign in instead; "" where signing in works
	NoUsers    bool   // nobody can sign in yet
	SignUp     bool   // there is a page to make an account
}

func (h *handler) newSignInPage(c *fiber.Ctx, next string) (signInPage, error) {
	hasUsers, err := h.Store.HasUsers(c.UserContext())
	return signInPage{
		page:       page{Title: "Sign in"},
		Username:   field{Name: "username", Label: "Username or e-mail", Type: "text", Autocomplete: "username", Required: true, Autofocus: true},
		Password:   field{Name: "password", Label: "Password", Type: "password", Autocomplete: "current-password", Required: true},
		Next:       next,
		RightPlace: h.rightPlace(c, next),
		NoUsers:    !hasUsers,
		SignUp:     h.Signup && hasUsers,
	}, err
}

// showSignIn sends those who are signed in where they wanted to go. Who was signed out is told so, once: the cookie
// goes with that.
func (h *handler) showSignIn(c *fiber.Ctx) error {
	next := safeNext(c.Query("next"))
	_, err := h.findSession(c)
	if err == nil {
		return c.Redirect(orSessions(next), fiber.StatusSeeOther)
	}
	if !errors.Is(err, db.ErrNotFound) {
		return err
	}
	p, err := h.newSignInPage(c, next)
	if err != nil {
		return err
	}
	if c.Request().Header.Cookie(h.cookieName) != nil {
		p.Message = "You were signed out on this device. Sign in again to continue."
		h.clearCookie(c)
	}
	return c.Render("login/index", p)
}

// rightPlace is the sign-in page at the public address when the request came to another one: there the browser would
// not keep the cookie, or not send it.
func (h *handler) rightPlace(c *fiber.Ctx, next string) string {
	if h.requestOrigin(c) == h.URL.Scheme+"://"+h.URL.Host {
		return ""
	}
	link := h.URL.JoinPath("/login")
	if next != "" {
		link.RawQuery = url.Values{"next": {next}}.Encode()
	}
	return link.String()
}

func orSessions(next string) string {
	if next == "" {
		return "/sessions"
	}
	return next
}

// credentials are the body of POST /login; a pointer is nil where JSON lacks the key.
type credentials struct {
	Username *string `json:"username"`
	Password *string `json:"password"`
	Shared   bool    `json:"shared"`
	next     string
}

func readCredentials(c *fiber.Ctx) (credentials, error) {
	var given credentials
	if isAPI(c) && (isJSON(c) || len(c.Body()) == 0) {
		err := readJSON(c, &given)
		if err == nil && (given.Username == nil || given.Password == nil) {
			err = problem{fiber.StatusUnprocessableEntity, "Give username and password as strings."}
		}
		return given, err
	}
	body, err := readForm(c)
	if err != nil {
		return given, err
	}
	username, password := body.get("username"), body.secret("password")
	return credentials{Username: &username, Password: &password, Shared: body.has("shared"), next: safeNext(body.get("next"))}, nil
}

func (h *handler) signIn(c *fiber.Ctx) error {
	given, err := readCredentials(c)
	if err != nil {
		return err
	}
	device := h.deviceOf(c)
	user, err := h.Store.Authenticate(c.UserContext(), *given.Username, *given.Password, h.clientIP(c), device.Name)
	if err == nil {
		err = h.startSession(c, user, given.Shared)
	}
	if errors.Is(err, db.ErrWrongPassword) {
		h.Log.Warn("sign-in failed", "user", user.Username, "ip", h.clientIP(c), "device", device.Name)
		return h.refuseSignIn(c, given)
	}
	if err != nil {
		return err
	}
	if isAPI(c) {
		return c.JSON(fiber.Map{"username": user.Username})
	}
	return c.Redirect(orSessions(given.next), fiber.StatusSeeOther)
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
	return refuse(c, "login/index", p)
}

func (h *handler) showSignOut(c *fiber.Ctx) error {
	return c.Render("logout/index", h.pageFor(c, "Sign out"))
}

// clearSiteData has the browser forget what it kept. Not "cookies", which would clear those of sibling apps too.
const clearSiteData = `"cache", "storage"`

// signOut ends every live session that the client's cookie names.
func (h *handler) signOut(c *fiber.Ctx) error {
	if isAPI(c) {
		if err := requireJSONBody(c); err != nil {
			return err
		}
	}
	for _, token := range h.tokens(c) {
		session, err := h.Store.Resume(token)
		if errors.Is(err, db.ErrNotFound) {
			continue
		}
		if err == nil {
			err = h.endSession(c, session)
		}
		if err != nil {
			return err
		}
	}
	h.clearCookie(c)
	c.Set("Clear-Site-Data", clearSiteData)
	if isAPI(c) {
		return c.JSON(fiber.Map{"message": "Logged out"})
	}
	return c.Redirect("/login", fiber.StatusSeeOther)
}

func (h *handler) endSession(c *fiber.Ctx, session db.Session) error {
	if err := h.Store.SignOut(c.UserContext(), session); err != nil {
		return err
	}
	h.Log.Info("signed out", "user", session.Username, "session", session.ID)
	return nil
}
