package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/mail"
	"time"

	"porchlight/db"
	"porchlight/notify"
)

type doctorCommand struct {
	MailTo     *string `placeholder:"ADDRESS" help:"Send a test mail to this address."`
	WebhookKey bool    `help:"Only print the key that signs requests to --webhook."`
}

// Run prints a line for each check: ok, warn for what is probably wrong, or fix for what must be fixed. It fails if a line says fix.
func (d *doctorCommand) Run(e *environment) error {
	if blank(d.MailTo) {
		return usageError{errors.New("doctor: --mail-to needs an address")}
	}
	if d.MailTo != nil && e.settings.mail == nil {
		return usageError{errors.New("doctor: --mail-to needs --mail, the server that sends the mail")}
	}
	if d.MailTo != nil && !isAddress(*d.MailTo) {
		return usageError{fmt.Errorf("doctor: --mail-to %s: give only an address, such as ada@example.com", printable(*d.MailTo))}
	}
	if d.WebhookKey {
		return e.withStore(func(store *db.Store) error {
			_, err := fmt.Fprintln(e.stdout, notify.WebhookKey(store))
			return err
		})
	}
	broken := 0
	report := func(what string, err error) {
		if err == nil {
			fmt.Fprintf(e.stdout, "ok    %s\n", printable(what))
			return
		}
		broken++
		fmt.Fprintf(e.stdout, "fix   %s\n", printable(err.Error()))
	}
	for _, finding := range db.Examine(e.ctx, e.databaseOptions()) {
		report(finding.What, finding.Err)
	}
	warnings := e.settings.warnings()
	for _, warning := range warnings {
		fmt.Fprintf(e.stdout, "warn  %s\n", printable(warning))
	}
	if len(warnings) == 0 {
		report("the settings are consistent; links begin with "+e.settings.url.String(), nil)
	}
	d.checkMail(e, report)
	if broken > 0 {
		return fmt.Errorf("%d %s must be fixed", broken, plural(broken, "thing"))
	}
	return nil
}

func isAddress(text string) bool {
	address, err := mail.ParseAddress(text)
	return err == nil && address.Address == text
}

func (d *doctorCommand) checkMail(e *environment, report func(string, error)) {
	mailer := e.settings.mail
	switch {
	case mailer == nil:
		report("no mail is sent, because --mail is not set", nil)
	case d.MailTo == nil:
		report(mailer.Server.String()+" can be reached; doctor --mail-to ADDRESS sends a test mail", notSent(mailer.Check(e.ctx)))
	default:
		report(mailer.Server.String()+" accepted a mail to "+*d.MailTo+"; check that it arrived, and look in the spam folder",
			notSent(d.sendTest(e.ctx, e.settings, *d.MailTo)))
	}
}

func (d *doctorCommand) sendTest(ctx context.Context, s *settings, to string) error {
	return s.mail.Send(ctx, to, notify.Message{
		ID: rand.Text(), At: time.Now(), Subject: "Test mail from Porchlight", Site: s.url.String(),
		Text: []string{"This is a test. If you can read it, Porchlight can send mail."},
	})
}

func notSent(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("mail cannot be sent: %w; check --mail", err)
}
