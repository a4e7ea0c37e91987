package handlers_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"porchlight/handlers/handlerstest"
)

// This file tests the JSON under /me: its keys, times, statuses and exact messages.

// object returns the JSON of a session that was used with one browser only.
func object(id, name, browser, active, created, expires string, current bool) string {
	return fmt.Sprintf(`{"id":"%s","kind":"browser","deviceName":"%s","browser":"%s","browserChanged":false,"ip":"127.0.0.1",
		"signInIp":"127.0.0.1","method":"password","isNew":%v,"shared":false,
		"lastActiveAt":"%s","createdAt":"%s","expiresAt":"%s","isCurrent":%v,"apps":[]}`,
		id, name, browser, !current, active, created, expires, current)
}

// isJSON fails the test unless the answer is this JSON, with these keys and no others.
func isJSON(t testing.TB, a handlerstest.Answer, status int, want string) {
	t.Helper()
	a.Is(t, status)
	var got, wanted any
	if err := json.Unmarshal([]byte(a.Body), &got); err != nil {
		t.Fatalf("%q: %v", a.Body, err)
	}
	if err := json.Unmarshal([]byte(want), &wanted); err != nil {
		t.Fatalf("%q: %v", want, err)
	}
	if fmt.Sprint(got) != fmt.Sprint(wanted) {
		t.Errorf("%s, want %s", a.Body, want)
	}
	if a.Header.Get("Content-Type") != "application/json" {
		t.Errorf("Content-Type %q", a.Header.Get("Content-Type"))
	}
}

func TestListByAPI(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	phone := object(c.AlicePhone.ID, "Safari on iPhone", "Safari on iPhone",
		"2026-11-18T10:03:00Z", "2026-11-18T10:03:00Z", "2026-12-02T10:03:00Z", false)
	laptop := object(c.Alice.ID, "Firefox on Linux", "Firefox on Linux",
		"2026-11-18T10:02:00Z", "2026-11-18T10:02:00Z", "2026-12-02T10:02:00Z", true)
	isJSON(t, c.Alice.API("GET", "/me/sessions", ""), 200, "["+phone+","+laptop+"]")
	isJSON(t, c.Alice.API("GET", "/me/sessions/current", ""), 200, laptop)
	isJSON(t, c.Bob.API("GET", "/me/sessions", ""), 200,
		"["+object(c.Bob.ID, "Chrome on macOS", "Chrome on macOS",
			"2026-11-18T10:04:00Z", "2026-11-18T10:04:00Z", "2026-12-02T10:04:00Z", true)+"]")

	// The last active session comes first, in whatever order they signed in.
	c.Exec(`UPDATE sessions SET last_active_at = last_active_at + 90000 WHERE id = ?`, c.Alice.ID)
	var list []struct{ ID string }
	if err := json.Unmarshal([]byte(c.Alice.API("GET", "/me/sessions", "").Body), &list); err != nil {
		t.Fatal(err)
	}
	if len(list) != 2 || list[0].ID != c.Alice.ID {
		t.Errorf("listed: %v", list)
	}
	// Only live sessions are listed.
	c.Exec(`UPDATE sessions SET expires_at = ? WHERE id = ?`, c.Clock.Now().UnixMilli(), c.AlicePhone.ID)
	c.Alice.API("GET", "/me/sessions", "").Lacks(t, c.AlicePhone.ID)
}

// In the tests of this package, the server's time zone is far from UTC, so a local time would be noticed.
func init() { time.Local = time.FixedZone("far away", 11*3600) }

func TestTimesAreUTC(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	c.Alice.API("GET", "/me/sessions/current", "").Has(t, `"createdAt":"2026-11-18T10:02:00Z"`)
	c.Alice.Page("/sessions").Has(t, `datetime="2026-11-18T10:02:00Z"`, "18 Nov 2026, 10:02 UTC")
	c.Alice.Form("/sessions/"+c.AlicePhone.ID+"/revoke").Has(t, "last active 18 Nov 2026, 10:03 UTC")
}

func TestRevokeByAPI(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	isJSON(t, c.Alice.API("DELETE", "/me/sessions/"+c.Alice.ID, ""), 400, `{"error":"Use POST /logout to end your current session."}`)
	c.Alice.API("GET", "/me/sessions", "").Is(t, 200)

	got := c.Alice.API("DELETE", "/me/sessions/"+c.AlicePhone.ID, "")
	if got.Body != `{"message":"Session revoked."}` {
		t.Errorf("revoke: %s", got.Body)
	}
	got.Is(t, 200)
	if left := c.SessionsOf("alice"); !slices.Equal(left, []string{c.Alice.ID}) {
		t.Errorf("alice's sessions are %q", left)
	}
	isJSON(t, c.AlicePhone.API("GET", "/me/sessions", ""), 401, `{"error":"Not signed in."}`)
	for range 3 {
		isJSON(t, c.Alice.API("DELETE", "/me/sessions/"+c.AlicePhone.ID, ""), 404, `{"error":"Session not found"}`)
	}
	if n := c.Only(`SELECT COUNT(*) FROM activity WHERE kind = 'revoked'`); n != "1" {
		t.Errorf("recorded %s times", n)
	}
	for _, id := range []string{"x", big("A", 26), big("A", 5000), "%00", "%2e%2e", "%ff", "1%20OR%201=1", "%27"} {
		isJSON(t, c.Alice.API("DELETE", "/me/sessions/"+id, ""), 404, `{"error":"Session not found"}`)
	}
}

