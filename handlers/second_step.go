package handlers

import (
	"cmp"
	"errors"
	"log/slog"
	"net/url"
	"time"

	"github.com/gofiber/fiber/v2"

	"porchlight/db"
)

// This file owns the second step of signing in: after the password, a user who has a second factor gives a code. Until then, the browser
// has no session, only a cookie that says which sign-in it has begun.

const secondStepPath = signInPath + "/code"

// beginSecondStep gives the browser the cookie with which it can finish the sign-in.
func (h *handler) beginSecondStep(c *fiber.Ctx, user db.User, newSession db.NewSession) error {
	token, err := h.Store.BeginSecondStep(c.UserContext(), user, newSession)
	if err == nil {
		c.Cookie(h.secondStepCookie(token, db.SecondStepLifetime))
	}
	return err
}

func (h *handler) secondStepCookie(token string, lasts time.Duration) *fiber.Cookie {
	return &fiber.Cookie{
		Name: h.stepCookieName, Value: token, Path: "/", MaxAge: int(lasts / time.Second),
		HTTPOnly: true, SameSite: fiber.CookieSameSiteLaxMode, Secure: h.secure(),
	}
}

func (h *handler) clearSecondStepCookie(c *fiber.Ctx) {
	if h.secondStepToken(c) == "" {
		return
	}
	cookie := h.secondStepCookie("", -time.Second)
	cookie.Expires = time.Unix(0, 0)
	c.Cookie(cookie)
}

// secondStepToken returns the token of the sign-in that this browser has begun, or "".
func (h *handler) secondStepToken(c *fiber.Ctx) string {
	if token := c.Request().Header.Cookie(h.stepCookieName); len(token) == db.TokenLength {
		return string(token)
	}
	return ""
}

// redirectSignedIn redirects to next after a sign-in that returned err. If a second step is needed, it redirects there first.
func redirectSignedIn(c *fiber.Ctx, next string, err error) error {
	to := cmp.Or(next, sessionsPath)
	switch {
	case errors.Is(err, db.ErrSecondFactor) && next == "":
		to = secondStepPath
	case errors.Is(err, db.ErrSecondFactor):
		to = secondStepPath + "?next=" + url.QueryEscape(next)
	case err != nil:
		return err
	}
	return c.Redirect(to, fiber.StatusSeeOther)
}

type codePage struct {
	page
	Form     form
	Code     field
	Next     string
	Site     string // the host that the authenticator app shows
	TOTP     bool
	Passkeys bool // the user has one, and browsers accept passkeys at the public address

	NewPassword bool // it takes effect after the right code
}

func (h *handler) newCodePage(c *fiber.Ctx, next string, step db.SecondStep) codePage {
	if h.CookieDomain != "" {
		c.Set(fiber.HeaderContentSecurityPolicy, h.signInPolicy)
	}
	p := codePage{
		page: page{Title: "Enter a code"}, Code: field{Kind: "code", Name: "code", Autofocus: true},
		Next: next, Site: h.URL.Hostname(), TOTP: step.TOTP, Passkeys: step.Passkeys && h.passkeys != nil,
		NewPassword: step.NewPassword,
	}
	if p.PasskeyFirst() {
		p.Title = "Use your passkey"
	}
	return p
}

// PasskeyFirst reports whether the page asks for a passkey first, because the user has no authenticator app.
func (p codePage) PasskeyFirst() bool { return p.Passkeys && !p.TOTP }

func (h *handler) showCode(c *fiber.Ctx) error {
	next := h.safeNext(c.Query("next"))
	step, err := h.Store.SecondStep(h.secondStepToken(c))
	if errors.Is(err, db.ErrNotFound) {
		return h.startAgain(c, next)
	}
	if err != nil {
		return err
	}
	return c.Render("login/code", h.newCodePage(c, next, step))
}

