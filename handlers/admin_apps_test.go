package handlers_test

import (
	"fmt"
	"html"
	"regexp"
	"strings"
	"testing"

	"porchlight/db"
	"porchlight/handlers/handlerstest"
)

// This file tests the page for access rules, and the reasons for a refusal.

func TestRulesOnTheirPage(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	setGroups(c.House, "bob", "family")
	page := c.Alice.Page("/admin/apps")
	page.Is(t, 200)
	page.Has(t, "There are no rules yet.", "Hosts without a rule are open to every approved user.", `aria-current="page">Apps</a>`)

	c.Alice.Form("/admin/apps", "host", " Notes.Example.com:8443 ", "groups", "Family, books,", "users", "alice, ", "admins", "1").
		Is(t, 303, "/admin/apps?done=rule-saved&rule=notes.example.com")
	c.Alice.Form("/admin/apps", "host", "*.example.com", "everyone", "1").Is(t, 303, "/admin/apps?done=rule-saved&rule=%2A.example.com")
	page = c.Alice.Page("/admin/apps?done=rule-saved&rule=notes.example.com")
	page.Has(t, "notes.example.com is open to administrators, group books, group family, alice.",
		`<h3 class="host">notes.example.com</h3>`, `<h3 class="host">*.example.com</h3>`,
		"Open to administrators, group books, group family, alice. Nobody is in the group books yet.</p>", "Open to every approved user.</p>")
	if log := c.Log.String(); !strings.Contains(log, `msg="app allowed" host=notes.example.com open_to="administrators, group books, `+
		`group family, alice" by=alice session=`+c.Alice.ID) {
		t.Error(log)
	}

	asks := c.Alice.Form("/admin/apps/remove", "host", "notes.example.com")
	asks.Is(t, 200)
	asks.Has(t, "<h1>Remove this rule?</h1>", `name="host" value="notes.example.com"`)
	c.Alice.Form("/admin/apps/remove", "host", "notes.example.com", "confirm", "1").
		Is(t, 303, "/admin/apps?done=rule-removed&rule=%2A.example.com")
	for query, want := range map[string]string{
		"done=rule-removed&rule=%2A.example.com": "The rule was removed. Now the rule for *.example.com applies: open to every approved user.",
		"done=rule-removed&rule=":                "The rule was removed. Now the default applies: open to every approved user.",
		"done=rule-saved&rule=your+bank":         "The rule was saved.", // never text from the address
	} {
		page := c.Alice.Page("/admin/apps?" + query)
		page.Has(t, "<p>"+want+"</p>")
		page.Lacks(t, "your bank")
	}
	c.Alice.Form("/admin/apps/remove", "host", "notes.example.com", "confirm", "1").Is(t, 303, "/admin/apps?done=rule-gone")
	c.Alice.Form("/admin/apps/remove", "host", "not a host", "confirm", "1").Is(t, 404)
	c.SameRows(t, []string{"*.example.com"}, `SELECT host FROM app_rules`)
	if log := c.Log.String(); !strings.Contains(log, `msg="rule removed" host=notes.example.com next=*.example.com by=alice`) {
		t.Error(log)
	}
}

// The error is beside the field, the input is kept, and nothing is changed.
func TestRulesThatAreRefused(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	for name, test := range map[string]struct {
		fields []string
		reason string
	}{
		"nobody":          {[]string{"host", notes}, "Choose who may reach the host."},
		"only commas":     {[]string{"host", notes, "users", " , ,", "groups", ","}, "Choose who may reach the host."},
		"not a host":      {[]string{"host", "https://notes.example.com/<b>", "everyone", "1"}, "Enter a host, such as notes.example.com"},
		"no host":         {[]string{"everyone", "1"}, "Enter a host, such as notes.example.com"},
		"not guarded":     {[]string{"host", "notes.example.org", "everyone", "1"}, "it is not under --cookie-domain example.com."},
		"unknown user":    {[]string{"host", notes, "users", "bob, <b>nobody</b>"}, "There is no user <b>nobody</b>."},
		"an e-mail":       {[]string{"host", notes, "users", "bob@example.com"}, "There is no user bob@example.com."},
		"reserved group":  {[]string{"host", notes, "groups", "admins"}, "The name admins is reserved"},
		"not a group":     {[]string{"host", notes, "groups", "a b<i>"}, "The name of a group must have 1 to 32 letters"},
		"group and users": {[]string{"host", notes, "groups", "family", "users", "nobody"}, "There is no user nobody."},
	} {
		t.Run(name, func(t *testing.T) {
			got := c.Alice.Form("/admin/apps", test.fields...)
			got.Is(t, 422)
			got.Has(t, html.EscapeString(test.reason))
			got.Lacks(t, "<b>", "<i>")
			for i := 0; i < len(test.fields); i += 2 {
				if field := test.fields[i]; field != "everyone" {
					got.Has(t, `value="`+html.EscapeString(test.fields[i+1])+`"`)
				} else {
					got.Has(t, `name="everyone" type="checkbox" value="1" checked`)
				}
			}
			c.SameRows(t, nil, `SELECT host FROM app_rules`)
		})
	}
	c.Alice.Page("/admin/apps?host=%3Cb%3E").Lacks(t, "&lt;b&gt;")
	c.Alice.Page("/admin/apps?host=notes.example.com").Has(t, `value="notes.example.com"`)
}

