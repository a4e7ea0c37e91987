package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"porchlight/db"
	"porchlight/handlers/handlerstest"
)

// This file tests the text of the samples: what two of them must have in common, and that proxies accept those in the documents.

// The sample for containers contains a Caddyfile, which must guard apps in the same way.
func TestComposeMatchesTheCaddyfile(t *testing.T) {
	snippet := func(name string) (lines []string) {
		_, text, found := strings.Cut(sample(t, name), "(porchlight) {")
		if !found {
			t.Fatalf("deploy/%s has no snippet", name)
		}
		for line := range strings.Lines(strings.ReplaceAll(text, "porchlight:3000", "127.0.0.1:3000")) {
			line = strings.TrimSpace(line)
			if strings.HasPrefix(line, "auth.example.com") {
				return lines
			}
			if line != "" && !strings.HasPrefix(line, "#") {
				lines = append(lines, line)
			}
		}
		t.Fatalf("deploy/%s has no site of Porchlight's", name)
		return nil
	}
	if want, got := snippet("Caddyfile"), snippet("compose.yaml"); !slices.Equal(got, want) {
		t.Errorf("compose.yaml asks with %q, the Caddyfile with %q", got, want)
	}
	sample(t, "compose.yaml", "order request_header before forward_auth", "")
}

// The page of each proxy says what the proxy answers while Porchlight is down. TestProxies checks that it does.
func TestPagesSayWhatProxiesAnswerWithoutPorchlight(t *testing.T) {
	for _, p := range proxies {
		page, err := os.ReadFile("../../docs/proxies/" + p.name + ".md")
		if err != nil {
			t.Fatal(err)
		}
		want := regexp.MustCompile(fmt.Sprintf(`While Porchlight is down, \w+ answers %d\.`, p.expected.down))
		if !want.Match(page) {
			t.Errorf("docs/proxies/%s.md lacks %q", p.name, want)
		}
	}
}

// snippet is a fenced block of a document.
type snippet struct{ name, text string }

var fenced = regexp.MustCompile("(?ms)^( *)```(\\w+)\n(.*?)^ *```$")

// snippets returns the fenced blocks of the documents in a language, such as Caddyfile or nginx.
func snippets(t *testing.T, language string) (found []snippet) {
	t.Helper()
	for _, pattern := range []string{"../../README.md", "../../docs/*.md", "../../docs/*/*.md"} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, match := range fenced.FindAllStringSubmatch(string(text), -1) {
				if match[2] == language { // the block may be indented, as a part of a list
					found = append(found, snippet{name, strings.ReplaceAll("\n"+match[3], "\n"+match[1], "\n")[1:]})
				}
			}
		}
	}
	if len(found) < 3 {
		t.Fatalf("the documents have only %q", found)
	}
	return found
}

func TestCaddyfilesOfDocuments(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a reverse proxy")
	}
	t.Parallel()
	proxy{name: "caddy", mustBe: true}.skipIfMissing(t)
	for _, s := range snippets(t, "Caddyfile") {
		if strings.Contains(s.text, "import porchlight") { // one more app
			s.text = sample(t, "Caddyfile") + "\n" + s.text
		}
		file := filepath.Join(t.TempDir(), "Caddyfile")
		if err := os.WriteFile(file, []byte(s.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if said, err := exec.Command("caddy", "adapt", "--validate", "--adapter", "caddyfile", "--config", file).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s\n%s", s.name, err, said, s.text)
		}
	}
}

func TestNginxSnippetsOfDocuments(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a reverse proxy")
	}
	t.Parallel()
	proxy{name: "nginx", mustBe: true}.skipIfMissing(t)
	for _, snippet := range snippets(t, "nginx") {
		s := newSite(t, func(*db.Options) {}, handlerstest.GuardsExample)
		certificate, key := s.certificate()
		text := strings.NewReplacer("listen 443", "listen "+s.address, "/etc/ssl/example.com.pem", certificate, "/etc/ssl/example.com.key", key,
			"include /etc/nginx/porchlight-app.conf", "include "+s.write("nginx-app.conf", sample(t, "nginx-app.conf"))).Replace
		servers := sample(t, "nginx.conf")
		switch {
		case strings.HasPrefix(snippet.text, "server {"): // one more app
			servers += snippet.text
		case strings.HasPrefix(snippet.text, "location "): // Porchlight's own server, without the sample
			servers = "server {\n" + snippet.text + "}\n"
		default: // a line for the server of an app
			servers = strings.Replace(servers, "    set $app ", snippet.text+"    set $app ", 1)
		}
		file := s.write("nginx.conf", "pid "+filepath.Join(s.folder, "pid")+";\nevents {}\nhttp {\n"+text(servers)+"}\n")
		if said, err := exec.Command("nginx", "-t", "-e", "stderr", "-p", s.folder, "-c", file).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s\n%s", snippet.name, err, said, snippet.text)
		}
	}
}

// The README's app, as it stands, is one more in deploy/Caddyfile.
func TestReadmeGuardsAnApp(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a reverse proxy")
	}
	t.Parallel()
	readme := snippets(t, "Caddyfile")[0]
	if lines := strings.Count(readme.text, "\n"); readme.name != "../../README.md" || lines != 4 {
		t.Fatalf("the first Caddyfile is in %s and has %d lines, want 4 in the README", readme.name, lines)
	}
	const notes, page = "\nnotes.example.com {", "https://photos.example.com/"
	s := openSite(t, proxies[0], func(s *site) {
		app := strings.Replace(readme.text, "127.0.0.1:8081", s.photos.address, 1)
		s.recipe = map[string][2]string{"Caddyfile": {notes, "\n" + app + notes}}
	})
	s.visit(handlerstest.FirefoxOnLinux).Page(page).Is(t, 302, signInPlace(page))
	s.untouched(t)
	alice := s.signedIn("alice", handlerstest.AlicePassword, handlerstest.FirefoxOnLinux)
	alice.Page(page).Is(t, 200)
	if seen := s.photos.take(); len(seen) != 1 || seen[0].header.Get("Remote-User") != "alice" {
		t.Errorf("the app sees %+v, want one request of alice's", seen)
	}
	if _, err := s.Store.RevokeUser(t.Context(), db.CommandLine, "alice"); err != nil {
		t.Fatal(err)
	}
	alice.Page(page).Is(t, 302, signInPlace(page))
	s.untouched(t)
}
