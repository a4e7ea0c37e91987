package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	netmail "net/mail"
	"net/url"
	"strings"
	"time"

	"github.com/emersion/go-smtp"

	"porchlight/db"
	"porchlight/notify"
)

// startMail sends all mails to a mail server on this machine, and keeps the one about the library's computer.
func (s *site) startMail(ctx context.Context) error {
	host, err := listenForMail()
	if err != nil {
		return err
	}
	s.ends = append(s.ends, func() { host.Close() })
	server, err := notify.ParseMailServer("smtp+insecure://" + host.address)
	if err != nil {
		return err
	}
	sender := notify.New(notify.Options{
		Store: s.store, URL: &url.URL{Scheme: "https", Host: "auth.example.com"}, Log: slog.New(slog.DiscardHandler),
		Mail: &notify.Mailer{
			Server: server, From: &netmail.Address{Name: "Porchlight", Address: "porchlight@example.com"}, Host: "auth.example.com",
		},
	})
	sending, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		sender.Run(sending)
		close(done)
	}()
	s.ends = append(s.ends, func() {
		cancel()
		<-done
	})
	s.mail, err = host.find(ctx, "Firefox on Linux")
	return err
}

// awaitMails returns when all mails are delivered, as the page Alerts then says.
func (s *site) awaitMails(ctx context.Context) error {
	for ctx.Err() == nil {
		if _, err := s.store.NextDue(db.Mail); errors.Is(err, db.ErrNotFound) {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("some mails are not delivered: %w", ctx.Err())
}

// mailHost is a mail server that accepts everything.
type mailHost struct {
	*smtp.Server
	address string
	arrived chan []byte
}

func listenForMail() (*mailHost, error) {
	h := &mailHost{arrived: make(chan []byte, 100)}
	h.Server = smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return mailSession{h}, nil }))
	h.Domain = "mail.example.com"
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	h.address = listener.Addr().String()
	go h.Serve(listener)
	return h, nil
}

// find returns the HTML of the first mail that contains the words.
func (h *mailHost) find(ctx context.Context, words string) (html string, err error) {
	for {
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("no mail with %q: %w", words, ctx.Err())
		case data := <-h.arrived:
			if html, err := htmlOf(data); err != nil || strings.Contains(html, words) {
				return html, err
			}
		}
	}
}

func htmlOf(data []byte) (string, error) {
	letter, err := netmail.ReadMessage(bytes.NewReader(data))
	if err != nil {
		return "", err
	}
	_, values, err := mime.ParseMediaType(letter.Header.Get("Content-Type"))
	if err != nil {
		return "", err
	}
	for parts := multipart.NewReader(letter.Body, values["boundary"]); ; {
		part, err := parts.NextRawPart()
		if err != nil {
			return "", err
		}
		if strings.HasPrefix(part.Header.Get("Content-Type"), "text/html") {
			html, err := io.ReadAll(quotedprintable.NewReader(part))
			return string(html), err
		}
	}
}

type mailSession struct{ host *mailHost }

func (mailSession) Reset()                               {}
func (mailSession) Logout() error                        { return nil }
func (mailSession) Mail(string, *smtp.MailOptions) error { return nil }
func (mailSession) Rcpt(string, *smtp.RcptOptions) error { return nil }

func (s mailSession) Data(r io.Reader) error {
	data, err := io.ReadAll(r)
	if err == nil {
		s.host.arrived <- data
	}
	return err
}
