package main

import (
	"bufio"
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// fullPipe returns a pipe whose buffer is full.
func fullPipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	var fds [2]int
	if err := syscall.Pipe(fds[:]); err != nil {
		t.Fatal(err)
	}
	// The pipe is blocking, like one from a shell. With a non-blocking pipe, Go would wait without a thread.
	r, w = os.NewFile(uintptr(fds[0]), "read end"), os.NewFile(uintptr(fds[1]), "write end")
	t.Cleanup(func() {
		r.Close()
		w.Close()
	})
	syscall.CloseOnExec(fds[0])
	syscall.CloseOnExec(fds[1])
	if err := syscall.SetNonblock(fds[1], true); err != nil {
		t.Fatal(err)
	}
	var err error
	for err == nil {
		_, err = syscall.Write(fds[1], []byte("."))
	}
	if err != syscall.EAGAIN {
		t.Fatal(err)
	}
	if err := syscall.SetNonblock(fds[1], false); err != nil {
		t.Fatal(err)
	}
	return r, w
}

func TestLogThatNobodyReads(t *testing.T) {
	t.Parallel()
	f := newFixture(t, map[string]int{"ada": 20})
	_, w := fullPipe(t)
	command := exec.Command(binary(t), f.with("--listen", "127.0.0.1:0")...)
	command.Stderr = w
	p := startCommand(t, command)
	ada := p.signIn("ada", adaPassword)
	for _, id := range f.ids["ada"] {
		ada.revoke(id)
	}
	if got := f.sessions(); len(got) != 1 {
		t.Errorf("%d sessions are left", len(got))
	}
	p.terminate()
	if !p.command.ProcessState.Exited() || p.command.ProcessState.ExitCode() != 0 {
		t.Errorf("SIGTERM: %v", p.command.ProcessState)
	}

	// A failed start also ends.
	command = exec.Command(binary(t), f.with("--listen", "192.0.2.1:0")...)
	command.Stderr = w
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	p = &process{command: command, server: server{t: t}}
	p.waitOrKill()
	if code := command.ProcessState.ExitCode(); code != 1 {
		t.Errorf("a start that fails: %v", command.ProcessState)
	}
}

// The server keeps running when its terminal closes and nobody reads its output any more. A command may end.
func TestHangUpAndClosedPipes(t *testing.T) {
	t.Parallel()
	f := newFixture(t, map[string]int{"ada": 20})
	r, w := fullPipe(t)
	command := exec.Command(binary(t), f.with("--listen", "127.0.0.1:0")...)
	command.Stderr = w
	p := startCommand(t, command)
	ada := p.signIn("ada", adaPassword)
	r.Close()
	for i, id := range f.ids["ada"] {
		if i%5 == 0 {
			p.command.Process.Signal(syscall.SIGHUP)
			p.command.Process.Signal(syscall.SIGPIPE)
		}
		ada.revoke(id)
	}
	p.terminate()
	if p.command.ProcessState.ExitCode() != 0 {
		t.Errorf("SIGTERM: %v", p.command.ProcessState)
	}

	version := exec.Command(binary(t), "version")
	version.Stdout = w
	if err := version.Run(); err == nil || version.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGPIPE {
		t.Errorf("version into a closed pipe: %v", err)
	}
}

// revoke ends another session of the same user.
func (c *client) revoke(id string) {
	c.t.Helper()
	request, err := http.NewRequest(http.MethodDelete, c.url+"/me/sessions/"+id, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	if status, body := c.read(c.http.Do(request)); status != http.StatusOK {
		c.t.Fatalf("revoke: %d %s", status, body)
	}
}

// Every line is either written, or counted in a line that says how many were dropped at that place.
func TestLineQueue(t *testing.T) {
	t.Parallel()
	r, w := fullPipe(t)
	s := &settings{LogFormat: "json"}
	q := s.openQueue(w)
	const written = 10_000
	for i := range written {
		fmt.Fprintf(q, "line %d %s\n", i, strings.Repeat("x", 100))
	}
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		q.close()
		w.Close()
	}()
	var read, dropped int
	scanner := bufio.NewScanner(r)
	scanner.Buffer(nil, 1<<20) // the first line follows the bytes that filled the pipe
	for scanner.Scan() {
		line := bytes.TrimLeft(scanner.Bytes(), ".")
		var n int
		_, after, _ := bytes.Cut(line, []byte(`"level":"WARN","msg":"log lines were dropped because nobody read them in time","lines":`))
		if fmt.Sscan(string(after), &n); n > 0 {
			dropped += n
		} else if fmt.Sscanf(string(line), "line %d", &n); n == read+dropped {
			read++
		} else {
			t.Fatalf("line %d is %q", read+dropped, line)
		}
	}
	<-closed
	if dropped == 0 || read+dropped != written {
		t.Errorf("%d lines were read and %d dropped, of %d", read, dropped, written)
	}
	if queued := read * 100; queued > 2*queuedBytes {
		t.Errorf("%d bytes were queued", queued)
	}
}
