package db

import (
	"net/netip"
	"strconv"
	"strings"
)

// CanonicalHost is the one form in which hosts are kept and compared: in lower case, without port and trailing dot, an IPv6
// address without brackets. It reads a host as clients write it, "Notes.Example.com.:8443", and tells its port; "" where
// there is none. Whatever is no host name (RFC 1123, and underscores, which are in use) or address is not ok.
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
		return address.String(), port, err == nil && address.Is6() && address.Zone() == ""
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return host, port, isHostName(host)
}

func isHostName(host string) bool {
	if len(host) > 253 {
		return false
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > 63 || strings.ContainsFunc(label, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_'
		}) {
			return false
		}
	}
	return true
}

// canonicalRule is the host of a rule: a leading "*." is any one label.
func canonicalRule(text string) (host string, ok bool) {
	rest, siblings := strings.CutPrefix(text, "*.")
	host, _, ok = CanonicalHost(rest)
	if siblings {
		host = "*." + host
	}
	return host, ok
}
