package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// The advice is about the file that is in the way, for somebody who is not root.
func TestFilesThatBelongToAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can run the program as another user")
	}
	const service = 65534
	base := t.TempDir()
	program := filepath.Join(base, "porchlight")
	if err := os.Link(built(t), program); err != nil {
		t.Skip("cannot put the program where another user reaches it:", err)
	}
	for folder := base; folder != os.TempDir() && folder != "/"; folder = filepath.Dir(folder) {
		if err := os.Chmod(folder, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	listUsers := func(data string) (stderr string, code int) {
		t.Helper()
		command := exec.Command(program, "--data", data, "user", "list")
		command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: service, Gid: service}}
		var errs bytes.Buffer
		command.Stderr = &errs
		command.Run()
		return errs.String(), command.ProcessState.ExitCode()
	}
	data := filepath.Join(base, "data")
	must(t, adaPassword+"\n", "--data", data, "user", "add", "ada")
	want := func(file string) {
		t.Helper()
		stderr, code := listUsers(data)
		if code != 1 || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, file+" is not writable for user 65534") {
			t.Errorf("exit status %d: %q, want the advice about %s", code, stderr, file)
		}
	}
	want(data) // the folder is root's
	if err := os.Chown(data, service, service); err != nil {
		t.Fatal(err)
	}
	want(filepath.Join(data, "porchlight.db"))

	// With root's first command in a folder of the service, everything is the service's.
	data = filepath.Join(base, "of the service")
	if err := os.Mkdir(data, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(data, service, service); err != nil {
		t.Fatal(err)
	}
	must(t, adaPassword+"\n", "--data", data, "user", "add", "ada")
	if stderr, code := listUsers(data); code != 0 {
		t.Errorf("exit status %d: %s", code, stderr)
	}
}
