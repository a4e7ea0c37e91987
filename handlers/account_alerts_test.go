package handlers_test

import (
	"context"
	"testing"
	"time"

	"porchlight/db"
	"porchlight/handlers"
	"porchlight/handlers/handlerstest"
)

// This file tests the page on which users choose their alerts.

func TestChooseAlerts(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCastWithMail(t)
	c.Alice.Page("/account").Has(t, `href="/account/alerts"`)
	page := c.Alice.Page("/account/alerts")
	page.Has(t, "<bdi>alice@example.com</bdi>", `name="topic"`,
		`name="mail" type="checkbox" value="1" aria-describedby="mail-hint" checked`,
		`name="signed_in" type="checkbox" value="1" checked`,
		`name="browser_changed" type="checkbox" value="1" checked`,
		`name="account_locked" type="checkbox" value="1" checked`)
	page.Lacks(t, "This server sends no alerts.", "password_changed")
	page.Has(t, `name="user_waiting" type="checkbox" value="1" checked`)
	bobs := c.Bob.Page("/account/alerts")
	bobs.Has(t, "You have no address yet.", `href="/account/email"`)
	bobs.Lacks(t, "user_waiting") // which only administrators get

	wrong := c.Alice.Form("/account/alerts", "topic", "https://evil.example/<b>", "browser_changed", "1", "password_changed", "1")
	wrong.Is(t, 422)
	wrong.Has(t, "A topic must have 1 to 64 letters", `value="https://evil.example/&lt;b&gt;"`, `aria-invalid="true"`,
		`name="browser_changed" type="checkbox" value="1" checked`)
	wrong.Lacks(t, `name="signed_in" type="checkbox" value="1" checked`, `aria-describedby="mail-hint" checked`)
	c.SameRows(t, nil, `SELECT * FROM alert_settings`)

	c.Alice.Form("/account/alerts", "topic", "my_topic", "browser_changed", "1").Is(t, 303, "/account/alerts?done=alerts")
	c.SameRows(t, []string{"0 my_topic signed_in account_locked user_waiting"}, `SELECT mail, ntfy_topic, off FROM alert_settings`)
	page = c.Alice.Page("/account/alerts?done=alerts")
	page.Has(t, "Your alerts were changed.", `value="my_topic"`, `name="browser_changed" type="checkbox" value="1" checked`)
	page.Lacks(t, `name="signed_in" type="checkbox" value="1" checked`, `aria-describedby="mail-hint" checked`)
}

// A way that the server does not offer is not on the page, and its setting stays.
func TestAlertsThatTheServerDoesNotOffer(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	c.Exec(`INSERT INTO alert_settings (user_id, mail, ntfy_topic, off) SELECT id, 1, 'kept', '' FROM users WHERE username = 'alice'`)
	page := c.Alice.Page("/account/alerts")
	page.Has(t, "This server sends no alerts.")
	page.Lacks(t, `name="mail"`, `name="topic"`)
	c.Alice.Form("/account/alerts", "topic", "other").Is(t, 303)
	c.SameRows(t, []string{"1 kept signed_in browser_changed account_locked user_waiting"}, `SELECT mail, ntfy_topic, off FROM alert_settings`)
	c.Alice.Form("/account/alerts/test").Is(t, 303, "/account/alerts?done=alert-nowhere")
	c.Alice.Page("/account/alerts?done=alert-nowhere").Has(t, "There is nowhere to send an alert.")
}

// A new administrator gets alerts about sign-ups, whatever they saved before. A former administrator keeps the setting.
func TestOnlyAdministratorsChooseAlertsOfSignUps(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCastWithMail(t)
	const off = `SELECT off FROM alert_settings`
	c.Bob.Form("/account/alerts", "topic", "bobs").Is(t, 303)
	c.SameRows(t, []string{"signed_in browser_changed account_locked"}, off)
	c.Exec(`UPDATE alert_settings SET off = 'user_waiting'`)
	c.Bob.Form("/account/alerts", "topic", "bobs", "signed_in", "1", "user_waiting", "1").Is(t, 303)
	c.SameRows(t, []string{"browser_changed account_locked user_waiting"}, off)
}

