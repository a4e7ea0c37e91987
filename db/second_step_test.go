package db_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"porchlight/db"
)

// This file tests the step between the right password and the second factor.

// beginStep gives the right password and returns the token of the second step.
func (h *house) beginStep(name, password string, change ...func(*db.NewSession)) (token string) {
	h.t.Helper()
	new := onCurl
	for _, c := range change {
		c(&new)
	}
	user, err := h.Authenticate(h.ctx(), name, password, new.Client)
	if err != nil {
		h.t.Fatalf("the password of %s: %v", name, err)
	}
	if token, err = h.BeginSecondStep(h.ctx(), user, new); err != nil {
		h.t.Fatal(err)
	}
	return token
}

// finish finishes a second step, which must succeed.
func (h *house) finish(token, code string, change ...func(*db.NewSession)) device {
	h.t.Helper()
	new := onCurl
	for _, c := range change {
		c(&new)
	}
	sessionToken, session, err := h.FinishSecondStep(h.ctx(), token, code, new)
	if err != nil {
		h.t.Fatalf("finish with %s: %v", code, err)
	}
	return device{sessionToken, session}
}

// wrongCode returns a code that is not valid now.
func (h *house) wrongCode(secret []byte) string {
	for n := 0; ; n++ {
		code := fmt.Sprintf("%06d", n)
		for at := -2; at <= 2; at++ {
			if db.TOTPCode(secret, h.clock.Now().Add(time.Duration(at)*30*time.Second)) == code {
				code = ""
			}
		}
		if code != "" {
			return code
		}
	}
}

func (c *cast) wantStep(token, code string, want error) {
	c.t.Helper()
	sessions := len(c.ids())
	_, session, err := c.FinishSecondStep(c.ctx(), token, code, onCurl)
	if !errors.Is(err, want) || session.ID != "" || len(c.ids()) != sessions {
		c.t.Errorf("finish with %s: %+v, %v, want %v", code, session, err, want)
	}
}

func TestSecondStep(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	secret, codes := c.addTOTP(c.laptop)
	before := len(c.ids())
	step := c.beginStep("alice", alicePassword, shared)
	if len(c.ids()) != before || c.alive(c.laptop).ID != c.laptop.ID {
		t.Error("the password alone changed the sessions")
	}
	if c.number(`SELECT COUNT(*) FROM second_steps WHERE token_hash = $1`, step) != 0 {
		t.Error("the token itself is stored")
	}
	got, err := c.SecondStep(step)
	if err != nil || got.UserID != c.alice.ID || got.Username != "alice" || !got.Shared || !got.TOTP || got.Passkeys {
		t.Errorf("the second step is %+v, %v", got, err)
	}
	code := c.code(secret)
	d := c.finish(step, " "+code[:3]+" "+code[3:])
	if s := c.alive(d); s.Method != db.ByPasswordAndCode || !s.Shared || !s.SecondFactor || !c.Confirmed(s) {
		t.Errorf("the session is %+v", s)
	}
	c.wantLatest(c.alice, happening{db.SignedIn, "", "curl", d.ID, "curl", 1})
	if _, err := c.SecondStep(step); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("a finished step: %v", err)
	}
	c.clock.Advance(time.Minute)
	c.wantStep(step, c.code(secret), db.ErrNotFound) // a step begins one session

	typed := strings.ToUpper(strings.ReplaceAll(codes[3], "-", " "))
	d = c.finish(c.beginStep("alice", alicePassword), typed)
	if s := c.alive(d); s.Method != db.ByPasswordAndRecovery || s.Shared {
		t.Errorf("the session is %+v", s)
	}
	c.wantLatest(c.alice, happening{db.RecoveryCodeUsed, "", "curl", "", "", 1}, happening{db.SignedIn, "", "curl", d.ID, "curl", 1})
	c.wantStep(c.beginStep("alice", alicePassword), codes[3], db.ErrWrongCode) // each works once
	if f := c.factors(c.alice); f.RecoveryCodes != 9 {
		t.Errorf("%d recovery codes are left", f.RecoveryCodes)
	}
}

func TestSecondStepRefusesWrongCodes(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	secret, codes := c.addTOTP(c.laptop)
	_, bobs := c.addTOTP(c.desk)
	step := c.beginStep("alice", alicePassword)
	for _, code := range []string{"", c.wrongCode(secret), bobs[0]} {
		c.wantStep(step, code, db.ErrWrongCode)
	}
	c.wantLatest(c.alice, happening{Kind: db.SignInFailed, DeviceName: "curl", Count: 3})
	if c.alive(c.finish(step, codes[0])).UserID != c.alice.ID {
		t.Error("the step is not alice's")
	}
	for _, token := range []string{"", "A", step + "A", strings.ToLower(step)} {
		c.wantStep(token, codes[1], db.ErrNotFound)
	}
}

