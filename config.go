package main

import (
	"io"
	"log/slog"
	"net"
	"net/mail"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/idna"
	"golang.org/x/net/publicsuffix"

	"porchlight/db"
	"porchlight/notify"
)

// settings are the flags that every command accepts. Each is also an environment variable; see variableOf.
type settings struct {
	Listen            string        `default:"127.0.0.1:3000" placeholder:"ADDRESS" help:"Address to serve on."`
	Data              string        `default:"data" placeholder:"FOLDER" help:"Folder of porchlight.db and porchlight.key."`
	URL               string        `placeholder:"URL" help:"The public address; every absolute link is built from it. https makes cookies Secure. Default: http://localhost, with the port of --listen."`
	CookieDomain      string        `placeholder:"DOMAIN" help:"Parent domain shared with the guarded apps, such as example.com. Default: none; then only the host of --url is guarded."`
	TrustedProxies    []string      `placeholder:"ADDRESS" help:"Addresses or CIDRs of reverse proxies, separated by commas, whose forwarded headers are trusted. Default: none."`
	Signup            string        `default:"closed" enum:"open,closed" placeholder:"open|closed" help:"Whether anyone can create an account at /signup."`
	IdleTimeout       time.Duration `default:"${idle_timeout}" placeholder:"DURATION" help:"A session ends after it has been unused for this long. 336h is 14 days."`
	MaxLifetime       time.Duration `default:"${max_lifetime}" placeholder:"DURATION" help:"A session ends after this long, even if it is in use. 720h is 30 days."`
	SharedIdleTimeout time.Duration `default:"${shared_idle_timeout}" placeholder:"DURATION" help:"The idle limit on a shared computer."`
	SharedMaxLifetime time.Duration `default:"${shared_max_lifetime}" placeholder:"DURATION" help:"The lifetime limit on a shared computer."`
	SweepInterval     time.Duration `default:"10m" placeholder:"DURATION" help:"How often expired sessions are deleted."`
	ActivityRetention time.Duration `default:"4320h" placeholder:"DURATION" help:"How long activity, with its IP addresses, is kept. 4320h is 180 days."`
	MaxSessions       int           `default:"${max_sessions}" placeholder:"N" help:"Live sessions a user may have. A sign-in beyond that ends the one unused longest. App keys count apart."`
	AppsDefault       string        `default:"allow" enum:"allow,deny" placeholder:"allow|deny" help:"Whether a guarded host without a rule is open to every approved user or to none."`

	RequireSecondFactor db.Requirement `default:"none" enum:"none,admins,all" placeholder:"none|admins|all" help:"Who must have a passkey or an authenticator app."`

	Mail     string `placeholder:"URL" help:"Server that sends mail: smtp://user:password@host:587 (STARTTLS required), smtps://user:password@host:465 or smtp+insecure://host:25. Use the variable: other users of the machine can read arguments. Default: none; then no mail is sent."`
	MailFrom string `placeholder:"ADDRESS" help:"Address that mail is sent from. Default: porchlight@ and the host of --url."`
	Ntfy     string `placeholder:"URL" help:"An ntfy server, such as https://ntfy.example.com, where users can choose a topic for their alerts. Default: none."`
	Webhook  string `placeholder:"URL" help:"URL that receives every alert of every user as signed JSON. Default: none."`

	ClearAppData string `default:"off" enum:"off,on" placeholder:"off|on" help:"Whether a browser whose session was revoked is told to delete the cookies of apps as well. Needs https in --url, or localhost."`

	LogFormat string `default:"text" enum:"text,json" placeholder:"text|json" help:"Format of the log on standard error."`
	LogLevel  string `default:"info" enum:"debug,info,warn" placeholder:"debug|info|warn" help:"Lowest level that is logged. debug adds a line for each request."`

	url      *url.URL
	proxies  []netip.Prefix
	mail     *notify.Mailer // nil without --mail
	mailFrom *mail.Address
	ntfy     *url.URL // nil without --ntfy
	webhook  *url.URL // nil without --webhook
}

// badSetting is the error for an invalid value of a flag; advice says what would be valid. explain adds whether the value came from the
// flag or from its variable.
type badSetting struct{ flag, value, advice string }

func (b badSetting) Error() string { return b.flag + " " + b.value + ": " + b.advice }

// check sets the fields that are not flags, and the canonical form of CookieDomain. It returns a badSetting for an invalid setting.
func (s *settings) check() error {
	_, port, err := net.SplitHostPort(s.Listen)
	if err != nil {
		return badSetting{"listen", s.Listen, "give an address and a port, such as 127.0.0.1:3000 or :3000"}
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return badSetting{"listen", s.Listen, "the port must be a number from 0 to 65535"}
	}
	if s.Data == "" {
		return badSetting{"data", s.Data, "give a folder"}
	}
	if err := s.checkURL(port); err != nil {
		return err
	}
	if err := s.checkCookieDomain(); err != nil {
		return err
	}
	if err := s.checkProxies(); err != nil {
		return err
	}
	if s.ClearAppData == "on" && s.url.Scheme != "https" && !isLoopback(s.url.Hostname()) {
		return badSetting{"clear-app-data", "on", "browsers delete a site's cookies only over https; set --url to an https address"}
	}
	if err := s.checkMail(); err != nil {
		return err
	}
	return s.checkNtfyAndWebhook()
}

