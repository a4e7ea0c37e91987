// Package handlerstest has what the tests of the pages, the API and forward auth share: the real app with a real database and a real
// port, a fixed cast of people, and a client that keeps cookies.
package handlerstest

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"porchlight/db"
	"porchlight/db/dbtest"
	"porchlight/handlers"
)

// User-Agents as browsers send them.
const (
	FirefoxOnLinux = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
	SafariOnIPhone = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) " +
		"Version/18.5 Mobile/15E148 Safari/604.1"
	ChromeOnMac   = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36"
	BrowserAccept = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
)

const (
	AlicePassword = "quartz lamp fjord"
	BobPassword   = "umber quill basil"
)

// House is the real app with a real database and a real port, and without accounts.
type House struct {
	T     testing.TB
	Path  string // of the database
	At    string // the address of the real port
	URL   string // for clients: that port or, with a cookie domain, the public address, because clients keep its cookies only there
	Store *db.Store
	Clock *dbtest.Clock
	Log   *dbtest.Logs
	Stop  func() // stops the server, and leaves the store open
}

// OpenHouse starts the app, until the test ends. change may change its options.
func OpenHouse(t testing.TB, change ...func(*handlers.Options)) *House {
	t.Helper()
	return OpenHouseWith(t, func(*db.Options) {}, change...)
}

// OpenHouseWith is OpenHouse with a store that has other options, too.
func OpenHouseWith(t testing.TB, changeStore func(*db.Options), change ...func(*handlers.Options)) *House {
	t.Helper()
	h := &House{
		T: t, Path: dbtest.NewDatabase(t),
		Clock: dbtest.NewClock(), Log: &dbtest.Logs{},
	}
	storeOptions := db.Options{Path: h.Path, HashCost: dbtest.HashCost, Now: h.Clock.Now}
	changeStore(&storeOptions)
	var err error
	h.Store, err = db.Open(context.Background(), storeOptions)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.At = listener.Addr().String()
	h.URL = "http://" + h.At
	done := make(chan struct{})
	options := handlers.Options{
		Done:  done,
		Store: h.Store,
		URL:   &url.URL{Scheme: "http", Host: h.At},
		Log:   slog.New(slog.NewTextHandler(h.Log, nil)),
	}
	for _, c := range change {
		c(&options)
	}
	if options.CookieDomain != "" {
		h.URL = "http://" + options.URL.Host
	}
	app := handlers.New(options)
	served := make(chan error, 1)
	go func() { served <- app.Listener(listener) }()
	h.NewClient("").Do("GET", "/healthz", "").Is(t, 200) // a server can be shut down only once it serves
	h.Stop = sync.OnceFunc(func() {
		close(done)
		if err := app.ShutdownWithTimeout(5 * time.Second); err != nil {
			t.Error("shut down:", err)
		}
		if err := <-served; err != nil {
			t.Error("serve:", err)
		}
	})
	t.Cleanup(func() {
		h.Stop()
		if err := h.Store.Close(); err != nil {
			t.Error("close the store:", err)
		}
	})
	return h
}

// OpenAtLocalhost is OpenHouse with the public address http://localhost, because browsers accept no passkey for an IP address.
func OpenAtLocalhost(t testing.TB, change ...func(*handlers.Options)) *House {
	t.Helper()
	var public string
	h := OpenHouse(t, append(change, func(o *handlers.Options) {
		_, port, _ := net.SplitHostPort(o.URL.Host)
		o.URL.Host = "localhost:" + port
		public = o.URL.String()
	})...)
	h.URL = public
	return h
}

// Cast is the fixed cast: alice is signed in on two devices, bob on one.
type Cast struct {
	*House
	Alice      *Client // Firefox on Linux
	AlicePhone *Client // Safari on iPhone
	Bob        *Client // Chrome on macOS
}

// OpenCast is OpenHouse with the cast, who signed in a minute apart.
func OpenCast(t testing.TB, change ...func(*handlers.Options)) *Cast {
	t.Helper()
	return newCast(OpenHouse(t, change...))
}

// OpenCastWith is OpenCast with a store that has other options, too.
func OpenCastWith(t testing.TB, changeStore func(*db.Options), change ...func(*handlers.Options)) *Cast {
	t.Helper()
	return newCast(OpenHouseWith(t, changeStore, change...))
}

// KeepsRevoked configures the store of a server with --clear-app-data on.
func KeepsRevoked(o *db.Options) { o.Serve, o.KeepRevoked = true, true }

