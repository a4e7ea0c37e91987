package handlers_test

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"porchlight/handlers"
	"porchlight/handlers/handlerstest"
)

// This file tests what every response must contain, and what none may contain.

// inlineStyle returns the style that a page has in itself.
func inlineStyle(body string) (style string, found bool) {
	_, style, found = strings.Cut(body, "<style>")
	style, _, _ = strings.Cut(style, "</style>")
	return style, found
}

// checkSecurityHeaders checks the headers that every response must have, including errors. A page under an app's address has a style in
// itself, which its policy must allow by its hash, and allows nothing else.
func checkSecurityHeaders(t testing.TB, got handlerstest.Answer) {
	t.Helper()
	missing := []string{}
	for name, want := range map[string]string{
		"X-Content-Type-Options":     "nosniff",
		"Referrer-Policy":            "same-origin",
		"Cross-Origin-Opener-Policy": "same-origin",
		"Permissions-Policy":         "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
	} {
		if values := got.Header.Values(name); len(values) != 1 || values[0] != want {
			missing = append(missing, name)
		}
	}
	csp := map[string]string{}
	for _, part := range strings.Split(got.Header.Get("Content-Security-Policy"), ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), " ")
		csp[name] = value
	}
	want := map[string]string{
		"default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "connect-src": "'self'", "img-src": "'self'",
		"form-action": "'self'", "base-uri": "'none'", "frame-ancestors": "'none'",
	}
	if style, inline := inlineStyle(got.Body); inline || got.Body == "" && strings.HasPrefix(csp["style-src"], "'sha256-") {
		hash := sha256.Sum256([]byte(style))
		allowed := "'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) + "'"
		if got.Body == "" { // to a HEAD request
			allowed = csp["style-src"]
		}
		want = map[string]string{
			"default-src": "'none'", "style-src": allowed, "form-action": "'none'", "base-uri": "'none'", "frame-ancestors": "'none'",
		}
	}
	if fmt.Sprint(csp) != fmt.Sprint(want) {
		missing = append(missing, "Content-Security-Policy: "+got.Header.Get("Content-Security-Policy"))
	}
	if len(missing) > 0 {
		t.Errorf("%d: missing or wrong: %q", got.Status, missing)
	}
	for name := range got.Header {
		if strings.HasPrefix(name, "Access-Control-") || name == "X-Powered-By" {
			t.Errorf("%d: %s: %s", got.Status, name, got.Header.Get(name))
		}
	}
}

// answersOfEveryKind returns a response of every kind, by a descriptive name.
func answersOfEveryKind(c *handlerstest.Cast) map[string]handlerstest.Answer {
	stranger := c.NewClient(handlerstest.FirefoxOnLinux)
	cookie := "Cookie: porchlight=" + c.Alice.Token() + "\r\n"
	return map[string]handlerstest.Answer{
		"200 page":          c.Alice.Page("/sessions"),
		"200 fragment":      c.Alice.HTMX("GET", "/sessions/list"),
		"200 JSON":          c.Alice.API("GET", "/me/sessions", ""),
		"200 sign-in page":  stranger.Page("/login"),
		"200 sign-out page": stranger.Page("/logout"),
		"200 healthz":       stranger.Page("/healthz"),
		"204":               c.SignIn("alice", handlerstest.AlicePassword, handlerstest.FirefoxOnLinux).API("DELETE", "/me/sessions/current", ""),
		"303 to sign in":    stranger.Page("/sessions"),
		"303 home":          c.Alice.Page("/"),
		"303 signed in":     c.NewClient(handlerstest.FirefoxOnLinux).Form("/login", "username", "alice", "password", handlerstest.AlicePassword),
		"303 signed out":    stranger.Form("/logout"),
		"400 own":           c.Alice.HTMX("DELETE", "/sessions/"+c.Alice.ID),
		"400 JSON":          stranger.API("POST", "/login", "{"),
		"400 malformed":     c.Raw("GET\r\n\r\n"),
		"401 JSON":          stranger.API("GET", "/me/sessions", ""),
		"401 htmx":          stranger.HTMX("GET", "/sessions/list"),
		"401 sign in":       stranger.API("POST", "/login", `{"username":"alice","password":"x"}`),
		"403":               c.Alice.Do("POST", "/logout", "", "Sec-Fetch-Site", "cross-site"),
		"404 page":          c.Alice.Page("/nowhere"),
		"404 public":        stranger.Page("/signup"),
		"404 file":          stranger.Page("/public/nowhere.css"),
		"404 JSON":          c.Alice.API("DELETE", "/me/sessions/nowhere", ""),
		"405 page":          c.Alice.Do("PUT", "/sessions", ""),
		"405 public":        stranger.Do("PUT", "/login", ""),
		"405 file":          stranger.Do("POST", "/public/app.css", ""),
		"405 JSON":          c.Alice.Do("PUT", "/me/sessions", ""),
		"413 JSON": c.Raw("PATCH /me/sessions/x HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + cookie +
			"Content-Length: 70000\r\n\r\n"),
		"413 page": c.Raw("POST /login HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\n" +
			"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 70000\r\n\r\n"),
		"415":                 c.Alice.Do("POST", "/me/sessions/revoke-all", "a=b", "Content-Type", "application/x-www-form-urlencoded"),
		"422 page":            stranger.Form("/login", "username", "alice", "password", "x"),
		"422 JSON":            c.Alice.API("PATCH", "/me/sessions/"+c.Alice.ID, "{}"),
		"431":                 stranger.Page("/sessions", "Cookie", "x="+big("y", 17<<10)),
		"200 file":            stranger.Page("/public/app.css"),
		"200 file, versioned": stranger.Page(versioned(c, "app.css")),
		"200 icon":            stranger.Page("/favicon.ico"),
	}
}

