package e2e

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"porchlight/handlers/handlerstest"
)

// This file tests app keys with every proxy: a sync client gets in, and the app never sees the key.

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

func takesAppKeys(t *testing.T, s *site, _ expected) {
	alice := s.signedIn("alice", handlerstest.AlicePassword, handlerstest.FirefoxOnLinux)
	bob := s.signedIn("bob", handlerstest.BobPassword, handlerstest.ChromeOnMac)
	key, made := s.CreateKey(domainCookie(bob).Value, "notes.example.com")
	client := s.visit("DAVx5/4")
	for name, request := range map[string]struct {
		client *handlerstest.Client
		method string
		value  string
	}{
		"Bearer":                           {client, "GET", "Bearer " + key},
		"Basic":                            {client, "PROPFIND", basic("bob", key)},
		"Basic, any user name":             {client, "PUT", basic("whoever", key)},
		"Basic beside alice's own session": {alice, "GET", basic("bob", key)},
	} {
		body := ""
		if request.method == "PUT" {
			body = "BEGIN:VCALENDAR"
		}
		seen := s.reaches(t, request.client.Do(request.method, notesSite+"/calendar", body, "Authorization", request.value))
		if seen.header.Get("Remote-User") != "bob" || seen.header.Get("Remote-Session") != made.ID || seen.body != body {
			t.Errorf("%s: the app saw Remote-User %q, Remote-Session %q and %q", name, seen.header.Get("Remote-User"),
				seen.header.Get("Remote-Session"), seen.body)
		}
		if all := fmt.Sprint(seen.header); seen.header.Values("Authorization") != nil || strings.Contains(all, key) ||
			strings.Contains(all, base64.StdEncoding.EncodeToString([]byte("bob:"+key))) {
			t.Errorf("%s: the app saw the key in %s", name, all)
		}
	}
	refused := func(what, value string) {
		t.Helper()
		for _, who := range []*handlerstest.Client{client, bob} { // bob's own session does not help
			got := who.Do("GET", notesSite+"/", "", "Authorization", value, "Accept", handlerstest.BrowserAccept)
			got.Is(t, 401)
			if challenge := got.Header.Get("WWW-Authenticate"); !strings.HasPrefix(challenge, "Basic realm=") {
				t.Errorf("%s: WWW-Authenticate %q", what, challenge)
			}
			s.untouched(t)
		}
	}
	forPhotos, _ := s.CreateKey(domainCookie(bob).Value, "photos.example.com")
	refused("for another host", "Bearer "+forPhotos)
	refused("an invented key", basic("bob", "plk_ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
	refused("malformed", "Token "+key)
	for _, lines := range []string{
		"Authorization: Bearer " + key + "\r\nAuthorization: " + basic("app", "own") + "\r\n",
		"Authorization: " + basic("app", "own") + "\r\nAuthorization: Bearer " + key + "\r\n",
		"authorization: Bearer " + key + "\r\nAUTHORIZATION: Bearer " + key + "\r\n",
	} {
		got := s.send("notes.example.com", "GET / HTTP/1.1\r\nHost: notes.example.com\r\nCookie: __Secure-porchlight="+domainCookie(bob).Value+
			"\r\nConnection: close\r\n"+lines+"\r\n")
		if got.Status != 400 && got.Status != 401 {
			t.Errorf("two headers: %d", got.Status)
		}
		s.untouched(t)
	}
	bob.Do("DELETE", ownSite+"/sessions/"+made.ID, "", "HX-Request", "true", "Sec-Fetch-Site", "same-origin").Is(t, 200)
	refused("revoked", "Bearer "+key)
	// Porchlight's own pages do not know keys at all.
	client.Do("GET", ownSite+"/me/sessions", "", "Authorization", "Bearer "+key).Is(t, 401)
}

// Apps use Authorization, too. Signed-in users can use it as if Porchlight were not there.
func keepsTheAppsAuthorization(t *testing.T, s *site, _ expected) {
	bob := s.signedIn("bob", handlerstest.BobPassword, handlerstest.ChromeOnMac)
	for _, own := range []string{basic("app", "own"), "Bearer eyJhbGciOiJIUzI1NiJ9.e30.x_plk_y", "Negotiate " + strings.Repeat("YIIe", 1500)} {
		seen := s.reaches(t, bob.Do("GET", notesSite+"/", "", "Authorization", own))
		if got := strings.Join(seen.header.Values("Authorization"), "|"); got != own || seen.header.Get("Remote-User") != "bob" {
			t.Errorf("the app saw %.50q of %.50q, and Remote-User %q", got, own, seen.header.Get("Remote-User"))
		}
		got := s.visit("curl").Do("GET", notesSite+"/", "", "Authorization", own)
		got.Is(t, 401)
		if got.Header.Values("WWW-Authenticate") != nil {
			t.Error("a client without a session is asked for a password that would not help")
		}
		s.untouched(t)
	}
	if seen := s.reaches(t, bob.Page(notesSite+"/")); seen.header.Values("Authorization") != nil {
		t.Errorf("the app saw %q of nothing", seen.header.Values("Authorization"))
	}
}
