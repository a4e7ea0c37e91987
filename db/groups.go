package db

import (
	"fmt"
	"slices"
	"strings"
)

// This file owns the groups of users. Rules name groups, and apps receive the groups of a user.

// adminsGroup is the group that apps see for every administrator. It is not stored, and no group may have its name.
const adminsGroup = "admins"

// maxGroups is how many groups a user may be in. Apps get all of them in one header.
const maxGroups = 50

// SplitNames returns the names in a list that is separated by commas.
func SplitNames(list string) (names []string) {
	for name := range strings.SplitSeq(list, ",") {
		if name = strings.TrimSpace(name); name != "" {
			names = append(names, name)
		}
	}
	return names
}

// canonicalGroups returns the names as they are stored: trimmed, lower-cased, sorted and without repetitions.
func canonicalGroups(names []string) (groups []string) {
	for _, name := range names {
		groups = append(groups, canonical(name))
	}
	slices.Sort(groups)
	return slices.Compact(groups)
}

// checkGroups returns what is wrong with the names, in canonicalGroups' form, or "".
func checkGroups(groups []string) string {
	for _, name := range groups {
		if !usernamePattern.MatchString(name) {
			return fmt.Sprintf("The name of a group must have 1 to %d letters (a to z), digits, dots, dashes or underscores, "+
				"and begin with a letter or a digit.", maxUsernameLength)
		}
		if name == adminsGroup {
			return "The name admins is reserved: every administrator is in that group."
		}
	}
	return ""
}

// checkUserGroups returns what is wrong with the groups of one user, or "".
func checkUserGroups(groups []string) string {
	if len(groups) > maxGroups {
		return fmt.Sprintf("A user can be in at most %d groups.", maxGroups)
	}
	return checkGroups(groups)
}

// groupsOfUser is a column with the groups of users u. The name of a group contains no comma.
const groupsOfUser = `COALESCE((SELECT group_concat(g.name) FROM user_groups g WHERE g.user_id = u.id), '')`

// readNames returns the names in a column that are separated by commas, sorted.
func readNames(column string) []string {
	if column == "" {
		return nil
	}
	names := strings.Split(column, ",")
	slices.Sort(names)
	return names
}

// allGroups returns the groups in such a column as apps receive them: with adminsGroup for an administrator, separated by commas.
func allGroups(column string, isAdmin bool) string {
	groups := readNames(column)
	if isAdmin {
		groups = append(groups, adminsGroup)
		slices.Sort(groups)
	}
	return strings.Join(groups, ",")
}

// addGroups puts a new account into the groups.
func (tx *tx) addGroups(userID int64, groups []string) error {
	for _, name := range groups {
		if _, err := tx.Exec(`INSERT INTO user_groups (user_id, name) VALUES ($1, $2)`, userID, name); err != nil {
			return err
		}
	}
	return nil
}

// setGroups replaces the groups of a user. It returns Invalid (field "groups").
func (tx *tx) setGroups(by Operator, userID int64, names []string) error {
	groups := canonicalGroups(names)
	if reason := checkUserGroups(groups); reason != "" {
		return Invalid{"groups": reason}
	}
	var before string
	if err := tx.QueryRow(`SELECT `+groupsOfUser+` FROM users u WHERE u.id = $1`, userID).Scan(&before); err != nil {
		return err
	}
	if slices.Equal(readNames(before), groups) {
		return nil
	}
	if _, err := tx.Exec(`DELETE FROM user_groups WHERE user_id = $1`, userID); err != nil {
		return err
	}
	if err := tx.addGroups(userID, groups); err != nil {
		return err
	}
	return tx.record(event{userID: userID, kind: GroupsChanged, by: by.actor()})
}

// EmptyGroups returns the groups of the rule that have no members, sorted.
func (s *Store) EmptyGroups(rule AppRule) ([]string, error) {
	return queryAll(s.reader, scanText, `
		SELECT g.name
		FROM app_rule_groups g
		WHERE g.host = $1 AND NOT EXISTS (SELECT 1 FROM user_groups m WHERE m.name = g.name)
		ORDER BY g.name`, rule.Host)
}
