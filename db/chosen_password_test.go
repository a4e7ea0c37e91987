package db_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"porchlight/db"
)

// This file tests that a password chosen with a link counts only after the second factor of the account.

// chosenWith holds the kinds of links with which a user chooses a password.
var chosenWith = map[string]struct {
	method  string
	link    func(*cast) string
	choose  func(c *cast, token, password string) (db.User, error)
	changed happening
}{
	"a reset link": {db.ByReset, (*cast).resetLink, func(c *cast, token, password string) (db.User, error) {
		return c.ResetPassword(c.ctx(), token, password, somewhere)
	}, happening{Kind: db.PasswordReset, IP: somewhere.IP, DeviceName: somewhere.DeviceName, By: somewhere.DeviceName, Count: 1}},
	"an invitation": {db.ByInvitation, func(c *cast) string {
		token, _, err := c.Invite(c.ctx(), db.CommandLine, db.NewUser{Username: "alice"})
		c.must(err)
		return token
	}, func(c *cast, token, password string) (db.User, error) {
		user, _, err := c.AcceptInvitation(c.ctx(), token, password, somewhere)
		return user, err
	}, happening{Kind: db.PasswordChanged, By: somewhere.DeviceName, Count: 1}},
}

// chosen is a link of alice, who has a second factor.
type chosen struct {
	*cast
	secret  []byte
	codes   []string // for recovery
	token   string
	begin   func(password string) (step string) // chooses a password, and begins the second step
	choose  func(password string) error
	changed happening
}

func eachLink(t *testing.T, test func(*testing.T, *chosen)) {
	for name, with := range chosenWith {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := &chosen{cast: openMailCast(t), changed: with.changed}
			c.secret, c.codes = c.addTOTP(c.laptop)
			c.token = with.link(c.cast)
			c.emptyOutbox()
			c.choose = func(password string) error {
				_, err := with.choose(c.cast, c.token, password)
				return err
			}
			c.begin = func(password string) string {
				t.Helper()
				user, err := with.choose(c.cast, c.token, password)
				if !errors.Is(err, db.ErrSecondFactor) {
					t.Fatalf("choose a password: %+v, %v", user, err)
				}
				step, err := c.BeginSecondStep(c.ctx(), user, db.NewSession{Client: somewhere, Method: with.method})
				if err != nil {
					t.Fatal(err)
				}
				return step
			}
			test(t, c)
		})
	}
}

// unchanged fails unless the old password, and only that, is right, and nobody was signed out or alerted.
func (c *chosen) unchanged() {
	c.t.Helper()
	if err := c.passwordAlone("alice", newPassword); !errors.Is(err, db.ErrWrongPassword) {
		c.t.Errorf("the new password: %v", err)
	}
	if err := c.passwordAlone("alice", alicePassword); !errors.Is(err, db.ErrSecondFactor) {
		c.t.Errorf("the old password: %v", err)
	}
	c.alive(c.laptop)
	if slices.ContainsFunc(c.activity(c.alice), func(h happening) bool { return h.Kind == c.changed.Kind }) {
		c.t.Errorf("%s was recorded", c.changed.Kind)
	}
}

func TestChosenPasswordWaitsForTheCode(t *testing.T) {
	t.Parallel()
	eachLink(t, func(t *testing.T, c *chosen) {
		abandoned := c.begin(bobPassword) // a form that was sent twice
		step := c.begin(newPassword)
		if got, err := c.SecondStep(step); err != nil || !got.NewPassword {
			t.Errorf("the second step is %+v, %v", got, err)
		}
		c.unchanged()
		c.wantStep(step, c.wrongCode(c.secret), db.ErrWrongCode)
		c.unchanged()
		c.wantWaiting("before the code")

		d := c.finish(step, c.code(c.secret), func(n *db.NewSession) { n.IP, n.DeviceName = somewhere.IP, somewhere.DeviceName })
		if got := c.alive(d); got.Method != db.ByPasswordAndCode {
			t.Errorf("the session is %+v", got)
		}
		c.wantEnded(c.laptop, c.phone)
		c.alive(c.desk)
		if err := c.passwordAlone("alice", alicePassword); !errors.Is(err, db.ErrWrongPassword) {
			t.Errorf("the old password: %v", err)
		}
		if err := c.passwordAlone("alice", newPassword); !errors.Is(err, db.ErrSecondFactor) {
			t.Errorf("the new password: %v", err)
		}
		if got := c.activity(c.alice); !slices.Contains(got, c.changed) {
			t.Errorf("the change was not recorded: %+v", got)
		}
		if err := c.choose(newPassword); !errors.Is(err, db.ErrNotFound) {
			t.Errorf("the link, used: %v", err)
		}
		c.wantStep(abandoned, c.codes[0], db.ErrNotFound)
		if n := c.number(`SELECT COUNT(*) FROM second_steps WHERE new_password_hash <> ''`); n != 0 {
			t.Error("a second step keeps the password")
		}
	})
}

