// Bench loads the real binary and a bare Fiber handler in turn with wrk, on this machine, and prints the ratios of their rates. Run it
// from the top of the repository:
//
//	go run ./scripts/bench
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"porchlight/db"
)

var (
	bare     = flag.Bool("bare", false, "serve the bare handler; the benchmark starts itself with this flag")
	sizes    = flag.String("sessions", "1000,1000000", "numbers of sessions in the databases, separated by commas")
	rounds   = flag.Int("rounds", 5, "how many times each is loaded, in turn; the median is printed")
	duration = flag.String("duration", "3s", "how long each load lasts")
)

func main() {
	log.SetFlags(0)
	flag.Parse()
	if *bare {
		log.Fatal(serveBare())
	}
	if err := bench(); err != nil {
		log.Fatal("bench: ", err)
	}
}

// serveBare serves the handler that Porchlight is compared with: the same server and router, and nothing behind them.
func serveBare() error {
	app := fiber.New(fiber.Config{DisableStartupMessage: true})
	app.Get("/", func(c *fiber.Ctx) error { return c.Redirect("/sessions", fiber.StatusSeeOther) })
	app.Hooks().OnListen(func(data fiber.ListenData) error {
		fmt.Println("Listening on", data.Host+":"+data.Port)
		return nil
	})
	return app.Listen("127.0.0.1:3999")
}

func bench() error {
	folder, err := os.MkdirTemp("", "porchlight-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	binary := filepath.Join(folder, "porchlight")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		return fmt.Errorf("build: %w\n%s", err, out)
	}
	info, err := os.Stat(binary)
	if err != nil {
		return err
	}
	fmt.Printf("%s, %d processors, %s/%s; the load runs on the same ones\n", processor(), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH)
	fmt.Printf("binary %.1f MB\n", float64(info.Size())/1e6)
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for _, text := range strings.Split(*sizes, ",") {
		count, err := strconv.Atoi(text)
		if err != nil {
			return err
		}
		if err := benchSize(filepath.Join(folder, text), binary, self, count); err != nil {
			return err
		}
	}
	return nil
}

func benchSize(data, binary, self string, count int) error {
	tokens, err := seed(data, count)
	if err != nil {
		return fmt.Errorf("seed: %w", err)
	}
	stopBare, _, err := start(self, "-bare")
	if err != nil {
		return err
	}
	defer stopBare()
	begun := time.Now()
	stop, process, err := start(binary, "--data", data, "--listen", "127.0.0.1:3998", "--max-sessions", "1000",
		"--url", "http://auth.example.com", "--cookie-domain", "example.com", "--trusted-proxies", "127.0.0.1")
	if err != nil {
		return err
	}
	defer stop()
	if err := getHealth(); err != nil {
		return err
	}
	fmt.Printf("\n%d sessions: start to first answer %d ms, at rest %.0f MB\n", count, time.Since(begun).Milliseconds(), memory(process))

	scripts := map[string]string{"page": pageScript(tokens), "forward": forwardScript(tokens), "signed-out": signedOutScript}
	for name, text := range scripts {
		scripts[name] = filepath.Join(data, name+".lua")
		if err := os.WriteFile(scripts[name], []byte(text), 0o600); err != nil {
			return err
		}
	}
	loads := []struct {
		what, path, script string
		commits            bool // another process commits every 10 ms
	}{
		{"a signed-in request that renders nothing", "/", "page", false},
		{"/me/sessions/current", "/me/sessions/current", "page", false},
		{fmt.Sprintf("the page with 10 devices, of %d users in turn", min(count/10, len(tokens))), "/sessions", "page", false},
		{"/auth/forward, signed in", "/auth/forward", "forward", false},
		{"/auth/forward, signed in, with a commit every 10 ms", "/auth/forward", "forward", true},
		{"/auth/forward, signed out", "/auth/forward", "signed-out", false},
	}
	rates, ratios := make([][]float64, len(loads)), make([][]float64, len(loads))
	for range *rounds {
		for i, l := range loads { // the bare handler gets the same requests right before
			bare, _, err := load("http://127.0.0.1:3999/", scripts[l.script])
			if err != nil {
				return err
			}
			stopCommits := func() error { return nil }
			if l.commits {
				stopCommits = commitEvery(10*time.Millisecond, filepath.Join(data, "porchlight.db"))
			}
			rate, _, err := load("http://127.0.0.1:3998"+l.path, scripts[l.script])
			if err := errors.Join(err, stopCommits()); err != nil {
				return err
			}
			rates[i], ratios[i] = append(rates[i], rate), append(ratios[i], rate/bare)
		}
	}
	for i, l := range loads {
		fmt.Printf("%s: %.0f a second, %.2f of the bare handler (%.2f to %.2f)\n", l.what,
			median(rates[i]), median(ratios[i]), slices.Min(ratios[i]), slices.Max(ratios[i]))
	}
	before := memory(process)
	for sent := 0; sent < 1_000_000; {
		_, count, err := load("http://127.0.0.1:3998/auth/forward", scripts["signed-out"])
		if err != nil {
			return err
		}
		sent += count
	}
	fmt.Printf("memory after these loads %.0f MB, after a million more auth checks, signed out, %.0f MB\n", before, memory(process))
	return nil
}

