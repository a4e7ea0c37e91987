package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"porchlight/db/dbtest"
	"porchlight/handlers"
)

func TestActivityCommand(t *testing.T) {
	f := newFixture(t, map[string]int{"ada": 2, "bo": 1})
	dbtest.Exec(t, f.path(), `UPDATE activity SET happened_at = 1 WHERE id = 1`)
	want := dbtest.Rows(t, f.path(), `SELECT u.username || ' ' || kind FROM activity a JOIN users u ON u.id = a.user_id ORDER BY a.id`)
	list := func(args ...string) (got []string) {
		t.Helper()
		for _, row := range readRows(t, mustRun(t, "", f.with(append([]string{"activity", "--json"}, args...)...)...)) {
			wantKeys(t, row, "id", "username", "kind", "at", "ip", "deviceName", "sessionId", "by", "count")
			got = append(got, row["username"].(string)+" "+row["kind"].(string))
		}
		return got
	}
	if got := list(); !slices.Equal(got, want) || len(want) != 3 {
		t.Errorf("printed %q, want %q", got, want)
	}
	if got := list("--since", "24h"); !slices.Equal(got, want[1:]) {
		t.Errorf("--since 24h printed %q, want %q", got, want[1:])
	}
	if got := list("--user", " BO "); !slices.Equal(got, []string{"bo signed_in"}) {
		t.Errorf("--user bo printed %q", got)
	}
	if table := mustRun(t, "", f.with("activity")...); strings.Count(table, "\n") != 4 {
		t.Errorf("the table is %q", table)
	}
	if none := mustRun(t, "", f.with("activity", "--json", "--since", "1ms")...); none != "[]\n" {
		t.Errorf("an empty list is %q", none)
	}
	const most = 2*activityBatch + 1
	dbtest.Exec(t, f.path(), `
		INSERT INTO activity (user_id, kind, happened_at)
		WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
		SELECT id, 'exported' || i, 2 FROM users, n WHERE username = 'bo'`, most)
	want = dbtest.Rows(t, f.path(), `SELECT u.username || ' ' || kind FROM activity a JOIN users u ON u.id = a.user_id ORDER BY a.id`)
	if got := list(); !slices.Equal(got, want) {
		t.Errorf("printed %d of %d entries in several batches", len(got), len(want))
	}
	if got := list("--user", "bo"); len(got) != most+1 || got[most] != fmt.Sprint("bo exported", most) {
		t.Errorf("--user bo printed %d entries in several batches", len(got))
	}
	_, err := command(t, "", f.with("activity", "--user", "nobody")...)
	wantError(t, err, 1, "nobody")
	ctx, interrupt := context.WithCancel(t.Context())
	out, in := io.Pipe()
	go func() {
		out.Read(make([]byte, 1))
		interrupt()
		io.Copy(io.Discard, out)
	}()
	wantError(t, run(ctx, f.with("activity"), strings.NewReader(""), in), 130, "interrupted")
}

// The command prints what happens in another process, and a repeated entry each time, until Ctrl-C.
func TestActivityFollow(t *testing.T) {
	t.Parallel()
	f := newFixture(t, map[string]int{"ada": 1, "bo": 1})
	s := start(t, f.data)
	ctx, stop := context.WithCancel(t.Context())
	out, in := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, f.with("activity", "--follow", "--json", "--user", "ada"), strings.NewReader(""), in)
		in.Close()
	}()
	lines := make(chan string)
	go func() {
		defer close(lines)
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			lines <- scanner.Text()
		}
	}()
	next := func(want string) {
		t.Helper()
		select {
		case line := <-lines:
			var got handlers.ActivityJSON
			if err := json.Unmarshal([]byte(line), &got); err != nil || fmt.Sprint(got.Username, " ", got.Kind, " ", got.Count) != want {
				t.Fatalf("printed %q (%v), want %q", line, err, want)
			}
		case err := <-ended:
			t.Fatalf("ended before it printed %q: %v", want, err)
		case <-time.After(patience):
			t.Fatalf("not printed: %q", want)
		}
	}
	next("ada signed_in 1")
	s.signIn("bo", boPassword)
	ada := s.signIn("ada", adaPassword)
	next("ada signed_in 1")
	for _, want := range []string{"ada exported 1", "ada exported 2"} {
		ada.want(http.StatusOK, "/me/export")
		next(want)
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Ctrl-C: %v", err)
	}
	for line := range lines {
		t.Errorf("printed more: %q", line)
	}
}
