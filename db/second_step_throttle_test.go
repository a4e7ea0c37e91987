package db_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"porchlight/db"
)

// This file tests how many guesses at codes somebody gets who knows the password.

// Somebody who knows the password gets as many guesses at codes as at passwords: repeating the password resets nothing.
func TestGuessingCodesIsThrottled(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	secret, codes := c.addTOTP(c.laptop)
	guess := func(name string, attempt int) error {
		from := onCurl
		from.IP = fmt.Sprintf("203.0.113.%d", attempt) // the account must stop it, not the address
		user, err := c.Authenticate(c.ctx(), name, alicePassword, from.Client)
		if err != nil {
			return err
		}
		step, err := c.BeginSecondStep(c.ctx(), user, from)
		c.must(err)
		_, _, err = c.FinishSecondStep(c.ctx(), step, c.wrongCode(secret), from)
		return err
	}
	var throttled db.Throttled
	guesses := 0
	for round := range 11 {
		for i := range 12 {
			err := guess("alice", i)
			if errors.Is(err, db.ErrWrongCode) {
				guesses++
			} else if !errors.As(err, &throttled) {
				t.Fatalf("round %d, guess %d: %v", round, i, err)
			}
		}
		if want := min(10*(round+1), 100); guesses != want {
			t.Fatalf("%d guesses after %d windows, want %d", guesses, round+1, want)
		}
		c.clock.Advance(15 * time.Minute)
	}
	if !throttled.Locked {
		t.Errorf("not locked: %+v", throttled)
	}
	// The owner gets in where she has signed in before, and this resets the counters.
	c.exec(`DELETE FROM consecutive_failures`)
	known := c.finish(c.beginStep("alice", alicePassword), codes[0], func(n *db.NewSession) { n.Remember = true })
	if known.DeviceToken == "" {
		t.Fatal("no device")
	}
	for i := range 100 {
		if i%10 == 0 {
			c.clock.Advance(15 * time.Minute)
		}
		if err := guess("alice", i%250); !errors.Is(err, db.ErrWrongCode) {
			t.Fatalf("guess %d: %v", i, err)
		}
	}
	c.clock.Advance(15 * time.Minute)
	if err := guess("alice", 1); !errors.As(err, &throttled) || !throttled.Locked {
		t.Errorf("after 100 failures in a row: %v", err)
	}
	fromKnown := func(n *db.NewSession) { n.Device, n.Remember = known.DeviceToken, true }
	step, wrong := c.beginStep("alice", alicePassword, fromKnown), onCurl
	fromKnown(&wrong)
	if _, _, err := c.FinishSecondStep(c.ctx(), step, c.wrongCode(secret), wrong); !errors.Is(err, db.ErrWrongCode) {
		t.Errorf("in a known browser: %v", err)
	}
	c.finish(step, c.code(secret), fromKnown)
	if n := c.number(`SELECT COUNT(*) FROM consecutive_failures`); n != 0 {
		t.Errorf("signing in left %d counters of failures in a row", n)
	}
	if err := guess("alice", 1); !errors.Is(err, db.ErrWrongCode) {
		t.Errorf("signing in did not reset the failures in a row: %v", err)
	}
}