func newCast(h *House) *Cast {
	h.T.Helper()
	c := &Cast{House: h}
	c.AddUser("alice", AlicePassword)
	c.AddUser("bob", BobPassword)
	c.Alice = c.SignIn("alice", AlicePassword, FirefoxOnLinux)
	c.Clock.Advance(time.Minute)
	c.AlicePhone = c.SignIn("alice", AlicePassword, SafariOnIPhone)
	c.Clock.Advance(time.Minute)
	c.Bob = c.SignIn("bob", BobPassword, ChromeOnMac)
	return c
}

// AddUser creates an account. The first one is an administrator.
func (h *House) AddUser(name, password string) db.User {
	h.T.Helper()
	user, err := h.Store.CreateUser(context.Background(), db.NewUser{Username: name, Password: password})
	if err != nil {
		h.T.Fatal(err)
	}
	return user
}

// NewClient returns a client without cookies.
func (h *House) NewClient(userAgent string) *Client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		h.T.Fatal(err)
	}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, h.At)
		},
		WriteBufferSize: 64 << 10, // all headers in one write, because the server closes the connection once they are too large
	}
	h.T.Cleanup(transport.CloseIdleConnections)
	return &Client{T: h.T, URL: h.URL, UserAgent: userAgent, HTTP: &http.Client{
		Jar: jar, Transport: transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// SignIn signs in through POST /login, as a browser does.
func (h *House) SignIn(name, password, userAgent string) *Client {
	h.T.Helper()
	c := h.NewClient(userAgent)
	got := c.Form("/login", "username", name, "password", password)
	if got.Status != http.StatusSeeOther {
		h.T.Fatalf("sign in as %s: %d %s", name, got.Status, got.Body)
	}
	c.ID = h.Only(`SELECT id FROM sessions WHERE token_hash = unhex(?)`, SHA256Hex(c.Token()))
	return c
}

// Rows reads the database directly, and returns a string for each row, with its columns joined by spaces.
func (h *House) Rows(query string, args ...any) []string {
	h.T.Helper()
	return dbtest.Rows(h.T, h.Path, query, args...)
}

// Only returns the row of a query that has exactly one.
func (h *House) Only(query string, args ...any) string {
	h.T.Helper()
	rows := h.Rows(query, args...)
	if len(rows) != 1 {
		h.T.Fatalf("%s: %d rows: %q", query, len(rows), rows)
	}
	return rows[0]
}

// SessionsOf returns the ids of a user's sessions.
func (h *House) SessionsOf(name string) []string {
	h.T.Helper()
	return h.Rows(`SELECT s.id FROM sessions s JOIN users u ON u.id = s.user_id WHERE u.username = ? ORDER BY s.created_at`, name)
}

// Exec changes the database directly, as a command on the server does.
func (h *House) Exec(statement string, args ...any) {
	h.T.Helper()
	dbtest.Exec(h.T, h.Path, statement, args...)
}

// Raw sends bytes as they are, valid or not, and reads one response.
func (h *House) Raw(request string) Answer {
	h.T.Helper()
	conn, err := net.Dial("tcp", h.At)
	if err != nil {
		h.T.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		h.T.Fatal(err)
	}
	method, _, _ := strings.Cut(request, " ")
	response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		h.T.Fatalf("%.80q: %v", request, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		h.T.Fatal(err)
	}
	return Answer{response.StatusCode, response.Header, string(body)}
}

// SameRows fails the test unless the query returns these rows.
func (h *House) SameRows(t testing.TB, want []string, query string, args ...any) {
	t.Helper()
	if got := h.Rows(query, args...); !slices.Equal(got, want) {
		t.Errorf("%s:\n got %q\nwant %q", query, got, want)
	}
}

// EverySession and EveryAccount select the rows that a refused request must not change.
const (
	EverySession = `SELECT id, hex(token_hash), user_id, custom_name, last_active_at, expires_at FROM sessions ORDER BY id`
	EveryAccount = `SELECT id, username, password_hash, is_admin, disabled FROM users ORDER BY id`
)

// Unchanged returns a check that no session and no account has changed since the call.
func (h *House) Unchanged() func(testing.TB) {
	sessions, accounts := h.Rows(EverySession), h.Rows(EveryAccount)
	return func(t testing.TB) {
		t.Helper()
		h.SameRows(t, sessions, EverySession)
		h.SameRows(t, accounts, EveryAccount)
	}
}

// GuardsExample configures the app for the samples in deploy/.
func GuardsExample(o *handlers.Options) {
	o.URL = &url.URL{Scheme: "https", Host: "auth.example.com"}
	o.CookieDomain = "example.com"
	o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
}
