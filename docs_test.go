package main

import (
	"encoding/json"
	"log/slog"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"porchlight/db"
	"porchlight/handlers"
)

// This file checks the documents against the program: every setting, command and route is documented, and nothing else is.

// documents returns the names of all documents.
func documents(t *testing.T) []string {
	t.Helper()
	names := []string{"README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"}
	for _, pattern := range []string{"docs/*.md", "docs/*/*.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, found...)
	}
	if len(names) < 10 {
		t.Fatalf("only %q were found", names)
	}
	return names
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func model(t *testing.T) *kong.Application {
	t.Helper()
	parser, err := newParser(new(commands))
	if err != nil {
		t.Fatal(err)
	}
	return parser.Model
}

// Words are separated by spaces, so code, addresses and the marks of tables count, too.
func TestReadmeIsShort(t *testing.T) {
	t.Parallel()
	if words := len(strings.Fields(readFile(t, "README.md"))); words > 700 {
		t.Errorf("the README has %d words, want at most 700", words)
	}
}

func TestTablesAreGenerated(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"settings", "commands"} {
		table := mustRun(t, "", "docs", name)
		if text := readFile(t, "docs/"+name+".md"); !strings.Contains(text, "\n\n"+table+"\n") {
			t.Errorf("docs/%s.md differs from the program; replace its table with this:\n%s", name, table)
		}
	}
}

// The program would not start with a variable or a flag that does not exist.
func TestDocumentsNameOnlySettings(t *testing.T) {
	t.Parallel()
	app := model(t)
	known := []string{"--help", "--no-admin"}
	for _, flag := range app.Flags {
		known = append(known, variableOf(flag.Name), "--"+flag.Name)
	}
	for _, node := range app.Leaves(false) {
		for _, flag := range node.Flags {
			known = append(known, "--"+flag.Name)
		}
	}
	files, err := filepath.Glob("deploy/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(files, documents(t)...) {
		text := readFile(t, name)
		for _, variable := range regexp.MustCompile(variablePrefix+`[A-Z][A-Z_]*`).FindAllString(text, -1) {
			if !slices.Contains(known, variable) {
				t.Errorf("%s: there is no %s", name, variable)
			}
		}
		for _, match := range regexp.MustCompile("`(--[a-z][a-z-]*)").FindAllStringSubmatch(text, -1) {
			if !slices.Contains(known, match[1]) {
				t.Errorf("%s: there is no %s", name, match[1])
			}
		}
	}
}

// Commands that a sentence names, such as `porchlight doctor --mail-to ADDRESS`, exist and have those flags. TestTablesAreGenerated and
// TestShellSnippetsOfDocuments check the others.
func TestDocumentsNameOnlyCommands(t *testing.T) {
	t.Parallel()
	found := 0
	for _, name := range documents(t) {
		for _, match := range regexp.MustCompile("`(?:porchlight|go run \\.) ([^`[]+)`").FindAllStringSubmatch(readFile(t, name), -1) {
			found++
			parser, err := newParser(new(commands))
			if err != nil {
				t.Fatal(err)
			}
			trace, err := kong.Trace(parser, strings.Fields(match[1]))
			if err == nil {
				err = trace.Error
			}
			if err != nil {
				t.Errorf("%s: %s: %v", name, match[0], err)
			}
		}
	}
	if found < 15 {
		t.Errorf("found only %d commands", found)
	}
}

// The example calls every route of the API, and no others.
func TestDocumentsHaveEveryAPIRoute(t *testing.T) {
	t.Parallel()
	var want, got []string
	app := handlers.New(handlers.Options{URL: &url.URL{Scheme: "http", Host: "localhost"}, Log: slog.New(slog.DiscardHandler)})
	for _, r := range app.GetRoutes(true) {
		switch name := r.Method + " " + r.Path; {
		case r.Method == "HEAD" || slices.Contains(want, name):
		case strings.HasPrefix(r.Path, "/me/"), name == "GET /healthz", name == "POST /login", name == "POST /logout":
			want = append(want, name)
		}
	}
	call := regexp.MustCompile(`(?m)^curl (.*)\$URL(/\S*)$`)
	for _, match := range call.FindAllStringSubmatch(readFile(t, "docs/api.md"), -1) {
		method := "GET"
		if strings.Contains(match[1], " -d ") {
			method = "POST"
		}
		if given := regexp.MustCompile(`-X (\w+)`).FindStringSubmatch(match[1]); given != nil {
			method = given[1]
		}
		got = append(got, method+" "+strings.ReplaceAll(match[2], "ID", ":id"))
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("docs/api.md calls\n%s\nthe routes are\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// The session and the entry that docs/api.md shows have the fields that the API returns, and no others.
func TestDocumentsShowJSON(t *testing.T) {
	t.Parallel()
	blocks := jsonBlock.FindAllStringSubmatch(readFile(t, "docs/api.md"), -1)
	current := handlers.NewSessionJSON(db.Session{})
	current.IsCurrent = new(bool)
	objects := []any{current, handlers.NewActivityJSON(db.Activity{})}
	if len(blocks) != len(objects) {
		t.Fatalf("docs/api.md shows %d objects, want %d", len(blocks), len(objects))
	}
	for i, object := range objects {
		text, err := json.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		if want, got := fieldsOf(t, string(text)), fieldsOf(t, blocks[i][1]); !slices.Equal(got, want) {
			t.Errorf("docs/api.md shows %q, the API returns %q", got, want)
		}
	}
}

var jsonBlock = regexp.MustCompile("(?s)```json\n(.*?)```")

// fieldsOf returns the sorted names of the fields of a JSON object.
func fieldsOf(t *testing.T, text string) []string {
	t.Helper()
	var object map[string]any
	if err := json.Unmarshal([]byte(text), &object); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return slices.Sorted(maps.Keys(object))
}

func TestDocumentsHaveEveryKindOfActivity(t *testing.T) {
	t.Parallel()
	_, section, _ := strings.Cut(readFile(t, "docs/api.md"), "| kind | what happened |")
	section, _, _ = strings.Cut(section, "\n#")
	var got []string
	for _, row := range regexp.MustCompile("(?m)^\\| (`.*?) \\|").FindAllStringSubmatch(section, -1) {
		got = append(got, strings.Split(strings.Trim(row[1], "`"), "`, `")...)
	}
	var want []string
	for _, match := range regexp.MustCompile(`(?m)^\t\w+ += "(\w+)"`).FindAllStringSubmatch(readFile(t, "db/activity.go"), -1) {
		want = append(want, match[1])
	}
	slices.Sort(got)
	slices.Sort(want)
	if len(want) < 30 || !slices.Equal(got, want) {
		t.Errorf("docs/api.md has the kinds %q, the program %q", got, want)
	}
}
