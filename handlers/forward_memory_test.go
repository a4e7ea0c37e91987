package handlers

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"runtime"
	"testing"

	"github.com/valyala/fasthttp"

	"porchlight/db"
	"porchlight/db/dbtest"
)

// This file tests that auth checks do not fill the memory: anybody can cause any number, for any host under a wildcard.

func TestAuthorizeGrowsNothing(t *testing.T) {
	ctx := context.Background()
	store, err := db.Open(ctx, db.Options{Path: dbtest.NewDatabase(t), HashCost: dbtest.HashCost})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	user, err := store.CreateUser(ctx, db.NewUser{Username: "alice", Password: "lantern velvet orbit marmalade"})
	if err != nil {
		t.Fatal(err)
	}
	token, _, err := store.SignIn(ctx, user, db.NewSession{Client: db.Client{DeviceKind: "unknown"}})
	if err != nil {
		t.Fatal(err)
	}
	app := New(Options{
		Store: store, URL: &url.URL{Scheme: "https", Host: "auth.example.com"}, CookieDomain: "example.com",
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, Log: slog.New(slog.DiscardHandler),
	})
	handle, proxy := app.Handler(), net.TCPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:4711"))
	send := func(request *fasthttp.Request) (status int) {
		var c fasthttp.RequestCtx
		c.Init(request, proxy, nil)
		handle(&c)
		return c.Response.StatusCode()
	}
	ask := func(from, to int, cookie func(i int) string) (passed int) {
		for i := from; i < to; i++ {
			var request fasthttp.Request
			host := fmt.Sprintf("made-up-%08d.example.com", i)
			if i%3 == 0 {
				host = fmt.Sprintf("made-up-%08d.evil.test", i)
			}
			request.Header.Set("X-Forwarded-Method", "GET")
			request.Header.Set("X-Forwarded-Proto", "https")
			request.Header.Set("X-Forwarded-Host", host)
			request.Header.Set("X-Forwarded-Uri", fmt.Sprintf("/%d", i))
			request.Header.Set("X-Forwarded-For", fmt.Sprintf("2001:db8::%x", i%0xffff))
			request.Header.Set("X-Original-Method", "GET")
			request.Header.Set("X-Original-URL", fmt.Sprintf("https://%s/%d", host, i))
			request.Header.Set("Sec-Fetch-Mode", "navigate")
			request.Header.Set("Cookie", "__Secure-porchlight="+cookie(i))
			request.SetRequestURI([]string{"/auth/forward", "/auth/nginx", "/auth/elsewhere"}[i%5%3])
			if send(&request) == fasthttp.StatusOK {
				passed++
			}
		}
		return passed
	}
	inUse := func() int64 {
		runtime.GC()
		runtime.GC() // the first one moves what pools hold aside, the second drops it
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return int64(stats.HeapAlloc)
	}
	const requests = 10_000
	for name, sender := range map[string]struct {
		cookie func(i int) string
		first  int // auth checks before the memory is measured
	}{
		"nobody": {func(i int) string { return fmt.Sprintf("ABCDEFGHIJKLMNOPQR%08d", i) }, requests},
		"alice":  {func(int) string { return token }, 60_000}, // fills the cache of what a token may open, whose size is fixed
	} {
		// Allocated once: the parser of User-Agents, which a sign-in waits for, and what the first auth checks need.
		var request fasthttp.Request
		request.Header.SetMethod("POST")
		request.Header.SetContentType("application/json")
		request.SetRequestURI("/login")
		request.SetBodyString(`{"username":"nobody","password":"x"}`)
		if status := send(&request); status != fasthttp.StatusUnauthorized {
			t.Fatal("sign in:", status)
		}
		ask(0, sender.first, sender.cookie)
		before := inUse()
		passed := ask(sender.first, sender.first+requests, sender.cookie)
		if (passed > 0) != (name == "alice") {
			t.Errorf("%s passed %d times", name, passed)
		}
		// A name or a token that was kept for each would be some 100 bytes, and its place in a map as much again.
		if grown := inUse() - before; grown > 40*requests {
			t.Errorf("%s: %d bytes are kept after %d requests", name, grown, requests)
		}
	}
	runtime.KeepAlive(app)
}
