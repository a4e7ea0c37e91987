package handlers_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"porchlight/handlers/handlerstest"
)

// This file tests what must hold for every route below /admin: only administrators get in, a change needs step-up, ending sessions does
// not, and the activity names the administrator.

// adminRoute is a route for administrators. {user} in its path stands for carol, {id} for her session.
type adminRoute struct {
	route
	before  string // what is done to carol first, as a statement on users
	stepUp  bool   // it needs step-up
	effect  string // an expression on users that is 0 before and 1 after
	records string // the kind of activity
}

const carolIsGone = `(SELECT COUNT(*) FROM sessions s WHERE s.user_id = u.id) = 0`

const invitesCarol = `
	INSERT INTO invitations (username, token_hash, user_id, expires_at) SELECT 'carol', x'01', id, 1e15 FROM users WHERE id = ?`

func post(path string, body ...string) route {
	status := 303
	if len(body) == 0 {
		status = 200
	}
	return route{method: "POST", path: path, body: body, status: status}
}

var adminRoutes = []adminRoute{
	{route: route{method: "GET", path: "/admin", status: 303}},
	{route: route{method: "GET", path: "/admin/users", status: 200}},
	{route: route{method: "GET", path: "/admin/users/{user}", status: 200}},
	{route: route{method: "GET", path: "/admin/users/{user}/sessions", status: 200}},
	{route: route{method: "GET", path: "/admin/proxy", status: 200}},
	{route: route{method: "GET", path: "/admin/sessions", status: 200}},
	{route: route{method: "GET", path: "/admin/apps", status: 200}},
	{stepUp: true, route: post("/admin/apps", "host", "127.0.0.1", "users", "carol"),
		effect: `EXISTS (SELECT 1 FROM app_rule_users g WHERE g.host = '127.0.0.1' AND g.user_id = u.id)`},
	{stepUp: true, route: route{method: "POST", path: "/admin/apps/remove", body: []string{"host", "127.0.0.1"}, status: 200}},
	{stepUp: true, route: post("/admin/apps/remove", "host", "127.0.0.1", "confirm", "1"),
		before: `INSERT INTO app_rules (host) SELECT '127.0.0.1' WHERE ? > 0`,
		effect: `NOT EXISTS (SELECT 1 FROM app_rules)`},
	{route: route{method: "GET", path: "/admin/activity", status: 200}},
	{route: route{method: "POST", path: "/admin/sessions/revoke", body: []string{"id", "{id}"}, status: 200}},
	{route: post("/admin/sessions/revoke", "id", "{id}", "confirm", "1"), effect: carolIsGone, records: "revoked"},

	{route: route{method: "DELETE", path: "/admin/users/{user}/sessions/{id}", status: 200}, effect: carolIsGone, records: "revoked"},
	{route: post("/admin/users/{user}/sessions/{id}/revoke")},
	{route: post("/admin/users/{user}/sessions/{id}/revoke", "confirm", "1"), effect: carolIsGone, records: "revoked"},
	{route: post("/admin/users/{user}/revoke")},
	{route: post("/admin/users/{user}/revoke", "confirm", "1"), effect: carolIsGone, records: "revoked"},

	{stepUp: true, route: route{method: "POST", path: "/admin/users/invite", body: []string{"username", "dave"}, status: 200},
		effect: `EXISTS (SELECT 1 FROM invitations WHERE username = 'dave' AND invited_by = 'admin alice')`},
	{stepUp: true, route: route{method: "POST", path: "/admin/users/{user}/invite", status: 200},
		effect: `EXISTS (SELECT 1 FROM invitations WHERE user_id = u.id AND invited_by = 'admin alice')`, records: "invited"},
	{stepUp: true, route: route{method: "POST", path: "/admin/users/cancel-invitation", body: []string{"username", "x"}, status: 303}},
	{stepUp: true, route: post("/admin/users/cancel-invitation", "username", "carol", "confirm", "1"), before: invitesCarol,
		effect: `NOT EXISTS (SELECT 1 FROM invitations)`, records: "invitation_cancelled"},
	{stepUp: true, route: route{method: "POST", path: "/admin/users/{user}/approve", status: 303},
		before: `UPDATE users SET approved = 0 WHERE id = ?`, effect: `approved`, records: "approved"},
	{stepUp: true, route: post("/admin/users/{user}/disable")},
	{stepUp: true, route: post("/admin/users/{user}/disable", "confirm", "1"), effect: `disabled`, records: "revoked"},
	{stepUp: true, route: route{method: "POST", path: "/admin/users/{user}/enable", status: 303},
		before: `UPDATE users SET disabled = 1 WHERE id = ?`, effect: `NOT disabled`, records: "enabled"},
	{stepUp: true, route: route{method: "POST", path: "/admin/users/{user}/make-admin", status: 303},
		effect: `is_admin`, records: "made_admin"},
	{stepUp: true, route: post("/admin/users/{user}/unmake-admin")},
	{stepUp: true, route: post("/admin/users/{user}/unmake-admin", "confirm", "1"),
		before: `UPDATE users SET is_admin = 1 WHERE id = ?`, effect: `NOT is_admin`, records: "unmade_admin"},
	{stepUp: true, route: post("/admin/users/{user}/account", "email", "Carol@Example.com"),
		effect: `COALESCE(email, '') = 'carol@example.com'`, records: "email_changed"},
	{stepUp: true, route: post("/admin/users/{user}/account", "groups", "Staff, family"),
		effect: `(SELECT group_concat(name) FROM user_groups g WHERE g.user_id = u.id) IS 'family,staff'`, records: "groups_changed"},
	{stepUp: true, route: post("/admin/users/{user}/reset-second-factor")},
	{stepUp: true, route: post("/admin/users/{user}/reset-second-factor", "confirm", "1"), before: `
		INSERT INTO passkeys (id, user_id, user_handle, credential_id, credential, sign_count, name, created_at, last_used_at)
		VALUES ('key', ?, x'', x'01', x'', 0, '', 0, 0)`,
		effect: `NOT EXISTS (SELECT 1 FROM passkeys p WHERE p.user_id = u.id)`, records: "passkey_removed"},
	{stepUp: true, route: post("/admin/users/{user}/delete")},
	{stepUp: true, route: post("/admin/users/{user}/delete", "confirm", "1"), effect: "gone"},
}

