package notify

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"porchlight/db"
	"porchlight/db/dbtest"
	"porchlight/notify/notifytest"
)

var mailOnly = db.Ways{Mail: true}

// token returns the token of the only link in a mail to a path.
func token(t *testing.T, mail notifytest.Mail, path string) string {
	t.Helper()
	text := strings.ReplaceAll(strings.ReplaceAll(mail.Data, "=\r\n", ""), "=3D", "=") // quoted-printable
	found := regexp.MustCompile(`(?m)^https://auth\.example\.com`+path+`\?token=(\w+)\r?$`).FindAllStringSubmatch(text, -1)
	if len(found) != 1 {
		t.Fatalf("%d links to %s in\n%s", len(found), path, text)
	}
	return found[0][1]
}

func TestAlertByMail(t *testing.T) {
	t.Parallel()
	h := openHouse(t, mailOnly)
	host := notifytest.NewMailHost(t, "smtp")
	h.run(Options{Mail: mailer(t, "smtp", "", host.Address, host.Roots)})
	h.signIn("Chrome on <b>Windows</b>")
	got := notifytest.Next(t, host.Arrived)
	if got.To != "ada@example.com" || !strings.Contains(got.Data, "Subject: New sign-in to your account\r\n") ||
		!strings.Contains(got.Data, "Device: Chrome on <b>Windows</b>\r\nIP address: 192.0.2.7\r\nTime: 18 November 2026, 10:02 UTC\r\n") {
		t.Errorf("the mail is %+v", got)
	}
	alert, err := h.NotMeAlert(t.Context(), token(t, got, "/not-me"), db.Client{IP: "192.0.2.8"})
	if err != nil || alert.Username != "ada" {
		t.Errorf("the link: %+v, %v", alert, err)
	}
	h.eventually("the message is delivered", func() bool { return h.outbox() == "" && h.delivery(db.Mail) == "" })
}

// Links arrive by mail, and work.
func TestLinksByMail(t *testing.T) {
	t.Parallel()
	h := openHouse(t, mailOnly)
	host := notifytest.NewMailHost(t, "smtp")
	h.run(Options{Mail: mailer(t, "smtp", "", host.Address, host.Roots)})
	client := db.Client{IP: "192.0.2.8"}
	must(t, h.RequestReset(t.Context(), "ada", client))
	user, err := h.Reset(t.Context(), token(t, notifytest.Next(t, host.Arrived), "/reset"), client)
	if err != nil || user.Username != "ada" {
		t.Errorf("Reset: %+v: %v", user, err)
	}
	must(t, h.RequestEmailChange(t.Context(), h.admin, "lovelace@example.com"))
	got := notifytest.Next(t, host.Arrived)
	if got.To != "lovelace@example.com" {
		t.Errorf("sent to %s", got.To)
	}
	if _, err := h.ConfirmEmail(t.Context(), token(t, got, "/account/email/confirm"), client); err != nil {
		t.Fatal(err)
	}
	first, second := notifytest.Next(t, host.Arrived), notifytest.Next(t, host.Arrived)
	if first.To != "ada@example.com" {
		first, second = second, first
	}
	if first.To != "ada@example.com" || !strings.Contains(first.Data, "e-mail address of the account ada has changed") ||
		second.To != "lovelace@example.com" || !strings.Contains(second.Data, "This is now the e-mail address") {
		t.Errorf("%+v\n%+v", first, second)
	}
	alert, err := h.NotMeAlert(t.Context(), token(t, first, "/not-me"), client)
	if err != nil || alert.Email != "ada@example.com" {
		t.Errorf("NotMeAlert: %+v: %v", alert, err)
	}
}

