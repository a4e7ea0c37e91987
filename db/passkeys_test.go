package db_test

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"porchlight/db"
)

func TestAddPasskey(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	new := c.newPasskey(c.laptop, "key")
	new.SignCount = 3
	codes, err := c.AddPasskey(c.ctx(), c.laptop.Session, new)
	if err != nil || len(codes) != 10 {
		t.Fatal(codes, err)
	}
	at := happening{"", "192.0.2.10", firefoxOnLinux, c.laptop.ID, firefoxOnLinux, 1}
	added, made := at, at
	added.Kind, made.Kind = db.PasskeyAdded, db.RecoveryCodesMade
	c.wantLatest(c.alice, added, made)
	got, err := c.PasskeyByCredential([]byte("key"))
	if err != nil || got.UserID != c.alice.ID || got.Name != "key" || got.SignCount != 3 || string(got.Credential) != "{}" ||
		!bytes.Equal(got.UserHandle, new.UserHandle) || !got.CreatedAt.Equal(c.clock.Now()) || !got.LastUsedAt.IsZero() {
		t.Errorf("the stored passkey is %+v, %v", got, err)
	}
	if _, err := c.PasskeyByCredential([]byte("ke")); !errors.Is(err, db.ErrNotFound) {
		t.Error(err)
	}
	// The same authenticator answers again, for her and for another user.
	for _, d := range []device{c.phone, c.desk} {
		if _, err := c.AddPasskey(c.ctx(), d.Session, c.newPasskey(d, "key")); !errors.Is(err, db.ErrPasskeyExists) {
			t.Errorf("%s: %v", d.Username, err)
		}
	}
	replayed := c.newPasskey(c.laptop, "other")
	replayed.ChallengeHash = new.ChallengeHash
	if _, err := c.AddPasskey(c.ctx(), c.laptop.Session, replayed); !errors.Is(err, db.ErrChallengeUsed) {
		t.Errorf("a challenge that was used: %v", err)
	}
	for i := 1; i < db.MaxPasskeys; i++ {
		c.addPasskey(c.laptop, fmt.Sprint(i))
	}
	if _, err := c.AddPasskey(c.ctx(), c.laptop.Session, c.newPasskey(c.laptop, "one too many")); !errors.Is(err, db.ErrTooManyPasskeys) {
		t.Error(err)
	}
	if n := len(c.factors(c.alice).Passkeys); n != db.MaxPasskeys || c.factors(c.bob).Any() {
		t.Errorf("%d passkeys", n)
	}
	c.addPasskey(c.desk, "of bob")
}

func TestPasskeyUserHandle(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	alices, bobs := c.newPasskey(c.laptop, "").UserHandle, c.newPasskey(c.desk, "").UserHandle
	if len(alices) != 64 || bytes.Equal(alices, bobs) || !bytes.Equal(alices, c.newPasskey(c.phone, "").UserHandle) {
		t.Errorf("handles %x and %x", alices, bobs)
	}
	// Authenticators keep the handle, so it must survive the loss of the key.
	c.addPasskey(c.laptop, "key")
	c.closed()
	c.removeKey()
	c.open()
	if got := c.newPasskey(c.laptop, "").UserHandle; !bytes.Equal(got, alices) {
		t.Errorf("handle %x, before %x", got, alices)
	}
}

func TestRenameAndRemovePasskey(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.addPasskey(c.laptop, "one")
	c.addPasskey(c.laptop, "two")
	id := c.factors(c.alice).Passkeys[0].ID
	for name, change := range map[string]func(by db.Session, id string) error{
		"rename": func(by db.Session, id string) error { return c.RenamePasskey(c.ctx(), by, id, "Blue key") },
		"remove": func(by db.Session, id string) error { return c.RemovePasskey(c.ctx(), by, id) },
	} {
		for _, err := range []error{change(c.desk.Session, id), change(c.laptop.Session, "unknown")} {
			if !errors.Is(err, db.ErrNotFound) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	c.must(c.RenamePasskey(c.ctx(), c.phone.Session, id, "Blue key"))
	if f := c.factors(c.alice); len(f.Passkeys) != 2 || f.Passkeys[0].Name != "Blue key" || f.Passkeys[1].Name != "two" {
		t.Errorf("the factors are %+v", f)
	}
	step := c.beginStep("alice", alicePassword)
	c.must(c.RemovePasskey(c.ctx(), c.phone.Session, id))
	c.wantLatest(c.alice, happening{db.PasskeyRemoved, "198.51.100.20", safariOnIPhone, c.phone.ID, safariOnIPhone, 1})
	if _, err := c.SecondStep(step); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("a step from before: %v", err)
	}
	if _, _, err := c.SignInWithPasskey(c.ctx(), use("one", 1), onCurl); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("with the removed passkey: %v", err)
	}
}