// When the second step ends, the old password still works. So does the link, unless it was voided.
func TestChosenPasswordIsForgotten(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]struct {
		how  func(c *chosen, step string)
		link error // of choosing a password with the same link again
	}{
		"ten minutes": {func(c *chosen, step string) { c.clock.Advance(db.SecondStepLifetime) }, db.ErrSecondFactor},
		"five wrong codes": {func(c *chosen, step string) {
			for range 5 {
				c.FinishSecondStep(c.ctx(), step, c.wrongCode(c.secret), onCurl)
			}
		}, db.ErrSecondFactor},
		"factor removed": {func(c *chosen, step string) { c.must(c.DisableTOTP(c.ctx(), c.laptop.Session)) }, nil},
		"disabled":       {func(c *chosen, step string) { c.must(c.DisableUser(c.ctx(), db.CommandLine, "alice", true)) }, db.ErrNotFound},
		"disabled and enabled": {func(c *chosen, step string) {
			c.must(c.DisableUser(c.ctx(), db.CommandLine, "alice", true))
			c.must(c.EnableUser(c.ctx(), db.CommandLine, "alice"))
		}, db.ErrNotFound},
		"deleted": {func(c *chosen, step string) { c.must(c.DeleteUser(c.ctx(), db.CommandLine, "alice", true)) }, db.ErrNotFound},
		"password changed": {func(c *chosen, step string) {
			_, err := c.changePassword(c.laptop.Session, alicePassword, bobPassword, false)
			c.must(err)
		}, db.ErrNotFound},
		"only the link voided": {func(c *chosen, step string) { // as by a change of the address
			c.exec(`DELETE FROM links`)
			c.exec(`DELETE FROM invitations`)
		}, db.ErrNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			eachLink(t, func(t *testing.T, c *chosen) {
				step := c.begin(newPassword)
				end.how(c, step)
				c.wantStep(step, c.code(c.secret), db.ErrNotFound)
				if err := c.passwordAlone("alice", newPassword); !errors.Is(err, db.ErrWrongPassword) {
					t.Errorf("the new password: %v", err)
				}
				if err := c.choose(newPassword); !errors.Is(err, end.link) {
					t.Errorf("the link: %v, want %v", err, end.link)
				}
			})
		})
	}
}

// A link that expires during the second step is refused, and the code that came too late works once more.
func TestChosenPasswordIsBoundToItsLink(t *testing.T) {
	t.Parallel()
	eachLink(t, func(t *testing.T, c *chosen) {
		lifetime := db.ResetLinkLifetime
		if c.changed.Kind == db.PasswordChanged {
			lifetime = db.InvitationLifetime
		}
		c.clock.Advance(lifetime - time.Minute)
		step := c.begin(newPassword)
		c.clock.Advance(time.Minute)
		code := c.code(c.secret)
		c.wantStep(step, code, db.ErrNotFound)
		c.unchanged()
		c.finish(c.beginStep("alice", alicePassword), code)
	})
}

// If several passwords are chosen with one link, the first right code decides which one is set.
func TestChosenPasswordsAtOnce(t *testing.T) {
	t.Parallel()
	eachLink(t, func(t *testing.T, c *chosen) {
		passwords := []string{"pebble sonnet harbour walnut one", "pebble sonnet harbour walnut two", "pebble sonnet harbour walnut six"}
		results := make([]error, len(passwords))
		var steps []string
		for _, password := range passwords {
			steps = append(steps, c.begin(password))
		}
		var all sync.WaitGroup
		for i, step := range steps {
			all.Go(func() { _, _, results[i] = c.FinishSecondStep(context.Background(), step, c.codes[i], onCurl) })
		}
		all.Wait()
		won := slices.Index(results, nil)
		if won < 0 {
			t.Fatal(results)
		}
		for i, password := range passwords {
			want := map[bool]error{true: db.ErrSecondFactor, false: db.ErrWrongPassword}[i == won]
			if err := c.passwordAlone("alice", password); !errors.Is(err, want) || i != won && !errors.Is(results[i], db.ErrNotFound) {
				t.Errorf("password %d: %v; its step: %v; the winner is %d", i, err, results[i], won)
			}
		}
		if n := c.number(`SELECT COUNT(*) FROM sessions WHERE user_id = $1`, c.alice.ID); n != 1 {
			t.Errorf("%d sessions", n)
		}
	})
}

func TestChosenPasswordWithPasskey(t *testing.T) {
	t.Parallel()
	eachLink(t, func(t *testing.T, c *chosen) {
		c.addPasskey(c.laptop, "hers")
		step := c.begin(newPassword)
		if _, session, err := c.FinishSecondStepWithPasskey(c.ctx(), step, use("hers", 1), onCurl); err != nil || session.Username != "alice" {
			t.Fatal(session, err)
		}
		if err := c.passwordAlone("alice", newPassword); !errors.Is(err, db.ErrSecondFactor) {
			t.Errorf("the new password: %v", err)
		}
	})
}