func TestTestAlertAndItsResult(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCastWithMail(t)
	c.Mails()
	c.Exec(`DELETE FROM deliveries`)
	c.Alice.Page("/account/alerts").Lacks(t, "Last mail")
	send := func() db.Message {
		t.Helper()
		c.Alice.Form("/account/alerts/test").Is(t, 303, "/account/alerts?done=alert-test")
		c.Alice.Page("/account/alerts?done=alert-test").Has(t, "A test alert is on its way.", "1 message waits to be sent.")
		mails, err := c.Store.ClaimMessages(context.Background(), db.Mail, 10)
		if err != nil || len(mails) != 1 || mails[0].Kind != db.TestAlert {
			t.Fatalf("the mails are %+v %v", mails, err)
		}
		return mails[0]
	}
	sent := send()
	if err := c.Store.Delivered(context.Background(), sent); err != nil {
		t.Fatal(err)
	}
	c.Clock.Advance(2 * time.Hour)
	page := c.Alice.Page("/account/alerts")
	page.Has(t, "Last mail: delivered <time", ">2 hours ago</time></p>")
	page.Lacks(t, "to be sent", "Reason:")
	if _, err := c.Store.Failed(context.Background(), send(), "550 <b>no such user</b>"); err != nil {
		t.Fatal(err)
	}
	c.Alice.Page("/account/alerts").Has(t, "Last mail: failed <time",
		"Reason: <bdi>550 &lt;b&gt;no such user&lt;/b&gt;</bdi>", "1 message waits")
	c.Bob.Page("/account/alerts").Lacks(t, "Last mail", "to be sent")
}

func TestTestAlertsAreThrottled(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCastWithMail(t)
	for range 5 {
		c.Alice.Form("/account/alerts/test").Is(t, 303)
	}
	c.Alice.Form("/account/alerts/test").Is(t, 429)
}

// Only administrators see the result of the webhook, and the reasons for failures, which may name hosts behind the server.
func TestWebhookOnly(t *testing.T) {
	t.Parallel()
	hasWebhook := func(o *db.Options) { o.Serve, o.Ways = true, db.Ways{Webhook: true} }
	c := handlerstest.OpenCastWith(t, hasWebhook, func(o *handlers.Options) { o.Webhook = true })
	c.Exec(`DELETE FROM outbox`)
	c.Alice.Page("/account/alerts").Has(t, "This server sends alerts to its webhook only.")
	c.Alice.Form("/account/alerts/test").Is(t, 303, "/account/alerts?done=alert-test")
	c.Alice.Page("/account/alerts").Has(t, "waits to be sent.")
	requests, err := c.Store.ClaimMessages(context.Background(), db.Webhook, 10)
	if err != nil || len(requests) != 1 || requests[0].Kind != db.TestAlert {
		t.Fatalf("the requests are %+v %v", requests, err)
	}
	if _, err := c.Store.Failed(context.Background(), requests[0], "hooks.internal: 500"); err != nil {
		t.Fatal(err)
	}
	c.Alice.Page("/account/alerts").Has(t, "Last webhook request: failed <time", "Reason: <bdi>hooks.internal: 500</bdi>")

	c.Bob.Form("/account/alerts/test").Is(t, 303, "/account/alerts?done=alert-nowhere")
	c.Exec(`
		INSERT INTO deliveries (user_id, way, at, error)
		SELECT id, way, 1, 'hooks.internal: 500' FROM users, (SELECT 'webhook' AS way UNION SELECT 'ntfy') WHERE username = 'bob'`)
	page := c.Bob.Page("/account/alerts")
	page.Has(t, "This server sends no alerts.", "Last ntfy message: failed <time")
	page.Lacks(t, "webhook", "hooks.internal")
}
