package main

import (
	"io"
	"regexp"
	"strings"
	"testing"
)

// This file runs the shell snippets of the documents as they stand, or says why it does not. handlers/e2e runs those for proxies.

// notRun lists the snippets that this test does not run, each by its first words.
var notRun = []struct{ begins, reason string }{
	{"go run .\n", "it serves until Ctrl-C; other tests build and run the same program"},
	{"go test ./...\n", "it would run itself"},
	{"go build -trimpath ",
		"linking statically takes a minute, and scripts/release does it; TestStaticBuildIsThatOfReleases compares the two"},
	{"docker compose ", "it needs Docker and a domain; TestComposeMatchesTheCaddyfile compares the file with the Caddyfile"},
	{"URL=http://localhost:3000\n", "it has placeholders for a password and an id; TestDocumentsHaveEveryAPIRoute compares its routes"},
	{"curl -H 'Authorization: Bearer plk_…'", "it has a placeholder for a key; TestProxies sends the same header"},
	{"tiddlywiki ", "TestRealApps starts it with these arguments, where it is installed"},
}

var shellBlock = regexp.MustCompile("(?ms)^( *)```(?:sh|bash|console)\n(.*?)^ *```$")

// shellSnippets returns every shell snippet of the documents, without the indentation of a list, with the name of its document.
func shellSnippets(t *testing.T) (snippets [][2]string) {
	t.Helper()
	for _, name := range documents(t) {
		for _, match := range shellBlock.FindAllStringSubmatch(readFile(t, name), -1) {
			snippets = append(snippets, [2]string{name, strings.ReplaceAll("\n"+match[2], "\n"+match[1], "\n")[1:]})
		}
	}
	return snippets
}

// ownCommand is a line that runs Porchlight, with variables in front.
var ownCommand = regexp.MustCompile(`^((?:PORCHLIGHT_\w+=\S+ )*)(?:\./)?porchlight((?: \S+)*)$`)

// The commands run in the order of the documents, on a server that is set up as docs/proxies says. Of those that serve, only the settings
// are read.
func TestShellSnippetsOfDocuments(t *testing.T) {
	f := newFixture(t, nil)
	used := map[string]bool{}
next:
	for _, snippet := range shellSnippets(t) {
		name, text := snippet[0], snippet[1]
		for _, listed := range notRun {
			if strings.HasPrefix(text, listed.begins) {
				used[listed.begins] = true
				continue next
			}
		}
		for line := range strings.Lines(text) {
			t.Run(strings.TrimSpace(line), func(t *testing.T) {
				match := ownCommand.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
				if match == nil {
					t.Fatalf("%s: this line is neither a command of Porchlight nor in notRun", name)
				}
				t.Setenv("PORCHLIGHT_URL", "https://auth.example.com")
				t.Setenv("PORCHLIGHT_COOKIE_DOMAIN", "example.com")
				t.Setenv("PORCHLIGHT_TRUSTED_PROXIES", "127.0.0.1")
				if strings.Contains(match[1], "PORCHLIGHT_URL=") { // then the line has all that it needs
					t.Setenv("PORCHLIGHT_COOKIE_DOMAIN", "")
					t.Setenv("PORCHLIGHT_TRUSTED_PROXIES", "")
				}
				for _, variable := range strings.Fields(match[1]) {
					key, value, _ := strings.Cut(variable, "=")
					t.Setenv(key, value)
				}
				t.Setenv("PORCHLIGHT_DATA", f.data)
				args := strings.Fields(match[2])
				if len(args) > 0 {
					mustRun(t, "", args...)
				} else if _, err := parse(new(commands), args, io.Discard); err != nil {
					t.Error(err)
				}
			})
		}
	}
	for _, listed := range notRun {
		if !used[listed.begins] {
			t.Errorf("notRun lists %q, which is in no document", listed.begins)
		}
	}
}

// docs/installing.md and scripts/release build the static binary in the same way.
func TestStaticBuildIsThatOfReleases(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"docs/installing.md", "scripts/release"} {
		text := readFile(t, name)
		for _, flags := range []string{"-trimpath", `-tags "sqlite_omit_load_extension netgo osusergo"`, "-s -w -linkmode external -extldflags"} {
			if !strings.Contains(text, flags) {
				t.Errorf("%s does not build with %s", name, flags)
			}
		}
	}
}

// The two commands of the README that start and test the program each have a block of their own, and no other shell command has one.
func TestReadmeHasTwoCommands(t *testing.T) {
	t.Parallel()
	var commands []string
	for _, snippet := range shellSnippets(t) {
		if snippet[0] == "README.md" {
			commands = append(commands, snippet[1])
		}
	}
	if len(commands) != 2 || commands[0] != "go run .\n" || commands[1] != "go test ./...\n" {
		t.Errorf("the README's commands are %q", commands)
	}
}
