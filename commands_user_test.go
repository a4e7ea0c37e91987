package main

import (
	"bufio"
	"context"
	"database/sql"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	_ "github.com/mattn/go-sqlite3"

	"porchlight/db"
	"porchlight/handlers"
)

const (
	userTestPassword = "lantern velvet orbit marmalade"
	userTestOther    = "gravel opera thimble quartz"
)

// userTest runs commands on one data folder, beside a server when serve was called.
type userTest struct {
	t      *testing.T
	data   string
	server string // its address
}

func newUserTest(t *testing.T) *userTest {
	for _, variable := range os.Environ() {
		if name, _, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "PORCHLIGHT_") {
			t.Setenv(name, "")
		}
	}
	return &userTest{t: t, data: filepath.Join(t.TempDir(), "data")}
}

// run runs a command: exit status, what it printed, and the line that says why it failed.
func (u *userTest) run(stdin string, args ...string) (code int, out, why string) {
	u.t.Helper()
	var stdout strings.Builder
	err := run(context.Background(), append(args, "--data", u.data), strings.NewReader(stdin), &stdout)
	if err != nil {
		why = err.Error()
		if strings.ContainsAny(why, "\r\n") || why == "" {
			u.t.Errorf("%q: why it failed is not one line: %q", args, why)
		}
	}
	return status(err), stdout.String(), why
}

func (u *userTest) ok(stdin string, args ...string) string {
	u.t.Helper()
	code, out, why := u.run(stdin, args...)
	if code != 0 {
		u.t.Fatalf("%q: %d %s", args, code, why)
	}
	return out
}

func (u *userTest) fails(want int, stdin string, args ...string) string {
	u.t.Helper()
	code, out, why := u.run(stdin, args...)
	if code != want || out != "" {
		u.t.Errorf("%q: %d %q %s, want %d", args, code, out, why, want)
	}
	return why
}

// serve runs the server on the same data until the test ends.
func (u *userTest) serve() {
	u.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	reader, writer := io.Pipe()
	served := make(chan error, 1)
	go func() {
		err := run(ctx, []string{"serve", "--listen", "127.0.0.1:0", "--data", u.data}, strings.NewReader(""), writer)
		served <- err
		writer.CloseWithError(io.EOF)
	}()
	u.t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			u.t.Error("serve:", err)
		}
	})
	lines := bufio.NewReader(reader)
	line, err := lines.ReadString('\n')
	address, said := strings.CutPrefix(strings.TrimSpace(line), "Listening on ")
	if err != nil || !said {
		u.t.Fatalf("the server said %q, %v", line, err)
	}
	go io.Copy(io.Discard, lines)
	u.server = address
}

// signIn signs in on the server as a script does.
func (u *userTest) signIn(name, password string) (code int, cookie *http.Cookie) {
	u.t.Helper()
	response, err := http.PostForm("http://"+u.server+"/login", url.Values{"username": {name}, "password": {password}})
	if err != nil {
		u.t.Fatal(err)
	}
	response.Body.Close()
	for _, c := range response.Cookies() {
		cookie = c
	}
	return response.StatusCode, cookie
}

func (u *userTest) wantSignIn(name, password string, want int) *http.Cookie {
	u.t.Helper()
	code, cookie := u.signIn(name, password)
	if code != want {
		u.t.Fatalf("sign in as %s: %d, want %d", name, code, want)
	}
	return cookie
}

// wantSession asks the server with a cookie.
func (u *userTest) wantSession(cookie *http.Cookie, want int) {
	u.t.Helper()
	request, err := http.NewRequest("GET", "http://"+u.server+"/me/sessions", nil)
	if err != nil {
		u.t.Fatal(err)
	}
	request.AddCookie(cookie)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		u.t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != want {
		u.t.Errorf("with the cookie: %d, want %d", response.StatusCode, want)
	}
}

