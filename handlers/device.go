package handlers

import (
	"regexp"
	"strings"
	"sync"

	"github.com/gofiber/fiber/v2"
	"github.com/ua-parser/uap-go/uaparser"
	"gopkg.in/yaml.v3"

	"porchlight/db"
)

// maxUserAgentBytes is how many bytes of a User-Agent are parsed and stored: parsing a hostile one of 8 KB can take 100 ms.
const maxUserAgentBytes = 512

// client describes who sent the request. The User-Agent is parsed when the store asks for the device name, and so not at all for an
// attempt that the throttle refuses.
func (h *handler) client(c *fiber.Ctx) db.Client {
	client := h.clientLike(c, db.LastUse{})
	client.Device = h.deviceToken(c)
	return client
}

// clientLike is client without the device cookie, for a request that most likely comes from where its session was last used. It then
// copies nothing: almost every request does.
func (h *handler) clientLike(c *fiber.Ctx, last db.LastUse) db.Client {
	client := db.Client{IP: last.IP, UserAgent: last.UserAgent, Describe: h.describeDevice}
	var text [len("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")]byte
	address, _ := h.clientAddress(c)
	if ip := address.AppendTo(text[:0]); string(ip) != client.IP {
		client.IP = string(ip)
	}
	if userAgent := c.Request().Header.UserAgent(); string(userAgent) != client.UserAgent {
		client.UserAgent = cutUserAgent(string(userAgent))
	}
	return client
}

// deviceToken returns the value of the device cookie, or "" if that is no token.
func (h *handler) deviceToken(c *fiber.Ctx) string {
	if token := c.Request().Header.Cookie(h.deviceCookieName); len(token) == db.TokenLength {
		return string(token)
	}
	return ""
}

func cutUserAgent(userAgent string) string {
	return strings.ToValidUTF8(userAgent[:min(len(userAgent), maxUserAgentBytes)], "")
}

// deviceNamer parses one User-Agent at a time. A parse takes half a millisecond, but up to 35 ms for a crafted User-Agent. Several of
// those at once would slow down everybody's requests.
type deviceNamer struct {
	parse   func(userAgent string) *uaparser.Client
	parsing *sync.Mutex
}

func newDeviceNamer() deviceNamer {
	return deviceNamer{userAgentParser().Parse, new(sync.Mutex)}
}

// userAgentParser takes about 50 ms and 10 MB, so the process has only one. It omits the patterns for makes and models of devices,
// which are most of them, because no name uses them.
var userAgentParser = sync.OnceValue(func() *uaparser.Parser {
	var patterns uaparser.RegexDefinitions
	if err := yaml.Unmarshal(uaparser.DefinitionYaml, &patterns); err != nil {
		panic(err) // the patterns are built in
	}
	patterns.Device = nil
	parser, err := uaparser.New(
		uaparser.WithRegexDefinitions(patterns),
		uaparser.WithMode(uaparser.EOsLookUpMode|uaparser.EUserAgentLookUpMode),
		uaparser.WithCacheSize(1))
	if err != nil {
		panic(err)
	}
	return parser
})

const unknownDevice, unknownKind = "Unknown device", "unknown"

// name returns the name and the kind of a device. Unless wait is set, it does not wait for its turn to parse.
func (n deviceNamer) name(userAgent string, wait bool) (name, kind string) {
	if wait {
		n.parsing.Lock()
	} else if !n.parsing.TryLock() {
		return unknownDevice, unknownKind
	}
	defer n.parsing.Unlock()
	return n.describe(userAgent)
}

// describe returns a name that a person recognises, such as "Firefox on Windows" or "curl", and a kind as in db.Client. The name
// omits versions, because browsers freeze or forge them (Windows 11 says 10, macOS 10.15.7, Android "10; K").
func (n deviceNamer) describe(userAgent string) (name, kind string) {
	if userAgent == "" {
		return unknownDevice, unknownKind
	}
	client := n.parse(userAgent)
	browser, system := browserName(client.UserAgent.Family), systemName(client.Os.Family, userAgent)
	kind = kindOfDevice(system, userAgent)
	// Every browser claims to be Mozilla. Anything else is a tool or an app, whose browser the parser can only guess.
	if browser != "" && !strings.HasPrefix(userAgent, "Mozilla/") && !strings.HasPrefix(userAgent, "Opera/") {
		if kind != "phone" && kind != "tablet" {
			return browser, "terminal"
		}
		browser = "App"
	}
	switch {
	case browser != "" && system != "":
		return browser + " on " + system, kind
	case browser != "":
		return browser, kind
	case system != "":
		return "Browser on " + system, kind
	}
	return unknownDevice, unknownKind
}

// browserNames holds the names of browsers that people know by another name than the parser's.
var browserNames = map[string]string{
	"Other":                      "",
	"Android":                    "Android Browser",
	"Chrome Mobile WebView":      "Chrome",
	"DuckDuckGo Mobile":          "DuckDuckGo",
	"HeadlessChrome":             "Headless Chrome",
	"IE":                         "Internet Explorer",
	"IE Mobile":                  "Internet Explorer",
	"Mobile Safari UI/WKWebView": "Safari",
	"Firefox iOS":                "Firefox",
	"Edge Mobile":                "Edge",
}

func browserName(family string) string {
	if name, known := browserNames[family]; known {
		return name
	}
	family = strings.TrimSuffix(family, " iOS")
	family = strings.TrimSuffix(family, " Mobile")
	return cleanName(strings.TrimPrefix(family, "Mobile "))
}

func systemName(family, userAgent string) string {
	switch {
	case family == "iOS" && strings.Contains(userAgent, "iPad"):
		return "iPad"
	case family == "iOS" && strings.Contains(userAgent, "iPhone"):
		return "iPhone"
	case family == "Mac OS X":
		return "macOS"
	case family == "Chrome OS":
		return "ChromeOS"
	case family == "Other":
		return ""
	case strings.HasPrefix(family, "Windows Phone"):
		return "Windows Phone"
	case strings.HasPrefix(family, "Windows"):
		return "Windows"
	}
	return cleanName(family)
}

func kindOfDevice(system, userAgent string) string {
	switch system {
	case "iPhone", "iOS", "Windows Phone", "KaiOS":
		return "phone"
	case "iPad":
		return "tablet"
	case "Android":
		if strings.Contains(userAgent, "Mobile") { // Google's rule: tablets omit it
			return "phone"
		}
		return "tablet"
	case "":
		return "unknown"
	}
	return "desktop"
}

// cleanName removes all characters that a name does not need. The parser copies some names from the User-Agent, so they can contain
// anything.
func cleanName(name string) string {
	name = notInName.ReplaceAllString(name, "")
	return strings.TrimSpace(name[:min(len(name), 40)])
}

var notInName = regexp.MustCompile(`[^A-Za-z0-9 ._+-]`)