// A message that the server does not take yet is sent again after a minute, as the same message.
func TestRetry(t *testing.T) {
	t.Parallel()
	h := openHouse(t, mailOnly)
	host := notifytest.NewMailHost(t, "smtp")
	host.Refuse(notifytest.Refusal(451, [3]int{4, 7, 1}, "greylisted"), notifytest.Refusal(452, [3]int{4, 2, 2}, "mailbox full"))
	h.run(Options{Mail: mailer(t, "smtp", "", host.Address, host.Roots)})
	h.signIn("Chrome on Windows")
	h.eventually("the first failure", func() bool { return strings.Contains(h.delivery(db.Mail), ": 451 4.7.1 greylisted") })
	h.advance(time.Minute)
	h.eventually("the second failure", func() bool { return strings.Contains(h.delivery(db.Mail), ": 452 4.2.2 mailbox full") })
	h.advance(2 * time.Minute)
	notifytest.Next(t, host.Arrived)
	h.eventually("it is delivered", func() bool { return h.outbox() == "" && h.delivery(db.Mail) == "" })
	for _, line := range []string{"greylisted", "mailbox full", "messages get through again"} {
		if n := strings.Count(h.log.String(), line); n != 1 {
			t.Errorf("%d times %q in the log: %s", n, line, h.log.String())
		}
	}
}

// A mail that the server will never take is not sent again, and says nothing about the server.
func TestPermanentRefusal(t *testing.T) {
	t.Parallel()
	h := openHouse(t, mailOnly)
	host := notifytest.NewMailHost(t, "smtp")
	host.Refuse(notifytest.Refusal(550, [3]int{5, 1, 1}, "no such user here"))
	h.run(Options{Mail: mailer(t, "smtp", "", host.Address, host.Roots)})
	h.signIn("Chrome on Windows")
	h.eventually("it is given up", func() bool { return h.outbox() == "" && strings.Contains(h.delivery(db.Mail), "no such user here") })
	if got := dbtest.Rows(t, h.path, `SELECT done_by FROM activity WHERE kind = 'delivery_failed'`); len(got) != 1 || got[0] != "mail" {
		t.Errorf("activity: %q", got)
	}
	h.signIn("Safari on iPhone")
	notifytest.Next(t, host.Arrived)
	h.eventually("the next one is delivered", func() bool { return h.outbox() == "" && h.delivery(db.Mail) == "" })
	if log := h.log.String(); strings.Count(log, "message refused permanently") != 1 || strings.Contains(log, "retried") ||
		strings.Contains(log, "again") {
		t.Errorf("the log is %s", log)
	}
}

func TestGivesUpAfterADay(t *testing.T) {
	t.Parallel()
	h := openHouse(t, mailOnly)
	h.run(Options{Mail: mailer(t, "smtp", "", "127.0.0.1:1", nil)}) // nothing listens there
	h.signIn("Chrome on Windows")
	tried := func() bool {
		at := strconv.FormatInt(h.clock.Now().UnixMilli(), 10)
		return slices.Contains(dbtest.Rows(t, h.path, `SELECT at FROM deliveries`), at)
	}
	h.eventually("the first attempt", tried)
	for hours := 1; h.outbox() != ""; hours++ {
		h.advance(time.Hour)
		h.eventually("another attempt", tried)
		if hours > 25 {
			t.Fatalf("still tried after %d hours: %s", hours, h.outbox())
		}
	}
	// The message leaves the outbox before that is logged.
	h.eventually("it is logged", func() bool { return strings.Contains(h.log.String(), "gave up on a message after a day") })
	if log := h.log.String(); strings.Count(log, "cannot send a message") != 1 {
		t.Errorf("the log is %s", log)
	}
}

