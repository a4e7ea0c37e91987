package db

import (
	"net/netip"
	"strconv"
	"strings"
)

// CanonicalHost parses a host as clients write it, such as "Notes.Example.com.:8443". It returns the form in which hosts are stored
// and compared: in lower case, without port and trailing dot, and an IPv6 address without brackets. The port is "" if there is none.
// ok is false for text that a browser would not accept as a host. Only ASCII is accepted, because the proxy may change other letters to
// lower case in a different way, and so mean a different host.
func CanonicalHost(text string) (host, port string, ok bool) {
	host = text
	if i := strings.LastIndexByte(text, ':'); i >= 0 && !strings.HasSuffix(text, "]") {
		number, err := strconv.ParseUint(text[i+1:], 10, 16)
		if err != nil || number == 0 {
			return "", "", false
		}
		host, port = text[:i], strconv.FormatUint(number, 10)
	}
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		address, err := netip.ParseAddr(host[1 : len(host)-1])
		if err != nil || !address.Is6() || address.Zone() != "" {
			return "", "", false
		}
		return address.String(), port, true
	}
	host = strings.TrimSuffix(host, ".")
	if !isHostName(host) {
		return "", "", false
	}
	return strings.ToLower(host), port, true
}

// isHostName reports whether every label has only letters, digits, hyphens or underscores, which are not standard but in use. Browsers
// parse a name that ends in a number as an IPv4 address.
func isHostName(host string) bool {
	if len(host) > 253 {
		return false
	}
	last := ""
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > 63 || strings.ContainsFunc(label, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
		}) {
			return false
		}
		last = label
	}
	if last[0] < '0' || last[0] > '9' { // no number; an error of ParseUint would cost every auth check two allocations
		return true
	}
	if _, err := strconv.ParseUint(last, 0, 64); err == nil || strings.Trim(last, "0123456789") == "" {
		address, err := netip.ParseAddr(host)
		return err == nil && address.Is4()
	}
	return true
}

// IsUnder reports whether a canonical host is the domain or a subdomain of it.
func IsUnder(host, domain string) bool { return host == domain || strings.HasSuffix(host, "."+domain) }

// IsAddress reports whether a canonical host is an IP address.
func IsAddress(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

// RuleHost returns the form in which the host of an AppRule is stored: what CanonicalHost returns, or "*." and a name, where "*"
// matches one label. It also accepts an IPv6 address without brackets, as AppRules returns it.
func RuleHost(text string) (host string, ok bool) {
	if IsAddress(text) && strings.Contains(text, ":") {
		text = "[" + text + "]"
	}
	rest, siblings := strings.CutPrefix(text, "*.")
	host, _, ok = CanonicalHost(rest)
	if siblings {
		return "*." + host, ok && !IsAddress(host)
	}
	return host, ok
}
