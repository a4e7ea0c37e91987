// Package handlers serves HTTP: it calls the Store, and renders pages, fragments and JSON.
package handlers

import (
	"context"
	"io/fs"
	"log/slog"
	"net/netip"
	"net/url"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-webauthn/webauthn/webauthn"
	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/middleware/recover"

	"porchlight/db"
)

// Options are the app's dependencies and settings.
type Options struct {
	Store          *db.Store
	URL            *url.URL        // the public address: scheme and host; every absolute link is built from it
	CookieDomain   string          // parent domain shared with the guarded apps, in db.CanonicalHost's form; "" for none
	TrustedProxies []netip.Prefix  // proxies whose forwarded headers are believed
	Signup         bool            // anyone can create an account
	Mail           bool            // the server sends mail
	Ntfy           bool            // users may name an ntfy topic
	Webhook        bool            // every alert goes to a webhook
	SetupToken     string          // needed to create the first account; "" if one exists
	Done           <-chan struct{} // closed when the server stops, which ends the event streams; nil for never
	Log            *slog.Logger
	Files          fs.FS // holds views/ and public/, which are read for each request; nil for those that are built in
}

type handler struct {
	Options
	origin            string // of URL
	ownHost           string // of URL, in db.CanonicalHost's form
	cookieName        string
	deviceCookieName  string
	stepCookieName    string      // of the second step of signing in
	passkeyCookieName string      // of a passkey ceremony
	cookieDomains     []string    // see cookieDomains
	signInPolicy      string      // Content-Security-Policy of the sign-in page, whose form may redirect to an app
	warnedOfProxy     atomic.Bool // see warnOfProxy
	logLimiter        logLimiter
	streams           streams
	refusals          refusals
	forms             formLocks
	answers           formAnswers
	logsRequests      bool
	passkeys          *webauthn.WebAuthn // nil if browsers refuse passkeys at the public address
	devices           func() deviceNamer
	describeDevice    func(userAgent string, wait bool) (deviceName, deviceKind string)
	assets            func() map[string]asset
}

const (
	bodyLimit   = 64 << 10
	headerLimit = 16 << 10 // apps under the same domain can fill 5 KB with their cookies

	writeTimeout = 30 * time.Second
)

