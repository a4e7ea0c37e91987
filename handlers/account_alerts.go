package handlers

import (
	"errors"
	"slices"

	"github.com/gofiber/fiber/v2"

	"porchlight/db"
)

// This file owns the page on which users choose their alerts, and where to send them.

const alertsPath = "/account/alerts"

type alertsPage struct {
	page
	Form     form
	Mail     bool   // the server sends mail
	Ntfy     bool   // users may name a topic
	Webhook  bool   // every alert goes to a webhook, and this is an administrator
	Email    string // the user's address, or ""
	Mailed   bool   // the user wants optional alerts by mail
	Topic    field
	Optional []optionalAlert
	Results  []deliveryResult
	Waiting  int // messages that are not delivered yet
}

// optionalAlert is a kind of alert that can be switched off.
type optionalAlert struct {
	Kind string
	On   bool
}

// deliveryResult is the last result of a way.
type deliveryResult struct {
	Way    db.Way
	At     moment
	Ago    string
	Failed bool
	Reason string // what the other server said; for administrators, because it may name hosts of the network behind the server
}

func (h *handler) newAlertsPage(c *fiber.Ctx) (p alertsPage, err error) {
	current := currentSession(c)
	account, err := h.Store.Account(current)
	if err != nil {
		return p, err
	}
	settings, err := h.Store.AlertSettings(current.UserID)
	if err != nil {
		return p, err
	}
	deliveries, err := h.Store.Deliveries(current.UserID)
	if err != nil {
		return p, err
	}
	waiting, err := h.Store.WaitingMessages(current.UserID)
	if err != nil {
		return p, err
	}
	p = alertsPage{
		page: h.pageFor(c, "Alerts"), Mail: h.Mail, Ntfy: h.Ntfy, Webhook: h.Webhook && current.IsAdmin,
		Email: account.Email, Mailed: settings.Mail,
		Topic: field{Kind: "topic", Name: "topic", Value: settings.Topic},
	}
	p.Section = "account"
	for _, kind := range optionalAlerts(current) {
		p.Optional = append(p.Optional, optionalAlert{kind, !slices.Contains(settings.Off, kind)})
	}
	for _, d := range deliveries {
		if d.Way == db.Webhook && !p.Webhook {
			continue
		}
		at := newMoment(d.At)
		result := deliveryResult{Way: d.Way, At: at, Ago: at.ago(h.Store.Now()), Failed: d.Error != ""}
		if current.IsAdmin {
			result.Reason = d.Error
		}
		p.Results = append(p.Results, result)
	}
	for _, m := range waiting {
		if m.Way != db.Webhook || p.Webhook {
			p.Waiting++
		}
	}
	return p, nil
}

func (h *handler) showAlerts(c *fiber.Ctx) error {
	p, err := h.newAlertsPage(c)
	if err != nil {
		return err
	}
	p.notice = flashMessages[c.Query("done")]
	return c.Render("account/alerts", p)
}

// optionalAlerts returns the kinds that the user can switch off.
func optionalAlerts(current db.Session) []string {
	if current.IsAdmin {
		return db.OptionalAlerts
	}
	return slices.DeleteFunc(slices.Clone(db.OptionalAlerts), func(kind string) bool { return kind == db.UserWaiting })
}

// setAlerts stores the settings. What is not on the page stays as it is: a way that the server does not offer, or an alert that only
// administrators get.
func (h *handler) setAlerts(c *fiber.Ctx, body formBody) error {
	current := currentSession(c)
	settings, err := h.Store.AlertSettings(current.UserID)
	if err != nil {
		return err
	}
	if h.Mail {
		settings.Mail = body.has("mail")
	}
	if h.Ntfy {
		settings.Topic = body.get("topic")
	}
	optional := optionalAlerts(current)
	settings.Off = slices.DeleteFunc(settings.Off, func(kind string) bool { return slices.Contains(optional, kind) })
	for _, kind := range optional {
		if !body.has(kind) {
			settings.Off = append(settings.Off, kind)
		}
	}
	err = h.Store.SetAlertSettings(c.UserContext(), current, settings)
	if invalid, ok := errors.AsType[db.Invalid](err); ok {
		p, err := h.newAlertsPage(c)
		if err != nil {
			return err
		}
		p.Mailed, p.Topic.Value = settings.Mail, settings.Topic
		for i, o := range p.Optional {
			p.Optional[i].On = body.has(o.Kind)
		}
		p.Form.mark(invalid, &p.Topic)
		return refuse(c, "account/alerts", &p)
	}
	if err != nil {
		return err
	}
	h.Log.Info("alerts changed", "user", current.Username, "session", current.ID)
	return c.Redirect(alertsPath+"?done=alerts", fiber.StatusSeeOther)
}

func (h *handler) sendTestAlert(c *fiber.Ctx, _ formBody) error {
	done := "alert-test"
	err := h.Store.SendTestAlert(c.UserContext(), currentSession(c))
	if errors.Is(err, db.ErrNotFound) {
		done, err = "alert-nowhere", nil
	}
	if err != nil {
		return err
	}
	return c.Redirect(alertsPath+"?done="+done, fiber.StatusSeeOther)
}
