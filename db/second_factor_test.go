package db_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"porchlight/db"
)

// This file has the helpers of the tests of second factors, and tests who must have one and how it is reset.

// addTOTP sets up an authenticator app. It advances the clock, so that the code that was used is no longer valid.
func (h *house) addTOTP(d device) (secret []byte, recoveryCodes []string) {
	h.t.Helper()
	secret, err := h.BeginTOTP(h.ctx(), d.Session)
	if err != nil {
		h.t.Fatal(err)
	}
	if recoveryCodes, err = h.EnableTOTP(h.ctx(), d.Session, h.code(secret)); err != nil {
		h.t.Fatal(err)
	}
	h.clock.Advance(time.Minute)
	return secret, recoveryCodes
}

// code returns what the authenticator app shows now.
func (h *house) code(secret []byte) string { return db.TOTPCode(secret, h.clock.Now()) }

// challenge returns the hash of a challenge. The same number is the same challenge.
func challenge(n int) []byte {
	hash := sha256.Sum256(fmt.Append(nil, "challenge ", n))
	return hash[:]
}

// addPasskey adds a passkey whose credential id is the name.
func (h *house) addPasskey(d device, name string) (recoveryCodes []string) {
	h.t.Helper()
	recoveryCodes, err := h.AddPasskey(h.ctx(), d.Session, h.newPasskey(d, name))
	if err != nil {
		h.t.Fatal(err)
	}
	return recoveryCodes
}

func (h *house) newPasskey(d device, name string) db.NewPasskey {
	h.t.Helper()
	handle, err := h.PasskeyUserHandle(d.UserID)
	if err != nil {
		h.t.Fatal(err)
	}
	return db.NewPasskey{
		UserHandle: handle, CredentialID: []byte(name), Credential: []byte(`{}`), Name: name, ChallengeHash: challenge(rand.Int()),
	}
}

// use returns an assertion with a new challenge.
func use(name string, signCount uint32) db.PasskeyUse {
	return db.PasskeyUse{
		CredentialID: []byte(name), Credential: []byte(`{"used":true}`), SignCount: signCount, ChallengeHash: challenge(rand.Int()),
	}
}

func (h *house) factors(user db.User) db.Factors {
	h.t.Helper()
	factors, err := h.Factors(user.ID)
	if err != nil {
		h.t.Fatal(err)
	}
	return factors
}

// passwordAlone attempts to sign in with only the password.
func (h *house) passwordAlone(name, password string) error {
	h.t.Helper()
	user, err := h.Authenticate(h.ctx(), name, password, onCurl.Client)
	if err == nil {
		_, _, err = h.SignIn(h.ctx(), user, onCurl)
	}
	return err
}

func requireFactor(who db.Requirement) func(*db.Options) {
	return func(o *db.Options) { o.RequireSecondFactor = who }
}

func TestPasswordAloneIsNotEnough(t *testing.T) {
	t.Parallel()
	for name, add := range map[string]func(*cast){
		"authenticator app": func(c *cast) { c.addTOTP(c.laptop) },
		"passkey":           func(c *cast) { c.addPasskey(c.laptop, "key") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := openCast(t)
			user, err := c.Authenticate(c.ctx(), "alice", alicePassword, onCurl.Client)
			if err != nil || user.SecondFactor {
				t.Fatal(user, err)
			}
			add(c)
			sessions := c.ids()
			if _, _, err := c.SignIn(c.ctx(), user, onCurl); !errors.Is(err, db.ErrSecondFactor) {
				t.Errorf("with a password that was checked before: %v", err)
			}
			if err := c.passwordAlone("alice", alicePassword); !errors.Is(err, db.ErrSecondFactor) {
				t.Error(err)
			}
			if got := c.ids(); !slices.Equal(got, sessions) {
				t.Errorf("sessions %v, want %v", got, sessions)
			}
			if err := c.passwordAlone("bob", bobPassword); err != nil {
				t.Errorf("bob has no factor: %v", err)
			}
			for username, want := range map[string]bool{"alice": true, "bob": false} {
				if user, err := c.UserByName(username); err != nil || user.SecondFactor != want {
					t.Errorf("%s: %+v, %v", username, user, err)
				}
			}
			if !c.alive(c.phone).SecondFactor || c.alive(c.desk).SecondFactor {
				t.Error("the sessions do not show who has a factor")
			}
		})
	}
}

