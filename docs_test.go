package main

import (
	"fmt"
	"log/slog"
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

// readmeSection returns the text below a heading of the README, up to the next heading of that level.
func readmeSection(t *testing.T, heading string) string {
	t.Helper()
	_, section, found := strings.Cut(readFile(t, "README.md"), "\n## "+heading+"\n")
	if !found {
		t.Fatalf("the README has no section %q", heading)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	return section
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// tableRows returns the cells of each row of the tables in a text, without the header rows.
func tableRows(text string) (rows [][]string) {
	inTable := false
	for line := range strings.Lines(text) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		switch {
		case !strings.HasPrefix(line, "|"):
			inTable = false
		case strings.HasPrefix(line, "| ---"):
			inTable = true
		case inTable:
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			rows = append(rows, cells)
		}
	}
	return rows
}

func model(t *testing.T) *kong.Application {
	t.Helper()
	parser, err := newParser(new(commands))
	if err != nil {
		t.Fatal(err)
	}
	return parser.Model
}

func TestReadmeHasEverySetting(t *testing.T) {
	t.Parallel()
	var want, got []string
	for _, flag := range model(t).Flags {
		if !isSetting(flag) {
			continue
		}
		standard := "none"
		switch {
		case flag.Name == "url":
			standard = "`http://localhost:PORT`"
		case flag.Name == "mail-from":
			standard = "`porchlight@HOST` of `--url`"
		case flag.HasDefault:
			standard = "`" + flag.Default + "`"
		}
		want = append(want, "`--"+flag.Name+"` `"+variableOf(flag.Name)+"` "+standard)
	}
	for _, cells := range tableRows(readmeSection(t, "Settings")) {
		got = append(got, strings.Join(cells[:3], " "))
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("the README's settings are\n%s\nthe program's are\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// Every variable that a sample sets must exist, or the server would not start with it.
func TestDocumentsNameOnlySettings(t *testing.T) {
	t.Parallel()
	var known []string
	for _, flag := range model(t).Flags {
		known = append(known, variableOf(flag.Name))
	}
	files, err := filepath.Glob("deploy/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(files, "README.md", "CONTRIBUTING.md") {
		for _, variable := range regexp.MustCompile(variablePrefix+`[A-Z][A-Z_]*`).FindAllString(readFile(t, name), -1) {
			if !slices.Contains(known, variable) {
				t.Errorf("%s: there is no %s", name, variable)
			}
		}
	}
}

// commandOf returns the command in a code span: "user add" for "porchlight user add NAME [--admin]", and "serve" for
// "porchlight [serve]".
func commandOf(span string) string {
	var words []string
	for _, word := range strings.Fields(strings.TrimPrefix(span, "porchlight ")) {
		if !regexp.MustCompile(`^\[?[a-z]+\]?$`).MatchString(word) {
			break
		}
		words = append(words, strings.Trim(word, "[]"))
	}
	return strings.Join(words, " ")
}

func TestReadmeHasEveryCommand(t *testing.T) {
	t.Parallel()
	flag := regexp.MustCompile(`--([a-z][a-z-]*)`)
	section := readmeSection(t, "Commands")
	prose := regexp.MustCompile(`(?m)^\|.*$`).ReplaceAllString(section, "") // describes flags that several commands have
	documented := map[string]string{}                                       // table row by command
	for _, cells := range tableRows(section) {
		for _, span := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cells[0], -1) {
			if command := commandOf(span[1]); command != "" {
				documented[command] = strings.Join(cells, " ")
			}
		}
	}
	app := model(t)
	for _, node := range app.Leaves(true) {
		row, found := documented[node.Path()]
		if !found {
			t.Errorf("the README does not have %q", node.Path())
		}
		delete(documented, node.Path())
		known := []string{"help"}
		for _, flag := range app.Flags {
			known = append(known, flag.Name)
		}
		for _, own := range node.Flags {
			known = append(known, own.Name)
			if own.Tag.Negatable != "" {
				known = append(known, "no-"+own.Name)
			}
			if !own.Hidden && !strings.Contains(row+prose, "--"+own.Name) {
				t.Errorf("%s: the README does not have --%s", node.Path(), own.Name)
			}
		}
		for _, match := range flag.FindAllStringSubmatch(row, -1) {
			if !slices.Contains(known, match[1]) {
				t.Errorf("%s: there is no --%s", node.Path(), match[1])
			}
		}
	}
	if lasts := fmt.Sprintf("good for %d hours", int(db.InvitationLasts.Hours())); !strings.Contains(section, lasts) {
		t.Errorf("the README does not say that an invitation is %s", lasts)
	}
	for command := range documented {
		t.Errorf("there is no %q", command)
	}
}

// The README's example calls every route of the API, and no others.
func TestReadmeHasEveryAPIRoute(t *testing.T) {
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
	for _, match := range call.FindAllStringSubmatch(readmeSection(t, "API"), -1) {
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
		t.Errorf("the README calls\n%s\nthe routes are\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
