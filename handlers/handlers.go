// Package handlers turns requests into verbs of the Store, and what comes back into pages, fragments and JSON.
package handlers

import (
	"context"
	"log/slog"
	"net/netip"
	"net/url"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/middleware/recover"

	"porchlight/db"
)

// Options are what the app stands on and how it is set.
type Options struct {
	Store          *db.Store
	URL            *url.URL       // the public address: scheme and host; every absolute link is built from it
	CookieDomain   string         // parent domain shared with the guarded apps, as db.CanonicalHost gives it; "" shares with none
	TrustedProxies []netip.Prefix // whose forwarded headers are believed
	Signup         bool           // anyone may make an account
	SetupToken     string         // lets its bearer make the first account; "" lets nobody
	Log            *slog.Logger
	Now            func() time.Time // nil means time.Now
}

type handler struct {
	Options
	origin        string // of URL
	ownHost       string // of URL, as db.CanonicalHost gives it
	cookieName    string
	cookieDomains []string // see cookieDomains
	signInPolicy  string   // Content-Security-Policy of the page from which a form may lead to an app
	toldOfProxy   atomic.Bool
	logLimiter    logLimiter
	logsRequests  bool
	devices       func() deviceNamer
}

const (
	bodyLimit   = 64 << 10
	headerLimit = 16 << 10 // apps behind the same domain can fill 5 KB with their cookies
)

// New makes the app. All its middleware and every route are in this function, in the order in which they apply.
func New(options Options) *fiber.App {
	h := newHandler(options)
	app := fiber.New(fiber.Config{
		Views:                   newViews(),
		ErrorHandler:            h.answerError,
		CaseSensitive:           true,
		StrictRouting:           true,
		Immutable:               true, // strings from a request outlive it
		EnableTrustedProxyCheck: true, // with no proxies named, Fiber believes no forwarded header; address.go does
		BodyLimit:               bodyLimit,
		ReadBufferSize:          headerLimit,
		ReadTimeout:             15 * time.Second,
		WriteTimeout:            30 * time.Second,
		IdleTimeout:             2 * time.Minute,
		ReduceMemoryUsage:       true, // an idle connection holds no buffers
		DisableStartupMessage:   true,
		// No route takes multipart, and a broken one would be answered before any of our checks.
		DisablePreParseMultipartForm: true,
	})
	if h.logsRequests {
		app.Use(h.logRequest)
	}
	app.Use(h.setSecurityHeaders, recover.New(recover.Config{EnableStackTrace: true, StackTraceHandler: h.logPanic}), rejectAmbiguousLength, h.warnOfProxy)

	// Asked by reverse proxies, about requests to apps. What other sites may not do here, they may do there.
	app.All("/auth/forward", h.answerForwardAuth)
	app.All("/auth/nginx", h.answerNginxAuth)
	app.All("/auth/*", func(*fiber.Ctx) error { return fiber.ErrNotFound })
	app.Use(h.refuseCrossOrigin, rejectCompressedBody)

	// Public.
	app.Get("/public/*", showAsset)
	app.Get("/favicon.ico", showIcon)
	app.Get("/healthz", h.checkHealth)
	app.Get("/login", h.showSignIn)
	app.Post("/login", h.signIn)
	app.Get("/logout", h.showSignOut)
	app.Post("/logout", h.signOut)
	app.Get("/signup", h.showSignUp)
	app.Post("/signup", h.signUp)
	app.Get("/setup", h.showSetUp)
	app.Post("/setup", h.setUp)
	app.Get("/invite", h.showInvite)
	app.Post("/invite", h.acceptInvite)
	app.All("/public/*", allowOnly("GET, HEAD"))
	app.All("/favicon.ico", allowOnly("GET, HEAD"))
	app.All("/healthz", allowOnly("GET, HEAD"))
	for _, path := range []string{"/login", "/logout", "/signup", "/setup", "/invite"} {
		app.All(path, allowOnly("GET, HEAD, POST"))
	}

	// Signed in. Whatever stands below this line has a session: a route that is forgotten is shut, not open.
	app.Use(h.requireSession)
	app.Get("/sessions/list", h.listSessions) // above the next line: refreshing the list is no activity
	app.Use(h.noteActivity)
	app.Get("/", func(c *fiber.Ctx) error { return c.Redirect("/sessions", fiber.StatusSeeOther) })
	app.Get("/sessions", h.showSessions)
	app.Post("/sessions/revoke-others", h.revokeOthers)
	app.Delete("/sessions/:id", h.revokeSession)
	app.Post("/sessions/:id/revoke", h.revokeSessionByForm)
	app.Post("/sessions/:id/name", h.nameSession)
	app.Get("/account", h.showAccount)
	app.Post("/account/password", h.changePassword)
	app.Post("/account/delete", h.deleteAccount)
	app.Get("/admin/proxy", requireAdmin, h.showProxy)

	app.Use("/me", requireJSON)
	app.Get("/me/sessions", h.apiListSessions)
	app.Post("/me/sessions/revoke-all", h.apiRevokeOthers)
	app.Get("/me/sessions/current", h.apiShowCurrent)
	app.Delete("/me/sessions/current", h.apiEndCurrent)
	app.Delete("/me/sessions/:id", h.apiRevokeSession)
	app.Patch("/me/sessions/:id", h.apiNameSession)
	app.Get("/me/export", h.apiExport)
	routeEveryMethod(app)
	renderOnce(app)
	return app
}

func newHandler(options Options) *handler {
	if options.Now == nil {
		options.Now = time.Now
	}
	h := &handler{
		Options:      options,
		origin:       options.URL.Scheme + "://" + options.URL.Host,
		cookieName:   "porchlight",
		signInPolicy: policyLeadingTo(options.URL.Scheme, options.CookieDomain),
		devices:      sync.OnceValue(newDeviceNamer),
		logsRequests: options.Log.Enabled(context.Background(), slog.LevelDebug),
	}
	h.ownHost, _, _ = db.CanonicalHost(options.URL.Host)
	h.cookieDomains = cookieDomains(h.ownHost)
	switch {
	case h.secure() && h.CookieDomain != "":
		h.cookieName = "__Secure-porchlight" // the browser takes it only with Secure
	case h.secure():
		h.cookieName = "__Host-porchlight" // the browser takes it only with Secure, Path=/ and no Domain
	}
	go h.devices() // it takes some 60 ms to build, and the first page needs none of it
	return h
}

// secure reports whether people reach this server by https.
func (h *handler) secure() bool { return h.URL.Scheme == "https" }

// allowOnly answers a method that a public path does not have; the others are answered by the router.
func allowOnly(allowed string) fiber.Handler {
	return func(c *fiber.Ctx) error {
		c.Set(fiber.HeaderAllow, allowed)
		return fiber.ErrMethodNotAllowed
	}
}

// logPanic keeps what the answer does not tell.
func (h *handler) logPanic(c *fiber.Ctx, e any) {
	h.Log.Error("panic", "path", c.Path(), "panic", e, "stack", string(debug.Stack()))
}

// checkHealth answers whether the database answers.
func (h *handler) checkHealth(c *fiber.Ctx) error {
	if err := h.Store.Ping(); err != nil {
		return err
	}
	return c.JSON(fiber.Map{"status": "ok"})
}
