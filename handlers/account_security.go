package handlers

import (
	"encoding/base32"
	"errors"
	"fmt"
	"html/template"
	"net/url"
	"slices"
	"strings"

	"github.com/gofiber/fiber/v2"
	"rsc.io/qr"

	"porchlight/db"
)

// This file owns the page of a user's second factors, the authenticator app and the recovery codes.

const securityPath = "/account/security"

type securityPage struct {
	page
	Required      bool // the user must set up a factor before anything else
	SecondFactor  bool // the user has one
	TOTP          bool
	TOTPSince     moment
	RecoveryCodes int
	Passkeys      passkeyList
}

// CodesLow reports whether few recovery codes are left.
func (p securityPage) CodesLow() bool { return p.RecoveryCodes <= codesLow }

// CodesLeft returns, for example, "9 recovery codes".
func (p securityPage) CodesLeft() string { return quantity(p.RecoveryCodes, "recovery code") }

func (h *handler) newSecurityPage(c *fiber.Ctx) (securityPage, error) {
	current := currentSession(c)
	factors, err := h.Store.Factors(current.UserID)
	p := securityPage{
		page:     h.pageFor(c, "Security"),
		Required: current.MustSetUpFactor, SecondFactor: factors.Any(),
		TOTP: factors.TOTP, TOTPSince: newMoment(factors.TOTPSince), RecoveryCodes: factors.RecoveryCodes,
		Passkeys: h.newPasskeyList(factors.Passkeys),
	}
	p.Section = "account"
	return p, err
}

func (h *handler) showSecurity(c *fiber.Ctx) error {
	p, err := h.newSecurityPage(c)
	if err != nil {
		return err
	}
	p.notice = flashMessages[c.Query("done")]
	return c.Render("account/security", p)
}

// changePage asks for confirmation when JavaScript is off.
type changePage struct {
	page
	Change  string     // passkey, totp or recovery-codes
	Passkey passkeyRow // to remove
}

func (h *handler) askAboutChange(c *fiber.Ctx, change string, passkey passkeyRow) error {
	p := changePage{h.pageFor(c, "Are you sure?"), change, passkey}
	p.Section = "account"
	return c.Render("account/ask", p)
}

const needsFactor = "Set up a second factor first."

// requireFactor lets a user who must have a second factor reach nothing but the pages that set one up.
func (h *handler) requireFactor(c *fiber.Ctx) error {
	if !currentSession(c).MustSetUpFactor || isFactorPage(c.Path()) {
		return c.Next()
	}
	switch {
	case isAPI(c) || isJSON(c):
		return problem{fiber.StatusForbidden, needsFactor}
	case isHTMX(c):
		c.Set("HX-Redirect", securityPath)
		return c.SendStatus(fiber.StatusForbidden)
	}
	return c.Redirect(securityPath, fiber.StatusSeeOther)
}

func isFactorPage(path string) bool {
	return slices.Contains([]string{securityPath, confirmPath, "/sessions/events", "/account/recovery-codes"}, path) ||
		strings.HasPrefix(path, "/account/totp") || strings.HasPrefix(path, "/account/passkeys") || strings.HasPrefix(path, confirmPath+"/")
}

type totpPage struct {
	page
	Form   form
	Code   field
	Secret string // in base32, in groups of four
	Link   template.URL
	QR     qrCode
}

// beginTOTP creates a secret and shows it. It counts only once the user has entered a code that the app makes from it.
func (h *handler) beginTOTP(c *fiber.Ctx) error {
	secret, err := h.Store.BeginTOTP(c.UserContext(), currentSession(c))
	if errors.Is(err, db.ErrTOTPOn) {
		return c.Redirect(securityPath, fiber.StatusSeeOther)
	}
	if err != nil {
		return err
	}
	p, err := h.newTOTPPage(c, secret)
	if err != nil {
		return err
	}
	return c.Render("account/totp", p)
}

func (h *handler) newTOTPPage(c *fiber.Ctx, secret []byte) (totpPage, error) {
	text := base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(secret)
	link := totpLink(h.URL.Hostname(), currentSession(c).Username, text)
	code, err := newQRCode(link)
	p := totpPage{
		page: h.pageFor(c, "Set up an authenticator app"), Code: field{Kind: "code", Name: "code"},
		Secret: groupsOfFour(text), Link: template.URL(link), QR: code,
	}
	p.Section = "account"
	return p, err
}

// totpLink returns what the QR code says, in the format of Google Authenticator's "Key URI Format". Apps assume SHA-1, 6 digits and 30
// seconds.
func totpLink(site, username, secret string) string {
	issuer := "Porchlight (" + site + ")"
	return (&url.URL{
		Scheme: "otpauth", Host: "totp", Path: "/" + issuer + ":" + username,
		RawQuery: "secret=" + secret + "&issuer=" + strings.ReplaceAll(url.QueryEscape(issuer), "+", "%20"),
	}).String()
}

