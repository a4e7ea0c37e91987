package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/cookiejar"
	"time"

	"porchlight/db"
	"porchlight/scripts/internal/server"
)

// setup is the program serving in a separate process.
type setup struct{ *server.Server }

// publicURL is a host under the cookie domain. Clients use this URL, but connect to the address that the server printed.
const publicURL = "http://auth.example.com"

const password = "lantern velvet orbit marmalade"

func username(i int) string { return fmt.Sprintf("user%d", i) }

// createUsers creates accounts whose passwords are hashed at the default cost.
func createUsers(data string) (err error) {
	store, err := db.Open(context.Background(), db.Options{Path: server.Database(data), Create: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	for i := range signIns {
		if _, err := store.CreateUser(context.Background(), db.NewUser{Username: username(i), Password: password}); err != nil {
			return err
		}
	}
	return nil
}

func start(program, data string) (*setup, error) {
	running, err := server.Start(program, data, "--url", publicURL, "--cookie-domain", "example.com", "--trusted-proxies", "127.0.0.0/8")
	return &setup{running}, err
}

// newClient returns a client with a cookie jar and its own address, because failures are counted by address.
func (s *setup) newClient(i int) *http.Client {
	jar, _ := cookiejar.New(nil) // it returns no error
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(i+1))}, Timeout: 10 * time.Second}
	return &http.Client{
		Jar: jar,
		Transport: &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, s.Address)
		}},
		Timeout:       time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
