package db_test

import (
	"bytes"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/mattn/go-sqlite3"

	"porchlight/db"
	"porchlight/db/dbtest"
	"porchlight/migrations"
)

// landed are the migrations that existing databases were created with. Changing one of them would not change those databases, so a change
// needs a new file.
var landed = map[string]string{
	"00001_create_users.sql":       "3fe2e0d63644950d65e1832feea27ed2d374528486ecb8d154a182491c1444da",
	"00002_create_sessions.sql":    "74b2538b5a12f59c14c329475b09320852b71025ecdab328fb15ee7c5e96eef4",
	"00003_create_activity.sql":    "9bfcffe9f66d42b27bb494f1f86f85cf3c25db0a33f4b98d9b463f6683d10d28",
	"00004_create_tries.sql":       "04e869c46746d832fad54b11a50717af111f74932f89e8089a25a550c0c0f6a2",
	"00005_create_invitations.sql": "cc86c0500a3641c479e2107ecd41ed815ad0b588c05bc6505c86fdabbd99102f",
	"00006_apps.sql":               "5a97e1a7a795204d6a371d15f1e4c8ffcf84f595aa7b36f78243e8fb8cbdd151",
	"00007_restore_limits.sql":     "318bc005b939f0f5253f03268a471125420db01274c424bb7413282e2d308d58",
	"00008_attempts.sql":           "c719457b8c127d5355e270c3e5377996f87f81a9f9c9dbae752b7949d7eff799",
	"00009_approval.sql":           "49a08b6f3fec3673afb0a034e1ecd0e4a6db82c8b0feb93e20163276e63cc8bd",
	"00010_shared_by_expiry.sql":   "c63fbd6ede57f456ad57ba7e17024dfdc6af4b397e23792341fe0310430115a5",
	"00011_session_names.sql":      "574dc5de645e23022bab44ae869c8de900dc6e242adc249cdea1f937e2e3ad19",
	"00012_session_use.sql":        "5a94401fdfd1419d59e8fad44736557c67e9798db714ed7294a9eb7a04e381d9",
	"00013_devices.sql":            "fd796402a413b57480ce053ce60f0058e62e56902a6006084c23d21ebfe585d9",
	"00014_second_factor.sql":      "8c7b0e3a19270f863ad997780570e4ca682ea36263985ad83cd5b6c81067f59f",
	"00015_mail.sql":               "db82bd219f8a16cf1b2f59e25d5967f9d792b4c469b25bc12b7a68e853c10530",
	"00016_people.sql":             "fc41acaf0321447eb5fe0c5c0b45c8cbaaea6814c2278024430f29841a9a8c09",
	"00017_chosen_passwords.sql":   "88927b100b72661aaceed13a1c5ba523611de290fb51fc11f08db8d3cf0ecf3c",
	"00018_revoked_tokens.sql":     "83a39710fb854b09b86ce92a5f848384177895050c816a499f8b596bb076433d",
	"00019_waiting.sql":            "e3d155b7123522f43aecf334c9a8d145aa3a51568f2190254ad166d5fb763880",
	"00020_groups.sql":             "d84a223193e233432bc787b8ed0940d9f9c36b53596a41988c49a8e5d2e99ba7",
	"00021_second_step_name.sql":   "4bfc03979b782072302440c03149d133880b53b1b60278b91a617b15b8ba4d51",
	"00022_keys.sql":               "a2b0437e8885edcb1ceae4104ff0aadc6f02090280c1be83f6252966a4394f56",
	"00023_waiting.sql":            "afd009d85cbe60655a6a1341128c6c670f0277816e0a505664218dbe28bad022",
	"00024_email_changes.sql":      "b809d3660d7a48b1faaa11363f9e1248a97fb713542300a79fc1bb345ec0caf6",
	"00025_mailed_invitations.sql": "fc60ffdba2d6affb475b7a9ada6a31c3f45a71330b654512b28aa0d514785728",
	"00026_apps_by_host.sql":       "21054b5d190d9269b4bd052cc6039355967e9919cc1d8d7c4e9077dd14aa75b5",
	"00027_invitation_age.sql":     "cbb56618e6c600bac8257c20a193fc88168e42a2d7bc2fe6bec19d43abdd890e",
}

