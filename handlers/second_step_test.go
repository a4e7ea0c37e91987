package handlers_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"porchlight/db"
	"porchlight/handlers"
	"porchlight/handlers/handlerstest"
)

// This file tests signing in with a password and a code.

// openWithTOTP opens a house in which alice has an authenticator app. The clock has moved on, so that a fresh code is valid.
func openWithTOTP(t *testing.T) (h *handlerstest.Cast, secret string, recoveryCodes []string) {
	t.Helper()
	h = handlerstest.OpenCast(t)
	secret, recoveryCodes = h.AddTOTP(h.Alice)
	h.Clock.Advance(time.Minute)
	return h, secret, recoveryCodes
}

// passFirstStep gives alice's password, and returns the browser, which must not be signed in yet.
func passFirstStep(h *handlerstest.Cast, values ...string) *handlerstest.Client {
	h.T.Helper()
	browser := h.NewClient(handlerstest.ChromeOnMac)
	browser.Form("/login", append([]string{"username", "alice", "password", handlerstest.AlicePassword}, values...)...).
		Is(h.T, 303, "/login/code")
	return browser
}

func TestCodeAfterThePassword(t *testing.T) {
	t.Parallel()
	h, secret, _ := openWithTOTP(t)
	sessions := len(h.SessionsOf("alice"))
	browser := passFirstStep(h)
	if n := len(h.SessionsOf("alice")); n != sessions || browser.Token() != "" {
		t.Fatalf("%d sessions after the password, want %d; session cookie %q", n, sessions, browser.Token())
	}
	browser.Page("/sessions").Is(t, 303, "/login?next=%2Fsessions")
	browser.API("GET", "/me/sessions", "").Is(t, 401)

	browser.Page("/login/code").Has(t, `name="code"`, `autocomplete="one-time-code"`)
	wrong := browser.Form("/login/code", "code", "000000")
	wrong.Is(t, 422)
	wrong.Has(t, "That code isn&#39;t right.", "<title>Error: ")
	browser.Form("/login/code", "code", handlerstest.TOTP(t, secret, h.Clock.Now())).Is(t, 303, "/sessions")
	browser.Page("/sessions").Has(t, "with a password and a code")
	h.SameRows(t, []string{"password+code"}, `SELECT method FROM sessions WHERE token_hash = unhex(?)`,
		handlerstest.SHA256Hex(browser.Token()))
	browser.Page("/login/code").Is(t, 303, "/login?done=again") // the step has ended
}

func TestCodeWorksOnce(t *testing.T) {
	t.Parallel()
	h, secret, _ := openWithTOTP(t)
	code := handlerstest.TOTP(t, secret, h.Clock.Now())
	var all sync.WaitGroup
	var mu sync.Mutex
	statuses := map[int]int{}
	var browsers []*handlerstest.Client
	for range 8 {
		browsers = append(browsers, passFirstStep(h))
	}
	for _, browser := range browsers {
		all.Go(func() {
			got := browser.Form("/login/code", "code", code)
			mu.Lock()
			defer mu.Unlock()
			statuses[got.Status]++
		})
	}
	all.Wait()
	if statuses[303] != 1 || statuses[422] != 7 {
		t.Errorf("8 browsers with the same code: %v, want one 303 and seven 422", statuses)
	}
}

func TestSecondStepBelongsToOneBrowser(t *testing.T) {
	t.Parallel()
	h, secret, _ := openWithTOTP(t)
	browser := passFirstStep(h)
	code := handlerstest.TOTP(t, secret, h.Clock.Now())
	other := h.NewClient(handlerstest.ChromeOnMac)
	other.Page("/login/code").Is(t, 303, "/login?done=again")
	other.Form("/login/code", "code", code).Is(t, 303, "/login?done=again")
	other.Page("/login?done=again").Has(t, "Sign in again.")

	// The cookie of the step is no session cookie.
	var step string
	at, _ := url.Parse(h.URL)
	for _, cookie := range browser.HTTP.Jar.Cookies(at) {
		if cookie.Name == "porchlight-code" {
			step = cookie.Value
		}
	}
	if step == "" {
		t.Fatal("the browser has no cookie of the second step")
	}
	other.HTTP.Jar.SetCookies(at, []*http.Cookie{{Name: "porchlight", Value: step, Path: "/"}})
	other.Page("/sessions").Is(t, 303, "/login?next=%2Fsessions")
	browser.Form("/login/code", "code", code).Is(t, 303, "/sessions")
}