// Codes have their own counter, which neither the right password nor a link resets. It is the same for both names of the account.
func TestWrongCodesAreCountedApart(t *testing.T) {
	t.Parallel()
	c := openMailCast(t)
	secret, codes := c.addTOTP(c.laptop)
	for _, name := range []string{"alice", aliceEmail} {
		step := c.beginStep(name, alicePassword)
		for range 5 {
			c.FinishSecondStep(c.ctx(), step, c.wrongCode(secret), onCurl)
		}
	}
	refused := func(what string, refused bool) {
		t.Helper()
		user, err := c.Authenticate(c.ctx(), "alice", alicePassword, onCurl.Client)
		c.must(err)
		_, _, err = c.SignInWithCode(c.ctx(), user, c.wrongCode(secret), onCurl)
		throttled, ok := errors.AsType[db.Throttled](err)
		if ok != refused || ok && (!throttled.Codes || throttled.Locked) || !ok && !errors.Is(err, db.ErrWrongCode) {
			t.Errorf("%s: %v", what, err)
		}
	}
	refused("after ten wrong codes", true)
	if _, err := c.ResetPassword(c.ctx(), c.resetLink(), newPassword, somewhere); !errors.Is(err, db.ErrSecondFactor) {
		t.Fatal(err)
	}
	refused("after a link", true)
	_, err := c.ConfirmEmail(c.ctx(), c.emailLink("new@example.com"), somewhere)
	c.must(err)
	refused("with another address", true)
	c.must(c.SetPassword(c.ctx(), db.CommandLine, "alice", alicePassword))
	refused("after `user passwd`", false)
	if n := c.number(`SELECT COUNT(*) FROM second_steps`); n != 0 {
		t.Errorf("%d second steps are left", n)
	}

	// After a hundred in a row, waiting does not help.
	c.exec(`UPDATE consecutive_failures SET failures = 99`)
	refused("the hundredth", false)
	user, err := c.Authenticate(c.ctx(), "alice", alicePassword, onCurl.Client)
	c.must(err)
	_, _, err = c.SignInWithCode(c.ctx(), user, codes[0], onCurl)
	if throttled, ok := errors.AsType[db.Throttled](err); !ok || !throttled.Locked || !throttled.Codes {
		t.Errorf("after a hundred: %v", err)
	}
	c.must(c.ChangeUser(c.ctx(), db.CommandLine, "alice", db.UserChange{ResetSecondFactor: true}))
	if n := c.number(`SELECT COUNT(*) FROM consecutive_failures`); n != 0 {
		t.Error("the second factor was reset, but not the counter of wrong codes")
	}
}

// A link still lets an account in that was locked after a hundred wrong passwords, and asks for the code.
func TestLinkUnlocksAnAccountWithSecondFactor(t *testing.T) {
	t.Parallel()
	eachLink(t, func(t *testing.T, c *chosen) {
		for range 100 {
			c.clock.Advance(20 * time.Second)
			c.Authenticate(c.ctx(), "alice", bobPassword, clientOf(fmt.Sprintf("203.0.113.%d", c.clock.Now().Unix()%200), "curl"))
			c.exec(`DELETE FROM attempts`)
		}
		if _, err := c.Authenticate(c.ctx(), "alice", alicePassword, somewhere); !errors.As(err, new(db.Throttled)) {
			t.Fatalf("not locked: %v", err)
		}
		c.finish(c.begin(newPassword), c.code(c.secret))
		if err := c.passwordAlone("alice", newPassword); !errors.Is(err, db.ErrSecondFactor) {
			t.Error(err)
		}
	})
}

// An attempt that is refused costs no attempt, no write, and no parse of the User-Agent.
func TestThrottledCodeCountsForNothing(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	secret, _ := c.addTOTP(c.laptop)
	steps := []string{c.beginStep("alice", alicePassword), c.beginStep("alice", alicePassword), c.beginStep("alice", alicePassword)}
	for i := range 10 {
		c.FinishSecondStep(c.ctx(), steps[i/5], c.wrongCode(secret), onCurl)
	}
	before := c.number(`SELECT COUNT(*) FROM attempts`)
	new := onCurl
	new.Describe = func(string, bool) (string, string) {
		t.Error("the User-Agent was parsed")
		return "", ""
	}
	_, _, err := c.FinishSecondStep(c.ctx(), steps[2], c.code(secret), new)
	if throttled, ok := errors.AsType[db.Throttled](err); !ok || throttled.RetryAfter <= 0 || throttled.Locked {
		t.Fatal(err)
	}
	if c.number(`SELECT COUNT(*) FROM attempts`) != before || c.number(`SELECT SUM(attempts) FROM second_steps`) != 0 {
		t.Error("it was counted")
	}
}

// Somebody who knows the password, and begins one sign-in after another, cannot end the owner's in a known browser.
func TestUnfinishedStepsAreBounded(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	known := c.signIn(c.alice, firefoxOnLinux, "192.0.2.10", func(n *db.NewSession) { n.Remember = true })
	secret, _ := c.addTOTP(c.laptop)
	fromKnown := func(n *db.NewSession) { n.Device = known.DeviceToken }
	owners := c.beginStep("alice", alicePassword, fromKnown)
	first := c.beginStep("alice", alicePassword)
	for range 10 {
		c.clock.Advance(time.Millisecond)
		c.beginStep("alice", alicePassword)
	}
	if n := c.number(`SELECT COUNT(*) FROM second_steps`); n != 11 {
		t.Errorf("%d steps", n)
	}
	c.wantStep(first, c.code(secret), db.ErrNotFound)
	c.finish(owners, c.code(secret), fromKnown)
}
