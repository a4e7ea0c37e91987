// Memory measures how much memory the server uses under three loads, and how much it still uses 30 seconds later. The loads are 200
// sign-ins at once after the server was busy, 2,000 slow clients, and 8,000 idle ones. It needs Linux and takes about three minutes.
//
//	go run ./scripts/memory
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"porchlight/scripts/internal/server"
)

const (
	signIns     = 200
	slowClients = 2_000
	idleClients = 8_000

	busyClients = 50
	busyTime    = 20 * time.Second
	slowTime    = 14 * time.Second // the server allows a request 15 seconds
	idleTime    = 10 * time.Second
	restTime    = 30 * time.Second

	peakLimit = 160 // MB, under 200 sign-ins at once
	restLimit = 80  // MB, 30 seconds after each load
)

func main() {
	program := flag.String("program", "", "path of the built program (default: build it from the current folder)")
	flag.Parse()
	if err := run(*program); err != nil {
		fmt.Fprintln(os.Stderr, "FAILED:", err)
		os.Exit(1)
	}
}

func run(program string) error {
	// Go has already raised the soft limit to the hard one, here and in the server.
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return err
	}
	if files.Cur < idleClients+500 {
		return fmt.Errorf("%d idle clients need more open files than %d; raise the hard limit (ulimit -Hn)", idleClients, files.Cur)
	}
	folder, err := os.MkdirTemp("", "porchlight-memory-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	if program, err = server.Build(program, folder); err != nil {
		return err
	}
	data := filepath.Join(folder, "data")
	if err := createUsers(data); err != nil {
		return err
	}
	fmt.Println("RSS in MB                 peak   30 s later")
	var problems []error
	for _, l := range []struct {
		name      string
		prepare   func(*setup) error
		load      func(*setup) error
		peakLimit int
	}{
		{"busy, then 200 sign-ins", keepBusy, signInAtOnce, peakLimit},
		{"2,000 slow clients", nil, connectSlowly, 0},
		{"8,000 idle clients", nil, connectAndIdle, 0},
	} {
		peak, rest, err := measure(program, data, l.prepare, l.load)
		if err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
		fmt.Printf("%-24s %5.0f %8.0f\n", l.name, peak, rest)
		if l.peakLimit > 0 && peak > float64(l.peakLimit) {
			problems = append(problems, fmt.Errorf("%s: the peak is above %d MB", l.name, l.peakLimit))
		}
		if rest > restLimit {
			problems = append(problems, fmt.Errorf("%s: the server still uses more than %d MB", l.name, restLimit))
		}
	}
	return errors.Join(problems...)
}

// measure starts a server and loads it. It returns the peak since the load began and the memory 30 seconds after it, in MB.
func measure(program, data string, prepare, load func(*setup) error) (peak, rest float64, err error) {
	s, err := start(program, data)
	if err != nil {
		return 0, 0, err
	}
	defer s.Stop(syscall.SIGTERM)
	if prepare != nil {
		if err := prepare(s); err != nil {
			return 0, 0, err
		}
	}
	if err := s.ResetPeak(); err != nil {
		return 0, 0, err
	}
	if err := load(s); err != nil {
		return 0, 0, err
	}
	time.Sleep(restTime)
	if rest, err = s.Memory("VmRSS"); err != nil {
		return 0, 0, err
	}
	peak, err = s.Memory("VmHWM") // includes what the server does after the clients have gone
	return peak, rest, err
}

// keepBusy signs in a few users, and requests pages and auth checks for them.
func keepBusy(s *setup) error {
	clients, err := s.signIn(busyClients)
	if err != nil {
		return err
	}
	var requests atomic.Int64
	end := time.Now().Add(busyTime)
	err = concurrently(len(clients), func(i int) error {
		for time.Now().Before(end) {
			for _, path := range []string{"/sessions", "/me/sessions", "/account", "/public/app.css", "/auth/forward"} {
				if _, err := s.get(clients[i], path); err != nil {
					return err
				}
				requests.Add(1)
			}
		}
		return nil
	})
	for _, c := range clients {
		c.CloseIdleConnections()
	}
	fmt.Fprintf(os.Stderr, "busy for %s: %d requests\n", busyTime, requests.Load())
	return err
}

