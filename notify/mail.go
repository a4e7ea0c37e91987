package notify

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	netmail "net/mail"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/wneessen/go-mail"
)

// MailServer is the server that sends our mail.
type MailServer struct {
	host, port     string
	encryption     encryption
	user, password string
}

type encryption int

const (
	startTLS    encryption = iota // required
	implicitTLS                   // from the first byte
	unencrypted
)

// ParseMailServer reads a URL such as smtp://user:password@mail.example.com:587. The error says what would be valid, and never contains
// the URL, which holds a password.
func ParseMailServer(text string) (MailServer, error) {
	var m MailServer
	u, err := url.Parse(text)
	if err != nil || u.Opaque != "" || u.Hostname() == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return m, errors.New("give a URL such as smtp://user:password@mail.example.com:587; " +
			"write special characters in the password as in URLs, such as %23 for #")
	}
	switch u.Scheme {
	case "smtp":
		m.encryption, m.port = startTLS, "587"
	case "smtps":
		m.encryption, m.port = implicitTLS, "465"
	case "smtp+insecure":
		m.encryption, m.port = unencrypted, "25"
	default:
		return m, errors.New("it must begin with smtp:// (STARTTLS), smtps:// (TLS) or smtp+insecure:// (not encrypted)")
	}
	m.host = u.Hostname()
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return m, errors.New("the port must be a number from 1 to 65535")
		}
		m.port = port
	}
	m.user = u.User.Username()
	m.password, _ = u.User.Password()
	if u.User != nil && (m.user == "" || m.password == "") {
		return m, errors.New("give both a user and a password, or neither")
	}
	if u.User != nil && m.encryption == unencrypted {
		return m, errors.New("the password would cross the network unencrypted; use smtp:// or smtps://")
	}
	return m, nil
}

// String returns the host and port.
func (m MailServer) String() string { return net.JoinHostPort(m.host, m.port) }

// Mailer sends mail.
type Mailer struct {
	Server MailServer
	From   *netmail.Address
	Host   string         // our own, for the greeting and the ids of messages
	Roots  *x509.CertPool // who may sign the server's certificate; nil means those that the system trusts
}

// Check connects and signs in, but sends nothing. The error contains the server's reply.
func (m *Mailer) Check(ctx context.Context) error { return m.send(ctx) }

// Send delivers one mail to the server. The error contains the server's reply. It is a refusal if the server will never accept this mail.
func (m *Mailer) Send(ctx context.Context, to string, message Message) error {
	letter, err := m.compose(to, message)
	if err != nil {
		return err
	}
	err = m.send(ctx, letter)
	if letter.IsDelivered() { // the server has it, even if it did not say goodbye
		return nil
	}
	return err
}

func (m *Mailer) compose(to string, message Message) (*mail.Msg, error) {
	address, err := netmail.ParseAddress(to)
	if err != nil || address.Address != to {
		return nil, fmt.Errorf("%q is not a mail address", to)
	}
	text, html, err := message.render()
	if err != nil {
		return nil, err
	}
	letter := mail.NewMsg(mail.WithNoDefaultUserAgent())
	letter.FromMailAddress(m.From)
	letter.ToMailAddress(&netmail.Address{Address: to})
	letter.Subject(message.Subject)
	letter.SetDateWithValue(message.At)
	letter.SetMessageIDWithValue(message.ID + "@" + m.Host)
	letter.SetGenHeader("Auto-Submitted", "auto-generated") // RFC 3834: no vacation replies
	letter.SetBodyString(mail.TypeTextPlain, text)
	letter.AddAlternativeString(mail.TypeTextHTML, html)
	return letter, nil
}

// send opens a connection for the letters, and closes it when it returns. The library looks at the context only while it connects, and
// leaves a connection open if the greeting, STARTTLS or the sign-in fails.
func (m *Mailer) send(ctx context.Context, letters ...*mail.Msg) error {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	config := &tls.Config{ServerName: m.Server.host, RootCAs: m.Roots, MinVersion: tls.VersionTLS12}
	dial := func(_ context.Context, network, address string) (connection net.Conn, err error) {
		if m.Server.encryption == implicitTLS {
			connection, err = (&tls.Dialer{Config: config}).DialContext(ctx, network, address)
		} else {
			connection, err = new(net.Dialer).DialContext(ctx, network, address)
		}
		if err == nil {
			context.AfterFunc(ctx, func() { connection.Close() })
		}
		return connection, err
	}
	client, err := m.newClient(config, dial)
	if err != nil {
		return err
	}
	opened, err := client.DialToSMTPClientWithContext(ctx)
	if err == nil && len(letters) > 0 {
		err = client.SendWithSMTPClient(opened, letters...)
	}
	if err == nil {
		err = client.CloseWithSMTPClient(opened)
	}
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("%s: did not answer in time", m.Server)
	}
	return m.explain(err)
}

func (m *Mailer) newClient(config *tls.Config, dial mail.DialContextFunc) (*mail.Client, error) {
	port, err := strconv.Atoi(m.Server.port)
	if err != nil {
		return nil, err
	}
	policy := mail.NoTLS
	if m.Server.encryption == startTLS {
		policy = mail.TLSMandatory
	}
	options := []mail.Option{
		mail.WithPort(port), mail.WithTimeout(sendTimeout), mail.WithHELO(m.Host), mail.WithTLSPolicy(policy), mail.WithTLSConfig(config),
		mail.WithDialContextFunc(dial), mail.WithoutNoop(),
	}
	if m.Server.user != "" {
		options = append(options, mail.WithUsername(m.Server.user), mail.WithPassword(m.Server.password),
			mail.WithOpportunisticSMTPAuth(mail.SMTPAuthPlain, mail.SMTPAuthLogin, mail.SMTPAuthSCRAMSHA256, mail.SMTPAuthCramMD5))
	}
	return mail.NewClient(m.Server.host, options...)
}

// reply matches an answer of the server as net/textproto formats it.
var reply = regexp.MustCompile(`\b(\d{3}) ("(?:[^"\\]|\\.)*")`)

// explain returns the error as one short line: what the server said, without what the library adds, and without the password.
func (m *Mailer) explain(err error) error {
	if err == nil {
		return nil
	}
	text, _, _ := strings.Cut(err.Error(), ", affected ")
	if said := reply.FindStringSubmatch(text); said != nil {
		if words, err := strconv.Unquote(said[2]); err == nil {
			text = said[1] + " " + words
		}
	}
	if strings.Contains(text, "does not support STARTTLS") {
		text = "the server offers no STARTTLS; use smtps://, or smtp+insecure:// inside a network that you trust"
	}
	if m.Server.password != "" {
		text = strings.ReplaceAll(text, m.Server.password, "…")
	}
	var certificate *tls.CertificateVerificationError
	if errors.As(err, &certificate) {
		text += "; a certificate of your own authority is trusted if SSL_CERT_FILE names it"
	}
	explained := fmt.Errorf("%s: %s", m.Server, oneLine(text))
	if isRefusal(err) {
		return refusal{explained}
	}
	return explained
}

// isRefusal reports whether the server has answered the recipient or the contents with a 5xx reply (RFC 5321, 4.2.1). Before that, such
// a reply is about the sign-in or the sender, which the settings can fix.
func isRefusal(err error) bool {
	var failed *mail.SendError
	if !errors.As(err, &failed) || failed.ErrorCode()/100 != 5 {
		return false
	}
	switch failed.Reason {
	case mail.ErrSMTPRcptTo, mail.ErrSMTPData, mail.ErrSMTPDataClose:
		return true
	}
	return false
}
