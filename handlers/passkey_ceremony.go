package handlers

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"
	"github.com/gofiber/fiber/v2"

	"porchlight/db"
)

// This file owns the WebAuthn ceremony: the server sends a challenge, the browser's authenticator signs it, and the server checks the
// signature. Sign-in, the second step, step-up and adding a passkey all use it.

// ceremonyLifetime is how long a challenge is valid.
const ceremonyLifetime = 5 * time.Minute

// ceremony is what the server must remember of a challenge. It is stored in a cookie, encrypted, so that it costs no memory, and only the
// browser that asked for the challenge can use it.
type ceremony struct {
	Purpose   purpose
	For       string // the session that asked; "" to sign in
	Challenge string
	ExpiresAt time.Time
}

// purpose is what a challenge may be used for, and nothing else.
type purpose string

const (
	toSignIn       purpose = "sign in"
	toFinishSignIn purpose = "second step"
	toConfirm      purpose = "confirm"
	toAddPasskey   purpose = "add"
)

var (
	errNoCeremony = problem{fiber.StatusUnprocessableEntity, "This took too long, or another tab was first. Try again."}
	errNoPasskeys = problem{fiber.StatusNotFound, "Passkeys can't be used at this address."}
	errBadAnswer  = problem{fiber.StatusUnprocessableEntity, "Your browser's answer cannot be understood. Try again."}
)

// The paths of the ceremonies. The script begins one at the path with beginSuffix, and ends it at the path itself.
const (
	passkeySignInPath  = signInPath + "/passkey"
	passkeyConfirmPath = "/confirm/passkey"
	passkeysPath       = "/account/passkeys"
	beginSuffix        = "/begin"
)

// isCeremony reports whether the request comes from the script for passkeys, which gets JSON.
func isCeremony(c *fiber.Ctx) bool {
	switch strings.TrimSuffix(c.Path(), beginSuffix) {
	case passkeySignInPath, passkeyConfirmPath, passkeysPath:
		return true
	}
	return false
}

// newRelyingParty returns nil if browsers refuse passkeys at the public address: without https (localhost needs none), and at an IP
// address.
func newRelyingParty(address *url.URL) *webauthn.WebAuthn {
	host := address.Hostname()
	if address.Scheme != "https" && host != "localhost" && !strings.HasSuffix(host, ".localhost") {
		return nil
	}
	timeout := webauthn.TimeoutConfig{Timeout: ceremonyLifetime, TimeoutUVD: ceremonyLifetime}
	party, err := webauthn.New(&webauthn.Config{
		RPID:                  host,
		RPDisplayName:         "Porchlight",
		RPOrigins:             []string{address.Scheme + "://" + address.Host},
		AttestationPreference: protocol.PreferNoAttestation,
		AuthenticatorSelection: protocol.AuthenticatorSelection{
			ResidentKey:        protocol.ResidentKeyRequirementRequired,
			RequireResidentKey: protocol.ResidentKeyRequired(),
			UserVerification:   protocol.VerificationRequired,
		},
		Timeouts: webauthn.TimeoutsConfig{Login: timeout, Registration: timeout},
		// No extension is used, and some password managers answer ones that nobody asked for.
		ExtensionsUnsolicitedOutputPolicy: protocol.UnsolicitedOutputPolicyIgnore,
	})
	if err != nil {
		return nil
	}
	return party
}

// passkeyUser implements webauthn.User.
type passkeyUser struct {
	handle      []byte
	name        string
	credentials []webauthn.Credential
}

func (u passkeyUser) WebAuthnID() []byte                         { return u.handle }
func (u passkeyUser) WebAuthnName() string                       { return u.name }
func (u passkeyUser) WebAuthnDisplayName() string                { return u.name }
func (u passkeyUser) WebAuthnCredentials() []webauthn.Credential { return u.credentials }

// beginAssertion asks the browser for one of the passkeys, or for any if there are none.
func (h *handler) beginAssertion(c *fiber.Ctx, begun ceremony, passkeys []db.Passkey) error {
	var options []webauthn.LoginOption
	if len(passkeys) > 0 {
		allowed, err := descriptors(passkeys)
		if err != nil {
			return err
		}
		options = append(options, webauthn.WithAllowedCredentials(allowed))
	}
	assertion, data, err := h.passkeys.BeginDiscoverableLogin(options...)
	if err != nil {
		return err
	}
	begun.Challenge = data.Challenge
	return h.rememberChallenge(c, begun, assertion)
}

func descriptors(passkeys []db.Passkey) ([]protocol.CredentialDescriptor, error) {
	all := make([]protocol.CredentialDescriptor, len(passkeys))
	for i, passkey := range passkeys {
		credential, err := credentialOf(passkey)
		if err != nil {
			return nil, err
		}
		all[i] = credential.Descriptor()
	}
	return all, nil
}

func credentialOf(passkey db.Passkey) (credential webauthn.Credential, err error) {
	err = json.Unmarshal(passkey.Credential, &credential)
	credential.Authenticator.SignCount = passkey.SignCount
	return credential, err
}

