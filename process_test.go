package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"porchlight/db/dbtest"
)

// process is the program serving in a separate process.
type process struct {
	server
	command *exec.Cmd
	errors  *bytes.Buffer // standard error; complete after terminate
}

// startProcess starts the program, on a free port unless args name another.
func startProcess(t testing.TB, args ...string) *process {
	t.Helper()
	return startCommand(t, exec.Command(binary(t), append([]string{"--listen", "127.0.0.1:0"}, args...)...))
}

// startCommand starts a command that runs the program. The test may have set its standard error to a pipe.
func startCommand(t testing.TB, command *exec.Cmd) *process {
	t.Helper()
	p := &process{command: command, errors: &bytes.Buffer{}}
	p.server = server{t: t, lines: make(chan string, 100)}
	if p.command.Stderr == nil {
		p.command.Stderr = p.errors
	}
	out, err := p.command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.terminate)
	go func() {
		defer close(p.lines)
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			p.lines <- scanner.Text()
		}
	}()
	var ok bool
	for line := range p.lines {
		if p.listen, ok = strings.CutPrefix(line, "Listening on "); ok {
			break
		}
	}
	if !ok {
		p.terminate()
		t.Fatalf("it does not listen: %s", p.errors)
	}
	p.url = "http://" + strings.Replace(p.listen, "[::]", "127.0.0.1", 1)
	return p
}

// terminate sends SIGTERM and waits until the process has ended.
func (p *process) terminate() {
	if p.command.ProcessState != nil {
		return
	}
	p.command.Process.Signal(syscall.SIGTERM)
	p.waitOrKill()
}

// waitOrKill waits until the process has ended, and kills it if that takes too long.
func (p *process) waitOrKill() {
	kill := time.AfterFunc(patience, func() { p.command.Process.Kill() })
	defer kill.Stop()
	if err := p.command.Wait(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		p.t.Error(err)
	}
}

// runProcess runs a command of the program with an empty standard input.
func runProcess(t testing.TB, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	command := exec.CommandContext(ctx, binary(t), args...)
	var out, errs bytes.Buffer
	command.Stdout, command.Stderr = &out, &errs
	if err := command.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), command.ProcessState.ExitCode()
}

// userScript uses the API with curl.
const userScript = `
set -eu
url=$1
cd "$2"

# ask WANTED-STATUS JAR METHOD PATH [BODY] prints the body of the response, or fails
ask() {
	wanted=$1 jar=$2 method=$3 path=$4
	shift 4
	status=$(curl -sS -o answer -w '%{http_code}' -X "$method" -b "$jar" -c "$jar" -A "${agent:-curl}" \
		${1:+-H 'Content-Type: application/json' -d "$1"} "$url$path")
	if [ "$status" != "$wanted" ]; then
		echo "$method $path of $jar: $status, not $wanted: $(cat answer)" >&2
		exit 1
	fi
	cat answer
}

# same WHAT GOT WANTED fails unless both are equal
same() {
	if [ "$2" != "$3" ]; then
		echo "$1: got '$2', not '$3'" >&2
		exit 1
	fi
}

sign_in() {
	same "sign in" "$(ask 200 "$1" POST /login '{"username":"ada","password":"lantern velvet orbit marmalade"}')" '{"username":"ada"}'
}

id() { sed 's/.*"id":"\([^"]*\)".*/\1/'; }
count() { grep -o '"id":' | wc -l | tr -d ' '; }

same "not signed in" "$(ask 401 nobody GET /me/sessions)" '{"error":"Not signed in."}'
same "a wrong password" "$(ask 401 nobody POST /login '{"username":"ada","password":"wrong"}')" \
	"{\"error\":\"That username or password isn't right.\"}"

agent='Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0' sign_in library
webkit='AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1'
agent="Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) $webkit" sign_in phone

same "two are listed" "$(ask 200 phone GET /me/sessions | count)" 2
ask 200 phone GET /me/sessions | grep -q '"deviceName":"Firefox on Linux"'
ask 200 phone GET /me/sessions | grep -q '"deviceName":"Safari on iPhone"'
ask 200 phone GET /me/sessions/current | grep -q '"isCurrent":true'
library=$(ask 200 library GET /me/sessions/current | id)
phone=$(ask 200 phone GET /me/sessions/current | id)

same "the current session" "$(ask 400 phone DELETE "/me/sessions/$phone")" '{"error":"Use POST /logout to end your current session."}'
same "unknown" "$(ask 404 phone DELETE /me/sessions/nothing)" '{"error":"Session not found"}'
same "revoke" "$(ask 200 phone DELETE "/me/sessions/$library")" '{"message":"Session revoked."}'
same "the revoked session" "$(ask 401 library GET /me/sessions)" '{"error":"Not signed in."}'
same "revoke again" "$(ask 404 phone DELETE "/me/sessions/$library")" '{"error":"Session not found"}'
same "one is listed" "$(ask 200 phone GET /me/sessions | count)" 1

sign_in tablet
sign_in laptop
same "three are listed" "$(ask 200 phone GET /me/sessions | count)" 3
same "revoke all others" "$(ask 200 phone POST /me/sessions/revoke-all)" '{"message":"All other sessions have been revoked.","revoked":2}'
ask 401 tablet GET /me/sessions >/dev/null
ask 401 laptop GET /me/sessions >/dev/null
same "one is left" "$(ask 200 phone GET /me/sessions | count)" 1

same "log out" "$(ask 200 phone POST /logout)" '{"message":"Logged out"}'
if grep -q porchlight phone; then
	echo "the cookie is still there: $(cat phone)" >&2
	exit 1
fi
same "log out again" "$(ask 200 phone POST /logout)" '{"message":"Logged out"}'
ask 401 phone GET /me/sessions >/dev/null
same "health" "$(ask 200 nobody GET /healthz)" '{"status":"ok"}'
echo done
`