// A mail server that hangs holds up neither the other ways nor the stop, and its message is sent after the next start.
func TestHangingServer(t *testing.T) {
	t.Parallel()
	h := openHouse(t, db.Ways{Mail: true, Ntfy: true, Webhook: true})
	address, connected := hang(t)
	ntfy, hook := newWebServer(t), newWebServer(t)
	stop := h.run(Options{Mail: mailer(t, "smtp", "", address, nil), Ntfy: ntfy.url, Webhook: hook.url})
	h.signIn("Chrome on Windows")
	notifytest.Next(t, connected)
	notifytest.Next(t, ntfy.arrived)
	notifytest.Next(t, hook.arrived)
	h.eventually("only the mail waits", func() bool { return h.outbox() == "mail signed_in 1 " })
	stop()
	if got := h.outbox(); got != "mail signed_in 1 " {
		t.Errorf("the outbox is %q", got)
	}
	host := notifytest.NewMailHost(t, "smtp")
	h.run(Options{Mail: mailer(t, "smtp", "", host.Address, host.Roots)})
	h.advance(time.Minute) // the claim of the first sender ends
	notifytest.Next(t, host.Arrived)
	h.eventually("the outbox is empty", func() bool { return h.outbox() == "" })
}

// With a dead server, nothing grows but the outbox. Once the server is back, everything is sent.
func TestOutboxEmptiesOnceTheServerIsBack(t *testing.T) {
	t.Parallel()
	h := openHouse(t, db.Ways{Webhook: true})
	const messages = 1000
	dbtest.Exec(t, h.path, `
		WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1)
		INSERT INTO outbox (user_id, way, address, former, kind, is_link, about, happened_at, ip, device_name, session_id, device_id, done_by,
		                    count, next_at, give_up_at)
		SELECT $2, 'webhook', '', 0, 'signed_in', 0, i, 1, '', '', '', '', '', 1, 1, 1 << 60
		FROM n`, messages, h.ada.ID)
	var refuse []http.HandlerFunc
	for range messages {
		refuse = append(refuse, answer(503, "down for maintenance"))
	}
	hook := newWebServer(t, refuse...)
	h.run(Options{Webhook: hook.url})
	failed := "webhook signed_in 1 " + hook.url.Host + ": 503 Service Unavailable down for maintenance"
	h.eventually("every message has failed once", func() bool {
		return h.outbox() == strings.TrimSpace(strings.Repeat(failed+"\n", messages))
	})
	if n := strings.Count(h.log.String(), "level=WARN"); n != 1 {
		t.Errorf("%d lines in the log", n)
	}
	h.advance(time.Minute)
	h.eventually("the outbox is empty", func() bool { return h.outbox() == "" })
	if len(hook.arrived) != 2*messages {
		t.Errorf("%d requests", len(hook.arrived))
	}
}

// The request is one that ntfy takes: https://docs.ntfy.sh/publish/#publish-as-json
func TestAlertByNtfy(t *testing.T) {
	t.Parallel()
	h := openHouse(t, db.Ways{Ntfy: true})
	ntfy := newWebServer(t)
	ntfy.url.User = url.UserPassword("", "tk_secret")
	h.run(Options{Ntfy: ntfy.url})
	h.signIn(`Chrome"} on Windows`)
	got := notifytest.Next(t, ntfy.arrived)
	var message ntfyMessage
	decoder := json.NewDecoder(strings.NewReader(got.body))
	decoder.DisallowUnknownFields()
	must(t, decoder.Decode(&message))
	if got.path != "/" && got.path != "" || message.Topic != "ada-alerts" || message.Title != "New sign-in to your account" ||
		message.Priority != 4 || message.Click != "https://auth.example.com/sessions" ||
		!strings.Contains(message.Message, "\nDevice: Chrome\"} on Windows\nIP address: 192.0.2.7\n") {
		t.Errorf("%s: %+v", got.path, message)
	}
	if user, password, ok := (&http.Request{Header: got.header}).BasicAuth(); !ok || user != "" || password != "tk_secret" {
		t.Errorf("signed in as %q %q", user, password)
	}
	if strings.Contains(got.body, "token") || got.header.Get(signatureHeader) != "" {
		t.Errorf("the body is %s, the header %v", got.body, got.header)
	}

	_, err := h.Store.CreateUser(t.Context(), db.NewUser{Username: "carol", Password: "pebble sonnet harbour walnut", SignUp: true})
	must(t, err)
	got = notifytest.Next(t, ntfy.arrived)
	must(t, json.Unmarshal([]byte(got.body), &message))
	if message.Title != "Somebody is waiting for approval" || message.Priority != 3 ||
		message.Click != "https://auth.example.com/admin/users?waiting=1" || !strings.Contains(message.Message, "\nUsername: carol\n") {
		t.Errorf("the message is %+v", message)
	}
}

