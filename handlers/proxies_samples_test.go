package handlers_test

import (
	"slices"
	"strings"
	"testing"
)

// This file owns the samples as texts: those that must say the same, and those that a proxy must be able to read.

// The sample for containers has a Caddyfile of its own in it, which asks in the same way.
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