func TestScriptWithCurl(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("curl is missing")
		}
		t.Skip("curl is missing: install it to run this test")
	}
	f := newFixture(t, nil)
	p := startProcess(t, "--data", f.data)
	script := exec.CommandContext(t.Context(), "sh", "-c", userScript, "sh", p.url, t.TempDir())
	out, err := script.CombinedOutput()
	if err != nil || string(out) != "done\n" {
		t.Fatalf("the script failed: %v: %s", err, out)
	}
	if got := f.sessions(); len(got) != 0 {
		t.Errorf("the sessions are %q", got)
	}
}

// Without the WAL index, a server and a command no longer see what the other writes. The server answers 503 before the command reports
// success, and what the command did still holds after a restart.
func TestTheWALIndexVanishes(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	p := startProcess(t, "--data", f.data)
	ada, bo := p.signIn("ada", adaPassword), p.signIn("bo", boPassword)
	id := dbtest.Rows(t, f.path(), `SELECT s.id FROM sessions s JOIN users u ON u.id = s.user_id WHERE u.username = 'ada'`)
	if err := os.Remove(f.path() + "-shm"); err != nil {
		t.Fatal(err)
	}
	for _, words := range [][]string{{"session", "revoke", id[0]}, {"user", "disable", "bo"}} {
		stdout, stderr, code := runProcess(t, f.with(words...)...)
		if code != 0 || stdout == "" || !strings.Contains(stderr, "restart") {
			t.Errorf("%q: exit status %d: %q %q", words, code, stdout, stderr)
		}
		ada.want(http.StatusServiceUnavailable, "/me/sessions")
		bo.want(http.StatusServiceUnavailable, "/me/sessions")
	}
	p.newClient().want(http.StatusServiceUnavailable, "/healthz")
	p.terminate()
	logged := strings.Count(p.errors.String(), "nothing is read or written until a restart")
	if code := p.command.ProcessState.ExitCode(); code != 0 || logged != 1 {
		t.Errorf("exit status %d: %s", code, p.errors)
	}

	again := startProcess(t, "--data", f.data)
	ada.url, bo.url = again.url, again.url
	ada.want(http.StatusUnauthorized, "/me/sessions")
	bo.want(http.StatusUnauthorized, "/me/sessions")
	if status, _ := again.newClient().form("/login", "username", "bo", "password", boPassword); status != http.StatusUnauthorized {
		t.Errorf("bo, who is disabled, signs in: %d", status)
	}
}