func TestSecondStepEnds(t *testing.T) {
	t.Parallel()
	h, secret, _ := openWithTOTP(t)
	late := passFirstStep(h)
	h.Clock.Advance(10 * time.Minute)
	late.Form("/login/code", "code", handlerstest.TOTP(t, secret, h.Clock.Now())).Is(t, 303, "/login?done=again")

	guessing := passFirstStep(h)
	for range 4 {
		guessing.Form("/login/code", "code", "000000").Is(t, 422)
	}
	guessing.Form("/login/code", "code", "000000").Is(t, 303, "/login?done=again")
	if log := h.Log.String(); !strings.Contains(log, `"wrong code" user=alice ip=127.0.0.1`) {
		t.Errorf("the log does not name the user:\n%s", log)
	}
	guessing.Form("/login/code", "code", handlerstest.TOTP(t, secret, h.Clock.Now())).Is(t, 303, "/login?done=again")
	if got := h.Rows(`SELECT method FROM sessions WHERE method LIKE '%code'`); len(got) != 0 {
		t.Errorf("sessions: %q", got)
	}
}

func TestRecoveryCodeSignsInOnce(t *testing.T) {
	t.Parallel()
	h, _, codes := openWithTOTP(t)
	if len(codes) != 10 {
		t.Fatalf("%d recovery codes, want 10", len(codes))
	}
	typed := strings.ToUpper(strings.ReplaceAll(codes[3], "-", " "))
	browser := passFirstStep(h)
	browser.Form("/login/code", "code", typed).Is(t, 303, "/sessions?done=recovery")
	browser.Page("/sessions?done=recovery").Has(t, "with a password and a recovery code", "You signed in with a recovery code.")
	browser.Page("/account/security").Has(t, "You have 9 recovery codes left")
	browser.Page("/activity").Has(t, "recovery code")
	passFirstStep(h).Form("/login/code", "code", typed).Is(t, 422)
	for i, want := range []string{"recovery", "recovery", "recovery", "recovery", "recovery", "recovery-low"} { // four to nine are used
		passFirstStep(h).Form("/login/code", "code", codes[i+4]).Is(t, 303, "/sessions?done="+want)
	}
	browser.Page("/account/security").Has(t, "You have 3 recovery codes left. Create new ones.")
}

func TestImpatientCodeBeginsOneSession(t *testing.T) {
	t.Parallel()
	h, secret, _ := openWithTOTP(t)
	browser := passFirstStep(h)
	sessions := len(h.SessionsOf("alice"))
	values := []string{"code", handlerstest.TOTP(t, secret, h.Clock.Now()), "form", strings.Repeat("A", db.TokenLength)}
	second := h.NewClient(handlerstest.ChromeOnMac) // the same browser, before it has the answer to the first press
	at, _ := url.Parse(h.URL)
	second.HTTP.Jar.SetCookies(at, browser.HTTP.Jar.Cookies(at))
	browser.Form("/login/code", values...).Is(t, 303, "/sessions")
	second.Form("/login/code", values...).Is(t, 303, "/sessions")
	second.Page("/sessions").Is(t, 200)
	if n := len(h.SessionsOf("alice")); n != sessions+1 {
		t.Errorf("%d sessions, want %d", n, sessions+1)
	}
}

func TestSecondStepLeadsOn(t *testing.T) {
	t.Parallel()
	h, secret, _ := openWithTOTP(t)
	browser := h.NewClient(handlerstest.ChromeOnMac)
	browser.Form("/login", "username", "alice", "password", handlerstest.AlicePassword, "next", "/account").
		Is(t, 303, "/login/code?next=%2Faccount")
	browser.Page("/login/code?next=%2Faccount").Has(t, `name="next" value="/account"`)
	browser.Page("/login/code?next=//evil.example").Lacks(t, "evil.example")
	browser.Form("/login/code", "code", handlerstest.TOTP(t, secret, h.Clock.Now()), "next", "//evil.example").Is(t, 303, "/sessions")
}

func TestCodeInTheAPI(t *testing.T) {
	t.Parallel()
	h, secret, _ := openWithTOTP(t)
	script := h.NewClient("curl/8.5.0")
	login := func(code string) handlerstest.Answer {
		return script.API("POST", "/login", `{"username":"alice","password":"`+handlerstest.AlicePassword+`"`+code+`}`)
	}
	got := login("")
	got.Is(t, 401)
	got.Has(t, `{"error":"A code is needed.","secondFactor":true}`)
	if cookies := got.Header["Set-Cookie"]; cookies != nil {
		t.Errorf("cookies before the code: %q", cookies)
	}
	got = login(`,"code":"000000"`)
	got.Is(t, 401)
	got.Has(t, `{"error":"That code isn't right.","secondFactor":true}`)
	if n := h.Only(`SELECT COUNT(*) FROM second_steps`); n != "0" {
		t.Errorf("%s second steps are left, although no cookie names them", n)
	}
	login(`,"code":"`+handlerstest.TOTP(t, secret, h.Clock.Now())+`"`).Is(t, 200)
	script.API("GET", "/me/sessions/current", "").Has(t, `"method":"password+code"`)
	script.API("POST", "/login", `{"username":"alice","password":"wrong","code":"000000"}`).
		Has(t, `{"error":"That username or password isn't right."}`)
}

