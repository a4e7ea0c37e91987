package handlers

import (
	"bytes"
	"slices"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"
)

// This file works around Fiber and fasthttp.

// routeEveryMethod routes a method that the router does not know as TRACE, which is refused everywhere but at /auth/*, where the
// method of the auth check itself does not matter. The router would answer it before any middleware, and so without the security
// headers. A longer list of methods would never be complete.
func routeEveryMethod(app *fiber.App) {
	route := app.Handler()
	app.Server().Handler = func(ctx *fasthttp.RequestCtx) {
		if !slices.Contains(fiber.DefaultMethods, string(ctx.Method())) {
			ctx.Request.Header.SetMethod(fiber.MethodTrace)
		}
		route(ctx)
	}
}

// renderOnce renders something before the first request. The first Render fills a list without a lock, so two first requests at the
// same time would race.
func renderOnce(app *fiber.App) {
	c := app.AcquireCtx(new(fasthttp.RequestCtx))
	defer app.ReleaseCtx(c)
	if err := c.Render("layouts/_status", notice{}); err != nil {
		panic(err) // the templates are built in
	}
}

// rejectAmbiguousLength rejects a request that states its length twice, and closes the connection (RFC 9112, 6.3): a proxy in front may
// have read the same bytes as two requests.
func rejectAmbiguousLength(c *fiber.Ctx) error {
	lengths := 0
	for line := range bytes.SplitSeq(c.Request().Header.RawHeaders(), []byte("\n")) {
		if startsWith(line, "transfer-encoding") || startsWith(line, "content-length") {
			lengths++
		}
	}
	if lengths > 1 {
		c.Context().SetConnectionClose()
		return fiber.ErrBadRequest
	}
	return c.Next()
}

func startsWith(line []byte, name string) bool {
	return len(line) > len(name) && line[0]|0x20 == name[0]|0x20 && bytes.EqualFold(line[:len(name)], []byte(name))
}

// rejectCompressedBody rejects compressed bodies, because Fiber would unpack one of 64 KB to any size.
func rejectCompressedBody(c *fiber.Ctx) error {
	if len(c.Request().Header.Peek(fiber.HeaderContentEncoding)) > 0 {
		return problem{fiber.StatusUnsupportedMediaType, "Send the body as it is, not compressed."}
	}
	return c.Next()
}