func (u *userTest) wantRows(want []string, query string) {
	u.t.Helper()
	pool, err := sql.Open("sqlite3", "file:"+filepath.Join(u.data, "porchlight.db")+"?mode=ro")
	if err != nil {
		u.t.Fatal(err)
	}
	defer pool.Close()
	rows, err := pool.Query(query)
	if err != nil {
		u.t.Fatal(err)
	}
	defer rows.Close()
	var got []string
	for rows.Next() {
		var cell string
		if err := rows.Scan(&cell); err != nil {
			u.t.Fatal(err)
		}
		got = append(got, cell)
	}
	if err := rows.Err(); err != nil {
		u.t.Fatal(err)
	}
	if !slices.Equal(got, want) {
		u.t.Errorf("%s\n got %q\nwant %q", query, got, want)
	}
}

func (u *userTest) addAliceAndBob() {
	u.t.Helper()
	u.ok(userTestPassword+"\n", "user", "add", "alice")
	u.ok(userTestPassword, "user", "add", "bob")
}

func TestUserInviteCommand(t *testing.T) {
	u := newUserTest(t)
	u.addAliceAndBob()
	for name, args := range map[string][]string{"bob": {}, "carol": {"--email", "carol@example.com", "--admin"}} {
		out := u.ok("", append([]string{"user", "invite", name, "--url", "https://auth.example.com"}, args...)...)
		link := regexp.MustCompile(`https://auth\.example\.com/invite\?token=([A-Z2-7]{26})\s`).FindStringSubmatch(out)
		if link == nil || strings.Count(out, "\n") != 1 || !strings.Contains(out, name) {
			t.Fatalf("no link: %q", out)
		}
		for _, file := range []string{"porchlight.db", "porchlight.db-wal"} {
			content, err := os.ReadFile(filepath.Join(u.data, file))
			if err == nil && strings.Contains(string(content), link[1]) {
				t.Errorf("%s holds the token", file)
			}
		}
	}
	u.wantRows([]string{"bob 0 2 ", "carol 1 0 carol@example.com"}, `SELECT username || ' ' || is_admin || ' ' || COALESCE(user_id, 0) || ' ' || COALESCE(email, '') FROM invitations ORDER BY username`)

	u.fails(1, "", "user", "invite", "a b")
	u.fails(1, "", "user", "invite", "dave", "--email", "nowhere")
	u.fails(1, "", "user", "invite", "bob", "--admin")
	u.fails(2, "", "user", "invite")
	u.ok("", "user", "disable", "bob")
	if why := u.fails(1, "", "user", "invite", "bob"); !strings.Contains(why, "disabled") {
		t.Errorf("why: %q", why)
	}
	u.wantRows([]string{"carol"}, `SELECT username FROM invitations`)
}

