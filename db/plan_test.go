package db_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// statements returns the SQL in the source of the package, by function or constant. It replaces constants by their values, so that the
// statements are those that run.
func statements(t *testing.T) map[string][]string {
	t.Helper()
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var files []*ast.File
	for _, name := range names {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		if file.Name.Name == "db" {
			files = append(files, file)
		}
	}
	constants := map[string]ast.Expr{}
	for _, file := range files {
		ast.Inspect(file, func(n ast.Node) bool {
			if spec, ok := n.(*ast.ValueSpec); ok && len(spec.Values) == len(spec.Names) {
				for i, name := range spec.Names {
					constants[name.Name] = spec.Values[i]
				}
			}
			return true
		})
	}
	var text func(ast.Expr) string
	text = func(e ast.Expr) string {
		switch e := e.(type) {
		case *ast.BasicLit:
			if s, err := strconv.Unquote(e.Value); err == nil && e.Kind == token.STRING {
				return s
			}
		case *ast.BinaryExpr:
			return text(e.X) + text(e.Y)
		case *ast.Ident:
			if value, known := constants[e.Name]; known {
				return text(value)
			}
		}
		return ""
	}
	found := map[string][]string{}
	for _, file := range files {
		for _, declared := range file.Decls {
			name := ""
			if function, ok := declared.(*ast.FuncDecl); ok {
				name = function.Name.Name
			}
			ast.Inspect(declared, func(n ast.Node) bool {
				if spec, ok := n.(*ast.ValueSpec); ok && name == "" {
					for i, value := range spec.Values {
						if sql := text(value); isStatement(sql) {
							found[spec.Names[i].Name] = append(found[spec.Names[i].Name], sql)
						}
					}
					return false
				}
				if e, ok := n.(ast.Expr); ok && name != "" {
					if _, isName := e.(*ast.Ident); !isName {
						if sql := text(e); isStatement(sql) {
							found[name] = append(found[name], sql)
							return false
						}
					}
				}
				return true
			})
		}
	}
	return found
}

var (
	statementPattern = regexp.MustCompile(`(?s)^\s*(SELECT|UPDATE|DELETE|INSERT|WITH)\s`)
	placeholder      = regexp.MustCompile(`\$(\d+)`)
)

func isStatement(sql string) bool { return statementPattern.MatchString(sql) }