func TestLandedMigrationsNeverChange(t *testing.T) {
	t.Parallel()
	names, err := fs.Glob(migrations.FS, "*.sql")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		content, err := migrations.FS.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(content)
		if got := hex.EncodeToString(sum[:]); landed[name] == "" {
			t.Errorf("add this line to landed: %q: %q,", name, got)
		} else if got != landed[name] {
			t.Errorf("%s has changed since it landed; put the change into a new migration", name)
		}
		delete(landed, name)
	}
	for name := range landed {
		t.Errorf("%s is gone", name)
	}
}

// firstSessions is 00002 as it was before it was edited: without the table limits.
const firstSessions = `-- +goose Up
CREATE TABLE sessions (
    id             TEXT    PRIMARY KEY,
    token_hash     BLOB    NOT NULL UNIQUE,
    user_id        INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    device_name    TEXT    NOT NULL,
    given_name     TEXT    NOT NULL DEFAULT '',
    device_kind    TEXT    NOT NULL CHECK (device_kind IN ('desktop', 'phone', 'tablet', 'terminal', 'unknown')),
    user_agent     TEXT    NOT NULL,
    ip             TEXT    NOT NULL,
    shared         INTEGER NOT NULL CHECK (shared IN (0, 1)),
    created_at     INTEGER NOT NULL,
    last_active_at INTEGER NOT NULL,
    expires_at     INTEGER NOT NULL
) STRICT;
CREATE INDEX sessions_by_user ON sessions (user_id, last_active_at DESC, expires_at);
CREATE INDEX sessions_by_expiry ON sessions (expires_at);
`

func TestDatabasesOfTheFirstVersionWork(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"00003", "00006"} {
		t.Run("at version "+version, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "porchlight.db")
			steps := withSteps(t, nil)
			steps["00002_create_sessions.sql"].Data = []byte(firstSessions)
			for name := range steps {
				if name > version+"_z" {
					delete(steps, name)
				}
			}
			if err := db.MigrateWith(t.Context(), path, steps); err != nil {
				t.Fatal(err)
			}
			h := &house{t: t, clock: dbtest.NewClock(), options: db.Options{Path: path, HashCost: dbtest.HashCost}, disk: openDisk(t, path)}
			h.options.Now = h.clock.Now
			h.open()
			defer h.Close()
			alice := h.addUser("alice", alicePassword)
			session := h.signIn(alice, firefoxOnLinux, "192.0.2.10")
			if err := h.ApplyLimits(h.ctx()); err != nil {
				t.Fatal(err)
			}
			h.alive(session)
			if got, want := h.number(`SELECT idle FROM limits`), db.DefaultLimits.IdleTimeout.Milliseconds(); got != want {
				t.Errorf("the idle limit on disk is %d, want %d", got, want)
			}
		})
	}
}

// crashVariable tells the test binary to migrate the database that it names, and to die at the step that calls die().
const crashVariable = "PORCHLIGHT_TEST_MIGRATE"

// colours returns three migrations. The process dies before the one with this number, counted from 1; with 0 it does not die.
func colours(t testing.TB, dies int) map[string]string {
	t.Helper()
	steps := map[string]string{}
	for i := 1; i <= 3; i++ {
		statement := fmt.Sprintf(`CREATE TABLE colours_%d (name TEXT);`, i)
		if i == dies {
			statement = `SELECT die(); ` + statement
		}
		steps[fmt.Sprintf("0009%d_colours.sql", i)] = statement
	}
	return steps
}