// commitEvery updates a row at an interval, as another program would, until stop is called.
func commitEvery(every time.Duration, path string) (stop func() error) {
	running, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- func() error {
			pool, err := sql.Open("sqlite3", "file:"+path+"?_busy_timeout=1000&_sync=FULL")
			if err != nil {
				return err
			}
			defer pool.Close()
			for ticker := time.NewTicker(every); ; {
				select {
				case <-running.Done():
					ticker.Stop()
					return nil
				case <-ticker.C:
				}
				if _, err := pool.Exec(`UPDATE limits SET id = id`); err != nil {
					return err
				}
			}
		}()
	}()
	return func() error { cancel(); return <-ended }
}

// seed creates a number of sessions, ten for each user, and returns the tokens of about a thousand of them.
func seed(data string, count int) (tokens []string, err error) {
	path := filepath.Join(data, "porchlight.db")
	store, err := db.Open(context.Background(), db.Options{Path: path, Create: true})
	if err != nil {
		return nil, err
	}
	if err := errors.Join(store.ApplyLimits(context.Background()), store.Close()); err != nil {
		return nil, err
	}
	pool, err := sql.Open("sqlite3", "file:"+path+"?_sync=OFF")
	if err != nil {
		return nil, err
	}
	defer pool.Close()
	tx, err := pool.Begin()
	if err != nil {
		return nil, err
	}
	defer tx.Rollback()
	user, err := tx.Prepare(`INSERT INTO users (id, username, password_hash, created_at) VALUES ($1, $2, '', $3)`)
	if err != nil {
		return nil, err
	}
	session, err := tx.Prepare(`
		INSERT INTO sessions (id, token_hash, user_id, detected_name, device_kind, user_agent, ip,
		                      shared, created_at, last_active_at, expires_at)
		VALUES ($1, $2, $3, 'Firefox on Linux', 'desktop', '` + userAgent + `', '192.0.2.7',
		        0, $4, $4, $5)`)
	if err != nil {
		return nil, err
	}
	now := time.Now().UnixMilli()
	for i := range count {
		if i%10 == 0 {
			if _, err := user.Exec(i/10+1, fmt.Sprintf("user%d", i/10+1), now); err != nil {
				return nil, err
			}
		}
		token := rand.Text()
		hash := sha256.Sum256([]byte(token))
		if _, err := session.Exec(rand.Text(), hash[:], i/10+1, now-int64(i%10)*1000, now+14*24*3600*1000); err != nil {
			return nil, err
		}
		if i%max(count/1000, 1) == 0 {
			tokens = append(tokens, token)
		}
	}
	return tokens, tx.Commit()
}

// userAgent and the address 192.0.2.7 are those of every session and every request, so that no session seems to be used elsewhere.
const userAgent = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"

// pageScript sends requests with each of the tokens in turn.
func pageScript(tokens []string) string {
	return luaTokens(tokens) + `
request = function()
  i = i % #tokens + 1
  return wrk.format("GET", nil, {["Cookie"] = "porchlight=" .. tokens[i], ["User-Agent"] = "` + userAgent + `",
    ["X-Forwarded-For"] = "192.0.2.7"})
end
`
}