// A factor that is being set up is none yet.
func TestFactorBeingSetUpIsNone(t *testing.T) {
	t.Parallel()
	c := openCast(t, requireFactor(db.RequireAll))
	if _, err := c.BeginTOTP(c.ctx(), c.laptop.Session); err != nil {
		t.Fatal(err)
	}
	if err := c.passwordAlone("alice", alicePassword); err != nil {
		t.Error(err)
	}
	if f := c.factors(c.alice); f.Any() || f.RecoveryCodes != 0 || !c.alive(c.laptop).MustSetUpFactor {
		t.Errorf("the factors are %+v", f)
	}
}

func TestWhoMustHaveAFactor(t *testing.T) {
	t.Parallel()
	for who, want := range map[db.Requirement][2]bool{ // of alice, an administrator, and of bob
		"": {}, db.RequireNone: {}, db.RequireAdmins: {true, false}, db.RequireAll: {true, true},
	} {
		t.Run(string(who), func(t *testing.T) {
			t.Parallel()
			c := openCast(t, requireFactor(who))
			for i, d := range []device{c.laptop, c.desk} {
				for range 2 { // then from the cache
					session, access := c.alive(d), c.authorize(d, notes)
					if session.MustSetUpFactor != want[i] || d.MustSetUpFactor != want[i] || access.MustSetUpFactor != want[i] ||
						access.Allowed == want[i] {
						t.Errorf("%s: session %t, at sign-in %t, app %t, allowed %t", d.Username, session.MustSetUpFactor, d.MustSetUpFactor,
							access.MustSetUpFactor, access.Allowed)
					}
				}
			}
			// What was read before the user had a factor does not count after.
			c.addPasskey(c.laptop, "of alice")
			c.addTOTP(c.desk)
			for _, d := range []device{c.laptop, c.phone, c.desk} {
				if session, access := c.alive(d), c.authorize(d, notes); session.MustSetUpFactor || access.MustSetUpFactor || !access.Allowed {
					t.Errorf("%s has a factor: %+v, %+v", d.DeviceName, session, access)
				}
			}
		})
	}
}

func TestLastFactorStaysWhereOneIsRequired(t *testing.T) {
	t.Parallel()
	c := openCast(t, requireFactor(db.RequireAdmins))
	c.addTOTP(c.laptop)
	c.addPasskey(c.laptop, "key")
	c.addTOTP(c.desk)
	if err := c.DisableTOTP(c.ctx(), c.laptop.Session); err != nil {
		t.Fatal(err)
	}
	id := c.factors(c.alice).Passkeys[0].ID
	if err := c.RemovePasskey(c.ctx(), c.laptop.Session, id); !errors.Is(err, db.ErrFactorRequired) {
		t.Errorf("the last factor of an administrator: %v", err)
	}
	if f := c.factors(c.alice); len(f.Passkeys) != 1 || f.RecoveryCodes != 10 {
		t.Errorf("alice has %+v", f)
	}
	c.wantLatest(c.alice, happening{db.TOTPOff, "192.0.2.10", firefoxOnLinux, c.laptop.ID, firefoxOnLinux, 1})
	if err := c.DisableTOTP(c.ctx(), c.desk.Session); err != nil {
		t.Errorf("bob need not have one: %v", err)
	}
	if f := c.factors(c.bob); f.Any() || f.RecoveryCodes != 0 {
		t.Errorf("bob has %+v", f)
	}
}

