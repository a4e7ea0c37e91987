// Porchlight is the front door of a self-hosted server: people sign in, see every device that is signed in as them, and sign out
// any of them at once.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/gofiber/fiber/v2"

	"porchlight/db"
	"porchlight/handlers"
	"porchlight/notify"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdin, os.Stdout)
	if err != nil {
		printError(err)
	}
	os.Exit(status(err))
}

// printError prints an error for at most shutdownWait, because the process must end even if nobody reads standard error.
func printError(err error) {
	printed := make(chan struct{})
	go func() {
		defer close(printed)
		fmt.Fprintln(os.Stderr, "porchlight:", err)
	}()
	select {
	case <-printed:
	case <-time.After(shutdownWait):
	}
}

// status returns the exit status: 0 for success, 1 for failure, 2 for a wrong command line or setting, 130 if interrupted.
func status(err error) int {
	switch {
	case err == nil:
		return 0
	case errors.As(err, new(usageError)):
		return 2
	case errors.Is(err, errInterrupted):
		return 130 // 128 + SIGINT, as shells report it
	}
	return 1
}

// run runs a command line, and returns when the command is done. The server runs until ctx ends. Unlike main, it can be called by tests.
func run(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer) error {
	var c commands
	parsed, err := parse(&c, args, stdout)
	if errors.Is(err, errPrinted) {
		return nil
	}
	if err != nil {
		return err
	}
	return parsed.Run(&environment{ctx: ctx, settings: &c.settings, stdin: stdin, stdout: stdout})
}

// environment is passed to every command.
type environment struct {
	ctx      context.Context
	settings *settings
	stdin    io.Reader
	stdout   io.Writer
	greet    func(io.Writer) // prints what the demo says once the server listens; else nil
}

func (e *environment) database() string { return filepath.Join(e.settings.Data, "porchlight.db") }

// databaseOptions returns the options with which a command opens the database.
func (e *environment) databaseOptions() db.Options {
	return db.Options{
		Path:                e.database(),
		Limits:              e.settings.limits(),
		MaxSessions:         e.settings.MaxSessions,
		Site:                e.settings.url.Hostname(),
		DenyApps:            e.settings.AppsDefault == "deny",
		RequireSecondFactor: e.settings.RequireSecondFactor,
		Warn:                func(message string) { fmt.Fprintln(os.Stderr, "porchlight: warning:", message) },
	}
}

// shutdownWait is how long requests may take to finish when the server stops.
const shutdownWait = 5 * time.Second

// serve runs the server until the context ends. views is the folder from which templates and static files are read for each request; if
// it is "", the embedded ones are used.
func serve(e *environment, views string) (err error) {
	limit, err := connectionLimit()
	if err != nil {
		return err
	}
	limitMemory(0)
	addProcessors()
	ignored := make(chan os.Signal, 1)
	signal.Notify(ignored, syscall.SIGPIPE, syscall.SIGHUP) // keep running when the terminal or the log's reader goes away
	defer signal.Stop(ignored)
	lines := e.settings.openQueue(os.Stderr)
	defer lines.close()
	log := e.settings.logger(lines)
	options := e.databaseOptions()
	options.Create, options.Serve, options.Warn = true, true, func(message string) { log.Warn(message) }
	options.Ways, options.KeepRevoked = e.settings.ways(), e.settings.ClearAppData == "on"
	store, err := db.Open(e.ctx, options)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	listener, err := listen(e.settings.Listen, limit, log)
	if err != nil {
		return err
	}
	out := e.settings.openQueue(e.stdout)
	defer out.close()
	app, err := newApp(e, store, listener.Addr(), out, log, views)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	defer startBackground(e, store, listener, log)()
	return serveUntilDone(e.ctx, app, listener, log)
}

