package db_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"porchlight/db"
)

// An alert and its event are one transaction: what was committed is sent after a crash, and what failed is not.
func TestMessageIsWrittenWithItsEvent(t *testing.T) {
	t.Parallel()
	c := openMailCast(t)
	c.signIn(c.alice, "curl", "192.0.2.1")
	events := c.number(`SELECT COUNT(*) FROM activity`)
	c.exec(`CREATE TRIGGER full BEFORE INSERT ON outbox BEGIN SELECT RAISE(ABORT, 'no room'); END`)
	if _, _, err := c.SignIn(c.ctx(), c.alice, db.NewSession{Client: somewhere}); err == nil {
		t.Error("signed in without an alert")
	}
	c.exec(`DROP TRIGGER full`)
	if n := c.number(`SELECT COUNT(*) FROM activity`); n != events {
		t.Error("an event without its message was recorded")
	}
	// Another process finds the message, as the next one does after kill -9: the first has closed nothing.
	next, err := db.Open(c.ctx(), db.Options{Path: c.options.Path, HashCost: c.options.HashCost, Now: c.clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	messages, err := next.ClaimMessages(c.ctx(), db.Mail, 100)
	if err != nil || len(messages) != 1 || messages[0].Kind != db.SignedIn || messages[0].Address != aliceEmail {
		t.Fatalf("the second process claimed %+v, %v", messages, err)
	}
	// That one is killed after the claim, too.
	c.clock.Advance(time.Minute)
	if m := c.onlyMail(); m.ID != messages[0].ID || m.Attempts != 2 {
		t.Errorf("after the claim has ended: %+v", m)
	}
}

// The process that committed the event is killed before anything is sent.
func TestMessageSurvivesAKill(t *testing.T) {
	t.Parallel()
	c := openMailCast(t)
	other := startOther(t, c.options.Path)
	other.do("passwd", "alice")
	other.kill()
	c.reopen()
	if m := c.onlyMail(); m.Kind != db.PasswordChanged || m.Address != aliceEmail {
		t.Errorf("the message after the kill is %+v", m)
	}
}

func TestClaimEndsAfterAMinute(t *testing.T) {
	t.Parallel()
	c := openMailCast(t)
	if _, err := c.NextDue(db.Mail); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("nothing waits: %v", err)
	}
	c.signIn(c.alice, "curl", "192.0.2.1")
	if next, err := c.NextDue(db.Mail); err != nil || !next.Equal(c.clock.Now()) {
		t.Errorf("due at %v, %v", next, err)
	}
	first := c.onlyMail()
	c.clock.Advance(time.Minute - time.Millisecond)
	if again := c.claim(db.Mail); len(again) > 0 {
		t.Errorf("claimed twice: %+v", again)
	}
	c.clock.Advance(time.Millisecond)
	second := c.onlyMail()
	c.clock.Advance(10 * time.Second)
	// The first sender is late. Its failure does not disturb the second one, and its success counts.
	if givenUp, err := c.Failed(c.ctx(), first, "slow"); givenUp || err != nil {
		t.Error(givenUp, err)
	}
	if next, _ := c.NextDue(db.Mail); !next.Equal(c.clock.Now().Add(50 * time.Second)) {
		t.Errorf("due at %v", next)
	}
	if err := errors.Join(c.Delivered(c.ctx(), first), c.Delivered(c.ctx(), second)); err != nil {
		t.Error(err)
	}
	c.wantWaiting("delivered", "ntfy alice_phone signed_in 1", "webhook signed_in 1")
}

// A refused message is given up at once, unless another sender has it in the meantime.
func TestRefusedMessage(t *testing.T) {
	t.Parallel()
	c := openMailCast(t)
	c.signIn(c.alice, "curl", "192.0.2.1")
	late := c.onlyMail()
	c.clock.Advance(time.Hour)
	m := c.onlyMail()
	c.must(c.Refused(c.ctx(), late, "550 no such user"))
	if n := c.number(`SELECT COUNT(*) FROM outbox WHERE way = 'mail'`); n != 1 {
		t.Error("a late report gave up on the message of another sender")
	}
	c.must(c.Refused(c.ctx(), m, "550 no\r\nsuch user"))
	if n := c.number(`SELECT COUNT(*) FROM outbox WHERE way = 'mail'`); n != 0 {
		t.Error("it is still there")
	}
	c.wantLatest(c.alice, happening{Kind: db.DeliveryFailed, By: "mail", Count: 1})
	if got := c.text(`SELECT error FROM deliveries WHERE way = 'mail'`); got != "550 no  such user" {
		t.Errorf("the last result is %q", got)
	}
}

// Pauses grow to an hour. After a day, the sender gives up.
func TestFailedMessages(t *testing.T) {
	t.Parallel()
	c := openMailCast(t)
	c.signIn(c.alice, "curl", "192.0.2.1")
	began := c.clock.Now()
	var pauses []time.Duration
	for {
		if len(pauses) == 100 {
			t.Fatal("it never gives up")
		}
		m := c.onlyMail()
		c.clock.Advance(3 * time.Second) // the other server takes its time
		givenUp, err := c.Failed(c.ctx(), m, "451 try later")
		if err != nil {
			t.Fatal(err)
		}
		if givenUp {
			break
		}
		next, err := c.NextDue(db.Mail)
		if err != nil {
			t.Fatal(err)
		}
		pauses = append(pauses, next.Sub(c.clock.Now()))
		c.clock.Advance(next.Sub(c.clock.Now()) - time.Millisecond)
		if due := c.claim(db.Mail); len(due) > 0 {
			t.Fatalf("attempt %d comes early", due[0].Attempts)
		}
		c.clock.Advance(time.Millisecond)
	}
	want := []time.Duration{1, 2, 4, 8, 16, 32, 60, 60}
	for i := range want {
		want[i] *= time.Minute
	}
	if !slices.Equal(pauses[:len(want)], want) || pauses[len(pauses)-1] != time.Hour {
		t.Errorf("the pauses are %v", pauses)
	}
	if tried := c.clock.Now().Sub(began); tried < 22*time.Hour || tried > 24*time.Hour {
		t.Errorf("gave up after %v", tried)
	}
	c.wantWaiting("given up", "ntfy alice_phone signed_in 1", "webhook signed_in 1")
	c.wantLatest(c.alice, happening{Kind: db.DeliveryFailed, By: "mail", Count: 1})
	if got, err := c.Deliveries(c.alice.ID); err != nil || len(got) != 1 || got[0] != (db.Delivery{
		Way: db.Mail, At: got[0].At, Error: "451 try later"}) || !got[0].At.Equal(c.clock.Now()) {
		t.Errorf("the deliveries are %+v, %v", got, err)
	}
}

func TestLastResultOfEachWay(t *testing.T) {
	t.Parallel()
	c := openMailCast(t)
	c.signIn(c.alice, "curl", "192.0.2.1")
	hostile := "550 <script>\r\nX-Evil: 1\x00\x1b[31m\xff" + strings.Repeat("ä", 400)
	if _, err := c.Failed(c.ctx(), c.onlyMail(), hostile); err != nil {
		t.Fatal(err)
	}
	if err := c.Delivered(c.ctx(), c.claim(db.Ntfy)[0]); err != nil {
		t.Fatal(err)
	}
	got, err := c.Deliveries(c.alice.ID)
	if err != nil || len(got) != 2 || got[1].Way != db.Ntfy || got[1].Error != "" {
		t.Fatalf("the deliveries are %+v, %v", got, err)
	}
	if text := got[0].Error; len(text) > 300 || len(text) < 290 || strings.ContainsAny(text, "\r\n\x00\x1b") || !utf8.ValidString(text) {
		t.Errorf("stored is %q", text)
	}
	if other, err := c.Deliveries(c.bob.ID); err != nil || len(other) > 0 {
		t.Errorf("bob: %+v, %v", other, err)
	}
	c.clock.Advance(time.Minute)
	if err := c.Delivered(c.ctx(), c.onlyMail()); err != nil {
		t.Fatal(err)
	}
	if got, err := c.Deliveries(c.alice.ID); err != nil || got[0].Error != "" || !got[0].At.Equal(c.clock.Now()) {
		t.Errorf("after a success, the deliveries are %+v, %v", got, err)
	}
}

// Of several senders at once, each message goes to one.
func TestSendersDoNotShareMessages(t *testing.T) {
	t.Parallel()
	c := openMailCast(t, withWays(db.Ways{Mail: true}))
	for i := range 60 {
		c.signIn(c.alice, fmt.Sprint("browser ", i), "192.0.2.1")
	}
	var mu sync.Mutex
	sent := map[int64]int{}
	var senders sync.WaitGroup
	for range 8 {
		senders.Go(func() {
			for {
				messages, err := c.ClaimMessages(c.ctx(), db.Mail, 3)
				if err != nil {
					t.Error(err)
				}
				if len(messages) == 0 {
					return
				}
				for _, m := range messages {
					mu.Lock()
					sent[m.ID]++
					mu.Unlock()
					if err := c.Delivered(c.ctx(), m); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	senders.Wait()
	for id, times := range sent {
		if times != 1 {
			t.Errorf("message %d was claimed %d times", id, times)
		}
	}
	if len(sent) != 60 {
		t.Errorf("%d of 60 were sent", len(sent))
	}
}

// fillOutbox adds n alerts about bob, who has no way but the webhook.
func (c *cast) fillOutbox(n int) {
	c.t.Helper()
	c.exec(`
		WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1)
		INSERT INTO outbox (user_id, way, address, former, kind, is_link, about, happened_at, ip, device_name, session_id, device_id, done_by,
		                    count, next_at, give_up_at)
		SELECT $2, 'webhook', '', 0, 'signed_in', 0, i, 0, '', '', '', '', '', 1, $3, $3 + 1000000 FROM n`,
		n, c.bob.ID, c.clock.Now().UnixMilli())
}

// The outbox is bounded for each user and in all. The oldest alerts go, links stay, and links are sent first.
func TestOutboxIsBounded(t *testing.T) {
	t.Parallel()
	c := openMailCast(t, withWays(db.Ways{Mail: true}))
	if err := c.RequestReset(c.ctx(), "alice", somewhere); err != nil {
		t.Fatal(err)
	}
	for i := range 120 {
		c.signIn(c.alice, fmt.Sprint("browser ", i), "192.0.2.1")
	}
	if n := c.number(`SELECT COUNT(*) FROM outbox WHERE is_link = 0`); n != 100 {
		t.Errorf("%d alerts wait", n)
	}
	messages := c.claim(db.Mail)
	if messages[0].Kind != db.PasswordLink || messages[1].DeviceName != "browser 20" {
		t.Errorf("first: %+v, %+v", messages[0], messages[1])
	}

	c.fillOutbox(10_100)
	c.signIn(c.alice, "one more", "192.0.2.1")
	if n := c.number(`SELECT COUNT(*) FROM outbox WHERE is_link = 0`); n != 10_000 {
		t.Errorf("%d alerts wait", n)
	}
	if n := c.number(`SELECT COUNT(*) FROM outbox WHERE is_link = 1`); n != 1 {
		t.Errorf("%d links wait", n)
	}
	if n := c.number(`SELECT COUNT(*) FROM outbox WHERE device_name = 'one more'`); n != 1 {
		t.Error("the newest alert is missing")
	}
}

// A dead server for one way holds up no other.
func TestWaysAreClaimedApart(t *testing.T) {
	t.Parallel()
	c := openMailCast(t)
	c.signIn(c.alice, "curl", "192.0.2.1")
	c.onlyMail()
	if got := c.claim(db.Ntfy); len(got) != 1 || got[0].Address != aliceTopic || got[0].Token != "" {
		t.Errorf("claimed for ntfy: %+v", got)
	}
	if got := c.claim(db.Webhook); len(got) != 1 {
		t.Errorf("claimed for the webhook: %+v", got)
	}
	waiting, err := c.WaitingMessages(c.alice.ID)
	if err != nil || len(waiting) != 3 || waiting[0].Kind != db.SignedIn {
		t.Errorf("these messages wait: %+v, %v", waiting, err)
	}
}

func TestSweepDeletesWhatMailLeavesBehind(t *testing.T) {
	t.Parallel()
	c := openMailCast(t)
	c.signIn(c.alice, "curl", "192.0.2.1")
	if err := c.RequestReset(c.ctx(), "alice", somewhere); err != nil {
		t.Fatal(err)
	}
	c.claim(db.Mail)
	left := func(table string, want int64) {
		t.Helper()
		if err := c.Sweep(c.ctx(), time.Time{}); err != nil {
			t.Fatal(err)
		}
		if n := c.number(`SELECT COUNT(*) FROM ` + table); n != want {
			t.Errorf("%v: %d rows in %s, want %d", c.clock.Now(), n, table, want)
		}
	}
	left("links", 2)
	left("recent_alerts", 1)
	left("outbox", 4)
	c.clock.Advance(time.Hour)
	left("links", 1) // the reset
	left("recent_alerts", 0)
	c.clock.Advance(47*time.Hour - time.Millisecond)
	left("outbox", 4)
	c.clock.Advance(time.Millisecond)
	left("outbox", 0)
	left("links", 1)
	c.clock.Advance(24 * time.Hour)
	left("links", 0)
}

// Messages and links from a clock that was ahead do not wait or last a year.
func TestMailFromTheFuture(t *testing.T) {
	t.Parallel()
	c := openMailCast(t)
	c.clock.Advance(365 * 24 * time.Hour)
	c.signIn(c.alice, "curl", "192.0.2.1")
	if err := c.RequestReset(c.ctx(), "alice", somewhere); err != nil {
		t.Fatal(err)
	}
	c.claim(db.Mail)
	c.clock.Advance(-365 * 24 * time.Hour)
	if err := c.Sweep(c.ctx(), time.Time{}); err != nil {
		t.Fatal(err)
	}
	now := c.clock.Now().UnixMilli()
	for what, query := range map[string]string{
		"links":         `SELECT COUNT(*) FROM links WHERE created_at > $1 OR expires_at > $1 + iif(kind = 'not_me', 259200000, 3600000)`,
		"outbox":        `SELECT COUNT(*) FROM outbox WHERE next_at > $1 + 3600000 OR give_up_at > $1 + 90000000`,
		"recent_alerts": `SELECT COUNT(*) FROM recent_alerts WHERE at > $1 + 3600000`,
	} {
		if n := c.number(query, now); n > 0 {
			t.Errorf("%s: %d rows", what, n)
		}
		if n := c.number(`SELECT COUNT(*) FROM ` + what); n == 0 {
			t.Errorf("%s is empty", what)
		}
	}
}

// A backup must not revive links, or send old alerts again.
func TestRestoreDropsLinksAndMessages(t *testing.T) {
	t.Parallel()
	c := openMailCast(t)
	c.signIn(c.alice, "curl", "192.0.2.1")
	if err := c.RequestReset(c.ctx(), "alice", somewhere); err != nil {
		t.Fatal(err)
	}
	c.claim(db.Mail)
	_, back := c.restore(c.backup())
	if n := back.number(`SELECT (SELECT COUNT(*) FROM links) + (SELECT COUNT(*) FROM outbox)`); n != 0 {
		t.Errorf("%d rows are left", n)
	}
}
