package main

import (
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"porchlight/db/demo"
)

// The demo deletes its folder when it stops, and leaves --data alone.
func TestDemo(t *testing.T) {
	t.Parallel()
	temp, data := t.TempDir(), filepath.Join(t.TempDir(), "data")
	command := exec.Command(binary(t), "demo", "--data", data, "--listen", "127.0.0.1:0")
	command.Env = append(os.Environ(), "TMPDIR="+temp)
	p := startCommand(t, command)
	jar, _ := cookiejar.New(nil)
	client := &http.Client{Jar: jar, Timeout: patience}
	answer, err := client.PostForm(p.url+"/login", url.Values{"username": {"ada"}, "password": {demo.Password}})
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Errorf("signing in: %d", answer.StatusCode)
	}
	p.terminate()
	_, port, _ := net.SplitHostPort(p.listen)
	if line := <-p.lines; !strings.HasPrefix(line, "Open http://localhost:"+port+" and sign in as ada") {
		t.Errorf("after the address, it printed %q", line)
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("the demo left %v: %v", left, err)
	}
	if _, err := os.Stat(data); !os.IsNotExist(err) {
		t.Errorf("--data: %v", err)
	}
	if strings.Contains(p.errors.String(), "ERROR") {
		t.Errorf("logged: %s", p.errors)
	}
}
