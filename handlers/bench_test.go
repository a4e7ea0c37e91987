package handlers_test

import (
	"fmt"
	"testing"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	"porchlight/handlers"
)

// serveOnce hands a request straight to the app, without a network.
func serveOnce(b *testing.B, app *fiber.App, method, path, token string) func() {
	b.Helper()
	serve := app.Server().Handler
	return func() {
		var ctx fasthttp.RequestCtx
		ctx.Request.Header.SetMethod(method)
		ctx.Request.SetRequestURI(path)
		ctx.Request.Header.SetHost("localhost")
		ctx.Request.Header.SetCookie("porchlight", token)
		serve(&ctx)
		if status := ctx.Response.StatusCode(); status >= 400 {
			b.Fatalf("%s: %d", path, status)
		}
	}
}

func BenchmarkRequests(b *testing.B) {
	var app *fiber.App
	house := openHouse(b, func(o *handlers.Options) { app = handlers.New(*o) })
	house.addUser("alice", alicePassword)
	current := house.signIn("alice", alicePassword, firefoxOnLinux)
	for range 9 {
		house.signIn("alice", alicePassword, safariOnIPhone)
	}
	for _, path := range []string{"/", "/sessions", "/me/sessions", "/me/sessions/current"} {
		b.Run(fmt.Sprintf("GET %s", path), func(b *testing.B) {
			once := serveOnce(b, app, "GET", path, current.token())
			b.ReportAllocs()
			for b.Loop() {
				once()
			}
		})
	}
}
