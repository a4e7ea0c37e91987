package handlers_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"porchlight/db"
	"porchlight/handlers"
	"porchlight/handlers/handlerstest"
)

// This file tests the passkeys of an account: adding, naming and removing them.

func TestPasskeyOfSomebodyElse(t *testing.T) {
	t.Parallel()
	h, alice, passkey := passkeyHouse(t)
	h.AddUser("bob", handlerstest.BobPassword)
	bob := h.SignIn("bob", handlerstest.BobPassword, handlerstest.ChromeOnMac)
	taken := *passkey
	addPasskey(bob, &taken).Is(t, 422)
	addPasskey(alice, passkey).Is(t, 422)
	id := h.Only(`SELECT id FROM passkeys`)
	check := h.Unchanged()
	bob.Form("/account/passkeys/"+id+"/name", "name", "mine").Is(t, 404)
	bob.Form("/account/passkeys/"+id+"/remove", "confirm", "1").Is(t, 404)
	check(t)
	h.SameRows(t, []string{"alice Firefox on Linux"}, `SELECT u.username, p.name FROM passkeys p JOIN users u ON u.id = p.user_id`)
	passkeySignIn(h.NewClient(handlerstest.FirefoxOnLinux), passkey).Is(t, 200)
}

func TestPasskeyThatCannotBeAdded(t *testing.T) {
	t.Parallel()
	h, alice, passkey := passkeyHouse(t)
	for name, tamper := range map[string]func(*handlerstest.Passkey){
		"other origin":      func(p *handlerstest.Passkey) { p.Origin = "https://evil.example" },
		"other site":        func(p *handlerstest.Passkey) { p.RPID = "evil.example" },
		"user not verified": func(p *handlerstest.Passkey) { p.Flags &^= handlerstest.UserVerified },
		"user not present":  func(p *handlerstest.Passkey) { p.Flags &^= handlerstest.UserPresent },
		"other challenge":   func(p *handlerstest.Passkey) { p.Challenge = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" },
		"a login":           func(p *handlerstest.Passkey) { p.Type = "webauthn.get" },
		"known":             func(p *handlerstest.Passkey) { p.ID = passkey.ID },
		"huge transports":   func(p *handlerstest.Passkey) { p.Transports = []string{big("x", 5000)} },
		"a huge id":         func(p *handlerstest.Passkey) { p.ID = make([]byte, 1024) },
	} {
		t.Run(name, func(t *testing.T) {
			fresh := handlerstest.NewPasskey(t, h.URL)
			tamper(fresh)
			addPasskey(alice, fresh).Is(t, 422)
			h.SameRows(t, []string{"1"}, `SELECT COUNT(*) FROM passkeys`)
		})
	}
	options := alice.API("POST", "/account/passkeys/begin", "{}").Body
	for _, want := range []string{`"residentKey":"required"`, `"userVerification":"required"`, `"attestation":"none"`, `"timeout":300000`,
		`"rp":{"name":"Porchlight","id":"localhost"}`} {
		if !strings.Contains(options, want) {
			t.Errorf("the options lack %s: %s", want, options)
		}
	}
}

func TestFirstPasskeyBringsRecoveryCodes(t *testing.T) {
	t.Parallel()
	h := handlerstest.OpenAtLocalhost(t)
	h.AddUser("alice", handlerstest.AlicePassword)
	alice := h.SignIn("alice", handlerstest.AlicePassword, handlerstest.FirefoxOnLinux)
	got := addPasskey(alice, handlerstest.NewPasskey(t, h.URL))
	var answer struct{ HTML string }
	if err := json.Unmarshal([]byte(got.Body), &answer); err != nil {
		t.Fatal(err)
	}
	codes := handlerstest.RecoveryCodes(handlerstest.Answer{Body: answer.HTML})
	if len(codes) != 10 || strings.Contains(answer.HTML, "<html") {
		t.Fatalf("%d codes in %s", len(codes), got.Body)
	}
	browser := h.NewClient(handlerstest.ChromeOnMac)
	browser.Form("/login", "username", "alice", "password", handlerstest.AlicePassword).Is(t, 303, "/login/code")
	browser.Form("/login/code", "code", codes[3]).Is(t, 303)

	second := addPasskey(alice, handlerstest.NewPasskey(t, h.URL))
	second.Has(t, `{"location":"/account/security?done=passkey"}`)
}

func TestPasskeysAreBounded(t *testing.T) {
	t.Parallel()
	h, alice, passkey := passkeyHouse(t)
	const most = `{"error":"You already have 20 passkeys, the most allowed. Remove one first."}`
	for range 18 {
		addPasskey(alice, handlerstest.NewPasskey(t, h.URL)).Is(t, 200)
	}
	other := h.NewClient(handlerstest.SafariOnIPhone) // adds the last one in the meantime
	passkeySignIn(other, passkey).Is(t, 200)
	options := alice.API("POST", "/account/passkeys/begin", "{}").Body
	addPasskey(other, handlerstest.NewPasskey(t, h.URL)).Is(t, 200)
	got := alice.API("POST", "/account/passkeys", finishing(handlerstest.NewPasskey(t, h.URL).Create(t, options)))
	got.Is(t, 422)
	got.Has(t, most)
	got = alice.API("POST", "/account/passkeys/begin", "{}")
	got.Is(t, 422)
	got.Has(t, most)
	h.SameRows(t, []string{"20"}, `SELECT COUNT(*) FROM passkeys`)
}

func TestLastPasskeyWhereOneIsRequired(t *testing.T) {
	t.Parallel()
	const site = "http://porch.localhost"
	h := handlerstest.OpenHouseWith(t, func(o *db.Options) { o.RequireSecondFactor = db.RequireAll },
		func(o *handlers.Options) { o.URL, _ = url.Parse(site) })
	h.AddUser("alice", handlerstest.AlicePassword)
	alice := h.SignIn("alice", handlerstest.AlicePassword, handlerstest.FirefoxOnLinux)
	alice.Page("/sessions").Is(t, 303, "/account/security")
	passkey := handlerstest.NewPasskey(t, site)
	addPasskey(alice, passkey).Is(t, 200)
	alice.Page("/sessions").Is(t, 200)
	at := "/account/passkeys/" + h.Only(`SELECT id FROM passkeys`) + "/remove"
	got := alice.Form(at, "confirm", "1")
	got.Is(t, 422)
	got.Has(t, "this is your last one")
	passkeySignIn(h.NewClient(handlerstest.FirefoxOnLinux), passkey).Is(t, 200)
	addPasskey(alice, handlerstest.NewPasskey(t, site)).Is(t, 200)
	alice.Form(at, "confirm", "1").Is(t, 303)
}

func TestPasskeysAreNamedAndRemoved(t *testing.T) {
	t.Parallel()
	h, alice, passkey := passkeyHouse(t)
	second := handlerstest.NewPasskey(t, h.URL)
	addPasskey(alice, second).Is(t, 200)
	id := h.Only(`SELECT id FROM passkeys WHERE credential_id = unhex(?)`, fmt.Sprintf("%x", passkey.ID))
	at := "/account/passkeys/" + id
	alice.Page("/account/security").Has(t, "<bdi>Firefox on Linux</bdi>", "not used yet", "Add a passkey")
	nameless := h.NewClient("")
	passkeySignIn(nameless, second).Is(t, 200)
	addPasskey(nameless, handlerstest.NewPasskey(t, h.URL)).Is(t, 200)
	h.SameRows(t, []string{"Firefox on Linux", "Firefox on Linux", "Passkey"}, `SELECT name FROM passkeys ORDER BY name`)
	h.Exec(`DELETE FROM passkeys WHERE name = 'Passkey'`)

	alice.Form(at+"/name", "name", " <b>Blue</b>\nkey ").Is(t, 303, "/account/security?done=passkey-named")
	alice.Page("/account/security?done=passkey-named").Has(t, "&lt;b&gt;Blue&lt;/b&gt; key", "The name was changed.")
	for name, reason := range map[string]string{
		big("x", 61): "A name can have at most 60 characters.", "\u200b": "A name needs at least one visible character.", "": "A name needs",
	} {
		got := alice.Form(at+"/name", "name", name)
		got.Is(t, 422)
		got.Has(t, reason, "Add a passkey")
	}
	h.SameRows(t, []string{"<b>Blue</b> key"}, `SELECT name FROM passkeys WHERE id = ?`, id)

	alice.Form(at+"/remove").Has(t, "Remove &lt;b&gt;Blue&lt;/b&gt; key?", "Cancel")
	h.SameRows(t, []string{"2"}, `SELECT COUNT(*) FROM passkeys`)
	alice.Form(at+"/remove", "confirm", "1").Is(t, 303, "/account/security?done=passkey-removed")
	alice.Form(at+"/remove", "confirm", "1").Is(t, 404)
	if got := passkeySignIn(h.NewClient(handlerstest.FirefoxOnLinux), passkey); got.Status != 401 || got.Body != passkeyRefused {
		t.Errorf("removed: %d %s", got.Status, got.Body)
	}
	passkeySignIn(h.NewClient(handlerstest.FirefoxOnLinux), second).Is(t, 200)
}
