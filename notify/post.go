package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"porchlight/db"
)

// postTimeout is how long an ntfy server or a webhook may take to answer.
const postTimeout = 10 * time.Second

// maxResponse is how many bytes of a response are read: enough for the server to say what is wrong.
const maxResponse = 2048

// ParseNtfy reads the URL of an ntfy server. The error says what would be valid, and never contains the URL, which may hold a password.
func ParseNtfy(text string) (*url.URL, error) {
	u, err := parseURL(text, "https://ntfy.example.com")
	if err == nil && (strings.Trim(u.Path, "/") != "" || u.RawQuery != "") {
		err = errors.New("give the server without a topic, such as https://ntfy.example.com; each user names a topic")
	}
	return u, err
}

// ParseWebhook reads the URL of a webhook. Its errors are like those of ParseNtfy.
func ParseWebhook(text string) (*url.URL, error) {
	return parseURL(text, "https://hooks.example.com/porchlight")
}

func parseURL(text, example string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" || u.Fragment != "" {
		return nil, errors.New("give a URL such as " + example)
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return nil, errors.New("the port must be a number from 1 to 65535")
		}
	}
	return u, nil
}

// poster makes the HTTP requests. It follows no redirect, so that a message reaches only the server that the setting names.
type poster struct{ client *http.Client }

func newPoster() *poster {
	return &poster{&http.Client{
		Timeout:       postTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: postTimeout}).DialContext,
			TLSHandshakeTimeout:    postTimeout,
			MaxIdleConnsPerHost:    sentAtOnce,
			IdleConnTimeout:        time.Minute,
			MaxResponseHeaderBytes: 16 << 10,
			ForceAttemptHTTP2:      true,
		},
	}}
}

// post sends JSON, signed if there is a key. The error contains the server's response.
func (p *poster) post(ctx context.Context, to *url.URL, body any, key string, at time.Time) error {
	encoded, err := json.Marshal(body)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, to.String(), bytes.NewReader(encoded))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "Porchlight")
	if key != "" {
		request.Header.Set(signatureHeader, sign(key, encoded, at))
	}
	response, err := p.client.Do(request)
	if err != nil {
		var failed *url.Error // its own text repeats the URL
		if errors.As(err, &failed) {
			err = failed.Err
		}
		return fmt.Errorf("%s: %s", to.Host, oneLine(err.Error()))
	}
	defer response.Body.Close()
	if response.StatusCode/100 == 2 {
		return nil
	}
	said, _ := io.ReadAll(io.LimitReader(response.Body, maxResponse)) // as much as has arrived
	return fmt.Errorf("%s: %s", to.Host, oneLine(response.Status+" "+wordsOf(said)))
}

// wordsOf returns the error in the JSON of an answer, or else its text without tags.
func wordsOf(answer []byte) string {
	var known struct{ Error string }
	if json.Unmarshal(answer, &known) == nil && known.Error != "" {
		return known.Error
	}
	return strings.TrimSpace(tags.ReplaceAllString(string(answer), " "))
}

var tags = regexp.MustCompile(`<[^>]*>`)

// ntfyMessage is the JSON that ntfy accepts at its root: https://docs.ntfy.sh/publish/#publish-as-json. Unlike a header, it can contain any
// device name.
type ntfyMessage struct {
	Topic    string   `json:"topic"`
	Title    string   `json:"title"`
	Message  string   `json:"message"`
	Tags     []string `json:"tags"`
	Priority int      `json:"priority"` // 1 to 5
	Click    string   `json:"click"`
}

// sendNtfy sends a link to the list of devices and no token, because anyone who knows or guesses the topic can read the message.
func (s *Sender) sendNtfy(ctx context.Context, m db.Message) error {
	const normal, high = 3, 4
	message := s.compose(m)
	n := ntfyMessage{m.Address, message.Subject, message.summary(), []string{"warning"}, high, s.URL.String() + "/sessions"}
	switch m.Kind {
	case db.TestAlert:
		n.Tags, n.Priority = []string{"bell"}, normal
	case db.UserWaiting:
		n.Tags, n.Priority, n.Click = []string{"wave"}, normal, s.URL.String()+waitingPath
	}
	return s.poster.post(ctx, s.Ntfy, n, "", time.Time{})
}

// webhookEvent is what a webhook gets. The names are those of the API.
type webhookEvent struct {
	ID         int64     `json:"id"` // the same in every attempt
	Kind       string    `json:"kind"`
	At         time.Time `json:"at"`
	Username   string    `json:"username"`
	IP         string    `json:"ip"`
	DeviceName string    `json:"deviceName"`
	SessionID  string    `json:"sessionId"`
	By         db.Actor  `json:"by"`
	Count      int       `json:"count"`
}

func (s *Sender) sendWebhook(ctx context.Context, m db.Message) error {
	event := webhookEvent{m.ID, m.Kind, m.At.UTC(), m.Username, m.IP, m.DeviceName, m.SessionID, m.By, m.Count}
	return s.poster.post(ctx, s.Webhook, event, WebhookKey(s.Store), s.Store.Now())
}

// WebhookKey returns the key that signs requests to the webhook: 64 hexadecimal digits, which are used as text.
func WebhookKey(store *db.Store) string { return hex.EncodeToString(store.DerivedKey("webhook")) }

// signatureHeader proves that Porchlight sent a request, and when: t=SECONDS,v1=HEX, where HEX is the HMAC-SHA256 of the seconds, a dot
// and the body.
const signatureHeader = "Porchlight-Signature"

// sign returns the value of signatureHeader.
func sign(key string, body []byte, at time.Time) string {
	seconds := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(seconds + "."))
	mac.Write(body)
	return "t=" + seconds + ",v1=" + hex.EncodeToString(mac.Sum(nil))
}
