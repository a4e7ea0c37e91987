package db_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"porchlight/db"
)

func TestEachSignInHasANewToken(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	again := c.signIn(c.alice, firefoxOnLinux, "192.0.2.10")
	tokens, ids := map[string]bool{}, map[string]bool{}
	for _, d := range []device{c.laptop, c.phone, c.desk, again} {
		tokens[d.token], ids[d.ID] = true, true
		if len(d.token) != db.TokenLength {
			t.Errorf("a token has %d characters, not %d", len(d.token), db.TokenLength)
		}
		hash := sha256.Sum256([]byte(d.token))
		if stored := c.text(`SELECT hex(token_hash) FROM sessions WHERE id = $1`, d.ID); stored != fmt.Sprintf("%X", hash) {
			t.Errorf("stored is %s, not the SHA-256 of the token", stored)
		}
	}
	if len(tokens) != 4 || len(ids) != 4 {
		t.Errorf("4 sign-ins made %d tokens and %d ids", len(tokens), len(ids))
	}
}

func TestSignInReturnsWhatIsStored(t *testing.T) {
	t.Parallel()
	h := openHouse(t)
	alice := h.addUser("alice", alicePassword)
	d := h.signIn(alice, firefoxOnLinux, "192.0.2.10", shared, func(n *db.NewSession) {
		n.DeviceKind, n.Method = "tablet", db.ByInvitation
	})
	now := h.clock.Now().Local()
	want := db.Session{
		ID: d.ID, Kind: db.Browser, UserID: alice.ID, Username: "alice", IsAdmin: true,
		DeviceName: firefoxOnLinux, DetectedName: firefoxOnLinux,
		DeviceKind: "tablet", Method: "invite", Shared: true,
		LastUse:     db.LastUse{IP: "192.0.2.10", Network: "192.0.2.0/24", UserAgent: "Mozilla/5.0", Browser: firefoxOnLinux},
		SignInIP:    "192.0.2.10",
		ConfirmedAt: now, CreatedAt: now, LastActiveAt: now,
		ExpiresAt: now.Add(30 * time.Minute), EndsAt: now.Add(24 * time.Hour),
	}
	if !reflect.DeepEqual(d.Session, want) {
		t.Errorf("SignIn:\n got %+v\nwant %+v", d.Session, want)
	}
	if got := h.alive(d); !reflect.DeepEqual(got, want) {
		t.Errorf("Resume:\n got %+v\nwant %+v", got, want)
	}
	want.IsNew = true // only where lists are read
	if got, err := h.Session(alice.ID, d.ID); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("Session:\n got %+v, %v\nwant %+v", got, err, want)
	}
}

func TestSessionIDIsNotDerivedFromTheToken(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	hash := sha256.Sum256([]byte(c.laptop.token))
	for _, from := range []string{
		c.laptop.token, hex.EncodeToString(hash[:]), base32.StdEncoding.EncodeToString(hash[:]), base64.StdEncoding.EncodeToString(hash[:]),
		base64.RawURLEncoding.EncodeToString(hash[:]),
	} {
		from, id := strings.ToLower(from), strings.ToLower(c.laptop.ID)
		if strings.Contains(from, id) || strings.Contains(id, from) {
			t.Errorf("the id %s is found in %s", id, from)
		}
	}
}

func TestNoTokenIsInAnyFile(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	newToken, err := c.changePassword(c.laptop.Session, alicePassword, newPassword, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Rename(c.ctx(), c.phone.Session, c.phone.ID, "Kitchen phone"); err != nil {
		t.Fatal(err)
	}
	c.clock.Advance(2 * time.Minute)
	c.Touch(c.alive(c.phone))
	c.flush()

	hash := sha256.Sum256([]byte(newToken))
	var seen, names = 0, []string{}
	for _, path := range folder(t, c.options.Path) {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, filepath.Base(path))
		for _, token := range []string{c.laptop.token, c.phone.token, c.desk.token, newToken, alicePassword, newPassword} {
			if bytes.Contains(content, []byte(token)) {
				t.Errorf("%s holds a token or a password", path)
			}
		}
		if bytes.Contains(content, hash[:]) {
			seen++
		}
	}
	for _, name := range []string{"porchlight.db", "porchlight.db-wal", "porchlight.db-shm"} {
		if !slices.Contains(names, name) {
			t.Errorf("%s was not looked at, only %v", name, names)
		}
	}
	if seen == 0 {
		t.Error("no file holds the hash: these are not the files that the store writes")
	}
}