// Of the last two factors, removed at once, one stays.
func TestLastFactorsRemovedAtOnce(t *testing.T) {
	t.Parallel()
	c := openCast(t, requireFactor(db.RequireAll))
	c.addTOTP(c.laptop)
	c.addPasskey(c.laptop, "key")
	id := c.factors(c.alice).Passkeys[0].ID
	errs := make([]error, 2)
	var all sync.WaitGroup
	all.Go(func() { errs[0] = c.DisableTOTP(c.ctx(), c.laptop.Session) })
	all.Go(func() { errs[1] = c.RemovePasskey(c.ctx(), c.phone.Session, id) })
	all.Wait()
	if (errs[0] == nil) == (errs[1] == nil) || !errors.Is(errors.Join(errs...), db.ErrFactorRequired) || !c.factors(c.alice).Any() {
		t.Errorf("%v; left is %+v", errs, c.factors(c.alice))
	}
}

func TestResetByCommand(t *testing.T) {
	t.Parallel()
	c := openCast(t, requireFactor(db.RequireAll))
	c.addTOTP(c.laptop)
	c.addPasskey(c.laptop, "one")
	c.addPasskey(c.laptop, "two")
	step := c.beginStep("alice", alicePassword)
	if err := c.ChangeUser(c.ctx(), db.CommandLine, "alice", db.UserChange{ResetSecondFactor: true}); err != nil {
		t.Fatal(err)
	}
	if f := c.factors(c.alice); f.Any() || f.RecoveryCodes != 0 {
		t.Errorf("alice has %+v", f)
	}
	if _, err := c.SecondStep(step); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("a step from before: %v", err)
	}
	if err := c.passwordAlone("alice", alicePassword); err != nil {
		t.Error(err)
	}
	if !c.alive(c.laptop).MustSetUpFactor {
		t.Error("alice is not led to set up another factor")
	}
	reset := c.activity(c.alice)
	want := []happening{{Kind: db.TOTPOff, By: db.ByCommand, Count: 1}, {Kind: db.PasskeyRemoved, By: db.ByCommand, Count: 2}}
	if at := slices.Index(reset, want[0]); at < 0 || !slices.Equal(reset[at:at+2], want) {
		t.Errorf("activity: %+v", reset)
	}
	// Again, with nothing to remove.
	before := len(c.activity(c.alice))
	err := c.ChangeUser(c.ctx(), db.CommandLine, "alice", db.UserChange{ResetSecondFactor: true})
	if err != nil || len(c.activity(c.alice)) != before {
		t.Error(err)
	}
}

