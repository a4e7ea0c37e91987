package db_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"porchlight/db"
)

// linkTo claims a mail and returns the token in it.
func (h *house) linkTo(kind string) (token string) {
	h.t.Helper()
	for _, m := range h.claim(db.Mail) {
		if m.Kind == kind {
			token = m.Token
		}
	}
	if token == "" {
		h.t.Fatalf("no mail of the kind %s is due", kind)
	}
	return token
}

func (c *cast) resetLink() (token string) {
	c.t.Helper()
	if err := c.RequestReset(c.ctx(), "alice", somewhere); err != nil {
		c.t.Fatal(err)
	}
	return c.linkTo(db.PasswordLink)
}

func (c *cast) emailLink(email string) (token string) {
	c.t.Helper()
	if err := c.RequestEmailChange(c.ctx(), c.laptop.Session, email); err != nil {
		c.t.Fatal(err)
	}
	return c.linkTo(db.EmailLink)
}

func (c *cast) notMeLink() (token string) {
	c.t.Helper()
	c.signIn(c.alice, "the intruder's browser", "203.0.113.99", remembered)
	return c.linkTo(db.SignedIn)
}

// uses holds the kinds of links, with what they are for.
var uses = map[string]struct {
	link     func(*cast) string
	look     func(*cast, string) error
	use      func(*cast, string) error
	lifetime time.Duration
}{
	"reset": {(*cast).resetLink, func(c *cast, token string) error {
		_, err := c.Reset(c.ctx(), token, somewhere)
		return err
	}, func(c *cast, token string) error {
		_, err := c.ResetPassword(c.ctx(), token, newPassword, somewhere)
		return err
	}, time.Hour},
	"e-mail": {func(c *cast) string { return c.emailLink("new@example.com") }, func(c *cast, token string) error {
		_, err := c.EmailChange(c.ctx(), token, somewhere)
		return err
	}, func(c *cast, token string) error {
		_, err := c.ConfirmEmail(c.ctx(), token, somewhere)
		return err
	}, time.Hour},
	"not me": {(*cast).notMeLink, func(c *cast, token string) error {
		_, err := c.NotMeAlert(c.ctx(), token, somewhere)
		return err
	}, func(c *cast, token string) error {
		_, err := c.UseNotMe(c.ctx(), token, somewhere)
		return err
	}, 3 * 24 * time.Hour},
}

func eachUse(t *testing.T, test func(*testing.T, *cast, string, func(*cast, string) error, func(*cast, string) error, time.Duration)) {
	for name, u := range uses {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := openMailCast(t)
			test(t, c, u.link(c), u.look, u.use, u.lifetime)
		})
	}
}

// Looking changes nothing, however often. Using works once, also when many try at once.
func TestLinkWorksOnce(t *testing.T) {
	t.Parallel()
	eachUse(t, func(t *testing.T, c *cast, token string, look, use func(*cast, string) error, _ time.Duration) {
		before := c.number(`PRAGMA data_version`)
		for range 3 {
			if err := look(c, token); err != nil {
				t.Fatal("look:", err)
			}
		}
		if after := c.number(`PRAGMA data_version`); after != before {
			t.Error("looking wrote to the database")
		}
		var mu sync.Mutex
		results := map[string]int{}
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				err := use(c, token)
				mu.Lock()
				results[fmt.Sprint(err)]++
				mu.Unlock()
			})
		}
		all.Wait()
		if results["<nil>"] != 1 || results[db.ErrNotFound.Error()] != 7 {
			t.Errorf("the results are %v", results)
		}
		for name, verb := range map[string]func(*cast, string) error{"look": look, "use": use} {
			if err := verb(c, token); !errors.Is(err, db.ErrNotFound) {
				t.Errorf("%s, after it was used: %v", name, err)
			}
		}
	})
}

func TestLinkExpires(t *testing.T) {
	t.Parallel()
	eachUse(t, func(t *testing.T, c *cast, token string, look, use func(*cast, string) error, lifetime time.Duration) {
		c.clock.Advance(lifetime - time.Millisecond)
		if err := look(c, token); err != nil {
			t.Error(err)
		}
		c.clock.Advance(time.Millisecond)
		if err := errors.Join(look(c, token), use(c, token)); !errors.Is(err, db.ErrNotFound) {
			t.Error(err)
		}
	})
}

// A link is for one thing, and guesses are counted by address.
func TestLinkIsForOneThing(t *testing.T) {
	t.Parallel()
	eachUse(t, func(t *testing.T, c *cast, token string, look, use func(*cast, string) error, _ time.Duration) {
		works := 0
		for _, other := range uses {
			if other.look(c, token) == nil {
				works++
			}
		}
		if works != 1 {
			t.Errorf("it works for %d things", works)
		}
		for range 30 {
			look(c, "GUESS")
		}
		if err := look(c, token); !errors.As(err, new(db.Throttled)) {
			t.Errorf("after 30 guesses: %v", err)
		}
		if err := use(c, token); !errors.As(err, new(db.Throttled)) {
			t.Errorf("after 30 guesses: %v", err)
		}
	})
}

