package e2e

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// This file checks pages with axe-core, which finds accessibility faults. The environment variable AXE is the path
// of its axe.min.js. Every page whose layout is checked is checked with it.

// hasAxe skips the test without axe-core, or fails it in CI. The other tests then check only the layout.
func hasAxe(t *testing.T, _ *chromiumProcess) {
	switch {
	case os.Getenv("AXE") != "":
	case os.Getenv("CI") == "true":
		t.Fatal("AXE is not set: the pages cannot be checked with axe-core")
	default:
		t.Skip("AXE is not set: the pages are not checked with axe-core")
	}
}

const axeFaults = `axe.run().then((found) => found.violations.map((v) =>
	v.id + ' (' + v.help + '): ' + v.nodes.map((n) => n.html.slice(0, 200)).join(', ')))`

// axeFaults returns what axe-core finds on the page.
func (b *tab) axeFaults() (faults []string) {
	b.t.Helper()
	path := os.Getenv("AXE")
	if path == "" {
		return nil
	}
	source, err := os.ReadFile(path)
	if err != nil {
		b.t.Fatal(err)
	}
	var found json.RawMessage
	wait := func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }
	b.run(chromedp.Evaluate(string(source)+"; 0", nil), chromedp.Evaluate(axeFaults, &found, wait))
	if err := json.Unmarshal(found, &faults); err != nil {
		b.t.Fatal(err)
	}
	return faults
}