func TestInvitationKeepsOrResetsTheFactor(t *testing.T) {
	t.Parallel()
	for _, reset := range []bool{false, true} {
		c := openCast(t)
		c.addTOTP(c.laptop)
		token, _, err := c.Invite(c.ctx(), db.CommandLine, db.NewUser{Username: "alice", ResetSecondFactor: reset})
		if err != nil {
			t.Fatal(err)
		}
		if !c.factors(c.alice).TOTP {
			t.Error("the invitation reset the factor before it was accepted")
		}
		_, _, err = c.AcceptInvitation(c.ctx(), token, newPassword, onCurl.Client)
		if got := errors.Is(err, db.ErrSecondFactor); got == reset || !reset && !c.factors(c.alice).TOTP {
			t.Errorf("reset %t: %v", reset, err)
		}
	}
	c := openCast(t)
	_, _, err := c.Invite(c.ctx(), db.CommandLine, db.NewUser{Username: "carol", ResetSecondFactor: true})
	if !errors.As(err, new(db.Invalid)) {
		t.Errorf("a new account has no factor to reset: %v", err)
	}
	// A later invitation without the reset replaces one with it.
	if _, _, err := c.Invite(c.ctx(), db.CommandLine, db.NewUser{Username: "alice", ResetSecondFactor: true}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Invite(c.ctx(), db.CommandLine, db.NewUser{Username: "alice"}); err != nil {
		t.Fatal(err)
	}
	if n := c.number(`SELECT reset_second_factor FROM invitations WHERE username = 'alice'`); n != 0 {
		t.Error("the reset stayed on")
	}
}

// No order of adding, removing, requiring and resetting locks the only administrator out: after each step she can sign in, with a factor
// or led to set one up, and a recovery code works if she has a factor. A reset by command always makes the password enough.
func TestNoOrderOfFactorsLocksTheAdministratorOut(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	h := openHouse(t, func(o *db.Options) { o.MaxSessions = 10_000 })
	alice := h.addUser("alice", alicePassword)
	d := h.signIn(alice, firefoxOnLinux, "192.0.2.10")
	var secret []byte
	var codes []string
	keys := map[string]uint32{} // sign counts
	required := db.RequireNone
	keep := func(made []string, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if made != nil {
			codes = made
		}
	}
	removed := func(err error, last bool) (gone bool) {
		t.Helper()
		if refused := errors.Is(err, db.ErrFactorRequired); refused != (last && required != db.RequireNone) {
			t.Fatalf("last %t, %s required: %v", last, required, err)
		} else if refused {
			return false
		}
		h.must(err)
		return true
	}
	for i := range 300 {
		h.clock.Advance(time.Minute)
		d.Session = h.alive(d)
		switch what := random.IntN(7); {
		case what == 0 && secret == nil:
			var made []string
			secret, made = h.addTOTP(d)
			keep(made, nil)
		case what == 1 && len(keys) < db.MaxPasskeys:
			name := fmt.Sprint("key ", i)
			made, err := h.AddPasskey(h.ctx(), d.Session, h.newPasskey(d, name))
			keep(made, err)
			keys[name] = 0
		case what == 2 && secret != nil:
			if removed(h.DisableTOTP(h.ctx(), d.Session), len(keys) == 0) {
				secret = nil
			}
		case what == 3 && len(keys) > 0:
			passkeys, err := h.Passkeys(alice.ID)
			h.must(err)
			victim := passkeys[random.IntN(len(passkeys))]
			if removed(h.RemovePasskey(h.ctx(), d.Session, victim.ID), len(keys) == 1 && secret == nil) {
				delete(keys, victim.Name)
			}
		case what == 4:
			required = []db.Requirement{db.RequireNone, db.RequireAdmins, db.RequireAll}[random.IntN(3)]
			h.reopen(requireFactor(required))
		case what == 5:
			h.must(h.ChangeUser(h.ctx(), db.CommandLine, "alice", db.UserChange{ResetSecondFactor: true}))
			secret, keys = nil, map[string]uint32{}
			if err := h.passwordAlone("alice", alicePassword); err != nil {
				t.Fatalf("after a reset: %v", err)
			}
		case what == 6 && (secret != nil || len(keys) > 0):
			made, err := h.ReplaceRecoveryCodes(h.ctx(), d.Session)
			keep(made, err)
		}

		h.clock.Advance(time.Minute)
		has := secret != nil || len(keys) > 0
		if f := h.factors(alice); f.TOTP != (secret != nil) || len(f.Passkeys) != len(keys) || has != (f.RecoveryCodes > 0) {
			t.Fatalf("step %d: %+v", i, f)
		}
		if !has {
			if err := h.passwordAlone("alice", alicePassword); err != nil {
				t.Fatalf("step %d: the password alone: %v", i, err)
			}
			if got := h.alive(d).MustSetUpFactor; got != (required != db.RequireNone) {
				t.Fatalf("step %d: led to set up a factor: %t", i, got)
			}
			continue
		}
		if secret != nil {
			h.finish(h.beginStep("alice", alicePassword), h.code(secret))
		}
		for name := range keys {
			keys[name]++
			if _, _, err := h.SignInWithPasskey(h.ctx(), use(name, keys[name]), onCurl); err != nil {
				t.Fatalf("step %d: %s: %v", i, name, err)
			}
		}
		if f := h.factors(alice); f.RecoveryCodes > 1 {
			h.finish(h.beginStep("alice", alicePassword), codes[10-f.RecoveryCodes])
		}
	}
}