func TestSecondStepEnds(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(c *cast, step string, secret []byte){
		"ten minutes": func(c *cast, step string, secret []byte) {
			c.clock.Advance(db.SecondStepLifetime)
			c.wantStep(step, c.code(secret), db.ErrNotFound)
			c.clock.Advance(-2 * time.Minute) // it stays refused
		},
		"five wrong codes": func(c *cast, step string, secret []byte) {
			for range 4 {
				c.wantStep(step, c.wrongCode(secret), db.ErrWrongCode)
			}
			c.wantStep(step, c.wrongCode(secret), db.ErrNotFound)
		},
		"password changed": func(c *cast, step string, secret []byte) {
			_, err := c.changePassword(c.phone.Session, alicePassword, newPassword, false)
			c.must(err)
		},
		"password set": func(c *cast, step string, secret []byte) {
			c.must(c.SetPassword(c.ctx(), db.CommandLine, "alice", newPassword))
		},
		"disabled": func(c *cast, step string, secret []byte) {
			c.must(c.DisableUser(c.ctx(), db.CommandLine, "alice", true))
		},
		"disabled and enabled": func(c *cast, step string, secret []byte) {
			c.must(c.DisableUser(c.ctx(), db.CommandLine, "alice", true))
			c.must(c.EnableUser(c.ctx(), db.CommandLine, "alice"))
		},
		"deleted": func(c *cast, step string, secret []byte) {
			c.must(c.DeleteUser(c.ctx(), db.CommandLine, "alice", true))
		},
		"factor removed": func(c *cast, step string, secret []byte) { c.must(c.DisableTOTP(c.ctx(), c.phone.Session)) },
		"swept": func(c *cast, step string, secret []byte) {
			c.clock.Advance(db.SecondStepLifetime)
			c.must(c.Sweep(c.ctx(), time.Time{}))
			if n := c.number(`SELECT COUNT(*) FROM second_steps`); n != 0 {
				c.t.Errorf("%d steps are left", n)
			}
		},
		"clock a year ahead, then right": func(c *cast, step string, secret []byte) {
			c.clock.Advance(365 * 24 * time.Hour)
			c.beginStep("alice", alicePassword)
			c.clock.Advance(-365 * 24 * time.Hour)
			c.must(c.Sweep(c.ctx(), time.Time{}))
			if n := c.number(`SELECT COUNT(*) FROM second_steps WHERE expires_at > $1`,
				c.clock.Now().Add(db.SecondStepLifetime).UnixMilli()); n != 0 {
				c.t.Error("a step lasts a year")
			}
			c.clock.Advance(db.SecondStepLifetime)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := openCast(t)
			secret, _ := c.addTOTP(c.laptop)
			step := c.beginStep("alice", alicePassword)
			end(c, step, secret)
			c.wantStep(step, c.code(secret), db.ErrNotFound)
		})
	}
}

// The state of the account counts at the end of the second step, even if the rows say otherwise.
func TestSecondStepOfADisabledUser(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	secret, _ := c.addTOTP(c.desk)
	step := c.beginStep("bob", bobPassword)
	c.exec(`UPDATE users SET disabled = 1 WHERE username = 'bob'`)
	c.wantStep(step, c.code(secret), db.ErrNotFound)
}

func TestBeginSecondStepChecksThePassword(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.addTOTP(c.laptop)
	user, err := c.Authenticate(c.ctx(), "alice", alicePassword, onCurl.Client)
	c.must(err)
	c.must(c.SetPassword(c.ctx(), db.CommandLine, "alice", newPassword))
	if _, err := c.BeginSecondStep(c.ctx(), user, onCurl); !errors.Is(err, db.ErrWrongPassword) {
		t.Errorf("with the old password: %v", err)
	}
}

// The right code at once from fifty connections, of one step or of many, gives one session.
func TestCodeWorksOnceAtOnce(t *testing.T) {
	t.Parallel()
	for name, code := range map[string]func(c *cast, secret []byte, codes []string) string{
		"authenticator app": func(c *cast, secret []byte, _ []string) string { return c.code(secret) },
		"recovery code":     func(_ *cast, _ []byte, codes []string) string { return codes[0] },
	} {
		for _, oneStep := range []bool{true, false} {
			t.Run(fmt.Sprint(name, ", one step ", oneStep), func(t *testing.T) {
				t.Parallel()
				c := openCast(t)
				secret, codes := c.addTOTP(c.laptop)
				code := code(c, secret, codes)
				step := c.beginStep("alice", alicePassword)
				steps := make([]string, 50)
				for i := range steps {
					if steps[i] = step; !oneStep && i < 9 { // ten are kept
						steps[i] = c.beginStep("alice", alicePassword)
					}
				}
				before := len(c.ids())
				var in atomic.Int64
				var all sync.WaitGroup
				for _, step := range steps {
					all.Go(func() {
						_, _, err := c.FinishSecondStep(c.ctx(), step, code, onCurl)
						var throttled db.Throttled
						switch {
						case err == nil:
							in.Add(1)
						case !errors.Is(err, db.ErrWrongCode) && !errors.Is(err, db.ErrNotFound) && !errors.As(err, &throttled):
							t.Error(err)
						}
					})
				}
				all.Wait()
				if in.Load() != 1 || len(c.ids()) != before+1 {
					t.Errorf("%d got in, with %d new sessions", in.Load(), len(c.ids())-before)
				}
			})
		}
	}
}

// A form that is sent twice begins one session, and both answers have a token that works in turn.
func TestSecondStepFormSentTwice(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	secret, _ := c.addTOTP(c.laptop)
	form := func(id string) func(*db.NewSession) {
		return func(n *db.NewSession) { n.Form = strings.Repeat(id, db.TokenLength) }
	}
	step, code := c.beginStep("alice", alicePassword), c.code(secret)
	first := c.finish(step, code, form("A"))
	second := c.finish(step, code, form("A"))
	if first.ID != second.ID || first.token == second.token {
		t.Errorf("%s and %s", first.ID, second.ID)
	}
	c.wantEnded(first)
	c.alive(second)
	new := onCurl
	form("B")(&new)
	if _, _, err := c.FinishSecondStep(c.ctx(), step, code, new); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("with another form: %v", err)
	}
	c.clock.Advance(time.Minute)
	form("A")(&new)
	if _, _, err := c.FinishSecondStep(c.ctx(), step, code, new); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("a minute later: %v", err)
	}
}
