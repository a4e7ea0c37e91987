package handlers_test

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"porchlight/handlers"
)

// This file owns what every answer carries, what none may carry, and what hostile text becomes.

// checkSecurityHeaders is for every answer there is, errors included.
func checkSecurityHeaders(t testing.TB, got answer) {
	t.Helper()
	missing := []string{}
	for name, want := range map[string]string{
		"X-Content-Type-Options":     "nosniff",
		"Referrer-Policy":            "same-origin",
		"Cross-Origin-Opener-Policy": "same-origin",
		"Permissions-Policy":         "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
	} {
		if values := got.header.Values(name); len(values) != 1 || values[0] != want {
			missing = append(missing, name)
		}
	}
	csp := map[string]string{}
	for _, part := range strings.Split(got.header.Get("Content-Security-Policy"), ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), " ")
		csp[name] = value
	}
	want := map[string]string{
		"default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "connect-src": "'self'", "img-src": "'self'",
		"form-action": "'self'", "base-uri": "'none'", "frame-ancestors": "'none'",
	}
	if fmt.Sprint(csp) != fmt.Sprint(want) {
		missing = append(missing, "Content-Security-Policy: "+got.header.Get("Content-Security-Policy"))
	}
	if len(missing) > 0 {
		t.Errorf("%d: missing, or not as they should be: %q", got.status, missing)
	}
	for name := range got.header {
		if strings.HasPrefix(name, "Access-Control-") || name == "X-Powered-By" {
			t.Errorf("%d: %s: %s", got.status, name, got.header.Get(name))
		}
	}
}

// answersOfEveryKind provokes each kind of answer, and returns them by a descriptive name.
func answersOfEveryKind(c *cast) map[string]answer {
	stranger := c.newClient(firefoxOnLinux)
	cookie := "Cookie: porchlight=" + c.alice.token() + "\r\n"
	return map[string]answer{
		"200 page":          c.alice.page("/sessions"),
		"200 fragment":      c.alice.htmx("GET", "/sessions/list"),
		"200 JSON":          c.alice.api("GET", "/me/sessions", ""),
		"200 sign-in page":  stranger.page("/login"),
		"200 sign-out page": stranger.page("/logout"),
		"200 healthz":       stranger.page("/healthz"),
		"204":               c.signIn("alice", alicePassword, firefoxOnLinux).api("DELETE", "/me/sessions/current", ""),
		"303 to sign in":    stranger.page("/sessions"),
		"303 home":          c.alice.page("/"),
		"303 signed in":     c.newClient(firefoxOnLinux).form("/login", "username", "alice", "password", alicePassword),
		"303 signed out":    stranger.form("/logout"),
		"400 own":           c.alice.htmx("DELETE", "/sessions/"+c.alice.id),
		"400 JSON":          stranger.api("POST", "/login", "{"),
		"400 malformed":     c.raw("GET\r\n\r\n"),
		"401 JSON":          stranger.api("GET", "/me/sessions", ""),
		"401 htmx":          stranger.htmx("GET", "/sessions/list"),
		"401 sign in":       stranger.api("POST", "/login", `{"username":"alice","password":"x"}`),
		"403":               c.alice.do("POST", "/logout", "", "Sec-Fetch-Site", "cross-site"),
		"404 page":          c.alice.page("/nowhere"),
		"404 public":        stranger.page("/signup"),
		"404 file":          stranger.page("/public/nowhere.css"),
		"404 JSON":          c.alice.api("DELETE", "/me/sessions/nowhere", ""),
		"405 page":          c.alice.do("PUT", "/sessions", ""),
		"405 public":        stranger.do("PUT", "/login", ""),
		"405 file":          stranger.do("POST", "/public/app.css", ""),
		"405 JSON":          c.alice.do("PUT", "/me/sessions", ""),
		"413 JSON": c.raw("PATCH /me/sessions/x HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + cookie +
			"Content-Length: 70000\r\n\r\n"),
		"413 page":            c.raw("POST /login HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 70000\r\n\r\n"),
		"415":                 c.alice.do("POST", "/me/sessions/revoke-all", "a=b", "Content-Type", "application/x-www-form-urlencoded"),
		"422 page":            stranger.form("/login", "username", "alice", "password", "x"),
		"422 JSON":            c.alice.api("PATCH", "/me/sessions/"+c.alice.id, "{}"),
		"431":                 stranger.page("/sessions", "Cookie", "x="+big("y", 17<<10)),
		"200 file":            stranger.page("/public/app.css"),
		"200 file, versioned": stranger.page(versioned(c, "app.css")),
		"200 icon":            stranger.page("/favicon.ico"),
	}
}

