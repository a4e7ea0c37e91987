package main

import (
	"slices"
	"strings"
	"testing"

	"porchlight/db/dbtest"
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
		t.Errorf("since: %q, want %q", got, want[1:])
	}
	if got := list("--user", " BO "); !slices.Equal(got, []string{"bo signed_in"}) {
		t.Errorf("of bo: %q", got)
	}
	if table := mustRun(t, "", f.with("activity")...); strings.Count(table, "\n") != 4 {
		t.Errorf("the table is %q", table)
	}
	_, err := command(t, "", f.with("activity", "--user", "nobody")...)
	wantError(t, err, 1, "nobody")
}
