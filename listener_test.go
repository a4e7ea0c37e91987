package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// startWithFiles starts the program with a limit of open files.
func startWithFiles(t *testing.T, files int, args ...string) *process {
	t.Helper()
	script := fmt.Sprintf(`ulimit -n %d && exec "$0" --listen 127.0.0.1:0 "$@"`, files)
	return startCommand(t, exec.Command("sh", append([]string{"-c", script, binary(t)}, args...)...))
}

// files returns how many open files the process has, and how many of them are not sockets.
func (p *process) files() (all, reserved int) {
	p.t.Helper()
	folder := fmt.Sprintf("/proc/%d/fd", p.command.Process.Pid)
	entries, err := os.ReadDir(folder)
	if err != nil {
		p.t.Skip("needs /proc: ", err)
	}
	for _, entry := range entries {
		if name, _ := os.Readlink(folder + "/" + entry.Name()); !strings.HasPrefix(name, "socket:") {
			reserved++
		}
	}
	return len(entries), reserved
}

// openSilent opens connections that send nothing, or only half of a request.
func (p *process) openSilent(count int) (conns []net.Conn) {
	p.t.Helper()
	for i := range count {
		conn, err := net.Dial("tcp", p.listen)
		if err != nil {
			p.t.Fatal(err)
		}
		p.t.Cleanup(func() { conn.Close() })
		if i%2 == 0 {
			if _, err := io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHo"); err != nil {
				p.t.Fatal(err)
			}
		}
		conns = append(conns, conn)
	}
	return conns
}

// Twice as many connections as there are descriptors do not stop the server, and a user can still revoke a session, long before a
// timeout would free a slot.
func TestOutOfDescriptors(t *testing.T) {
	t.Parallel()
	f := newFixture(t, map[string]int{"ada": 3})
	p := startWithFiles(t, 64, "--data", f.data)
	ada := p.signIn("ada", adaPassword)
	ada.http.Timeout = 10 * time.Second // the server closes a silent connection after 15
	for _, id := range f.ids["ada"] {
		conns := p.openSilent(120)
		ada.http.CloseIdleConnections()
		ada.revoke(id)
		if all, _ := p.files(); all > 64 {
			t.Errorf("%d descriptors", all)
		}
		for _, conn := range conns {
			conn.Close()
		}
	}
	ada.want(http.StatusOK, "/sessions")
	p.terminate()
	if got := strings.Count(p.errors.String(), "too many open connections"); got != 1 {
		t.Errorf("%d lines about connections: %s", got, p.errors)
	}
	if p.command.ProcessState.ExitCode() != 0 || strings.Contains(p.errors.String(), "cannot accept") {
		t.Errorf("the process ended with %v: %s", p.command.ProcessState, p.errors)
	}
}

// The program's own files need at least eight descriptors fewer than are reserved for them.
func TestDescriptors(t *testing.T) {
	t.Parallel()
	f := newFixture(t, map[string]int{"ada": 10})
	p := startProcess(t, "--data", f.data, "--sweep-interval", "1ms")
	ada := p.signIn("ada", adaPassword)
	for _, id := range f.ids["ada"] {
		ada.revoke(id)
		for _, path := range []string{"/sessions", "/account", "/me/export", "/public/app.css", "/healthz", "/auth/forward"} {
			ada.get(path)
		}
		if _, reserved := p.files(); reserved > reservedDescriptors-8 {
			t.Fatalf("the program uses %d descriptors, but only %d are reserved", reserved, reservedDescriptors)
		}
	}
	p.terminate()

	command := exec.Command("sh", "-c", `ulimit -n 32 && exec "$0" "$@"`, binary(t), "--data", f.data, "--listen", "127.0.0.1:0")
	out, err := command.CombinedOutput()
	if command.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), "the limit of open files is 32 and must be at least") {
		t.Errorf("with 32 descriptors: %v %s", err, out)
	}
}

// The kernel refuses connections because the limit was lowered while the server runs. The server recovers when the limit is raised.
func TestAcceptAfterAShortage(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	command := exec.Command(binary(t), f.with("--listen", "127.0.0.1:0")...)
	command.Stderr = w
	p := startCommand(t, command)
	w.Close()
	c := p.newClient()
	c.want(http.StatusOK, "/healthz")

	before := p.limitFiles(4)
	waiting := p.openSilent(5)
	log := bufio.NewScanner(r)
	for log.Scan() && !strings.Contains(log.Text(), "cannot accept connections") {
	}
	c.want(http.StatusOK, "/healthz") // on its open connection
	p.limitFiles(before)
	for _, conn := range waiting {
		conn.Close()
	}
	p.newClient().want(http.StatusOK, "/healthz")
	p.terminate()
	for log.Scan() {
		if strings.Contains(log.Text(), "cannot accept connections") {
			t.Error("logged again: ", log.Text())
		}
	}
	if p.command.ProcessState.ExitCode() != 0 {
		t.Error(p.command.ProcessState)
	}
}

