package notify

import (
	"bufio"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	netmail "net/mail"
	"os"
	"strings"
	"testing"
	"time"

	"porchlight/notify/notifytest"
)

// hostileName is what somebody may call a device.
const hostileName = "Firefox\r\nBcc: eve@example.com\r\n\r\n.\r\n<img src=x onerror=alert(1)>"

var sample = Message{
	ID: "42", At: time.Date(2026, 11, 18, 10, 2, 0, 0, time.UTC), Subject: "New sign-in to your account",
	Text:   []string{"Somebody signed in to the account ada from a new device."},
	Facts:  []Fact{{"Device", oneLine(hostileName)}, {"Address", "192.0.2.7"}},
	Action: &Link{"This wasn't me", "https://auth.example.com/not-me?token=abc&x=1"},
	Advice: "If it was you, you don't need to do anything.",
	Site:   "https://auth.example.com",
}

func TestMail(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		scheme, user string
		host         string // the scheme that the server is for
		password     string
	}{
		{"smtp", "", "smtp", ""},
		{"smtp", "porchlight:p%40ss@", "smtp", "p@ss"},
		{"smtps", "", "smtps", ""},
		{"smtps", "porchlight:p%40ss@", "smtps", "p@ss"},
		{"smtp+insecure", "", "smtp+insecure", ""},
		{"smtp+insecure", "", "smtp", ""}, // STARTTLS is offered but not used: the certificate need not be trusted
	} {
		host := notifytest.NewMailHost(t, test.host)
		host.Password = test.password
		m := mailer(t, test.scheme, test.user, host.Address, host.Roots)
		if test.scheme == "smtp+insecure" {
			m.Roots = nil
		}
		if err := m.Check(t.Context()); err != nil {
			t.Errorf("%+v: check: %v", test, err)
		}
		if err := m.Send(t.Context(), "ada@example.com", sample); err != nil {
			t.Errorf("send with %+v: %v", test, err)
			continue
		}
		if got := notifytest.Next(t, host.Arrived); got.From != "porchlight@example.com" || got.To != "ada@example.com" || len(host.Arrived) > 0 {
			t.Errorf("%+v: from %s to %s, and %d more", test, got.From, got.To, len(host.Arrived))
		}
	}
}

// What the mail consists of: headers that no name can add to, plain text, and HTML.
func TestMailContents(t *testing.T) {
	t.Parallel()
	host := notifytest.NewMailHost(t, "smtp")
	m := mailer(t, "smtp", "", host.Address, host.Roots)
	hostile := sample
	hostile.Subject = "New sign-in from Küche\r\nBcc: eve@example.com"
	if err := m.Send(t.Context(), "ada@example.com", hostile); err != nil {
		t.Fatal(err)
	}
	letter, err := netmail.ReadMessage(strings.NewReader(notifytest.Next(t, host.Arrived).Data))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"From":           `"Porchlight" <porchlight@example.com>`,
		"To":             "<ada@example.com>",
		"Message-Id":     "<42@auth.example.com>",
		"Auto-Submitted": "auto-generated",
		"Date":           "Wed, 18 Nov 2026 10:02:00 +0000",
		"Bcc":            "",
	} {
		if got := letter.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	subject, err := new(mime.WordDecoder).DecodeHeader(letter.Header.Get("Subject"))
	if err != nil || !strings.HasPrefix(subject, "New sign-in from Küche") {
		t.Errorf("the subject is %q: %v", subject, err)
	}
	kind, values, err := mime.ParseMediaType(letter.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/alternative" {
		t.Fatalf("%s: %v", kind, err)
	}
	parts := multipart.NewReader(letter.Body, values["boundary"])
	for _, want := range []struct {
		kind     string
		contains []string
		lacks    string
	}{
		{"text/plain; charset=UTF-8", []string{
			"Device: Firefox Bcc: eve@example.com . <img", "\r\nhttps://auth.example.com/not-me?token=abc&x=1\r\n",
		}, "&amp;"},
		{"text/html; charset=UTF-8", []string{
			"&lt;img src=x", `href="https://auth.example.com/not-me?token=abc&amp;x=1"`,
		}, "<img"},
	} {
		part, err := parts.NextRawPart()
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(quotedprintable.NewReader(part))
		if err != nil || part.Header.Get("Content-Type") != want.kind {
			t.Fatalf("%v, want %s: %v", part.Header, want.kind, err)
		}
		for _, words := range want.contains {
			if !strings.Contains(string(body), words) {
				t.Errorf("%s does not contain %q:\n%s", want.kind, words, body)
			}
		}
		if strings.Contains(string(body), want.lacks) {
			t.Errorf("%s contains %q:\n%s", want.kind, want.lacks, body)
		}
	}
	if _, err := parts.NextRawPart(); !errors.Is(err, io.EOF) {
		t.Errorf("a third part: %v", err)
	}
}

