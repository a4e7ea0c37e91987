package notify

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"porchlight/db"
	"porchlight/db/dbtest"
	"porchlight/notify/notifytest"
)

const adaPassword = "lantern velvet orbit marmalade"

// house is a real store with one user, ada@example.com, whose ntfy topic is ada-alerts.
type house struct {
	*db.Store
	t     testing.TB
	path  string
	clock *dbtest.Clock
	log   dbtest.Logs
	ada   db.User
	admin db.Session
}

func openHouse(t testing.TB, ways db.Ways) *house {
	t.Helper()
	h := &house{t: t, path: dbtest.NewDatabase(t), clock: dbtest.NewClock()}
	var err error
	h.Store, err = db.Open(t.Context(), db.Options{
		Path: h.path, HashCost: dbtest.HashCost, Now: h.clock.Now, Serve: true, Ways: ways,
	})
	must(t, err)
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error("close the store:", err)
		}
	})
	h.ada, err = h.CreateUser(t.Context(), db.NewUser{Username: "ada", Email: "ada@example.com", Password: adaPassword})
	must(t, err)
	h.admin = h.signIn("Firefox on Linux") // the first sign-in alerts nobody
	must(t, h.SetAlertSettings(t.Context(), h.admin, db.AlertSettings{Mail: true, Topic: "ada-alerts"}))
	return h
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (h *house) signIn(device string) db.Session {
	h.t.Helper()
	_, session, err := h.SignIn(h.t.Context(), h.ada, db.NewSession{
		Client: db.Client{DeviceName: device, DeviceKind: "desktop", IP: "192.0.2.7"},
	})
	must(h.t, err)
	return session
}

// run runs a sender until stop is called, or the test ends. The sender logs to h.log.
func (h *house) run(options Options) (stop func()) {
	options.Store, options.Log = h.Store, slog.New(slog.NewTextHandler(&h.log, nil))
	options.URL = &url.URL{Scheme: "https", Host: "auth.example.com"}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		New(options).Run(ctx)
		close(done)
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	h.t.Cleanup(stop)
	return stop
}

// advance moves the clock, and commits something, which makes senders look for what is due.
func (h *house) advance(by time.Duration) {
	h.t.Helper()
	h.clock.Advance(by)
	must(h.t, h.SetAlertSettings(h.t.Context(), h.admin, db.AlertSettings{Mail: true, Topic: "ada-alerts"}))
}

// outbox returns a line for each message that waits: way, kind, attempts and last error.
func (h *house) outbox() string {
	h.t.Helper()
	return strings.Join(dbtest.Rows(h.t, h.path, `SELECT way, kind, attempts, last_error FROM outbox ORDER BY id`), "\n")
}

// delivery returns the last result of a way, "" for success.
func (h *house) delivery(way db.Way) string {
	h.t.Helper()
	all, err := h.Deliveries(h.ada.ID)
	must(h.t, err)
	for _, d := range all {
		if d.Way == way {
			return d.Error
		}
	}
	return "none"
}

// eventually waits until a condition holds.
func (h *house) eventually(what string, true func() bool) {
	h.t.Helper()
	deadline := time.After(time.Minute)
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for !true() {
		select {
		case <-deadline:
			h.t.Fatalf("never: %s; the outbox: %s; the log: %s", what, h.outbox(), h.log.String())
		case <-again.C:
		}
	}
}

// posted is a request that a webServer got.
type posted struct {
	path, body string
	header     http.Header
}

// webServer answers requests with the handlers in turn, and then with 200.
type webServer struct {
	url     *url.URL
	arrived chan posted
}

func newWebServer(t *testing.T, answers ...http.HandlerFunc) *webServer {
	s := &webServer{arrived: make(chan posted, 2000)}
	next := make(chan http.HandlerFunc, len(answers))
	for _, answer := range answers {
		next <- answer
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("the request is %s %s: %v", r.Method, r.Header, err)
		}
		s.arrived <- posted{r.URL.Path, string(body), r.Header}
		select {
		case answer := <-next:
			answer(w, r)
		default:
		}
	}))
	t.Cleanup(server.Close)
	var err error
	s.url, err = url.Parse(server.URL)
	must(t, err)
	return s
}

func answer(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}
}

// hang returns the address of a server that accepts connections and says nothing, and a channel that receives for each.
func hang(t testing.TB) (address string, connected chan bool) {
	connected = make(chan bool, 1000)
	return notifytest.NewServer(t, func(connection net.Conn) {
		connected <- true
		io.Copy(io.Discard, connection) // until the client closes it
	}), connected
}
