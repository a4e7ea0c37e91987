package handlers

import (
	"strings"

	"github.com/gofiber/fiber/v2"
	"github.com/ua-parser/uap-go/uaparser"
	"gopkg.in/yaml.v3"
)

// userAgentMax is how many bytes of a User-Agent are read and kept: parsing a hostile one of 8 KB can take 100 ms.
const userAgentMax = 512

func userAgentOf(c *fiber.Ctx) string { return cutUserAgent(c.Get(fiber.HeaderUserAgent)) }

// deviceOf is what the request's User-Agent tells of the device that it comes from.
func (h *handler) deviceOf(c *fiber.Ctx) device { return h.devices().name(userAgentOf(c)) }

func cutUserAgent(userAgent string) string {
	return strings.ToValidUTF8(userAgent[:min(len(userAgent), userAgentMax)], "")
}

// device is what a User-Agent tells of a device.
type device struct {
	Name string // "Firefox on Windows", "curl", "Unknown device"
	Kind string // desktop, phone, tablet, terminal or unknown
}

type deviceNamer struct{ parser *uaparser.Parser }

// newDeviceNamer takes some 50 ms and 10 MB: make one. The parser's patterns for makes and models of devices, which are
// most of them, are left out: no name needs them.
func newDeviceNamer() deviceNamer {
	var patterns uaparser.RegexDefinitions
	if err := yaml.Unmarshal(uaparser.DefinitionYaml, &patterns); err != nil {
		panic(err) // they are built in
	}
	patterns.Device = nil
	parser, err := uaparser.New(uaparser.WithRegexDefinitions(patterns), uaparser.WithMode(uaparser.EOsLookUpMode|uaparser.EUserAgentLookUpMode), uaparser.WithCacheSize(1))
	if err != nil {
		panic(err)
	}
	return deviceNamer{parser}
}

var unknownDevice = device{"Unknown device", "unknown"}

// name makes a name that a person recognises. Versions are left out: browsers freeze or forge them (Windows 11 says 10,
// macOS 10.15.7, Android "10; K").
func (n deviceNamer) name(userAgent string) device {
	if userAgent == "" {
		return unknownDevice
	}
	client := n.parser.Parse(userAgent)
	browser, system := browserName(client.UserAgent.Family), systemName(client.Os.Family, userAgent)
	kind := kindOfDevice(system, userAgent)
	// Browsers all claim to be Mozilla. What does not is a tool, or an app, where the parser can only guess the browser.
	if browser != "" && !strings.HasPrefix(userAgent, "Mozilla/") && !strings.HasPrefix(userAgent, "Opera/") {
		if kind != "phone" && kind != "tablet" {
			return device{browser, "terminal"}
		}
		browser = "App"
	}
	switch {
	case browser != "" && system != "":
		return device{browser + " on " + system, kind}
	case browser != "":
		return device{browser, kind}
	case system != "":
		return device{"Browser on " + system, kind}
	}
	return unknownDevice
}

// browserNames are the families that people know under another name.
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
	return plain(strings.TrimPrefix(family, "Mobile "))
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
	return plain(family)
}

func kindOfDevice(system, userAgent string) string {
	switch system {
	case "iPhone", "iOS", "Windows Phone", "KaiOS":
		return "phone"
	case "iPad":
		return "tablet"
	case "Android":
		if strings.Contains(userAgent, "Mobile") { // Google's rule: a tablet leaves it out
			return "phone"
		}
		return "tablet"
	case "":
		return "unknown"
	}
	return "desktop"
}

// plain keeps what a name needs. Some families are cut out of the User-Agent itself, so they can hold anything.
func plain(name string) string {
	name = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune(" ._-+", r):
			return r
		}
		return -1
	}, name)
	return strings.TrimSpace(name[:min(len(name), 40)])
}
