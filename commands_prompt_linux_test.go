package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"porchlight/db/dbtest"
)

// This file tests the prompts of commands on a real terminal.

// person is somebody at a terminal in which a command of the program runs.
type person struct {
	t       *testing.T
	command *exec.Cmd
	master  *os.File // the person's end of the terminal
	slave   *os.File // the command's
	before  unix.Termios
	ended   chan struct{} // closed when the command has ended

	mu     sync.Mutex
	screen bytes.Buffer
}

// startOnTerminal starts a command on a new terminal.
func startOnTerminal(t *testing.T, args ...string) *person {
	t.Helper()
	p := &person{t: t, command: exec.Command(args[0], args[1:]...), ended: make(chan struct{})}
	var err error
	if p.master, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.master.Close() })
	var number int
	p.control(func(fd int) error {
		if number, err = unix.IoctlGetInt(fd, unix.TIOCGPTN); err != nil {
			return err
		}
		return unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	})
	if p.slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.slave.Close() })
	p.before = p.termios()
	p.command.Stdin, p.command.Stdout, p.command.Stderr = p.slave, p.slave, p.slave
	p.command.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.command.Process.Kill() })
	go func() {
		p.command.Wait()
		close(p.ended)
	}()
	go func() {
		for buffer := make([]byte, 1024); ; {
			n, err := p.master.Read(buffer)
			if err != nil {
				return
			}
			p.mu.Lock()
			p.screen.Write(buffer[:n])
			p.mu.Unlock()
		}
	}()
	return p
}

// control calls an ioctl on the person's end. os.File.Fd would make the file blocking.
func (p *person) control(call func(fd int) error) {
	p.t.Helper()
	raw, err := p.master.SyscallConn()
	if err != nil {
		p.t.Fatal(err)
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = call(int(fd)) }); err != nil || failed != nil {
		p.t.Fatal(err, failed)
	}
}

func (p *person) termios() (state unix.Termios) {
	p.t.Helper()
	p.control(func(fd int) error {
		got, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		if err == nil {
			state = *got
		}
		return err
	})
	return state
}

func (p *person) shown() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.screen.String()
}

// answers waits for a question and types the keys.
func (p *person) answers(question, keys string) {
	p.t.Helper()
	eventually(p.t, "the screen shows "+question, func() bool { return strings.HasSuffix(p.shown(), question) })
	if _, err := p.master.WriteString(keys); err != nil {
		p.t.Fatal(err)
	}
}

func (p *person) wait() {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.t.Fatalf("the command has not ended; the screen is %q", p.shown())
	}
}

// wantEnd waits until the command has ended, and checks that the terminal is in its original state.
func (p *person) wantEnd(code int, lastLine string) {
	p.t.Helper()
	p.wait()
	if got := p.command.ProcessState.ExitCode(); got != code {
		p.t.Errorf("exit status %d, want %d", got, code)
	}
	eventually(p.t, "the output was read", func() bool { return strings.HasSuffix("\n"+p.shown(), "\n"+lastLine+"\r\n") })
	if got := p.termios(); got.Lflag != p.before.Lflag || got.Iflag != p.before.Iflag || got.Oflag != p.before.Oflag {
		p.t.Errorf("the terminal was left in another state: %+v, want %+v", got, p.before)
	}
}

