package handlers

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"
	"github.com/gofiber/fiber/v2"

	"porchlight/db"
)

// This file owns the passkeys of the person who is signed in: the list, and adding, naming and removing one.

// passkeyList is the data of account/_passkeys.
type passkeyList struct {
	Passkeys []passkeyRow
	Offered  bool // browsers accept passkeys at the public address
}

type passkeyRow struct {
	ID        string
	Name      string
	Typed     string // what the field for the name holds
	NameError string
	Added     moment
	LastUsed  moment
	Used      bool
	Ago       string // since LastUsed
}

func (h *handler) newPasskeyList(passkeys []db.Passkey) passkeyList {
	list := passkeyList{Offered: h.passkeys != nil}
	for _, passkey := range passkeys {
		row := passkeyRow{
			ID: passkey.ID, Name: passkey.Name, Typed: passkey.Name,
			Added: newMoment(passkey.CreatedAt), LastUsed: newMoment(passkey.LastUsedAt), Used: !passkey.LastUsedAt.IsZero(),
		}
		row.Ago = row.LastUsed.ago(h.Store.Now())
		list.Passkeys = append(list.Passkeys, row)
	}
	return list
}

// passkeyAnswer is what the page's script sends at the end of a ceremony.
type passkeyAnswer struct {
	Credential json.RawMessage `json:"credential"`
	Shared     bool            `json:"shared"`
	Next       string          `json:"next"`
}

func (h *handler) beginPasskey(c *fiber.Ctx) error {
	current := currentSession(c)
	passkeys, err := h.Store.Passkeys(current.UserID)
	if err != nil {
		return err
	}
	if len(passkeys) >= db.MaxPasskeys {
		return errTooManyPasskeys
	}
	known, err := descriptors(passkeys)
	if err != nil {
		return err
	}
	user, err := h.passkeyUser(current)
	if err != nil {
		return err
	}
	creation, data, err := h.passkeys.BeginRegistration(user, webauthn.WithExclusions(known))
	if err != nil {
		return err
	}
	return h.rememberChallenge(c, ceremony{Purpose: toAddPasskey, For: current.ID, Challenge: data.Challenge}, creation)
}

func (h *handler) passkeyUser(session db.Session) (passkeyUser, error) {
	handle, err := h.Store.PasskeyUserHandle(session.UserID)
	return passkeyUser{handle: handle, name: session.Username}, err
}

// maxCredentialBytes is how many bytes of a credential are stored. Those of known authenticators have less than 1 KB.
const maxCredentialBytes = 4 << 10

var (
	errTooManyPasskeys = problem{fiber.StatusUnprocessableEntity,
		fmt.Sprintf("You already have %d passkeys, the most allowed. Remove one first.", db.MaxPasskeys)}
	errPasskeyExists = problem{fiber.StatusUnprocessableEntity, "This passkey was already added."}
	errNoName        = problem{fiber.StatusUnprocessableEntity, "A name needs at least one visible character."}
	errPasskeyUnfit  = problem{fiber.StatusUnprocessableEntity, "This passkey cannot be used here. Try another device."}
)

// addPasskey adds the passkey. The response holds the address to go to or, if there are new recovery codes, the part of a page that shows
// them: only this response has them.
func (h *handler) addPasskey(c *fiber.Ctx) error {
	var answer passkeyAnswer
	if err := readJSON(c, &answer); err != nil {
		return err
	}
	current := currentSession(c)
	begun, err := h.takeCeremonyFor(c, toAddPasskey, current.ID)
	if err != nil {
		return err
	}
	passkey, err := h.checkNewPasskey(begun, current, answer.Credential)
	if err != nil {
		return err
	}
	passkey.Name = initialPasskeyName(current.Browser)
	codes, err := h.Store.AddPasskey(c.UserContext(), current, passkey)
	switch {
	case errors.Is(err, db.ErrPasskeyExists):
		return errPasskeyExists
	case errors.Is(err, db.ErrTooManyPasskeys):
		return errTooManyPasskeys
	case errors.Is(err, db.ErrChallengeUsed):
		return errNoCeremony
	case err != nil:
		return err
	}
	h.Log.Info("passkey added", "user", current.Username, "session", current.ID)
	if len(codes) == 0 {
		return c.JSON(fiber.Map{"location": securityPath + "?done=passkey"})
	}
	var shown strings.Builder
	p := h.newRecoveryCodesPage(c, codes, "The passkey was added.")
	if err := c.App().Config().Views.Render(&shown, "account/_recovery_codes", p); err != nil {
		return err
	}
	return c.JSON(fiber.Map{"html": shown.String()})
}