func TestTooManyWrongCodesInARow(t *testing.T) {
	t.Parallel()
	h, _, _ := openWithTOTP(t)
	browser := passFirstStep(h)
	browser.Form("/login/code", "code", "000000").Is(t, 422)
	h.Exec(`UPDATE consecutive_failures SET failures = 100`)
	got := browser.Form("/login/code", "code", "000000")
	got.Is(t, 429)
	got.Has(t, "Too many wrong codes in a row", "Use a device you have signed in on before, or ask whoever runs this server.")
}

// Of many requests with one code, one signs in.
func TestOneCodeInManyRequests(t *testing.T) {
	t.Parallel()
	h, secret, _ := openWithTOTP(t)
	before := len(h.SessionsOf("alice"))
	body := `{"username":"alice","password":"` + handlerstest.AlicePassword + `","code":"` + handlerstest.TOTP(t, secret, h.Clock.Now()) + `"}`
	var all sync.WaitGroup
	statuses := make([]int, 50)
	for i := range statuses {
		all.Go(func() { statuses[i] = h.NewClient("curl/8.5.0").API("POST", "/login", body).Status })
	}
	all.Wait()
	signedIn := 0
	for _, status := range statuses {
		switch status {
		case 200:
			signedIn++
		case 401, 429, 503:
		default:
			t.Errorf("status %d", status)
		}
	}
	if sessions := len(h.SessionsOf("alice")) - before; sessions > 1 || signedIn != sessions {
		t.Errorf("%d sessions, %d answers 200: %v", sessions, signedIn, statuses)
	}
}

// An invitation replaces a forgotten password, not the second factor.
func TestInvitationAsksForTheCode(t *testing.T) {
	t.Parallel()
	h, secret, _ := openWithTOTP(t)
	invitation, _, err := h.Store.Invite(context.Background(), db.CommandLine, db.NewUser{Username: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	browser := h.NewClient(handlerstest.ChromeOnMac)
	for range 2 { // pressed twice
		browser.Form("/invite", "token", invitation, "password", "another lantern velvet orbit").Is(t, 303, "/login/code")
	}
	if browser.Token() != "" {
		t.Error("the invitation alone signed in")
	}
	h.Alice.Page("/sessions").Is(t, 200)
	passFirstStep(h) // the old password stays valid until the code is entered
	browser.Form("/login/code", "code", handlerstest.TOTP(t, secret, h.Clock.Now())).Is(t, 303, "/sessions")
}

// Between the password and the code, the browser is not signed in, so the apps refuse it too.
func TestSecondStepIsNoSessionForApps(t *testing.T) {
	t.Parallel()
	h := handlerstest.OpenHouse(t, handlerstest.GuardsExample, func(o *handlers.Options) { o.URL.Scheme = "http" })
	h.AddUser("alice", handlerstest.AlicePassword)
	secret, _ := h.AddTOTP(h.SignIn("alice", handlerstest.AlicePassword, handlerstest.FirefoxOnLinux))
	h.Clock.Advance(time.Minute)
	browser := h.NewClient(handlerstest.ChromeOnMac)
	browser.Form("/login", "username", "alice", "password", handlerstest.AlicePassword).Is(t, 303, "/login/code")
	check := func() handlerstest.Answer {
		return browser.Do("GET", "/auth/forward", "", "Accept", handlerstest.BrowserAccept, "Sec-Fetch-Mode", "navigate",
			"X-Forwarded-Method", "GET", "X-Forwarded-Proto", "http", "X-Forwarded-Host", "notes.example.com", "X-Forwarded-Uri", "/")
	}
	before := check()
	before.Is(t, 302)
	for name := range before.Header {
		if strings.HasPrefix(name, "Remote-") {
			t.Errorf("before the code: %s: %q", name, before.Header[name])
		}
	}
	browser.Form("/login/code", "code", handlerstest.TOTP(t, secret, h.Clock.Now())).Is(t, 303, "/sessions")
	after := check()
	after.Is(t, 200)
	if got := after.Header.Get("Remote-User"); got != "alice" {
		t.Errorf("after the code: Remote-User %q", got)
	}
}
