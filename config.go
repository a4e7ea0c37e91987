package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"golang.org/x/net/publicsuffix"

	"porchlight/db"
)

// settings are the flags that every command takes; each is an environment variable, too.
type settings struct {
	Listen            string        `env:"PORCHLIGHT_LISTEN" default:"127.0.0.1:3000" placeholder:"ADDRESS" help:"Address to serve on."`
	Data              string        `env:"PORCHLIGHT_DATA" default:"data" placeholder:"FOLDER" help:"Folder of porchlight.db."`
	URL               string        `env:"PORCHLIGHT_URL" placeholder:"URL" help:"The public address; every absolute link is built from it. https makes cookies Secure. Without it: http://localhost and the port of --listen."`
	CookieDomain      string        `env:"PORCHLIGHT_COOKIE_DOMAIN" placeholder:"DOMAIN" help:"Parent domain shared with the guarded apps, such as example.com. Default: none; then only the host of --url is guarded."`
	TrustedProxies    []string      `env:"PORCHLIGHT_TRUSTED_PROXIES" placeholder:"ADDRESS" help:"Addresses or CIDRs, separated by commas, whose forwarded headers are believed. Default: none."`
	Signup            string        `env:"PORCHLIGHT_SIGNUP" default:"closed" placeholder:"closed|open" help:"open lets anyone make an account at /signup."`
	IdleTimeout       time.Duration `env:"PORCHLIGHT_IDLE_TIMEOUT" default:"336h" help:"A session unused for so long is over."`
	MaxLifetime       time.Duration `env:"PORCHLIGHT_MAX_LIFETIME" default:"720h" help:"A session is over after so long, however busy."`
	SharedIdleTimeout time.Duration `env:"PORCHLIGHT_SHARED_IDLE_TIMEOUT" default:"30m" help:"The idle limit on a shared computer."`
	SharedMaxLifetime time.Duration `env:"PORCHLIGHT_SHARED_MAX_LIFETIME" default:"24h" help:"The lifetime limit on a shared computer."`
	SweepInterval     time.Duration `env:"PORCHLIGHT_SWEEP_INTERVAL" default:"10m" help:"How often expired sessions are deleted."`
	ActivityRetention time.Duration `env:"PORCHLIGHT_ACTIVITY_RETENTION" default:"4320h" help:"How long activity, with its IP addresses, is kept."`
	MaxSessions       int           `env:"PORCHLIGHT_MAX_SESSIONS" default:"100" placeholder:"N" help:"Live sessions a user may have; signing in beyond that ends the one unused longest."`
	AppsDefault       string        `env:"PORCHLIGHT_APPS_DEFAULT" default:"allow" placeholder:"allow|deny" help:"Whether a guarded host without a rule is open to every approved user, or to none."`
	LogFormat         string        `env:"PORCHLIGHT_LOG_FORMAT" default:"text" placeholder:"text|json" help:"How the log on standard error is written."`

	url     *url.URL
	proxies []netip.Prefix
}

// usageError is a mistake in the words of the command line, or in a setting: exit status 2.
type usageError struct{ error }

// badSetting names the flag, the value and what would be right.
func badSetting(flag string, value any, right string) error {
	return usageError{fmt.Errorf("--%s %s: %s", flag, printable(fmt.Sprint(value)), right)}
}

// check completes the settings and refuses those that cannot be right.
func (s *settings) check() error {
	_, port, err := net.SplitHostPort(s.Listen)
	if err != nil {
		return badSetting("listen", s.Listen, "give an address and a port, such as 127.0.0.1:3000 or :3000")
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return badSetting("listen", s.Listen, "the port must be a number from 0 to 65535")
	}
	if s.Data == "" {
		return badSetting("data", s.Data, "give a folder")
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
	if s.AppsDefault != "allow" && s.AppsDefault != "deny" {
		return badSetting("apps-default", s.AppsDefault, "give allow or deny")
	}
	if s.Signup != "open" && s.Signup != "closed" {
		return badSetting("signup", s.Signup, "give open or closed")
	}
	if s.LogFormat != "text" && s.LogFormat != "json" {
		return badSetting("log-format", s.LogFormat, "give text or json")
	}
	return nil
}

func (s *settings) checkURL(port string) (err error) {
	if s.URL == "" {
		s.url = &url.URL{Scheme: "http", Host: "localhost:" + port}
		return nil
	}
	s.url, err = url.Parse(s.URL)
	if err != nil || (s.url.Scheme != "http" && s.url.Scheme != "https") || s.url.Hostname() == "" || s.url.User != nil ||
		strings.Trim(s.url.Path, "/") != "" || s.url.RawQuery != "" || s.url.Fragment != "" || !validAuthority(s.url) {
		return badSetting("url", s.URL, "give a scheme and a host alone, such as https://auth.example.com")
	}
	s.url = &url.URL{Scheme: s.url.Scheme, Host: withoutDefaultPort(s.url)}
	return nil
}

// checkCookieDomain refuses domains for which no browser would keep the cookie, and those that would share it with strangers.
func (s *settings) checkCookieDomain() error {
	if s.CookieDomain == "" {
		return nil
	}
	domain, port, ok := db.CanonicalHost(s.CookieDomain)
	if !ok || port != "" || db.IsAddress(domain) {
		return badSetting("cookie-domain", s.CookieDomain, "give a domain alone, such as example.com")
	}
	if suffix, _ := publicsuffix.PublicSuffix(domain); suffix == domain {
		return badSetting("cookie-domain", s.CookieDomain, "browsers share no cookie on a public suffix; give a domain of your own below it")
	}
	if host, _, _ := db.CanonicalHost(s.url.Host); db.IsAddress(host) || (host != domain && !strings.HasSuffix(host, "."+domain)) {
		return badSetting("cookie-domain", s.CookieDomain, "the host of --url, "+host+", must be that domain or below it")
	}
	s.CookieDomain = domain
	return nil
}

// validAuthority tells whether browsers could reach the host and its port, and send them back as an origin.
func validAuthority(u *url.URL) bool {
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return false
		}
	}
	origin := u.Scheme + "://" + u.Host
	return !strings.HasSuffix(u.Host, ":") && http.NewCrossOriginProtection().AddTrustedOrigin(origin) == nil
}

