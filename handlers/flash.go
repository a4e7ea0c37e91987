package handlers

// This file owns the messages about what has just happened.

// notice is what the status region of a page says.
type notice struct {
	Message  string // what has just happened, or ""
	NotYours bool   // offer to change the password, because a device was signed out
}

// flashMessages holds the messages that a page shows after a redirect, by the code in the query. A page never shows text from its URL.
var flashMessages = map[string]notice{
	"revoked":  {"Signed out that device.", true},
	"gone":     {Message: "That device was already signed out. The list is up to date."},
	"others":   {Message: "Signed out of your other devices."},
	"named":    {Message: "The name was changed."},
	"password": {Message: "Your password was changed."},

	"ticked":      {Message: "Signed out the ticked devices."},
	"none-ticked": {Message: "First tick the devices you want to sign out."},

	"forgotten": {Message: "The device was forgotten."},
	"not-me":    {Message: "Every other device is signed out. Now choose a new password."},

	"signed-out":      {Message: "You're signed out."},
	"link-sent":       {Message: "If that account has an e-mail address, a link is on its way."},
	"email-link":      {Message: "A link is on its way to the new address. Open it within an hour. Until then, nothing changes."},
	"email-cancelled": {Message: "The link no longer works. Your address stays as it is."},
	"email":           {Message: "Your e-mail address is confirmed."},

	"invited":   {Message: "The link is on its way by mail."},
	"cancelled": {Message: "Cancelled the invitation. Its link no longer works."},
	"uninvited": {Message: "That invitation is no longer pending. The list is up to date."},
	"deleted":   {Message: "Deleted the account, its sessions and its activity."},

	"alerts":        {Message: "Your alerts were changed."},
	"alert-test":    {Message: "A test alert is on its way. Reload this page to see whether it was delivered."},
	"alert-nowhere": {Message: "There is nowhere to send an alert. Add an address or a topic first."},

	"again": {Message: "That took too long, or there were too many wrong codes. Sign in again. " +
		"If you were choosing a new password, open the link again."},
	"recovery":        {Message: "You signed in with a recovery code. It no longer works."},
	"recovery-low":    {Message: "You signed in with a recovery code and have few left. Create new ones under Account, Second factor."},
	"totp":            {Message: "The authenticator app is on."},
	"totp-removed":    {Message: "The authenticator app was removed."},
	"passkey":         {Message: "The passkey was added."},
	"passkey-named":   {Message: "The name was changed."},
	"passkey-removed": {Message: "The passkey was removed."},
	"rule-saved":      {Message: "The rule was saved."},
	"rule-removed":    {Message: "The rule was removed."},
	"rule-gone":       {Message: "That rule was already removed. The list is up to date."},
}
