package handlerstest

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// Client is a browser or a script. It keeps cookies, and does not follow redirects.
type Client struct {
	T         testing.TB
	URL       string
	UserAgent string
	HTTP      *http.Client
	ID        string // of its session, once it is signed in
}

// Token returns the token in the client's cookie.
func (c *Client) Token() string {
	c.T.Helper()
	at, _ := url.Parse(c.URL)
	for _, cookie := range c.HTTP.Jar.Cookies(at) {
		if cookie.Name == "porchlight" {
			return cookie.Value
		}
	}
	return ""
}

// SHA256Hex returns the hash of a token, in hex. The database has only this hash.
func SHA256Hex(token string) string {
	hash := sha256.Sum256([]byte(token))
	return hex.EncodeToString(hash[:])
}

// Answer is a response with its body.
type Answer struct {
	Status int
	Header http.Header
	Body   string
}

// Do sends a request. The headers are pairs of name and value.
func (c *Client) Do(method, path, body string, headers ...string) Answer {
	c.T.Helper()
	request, err := http.NewRequest(method, c.URL+path, strings.NewReader(body))
	if err != nil {
		c.T.Fatal(err)
	}
	request.Header.Set("User-Agent", c.UserAgent)
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			request.Host = headers[i+1]
		}
		request.Header.Add(headers[i], headers[i+1])
	}
	response, err := c.HTTP.Do(request)
	if err != nil {
		c.T.Fatal(err)
	}
	defer response.Body.Close()
	got, err := io.ReadAll(response.Body)
	if err != nil {
		c.T.Fatal(err)
	}
	return Answer{response.StatusCode, response.Header, string(got)}
}

// Page sends a GET, as a browser does when it follows a link.
func (c *Client) Page(path string, headers ...string) Answer {
	c.T.Helper()
	return c.Do("GET", path, "", append([]string{"Accept", BrowserAccept}, headers...)...)
}

// Form posts a plain form, as a browser does. The values are pairs of name and value.
func (c *Client) Form(path string, values ...string) Answer {
	c.T.Helper()
	return c.Do("POST", path, Encode(values), "Accept", BrowserAccept, "Content-Type", "application/x-www-form-urlencoded",
		"Sec-Fetch-Site", "same-origin")
}

// HTMX sends a request as htmx does on the devices page.
func (c *Client) HTMX(method, path string, values ...string) Answer {
	c.T.Helper()
	return c.Do(method, path, Encode(values), "Accept", "text/html", "HX-Request", "true", "HX-Current-URL", c.URL+"/sessions",
		"Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "same-origin")
}

// API sends a request as a script does. An empty body has no Content-Type.
func (c *Client) API(method, path, body string) Answer {
	c.T.Helper()
	if body == "" {
		return c.Do(method, path, "")
	}
	return c.Do(method, path, body, "Content-Type", "application/json")
}

// Encode turns pairs of name and value into the body of a form.
func Encode(values []string) string {
	form := url.Values{}
	for i := 0; i < len(values); i += 2 {
		form.Add(values[i], values[i+1])
	}
	return form.Encode()
}

// Has fails the test unless the body contains all texts.
func (a Answer) Has(t testing.TB, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(a.Body, text) {
			t.Errorf("%d: the body lacks %q:\n%.300s", a.Status, text, a.Body)
		}
	}
}

// Lacks fails the test if the body contains any of the texts.
func (a Answer) Lacks(t testing.TB, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if strings.Contains(a.Body, text) {
			t.Errorf("%d: the body has %q:\n%.300s", a.Status, text, a.Body)
		}
	}
}

// Is fails the test unless the response has this status and, if one is given, this Location.
func (a Answer) Is(t testing.TB, status int, location ...string) {
	t.Helper()
	if a.Status != status {
		t.Errorf("status %d, want %d: %.120q", a.Status, status, a.Body)
	}
	if len(location) > 0 && a.Header.Get("Location") != location[0] {
		t.Errorf("Location %q, want %q", a.Header.Get("Location"), location[0])
	}
}
