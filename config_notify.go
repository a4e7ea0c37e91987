package main

import (
	"net/mail"
	"net/netip"
	"strings"

	"porchlight/notify"
)

// This file reads the settings of the servers to which messages are sent. Their URLs may hold a password, which no message may repeat.

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
