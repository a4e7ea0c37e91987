package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"porchlight/db"
	"porchlight/handlers"
)

type appCommand struct {
	Allow  appAllowCommand  `cmd:"" help:"Let people reach a guarded host: those you name, or every approved user if you name nobody. People who were allowed before stay allowed."`
	List   appListCommand   `cmd:"" help:"List the rules."`
	Remove appRemoveCommand `cmd:"" help:"Remove a host's rule. After that, a rule such as *.example.com applies, or else --apps-default."`
}

type appAllowCommand struct {
	Host   string   `arg:"" help:"The host, such as notes.example.com. A leading *. matches any single label."`
	User   []string `placeholder:"NAME" sep:"none" help:"Allow this user. May be repeated."`
	Group  []string `placeholder:"G" sep:"none" help:"Allow everybody in this group. May be repeated."`
	Admins *bool    `help:"Allow every administrator."`
}

func (a *appAllowCommand) Run(e *environment) error {
	if slices.ContainsFunc(a.User, isBlank) {
		return usageError{errors.New("app allow: --user needs a name")}
	}
	if slices.ContainsFunc(a.Group, isBlank) {
		return usageError{errors.New("app allow: --group needs a name")}
	}
	if a.Admins != nil && !*a.Admins { // it must not mean every user
		return usageError{errors.New("app allow: --admins=false removes nobody; leave it out")}
	}
	if err := e.settings.checkGuarded(a.Host); err != nil {
		return err
	}
	return e.withStore(func(store *db.Store) error {
		rule, err := store.AllowApp(e.ctx, db.CommandLine, db.AppRule{
			Host: a.Host, Admins: a.Admins != nil, Users: a.User, Groups: a.Group,
			Everyone: a.Admins == nil && len(a.User) == 0 && len(a.Group) == 0,
		})
		var unknown db.UnknownUsers
		if errors.As(err, &unknown) {
			return fmt.Errorf("there is no user %s; nothing was changed", printable(strings.Join(unknown, ", ")))
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(e.stdout, "%s is open to %s.\n", rule.Host, rule.OpenTo())
		empty, err := store.EmptyGroups(rule)
		for _, name := range empty {
			fmt.Fprintf(e.stdout, "Nobody is in the group %s yet.\n", name)
		}
		return err
	})
}

// checkGuarded rejects a rule for a host that forward auth never allows: the rule would be listed but have no effect.
func (s *settings) checkGuarded(text string) error {
	host, ok := db.RuleHost(text)
	if !ok {
		return notAHost(text)
	}
	own, _, _ := db.CanonicalHost(s.url.Host)
	if why := handlers.WhyUnguarded(host, own, s.CookieDomain); why != "" {
		return fmt.Errorf("%s; if the server runs with other settings, give them to this command too", why)
	}
	return nil
}

type appListCommand struct {
	JSON bool `help:"Print JSON."`
}

func (l *appListCommand) Run(e *environment) error {
	return e.withStore(func(store *db.Store) error {
		rules, err := store.AppRules()
		if err != nil {
			return err
		}
		type row struct {
			Host     string   `json:"host"`
			Everyone bool     `json:"everyone"`
			Admins   bool     `json:"admins"`
			Users    []string `json:"users"`
			Groups   []string `json:"groups"`
		}
		rows := []row{}
		for _, rule := range rules {
			rows = append(rows, row{
				rule.Host, rule.Everyone, rule.Admins, append([]string{}, rule.Users...), append([]string{}, rule.Groups...),
			})
		}
		if l.JSON {
			return printJSON(e.stdout, rows)
		}
		return printTable(e.stdout, "HOST\tOPEN TO", len(rules), func(i int) []any {
			return []any{rules[i].Host, rules[i].OpenTo()}
		})
	})
}

type appRemoveCommand struct {
	Host string `arg:"" help:"The host, as printed by app list."`
}

func (r *appRemoveCommand) Run(e *environment) error {
	return e.withStore(func(store *db.Store) error {
		next, err := store.RemoveAppRule(e.ctx, db.CommandLine, r.Host)
		switch {
		case errors.Is(err, db.ErrNotAHost):
			return notAHost(r.Host)
		case errors.Is(err, db.ErrNotFound):
			return fmt.Errorf("there is no rule for %s", printable(r.Host))
		case err != nil:
			return err
		}
		applies := "the rule for " + next.Host
		if next.Host == "" {
			applies = "--apps-default " + e.settings.AppsDefault
			next.Everyone = e.settings.AppsDefault == "allow"
		}
		host, _ := db.RuleHost(r.Host)
		fmt.Fprintf(e.stdout, "Removed the rule for %s. Now %s applies: open to %s.\n", host, applies, next.OpenTo())
		return nil
	})
}

func notAHost(text string) error {
	return usageError{fmt.Errorf("app: %s is not a host; give a name such as notes.example.com or *.example.com", printable(text))}
}
