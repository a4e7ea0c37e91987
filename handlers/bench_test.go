package handlers_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"testing"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	"porchlight/db"
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

func BenchmarkSignIn(b *testing.B) {
	store, err := db.Open(context.Background(), db.Options{Path: filepath.Join(b.TempDir(), "porchlight.db")}) // at the real cost of a hash
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	if _, err := store.CreateUser(context.Background(), db.NewUser{Username: "alice", Password: alicePassword}); err != nil {
		b.Fatal(err)
	}
	app := handlers.New(handlers.Options{Store: store, URL: &url.URL{Scheme: "http", Host: "localhost"}, Log: slog.New(slog.DiscardHandler)})
	serve := app.Server().Handler
	for b.Loop() {
		var ctx fasthttp.RequestCtx
		ctx.Request.Header.SetMethod("POST")
		ctx.Request.SetRequestURI("/login")
		ctx.Request.Header.SetHost("localhost")
		ctx.Request.Header.SetContentType("application/json")
		ctx.Request.SetBodyString(`{"username":"alice","password":"` + alicePassword + `"}`)
		serve(&ctx)
		if status := ctx.Response.StatusCode(); status != 200 {
			b.Fatal(status)
		}
	}
}
