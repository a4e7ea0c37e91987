package db_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"porchlight/db"
)

// This file tests authenticator apps. Signing in with their codes is tested in second_step_test.go.

// RFC 6238, appendix B, has codes of 8 digits for this secret. Those of 6 digits are their ends.
func TestTOTPVectors(t *testing.T) {
	t.Parallel()
	for seconds, want := range map[int64]string{
		59: "94287082", 1111111109: "07081804", 1111111111: "14050471", 1234567890: "89005924", 2000000000: "69279037", 20000000000: "65353130",
	} {
		if got := db.TOTPCode([]byte("12345678901234567890"), time.Unix(seconds, 0)); got != want[2:] {
			t.Errorf("at %d: got %s, want %s", seconds, got, want[2:])
		}
	}
}

func TestSetUpTOTP(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	if _, err := c.PendingTOTP(c.laptop.Session); !errors.Is(err, db.ErrNotFound) {
		t.Error(err)
	}
	if _, err := c.EnableTOTP(c.ctx(), c.laptop.Session, "123456"); !errors.Is(err, db.ErrNotFound) {
		t.Error(err)
	}
	old, err := c.BeginTOTP(c.ctx(), c.laptop.Session)
	c.must(err)
	secret, err := c.BeginTOTP(c.ctx(), c.laptop.Session)
	c.must(err)
	if len(secret) != 20 || bytes.Equal(secret, old) {
		t.Errorf("secrets %x and %x", old, secret)
	}
	if pending, err := c.PendingTOTP(c.phone.Session); err != nil || !bytes.Equal(pending, secret) {
		t.Errorf("PendingTOTP: %x, %v", pending, err)
	}
	for _, code := range []string{"", "12345", c.wrongCode(secret), c.code(old)} {
		if _, err := c.EnableTOTP(c.ctx(), c.laptop.Session, code); !errors.Is(err, db.ErrWrongCode) || c.factors(c.alice).TOTP {
			t.Errorf("%q: %v", code, err)
		}
	}
	code := c.code(secret)
	codes, err := c.EnableTOTP(c.ctx(), c.laptop.Session, code[:3]+" "+code[3:])
	if err != nil || len(codes) != 10 {
		t.Fatal(codes, err)
	}
	at := happening{"", "192.0.2.10", firefoxOnLinux, c.laptop.ID, firefoxOnLinux, 1}
	on, made := at, at
	on.Kind, made.Kind = db.TOTPOn, db.RecoveryCodesMade
	c.wantLatest(c.alice, on, made)
	if f := c.factors(c.alice); !f.TOTP || !f.TOTPSince.Equal(c.clock.Now()) || f.RecoveryCodes != 10 {
		t.Errorf("the factors are %+v", f)
	}
	c.wantStep(c.beginStep("alice", alicePassword), code, db.ErrWrongCode) // the code that switched it on
	if _, err := c.PendingTOTP(c.laptop.Session); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("the secret can still be read: %v", err)
	}
	if _, err := c.EnableTOTP(c.ctx(), c.laptop.Session, code); !errors.Is(err, db.ErrNotFound) {
		t.Error(err)
	}
	if _, err := c.BeginTOTP(c.ctx(), c.laptop.Session); !errors.Is(err, db.ErrTOTPOn) {
		t.Error(err)
	}

	c.must(c.DisableTOTP(c.ctx(), c.phone.Session))
	c.wantLatest(c.alice, happening{db.TOTPOff, "198.51.100.20", safariOnIPhone, c.phone.ID, safariOnIPhone, 1})
	if err := c.DisableTOTP(c.ctx(), c.phone.Session); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("again: %v", err)
	}
	if _, err := c.Revoke(c.ctx(), c.phone.Session, c.laptop.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := c.BeginTOTP(c.ctx(), c.laptop.Session); !errors.Is(err, db.ErrSessionEnded) {
		t.Errorf("a session that has ended: %v", err)
	}
}

func TestTOTPSecretIsEncrypted(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	secret, _ := c.addTOTP(c.laptop)
	bobs, _ := c.addTOTP(c.desk)
	c.flush()
	for _, suffix := range []string{"", "-wal"} {
		if bytes.Contains(read(t, c.options.Path+suffix), secret) {
			t.Errorf("the secret is in the database%s", suffix)
		}
	}
	// A copied secret belongs to nobody else.
	c.exec(`UPDATE totp SET secret = (SELECT secret FROM totp WHERE user_id = $1) WHERE user_id = $2`, c.bob.ID, c.alice.ID)
	step := c.beginStep("alice", alicePassword)
	if _, session, err := c.FinishSecondStep(c.ctx(), step, c.code(bobs), onCurl); err == nil {
		t.Errorf("bob's app signs in as %s", session.Username)
	}
}

func TestTOTPTolerance(t *testing.T) {
	t.Parallel()
	for off, want := range map[time.Duration]error{
		-60 * time.Second: db.ErrWrongCode, -30 * time.Second: nil, 0: nil, 30 * time.Second: nil, 60 * time.Second: db.ErrWrongCode,
	} {
		c := openCast(t)
		secret, _ := c.addTOTP(c.laptop)
		code := db.TOTPCode(secret, c.clock.Now().Add(off))
		if _, _, err := c.FinishSecondStep(c.ctx(), c.beginStep("alice", alicePassword), code, onCurl); !errors.Is(err, want) {
			t.Errorf("off by %s: %v", off, err)
		}
	}
}

// After a code, neither it nor an older one works, and the clock changes nothing about that. Once the clock is right again, new codes work
// within a minute.
func TestTOTPWhenTheClockIsSet(t *testing.T) {
	t.Parallel()
	for _, jump := range []time.Duration{time.Hour, 365 * 24 * time.Hour} {
		c := openCast(t, func(o *db.Options) { o.Limits.IdleTimeout, o.Limits.MaxLifetime = 1<<62, 1<<62 })
		secret, _ := c.addTOTP(c.laptop)
		older, code := db.TOTPCode(secret, c.clock.Now().Add(-30*time.Second)), c.code(secret)
		c.finish(c.beginStep("alice", alicePassword), code)
		c.wantStep(c.beginStep("alice", alicePassword), older, db.ErrWrongCode)
		c.clock.Advance(-jump)
		c.must(c.Sweep(c.ctx(), time.Time{}))
		c.wantStep(c.beginStep("alice", alicePassword), code, db.ErrWrongCode)
		c.clock.Advance(time.Minute)
		used := c.code(secret)
		c.finish(c.beginStep("alice", alicePassword), used)

		c.clock.Advance(jump)
		c.finish(c.beginStep("alice", alicePassword), c.code(secret))
		c.clock.Advance(-jump)
		c.must(c.Sweep(c.ctx(), time.Time{}))
		c.wantStep(c.beginStep("alice", alicePassword), used, db.ErrWrongCode)
		c.clock.Advance(time.Minute)
		c.finish(c.beginStep("alice", alicePassword), c.code(secret))
	}
}
