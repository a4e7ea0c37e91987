package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	netmail "net/mail"
	"strings"

	"github.com/emersion/go-smtp"
)

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
func (h *mailHost) find(ctx context.Context, words string) ([]byte, error) {
	for {
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("no mail with %q: %w", words, ctx.Err())
		case data := <-h.arrived:
			if html, err := htmlOf(data); err != nil || strings.Contains(string(html), words) {
				return html, err
			}
		}
	}
}

func htmlOf(data []byte) ([]byte, error) {
	letter, err := netmail.ReadMessage(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	_, values, err := mime.ParseMediaType(letter.Header.Get("Content-Type"))
	if err != nil {
		return nil, err
	}
	for parts := multipart.NewReader(letter.Body, values["boundary"]); ; {
		part, err := parts.NextRawPart()
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(part.Header.Get("Content-Type"), "text/html") {
			return io.ReadAll(quotedprintable.NewReader(part))
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
