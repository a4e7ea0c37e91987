package handlers_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"path/filepath"
	"testing"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	"porchlight/db"
	"porchlight/handlers"
	"porchlight/handlers/handlerstest"
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
	house := handlerstest.OpenHouse(b, func(o *handlers.Options) { app = handlers.New(*o) })
	house.AddUser("alice", handlerstest.AlicePassword)
	current := house.SignIn("alice", handlerstest.AlicePassword, handlerstest.FirefoxOnLinux)
	for range 9 {
		house.SignIn("alice", handlerstest.AlicePassword, handlerstest.SafariOnIPhone)
	}
	for _, path := range []string{"/", "/sessions", "/me/sessions", "/me/sessions/current"} {
		b.Run(fmt.Sprintf("GET %s", path), func(b *testing.B) {
			once := serveOnce(b, app, "GET", path, current.Token())
			b.ReportAllocs()
			for b.Loop() {
				once()
			}
		})
	}
}

// BenchmarkForward measures an auth check, which a proxy sends for every request to an app: with a session, without a cookie,
// and with an invalid one.
func BenchmarkForward(b *testing.B) {
	var app *fiber.App
	house := handlerstest.OpenHouse(b, func(o *handlers.Options) {
		handlerstest.GuardsExample(o)
		o.TrustedProxies = append(o.TrustedProxies, netip.MustParsePrefix("0.0.0.0/32")) // the peer of a context without a connection
		app = handlers.New(*o)
	})
	user := house.AddUser("alice", handlerstest.AlicePassword)
	token, _, err := house.Store.SignIn(context.Background(), user,
		db.NewSession{Client: db.Client{DeviceName: "Firefox on Linux", DeviceKind: "desktop", IP: "192.0.2.7"}})
	if err != nil {
		b.Fatal(err)
	}
	serve := app.Server().Handler
	for name, asked := range map[string]struct {
		cookie string
		status int
	}{"signed in": {token, 200}, "no cookie": {"", 302}, "made-up cookie": {"ABCDEFGHIJKLMNOPQRSTUVWXYZ", 302}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var ctx fasthttp.RequestCtx
				header := &ctx.Request.Header
				header.SetMethod("GET")
				ctx.Request.SetRequestURI("/auth/forward")
				for name, value := range map[string]string{"Host": "127.0.0.1:3000", "Accept": handlerstest.BrowserAccept, "Sec-Fetch-Mode": "navigate",
					"X-Forwarded-For":    "192.0.2.7",
					"X-Forwarded-Method": "GET", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "notes.example.com",
					"X-Forwarded-Uri": "/books/7?page=2"} {
					header.Set(name, value)
				}
				if asked.cookie != "" {
					header.Set("Cookie", "theme=dark; __Secure-porchlight="+asked.cookie)
				}
				serve(&ctx)
				if status := ctx.Response.StatusCode(); status != asked.status {
					b.Fatal(status)
				}
			}
		})
	}
}

func BenchmarkSignIn(b *testing.B) {
	store, err := db.Open(context.Background(), db.Options{Path: filepath.Join(b.TempDir(), "porchlight.db"),
		Create: true}) // at the real cost of a hash
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	if _, err := store.CreateUser(context.Background(), db.NewUser{Username: "alice", Password: handlerstest.AlicePassword}); err != nil {
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
		ctx.Request.SetBodyString(`{"username":"alice","password":"` + handlerstest.AlicePassword + `"}`)
		serve(&ctx)
		if status := ctx.Response.StatusCode(); status != 200 {
			b.Fatal(status)
		}
	}
}
