// Kill checks that no acknowledged revocation is lost. A hundred times, it revokes sessions through the API, kills the server in the
// middle (with SIGKILL, as the kernel does when memory runs out), starts it again, and checks the sessions.
//
//	go run ./scripts/kill
package main

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	_ "github.com/mattn/go-sqlite3"

	"porchlight/db"
)

const (
	kills       = 100
	atOnce      = 10 // concurrent revocations
	restartWait = 2 * time.Second
)

// browser is a session with the token that its browser has.
type browser struct{ id, token string }

// setup is a data folder, and the program that serves it.
type setup struct {
	program, folder string
	server          *exec.Cmd
	url             string
	client          *http.Client
	caller          browser       // the session that revokes
	slowest         time.Duration // of all starts
}

func main() {
	program := flag.String("program", "", "path of the program (default: build it from the current folder)")
	flag.Parse()
	if err := run(*program); err != nil {
		fmt.Fprintln(os.Stderr, "FAILED:", err)
		os.Exit(1)
	}
}

func run(program string) (err error) {
	folder, err := os.MkdirTemp("", "porchlight-kill-")
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
	s := &setup{program: program, folder: filepath.Join(folder, "data"), client: &http.Client{Timeout: 10 * time.Second}}
	alive, err := s.fill(kills * atOnce)
	if err != nil {
		return err
	}
	defer func() {
		if s.server != nil {
			s.server.Process.Kill()
			s.server.Wait()
		}
	}()
	var dead []browser
	for i := range kills {
		if err := s.start(); err != nil {
			return fmt.Errorf("start %d: %w", i+1, err)
		}
		asked := alive[:atOnce]
		acknowledged, left := s.revokeAndKill(asked, i%atOnce)
		dead = append(dead, acknowledged...)
		if err := s.start(); err != nil {
			return fmt.Errorf("start after kill %d: %w", i+1, err)
		}
		if err := s.check(dead, acknowledged); err != nil {
			return fmt.Errorf("after kill %d: %w", i+1, err)
		}
		// A revocation that was not acknowledged may still have happened. If not, the session is revoked later.
		alive = alive[atOnce:]
		for _, b := range left {
			status, err := s.ask(http.MethodGet, "/me/sessions/current", b.token)
			if err != nil {
				return err
			}
			if status == http.StatusOK {
				alive = append(alive, b)
			}
		}
		s.stop(syscall.SIGKILL)
	}
	return s.finish(alive, dead)
}

// fill creates an account, the session that revokes, and the sessions to revoke.
func (s *setup) fill(sessions int) (alive []browser, err error) {
	ctx := context.Background()
	store, err := db.Open(ctx, db.Options{Path: s.database(), Create: true, MaxSessions: 2 * sessions})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	user, err := store.CreateUser(ctx, db.NewUser{Username: "ada", Password: "lantern velvet orbit marmalade"})
	if err != nil {
		return nil, err
	}
	for range sessions + 1 {
		token, session, err := store.SignIn(ctx, user, db.NewSession{
			Client: db.Client{DeviceName: "Firefox on Linux", DeviceKind: "desktop", IP: "192.0.2.7"},
		})
		if err != nil {
			return nil, err
		}
		alive = append(alive, browser{session.ID, token})
	}
	s.caller = alive[0]
	return alive[1:], nil
}

func (s *setup) database() string { return filepath.Join(s.folder, "porchlight.db") }

// start starts the server, which must answer within restartWait.
func (s *setup) start() error {
	began := time.Now()
	s.server = exec.Command(s.program, "--data", s.folder, "--listen", "127.0.0.1:0", "--max-sessions", "100000")
	var log strings.Builder
	s.server.Stderr = &log
	out, err := s.server.StdoutPipe()
	if err != nil {
		return err
	}
	if err := s.server.Start(); err != nil {
		return err
	}
	late := time.AfterFunc(restartWait, func() { s.server.Process.Kill() })
	defer late.Stop()
	line, _ := bufio.NewReader(out).ReadString('\n')
	address, ok := strings.CutPrefix(strings.TrimSpace(line), "Listening on ")
	if !ok {
		s.server.Wait()
		return fmt.Errorf("the server does not listen within %s: %q %s", restartWait, line, log.String())
	}
	s.url = "http://" + address
	status, err := s.ask(http.MethodGet, "/healthz", "")
	if err != nil || status != http.StatusOK {
		return fmt.Errorf("the server is not healthy: %d (%v)", status, err)
	}
	took := time.Since(began)
	s.slowest = max(s.slowest, took)
	if took > restartWait {
		return fmt.Errorf("the start took %s", took)
	}
	return nil
}

