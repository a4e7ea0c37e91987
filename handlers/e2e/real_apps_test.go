package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"porchlight/db"
	"porchlight/db/dbtest"
	"porchlight/handlers/handlerstest"
)

// This file tests real apps behind real proxies: Radicale, a calendar server whose clients cannot open a sign-in page, and TiddlyWiki,
// which people use in a browser. They are set up as docs/apps.md says. .ci/run installs them.

func TestRealApps(t *testing.T) {
	if testing.Short() {
		t.Skip("starts reverse proxies and apps")
	}
	for _, p := range proxies {
		if !p.mustBe {
			continue
		}
		t.Run(p.name+" and Radicale", func(t *testing.T) { syncsACalendar(t, p) })
		t.Run(p.name+" and TiddlyWiki", func(t *testing.T) { editsAWiki(t, p) })
	}
}

// startApp starts an app that listens on an address, or skips the test if the app is not installed. In CI, the test fails.
func startApp(t *testing.T, address, name string, args ...string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("no %s on the PATH", name)
		}
		t.Skipf("no %s on the PATH", name)
	}
	startProcess(t, nil, name, args...).await(t, func() error {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
		}
		return err
	})
}

// appSnippet returns the first snippet of docs/apps.md in a language that contains the text.
func appSnippet(t *testing.T, language, text string) string {
	t.Helper()
	for _, s := range snippets(t, language) {
		if s.name == "../../docs/apps.md" && strings.Contains(s.text, text) {
			return s.text
		}
	}
	t.Fatalf("docs/apps.md has no %s with %q", language, text)
	return ""
}

const (
	teaEvent = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//porchlight//test//EN\r\nBEGIN:VEVENT\r\nUID:tea\r\nDTSTAMP:20261118T100000Z\r\n" +
		"DTSTART:20261118T150000Z\r\nSUMMARY:Tea on the porch\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
	whoAmI    = `<propfind xmlns="DAV:"><prop><current-user-principal/></prop></propfind>`
	allEvents = `<C:calendar-query xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav"><D:prop><C:calendar-data/></D:prop>` +
		`<C:filter><C:comp-filter name="VCALENDAR"/></C:filter></C:calendar-query>`
)

// syncsACalendar uses Radicale with an app key, as a calendar app on a phone does.
func syncsACalendar(t *testing.T, p proxy) {
	address, folder := dbtest.FreeAddress(t), t.TempDir()
	config := filepath.Join(folder, "config")
	text := fmt.Sprintf("[server]\nhosts = %s\n[storage]\nfilesystem_folder = %s\n", address, folder) + appSnippet(t, "ini", "[auth]\ntype")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	startApp(t, address, "radicale", "--config", config)
	const app = "set $app http://127.0.0.1:8080;\n"
	_, caddy, _ := strings.Cut(appSnippet(t, "Caddyfile", "X-Remote-User"), "{\n") // without the name of the site
	caddy = strings.TrimSuffix(strings.Replace(caddy, "127.0.0.1:5232", "127.0.0.1:8080", 1), "}\n")
	s := openSite(t, p, func(s *site) {
		s.notes.address = address
		s.recipe = map[string][2]string{
			"Caddyfile":  {"\timport porchlight\n\treverse_proxy 127.0.0.1:8080\n", caddy},
			"nginx.conf": {app, app + appSnippet(t, "nginx", "X-Remote-User")},
		}
	})
	bob := s.signedIn("bob", handlerstest.BobPassword, handlerstest.ChromeOnMac)
	key, made := s.CreateKey(domainCookie(bob).Value, "notes.example.com")
	phone := s.visit("DAVx5/4.5")
	ask := func(method, path, body string, headers ...string) handlerstest.Answer {
		t.Helper()
		return phone.Do(method, notesSite+path, body, append(headers, "Authorization", basic("bob", key), "X-Remote-User", "alice",
			"Remote-User", "alice")...)
	}
	phone.Do("PROPFIND", notesSite+"/", whoAmI, "Depth", "0").Is(t, 401)
	got := ask("PROPFIND", "/", whoAmI, "Depth", "0")
	got.Is(t, 207)
	got.Has(t, "<current-user-principal><href>/bob/</href>")
	ask("MKCALENDAR", "/bob/home/", "").Is(t, 201)
	ask("PUT", "/bob/home/tea.ics", teaEvent, "Content-Type", "text/calendar; charset=utf-8").Is(t, 201)
	got = ask("REPORT", "/bob/home/", allEvents, "Depth", "1")
	got.Is(t, 207)
	got.Has(t, "Tea on the porch")
	ask("PUT", "/alice/home/tea.ics", teaEvent, "Content-Type", "text/calendar; charset=utf-8").Is(t, 403) // Radicale knows who it is

	bob.Do("DELETE", ownSite+"/sessions/"+made.ID, "", "HX-Request", "true", "Sec-Fetch-Site", "same-origin").Is(t, 200)
	for _, method := range []string{"PROPFIND", "REPORT", "PUT", "DELETE"} {
		ask(method, "/bob/home/tea.ics", "").Is(t, 401)
	}
	if events, err := filepath.Glob(filepath.Join(folder, "collection-root", "bob", "home", "*.ics")); err != nil || len(events) != 1 {
		t.Errorf("the calendar has the events %q, %v", events, err)
	}
}

