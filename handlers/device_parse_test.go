package handlers

import (
	"context"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/gofiber/fiber/v2"
	"github.com/ua-parser/uap-go/uaparser"

	"porchlight/db"
	"porchlight/db/dbtest"
)

// slowAgent takes the parser some twenty times as long as a browser's.
var slowAgent = strings.Repeat("Mobile Safari ", 36)

// The parser is slow for a crafted User-Agent, so an attempt that the throttle refuses must not reach it.
func TestRefusedAttemptParsesNothing(t *testing.T) {
	t.Parallel()
	store, err := db.Open(context.Background(), db.Options{Path: dbtest.NewDatabase(t), HashCost: dbtest.HashCost})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	h := newHandler(Options{Store: store, URL: &url.URL{Scheme: "http", Host: "localhost"}, Log: slog.New(slog.DiscardHandler)})
	parsed := map[string]bool{} // the parser remembers the last one
	namer := testNamer()
	counting := deviceNamer{parsing: new(sync.Mutex), parse: func(userAgent string) *uaparser.Client {
		parsed[userAgent] = true
		return namer.parse(userAgent)
	}}
	h.devices = func() deviceNamer { return counting }
	app := fiber.New(fiber.Config{ErrorHandler: h.answerError})
	app.Post("/login", h.signIn)
	for i := range 20 {
		request := httptest.NewRequest("POST", "/login", strings.NewReader(`{"username":"nobody","password":"x"}`))
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("User-Agent", fmt.Sprint(i, slowAgent))
		response, err := app.Test(request, -1)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if want := map[bool]int{true: 401, false: 429}[i < 10]; response.StatusCode != want {
			t.Fatalf("attempt %d: %d, want %d", i+1, response.StatusCode, want)
		}
	}
	if len(parsed) != 10 {
		t.Errorf("%d User-Agents were parsed, want those of the 10 attempts that were checked", len(parsed))
	}
}

// There may be any number of failed sign-ins, so only one User-Agent is parsed at a time, and the others do not wait for it.
func TestParsesOneAtATime(t *testing.T) {
	t.Parallel()
	parsing, finish := make(chan bool), make(chan bool)
	namer := deviceNamer{parsing: new(sync.Mutex), parse: func(string) *uaparser.Client {
		parsing <- true
		<-finish
		return &uaparser.Client{UserAgent: &uaparser.UserAgent{Family: "Firefox"}, Os: &uaparser.Os{Family: "Linux"}}
	}}
	named := make(chan string, 2)
	name := func(wait bool) {
		got, _ := namer.name("Mozilla/5.0", wait)
		named <- got
	}
	go name(false)
	<-parsing
	for range 100 {
		if got, _ := namer.name("Mozilla/5.0", false); got != unknownDevice {
			t.Fatalf("while another is parsed: %v", got)
		}
	}
	go name(true) // a right password: waits
	finish <- true
	<-parsing
	finish <- true
	for range 2 {
		if got := <-named; got != "Firefox on Linux" {
			t.Errorf("got %v", got)
		}
	}
}

func BenchmarkParseUserAgent(b *testing.B) {
	for name, userAgent := range map[string]string{"browser": onWindows + "Chrome/138.0.0.0 Safari/537.36", "crafted": slowAgent} {
		b.Run(name, func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				testNamer().describe(fmt.Sprint(userAgent, i%10)) // another each time: the parser remembers the last one
			}
		})
	}
}
