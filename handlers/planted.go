package handlers

import (
	"strings"

	"github.com/gofiber/fiber/v2"
	"golang.org/x/net/publicsuffix"

	"porchlight/db"
)

// This file deletes planted cookies: those that have our name but were set by another host. Every host under a domain can set a
// cookie for the whole domain, and for any path. To delete one, a response must repeat its name, domain and path.

// Limits of the paths for which cookies are deleted, in bytes and in number: proxies accept about 4 KB of response headers.
const (
	maxForeignPathBytes = 64
	maxForeignPaths     = 8
)

// clearForeignCookies deletes every cookie of our name, other than our own, that a browser would send for the host and path and that it
// lets this server delete. Call it after our own cookie is set, because Fiber's Cookie overwrites the first cookie of the same name.
func (h *handler) clearForeignCookies(c *fiber.Ctx, host, path string) {
	if strings.HasPrefix(h.cookieName, "__Host-") {
		return // no other host can set such a cookie, and it has no other path
	}
	for _, domain := range h.cookieDomains {
		if domain == "" && host != h.ownHost || domain != "" && !db.IsUnder(host, domain) {
			continue
		}
		for _, path := range cookiePaths(path) {
			if domain != h.CookieDomain || path != "/" {
				h.clearCookieAt(c, domain, path)
			}
		}
	}
}

// clearCookieAt deletes the cookie of our name with that domain, or none if it is "", and that path.
func (h *handler) clearCookieAt(c *fiber.Ctx, domain, path string) {
	text := h.cookieName + "=; max-age=0; "
	if domain != "" {
		text += "domain=" + domain + "; "
	}
	text += "path=" + path + "; HttpOnly; "
	if h.secure() {
		text += "secure; "
	}
	c.Response().Header.Add(fiber.HeaderSetCookie, text+"SameSite=Lax")
}

// cookieDomains returns the Domain attributes of the cookies that the host can delete: none, which is "", and then the host and its
// parents, up to the registered domain.
func cookieDomains(host string) []string {
	domains := []string{""}
	registered, err := publicsuffix.EffectiveTLDPlusOne(host)
	if err != nil || db.IsAddress(host) {
		return domains
	}
	for domain := host; len(domain) >= len(registered); _, domain, _ = strings.Cut(domain, ".") {
		domains = append(domains, domain)
	}
	return domains
}

// cookiePaths returns the Path attributes that match a path (RFC 6265, 5.1.4), without the longest ones.
func cookiePaths(path string) []string {
	paths := []string{"/"}
	for i := 1; i <= min(len(path), maxForeignPathBytes) && len(paths) < maxForeignPaths; i++ {
		switch {
		case i == len(path):
			if path[i-1] != '/' {
				paths = append(paths, path)
			}
		case path[i] == '/':
			paths = append(paths, path[:i], path[:i+1])
		case path[i] <= ' ' || path[i] >= 0x7f || path[i] == ';': // not allowed in the attribute
			return paths
		}
	}
	return paths
}

// requestPath returns the path as the browser sent it, because browsers match cookies with that form.
func requestPath(c *fiber.Ctx) string {
	path, _, _ := strings.Cut(c.OriginalURL(), "?")
	return path
}
