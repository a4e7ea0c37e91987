package handlerstest

import (
	"context"
	"testing"

	"porchlight/db"
	"porchlight/handlers"
)

// OpenCastWithMail is OpenCast on a server that can send mail and use ntfy. Nothing is sent: the messages wait until Mails returns them.
// The address of alice is alice@example.com; bob has none.
func OpenCastWithMail(t testing.TB, change ...func(*handlers.Options)) *Cast {
	t.Helper()
	canSend := func(o *db.Options) { o.Serve, o.Ways = true, db.Ways{Mail: true, Ntfy: true} }
	h := OpenHouseWith(t, canSend, append(change, func(o *handlers.Options) { o.Mail, o.Ntfy = true, true })...)
	c := newCast(h)
	h.Exec(`UPDATE users SET email = 'alice@example.com' WHERE username = 'alice'`)
	return c
}

// Mails returns the mails that are due, as if they were delivered.
func (h *House) Mails() []db.Message {
	h.T.Helper()
	mails, err := h.Store.ClaimMessages(context.Background(), db.Mail, 100)
	if err != nil {
		h.T.Fatal(err)
	}
	for _, m := range mails {
		if err := h.Store.Delivered(context.Background(), m); err != nil {
			h.T.Fatal(err)
		}
	}
	return mails
}

// MailedToken returns the token of the one mail of a kind that is due.
func (h *House) MailedToken(kind string) (token string) {
	h.T.Helper()
	for _, m := range h.Mails() {
		if m.Kind == kind && token == "" {
			token = m.Token
		} else if m.Kind == kind {
			h.T.Fatalf("two mails of the kind %s", kind)
		}
	}
	if token == "" {
		h.T.Fatalf("no mail of the kind %s", kind)
	}
	return token
}
