package db_test

import (
	"bytes"
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"

	"porchlight/db"
)

// This file tests how recovery codes are created. Signing in with them is tested in second_step_test.go.

func TestRecoveryCodes(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	if _, err := c.ReplaceRecoveryCodes(c.ctx(), c.laptop.Session); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("without a factor: %v", err)
	}
	first := c.addPasskey(c.laptop, "key")
	_, more := c.addTOTP(c.laptop)
	if len(first) != 10 || more != nil {
		t.Errorf("%d codes with the first factor, and %d with the second", len(first), len(more))
	}
	codes, err := c.ReplaceRecoveryCodes(c.ctx(), c.laptop.Session)
	if err != nil || len(codes) != 10 {
		t.Fatal(codes, err)
	}
	c.wantLatest(c.alice, happening{db.RecoveryCodesMade, "192.0.2.10", firefoxOnLinux, c.laptop.ID, firefoxOnLinux, 1})
	for i, code := range codes {
		if !regexp.MustCompile(`^([a-z2-7]{4}-){3}[a-z2-7]{4}$`).MatchString(code) || slices.Contains(codes[:i], code) {
			t.Errorf("code %q", code)
		}
		for _, suffix := range []string{"", "-wal"} {
			content := read(t, c.options.Path+suffix)
			if bytes.Contains(content, []byte(code)) || bytes.Contains(content, []byte(strings.ReplaceAll(code, "-", ""))) {
				t.Errorf("a code is in the database%s", suffix)
			}
		}
	}
	step := c.beginStep("alice", alicePassword)
	c.wantStep(step, first[0], db.ErrWrongCode) // the old ones are void
	c.finish(step, codes[0])
}
