package handlers_test

import (
	"bufio"
	"context"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"porchlight/handlers/handlerstest"
)

// This file tests the event stream.

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// stream is an open event stream.
type stream struct {
	t      testing.TB
	lines  chan string // closed when the stream ends
	cancel context.CancelFunc
}

func openStream(c *handlerstest.Client, path string, headers ...string) *stream {
	c.T.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	c.T.Cleanup(cancel)
	request, err := http.NewRequestWithContext(ctx, "GET", c.URL+path, nil)
	if err != nil {
		c.T.Fatal(err)
	}
	request.Header.Set("User-Agent", c.UserAgent)
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := c.HTTP.Do(request)
	if err != nil {
		c.T.Fatal(err)
	}
	c.T.Cleanup(func() { response.Body.Close() })
	if response.StatusCode != 200 || response.Header.Get("Content-Type") != "text/event-stream" ||
		response.Header.Get("Cache-Control") != "no-store" {
		c.T.Fatalf("%s: %s %v", path, response.Status, response.Header)
	}
	s := &stream{t: c.T, lines: make(chan string), cancel: cancel}
	go func() {
		defer close(s.lines)
		for scanner := bufio.NewScanner(response.Body); scanner.Scan(); {
			select {
			case s.lines <- scanner.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	return s
}

// next returns the next event, ":" for a heartbeat, or "end".
func (s *stream) next() string {
	s.t.Helper()
	for timeout := time.After(patience); ; {
		select {
		case line, open := <-s.lines:
			if !open {
				return "end"
			}
			if event, found := strings.CutPrefix(line, "event: "); found {
				return event
			}
			if strings.HasPrefix(line, ":") {
				return ":"
			}
		case <-timeout:
			s.t.Fatal("nothing comes")
		}
	}
}

func (s *stream) wants(events ...string) {
	s.t.Helper()
	for _, want := range events {
		if got := s.next(); got != want {
			s.t.Fatalf("got %q, want %q", got, want)
		}
	}
}

func TestEventsOfChanges(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	laptop, phone := openStream(c.Alice, "/sessions/events"), openStream(c.AlicePhone, "/sessions/events")
	bob := openStream(c.Bob, "/sessions/events")
	laptop.wants(":")
	phone.wants(":")
	bob.wants(":")
	third := c.SignIn("alice", handlerstest.AlicePassword, "curl/8.5.0")
	laptop.wants("changed")
	phone.wants("changed")
	c.Alice.Form("/sessions/"+c.AlicePhone.ID+"/name", "name", "Kitchen").Is(t, 303)
	laptop.wants("changed")
	phone.wants("changed")
	third.API("DELETE", "/me/sessions/"+c.AlicePhone.ID, "").Is(t, 200)
	laptop.wants("changed")
	phone.wants("ended", "end")
	if _, err := c.Store.RevokeUserByCommand(t.Context(), "alice"); err != nil {
		t.Fatal(err)
	}
	laptop.wants("ended", "end")
	c.Bob.Form("/sessions/"+c.Bob.ID+"/name", "name", "Desk").Is(t, 303)
	bob.wants("changed") // the first: nothing of alice's reached bob
}

// A password change gives the session a new token. It is still the same session.
func TestEventsOutliveAPasswordChange(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	laptop, phone := openStream(c.Alice, "/sessions/events"), openStream(c.AlicePhone, "/sessions/events")
	laptop.wants(":")
	phone.wants(":")
	c.Alice.Form("/account/password", "current_password", handlerstest.AlicePassword, "new_password", "gravel lantern opera thimble",
		"end_others", "1").Is(t, 303)
	laptop.wants("changed")
	phone.wants("ended", "end")
}

func TestEventsOfAnAccountThatIsDisabledOrDeleted(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	alice, bob := openStream(c.Alice, "/sessions/events"), openStream(c.Bob, "/sessions/events")
	alice.wants(":")
	bob.wants(":")
	if err := c.Store.DisableUser(t.Context(), "bob", false); err != nil {
		t.Fatal(err)
	}
	bob.wants("ended", "end")
	if err := c.Store.DeleteUser(t.Context(), "alice", true); err != nil {
		t.Fatal(err)
	}
	alice.wants("ended", "end")
}

// What happened between the page and its stream is made up for.
func TestEventsThatWereMissed(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	newest := c.Only(`SELECT MAX(a.id) FROM activity a JOIN users u ON u.id = a.user_id WHERE u.username = 'alice'`)
	openStream(c.Alice, "/sessions/events?after="+newest).wants(":")
	openStream(c.Alice, "/sessions/events?after=0").wants("changed")
	openStream(c.Alice, "/sessions/events?after="+newest, "Last-Event-ID", "1").wants("changed")
}

func TestEventsAreNoActivity(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	flush(c.House)
	c.Clock.Advance(time.Hour)
	unchanged := c.Unchanged()
	events := openStream(c.Alice, "/sessions/events")
	events.wants(":")
	flush(c.House)
	unchanged(t)
}

// A session ends by itself while its stream is open: the stream says so without any write to the database.
func TestEventsOfASessionThatExpires(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	soon := c.Clock.Now().Add(50 * time.Millisecond)
	c.Exec(`UPDATE sessions SET expires_at = ? WHERE id = ?`, soon.UnixMilli(), c.AlicePhone.ID)
	laptop, phone := openStream(c.Alice, "/sessions/events"), openStream(c.AlicePhone, "/sessions/events")
	laptop.wants(":")
	phone.wants(":")
	c.Clock.Advance(50 * time.Millisecond) // the timers run on the real clock
	phone.wants("ended", "end")
	laptop.wants("changed")
}

// A user may have 20 streams. Another one replaces the oldest of the session that has the most, so a session cannot take the places of
// others, and whoever reloads a page is not refused.
func TestEventsAreBounded(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	phone, bob := openStream(c.AlicePhone, "/sessions/events"), openStream(c.Bob, "/sessions/events")
	var laptop []*stream
	for range 22 {
		laptop = append(laptop, openStream(c.Alice, "/sessions/events"))
	}
	for _, replaced := range laptop[:3] {
		replaced.wants(":", "replaced", "end")
	}
	if _, err := c.Store.RevokeUserByCommand(t.Context(), "alice"); err != nil {
		t.Fatal(err)
	}
	for _, kept := range append(laptop[3:], phone) {
		kept.wants(":", "ended", "end")
	}
	for range 20 { // the others have left
		laptop = append(laptop, openStream(c.Bob, "/sessions/events"))
	}
	bob.wants(":", "replaced", "end")
}

// While the database does not answer, a stream ends. It used to send events without a pause.
func TestEventsWhenTheDatabaseIsGone(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	soon := c.Clock.Now().Add(time.Second)
	c.Exec(`UPDATE sessions SET expires_at = ? WHERE id = ?`, soon.UnixMilli(), c.AlicePhone.ID)
	laptop := openStream(c.Alice, "/sessions/events")
	laptop.wants(":")
	if err := os.Remove(c.Path + "-wal"); err != nil {
		t.Fatal(err)
	}
	laptop.wants("end") // when its timer looks for the next session that expires
}

func TestEventsEndWithTheServer(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	events := openStream(c.Alice, "/sessions/events")
	events.wants(":")
	c.Stop() // fails the test if it takes longer than five seconds
	events.wants("end")
}

func TestEventsNeedASession(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	c.Alice.Do("HEAD", "/sessions/events", "").Is(t, 200)
	stranger := c.NewClient(handlerstest.FirefoxOnLinux)
	got := stranger.Do("GET", "/sessions/events", "", "HX-Request", "true", "HX-Current-URL", c.URL+"/sessions")
	got.Is(t, 401)
	if at := got.Header.Get("HX-Redirect"); at != "/login?next=%2Fsessions" {
		t.Errorf("HX-Redirect %q", at)
	}
}
