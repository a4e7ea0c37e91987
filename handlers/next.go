package handlers

import (
	"net/url"
	"strings"
	"unicode"

	"porchlight/db"
)

// The address to go back to after signing in is bounded, in bytes: a proxy takes some 8 KB of it in a request line, where it stands
// escaped in the address of the sign-in page.
const (
	nextMax        = 4096
	nextEscapedMax = 7 << 10
)

// safeNext is where to go after signing in: a path of this site, or an address below the cookie domain, with its query;
// "" for anything that a browser might read as another place.
func (h *handler) safeNext(next string) string {
	if strings.HasPrefix(next, "/") {
		return safePath(next)
	}
	rest, sameScheme := strings.CutPrefix(next, h.URL.Scheme+"://")
	if !sameScheme || !isClean(next) {
		return ""
	}
	authority, path := splitAuthority(rest)
	path, _, _ = strings.Cut(path, "?") // in a query, browsers leave a backslash as it is
	host, _, ok := db.CanonicalHost(authority)
	if !ok || strings.Contains(path, `\`) || !h.guards(host) || (h.CookieDomain == "" && authority != h.URL.Host) {
		return ""
	}
	return next
}

// guards reports whether a host, as db.CanonicalHost gives it, is one whose apps share the session.
func (h *handler) guards(host string) bool {
	if h.CookieDomain == "" {
		return host == h.ownHost
	}
	return host == h.CookieDomain || strings.HasSuffix(host, "."+h.CookieDomain)
}

// appOf is the host that an address leads to; "" for a path of this site.
func appOf(next string) string {
	_, rest, absolute := strings.Cut(next, "://")
	if !absolute || strings.HasPrefix(next, "/") {
		return ""
	}
	authority, _ := splitAuthority(rest)
	return authority
}

// splitAuthority parts what stands behind the "://" of an address.
func splitAuthority(rest string) (authority, path string) {
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		return rest[:i], rest[i:]
	}
	return rest, ""
}

// safePath is a path of this site with its query, or "" for anything that a browser might read as another place.
func safePath(next string) string {
	if !strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") || strings.Contains(next, `\`) || !isClean(next) {
		return ""
	}
	at, err := url.Parse(next)
	if err != nil {
		return ""
	}
	// Decoded twice, because what stands behind may decode once more: /%2f/x and /%255c/x are //x and /\x there.
	decoded := at.Path
	for range 2 {
		if strings.HasPrefix(decoded, "//") || strings.ContainsFunc(decoded, func(r rune) bool { return r == '\\' || unicode.IsControl(r) }) {
			return ""
		}
		if again, err := url.PathUnescape(decoded); err == nil {
			decoded = again
		}
	}
	return next
}

// isClean reports whether an address has a fair length, and nothing in it that browsers take out.
func isClean(next string) bool {
	return len(next) <= nextMax && !strings.ContainsFunc(next, func(r rune) bool {
		return r == ' ' || r == '\ufffd' || unicode.IsControl(r)
	})
}
