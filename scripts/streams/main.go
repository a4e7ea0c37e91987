// Streams measures the event stream: how long after a revocation the event arrives, from the API and from a command in another process,
// and what 5,000 open streams cost the server in memory, in processor time while nothing happens, and when it stops.
//
//	go run ./scripts/streams
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"porchlight/db"
)

const (
	perUser = 20 // as many as the server allows
	idlers  = 250
	samples = 20                     // revocations per measurement
	pause   = 100 * time.Millisecond // between two revocations
	idleFor = 10 * time.Second
)

// setup is a data folder, and the program that serves it.
type setup struct {
	program, folder string
	server          *exec.Cmd
	url             string
	caller          string   // the token of the session that revokes and watches
	ids             []string // the sessions that are left to revoke
	idle            []string // a token of each user whose streams are only open
}

func main() {
	program := flag.String("program", "", "path of the program (default: build it from the current folder)")
	target := flag.String("hold", "", "open streams on this server; the script starts itself with this flag, and a token for each argument")
	count := flag.Int("count", 0, "how many streams to hold")
	flag.Parse()
	var err error
	if *target != "" {
		err = hold(*target, flag.Args(), *count)
	} else {
		err = run(*program)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "FAILED:", err)
		os.Exit(1)
	}
}

func run(program string) error {
	folder, err := os.MkdirTemp("", "porchlight-streams-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	if program == "" {
		program = filepath.Join(folder, "porchlight")
		build := exec.Command("go", "build", "-o", program, ".")
		build.Stderr = os.Stderr
		if err := build.Run(); err != nil {
			return fmt.Errorf("build: %w", err)
		}
	}
	s := &setup{program: program, folder: filepath.Join(folder, "data")}
	if err := s.fill(); err != nil {
		return err
	}
	for _, streams := range []int{1, 100, idlers * perUser} {
		if err := s.measure(streams); err != nil {
			return fmt.Errorf("%d streams: %w", streams, err)
		}
	}
	return nil
}

