package db_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"porchlight/db"
)

// A command that has other files open than the server that runs would revoke what the server still lets in.
func TestACommandAgreesWithTheServer(t *testing.T) {
	t.Parallel()
	h := openHouse(t, func(o *db.Options) { o.Serve = true })
	var warnings []string
	command := h.options
	command.Serve = false
	command.Warn = func(warning string) { warnings = append(warnings, warning) }
	for _, test := range []struct {
		name, note string // "" is the server's own
		refused    bool
		warned     bool
	}{
		{name: "the same files"},
		{name: "other files", note: "1:2\n1:3\n1:4\n", refused: true},
		{name: "the server is shut", note: "shut\n", warned: true},
	} {
		warnings = nil
		if test.note != "" {
			if err := os.WriteFile(h.options.Path+".lock", []byte(test.note), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		store, err := db.Open(context.Background(), command)
		if test.refused != errors.Is(err, db.ErrUnavailable) || test.refused != (err != nil && strings.Contains(err.Error(), "restart it, then try again")) {
			t.Errorf("%s: %v", test.name, err)
		}
		if err == nil {
			err = store.Close()
		}
		if err != nil && !test.refused {
			t.Errorf("%s: %v", test.name, err)
		}
		if got := slices.ContainsFunc(warnings, func(w string) bool { return strings.Contains(w, "restart") }); got != test.warned {
			t.Errorf("%s: warned of %q", test.name, warnings)
		}
	}
}
