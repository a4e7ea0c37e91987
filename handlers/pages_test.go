package handlers

import (
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	"porchlight/db"
	"porchlight/public"
	"porchlight/views"
)

// Rendered rows are cached by their key, so everything that a row shows must be part of the key.
func TestTheKeyOfARowHoldsAllThatItShows(t *testing.T) {
	t.Parallel()
	row := func() sessionRow {
		return sessionRow{Apps: usedApps{{"notes.example.com", newMoment(time.Unix(0, 0))}}}
	}
	for what, change := range map[string]func(*sessionRow){
		"the host":       func(r *sessionRow) { r.Apps[0].Host = "photos.example.com" },
		"the time":       func(r *sessionRow) { r.Apps[0].LastUsed = newMoment(time.Unix(60, 0)) },
		"a second app":   func(r *sessionRow) { r.Apps = append(r.Apps, usedApp{}) },
		"no app":         func(r *sessionRow) { r.Apps = nil },
		"a fact":         func(r *sessionRow) { r.Current = true },
		"a fact of time": func(r *sessionRow) { r.Expires = newMoment(time.Unix(60, 0)) },
	} {
		changed := row()
		change(&changed)
		before, _ := row().key()
		if after, _ := changed.key(); after == before {
			t.Errorf("%s does not change the key", what)
		}
	}
	if shown, keyed := reflect.TypeFor[sessionRow]().NumField(), 2; shown != keyed {
		t.Errorf("a row has %d parts, and its key is made of %d", shown, keyed)
	}
	if shown, keyed := reflect.TypeFor[usedApp]().NumField(), 2; shown != keyed {
		t.Errorf("an app has %d fields, and the key is made of %d", shown, keyed)
	}
}

// A page that includes the fragment and a handler that renders only the fragment produce the same.
func TestARowIsTheSameEverywhere(t *testing.T) {
	t.Parallel()
	engine := newHandler(Options{URL: &url.URL{Scheme: "http", Host: "localhost"}, Log: slog.New(slog.DiscardHandler)}).newViews()
	row := sessionRow{rowFacts: rowFacts{ID: "ABC", DeviceName: "Firefox on Linux"}}
	var alone, list strings.Builder
	if err := engine.Render(&alone, "sessions/_row", row); err != nil {
		t.Fatal(err)
	}
	if err := engine.Render(&list, "sessions/_list", sessionList{Current: row}); err != nil {
		t.Fatal(err)
	}
	if alone.Len() == 0 || !strings.Contains(list.String(), alone.String()) {
		t.Errorf("alone it is\n%s\nin the list\n%s", alone.String(), list.String())
	}
}

// The store checks the role again in the transaction. If it was lost in between, the response is the same as for any other user.
func TestLostAdminRole(t *testing.T) {
	t.Parallel()
	h := newHandler(Options{URL: &url.URL{Scheme: "http", Host: "localhost"}, Log: slog.New(slog.DiscardHandler)})
	app := fiber.New()
	c := app.AcquireCtx(new(fasthttp.RequestCtx))
	defer app.ReleaseCtx(c)
	status, message := h.describe(c, fmt.Errorf("disable: %w", db.ErrNotAdmin))
	if status != 403 || message != "Only an administrator can see this." {
		t.Errorf("described as %d %q", status, message)
	}
}

// With --views, files are read for each request: the next one shows a change of a template, of a row or of the style sheet.
func TestFilesFromDisk(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	for name, files := range map[string]fs.FS{"views": views.FS, "public": public.FS} {
		if err := os.CopyFS(filepath.Join(folder, name), files); err != nil {
			t.Fatal(err)
		}
	}
	h := newHandler(Options{URL: &url.URL{Scheme: "http", Host: "localhost"}, Log: slog.New(slog.DiscardHandler), Files: os.DirFS(folder)})
	engine := h.newViews()
	for _, name := range []string{"views/sessions/_row.html", "views/sessions/_list.html", "public/app.css"} {
		for _, text := range []string{"a porch", "a light"} {
			if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			var got strings.Builder
			if err := engine.Render(&got, "sessions/_list", sessionList{}); err != nil {
				t.Fatal(err)
			}
			got.Write(h.assets()["app.css"].body)
			if !strings.Contains(got.String(), text) {
				t.Errorf("%s: %q is not shown", name, text)
			}
		}
	}
}

// The first execution of a template adds what escapes its values. That must not happen while the engine copies it for another request.
func TestTemplatesAreCompleteBeforeTheFirstRequest(t *testing.T) {
	t.Parallel()
	engine := newHandler(Options{URL: &url.URL{Scheme: "http", Host: "localhost"}, Log: slog.New(slog.DiscardHandler)}).newViews()
	if code := engine.Templates.Lookup("login/code").Tree.Root.String(); !strings.Contains(code, "_html_template_") {
		t.Errorf("nothing escapes the values of this template yet:\n%s", code)
	}
}
