// Forgot measures whether the response time of POST /forgot reveals who has an account. It requests links in random order for unknown
// names, and for accounts with an address, without one, and disabled. It prints the median time of each kind and its ratio to the first:
//
//	go run ./scripts/forgot [-rounds 1000] [PROGRAM]
//
// The mail server does not respond, so nothing is sent.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"porchlight/db"
	"porchlight/scripts/internal/server"
)

var rounds = flag.Int("rounds", 1000, "how many requests of each kind")

// The kinds of names. Each name is used twice, within the limit of three links an hour; the limited one is used every time.
var kinds = []string{"unknown", "with an address", "by its address", "without an address", "disabled", "limited"}

const (
	unknown = iota
	withAddress
	byAddress
	withoutAddress
	disabled
	limited
)

func main() {
	log.SetFlags(0)
	flag.Parse()
	if err := run(flag.Arg(0)); err != nil {
		log.Fatal("forgot: ", err)
	}
}

func run(program string) error {
	folder, err := os.MkdirTemp("", "porchlight-forgot")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	if program, err = server.Build(program, folder); err != nil {
		return err
	}
	accounts := (*rounds + 1) / 2 // each is used twice
	if err := createAccounts(folder, accounts); err != nil {
		return err
	}
	s, err := server.Start(program, folder, "--trusted-proxies", "127.0.0.1", "--mail", "smtp+insecure://127.0.0.1:1")
	if err != nil {
		return err
	}
	defer s.Stop(os.Kill)
	times := make([][]time.Duration, len(kinds))
	for round := range *rounds {
		for _, kind := range rand.Perm(len(kinds)) {
			took, err := requestLink(s, name(kind, round%accounts), round*len(kinds)+kind)
			if err != nil {
				return err
			}
			if round >= 20 { // the first are slower
				times[kind] = append(times[kind], took)
			}
		}
	}
	for kind := range kinds {
		slices.Sort(times[kind])
	}
	median := func(kind int) time.Duration { return times[kind][len(times[kind])/2] }
	fmt.Printf("%-20s %10s %10s\n", "name", "median", "ratio")
	for kind, what := range kinds {
		fmt.Printf("%-20s %7.0f µs %10.3f\n", what, float64(median(kind))/1e3, float64(median(kind))/float64(median(unknown)))
	}
	return nil
}

func name(kind, number int) string {
	switch kind {
	case byAddress:
		return fmt.Sprintf("byaddress%d@example.com", number)
	case limited:
		number = 0
	}
	return strings.ReplaceAll(kinds[kind], " ", "") + fmt.Sprint(number)
}

func createAccounts(data string, accounts int) (err error) {
	ctx := context.Background()
	store, err := db.Open(ctx, db.Options{Path: server.Database(data), Create: true, HashCost: db.HashCost{Memory: 8, Time: 1}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	for kind := range kinds {
		for i := range accounts {
			newUser := db.NewUser{Username: strings.TrimSuffix(name(kind, i), "@example.com"), Password: "lantern velvet orbit marmalade"}
			if kind != withoutAddress {
				newUser.Email = newUser.Username + "@example.com"
			}
			if kind == unknown || kind == limited && i > 0 {
				continue
			}
			if _, err := store.CreateUser(ctx, newUser); err != nil {
				return err
			}
			if kind != disabled {
				continue
			}
			if err := store.DisableUser(ctx, db.CommandLine, newUser.Username, false); err != nil {
				return err
			}
		}
	}
	return nil
}

// requestLink requests a link from a new address, because each address may request 20 an hour.
func requestLink(s *server.Server, name string, number int) (took time.Duration, err error) {
	body := url.Values{"name": {name}}.Encode()
	request, err := http.NewRequest(http.MethodPost, s.URL()+"/forgot", strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("X-Forwarded-For", fmt.Sprintf("10.%d.%d.%d", number>>16, number>>8&255, number&255))
	began := time.Now()
	response, err := http.DefaultTransport.RoundTrip(request) // does not follow the redirect
	took = time.Since(began)
	if err != nil {
		return 0, err
	}
	response.Body.Close()
	if response.StatusCode != http.StatusSeeOther {
		return 0, fmt.Errorf("%s: status %d", name, response.StatusCode)
	}
	return took, nil
}