func TestSignInWithPasskey(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.addPasskey(c.laptop, "key")
	sent := use("key", 1)
	new := onCurl
	new.Shared = true
	token, session, err := c.SignInWithPasskey(c.ctx(), sent, new)
	if err != nil {
		t.Fatal(err)
	}
	d := device{token, session}
	if s := c.alive(d); s.UserID != c.alice.ID || s.Method != db.ByPasskey || !s.Shared || !s.SecondFactor || !c.Confirmed(s) {
		t.Errorf("the session is %+v", s)
	}
	c.wantLatest(c.alice, happening{db.SignedIn, "", "curl", d.ID, "curl", 1})
	if got, _ := c.PasskeyByCredential([]byte("key")); got.SignCount != 1 || string(got.Credential) != `{"used":true}` ||
		!got.LastUsedAt.Equal(c.clock.Now()) {
		t.Errorf("after its use, the passkey is %+v", got)
	}
	before := len(c.ids())
	sent.SignCount = 2
	for name, test := range map[string]struct {
		use  db.PasskeyUse
		want error
	}{
		"the same challenge": {sent, db.ErrChallengeUsed}, "an unknown passkey": {use("other", 1), db.ErrNotFound},
	} {
		if _, _, err := c.SignInWithPasskey(c.ctx(), test.use, onCurl); !errors.Is(err, test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	c.must(c.DisableUser(c.ctx(), db.CommandLine, "alice", true))
	if _, _, err := c.SignInWithPasskey(c.ctx(), use("key", 3), onCurl); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("a disabled user: %v", err)
	}
	if now := len(c.ids()); now > before {
		t.Errorf("%d new sessions", now-before)
	}
}

// A counter that goes back, or stands still, may be that of a copy.
func TestPasskeyCounter(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.addPasskey(c.laptop, "none") // an authenticator without a counter
	for range 2 {
		if _, _, err := c.SignInWithPasskey(c.ctx(), use("none", 0), onCurl); err != nil {
			t.Error(err)
		}
	}
	c.addPasskey(c.laptop, "key")
	if _, _, err := c.SignInWithPasskey(c.ctx(), use("key", 5), onCurl); err != nil {
		t.Fatal(err)
	}
	before := len(c.ids())
	step := c.beginStep("alice", alicePassword)
	for i, sign := range []func(db.PasskeyUse) error{
		func(u db.PasskeyUse) error { _, _, err := c.SignInWithPasskey(c.ctx(), u, onCurl); return err },
		func(u db.PasskeyUse) error {
			_, _, err := c.FinishSecondStepWithPasskey(c.ctx(), step, u, onCurl)
			return err
		},
		func(u db.PasskeyUse) error {
			return c.ConfirmWithPasskey(c.ctx(), c.phone.Session, db.Client{DeviceName: "curl"}, u)
		},
	} {
		for _, count := range []uint32{5, 4, 0} {
			if err := sign(use("key", count)); !errors.Is(err, db.ErrPasskeyRefused) {
				t.Errorf("way %d, counter %d: %v", i, count, err)
			}
		}
	}
	refused := 0
	for _, a := range c.activity(c.alice) {
		if a.Kind == db.PasskeyRefused && a.DeviceName == "curl" {
			refused += a.Count
		}
	}
	if refused != 9 {
		t.Errorf("%d refusals are recorded: %+v", refused, c.activity(c.alice))
	}
	if got, _ := c.PasskeyByCredential([]byte("key")); got.SignCount != 5 || len(c.ids()) != before {
		t.Errorf("counter %d", got.SignCount)
	}
	if _, _, err := c.SignInWithPasskey(c.ctx(), use("key", 6), onCurl); err != nil {
		t.Error(err)
	}
}

func TestSecondStepWithPasskey(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.addPasskey(c.laptop, "hers")
	c.addPasskey(c.desk, "his")
	step := c.beginStep("alice", alicePassword, shared)
	if got, err := c.SecondStep(step); err != nil || got.TOTP || !got.Passkeys {
		t.Errorf("the second step is %+v, %v", got, err)
	}
	if _, _, err := c.FinishSecondStepWithPasskey(c.ctx(), step, use("his", 1), onCurl); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("with the passkey of somebody else: %v", err)
	}
	token, session, err := c.FinishSecondStepWithPasskey(c.ctx(), step, use("hers", 1), onCurl)
	if err != nil {
		t.Fatal(err)
	}
	if s := c.alive(device{token, session}); s.Method != db.ByPasswordAndPasskey || !s.Shared || s.UserID != c.alice.ID {
		t.Errorf("the session is %+v", s)
	}
	if _, _, err := c.FinishSecondStepWithPasskey(c.ctx(), step, use("hers", 2), onCurl); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("a finished step: %v", err)
	}
}

