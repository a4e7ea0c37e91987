// Streams measures the event stream: how long after a revocation the events arrive, from the API and from a command in another process,
// and what 5,000 open streams cost the server in memory, in processor time while nothing happens, and when it stops.
//
//	go run ./scripts/streams
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"porchlight/scripts/internal/server"
)

const (
	perUser   = 20 // as many as the server allows
	idleUsers = 250
	samples   = 20                     // revocations per measurement
	pause     = 100 * time.Millisecond // between two revocations

	settleFor = 30 * time.Second // after the streams were opened: two heartbeats
	idleFor   = 45 * time.Second // three heartbeats

	memoryLimit    = 250          // MB more than without streams
	processorLimit = idleFor / 10 // of one processor
)

// setup is a data folder, and the program that serves it.
type setup struct {
	program, data string
	*server.Server
	caller  string           // the token of the session that revokes and watches
	victims []server.Session // the sessions that are left to revoke
	idle    []string         // a token of each user whose streams are only open
	withOne float64          // MB, with one stream open
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
	s := &setup{data: filepath.Join(folder, "data")}
	if s.program, err = server.Build(program, folder); err != nil {
		return err
	}
	if err := s.fill(); err != nil {
		return err
	}
	for _, streams := range []int{0, 1, 100, idleUsers * perUser} {
		if err := s.measure(streams); err != nil {
			return fmt.Errorf("%d streams: %w", streams, err)
		}
	}
	return nil
}

// fill creates the account whose sessions are revoked, and the accounts whose streams are only open.
func (s *setup) fill() error {
	ada, err := server.SignIn(s.data, 1+6*samples, "ada")
	if err != nil {
		return err
	}
	s.caller, s.victims = ada[0][0].Token, ada[0][1:]
	var usernames []string
	for i := range idleUsers {
		usernames = append(usernames, fmt.Sprintf("user%d", i))
	}
	others, err := server.SignIn(s.data, 1, usernames...)
	for _, sessions := range others {
		s.idle = append(s.idle, sessions[0].Token)
	}
	return err
}

// measure starts the server, opens streams, and prints what they cost. One of them watches the revocations.
func (s *setup) measure(streams int) (err error) {
	if s.Server, err = server.Start(s.program, s.data, "--max-sessions", fmt.Sprint(10*samples)); err != nil {
		return err
	}
	defer s.Stop(syscall.SIGKILL)
	memory, err := s.Memory("VmRSS")
	if err != nil {
		return err
	}
	if streams == 0 {
		idle, err := s.processorTime()
		fmt.Printf("no stream: %.1f MB; %s of processor time in %s\n", memory, idle, idleFor)
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
	changed, err := s.watch(s.caller, "changed")
	if err != nil {
		return err
	}
	idle, err := s.processorTime()
	if err != nil {
		return err
	}
	with, err := s.Memory("VmRSS")
	if err != nil {
		return err
	}
	fmt.Printf("%d streams: %.1f MB, %.1f MB more than at the start; %s of processor time in %s without events\n", streams,
		with, with-memory, idle, idleFor)
	if streams == 1 {
		s.withOne = with
	} else {
		fmt.Printf("  %.1f KB for each stream after the first\n", (with-s.withOne)*1024/float64(streams-1))
	}
	if with-memory > memoryLimit || idle > processorLimit {
		return fmt.Errorf("memory is above %d MB, or processor time above %s", memoryLimit, processorLimit)
	}
	if err := s.revocations("the API", s.revoke, changed); err != nil {
		return err
	}
	if err := s.revocations("a command", s.revokeByCommand, changed); err != nil {
		return err
	}
	began := time.Now()
	err = s.Stop(syscall.SIGTERM)
	fmt.Printf("  stopped in %d ms\n", time.Since(began).Milliseconds())
	return err
}

// processorTime returns how much processor time the server uses in idleFor, after it has settled.
func (s *setup) processorTime() (time.Duration, error) {
	time.Sleep(settleFor)
	before, err := s.ProcessorTime()
	if err != nil {
		return 0, err
	}
	time.Sleep(idleFor)
	after, err := s.ProcessorTime()
	return after - before, err
}

// watch opens a stream, and sends the time of each event of one kind on the channel, which is closed when the stream ends.
func (s *setup) watch(token, kind string) (<-chan time.Time, error) {
	stream, err := open(&http.Client{}, s.URL(), token)
	if err != nil {
		return nil, err
	}
	events := make(chan time.Time, 100)
	go func() {
		defer close(events)
		defer stream.Close()
		for scanner := bufio.NewScanner(stream); scanner.Scan(); {
			if scanner.Text() == "event: "+kind {
				events <- time.Now()
			}
		}
	}()
	return events, nil
}

// revocations prints how long after the response to a revocation its events arrive: "changed" on the page that shows the list, and "ended"
// on the page of the session. An event that arrives before the response counts as 0 ms.
func (s *setup) revocations(by string, revoke func(id string) error, changed <-chan time.Time) error {
	var changedAfter, endedAfter []time.Duration
	for range samples {
		victim := s.victims[0]
		s.victims = s.victims[1:]
		ended, err := s.watch(victim.Token, "ended")
		if err != nil {
			return err
		}
		time.Sleep(pause)
		for len(changed) > 0 {
			<-changed
		}
		if err := revoke(victim.ID); err != nil {
			return err
		}
		revoked := time.Now()
		for _, wait := range []struct {
			events <-chan time.Time
			took   *[]time.Duration
		}{{changed, &changedAfter}, {ended, &endedAfter}} {
			select {
			case at, open := <-wait.events:
				if !open {
					return errors.New("a stream ended without its event")
				}
				*wait.took = append(*wait.took, max(at.Sub(revoked), 0))
			case <-time.After(10 * time.Second):
				return fmt.Errorf("no event after a revocation by %s", by)
			}
		}
	}
	fmt.Printf("  revoked by %-9s  changed after %s, ended after %s\n", by, spread(changedAfter), spread(endedAfter))
	return nil
}

func spread(took []time.Duration) string {
	slices.Sort(took)
	return fmt.Sprintf("%.1f ms (slowest %.1f ms)",
		float64(took[len(took)/2].Microseconds())/1000, float64(took[len(took)-1].Microseconds())/1000)
}

func (s *setup) revoke(id string) error {
	status, err := s.Do(http.DefaultClient, http.MethodDelete, "/me/sessions/"+id, s.caller)
	if err == nil && status != http.StatusOK {
		err = errors.New(http.StatusText(status))
	}
	return err
}

func (s *setup) revokeByCommand(id string) error {
	return exec.Command(s.program, "--data", s.data, "session", "revoke", id).Run()
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
	held := exec.Command(self, append([]string{"-hold", s.URL(), "-count", fmt.Sprint(streams)}, s.idle...)...)
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

// hold opens streams, prints "open", and reads them until it is killed.
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

// open opens a stream, and returns it once the server has sent its first line.
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
