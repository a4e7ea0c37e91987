// Package server runs Porchlight in a separate process, for the scripts that measure it or kill it.
package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"porchlight/db"
)

// Database returns the path of the database in a data folder.
func Database(data string) string { return filepath.Join(data, "porchlight.db") }

// Session is a session and the token in its cookie.
type Session struct{ ID, Token string }

// SignIn creates accounts in a data folder, and a number of sessions for each.
func SignIn(data string, sessions int, usernames ...string) (all [][]Session, err error) {
	ctx := context.Background()
	store, err := db.Open(ctx, db.Options{
		Path: Database(data), Create: true, MaxSessions: 2 * sessions,
		HashCost: db.HashCost{Memory: 8, Time: 1}, // nobody signs in with these passwords
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	for _, username := range usernames {
		user, err := store.CreateUser(ctx, db.NewUser{Username: username, Password: "lantern velvet orbit marmalade"})
		if err != nil {
			return nil, err
		}
		var begun []Session
		for range sessions {
			token, session, err := store.SignIn(ctx, user, db.NewSession{
				Client: db.Client{DeviceName: "Firefox on Linux", DeviceKind: "desktop", IP: "127.0.0.1"},
			})
			if err != nil {
				return nil, err
			}
			begun = append(begun, Session{session.ID, token})
		}
		all = append(all, begun)
	}
	return all, nil
}

// Build returns the path of the program. If none is given, Build builds it from the current folder into another folder.
func Build(program, folder string) (string, error) {
	if program != "" {
		return program, nil
	}
	program = filepath.Join(folder, "porchlight")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return "", fmt.Errorf("build: %w", err)
	}
	return program, nil
}

// Server is a running program.
type Server struct {
	Address string // on which it listens
	command *exec.Cmd
}

// startWithin is how long a server may take to start.
const startWithin = 10 * time.Second

// Start starts the program, and returns when it listens.
func Start(program, data string, flags ...string) (*Server, error) {
	s := &Server{command: exec.Command(program, append([]string{"--data", data, "--listen", "127.0.0.1:0"}, flags...)...)}
	var log strings.Builder
	s.command.Stderr = &log
	out, err := s.command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.command.Start(); err != nil {
		return nil, err
	}
	late := time.AfterFunc(startWithin, func() { s.command.Process.Kill() })
	defer late.Stop()
	line, _ := bufio.NewReader(out).ReadString('\n')
	var listens bool
	if s.Address, listens = strings.CutPrefix(strings.TrimSpace(line), "Listening on "); !listens {
		s.command.Process.Kill()
		s.command.Wait()
		return nil, fmt.Errorf("the server does not listen: %q %s", line, log.String())
	}
	return s, nil
}

// URL is where the server is reached.
func (s *Server) URL() string { return "http://" + s.Address }

// Stop sends a signal, and returns when the server has ended. A server that has ended already is no error.
func (s *Server) Stop(signal os.Signal) error {
	if s.command.ProcessState != nil {
		return nil
	}
	s.command.Process.Signal(signal)
	return s.command.Wait()
}

// Do sends a request with the token in the cookie, if it is not "".
func (s *Server) Do(client *http.Client, method, path, token string) (status int, err error) {
	request, err := http.NewRequest(method, s.URL()+path, nil)
	if err != nil {
		return 0, err
	}
	if token != "" {
		request.AddCookie(&http.Cookie{Name: "porchlight", Value: token})
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, response.Body)
	return response.StatusCode, errors.Join(err, response.Body.Close())
}

// Memory returns a field of /proc/PID/status, such as VmRSS, in MB. It needs Linux.
func (s *Server) Memory(field string) (float64, error) {
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

// ResetPeak sets the field VmHWM to the memory that is resident now; see proc_pid_clear_refs(5).
func (s *Server) ResetPeak() error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", s.command.Process.Pid), []byte("5"), 0)
}

// ProcessorTime returns how much processor time the server has used. It needs Linux.
func (s *Server) ProcessorTime() (time.Duration, error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.command.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, fields, _ := strings.Cut(string(content), ") ") // the program's name, in parentheses before it, can contain spaces
	var user, system time.Duration
	_, err = fmt.Sscanf(strings.Join(strings.Fields(fields)[11:13], " "), "%d %d", &user, &system)
	return (user + system) * 10 * time.Millisecond, err // a tick is 10 ms on Linux
}
