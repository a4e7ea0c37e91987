// Package notifytest has the servers that tests of messages need, on real ports.
package notifytest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// MailHost is a mail server.
type MailHost struct {
	Address string         // host and port
	Roots   *x509.CertPool // trusts its certificate
	Arrived chan Mail      // every mail that it accepts

	// Password is that of the only user, porchlight; "" accepts mail without signing in.
	Password string

	mu     sync.Mutex
	refuse []error
}

// Mail is what a MailHost has accepted.
type Mail struct{ From, To, Data string }

// NewMailHost starts a mail server for a scheme of --mail: one that offers STARTTLS (smtp), one whose connections are encrypted from the
// first byte (smtps), or one without encryption (smtp+insecure).
func NewMailHost(t testing.TB, scheme string) *MailHost {
	t.Helper()
	certificate, roots := newCertificate(t)
	h := &MailHost{Roots: roots, Arrived: make(chan Mail, 1000)}
	server := smtp.NewServer(h)
	server.Domain, server.ErrorLog = "mail.example.com", silent{}
	config := &tls.Config{Certificates: []tls.Certificate{certificate}}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.Address = listener.Addr().String()
	switch scheme {
	case "smtp":
		server.TLSConfig = config
	case "smtps":
		listener = tls.NewListener(listener, config)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Close()
		<-served
	})
	return h
}

// Refuse makes the server answer the recipients of the next mails with these errors, in this order.
func (h *MailHost) Refuse(errs ...error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.refuse = append(h.refuse, errs...)
}

// Refusal returns an SMTP error, such as 550 5.1.1, with the words as its text.
func Refusal(code int, enhanced [3]int, words string) error {
	return &smtp.SMTPError{Code: code, EnhancedCode: smtp.EnhancedCode(enhanced), Message: words}
}

// NewSession implements smtp.Backend.
func (h *MailHost) NewSession(*smtp.Conn) (smtp.Session, error) { return &session{host: h}, nil }

type session struct {
	host     *MailHost
	signedIn bool
	mail     Mail
}

func (s *session) AuthMechanisms() []string {
	if s.host.Password == "" {
		return nil
	}
	return []string{sasl.Plain}
}

// Auth repeats the password in its error, as a careless server might.
func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if user != "porchlight" || password != s.host.Password {
			return Refusal(535, [3]int{5, 7, 8}, "wrong password "+password)
		}
		s.signedIn = true
		return nil
	}), nil
}

func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	if s.host.Password != "" && !s.signedIn {
		return Refusal(530, [3]int{5, 7, 0}, "sign in first")
	}
	s.mail.From = from
	return nil
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.mail.To = to
	s.host.mu.Lock()
	defer s.host.mu.Unlock()
	if len(s.host.refuse) == 0 {
		return nil
	}
	err := s.host.refuse[0]
	s.host.refuse = s.host.refuse[1:]
	return err
}

func (s *session) Data(r io.Reader) error {
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s.mail.Data = string(data)
	s.host.Arrived <- s.mail
	return nil
}

func (s *session) Reset() { s.mail = Mail{} }

func (s *session) Logout() error { return nil }

type silent struct{}

func (silent) Printf(string, ...any) {}
func (silent) Println(...any)        {}

// newCertificate returns a certificate for 127.0.0.1, and the pool that trusts it.
func newCertificate(t testing.TB) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mail"}, IPAddresses: []net.IP{{127, 0, 0, 1}},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}

// patience is how long a test waits for something to arrive, on a machine that is busy.
const patience = time.Minute

// Next returns what arrives next. If nothing does, the test fails instead of waiting until it is killed with all others.
func Next[T any](t testing.TB, arrived <-chan T) (next T) {
	t.Helper()
	select {
	case next = <-arrived:
	case <-time.After(patience):
		t.Fatalf("no %T arrived within %s", next, patience)
	}
	return next
}

// NewServer starts a server that handles each connection with serve, for faults that no proper server has. It returns its address.
func NewServer(t testing.TB, serve func(net.Conn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			connection, err := listener.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				t.Error(err)
				return
			}
			running.Go(func() {
				defer connection.Close()
				serve(connection)
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		running.Wait()
	})
	return listener.Addr().String()
}