func TestEveryHotStatementUsesAnIndex(t *testing.T) {
	t.Parallel()
	h := openHouse(t)
	plans := map[string]string{}
	for name, all := range statements(t) {
		for _, sql := range all {
			if strings.Contains(sql, "goose_db_version") {
				continue
			}
			most := 0
			for _, match := range placeholder.FindAllStringSubmatch(sql, -1) {
				n, _ := strconv.Atoi(match[1])
				most = max(most, n)
			}
			rows, err := h.disk.Query("EXPLAIN QUERY PLAN "+sql, make([]any, most)...)
			if err != nil {
				t.Fatalf("%s: %v\n%s", name, err, sql)
			}
			for rows.Next() {
				var id, parent, unused int
				var detail string
				if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
					t.Fatal(err)
				}
				plans[name] += detail + "\n"
			}
			rows.Close()
		}
	}

	for name, want := range map[string][]string{
		"resumeSession": {"SEARCH s USING INDEX sqlite_autoindex_sessions_2 (token_hash=?)"},
		"authorizeSession": {"SEARCH s USING INDEX sqlite_autoindex_sessions_2 (token_hash=?)", "SEARCH r USING PRIMARY KEY (host=?)",
			"SEARCH g USING PRIMARY KEY (host=? AND user_id=?)", "SEARCH a USING PRIMARY KEY (session_id=? AND host=?)",
			"SEARCH g USING PRIMARY KEY (user_id=?)", "SEARCH g USING PRIMARY KEY (host=?)",
			"SEARCH m USING COVERING INDEX user_groups_by_name (name=? AND user_id=?)"},
		"reachOfUser": {"SEARCH u USING INDEX sqlite_autoindex_users_1 (username=?)", "SEARCH r USING PRIMARY KEY (host=?)"},
		"HostsWithoutRule": {"SEARCH session_apps USING COVERING INDEX session_apps_by_host",
			"SEARCH a USING COVERING INDEX session_apps_by_host (host>?)"},
		"EmptyGroups":         {"SEARCH m USING COVERING INDEX user_groups_by_name (name=?)"},
		"sessionsOfUser":      {"SEARCH s USING INDEX sessions_by_user (user_id=?)", "SEARCH a USING PRIMARY KEY (session_id=?)"},
		"Sessions":            {"SEARCH sessions USING COVERING INDEX sessions_by_user (user_id=?)"},
		"findSessions":        {"SEARCH s USING INTEGER PRIMARY KEY (rowid<?)", "SEARCH u USING INTEGER PRIMARY KEY (rowid=?)"},
		"sessionByID":         {"SEARCH s USING INDEX sqlite_autoindex_sessions_1 (id=?)"},
		"secondStepByToken":   {"SEARCH n USING INDEX sqlite_autoindex_second_steps_1 (token_hash=?)"},
		"BeginSecondStep":     {"second_steps_by_user (user_id=? AND device_id=?)"},
		"voidSecondSteps":     {"second_steps_by_user (user_id=?)"},
		"hasSecondFactor":     {"SEARCH f USING INTEGER PRIMARY KEY (rowid=?)", "SEARCH p USING COVERING INDEX passkeys_by_user (user_id=?)"},
		"Passkeys":            {"passkeys_by_user (user_id=?)"},
		"passkeyByCredential": {"sqlite_autoindex_passkeys_2 (credential_id=?)"},
		"linkByToken":         {"SEARCH l USING INDEX sqlite_autoindex_links_1 (token_hash=?)"},
		"addLink":             {"links_by_user (user_id=? AND kind=?)"},
		"recipients":          {"SEARCH u USING INTEGER PRIMARY KEY (rowid=?)", "SEARCH a USING INTEGER PRIMARY KEY (rowid=?)"},
		"addToWaiting":        {"outbox_by_user (user_id=? AND is_link=?)"},
		"alertDueAt":          {"SEARCH recent_alerts USING PRIMARY KEY (user_id=? AND kind=? AND about=?)"},
		"boundOutbox":         {"outbox_by_user (user_id=? AND is_link=?)", "outbox_by_id (is_link=?)"},
		"NextDue":             {"SEARCH outbox USING COVERING INDEX outbox_by_way (way=? AND is_link=?)"},
		"ClaimMessages":       {"outbox_by_user (user_id=?)", "SEARCH o USING INDEX outbox_by_way (way=?)"},
		"WaitingMessages":     {"outbox_by_user (user_id=?)"},
		"restoreEmail":        {"outbox_by_user (user_id=? AND is_link=?)"},
		"fixFutureMail": {"links_by_expiry (expires_at>?)", "email_changes_by_expiry (expires_at>?)", "outbox_by_age (give_up_at>?)",
			"recent_alerts_by_age (at>?)"},
		"useRecoveryCode":  {"SEARCH recovery_codes USING PRIMARY KEY (user_id=? AND code_hash=?)"},
		"fixFutureFactors": {"second_steps_by_expiry (expires_at>?)", "used_challenges_by_age (used_at>?)"},
		"beginSession":     {"sqlite_autoindex_sessions_2 (token_hash=?)", "SEARCH sessions USING INDEX sessions_by_user (user_id=?)"},
		"Revoke":           {"SEARCH sessions USING INDEX sqlite_autoindex_sessions_1 (id=?)"},
		"endOtherSessions": {"USING INDEX sessions_by_user (user_id=?)"},
		"SignOut":          {"sqlite_autoindex_sessions_1 (id=?)"},
		"writeTouches":     {"sqlite_autoindex_sessions_1 (id=?)"},
		"writeApps": {"SEARCH sessions USING COVERING INDEX sqlite_autoindex_sessions_1 (id=?)",
			"SEARCH session_apps USING PRIMARY KEY (session_id=? AND host=?)", "SEARCH session_apps USING PRIMARY KEY (session_id=?)"},
		"WasRevoked":    {"SEARCH revoked_tokens USING PRIMARY KEY (token_hash=?)"},
		"deleteRefused": {"sqlite_autoindex_sessions_2 (token_hash=?)"},
		"sweepSessions": {"sessions_by_expiry (expires_at<?)", "keys_by_expiry (expires_at<?)"},
		"RevokeAll":     {"sessions_by_expiry (expires_at>?)", "keys_by_expiry (expires_at>?)"},
		"fixFutureKeys": {"keys_by_creation (created_at>?)"},
		"CreateKey":     {"sessions_by_user (user_id=?)"},
		"Sweep": {"activity_by_age (happened_at<?)", "attempts_by_age (failed_at<?)",
			"consecutive_failures_by_age (last_failed_at<?)", "invitations_by_expiry (expires_at<?)",
			"second_steps_by_expiry (expires_at<?)", "used_challenges_by_age (used_at<?)",
			"links_by_expiry (expires_at<?)", "email_changes_by_expiry (expires_at<?)", "revoked_tokens_by_expiry (expires_at<?)",
			"outbox_by_age (give_up_at<?)", "recent_alerts_by_age (at<?)"},
		"fixFutureSessions": {"SEARCH sessions USING INDEX sessions_by_expiry (expires_at>?)", "sessions_shared_by_expiry (expires_at>?)"},
		"fixFutureActivity": {"activity_by_age (happened_at>?)"},
		"fixFutureInvitations": {"invitations_by_expiry (expires_at>?)", "attempts_by_age (failed_at>?)",
			"consecutive_failures_by_age (last_failed_at>?)"},
		"attemptsLeft":  {"attempts_by_key (key=? AND failed_at>? AND failed_at<?)"},
		"Activity":      {"activity_by_user (user_id=? AND id<?)"},
		"ActivityAfter": {"activity_by_user (user_id=? AND id>?)"},
		"AllActivity": {"SEARCH a USING INTEGER PRIMARY KEY (rowid>?)", "SEARCH u USING INTEGER PRIMARY KEY (rowid=?)",
			"SEARCH a USING INDEX activity_by_user (user_id=? AND id>?)"},
		"findActivity":         {"SEARCH a USING INTEGER PRIMARY KEY (rowid<?)", "SEARCH u USING INTEGER PRIMARY KEY (rowid=?)"},
		"findActivityOfUser":   {"SEARCH a USING INDEX activity_by_user (user_id=? AND id<?)"},
		"recordRepeat":         {"activity_by_user (user_id=?)"},
		"findUser":             {"sqlite_autoindex_users_1 (username=?)", "sqlite_autoindex_users_2 (email=?)"},
		"Users":                {"sessions_by_user (user_id=?)"},
		"invitationByToken":    {"sqlite_autoindex_invitations_2 (token_hash=?)", "sqlite_autoindex_invitation_tokens_1 (token_hash=?)"},
		"voidMailedInvitation": {"invitation_tokens_by_username (username=?)", "outbox_by_id (is_link=?)"},
		"addInvitationToken":   {"invitation_tokens_by_username (username=?)"},
		"Invitations":          {"sqlite_autoindex_invitations_1 (username>?)"},
		"dropVoidInvitations":  {"outbox_by_way (way=? AND is_link=? AND next_at<?)"},
		"findUsers": {"SEARCH u USING INDEX sqlite_autoindex_users_1 (username>?)",
			"SEARCH sessions USING COVERING INDEX sessions_by_user (user_id=?)"},
		"findWaitingUsers":    {"SEARCH u USING INDEX users_waiting (username>?)"},
		"countWaiting":        {"USING COVERING INDEX users_waiting"},
		"alertAdministrators": {"SCAN users USING INDEX users_administrators"},
	} {
		for _, part := range want {
			if !strings.Contains(plans[name], part) {
				t.Errorf("%s: want %q in the plan\n%s", name, part, plans[name])
			}
		}
	}
	// These read every row: once at the start, on the command line, or for an administrator.
	mayScan := map[string]bool{
		"ApplyLimits": true, "clearSessions": true, "AllSessions": true, "OnlyAddress": true, "Backup": true,
	}
	// The apps of one session, about fifty, the devices of one user, at most 200, and the sessions of one user.
	maySort := map[string]bool{"writeApps": true, "Devices": true, "findSessionsOfUser": true}
	for name, plan := range plans {
		for line := range strings.Lines(plan) {
			line = strings.TrimSpace(line)
			scans := strings.HasPrefix(line, "SCAN sessions") || line == "SCAN s" || strings.HasPrefix(line, "SCAN s ") ||
				strings.HasPrefix(line, "SCAN activity") || strings.HasPrefix(line, "SCAN attempts") ||
				strings.HasPrefix(line, "SCAN outbox") || strings.HasPrefix(line, "SCAN links")
			if !mayScan[name] && (scans || strings.Contains(line, "TEMP B-TREE") && !maySort[name]) {
				t.Errorf("%s: %s", name, line)
			}
		}
	}
}

// SQLite compiles a statement again on each run if a placeholder could be what the condition of a partial index asks for
// (sqlite3VdbeSetVarmask). A plus before the column prevents that.
func TestStatementsAreCompiledOnce(t *testing.T) {
	t.Parallel()
	conditional := regexp.MustCompile(`(^|[^+.\w])(s\.|u\.)?(kind|shared|approved|disabled) = \$\d`)
	ofThese := regexp.MustCompile(`(FROM|UPDATE) (sessions|users)\b`)
	for name, all := range statements(t) {
		for _, statement := range all {
			_, condition, _ := strings.Cut(statement, "WHERE")
			if found := conditional.FindString(condition); found != "" && ofThese.MatchString(statement) {
				t.Errorf("%s: %q", name, found)
			}
		}
	}
}
