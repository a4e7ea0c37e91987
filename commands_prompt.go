package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"porchlight/db"
)

// This file asks questions on the terminal.

// errInterrupted means that Ctrl-C or a signal interrupted the command. The exit status is 130.
var errInterrupted = errors.New("interrupted; nothing was changed")

// askPassword asks for a password twice on a terminal. Without a terminal, it reads one line from standard input.
func (e *environment) askPassword() (string, error) {
	t, ok := e.terminal()
	if !ok {
		return e.readPassword()
	}
	password, err := t.ask("Password: ", t.ReadPassword)
	if err != nil {
		return "", noAnswer(err, "no password was entered")
	}
	if err := db.CheckPasswordLength(password); err != nil {
		return "", err
	}
	again, err := t.ask("Again: ", t.ReadPassword)
	if err != nil {
		return "", noAnswer(err, "no password was entered")
	}
	if again != password {
		return "", errors.New("the passwords do not match")
	}
	return password, nil
}

func (e *environment) readPassword() (string, error) {
	line, err := await(e.ctx, func() (string, error) { return bufio.NewReader(io.LimitReader(e.stdin, 4096)).ReadString('\n') })
	if err != nil && (!errors.Is(err, io.EOF) || line == "") {
		return "", noAnswer(err, "there is no password on standard input; give it as one line")
	}
	return strings.TrimRight(line, "\r\n"), nil
}

// confirmDelete asks for the name to be typed again.
func (t *terminal) confirmDelete(name string) error {
	fmt.Fprintf(os.Stderr, "This deletes %s, with its sessions and its activity, for good.\n", printable(name))
	line, err := t.ask("Type the name to confirm: ", func(question string) (string, error) {
		t.SetPrompt(question)
		return t.ReadLine()
	})
	if err != nil {
		return noAnswer(err, "nothing was deleted")
	}
	if strings.TrimSpace(line) != strings.TrimSpace(name) {
		return errors.New("nothing was deleted: the name does not match")
	}
	return nil
}

// noAnswer returns the error for an unanswered question: err if it is errInterrupted, or else an error with the message. A closed terminal
// returns io.EOF, as Ctrl-D does, or an error of its own.
func noAnswer(err error, message string) error {
	if errors.Is(err, errInterrupted) {
		return err
	}
	return errors.New(message)
}

// terminal reads keys in raw mode. With term.ReadPassword, which only turns off echo, Ctrl-C would be a signal that does not interrupt
// the read, and Ctrl-D would do nothing.
type terminal struct {
	*term.Terminal
	ctx context.Context
	fd  int
}

// terminal returns the terminal on standard input, if there is one.
func (e *environment) terminal() (t *terminal, ok bool) {
	file, isFile := e.stdin.(*os.File)
	if !isFile || !term.IsTerminal(int(file.Fd())) {
		return nil, false
	}
	return &terminal{term.NewTerminal(keyboard{file}, ""), e.ctx, int(file.Fd())}, true
}

// ask prints the question and reads the answer.
func (t *terminal) ask(question string, read func(question string) (string, error)) (string, error) {
	before, err := term.MakeRaw(t.fd)
	if err != nil {
		return "", err
	}
	line, err := await(t.ctx, func() (string, error) { return read(question) })
	term.Restore(t.fd, before)
	if errors.Is(err, term.ErrPasteIndicator) { // the line was pasted, which is allowed
		err = nil
	}
	if err != nil {
		fmt.Fprintln(os.Stderr) // the cursor is still on the line of the question
	}
	return line, err
}

// await returns what read returns, or errInterrupted when a signal comes first.
func await(ctx context.Context, read func() (string, error)) (string, error) {
	type answer struct {
		line string
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		line, err := read()
		answers <- answer{line, err}
	}()
	select {
	case a := <-answers:
		return a.line, a.err
	case <-ctx.Done():
		return "", errInterrupted
	}
}

// keyboard returns errInterrupted for Ctrl-C, which term.Terminal would take for the end of input. Questions go to standard error.
type keyboard struct{ *os.File }

func (k keyboard) Read(keys []byte) (int, error) {
	if len(keys) == 0 { // one incomplete key fills the buffer of term.Terminal, which would read forever
		return 0, errors.New("unreadable input")
	}
	const ctrlC = 3
	n, err := k.File.Read(keys)
	if bytes.IndexByte(keys[:n], ctrlC) >= 0 {
		return 0, errInterrupted
	}
	return n, err
}

func (k keyboard) Write(text []byte) (int, error) { return os.Stderr.Write(text) }
