// Package notify sends messages to people, so far by mail.
package notify

// permanent is an error that another attempt would not change, such as an address that the mail server does not know.
type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }
