package handlers

import (
	"crypto/subtle"
	"errors"

	"github.com/gofiber/fiber/v2"

	"porchlight/db"
)

// signUpPage is the page of set-up and of sign-up. Only set-up uses Token and Email.
type signUpPage struct {
	page
	Form     form
	Token    string
	Username field
	Email    field
	Password field
}

func newSignUpPage(title string) signUpPage {
	return signUpPage{
		page:     page{Title: title},
		Username: field{Kind: "username", Name: "username", Autofocus: true},
		Email:    field{Kind: "email", Name: "email"},
		Password: field{Kind: "first-password", Name: "password"},
	}
}

func (h *handler) showSignUp(c *fiber.Ctx) error {
	if err := h.checkSignUp(c); err != nil {
		return err
	}
	return c.Render("signup/index", newSignUpPage("Create an account"))
}

// checkSignUp returns 404 unless sign-up is open and an account exists, because the first account must be an administrator's.
func (h *handler) checkSignUp(c *fiber.Ctx) error {
	if !h.Signup {
		return fiber.ErrNotFound
	}
	hasUsers, err := h.Store.HasUsers()
	if err == nil && !hasUsers {
		err = fiber.ErrNotFound
	}
	return err
}

func (h *handler) signUp(c *fiber.Ctx) error {
	if err := h.checkSignUp(c); err != nil {
		return err
	}
	body, err := readForm(c)
	if err != nil {
		return err
	}
	return h.createUser(c, body, "signup/index", newSignUpPage("Create an account"), db.NewUser{SignUp: true, IP: h.client(c).IP})
}

func (h *handler) showSetUp(c *fiber.Ctx) error {
	if err := h.checkSetUp(c, c.Query("token")); err != nil {
		return err
	}
	p := newSignUpPage("Create the first account")
	p.Token = c.Query("token")
	return c.Render("setup/index", p)
}

// checkSetUp returns 404 if an account exists or has existed since the server started, and 403 for a wrong token. After the first
// account was deleted, the token must not work again for somebody who finds it in a log.
func (h *handler) checkSetUp(c *fiber.Ctx, token string) error {
	fresh, err := h.Store.IsFresh()
	if err != nil {
		return err
	}
	if !fresh {
		return fiber.ErrNotFound
	}
	err = h.Store.CheckSecret(c.UserContext(), h.client(c).IP, func() error {
		if h.SetupToken == "" || subtle.ConstantTimeCompare([]byte(token), []byte(h.SetupToken)) != 1 {
			return db.ErrWrongPassword
		}
		return nil
	})
	if errors.Is(err, db.ErrWrongPassword) {
		return problem{fiber.StatusForbidden,
			"This set-up link is not valid. The server prints a new one each time it starts. Use the newest one."}
	}
	return err
}

func (h *handler) setUp(c *fiber.Ctx, body formBody) error {
	p := newSignUpPage("Create the first account")
	p.Token = h.SetupToken
	return h.createUser(c, body, "setup/index", p, db.NewUser{Email: body.get("email"), First: true})
}

// createUser creates the account and signs it in, or shows the page again with the reasons.
func (h *handler) createUser(c *fiber.Ctx, body formBody, view string, p signUpPage, newUser db.NewUser) error {
	newUser.Username, newUser.Password = body.get("username"), body.secret("password")
	method := db.BySetup
	if newUser.SignUp {
		method = db.BySignUp
	}
	err := h.createOnce(c, body, method, func() (db.User, error) {
		if newUser.First {
			if err := h.checkSetUp(c, body.get("token")); err != nil {
				return db.User{}, err
			}
		}
		user, err := h.Store.CreateUser(c.UserContext(), newUser)
		if err == nil {
			h.Log.Info("account created", "user", user.Username, "admin", user.IsAdmin, "approved", user.Approved)
		}
		return user, err
	})
	if invalid, ok := errors.AsType[db.Invalid](err); ok {
		p.Username.Value, p.Email.Value = newUser.Username, newUser.Email
		p.Form.mark(invalid, &p.Username, &p.Email, &p.Password)
		return refuse(c, view, &p)
	}
	return redirectSignedIn(c, "", err)
}
