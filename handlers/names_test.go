package handlers_test

import (
	"encoding/json"
	"fmt"
	"html"
	"strings"
	"testing"
)

// This file owns the names that people give to their devices.

func TestNames(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	path := "/sessions/" + c.alicePhone.id + "/name"
	for name, test := range map[string]struct {
		typed, kept string
		status      int
	}{
		"plain":              {"Kitchen tablet", "Kitchen tablet", 303},
		"trimmed":            {"  Kitchen  tablet\n", "Kitchen  tablet", 303},
		"60 letters":         {big("ä", 60), big("ä", 60), 303},
		"60 emoji":           {big("🏮", 60), big("🏮", 60), 303},
		"60 and spaces":      {" " + big("x", 60) + " ", big("x", 60), 303},
		"61 letters":         {big("ä", 61), "", 422},
		"very long":          {big("x", 60000), "", 422},
		"empty":              {"", "", 303},
		"spaces":             {" \t\r\n ", "", 303},
		"control characters": {"a\x00b\x1bc\x7fd\u2028e\r\nf", "a b c d e  f", 303},
		"markup":             {`<b onclick="x">&amp;`, `<b onclick="x">&amp;`, 303},
		"not UTF-8":          {"a\xff", "a\ufffd", 303},
	} {
		t.Run(name, func(t *testing.T) {
			c.exec(`UPDATE sessions SET given_name = 'before' WHERE id = ?`, c.alicePhone.id)
			got := c.alice.form(path, "name", test.typed)
			got.is(t, test.status)
			want := test.kept
			if test.status == 422 {
				want = "before"
				got.has(t, "A name has at most 60 characters.")
			} else {
				got.is(t, 303, "/sessions?done=named")
			}
			if kept := c.only(`SELECT given_name FROM sessions WHERE id = ?`, c.alicePhone.id); kept != want {
				t.Errorf("kept %q, want %q", kept, want)
			}
		})
	}
	got := c.alice.htmx("POST", path, "name", "Kitchen tablet")
	got.is(t, 200)
	got.has(t, `<section id="sessions"`, `id="status" hx-swap-oob="innerHTML">The name was changed.`, "<h3><bdi>Kitchen tablet</bdi></h3>")
	got = c.alice.htmx("POST", path, "name", big("x", 61))
	got.is(t, 422)
	got.has(t, `id="status"`, "A name has at most 60 characters.")
	got.lacks(t, "<section")
	c.alice.htmx("DELETE", "/sessions/"+c.alicePhone.id).has(t, "Signed out Kitchen tablet, 127.0.0.1.")

	got = c.alice.htmx("POST", path, "name", "Gone")
	got.is(t, 200)
	got.has(t, "That device was already signed out.")
	c.alice.form("/sessions/"+c.alice.id+"/name", "name", "This one").is(t, 303, "/sessions?done=named")
	c.alice.page("/sessions").has(t, "<bdi>This one</bdi>")
	c.alice.htmx("POST", "/sessions/"+c.alice.id+"/name", "name", "").has(t, "<bdi>Firefox on Linux</bdi>")
	if n := c.only(`SELECT COUNT(*) FROM activity WHERE kind = 'renamed' AND session_id = ?`, c.alice.id); n != "2" {
		t.Errorf("%s renamings are recorded", n)
	}
}

// invisible are names of which nothing can be seen: two rows of the list would look the same, or like a name that the browser gave.
var invisible = []string{
	"\u200b", "\u200b\u200c\u200d\u2060\ufeff", " \u200b ", "\u00ad", "\u034f", "\u061c", "\u180e",
	"\u200e\u200f", "\u202a\u202b\u202c\u202d\u202e", "\u2066\u2067\u2068\u2069", "\u206a\u206f", "\u2061\u2062\u2063\u2064",
	"\u3164", "\u115f\u1160", "\uffa0", "\u3164 \u3164", "\u2800", "\u2800\u2800",
	"\ufe0f", "\ufe00", "\U000e0100", "\U000e0041\U000e007f", "\u180b", "\u17b4\u17b5",
	"\u0301", "\u20e3", "\u0488", "\u0903", "\ufff9\ufffa\ufffb", "\ufffc", "\U0001d159", "\U0001d173", "\U00013441", "\U00016fe4",
	"\ue000", "\U0010fffd", "\u0378", "\U000e0000", "\u00a0\u200b\u3000",
}

func TestInvisibleNames(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	const reason = "A name needs at least one character that can be seen."
	check := c.unchanged()
	for _, name := range invisible {
		t.Run(fmt.Sprintf("%+q", name), func(t *testing.T) {
			typed, err := json.Marshal(name)
			if err != nil {
				t.Fatal(err)
			}
			c.alice.api("PATCH", "/me/sessions/"+c.alicePhone.id, `{"name":`+string(typed)+`}`).isJSON(t, 422, `{"error":"`+reason+`"}`)
			got := c.alice.htmx("POST", "/sessions/"+c.alicePhone.id+"/name", "name", name)
			got.is(t, 422)
			got.has(t, `id="status"`, reason)
			got = c.alice.form("/sessions/"+c.alicePhone.id+"/name", "name", name)
			got.is(t, 422)
			got.has(t, reason)
		})
	}
	check(t)
	for _, name := range []string{"a\u200b", "\u200fמטבח", "e\u0301", "👩\u200d🚀", "❤\ufe0f", "한", "ㅤ가", "⠁", "~", "…", "½", "🏮",
		"\u0e01\u0e33", "a\u202eb", "\ufffd"} {
		c.alice.form("/sessions/"+c.alicePhone.id+"/name", "name", name).is(t, 303, "/sessions?done=named")
		if kept := c.only(`SELECT given_name FROM sessions WHERE id = ?`, c.alicePhone.id); kept != name {
			t.Errorf("%+q is kept as %+q", name, kept)
		}
	}
	for _, spaces := range []string{" ", "\u00a0\u2003\u3000", "\t\u2028\x00"} {
		c.alice.form("/sessions/"+c.alicePhone.id+"/name", "name", spaces).is(t, 303, "/sessions?done=named")
		if kept := c.only(`SELECT given_name FROM sessions WHERE id = ?`, c.alicePhone.id); kept != "" {
			t.Errorf("%+q is kept as %+q", spaces, kept)
		}
	}
}

// A plain form gets its page again: the reason stands beside the field, and what was typed is still in it.
func TestRefusedNameStaysInItsField(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	for _, id := range []string{c.alicePhone.id, c.alice.id} {
		for _, typed := range []string{big("x", 61), `"><img src=x> ` + big("y", 60), "\u3164"} {
			got := c.alice.form("/sessions/"+id+"/name", "name", typed)
			got.is(t, 422)
			got.has(t, `<details id="details-`+id+`" open>`, `<p class="error" id="name-`+id+`-error">A name `,
				`value="`+html.EscapeString(typed)+`"`, `aria-invalid="true" aria-describedby="name-`+id+`-error" autofocus`)
			if strings.Count(got.body, "aria-invalid") != 1 {
				t.Error("another field is marked, too")
			}
			c.alice.page("/sessions").lacks(t, "aria-invalid", html.EscapeString(typed))
		}
	}
	for _, id := range []string{c.bob.id, "AAAAAAAAAAAAAAAAAAAAAAAAAA"} {
		got := c.alice.form("/sessions/"+id+"/name", "name", "\u3164")
		got.is(t, 422)
		got.lacks(t, id, "aria-invalid")
	}
}
