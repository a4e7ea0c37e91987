package db_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"porchlight/db"
)

func (c *cast) email(user db.User) string {
	c.t.Helper()
	return c.text(`SELECT COALESCE(email, '') FROM users WHERE id = $1`, user.ID)
}

// A new address takes effect when it is confirmed. The old one gets an alert.
func TestChangeEmail(t *testing.T) {
	t.Parallel()
	c := openMailCast(t)
	token := c.emailLink(" New@Example.com ")
	if got := c.email(c.alice); got != aliceEmail {
		t.Errorf("before it is confirmed, the address is %s", got)
	}
	if _, err := c.Authenticate(c.ctx(), "new@example.com", alicePassword, somewhere); !errors.Is(err, db.ErrWrongPassword) {
		t.Errorf("signing in with it: %v", err)
	}
	want := db.EmailChange{Username: "alice", Email: "new@example.com"}
	if got, err := c.EmailChange(c.ctx(), token, somewhere); err != nil || got != want {
		t.Errorf("EmailChange: %+v, %v", got, err)
	}
	c.emptyOutbox()
	if _, err := c.ConfirmEmail(c.ctx(), token, somewhere); err != nil {
		t.Fatal(err)
	}
	if got := c.email(c.alice); got != "new@example.com" {
		t.Errorf("the address is %s", got)
	}
	c.wantWaiting("both addresses", "mail new@example.com email_changed 1", "mail "+aliceEmail+" former email_changed 1",
		"ntfy alice_phone email_changed 1", "webhook email_changed 1")
	c.wantLatest(c.alice, happening{
		Kind: db.EmailChanged, IP: somewhere.IP, DeviceName: somewhere.DeviceName, By: somewhere.DeviceName, Count: 1})
	if _, err := c.Authenticate(c.ctx(), "new@example.com", alicePassword, somewhere); err != nil {
		t.Errorf("signing in with it: %v", err)
	}
	c.alive(c.laptop)

	// The alert about another change within the hour is sent at once, because it goes to other addresses.
	token = c.emailLink("newer@example.com")
	c.exec(`DELETE FROM outbox`)
	if _, err := c.ConfirmEmail(c.ctx(), token, somewhere); err != nil {
		t.Fatal(err)
	}
	if got := c.claim(db.Mail); len(got) != 2 {
		t.Errorf("due are %+v", got)
	}
}

// Only the link that was asked for last works.
func TestNewEmailRequestVoidsTheLast(t *testing.T) {
	t.Parallel()
	c := openMailCast(t)
	first := c.emailLink("first@example.com")
	if err := c.RequestEmailChange(c.ctx(), c.laptop.Session, "second@example.com"); err != nil { // not sent yet
		t.Fatal(err)
	}
	third := c.emailLink("third@example.com")
	c.wantWaiting("only the third", "mail third@example.com email_link 1")
	if err := uses["e-mail"].use(c, first); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("the first: %v", err)
	}
	if err := c.RequestEmailChange(c.ctx(), c.laptop.Session, "fourth@example.com"); !errors.As(err, new(db.Throttled)) {
		t.Errorf("a fourth within the hour: %v", err)
	}
	if err := uses["e-mail"].use(c, third); err != nil || c.email(c.alice) != "third@example.com" {
		t.Errorf("the third: %v", err)
	}
	c.clock.Advance(time.Hour)
	c.emailLink("fourth@example.com")
}

// The result does not reveal who has an account, and an address belongs to one account.
func TestEmailOfSomebodyElse(t *testing.T) {
	t.Parallel()
	c := openMailCast(t)
	if err := c.RequestEmailChange(c.ctx(), c.desk.Session, aliceEmail); err != nil {
		t.Error(err)
	}
	c.wantWaiting("nothing")
	token := c.emailLink("shared@example.com")
	c.exec(`UPDATE users SET email = 'shared@example.com' WHERE id = $1`, c.bob.ID)
	if _, err := c.ConfirmEmail(c.ctx(), token, somewhere); !errors.As(err, new(db.Invalid)) {
		t.Errorf("taken in the meantime: %v", err)
	}
	if got := c.email(c.alice); got != aliceEmail {
		t.Errorf("the address is %s", got)
	}
}

// If somebody else's session has asked for another address, signing it out voids the link.
func TestRevokeVoidsEmailLinks(t *testing.T) {
	t.Parallel()
	for name, revoke := range map[string]func(*cast) error{
		"revoke": func(c *cast) error {
			_, err := c.Revoke(c.ctx(), c.phone.Session, c.laptop.ID)
			return err
		},
		"revoke others": func(c *cast) error {
			_, err := c.RevokeOthers(c.ctx(), c.phone.Session)
			return err
		},
		"not me": func(c *cast) error { return c.NotMe(c.ctx(), c.phone.Session, c.laptop.ID) },
		"by command": func(c *cast) error {
			_, err := c.RevokeSession(c.ctx(), db.CommandLine, 0, c.laptop.ID)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := openMailCast(t)
			token := c.emailLink("intruder@example.com")
			if err := revoke(c); err != nil {
				t.Fatal(err)
			}
			if _, err := c.ConfirmEmail(c.ctx(), token, somewhere); !errors.Is(err, db.ErrNotFound) || c.email(c.alice) != aliceEmail {
				t.Errorf("the address is %s: %v", c.email(c.alice), err)
			}
		})
	}
}