func TestSecurityHeaders(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	for name, got := range answersOfEveryKind(c) {
		t.Run(name, func(t *testing.T) {
			if !strings.HasPrefix(name, fmt.Sprint(got.Status)) {
				t.Errorf("status %d: %.500s", got.Status, got.Body)
			}
			checkSecurityHeaders(t, got)
			cache := got.Header.Get("Cache-Control")
			switch name {
			case "200 file, versioned":
				if cache != "public, max-age=31536000, immutable" {
					t.Errorf("Cache-Control %q", cache)
				}
			case "200 file", "200 icon":
				if strings.Contains(cache, "immutable") || !strings.Contains(cache, "max-age=") {
					t.Errorf("Cache-Control %q", cache)
				}
			default:
				if cache != "no-store" {
					t.Errorf("Cache-Control %q", cache)
				}
			}
			if hsts := got.Header.Get("Strict-Transport-Security"); hsts != "" {
				t.Errorf("HSTS over http: %q", hsts)
			}
		})
	}
}

func TestHSTSWithHTTPS(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenHouse(t, func(o *handlers.Options) { o.URL = &url.URL{Scheme: "https", Host: "auth.example"} })
	stranger := c.NewClient(handlerstest.FirefoxOnLinux)
	for _, got := range []handlerstest.Answer{
		stranger.Page("/login"), stranger.Page("/sessions"), stranger.Page("/public/app.css"), c.Raw("GET\r\n\r\n"),
		stranger.Page("/", "Cookie", "x="+big("y", 17<<10)),
	} {
		if hsts := got.Header.Get("Strict-Transport-Security"); !regexp.MustCompile(`^max-age=[1-9][0-9]{6,}`).MatchString(hsts) {
			t.Errorf("%d: HSTS %q", got.Status, hsts)
		}
	}
}

// Requests that are too large or malformed get a clear error. Cookie headers of a normal size are accepted.
func TestSizeLimits(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	c.Alice.API("GET", "/me/sessions", "").Is(t, 200)
	c.Alice.Do("GET", "/me/sessions", "", "Cookie", "other="+big("x", 10<<10)).Is(t, 200)
	got := c.Alice.Do("GET", "/me/sessions", "", "Cookie", "other="+big("x", 20<<10))
	got.Is(t, 431)
	got.Has(t, "Clear the cookies of this site")
	got = c.Raw("POST /login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 65537\r\n\r\n")
	got.Is(t, 413)
	if got.Body != `{"error":"This is too large."}` {
		t.Errorf("the body is %s", got.Body)
	}
	whole := `{"username":"alice","password":"` + handlerstest.AlicePassword + `"}`
	c.NewClient("curl/8.5.0").API("POST", "/login", whole+big(" ", 65536-len(whole))).Is(t, 200)
}

// The limit of 64 KB holds for compressed bodies, too. They are refused, because 64 KB can decompress to many MB, and a body that was
// compressed twice to many GB, before anybody has signed in.
func TestCompressedBodyIsRefused(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	whole := `{"username":"alice","password":"` + handlerstest.AlicePassword + `"}`
	for _, encoding := range []string{"gzip", "gzip, gzip"} {
		body := pack(whole + big(" ", 1<<20))
		if encoding != "gzip" {
			body = pack(body)
		}
		got := c.NewClient("curl/8.5.0").Do("POST", "/login", body, "Content-Type", "application/json", "Content-Encoding", encoding)
		if got.Status != 413 && got.Status != 415 {
			t.Errorf("%d bytes compressed with %s: %d %s", len(body), encoding, got.Status, got.Body)
		}
	}
}