// Without the WAL, whatever the server acknowledges would be lost when its process ends.
func TestTheWALVanishes(t *testing.T) {
	t.Parallel()
	f := newFixture(t, map[string]int{"ada": 5})
	p := startProcess(t, "--data", f.data)
	ada := p.signIn("ada", adaPassword)
	if err := os.Remove(f.path() + "-wal"); err != nil {
		t.Fatal(err)
	}
	for _, id := range f.ids["ada"] {
		request, err := http.NewRequest(http.MethodDelete, p.url+"/me/sessions/"+id, nil)
		if err != nil {
			t.Fatal(err)
		}
		if status, body := ada.read(ada.http.Do(request)); status != http.StatusServiceUnavailable {
			t.Errorf("revoke: %d %s", status, body)
		}
	}
}

// A WAL that is truncated keeps its inode. Whatever the server writes to it would be lost in a crash.
func TestTheWALIsEmptied(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	p := startProcess(t, "--data", f.data)
	ada := p.signIn("ada", adaPassword)
	for range 10 { // now every reader has cached the pages
		ada.want(http.StatusOK, "/me/sessions/current")
	}
	if err := os.Truncate(f.path()+"-wal", 0); err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequest(http.MethodDelete, p.url+"/me/sessions/current", nil)
	if err != nil {
		t.Fatal(err)
	}
	if status, body := ada.read(ada.http.Do(request)); status != http.StatusServiceUnavailable {
		t.Errorf("sign out: %d %s", status, body)
	}
	ada.want(http.StatusServiceUnavailable, "/me/sessions")
}

// BenchmarkStart measures the time from the start of the process to its first response, with 10,000 sessions, and its memory: at that
// time, and at rest after somebody has signed in.
func BenchmarkStart(b *testing.B) {
	f := newFixture(b, map[string]int{"ada": 1})
	dbtest.Exec(b, f.path(), `
		INSERT INTO sessions
		WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9999)
		SELECT 'session' || i, randomblob(32), user_id, detected_name, '', device_kind, user_agent, ip, 0,
		       created_at - i, last_active_at - i, expires_at - i
		FROM sessions, n`)
	if got := len(f.sessions()); got != 10000 {
		b.Fatalf("%d sessions", got)
	}
	binary(b)
	var atFirst, atRest float64
	for b.Loop() {
		p := startProcess(b, "--data", f.data, "--max-sessions", "20000")
		c := p.newClient()
		c.want(http.StatusOK, "/healthz")
		b.StopTimer()
		atFirst = max(atFirst, resident(b, p.command.Process.Pid))
		p.signIn("ada", adaPassword).want(http.StatusOK, "/sessions")
		atRest = max(atRest, lowest(b, p.command.Process.Pid))
		c.http.CloseIdleConnections()
		p.terminate()
		b.StartTimer()
	}
	b.ReportMetric(atFirst, "MB-at-first")
	b.ReportMetric(atRest, "MB-at-rest")
}

// resident returns the process's resident memory in MB.
func resident(b *testing.B, pid int) float64 {
	b.Helper()
	content, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		b.Skip("needs /proc: ", err)
	}
	for line := range strings.Lines(string(content)) {
		var kB float64
		if n, _ := fmt.Sscanf(line, "VmRSS: %f kB", &kB); n == 1 {
			return kB / 1024
		}
	}
	b.Fatal("no VmRSS")
	return 0
}

// lowest returns the resident memory once it has not decreased for two seconds: memory for hashing is returned one second after the last
// hash.
func lowest(b *testing.B, pid int) float64 {
	b.Helper()
	least, again := resident(b, pid), time.NewTicker(50*time.Millisecond)
	defer again.Stop()
	for settled := 0; settled < 40; settled++ {
		<-again.C
		if now := resident(b, pid); now < least-0.1 {
			least, settled = now, 0
		}
	}
	return resident(b, pid)
}
