package main

import (
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"porchlight/db"
	"porchlight/db/dbtest"
)

// Every page of the demo has content.
func TestSeedDemo(t *testing.T) {
	t.Parallel()
	options := db.Options{Path: filepath.Join(t.TempDir(), "porchlight.db"), HashCost: dbtest.HashCost}
	now := time.Now()
	if err := seedDemo(t.Context(), options, now); err != nil {
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
}

// The folder of the demo goes when it stops, and --data is not touched.
func TestDemo(t *testing.T) {
	t.Parallel()
	temp, data := t.TempDir(), filepath.Join(t.TempDir(), "data")
	command := exec.Command(binary(t), "demo", "--data", data, "--listen", "127.0.0.1:0")
	command.Env = append(os.Environ(), "TMPDIR="+temp)
	p := startCommand(t, command)
	jar, _ := cookiejar.New(nil)
	client := &http.Client{Jar: jar, Timeout: patience}
	answer, err := client.PostForm(p.url+"/login", url.Values{"username": {"ada"}, "password": {demoPassword}})
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Errorf("signing in: %d", answer.StatusCode)
	}
	p.terminate()
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if _, err := os.Stat(data); !os.IsNotExist(err) {
		t.Errorf("--data: %v", err)
	}
	if strings.Contains(p.errors.String(), "ERROR") {
		t.Errorf("logged: %s", p.errors)
	}
}