func (s *setup) stop(signal os.Signal) error {
	s.server.Process.Signal(signal)
	err := s.server.Wait()
	s.client.CloseIdleConnections()
	return err
}

func (s *setup) ask(method, path, token string) (status int, err error) {
	request, err := http.NewRequest(method, s.url+path, nil)
	if err != nil {
		return 0, err
	}
	if token != "" {
		request.AddCookie(&http.Cookie{Name: "porchlight", Value: token})
	}
	response, err := s.client.Do(request)
	if err != nil {
		return 0, err
	}
	return response.StatusCode, response.Body.Close()
}

// revokeAndKill revokes these sessions concurrently, and kills the server after so many responses.
func (s *setup) revokeAndKill(asked []browser, after int) (acknowledged, left []browser) {
	var mu sync.Mutex
	var all sync.WaitGroup
	var answers atomic.Int32
	enough := make(chan struct{})
	if after == 0 {
		close(enough)
	}
	for _, b := range asked {
		all.Go(func() {
			status, err := s.ask(http.MethodDelete, "/me/sessions/"+b.id, s.caller.token)
			mu.Lock()
			if err == nil && status == http.StatusOK {
				acknowledged = append(acknowledged, b)
			} else {
				left = append(left, b)
			}
			mu.Unlock()
			if answers.Add(1) == int32(after) {
				close(enough)
			}
		})
	}
	<-enough
	s.stop(syscall.SIGKILL)
	all.Wait()
	return acknowledged, left
}

// check fails if a revoked session works again, a revocation is not recorded, the caller's session has ended, or the database is
// damaged.
func (s *setup) check(dead, fresh []browser) error {
	for _, b := range fresh {
		status, err := s.ask(http.MethodGet, "/me/sessions/current", b.token)
		if err != nil {
			return err
		}
		if status != http.StatusUnauthorized {
			return fmt.Errorf("session %s was acknowledged as revoked, but still gets %d", b.id, status)
		}
	}
	if status, err := s.ask(http.MethodGet, "/me/sessions/current", s.caller.token); err != nil || status != http.StatusOK {
		return fmt.Errorf("the session that revokes gets %d (%v)", status, err)
	}
	return s.checkRows(dead)
}

func (s *setup) checkRows(dead []browser) error {
	pool, err := sql.Open("sqlite3", "file:"+s.database()+"?_busy_timeout=5000")
	if err != nil {
		return err
	}
	defer pool.Close()
	var integrity string
	if err := pool.QueryRow(`PRAGMA integrity_check`).Scan(&integrity); err != nil || integrity != "ok" {
		return fmt.Errorf("integrity_check says %q (%v)", integrity, err)
	}
	look, err := pool.Prepare(`
		SELECT (SELECT COUNT(*) FROM sessions WHERE id = $1),
		       (SELECT COUNT(*) FROM activity WHERE session_id = $1 AND kind = 'revoked')`)
	if err != nil {
		return err
	}
	defer look.Close()
	for _, b := range dead {
		var rows, records int
		if err := look.QueryRow(b.id).Scan(&rows, &records); err != nil {
			return err
		}
		if rows != 0 || records != 1 {
			return fmt.Errorf("session %s was acknowledged as revoked, but has %d rows and %d revocations on record", b.id, rows, records)
		}
	}
	return nil
}

// finish checks every session once more, including those that were not revoked, and stops the server normally.
func (s *setup) finish(alive, dead []browser) error {
	if err := s.start(); err != nil {
		return err
	}
	if err := s.check(dead, dead); err != nil {
		return err
	}
	for _, b := range alive {
		if status, err := s.ask(http.MethodGet, "/me/sessions/current", b.token); err != nil || status != http.StatusOK {
			return fmt.Errorf("session %s was not revoked, but gets %d (%v)", b.id, status, err)
		}
	}
	if err := s.stop(syscall.SIGTERM); err != nil {
		return fmt.Errorf("SIGTERM: %w", err)
	}
	if err := s.checkRows(dead); err != nil {
		return err
	}
	fmt.Printf("%d kills during %d revocations: %d were acknowledged and 0 of these lost; integrity_check was ok each time; "+
		"the slowest of %d starts took %d ms.\n", kills, kills*atOnce, len(dead), 2*kills+1, s.slowest.Milliseconds())
	return nil
}
