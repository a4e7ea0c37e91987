package handlers_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
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
	firefoxOnLinux = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
	safariOnIPhone = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1"
	chromeOnMac    = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36"
	browserAccept  = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
)

const (
	alicePassword = "lantern velvet orbit marmalade"
	bobPassword   = "gravel opera thimble quartz"
)

// logs is what the app wrote to its log.
type logs struct {
	mu sync.Mutex
	bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.String()
}

// house is the real app on a real database and a real port, without anybody in it.
type house struct {
	t     testing.TB
	path  string // of the database
	at    string // the address of the real port
	url   string // how clients call it: that port, or with a cookie domain the public address, since nobody keeps such a cookie elsewhere
	store *db.Store
	clock *dbtest.Clock
	log   *logs
	stop  func() // ends the server, and leaves the store open
}

func openHouse(t testing.TB, change ...func(*handlers.Options)) *house {
	t.Helper()
	h := &house{
		t: t, path: dbtest.NewDatabase(t),
		clock: dbtest.NewClock(), log: &logs{},
	}
	var err error
	h.store, err = db.Open(context.Background(), db.Options{Path: h.path, HashCost: dbtest.HashCost, Now: h.clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.at = listener.Addr().String()
	h.url = "http://" + h.at
	options := handlers.Options{Store: h.store, URL: &url.URL{Scheme: "http", Host: listener.Addr().String()}, Log: slog.New(slog.NewTextHandler(h.log, nil)), Now: h.clock.Now}
	for _, c := range change {
		c(&options)
	}
	if options.CookieDomain != "" {
		h.url = "http://" + options.URL.Host
	}
	app := handlers.New(options)
	served := make(chan error, 1)
	go func() { served <- app.Listener(listener) }()
	h.newClient("").do("GET", "/healthz", "").is(t, 200) // it serves: a server cannot be shut down before
	h.stop = sync.OnceFunc(func() {
		if err := app.ShutdownWithTimeout(5 * time.Second); err != nil {
			t.Error("shut down:", err)
		}
		if err := <-served; err != nil {
			t.Error("serve:", err)
		}
	})
	t.Cleanup(func() {
		h.stop()
		if err := h.store.Close(); err != nil {
			t.Error("close the store:", err)
		}
	})
	return h
}

// cast is the fixed cast: alice is signed in on two devices, bob on one.
type cast struct {
	*house
	alice      *client // Firefox on Linux
	alicePhone *client // Safari on iPhone
	bob        *client // Chrome on macOS
}

func openCast(t testing.TB, change ...func(*handlers.Options)) *cast {
	t.Helper()
	c := &cast{house: openHouse(t, change...)}
	c.addUser("alice", alicePassword)
	c.addUser("bob", bobPassword)
	c.alice = c.signIn("alice", alicePassword, firefoxOnLinux)
	c.clock.Advance(time.Minute)
	c.alicePhone = c.signIn("alice", alicePassword, safariOnIPhone)
	c.clock.Advance(time.Minute)
	c.bob = c.signIn("bob", bobPassword, chromeOnMac)
	return c
}

func (h *house) addUser(name, password string) db.User {
	h.t.Helper()
	user, err := h.store.CreateUser(context.Background(), db.NewUser{Username: name, Password: password})
	if err != nil {
		h.t.Fatal(err)
	}
	return user
}

// client is somebody's browser, or script: it keeps cookies and follows no redirect.
type client struct {
	t         testing.TB
	url       string
	userAgent string
	http      *http.Client
	id        string // of its session, once it is signed in
}

func (h *house) newClient(userAgent string) *client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		h.t.Fatal(err)
	}
	transport := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, h.at)
	}}
	h.t.Cleanup(transport.CloseIdleConnections)
	return &client{t: h.t, url: h.url, userAgent: userAgent, http: &http.Client{
		Jar: jar, Transport: transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// signIn signs in through POST /login, as a browser does.
func (h *house) signIn(name, password, userAgent string) *client {
	h.t.Helper()
	c := h.newClient(userAgent)
	got := c.form("/login", "username", name, "password", password)
	if got.status != http.StatusSeeOther {
		h.t.Fatalf("sign in as %s: %d %s", name, got.status, got.body)
	}
	c.id = h.only(`SELECT id FROM sessions WHERE token_hash = unhex(?)`, sha256Hex(c.token()))
	return c
}

// token is the secret in the client's cookie.
func (c *client) token() string {
	c.t.Helper()
	at, _ := url.Parse(c.url)
	for _, cookie := range c.http.Jar.Cookies(at) {
		if cookie.Name == "porchlight" {
			return cookie.Value
		}
	}
	return ""
}

func sha256Hex(token string) string {
	hash := sha256.Sum256([]byte(token))
	return hex.EncodeToString(hash[:])
}

type answer struct {
	status int
	header http.Header
	body   string
}

// do sends a request; headers are pairs of name and value.
func (c *client) do(method, path, body string, headers ...string) answer {
	c.t.Helper()
	request, err := http.NewRequest(method, c.url+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	request.Header.Set("User-Agent", c.userAgent)
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			request.Host = headers[i+1]
		}
		request.Header.Add(headers[i], headers[i+1])
	}
	response, err := c.http.Do(request)
	if err != nil {
		c.t.Fatal(err)
	}
	defer response.Body.Close()
	got, err := io.ReadAll(response.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, string(got)}
}

// page asks as a browser that follows a link.
func (c *client) page(path string, headers ...string) answer {
	c.t.Helper()
	return c.do("GET", path, "", append([]string{"Accept", browserAccept}, headers...)...)
}

// form sends a plain form, as a browser does; values are pairs of name and value.
func (c *client) form(path string, values ...string) answer {
	c.t.Helper()
	return c.do("POST", path, encode(values), "Accept", browserAccept, "Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "same-origin")
}

// htmx asks as htmx does from the page of devices.
func (c *client) htmx(method, path string, values ...string) answer {
	c.t.Helper()
	return c.do(method, path, encode(values), "Accept", "text/html", "HX-Request", "true", "HX-Current-URL", c.url+"/sessions", "Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "same-origin")
}

// api asks as a script does; an empty body has no type.
func (c *client) api(method, path, body string) answer {
	c.t.Helper()
	if body == "" {
		return c.do(method, path, "")
	}
	return c.do(method, path, body, "Content-Type", "application/json")
}

func encode(values []string) string {
	form := url.Values{}
	for i := 0; i < len(values); i += 2 {
		form.Add(values[i], values[i+1])
	}
	return form.Encode()
}

// rows reads the database beside the app: one string for each row, its columns joined by spaces.
func (h *house) rows(query string, args ...any) []string {
	h.t.Helper()
	return dbtest.Rows(h.t, h.path, query, args...)
}

// only is the one row of a query.
func (h *house) only(query string, args ...any) string {
	h.t.Helper()
	rows := h.rows(query, args...)
	if len(rows) != 1 {
		h.t.Fatalf("%s: %d rows: %q", query, len(rows), rows)
	}
	return rows[0]
}

// sessionsOf are the ids of a user's rows.
func (h *house) sessionsOf(name string) []string {
	h.t.Helper()
	return h.rows(`SELECT s.id FROM sessions s JOIN users u ON u.id = s.user_id WHERE u.username = ? ORDER BY s.created_at`, name)
}

// exec changes the database beside the app, as a command on the server does.
func (h *house) exec(statement string, args ...any) {
	h.t.Helper()
	dbtest.Exec(h.t, h.path, statement, args...)
}

// raw sends bytes that no well-behaved client would send, and reads one answer.
func (h *house) raw(request string) answer {
	h.t.Helper()
	conn, err := net.Dial("tcp", h.at)
	if err != nil {
		h.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		h.t.Fatal(err)
	}
	method, _, _ := strings.Cut(request, " ")
	response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		h.t.Fatalf("%.80q: %v", request, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, string(body)}
}

// has fails the test unless the body holds every text.
func (a answer) has(t testing.TB, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(a.body, text) {
			t.Errorf("%d: the body lacks %q:\n%.300s", a.status, text, a.body)
		}
	}
}

// lacks fails the test when the body holds any of the texts.
func (a answer) lacks(t testing.TB, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if strings.Contains(a.body, text) {
			t.Errorf("%d: the body has %q:\n%.300s", a.status, text, a.body)
		}
	}
}

// is fails the test unless the answer has this status and, where one is named, this place to go to.
func (a answer) is(t testing.TB, status int, location ...string) {
	t.Helper()
	if a.status != status {
		t.Errorf("status %d, want %d: %.120q", a.status, status, a.body)
	}
	if len(location) > 0 && a.header.Get("Location") != location[0] {
		t.Errorf("Location %q, want %q", a.header.Get("Location"), location[0])
	}
}

// sameRows fails the test unless the rows are these.
func (h *house) sameRows(t testing.TB, want []string, query string, args ...any) {
	t.Helper()
	if got := h.rows(query, args...); !slices.Equal(got, want) {
		t.Errorf("%s:\n got %q\nwant %q", query, got, want)
	}
}

// everySession and everyAccount are the rows that a refused request must leave as they were.
const (
	everySession = `SELECT id, hex(token_hash), user_id, given_name, last_active_at, expires_at FROM sessions ORDER BY id`
	everyAccount = `SELECT id, username, password_hash, is_admin, disabled FROM users ORDER BY id`
)

// unchanged gives a check that no session and no account has changed since.
func (h *house) unchanged() func(testing.TB) {
	sessions, accounts := h.rows(everySession), h.rows(everyAccount)
	return func(t testing.TB) {
		t.Helper()
		h.sameRows(t, sessions, everySession)
		h.sameRows(t, accounts, everyAccount)
	}
}
