package handlers_test

import (
	"encoding/json"
	"html"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"porchlight/db"
	"porchlight/handlers/handlerstest"
)

// This file tests how users make app keys, and where the keys are listed.

var shownKey = regexp.MustCompile(`<input id="key" value="(plk_[A-Z2-7]{26})" readonly`)

// makeKey makes a key with the form, and returns it with the page that shows it.
func makeKey(c *handlerstest.Client, values ...string) (key string, got handlerstest.Answer) {
	c.T.Helper()
	got = c.Form("/account/keys", values...)
	got.Is(c.T, 200)
	found := shownKey.FindStringSubmatch(got.Body)
	if found == nil {
		c.T.Fatalf("no key is shown:\n%s", got.Body)
	}
	return found[1], got
}

const keysOfAlice = `
	SELECT s.custom_name || '|' || s.host || '|' || ((s.expires_at - s.created_at) / 86400000)
	FROM sessions s JOIN users u ON u.id = s.user_id WHERE s.kind = 'app_key' AND u.username = 'alice' ORDER BY s.created_at, s.rowid`

func TestMakeAKey(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	passes(t, forward.ask(c.Alice, toNotes), "alice")
	flush(c.House)
	c.Alice.Page("/account").Has(t, `href="/account/keys"`)
	empty := c.Alice.Page("/account/keys")
	empty.Is(t, 200)
	empty.Has(t, `name="host"`, `list="hosts"`, `<option value="notes.example.com">`, `<option value="1y" selected>After 1 year<`)
	empty.Lacks(t, "Your keys")

	key, page := makeKey(c.Alice, "name", "Calendar sync", "host", " HTTPS://Notes.example.com:8443/dav/ ", "expires", "30d")
	page.Has(t, "<strong>notes.example.com</strong>", "<bdi>Calendar sync</bdi>", "http://notes.example.com/", "<dt>Username</dt>", "alice",
		"http://alice:"+key+"@notes.example.com/", "curl -H 'Authorization: Bearer "+key+"' http://notes.example.com/", "data-copy=")
	if page.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("Cache-Control: %q", page.Header.Get("Cache-Control"))
	}
	c.Clock.Advance(time.Second)
	makeKey(c.Alice, "host", "photos.example.com", "expires", "never")
	c.Clock.Advance(time.Second)
	makeKey(c.Alice, "host", "photos.example.com", "expires", "1y", "name", "")
	c.SameRows(t, []string{"Calendar sync|notes.example.com|30", "|photos.example.com|2912120", "|photos.example.com|365"}, keysOfAlice)

	script := c.NewClient("DAVx5/4")
	passes(t, forward.ask(script, toNotes, "Authorization", basic("alice", key)), "alice")
	list := c.Alice.Page("/account/keys")
	list.Has(t, "<bdi>Calendar sync</bdi>", "notes.example.com, not used yet, expires", "<bdi>App key for photos.example.com</bdi>",
		"photos.example.com, not used yet, never expires", `<option value="photos.example.com">`)
	list.Lacks(t, key)
	all := c.Alice.Page("/admin/sessions?app=photos.example.com") // alice is an administrator
	all.Has(t, "<bdi>App key for photos.example.com</bdi>", `<span class="pill">App key</span>`, "not used yet")
	all.Lacks(t, "Calendar sync")
	c.Bob.Page("/account/keys").Lacks(t, "Calendar sync", "Your keys")
	flush(c.House)
	c.Alice.Page("/account/keys").Has(t, "notes.example.com, last used")
	c.Alice.Page("/activity").Has(t, "Created the app key Calendar sync, 127.0.0.1, from Firefox on Linux<")
	id := c.Only(`SELECT id FROM sessions WHERE custom_name = 'Calendar sync'`)
	if log := c.Log.String(); !strings.Contains(log, "app key created") || !strings.Contains(log, id) {
		t.Error("it was not logged")
	}
	// The button on the page asks first when JavaScript is off.
	c.Alice.Form("/sessions/"+id+"/revoke").Has(t, "Sign out Calendar sync?", "The key stops opening notes.example.com at once.")
	c.Alice.Form("/sessions/"+id+"/revoke", "confirm", "1").Is(t, 303)
	stops(t, forward.ask(script, toNotes, "Authorization", basic("alice", key)), 401, "")
}

