package db

// This file answers the questions of administrators: who may reach a host, and which hosts have no rule?

// Reach says whether a user may reach a host, and why.
type Reach struct {
	AppAccess
	Disabled bool   // the user cannot sign in at all
	Rule     string // the host of the rule that applies; "" if there is none, so that Options.DenyApps applies
}

const reachOfUser = `
	SELECT u.username, u.is_admin, u.approved, u.disabled, ` + hasSecondFactor + `, ` + groupsOfUser + `, ` + allowedAtHost + `,
	       COALESCE((SELECT r.host FROM app_rules r WHERE r.host = $1), (SELECT r.host FROM app_rules r WHERE r.host = $2), '')
	FROM users u
	WHERE u.username = $4`

// Reach reports whether a user may reach a host, which is in CanonicalHost's form, as an auth check would. It returns ErrNotFound for an
// unknown name.
func (s *Store) Reach(username, host string) (Reach, error) {
	return queryOne(s.reader, func(row scanner) (reach Reach, err error) {
		var hasFactor bool
		var groups string
		err = row.Scan(&reach.Username, &reach.IsAdmin, &reach.Approved, &reach.Disabled, &hasFactor, &groups, &reach.Allowed, &reach.Rule)
		s.decide(&reach.AppAccess, groups, hasFactor)
		return reach, err
	}, reachOfUser, host, wildcardOf(host), !s.options.DenyApps, canonical(username))
}

// maxUsedHosts is how many of the hosts that sessions were used for are examined.
const maxUsedHosts = 500

// HostsWithoutRule returns hosts that live sessions were used for and to which no rule applies, sorted. It examines at most maxUsedHosts
// hosts.
func (s *Store) HostsWithoutRule() (hosts []string, err error) {
	rules, err := s.AppRules()
	if err != nil {
		return nil, err
	}
	ruled := map[string]bool{}
	for _, rule := range rules {
		ruled[rule.Host] = true
	}
	// Each step looks for the next host in the index, which is faster than DISTINCT when a million sessions use one host.
	used, err := queryAll(s.reader, scanText, `
		WITH RECURSIVE used (host) AS (
			SELECT MIN(host) FROM session_apps
			UNION ALL
			SELECT (SELECT MIN(a.host) FROM session_apps a WHERE a.host > used.host) FROM used WHERE used.host IS NOT NULL
		)
		SELECT host FROM used WHERE host IS NOT NULL LIMIT $1`, maxUsedHosts)
	for _, host := range used {
		if !ruled[host] && !ruled[wildcardOf(host)] {
			hosts = append(hosts, host)
		}
	}
	return hosts, err
}

// DefaultRule returns a rule that allows what Options.DenyApps does where no rule applies. It has no host.
func (s *Store) DefaultRule() AppRule { return AppRule{Everyone: !s.options.DenyApps} }
