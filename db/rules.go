package db

import (
	"context"
	"database/sql"
	"errors"
	"strings"
)

// AppRule says who may reach a guarded host or, if Host starts with "*.", every host that has one label in place of the "*".
type AppRule struct {
	Host     string
	Everyone bool     // every approved user
	Admins   bool     // every administrator
	Users    []string // these usernames, sorted
	Groups   []string // everybody in these groups, sorted
}

// OpenTo describes whom the rule allows. Named users and groups need no approval, so they are listed even if everyone is allowed.
func (r AppRule) OpenTo() string {
	var who []string
	if r.Everyone {
		who = append(who, "every approved user")
	} else if r.Admins {
		who = append(who, "administrators")
	}
	for _, group := range r.Groups {
		who = append(who, "group "+group)
	}
	who = append(who, r.Users...)
	if len(who) == 0 {
		return "nobody"
	}
	return strings.Join(who, ", ")
}

// UnknownUsers is an error with the names that no account has.
type UnknownUsers []string

func (u UnknownUsers) Error() string { return "unknown users: " + strings.Join(u, ", ") }

// ErrNotAHost means that a rule was given text that is not the name of a host.
var ErrNotAHost = errors.New("not a host name")

// AllowApp allows more people to reach a host. It adds more to the host's rule, and returns the resulting rule. It returns ErrNotAHost,
// or Invalid (field "groups") for text that cannot be the name of a group. If a username is unknown, it changes nothing and returns
// UnknownUsers, because a rule for the other names would shut out the person whose name was misspelt.
func (s *Store) AllowApp(ctx context.Context, by Operator, more AppRule) (rule AppRule, err error) {
	host, ok := RuleHost(more.Host)
	if !ok {
		return rule, ErrNotAHost
	}
	groups := canonicalGroups(more.Groups)
	if reason := checkGroups(groups); reason != "" {
		return rule, Invalid{"groups": reason}
	}
	err = s.writeForOperator(ctx, normal, by, func(tx *tx) error {
		ids, err := userIDs(tx, more.Users)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(`
			INSERT INTO app_rules (host, everyone, admins)
			VALUES ($1, $2, $3)
			ON CONFLICT (host) DO UPDATE SET everyone = MAX(everyone, excluded.everyone), admins = MAX(admins, excluded.admins)`,
			host, more.Everyone, more.Admins); err != nil {
			return err
		}
		for _, id := range ids {
			if _, err := tx.Exec(`
				INSERT INTO app_rule_users (host, user_id)
				VALUES ($1, $2)
				ON CONFLICT DO NOTHING`, host, id); err != nil {
				return err
			}
		}
		for _, name := range groups {
			if _, err := tx.Exec(`
				INSERT INTO app_rule_groups (host, name)
				VALUES ($1, $2)
				ON CONFLICT DO NOTHING`, host, name); err != nil {
				return err
			}
		}
		rule, err = ruleByHost(tx, host)
		return err
	})
	if err != nil {
		return AppRule{}, err
	}
	return rule, nil
}

// userIDs returns the ids of the accounts with these names, or UnknownUsers with the names that no account has.
func userIDs(tx *tx, usernames []string) (ids []int64, err error) {
	var unknown UnknownUsers
	for _, name := range usernames {
		var id int64
		err := tx.QueryRow(`SELECT id FROM users WHERE username = $1`, canonical(name)).Scan(&id)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			unknown = append(unknown, name)
		case err != nil:
			return nil, err
		}
		ids = append(ids, id)
	}
	if len(unknown) > 0 {
		return nil, unknown
	}
	return ids, nil
}

// AppRules returns all rules, sorted by host.
func (s *Store) AppRules() ([]AppRule, error) {
	return queryAll(s.reader, scanRule, `SELECT `+ruleColumns+` FROM app_rules r ORDER BY r.host`)
}

// RemoveAppRule deletes the rule of a host, or returns ErrNotFound if it has none. It returns the wildcard rule that applies to the
// host now. If that has no Host, there is no such rule and Options.DenyApps applies.
func (s *Store) RemoveAppRule(ctx context.Context, by Operator, host string) (next AppRule, err error) {
	host, ok := RuleHost(host)
	if !ok {
		return next, ErrNotAHost
	}
	err = s.writeForOperator(ctx, normal, by, func(tx *tx) error {
		if err := tx.changeOne(`DELETE FROM app_rules WHERE host = $1`, host); err != nil {
			return err
		}
		next, err = ruleByHost(tx, wildcardOf(host))
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		return err
	})
	if err != nil {
		return AppRule{}, err
	}
	return next, nil
}

func ruleByHost(tx *tx, host string) (AppRule, error) {
	return scanRule(tx.QueryRow(`SELECT `+ruleColumns+` FROM app_rules r WHERE r.host = $1`, host))
}

// ruleColumns is what scanRule reads from app_rules r. A username and the name of a group contain no comma.
const ruleColumns = `r.host, r.everyone, r.admins,
	COALESCE((SELECT group_concat(u.username) FROM app_rule_users g JOIN users u ON u.id = g.user_id WHERE g.host = r.host), ''),
	COALESCE((SELECT group_concat(g.name) FROM app_rule_groups g WHERE g.host = r.host), '')`

func scanRule(row scanner) (rule AppRule, err error) {
	var users, groups string
	err = row.Scan(&rule.Host, &rule.Everyone, &rule.Admins, &users, &groups)
	rule.Users, rule.Groups = readNames(users), readNames(groups)
	return rule, err
}