// versioned is the address under which the pages name a static file.
func versioned(c *cast, name string) string {
	c.t.Helper()
	found := regexp.MustCompile(`/public/` + regexp.QuoteMeta(name) + `\?v=[0-9a-f]+`).FindString(c.alice.page("/sessions").body)
	if found == "" {
		c.t.Fatal("no page names", name)
	}
	return found
}

func TestSecurityHeaders(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	for name, got := range answersOfEveryKind(c) {
		t.Run(name, func(t *testing.T) {
			if !strings.HasPrefix(name, fmt.Sprint(got.status)) {
				t.Errorf("status %d: %.500s", got.status, got.body)
			}
			checkSecurityHeaders(t, got)
			cache := got.header.Get("Cache-Control")
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
			if hsts := got.header.Get("Strict-Transport-Security"); hsts != "" {
				t.Errorf("HSTS over http: %q", hsts)
			}
		})
	}
}

func TestHSTSWithHTTPS(t *testing.T) {
	t.Parallel()
	c := openHouse(t, func(o *handlers.Options) { o.URL = &url.URL{Scheme: "https", Host: "auth.example"} })
	stranger := c.newClient(firefoxOnLinux)
	for _, got := range []answer{stranger.page("/login"), stranger.page("/sessions"), stranger.page("/public/app.css"), c.raw("GET\r\n\r\n"),
		stranger.page("/", "Cookie", "x="+big("y", 17<<10))} {
		if hsts := got.header.Get("Strict-Transport-Security"); !regexp.MustCompile(`^max-age=[1-9][0-9]{6,}`).MatchString(hsts) {
			t.Errorf("%d: HSTS %q", got.status, hsts)
		}
	}
}

// What is too large, or cannot be read, is told plainly; a cookie header of ordinary size is not.
func TestSizes(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	c.alice.api("GET", "/me/sessions", "").is(t, 200)
	c.alice.do("GET", "/me/sessions", "", "Cookie", "other="+big("x", 10<<10)).is(t, 200)
	got := c.alice.do("GET", "/me/sessions", "", "Cookie", "other="+big("x", 20<<10))
	got.is(t, 431)
	got.has(t, "Clear the cookies of this site")
	got = c.raw("POST /login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 65537\r\n\r\n")
	got.is(t, 413)
	if got.body != `{"error":"This is too large."}` {
		t.Errorf("%s", got.body)
	}
	whole := `{"username":"alice","password":"` + alicePassword + `"}`
	c.newClient("curl/8.5.0").api("POST", "/login", whole+big(" ", 65536-len(whole))).is(t, 200)
}

// A body is at most 64 KB, and packing it does not change that: 64 KB can unpack to many MB, and what is packed twice
// to many GB, before anybody has signed in.
func TestPackedBodyIsNotUnpacked(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	whole := `{"username":"alice","password":"` + alicePassword + `"}`
	for _, encoding := range []string{"gzip", "gzip, gzip"} {
		body := pack(whole + big(" ", 1<<20))
		if encoding != "gzip" {
			body = pack(body)
		}
		got := c.newClient("curl/8.5.0").do("POST", "/login", body, "Content-Type", "application/json", "Content-Encoding", encoding)
		if got.status != 413 && got.status != 415 {
			t.Errorf("%d bytes packed with %s: %d %s", len(body), encoding, got.status, got.body)
		}
	}
}