func folder(t testing.TB, database string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(filepath.Dir(database), "*"))
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

func TestResumeRefusesWhatIsNotAToken(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	hash := sha256.Sum256([]byte(c.laptop.token))
	for name, token := range map[string]string{
		"unknown": "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "empty": "", "its id": c.laptop.ID, "its hash": string(hash[:]),
		"its hash in hex": hex.EncodeToString(hash[:]),
		"in lower case":   strings.ToLower(c.laptop.token), "with a space": c.laptop.token + " ", "NUL": c.laptop.token + "\x00",
		"8 KB": strings.Repeat("A", 8192),
	} {
		if session, err := c.Resume(token); !errors.Is(err, db.ErrNotFound) || session != nil {
			t.Errorf("%s: %+v, %v", name, session, err)
		}
	}
}

func TestResumeEndsAtTheLimits(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	limits := db.DefaultLimits
	for _, test := range []struct {
		name   string
		shared bool
		busy   time.Duration // how often it is used; 0 is never
		until  time.Duration
	}{
		{"unused", false, 0, limits.IdleTimeout},
		{"unused on a shared computer", true, 0, limits.SharedIdleTimeout},
		{"however busy", false, 10 * day, limits.MaxLifetime},
		{"however busy on a shared computer", true, 20 * time.Minute, limits.SharedMaxLifetime},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := openHouse(t)
			d := h.signIn(h.addUser("alice", alicePassword), firefoxOnLinux, "192.0.2.10", func(n *db.NewSession) { n.Shared = test.shared })
			begun := h.clock.Now()
			for from, session := range map[string]db.Session{"SignIn": d.Session, "Resume": h.alive(d)} {
				if ends := session.EndsAt.Sub(begun); test.busy != 0 && ends != test.until {
					t.Errorf("%s: EndsAt is %v after the sign-in, want %v", from, ends, test.until)
				}
			}
			if test.busy != 0 {
				for ; h.clock.Now().Add(test.busy).Before(begun.Add(test.until)); h.flush() {
					h.clock.Advance(test.busy)
					h.Touch(h.alive(d))
				}
			}
			h.clock.Advance(begun.Add(test.until).Sub(h.clock.Now()) - time.Millisecond)
			h.alive(d)
			h.clock.Advance(time.Millisecond)
			h.wantEnded(d)
		})
	}
}

func TestResumeRefusesADisabledUser(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.exec(`UPDATE users SET disabled = 1 WHERE username = 'alice'`)
	c.wantEnded(c.laptop, c.phone)
	c.alive(c.desk)
	if sessions, total, err := c.Sessions(c.alice.ID, 0); len(sessions) != 0 || total != 0 || err != nil {
		t.Errorf("a disabled user has %d of %d sessions, %v", len(sessions), total, err)
	}
	if _, err := c.Session(c.alice.ID, c.laptop.ID); !errors.Is(err, db.ErrNotFound) {
		t.Error("Session:", err)
	}
	if all, err := c.AllSessions(""); err != nil || len(all) != 1 {
		t.Errorf("AllSessions: %+v, %v", all, err)
	}
}

