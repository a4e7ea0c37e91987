package main

import (
	"path/filepath"
	"regexp"
	"testing"
)

// A tag can be moved to other code after somebody has looked at it. A commit cannot.
func TestWorkflowsPinActions(t *testing.T) {
	t.Parallel()
	workflows, err := filepath.Glob(".github/workflows/*.yml")
	if err != nil || len(workflows) == 0 {
		t.Fatal("no workflows:", err)
	}
	pinned := regexp.MustCompile(`^(\./.*|[^@]+@[0-9a-f]{40} # v[0-9.]+)$`)
	for _, name := range workflows {
		for _, action := range regexp.MustCompile(`(?m)\buses: *(.*)$`).FindAllStringSubmatch(readFile(t, name), -1) {
			if !pinned.MatchString(action[1]) {
				t.Errorf("%s: %s is not pinned to a commit, with its version in a comment", name, action[1])
			}
		}
	}
}
