package handlers_test

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"porchlight/handlers/handlerstest"
)

// kindsOfActivity returns the kinds in the source of package db.
func kindsOfActivity(t *testing.T) (kinds []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "../db/activity.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, declared := range file.Decls {
		group, ok := declared.(*ast.GenDecl)
		if !ok || group.Tok != token.CONST || !group.Lparen.IsValid() {
			continue
		}
		for _, spec := range group.Specs {
			kind, err := strconv.Unquote(spec.(*ast.ValueSpec).Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			kinds = append(kinds, kind)
		}
	}
	if len(kinds) < 19 {
		t.Fatalf("only %d kinds: %q", len(kinds), kinds)
	}
	return kinds
}

const insertActivity = `
	INSERT INTO activity (user_id, kind, happened_at, ip, device_name, session_id, done_by, count)
	SELECT id, ?, 1763460120000, '203.0.113.9', 'Tablet', 'S', ?, ? FROM users WHERE username = ?`

func TestEveryKindOfActivityHasASentence(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	for _, kind := range kindsOfActivity(t) {
		c.Exec(insertActivity, kind, "curl", 14, "alice")
	}
	page := c.Alice.Page("/activity")
	page.Is(t, 200)
	page.Lacks(t, "Something else happened")
	page.Has(t, "14 failed sign-ins from 203.0.113.9", "Signed out Tablet, 203.0.113.9, from curl",
		"The session of Tablet was used with curl, from 203.0.113.9", "A wrong password was given 14 times on Tablet",
		"The account&#39;s groups were changed, from curl",
		"Signed in on Firefox on Linux (this device), 127.0.0.1", `aria-current="page">Activity</a>`)

	c.Alice.Form("/sessions/"+c.Alice.ID+"/name", "name", "command")
	c.Alice.HTMX("DELETE", "/sessions/"+c.AlicePhone.ID).Is(t, 200)
	c.Alice.API("GET", "/me/export", "").Is(t, 200)
	page = c.Alice.Page("/activity")
	page.Has(t, "Signed out Safari on iPhone, 127.0.0.1, from &#34;command&#34;<", "Downloaded all data on command (this device), 127.0.0.1<")

	for _, by := range []string{"admin ada", `"admin bo"`} { // the second is a device of that name
		c.Exec(insertActivity, "revoked", by, 1, "alice")
		c.Exec(insertActivity, "disabled", by, 1, "alice")
	}
	c.Alice.Page("/activity").Has(t, "Signed out Tablet, 203.0.113.9, by the administrator ada<", "disabled, by the administrator ada<",
		"Signed out Tablet, 203.0.113.9, from &#34;admin bo&#34;<")

	c.Exec(insertActivity, "from_the_future", "<b>", 1, "alice")
	c.Alice.Page("/activity").Has(t, "does not know: from_the_future, from &lt;b&gt;")
	c.Bob.Page("/activity").Lacks(t, "Tablet")
}

// The devices page and the answers that refresh it show the five newest entries.
func TestRecentActivity(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	for i := range 5 {
		c.Exec(insertActivity, "renamed", fmt.Sprint("n", i), 1, "alice")
	}
	got := c.Alice.HTMX("DELETE", "/sessions/"+c.AlicePhone.ID)
	page := c.Alice.Page("/sessions")
	page.Has(t, `<a class="button" href="/activity">All activity</a>`)
	for _, body := range []string{got.Body, c.Alice.HTMX("GET", "/sessions/list").Body, page.Body} {
		_, recent, _ := strings.Cut(body, "<h2>Recent activity</h2>")
		sentences := regexp.MustCompile(`<li id="activity-\d+"><span>(.*?)</span>`).FindAllStringSubmatch(recent, -1)
		var shown []string
		for _, sentence := range sentences {
			shown = append(shown, sentence[1])
		}
		renamed := "Changed the name of a device to Tablet, 203.0.113.9, from n"
		if want := []string{"Signed out Safari on iPhone, 127.0.0.1, from Firefox on Linux", renamed + "4", renamed + "3", renamed + "2",
			renamed + "1"}; !slices.Equal(shown, want) {
			t.Errorf("shows %q, want %q", shown, want)
		}
	}
	c.Exec(`DELETE FROM activity`)
	c.Alice.Page("/sessions").Lacks(t, "Recent activity")
}

