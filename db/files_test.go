package db_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"porchlight/db"
	"porchlight/db/dbtest"
)

func TestOpenRestrictsTheDataFolder(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	var warnings []string
	open := func() {
		t.Helper()
		store, err := db.Open(t.Context(), db.Options{Path: filepath.Join(folder, "porchlight.db"), Create: true, HashCost: dbtest.HashCost,
			Warn: func(message string) { warnings = append(warnings, message) }})
		if err != nil {
			t.Fatal(err)
		}
		store.Close()
	}
	want := func(path string, mode os.FileMode) {
		t.Helper()
		if info, err := os.Stat(path); err != nil || info.Mode()&^os.ModeDir != mode {
			t.Errorf("%s: %v, want %v: %v", path, info.Mode(), mode, err)
		}
	}
	if err := os.Chmod(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	open()
	want(folder, 0o700)
	if err := os.Chmod(filepath.Join(folder, "porchlight.db"), 0o644); err != nil {
		t.Fatal(err)
	}
	open()
	want(filepath.Join(folder, "porchlight.db"), 0o600)
	if len(warnings) != 0 {
		t.Errorf("warned: %q", warnings)
	}
	// Everybody uses /tmp.
	if err := os.Chmod(folder, 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	open()
	want(folder, 0o777|os.ModeSticky)
	if len(warnings) != 1 || !strings.Contains(warnings[0], folder) {
		t.Errorf("warned: %q", warnings)
	}
}

// A first command that root runs must not lock the service's user out.
func TestFilesThatRootCreatesBelongToTheOwnerOfTheFolder(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	const service = 65534
	base := t.TempDir()
	if err := os.Chown(base, service, service); err != nil {
		t.Fatal(err)
	}
	h := openHouse(t, func(o *db.Options) { o.Path, o.Create = filepath.Join(base, "new", "data", "porchlight.db"), true })
	h.addUser("alice", alicePassword)
	if err := db.MigrateWith(t.Context(), h.options.Path,
		withSteps(t, map[string]string{"00098_colours.sql": `CREATE TABLE colours (name TEXT);`})); err != nil {
		t.Fatal(err)
	}
	paths := append(folder(t, h.options.Path), filepath.Dir(h.options.Path), filepath.Join(base, "new"))
	if len(paths) < 7 { // the database, -wal, -shm, .lock, .version-N and the two folders
		t.Errorf("there are only %q", paths)
	}
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if owner := info.Sys().(*syscall.Stat_t); owner.Uid != service || owner.Gid != service {
			t.Errorf("%s belongs to %d:%d", path, owner.Uid, owner.Gid)
		}
	}
}

// Deleted data must not be left in free pages of the file.
func TestDeletedAccountsAreGoneFromTheFiles(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	secrets := []string{"mallory@example.com", "Mallory's very own tablet", "Mozilla/5.0 (Mallory)"}
	mallory, err := c.CreateUser(c.ctx(), db.NewUser{Username: "mallory", Email: secrets[0], Password: newPassword})
	if err != nil {
		t.Fatal(err)
	}
	for range 30 { // more than a page
		session := c.signIn(mallory, chromeOnMac, "192.0.2.99", func(n *db.NewSession) { n.UserAgent = secrets[2] })
		if err := c.Rename(c.ctx(), session.Session, session.ID, secrets[1]); err != nil {
			t.Fatal(err)
		}
	}
	found := func() (n int) {
		c.exec(`PRAGMA wal_checkpoint(TRUNCATE)`)
		for _, suffix := range []string{"", "-wal"} {
			content := read(t, c.options.Path+suffix)
			for _, secret := range secrets {
				n += bytes.Count(content, []byte(secret))
			}
		}
		return n
	}
	if n := found(); n < len(secrets) {
		t.Fatalf("found %d times before: these are not the files", n)
	}
	if err := c.DeleteUser(c.ctx(), db.CommandLine, "mallory", true); err != nil {
		t.Fatal(err)
	}
	if n := found(); n != 0 {
		t.Errorf("found %d times after", n)
	}
}

// Databases from before secure_delete have deleted data in free pages.
func TestMigrationClearsFreePages(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "porchlight.db")
	steps := withSteps(t, nil)
	for name := range steps {
		if name > "00006_z" {
			delete(steps, name)
		}
	}
	if err := db.MigrateWith(t.Context(), path, steps); err != nil {
		t.Fatal(err)
	}
	disk := openDisk(t, path)
	if _, err := disk.Exec(`
		INSERT INTO users (username, email, password_hash, created_at) VALUES ('mallory', 'mallory@example.com', '', 0);
		DELETE FROM users`); err != nil {
		t.Fatal(err)
	}
	disk.Close()
	if !bytes.Contains(read(t, path), []byte("mallory@example.com")) {
		t.Fatal("the file does not keep what was deleted")
	}
	store, err := db.Open(t.Context(), db.Options{Path: path, HashCost: dbtest.HashCost})
	if err != nil {
		t.Fatal(err)
	}
	store.Close()
	if bytes.Contains(read(t, path), []byte("mallory@example.com")) {
		t.Error("the address is still in the file")
	}
}

func TestOpenNeedsRoom(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	if err := syscall.Mount("porchlight", folder, "tmpfs", 0, "size=4m"); err != nil {
		t.Skip("cannot mount a small file system:", err)
	}
	t.Cleanup(func() { syscall.Unmount(folder, 0) })
	options := db.Options{Path: filepath.Join(folder, "porchlight.db"), Create: true, Serve: true}
	fill := func(bytes int) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(folder, "fill"), make([]byte, bytes), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	fill(3_500_000)
	wantRefused(t, options, folder, "no room", "make room")
	// For a file system that is mounted read-only, the advice is different.
	fill(0)
	if err := syscall.Mount("", folder, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, options, folder, "mounted read-only", "--data")
}
