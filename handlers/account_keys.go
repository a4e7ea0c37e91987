package handlers

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"porchlight/db"
)

// This file owns the page on which users create app keys. Keys are listed and ended with the other sessions, too.

const keysPath = "/account/keys"

type keysPage struct {
	page
	Guarding bool // the server guards apps
	Form     form
	Name     field
	Host     field
	Expires  field
	Choices  []string // of Expires
	Hosts    []string // apps that the user has used
	Keys     []keyRow
}

// keyRow is one of the user's live keys.
type keyRow struct {
	ID      string
	Name    string
	Host    string
	Used    bool
	Ago     string // when it was last used
	LastUse moment
	Expires moment
	Never   bool // it does not expire
}

// keyLifetimes is how long a key is valid for each choice; 0 means forever.
var keyLifetimes = map[string]time.Duration{"30d": 30 * 24 * time.Hour, "1y": 365 * 24 * time.Hour, "never": 0}

var keyChoices = []string{"30d", "1y", "never"}

func (h *handler) newKeysPage(c *fiber.Ctx) (keysPage, error) {
	p := keysPage{
		page: h.pageFor(c, "App keys"), Guarding: h.CookieDomain != "", Choices: keyChoices,
		Name:    field{Kind: "key-name", Name: "name"},
		Host:    field{Kind: "key-host", Name: "host"},
		Expires: field{Kind: "key-expires", Name: "expires", Value: "1y"},
	}
	p.Section = "account"
	sessions, _, err := h.Store.Sessions(currentSession(c).UserID, 0)
	if err != nil {
		return p, err
	}
	hosts := map[string]bool{}
	now := h.Store.Now()
	for _, session := range sessions {
		for _, app := range session.Apps {
			hosts[app.Host] = true
		}
		if session.Kind != db.AppKey {
			continue
		}
		hosts[session.Host] = true
		p.Keys = append(p.Keys, keyRow{
			ID: session.ID, Name: session.DeviceName, Host: session.Host,
			Used: len(session.Apps) > 0, LastUse: newMoment(session.LastActiveAt), Ago: newMoment(session.LastActiveAt).ago(now),
			Expires: newMoment(session.ExpiresAt), Never: session.NeverExpires(),
		})
	}
	delete(hosts, h.ownHost)
	p.Hosts = slices.Sorted(maps.Keys(hosts))
	return p, nil
}

func (h *handler) showKeys(c *fiber.Ctx) error {
	p, err := h.newKeysPage(c)
	if err != nil {
		return err
	}
	return c.Render("account/keys", p)
}

type keyPage struct {
	page
	Key  string // shown here and nowhere else
	Name string
	Host string
	App  string // the address of the app
	Feed string // the same with the user and the key in it
}

func (h *handler) makeKey(c *fiber.Ctx, body formBody) error {
	current := currentSession(c)
	key, invalid := h.readKeyForm(c, body)
	if len(invalid) > 0 {
		return h.refuseKey(c, body, invalid, "")
	}
	secret, made, err := h.Store.CreateKey(c.UserContext(), current, key)
	if errors.Is(err, db.ErrTooManyKeys) {
		return h.refuseKey(c, body, nil,
			fmt.Sprintf("You already have %d app keys, the most allowed. Sign out one you no longer need.", db.MaxKeys))
	}
	if err != nil {
		return err
	}
	h.Log.Info("app key created", "user", current.Username, "session", current.ID, "key", made.ID, "host", made.Host)
	app := url.URL{Scheme: h.URL.Scheme, Host: made.Host, Path: "/"}
	if port := h.URL.Port(); port != "" { // most likely, the apps have it too
		app.Host += ":" + port
	}
	feed := app
	feed.User = url.UserPassword(current.Username, secret)
	p := keyPage{
		page: h.pageFor(c, "Your new app key"), Key: secret, Name: made.DeviceName, Host: made.Host, App: app.String(), Feed: feed.String(),
	}
	p.Section = "account"
	return renderSecret(c, "account/key", p)
}

// readKeyForm returns the key that a form describes, or the reasons why it describes none.
func (h *handler) readKeyForm(c *fiber.Ctx, body formBody) (db.NewKey, db.Invalid) {
	key, invalid := db.NewKey{IP: h.client(c).IP}, db.Invalid{}
	name, err := checkName(body.get("name"))
	if refused, ok := errors.AsType[problem](err); ok {
		invalid["name"] = refused.message
	}
	key.Name = name
	host := strings.TrimSpace(body.get("host"))
	if _, rest, isAddress := strings.Cut(host, "://"); isAddress {
		host, _ = splitAuthority(rest)
	}
	canonical, _, ok := db.CanonicalHost(host)
	if !ok {
		invalid["host"] = "Enter the host of one app, such as notes.example.com."
	} else if reason := h.keyHostProblem(canonical); reason != "" {
		invalid["host"] = reason
	}
	key.Host = canonical
	if key.Lifetime, ok = keyLifetimes[body.get("expires")]; !ok {
		invalid["expires"] = "Choose 30 days, 1 year or never."
	}
	return key, invalid
}

// keyHostProblem returns why a host can't be a guarded app, or "" if it can.
func (h *handler) keyHostProblem(host string) string {
	switch {
	case host == h.ownHost:
		return "Porchlight's own pages don't accept app keys."
	case !h.guards(host):
		return "Porchlight does not guard this app. It guards apps under " + h.CookieDomain + "."
	}
	return ""
}

// refuseKey shows the form again, with what was typed.
func (h *handler) refuseKey(c *fiber.Ctx, body formBody, invalid db.Invalid, reason string) error {
	p, err := h.newKeysPage(c)
	if err != nil {
		return err
	}
	p.Name.Value, p.Host.Value = body.get("name"), body.get("host")
	if _, known := keyLifetimes[body.get("expires")]; known {
		p.Expires.Value = body.get("expires")
	}
	p.Form.Error = reason
	p.Form.mark(invalid, &p.Name, &p.Host, &p.Expires)
	return refuse(c, "account/keys", &p)
}
