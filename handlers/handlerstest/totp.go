package handlerstest

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"html"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TOTP is an authenticator app: it shows the code for a secret at a time (RFC 6238). The secret is in base32, spaces allowed, as the page
// shows it.
func TOTP(t testing.TB, secret string, at time.Time) string {
	t.Helper()
	key, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(strings.ReplaceAll(secret, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha1.New, key)
	binary.Write(mac, binary.BigEndian, at.Unix()/30)
	sum := mac.Sum(nil)
	number := binary.BigEndian.Uint32(sum[sum[19]&0xf:]) & 0x7fffffff
	return fmt.Sprintf("%06d", number%1_000_000)
}

var (
	shownSecret = regexp.MustCompile(`class="secret">([A-Z2-7 ]+)<`)
	shownCode   = regexp.MustCompile(`<li><code>([a-z0-9-]+)</code>`)
)

// AddTOTP sets up an authenticator app through the pages. It returns the secret and the recovery codes that the pages show.
func (h *House) AddTOTP(c *Client) (secret string, recoveryCodes []string) {
	h.T.Helper()
	begun := c.Form("/account/totp/begin")
	found := shownSecret.FindStringSubmatch(html.UnescapeString(begun.Body))
	if found == nil {
		h.T.Fatalf("the page shows no secret: %d %.400s", begun.Status, begun.Body)
	}
	done := c.Form("/account/totp", "code", TOTP(h.T, found[1], h.Clock.Now()))
	done.Is(h.T, 200)
	return found[1], RecoveryCodes(done)
}

// RecoveryCodes returns the recovery codes on a page.
func RecoveryCodes(page Answer) (codes []string) {
	for _, found := range shownCode.FindAllStringSubmatch(page.Body, -1) {
		codes = append(codes, found[1])
	}
	return codes
}
