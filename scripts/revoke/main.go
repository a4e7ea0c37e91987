// Revoke measures how long it takes to revoke a session through the API: while the server is idle, under 600 connections that try wrong
// passwords, and while it sweeps 500,000 expired sessions. It prints the medians and their ratios to the idle one.
//
//	go run ./scripts/revoke
package main

import (
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

	"porchlight/scripts/internal/server"
)

const (
	samples   = 60                     // revocations per measurement
	pause     = 100 * time.Millisecond // between two revocations
	expired   = 500_000                // sessions
	attackers = 600                    // connections
	warmUp    = 3 * time.Second
)

// setup is a data folder, and the program that serves it.
type setup struct {
	program, data string
	*server.Server
	client    *http.Client
	caller    string // the token of the session that revokes
	unrevoked []server.Session
}

func main() {
	program := flag.String("program", "", "path of the program (default: build it from the current folder)")
	target := flag.String("flood", "", "try passwords on this server; the script starts itself with this flag")
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
	s := &setup{data: filepath.Join(folder, "data"), client: &http.Client{Timeout: 10 * time.Second}}
	if s.program, err = server.Build(program, folder); err != nil {
		return err
	}
	all, err := server.SignIn(s.data, 3*samples+1, "ada")
	if err != nil {
		return err
	}
	s.caller, s.unrevoked = all[0][0].Token, all[0][1:]
	idle, err := s.measure("1h", false)
	if err != nil {
		return err
	}
	report("idle", idle, idle)
	flooded, err := s.measure("1h", true)
	if err != nil {
		return err
	}
	report(fmt.Sprintf("%d connections with wrong passwords", attackers), flooded, idle)
	if err := s.expire(); err != nil {
		return err
	}
	swept, err := s.measure("1s", false)
	if err != nil {
		return err
	}
	report(fmt.Sprintf("sweep of %d expired sessions", expired), swept, idle)
	return nil
}

// times contains the sorted durations of the revocations, and how many were refused.
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

// expire adds expired sessions, as if the server had been down for a while.
func (s *setup) expire() error {
	pool, err := sql.Open("sqlite3", "file:"+server.Database(s.data)+"?_busy_timeout=5000")
	if err != nil {
		return err
	}
	defer pool.Close()
	_, err = pool.Exec(`
		WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1)
		INSERT INTO sessions (id, token_hash, user_id, detected_name, device_kind, user_agent, ip,
		                      shared, created_at, last_active_at, expires_at)
		SELECT hex(randomblob(13)), randomblob(32), (SELECT id FROM users), 'Firefox on Linux', 'desktop', 'Mozilla/5.0', '192.0.2.10',
		       0, i, i, i
		FROM n`, expired)
	return err
}

// measure starts the server, floods it with wrong passwords if asked to, and revokes sessions one after the other.
func (s *setup) measure(sweepInterval string, flooded bool) (t times, err error) {
	s.Server, err = server.Start(s.program, s.data, "--max-sessions", fmt.Sprint(6*samples), "--trusted-proxies", "127.0.0.1",
		"--sweep-interval", sweepInterval)
	if err != nil {
		return t, err
	}
	defer func() {
		err = errors.Join(err, s.Stop(syscall.SIGTERM))
		s.client.CloseIdleConnections()
	}()
	if flooded {
		self, err := os.Executable()
		if err != nil {
			return t, err
		}
		attack := exec.Command(self, "-flood", s.URL()) // a separate process, so that it does not share the scheduler of this one
		if err := attack.Start(); err != nil {
			return t, err
		}
		defer attack.Wait()
		defer attack.Process.Kill()
	}
	time.Sleep(warmUp)
	for range samples {
		began := time.Now()
		status, err := s.Do(s.client, http.MethodDelete, "/me/sessions/"+s.unrevoked[0].ID, s.caller)
		if err != nil {
			return t, err
		}
		t.sorted = append(t.sorted, time.Since(began))
		if status != http.StatusOK {
			t.refused++
		}
		s.unrevoked = s.unrevoked[1:]
		time.Sleep(pause)
	}
	slices.Sort(t.sorted)
	return t, nil
}

// flood tries wrong passwords on many connections until it is killed or a minute has passed. Each attempt is for another account and
// from another address, so that none of them is throttled.
func flood(target string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var all sync.WaitGroup
	for i := range attackers {
		all.Go(func() {
			client := &http.Client{Transport: &http.Transport{}}
			for n := 0; ctx.Err() == nil; n++ {
				form := url.Values{"username": {fmt.Sprintf("nobody%d-%d", i, n)}, "password": {"wrong"}}
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