func TestUserInviteCommandOpensTheServer(t *testing.T) {
	u := newUserTest(t)
	u.addAliceAndBob()
	u.serve()
	before := u.wantSignIn("bob", userTestPassword, http.StatusOK)
	out := u.ok("", "user", "invite", "bob", "--url", "http://"+u.server)
	at := strings.Index(out, "http://")
	link, err := url.Parse(strings.TrimSpace(out[at:]))
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.Get(link.String())
	if err != nil {
		t.Fatal(err)
	}
	page, _ := io.ReadAll(response.Body)
	response.Body.Close()
	if response.StatusCode != http.StatusOK || !strings.Contains(string(page), "bob") {
		t.Fatalf("the link: %d %s", response.StatusCode, page)
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err = client.PostForm("http://"+u.server+"/invite", url.Values{"token": link.Query()["token"], "password": {userTestOther}})
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusSeeOther || len(response.Cookies()) != 1 {
		t.Fatalf("the form: %d", response.StatusCode)
	}
	u.wantSession(response.Cookies()[0], http.StatusOK)
	u.wantSession(before, http.StatusUnauthorized)
}

func TestUserPasswdCommand(t *testing.T) {
	u := newUserTest(t)
	u.addAliceAndBob()
	u.serve()
	bob, alice := u.wantSignIn("bob", userTestPassword, http.StatusOK), u.wantSignIn("alice", userTestPassword, http.StatusOK)
	u.fails(1, "short\n", "user", "passwd", "bob")
	u.fails(1, "", "user", "passwd", "bob") // nothing on standard input
	u.fails(1, userTestOther+"\n", "user", "passwd", "nobody")
	u.fails(2, userTestOther+"\n", "user", "passwd", "bob", userTestOther) // never an argument
	u.wantSession(bob, http.StatusOK)
	u.wantSignIn("bob", userTestPassword, http.StatusOK)

	if out := u.ok(userTestOther+"\r\nanother line\n", "user", "passwd", " Bob "); !strings.Contains(out, "bob") || strings.Contains(out, userTestOther) {
		t.Errorf("it said %q", out)
	}
	u.wantSession(bob, http.StatusUnauthorized)
	u.wantSession(alice, http.StatusOK)
	u.wantSignIn("bob", userTestPassword, http.StatusUnauthorized)
	u.wantSignIn("bob", userTestOther, http.StatusOK)
	u.wantRows([]string{"password_changed command"}, `SELECT kind || ' ' || done_by FROM activity WHERE kind NOT IN ('signed_in', 'revoked', 'sign_in_failed')`)
}

func TestUserDisableAndEnableCommands(t *testing.T) {
	u := newUserTest(t)
	u.addAliceAndBob()
	u.serve()
	bob, alice := u.wantSignIn("bob", userTestPassword, http.StatusOK), u.wantSignIn("alice", userTestPassword, http.StatusOK)
	for range 2 {
		u.ok("", "user", "disable", "bob")
	}
	u.wantSession(bob, http.StatusUnauthorized)
	u.wantSession(alice, http.StatusOK)
	u.wantSignIn("bob", userTestPassword, http.StatusUnauthorized)
	u.wantRows([]string{"disabled command", "revoked command"}, `SELECT kind || ' ' || done_by FROM activity WHERE kind IN ('disabled', 'revoked') ORDER BY id`)
	for range 2 {
		u.ok("", "user", "enable", "bob")
	}
	u.wantSession(bob, http.StatusUnauthorized) // it does not come back
	u.wantSignIn("bob", userTestPassword, http.StatusOK)
	u.wantRows([]string{"disabled", "revoked", "enabled"}, `SELECT kind FROM activity WHERE kind IN ('disabled', 'enabled', 'revoked') ORDER BY id`)
}

func TestUserDeleteCommand(t *testing.T) {
	u := newUserTest(t)
	u.addAliceAndBob()
	u.serve()
	bob, alice := u.wantSignIn("bob", userTestPassword, http.StatusOK), u.wantSignIn("alice", userTestPassword, http.StatusOK)
	u.fails(2, "bob\n", "user", "delete", "bob") // no terminal to ask on
	u.fails(2, "", "user", "delete", "nobody")
	u.wantRows([]string{"alice", "bob"}, `SELECT username FROM users ORDER BY id`)
	u.wantSession(bob, http.StatusOK)

	u.ok("", "user", "delete", "bob", "--yes")
	u.wantSession(bob, http.StatusUnauthorized)
	u.wantSession(alice, http.StatusOK)
	u.wantSignIn("bob", userTestPassword, http.StatusUnauthorized)
	u.wantRows([]string{"alice"}, `SELECT username FROM users`)
	u.wantRows([]string{"1"}, `SELECT DISTINCT user_id FROM sessions`)
	u.wantRows([]string{"1"}, `SELECT DISTINCT user_id FROM activity`)
	u.fails(1, "", "user", "delete", "bob", "--yes")
}

func TestUserCommandsOnUnknownName(t *testing.T) {
	u := newUserTest(t)
	u.addAliceAndBob()
	for _, args := range [][]string{{"passwd", "nobody"}, {"disable", "nobody"}, {"enable", "nobody"}, {"delete", "nobody", "--yes"}} {
		if why := u.fails(1, userTestOther+"\n", append([]string{"user"}, args...)...); !strings.Contains(why, "nobody") {
			t.Errorf("%q: why: %q", args, why)
		}
	}
	for _, command := range []string{"passwd", "disable", "enable", "delete"} {
		u.fails(2, "", "user", command)
		u.fails(1, userTestOther+"\n", append([]string{"user", command, "no\x1b[2J\nbody"}, map[bool][]string{true: {"--yes"}}[command == "delete"]...)...)
	}
	u.wantRows([]string{"alice 0", "bob 0"}, `SELECT username || ' ' || disabled FROM users ORDER BY id`)
	u.wantRows(nil, `SELECT kind FROM activity`)
}

// They make the database where there is none yet.
func TestUserInviteCommandOnEmptyFolder(t *testing.T) {
	u := newUserTest(t)
	if out := u.ok("", "user", "invite", "alice"); !strings.Contains(out, "http://localhost:3000/invite?token=") {
		t.Errorf("it said %q", out)
	}
	u.wantRows([]string{"alice"}, `SELECT username FROM invitations`)
}

func TestHealthcheckOfRunningServer(t *testing.T) {
	u := newUserTest(t)
	u.serve()
	if out := u.ok("", "healthcheck", "--listen", u.server); out != "" {
		t.Errorf("it said %q", out)
	}
	_, port, _ := net.SplitHostPort(u.server)
	u.ok("", "healthcheck", "--listen", "0.0.0.0:"+port) // it listens everywhere, so here too
	u.ok("", "healthcheck", "--listen", ":"+port)
}

func TestHealthcheckOfNoServer(t *testing.T) {
	u := newUserTest(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	u.fails(1, "", "healthcheck", "--listen", address)
	if _, err := os.Stat(u.data); !os.IsNotExist(err) {
		t.Error("a healthcheck made a database")
	}
}

// userTestHealth is what GET /healthz answers.
func userTestHealth(t *testing.T, address string) (code int, body string) {
	t.Helper()
	response, err := http.Get("http://" + address + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(content)
}

func TestHealthcheckOfServerWhoseDatabaseIsClosed(t *testing.T) {
	u := newUserTest(t)
	store, err := db.Open(context.Background(), db.Options{Path: filepath.Join(u.data, "porchlight.db"), Create: true})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	app := handlers.New(handlers.Options{Store: store, URL: &url.URL{Scheme: "http", Host: address}, Log: slog.New(slog.DiscardHandler)})
	served := make(chan error, 1)
	go func() { served <- app.Listener(listener) }()
	t.Cleanup(func() {
		if err := app.ShutdownWithTimeout(5 * time.Second); err != nil {
			t.Error("shut down:", err)
		}
		<-served
	})
	u.ok("", "healthcheck", "--listen", address)
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	u.fails(1, "", "healthcheck", "--listen", address)
	if code, body := userTestHealth(t, address); code != http.StatusServiceUnavailable || !strings.Contains(body, `"error"`) {
		t.Errorf("GET /healthz: %d %s", code, body)
	}
}

// Whoever moves the database away under a running server must hear of it, not lose what is written after that.
func TestHealthcheckOfServerWhoseDatabaseIsGone(t *testing.T) {
	u := newUserTest(t)
	u.serve()
	u.ok("", "healthcheck", "--listen", u.server)
	away := filepath.Join(t.TempDir(), "away")
	if err := os.Rename(u.data, away); err != nil {
		t.Fatal(err)
	}
	u.fails(1, "", "healthcheck", "--listen", u.server)
	if code, body := userTestHealth(t, u.server); code != http.StatusServiceUnavailable {
		t.Errorf("GET /healthz: %d %s", code, body)
	}
	if err := os.Rename(away, u.data); err != nil {
		t.Fatal(err)
	}
	u.fails(1, "", "healthcheck", "--listen", u.server) // until a restart: what happened to it meanwhile nobody knows
}
