package handlers_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"porchlight/handlers/handlerstest"
)

// This file tests the static files.

// versioned returns the URL of a static file, with its version, as pages contain it.
func versioned(c *handlerstest.Cast, name string) string {
	c.T.Helper()
	found := regexp.MustCompile(`/public/` + regexp.QuoteMeta(name) + `\?v=[0-9a-f]+`).FindString(c.Alice.Page("/sessions").Body)
	if found == "" {
		c.T.Fatal("no page has", name)
	}
	return found
}

func TestStaticFiles(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	stranger := c.NewClient(handlerstest.FirefoxOnLinux)
	for path, kind := range map[string]string{
		"/public/app.css": "text/css; charset=utf-8", "/public/app.js": "text/javascript; charset=utf-8", "/public/icon.svg": "image/svg+xml",
		"/favicon.ico": "image/x-icon",
	} {
		got := stranger.Do("GET", path, "", "Accept-Encoding", "identity")
		got.Is(t, 200)
		if got.Header.Get("Content-Type") != kind || got.Body == "" || got.Header.Get("Vary") != "Accept-Encoding" {
			t.Errorf("%s: %v", path, got.Header)
		}
		packed := stranger.Do("GET", path, "", "Accept-Encoding", "br, gzip")
		if packed.Header.Get("Content-Encoding") == "gzip" && (len(packed.Body) >= len(got.Body) || unpack(t, packed.Body) != got.Body) {
			t.Errorf("%s: the compressed file differs", path)
		}
		if strings.HasSuffix(path, ".css") && packed.Header.Get("Content-Encoding") != "gzip" {
			t.Errorf("%s is not compressed", path)
		}
		head := stranger.Do("HEAD", path, "", "Accept-Encoding", "identity")
		head.Is(t, 200)
		if head.Body != "" || head.Header.Get("Content-Length") != fmt.Sprint(len(got.Body)) {
			t.Errorf("HEAD %s: %v", path, head.Header)
		}
	}
	got := stranger.Page("/public/app.css?v=000000000000")
	if strings.Contains(got.Header.Get("Cache-Control"), "immutable") {
		t.Error("a wrong version is cached forever")
	}
}
