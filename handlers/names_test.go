package handlers_test

import (
	"encoding/json"
	"fmt"
	"html"
	"strings"
	"testing"

	"porchlight/handlers/handlerstest"
)

// This file tests the names that people give to their devices.

func TestNames(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	path := "/sessions/" + c.AlicePhone.ID + "/name"
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
			c.Exec(`UPDATE sessions SET custom_name = 'before' WHERE id = ?`, c.AlicePhone.ID)
			got := c.Alice.Form(path, "name", test.typed)
			got.Is(t, test.status)
			want := test.kept
			if test.status == 422 {
				want = "before"
				got.Has(t, "A name can have at most 60 characters.")
			} else {
				got.Is(t, 303, "/sessions?done=named")
			}
			if kept := c.Only(`SELECT custom_name FROM sessions WHERE id = ?`, c.AlicePhone.ID); kept != want {
				t.Errorf("stored %q, want %q", kept, want)
			}
		})
	}
	got := c.Alice.HTMX("POST", path, "name", "Kitchen tablet")
	got.Is(t, 200)
	got.Has(t, `<section id="sessions"`, `id="status" hx-swap-oob="innerHTML"><p>The name was changed.`,
		`<h3 tabindex="-1"><bdi>Kitchen tablet</bdi></h3>`)
	got = c.Alice.HTMX("POST", path, "name", big("x", 61))
	got.Is(t, 422)
	got.Has(t, `id="status"`, "A name can have at most 60 characters.")
	got.Lacks(t, "<section")
	c.Alice.HTMX("DELETE", "/sessions/"+c.AlicePhone.ID).Has(t, "Signed out Kitchen tablet, 127.0.0.1.")

	got = c.Alice.HTMX("POST", path, "name", "Gone")
	got.Is(t, 200)
	got.Has(t, "That device was already signed out.")
	c.Alice.Form("/sessions/"+c.Alice.ID+"/name", "name", "This one").Is(t, 303, "/sessions?done=named")
	c.Alice.Page("/sessions").Has(t, "<bdi>This one</bdi>")
	c.Alice.HTMX("POST", "/sessions/"+c.Alice.ID+"/name", "name", "").Has(t, "<bdi>Firefox on Linux</bdi>")
	if n := c.Only(`SELECT COUNT(*) FROM activity WHERE kind = 'renamed' AND session_id = ?`, c.Alice.ID); n != "2" {
		t.Errorf("%s renamings are recorded", n)
	}
}

// invisible has names without a visible character. With them, two rows of the list would look the same, or like a detected name.
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
	c := handlerstest.OpenCast(t)
	const reason = "A name needs at least one visible character."
	check := c.Unchanged()
	for _, name := range invisible {
		t.Run(fmt.Sprintf("%+q", name), func(t *testing.T) {
			typed, err := json.Marshal(name)
			if err != nil {
				t.Fatal(err)
			}
			isJSON(t, c.Alice.API("PATCH", "/me/sessions/"+c.AlicePhone.ID, `{"name":`+string(typed)+`}`), 422, `{"error":"`+reason+`"}`)
			got := c.Alice.HTMX("POST", "/sessions/"+c.AlicePhone.ID+"/name", "name", name)
			got.Is(t, 422)
			got.Has(t, `id="status"`, reason)
			got = c.Alice.Form("/sessions/"+c.AlicePhone.ID+"/name", "name", name)
			got.Is(t, 422)
			got.Has(t, reason)
		})
	}
	check(t)
	for _, name := range []string{
		"a\u200b", "\u200fמטבח", "e\u0301", "👩\u200d🚀", "❤\ufe0f", "한", "ㅤ가", "⠁", "~", "…", "½", "🏮",
		"\u0e01\u0e33", "a\u202eb", "\ufffd",
	} {
		c.Alice.Form("/sessions/"+c.AlicePhone.ID+"/name", "name", name).Is(t, 303, "/sessions?done=named")
		if kept := c.Only(`SELECT custom_name FROM sessions WHERE id = ?`, c.AlicePhone.ID); kept != name {
			t.Errorf("%+q is stored as %+q", name, kept)
		}
	}
	for _, spaces := range []string{" ", "\u00a0\u2003\u3000", "\t\u2028\x00"} {
		c.Alice.Form("/sessions/"+c.AlicePhone.ID+"/name", "name", spaces).Is(t, 303, "/sessions?done=named")
		if kept := c.Only(`SELECT custom_name FROM sessions WHERE id = ?`, c.AlicePhone.ID); kept != "" {
			t.Errorf("%+q is stored as %+q", spaces, kept)
		}
	}
}

// A plain form is shown again, with the error beside the field and the typed text in it.
func TestRefusedNameStaysInItsField(t *testing.T) {
	t.Parallel()
	c := handlerstest.OpenCast(t)
	for _, id := range []string{c.AlicePhone.ID, c.Alice.ID} {
		for _, typed := range []string{big("x", 61), `"><img src=x> ` + big("y", 60), "\u3164"} {
			got := c.Alice.Form("/sessions/"+id+"/name", "name", typed)
			got.Is(t, 422)
			got.Has(t, `<details id="details-`+id+`" open>`, `<p class="error" id="name-`+id+`-error">A name `,
				`value="`+html.EscapeString(typed)+`"`, `aria-invalid="true" aria-describedby="name-`+id+`-error" autofocus`)
			if strings.Count(got.Body, "aria-invalid") != 1 {
				t.Error("another field is also marked")
			}
			c.Alice.Page("/sessions").Lacks(t, "aria-invalid", html.EscapeString(typed))
		}
	}
	for _, id := range []string{c.Bob.ID, "AAAAAAAAAAAAAAAAAAAAAAAAAA"} {
		got := c.Alice.Form("/sessions/"+id+"/name", "name", "\u3164")
		got.Is(t, 422)
		got.Lacks(t, id, "aria-invalid")
	}
}