func groupsOfFour(text string) string {
	var groups []string
	for chunk := range slices.Chunk([]byte(text), 4) {
		groups = append(groups, string(chunk))
	}
	return strings.Join(groups, " ")
}

// enableTOTP switches the authenticator app on, and shows the recovery codes if the user had none.
func (h *handler) enableTOTP(c *fiber.Ctx, body formBody) error {
	current := currentSession(c)
	codes, err := h.Store.EnableTOTP(c.UserContext(), current, body.get("code"))
	switch {
	case errors.Is(err, db.ErrWrongCode):
		secret, err := h.Store.PendingTOTP(current)
		if errors.Is(err, db.ErrNotFound) {
			return c.Redirect(securityPath, fiber.StatusSeeOther)
		}
		if err != nil {
			return err
		}
		p, err := h.newTOTPPage(c, secret)
		if err != nil {
			return err
		}
		p.Form.mark(db.Invalid{"code": wrongCode + " Check that your phone shows the right time."}, &p.Code)
		return refuse(c, "account/totp", &p)
	case errors.Is(err, db.ErrNotFound): // nothing is being set up, or it is on already
		return c.Redirect(securityPath, fiber.StatusSeeOther)
	case err != nil:
		return err
	}
	h.Log.Info("authenticator app added", "user", current.Username, "session", current.ID)
	if codes == nil {
		return c.Redirect(securityPath+"?done=totp", fiber.StatusSeeOther)
	}
	return h.showRecoveryCodes(c, codes, "The authenticator app is on.")
}

func (h *handler) removeTOTP(c *fiber.Ctx, body formBody) error {
	if body.get("confirm") != "1" {
		return h.askAboutChange(c, "totp", passkeyRow{})
	}
	current := currentSession(c)
	err := h.Store.DisableTOTP(c.UserContext(), current)
	if errors.Is(err, db.ErrFactorRequired) {
		return errLastFactor
	}
	if err != nil && !errors.Is(err, db.ErrNotFound) {
		return err
	}
	h.Log.Info("authenticator app removed", "user", current.Username, "session", current.ID)
	return c.Redirect(securityPath+"?done=totp-removed", fiber.StatusSeeOther)
}

var errLastFactor = problem{fiber.StatusUnprocessableEntity,
	"This server requires a second factor, and this is your last one. Add another one first."}

func (h *handler) makeRecoveryCodes(c *fiber.Ctx, body formBody) error {
	if body.get("confirm") != "1" {
		return h.askAboutChange(c, "recovery-codes", passkeyRow{})
	}
	current := currentSession(c)
	codes, err := h.Store.ReplaceRecoveryCodes(c.UserContext(), current)
	if errors.Is(err, db.ErrNotFound) { // without a second factor, they would be of no use
		return c.Redirect(securityPath, fiber.StatusSeeOther)
	}
	if err != nil {
		return err
	}
	h.Log.Info("recovery codes created", "user", current.Username, "session", current.ID)
	return h.showRecoveryCodes(c, codes, "The old recovery codes no longer work.")
}

type recoveryCodesPage struct {
	page
	Codes    []string
	Download template.URL // a text file with the codes
}

func (h *handler) showRecoveryCodes(c *fiber.Ctx, codes []string, message string) error {
	return renderSecret(c, "account/recovery_codes", h.newRecoveryCodesPage(c, codes, message))
}

func (h *handler) newRecoveryCodesPage(c *fiber.Ctx, codes []string, message string) recoveryCodesPage {
	text := fmt.Sprintf("Recovery codes of %s for %s\nEach works once.\n\n%s\n",
		currentSession(c).Username, h.URL.Host, strings.Join(codes, "\n"))
	p := recoveryCodesPage{
		page: h.pageFor(c, "Your recovery codes"), Codes: codes,
		Download: template.URL("data:text/plain;charset=utf-8," + url.PathEscape(text)),
	}
	p.Section, p.Message = "account", message
	return p
}

// qrCode is a QR code as the path of an SVG image.
type qrCode struct {
	Size int // of a side, with the margin, in modules
	Path string
}

// quietZone is the margin around a QR code, in modules (ISO/IEC 18004).
const quietZone = 4

func newQRCode(text string) (qrCode, error) {
	code, err := qr.Encode(text, qr.M)
	if err != nil {
		return qrCode{}, err
	}
	var path strings.Builder
	for y := range code.Size {
		for x := 0; x < code.Size; x++ {
			run := x
			for run < code.Size && code.Black(run, y) {
				run++
			}
			if run > x {
				fmt.Fprintf(&path, "M%d %dh%dv1h-%dz", x+quietZone, y+quietZone, run-x, run-x)
				x = run
			}
		}
	}
	return qrCode{code.Size + 2*quietZone, path.String()}, nil
}