func TestPrompts(t *testing.T) {
	t.Parallel()
	const (
		password, again, name = "Password: ", "Again: ", "Type the name to confirm: "
		ctrlC, ctrlD          = "\x03", "\x04"
		interrupted           = "porchlight: interrupted; nothing was changed"
		none, kept            = "porchlight: no password was entered", "porchlight: nothing was deleted"
	)
	add, passwd, remove := []string{"user", "add", "cy"}, []string{"user", "passwd", "bo"}, []string{"user", "delete", "bo"}
	type step struct{ question, keys string }
	for _, test := range []struct {
		what  string
		args  []string
		steps []step
		code  int
		says  string
		users string // the usernames afterwards
	}{
		{"add", add, []step{{password, boPassword + "\r"}, {again, boPassword + "\r"}}, 0, "Created cy.", "ada bo cy"},
		{"add, typed ahead", add, []step{{password, boPassword + "\r" + boPassword + "\r"}}, 0, "Created cy.", "ada bo cy"},
		{"add, with a corrected mistake", add, []step{{password, "x\x7f" + boPassword + "\r"}, {again, boPassword + "\r"}}, 0, "Created cy.",
			"ada bo cy"},
		{"add, pasted", add, []step{{password, "\x1b[200~" + boPassword + "\x1b[201~\r"}, {again, "\x1b[200~" + boPassword + "\r\x1b[201~"}},
			0, "Created cy.", "ada bo cy"},
		{"two different passwords", add, []step{{password, boPassword + "\r"}, {again, adaPassword + "\r"}}, 1, "porchlight: the passwords do not match",
			"ada bo"},
		{"a short one", add, []step{{password, "short\r"}}, 1, "porchlight: Use at least 15 characters. This password has 5.", "ada bo"},
		{"a long one", passwd, []step{{password, strings.Repeat("long", 65) + "\r"}}, 1,
			"porchlight: Use at most 256 characters. This password has 260.", "ada bo"},
		{"Ctrl-C", add, []step{{password, ctrlC}}, 130, interrupted, "ada bo"},
		{"Ctrl-C in the middle", passwd, []step{{password, "lantern" + ctrlC}}, 130, interrupted, "ada bo"},
		{"Ctrl-C at the second", add, []step{{password, boPassword + "\r"}, {again, ctrlC}}, 130, interrupted, "ada bo"},
		{"Ctrl-C after bytes of another encoding", add, []step{{password, "gr\xfcn" + ctrlC}}, 130, interrupted, "ada bo"},
		{"an endless escape sequence", add, []step{{password, "\x1b[" + strings.Repeat("0", 300)}}, 1, none, "ada bo"},
		{"Ctrl-D", add, []step{{password, ctrlD}}, 1, none, "ada bo"},
		{"Ctrl-D at the second", passwd, []step{{password, boPassword + "\r"}, {again, ctrlD}}, 1, none, "ada bo"},
		{"add a name that is taken", []string{"user", "add", "Bo"}, nil, 1, "porchlight: This username is taken.", "ada bo"},
		{"passwd of an unknown user", []string{"user", "passwd", "cy"}, nil, 1, "porchlight: there is no user cy", "ada bo"},
		{"delete an unknown user", []string{"user", "delete", "cy"}, nil, 1, "porchlight: there is no user cy", "ada bo"},
		{"delete", remove, []step{{name, "bo\r"}}, 0, "Deleted bo, with its sessions and its activity.", "ada"},
		{"delete, with another name typed", remove, []step{{name, "ada\r"}}, 1, kept + ": the name does not match", "ada bo"},
		{"delete, Ctrl-C", remove, []step{{name, "b" + ctrlC}}, 130, interrupted, "ada bo"},
		{"delete, Ctrl-D", remove, []step{{name, ctrlD}}, 1, kept, "ada bo"},
	} {
		t.Run(test.what, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, nil)
			p := startOnTerminal(t, append([]string{binary(t)}, f.with(test.args...)...)...)
			for _, step := range test.steps {
				p.answers(step.question, step.keys)
			}
			p.wantEnd(test.code, test.says)
			if strings.Contains(p.shown(), "lantern") || strings.Contains(p.shown(), "gravel") {
				t.Errorf("a password is on the screen: %q", p.shown())
			}
			if strings.Contains(test.what, "a short") && strings.Contains(p.shown(), again) {
				t.Errorf("a short password was asked for again: %q", p.shown())
			}
			got := dbtest.Rows(t, f.path(), `SELECT username FROM users ORDER BY username`)
			if !slices.Equal(got, strings.Fields(test.users)) {
				t.Errorf("the users are %q, want %s", got, test.users)
			}
		})
	}
}

// A signal ends a prompt, like Ctrl-C.
func TestSignalDuringAPrompt(t *testing.T) {
	t.Parallel()
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		f := newFixture(t, nil)
		p := startOnTerminal(t, append([]string{binary(t)}, f.with("user", "passwd", "bo")...)...)
		p.answers("Password: ", "")
		p.command.Process.Signal(signal)
		p.wantEnd(130, "porchlight: interrupted; nothing was changed")
	}
}

// A signal also ends a command that reads a password from standard input.
func TestSignalDuringAPasswordOnStandardInput(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	stdin, typed := io.Pipe()
	defer typed.Close()
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, f.with("user", "passwd", "bo"), stdin, io.Discard) }()
	if _, err := typed.Write([]byte("lantern")); err != nil { // returns once it was read
		t.Fatal(err)
	}
	cancel()
	select {
	case err := <-ended:
		wantError(t, err, 130, "interrupted")
	case <-time.After(patience):
		t.Fatal("the command is still waiting")
	}
}