// adminRoutesFor returns the routes with the id of a user in place of {user}, for the tests of all routes.
func adminRoutesFor(userID string) (routes []route) {
	for _, r := range adminRoutes {
		r.path = strings.ReplaceAll(r.path, "{user}", userID)
		routes = append(routes, r.route)
	}
	return routes
}

// carol is somebody whom the administrator alice changes.
type carol struct {
	*handlerstest.Cast
	r      adminRoute
	id     string // of the account
	device *handlerstest.Client
}

func openCarol(t *testing.T, r adminRoute) carol {
	c := carol{Cast: handlerstest.OpenCast(t), r: r}
	c.id = fmt.Sprint(c.AddUser("carol", "pebble sonnet harbour walnut").ID)
	c.device = c.SignIn("carol", "pebble sonnet harbour walnut", handlerstest.FirefoxOnLinux)
	if r.before != "" {
		c.Exec(r.before, c.id)
	}
	c.r.path = strings.ReplaceAll(r.path, "{user}", c.id)
	return c
}

// done returns "1" once the route has had its effect.
func (c carol) done() string {
	c.T.Helper()
	if c.r.effect == "gone" {
		return c.Only(`SELECT NOT EXISTS (SELECT 1 FROM users WHERE username = 'carol')`)
	}
	return c.Only(`SELECT (` + c.r.effect + `) FROM users u WHERE username = 'carol'`)
}

