package db_test

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"porchlight/db"
)

func TestChangePasswordReplacesTheTokenAndEndsOtherSessions(t *testing.T) {
	t.Parallel()
	for _, endOthers := range []bool{true, false} {
		c := openCast(t)
		c.clock.Advance(time.Hour)
		token, err := c.changePassword(c.laptop.Session, alicePassword, newPassword, endOthers)
		if err != nil {
			t.Fatal(err)
		}
		c.wantEnded(c.laptop)
		if token == c.laptop.token || len(token) != db.TokenLength {
			t.Errorf("the new token has %d characters", len(token))
		}
		// The same session under a new token: the list of devices has not changed.
		c.laptop.ConfirmedAt = c.clock.Now().Local() // which the password proved
		if got := c.alive(device{token, c.laptop.Session}); !reflect.DeepEqual(got, c.laptop.Session) {
			t.Errorf("got %+v\nwant %+v", got, c.laptop.Session)
		}
		changed := happening{db.PasswordChanged, "192.0.2.10", firefoxOnLinux, c.laptop.ID, firefoxOnLinux, 1}
		if endOthers {
			c.wantEnded(c.phone)
			c.wantLatest(c.alice, changed, happening{db.Revoked, "198.51.100.20", safariOnIPhone, c.phone.ID, firefoxOnLinux, 1})
		} else {
			c.alive(c.phone)
			c.wantLatest(c.alice, changed)
		}
		c.alive(c.desk)
		c.failToSignIn("alice", "", "")
		if _, err := c.Authenticate(c.ctx(), "alice", alicePassword, db.Client{}); !errors.Is(err, db.ErrWrongPassword) {
			t.Error("the old password:", err)
		}
		if _, err := c.Authenticate(c.ctx(), "alice", newPassword, db.Client{}); err != nil {
			t.Error("the new password:", err)
		}
	}
}

func TestChangePasswordThatIsRefusedChangesNothing(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name         string
		prepare      func(*cast)
		current, new string
		want         error
		reason       string
	}{
		{name: "wrong current", current: bobPassword, new: newPassword, want: db.ErrWrongPassword},
		{name: "empty current", current: "", new: newPassword, want: db.ErrWrongPassword},
		{name: "too short", current: alicePassword, new: "short", reason: "15"},
		{name: "easy to guess", current: alicePassword, new: "passwordpassword", reason: "guess"},
		{name: "made of the username", current: alicePassword, new: "alicealicealice", reason: "username"},
		{name: "signed out", current: alicePassword, new: newPassword, want: db.ErrSessionEnded, prepare: func(c *cast) {
			if err := c.SignOut(c.ctx(), c.laptop.Session); err != nil {
				c.t.Fatal(err)
			}
		}},
		{name: "expired", current: alicePassword, new: newPassword, want: db.ErrSessionEnded, prepare: func(c *cast) {
			c.exec(`UPDATE sessions SET expires_at = $1 WHERE id = $2`, c.clock.Now().UnixMilli(), c.laptop.ID)
		}},
		{name: "deleted account", current: alicePassword, new: newPassword, want: db.ErrSessionEnded, prepare: func(c *cast) {
			c.exec(`DELETE FROM users WHERE username = 'alice'`)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := openCast(t)
			if test.prepare != nil {
				test.prepare(c)
			}
			stored := func() []string {
				return slices.Concat(
					c.texts(`SELECT username || password_hash FROM users ORDER BY id`),
					c.texts(`SELECT id || hex(token_hash) FROM sessions ORDER BY id`),
					c.texts(`SELECT kind FROM activity WHERE kind <> 'confirm_failed' ORDER BY id`))
			}
			before := stored()
			token, err := c.changePassword(c.laptop.Session, test.current, test.new, true)
			if test.want != nil && !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			var invalid db.Invalid
			if test.reason != "" && (!errors.As(err, &invalid) || !strings.Contains(invalid["password"], test.reason)) {
				t.Errorf("got %v, want a reason with %q", err, test.reason)
			}
			if _, err := c.Resume(token); !errors.Is(err, db.ErrNotFound) {
				t.Errorf("got the token %q", token)
			}
			if after := stored(); !slices.Equal(after, before) {
				t.Errorf("stored was %q\nis %q", before, after)
			}
		})
	}
}

func TestOfTwoPasswordChangesAtOnceOneWins(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	passwords := []string{newPassword, "anchor velour biscuit thunder"}
	devices := []device{c.laptop, c.phone}
	tokens, errs := make([]string, 2), make([]error, 2)
	arrived, release := c.holdWriter()
	var both sync.WaitGroup
	for i := range passwords {
		both.Go(func() {
			tokens[i], errs[i] = c.changePassword(devices[i].Session, alicePassword, passwords[i], false)
		})
	}
	arrived(2)
	release()
	both.Wait()

	won := slices.Index(errs, nil)
	if won < 0 || errs[1-won] == nil {
		t.Fatalf("errors: %v", errs)
	}
	lost := 1 - won
	if err := errs[lost]; !errors.Is(err, db.ErrNotFound) && !errors.Is(err, db.ErrWrongPassword) {
		t.Errorf("the other: %v", err)
	}
	if _, err := c.Authenticate(c.ctx(), "alice", passwords[won], db.Client{}); err != nil {
		t.Error("the password that won:", err)
	}
	for _, password := range []string{passwords[lost], alicePassword} {
		if _, err := c.Authenticate(c.ctx(), "alice", password, db.Client{}); !errors.Is(err, db.ErrWrongPassword) {
			t.Errorf("%q: %v", password, err)
		}
	}
	c.wantEnded(devices[won])
	c.alive(device{tokens[won], devices[won].Session})
	c.alive(devices[lost])
	if n := c.number(`SELECT COUNT(*) FROM activity WHERE kind = 'password_changed'`); n != 1 {
		t.Errorf("recorded %d times", n)
	}
}

// A sign-in with the old password during a change has no session afterwards, whichever write came first.
func TestSignInAgainstPasswordChange(t *testing.T) {
	t.Parallel()
	for range 10 {
		c := openCast(t)
		user, err := c.Authenticate(c.ctx(), "alice", alicePassword, db.Client{})
		if err != nil {
			t.Fatal(err)
		}
		arrived, release := c.holdWriter()
		var both sync.WaitGroup
		var token string
		var changeErr, signInErr error
		both.Go(func() { token, changeErr = c.changePassword(c.laptop.Session, alicePassword, newPassword, true) })
		both.Go(func() { _, _, signInErr = c.SignIn(c.ctx(), user, onCurl) })
		arrived(2)
		release()
		both.Wait()
		if changeErr != nil || signInErr != nil && !errors.Is(signInErr, db.ErrWrongPassword) {
			t.Fatal(changeErr, signInErr)
		}
		c.alive(device{token, c.laptop.Session})
		if n := c.number(`SELECT COUNT(*) FROM sessions WHERE user_id = $1`, c.alice.ID); n != 1 {
			t.Errorf("%d sessions are left; the sign-in: %v", n, signInErr)
		}
	}
}
