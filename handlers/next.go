package handlers

import (
	"net/url"
	"strings"
	"unicode"

	"porchlight/db"
)

// Limits of the address to return to after signing in, in bytes, as it is and escaped. It becomes a part of the query of the sign-in page,
// and proxies accept request lines of about 8 KB.
const (
	maxNextBytes        = 4096
	maxEscapedNextBytes = 7 << 10
)

// safeNext returns next if it is a path of this site or an address under the cookie domain, and "" if a browser might take it for
// anything else.
func (h *handler) safeNext(next string) string {
	if strings.HasPrefix(next, "/") {
		return safePath(next)
	}
	rest, sameScheme := strings.CutPrefix(next, h.URL.Scheme+"://")
	if !sameScheme || !isClean(next) {
		return ""
	}
	authority, path := splitAuthority(rest)
	path, _, _ = strings.Cut(path, "?") // browsers do not change a backslash in a query
	host, _, ok := db.CanonicalHost(authority)
	if !ok || strings.Contains(path, `\`) || !h.guards(host) || (h.CookieDomain == "" && authority != h.URL.Host) {
		return ""
	}
	return next
}

// guards reports whether browsers send the session cookie to a host, in db.CanonicalHost's form, so that Porchlight can guard it.
func (h *handler) guards(host string) bool { return guards(host, h.ownHost, h.CookieDomain) }

func guards(host, ownHost, cookieDomain string) bool {
	if cookieDomain == "" {
		return host == ownHost
	}
	return db.IsUnder(host, cookieDomain)
}

// WhyUnguarded returns why no rule for a host can apply, or "". The host is in db.RuleHost's form.
func WhyUnguarded(host, ownHost, cookieDomain string) string {
	app := host
	if cookieDomain != "" {
		app = strings.TrimPrefix(host, "*.")
	}
	switch {
	case guards(app, ownHost, cookieDomain):
		return ""
	case cookieDomain == "":
		return host + " cannot be guarded: without --cookie-domain, only " + ownHost + ", the host of --url, is"
	}
	return host + " cannot be guarded: it is not under --cookie-domain " + cookieDomain
}

// appOf returns the host and port of an address, or "" for a path of this site.
func appOf(next string) string {
	_, rest, absolute := strings.Cut(next, "://")
	if !absolute || strings.HasPrefix(next, "/") {
		return ""
	}
	authority, _ := splitAuthority(rest)
	return authority
}

// splitAuthority splits what follows "://" in an address.
func splitAuthority(rest string) (authority, path string) {
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		return rest[:i], rest[i:]
	}
	return rest, ""
}

// safePath returns next if it is a path of this site, with its query, and "" if a browser might take it for anything else.
func safePath(next string) string {
	if !strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") || strings.Contains(next, `\`) || !isClean(next) {
		return ""
	}
	at, err := url.Parse(next)
	if err != nil {
		return ""
	}
	// Decoded twice, because an app may decode once more: there, /%2f/x and /%255c/x are //x and /\x.
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

// isClean reports whether an address is short enough and contains no character that browsers remove.
func isClean(next string) bool {
	return len(next) <= maxNextBytes && !strings.ContainsFunc(next, func(r rune) bool {
		return r == ' ' || r == '\ufffd' || unicode.IsControl(r)
	})
}
