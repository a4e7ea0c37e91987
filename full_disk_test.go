package main

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// smallBlocks mounts a file system with blocks of 1 kB, on which SQLite's -shm file has holes: if the disk is full when a process first
// writes to one of them, the process gets SIGBUS.
func smallBlocks(t *testing.T) (folder string) {
	t.Helper()
	base := t.TempDir()
	image := filepath.Join(base, "image")
	folder = filepath.Join(base, "mounted")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(image, make([]byte, 8<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, words := range [][]string{{"mkfs.ext4", "-q", "-b", "1024", image}, {"mount", "-o", "loop", image, folder}} {
		if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
			t.Skipf("cannot create a file system: %s: %v: %s", words[0], err, out)
		}
	}
	// It is detached because the store maps the -shm file until the process ends.
	t.Cleanup(func() { syscall.Unmount(folder, syscall.MNT_DETACH) })
	return folder
}

// fillDisk fills the disk except for the given number of bytes.
func fillDisk(t *testing.T, folder string, free int64) {
	t.Helper()
	path := filepath.Join(folder, "fill")
	os.Remove(path)
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	size := int64(0)
	for block := make([]byte, 1024); err == nil; {
		var n int
		n, err = file.Write(block)
		size += int64(n)
	}
	if err := file.Truncate(size - free); err != nil {
		t.Fatal(err)
	}
	syscall.Sync()
}

func TestServeOnAFullDisk(t *testing.T) {
	folder := smallBlocks(t)
	data := filepath.Join(folder, "data")
	mustRun(t, adaPassword+"\n", "--data", data, "user", "add", "ada")
	for _, free := range []int64{0, 10 << 10, 18 << 10, 24 << 10} {
		fillDisk(t, folder, free)
		_, stderr, code := runProcess(t, "--data", data, "--listen", "127.0.0.1:0")
		if code != 1 || !strings.Contains(stderr, "no room") || strings.Count(stderr, "\n") != 1 {
			t.Errorf("with %d bytes free: exit status %d: %.200s", free, code, stderr)
		}
	}
}

func TestTheDiskFillsUpWhileServing(t *testing.T) {
	folder := smallBlocks(t)
	data := filepath.Join(folder, "data")
	mustRun(t, adaPassword+"\n", "--data", data, "user", "add", "ada")
	startProcess(t, "--data", data).terminate() // the first start writes the limits; later ones write nothing
	p := startProcess(t, "--data", data)
	fillDisk(t, folder, 28<<10)
	c := p.newClient()
	status, body := c.form("/login", "username", "ada", "password", adaPassword)
	if status != http.StatusOK && status != http.StatusServiceUnavailable {
		t.Errorf("sign in: %d %s", status, body)
	}
	c.want(http.StatusOK, "/healthz")
}
