package db_test

import (
	"errors"
	"fmt"
	"testing"

	"porchlight/db"
)

// failSecondBatch makes the second batch of deleted sessions fail, after the first one is on disk.
func (c *cast) failSecondBatch() (mend func()) {
	c.t.Helper()
	left := len(c.ids()) - db.BatchSize
	c.exec(fmt.Sprintf(`
		CREATE TRIGGER refuse BEFORE DELETE ON sessions WHEN (SELECT COUNT(*) FROM sessions) <= %d
		BEGIN SELECT RAISE(ABORT, 'refused'); END`, left))
	return func() { c.exec(`DROP TRIGGER refuse`) }
}

// Other writes get their turn between the batches of a long revocation. One that fails halfway reports how many sessions it ended, and can
// be repeated.
func TestRevokeUserAndAllInBatches(t *testing.T) {
	t.Parallel()
	for name, revoke := range map[string]func(*cast) (int, error){
		"a user's":    func(c *cast) (int, error) { return c.RevokeUser(c.ctx(), db.CommandLine, "alice") },
		"everybody's": func(c *cast) (int, error) { return c.RevokeAll(c.ctx(), db.CommandLine) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := openCast(t)
			c.expire(2 * db.BatchSize)
			c.exec(`UPDATE sessions SET expires_at = expires_at + 1000`)
			all := 2*db.BatchSize + 2
			if name == "everybody's" {
				all++
			}
			mend := c.failSecondBatch()
			if count, err := revoke(c); err == nil || count != db.BatchSize {
				t.Errorf("%d, %v; want the first %d and an error", count, err, db.BatchSize)
			}
			mend()
			if count, err := revoke(c); err != nil || count != all-db.BatchSize {
				t.Errorf("again: %d, %v; want %d", count, err, all-db.BatchSize)
			}
			if n := c.number(`SELECT COUNT(DISTINCT session_id) FROM activity WHERE kind = 'revoked'`); n != int64(all) {
				t.Errorf("%d were recorded, want %d", n, all)
			}
		})
	}
}

// An account with many rows is deleted in batches. Nobody can sign in to it in the meantime, and a deletion that failed can be repeated.
func TestDeleteUserInBatches(t *testing.T) {
	t.Parallel()
	for name, remove := range map[string]func(*cast) error{
		"by command": func(c *cast) error { return c.DeleteUser(c.ctx(), db.CommandLine, "alice", true) },
		"by the user": func(c *cast) error {
			return c.DeleteAccount(c.ctx(), c.laptop.Session, db.Client{IP: "192.0.2.10"}, alicePassword)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := openCast(t)
			c.exec(`UPDATE users SET is_admin = 1`)
			c.expire(2 * db.BatchSize)
			c.exec(`
				WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1)
				INSERT INTO activity (user_id, kind, happened_at) SELECT $2, 'renamed', $3 FROM n`,
				2*db.BatchSize, c.alice.ID, c.clock.Now().UnixMilli())
			mend := c.failSecondBatch()
			if err := remove(c); err == nil {
				t.Error("the second batch failed without an error")
			}
			c.wantEnded(c.laptop, c.phone)
			if _, err := c.Authenticate(c.ctx(), "alice", alicePassword, clientOf("192.0.2.10", "")); !errors.Is(err, db.ErrWrongPassword) {
				t.Errorf("signing in while the account is being deleted: %v", err)
			}
			mend()
			if err := c.DeleteUser(c.ctx(), db.CommandLine, "alice", false); err != nil {
				t.Fatal("again:", err)
			}
			for _, query := range []string{
				`SELECT COUNT(*) FROM users WHERE id = $1`, `SELECT COUNT(*) FROM sessions WHERE user_id = $1`,
				`SELECT COUNT(*) FROM activity WHERE user_id = $1`,
			} {
				if left := c.number(query, c.alice.ID); left != 0 {
					t.Errorf("%s: %d", query, left)
				}
			}
			c.alive(c.desk)
		})
	}
}

// Changed wakes after a commit, but not after a write that failed.
func TestChangedFollowsCommits(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	first, again := c.Changed(), c.Changed()
	if _, err := c.Revoke(c.ctx(), c.phone.Session, "nobody"); !errors.Is(err, db.ErrNotFound) {
		t.Fatal(err)
	}
	select {
	case <-first:
		t.Fatal("woken by a write that changed nothing")
	default:
	}
	if _, err := c.Revoke(c.ctx(), c.phone.Session, c.laptop.ID); err != nil {
		t.Fatal(err)
	}
	<-first
	<-again
	select {
	case <-c.Changed():
		t.Error("woken before the next commit")
	default:
	}
}
