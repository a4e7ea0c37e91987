package db

import (
	"net/netip"
	"strconv"
	"strings"
)

// CanonicalHost is the one form in which hosts are kept and compared: in lower case, without port and trailing dot, an IPv6
// address without brackets. It reads a host as clients write it, "Notes.Example.com.:8443", and tells its port; "" where
// there is none. Not ok is whatever a browser would not take for the name of a host or an address. Names are ASCII: what is
// lower-cased from other letters can be another name to the proxy.
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

// isHostName takes letters, digits, hyphens and, since they are in use, underscores. Browsers read a name that ends in a number
// as an IPv4 address.
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
	if _, err := strconv.ParseUint(last, 0, 64); err == nil || strings.Trim(last, "0123456789") == "" {
		address, err := netip.ParseAddr(host)
		return err == nil && address.Is4()
	}
	return true
}

// IsUnder reports whether a canonical host is a domain or a name below it.
func IsUnder(host, domain string) bool { return host == domain || strings.HasSuffix(host, "."+domain) }

// IsAddress reports whether a canonical host is an IP address and no name.
func IsAddress(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

// RuleHost returns the one form in which the host of an AppRule is kept: what CanonicalHost returns, after a leading "*." that
// stands for any one label of a name. It also takes an IPv6 address without brackets, as AppRules lists it.
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
