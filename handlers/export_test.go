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
	"reflect"
	"slices"
	"strings"
	"testing"

	"porchlight/db"
	"porchlight/handlers/handlerstest"
)

type exported struct {
	Account  map[string]any   `json:"account"`
	Sessions []map[string]any `json:"sessions"`
	Devices  []map[string]any `json:"devices"`
	Networks []map[string]any `json:"networks"`
	Alerts   map[string]any   `json:"alerts"`
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

// readExport checks that the export is one JSON object with exactly the keys of the contract.
func readExport(t *testing.T, got handlerstest.Answer) (e exported) {
	t.Helper()
	var keys map[string]json.RawMessage
	if err := json.Unmarshal([]byte(got.Body), &keys); err != nil {
		t.Fatalf("not JSON: %v: %.300s", err, got.Body)
	}
	want := []string{"account", "activity", "alerts", "devices", "networks", "secondFactors", "sessions"}
	if names := slices.Sorted(maps.Keys(keys)); !slices.Equal(names, want) {
		t.Errorf("keys %q", names)
	}
	for name, value := range keys {
		if bytes.Equal(value, []byte("null")) {
			t.Errorf("%s is null", name)
		}
	}
	if err := json.Unmarshal([]byte(got.Body), &e); err != nil {
		t.Fatal(err)
	}
	return e
}

func TestExport(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	setGroups(c.House, "alice", "staff", "accounts")
	got := wantStatus(c.House, c.Alice.API("GET", "/me/export", ""), http.StatusOK)
	if kind := got.Header.Get("Content-Type"); !strings.HasPrefix(kind, "application/json") {
		t.Errorf("Content-Type %q", kind)
	}
	if !strings.HasPrefix(got.Header.Get("Content-Disposition"), "attachment") || got.Header.Get("Cache-Control") != "no-store" ||
		got.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("headers %v", got.Header)
	}
	e := readExport(t, got)
	if e.Account["username"] != "alice" || e.Account["isAdmin"] != true || e.Account["email"] != "" ||
		e.Account["createdAt"] != "2026-11-18T10:02:00Z" || !reflect.DeepEqual(e.Account["groups"], []any{"accounts", "staff"}) {
		t.Errorf("account %v", e.Account)
	}
	ids := []string{}
	for _, session := range e.Sessions {
		ids = append(ids, session["id"].(string))
		if session["isCurrent"] != (session["id"] == c.Alice.ID) || session["ip"] != "127.0.0.1" {
			t.Errorf("session %v", session)
		}
	}
	slices.Sort(ids)
	want := []string{c.Alice.ID, c.AlicePhone.ID}
	slices.Sort(want)
	if !slices.Equal(ids, want) {
		t.Errorf("sessions %q, want %q", ids, want)
	}
	if kept := c.Only(`SELECT user_agent FROM sessions WHERE id = ?`, c.Alice.ID); !strings.Contains(got.Body, kept) {
		t.Error("the User-Agent, which is kept, is not in the export")
	}
	kinds := []string{}
	for _, a := range e.Activity {
		kinds = append(kinds, a.Kind)
	}
	if !slices.Equal(kinds, []string{"exported", "groups_changed", "signed_in", "signed_in"}) {
		t.Errorf("activity %q", kinds)
	}
	wantRows(c.House, []string{"alice Firefox on Linux " + c.Alice.ID + " 127.0.0.1"},
		`SELECT username, done_by, session_id, ip FROM activity a JOIN users u ON u.id = a.user_id WHERE kind = 'exported'`)

	// The link on the page gets the same file.
	readExport(t, wantStatus(c.House, c.AlicePhone.Page("/me/export"), http.StatusOK))
	wantRows(c.House, []string{"2"}, `SELECT COUNT(*) FROM activity WHERE kind = 'exported'`)
}