func TestKeyFormIsRefused(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	const notAHost = "Enter the host of one app, such as notes.example.com."
	for name, test := range map[string]struct{ name, host, expires, says string }{
		"no host":             {"a", "", "1y", notAHost},
		"a wildcard":          {"a", "*.example.com", "1y", notAHost},
		"markup":              {"a", `<img src=x>"`, "1y", notAHost},
		"only a scheme":       {"a", "https://", "1y", notAHost},
		"somebody in front":   {"a", "https://me@notes.example.com/", "1y", notAHost},
		"not ASCII":           {"a", "nötes.example.com", "1y", notAHost},
		"elsewhere":           {"a", "notes.example.org", "1y", "It guards apps under example.com."},
		"ends alike":          {"a", "evilexample.com", "1y", "It guards apps under example.com."},
		"an address":          {"a", "192.0.2.1", "1y", "It guards apps under example.com."},
		"Porchlight itself":   {"a", "auth.example.com", "1y", "Porchlight&#39;s own pages don&#39;t accept app keys."},
		"Porchlight, written": {"a", "AUTH.example.com.:443", "1y", "Porchlight&#39;s own pages don&#39;t accept app keys."},
		"a long name":         {big("n", 61), notes, "1y", "A name can have at most 60 characters."},
		"an invisible name":   {"\u200b", notes, "1y", "A name needs at least one visible character."},
		"no expiry":           {"a", notes, "", "Choose 30 days, 1 year or never."},
		"another expiry":      {"a", notes, "9999y", "Choose 30 days, 1 year or never."},
	} {
		t.Run(name, func(t *testing.T) {
			got := c.Alice.Form("/account/keys", "name", test.name, "host", test.host, "expires", test.expires)
			got.Is(t, 422)
			got.Has(t, test.says, `aria-invalid="true"`, "<title>Error: ", html.EscapeString(test.host))
			got.Lacks(t, "<img", "plk_")
		})
	}
	c.SameRows(t, nil, keysOfAlice)
}

func TestNoKeysWithoutApps(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	page := c.Alice.Page("/account/keys")
	page.Has(t, "This server doesn't guard any apps.")
	page.Lacks(t, "<form class=\"stack\"")
	c.Alice.Form("/account/keys", "host", notes, "expires", "1y").Is(t, 422)
	c.Alice.Form("/account/keys", "host", "127.0.0.1", "expires", "1y").Is(t, 422) // the only host that it guards is its own
	c.SameRows(t, nil, keysOfAlice)
}

func TestTooManyKeys(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	for range db.MaxKeys {
		c.CreateKey(c.Alice.Token(), notes)
	}
	got := c.Alice.Form("/account/keys", "name", "One more", "host", notes, "expires", "never")
	got.Is(t, 422)
	got.Has(t, "You already have 50 app keys, the most allowed. Sign out one you no longer need.",
		`value="One more"`, `<option value="never" selected>`)
	makeKey(c.Bob, "host", notes, "expires", "1y")
}

// Without a fresh password, anyone at an unattended browser could create a key and keep it.
func TestKeyNeedsConfirmation(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	c.Clock.Advance(db.ConfirmLifetime)
	values := []string{"name", "Calendar", "host", notes, "expires", "30d"}
	got := c.Alice.Form("/account/keys", values...)
	got.Is(t, 403)
	got.Has(t, `name="confirm_to" value="/account/keys"`, `name="host" value="notes.example.com"`, `name="expires" value="30d"`)
	c.SameRows(t, nil, keysOfAlice)
	c.Alice.Form("/confirm", append(values, "confirm_password", handlerstest.AlicePassword, "confirm_to", "/account/keys")...).
		Is(t, 307, "/account/keys")
	makeKey(c.Alice, values...)
	c.SameRows(t, []string{"Calendar|notes.example.com|30"}, keysOfAlice)
}

// A second press gets the same key again, and there is one row.
func TestKeyFormSentTwice(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	form := regexp.MustCompile(`name="form" value="([A-Z2-7]{26})"`).FindStringSubmatch(c.Alice.Page("/account/keys").Body)
	if form == nil {
		t.Fatal("the form has no id")
	}
	values := []string{"form", form[1], "host", notes, "expires", "1y"}
	first, _ := makeKey(c.Alice, values...)
	second, _ := makeKey(c.Alice, values...)
	if first != second {
		t.Error("the second press created another key")
	}
	c.SameRows(t, []string{"|notes.example.com|365"}, keysOfAlice)
}