func TestLinkOfADisabledUser(t *testing.T) {
	t.Parallel()
	eachUse(t, func(t *testing.T, c *cast, token string, look, use func(*cast, string) error, _ time.Duration) {
		c.exec(`UPDATE users SET disabled = 1 WHERE id = $1`, c.alice.ID) // as while the account is being deleted
		if err := errors.Join(look(c, token), use(c, token)); !errors.Is(err, db.ErrNotFound) {
			t.Error("being deleted:", err)
		}
		c.exec(`UPDATE users SET disabled = 0 WHERE id = $1`, c.alice.ID)
		if err := look(c, token); err != nil {
			t.Fatal(err)
		}
		if err := c.DisableUser(c.ctx(), db.CommandLine, "alice", true); err != nil {
			t.Fatal(err)
		}
		if err := use(c, token); !errors.Is(err, db.ErrNotFound) {
			t.Error("disabled:", err)
		}
		if err := c.EnableUser(c.ctx(), db.CommandLine, "alice"); err != nil {
			t.Fatal(err)
		}
		if err := use(c, token); !errors.Is(err, db.ErrNotFound) {
			t.Error("enabled again:", err)
		}
	})
}

// A new password or address voids the links that could change them. "This wasn't me" still works, because the person who took over the
// account can do the same. Links that were requested and not sent yet are void, too.
func TestVoidedLinks(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*cast) error{
		"password changed": func(c *cast) error {
			_, err := c.changePassword(c.laptop.Session, alicePassword, newPassword, true)
			return err
		},
		"password set by command": func(c *cast) error { return c.SetPassword(c.ctx(), db.CommandLine, "alice", newPassword) },
		"address set by command": func(c *cast) error {
			other := "other@example.com"
			return c.ChangeUser(c.ctx(), db.CommandLine, "alice", db.UserChange{Email: &other})
		},
		"password reset": func(c *cast) error {
			_, err := c.ResetPassword(c.ctx(), c.resetLink(), newPassword, somewhere)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := openMailCast(t)
			reset, email, notMe := c.resetLink(), c.emailLink("new@example.com"), c.notMeLink()
			if name != "password reset" {
				if err := c.RequestReset(c.ctx(), "alice", somewhere); err != nil { // not sent yet
					t.Fatal(err)
				}
			}
			if err := change(c); err != nil {
				t.Fatal(err)
			}
			if n := c.number(`SELECT COUNT(*) FROM outbox WHERE is_link = 1`); n > 0 {
				t.Errorf("%d links are still to be sent", n)
			}
			for what, err := range map[string]error{"reset": uses["reset"].use(c, reset), "e-mail": uses["e-mail"].use(c, email)} {
				if !errors.Is(err, db.ErrNotFound) {
					t.Errorf("%s: %v", what, err)
				}
			}
			if err := uses["not me"].use(c, notMe); err != nil {
				t.Error("not me:", err)
			}
		})
	}
}

// A mail that is sent again has another token. Both work, because both mails may arrive, but an older one does not.
func TestMailThatIsSentAgain(t *testing.T) {
	t.Parallel()
	c := openMailCast(t)
	tokens := []string{c.resetLink()}
	for range 2 {
		c.clock.Advance(time.Minute)
		tokens = append(tokens, c.linkTo(db.PasswordLink))
	}
	for i, want := range []error{db.ErrNotFound, nil, nil} {
		if err := uses["reset"].look(c, tokens[i]); !errors.Is(err, want) {
			t.Errorf("attempt %d: %v", i+1, err)
		}
	}
	if err := uses["reset"].use(c, tokens[1]); err != nil {
		t.Error(err)
	}
	if err := uses["reset"].use(c, tokens[2]); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("the other one, after the reset: %v", err)
	}
}

// Only the hash of a token is on disk.
func TestTokensOfLinksAreNotStored(t *testing.T) {
	t.Parallel()
	c := openMailCast(t)
	tokens := []string{c.resetLink(), c.emailLink("new@example.com"), c.notMeLink()}
	fromNotMe, err := c.UseNotMe(c.ctx(), tokens[2], somewhere)
	if err != nil {
		t.Fatal(err)
	}
	tokens = append(tokens, fromNotMe)
	for _, file := range []string{c.options.Path, c.options.Path + "-wal"} {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(content, []byte("alice")) && file == c.options.Path+"-wal" {
			t.Fatal("the WAL holds nothing")
		}
		for _, token := range tokens {
			if bytes.Contains(content, []byte(token)) {
				t.Errorf("%s holds a token", file)
			}
		}
	}
}
