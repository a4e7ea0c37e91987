package db_test

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"testing"

	"porchlight/db"
)

// known is how many of the sessions in a benchmark have a known token.
const known = 1000

func tokenOf(i int) string { return fmt.Sprintf("TOKEN%021d", i) }

// fill adds sessions until there are n, ten for each user, as if they had signed in one after the other.
func (h *house) fill(n int) {
	h.t.Helper()
	tx, err := h.disk.Begin()
	if err != nil {
		h.t.Fatal(err)
	}
	defer tx.Rollback()
	exec := func(statement string, args ...any) {
		h.t.Helper()
		if _, err := tx.Exec(statement, args...); err != nil {
			h.t.Fatal(err)
		}
	}
	now := h.clock.Now().UnixMilli()
	exec(`
		WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1)
		INSERT INTO users (id, username, password_hash, created_at) SELECT 1000 + i, 'user' || i, '', $2 FROM n`, n/10, now)
	exec(`
		WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1)
		INSERT INTO sessions (id, token_hash, user_id, detected_name, device_kind, user_agent, ip, shared, created_at, last_active_at, expires_at)
		SELECT hex(randomblob(13)), randomblob(32), 1001 + i % $2, 'Firefox on Linux', 'desktop',
		       'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0', '192.0.2.10', 0, $3, $3 - i, $3 + 86400000
		FROM n`, n, n/10, now)
	update, err := tx.Prepare(`UPDATE sessions SET token_hash = $1 WHERE rowid = (SELECT MIN(rowid) FROM sessions) + $2`)
	if err != nil {
		h.t.Fatal(err)
	}
	defer update.Close()
	for i := range known {
		hash := sha256.Sum256([]byte(tokenOf(i)))
		if _, err := update.Exec(hash[:], i*(n/known)); err != nil {
			h.t.Fatal(err)
		}
	}
	if err := tx.Commit(); err != nil {
		h.t.Fatal(err)
	}
}

func BenchmarkResume(b *testing.B) {
	for _, n := range []int{1000, 1_000_000} {
		b.Run(fmt.Sprintf("sessions=%d", n), func(b *testing.B) {
			h := openHouse(b)
			h.fill(n)
			for b.Loop() {
				if _, err := h.Resume(tokenOf(rand.IntN(known))); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkAuthorize runs auth checks for a host without a rule, and for one that has a rule and that the session was used for.
func BenchmarkAuthorize(b *testing.B) {
	for _, n := range []int{1000, 1_000_000} {
		h := openHouse(b)
		h.fill(n)
		authorize := func(b *testing.B) {
			for b.Loop() {
				if v, err := h.Authorize(tokenOf(rand.IntN(known)), "notes.example.com"); err != nil || !v.Allowed {
					b.Fatal(v, err)
				}
			}
		}
		b.Run(fmt.Sprintf("sessions=%d", n), authorize)
		if _, err := h.AllowApp(h.ctx(), db.CommandLine, ruleOf("*.example.com", false)); err != nil {
			b.Fatal(err)
		}
		h.exec(`INSERT INTO session_apps (session_id, host, last_used_at) SELECT id, 'notes.example.com', $1 FROM sessions`,
			h.clock.Now().UnixMilli())
		b.Run(fmt.Sprintf("sessions=%d with a rule", n), authorize)
	}
}

// BenchmarkRevoke ends sessions as the device list does: each is on disk before the next.
func BenchmarkRevoke(b *testing.B) {
	c := openCast(b)
	next := 0
	for b.Loop() {
		if next%1000 == 0 {
			b.StopTimer()
			c.exec(`
				WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 999)
				INSERT INTO sessions (id, token_hash, user_id, detected_name, device_kind, user_agent, ip, shared,
				                      created_at, last_active_at, expires_at)
				SELECT 's' || ($1 + i), randomblob(32), $2, 'Firefox on Linux', 'desktop', '', '192.0.2.10', 0, $3, $3, $3 + 86400000 FROM n`,
				next, c.alice.ID, c.clock.Now().UnixMilli())
			b.StartTimer()
		}
		if _, err := c.Revoke(c.ctx(), c.phone.Session, fmt.Sprint("s", next)); err != nil {
			b.Fatal(err)
		}
		next++
	}
}

// BenchmarkSignIn signs in from one new device after another: with a full outbox, and with no way to send alerts.
func BenchmarkSignIn(b *testing.B) {
	for name, ways := range map[string]db.Ways{"no way": {}, "10000 alerts wait": everyWay} {
		b.Run(name, func(b *testing.B) {
			c := openMailCast(b, withWays(ways))
			c.fillOutbox(10_000)
			i := 0
			for b.Loop() {
				c.signIn(c.alice, fmt.Sprint("browser ", i), "192.0.2.10")
				i++
			}
		})
	}
}

func BenchmarkSessions(b *testing.B) {
	h := openHouse(b)
	alice := h.addUser("alice", alicePassword)
	for range 10 {
		h.signIn(alice, firefoxOnLinux, "192.0.2.10", func(n *db.NewSession) {
			n.UserAgent = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
		})
	}
	for b.Loop() {
		if sessions, _, err := h.Sessions(alice.ID, 20); err != nil || len(sessions) != 10 {
			b.Fatal(len(sessions), err)
		}
	}
}
