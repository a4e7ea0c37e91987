package handlers_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"porchlight/db"
)

type exported struct {
	Account  map[string]any   `json:"account"`
	Sessions []map[string]any `json:"sessions"`
	Devices  []map[string]any `json:"devices"`
	Activity []struct {
		ID        int64  `json:"id"`
		Kind      string `json:"kind"`
		At        string `json:"at"`
		IP        string `json:"ip"`
		SessionID string `json:"sessionId"`
		By        string `json:"by"`
		Count     int    `json:"count"`
	} `json:"activity"`
}

// readExport wants one JSON object with exactly the keys of the contract.
func readExport(t *testing.T, got answer) (e exported) {
	t.Helper()
	var keys map[string]json.RawMessage
	if err := json.Unmarshal([]byte(got.body), &keys); err != nil {
		t.Fatalf("%v: %.300s", err, got.body)
	}
	if names := slices.Sorted(maps.Keys(keys)); !slices.Equal(names, []string{"account", "activity", "devices", "sessions"}) {
		t.Errorf("keys %q", names)
	}
	for name, value := range keys {
		if bytes.Equal(value, []byte("null")) {
			t.Errorf("%s is null", name)
		}
	}
	if err := json.Unmarshal([]byte(got.body), &e); err != nil {
		t.Fatal(err)
	}
	return e
}

func TestExport(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	got := c.wantStatus(c.alice.api("GET", "/me/export", ""), http.StatusOK)
	if kind := got.header.Get("Content-Type"); !strings.HasPrefix(kind, "application/json") {
		t.Errorf("Content-Type %q", kind)
	}
	if !strings.HasPrefix(got.header.Get("Content-Disposition"), "attachment") || got.header.Get("Cache-Control") != "no-store" ||
		got.header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("headers %v", got.header)
	}
	e := readExport(t, got)
	if e.Account["username"] != "alice" || e.Account["isAdmin"] != true || e.Account["email"] != "" ||
		e.Account["createdAt"] != "2026-11-18T10:02:00Z" {
		t.Errorf("account %v", e.Account)
	}
	ids := []string{}
	for _, session := range e.Sessions {
		ids = append(ids, session["id"].(string))
		if session["isCurrent"] != (session["id"] == c.alice.id) || session["ip"] != "127.0.0.1" {
			t.Errorf("session %v", session)
		}
	}
	slices.Sort(ids)
	want := []string{c.alice.id, c.alicePhone.id}
	slices.Sort(want)
	if !slices.Equal(ids, want) {
		t.Errorf("sessions %q, want %q", ids, want)
	}
	if kept := c.only(`SELECT user_agent FROM sessions WHERE id = ?`, c.alice.id); !strings.Contains(got.body, kept) {
		t.Error("the User-Agent, which is kept, is not in the export")
	}
	kinds := []string{}
	for _, a := range e.Activity {
		kinds = append(kinds, a.Kind)
	}
	if !slices.Equal(kinds, []string{"exported", "signed_in", "signed_in"}) {
		t.Errorf("activity %q", kinds)
	}
	c.wantRows([]string{"alice Firefox on Linux " + c.alice.id + " 127.0.0.1"},
		`SELECT username, done_by, session_id, ip FROM activity a JOIN users u ON u.id = a.user_id WHERE kind = 'exported'`)

	// A person who follows the link gets the same file.
	readExport(t, c.wantStatus(c.alicePhone.page("/me/export"), http.StatusOK))
	c.wantRows([]string{"2"}, `SELECT COUNT(*) FROM activity WHERE kind = 'exported'`)
}