// Keys are listed wherever sessions are, but their secret never is.
func TestKeysAreListed(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	key, _ := makeKey(c.Alice, "name", "Calendar sync", "host", notes, "expires", "never")
	id := c.Only(`SELECT id FROM sessions WHERE kind = 'app_key'`)
	made := c.Clock.Now()
	script := c.NewClient("DAVx5/4")
	row := func(parts ...string) {
		t.Helper()
		got := textOf(rowOf(t, c.Alice.Page("/sessions"), id))
		for _, part := range append(parts, "Created 18 Nov 2026, 10:04 UTC 127.0.0.1", "Opens notes.example.com only", "Expires Never") {
			if !strings.Contains(got, part) {
				t.Errorf("the row lacks %q:\n%s", part, got)
			}
		}
	}
	row("> Calendar sync New App key notes.example.com 127.0.0.1 not used yet Details", "User-Agent none",
		"Sign out Calendar sync, 127.0.0.1, created 18 Nov")
	c.Clock.Advance(time.Hour)
	passes(t, forward.ask(script, toNotes, "Authorization", bearer(key), "X-Forwarded-For", "203.0.113.7"), "alice")
	flush(c.House)
	c.Clock.Advance(9 * time.Minute)
	row("> Calendar sync New App key notes.example.com 203.0.113.7 9 minutes ago A network you haven't used before. Details",
		"User-Agent DAVx5/4", "Last used 18 Nov 2026, 11:04 UTC")

	got := c.Alice.API("GET", "/me/sessions", "")
	var all []map[string]any
	if err := json.Unmarshal([]byte(got.Body), &all); err != nil {
		t.Fatal(err)
	}
	found := false
	for _, session := range all {
		if session["id"] != id {
			if session["kind"] != "browser" || session["expiresAt"] == nil || session["host"] != nil {
				t.Errorf("a browser is shown as %v", session)
			}
			continue
		}
		found = true
		expiresAt, isThere := session["expiresAt"]
		if session["kind"] != "app_key" || session["host"] != notes || session["deviceName"] != "Calendar sync" || expiresAt != nil || !isThere ||
			session["ip"] != "203.0.113.7" || session["signInIp"] != "127.0.0.1" || session["isCurrent"] != false ||
			session["createdAt"] != made.UTC().Format(time.RFC3339) {
			t.Errorf("the key is shown as %v", session)
		}
	}
	if !found {
		t.Error("the API does not list the key")
	}
	renamed := c.Alice.API("PATCH", "/me/sessions/"+id, `{"name":""}`)
	renamed.Is(t, 200)
	renamed.Has(t, `"deviceName":"App key for notes.example.com"`, `"kind":"app_key"`)
	export := c.Alice.API("GET", "/me/export", "")
	export.Has(t, `"kind":"app_key"`, `"host":"notes.example.com"`, `"kind":"key_made"`, `"expiresAt":null`)

	for name, text := range map[string]string{
		"list": c.Alice.Page("/sessions").Body, "activity": c.Alice.Page("/activity").Body, "keys": c.Alice.Page("/account/keys").Body,
		"JSON": got.Body, "export": export.Body, "log": c.Log.String(), "account": c.Alice.Page("/account").Body,
	} {
		if strings.Contains(text, key) || strings.Contains(text, strings.TrimPrefix(key, "plk_")) ||
			strings.Contains(strings.ToLower(text), handlerstest.SHA256Hex(key)) {
			t.Errorf("%s has the key or its hash", name)
		}
	}
	files := 0
	err := filepath.WalkDir(filepath.Dir(c.Path), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		files++
		if strings.Contains(string(content), strings.TrimPrefix(key, "plk_")) {
			t.Errorf("%s has the key", path)
		}
		return err
	})
	if err != nil || files < 2 {
		t.Errorf("%d files were searched, %v", files, err)
	}
}

// Names come from the user, and hosts from anyone who can write to the database.
func TestHostileKeyNames(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	_, made := makeKey(c.Alice, "name", hostileName, "host", notes, "expires", "1y")
	id := c.Only(`SELECT id FROM sessions WHERE kind = 'app_key'`)
	for name, got := range map[string]handlerstest.Answer{
		"made": made, "keys": c.Alice.Page("/account/keys"), "list": c.Alice.Page("/sessions"), "activity": c.Alice.Page("/activity"),
		"confirm": c.Alice.Form("/sessions/" + id + "/revoke"), "not me": c.Alice.Form("/sessions/" + id + "/not-me"),
		"refused": c.Alice.Form("/account/keys", "name", hostileName, "host", hostileName, "expires", hostileName),
		"revoked": c.Alice.HTMX("DELETE", "/sessions/"+id),
	} {
		t.Run(name, func(t *testing.T) {
			got.Lacks(t, "<img", ` hx-get="/evil`)
			got.Has(t, "&lt;img onerror=alert(1)&gt;")
			for _, opened := range tag.FindAllString(got.Body, -1) {
				for _, match := range attribute.FindAllStringSubmatch(opened, -1) {
					if strings.HasPrefix(match[1], "hx-") && !htmxFixed.MatchString(match[2]) {
						t.Errorf("%s in %s", match[0], opened)
					}
				}
			}
		})
	}
}