func TestMailRefused(t *testing.T) {
	t.Parallel()
	m := func(hostScheme, scheme, user string, change func(*notifytest.MailHost)) *Mailer {
		host := notifytest.NewMailHost(t, hostScheme)
		change(host)
		return mailer(t, scheme, user, host.Address, host.Roots)
	}
	raw := func(scheme string, serve func(net.Conn)) *Mailer {
		return mailer(t, scheme, "", notifytest.NewServer(t, serve), nil)
	}
	type host = notifytest.MailHost
	nothing := func(*host) {}
	refuse := func(code int, enhanced [3]int, words string) func(*host) {
		return func(h *host) { h.Refuse(notifytest.Refusal(code, enhanced, words)) }
	}
	distrust := func(h *host) { h.Roots = nil }
	guard := func(h *host) { h.Password = "other" }
	const login = "porchlight:s3cret%21@"
	for _, test := range []struct {
		what   string
		mailer *Mailer
		words  string
	}{
		{"unknown address", m("smtp", "smtp", "", refuse(550, [3]int{5, 1, 1}, "no such user here")), "550 5.1.1 no such user here"},
		{"unwanted contents", raw("smtp+insecure", refuseContents), "554 5.7.1 looks like spam"},
		{"try later", m("smtp", "smtp", "", refuse(451, [3]int{4, 7, 1}, "greylisted")), "451 4.7.1 greylisted"},
		{"no STARTTLS", m("smtp+insecure", "smtp", "", nothing), "offers no STARTTLS"},
		{"untrusted certificate", m("smtp", "smtp", "", distrust), "SSL_CERT_FILE"},
		{"untrusted certificate, TLS", m("smtps", "smtps", "", distrust), "SSL_CERT_FILE"},
		{"TLS instead of STARTTLS", m("smtp", "smtps", "", nothing), "tls: "},
		{"wrong password", m("smtp", "smtp", login, guard), ": 535 5.7.8 wrong password …"},
		{"no password", m("smtp", "smtp", "", guard), ": 530 5.7.0 sign in first"},
		{"password not wanted", m("smtp", "smtp", login, nothing), "does not support SMTP AUTH"},
		{"busy", raw("smtp", func(c net.Conn) { fmt.Fprint(c, "421-too busy\r\n421 come back\r\n") }), "421 too busy come back"},
		{"not SMTP", raw("smtp", func(c net.Conn) { fmt.Fprint(c, "\x1b[31mSSH-2.0\r\n") }), "[31mSSH-2.0"},
		{"closes at once", raw("smtp", func(net.Conn) {}), "EOF"},
		{"dies in the middle", raw("smtp+insecure", dieAtData), ""},
		{"not an address", m("smtp", "smtp", "", nothing), "is not a mail address"},
		{"more than an address", m("smtp", "smtp", "", nothing), "is not a mail address"},
	} {
		to := "bo@example.com"
		switch test.what {
		case "not an address":
			to = "bo@example.com>\r\nRCPT TO:<eve@example.com"
		case "more than an address":
			to = "Bo <bo@example.com>"
		}
		err := test.mailer.Send(t.Context(), to, sample)
		if err == nil {
			t.Errorf("%s: sent", test.what)
			continue
		}
		if !strings.Contains(err.Error(), test.words) {
			t.Errorf("%s: %q, want %q", test.what, err, test.words)
		}
		if strings.ContainsAny(err.Error(), "\r\n\x1b") || strings.Contains(err.Error(), "s3cret!") {
			t.Errorf("%s: %q", test.what, err)
		}
		final := test.what == "unknown address" || test.what == "unwanted contents"
		if errors.As(err, new(refusal)) != final {
			t.Errorf("%s: permanent refusal: %t", test.what, !final)
		}
	}
}

// refuseContents is a mail server that reads a message and refuses it.
func refuseContents(connection net.Conn) {
	fmt.Fprint(connection, "220 mail.example.com\r\n")
	for lines := bufio.NewScanner(connection); lines.Scan(); {
		switch {
		case strings.HasPrefix(lines.Text(), "DATA"):
			fmt.Fprint(connection, "354 go on\r\n")
			for lines.Scan() && lines.Text() != "." {
			}
			fmt.Fprint(connection, "554 5.7.1 looks like spam\r\n")
		default:
			fmt.Fprint(connection, "250 mail.example.com\r\n")
		}
	}
}