func TestEndCurrentByAPI(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	token := c.Alice.Token()
	got := c.Alice.API("DELETE", "/me/sessions/current", "")
	got.Is(t, 204)
	if got.Body != "" || !cleared(got, "porchlight") {
		t.Errorf("%q, Set-Cookie %q", got.Body, got.Header.Get("Set-Cookie"))
	}
	if left := c.SessionsOf("alice"); !slices.Equal(left, []string{c.AlicePhone.ID}) {
		t.Errorf("alice's sessions are %q", left)
	}
	if kind := c.Only(`SELECT kind FROM activity WHERE session_id = ? ORDER BY id DESC LIMIT 1`, c.Alice.ID); kind != "signed_out" {
		t.Errorf("activity: %s", kind)
	}
	isJSON(t, c.NewClient("x").Do("DELETE", "/me/sessions/current", "", "Cookie", "porchlight="+token), 401, `{"error":"Not signed in."}`)
}

func TestRevokeAllByAPI(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	c.SignIn("alice", handlerstest.AlicePassword, handlerstest.FirefoxOnLinux)
	for _, count := range []int{2, 0} {
		isJSON(t, c.Alice.API("POST", "/me/sessions/revoke-all", ""), 200,
			fmt.Sprintf(`{"message":"All other sessions have been revoked.","revoked":%d}`, count))
		if left := c.SessionsOf("alice"); !slices.Equal(left, []string{c.Alice.ID}) {
			t.Errorf("alice's sessions are %q", left)
		}
	}
	if left := c.SessionsOf("bob"); !slices.Equal(left, []string{c.Bob.ID}) {
		t.Errorf("bob's sessions are %q", left)
	}
	c.Alice.API("POST", "/me/sessions/revoke-all", `{"any":"thing"}`).Is(t, 200)
}

func TestNameByAPI(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	path := "/me/sessions/" + c.AlicePhone.ID
	for name, test := range map[string]struct {
		body   string
		status int
		kept   string
	}{
		"plain":         {`{"name":"Kitchen tablet"}`, 200, "Kitchen tablet"},
		"unknown keys":  {`{"id":"x","isCurrent":true,"name":"Kitchen"}`, 200, "Kitchen"},
		"empty forgets": {`{"name":""}`, 200, ""},
		"60":            {`{"name":"` + big("é", 60) + `"}`, 200, big("é", 60)},
		"60 escaped":    {`{"name":"` + big(`\ud83c\udfee`, 60) + `"}`, 200, big("🏮", 60)},
		"61":            {`{"name":"` + big("é", 61) + `"}`, 422, "before"},
		"controls":      {`{"name":"a\u0000b\nc\u007f"}`, 200, "a b c"},
		"null":          {`{"name":null}`, 422, "before"},
		"missing":       {`{}`, 422, "before"},
		"no body":       {``, 422, "before"},
		"null body":     {`null`, 422, "before"},
		"a number":      {`{"name":5}`, 422, "before"},
		"a truth":       {`{"name":true}`, 422, "before"},
		"a list":        {`{"name":["x"]}`, 422, "before"},
		"an object":     {`{"name":{}}`, 422, "before"},
		"an array":      {`[]`, 422, "before"},
		"a string":      {`"x"`, 422, "before"},
		"malformed":     {`{"name":`, 400, "before"},
		"not JSON":      {`name=x`, 400, "before"},
		"trailing":      {`{"name":"x"} x`, 400, "before"},
	} {
		t.Run(name, func(t *testing.T) {
			c.Exec(`UPDATE sessions SET custom_name = 'before' WHERE id = ?`, c.AlicePhone.ID)
			got := c.Alice.API("PATCH", path, test.body)
			got.Is(t, test.status)
			if kept := c.Only(`SELECT custom_name FROM sessions WHERE id = ?`, c.AlicePhone.ID); kept != test.kept {
				t.Errorf("kept %q, want %q", kept, test.kept)
			}
			if test.status == 200 {
				shown := test.kept
				if shown == "" {
					shown = "Safari on iPhone"
				}
				isJSON(t, got, 200, object(c.AlicePhone.ID, shown, "Safari on iPhone",
					"2026-11-18T10:03:00Z", "2026-11-18T10:03:00Z", "2026-12-02T10:03:00Z", false))
			} else if !strings.HasPrefix(got.Body, `{"error":"`) {
				t.Errorf("%s is not an error", got.Body)
			}
		})
	}
	c.Alice.API("PATCH", "/me/sessions/"+c.Alice.ID, `{"name":"Mine"}`).Has(t, `"deviceName":"Mine"`, `"isCurrent":true`)
	check := c.Unchanged()
	for _, id := range []string{c.Bob.ID, "nowhere"} {
		isJSON(t, c.Alice.API("PATCH", "/me/sessions/"+id, `{"name":"Mine"}`), 404, `{"error":"Session not found"}`)
	}
	check(t)
}

// A form on another site cannot send JSON without a preflight request.
func TestAPIAcceptsOnlyJSON(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	check := c.Unchanged()
	for _, kind := range []string{"", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
		"application/jsonp", "text/json", "application/json-patch+json", "*/*", ";"} {
		for _, r := range signedInRoutes {
			if !r.isJSON() {
				continue
			}
			headers := []string{}
			if kind != "" {
				headers = append(headers, "Content-Type", kind)
			}
			got := c.Alice.Do(r.method, r.at(c.AlicePhone.ID), `{"name":"x"}`, headers...)
			if got.Status != 415 || !strings.HasPrefix(got.Body, `{"error":"`) {
				t.Errorf("%s as %q: %d %.60q", r, kind, got.Status, got.Body)
			}
		}
	}
	check(t)
	c.Alice.Do("PATCH", "/me/sessions/"+c.AlicePhone.ID, `{"name":"x"}`, "Content-Type", "Application/JSON; charset=UTF-8").Is(t, 200)
}