// startAgain redirects to the password form, because the second step took too long or there were too many wrong codes. A user who is signed
// in in the meantime continues from there.
func (h *handler) startAgain(c *fiber.Ctx, next string) error {
	h.clearSecondStepCookie(c)
	query := url.Values{"done": {"again"}}
	if next != "" {
		query.Set("next", next)
	}
	return c.Redirect(signInPath+"?"+query.Encode(), fiber.StatusSeeOther)
}

const wrongCode = "That code isn't right."

func (h *handler) enterCode(c *fiber.Ctx, body formBody) error {
	next, token := h.safeNext(body.get("next")), h.secondStepToken(c)
	session, err := h.finishSecondStep(c, token, body.get("code"), formID(body))
	switch {
	case errors.Is(err, db.ErrNotFound):
		return h.startAgain(c, next)
	case errors.Is(err, db.ErrWrongCode):
		step, err := h.Store.SecondStep(token)
		if errors.Is(err, db.ErrNotFound) {
			return h.startAgain(c, next)
		}
		if err != nil {
			return err
		}
		p := h.newCodePage(c, next, step)
		p.Form.mark(db.Invalid{"code": wrongCode}, &p.Code)
		return refuse(c, "login/code", &p)
	}
	if err == nil && next == "" && session.Method == db.ByPasswordAndRecovery {
		return h.showRecoveryCodeMessage(c, session)
	}
	return redirectSignedIn(c, next, err)
}

// codesLow is the number of recovery codes at which the pages begin to suggest creating new ones.
const codesLow = 3

// showRecoveryCodeMessage redirects to the devices with a message about the recovery code that was just used.
func (h *handler) showRecoveryCodeMessage(c *fiber.Ctx, session db.Session) error {
	factors, err := h.Store.Factors(session.UserID)
	if err != nil {
		return err
	}
	done := "recovery"
	if factors.RecoveryCodes <= codesLow {
		done = "recovery-low"
	}
	return c.Redirect(sessionsPath+"?done="+done, fiber.StatusSeeOther)
}

// finishSecondStep signs the client in with a code. It returns db.ErrWrongCode, or db.ErrNotFound if the sign-in must begin again.
func (h *handler) finishSecondStep(c *fiber.Ctx, stepToken, code, form string) (db.Session, error) {
	step, err := h.Store.SecondStep(stepToken) // for the log; a form that is sent again finds none
	if err != nil && !errors.Is(err, db.ErrNotFound) {
		return db.Session{}, err
	}
	token, session, err := h.Store.FinishSecondStep(c.UserContext(), stepToken, code, h.sessionFor(c, db.NewSession{Form: form}))
	if errors.Is(err, db.ErrWrongCode) {
		h.logWrongCode(c, step.Username)
	}
	if err == nil {
		if step.NewPassword {
			h.Log.Info("new password by a link", "user", session.Username, "ip", session.IP)
		}
		h.signedIn(c, token, session)
	}
	return session, err
}

func (h *handler) logWrongCode(c *fiber.Ctx, username string) {
	ip := h.client(c).IP
	h.logLimited(slog.LevelWarn, "wrong code", logSubject(ip), "user", username, "ip", ip)
}

// signInWithCode is both steps in one request, for scripts. They get no cookie in between.
func (h *handler) signInWithCode(c *fiber.Ctx, user db.User, newSession db.NewSession, code string) error {
	message := "A code is needed."
	if code != "" {
		token, session, err := h.Store.SignInWithCode(c.UserContext(), user, code, h.sessionFor(c, newSession))
		if err == nil {
			h.signedIn(c, token, session)
			return c.JSON(fiber.Map{"username": user.Username})
		}
		if !errors.Is(err, db.ErrWrongCode) {
			return err
		}
		h.logWrongCode(c, user.Username)
		message = wrongCode
	}
	return c.Status(fiber.StatusUnauthorized).JSON(fiber.Map{"error": message, "secondFactor": true})
}