// dieAtData is a mail server that accepts everything until the message has begun.
func dieAtData(connection net.Conn) {
	fmt.Fprint(connection, "220 mail.example.com\r\n")
	lines := bufio.NewScanner(connection)
	for lines.Scan() {
		switch {
		case strings.HasPrefix(lines.Text(), "DATA"):
			fmt.Fprint(connection, "354 go on\r\n")
			lines.Scan()
			return
		default:
			fmt.Fprint(connection, "250 mail.example.com\r\n")
		}
	}
}

// acceptMail answers as a mail server until it has accepted a mail.
func acceptMail(connection net.Conn) {
	data := false
	for lines := bufio.NewScanner(connection); lines.Scan(); {
		switch {
		case data && lines.Text() == ".":
			fmt.Fprint(connection, "250 accepted\r\n")
			return
		case data:
		case strings.HasPrefix(lines.Text(), "DATA"):
			data = true
			fmt.Fprint(connection, "354 go on\r\n")
		default:
			fmt.Fprint(connection, "250 mail.example.com\r\n")
		}
	}
}

// The server has the mail, but closes the connection instead of answering what comes after it.
func TestMailIsSentOnceItIsAccepted(t *testing.T) {
	t.Parallel()
	address := notifytest.NewServer(t, func(connection net.Conn) {
		fmt.Fprint(connection, "220 mail.example.com\r\n")
		acceptMail(connection)
	})
	if err := mailer(t, "smtp+insecure", "", address, nil).Send(t.Context(), "ada@example.com", sample); err != nil {
		t.Error(err)
	}
}

// Some servers hold back the end of their greeting, and turn away clients that do not wait for it.
func TestMailServerGreetsLate(t *testing.T) {
	t.Parallel()
	address := notifytest.NewServer(t, func(connection net.Conn) {
		fmt.Fprint(connection, "220-wait\r\n")
		connection.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		if n, err := connection.Read(make([]byte, 1)); n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			fmt.Fprint(connection, "220 mail.example.com\r\n554 too early\r\n")
			return
		}
		connection.SetReadDeadline(time.Time{})
		fmt.Fprint(connection, "220 mail.example.com\r\n")
		acceptMail(connection)
	})
	if err := mailer(t, "smtp+insecure", "", address, nil).Send(t.Context(), "ada@example.com", sample); err != nil {
		t.Error(err)
	}
}

// A server that accepts the connection and says nothing holds a mail no longer than the context.
func TestMailServerHangs(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"smtp", "smtps", "smtp+insecure"} {
		connected := make(chan bool, 1)
		hang := notifytest.NewServer(t, func(connection net.Conn) {
			connected <- true
			io.Copy(io.Discard, connection) // until we close it
		})
		m := mailer(t, scheme, "", hang, nil)
		limited, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if err := m.Send(limited, "ada@example.com", sample); err == nil || err.Error() != hang+": did not answer in time" {
			t.Errorf("%s: %v", scheme, err)
		}
		stop()
		notifytest.Next(t, connected)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			notifytest.Next(t, connected)
			cancel()
		}()
		if err := m.Send(ctx, "ada@example.com", sample); err == nil {
			t.Errorf("%s: sent", scheme)
		}
	}
}

// mailer returns a Mailer for a server of the tests. user is "" or ends with an @.
func mailer(t testing.TB, scheme, user, address string, roots *x509.CertPool) *Mailer {
	t.Helper()
	server, err := ParseMailServer(scheme + "://" + user + address)
	if err != nil {
		t.Fatal(err)
	}
	return &Mailer{
		Server: server, From: &netmail.Address{Name: "Porchlight", Address: "porchlight@example.com"}, Host: "auth.example.com",
		Roots: roots,
	}
}

func TestParseMailServer(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"smtp://mail.example.com":                  "mail.example.com:587",
		"smtps://mail.example.com/":                "mail.example.com:465",
		"smtp+insecure://127.0.0.1":                "127.0.0.1:25",
		"smtp://ada:p%23w@[2001:db8::1]:2525":      "[2001:db8::1]:2525",
		"smtp://ada%40example.com:pw@mail.example": "mail.example:587",
	} {
		server, err := ParseMailServer(text)
		if err != nil || server.String() != want {
			t.Errorf("%s is %s, want %s: %v", text, server, want, err)
		}
	}
}