func TestTokenIsNeverShown(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	tokens := []string{c.alice.token(), c.alicePhone.token(), c.bob.token()}
	answers := answersOfEveryKind(c)
	name := c.signIn("bob", bobPassword, firefoxOnLinux)
	tokens = append(tokens, name.token())
	answers["name"] = c.bob.htmx("POST", "/sessions/"+name.id+"/name", "name", "Kitchen tablet")
	answers["rename by script"] = c.bob.api("PATCH", "/me/sessions/"+name.id, `{"name":"Study"}`)
	answers["ask"] = c.bob.form("/sessions/" + name.id + "/revoke")
	answers["revoke"] = c.bob.htmx("DELETE", "/sessions/"+name.id)
	answers["all"] = c.bob.htmx("POST", "/sessions/revoke-others")
	answers["password"] = c.bob.form("/account/password", "current_password", bobPassword, "new_password", "basalt umbrella crayon fjord")
	tokens = append(tokens, c.bob.token())
	answers["account"] = c.bob.page("/account?done=password")
	answers["dead"] = c.newClient(firefoxOnLinux).page("/login?next=%2Fsessions", "Cookie", "porchlight="+name.token())
	answers["garbage"] = c.raw("GET /sessions HTTP/1.1\r\nHost: x\r\nCookie: porchlight=" + tokens[0] + "\r\nBroken\r\n\r\n")
	answers["signed out"] = c.bob.form("/logout")

	search := func(where, text string) {
		t.Helper()
		for i, token := range tokens {
			if token == "" {
				t.Fatal("token", i, "is empty")
			}
			if strings.Contains(text, token) || strings.Contains(strings.ToLower(text), sha256Hex(token)) {
				t.Errorf("token %d is in %s", i, where)
			}
		}
	}
	for name, got := range answers {
		search(name, got.body)
		got.header.Del("Set-Cookie")
		search("the headers of "+name, fmt.Sprint(got.header))
	}
	log := c.log.String()
	search("the log", log)
	if !strings.Contains(log, "signed in") || !strings.Contains(log, "revoked") {
		t.Errorf("the log tells too little: %s", log)
	}
	for i, token := range tokens {
		err := filepath.WalkDir(filepath.Dir(c.path), func(path string, entry fs.DirEntry, err error) error {
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

// The answer to a panic or an internal error is generic. Only the log has the details.
func TestFaultsAreGeneric(t *testing.T) {
	t.Parallel()
	var broken atomic.Bool
	c := openCast(t, func(o *handlers.Options) {
		now := o.Now
		o.Now = func() time.Time {
			if broken.Load() {
				panic(errors.New("the lamp oil ran out"))
			}
			return now()
		}
	})
	c.exec(`UPDATE users SET password_hash = 'broken lamp oil' WHERE username = 'bob'`)
	const message = "Something went wrong. Please try again."
	script := c.newClient("curl/8.5.0")
	answers := map[string]answer{
		"error, JSON": script.api("POST", "/login", `{"username":"bob","password":"x"}`),
		"error, page": script.form("/login", "username", "bob", "password", "x"),
	}
	broken.Store(true)
	answers["panic, page"] = c.alice.page("/sessions")
	answers["panic, htmx"] = c.alice.htmx("GET", "/sessions/list")
	broken.Store(false)
	for name, got := range answers {
		t.Run(name, func(t *testing.T) {
			got.is(t, http.StatusInternalServerError)
			got.lacks(t, "oil", "Argon2id", "hash", "panic", "goroutine", ".go", "runtime")
			checkSecurityHeaders(t, got)
			if got.header.Get("Cache-Control") != "no-store" {
				t.Error("it may be stored")
			}
			switch {
			case strings.HasSuffix(name, "JSON"):
				if got.body != `{"error":"`+message+`"}` {
					t.Errorf("%s", got.body)
				}
			case strings.HasSuffix(name, "htmx"):
				got.has(t, `id="status"`, message)
				got.lacks(t, "<h1")
			default:
				got.has(t, "<h1>"+message+"</h1>")
			}
		})
	}
	if log := c.log.String(); !strings.Contains(log, "the lamp oil ran out") || !strings.Contains(log, "level=ERROR") {
		t.Errorf("the log does not tell what happened: %s", log)
	}
	c.alice.page("/sessions").is(t, 200)
}

const hostileAgent = "Mozilla/5.0 (X11; Linux x86_64) <img src=x onerror=alert(1)>\" hx-get=\"/evil\" ' \u202egnp.exe\u2066 {{.}} Firefox/140.0"
const hostileName = "<img onerror=alert(1)>\" hx-get=\"/evil\" hx-on=' \u202egnp"

// What htmx reads holds words of ours and ids, never what somebody has written.
var (
	tag       = regexp.MustCompile(`<[a-z][^>]*>`)
	attribute = regexp.MustCompile(`\s([^\s=>"']+)(?:=("[^"]*"|'[^']*'|[^\s"'>]+))?`)
	htmxFixed = regexp.MustCompile(`^"(/sessions/revoke-others|/sessions/[A-Z2-7]{26}(/name)?|#sessions|outerHTML|innerHTML|body:queue all)"$`)
	known     = regexp.MustCompile(`^(accept-charset|action|alt|aria-[a-z]+|autocapitalize|autocomplete|autofocus|charset|checked|class|content|crossorigin|cx|cy|d|data-(confirm|day|exact)|datetime|defer|dir|fill|for|height|hidden|href|id|lang|lowercase|method|name|placeholder|r|readonly|rel|required|role|rx|ry|spellcheck|src|tabindex|title|type|value|viewBox|width|x|y|/)$`)
)

func TestHostileTextStaysText(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	// Invalid UTF-8 and 8 KB can be sent only as raw bytes.
	send := func(agent string) {
		t.Helper()
		body := encode([]string{"username", "alice", "password", alicePassword})
		c.raw(fmt.Sprintf("POST /login HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\nUser-Agent: %s\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s", agent, len(body), body)).is(t, 303)
	}
	send("Mozilla/5.0 \xff\xfe\xc3<img src=y onerror=alert(2)>\x80 Firefox/1")
	send("<img src=z>" + big("<script>", 1000))
	hostile := c.signIn("alice", alicePassword, hostileAgent)
	named := c.signIn("alice", alicePassword, firefoxOnLinux)
	c.alice.htmx("POST", "/sessions/"+named.id+"/name", "name", hostileName).is(t, 200)
	if got := c.only(`SELECT given_name FROM sessions WHERE id = ?`, named.id); got != hostileName {
		t.Fatalf("kept as %q", got)
	}
	if got := c.only(`SELECT MAX(length(CAST(user_agent AS BLOB))) FROM sessions`); got != "512" {
		t.Errorf("a User-Agent of %s bytes is kept", got)
	}
	for _, row := range c.rows(`SELECT device_name FROM sessions`) {
		if !regexp.MustCompile(`^[A-Za-z0-9 ._+-]+$`).MatchString(row) {
			t.Errorf("a device is called %q", row)
		}
	}
	for name, got := range map[string]answer{
		"page":           c.alice.page("/sessions"),
		"list":           c.alice.htmx("GET", "/sessions/list"),
		"confirm":        c.alice.form("/sessions/" + named.id + "/revoke"),
		"their own page": named.page("/sessions"),
		"revoked":        c.alice.htmx("DELETE", "/sessions/"+named.id),
		"hostile signed": c.alice.htmx("DELETE", "/sessions/"+hostile.id),
		"sign-in page": c.newClient(firefoxOnLinux).form("/login", "username", hostileName, "password", "x", "next",
			"/x?"+url.QueryEscape(hostileName)),
		"unknown path": c.alice.page("/%3Cimg%20onerror%3D1%3E?x=<img>"),
	} {
		t.Run(name, func(t *testing.T) {
			if got.status >= 500 {
				t.Error("status", got.status)
			}
			got.lacks(t, "<img", "<script>")
			if name == "page" || name == "list" {
				got.has(t, "&lt;img src=x onerror=alert(1)&gt;", "&lt;img onerror=alert(1)&gt;", "&lt;img src=z&gt;")
			}
			if !strings.Contains(got.body, "\ufffd") == strings.Contains(strings.ToValidUTF8(got.body, "\ufffd"), "\ufffd") {
				t.Error("the page is not valid UTF-8")
			}
			found := 0
			for _, opened := range tag.FindAllString(got.body, -1) {
				for _, match := range attribute.FindAllStringSubmatch(opened, -1) {
					if strings.HasPrefix(match[1], "hx-") {
						found++
						if !htmxFixed.MatchString(match[2]) {
							t.Errorf("%s in %s", match[0], opened)
						}
					} else if !known.MatchString(match[1]) {
						t.Errorf("an attribute that is none of ours, %s, in %s", match[0], opened)
					}
				}
			}
			if found == 0 && (name == "page" || name == "list" || name == "revoked") {
				t.Error("no htmx attribute was found: this test sees nothing")
			}
		})
	}
}

// Nothing is loaded from elsewhere and nothing is inline.
func TestPagesLoadOnlyOurOwn(t *testing.T) {
	t.Parallel()
	c := openCast(t, func(o *handlers.Options) { o.Signup = true })
	for _, path := range []string{"/sessions", "/account", "/nowhere", "/logout", "/signup"} {
		got := c.alice.page(path)
		for _, match := range regexp.MustCompile(`(?:src|href|action)="([^"]*)"`).FindAllStringSubmatch(got.body, -1) {
			if !strings.HasPrefix(match[1], "/") && !strings.HasPrefix(match[1], "#") || strings.HasPrefix(match[1], "//") {
				t.Errorf("%s: %s", path, match[1])
			}
		}
		for _, match := range regexp.MustCompile(`<script[^>]*>`).FindAllString(got.body, -1) {
			if !strings.Contains(match, " src=") {
				t.Errorf("%s: %s", path, match)
			}
		}
	}
}

// What a client writes cannot begin a line in the log.
func TestLogTakesNoLineFromClients(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	evil := "x\nlevel=INFO msg=\"signed in\" user=mallory\r\n"
	c.newClient("curl/8.5.0").form("/login", "username", evil, "password", "x").is(t, 422)
	c.newClient("curl/8.5.0").form("/login", "username", "alice", "password", evil).is(t, 422)
	c.alice.form("/sessions/"+c.alicePhone.id+"/name", "name", evil).is(t, 303)
	c.alice.form("/sessions/"+c.alicePhone.id+"/revoke", "confirm", "1").is(t, 303)
	c.alice.page("/%0alevel=INFO%20user=mallory").is(t, 404)
	c.exec(`UPDATE users SET password_hash = 'broken' WHERE username = 'bob'`)
	c.newClient("curl/8.5.0").form("/login?%0auser=mallory", "username", "bob", "password", "x").is(t, 500)
	for line := range strings.Lines(c.log.String()) {
		if !strings.HasPrefix(line, "time=") {
			t.Errorf("a line of its own: %q", line)
		}
		if strings.Contains(line, " user=mallory") && !strings.Contains(line, `\n`) && !strings.Contains(line, `user=mallory"`) {
			t.Errorf("forged: %q", line)
		}
	}
	if strings.Contains(c.log.String(), alicePassword) {
		t.Error("a password is in the log")
	}
}

func TestStaticFiles(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	stranger := c.newClient(firefoxOnLinux)
	for path, kind := range map[string]string{
		"/public/app.css": "text/css; charset=utf-8", "/public/app.js": "text/javascript; charset=utf-8", "/public/icon.svg": "image/svg+xml",
		"/favicon.ico": "image/x-icon",
	} {
		got := stranger.do("GET", path, "", "Accept-Encoding", "identity")
		got.is(t, 200)
		if got.header.Get("Content-Type") != kind || got.body == "" || got.header.Get("Vary") != "Accept-Encoding" {
			t.Errorf("%s: %v", path, got.header)
		}
		packed := stranger.do("GET", path, "", "Accept-Encoding", "br, gzip")
		if packed.header.Get("Content-Encoding") == "gzip" && (len(packed.body) >= len(got.body) || unpack(t, packed.body) != got.body) {
			t.Errorf("%s packed is not the same", path)
		}
		if strings.HasSuffix(path, ".css") && packed.header.Get("Content-Encoding") != "gzip" {
			t.Errorf("%s is not packed", path)
		}
		head := stranger.do("HEAD", path, "", "Accept-Encoding", "identity")
		head.is(t, 200)
		if head.body != "" || head.header.Get("Content-Length") != fmt.Sprint(len(got.body)) {
			t.Errorf("HEAD %s: %v", path, head.header)
		}
	}
	got := stranger.page("/public/app.css?v=000000000000")
	if strings.Contains(got.header.Get("Cache-Control"), "immutable") {
		t.Error("another version is kept for ever")
	}
}