func TestExportLongActivity(t *testing.T) {
	t.Parallel()
	for _, extra := range []int{496, 497, 498, 997, 1234} { // with three of its own: around one batch, and two
		t.Run(fmt.Sprint(extra), func(t *testing.T) {
			c := handlerstest.OpenCast(t)
			pool, err := sql.Open("sqlite3", "file:"+c.Path+"?_fk=1&_busy_timeout=1000")
			if err != nil {
				t.Fatal(err)
			}
			// The rows of alice and bob alternate, and later ids have earlier times.
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
			got := wantStatus(c.House, c.Alice.API("GET", "/me/export", ""), http.StatusOK)
			e := readExport(t, got)
			ids := []string{}
			for _, a := range e.Activity {
				ids = append(ids, fmt.Sprintf("%d %s %d", a.ID, a.Kind, a.Count))
			}
			want := c.Rows(`SELECT a.id, kind, count FROM activity a JOIN users u ON u.id = a.user_id WHERE username = 'alice' ORDER BY a.id DESC`)
			if len(want) != extra+3 || !slices.Equal(ids, want) {
				t.Errorf("%d rows of activity, want %d", len(ids), len(want))
			}
			if strings.Contains(got.Body, "bob") || strings.Contains(got.Body, "192.0.2.2") {
				t.Error("the export contains the activity of another user")
			}
		})
	}
}