// initialPasskeyName returns the name of a new passkey. Authenticators do not say their own, and the browser reminds people of the device.
func initialPasskeyName(browser string) string {
	name, err := checkName(browser)
	if err != nil || name == "" || name == unknownDevice {
		return "Passkey"
	}
	return name
}

// checkNewPasskey checks what the authenticator answered.
func (h *handler) checkNewPasskey(begun ceremony, current db.Session, answer json.RawMessage) (passkey db.NewPasskey, err error) {
	parsed, err := protocol.ParseCredentialCreationResponseBytes(answer)
	if err != nil {
		return passkey, errBadAnswer
	}
	user, err := h.passkeyUser(current)
	if err != nil {
		return passkey, err
	}
	credential, err := h.passkeys.CreateCredential(user, webauthn.SessionData{
		Challenge: begun.Challenge, UserID: user.handle, UserVerification: protocol.VerificationRequired,
		CredParams: webauthn.CredentialParametersDefault(),
	}, parsed)
	if err != nil {
		h.logLimited(slog.LevelWarn, "passkey not added", current.ID, "user", current.Username, "session", current.ID, "reason", err)
		return passkey, errPasskeyUnfit
	}
	credential.Attestation = webauthn.CredentialAttestation{} // none was asked for, and nothing needs it again
	stored, err := json.Marshal(credential)
	if err == nil && len(stored) > maxCredentialBytes {
		err = errPasskeyUnfit
	}
	return db.NewPasskey{
		UserHandle: user.handle, CredentialID: credential.ID, Credential: stored, SignCount: credential.Authenticator.SignCount,
		ChallengeHash: begun.hash(),
	}, err
}

// namePasskey renames a passkey.
func (h *handler) namePasskey(c *fiber.Ctx, body formBody) error {
	id, typed := c.Params("id"), body.get("name")
	name, err := checkName(typed)
	if err == nil && name == "" {
		err = errNoName
	}
	if err != nil {
		return h.refusePasskeyName(c, id, typed, err)
	}
	if err := h.Store.RenamePasskey(c.UserContext(), currentSession(c), id, name); err != nil {
		return err
	}
	return c.Redirect(securityPath+"?done=passkey-named", fiber.StatusSeeOther)
}

// refusePasskeyName shows the page again, with the reason beside the name that was typed.
func (h *handler) refusePasskeyName(c *fiber.Ctx, id, typed string, reason error) error {
	p, err := h.newSecurityPage(c)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(p.Passkeys.Passkeys, func(row passkeyRow) bool { return row.ID == id })
	if i < 0 {
		return reason
	}
	row := &p.Passkeys.Passkeys[i]
	row.Typed = typed
	_, row.NameError = h.describe(c, reason)
	return refuse(c, "account/security", &p)
}

func (h *handler) removePasskey(c *fiber.Ctx, body formBody) error {
	current, id := currentSession(c), c.Params("id")
	if body.get("confirm") != "1" {
		return h.askToRemovePasskey(c, id)
	}
	err := h.Store.RemovePasskey(c.UserContext(), current, id)
	if errors.Is(err, db.ErrFactorRequired) {
		return errLastFactor
	}
	if err != nil {
		return err
	}
	h.Log.Info("passkey removed", "user", current.Username, "session", current.ID, "passkey", id)
	return c.Redirect(securityPath+"?done=passkey-removed", fiber.StatusSeeOther)
}

func (h *handler) askToRemovePasskey(c *fiber.Ctx, id string) error {
	passkeys, err := h.Store.Passkeys(currentSession(c).UserID)
	if err != nil {
		return err
	}
	for _, row := range h.newPasskeyList(passkeys).Passkeys {
		if row.ID == id {
			return h.askAboutChange(c, "passkey", row)
		}
	}
	return db.ErrNotFound
}