func TestSignInIsRefusedWhenTheAccountChangedInBetween(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]string{
		"disabled": `UPDATE users SET disabled = 1 WHERE username = 'alice'`,
		"password": `UPDATE users SET password_hash = 'x' WHERE username = 'alice'`,
		"deleted":  `DELETE FROM users WHERE username = 'alice'`,
	} {
		t.Run(name, func(t *testing.T) {
			c := openCast(t)
			alice, err := c.Authenticate(c.ctx(), "alice", alicePassword, db.Client{})
			if err != nil {
				t.Fatal(err)
			}
			c.exec(change)
			before := c.ids()
			// The session of the token that the browser sent is still alive too: nothing happened.
			_, _, err = c.SignIn(c.ctx(), alice, db.NewSession{Client: db.Client{DeviceName: firefoxOnLinux, DeviceKind: "desktop"},
				Replaces: []string{c.desk.token}})
			if !errors.Is(err, db.ErrWrongPassword) {
				t.Errorf("SignIn: %v", err)
			}
			if after := c.ids(); !slices.Equal(after, before) {
				t.Errorf("sessions were %v, are %v", before, after)
			}
			c.alive(c.desk)
		})
	}
}

func TestSignInReplacesTheBrowsersOtherSessions(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	fresh := c.signIn(c.alice, chromeOnMac, "192.0.2.99", func(n *db.NewSession) {
		n.Replaces = []string{c.desk.token, "garbage", "", c.phone.token, c.phone.token}
	})
	if fresh.token == c.desk.token || fresh.token == c.phone.token {
		t.Error("a token that the client brought was adopted")
	}
	c.wantEnded(c.desk, c.phone)
	c.alive(c.laptop)
	c.alive(fresh)
	c.wantLatest(c.bob, happening{db.Replaced, "203.0.113.30", chromeOnMac, c.desk.ID, chromeOnMac, 1})
	c.wantLatest(c.alice,
		happening{db.Replaced, "198.51.100.20", safariOnIPhone, c.phone.ID, chromeOnMac, 1},
		happening{db.SignedIn, "192.0.2.99", chromeOnMac, fresh.ID, chromeOnMac, 1})
}

func TestTooManySessionsEndTheOneUnusedLongest(t *testing.T) {
	t.Parallel()
	c := openCast(t, func(o *db.Options) { o.MaxSessions = 3 })
	c.signIn(c.bob, "Edge on Windows", "203.0.113.31")
	third := c.signIn(c.alice, "Edge on Windows", "192.0.2.12")
	c.alive(c.laptop)
	c.clock.Advance(time.Hour)
	c.Touch(c.alive(c.laptop)) // the oldest, but used in the meantime
	c.flush()
	fourth := c.signIn(c.alice, "curl", "192.0.2.13")
	c.wantEnded(c.phone)
	for _, d := range []device{c.laptop, third, fourth, c.desk} {
		c.alive(d)
	}
	c.wantLatest(c.alice,
		happening{db.Evicted, "198.51.100.20", safariOnIPhone, c.phone.ID, "curl", 1},
		happening{db.SignedIn, "192.0.2.13", "curl", fourth.ID, "curl", 1})
}

func TestMaxSessionsCountsOnlyLiveOnes(t *testing.T) {
	t.Parallel()
	c := openCast(t, func(o *db.Options) { o.MaxSessions = 3 })
	c.signIn(c.alice, "library", "192.0.2.12", shared)
	c.clock.Advance(time.Hour)
	c.signIn(c.alice, "curl", "192.0.2.13")
	c.alive(c.laptop)
	c.alive(c.phone)
	if n := c.number(`SELECT COUNT(*) FROM activity WHERE kind = 'evicted'`); n != 0 {
		t.Errorf("%d were evicted though one had expired", n)
	}
}

