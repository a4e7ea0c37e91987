package handlers

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"sync"

	"github.com/gofiber/fiber/v2"

	"porchlight/public"
)

// asset is a static file, which is read and compressed once.
type asset struct {
	kind    string // the Content-Type
	body    []byte
	gzipped []byte
	version string // the beginning of the content's SHA-256
}

var builtInAssets = sync.OnceValue(func() map[string]asset { return loadAssets(public.FS) })

func loadAssets(files fs.FS) map[string]asset {
	all := map[string]asset{}
	err := fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		body, err := fs.ReadFile(files, name)
		hash := sha256.Sum256(body)
		kind := cmp.Or(contentTypes[path.Ext(name)], "text/plain; charset=utf-8")
		all[name] = asset{kind: kind, body: body, gzipped: compress(body), version: hex.EncodeToString(hash[:6])}
		return err
	})
	if err != nil {
		panic(err) // the files are embedded, or a developer is editing them
	}
	return all
}

// contentTypes holds the Content-Type of each extension. Package mime's tables differ from machine to machine.
var contentTypes = map[string]string{
	".css": "text/css; charset=utf-8",
	".js":  "text/javascript; charset=utf-8",
	".svg": "image/svg+xml",
	".ico": "image/x-icon",
}

func compress(body []byte) []byte {
	var out bytes.Buffer
	writer, _ := gzip.NewWriterLevel(&out, gzip.BestCompression)
	writer.Write(body)
	writer.Close()
	return out.Bytes()
}

// assetURL returns the address of a static file. It changes with the content, so browsers may cache the file forever. A page that names a
// file that does not exist fails.
func (h *handler) assetURL(name string) (string, error) {
	file, known := h.assets()[name]
	if !known {
		return "", fmt.Errorf("there is no public/%s", name)
	}
	return "/public/" + name + "?v=" + file.version, nil
}

func (h *handler) showAsset(c *fiber.Ctx) error { return h.sendAsset(c, c.Params("*")) }

// showIcon serves the icon where browsers look for it by default.
func (h *handler) showIcon(c *fiber.Ctx) error { return h.sendAsset(c, "favicon.ico") }

func (h *handler) sendAsset(c *fiber.Ctx, name string) error {
	file, known := h.assets()[name]
	if !known {
		return fiber.ErrNotFound
	}
	c.Set(fiber.HeaderContentType, file.kind)
	c.Set(fiber.HeaderVary, fiber.HeaderAcceptEncoding)
	c.Set(fiber.HeaderCacheControl, "public, max-age=3600")
	if c.Query("v") == file.version {
		c.Set(fiber.HeaderCacheControl, "public, max-age=31536000, immutable")
	}
	if strings.Contains(c.Get(fiber.HeaderAcceptEncoding), "gzip") && len(file.gzipped) < len(file.body) {
		c.Set(fiber.HeaderContentEncoding, "gzip")
		return c.Send(file.gzipped)
	}
	return c.Send(file.body)
}
