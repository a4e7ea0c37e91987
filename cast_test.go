package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"porchlight/db"
	"porchlight/db/dbtest"
)

const (
	adaPassword = "lantern velvet orbit marmalade"
	boPassword  = "gravel opera thimble quartz"
)

// patience is how long a test waits for something that must happen.
const patience = 30 * time.Second

// command runs the program as a shell would, and returns what it printed and its error.
func command(t testing.TB, stdin string, args ...string) (stdout string, err error) {
	t.Helper()
	var out bytes.Buffer
	err = run(t.Context(), args, strings.NewReader(stdin), &out)
	return out.String(), err
}

// mustRun runs a command that must succeed, and returns what it printed.
func mustRun(t testing.TB, stdin string, args ...string) (stdout string) {
	t.Helper()
	stdout, err := command(t, stdin, args...)
	if err != nil {
		t.Fatalf("%q: %v", args, err)
	}
	return stdout
}

// wantError checks that a command failed with the exit status, and with one line that contains the words.
func wantError(t testing.TB, err error, wantStatus int, words ...string) {
	t.Helper()
	if got := status(err); got != wantStatus {
		t.Fatalf("status %d, want %d: %v", got, wantStatus, err)
	}
	if strings.TrimSpace(err.Error()) == "" || strings.ContainsAny(err.Error(), "\r\n") {
		t.Errorf("the error is not one line: %q", err)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("the error %q does not contain %q", err, word)
		}
	}
}

// server is the program while it serves a data folder on a free port.
type server struct {
	t      testing.TB
	data   string
	listen string // the address it printed
	url    string
	lines  chan string // the lines it prints after that; closed when it has ended
	cancel context.CancelFunc
	end    func() error
}

// start serves the folder until stop is called or the test ends.
func start(t testing.TB, data string, args ...string) *server {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	out, in := io.Pipe()
	s := &server{t: t, data: data, lines: make(chan string, 100), cancel: cancel}
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, append([]string{"--data", data, "--listen", "127.0.0.1:0"}, args...), strings.NewReader(""), in)
		in.Close()
		ended <- err
	}()
	go func() {
		defer close(s.lines)
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			s.lines <- scanner.Text()
		}
	}()
	s.end = sync.OnceValue(func() error { return <-ended })
	t.Cleanup(func() { s.stop() })
	line := <-s.lines // "" if it ended before it listened
	var ok bool
	if s.listen, ok = strings.CutPrefix(line, "Listening on "); !ok {
		t.Fatalf("the first line is %q: %v", line, s.stop())
	}
	s.url = "http://" + s.listen
	return s
}

// stop stops the server, as SIGTERM would, and waits until it has ended.
func (s *server) stop() error {
	s.cancel()
	return s.end()
}

// stopAndRead stops the server and returns the lines that nobody has read yet.
func (s *server) stopAndRead() (lines []string) {
	s.t.Helper()
	if err := s.stop(); err != nil {
		s.t.Errorf("stop: %v", err)
	}
	for line := range s.lines {
		lines = append(lines, line)
	}
	return lines
}

// client is an HTTP client with a cookie jar. It follows no redirects.
type client struct {
	t    testing.TB
	url  string
	http *http.Client
}

func (s *server) newClient() *client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	transport := &http.Transport{}
	s.t.Cleanup(transport.CloseIdleConnections)
	noRedirects := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &client{s.t, s.url, &http.Client{Jar: jar, Transport: transport, Timeout: patience, CheckRedirect: noRedirects}}
}

func (s *server) signIn(name, password string) *client {
	s.t.Helper()
	c := s.newClient()
	if status, body := c.form("/login", "username", name, "password", password); status != http.StatusOK {
		s.t.Fatalf("sign in as %s: %d %s", name, status, body)
	}
	return c
}

func (c *client) get(path string) (status int, body string) {
	c.t.Helper()
	return c.read(c.http.Get(c.url + path))
}

// form posts a form of pairs of name and value.
func (c *client) form(path string, values ...string) (status int, body string) {
	c.t.Helper()
	form := url.Values{}
	for i := 0; i < len(values); i += 2 {
		form.Add(values[i], values[i+1])
	}
	return c.read(c.http.PostForm(c.url+path, form))
}

func (c *client) read(response *http.Response, err error) (int, string) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

// want checks the status of a GET.
func (c *client) want(status int, path string) {
	c.t.Helper()
	if got, body := c.get(path); got != status {
		c.t.Fatalf("GET %s: %d, want %d: %s", path, got, status, body)
	}
}

// fixture is a data folder with two accounts: ada, the administrator, and bo. Their passwords are hashed as cheaply as the format
// allows.
type fixture struct {
	t    testing.TB
	data string
	ids  map[string][]string // ids of the sessions of each user, oldest first
}

// newFixture creates the given number of sessions for each user.
func newFixture(t testing.TB, sessions map[string]int) *fixture {
	t.Helper()
	f := &fixture{t, filepath.Dir(dbtest.NewDatabase(t)), map[string][]string{}}
	f.withStore(func(store *db.Store) {
		for _, user := range []db.NewUser{
			{Username: "ada", Email: "ada@example.com", Password: adaPassword},
			{Username: "bo", Password: boPassword},
		} {
			created, err := store.CreateUser(t.Context(), user)
			if err != nil {
				t.Fatal(err)
			}
			for range sessions[user.Username] {
				_, session, err := store.SignIn(t.Context(), created, db.NewSession{
					Client: db.Client{DeviceName: "Firefox on Linux", DeviceKind: "desktop", IP: "192.0.2.7"},
				})
				if err != nil {
					t.Fatal(err)
				}
				f.ids[user.Username] = append(f.ids[user.Username], session.ID)
			}
		}
	})
	return f
}

func (f *fixture) withStore(do func(*db.Store)) {
	f.t.Helper()
	store, err := db.Open(f.t.Context(), db.Options{Path: f.path(), HashCost: dbtest.HashCost})
	if err != nil {
		f.t.Fatal(err)
	}
	do(store)
	if err := store.Close(); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) path() string { return filepath.Join(f.data, "porchlight.db") }

// with puts --data before the arguments.
func (f *fixture) with(args ...string) []string {
	return slices.Concat([]string{"--data", f.data}, args)
}

// sessions returns the ids of the sessions in the database, oldest first.
func (f *fixture) sessions() []string {
	f.t.Helper()
	return dbtest.Rows(f.t, f.path(), `SELECT id FROM sessions ORDER BY rowid`)
}

// eventually waits until a condition holds.
func eventually(t testing.TB, what string, true func() bool) {
	t.Helper()
	deadline := time.After(patience)
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for !true() {
		select {
		case <-deadline:
			t.Fatalf("not after %s: %s", patience, what)
		case <-again.C:
		}
	}
}

// binary returns the path of the program. It is built once.
func binary(t testing.TB) string {
	t.Helper()
	path, err := buildOnce()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var buildFolder string

var buildOnce = sync.OnceValues(func() (path string, err error) {
	if buildFolder, err = os.MkdirTemp("", "porchlight-test-"); err != nil {
		return "", err
	}
	path = filepath.Join(buildFolder, "porchlight")
	build := exec.Command("go", "build", "-o", path, ".")
	build.Stderr = os.Stderr
	return path, build.Run()
})

func TestMain(m *testing.M) {
	for _, variable := range os.Environ() { // the settings of the person who runs the tests must not affect them
		if name, _, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "PORCHLIGHT_") {
			os.Unsetenv(name)
		}
	}
	code := m.Run()
	if buildFolder != "" {
		os.RemoveAll(buildFolder)
	}
	os.Exit(code)
}
