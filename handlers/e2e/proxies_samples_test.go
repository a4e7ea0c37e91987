package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// This file tests the text of the samples: what two of them must have in common, and that Caddy accepts the README's.

// The sample for containers contains a Caddyfile, which must guard apps in the same way.
func TestComposeAsksLikeTheCaddyfile(t *testing.T) {
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

func TestReadmeCaddyfiles(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a reverse proxy")
	}
	t.Parallel()
	proxy{name: "caddy", mustBe: true}.find(t)
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	// A snippet with an app needs the part of the sample before its own apps.
	guard, _, found := strings.Cut(sample(t, "Caddyfile"), "\nnotes.example.com {")
	if !found {
		t.Fatal("deploy/Caddyfile has no notes.example.com any more")
	}
	prose, count := "", 0
	for i, part := range strings.Split(string(text), "```") {
		if i%2 == 0 {
			prose += part
			continue
		}
		snippet, isCaddyfile := strings.CutPrefix(part, "Caddyfile\n")
		if !isCaddyfile {
			continue
		}
		count++
		if strings.Contains(snippet, "import porchlight") {
			snippet = guard + "\n" + snippet
		}
		file := filepath.Join(t.TempDir(), "Caddyfile")
		if err := os.WriteFile(file, []byte(snippet), 0o600); err != nil {
			t.Fatal(err)
		}
		if said, err := exec.Command("caddy", "adapt", "--validate", "--adapter", "caddyfile", "--config", file).CombinedOutput(); err != nil {
			t.Errorf("%v: %s\n%s", err, said, snippet)
		}
	}
	if count != 3 {
		t.Errorf("the README has %d Caddyfiles, want 3", count)
	}
	if strings.Contains(prose, "reverse_proxy") {
		t.Error("the README has a reverse_proxy outside of a Caddyfile block, where it is not tried")
	}
}