func TestExportLongActivity(t *testing.T) {
	t.Parallel()
	for _, extra := range []int{496, 497, 498, 997, 1234} { // with three of its own: around one batch, and two
		t.Run(fmt.Sprint(extra), func(t *testing.T) {
			c := openCast(t)
			pool, err := sql.Open("sqlite3", "file:"+c.path+"?_fk=1&_busy_timeout=1000")
			if err != nil {
				t.Fatal(err)
			}
			// Alice's rows and bob's take turns, and the times run against the ids.
			_, err = pool.Exec(`
				WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
				INSERT INTO activity (user_id, kind, happened_at, ip, device_name, session_id, done_by, count)
				SELECT u.id, 'renamed', 1700000000000 - i * 1000, '192.0.2.' || u.id, u.username || i, 'S' || i, u.username, i
				FROM n, users u ORDER BY i`, extra)
			if err := pool.Close(); err != nil {
				t.Fatal(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			got := c.wantStatus(c.alice.api("GET", "/me/export", ""), http.StatusOK)
			e := readExport(t, got)
			ids := []string{}
			for _, a := range e.Activity {
				ids = append(ids, fmt.Sprintf("%d %s %d", a.ID, a.Kind, a.Count))
			}
			want := c.rows(`SELECT a.id, kind, count FROM activity a JOIN users u ON u.id = a.user_id WHERE username = 'alice' ORDER BY a.id DESC`)
			if len(want) != extra+3 || !slices.Equal(ids, want) {
				t.Errorf("%d rows of activity, want %d", len(ids), len(want))
			}
			if strings.Contains(got.body, "bob") || strings.Contains(got.body, "192.0.2.2") {
				t.Error("the export holds somebody else's activity")
			}
		})
	}
}

func TestExportHoldsNoSecret(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	ctx := context.Background()
	secrets := map[string]string{}
	for name, token := range map[string]string{
		"alice's cookie": c.alice.token(), "the phone's cookie": c.alicePhone.token(), "bob's cookie": c.bob.token(),
		"alice's invitation": c.invite(db.NewUser{Username: "alice"}), "another invitation": c.invite(db.NewUser{Username: "carol"}),
	} {
		secrets[name] = token
	}
	c.wantStatus(c.newClient(chromeOnMac).form("/login", "username", "alice", "password", throttleWrong), http.StatusUnprocessableEntity)
	if err := c.store.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	for _, query := range []string{`SELECT 'session ' || id, hex(token_hash) FROM sessions`,
		`SELECT 'invitation ' || username, hex(token_hash) FROM invitations`,
		`SELECT 'attempt ' || id, hex(key) FROM attempts`, `SELECT 'failures ' || failures, hex(key) FROM consecutive_failures`} {
		rows := c.rows(query)
		if len(rows) == 0 {
			t.Fatalf("%s: nothing to look for", query)
		}
		for _, row := range rows {
			at := strings.LastIndex(row, " ")
			hash, err := hex.DecodeString(row[at+1:])
			if err != nil {
				t.Fatal(err)
			}
			secrets["hex of "+row[:at]] = row[at+1:]
			for i, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
				secrets[fmt.Sprintf("base64 %d of %s", i, row[:at])] = encoding.EncodeToString(hash)
			}
		}
	}
	for _, row := range c.rows(`SELECT username || ' ' || password_hash FROM users`) {
		name, hash, _ := strings.Cut(row, " ")
		parts := strings.Split(hash, "$")
		secrets["password hash of "+name], secrets["salt of "+name], secrets["key of "+name] = hash, parts[4], parts[5]
	}
	secrets["a password hash"], secrets["alice's password"], secrets["bob's password"] = "argon2id", alicePassword, bobPassword
	secrets["bob"], secrets["bob's session"], secrets["bob's browser"], secrets["an invited person"] = "bob", c.bob.id, chromeOnMac, "carol"

	got := c.wantStatus(c.alice.api("GET", "/me/export", ""), http.StatusOK)
	body := strings.ToLower(got.body + fmt.Sprint(got.header))
	readExport(t, got)
	for what, secret := range secrets {
		if secret == "" || strings.Contains(body, strings.ToLower(secret)) {
			t.Errorf("the export holds %s", what)
		}
	}
}

func TestExportNotSignedIn(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	before := c.everything()
	revoked := c.newClient(chromeOnMac)
	for _, got := range []answer{revoked.api("GET", "/me/export", ""), revoked.page("/me/export"),
		revoked.do("GET", "/me/export?porchlight="+c.alice.token(), "")} {
		c.wantStatus(got, http.StatusUnauthorized)
		if strings.TrimSpace(got.body) != `{"error":"Not signed in."}` || got.header.Get("Content-Disposition") != "" {
			t.Errorf("%v %s", got.header, got.body)
		}
	}
	c.wantUnchanged(before)
	for _, method := range []string{"POST", "DELETE"} {
		if got := c.alice.api(method, "/me/export", ""); got.status != http.StatusMethodNotAllowed {
			t.Errorf("%s: %d", method, got.status)
		}
	}
	c.wantStatus(c.alice.api("DELETE", "/me/sessions/"+c.alicePhone.id, ""), http.StatusOK)
	c.wantStatus(c.alicePhone.api("GET", "/me/export", ""), http.StatusUnauthorized)
	c.wantRows(nil, `SELECT id FROM activity WHERE kind = 'exported'`)
}