// forwardScript sends auth checks with each of the tokens in turn, as a proxy would.
func forwardScript(tokens []string) string {
	return luaTokens(tokens) + `
request = function()
  i = i % #tokens + 1
  return wrk.format("GET", nil, {["Cookie"] = "theme=dark; porchlight=" .. tokens[i], ["User-Agent"] = "` + userAgent + `",
    ["Accept"] = "text/html",
    ["Sec-Fetch-Mode"] = "navigate", ["X-Forwarded-For"] = "192.0.2.7", ["X-Forwarded-Method"] = "GET",
    ["X-Forwarded-Proto"] = "http", ["X-Forwarded-Host"] = "notes.example.com", ["X-Forwarded-Uri"] = "/books/7?page=2"})
end
`
}

// signedOutScript sends auth checks without a session, each for another host. Every second one has an invalid cookie.
const signedOutScript = `
local i = 0
request = function()
  i = i + 1
  local headers = {["Accept"] = "text/html", ["Sec-Fetch-Mode"] = "navigate", ["X-Forwarded-For"] = "192.0.2.7",
    ["X-Forwarded-Method"] = "GET", ["X-Forwarded-Proto"] = "http", ["X-Forwarded-Host"] = "h" .. i .. ".example.com",
    ["X-Forwarded-Uri"] = "/books/7?page=" .. i}
  if i % 2 == 0 then headers["Cookie"] = string.format("porchlight=%026d", i) end
  return wrk.format("GET", nil, headers)
end
`

func luaTokens(tokens []string) string {
	return "local tokens = {\"" + strings.Join(tokens, "\",\"") + "\"}\nlocal i = 0"
}

// start runs a server and waits until it listens.
func start(name string, args ...string) (stop func(), process int, err error) {
	command := exec.Command(name, args...)
	stdout, err := command.StdoutPipe()
	if err != nil {
		return nil, 0, err
	}
	if err := command.Start(); err != nil {
		return nil, 0, err
	}
	stop = func() {
		command.Process.Signal(os.Interrupt)
		command.Wait()
	}
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || !strings.HasPrefix(line, "Listening on") {
		stop()
		return nil, 0, fmt.Errorf("%s did not start: %q", name, line)
	}
	return stop, command.Process.Pid, nil
}

func getHealth() error {
	response, err := http.Get("http://127.0.0.1:3998/healthz")
	if err != nil {
		return err
	}
	return response.Body.Close()
}

var (
	requestsPerSecond = regexp.MustCompile(`Requests/sec:\s+([0-9.]+)`)
	requestsInTotal   = regexp.MustCompile(`([0-9]+) requests in`)
	failed            = regexp.MustCompile(`(?m)^\s*(Non-2xx or 3xx responses|Socket errors).*$`)
)

// load runs wrk. It returns how many requests were answered per second and in total.
func load(url, script string) (rate float64, count int, err error) {
	out, err := exec.Command("wrk", "-t", "2", "-c", "32", "-d", *duration, "-s", script, url).CombinedOutput()
	if err != nil {
		return 0, 0, fmt.Errorf("wrk: %w: %s", err, out)
	}
	if failed := failed.Find(out); failed != nil {
		return 0, 0, fmt.Errorf("%s: %s", url, bytes.TrimSpace(failed))
	}
	perSecond, inTotal := requestsPerSecond.FindSubmatch(out), requestsInTotal.FindSubmatch(out)
	if perSecond == nil || inTotal == nil {
		return 0, 0, fmt.Errorf("wrk printed no rate: %s", out)
	}
	rate, err = strconv.ParseFloat(string(perSecond[1]), 64)
	if err == nil {
		count, err = strconv.Atoi(string(inTotal[1]))
	}
	return rate, count, err
}

// memory returns the resident memory of a process in MB. It needs Linux; elsewhere it returns 0.
func memory(process int) float64 {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", process))
	for _, line := range strings.Split(string(text), "\n") {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "VmRSS:" {
			kb, _ := strconv.ParseFloat(fields[1], 64)
			return kb / 1000
		}
	}
	return 0
}

func processor() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	if found := regexp.MustCompile(`model name\s*:\s*(.+)`).FindSubmatch(text); found != nil {
		return string(found[1])
	}
	return "unknown processor"
}

func median(values []float64) float64 {
	values = slices.Sorted(slices.Values(values))
	return values[len(values)/2]
}