// New returns the app. All middleware and every route are in this function, in the order in which they run.
func New(options Options) *fiber.App {
	h := newHandler(options)
	app := fiber.New(h.config())
	if h.logsRequests {
		app.Use(h.logRequest)
	}
	app.Use(
		h.setSecurityHeaders,
		recover.New(recover.Config{EnableStackTrace: true, StackTraceHandler: h.logPanic}),
		rejectAmbiguousLength,
		h.warnOfProxy,
	)

	// Auth checks by reverse proxies. They carry the headers of a request to an app, which other sites may send and whose body
	// may be compressed, so they come before the checks that reject both.
	app.All("/auth/forward", h.answerForwardAuth)
	app.All("/auth/nginx", h.answerNginxAuth)
	app.All("/auth/*", func(*fiber.Ctx) error { return fiber.ErrNotFound })
	app.Use(h.rejectCrossOrigin, rejectCompressedBody)

	// Public.
	publicRoute(app, "/public/*", h.showAsset)
	publicRoute(app, "/favicon.ico", h.showIcon)
	publicRoute(app, healthPath, h.checkHealth)
	publicRoute(app, signInPath, h.showSignIn, h.signIn)
	publicRoute(app, secondStepPath, h.showCode, withForm(h.enterCode))
	publicRoute(app, passkeySignInPath+beginSuffix, nil, h.requirePasskeys, h.beginPasskeySignIn)
	publicRoute(app, passkeySignInPath, nil, h.requirePasskeys, h.signInWithPasskey)
	publicRoute(app, signOutPath, h.showSignOut, h.signOut)
	publicRoute(app, "/signup", h.showSignUp, h.signUp)
	publicRoute(app, "/setup", h.showSetUp, withForm(h.setUp))
	publicRoute(app, invitePath, h.showInvite, withForm(h.acceptInvite))
	publicRoute(app, forgotPath, h.ifMail(h.showForgot), h.ifMail(h.once(h.requestReset)))
	publicRoute(app, resetPath, h.showReset, withForm(h.resetPassword))
	publicRoute(app, notMePath, h.showNotMe, h.once(h.useNotMe))
	publicRoute(app, emailConfirmPath, h.showConfirmEmail, h.once(h.confirmEmail))
	publicRoute(app, "/.well-known/change-password", redirectToPassword)

	// Signed in. Every route below this line needs a session, so no route can be public by mistake.
	app.Use(h.requireSession, h.requireFactor)
	admin := app.Group("/admin", requireAdmin)
	app.Get("/sessions/list", h.listSessions) // above noteActivity, because pages request these four by themselves
	app.Get(eventsPath, h.streamEvents)
	admin.Get("/users/:id/sessions", h.listPersonSessions)
	admin.Get("/users/:id/events", h.streamPersonEvents)
	app.Use(h.noteActivity)
	app.Get("/", func(c *fiber.Ctx) error { return c.Redirect(sessionsPath, fiber.StatusSeeOther) })
	app.Get(sessionsPath, h.showSessions)
	app.Post("/sessions/revoke-others", withForm(h.revokeOthers))
	app.Delete("/sessions/:id", h.revokeSession)
	app.Post("/sessions/:id/revoke", withForm(h.revokeSessionByForm))
	app.Post("/sessions/:id/not-me", withForm(h.notMe))
	app.Post("/sessions/:id/name", withForm(h.nameSession))
	app.Get("/activity", h.showActivity)
	app.Get("/account", h.showAccount)
	app.Post("/account/devices/:id/forget", h.forgetDevice)
	app.Get(passwordPath, h.showPassword)
	app.Post(passwordPath, withForm(h.changePassword))
	app.Post("/account/delete", withForm(h.deleteAccount))
	app.Get(confirmPath, h.showConfirm)
	app.Post(confirmPath, withForm(h.confirm))
	app.Post(passkeyConfirmPath+beginSuffix, h.requirePasskeys, h.beginPasskeyConfirmation)
	app.Post(passkeyConfirmPath, h.requirePasskeys, h.confirmWithPasskey)
	app.Get(securityPath, h.showSecurity)
	app.Get(emailPath, h.ifMail(h.showEmail))
	app.Post(emailPath+"/cancel", h.ifMail(h.cancelEmailChange))
	app.Get(keysPath, h.showKeys)
	app.Get(alertsPath, h.showAlerts)
	app.Post(alertsPath, withForm(h.setAlerts))
	app.Post(alertsPath+"/test", h.once(h.sendTestAlert))
	app.Post("/account/passkeys/:id/name", withForm(h.namePasskey))

	// Step-up: these decide who can sign in, so the person in front of the browser first proves to be the user.
	app.Post("/account/totp/begin", h.requireConfirmed, h.beginTOTP)
	app.Post("/account/totp", h.requireConfirmed, h.once(h.enableTOTP))
	app.Post("/account/totp/remove", h.requireConfirmed, withForm(h.removeTOTP))
	app.Post(emailPath, h.ifMail(h.requireConfirmed), h.once(h.requestEmailChange))
	app.Post("/account/recovery-codes", h.requireConfirmed, h.once(h.makeRecoveryCodes))
	app.Post(keysPath, h.requireConfirmed, h.once(h.makeKey))
	app.Post(passkeysPath+beginSuffix, h.requirePasskeys, h.requireConfirmed, h.beginPasskey)
	app.Post(passkeysPath, h.requirePasskeys, h.requireConfirmed, h.addPasskey)
	app.Post("/account/passkeys/:id/remove", h.requireConfirmed, withForm(h.removePasskey))

	// Administrators. They end sessions without step-up, because panic must be quick. Every other change needs it: its route stands below
	// the Use.
	admin.Get("", func(c *fiber.Ctx) error { return c.Redirect(usersPath, fiber.StatusSeeOther) })
	admin.Get("/users", h.showUsers)
	admin.Get("/users/:id", h.showUser)
	admin.Post("/users/:id/revoke", withForm(h.revokePersonSessions))
	admin.Delete("/users/:id/sessions/:session", h.revokePersonSession)
	admin.Post("/users/:id/sessions/:session/revoke", withForm(h.revokePersonSessionByForm))
	admin.Get("/sessions", h.showAdminSessions)
	admin.Post("/sessions/revoke", withForm(h.revokeTicked))
	admin.Get("/apps", h.showApps)
	admin.Get("/activity", h.showAdminActivity)
	admin.Get("/proxy", h.showProxy)
	admin.Use(h.requireConfirmedChange)
	admin.Post("/users/invite", h.once(h.inviteNewUser))
	admin.Post("/users/cancel-invitation", withForm(h.cancelInvitation))
	admin.Post("/users/:id/invite", h.once(h.inviteUser))
	admin.Post("/users/:id/approve", h.approveUser)
	admin.Post("/users/:id/disable", withForm(h.disableUser))
	admin.Post("/users/:id/enable", h.enableUser)
	admin.Post("/users/:id/make-admin", h.makeAdmin)
	admin.Post("/users/:id/unmake-admin", withForm(h.unmakeAdmin))
	admin.Post("/users/:id/account", withForm(h.setUser))
	admin.Post("/users/:id/reset-second-factor", withForm(h.resetUserFactor))
	admin.Post("/users/:id/delete", h.once(h.deleteUser))
	admin.Post("/apps", withForm(h.allowApp))
	admin.Post("/apps/remove", withForm(h.removeApp))

	// JSON.
	api := app.Group(apiPath, requireJSON)
	api.Get("/sessions", h.apiListSessions)
	api.Post("/sessions/revoke-all", h.apiRevokeOthers)
	api.Get("/sessions/current", h.apiShowCurrent)
	api.Delete("/sessions/current", h.apiEndCurrent)
	api.Delete("/sessions/:id", h.apiRevokeSession)
	api.Patch("/sessions/:id", h.apiNameSession)
	api.Get("/activity", h.apiListActivity)
	api.Get("/export", h.apiExport)

	routeEveryMethod(app)
	renderOnce(app)
	return app
}