// Rows that arrive and rows that are swept neither repeat nor hide another row.
func TestPagesOfActivity(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	for i := range 120 {
		c.Exec(insertActivity, "renamed", fmt.Sprint("n", i), 1, "alice")
	}
	link := func(body, name string) string {
		found := regexp.MustCompile(`href="(/activity\?[^"]*)">` + name).FindStringSubmatch(body)
		if found == nil {
			return ""
		}
		return found[1]
	}
	first := c.Alice.Page("/activity")
	first.Has(t, ", from n119<", ", from n70<")
	first.Lacks(t, ", from n69<", "Newer")
	c.Exec(insertActivity, "renamed", "late", 1, "alice")
	second := c.Alice.Page(link(first.Body, "Older"))
	second.Has(t, ", from n69<", ", from n20<")
	second.Lacks(t, ", from n70<", ", from n19<")
	newer := c.Alice.Page(link(second.Body, "Newer"))
	newer.Has(t, ", from n119<", ", from n70<")
	newer.Lacks(t, "late")
	c.Exec(`DELETE FROM activity WHERE done_by IN ('n19', 'n18')`)
	third := c.Alice.Page(link(second.Body, "Older"))
	third.Has(t, ", from n17<", ", from n0<", "Signed in on")
	third.Lacks(t, "Older")
}

func TestActivityAsJSON(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	var rows []map[string]any
	read := func(path string) (ids []string) {
		t.Helper()
		got := c.Alice.API("GET", path, "")
		got.Is(t, 200)
		if err := json.Unmarshal([]byte(got.Body), &rows); err != nil {
			t.Fatal(err)
		}
		for _, row := range rows {
			ids = append(ids, fmt.Sprint(row["id"]))
		}
		return ids
	}
	want := c.Rows(`SELECT a.id FROM activity a JOIN users u ON u.id = a.user_id WHERE username = 'alice' ORDER BY a.id DESC`)
	if got := read("/me/activity"); !slices.Equal(got, want) || len(want) != 2 {
		t.Errorf("ids %q, want %q", got, want)
	}
	if row := rows[1]; len(row) != 8 || row["kind"] != "signed_in" || row["sessionId"] != c.Alice.ID || row["ip"] != "127.0.0.1" ||
		row["deviceName"] != "Firefox on Linux" || row["by"] != "Firefox on Linux" || row["count"] != 1.0 ||
		row["at"] != "2026-11-18T10:02:00Z" {
		t.Errorf("row %v", row)
	}
	if got := read("/me/activity?limit=1"); !slices.Equal(got, want[:1]) {
		t.Errorf("limit=1: %q", got)
	}
	if got := read("/me/activity?limit=200&before=" + want[0]); !slices.Equal(got, want[1:]) {
		t.Errorf("before: %q", got)
	}
	if got := c.Alice.API("GET", "/me/activity?before=1", ""); strings.TrimSpace(got.Body) != "[]" {
		t.Errorf("none: %s", got.Body)
	}
	for _, query := range []string{"limit=0", "limit=201", "limit=x", "limit=-1", "before=0", "before=1.5", "before=99999999999999999999"} {
		got := c.Alice.API("GET", "/me/activity?"+query, "")
		got.Is(t, 422)
		got.Has(t, `{"error":"`, " must be a number from 1 to ")
	}
	c.Alice.Page("/activity?before=x").Is(t, 422)
	c.Alice.Page("/activity?after=0").Is(t, 422)
	stranger := c.NewClient(handlerstest.ChromeOnMac)
	stranger.API("GET", "/me/activity", "").Is(t, 401)
	stranger.Page("/activity?before=5").Is(t, 303, "/login?next=%2Factivity%3Fbefore%3D5")
}