func TestSessionsAreListedLastActiveFirst(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.clock.Advance(time.Hour)
	library := c.signIn(c.alice, "library", "192.0.2.12", shared)
	c.clock.Advance(2 * time.Minute)
	c.Touch(c.alive(c.laptop))
	c.flush()
	for _, test := range []struct {
		limit int
		want  []string
	}{
		{0, []string{c.laptop.ID, library.ID, c.phone.ID}},
		{1, []string{c.laptop.ID}},
		{2, []string{c.laptop.ID, library.ID}},
		{3, []string{c.laptop.ID, library.ID, c.phone.ID}},
		{4, []string{c.laptop.ID, library.ID, c.phone.ID}},
	} {
		sessions, total, err := c.Sessions(c.alice.ID, test.limit)
		if err != nil || total != 3 || !slices.Equal(idsOf(sessions), test.want) {
			t.Errorf("limit %d: %v of %d, %v; want %v of 3", test.limit, idsOf(sessions), total, err, test.want)
		}
	}
	c.clock.Advance(30 * time.Minute)
	for _, limit := range []int{0, 2} {
		sessions, total, err := c.Sessions(c.alice.ID, limit)
		if want := []string{c.laptop.ID, c.phone.ID}; err != nil || total != 2 || !slices.Equal(idsOf(sessions), want) {
			t.Errorf("with one expired, limit %d: %v of %d, %v", limit, idsOf(sessions), total, err)
		}
	}
}

func idsOf(sessions []db.Session) (ids []string) {
	for _, session := range sessions {
		ids = append(ids, session.ID)
	}
	return ids
}

func TestAllSessionsAreListedByName(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.signIn(c.alice, "library", "192.0.2.12", shared)
	c.clock.Advance(time.Hour)
	for username, want := range map[string][]string{
		"": {c.phone.ID, c.laptop.ID, c.desk.ID}, " Alice ": {c.phone.ID, c.laptop.ID}, "bob": {c.desk.ID},
	} {
		if all, err := c.AllSessions(username); err != nil || !slices.Equal(idsOf(all), want) {
			t.Errorf("%q: %v, %v; want %v", username, idsOf(all), err, want)
		}
	}
}

func TestSessionsOfAnUnknownUser(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	if all, err := c.AllSessions("carol"); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("AllSessions of an unknown user: %v, %v", all, err)
	}
}

func TestSessionIsVisibleOnlyToItsUser(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	library := c.signIn(c.alice, "library", "192.0.2.12", shared)
	c.clock.Advance(time.Hour)
	for name, ask := range map[string]struct {
		user db.User
		id   string
	}{
		"somebody else's": {c.bob, c.laptop.ID}, "unknown": {c.alice, "nothing"}, "expired": {c.alice, library.ID},
		"a token": {c.alice, c.laptop.token},
	} {
		if session, err := c.Session(ask.user.ID, ask.id); !errors.Is(err, db.ErrNotFound) || session.ID != "" {
			t.Errorf("%s: %+v, %v", name, session, err)
		}
	}
}

func TestRenameSetsAndRemovesAName(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	rename := func(name, wantName, wantGiven string) {
		t.Helper()
		if err := c.Rename(c.ctx(), c.phone.Session, c.laptop.ID, name); err != nil {
			t.Fatal(err)
		}
		if got := c.alive(c.laptop); got.DeviceName != wantName || got.CustomName != wantGiven {
			t.Errorf("renamed %q: the device is %q, the given name %q", name, got.DeviceName, got.CustomName)
		}
		c.wantLatest(c.alice, happening{db.Renamed, "192.0.2.10", wantName, c.laptop.ID, safariOnIPhone, 1})
	}
	rename("Kitchen <tablet>", "Kitchen <tablet>", "Kitchen <tablet>")
	rename("", firefoxOnLinux, "")
	if got := c.alive(c.phone); got.CustomName != "" {
		t.Errorf("the phone was named %q too", got.CustomName)
	}
}

func TestRenameRefusesOtherUsersSessions(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	library := c.signIn(c.alice, "library", "192.0.2.12", shared)
	c.clock.Advance(time.Hour)
	before := c.number(`SELECT COUNT(*) FROM activity`)
	for name, id := range map[string]string{"somebody else's": c.desk.ID, "unknown": "nothing", "expired": library.ID} {
		if err := c.Rename(c.ctx(), c.phone.Session, id, "mine"); !errors.Is(err, db.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := c.number(`SELECT COUNT(*) FROM sessions WHERE custom_name <> ''`); n != 0 {
		t.Errorf("%d were named", n)
	}
	if after := c.number(`SELECT COUNT(*) FROM activity`); after != before {
		t.Errorf("activity grew from %d to %d", before, after)
	}
}
