package handlers

import (
	"bufio"
	"encoding/json"
	"errors"

	"github.com/gofiber/fiber/v2"

	"porchlight/db"
)

// exportedAccount and exportedSession hold everything that is stored about a user except secrets: no hash and no token.
type exportedAccount struct {
	Username  string   `json:"username"`
	Email     string   `json:"email"`
	NewEmail  string   `json:"unconfirmedEmail"`
	IsAdmin   bool     `json:"isAdmin"`
	Approved  bool     `json:"approved"`
	Groups    []string `json:"groups"`
	CreatedAt string   `json:"createdAt"`
}

type exportedSession struct {
	SessionJSON
	DetectedName string `json:"detectedName"` // from the User-Agent, even if the user chose another name
	DeviceKind   string `json:"deviceKind"`
	UserAgent    string `json:"userAgent"`
	NamedBy      string `json:"namedBy"`
}

type exportedDevice struct {
	Name         string `json:"name"`
	DetectedName string `json:"detectedName"`
	DeviceKind   string `json:"deviceKind"`
	NamedBy      string `json:"namedBy"`
	FirstSeenAt  string `json:"firstSeenAt"`
	LastSeenAt   string `json:"lastSeenAt"`
}

type exportedNetwork struct {
	Network     string `json:"network"`
	FirstUsedAt string `json:"firstUsedAt"`
	LastUsedAt  string `json:"lastUsedAt"`
}

// exportedFactors has no secret, no code and no key: only what the page of the second factors shows.
type exportedFactors struct {
	AuthenticatorAppSince string            `json:"authenticatorAppSince,omitempty"`
	RecoveryCodesLeft     int               `json:"recoveryCodesLeft"`
	Passkeys              []exportedPasskey `json:"passkeys"`
}

type exportedPasskey struct {
	Name       string `json:"name"`
	CreatedAt  string `json:"createdAt"`
	LastUsedAt string `json:"lastUsedAt,omitempty"`
}

func exportFactors(factors db.Factors) exportedFactors {
	exported := exportedFactors{RecoveryCodesLeft: factors.RecoveryCodes, Passkeys: []exportedPasskey{}}
	if factors.TOTP {
		exported.AuthenticatorAppSince = RFC3339(factors.TOTPSince)
	}
	for _, p := range factors.Passkeys {
		passkey := exportedPasskey{Name: p.Name, CreatedAt: RFC3339(p.CreatedAt)}
		if !p.LastUsedAt.IsZero() {
			passkey.LastUsedAt = RFC3339(p.LastUsedAt)
		}
		exported.Passkeys = append(exported.Passkeys, passkey)
	}
	return exported
}

// exportedAlerts has no link, and nothing about the webhook, which belongs to the server's owner.
type exportedAlerts struct {
	Mail      bool               `json:"mail"`
	NtfyTopic string             `json:"ntfyTopic"`
	Off       []string           `json:"off"`
	Last      []exportedDelivery `json:"last"`
	Waiting   []exportedMessage  `json:"waiting"`
}

type exportedDelivery struct {
	Way       string `json:"way"`
	At        string `json:"at"`
	Delivered bool   `json:"delivered"`
}

type exportedMessage struct {
	Way  string `json:"way"`
	To   string `json:"to"`
	Kind string `json:"kind"`
	At   string `json:"at"`
}

func (h *handler) exportAlerts(userID int64) (exported exportedAlerts, err error) {
	settings, err := h.Store.AlertSettings(userID)
	if err != nil {
		return exported, err
	}
	last, err := h.Store.Deliveries(userID)
	if err != nil {
		return exported, err
	}
	waiting, err := h.Store.WaitingMessages(userID)
	if err != nil {
		return exported, err
	}
	exported = exportedAlerts{settings.Mail, settings.Topic, []string{}, []exportedDelivery{}, []exportedMessage{}}
	exported.Off = append(exported.Off, settings.Off...)
	for _, d := range last {
		if d.Way != db.Webhook {
			exported.Last = append(exported.Last, exportedDelivery{string(d.Way), RFC3339(d.At), d.Error == ""})
		}
	}
	for _, m := range waiting {
		if m.Way != db.Webhook {
			exported.Waiting = append(exported.Waiting, exportedMessage{string(m.Way), m.Address, m.Kind, RFC3339(m.At)})
		}
	}
	return exported, nil
}