// fill creates the account whose sessions are revoked, and the accounts whose streams are only open.
func (s *setup) fill() (err error) {
	ctx := context.Background()
	store, err := db.Open(ctx, db.Options{
		Path: filepath.Join(s.folder, "porchlight.db"), Create: true, MaxSessions: 10 * samples,
		HashCost: db.HashCost{Memory: 8, Time: 1}, // nobody signs in with these passwords
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	signIn := func(username string, sessions int) (tokens, ids []string, err error) {
		user, err := store.CreateUser(ctx, db.NewUser{Username: username, Password: "lantern velvet orbit marmalade"})
		for i := 0; i < sessions && err == nil; i++ {
			var token string
			var session db.Session
			token, session, err = store.SignIn(ctx, user, db.NewSession{
				Client: db.Client{DeviceName: "Firefox on Linux", DeviceKind: "desktop", IP: "192.0.2.7"},
			})
			tokens, ids = append(tokens, token), append(ids, session.ID)
		}
		return tokens, ids, err
	}
	tokens, ids, err := signIn("ada", 1+6*samples)
	if err != nil {
		return err
	}
	s.caller, s.ids = tokens[0], ids[1:]
	for i := range idlers {
		tokens, _, err := signIn(fmt.Sprintf("user%d", i), 1)
		if err != nil {
			return err
		}
		s.idle = append(s.idle, tokens[0])
	}
	return nil
}

// measure starts the server, opens streams, and prints what they cost. One of them is the stream that watches the revocations.
func (s *setup) measure(streams int) error {
	if err := s.start(); err != nil {
		return err
	}
	defer s.server.Process.Kill()
	memory, err := s.memory()
	if err != nil {
		return err
	}
	busyBefore, err := s.processorTime(idleFor)
	if err != nil {
		return err
	}
	held, err := s.holdElsewhere(streams - 1)
	if err != nil {
		return err
	}
	if held != nil {
		defer held.Wait()
		defer held.Process.Kill()
	}
	watched, err := open(&http.Client{}, s.url, s.caller)
	if err != nil {
		return err
	}
	defer watched.Close()
	events := make(chan time.Time, 100)
	go func() {
		for scanner := bufio.NewScanner(watched); scanner.Scan(); {
			if scanner.Text() == "event: changed" {
				events <- time.Now()
			}
		}
	}()
	busy, err := s.processorTime(idleFor)
	if err != nil {
		return err
	}
	after, err := s.memory()
	if err != nil {
		return err
	}
	fmt.Printf("%d streams: %.1f MB more than without, %.1f KB each; idle processor time in %s: %s, without streams %s\n", streams,
		after-memory, (after-memory)*1024/float64(streams), idleFor, busy, busyBefore)
	if err := s.revocations("the API", s.revoke, events); err != nil {
		return err
	}
	if err := s.revocations("a command", s.revokeByCommand, events); err != nil {
		return err
	}
	began := time.Now()
	s.server.Process.Signal(syscall.SIGTERM)
	err = s.server.Wait()
	fmt.Printf("  stopped in %d ms\n", time.Since(began).Milliseconds())
	return err
}

// revocations prints how long after each revocation had returned its event came. An event that came before counts as no time.
func (s *setup) revocations(by string, revoke func(id string) error, events <-chan time.Time) error {
	var took []time.Duration
	for range samples {
		if err := revoke(s.ids[0]); err != nil {
			return err
		}
		revoked := time.Now()
		s.ids = s.ids[1:]
		select {
		case at := <-events:
			took = append(took, max(at.Sub(revoked), 0))
		case <-time.After(10 * time.Second):
			return fmt.Errorf("no event after a revocation by %s", by)
		}
		time.Sleep(pause)
		for len(events) > 0 {
			<-events
		}
	}
	slices.Sort(took)
	fmt.Printf("  revoked by %-9s event after %5.1f ms (median), %5.1f ms (slowest)\n", by,
		float64(took[len(took)/2].Microseconds())/1000, float64(took[len(took)-1].Microseconds())/1000)
	return nil
}

func (s *setup) start() error {
	s.server = exec.Command(s.program, "--data", s.folder, "--listen", "127.0.0.1:0")
	out, err := s.server.StdoutPipe()
	if err != nil {
		return err
	}
	if err := s.server.Start(); err != nil {
		return err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	address, ok := strings.CutPrefix(strings.TrimSpace(line), "Listening on ")
	if !ok {
		return fmt.Errorf("the server does not listen: %q, %w", line, err)
	}
	s.url = "http://" + address
	return nil
}

func (s *setup) revoke(id string) error {
	request, err := http.NewRequest(http.MethodDelete, s.url+"/me/sessions/"+id, nil)
	if err != nil {
		return err
	}
	request.AddCookie(&http.Cookie{Name: "porchlight", Value: s.caller})
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	_, err = io.Copy(io.Discard, response.Body)
	return err
}

func (s *setup) revokeByCommand(id string) error {
	return exec.Command(s.program, "--data", s.folder, "session", "revoke", id).Run()
}

// memory returns what is resident, in MB.
func (s *setup) memory() (float64, error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.server.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(content)) {
		var kB float64
		if n, _ := fmt.Sscanf(line, "VmRSS: %f kB", &kB); n == 1 {
			return kB / 1024, nil
		}
	}
	return 0, errors.New("no VmRSS in /proc")
}

// processorTime returns how much processor time the server uses in a while.
func (s *setup) processorTime(while time.Duration) (time.Duration, error) {
	before, err := s.processorTicks()
	if err != nil {
		return 0, err
	}
	time.Sleep(while)
	after, err := s.processorTicks()
	return time.Duration(after-before) * 10 * time.Millisecond, err // a tick is 10 ms on Linux
}

func (s *setup) processorTicks() (int, error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.server.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, fields, _ := strings.Cut(string(content), ") ") // the name before it can contain spaces
	var user, system int
	_, err = fmt.Sscanf(strings.Join(strings.Fields(fields)[11:13], " "), "%d %d", &user, &system)
	return user + system, err
}

// holdElsewhere opens streams in another process, so that their client does not share the scheduler of this one.
func (s *setup) holdElsewhere(streams int) (*exec.Cmd, error) {
	if streams == 0 {
		return nil, nil
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	held := exec.Command(self, append([]string{"-hold", s.url, "-count", fmt.Sprint(streams)}, s.idle...)...)
	held.Stderr = os.Stderr
	out, err := held.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := held.Start(); err != nil {
		return nil, err
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		return nil, errors.Join(fmt.Errorf("the streams are not open: %q, %w", line, err), held.Wait())
	}
	return held, nil
}

// hold opens streams, says so, and reads them until it is killed.
func hold(target string, tokens []string, count int) error {
	client := &http.Client{}
	for i := range count {
		body, err := open(client, target, tokens[i/perUser])
		if err != nil {
			return err
		}
		go io.Copy(io.Discard, body)
	}
	fmt.Println("open")
	select {}
}

// open opens a stream, and returns it after its first line.
func open(client *http.Client, target, token string) (io.ReadCloser, error) {
	request, err := http.NewRequest(http.MethodGet, target+"/sessions/events", nil)
	if err != nil {
		return nil, err
	}
	request.AddCookie(&http.Cookie{Name: "porchlight", Value: token})
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, errors.Join(errors.New(response.Status), response.Body.Close())
	}
	_, err = io.ReadFull(response.Body, make([]byte, 3)) // ":\n\n"
	return response.Body, err
}