// One assertion that is sent fifty times at once signs in once.
func TestAssertionWorksOnceAtOnce(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.addPasskey(c.laptop, "key")
	sent := use("key", 0)
	var in atomic.Int64
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			_, _, err := c.SignInWithPasskey(c.ctx(), sent, onCurl)
			if err == nil {
				in.Add(1)
			} else if !errors.Is(err, db.ErrChallengeUsed) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if in.Load() != 1 {
		t.Errorf("%d got in", in.Load())
	}
}

func TestUsedChallengesAreSwept(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.addPasskey(c.laptop, "key")
	c.clock.Advance(-time.Hour) // the row is in the future now
	c.must(c.Sweep(c.ctx(), time.Time{}))
	c.clock.Advance(24*time.Hour - time.Millisecond)
	c.must(c.Sweep(c.ctx(), time.Time{}))
	if n := c.number(`SELECT COUNT(*) FROM used_challenges`); n != 1 {
		t.Errorf("%d challenges are kept", n)
	}
	c.clock.Advance(time.Millisecond)
	c.must(c.Sweep(c.ctx(), time.Time{}))
	if n := c.number(`SELECT COUNT(*) FROM used_challenges`); n != 0 {
		t.Errorf("%d challenges are left", n)
	}
}

func TestConfirm(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.addPasskey(c.laptop, "hers")
	c.addPasskey(c.desk, "his")
	client := db.Client{IP: "192.0.2.10"}
	confirmed := func() bool { return c.Confirmed(c.alive(c.laptop)) }
	if !confirmed() {
		t.Error("signing in does not count")
	}
	c.clock.Advance(db.ConfirmLifetime - 3*time.Millisecond)
	if !confirmed() {
		t.Error("the confirmation ended early")
	}
	c.clock.Advance(time.Millisecond)
	if confirmed() {
		t.Error("the confirmation never ends") // although nothing in the database has changed
	}
	c.clock.Advance(time.Second) // so that it has ended on the phone, too
	if err := c.ConfirmWithPassword(c.ctx(), c.laptop.Session, client, bobPassword); !errors.Is(err, db.ErrWrongPassword) || confirmed() {
		t.Error(err)
	}
	c.wantLatest(c.alice, happening{db.ConfirmFailed, "192.0.2.10", firefoxOnLinux, c.laptop.ID, firefoxOnLinux, 1})
	if err := c.ConfirmWithPasskey(c.ctx(), c.laptop.Session, client, use("his", 1)); !errors.Is(err, db.ErrNotFound) || confirmed() {
		t.Errorf("with the passkey of somebody else: %v", err)
	}
	for name, confirm := range map[string]func() error{
		"password": func() error { return c.ConfirmWithPassword(c.ctx(), c.laptop.Session, client, alicePassword) },
		"passkey":  func() error { return c.ConfirmWithPasskey(c.ctx(), c.laptop.Session, client, use("hers", 1)) },
	} {
		if err := confirm(); err != nil || !confirmed() || c.Confirmed(c.alive(c.phone)) {
			t.Errorf("%s: %v", name, err)
		}
		c.clock.Advance(-time.Hour) // a check in the future counts for nothing
		if confirmed() {
			t.Errorf("%s: after the clock was set back", name)
		}
		c.clock.Advance(time.Hour + db.ConfirmLifetime)
	}
	_, err := c.Revoke(c.ctx(), c.phone.Session, c.laptop.ID)
	c.must(err)
	if err := c.ConfirmWithPassword(c.ctx(), c.laptop.Session, client, alicePassword); !errors.Is(err, db.ErrSessionEnded) {
		t.Error(err)
	}
}

// If the clock was ahead during a check, the check must not count when the clock gets there again.
func TestConfirmationFromTheFuture(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.clock.Advance(time.Hour)
	ahead := c.signIn(c.alice, firefoxOnLinux, "192.0.2.10")
	c.clock.Advance(-time.Hour)
	c.must(c.Sweep(c.ctx(), time.Time{}))
	c.clock.Advance(time.Hour)
	if c.Confirmed(c.alive(ahead)) {
		t.Error("the check counts an hour later")
	}
}
