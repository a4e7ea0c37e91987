package handlers_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"porchlight/db"
	"porchlight/handlers/handlerstest"
)

// This file tests forms that an impatient person sends twice, with JavaScript off.

// press sends a form four times at once, as the same browser, and returns the only answer.
func press(t *testing.T, browser *handlerstest.Client, path string, values ...string) handlerstest.Answer {
	t.Helper()
	values = append(values, "form", strings.Repeat("A", db.TokenLength))
	answers := make([]handlerstest.Answer, 4)
	var all sync.WaitGroup
	for i := range answers {
		all.Go(func() { answers[i] = browser.Form(path, values...) })
	}
	all.Wait()
	for _, a := range answers {
		if a.Status != answers[0].Status || a.Header.Get("Location") != answers[0].Header.Get("Location") || a.Body != answers[0].Body {
			t.Errorf("%s: %d %s %s\nand %d %s %s", path, a.Status, a.Header.Get("Location"), a.Body,
				answers[0].Status, answers[0].Header.Get("Location"), answers[0].Body)
		}
	}
	return answers[0]
}

func mailsOf(c *handlerstest.Cast, kind string) (n int) {
	for _, m := range c.Mails() {
		if m.Kind == kind {
			n++
		}
	}
	return n
}

func TestImpatientPressOnALink(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCastWithMail(t)
	c.SignIn("alice", handlerstest.AlicePassword, handlerstest.ChromeOnMac)
	token := c.MailedToken(db.SignedIn)
	browser := c.NewClient(handlerstest.SafariOnIPhone)
	got := press(t, browser, "/not-me", "token", token)
	reset, _ := strings.CutPrefix(got.Header.Get("Location"), "/reset?token=")
	browser.Page("/reset?token="+reset).Is(t, 200)
	if n := c.Only(`SELECT COUNT(*) FROM links WHERE kind = 'reset'`); n != "1" {
		t.Errorf("%s links to reset the password", n)
	}
	browser.Form("/not-me", "token", token, "form", strings.Repeat("B", db.TokenLength)).Is(t, 404) // another form
	browser.Form("/not-me", "token", token).Is(t, 404)

	press(t, browser, "/forgot", "name", "bob").Is(t, 303, "/forgot?done=link-sent")
	if n := c.Only(`SELECT COUNT(*) FROM outbox WHERE kind = 'reset_link'`); n != "1" {
		t.Errorf("%s requests for a link", n)
	}
	press(t, c.Bob, "/account/email", "email", "bob@example.com").Is(t, 303, "/account/email?done=email-link")
	token = c.MailedToken(db.EmailLink)
	press(t, browser, "/account/email/confirm", "token", token).Is(t, 303, "/login?done=email")
	c.SameRows(t, []string{"bob@example.com"}, `SELECT email FROM users WHERE username = 'bob'`)
	press(t, c.Bob, "/account/alerts/test").Is(t, 303, "/account/alerts?done=alert-test")
	if n := mailsOf(c, db.TestAlert); n != 1 {
		t.Errorf("%d test alerts", n)
	}
}

func TestFormsHaveAnID(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCastWithMail(t)
	c.SignIn("alice", handlerstest.AlicePassword, handlerstest.ChromeOnMac)
	notMe := c.MailedToken(db.SignedIn)
	c.Alice.Form("/account/email", "email", "new@example.com").Is(t, 303)
	ids := map[string]bool{}
	for _, page := range []handlerstest.Answer{
		c.Bob.Page("/forgot"), c.Bob.Page("/not-me?token=" + notMe), c.Bob.Page("/account/email"),
		c.Bob.Page("/account/email/confirm?token=" + c.MailedToken(db.EmailLink)), c.Bob.Page("/account/alerts"),
		c.Bob.Form("/account/totp/begin"), c.Bob.Form("/account/recovery-codes"),
	} {
		id := between(page.Body, `name="form" value="`, `"`)
		if len(id) != db.TokenLength || ids[id] {
			t.Errorf("the id of the form is %q: %s", id, between(page.Body, "<title>", "<"))
		}
		ids[id] = true
	}
}

