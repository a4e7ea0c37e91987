package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestBackupAndRestore(t *testing.T) {
	f := newFixture(t, map[string]int{"bo": 1})
	s := start(t, f.data)
	ada := s.signIn("ada", adaPassword)
	file := filepath.Join(t.TempDir(), "backup.db")
	out := mustRun(t, "", f.with("backup", file)...)
	if !strings.Contains(out, "2 users and 2 sessions") || !strings.Contains(out, file) {
		t.Errorf("backup printed %q", out)
	}
	if _, err := command(t, "", f.with("backup", file)...); true {
		wantError(t, err, 1, file, "exists")
	}
	if _, err := command(t, "", f.with("restore", file)...); true {
		wantError(t, err, 1, f.path(), "--data")
	}
	for _, words := range []string{"backup", "restore"} {
		_, err := command(t, "", f.with(words, " ")...)
		wantError(t, err, 2, words+": name the")
	}
	ada.want(http.StatusOK, "/me/sessions") // the server still works

	restored := &fixture{t: t, data: filepath.Join(t.TempDir(), "new")}
	out = mustRun(t, "", restored.with("restore", file)...)
	if !strings.Contains(out, "Restored 2 users") || !strings.Contains(out, "Ended 2 sessions and voided 0 invitations") {
		t.Errorf("restore printed %q", out)
	}
	again := start(t, restored.data)
	ada.url = again.url
	ada.want(http.StatusUnauthorized, "/me/sessions")
	again.signIn("bo", boPassword).want(http.StatusOK, "/me/sessions")
}

// Only serve, user add, user invite and restore create a database.
func TestCommandsNeedADatabase(t *testing.T) {
	for _, words := range []string{
		"user list", "user passwd ada", "user disable ada", "user enable ada", "user delete ada --yes",
		"session list", "session revoke --all", "session revoke --user ada", "session revoke ID",
		"app list", "app allow localhost", "app remove localhost", "backup FILE",
	} {
		data := filepath.Join(t.TempDir(), "data")
		out, err := command(t, adaPassword+"\n", append([]string{"--data", data}, strings.Fields(words)...)...)
		wantError(t, err, 1, data, "--data")
		if out != "" {
			t.Errorf("%s printed %q", words, out)
		}
		if _, err := os.Stat(data); err == nil {
			t.Errorf("%s created the folder", words)
		}
	}
}
