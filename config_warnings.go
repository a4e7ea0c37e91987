package main

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"strings"

	"porchlight/db"
)

// This file warns, when the server starts, about settings that are valid but probably wrong.

func (s *settings) warn(log *slog.Logger) {
	for _, warning := range s.warnings() {
		log.Warn(warning)
	}
}

func (s *settings) warnings() (warnings []string) {
	if s.CookieDomain != "" && len(s.proxies) == 0 {
		warnings = append(warnings, "--cookie-domain "+s.CookieDomain+" is set, but every auth check is refused because no proxy is trusted; "+
			"set --trusted-proxies to the address of the reverse proxy")
	}
	for _, prefix := range s.proxies {
		if prefix.Bits() == 0 {
			warnings = append(warnings, "--trusted-proxies "+prefix.String()+" trusts everyone; give only the address of the reverse proxy")
		}
	}
	host, _, _ := net.SplitHostPort(s.Listen)
	switch own := s.url.Hostname(); {
	case isLoopback(own) && !isLoopback(host):
		warnings = append(warnings, "--listen "+s.Listen+" lets other machines reach this server, but its links lead to "+s.url.String()+
			"; set --url to its public address")
	case !isLoopback(own) && s.url.Scheme == "http":
		readers := "anyone on the path"
		if address, err := netip.ParseAddr(own); err == nil && (address.IsPrivate() || address.IsLinkLocalUnicast()) {
			readers = "anyone on your network"
		}
		warnings = append(warnings, "--url is http, so "+readers+" can read passwords and cookies; "+
			"put a reverse proxy with https in front of Porchlight")
	}
	return warnings
}

// isLoopback reports whether browsers resolve a host to their own machine.
func isLoopback(host string) bool {
	host = strings.ToLower(host)
	address, err := netip.ParseAddr(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || (err == nil && address.IsLoopback())
}

// warnOfNoAdministrator warns if there are accounts but no administrator who can sign in.
func warnOfNoAdministrator(ctx context.Context, store *db.Store, log *slog.Logger) error {
	hasUsers, err := store.HasUsers()
	if err != nil || !hasUsers {
		return err
	}
	hasAdmin, err := store.HasAdministrator()
	if err == nil && !hasAdmin {
		log.Warn(db.ErrNoAdministrator.Error())
	}
	return err
}