// refusedOn returns what the page says about refused auth checks, the latest first.
func refusedOn(page handlerstest.Answer) (refused []string) {
	_, list, _ := strings.Cut(page.Body, `id="refused-heading"`)
	for _, match := range regexp.MustCompile(`(?s)<li>(.*?)</li>`).FindAllStringSubmatch(list, -1) {
		text := regexp.MustCompile(`<[^>]*>`).ReplaceAllString(match[1], "")
		refused = append(refused, strings.Join(strings.Fields(text), " "))
	}
	return refused
}

func TestRefusedAuthChecks(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy, openSignUp)
	carol := c.NewClient(handlerstest.FirefoxOnLinux)
	carol.Form("/signup", "username", "carol", "password", newPassword).Is(t, 303)
	allow(c.House, "wiki.example.com") // administrators only

	anonymous := c.NewClient(handlerstest.FirefoxOnLinux)
	for _, e := range endpoints {
		e.ask(anonymous, toNotes.of("wiki.example.com"))
		e.ask(anonymous, toNotes.of("evil.test"))
		passes(t, e.ask(c.Bob, toNotes), "bob")
		stops(t, e.ask(c.Bob, toNotes.of("")), 403, "")
	}
	c.Alice.Page("/admin/apps").Has(t, "No signed-in user has been refused access to an app since the server started.")

	stops(t, forward.ask(c.Bob, toNotes.of("evil.test")), 403, "")
	stops(t, forward.ask(c.Bob, toNotes.of("more.evil.test")), 403, "")
	stops(t, forward.ask(carol, toNotes), 403, "")
	for range 3 {
		stops(t, nginx.ask(c.Bob, toNotes.of("Wiki.example.com:8443")), 403, "")
	}
	got := refusedOn(c.Alice.Page("/admin/apps"))
	want := []string{
		"bob at wiki.example.com: The rules do not allow it. 3 times, last just now",
		"carol at notes.example.com: The account is waiting for approval. just now",
		"bob at more.evil.test: Porchlight does not guard that host. 2 times, last just now",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("the page says\n%s", strings.Join(got, "\n"))
	}
}

func TestRefusedWithoutSecondFactor(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCastWith(t, func(o *db.Options) { o.RequireSecondFactor = db.RequireAll }, behindProxy)
	stops(t, forward.ask(c.Bob, toNotes, fetching...), 403, "")
	c.Exec(`
		INSERT INTO passkeys (id, user_id, user_handle, credential_id, credential, sign_count, name, created_at, last_used_at)
		SELECT 'key', id, x'', x'01', x'', 0, '', 0, 0 FROM users WHERE username = 'alice'`)
	page := c.Alice.Page("/admin/apps?person=bob&app=" + notes)
	if got := refusedOn(page); len(got) != 1 || !strings.HasPrefix(got[0], "bob at notes.example.com: A second factor must be set up first.") {
		t.Errorf("the page says %q", got)
	}
	page.Has(t, "<strong>No.</strong> bob may not reach notes.example.com. A second factor must be set up first.")
}

