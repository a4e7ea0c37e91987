package handlers_test

import (
	"testing"

	"porchlight/db"
	"porchlight/handlers/handlerstest"
)

// This file tests the change of the e-mail address.

const addressOfAlice = `SELECT COALESCE(email, '') FROM users WHERE username = 'alice'`

func TestChangeTheEmailAddress(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCastWithMail(t)
	c.Alice.Page("/account").Has(t, "<bdi>alice@example.com</bdi>", `href="/account/email"`)
	c.Bob.Page("/account").Has(t, "You have no address.", "Add an address")
	c.Alice.Page("/account/email").Has(t, "<bdi>alice@example.com</bdi>", `name="email" type="email"`)
	wrong := c.Alice.Form("/account/email", "email", `<b>"not an address`)
	wrong.Is(t, 422)
	wrong.Has(t, "This is not an e-mail address.", `value="&lt;b&gt;&#34;not an address"`, `aria-invalid="true"`, "<title>Error: ")
	c.Alice.Form("/account/email", "email", "New@Example.com").Is(t, 303, "/account/email?done=email-link")
	c.Alice.Page("/account/email?done=email-link").Has(t, "A link is on its way to the new address.", "<bdi>alice@example.com</bdi>")
	c.Alice.Page("/account/email").Has(t, "A link was sent to <strong><bdi>new@example.com</bdi></strong>.",
		`<input type="hidden" name="email" value="new@example.com">`)
	token := c.MailedToken(db.EmailLink)

	browser := c.NewClient(handlerstest.SafariOnIPhone)     // the link works signed out
	for _, method := range []string{"GET", "HEAD", "GET"} { // a scanner opens the link
		browser.Do(method, "/account/email/confirm?token="+token, "").Is(t, 200)
	}
	browser.Page("/account/email/confirm?token="+token).Has(t, "<bdi>new@example.com</bdi>", "<strong>alice</strong>", token)
	browser.Form("/account/email/confirm?token="+token).Is(t, 404) // a form's token is not in its address
	c.SameRows(t, []string{"alice@example.com"}, addressOfAlice)
	browser.Form("/account/email/confirm", "token", token).Is(t, 303, "/login?done=email")
	browser.Page("/login?done=email").Has(t, "Your e-mail address is confirmed.")
	c.SameRows(t, []string{"new@example.com"}, addressOfAlice)
	browser.Form("/account/email/confirm", "token", token).Is(t, 404)
	c.Alice.Page("/account").Has(t, "<bdi>new@example.com</bdi>")
	c.Alice.Page("/account/email").Lacks(t, "Not confirmed yet")

	// The link that goes to the old address restores it.
	var former string
	for _, m := range c.Mails() {
		if m.Former && m.Address == "alice@example.com" {
			former = m.Token
		}
	}
	browser.Page("/not-me?token="+former).Has(t, "Confirmed a new e-mail address on Safari on iPhone",
		"alice@example.com becomes your e-mail address again.")
	browser.Form("/not-me", "token", former).Is(t, 303)
	c.SameRows(t, []string{"alice@example.com"}, addressOfAlice)
}

func TestConfirmedAddressOfWhoeverIsSignedIn(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCastWithMail(t)
	c.Bob.Form("/account/email", "email", "bob@example.com").Is(t, 303)
	c.Bob.Form("/account/email/confirm", "token", c.MailedToken(db.EmailLink)).Is(t, 303, "/account/email?done=email")
	c.Bob.Page("/account/email?done=email").Has(t, "Your e-mail address is confirmed.", "<bdi>bob@example.com</bdi>")
}

// The response for an address of somebody else is the usual one, but no mail is sent.
func TestEmailAddressOfSomebodyElse(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCastWithMail(t)
	c.Bob.Form("/account/email", "email", "alice@example.com").Is(t, 303, "/account/email?done=email-link")
	c.Bob.Page("/account/email").Has(t, "A link was sent to <strong><bdi>alice@example.com</bdi></strong>.") // as for any other
	for _, m := range c.Mails() {
		if m.Kind == db.EmailLink {
			t.Errorf("a mail to %s", m.Address)
		}
	}
	c.Bob.Form("/account/email", "email", "shared@example.com").Is(t, 303)
	token := c.MailedToken(db.EmailLink)
	c.Exec(`UPDATE users SET email = 'shared@example.com' WHERE username = 'alice'`) // taken meanwhile
	got := c.Bob.Form("/account/email/confirm", "token", token)
	got.Is(t, 422)
	got.Has(t, "This e-mail address is already in use.", "<title>Error: ")
	c.SameRows(t, []string{""}, `SELECT COALESCE(email, '') FROM users WHERE username = 'bob'`)
}

func TestEmailAddressNeedsAFreshPassword(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCastWithMail(t)
	c.Clock.Advance(db.ConfirmLifetime)
	got := c.Alice.Form("/account/email", "email", "new@example.com")
	got.Is(t, 403)
	got.Has(t, `name="confirm_to" value="/account/email"`, `name="email" value="new@example.com"`)
	for _, m := range c.Mails() {
		if m.Kind == db.EmailLink {
			t.Errorf("a mail to %s", m.Address)
		}
	}
	c.Alice.Form("/confirm", "confirm_password", handlerstest.AlicePassword, "confirm_to", "/account/email").Is(t, 307, "/account/email")
	for range 3 {
		c.Alice.Form("/account/email", "email", "new@example.com").Is(t, 303)
	}
	c.Alice.Form("/account/email", "email", "new@example.com").Is(t, 429)
}

func TestCancelTheChangeOfAddress(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCastWithMail(t)
	c.Alice.Form("/account/email", "email", "new@example.com").Is(t, 303)
	c.Alice.API("GET", "/me/export", "").Has(t, `"unconfirmedEmail":"new@example.com"`)
	token := c.MailedToken(db.EmailLink)
	c.Alice.Form("/account/email/cancel").Is(t, 303, "/account/email?done=email-cancelled")
	page := c.Alice.Page("/account/email?done=email-cancelled")
	page.Has(t, "The link no longer works. Your address stays as it is.", "<bdi>alice@example.com</bdi>")
	page.Lacks(t, "new@example.com")
	c.Alice.Form("/account/email/confirm", "token", token).Is(t, 404)
	c.NewClient(handlerstest.SafariOnIPhone).Form("/account/email/cancel").Is(t, 303, "/login?next=%2Fsessions")
}
