package main

import (
	"bufio"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"porchlight/db/dbtest"
	"porchlight/notify/notifytest"
)

// This file tests that alerts leave the program, even after a crash.

// A server that is killed while it sends a message sends it after the next start. The alert comes from a command, in another process.
func TestAlertsSurviveAKill(t *testing.T) {
	t.Parallel()
	f := newFixture(t, map[string]int{"bo": 1})
	bodies := make(chan string, 10)
	hang := make(chan bool, 1)
	hang <- true
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		bodies <- string(body)
		select {
		case <-hang:
			<-r.Context().Done() // until the process is killed
		default:
		}
	}))
	defer hook.Close()
	p := startProcess(t, "--data", f.data, "--webhook", hook.URL)
	mustRun(t, "pebble sonnet harbour walnut\n", f.with("user", "passwd", "bo")...)
	first := <-bodies
	p.command.Process.Kill()
	p.command.Wait()
	if !strings.Contains(first, `"kind":"password_changed"`) || !strings.Contains(first, `"username":"bo"`) {
		t.Errorf("the alert is %s", first)
	}
	waiting := func() []string { return dbtest.Rows(t, f.path(), `SELECT kind FROM outbox`) }
	if got := waiting(); len(got) != 1 {
		t.Fatalf("the outbox contains %q, want one message", got)
	}
	dbtest.Exec(t, f.path(), `UPDATE outbox SET next_at = 1`) // as if the claim, which lasts a minute, had expired
	start(t, f.data, "--webhook", hook.URL)
	if second := <-bodies; second != first {
		t.Errorf("sent %s, want %s again", second, first)
	}
	eventually(t, "the outbox is empty", func() bool { return len(waiting()) == 0 })
}

// The mail of an alert goes through the whole program.
func TestAlertByMail(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	host := notifytest.NewMailHost(t, "smtp+insecure")
	s := start(t, f.data, "--mail", "smtp+insecure://"+host.Address)
	c := s.signIn("ada", adaPassword) // the first sign-in alerts nobody
	status, body := c.form("/account/password", "current_password", adaPassword, "new_password", "pebble sonnet harbour walnut")
	if status != http.StatusSeeOther {
		t.Fatalf("change the password: %d %s", status, body)
	}
	got := notifytest.Next(t, host.Arrived)
	if got.From != "porchlight@localhost" || got.To != "ada@example.com" ||
		!strings.Contains(got.Data, "Subject: Your password was changed\r\n") || !strings.Contains(got.Data, "\r\nhttp://localhost:") {
		t.Errorf("the mail is %+v", got)
	}
}

// Somebody who forgot the password asks for a link, opens it, and chooses a new one.
func TestForgottenPassword(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	host := notifytest.NewMailHost(t, "smtp+insecure")
	s := start(t, f.data, "--mail", "smtp+insecure://"+host.Address)
	c := s.newClient()
	if status, body := c.form("/forgot", "name", "ada"); status != http.StatusSeeOther {
		t.Fatalf("POST /forgot: %d %s", status, body)
	}
	mail := strings.NewReplacer("=\r\n", "", "=3D", "=").Replace(notifytest.Next(t, host.Arrived).Data) // quoted-printable
	found := regexp.MustCompile(`\r\nhttp://localhost:\d+(/reset\?token=(\w+))\r\n`).FindStringSubmatch(mail)
	if found == nil {
		t.Fatalf("no link in %s", mail)
	}
	c.want(http.StatusOK, found[1])
	const password = "pebble sonnet harbour walnut"
	if status, body := c.form("/reset", "token", found[2], "password", password); status != http.StatusSeeOther {
		t.Fatalf("POST /reset: %d %s", status, body)
	}
	s.signIn("ada", password).want(http.StatusOK, "/sessions")
	c.want(http.StatusNotFound, found[1]) // it works once
}

// deploy/webhook.py accepts what the program sends, and nothing else.
func TestWebhookReceiver(t *testing.T) {
	t.Parallel()
	python, err := exec.LookPath("python3")
	if err != nil && os.Getenv("CI") == "true" {
		t.Fatal(err)
	} else if err != nil {
		t.Skip("python3 is missing: install it to run this test")
	}
	f := newFixture(t, nil)
	key := strings.TrimSpace(mustRun(t, "", f.with("doctor", "--webhook-key")...))
	address := dbtest.FreeAddress(t)
	_, port, _ := net.SplitHostPort(address)
	receiver := exec.CommandContext(t.Context(), python, "deploy/webhook.py", port)
	receiver.Env = append(os.Environ(), "KEY="+key)
	out, err := receiver.StdoutPipe()
	if err == nil {
		err = receiver.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer receiver.Wait()
	defer receiver.Process.Kill()
	const body = `{"kind":"signed_in"}`
	post := func(at time.Time, signed string) int {
		seconds := strconv.FormatInt(at.Unix(), 10)
		mac := hmac.New(sha256.New, []byte(key))
		io.WriteString(mac, seconds+"."+signed)
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+address, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Porchlight-Signature", fmt.Sprintf("t=%s,v1=%x", seconds, mac.Sum(nil)))
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return 0
		}
		response.Body.Close()
		return response.StatusCode
	}
	eventually(t, "the receiver rejects an old request", func() bool { return post(time.Now().Add(-time.Hour), body) == http.StatusForbidden })
	if got := post(time.Now(), strings.ToUpper(body)); got != http.StatusForbidden {
		t.Errorf("a forged body: %d", got)
	}

	start(t, f.data, "--webhook", "http://"+address)
	mustRun(t, "pebble sonnet harbour walnut\n", f.with("user", "passwd", "bo")...)
	lines := bufio.NewScanner(out)
	if !lines.Scan() || !strings.Contains(lines.Text(), `"kind":"password_changed"`) {
		t.Fatalf("the receiver printed %q: %v", lines.Text(), lines.Err())
	}
	example := jsonBlock.FindStringSubmatch(readFile(t, "docs/messages.md"))[1]
	if got, want := fieldsOf(t, example), fieldsOf(t, lines.Text()); !slices.Equal(got, want) {
		t.Errorf("docs/messages.md shows %q, the webhook got %q", got, want)
	}
	eventually(t, "the outbox is empty", func() bool { return len(dbtest.Rows(t, f.path(), `SELECT kind FROM outbox`)) == 0 })
}