func TestAdminRoutes(t *testing.T) {
	t.Parallel()
	for _, r := range adminRoutes {
		t.Run(r.String(), func(t *testing.T) {
			t.Parallel()
			c := openCarol(t, r)
			check := c.Unchanged()
			for name, client := range map[string]*handlerstest.Client{"bob": c.Bob, "carol": c.device} {
				if name == "carol" && strings.Contains(r.before, "= 1") { // disabled, or an administrator
					continue
				}
				got := c.r.send(client, c.device.ID)
				got.Is(t, 403)
				got.Has(t, "Only an administrator can see this")
			}
			check(t)

			c.Exec(`UPDATE sessions SET confirmed_at = 0 WHERE id = ?`, c.Alice.ID)
			if r.stepUp {
				check = c.Unchanged()
				got := c.r.send(c.Alice, c.device.ID)
				got.Is(t, 403)
				got.Has(t, "<h1>Confirm it's you</h1>", `name="confirm_to" value="`+c.r.path)
				check(t)
				if r.effect != "" && c.done() != "0" {
					t.Error("it was done without step-up")
				}
				c.Exec(`UPDATE sessions SET confirmed_at = ? WHERE id = ?`, c.Clock.Now().UnixMilli(), c.Alice.ID)
			}
			if r.effect == "" {
				check = c.Unchanged()
			}
			c.r.send(c.Alice, c.device.ID).Is(t, r.status)
			if r.effect == "" {
				check(t)
			} else if c.done() != "1" {
				t.Error("it was not done")
			}
			if r.records != "" {
				c.SameRows(t, []string{r.records + " admin alice"}, `
					SELECT kind, done_by FROM activity WHERE user_id = ? ORDER BY id DESC LIMIT 1`, c.id)
			}
			c.Alice.API("GET", "/me/sessions/current", "").Is(t, 200)
		})
	}
}

// An account or a session that does not exist, and the session of somebody else, are not found.
func TestAdminRoutesRefuseUnknownIDs(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	check := c.Unchanged()
	for _, r := range adminRoutes {
		if !strings.Contains(r.path, "{user}") {
			continue
		}
		for _, id := range []string{"999", "0", "-1", "x", "2x", "%32", "99999999999999999999", "alice"} {
			unknown := r.route
			unknown.path = strings.ReplaceAll(r.path, "{user}", id)
			if got := unknown.send(c.Alice, c.Bob.ID); got.Status != 404 {
				t.Errorf("%s: %d", unknown, got.Status)
			}
		}
		if !strings.Contains(r.path, "{id}") {
			continue
		}
		for _, id := range []string{c.AlicePhone.ID, "AAAAAAAAAAAAAAAAAAAAAAAAAA"} {
			wrong := r.route
			wrong.path = strings.ReplaceAll(r.path, "{user}", "2")
			got := wrong.send(c.Alice, id)
			if r.method == "DELETE" {
				got.Is(t, 200)
				got.Has(t, "That device of bob was already signed out.")
			} else {
				got.Is(t, 303, "/admin/users/2?done=gone")
			}
		}
	}
	check(t)
}

func TestAdministratorsDoNotEndTheirOwnSession(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	own := "/admin/users/1/sessions/" + c.Alice.ID
	c.Alice.HTMX("DELETE", own).Is(t, 400)
	c.Alice.Form(own+"/revoke", "confirm", "1").Is(t, 400)
	c.Alice.Form(own+"/revoke").Is(t, 400)
	if got := c.SessionsOf("alice"); len(got) != 2 {
		t.Errorf("alice's sessions: %q", got)
	}
	page := c.Alice.Page("/admin/users/1")
	page.Has(t, `id="device-`+c.Alice.ID, `action="/admin/users/1/sessions/`+c.AlicePhone.ID+`/revoke"`)
	page.Lacks(t, `/sessions/`+c.Alice.ID+`/revoke`, `/name"`, `/not-me"`)
	c.Alice.HTMX("POST", "/admin/users/1/revoke").Has(t, "Signed alice out everywhere.", "Devices (1)")
	if got := c.SessionsOf("alice"); !slices.Equal(got, []string{c.Alice.ID}) {
		t.Errorf("alice's sessions: %q", got)
	}
}
