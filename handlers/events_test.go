package handlers_test

import (
	"crypto/rand"
	"io"
	"os"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"time"

	"porchlight/db"
	"porchlight/handlers/handlerstest"
)

// This file tests the event stream.

func TestEventsOfChanges(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	laptop, phone := c.Alice.Stream("/sessions/events"), c.AlicePhone.Stream("/sessions/events")
	bob := c.Bob.Stream("/sessions/events")
	laptop.Wants(":")
	phone.Wants(":")
	bob.Wants(":")
	third := c.SignIn("alice", handlerstest.AlicePassword, "curl/8.5.0")
	laptop.Wants("changed")
	phone.Wants("changed")
	c.CreateKey(third.Token(), notes)
	laptop.Wants("changed")
	phone.Wants("changed")
	c.Alice.Form("/sessions/"+c.AlicePhone.ID+"/name", "name", "Kitchen").Is(t, 303)
	laptop.Wants("changed")
	phone.Wants("changed")
	third.API("DELETE", "/me/sessions/"+c.AlicePhone.ID, "").Is(t, 200)
	laptop.Wants("changed")
	phone.Wants("ended", "end")
	if _, err := c.Store.RevokeUser(t.Context(), db.CommandLine, "alice"); err != nil {
		t.Fatal(err)
	}
	laptop.Wants("ended", "end")
	c.Bob.Form("/sessions/"+c.Bob.ID+"/name", "name", "Desk").Is(t, 303)
	bob.Wants("changed") // the first: nothing of alice's reached bob
}

// A password change gives the session a new token. It is still the same session.
func TestEventsOutliveAPasswordChange(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	laptop, phone := c.Alice.Stream("/sessions/events"), c.AlicePhone.Stream("/sessions/events")
	laptop.Wants(":")
	phone.Wants(":")
	c.Alice.Form("/account/password", "current_password", handlerstest.AlicePassword, "new_password", "gravel lantern opera thimble",
		"end_others", "1").Is(t, 303)
	laptop.Wants("changed")
	phone.Wants("ended", "end")
}

func TestEventsOfAnAccountThatIsDisabledOrDeleted(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	alice, bob := c.Alice.Stream("/sessions/events"), c.Bob.Stream("/sessions/events")
	alice.Wants(":")
	bob.Wants(":")
	if err := c.Store.DisableUser(t.Context(), db.CommandLine, "bob", false); err != nil {
		t.Fatal(err)
	}
	bob.Wants("ended", "end")
	if err := c.Store.DeleteUser(t.Context(), db.CommandLine, "alice", true); err != nil {
		t.Fatal(err)
	}
	alice.Wants("ended", "end")
}

// A stream begins with the events that happened after its page was rendered.
func TestEventsThatWereMissed(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	newest := c.Only(`SELECT MAX(a.id) FROM activity a JOIN users u ON u.id = a.user_id WHERE u.username = 'alice'`)
	c.Alice.Stream("/sessions/events?after=" + newest).Wants(":")
	c.Alice.Stream("/sessions/events?after=").Wants(":")
	for _, after := range []string{"0", "-1", "x", newest + "x", "999999999999999999999", "%00%0A", strings.Repeat("9", 8<<10)} {
		c.Alice.Stream("/sessions/events?after=" + after).Wants("changed")
	}
	c.Alice.Stream("/sessions/events?after="+newest, "Last-Event-ID", strings.Repeat("x", 8<<10)).Wants("changed")
	c.Alice.Stream("/sessions/events?after="+newest, "Last-Event-ID", "1").Wants("changed")
}

func TestEventsAreNoActivity(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	flush(c.House)
	c.Clock.Advance(time.Hour)
	unchanged := c.Unchanged()
	events := c.Alice.Stream("/sessions/events")
	events.Wants(":")
	flush(c.House)
	unchanged(t)
}

// A session ends by itself while its stream is open: the stream says so without any write to the database.
func TestEventsOfASessionThatExpires(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	soon := c.Clock.Now().Add(50 * time.Millisecond)
	c.Exec(`UPDATE sessions SET expires_at = ? WHERE id = ?`, soon.UnixMilli(), c.AlicePhone.ID)
	laptop, phone := c.Alice.Stream("/sessions/events"), c.AlicePhone.Stream("/sessions/events")
	laptop.Wants(":")
	phone.Wants(":")
	c.Clock.Advance(50 * time.Millisecond) // the timers run on the real clock
	phone.Wants("ended", "end")
	laptop.Wants("changed")
}

