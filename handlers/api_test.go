package handlers_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// This file owns the JSON under /me: keys, times, statuses and messages to the letter.

// object returns the JSON of a session.
func object(id, name, active, created, expires string, current bool) string {
	return fmt.Sprintf(`{"id":"%s","deviceName":"%s","ip":"127.0.0.1","lastActiveAt":"%s","createdAt":"%s","expiresAt":"%s","isCurrent":%v,"apps":[]}`, id, name, active, created, expires, current)
}

// isJSON fails the test unless the answer is this JSON, with these keys and no others.
func (a answer) isJSON(t testing.TB, status int, want string) {
	t.Helper()
	a.is(t, status)
	var got, wanted any
	if err := json.Unmarshal([]byte(a.body), &got); err != nil {
		t.Fatalf("%q: %v", a.body, err)
	}
	if err := json.Unmarshal([]byte(want), &wanted); err != nil {
		t.Fatalf("%q: %v", want, err)
	}
	if fmt.Sprint(got) != fmt.Sprint(wanted) {
		t.Errorf("%s, want %s", a.body, want)
	}
	if a.header.Get("Content-Type") != "application/json" {
		t.Errorf("Content-Type %q", a.header.Get("Content-Type"))
	}
}

func TestListByAPI(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	phone := object(c.alicePhone.id, "Safari on iPhone", "2026-11-18T10:03:00Z", "2026-11-18T10:03:00Z", "2026-12-02T10:03:00Z", false)
	laptop := object(c.alice.id, "Firefox on Linux", "2026-11-18T10:02:00Z", "2026-11-18T10:02:00Z", "2026-12-02T10:02:00Z", true)
	c.alice.api("GET", "/me/sessions", "").isJSON(t, 200, "["+phone+","+laptop+"]")
	c.alice.api("GET", "/me/sessions/current", "").isJSON(t, 200, laptop)
	c.bob.api("GET", "/me/sessions", "").isJSON(t, 200,
		"["+object(c.bob.id, "Chrome on macOS", "2026-11-18T10:04:00Z", "2026-11-18T10:04:00Z", "2026-12-02T10:04:00Z", true)+"]")

	// Last active first, whatever the order of signing in.
	c.exec(`UPDATE sessions SET last_active_at = last_active_at + 90000 WHERE id = ?`, c.alice.id)
	var list []struct{ ID string }
	if err := json.Unmarshal([]byte(c.alice.api("GET", "/me/sessions", "").body), &list); err != nil {
		t.Fatal(err)
	}
	if len(list) != 2 || list[0].ID != c.alice.id {
		t.Errorf("%v", list)
	}
	// Only those that are alive.
	c.exec(`UPDATE sessions SET expires_at = ? WHERE id = ?`, c.clock.Now().UnixMilli(), c.alicePhone.id)
	c.alice.api("GET", "/me/sessions", "").lacks(t, c.alicePhone.id)
}

// The server's own time is far from UTC in every test of this package, so that a time in it would be seen.
func init() { time.Local = time.FixedZone("far away", 11*3600) }

func TestTimesAreUTC(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.alice.api("GET", "/me/sessions/current", "").has(t, `"createdAt":"2026-11-18T10:02:00Z"`)
	c.alice.page("/sessions").has(t, `datetime="2026-11-18T10:02:00Z"`, "18 Nov 2026, 10:02 UTC")
	c.alice.form("/sessions/"+c.alicePhone.id+"/revoke").has(t, "last active 18 Nov 2026, 10:03 UTC")
}

func TestRevokeByAPI(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.alice.api("DELETE", "/me/sessions/"+c.alice.id, "").isJSON(t, 400, `{"error":"Use POST /logout to end your current session."}`)
	c.alice.api("GET", "/me/sessions", "").is(t, 200)

	got := c.alice.api("DELETE", "/me/sessions/"+c.alicePhone.id, "")
	if got.body != `{"message":"Session revoked."}` {
		t.Errorf("%s", got.body)
	}
	got.is(t, 200)
	if left := c.sessionsOf("alice"); !slices.Equal(left, []string{c.alice.id}) {
		t.Errorf("alice's sessions are %q", left)
	}
	c.alicePhone.api("GET", "/me/sessions", "").isJSON(t, 401, `{"error":"Not signed in."}`)
	for range 3 {
		c.alice.api("DELETE", "/me/sessions/"+c.alicePhone.id, "").isJSON(t, 404, `{"error":"Session not found"}`)
	}
	if n := c.only(`SELECT COUNT(*) FROM activity WHERE kind = 'revoked'`); n != "1" {
		t.Errorf("recorded %s times", n)
	}
	for _, id := range []string{"x", big("A", 26), big("A", 5000), "%00", "%2e%2e", "%ff", "1%20OR%201=1", "%27"} {
		c.alice.api("DELETE", "/me/sessions/"+id, "").isJSON(t, 404, `{"error":"Session not found"}`)
	}
}

