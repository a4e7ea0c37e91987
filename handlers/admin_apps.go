package handlers

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/gofiber/fiber/v2"

	"porchlight/db"
)

// This file owns the page for access rules: who may reach which app, and why a request was refused.

const appsPath = "/admin/apps"

type appsPage struct {
	adminPage
	Rules       []ruleRow
	Default     string // whom hosts without a rule are open to
	WithoutRule []string
	Refusals    []refusalRow
	Check       accessCheck
	Rule        ruleForm
}

// ruleRow is a row in the list of rules.
type ruleRow struct {
	Host   string
	OpenTo string
	Empty  []string // the groups of the rule that nobody is in
}

// refusalRow is a row in the list of refused auth checks.
type refusalRow struct {
	refusal
	Moment moment
	Ago    string
}

// accessCheck is the form that checks whether a person may reach a host, and the result.
type accessCheck struct {
	Person  string // as it was typed
	Host    string // likewise
	Problem string // why there is no result
	Checked bool
	Why     string // as whyRefused says; "" is that the person may
	Answer  db.Reach
}

// ruleForm is the form that allows more people to reach a host.
type ruleForm struct {
	Form     form
	Host     field
	Users    field
	Groups   field
	Everyone bool
	Admins   bool
}

func newRuleForm() ruleForm {
	return ruleForm{
		Host:   field{Kind: "host", Name: "host"},
		Users:  field{Kind: "users", Name: "users"},
		Groups: field{Kind: "rule-groups", Name: "groups"},
	}
}

func (h *handler) newAppsPage(c *fiber.Ctx) (p appsPage, err error) {
	p = appsPage{adminPage: h.adminPageFor(c, "apps", "Apps"), Default: h.Store.DefaultRule().OpenTo(), Rule: newRuleForm()}
	rules, err := h.Store.AppRules()
	if err != nil {
		return p, err
	}
	for _, rule := range rules {
		row, err := h.newRuleRow(rule)
		if err != nil {
			return p, err
		}
		p.Rules = append(p.Rules, row)
	}
	for _, r := range h.refusals.latestFirst() {
		at := newMoment(r.At)
		p.Refusals = append(p.Refusals, refusalRow{r, at, at.ago(h.Store.Now())})
	}
	p.WithoutRule, err = h.Store.HostsWithoutRule()
	return p, err
}

func (h *handler) newRuleRow(rule db.AppRule) (row ruleRow, err error) {
	row = ruleRow{Host: rule.Host, OpenTo: rule.OpenTo()}
	if len(rule.Groups) > 0 {
		row.Empty, err = h.Store.EmptyGroups(rule)
	}
	return row, err
}

func (h *handler) showApps(c *fiber.Ctx) error {
	p, err := h.newAppsPage(c)
	if err != nil {
		return err
	}
	p.Rule.Host.Value = c.Query("host")
	if _, ok := db.RuleHost(p.Rule.Host.Value); !ok {
		p.Rule.Host.Value = ""
	}
	if p.Check, err = h.checkAccess(c); err != nil {
		return err
	}
	p.notice = flashMessages[c.Query("done")]
	p.describeRule(c.Query("done"), c.Query("rule"))
	return c.Render("admin/apps", p)
}

// describeRule adds to the message of the page whom a rule is open to, as the commands do. host is that of the rule.
func (p *appsPage) describeRule(done, host string) {
	i := slices.IndexFunc(p.Rules, func(row ruleRow) bool { return row.Host == host })
	switch {
	case done == "rule-saved" && i >= 0:
		p.Message = fmt.Sprintf("%s is open to %s.", p.Rules[i].Host, p.Rules[i].OpenTo)
	case done == "rule-removed" && i >= 0:
		p.Message += fmt.Sprintf(" Now the rule for %s applies: open to %s.", p.Rules[i].Host, p.Rules[i].OpenTo)
	case done == "rule-removed":
		p.Message += fmt.Sprintf(" Now the default applies: open to %s.", p.Default)
	}
}

