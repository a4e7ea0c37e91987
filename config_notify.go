package main

import (
	"net/mail"
	"net/netip"
	"strings"

	"porchlight/db"
	"porchlight/notify"
)

// This file reads the settings of the servers to which messages are sent. Their URLs may contain a password, which no error may repeat.

// checkMail sets mail, unless --mail is empty.
func (s *settings) checkMail() error {
	host := s.url.Hostname()
	if address, err := netip.ParseAddr(host); err == nil {
		host = "[" + address.String() + "]" // an address literal, RFC 5321, 4.1.3
		if address.Is6() {
			host = "[IPv6:" + address.String() + "]"
		}
	}
	s.mailFrom = &mail.Address{Name: "Porchlight", Address: "porchlight@" + host}
	if s.MailFrom != "" {
		var err error
		if s.mailFrom, err = mail.ParseAddress(s.MailFrom); err != nil {
			return badSetting{"mail-from", s.MailFrom, "give an address, such as porchlight@example.com"}
		}
	}
	if s.Mail == "" {
		return nil
	}
	server, err := notify.ParseMailServer(s.Mail)
	if err != nil {
		return badSetting{"mail", withoutPassword(s.Mail), err.Error()}
	}
	s.mail = &notify.Mailer{Server: server, From: s.mailFrom, Host: host}
	return nil
}

// checkNtfyAndWebhook sets ntfy and webhook, unless they are empty.
func (s *settings) checkNtfyAndWebhook() (err error) {
	if s.Ntfy != "" {
		if s.ntfy, err = notify.ParseNtfy(s.Ntfy); err != nil {
			return badSetting{"ntfy", withoutPassword(s.Ntfy), err.Error()}
		}
	}
	if s.Webhook != "" {
		if s.webhook, err = notify.ParseWebhook(s.Webhook); err != nil {
			return badSetting{"webhook", withoutPassword(s.Webhook), err.Error()}
		}
	}
	return nil
}

func (s *settings) ways() db.Ways {
	return db.Ways{Mail: s.mail != nil, Ntfy: s.ntfy != nil, Webhook: s.webhook != nil}
}

// withoutPassword removes the user and password from a URL that may be malformed.
func withoutPassword(text string) string {
	at := strings.LastIndexByte(text, '@')
	if at < 0 {
		return text
	}
	scheme, _, found := strings.Cut(text[:at], "://")
	if !found {
		return "…" + text[at:]
	}
	return scheme + "://…" + text[at:]
}
