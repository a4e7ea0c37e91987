// Revoke measures how long ending a session over the API takes: while the server is idle, while it sweeps 500,000 expired
// sessions, and under 600 connections that try wrong passwords. It prints the medians, and how they compare with the idle one.
//
//	go run ./scripts/revoke
package main

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	_ "github.com/mattn/go-sqlite3"

	"porchlight/db"
)

const (
	samples   = 60                     // revocations per measurement
	between   = 100 * time.Millisecond // the pause between two of them
	expired   = 500_000
	strangers = 600
	warmUp    = 3 * time.Second
)

// house is a data folder, and the program that serves it.
type house struct {
	program, folder string
	server          *exec.Cmd
	url             string
	client          *http.Client
	caller          string   // the token of the session that revokes
	ids             []string // of the sessions that are left to revoke
}

func main() {
	program := flag.String("program", "", "the built program; without it, it is built from the folder in which this runs")
	target := flag.String("flood", "", "the server on which to try passwords; the script starts itself so")
	flag.Parse()
	if *target != "" {
		flood(*target)
		return
	}
	if err := run(*program); err != nil {
		fmt.Fprintln(os.Stderr, "FAILED:", err)
		os.Exit(1)
	}
}

func run(program string) error {
	folder, err := os.MkdirTemp("", "porchlight-revoke-")
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
	if err := h.fill(3 * samples); err != nil {
		return err
	}
	idle, err := h.measure("1h", false)
	if err != nil {
		return err
	}
	report("idle", idle, idle)
	flooded, err := h.measure("1h", true)
	if err != nil {
		return err
	}
	report(fmt.Sprintf("%d connections with wrong passwords", strangers), flooded, idle)
	if err := h.expire(); err != nil {
		return err
	}
	swept, err := h.measure("1s", false)
	if err != nil {
		return err
	}
	report(fmt.Sprintf("%d expired sessions are swept", expired), swept, idle)
	return nil
}

// times are how long the revocations took, in order, and how many were refused.
type times struct {
	sorted  []time.Duration
	refused int
}

func (t times) median() time.Duration { return t.sorted[len(t.sorted)/2] }

func report(what string, t, idle times) {
	fmt.Printf("%-45s median %6.1f ms (%.1f times idle), slowest %6.1f ms, %d of %d refused\n", what,
		float64(t.median().Microseconds())/1000, float64(t.median())/float64(idle.median()),
		float64(t.sorted[len(t.sorted)-1].Microseconds())/1000, t.refused, samples)
}

func (h *house) database() string { return filepath.Join(h.folder, "porchlight.db") }

// fill creates an account, the session that revokes, and those that it will revoke.
func (h *house) fill(sessions int) (err error) {
	ctx := context.Background()
	store, err := db.Open(ctx, db.Options{Path: h.database(), Create: true, MaxSessions: 2 * sessions})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	user, err := store.CreateUser(ctx, db.NewUser{Username: "ada", Password: "lantern velvet orbit marmalade"})
	if err != nil {
		return err
	}
	for range sessions + 1 {
		token, session, err := store.SignIn(ctx, user, db.NewSession{Client: db.Client{DeviceName: "Firefox on Linux", DeviceKind: "desktop", IP: "192.0.2.7"}})
		if err != nil {
			return err
		}
		if h.caller == "" {
			h.caller = token
		} else {
			h.ids = append(h.ids, session.ID)
		}
	}
	return nil
}

// expire adds sessions of other users that have expired, as if the server had stood still for a while.
func (h *house) expire() error {
	pool, err := sql.Open("sqlite3", "file:"+h.database()+"?_busy_timeout=5000")
	if err != nil {
		return err
	}
	defer pool.Close()
	_, err = pool.Exec(`
		WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1)
		INSERT INTO sessions (id, token_hash, user_id, detected_name, device_kind, user_agent, ip, shared, created_at, last_active_at, expires_at)
		SELECT hex(randomblob(13)), randomblob(32), (SELECT id FROM users), 'Firefox on Linux', 'desktop', 'Mozilla/5.0', '192.0.2.10', 0, i, i, i FROM n`, expired)
	return err
}

// measure starts the server, lets strangers try passwords if asked to, and ends sessions one after the other.
func (h *house) measure(sweepInterval string, flooded bool) (t times, err error) {
	if err := h.start(sweepInterval); err != nil {
		return t, err
	}
	defer func() {
		h.server.Process.Signal(syscall.SIGTERM)
		err = errors.Join(err, h.server.Wait())
		h.client.CloseIdleConnections()
	}()
	if flooded {
		self, err := os.Executable()
		if err != nil {
			return t, err
		}
		strangers := exec.Command(self, "-flood", h.url) // a process of its own, so that it slows the measuring no more than any load
		if err := strangers.Start(); err != nil {
			return t, err
		}
		defer strangers.Wait()
		defer strangers.Process.Kill()
	}
	time.Sleep(warmUp)
	for range samples {
		began := time.Now()
		status, err := h.revoke(h.ids[0])
		if err != nil {
			return t, err
		}
		t.sorted = append(t.sorted, time.Since(began))
		if status != http.StatusOK {
			t.refused++
		}
		h.ids = h.ids[1:]
		time.Sleep(between)
	}
	slices.Sort(t.sorted)
	return t, nil
}

func (h *house) start(sweepInterval string) error {
	h.server = exec.Command(h.program, "--data", h.folder, "--listen", "127.0.0.1:0",
		"--trusted-proxies", "127.0.0.1", "--sweep-interval", sweepInterval)
	out, err := h.server.StdoutPipe()
	if err != nil {
		return err
	}
	if err := h.server.Start(); err != nil {
		return err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	address, ok := strings.CutPrefix(strings.TrimSpace(line), "Listening on ")
	if !ok {
		return fmt.Errorf("the server does not listen: %q, %w", line, err)
	}
	h.url = "http://" + address
	return nil
}

func (h *house) revoke(id string) (status int, err error) {
	request, err := http.NewRequest(http.MethodDelete, h.url+"/me/sessions/"+id, nil)
	if err != nil {
		return 0, err
	}
	request.AddCookie(&http.Cookie{Name: "porchlight", Value: h.caller})
	request.Header.Set("X-Forwarded-For", "192.0.2.7")
	response, err := h.client.Do(request)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, response.Body)
	return response.StatusCode, errors.Join(err, response.Body.Close())
}

// flood tries wrong passwords on many connections until it is killed or a minute has passed. Each try is for another account and
// from another address, so that every one of them is looked at.
func flood(target string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var all sync.WaitGroup
	for i := range strangers {
		all.Go(func() {
			client := &http.Client{Transport: &http.Transport{}}
			for n := 0; ctx.Err() == nil; n++ {
				form := url.Values{"username": {fmt.Sprintf("stranger%d-%d", i, n)}, "password": {"wrong"}}
				request, err := http.NewRequestWithContext(ctx, http.MethodPost, target+"/login", strings.NewReader(form.Encode()))
				if err != nil {
					return
				}
				request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				request.Header.Set("X-Forwarded-For", fmt.Sprintf("10.%d.%d.%d", i/256, i%256, n%256))
				if response, err := client.Do(request); err == nil {
					io.Copy(io.Discard, response.Body)
					response.Body.Close()
				}
			}
		})
	}
	all.Wait()
}