// newApp applies the settings to the database, prints how to reach the server, and returns the app. Call it once the server has its port,
// so that a failed start changes nothing for a server that is already running.
func newApp(e *environment, store *db.Store, address net.Addr, out io.Writer, log *slog.Logger, views string) (*fiber.App, error) {
	if err := store.ApplyLimits(e.ctx); err != nil {
		return nil, fmt.Errorf("cannot write to the database: %w", err)
	}
	e.settings.useRealPort(address)
	e.settings.warn(log)
	if err := warnOfNoAdministrator(e.ctx, store, log); err != nil {
		return nil, err
	}
	setupToken, err := announce(e, out, store, address)
	if err != nil {
		return nil, err
	}
	var files fs.FS
	if views != "" {
		files = os.DirFS(views)
	}
	return handlers.New(handlers.Options{
		Store:          store,
		URL:            e.settings.url,
		CookieDomain:   e.settings.CookieDomain,
		TrustedProxies: e.settings.proxies,
		Signup:         e.settings.Signup == "open",
		Mail:           e.settings.mail != nil,
		Ntfy:           e.settings.ntfy != nil,
		Webhook:        e.settings.webhook != nil,
		SetupToken:     setupToken,
		Done:           e.ctx.Done(),
		Log:            log,
		Files:          files,
	}), nil
}

// startBackground starts the periodic work and the sender of messages. Both run on after the context of e has ended, until stop is called.
func startBackground(e *environment, store *db.Store, listener *listener, log *slog.Logger) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(e.ctx))
	var running sync.WaitGroup
	for _, work := range []struct {
		what  string
		every time.Duration
		soon  <-chan struct{} // runs do before the interval ends; may be nil
		do    func(context.Context) error
	}{
		{"write session activity", store.FlushEvery(), store.Moved(), store.Flush},
		{"delete expired sessions", e.settings.SweepInterval, nil, func(ctx context.Context) error {
			return store.Sweep(ctx, time.Now().Add(-e.settings.ActivityRetention))
		}},
		{"checkpoint the database", db.CheckpointEvery, nil, store.Checkpoint},
		{"limit memory", limitEvery, nil, func(context.Context) error {
			limitMemory(listener.count())
			return nil
		}},
		{"return memory", returnEvery, nil, returnMemory},
	} {
		running.Go(func() { runEvery(ctx, log, work.what, work.every, work.soon, work.do) })
	}
	sender := notify.New(notify.Options{
		Store: store, URL: e.settings.url, Mail: e.settings.mail, Ntfy: e.settings.ntfy, Webhook: e.settings.webhook, Log: log,
	})
	running.Go(func() { sender.Run(ctx) })
	return func() {
		cancel()
		running.Wait()
	}
}

// serveUntilDone serves requests until the context ends, then waits for those that have not finished, for at most shutdownWait.
func serveUntilDone(ctx context.Context, app *fiber.App, listener net.Listener, log *slog.Logger) error {
	served := make(chan error, 1)
	go func() { served <- app.Listener(listener) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	log.Info("stopping")
	// Browsers keep idle connections open. Closing them is not a failure.
	err := app.ShutdownWithTimeout(shutdownWait)
	if errors.Is(err, context.DeadlineExceeded) {
		log.Warn("cut off the connections that were still open", "after", shutdownWait)
		return nil
	}
	return err
}

// announce prints where the server listens. If there is no account, it also prints the link to create the first one, and returns the
// token in that link.
func announce(e *environment, out io.Writer, store *db.Store, address net.Addr) (setupToken string, err error) {
	hasUsers, err := store.HasUsers()
	if err != nil {
		return "", err
	}
	fmt.Fprintf(out, "Listening on %s\n", address)
	if e.greet != nil {
		e.greet(out)
	}
	if hasUsers {
		return "", nil
	}
	setupToken = rand.Text()
	fmt.Fprintf(out, "Create the first account: %s/setup?token=%s\n", e.settings.url, setupToken)
	return setupToken, nil
}

// minPause is the shortest time between two calls by runEvery, because clients can cause them.
const minPause = time.Second

// runEvery calls do at an interval, and sooner when it receives from soon, until the context ends. If do fails, it logs "cannot" and what,
// with the error, and continues.
func runEvery(ctx context.Context, log *slog.Logger, what string, every time.Duration, soon <-chan struct{},
	do func(context.Context) error) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-soon:
		case <-ticker.C:
		}
		if err := do(ctx); err != nil && ctx.Err() == nil {
			log.Error("cannot "+what, "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(min(every, minPause)):
		}
	}
}
