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

// For a user who is not root, the error names the file whose permissions are wrong.
func TestFilesThatBelongToAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can run the program as another user")
	}
	const service = 65534
	base := t.TempDir()
	program := filepath.Join(base, "porchlight")
	if err := os.Link(binary(t), program); err != nil {
		t.Skip("cannot put the program where another user can run it:", err)
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
	mustRun(t, adaPassword+"\n", "--data", data, "user", "add", "ada")
	want := func(file string) {
		t.Helper()
		stderr, code := listUsers(data)
		if code != 1 || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, file+" is not writable for user 65534") {
			t.Errorf("exit status %d: %q, want the advice about %s", code, stderr, file)
		}
	}
	want(data) // the folder belongs to root
	if err := os.Chown(data, service, service); err != nil {
		t.Fatal(err)
	}
	want(filepath.Join(data, "porchlight.db"))

	// If root runs the first command in a folder that belongs to the service, the files belong to the service, too.
	data = filepath.Join(base, "of the service")
	if err := os.Mkdir(data, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(data, service, service); err != nil {
		t.Fatal(err)
	}
	mustRun(t, adaPassword+"\n", "--data", data, "user", "add", "ada")
	if stderr, code := listUsers(data); code != 0 {
		t.Errorf("exit status %d: %s", code, stderr)
	}
}