// Paths that are used in other files too. isAPI needs them because a request can fail before it reaches its route.
const (
	apiPath      = "/me" // and everything below it
	healthPath   = "/healthz"
	signInPath   = "/login"
	signOutPath  = "/logout"
	accountPath  = "/account"
	passwordPath = "/account/password"
	sessionsPath = "/sessions" // where people go after signing in
)

func (h *handler) config() fiber.Config {
	return fiber.Config{
		Views:                   h.newViews(),
		ErrorHandler:            h.answerError,
		CaseSensitive:           true,
		StrictRouting:           true,
		Immutable:               true, // strings from a request outlive it
		EnableTrustedProxyCheck: true, // Fiber itself believes no forwarded header; address.go decides
		BodyLimit:               bodyLimit,
		ReadBufferSize:          headerLimit,
		ReadTimeout:             15 * time.Second,
		WriteTimeout:            writeTimeout,
		IdleTimeout:             2 * time.Minute,
		DisableStartupMessage:   true,
		// No route takes multipart, and Fiber would answer a malformed one before any of our checks.
		DisablePreParseMultipartForm: true,
	}
}

// publicRoute registers a path that needs no session. It also responds with 405, because the router would do so only after requireSession.
func publicRoute(app *fiber.App, path string, get fiber.Handler, post ...fiber.Handler) {
	var allowed []string
	if get != nil {
		allowed = append(allowed, "GET", "HEAD")
		app.Get(path, get)
	}
	if len(post) > 0 {
		allowed = append(allowed, "POST")
		app.Post(path, post...)
	}
	app.All(path, func(c *fiber.Ctx) error {
		c.Set(fiber.HeaderAllow, strings.Join(allowed, ", "))
		return fiber.ErrMethodNotAllowed
	})
}

func newHandler(options Options) *handler {
	h := &handler{
		Options:           options,
		origin:            options.URL.Scheme + "://" + options.URL.Host,
		cookieName:        "porchlight",
		deviceCookieName:  "porchlight-device",
		stepCookieName:    "porchlight-code",
		passkeyCookieName: "porchlight-passkey",
		passkeys:          newRelyingParty(options.URL),
		signInPolicy:      policyLeadingTo(options.URL.Scheme, options.CookieDomain),
		devices:           sync.OnceValue(newDeviceNamer),
		logsRequests:      options.Log.Enabled(context.Background(), slog.LevelDebug),
		assets:            builtInAssets,
	}
	if h.Files != nil {
		h.assets = func() map[string]asset {
			files, _ := fs.Sub(h.Files, "public")
			return loadAssets(files)
		}
	}
	h.ownHost, _, _ = db.CanonicalHost(options.URL.Host)
	h.cookieDomains = cookieDomains(h.ownHost)
	if h.secure() {
		h.deviceCookieName = "__Host-" + h.deviceCookieName // browsers accept it only with Secure, Path=/ and no Domain
		h.stepCookieName = "__Host-" + h.stepCookieName
		h.passkeyCookieName = "__Host-" + h.passkeyCookieName
	}
	switch {
	case h.secure() && h.CookieDomain != "":
		h.cookieName = "__Secure-porchlight" // browsers accept it only with Secure
	case h.secure():
		h.cookieName = "__Host-porchlight" // browsers accept it only with Secure, Path=/ and no Domain
	}
	h.describeDevice = func(userAgent string, wait bool) (string, string) { return h.devices().name(userAgent, wait) }
	go h.devices() // takes about 60 ms, and the first page does not need it
	return h
}

// secure reports whether the public address is https.
func (h *handler) secure() bool { return h.URL.Scheme == "https" }

// logPanic logs a panic. The client gets a 500 without its text.
func (h *handler) logPanic(c *fiber.Ctx, e any) {
	h.Log.Error("panic", "path", c.Path(), "panic", e, "stack", string(debug.Stack()))
}

// checkHealth returns 200 if the database answers.
func (h *handler) checkHealth(c *fiber.Ctx) error {
	if err := h.Store.Ping(); err != nil {
		return err
	}
	return c.JSON(fiber.Map{"status": "ok"})
}