// The clock is set back while a stream is open: the stream goes on, and knows when the next session expires.
func TestEventsWhenTheClockGoesBack(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	laptop, phone := c.Alice.Stream("/sessions/events"), c.AlicePhone.Stream("/sessions/events")
	laptop.Wants(":")
	phone.Wants(":")
	c.Clock.Advance(-365 * 24 * time.Hour)
	soon := c.Clock.Now().Add(50 * time.Millisecond)
	c.Exec(`UPDATE sessions SET expires_at = ? WHERE id = ?`, soon.UnixMilli(), c.AlicePhone.ID)
	c.Alice.Form("/sessions/"+c.Alice.ID+"/name", "name", "Desk").Is(t, 303)
	laptop.Wants("changed")
	phone.Wants("changed")
	c.Clock.Advance(50 * time.Millisecond)
	phone.Wants("ended", "end")
	laptop.Wants("changed")
}

// A user may have 20 streams. Another one replaces the oldest of the session that has the most, so a session cannot take the places of
// others, and a reload of a page is not refused.
func TestEventsAreBounded(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	phone, bob := c.AlicePhone.Stream("/sessions/events"), c.Bob.Stream("/sessions/events")
	var laptop []*handlerstest.Stream
	for range 22 {
		laptop = append(laptop, c.Alice.Stream("/sessions/events"))
	}
	for _, replaced := range laptop[:3] {
		replaced.Wants(":", "replaced", "end")
	}
	if _, err := c.Store.RevokeUser(t.Context(), db.CommandLine, "alice"); err != nil {
		t.Fatal(err)
	}
	for _, kept := range append(laptop[3:], phone) {
		kept.Wants(":", "ended", "end")
	}
	c.Bob.Form("/sessions/"+c.Bob.ID+"/name", "name", "Desk").Is(t, 303)
	bob.Wants(":", "changed")
}

// While the database does not answer, a stream ends. It used to send events without a pause.
func TestEventsWhenTheDatabaseIsGone(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	soon := c.Clock.Now().Add(time.Second)
	c.Exec(`UPDATE sessions SET expires_at = ? WHERE id = ?`, soon.UnixMilli(), c.AlicePhone.ID)
	laptop := c.Alice.Stream("/sessions/events")
	laptop.Wants(":")
	if err := os.Remove(c.Path + "-wal"); err != nil {
		t.Fatal(err)
	}
	laptop.Wants("end") // when its timer looks for the next session that expires
}

func TestEventsEndWithTheServer(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	events := c.Alice.Stream("/sessions/events")
	events.Wants(":")
	c.Stop() // fails the test if it takes longer than five seconds
	events.Wants("end")
}

// Clients keep opening streams while the server stops. Each stream that begins ends.
func TestEventsBeginWhileTheServerStops(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	const clients = 8
	begun := make(chan struct{}, clients)
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			for first := true; ; first = false {
				response, err := c.Alice.HTTP.Get(c.URL + "/sessions/events")
				if err != nil {
					return // nobody listens any more
				}
				if first {
					begun <- struct{}{}
				}
				io.Copy(io.Discard, response.Body)
				response.Body.Close()
			}
		})
	}
	for range clients {
		<-begun
	}
	c.Stop() // fails the test if it takes longer than five seconds
	all.Wait()
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

// A thousand connections that came and went leave no goroutine and take no place among the user's streams. Not parallel, because it counts
// the goroutines of the whole process.
func TestEventsLeaveNothingBehind(t *testing.T) {
	c := handlerstest.OpenCast(t)
	for range 1000 {
		s := c.Alice.Stream("/sessions/events")
		s.Wants(":")
		s.Cancel()
	}
	rename := func() { c.Alice.Form("/sessions/"+c.Alice.ID+"/name", "name", rand.Text()).Is(t, 303) }
	for deadline := time.Now().Add(handlerstest.Patience); ; rename() { // the server notices that a client has gone when it writes
		var all strings.Builder
		if err := pprof.Lookup("goroutine").WriteTo(&all, 1); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(all.String(), "eventStream") && !strings.Contains(all.String(), "followActivity") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("left over:\n%s", all.String())
		}
	}
	var open []*handlerstest.Stream
	for range 20 {
		open = append(open, c.AlicePhone.Stream("/sessions/events"))
	}
	rename()
	open[0].Wants(":", "changed")
}