func (s *settings) checkURL(port string) (err error) {
	if s.URL == "" {
		s.url = &url.URL{Scheme: "http", Host: browserHost("http", "localhost", port)}
		return nil
	}
	advice := "give only a scheme and a host, such as https://auth.example.com"
	s.url, err = url.Parse(s.URL)
	if err != nil || (s.url.Scheme != "http" && s.url.Scheme != "https") || s.url.User != nil ||
		strings.Trim(s.url.Path, "/") != "" || s.url.RawQuery != "" || s.url.Fragment != "" {
		return badSetting{"url", s.URL, advice}
	}
	host, port, ok := db.CanonicalHost(s.url.Host)
	if !ok {
		if ascii := punycode(s.url); ascii != "" {
			advice = "give the host in ASCII, as browsers do: " + ascii
		}
		return badSetting{"url", s.URL, advice}
	}
	s.url = &url.URL{Scheme: s.url.Scheme, Host: browserHost(s.url.Scheme, host, port)}
	return nil
}

// punycode returns the URL with its host in ASCII, or "" if that is not valid either.
func punycode(u *url.URL) string {
	host, err := idna.Lookup.ToASCII(u.Hostname())
	if err != nil || host == u.Hostname() {
		return ""
	}
	if port := u.Port(); port != "" {
		host += ":" + port
	}
	if _, _, ok := db.CanonicalHost(host); !ok {
		return ""
	}
	return u.Scheme + "://" + host
}

// checkCookieDomain rejects domains for which no browser would store the cookie, and those that would share it with sites of other
// people.
func (s *settings) checkCookieDomain() error {
	if s.CookieDomain == "" {
		return nil
	}
	domain, port, ok := db.CanonicalHost(s.CookieDomain)
	if !ok || port != "" || db.IsAddress(domain) {
		return badSetting{"cookie-domain", s.CookieDomain, "give only a domain, such as example.com"}
	}
	if suffix, _ := publicsuffix.PublicSuffix(domain); suffix == domain {
		return badSetting{"cookie-domain", s.CookieDomain, "browsers refuse cookies for a public suffix; give your own domain below it"}
	}
	if host, _, _ := db.CanonicalHost(s.url.Host); db.IsAddress(host) || !db.IsUnder(host, domain) {
		return badSetting{"cookie-domain", s.CookieDomain, "the host of --url, " + host + ", must be that domain or below it"}
	}
	s.CookieDomain = domain
	return nil
}

// browserHost joins a canonical host and its port as browsers do in Origin, without the default port of the scheme.
func browserHost(scheme, host, port string) string {
	if (scheme == "https" && port == "443") || (scheme == "http" && port == "80") {
		port = ""
	}
	switch {
	case port != "":
		return net.JoinHostPort(host, port)
	case strings.Contains(host, ":"): // IPv6
		return "[" + host + "]"
	}
	return host
}

func (s *settings) checkProxies() error {
	for _, text := range s.TrustedProxies {
		text = strings.TrimSpace(text)
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			var address netip.Addr
			if address, err = netip.ParseAddr(text); err == nil {
				address = address.Unmap()
				prefix = netip.PrefixFrom(address, address.BitLen())
			}
		}
		if err != nil {
			return badSetting{"trusted-proxies", text, "give addresses or CIDRs, separated by commas, such as 127.0.0.1,10.0.0.0/8"}
		}
		s.proxies = append(s.proxies, prefix.Masked())
	}
	return nil
}

// useRealPort replaces port 0 in the default --url with the port that the system chose.
func (s *settings) useRealPort(address net.Addr) {
	if tcp, ok := address.(*net.TCPAddr); ok && s.URL == "" {
		s.url.Host = browserHost(s.url.Scheme, "localhost", strconv.Itoa(tcp.Port))
	}
}

func (s *settings) limits() db.Limits {
	return db.Limits{
		IdleTimeout: s.IdleTimeout, MaxLifetime: s.MaxLifetime,
		SharedIdleTimeout: s.SharedIdleTimeout, SharedMaxLifetime: s.SharedMaxLifetime,
	}
}

// logger returns a logger with times in UTC.
func (s *settings) logger(to io.Writer) *slog.Logger {
	levels := map[string]slog.Level{"debug": slog.LevelDebug, "warn": slog.LevelWarn} // else info
	options := &slog.HandlerOptions{Level: levels[s.LogLevel], ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Value.Kind() == slog.KindTime {
			a.Value = slog.TimeValue(a.Value.Time().UTC())
		}
		return a
	}}
	if s.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(to, options))
	}
	return slog.New(slog.NewTextHandler(to, options))
}