func TestBadEmails(t *testing.T) {
	t.Parallel()
	c := openMailCast(t)
	for _, email := range []string{"", " ", "alice", "a@b\r\nBcc: c@d", "Alice <a@b>", "a@b, c@d", "a b@c", aliceEmail} {
		if err := c.RequestEmailChange(c.ctx(), c.laptop.Session, email); !errors.As(err, new(db.Invalid)) {
			t.Errorf("%q: %v", email, err)
		}
	}
	c.wantWaiting("nothing")
	if err := c.SignOut(c.ctx(), c.laptop.Session); err != nil {
		t.Fatal(err)
	}
	if err := c.RequestEmailChange(c.ctx(), c.laptop.Session, "new@example.com"); !errors.Is(err, db.ErrSessionEnded) {
		t.Errorf("without a session: %v", err)
	}
}

// The page shows the address that is not confirmed yet, even if it belongs to somebody else.
func TestUnconfirmedEmail(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		email string
		end   func(*cast)
	}{
		"confirmed":           {"new@example.com", func(c *cast) { c.ConfirmEmail(c.ctx(), c.linkTo(db.EmailLink), somewhere) }},
		"cancelled":           {"new@example.com", func(c *cast) { c.must(c.CancelEmailChange(c.ctx(), c.laptop.Session)) }},
		"an hour":             {"new@example.com", func(c *cast) { c.clock.Advance(time.Hour) }},
		"a device signed out": {"new@example.com", func(c *cast) { c.Revoke(c.ctx(), c.laptop.Session, c.phone.ID) }},
		"of somebody else":    {"bob@example.com", func(c *cast) { c.clock.Advance(time.Hour) }},
		"swept":               {"new@example.com", func(c *cast) { c.clock.Advance(time.Hour); c.must(c.Sweep(c.ctx(), time.Time{})) }},
		"password by command": {"new@example.com", func(c *cast) { c.must(c.SetPassword(c.ctx(), db.CommandLine, "alice", newPassword)) }},
		"clock a year too far": {"new@example.com", func(c *cast) {
			c.clock.Advance(-366 * 24 * time.Hour)
			c.must(c.Sweep(c.ctx(), time.Time{}))
			c.clock.Advance(time.Hour)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := openMailCast(t)
			c.exec(`UPDATE users SET email = 'bob@example.com' WHERE id = $1`, c.bob.ID)
			c.must(c.RequestEmailChange(c.ctx(), c.laptop.Session, "other@example.com"))
			c.must(c.RequestEmailChange(c.ctx(), c.laptop.Session, test.email)) // replaces it
			if got, err := c.UnconfirmedEmail(c.alice.ID); got != test.email || err != nil {
				t.Errorf("UnconfirmedEmail: %q, %v", got, err)
			}
			if _, err := c.UnconfirmedEmail(c.bob.ID); !errors.Is(err, db.ErrNotFound) {
				t.Errorf("bob: %v", err)
			}
			test.end(c)
			if got, err := c.UnconfirmedEmail(c.alice.ID); !errors.Is(err, db.ErrNotFound) {
				t.Errorf("afterwards: %q, %v", got, err)
			}
			if n := c.number(`SELECT COUNT(*) FROM email_changes`); name == "swept" && n != 0 {
				t.Error("it is still in the database")
			}
		})
	}
}

func TestCancelledEmailChange(t *testing.T) {
	t.Parallel()
	c := openMailCast(t)
	token := c.emailLink("new@example.com")
	c.must(c.CancelEmailChange(c.ctx(), c.laptop.Session))
	if _, err := c.ConfirmEmail(c.ctx(), token, somewhere); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("the link: %v", err)
	}
	if _, err := c.Revoke(c.ctx(), c.phone.Session, c.laptop.ID); err != nil {
		t.Fatal(err)
	}
	if err := c.CancelEmailChange(c.ctx(), c.laptop.Session); !errors.Is(err, db.ErrSessionEnded) {
		t.Errorf("without a session: %v", err)
	}
}

// Sign-ups for many accounts must not fill a stranger's mailbox. Clients at other addresses can still request a link.
func TestLinksPerAddress(t *testing.T) {
	t.Parallel()
	c := openMailCast(t)
	ask := func(i, limit int, ip string) {
		t.Helper()
		user := c.addUser(fmt.Sprintf("%s-%d", strings.Trim(strings.ReplaceAll(ip, ":", "-"), "-"), i), newPassword)
		device := c.signIn(user, firefoxOnLinux, ip)
		err := c.RequestEmailChange(c.ctx(), device.Session, "stranger@example.com")
		if throttled := errors.As(err, new(db.Throttled)); throttled != (i >= limit) || !throttled && err != nil {
			t.Errorf("%s, account %d: %v", ip, i, err)
		}
	}
	for i := range 21 {
		ask(i, 20, "203.0.113.66")
	}
	for i := range 201 {
		ask(i, 200, fmt.Sprintf("2001:db8:1:%x::1", i))
	}
	ask(0, 1, "203.0.113.67")
}

func TestResetsPerSite(t *testing.T) {
	t.Parallel()
	c := openMailCast(t)
	for i := range 201 {
		err := c.RequestReset(c.ctx(), fmt.Sprintf("user%d", i), clientOf(fmt.Sprintf("2001:db8:1:%x::1", i), "curl"))
		if throttled := errors.As(err, new(db.Throttled)); throttled != (i == 200) || !throttled && err != nil {
			t.Errorf("request %d: %v", i, err)
		}
	}
	if err := c.RequestReset(c.ctx(), "alice", somewhere); err != nil {
		t.Error("from elsewhere:", err)
	}
}