// signInAtOnce signs in all users at the same time, each from a different address.
func signInAtOnce(s *setup) error {
	var mu sync.Mutex
	statuses := map[int]int{}
	err := concurrently(signIns, func(i int) error {
		client := s.newClient(i)
		defer client.CloseIdleConnections()
		status, err := s.postSignIn(client, i)
		mu.Lock()
		statuses[status]++
		mu.Unlock()
		return err
	})
	for _, status := range slices.Sorted(maps.Keys(statuses)) {
		fmt.Fprintf(os.Stderr, "%d sign-ins got status %d\n", statuses[status], status)
	}
	if err == nil && statuses[http.StatusOK] == 0 {
		err = errors.New("nobody was signed in")
	}
	return err
}

// connectSlowly sends 8 KB of request headers on each connection, a few bytes a second.
func connectSlowly(s *setup) error {
	conns, err := s.connect(slowClients)
	defer closeAll(conns)
	if err != nil {
		return err
	}
	part := []byte("GET /login HTTP/1.1\r\nHost: localhost\r\n")
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for range slowTime / time.Second {
		for _, conn := range conns {
			if _, err := conn.Write(part); err != nil {
				return err
			}
		}
		part = fmt.Appendf(nil, "X-Slow-%d: %s\r\n", len(part), bytes.Repeat([]byte("s"), 8<<10/int(slowTime/time.Second)))
		<-tick.C
	}
	return nil
}

// connectAndIdle sends one request on each connection, then nothing more.
func connectAndIdle(s *setup) error {
	conns, err := s.connect(idleClients)
	defer closeAll(conns)
	if err != nil {
		return err
	}
	answer := make([]byte, 4096)
	for _, conn := range conns {
		if _, err := io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
			return err
		}
		if n, err := conn.Read(answer); err != nil || !bytes.HasPrefix(answer[:n], []byte("HTTP/1.1 200")) {
			return fmt.Errorf("GET /healthz was answered with %q (%w)", answer[:n], err)
		}
	}
	time.Sleep(idleTime)
	return nil
}

func (s *setup) connect(count int) (conns []net.Conn, err error) {
	for range count {
		conn, err := net.DialTimeout("tcp", s.Address, 10*time.Second)
		if err != nil {
			return conns, fmt.Errorf("connection %d: %w", len(conns)+1, err)
		}
		conn.SetDeadline(time.Now().Add(time.Minute))
		conns = append(conns, conn)
	}
	return conns, nil
}

func closeAll(conns []net.Conn) {
	for _, conn := range conns {
		conn.Close()
	}
}

// signIn signs the first users in, one after the other.
func (s *setup) signIn(count int) (clients []*http.Client, err error) {
	for i := range count {
		client := s.newClient(i)
		if status, err := s.postSignIn(client, i); err != nil || status != http.StatusOK {
			return nil, fmt.Errorf("sign in as %s: %d (%w)", username(i), status, err)
		}
		clients = append(clients, client)
	}
	return clients, nil
}

func (s *setup) postSignIn(client *http.Client, user int) (status int, err error) {
	form := url.Values{"username": {username(user)}, "password": {password}}
	return drain(client.Post(publicURL+"/login", "application/x-www-form-urlencoded", strings.NewReader(form.Encode())))
}

func (s *setup) get(client *http.Client, path string) (status int, err error) {
	request, err := http.NewRequest(http.MethodGet, publicURL+path, nil)
	if err != nil {
		return 0, err
	}
	for name, value := range map[string]string{
		"Method": "GET", "Proto": "http", "Host": "notes.example.com", "Uri": "/", "For": "192.0.2.7",
	} {
		request.Header.Set("X-Forwarded-"+name, value)
	}
	return drain(client.Do(request))
}

func drain(response *http.Response, err error) (status int, _ error) {
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return response.StatusCode, err
}

// concurrently calls do count times concurrently, and returns the first error.
func concurrently(count int, do func(i int) error) error {
	errs := make(chan error, count)
	for i := range count {
		go func() { errs <- do(i) }()
	}
	var first error
	for range count {
		if err := <-errs; first == nil {
			first = err
		}
	}
	return first
}
