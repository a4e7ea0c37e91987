package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// This file checks what the documents refer to: files, headings and tests.

var (
	codeBlock = regexp.MustCompile("(?ms)^ *```.*?^ *```$")
	link      = regexp.MustCompile(`\]\(([^)\s]+)\)|(?:src|srcset)="([^"]+)"`)
	heading   = regexp.MustCompile(`(?m)^#+ (.+)$`)
)

// anchors returns the anchors that GitHub gives to the headings of a document.
func anchors(text string) (found []string) {
	for _, match := range heading.FindAllStringSubmatch(codeBlock.ReplaceAllString(text, ""), -1) {
		anchor := regexp.MustCompile(`[^\pL\pN _-]`).ReplaceAllString(strings.ToLower(match[1]), "")
		found = append(found, strings.ReplaceAll(anchor, " ", "-"))
	}
	return found
}

func TestLinksOfDocuments(t *testing.T) {
	t.Parallel()
	for _, name := range documents(t) {
		for _, match := range link.FindAllStringSubmatch(codeBlock.ReplaceAllString(readFile(t, name), ""), -1) {
			target, anchor, hasAnchor := strings.Cut(match[1]+match[2], "#")
			if strings.HasPrefix(target, "https://") {
				continue
			}
			file := name
			if target != "" {
				file = filepath.Join(filepath.Dir(name), target)
			}
			if _, err := os.Stat(file); err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if hasAnchor && !slices.Contains(anchors(readFile(t, file)), anchor) {
				t.Errorf("%s: %s has no heading #%s", name, file, anchor)
			}
		}
	}
}

// Every page is linked from the README, or from a page that is.
func TestEveryDocumentIsLinked(t *testing.T) {
	t.Parallel()
	linked, queue := map[string]bool{}, []string{"README.md"}
	for len(queue) > 0 {
		name := queue[0]
		queue = queue[1:]
		if linked[name] || !strings.HasSuffix(name, ".md") {
			continue
		}
		linked[name] = true
		for _, match := range link.FindAllStringSubmatch(readFile(t, name), -1) {
			if target, _, _ := strings.Cut(match[1], "#"); target != "" && !strings.HasPrefix(target, "https://") {
				queue = append(queue, filepath.Join(filepath.Dir(name), target))
			}
		}
	}
	for _, name := range documents(t) {
		if !linked[name] {
			t.Errorf("%s: no page links to it", name)
		}
	}
}

// Every requirement of docs/security.md names tests, and they exist.
func TestSecurityPageNamesTests(t *testing.T) {
	t.Parallel()
	exists := map[string]bool{}
	err := filepath.WalkDir(".", func(path string, _ os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		for _, match := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`).FindAllStringSubmatch(readFile(t, path), -1) {
			exists[match[1]] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	name, rows := regexp.MustCompile("`((?:Test|Fuzz)\\w+)`"), 0
	text := readFile(t, "docs/security.md")
	for _, match := range name.FindAllStringSubmatch(text, -1) {
		if !exists[match[1]] {
			t.Errorf("there is no %s", match[1])
		}
	}
	for _, row := range regexp.MustCompile(`(?m)^\| \d+ \|.*$`).FindAllString(text, -1) {
		rows++
		if !name.MatchString(row) {
			t.Errorf("no test shows %s", row)
		}
	}
	if rows < 50 {
		t.Errorf("the page has %d requirements, want at least 50", rows)
	}
}

// Files and folders that a document names in code exist. NAME and NUMBER are placeholders.
func TestDocumentsNamePaths(t *testing.T) {
	t.Parallel()
	path := regexp.MustCompile("`(?:[^`\n]* )?(?:\\./)?" +
		"((?:scripts|deploy|docs|db|handlers|views|public|migrations|notify)/[\\w./*-]*)[^`\n]*`")
	found := 0
	for _, name := range documents(t) {
		for _, match := range path.FindAllStringSubmatch(codeBlock.ReplaceAllString(readFile(t, name), ""), -1) {
			if strings.Contains(match[1], "NAME") || strings.Contains(match[1], "NUMBER") {
				continue
			}
			found++
			if files, err := filepath.Glob(match[1]); err != nil || len(files) == 0 {
				t.Errorf("%s: there is no %s", name, match[1])
			}
		}
	}
	if found < 10 {
		t.Errorf("found only %d paths", found)
	}
}