// checkAssertion checks what the authenticator signed, and returns how the passkey was used. It returns a db.ErrNotFound if the passkey is
// unknown or anything does not match, and errNoCeremony for the answer to another challenge: since then, another tab has asked for one.
func (h *handler) checkAssertion(begun ceremony, answer json.RawMessage) (use db.PasskeyUse, err error) {
	parsed, err := protocol.ParseCredentialRequestResponseBytes(answer)
	if err != nil {
		return use, errBadAnswer
	}
	if parsed.Response.CollectedClientData.Challenge != begun.Challenge {
		return use, errNoCeremony
	}
	passkey, err := h.Store.PasskeyByCredential(parsed.RawID)
	if err != nil {
		return use, err
	}
	credential, err := credentialOf(passkey)
	if err != nil {
		return use, err
	}
	used, err := h.passkeys.ValidateLogin(passkeyUser{handle: passkey.UserHandle, credentials: []webauthn.Credential{credential}},
		webauthn.SessionData{Challenge: begun.Challenge, UserID: passkey.UserHandle, UserVerification: protocol.VerificationRequired}, parsed)
	if err == nil && begun.Purpose == toSignIn && len(parsed.Response.UserHandle) == 0 {
		err = errors.New("the authenticator names no user")
	}
	if err != nil {
		return use, fmt.Errorf("%w: passkey %s: %w", db.ErrNotFound, passkey.ID, err)
	}
	stored, err := json.Marshal(used)
	return db.PasskeyUse{
		CredentialID: passkey.CredentialID, Credential: stored, SignCount: parsed.Response.AuthenticatorData.Counter, ChallengeHash: begun.hash(),
	}, err
}

// hash returns the hash of the challenge, by which the store remembers that it was answered.
func (begun ceremony) hash() []byte {
	hash := sha256.Sum256([]byte(begun.Challenge))
	return hash[:]
}

// requirePasskeys guards every step of a ceremony. Their bodies are JSON.
func (h *handler) requirePasskeys(c *fiber.Ctx) error {
	if err := requireJSONBody(c); err != nil {
		return err
	}
	if h.passkeys == nil {
		return errNoPasskeys
	}
	return c.Next()
}

// rememberChallenge stores the ceremony in the browser's cookie, and sends the options to the page's script.
func (h *handler) rememberChallenge(c *fiber.Ctx, begun ceremony, options any) error {
	begun.ExpiresAt = h.Store.Now().Add(ceremonyLifetime)
	sealed, err := h.seal(begun)
	if err != nil {
		return err
	}
	h.setCeremonyCookie(c, sealed, ceremonyLifetime)
	return c.JSON(options)
}

// takeCeremony returns the ceremony that the browser's cookie holds, and deletes the cookie.
func (h *handler) takeCeremony(c *fiber.Ctx) (ceremony, error) {
	begun, ok := h.unseal(string(c.Request().Header.Cookie(h.passkeyCookieName)))
	h.setCeremonyCookie(c, "", -time.Second)
	left := begun.ExpiresAt.Sub(h.Store.Now())
	if !ok || left <= 0 || left > ceremonyLifetime { // more is left if the clock was set back since
		return ceremony{}, errNoCeremony
	}
	return begun, nil
}

// takeCeremonyFor is takeCeremony for a single purpose of a session.
func (h *handler) takeCeremonyFor(c *fiber.Ctx, purpose purpose, sessionID string) (ceremony, error) {
	begun, err := h.takeCeremony(c)
	if err == nil && (begun.Purpose != purpose || begun.For != sessionID) {
		err = errNoCeremony
	}
	return begun, err
}

func (h *handler) setCeremonyCookie(c *fiber.Ctx, value string, lasts time.Duration) {
	c.Cookie(&fiber.Cookie{
		Name: h.passkeyCookieName, Value: value, Path: "/", MaxAge: int(lasts / time.Second),
		HTTPOnly: true, SameSite: fiber.CookieSameSiteStrictMode, Secure: h.secure(),
	})
}

func (h *handler) seal(begun ceremony) (string, error) {
	plain, err := json.Marshal(begun)
	return base64.RawURLEncoding.EncodeToString(h.ceremonyCipher().Seal(nil, nil, plain, nil)), err
}

// unseal reports whether this server has sealed the value.
func (h *handler) unseal(value string) (begun ceremony, ok bool) {
	sealed, err := base64.RawURLEncoding.DecodeString(value)
	if err != nil {
		return begun, false
	}
	plain, err := h.ceremonyCipher().Open(nil, nil, sealed, nil)
	if err == nil {
		err = json.Unmarshal(plain, &begun)
	}
	return begun, err == nil
}

// ceremonyCipher returns the cipher for the cookie that stores a ceremony.
func (h *handler) ceremonyCipher() cipher.AEAD {
	block, err := aes.NewCipher(h.Store.DerivedKey("passkey ceremony"))
	if err != nil {
		panic(err) // only a key of another length fails
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err) // only a block of another size fails
	}
	return aead
}