// limitFiles sets the soft limit of the running process, and returns the old one.
func (p *process) limitFiles(soft uint64) (before uint64) {
	p.t.Helper()
	var old, limit syscall.Rlimit
	for _, pair := range []struct{ set, get *syscall.Rlimit }{{nil, &old}, {&limit, nil}} {
		limit = syscall.Rlimit{Cur: soft, Max: old.Max}
		if _, _, errno := syscall.RawSyscall6(syscall.SYS_PRLIMIT64, uintptr(p.command.Process.Pid), syscall.RLIMIT_NOFILE,
			uintptr(unsafe.Pointer(pair.set)), uintptr(unsafe.Pointer(pair.get)), 0, 0); errno != 0 {
			p.t.Fatal(errno)
		}
	}
	return old.Cur
}

// serveLimited accepts connections on a limited listener, and calls answer for each.
func serveLimited(t *testing.T, limit int, answer func(net.Conn)) *listener {
	t.Helper()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := limitConnections(inner, limit, slog.New(slog.DiscardHandler))
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				answer(c)
			}()
		}
	}()
	return l
}

func (l *listener) dial(t *testing.T) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	return conn
}

// ask sends a line and waits for the answer.
func ask(conn net.Conn) error {
	if _, err := conn.Write([]byte("?\n")); err != nil {
		return err
	}
	_, err := io.ReadFull(conn, make([]byte, 1))
	return err
}

func TestLongestWithoutAnAnswerMakesRoom(t *testing.T) {
	t.Parallel()
	read := make(chan byte, 100)
	l := serveLimited(t, 3, func(c net.Conn) {
		for b := make([]byte, 1); ; {
			if _, err := c.Read(b); err != nil {
				return
			}
			read <- b[0]
			if b[0] == '\n' {
				c.Write([]byte("!"))
			}
		}
	})
	var conns []net.Conn
	for i := range 3 {
		conns = append(conns, l.dial(t))
		if err := ask(conns[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := ask(conns[0]); err != nil { // now the second has gone longest without an answer
		t.Fatal(err)
	}
	for _, drip := range []byte("slow") { // bytes that get no answer do not change that
		if _, err := conns[1].Write([]byte{drip}); err != nil {
			t.Fatal(err)
		}
		for <-read != drip {
		}
	}
	fresh := l.dial(t)
	for i, conn := range []net.Conn{fresh, conns[0], conns[2]} {
		if err := ask(conn); err != nil {
			t.Errorf("connection %d was closed: %v", i, err)
		}
	}
	if _, err := conns[1].Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the oldest is not closed: %v", err)
	}
}

// The server does not close a connection while it works on its request. A new one waits.
func TestPendingRequestsKeepTheirConnection(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	begun := make(chan struct{}, 3)
	l := serveLimited(t, 2, func(c net.Conn) {
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			return
		}
		begun <- struct{}{}
		<-release
		c.Write([]byte("!"))
	})
	conns := []net.Conn{l.dial(t), l.dial(t)}
	for _, conn := range conns {
		if _, err := conn.Write([]byte("?")); err != nil {
			t.Fatal(err)
		}
		<-begun
	}
	third := l.dial(t)
	if _, err := third.Write([]byte("?")); err != nil {
		t.Fatal(err)
	}
	close(release)
	conns = append(conns, third)
	for i, conn := range conns {
		if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
			t.Errorf("connection %d got no answer: %v", i, err)
		}
	}
}

func TestListenError(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, test := range []struct{ address, advice string }{
		{taken.Addr().String(), "stop the program that listens there"},
		{"192.0.2.1:0", "this machine does not have that address"}, // TEST-NET-1
		{"no such host:0", "give an IP address"},
	} {
		_, err := listen(test.address, 8, slog.New(slog.DiscardHandler))
		wantError(t, err, 1, test.address, test.advice, "--listen")
		stop := strings.Contains(err.Error(), "stop the program that listens")
		if stop != (test.advice == "stop the program that listens there") {
			t.Errorf("%s: %v", test.address, err)
		}
	}
	// A port below 1024, for a user who is not root.
	denied := &net.OpError{Op: "listen", Net: "tcp", Err: os.NewSyscallError("bind", syscall.EACCES)}
	if got := listenError(":80", denied).Error(); !strings.Contains(got, "choose a port of 1024 or higher") || strings.Contains(got, "stop") {
		t.Error(got)
	}
	if got := listenError(":80", errors.New("odd")).Error(); strings.Contains(got, "stop") {
		t.Error(got)
	}
}
