// Kill checks that no acknowledged revocation is lost. A hundred times, it revokes sessions through the API, kills the server in the
// middle (with SIGKILL, as the kernel does when memory runs out), starts it again, and checks the sessions.
//
//	go run ./scripts/kill
package main

import (
	"database/sql"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	_ "github.com/mattn/go-sqlite3"

	"porchlight/scripts/internal/server"
)

const (
	kills       = 100
	concurrent  = 10 // revocations before each kill
	restartWait = 2 * time.Second
)

// setup is a data folder, and the program that serves it.
type setup struct {
	program, data string
	*server.Server
	client       *http.Client
	caller       server.Session // the session that revokes
	slowestStart time.Duration
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
	s := &setup{data: filepath.Join(folder, "data"), client: &http.Client{Timeout: 10 * time.Second}}
	if s.program, err = server.Build(program, folder); err != nil {
		return err
	}
	all, err := server.SignIn(s.data, kills*concurrent+1, "ada")
	if err != nil {
		return err
	}
	s.caller = all[0][0]
	alive := all[0][1:]
	defer func() {
		if s.Server != nil {
			s.Stop(syscall.SIGKILL)
		}
	}()
	var dead []server.Session
	for i := range kills {
		if err := s.start(); err != nil {
			return fmt.Errorf("start %d: %w", i+1, err)
		}
		acknowledged, uncertain := s.revokeAndKill(alive[:concurrent], i%concurrent)
		dead = append(dead, acknowledged...)
		if err := s.start(); err != nil {
			return fmt.Errorf("start after kill %d: %w", i+1, err)
		}
		if err := s.check(dead, acknowledged); err != nil {
			return fmt.Errorf("after kill %d: %w", i+1, err)
		}
		// A revocation that was not acknowledged may still have happened. If not, the session is revoked later.
		alive = alive[concurrent:]
		for _, b := range uncertain {
			status, err := s.Do(s.client, http.MethodGet, "/me/sessions/current", b.Token)
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

// start starts the server, which must answer within restartWait.
func (s *setup) start() (err error) {
	began := time.Now()
	if s.Server, err = server.Start(s.program, s.data, "--max-sessions", "100000"); err != nil {
		return err
	}
	status, err := s.Do(s.client, http.MethodGet, "/healthz", "")
	if err != nil || status != http.StatusOK {
		return fmt.Errorf("the server is not healthy: %d (%v)", status, err)
	}
	took := time.Since(began)
	s.slowestStart = max(s.slowestStart, took)
	if took > restartWait {
		return fmt.Errorf("the start took %s", took)
	}
	return nil
}

func (s *setup) stop(signal os.Signal) error {
	defer s.client.CloseIdleConnections()
	return s.Stop(signal)
}

// revokeAndKill revokes sessions concurrently, and kills the server once a number of responses have arrived. It returns the sessions
// whose revocation was acknowledged, and those that may or may not have been revoked.
func (s *setup) revokeAndKill(sessions []server.Session, responses int) (acknowledged, uncertain []server.Session) {
	var mu sync.Mutex
	var all sync.WaitGroup
	var received atomic.Int32
	enough := make(chan struct{})
	if responses == 0 {
		close(enough)
	}
	for _, b := range sessions {
		all.Go(func() {
			status, err := s.Do(s.client, http.MethodDelete, "/me/sessions/"+b.ID, s.caller.Token)
			mu.Lock()
			if err == nil && status == http.StatusOK {
				acknowledged = append(acknowledged, b)
			} else {
				uncertain = append(uncertain, b)
			}
			mu.Unlock()
			if received.Add(1) == int32(responses) {
				close(enough)
			}
		})
	}
	<-enough
	s.stop(syscall.SIGKILL)
	all.Wait()
	return acknowledged, uncertain
}

// check fails if a revoked session works again, a revocation is not recorded, the caller's session has ended, or the database is
// damaged.
func (s *setup) check(dead, fresh []server.Session) error {
	for _, b := range fresh {
		status, err := s.Do(s.client, http.MethodGet, "/me/sessions/current", b.Token)
		if err != nil {
			return err
		}
		if status != http.StatusUnauthorized {
			return fmt.Errorf("session %s was acknowledged as revoked, but still gets %d", b.ID, status)
		}
	}
	if status, err := s.Do(s.client, http.MethodGet, "/me/sessions/current", s.caller.Token); err != nil || status != http.StatusOK {
		return fmt.Errorf("the session that revokes gets %d (%v)", status, err)
	}
	return s.checkRows(dead)
}

func (s *setup) checkRows(dead []server.Session) error {
	pool, err := sql.Open("sqlite3", "file:"+server.Database(s.data)+"?_busy_timeout=5000")
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
		if err := look.QueryRow(b.ID).Scan(&rows, &records); err != nil {
			return err
		}
		if rows != 0 || records != 1 {
			return fmt.Errorf("session %s was acknowledged as revoked, but has %d rows and %d revocations on record", b.ID, rows, records)
		}
	}
	return nil
}

// finish checks every session once more, including those that were not revoked, and stops the server normally.
func (s *setup) finish(alive, dead []server.Session) error {
	if err := s.start(); err != nil {
		return err
	}
	if err := s.check(dead, dead); err != nil {
		return err
	}
	for _, b := range alive {
		if status, err := s.Do(s.client, http.MethodGet, "/me/sessions/current", b.Token); err != nil || status != http.StatusOK {
			return fmt.Errorf("session %s was not revoked, but gets %d (%v)", b.ID, status, err)
		}
	}
	if err := s.stop(syscall.SIGTERM); err != nil {
		return fmt.Errorf("SIGTERM: %w", err)
	}
	if err := s.checkRows(dead); err != nil {
		return err
	}
	fmt.Printf("%d kills during %d revocations: %d were acknowledged and 0 of these lost; integrity_check was ok each time; "+
		"the slowest of %d starts took %d ms.\n", kills, kills*concurrent, len(dead), 2*kills+1, s.slowestStart.Milliseconds())
	return nil
}