// exportHead is the export without the activity.
type exportHead struct {
	Account  exportedAccount   `json:"account"`
	Sessions []exportedSession `json:"sessions"`
	Devices  []exportedDevice  `json:"devices"`
	Networks []exportedNetwork `json:"networks"`
	Factors  exportedFactors   `json:"secondFactors"`
	Alerts   exportedAlerts    `json:"alerts"`
}

// apiExport sends everything that is stored about the user. The activity can be long, so it is sent while it is read.
//
// Although it is a GET, other sites may not request it: a sibling app's request carries the cookie, and would save the file among
// the person's downloads and add to their activity.
func (h *handler) apiExport(c *fiber.Ctx) error {
	if fetchedFromElsewhere(c) {
		return problem{fiber.StatusForbidden, "Another site asked for this download. Open your account page and download it there."}
	}
	current := currentSession(c)
	if c.Method() == fiber.MethodGet { // HEAD sends nothing
		if err := h.Store.RecordExport(c.UserContext(), current); err != nil {
			return err
		}
	}
	account, err := h.Store.Account(current)
	if err != nil {
		return err
	}
	sessions, _, err := h.Store.Sessions(current.UserID, 0)
	if err != nil {
		return err
	}
	kept := []exportedSession{}
	for _, session := range sessions {
		kept = append(kept, exportedSession{
			sessionForCaller(session, current), session.DetectedName, session.DeviceKind, session.UserAgent, session.NamedBy,
		})
	}
	devices, err := h.Store.Devices(current.UserID)
	if err != nil {
		return err
	}
	networks, err := h.Store.Networks(current.UserID)
	if err != nil {
		return err
	}
	factors, err := h.Store.Factors(current.UserID)
	if err != nil {
		return err
	}
	alerts, err := h.exportAlerts(current.UserID)
	if err != nil {
		return err
	}
	unconfirmed, err := h.Store.UnconfirmedEmail(current.UserID)
	if err != nil && !errors.Is(err, db.ErrNotFound) {
		return err
	}
	head := exportHead{
		Account: exportedAccount{
			account.Username, account.Email, unconfirmed, account.IsAdmin, account.Approved, append([]string{}, account.Groups...),
			RFC3339(account.CreatedAt),
		},
		Sessions: kept,
		Devices:  []exportedDevice{},
		Networks: []exportedNetwork{},
		Factors:  exportFactors(factors),
		Alerts:   alerts,
	}
	for _, d := range devices {
		head.Devices = append(head.Devices, exportedDevice{
			d.Name, d.DetectedName, d.Kind, d.NamedBy, RFC3339(d.FirstSeenAt), RFC3339(d.LastSeenAt),
		})
	}
	for _, n := range networks {
		head.Networks = append(head.Networks, exportedNetwork{n.Network, RFC3339(n.FirstUsedAt), RFC3339(n.LastUsedAt)})
	}
	c.Set(fiber.HeaderContentType, fiber.MIMEApplicationJSON)
	c.Set(fiber.HeaderContentDisposition, `attachment; filename="porchlight.json"`)
	c.Context().SetBodyStreamWriter(func(w *bufio.Writer) {
		err := writeExport(w, head, func(before int64) ([]db.Activity, error) {
			return h.Store.Activity(current.UserID, before, exportBatch)
		})
		if err != nil {
			h.Log.Error("an export was cut short", "user", current.Username, "error", err)
		}
	})
	return nil
}

// exportBatch is how many events are read at a time. A slow client must not keep a query open.
const exportBatch = 500

// writeExport writes one JSON object, and reads its last list in batches. If that fails halfway, the JSON is incomplete, so nobody can
// mistake it for the whole.
func writeExport(w *bufio.Writer, lists exportHead, activity func(before int64) ([]db.Activity, error)) error {
	head, err := json.Marshal(lists)
	if err != nil {
		return err
	}
	w.Write(head[:len(head)-1]) // without the closing brace; bufio keeps the first error for Flush
	w.WriteString(`,"activity":[`)
	for before, separator := int64(0), ""; ; {
		batch, err := activity(before)
		if err != nil {
			return err
		}
		for _, a := range batch {
			row, err := json.Marshal(NewActivityJSON(a))
			if err != nil {
				return err
			}
			w.WriteString(separator)
			w.Write(row)
			before, separator = a.ID, ","
		}
		if err := w.Flush(); err != nil {
			return err
		}
		if len(batch) < exportBatch {
			break
		}
	}
	w.WriteString("]}\n")
	return w.Flush()
}