// Each of several submits shows the codes that are valid. Nobody else can see them, even with the id of the form.
func TestImpatientPressShowsTheRecoveryCodes(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	begun := c.Alice.Form("/account/totp/begin")
	secret := strings.ReplaceAll(between(begun.Body, `class="secret">`, "<"), " ", "")
	code := handlerstest.TOTP(t, secret, c.Clock.Now())
	codes := handlerstest.RecoveryCodes(press(t, c.Alice, "/account/totp", "code", code))
	if len(codes) != 10 {
		t.Fatalf("codes %q", codes)
	}
	user, err := c.Store.Authenticate(context.Background(), "alice", handlerstest.AlicePassword, db.Client{})
	if err != nil {
		t.Fatal(err)
	}
	onCurl := db.NewSession{Client: db.Client{DeviceName: "curl", DeviceKind: "terminal"}}
	if _, _, err := c.Store.SignInWithCode(context.Background(), user, codes[0], onCurl); err != nil {
		t.Errorf("a code that was shown: %v", err)
	}

	form := []string{"confirm", "1"}
	made := handlerstest.RecoveryCodes(press(t, c.Alice, "/account/recovery-codes", form...))
	if len(made) != 10 || slices.Contains(made, codes[1]) {
		t.Errorf("new codes %q", made)
	}
	c.SameRows(t, []string{"2", "1"}, `SELECT COUNT(*) FROM activity WHERE kind IN ('recovery_codes_made', 'totp_on') GROUP BY kind`)
	others := handlerstest.RecoveryCodes(press(t, c.AlicePhone, "/account/recovery-codes", form...))
	if len(others) != 10 || slices.Contains(others, made[0]) {
		t.Errorf("another session of hers was shown %q", others)
	}
}

// Reloading the page with a secret sends its form again, even a day later. That must not create another secret.
func TestReloadingASecretCreatesNoOther(t *testing.T) {
	t.Parallel()
	for path, test := range map[string]struct {
		body    []string
		created string // counts what the form created
		before  func(*handlerstest.Cast)
	}{
		"/account/keys": {[]string{"host", "notes.example.com", "expires", "1y"},
			`SELECT COUNT(*) FROM sessions WHERE kind = 'app_key'`, nil},
		"/admin/users/invite":     {[]string{"username", "dave"}, `SELECT COUNT(DISTINCT token_hash) FROM invitations`, nil},
		"/admin/users/2/invite":   {nil, `SELECT COUNT(*) FROM activity WHERE kind = 'invited'`, nil},
		"/account/recovery-codes": {[]string{"confirm", "1"}, `SELECT COUNT(*) FROM activity WHERE kind = 'recovery_codes_made'`, addFactor},
	} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			c := handlerstest.OpenCast(t, behindProxy)
			if test.before != nil {
				test.before(c)
			}
			made := c.Only(test.created)
			send := func(id string, more ...string) handlerstest.Answer {
				return c.Alice.Form(path, append(slices.Concat(test.body, []string{"form", strings.Repeat(id, db.TokenLength)}), more...)...)
			}
			page := send("A")
			page.Is(t, 200)
			if made == c.Only(test.created) {
				t.Fatal("nothing was created")
			}
			c.Clock.Advance(9 * time.Second)
			if again := send("A"); again.Body != page.Body {
				t.Error("an impatient press is answered otherwise than the first")
			}
			c.Clock.Advance(time.Second)
			check := c.Unchanged()
			for _, confirmed := range [][]string{nil, {"confirm_password", "x", "confirm_to", path}} { // the latter came through step-up
				got := send("A", confirmed...)
				got.Is(t, 409)
				got.Has(t, "This form was already sent", "If you missed it, create another.")
			}
			check(t)
			send("B").Is(t, 200) // another form
		})
	}
}

func addFactor(c *handlerstest.Cast) { c.AddTOTP(c.Alice) }
