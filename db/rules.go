package db

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"
)

// AppRule says who may reach a guarded host or, with a leading "*.", every host that has one label in its place.
type AppRule struct {
	Host     string
	Everyone bool     // every approved user
	Admins   bool     // every administrator
	Users    []string // these, by username and in order
}

// UnknownUsers are names that no account has.
type UnknownUsers []string

func (u UnknownUsers) Error() string { return "unknown users: " + strings.Join(u, ", ") }

// ErrNotAHost says that a rule was asked for what is not the name of a host.
var ErrNotAHost = errors.New("not a host name")

// AllowApp lets more people reach a host: administrators, the named users or, when neither are given, every approved user.
// It only adds to what the host's rule allows, and returns the rule that now holds. If a name is unknown, nothing changes and
// the error is UnknownUsers: a rule for the others alone would shut out the person whose name was misspelt.
func (s *Store) AllowApp(ctx context.Context, host string, admins bool, usernames ...string) (rule AppRule, err error) {
	host, ok := RuleHost(host)
	if !ok {
		return rule, ErrNotAHost
	}
	err = s.write(ctx, func(tx *tx) error {
		ids, err := userIDs(tx, usernames)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(`
			INSERT INTO app_rules (host, everyone, admins)
			VALUES ($1, $2, $3)
			ON CONFLICT (host) DO UPDATE SET everyone = MAX(everyone, excluded.everyone), admins = MAX(admins, excluded.admins)`,
			host, len(usernames) == 0 && !admins, admins); err != nil {
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

// AppRules lists the rules by host.
func (s *Store) AppRules(ctx context.Context) ([]AppRule, error) {
	return queryAll(ctx, s, scanRule, `SELECT `+ruleColumns+` FROM app_rules r ORDER BY r.host`)
}

// RemoveAppRule deletes a host's rule, or returns ErrNotFound. It returns the rule that decides about the host from then on,
// the one for its siblings; a rule without a host means that there is none and Options.DenyApps decides.
func (s *Store) RemoveAppRule(ctx context.Context, host string) (next AppRule, err error) {
	host, ok := RuleHost(host)
	if !ok {
		return next, ErrNotAHost
	}
	err = s.write(ctx, func(tx *tx) error {
		if err := tx.changeOne(`DELETE FROM app_rules WHERE host = $1`, host); err != nil {
			return err
		}
		next, err = ruleByHost(tx, siblings(host))
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

// ruleColumns are what scanRule reads of app_rules r; a username has no comma in it.
const ruleColumns = `r.host, r.everyone, r.admins,
	COALESCE((SELECT group_concat(u.username) FROM app_rule_users g JOIN users u ON u.id = g.user_id WHERE g.host = r.host), '')`

func scanRule(row scanner) (rule AppRule, err error) {
	var users string
	err = row.Scan(&rule.Host, &rule.Everyone, &rule.Admins, &users)
	if users != "" {
		rule.Users = strings.Split(users, ",")
		slices.Sort(rule.Users)
	}
	return rule, err
}