func TestTokenIsNeverShown(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	tokens := []string{c.Alice.Token(), c.AlicePhone.Token(), c.Bob.Token()}
	answers := answersOfEveryKind(c)
	name := c.SignIn("bob", handlerstest.BobPassword, handlerstest.FirefoxOnLinux)
	tokens = append(tokens, name.Token())
	answers["name"] = c.Bob.HTMX("POST", "/sessions/"+name.ID+"/name", "name", "Kitchen tablet")
	answers["rename by script"] = c.Bob.API("PATCH", "/me/sessions/"+name.ID, `{"name":"Study"}`)
	answers["ask"] = c.Bob.Form("/sessions/" + name.ID + "/revoke")
	answers["revoke"] = c.Bob.HTMX("DELETE", "/sessions/"+name.ID)
	answers["all"] = c.Bob.HTMX("POST", "/sessions/revoke-others")
	answers["password"] = c.Bob.Form("/account/password", "current_password", handlerstest.BobPassword,
		"new_password", "basalt umbrella crayon fjord")
	tokens = append(tokens, c.Bob.Token())
	answers["account"] = c.Bob.Page("/account?done=password")
	answers["dead"] = c.NewClient(handlerstest.FirefoxOnLinux).Page("/login?next=%2Fsessions", "Cookie", "porchlight="+name.Token())
	answers["garbage"] = c.Raw("GET /sessions HTTP/1.1\r\nHost: x\r\nCookie: porchlight=" + tokens[0] + "\r\nBroken\r\n\r\n")
	answers["signed out"] = c.Bob.Form("/logout")

	search := func(where, text string) {
		t.Helper()
		for i, token := range tokens {
			if token == "" {
				t.Fatal("token", i, "is empty")
			}
			if strings.Contains(text, token) || strings.Contains(strings.ToLower(text), handlerstest.SHA256Hex(token)) {
				t.Errorf("token %d is in %s", i, where)
			}
		}
	}
	for name, got := range answers {
		search(name, got.Body)
		got.Header.Del("Set-Cookie")
		search("the headers of "+name, fmt.Sprint(got.Header))
	}
	log := c.Log.String()
	search("the log", log)
	if !strings.Contains(log, "signed in") || !strings.Contains(log, "revoked") {
		t.Errorf("the log lacks the sign-in or the revocation: %s", log)
	}
	for i, token := range tokens {
		err := filepath.WalkDir(filepath.Dir(c.Path), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			content, err := os.ReadFile(path)
			if strings.Contains(string(content), token) {
				t.Errorf("token %d is in %s", i, filepath.Base(path))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// The response to a panic or an internal error is generic. Only the log has the details.
func TestErrorsAreGeneric(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	c.Exec(`UPDATE users SET password_hash = 'broken lamp oil' WHERE username = 'bob'`)
	const message = "Something went wrong. Please try again."
	script := c.NewClient("curl/8.5.0")
	answers := map[string]handlerstest.Answer{
		"error, JSON": script.API("POST", "/login", `{"username":"bob","password":"x"}`),
		"error, page": script.Form("/login", "username", "bob", "password", "x"),
	}
	c.Clock.Break(errors.New("the lamp oil ran out"))
	answers["panic, page"] = c.Alice.Page("/sessions")
	answers["panic, htmx"] = c.Alice.HTMX("GET", "/sessions/list")
	c.Clock.Break(nil)
	for name, got := range answers {
		t.Run(name, func(t *testing.T) {
			got.Is(t, http.StatusInternalServerError)
			got.Lacks(t, "oil", "Argon2id", "hash", "panic", "goroutine", ".go", "runtime")
			checkSecurityHeaders(t, got)
			if got.Header.Get("Cache-Control") != "no-store" {
				t.Error("the response may be stored")
			}
			switch {
			case strings.HasSuffix(name, "JSON"):
				if got.Body != `{"error":"`+message+`"}` {
					t.Errorf("the body is %s", got.Body)
				}
			case strings.HasSuffix(name, "htmx"):
				got.Has(t, `id="status"`, message)
				got.Lacks(t, "<h1")
			default:
				got.Has(t, "<h1>"+message+"</h1>")
			}
		})
	}
	if log := c.Log.String(); !strings.Contains(log, "the lamp oil ran out") || !strings.Contains(log, "level=ERROR") {
		t.Errorf("the log does not say what happened: %s", log)
	}
	c.Alice.Page("/sessions").Is(t, 200)
}

// Pages load nothing from other sites, and have no inline scripts.
func TestPagesLoadOnlyOurFiles(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, func(o *handlers.Options) { o.Signup = true })
	for _, path := range []string{"/sessions", "/account", "/nowhere", "/logout", "/signup"} {
		got := c.Alice.Page(path)
		for _, match := range regexp.MustCompile(`(?:src|href|action)="([^"]*)"`).FindAllStringSubmatch(got.Body, -1) {
			if !strings.HasPrefix(match[1], "/") && !strings.HasPrefix(match[1], "#") || strings.HasPrefix(match[1], "//") {
				t.Errorf("%s: %s", path, match[1])
			}
		}
		for _, match := range regexp.MustCompile(`<script[^>]*>`).FindAllString(got.Body, -1) {
			if !strings.Contains(match, " src=") {
				t.Errorf("%s: %s", path, match)
			}
		}
	}
}
