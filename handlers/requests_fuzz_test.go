package handlers_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"porchlight/handlers/handlerstest"
)

// This file fuzzes whole requests to the real app: no input may cause a 500.

func FuzzCookie(f *testing.F) {
	c := handlerstest.OpenCast(f)
	token := c.Alice.Token()
	for _, cookie := range []string{"", "porchlight=", "porchlight=garbage", "porchlight=" + token, "porchlight=x; porchlight=" + token,
		"; ; =", "porchlight=ABCDEFGHIJKLMNOPQRSTUVWXYZ",
		"porchlight=\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
		"porchlight=\"" + token + "\"", big("porchlight=a;", 1400)} {
		f.Add(cookie)
	}
	f.Fuzz(func(t *testing.T, cookie string) {
		c.T = t
		// A line break would begin another header, and no server accepts control characters in one.
		if strings.ContainsFunc(cookie, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			return
		}
		got := c.Raw(fmt.Sprintf("GET /me/sessions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nCookie: %s\r\n\r\n", cookie))
		switch got.Status {
		case 200:
			if !strings.Contains(cookie, token) {
				t.Errorf("signed in by %q", cookie)
			}
		case 401, 431:
		default:
			t.Errorf("%q: %d %.100s", cookie, got.Status, got.Body)
		}
	})
}

func FuzzSignInBody(f *testing.F) {
	c := handlerstest.OpenCast(f)
	for _, body := range []string{"", "{}", "null", `{"username":"alice","password":"x"}`, `{"username":1}`,
		`{"username":"\ud800","password":"\u0000"}`, `{"shared":{}}`, "[[[[", "{\"username\":\"\xff\"}", "username=alice&password=%zz"} {
		f.Add(body, true)
		f.Add(body, false)
	}
	script := c.NewClient("curl/8.5.0")
	f.Fuzz(func(t *testing.T, body string, isJSON bool) {
		script.T = t
		c.Clock.Advance(15 * time.Minute) // or the throttle would refuse most of them
		kind := "application/json"
		if !isJSON {
			kind = "application/x-www-form-urlencoded"
		}
		got := script.Do("POST", "/login", body, "Content-Type", kind)
		switch got.Status {
		case 400, 401, 413, 422, 429:
			if !strings.HasPrefix(got.Body, `{"error":"`) {
				t.Errorf("%q: %d %.100s", body, got.Status, got.Body)
			}
		case 200: // it guessed well
		default:
			t.Errorf("%q: %d %.100s", body, got.Status, got.Body)
		}
	})
}

func FuzzNameBody(f *testing.F) {
	c := handlerstest.OpenCast(f)
	for _, body := range []string{"", "{}", "null", `{"name":"Kitchen tablet"}`, `{"name":"\ud800\u0000"}`, `{"name":null}`, `{"name":[]}`,
		"{\"name\":\"\xff\"}", `{"name":"` + big("é", 61) + `"}`} {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		c.T, c.Alice.T = t, t
		got := c.Alice.API("PATCH", "/me/sessions/"+c.AlicePhone.ID, body)
		switch got.Status {
		case 200, 400, 413, 422:
		default:
			t.Errorf("%q: %d %.100s", body, got.Status, got.Body)
		}
		kept := c.Only(`SELECT length(custom_name) <= 60 FROM sessions WHERE id = ?`, c.AlicePhone.ID)
		if kept != "1" {
			t.Errorf("%q: a name too long was kept", body)
		}
	})
}

func FuzzPasskeyBody(f *testing.F) {
	h := handlerstest.OpenAtLocalhost(f)
	h.AddUser("alice", handlerstest.AlicePassword)
	alice := h.SignIn("alice", handlerstest.AlicePassword, handlerstest.FirefoxOnLinux)
	passkey := handlerstest.NewPasskey(f, h.URL)
	options := alice.API("POST", "/account/passkeys/begin", "{}").Body
	create := `{"credential":` + string(passkey.Create(f, options)) + `}`
	alice.API("POST", "/account/passkeys", create).Is(f, 200)
	get := `{"credential":` + string(passkey.Get(f, alice.API("POST", "/login/passkey/begin", "{}").Body)) + `,"shared":true,"next":"/x"}`
	for _, body := range []string{"", "{}", "null", create, get, `{"credential":null}`,
		`{"credential":{"id":"AA","rawId":"AA","type":"public-key"}}`,
		`{"credential":{"id":"` + big("A", 40_000) + `"}}`, `{"credential":[],"next":1}`, "{\"credential\":\"\xff\"}"} {
		f.Add(body, true)
		f.Add(body, false)
	}
	f.Fuzz(func(t *testing.T, body string, adds bool) {
		alice.T = t
		// Neither throttled nor in need of step-up, however many inputs came before.
		h.Clock.Advance(15 * time.Minute)
		signIn := passkey.Get(t, alice.API("POST", "/login/passkey/begin", "{}").Body)
		alice.API("POST", "/login/passkey", `{"credential":`+string(signIn)+`}`).Is(t, 200)

		path := "/login/passkey"
		if adds {
			path = "/account/passkeys"
		}
		alice.API("POST", path+"/begin", "{}").Is(t, 200)
		got := alice.API("POST", path, body)
		switch got.Status {
		case 400, 401, 413, 422:
			if !strings.HasPrefix(got.Body, `{"error":"`) {
				t.Errorf("%q: %d %.100s", body, got.Status, got.Body)
			}
		default:
			t.Errorf("%q: %d %.100s", body, got.Status, got.Body)
		}
	})
}