func TestEndCurrentByAPI(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	token := c.alice.token()
	got := c.alice.api("DELETE", "/me/sessions/current", "")
	got.is(t, 204)
	if got.body != "" || !cleared(got, "porchlight") {
		t.Errorf("%q, Set-Cookie %q", got.body, got.header.Get("Set-Cookie"))
	}
	if left := c.sessionsOf("alice"); !slices.Equal(left, []string{c.alicePhone.id}) {
		t.Errorf("alice's sessions are %q", left)
	}
	if kind := c.only(`SELECT kind FROM activity WHERE session_id = ? ORDER BY id DESC LIMIT 1`, c.alice.id); kind != "signed_out" {
		t.Errorf("activity: %s", kind)
	}
	c.newClient("x").do("DELETE", "/me/sessions/current", "", "Cookie", "porchlight="+token).isJSON(t, 401, `{"error":"Not signed in."}`)
}

func TestRevokeAllByAPI(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.signIn("alice", alicePassword, firefoxOnLinux)
	for _, count := range []int{2, 0} {
		c.alice.api("POST", "/me/sessions/revoke-all", "").isJSON(t, 200,
			fmt.Sprintf(`{"message":"All other sessions have been revoked.","revoked":%d}`, count))
		if left := c.sessionsOf("alice"); !slices.Equal(left, []string{c.alice.id}) {
			t.Errorf("alice's sessions are %q", left)
		}
	}
	if left := c.sessionsOf("bob"); !slices.Equal(left, []string{c.bob.id}) {
		t.Errorf("bob's sessions are %q", left)
	}
	c.alice.api("POST", "/me/sessions/revoke-all", `{"any":"thing"}`).is(t, 200)
}

func TestNameByAPI(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	path := "/me/sessions/" + c.alicePhone.id
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
			c.exec(`UPDATE sessions SET given_name = 'before' WHERE id = ?`, c.alicePhone.id)
			got := c.alice.api("PATCH", path, test.body)
			got.is(t, test.status)
			if kept := c.only(`SELECT given_name FROM sessions WHERE id = ?`, c.alicePhone.id); kept != test.kept {
				t.Errorf("kept %q, want %q", kept, test.kept)
			}
			if test.status == 200 {
				shown := test.kept
				if shown == "" {
					shown = "Safari on iPhone"
				}
				got.isJSON(t, 200, object(c.alicePhone.id, shown, "2026-11-18T10:03:00Z", "2026-11-18T10:03:00Z", "2026-12-02T10:03:00Z", false))
			} else if !strings.HasPrefix(got.body, `{"error":"`) {
				t.Errorf("%s is not an error", got.body)
			}
		})
	}
	c.alice.api("PATCH", "/me/sessions/"+c.alice.id, `{"name":"Mine"}`).has(t, `"deviceName":"Mine"`, `"isCurrent":true`)
	check := c.unchanged()
	for _, id := range []string{c.bob.id, "nowhere"} {
		c.alice.api("PATCH", "/me/sessions/"+id, `{"name":"Mine"}`).isJSON(t, 404, `{"error":"Session not found"}`)
	}
	check(t)
}

// A form on another site can send no JSON without the browser asking first.
func TestAPITakesJSONAlone(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	check := c.unchanged()
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
			got := c.alice.do(r.method, r.at(c.alicePhone.id), `{"name":"x"}`, headers...)
			if got.status != 415 || !strings.HasPrefix(got.body, `{"error":"`) {
				t.Errorf("%s as %q: %d %.60q", r, kind, got.status, got.body)
			}
		}
	}
	check(t)
	c.alice.do("PATCH", "/me/sessions/"+c.alicePhone.id, `{"name":"x"}`, "Content-Type", "Application/JSON; charset=UTF-8").is(t, 200)
}
