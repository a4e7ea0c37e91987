package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/cookiejar"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"porchlight/db"
)

// server is the program serving in a separate process.
type server struct {
	command *exec.Cmd
	address string
}

func build(program string) error {
	build := exec.Command("go", "build", "-o", program, ".")
	build.Stderr = os.Stderr
	return build.Run()
}

// publicURL is under the cookie domain. Clients use this URL, but connect to the address that the server printed.
const publicURL = "http://auth.example.com"

const password = "lantern velvet orbit marmalade"

func username(i int) string { return fmt.Sprintf("user%d", i) }

func createUsers(data string) (err error) {
	store, err := db.Open(context.Background(), db.Options{Path: filepath.Join(data, "porchlight.db"), Create: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	for i := range signIns {
		if _, err := store.CreateUser(context.Background(), db.NewUser{Username: username(i), Password: password}); err != nil {
			return err
		}
	}
	return nil
}

func start(program, data string) (*server, error) {
	s := &server{command: exec.Command(program, "--data", data, "--listen", "127.0.0.1:0", "--url", publicURL,
		"--cookie-domain", "example.com", "--trusted-proxies", "127.0.0.0/8")}
	out, err := s.command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.command.Start(); err != nil {
		return nil, err
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	var ok bool
	if s.address, ok = strings.CutPrefix(strings.TrimSpace(line), "Listening on "); !ok {
		s.stop()
		return nil, fmt.Errorf("the server does not listen: %q", line)
	}
	return s, nil
}

func (s *server) stop() {
	s.command.Process.Signal(syscall.SIGTERM)
	kill := time.AfterFunc(20*time.Second, func() { s.command.Process.Kill() })
	defer kill.Stop()
	s.command.Wait()
}

// forgetPeak resets VmHWM to what is resident now; see proc_pid_clear_refs(5).
func (s *server) forgetPeak() error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", s.command.Process.Pid), []byte("5"), 0)
}

// memory reads a field of /proc/PID/status, in MB.
func (s *server) memory(field string) (float64, error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.command.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(content)) {
		var kB float64
		if n, _ := fmt.Sscanf(line, field+": %f kB", &kB); n == 1 {
			return kB / 1024, nil
		}
	}
	return 0, fmt.Errorf("no %s in /proc", field)
}

// newClient returns a client with a cookie jar and its own address, because failures are counted by address.
func (s *server) newClient(i int) *http.Client {
	jar, _ := cookiejar.New(nil) // it returns no error
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(i+1))}, Timeout: 10 * time.Second}
	return &http.Client{
		Jar: jar,
		Transport: &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, s.address)
		}},
		Timeout:       time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
