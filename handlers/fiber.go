package handlers

import (
	"bytes"
	"slices"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"
)

// This file holds what works around Fiber and fasthttp.

// routeEveryMethod lets a method that the router does not know pass as TRACE, which is refused everywhere but at /auth/*, where
// the question's own method does not matter. The router itself would answer it before any middleware, without the headers that go
// with every answer; a list of methods would never be whole.
func routeEveryMethod(app *fiber.App) {
	route := app.Handler()
	app.Server().Handler = func(ctx *fasthttp.RequestCtx) {
		if !slices.Contains(fiber.DefaultMethods, string(ctx.Method())) {
			ctx.Request.Header.SetMethod(fiber.MethodTrace)
		}
		route(ctx)
	}
}

// renderOnce renders something before anybody asks: the first time, Fiber fills a list of its own without a lock, and two first
// requests at once would race for it.
func renderOnce(app *fiber.App) {
	c := app.AcquireCtx(new(fasthttp.RequestCtx))
	defer app.ReleaseCtx(c)
	if err := c.Render("layouts/_status", ""); err != nil {
		panic(err) // the templates are built in
	}
}

// rejectAmbiguousLength ends the connection after a request whose length is told in two ways (RFC 9112, 6.3): a proxy in front may
// have read another request in it.
func rejectAmbiguousLength(c *fiber.Ctx) error {
	told := 0
	for line := range bytes.SplitSeq(c.Request().Header.RawHeaders(), []byte("\n")) {
		if startsWith(line, "transfer-encoding") || startsWith(line, "content-length") {
			told++
		}
	}
	if told > 1 {
		c.Context().SetConnectionClose()
		return fiber.ErrBadRequest
	}
	return c.Next()
}

func startsWith(line []byte, name string) bool {
	return len(line) > len(name) && line[0]|0x20 == name[0] && bytes.EqualFold(line[:len(name)], []byte(name))
}

// rejectCompressedBody keeps bodies as small as they look: Fiber would unpack 64 KB to any size, before anybody signed in.
func rejectCompressedBody(c *fiber.Ctx) error {
	if len(c.Request().Header.Peek(fiber.HeaderContentEncoding)) > 0 {
		return problem{fiber.StatusUnsupportedMediaType, "Send the body as it is, not compressed."}
	}
	return c.Next()
}
