package handlers

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"

	"github.com/gofiber/fiber/v2"

	"porchlight/db"
)

// This file owns what a passkey is used for: to sign in, as the second step after a password, and to confirm who uses a session.

// errPasskeyRefused is the same for unknown passkeys, for disabled users, and for everything that does not match.
var errPasskeyRefused = problem{fiber.StatusUnauthorized,
	"That passkey can't be used here. It may have been removed, or your account disabled."}

// beginPasskeySignIn asks for any passkey or, in the second step, for one of the user's.
func (h *handler) beginPasskeySignIn(c *fiber.Ctx) error {
	var asked struct {
		SecondStep bool `json:"secondStep"`
	}
	if err := readJSON(c, &asked); err != nil {
		return err
	}
	if !asked.SecondStep {
		return h.beginAssertion(c, ceremony{Purpose: toSignIn}, nil)
	}
	step, err := h.secondStep(c)
	if err != nil {
		return err
	}
	passkeys, err := h.Store.Passkeys(step.UserID)
	if err != nil {
		return err
	}
	return h.beginAssertion(c, ceremony{Purpose: toFinishSignIn}, passkeys)
}

// secondStep returns the sign-in that the browser has begun with a password.
func (h *handler) secondStep(c *fiber.Ctx) (db.SecondStep, error) {
	step, err := h.Store.SecondStep(h.secondStepToken(c))
	if errors.Is(err, db.ErrNotFound) {
		err = errNoStep
	}
	return step, err
}

var errNoStep = problem{fiber.StatusUnprocessableEntity, "Signing in took too long. Begin again with your password."}

// signInWithPasskey signs in with only a passkey or, if the challenge is that of a second step, after a password.
func (h *handler) signInWithPasskey(c *fiber.Ctx) error {
	var answer passkeyAnswer
	if err := readJSON(c, &answer); err != nil {
		return err
	}
	begun, err := h.takeCeremony(c)
	if err != nil {
		return err
	}
	if begun.Purpose == toFinishSignIn {
		if _, err := h.secondStep(c); err != nil {
			return err
		}
	}
	var token string
	var session db.Session
	err = h.usePasskey(c, begun, answer, func(use db.PasskeyUse) (err error) {
		newSession := h.sessionFor(c, db.NewSession{Shared: answer.Shared})
		switch begun.Purpose {
		case toSignIn:
			token, session, err = h.Store.SignInWithPasskey(c.UserContext(), use, newSession)
		case toFinishSignIn:
			token, session, err = h.Store.FinishSecondStepWithPasskey(c.UserContext(), h.secondStepToken(c), use, newSession)
		default:
			err = errNoCeremony
		}
		return err
	})
	if err != nil {
		return err
	}
	h.signedIn(c, token, session)
	return c.JSON(fiber.Map{"location": cmp.Or(h.safeNext(answer.Next), sessionsPath)})
}

// usePasskey checks the answer and calls use with it. What fails counts against the client's address.
func (h *handler) usePasskey(c *fiber.Ctx, begun ceremony, answer passkeyAnswer, use func(db.PasskeyUse) error) error {
	ip := h.client(c).IP
	err := h.Store.CheckSecret(c.UserContext(), ip, func() error {
		checked, err := h.checkAssertion(begun, answer.Credential)
		if err == nil {
			err = use(checked)
		}
		if errors.Is(err, db.ErrPasskeyRefused) {
			err = fmt.Errorf("%w: %w", db.ErrNotFound, err)
		}
		return err
	})
	switch {
	case errors.Is(err, db.ErrNotFound):
		h.logLimited(slog.LevelWarn, "passkey refused", logSubject(ip), "path", c.Path(), "ip", ip, "reason", err)
		return errPasskeyRefused
	case errors.Is(err, db.ErrChallengeUsed):
		return errNoCeremony
	}
	return err
}

// beginPasskeyConfirmation asks for a passkey of the user who is signed in.
func (h *handler) beginPasskeyConfirmation(c *fiber.Ctx) error {
	current := currentSession(c)
	passkeys, err := h.Store.Passkeys(current.UserID)
	if err != nil {
		return err
	}
	return h.beginAssertion(c, ceremony{Purpose: toConfirm, For: current.ID}, passkeys)
}

// confirmWithPasskey responds with 204. The script then sends the form of the page, which no longer needs a password.
func (h *handler) confirmWithPasskey(c *fiber.Ctx) error {
	var answer passkeyAnswer
	if err := readJSON(c, &answer); err != nil {
		return err
	}
	current := currentSession(c)
	begun, err := h.takeCeremonyFor(c, toConfirm, current.ID)
	if err != nil {
		return err
	}
	err = h.usePasskey(c, begun, answer, func(use db.PasskeyUse) error {
		return h.Store.ConfirmWithPasskey(c.UserContext(), current, h.client(c), use)
	})
	if err != nil {
		return err
	}
	h.Log.Info("confirmed", "user", current.Username, "session", current.ID)
	return c.SendStatus(fiber.StatusNoContent)
}