func TestExportContainsNoSecrets(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	ctx := context.Background()
	secrets := map[string]string{}
	for name, token := range map[string]string{
		"alice's cookie": c.Alice.Token(), "the phone's cookie": c.AlicePhone.Token(), "bob's cookie": c.Bob.Token(),
		"alice's invitation": invite(c.House, db.NewUser{Username: "alice"}),
		"another invitation": invite(c.House, db.NewUser{Username: "carol"}),
	} {
		secrets[name] = token
	}
	wantStatus(c.House, c.NewClient(handlerstest.ChromeOnMac).Form("/login", "username", "alice", "password", throttleWrong),
		http.StatusUnprocessableEntity)
	if err := c.Store.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	secret, codes := c.AddTOTP(c.Alice)
	secrets["the key for the authenticator app"] = strings.ReplaceAll(secret, " ", "")
	for _, code := range codes {
		secrets["recovery code "+code] = code
	}
	c.Exec(`
		INSERT INTO passkeys (id, user_id, user_handle, credential_id, credential, sign_count, name, created_at, last_used_at)
		SELECT 'P', id, x'a1a2a3a4a5', x'b1b2b3b4b5', x'c1c2c3c4c5', 0, 'My phone', 1763460000000, 0 FROM users WHERE username = 'alice'`)
	for _, query := range []string{`SELECT 'session ' || id, hex(token_hash) FROM sessions`,
		`SELECT 'invitation ' || username, hex(token_hash) FROM invitations`,
		`SELECT 'secret ' || user_id, hex(secret) FROM totp`, `SELECT 'code', hex(code_hash) FROM recovery_codes`,
		`SELECT 'handle', hex(user_handle) FROM passkeys`, `SELECT 'credential', hex(credential) FROM passkeys`,
		`SELECT 'credential id', hex(credential_id) FROM passkeys`,
		`SELECT 'attempt ' || id, hex(key) FROM attempts`, `SELECT 'failures ' || failures, hex(key) FROM consecutive_failures`} {
		rows := c.Rows(query)
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
	for _, row := range c.Rows(`SELECT username || ' ' || password_hash FROM users`) {
		name, hash, _ := strings.Cut(row, " ")
		parts := strings.Split(hash, "$")
		secrets["password hash of "+name], secrets["salt of "+name], secrets["key of "+name] = hash, parts[4], parts[5]
	}
	secrets["a password hash"] = "argon2id"
	secrets["alice's password"] = handlerstest.AlicePassword
	secrets["bob's password"] = handlerstest.BobPassword
	secrets["bob's session"] = c.Bob.ID
	secrets["bob's browser"] = handlerstest.ChromeOnMac
	secrets["an invited person"] = "carol"

	got := wantStatus(c.House, c.Alice.API("GET", "/me/export", ""), http.StatusOK)
	body := strings.ToLower(got.Body + fmt.Sprint(got.Header))
	readExport(t, got)
	got.Has(t, `"secondFactors":{"authenticatorAppSince":"2026-11-18T`,
		`"recoveryCodesLeft":10,"passkeys":[{"name":"My phone","createdAt":"2025-`)
	got.Lacks(t, "bob") // as it is written: in lower case, a random id may contain it
	for what, secret := range secrets {
		if secret == "" || strings.Contains(body, strings.ToLower(secret)) {
			t.Errorf("the export contains %s", what)
		}
	}
}

// The export holds the settings, the last results and what waits, but no link, and nothing about the webhook.
func TestExportAlerts(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	ctx := context.Background()
	c.Exec(`INSERT INTO ways (way) VALUES ('mail'), ('ntfy'), ('webhook')`)
	c.Exec(`UPDATE users SET email = 'alice@example.com' WHERE username = 'alice'`)
	c.Exec(`
		INSERT INTO alert_settings (user_id, mail, ntfy_topic, off)
		SELECT id, 1, 'alice_phone', 'browser_changed' FROM users WHERE username = 'alice'`)
	if err := c.Store.RequestReset(ctx, "alice", db.Client{IP: "192.0.2.1"}); err != nil {
		t.Fatal(err)
	}
	mails, err := c.Store.ClaimMessages(ctx, db.Mail, 10)
	if err != nil || len(mails) != 1 {
		t.Fatal(mails, err)
	}
	if _, err := c.Store.Failed(ctx, mails[0], "dial tcp 10.0.0.5:587: refused"); err != nil {
		t.Fatal(err)
	}
	c.NewClient(handlerstest.SafariOnIPhone).Form("/login", "username", "alice", "password", handlerstest.AlicePassword)
	hooks, err := c.Store.ClaimMessages(ctx, db.Webhook, 10)
	if err != nil || len(hooks) != 1 {
		t.Fatal(hooks, err)
	}
	if _, err := c.Store.Failed(ctx, hooks[0], "hooks.internal: 500"); err != nil { // so it waits again
		t.Fatal(err)
	}

	got := wantStatus(c.House, c.Alice.API("GET", "/me/export", ""), http.StatusOK)
	alerts, err := json.Marshal(readExport(t, got).Alerts)
	if err != nil {
		t.Fatal(err)
	}
	const at = `"at":"2026-11-18T10:04:00Z"`
	want := `{"last":[{` + at + `,"delivered":false,"way":"mail"}],` +
		`"mail":true,"ntfyTopic":"alice_phone","off":["browser_changed"],"waiting":[` +
		`{` + at + `,"kind":"reset_link","to":"alice@example.com","way":"mail"},` +
		`{` + at + `,"kind":"signed_in","to":"alice_phone","way":"ntfy"},` +
		`{` + at + `,"kind":"signed_in","to":"alice@example.com","way":"mail"}]}`
	if string(alerts) != want {
		t.Errorf("alerts\n got %s\nwant %s", alerts, want)
	}
	got.Lacks(t, mails[0].Token, "10.0.0.5", "webhook")
	c.Bob.API("GET", "/me/export", "").Lacks(t, "alice")
}

func TestExportNotSignedIn(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	before := everything(c.House)
	revoked := c.NewClient(handlerstest.ChromeOnMac)
	for _, got := range []handlerstest.Answer{revoked.API("GET", "/me/export", ""), revoked.Page("/me/export"),
		revoked.Do("GET", "/me/export?porchlight="+c.Alice.Token(), "")} {
		wantStatus(c.House, got, http.StatusUnauthorized)
		if strings.TrimSpace(got.Body) != `{"error":"Not signed in."}` || got.Header.Get("Content-Disposition") != "" {
			t.Errorf("not signed in: %v %s", got.Header, got.Body)
		}
	}
	wantUnchanged(c.House, before)
	for _, method := range []string{"POST", "DELETE"} {
		if got := c.Alice.API(method, "/me/export", ""); got.Status != http.StatusMethodNotAllowed {
			t.Errorf("%s: %d", method, got.Status)
		}
	}
	wantStatus(c.House, c.Alice.API("DELETE", "/me/sessions/"+c.AlicePhone.ID, ""), http.StatusOK)
	wantStatus(c.House, c.AlicePhone.API("GET", "/me/export", ""), http.StatusUnauthorized)
	wantRows(c.House, nil, `SELECT id FROM activity WHERE kind = 'exported'`)
}