// TestHelperMigrateAndDie is the process that TestKilledBetweenMigrations kills.
func TestHelperMigrateAndDie(t *testing.T) {
	t.Parallel()
	path, dies := os.Getenv(crashVariable), 0
	if path == "" {
		t.Skip("only for TestKilledBetweenMigrations")
	}
	fmt.Sscan(os.Getenv(crashVariable+"_STEP"), &dies)
	pool, err := sql.Open("sqlite3", "")
	if err != nil {
		t.Fatal(err)
	}
	pool.Driver().(*sqlite3.SQLiteDriver).ConnectHook = func(conn *sqlite3.SQLiteConn) error {
		real := conn.GetFilename("main") == path // not a copy
		return conn.RegisterFunc("die", func() int {
			if real {
				syscall.Kill(os.Getpid(), syscall.SIGKILL)
			}
			return 0
		}, false)
	}
	if err := db.MigrateWith(t.Context(), path, withSteps(t, colours(t, dies))); err != nil {
		t.Fatal(err)
	}
}

func TestKilledBetweenMigrations(t *testing.T) {
	t.Parallel()
	for dies := 1; dies <= 3; dies++ {
		t.Run(fmt.Sprint("before step ", dies), func(t *testing.T) {
			c := openCast(t)
			old := c.version()
			c.closed()
			child := exec.Command(os.Args[0], "-test.run=^TestHelperMigrateAndDie$")
			child.Env = append(os.Environ(), crashVariable+"="+c.options.Path, fmt.Sprint(crashVariable, "_STEP=", dies))
			if out, err := child.CombinedOutput(); err == nil || !strings.Contains(err.Error(), "killed") {
				t.Fatalf("it was not killed: %v, %s", err, out)
			}
			at := func(path string) (version, sessions int64) {
				t.Helper()
				h := &house{t: t, disk: openDisk(t, path)}
				defer h.disk.Close()
				return h.version(), h.number(`SELECT COUNT(*) FROM sessions`)
			}
			if version, sessions := at(c.options.Path); version != old || sessions != 3 {
				t.Errorf("after the kill: version %d with %d sessions, want %d with 3", version, sessions, old)
			}
			if err := db.MigrateWith(t.Context(), c.options.Path, withSteps(t, colours(t, 0))); err != nil {
				t.Fatal("the next start:", err)
			}
			if version, sessions := at(c.options.Path); version != 93 || sessions != 3 {
				t.Errorf("after the next start: version %d with %d sessions, want 93 with 3", version, sessions)
			}
			copies, err := filepath.Glob(c.options.Path + ".[bv]*-*")
			if err != nil || len(copies) == 0 {
				t.Fatal("no copy:", err)
			}
			for _, kept := range copies {
				if version, sessions := at(kept); version != old || sessions != 3 {
					t.Errorf("%s holds version %d with %d sessions, want %d with 3", filepath.Base(kept), version, sessions, old)
				}
			}
		})
	}
}

func TestTheLastThreeCopiesAreKept(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.closed()
	old := int(newest(t))
	for _, suffix := range []string{".before-3", ".before-2"} { // from earlier versions of Porchlight
		if err := os.WriteFile(c.options.Path+suffix, []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	steps := map[string]string{}
	want := func(suffixes ...string) {
		t.Helper()
		var got []string
		for _, path := range folder(t, c.options.Path) {
			if suffix := path[len(c.options.Path):]; strings.Contains(suffix, "-") {
				got = append(got, suffix)
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(suffixes) {
			t.Errorf("the copies are %v, want %v", got, suffixes)
		}
	}
	migrateTo := func(version int) {
		t.Helper()
		steps[fmt.Sprintf("000%d_step.sql", version)] = fmt.Sprintf(`CREATE TABLE step_%d (n INTEGER);`, version)
		if err := db.MigrateWith(t.Context(), c.options.Path, withSteps(t, steps)); err != nil {
			t.Fatal(err)
		}
	}
	first := fmt.Sprint(".version-", old)
	migrateTo(91)
	want(".before-2", ".before-3", first)
	kept := read(t, c.options.Path+first)
	migrateTo(92)
	want(".before-3", first, ".version-91")

	// Somebody puts the first copy back, and updates again.
	if err := os.WriteFile(c.options.Path, kept, 0o600); err != nil {
		t.Fatal(err)
	}
	migrateTo(93)
	want(first, first+".2", ".version-91")
	if !bytes.Equal(read(t, c.options.Path+first), kept) {
		t.Error("the copy was overwritten")
	}
	migrateTo(94)
	want(first+".2", ".version-91", ".version-93")
}