// withoutDefaultPort is the host as browsers send it: lower case, and no :443 with https.
func withoutDefaultPort(u *url.URL) string {
	host := strings.ToLower(u.Host)
	if (u.Scheme == "https" && u.Port() == "443") || (u.Scheme == "http" && u.Port() == "80") {
		host = strings.TrimSuffix(host, ":"+u.Port())
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
			return badSetting("trusted-proxies", text, "give addresses or CIDRs, separated by commas, such as 127.0.0.1,10.0.0.0/8")
		}
		s.proxies = append(s.proxies, prefix.Masked())
	}
	return nil
}

// useRealPort puts the port that was found into the address where :0 asked for any.
func (s *settings) useRealPort(address net.Addr) {
	if tcp, ok := address.(*net.TCPAddr); ok && s.URL == "" {
		s.url.Host = fmt.Sprintf("localhost:%d", tcp.Port)
		s.url.Host = withoutDefaultPort(s.url)
	}
}

// warnOfLocalhost tells when links would lead people to their own machine.
func (s *settings) warnOfLocalhost(log *slog.Logger) {
	host, _, _ := net.SplitHostPort(s.Listen)
	if address, err := netip.ParseAddr(host); host == "localhost" || (err == nil && address.IsLoopback()) {
		return
	}
	if address, err := netip.ParseAddr(s.url.Hostname()); s.url.Hostname() == "localhost" || (err == nil && address.IsLoopback()) {
		log.Warn("other machines can reach this server, but its links lead to "+s.url.String()+"; set --url to its public address", "listen", s.Listen)
	}
}

// warnOfTrust tells when everybody can say where they come from, and who they are to the apps.
func (s *settings) warnOfTrust(log *slog.Logger) {
	for _, prefix := range s.proxies {
		if prefix.Bits() == 0 {
			log.Warn("--trusted-proxies " + prefix.String() + " believes everybody; name the proxy alone")
		}
	}
}

func (s *settings) limits() db.Limits {
	return db.Limits{IdleTimeout: s.IdleTimeout, MaxLifetime: s.MaxLifetime, SharedIdleTimeout: s.SharedIdleTimeout, SharedMaxLifetime: s.SharedMaxLifetime}
}

// logger writes the log, in UTC.
func (s *settings) logger(to io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
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

// errHelp says that --help was answered and nothing else is to be done.
var errHelp = errors.New("help")

// parse reads the command line and the environment into c.
func parse(c *commands, args []string, stdout io.Writer) (*kong.Context, error) {
	forgetEmptyVariables()
	helped := false
	parser, err := kong.New(c, kong.Name("porchlight"), kong.Writers(stdout, os.Stderr), kong.Exit(func(int) { helped = true }),
		kong.Description("The front door of a self-hosted server: sign in, see every device that is signed in as you, sign any of them out."),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}), kong.ValueFormatter(describeFlag),
		kong.TypeMapper(reflect.TypeFor[time.Duration](), kong.MapperFunc(readDuration)), kong.TypeMapper(reflect.TypeFor[int](), kong.MapperFunc(readCount)))
	if err != nil {
		return nil, err
	}
	parsed, err := parser.Parse(args)
	if helped {
		return nil, errHelp
	}
	if err != nil {
		return nil, usageError{errors.New(printable(err.Error()))}
	}
	return parsed, c.check()
}

// describeFlag tells the default, too, which kong leaves out where there is a placeholder.
func describeFlag(value *kong.Value) string {
	text := kong.DefaultHelpValueFormatter(value)
	if value.HasDefault && value.Tag.PlaceHolder != "" {
		text += " Default: " + value.Default + "."
	}
	return text
}

// readDuration and readCount tell what would be right, where kong would tell what its parser met.
func readDuration(ctx *kong.DecodeContext, target reflect.Value) error {
	var text string
	if err := ctx.Scan.PopValueInto("duration", &text); err != nil {
		return err
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < time.Millisecond {
		return fmt.Errorf("%s: give a positive duration of at least 1ms, such as 30m or 336h", text)
	}
	target.SetInt(int64(d))
	return nil
}

func readCount(ctx *kong.DecodeContext, target reflect.Value) error {
	var text string
	if err := ctx.Scan.PopValueInto("number", &text); err != nil {
		return err
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return fmt.Errorf("%s: give a number from 1 on", text)
	}
	target.SetInt(int64(n))
	return nil
}

// forgetEmptyVariables makes an empty variable count as unset; kong would take it for a value.
func forgetEmptyVariables() {
	for _, field := range reflect.VisibleFields(reflect.TypeFor[settings]()) {
		if name := field.Tag.Get("env"); name != "" && os.Getenv(name) == "" {
			os.Unsetenv(name)
		}
	}
}