// What a web server may answer. No redirect is followed, and nothing long or strange gets into the log.
func TestPostFailures(t *testing.T) {
	t.Parallel()
	elsewhere := newWebServer(t)
	cutOff := make(chan bool, 1)
	huge := func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(502)
		var err error
		for range 64 { // MB
			if _, err = io.WriteString(w, strings.Repeat("huge ", 1<<20/5)); err != nil {
				break
			}
		}
		cutOff <- err != nil
	}
	for _, test := range []struct {
		answer http.HandlerFunc
		want   string
	}{
		{answer(500, "it\nbroke"), ": 500 Internal Server Error it broke"},
		{answer(403, `{"code":40301,"http":403,"error":"forbidden","link":"https://ntfy.sh/docs"}`), ": 403 Forbidden forbidden"},
		{answer(404, "<html><script>alert(1)</script>"), ": 404 Not Found alert(1)"},
		{http.RedirectHandler(elsewhere.url.String(), http.StatusTemporaryRedirect).ServeHTTP, ": 307 Temporary Redirect"},
		{huge, ": 502 Bad Gateway huge huge"},
		{func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, ": EOF"},
	} {
		h := openHouse(t, db.Ways{Webhook: true})
		hook := newWebServer(t, test.answer)
		hook.url.User = url.UserPassword("porchlight", "s3cret")
		h.run(Options{Webhook: hook.url})
		h.signIn("Chrome on Windows")
		h.eventually(test.want, func() bool { return strings.HasPrefix(h.delivery(db.Webhook), hook.url.Host+test.want) })
		if strings.Contains(h.log.String(), "s3cret") || len(h.log.String()) > 2000 {
			t.Errorf("the log is %s", h.log.String())
		}
		h.advance(time.Minute)
		h.eventually("delivered", func() bool { return h.outbox() == "" })
	}
	if len(elsewhere.arrived) > 0 {
		t.Error("a redirect was followed")
	}
	if !<-cutOff {
		t.Error("the huge answer was read to its end")
	}
}

// A web server that hangs does not hold up the stop.
func TestPostServerHangs(t *testing.T) {
	t.Parallel()
	h := openHouse(t, db.Ways{Webhook: true})
	address, connected := hang(t)
	stop := h.run(Options{Webhook: &url.URL{Scheme: "http", Host: address}})
	h.signIn("Chrome on Windows")
	notifytest.Next(t, connected)
	stop()
	if got := h.outbox(); got != "webhook signed_in 1 " {
		t.Errorf("the outbox is %q", got)
	}
}

func TestWebhook(t *testing.T) {
	t.Parallel()
	h := openHouse(t, db.Ways{Webhook: true})
	hook := newWebServer(t)
	h.run(Options{Webhook: hook.url.JoinPath("porchlight")})
	session := h.signIn("Chrome on Windows")
	got := notifytest.Next(t, hook.arrived)
	id := strings.TrimPrefix(strings.Split(got.body, ",")[0], `{"id":`)
	want := `{"id":` + id + `,"kind":"signed_in","at":"2026-11-18T10:02:00Z","username":"ada","ip":"192.0.2.7",` +
		`"deviceName":"Chrome on Windows","sessionId":"` + session.ID + `","by":"Chrome on Windows","count":1}`
	if got.path != "/porchlight" || got.body != want {
		t.Errorf("%s %s, want %s", got.path, got.body, want)
	}
	key := WebhookKey(h.Store)
	if want := sign(key, []byte(got.body), h.clock.Now()); got.header.Get(signatureHeader) != want || len(key) != 64 {
		t.Errorf("%s, want %s", got.header.Get(signatureHeader), want)
	}
}