// checkAccess reports whether the person in the query may reach the host.
func (h *handler) checkAccess(c *fiber.Ctx) (check accessCheck, err error) {
	for name, value := range map[string]*string{"person": &check.Person, "app": &check.Host} {
		if *value, err = queryText(c, name); err != nil {
			return check, err
		}
	}
	if check.Person == "" && check.Host == "" {
		return check, nil
	}
	host, _, ok := db.CanonicalHost(check.Host)
	if !ok {
		check.Problem = "Enter a host, such as notes.example.com."
		return check, nil
	}
	check.Answer, err = h.Store.Reach(check.Person, host)
	if errors.Is(err, db.ErrNotFound) {
		check.Problem = "There is no user " + isolate(check.Person) + "."
		return check, nil
	}
	check.Host, check.Checked, check.Why = host, true, h.whyRefused(&check.Answer.AppAccess, host)
	if check.Answer.Disabled {
		check.Why = refusedDisabled
	}
	return check, err
}

// allowApp allows more people to reach a host, like "porchlight app allow".
func (h *handler) allowApp(c *fiber.Ctx, body formBody) error {
	more := db.AppRule{
		Host: strings.TrimSpace(body.get("host")), Everyone: body.has("everyone"), Admins: body.has("admins"),
		Users: db.SplitNames(body.get("users")), Groups: db.SplitNames(body.get("groups")),
	}
	current := currentSession(c)
	invalid := h.checkRule(more)
	if len(invalid) == 0 {
		rule, err := h.Store.AllowApp(c.UserContext(), db.Administrator(current), more)
		unknown, isUnknown := errors.AsType[db.UnknownUsers](err)
		switch isInvalid := errors.As(err, &invalid); {
		case isUnknown:
			invalid = db.Invalid{"users": "There is no user " + strings.Join(unknown, ", ") + "."}
		case err == nil:
			h.Log.Info("app allowed", "host", rule.Host, "open_to", rule.OpenTo(), "by", current.Username, "session", current.ID)
			return c.Redirect(appsPath+"?done=rule-saved&rule="+url.QueryEscape(rule.Host), fiber.StatusSeeOther)
		case !isInvalid:
			return err
		}
	}
	p, err := h.newAppsPage(c)
	if err != nil {
		return err
	}
	p.Rule.Host.Value, p.Rule.Users.Value, p.Rule.Groups.Value = body.get("host"), body.get("users"), body.get("groups")
	p.Rule.Everyone, p.Rule.Admins = more.Everyone, more.Admins
	p.Rule.Form.mark(invalid, &p.Rule.Host, &p.Rule.Users, &p.Rule.Groups)
	p.Rule.Form.Error = invalid["rule"]
	return refuse(c, "admin/apps", &p)
}

// checkRule returns what is wrong with a rule that the store would accept. On the command line, a rule without names is for everyone. In a
// form, it is more likely that somebody forgot to say who.
func (h *handler) checkRule(rule db.AppRule) db.Invalid {
	invalid := db.Invalid{}
	host, ok := db.RuleHost(rule.Host)
	if !ok {
		invalid["host"] = "Enter a host, such as notes.example.com or *.example.com."
	} else if why := WhyUnguarded(host, h.ownHost, h.CookieDomain); why != "" {
		invalid["host"] = why + "."
	}
	if !rule.Everyone && !rule.Admins && len(rule.Users) == 0 && len(rule.Groups) == 0 {
		invalid["rule"] = "Choose who may reach the host."
	}
	return invalid
}

// askRulePage asks for confirmation when JavaScript is off.
type askRulePage struct {
	adminPage
	Host string
}

// removeApp removes a rule, like "porchlight app remove".
func (h *handler) removeApp(c *fiber.Ctx, body formBody) error {
	host, ok := db.RuleHost(body.get("host"))
	if !ok {
		return db.ErrNotFound
	}
	if body.get("confirm") != "1" {
		return c.Render("admin/ask_rule", askRulePage{h.adminPageFor(c, "apps", "Are you sure?"), host})
	}
	current := currentSession(c)
	next, err := h.Store.RemoveAppRule(c.UserContext(), db.Administrator(current), host)
	if errors.Is(err, db.ErrNotFound) {
		return c.Redirect(appsPath+"?done=rule-gone", fiber.StatusSeeOther)
	}
	if err != nil {
		return err
	}
	h.Log.Info("rule removed", "host", host, "next", next.Host, "by", current.Username, "session", current.ID)
	return c.Redirect(appsPath+"?done=rule-removed&rule="+url.QueryEscape(next.Host), fiber.StatusSeeOther)
}
