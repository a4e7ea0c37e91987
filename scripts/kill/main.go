// Kill shows that a revocation holds once it was acknowledged: it ends sessions over the API, kills the server in the
// midst (SIGKILL, as the kernel does when memory runs out), starts it again and looks, a hundred times.
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
	atOnce      = 10 // revocations under way when the server is killed
	restartWait = 2 * time.Second
)

// browser is a session and the token that its browser holds.
type browser struct{ id, token string }

// house is a data folder, and the program that serves it.
type house struct {
	program, folder string
	server          *exec.Cmd
	url             string
	client          *http.Client
	caller          browser // who revokes
	slowest         time.Duration
}

func main() {
	program := flag.String("program", "", "the built program; without it, it is built from the folder in which this runs")
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
	h := &house{program: program, folder: filepath.Join(folder, "data"), client: &http.Client{Timeout: 10 * time.Second}}
	alive, err := h.fill(kills * atOnce)
	if err != nil {
		return err
	}
	defer func() {
		if h.server != nil {
			h.server.Process.Kill()
			h.server.Wait()
		}
	}()
	var dead []browser
	for i := range kills {
		if err := h.start(); err != nil {
			return fmt.Errorf("start %d: %w", i+1, err)
		}
		asked := alive[:atOnce]
		acknowledged, left := h.revokeAndKill(asked, i%atOnce)
		dead = append(dead, acknowledged...)
		if err := h.start(); err != nil {
			return fmt.Errorf("start after kill %d: %w", i+1, err)
		}
		if err := h.check(dead, acknowledged); err != nil {
			return fmt.Errorf("after kill %d: %w", i+1, err)
		}
		// What was not acknowledged may have happened or not: what is left of it is asked for again, last.
		alive = alive[atOnce:]
		for _, b := range left {
			status, err := h.ask(http.MethodGet, "/me/sessions/current", b.token)
			if err != nil {
				return err
			}
			if status == http.StatusOK {
				alive = append(alive, b)
			}
		}
		h.stop(syscall.SIGKILL)
	}
	return h.finish(alive, dead)
}

// fill makes an account, its sessions and the one more that revokes them.
func (h *house) fill(sessions int) (alive []browser, err error) {
	ctx := context.Background()
	store, err := db.Open(ctx, db.Options{Path: h.database(), Create: true, MaxSessions: 2 * sessions})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	user, err := store.CreateUser(ctx, db.NewUser{Username: "ada", Password: "lantern velvet orbit marmalade"})
	if err != nil {
		return nil, err
	}
	for range sessions + 1 {
		token, session, err := store.SignIn(ctx, user, db.NewSession{Client: db.Client{DeviceName: "Firefox on Linux", DeviceKind: "desktop", IP: "192.0.2.7"}})
		if err != nil {
			return nil, err
		}
		alive = append(alive, browser{session.ID, token})
	}
	h.caller = alive[0]
	return alive[1:], nil
}

func (h *house) database() string { return filepath.Join(h.folder, "porchlight.db") }

// start starts the server; it must answer within restartWait.
func (h *house) start() error {
	began := time.Now()
	h.server = exec.Command(h.program, "--data", h.folder, "--listen", "127.0.0.1:0", "--max-sessions", "100000")
	var log strings.Builder
	h.server.Stderr = &log
	out, err := h.server.StdoutPipe()
	if err != nil {
		return err
	}
	if err := h.server.Start(); err != nil {
		return err
	}
	late := time.AfterFunc(restartWait, func() { h.server.Process.Kill() })
	defer late.Stop()
	line, _ := bufio.NewReader(out).ReadString('\n')
	address, ok := strings.CutPrefix(strings.TrimSpace(line), "Listening on ")
	if !ok {
		h.server.Wait()
		return fmt.Errorf("it does not listen within %s: %q %s", restartWait, line, log.String())
	}
	h.url = "http://" + address
	status, err := h.ask(http.MethodGet, "/healthz", "")
	if err != nil || status != http.StatusOK {
		return fmt.Errorf("its health is %d (%v)", status, err)
	}
	took := time.Since(began)
	h.slowest = max(h.slowest, took)
	if took > restartWait {
		return fmt.Errorf("it took %s", took)
	}
	return nil
}

func (h *house) stop(signal os.Signal) error {
	h.server.Process.Signal(signal)
	err := h.server.Wait()
	h.client.CloseIdleConnections()
	return err
}

func (h *house) ask(method, path, token string) (status int, err error) {
	request, err := http.NewRequest(method, h.url+path, nil)
	if err != nil {
		return 0, err
	}
	if token != "" {
		request.AddCookie(&http.Cookie{Name: "porchlight", Value: token})
	}
	response, err := h.client.Do(request)
	if err != nil {
		return 0, err
	}
	return response.StatusCode, response.Body.Close()
}

// revokeAndKill asks for the end of all these sessions at once, and kills the server when so many answers have come.
func (h *house) revokeAndKill(asked []browser, after int) (acknowledged, left []browser) {
	var mu sync.Mutex
	var all sync.WaitGroup
	var answers atomic.Int32
	enough := make(chan struct{})
	if after == 0 {
		close(enough)
	}
	for _, b := range asked {
		all.Go(func() {
			status, err := h.ask(http.MethodDelete, "/me/sessions/"+b.id, h.caller.token)
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
	h.stop(syscall.SIGKILL)
	all.Wait()
	return acknowledged, left
}

// check looks for what must not be: a session that is back, a revocation without its record, a caller who was thrown
// out, a database that is broken.
func (h *house) check(dead, fresh []browser) error {
	for _, b := range fresh {
		status, err := h.ask(http.MethodGet, "/me/sessions/current", b.token)
		if err != nil {
			return err
		}
		if status != http.StatusUnauthorized {
			return fmt.Errorf("session %s was acknowledged as revoked and answers %d", b.id, status)
		}
	}
	if status, err := h.ask(http.MethodGet, "/me/sessions/current", h.caller.token); err != nil || status != http.StatusOK {
		return fmt.Errorf("the session that revokes answers %d (%v)", status, err)
	}
	return h.checkRows(dead)
}

func (h *house) checkRows(dead []browser) error {
	pool, err := sql.Open("sqlite3", "file:"+h.database()+"?_busy_timeout=5000")
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
			return fmt.Errorf("session %s was acknowledged as revoked, and has %d rows and %d records of it", b.id, rows, records)
		}
	}
	return nil
}

// finish looks once more at every session, the ones that nobody ended too, and lets the server end in peace.
func (h *house) finish(alive, dead []browser) error {
	if err := h.start(); err != nil {
		return err
	}
	if err := h.check(dead, dead); err != nil {
		return err
	}
	for _, b := range alive {
		if status, err := h.ask(http.MethodGet, "/me/sessions/current", b.token); err != nil || status != http.StatusOK {
			return fmt.Errorf("session %s, which nobody ended, answers %d (%v)", b.id, status, err)
		}
	}
	if err := h.stop(syscall.SIGTERM); err != nil {
		return fmt.Errorf("SIGTERM: %w", err)
	}
	if err := h.checkRows(dead); err != nil {
		return err
	}
	fmt.Printf("%d kills in the midst of %d revocations: %d were acknowledged, 0 came back; integrity_check ok each time; the slowest of %d starts took %d ms.\n",
		kills, kills*atOnce, len(dead), 2*kills+1, h.slowest.Milliseconds())
	return nil
}