// The page agrees with the auth check.
func TestCheckAccess(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy, openSignUp)
	carol := c.NewClient(handlerstest.FirefoxOnLinux)
	carol.Form("/signup", "username", "carol", "password", newPassword).Is(t, 303)
	setGroups(c.House, "carol", "family")
	allowMore(c.House, db.AppRule{Host: "*.example.com", Everyone: true})
	allowMore(c.House, db.AppRule{Host: "wiki.example.com", Admins: true})
	allowMore(c.House, db.AppRule{Host: "photos.example.com", Groups: []string{"family"}})
	allowMore(c.House, db.AppRule{Host: "bank.example.com", Users: []string{"bob"}})
	clients := map[string]*handlerstest.Client{"alice": c.Alice, "bob": c.Bob, "carol": carol}
	allowed := 0
	for username, client := range clients {
		for _, host := range []string{notes, "wiki.example.com", "photos.example.com", "bank.example.com", "example.com", "a.b.example.com"} {
			answer := c.Alice.Page("/admin/apps?person=" + username + "&app=" + host)
			says := strings.Contains(answer.Body, "<strong>Yes.</strong> "+username+" may reach "+host+".")
			if got := forward.ask(client, toNotes.of(host)); (got.Status == 200) != says {
				t.Errorf("%s at %s: the page says %t, the auth check %d", username, host, says, got.Status)
			} else if says {
				allowed++
			} else {
				answer.Has(t, "<strong>No.</strong> "+username+" may not reach "+host+".")
			}
		}
	}
	if allowed != 9 {
		t.Errorf("%d are allowed", allowed)
	}
	c.Exec(`UPDATE users SET disabled = 1 WHERE username = 'bob'`)
	for query, want := range map[string]string{
		"person=Carol&app=Wiki.Example.com:8443": "may not reach wiki.example.com. The account is waiting for approval. " +
			"The rule for wiki.example.com applies.",
		"person=carol&app=photos.example.com": "may reach photos.example.com. The rule for photos.example.com applies.",
		"person=alice&app=photos.example.com": "may not reach photos.example.com. The rules do not allow it.",
		"person=alice&app=example.com":        "No rule applies to the host, so it is open to every approved user.",
		"person=alice&app=notes.example.org":  "Porchlight does not guard that host.</p>",
		"person=bob&app=bank.example.com":     "The account is disabled.",
		"person=nobody&app=bank.example.com":  "There is no user nobody.",
		"person=%3Cb%3E&app=bank.example.com": "There is no user &lt;b&gt;.",
		"person=bob&app=":                     "Enter a host, such as notes.example.com.",
		"app=%3Cb%3E":                         `value="&lt;b&gt;"`,
	} {
		page := c.Alice.Page("/admin/apps?" + query)
		page.Is(t, 200)
		page.Has(t, want)
	}
	c.Alice.Page("/admin/apps?person="+big("a", 300)+"&app="+notes).Is(t, 422)
}

func TestHostsUsedWithoutARule(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	allowMore(c.House, db.AppRule{Host: "wiki.example.com", Everyone: true})
	for _, host := range []string{notes, "wiki.example.com", "photos.example.com"} {
		passes(t, forward.ask(c.Bob, toNotes.of(host)), "bob")
		passes(t, forward.ask(c.Alice, toNotes.of(host)), "alice")
	}
	flush(c.House)
	link := func(host string) string {
		return `<a class="host" href="/admin/apps?host=` + host + `#allow-heading">` + host + `</a>`
	}
	page := c.Alice.Page("/admin/apps")
	page.Has(t, link(notes), link("photos.example.com"))
	page.Lacks(t, link("wiki.example.com"))
	allowMore(c.House, db.AppRule{Host: "*.example.com", Everyone: true})
	c.Alice.Page("/admin/apps").Lacks(t, "Used without a rule")
}

// The list stays short and keeps the refusals of others, however many hosts a client makes up.
func TestRefusalsAreBounded(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t, behindProxy)
	allowMore(c.House, db.AppRule{Host: "*.example.com", Users: []string{"alice"}})
	for i := range 8 {
		name := fmt.Sprint("user", i)
		c.AddUser(name, newPassword)
		client := c.SignIn(name, newPassword, handlerstest.FirefoxOnLinux)
		hosts := 12
		if i == 0 {
			hosts = 1
		}
		for j := range hosts {
			stops(t, forward.ask(client, toNotes.of(fmt.Sprintf("h%d.example.com", j))), 403, "")
		}
		if i == 4 {
			got := refusedOn(c.Alice.Page("/admin/apps"))
			if len(got) != 41 || !strings.HasPrefix(got[40], "user0 at h0.example.com") || !strings.HasPrefix(got[39], "user1 at h2.example.com") {
				t.Errorf("%d refusals: %q", len(got), got)
			}
		}
	}
	if got := refusedOn(c.Alice.Page("/admin/apps")); len(got) != 50 || !strings.HasPrefix(got[0], "user7 at h11.example.com") {
		t.Errorf("%d refusals: %q", len(got), got)
	}
}
