package demo

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"porchlight/db"
	"porchlight/db/dbtest"
)

// Seed creates something to show on every page.
func TestSeed(t *testing.T) {
	t.Parallel()
	options := db.Options{Path: filepath.Join(t.TempDir(), "porchlight.db"), HashCost: dbtest.HashCost}
	now := time.Now()
	library, err := Seed(t.Context(), options, now)
	if err != nil {
		t.Fatal(err)
	}
	store, err := db.Open(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	users, err := store.Users()
	if err != nil {
		t.Fatal(err)
	}
	shown := ""
	for _, user := range users {
		shown += user.Username
		if user.IsAdmin {
			shown += " administers"
		}
		if !user.Approved {
			shown += " waits"
		}
		shown += ","
	}
	if shown != "ada administers,ben,cleo waits," {
		t.Errorf("people: %s", shown)
	}
	happened, err := store.AllActivity("", time.Time{}, 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.IsSortedFunc(happened, func(a, b db.UserActivity) int { return a.At.Compare(b.At) }) {
		t.Error("the activity is not in the order of its times")
	}
	sessions, err := store.AllSessions("ada")
	if err != nil {
		t.Fatal(err)
	}
	names, apps := "", 0
	for _, session := range sessions {
		names += session.DeviceName + ","
		apps += len(session.Apps)
		if session.LastActiveAt.After(now) || session.CreatedAt.Before(now.Add(-14*24*time.Hour)) {
			t.Errorf("%s was used from %s to %s", session.DeviceName, session.CreatedAt, session.LastActiveAt)
		}
	}
	if names != "Firefox on Linux,My laptop,Calendar on my phone,Safari on iPad," || apps != 5 {
		t.Errorf("ada's devices: %s with %d apps", names, apps)
	}
	if unused := now.Sub(sessions[1].LastActiveAt).Round(time.Second); unused != 3*time.Hour {
		t.Errorf("the laptop was last used %s ago", unused)
	}
	session, err := store.Resume(library)
	if err != nil {
		t.Fatal(err)
	}
	if session.DeviceName != "Firefox on Linux" {
		t.Errorf("the token is that of %q", session.DeviceName)
	}
}