// editsAWiki uses TiddlyWiki in a browser that is signed in.
func editsAWiki(t *testing.T, p proxy) {
	address, wiki := dbtest.FreeAddress(t), filepath.Join(t.TempDir(), "wiki")
	_, port, _ := net.SplitHostPort(address)
	if name, err := exec.LookPath("tiddlywiki"); err == nil {
		if said, err := exec.Command(name, wiki, "--init", "server").CombinedOutput(); err != nil {
			t.Fatalf("tiddlywiki --init: %v: %s", err, said)
		}
	}
	arguments := strings.Fields(strings.NewReplacer(`"`, "", "FOLDER", wiki, "port=8080", "host=127.0.0.1 port="+port).
		Replace(appSnippet(t, "sh", "tiddlywiki ")))
	startApp(t, address, arguments[0], arguments[1:]...)
	s := openSite(t, p, func(s *site) { s.notes.address = address })
	bob := s.signedIn("bob", handlerstest.BobPassword, handlerstest.ChromeOnMac)
	ask := func(method, path, body string) handlerstest.Answer {
		t.Helper()
		return bob.Do(method, notesSite+path, body, "X-Requested-With", "TiddlyWiki", "Remote-User", "alice", "Sec-Fetch-Mode", "cors")
	}
	s.visit(handlerstest.FirefoxOnLinux).Page(notesSite+"/").Is(t, 302, signInPlace(notesSite+"/"))
	page := bob.Page(notesSite + "/")
	page.Is(t, 200)
	page.Has(t, "TiddlyWiki")
	ask("GET", "/status", "").Has(t, `"username":"bob"`)
	ask("PUT", "/recipes/default/tiddlers/Tea", `{"title":"Tea","text":"on the porch"}`).Is(t, 204)
	ask("GET", "/recipes/default/tiddlers/Tea", "").Has(t, "on the porch")

	if _, err := s.Store.RevokeUser(t.Context(), db.CommandLine, "bob"); err != nil {
		t.Fatal(err)
	}
	for _, method := range []string{"GET", "PUT", "DELETE"} {
		got := ask(method, "/recipes/default/tiddlers/Tea", `{"title":"Tea","text":"spilt"}`)
		got.Is(t, 401)
		if strings.Contains(got.Body, "porch") {
			t.Errorf("the wiki answers %s", got.Body)
		}
	}
	bob.Page(notesSite+"/").Is(t, 302, signInPlace(notesSite+"/"))
}
