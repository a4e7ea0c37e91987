package db_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"porchlight/db"
	"porchlight/db/dbtest"
)

// This file tests porchlight.key: how it is created, stored and refused.

func TestKeyFileIsCreatedOnce(t *testing.T) {
	t.Parallel()
	h := openHouse(t)
	path := filepath.Join(filepath.Dir(h.options.Path), "porchlight.key")
	made, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if secret, err := hex.DecodeString(strings.TrimSpace(string(made))); err != nil || len(secret) != 32 {
		t.Errorf("the key file holds %q", made)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "porchlight.key.*")); len(left) > 0 {
		t.Errorf("the folder holds %q", left)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	h.reopen()
	if kept, err := os.ReadFile(path); err != nil || !bytes.Equal(kept, made) {
		t.Errorf("the second start changed the key: %q, then %q, %v", made, kept, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode after the second start %v, %v", info.Mode(), err)
	}
}

func TestKeyFileCreatedByManyAtOnce(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	keys := make([][]byte, 20)
	var all sync.WaitGroup
	for i := range keys {
		all.Go(func() {
			var err error
			if keys[i], err = db.OpenServerKey(folder); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for _, key := range keys {
		if len(key) != 32 || !bytes.Equal(key, keys[0]) {
			t.Errorf("two processes that started together use different keys: %x and %x", key, keys[0])
		}
	}
}

func TestMalformedKeyFileStopsTheStart(t *testing.T) {
	t.Parallel()
	for name, content := range map[string]string{
		"empty": "", "short": strings.Repeat("ab", 31), "long": strings.Repeat("ab", 33),
		"not hexadecimal": strings.Repeat("xy", 32), "bytes": strings.Repeat("\x00", 32),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			folder := t.TempDir()
			path := filepath.Join(folder, "porchlight.key")
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := db.Open(context.Background(),
				db.Options{Path: filepath.Join(folder, "porchlight.db"), Create: true, HashCost: dbtest.HashCost})
			if err == nil || !strings.Contains(err.Error(), path+" is malformed") || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v", err)
			}
			if kept, err := os.ReadFile(path); err != nil || string(kept) != content {
				t.Errorf("the key file was changed to %q, %v", kept, err)
			}
		})
	}
}

func TestKeysOfTwoPurposesDiffer(t *testing.T) {
	t.Parallel()
	key, err := db.OpenServerKey(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	one, other := key.Derive("attempts"), key.Derive("something else")
	if bytes.Equal(one, other) || bytes.Equal(one, key) || len(one) != 32 || !bytes.Equal(one, key.Derive("attempts")) {
		t.Errorf("derived keys %x and %x", one, other)
	}
}

func (h *house) keyPath() string {
	return filepath.Join(filepath.Dir(h.options.Path), "porchlight.key")
}

// removeKey deletes the key file.
func (h *house) removeKey() {
	h.t.Helper()
	if err := os.Remove(h.keyPath()); err != nil {
		h.t.Fatal(err)
	}
}

// serveOnce starts and stops a server.
func (h *house) serveOnce() error {
	options := h.options
	options.Serve = true
	store, err := db.Open(context.Background(), options)
	if err == nil {
		err = store.Close()
	}
	return err
}

// Without the key that encrypted the authenticator apps, the server does not start, and no new key replaces the lost one. Commands work,
// because one of them is the way out.
func TestServerNeedsTheKeyOfTheAuthenticatorApps(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(h *house){
		"is missing": (*house).removeKey,
		"is not the one": func(h *house) {
			if err := os.WriteFile(h.keyPath(), bytes.Repeat([]byte("ab"), 32), 0o600); err != nil {
				h.t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := openCast(t)
			c.addTOTP(c.laptop)
			c.addTOTP(c.desk)
			kept := read(t, c.keyPath())
			c.must(c.Close())
			defer func() { c.open() }()
			lose(c.house)
			for range 2 {
				err := c.serveOnce()
				if err == nil || strings.Contains(err.Error(), "\n") {
					t.Fatal(err)
				}
				for _, words := range []string{
					c.keyPath() + " " + name, " alice, bob need", "restore it from a backup", "user set NAME --reset-second-factor",
				} {
					if !strings.Contains(err.Error(), words) {
						t.Errorf("%v: it does not say %q", err, words)
					}
				}
			}
			if err := os.WriteFile(c.keyPath(), kept, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := c.serveOnce(); err != nil {
				t.Errorf("with the key from the backup: %v", err)
			}

			lose(c.house)
			var warnings []string
			reset := func(name string) {
				t.Helper()
				c.open(func(o *db.Options) { o.Warn = func(message string) { warnings = append(warnings, message) } })
				c.must(c.ChangeUser(c.ctx(), db.CommandLine, name, db.UserChange{ResetSecondFactor: true}))
				c.must(c.Close())
			}
			reset("alice")
			if len(warnings) != 1 || !strings.Contains(warnings[0], name) {
				t.Errorf("warnings: %q", warnings)
			}
			if err := c.serveOnce(); err == nil || !strings.Contains(err.Error(), "apps of bob need") {
				t.Errorf("with one reset: %v", err)
			}
			if _, err := os.Stat(c.keyPath()); os.IsNotExist(err) != (name == "is missing") {
				t.Errorf("a command created a key: %v", err)
			}
			reset("bob")
			if err := c.serveOnce(); err != nil {
				t.Errorf("with both reset: %v", err)
			}
		})
	}
}
