package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
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

// Under a cookie domain, as docs/commands.md says, people can make app keys in the demo.
func TestDemoUnderACookieDomain(t *testing.T) {
	t.Parallel()
	documented, err := os.ReadFile("docs/commands.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("`porchlight (demo --url http://auth.porch.localhost:3000 [^`]*)`").FindSubmatch(documented)
	if found == nil {
		t.Fatal("docs/commands.md does not say how")
	}
	command := exec.Command(binary(t), append(strings.Fields(string(found[1])), "--listen", "127.0.0.1:0")...)
	command.Env = append(os.Environ(), "TMPDIR="+t.TempDir())
	p := startCommand(t, command)
	jar, _ := cookiejar.New(nil)
	transport := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, strings.TrimPrefix(p.url, "http://"))
	}}
	client := &http.Client{Jar: jar, Timeout: patience, Transport: transport}
	const at = "http://auth.porch.localhost:3000"
	answer, err := client.PostForm(at+"/login", url.Values{"username": {"ada"}, "password": {demo.Password}})
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer, err = client.Get(at + "/account/keys"); err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	page, err := io.ReadAll(answer.Body)
	if err != nil || !strings.Contains(string(page), "<h2 id=\"make-heading\">Create a key</h2>") {
		t.Errorf("%v: %s", err, page)
	}
	p.terminate() // until then, it writes to p.errors
	if strings.Contains(p.errors.String(), "WARN") {
		t.Errorf("logged: %s", p.errors)
	}
}
