package handlers

import (
	"fmt"
	"mime"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"
	"golang.org/x/text/unicode/rangetable"
)

// form holds the errors that a page shows above the fields of a form.
type form struct {
	Error   string   // one message for the whole form
	Invalid []*field // the fields that have an error of their own
}

// field is one labelled input. views/forms/_field.html renders it, with the label and the hint for its kind.
type field struct {
	Kind      string // one of those in views/forms/_label.html, such as new-password
	Name      string
	Value     string // what was typed; never a password
	Error     string
	Autofocus bool
}

// mark shows each reason, by the name of its field, beside that field.
func (f *form) mark(reasons map[string]string, fields ...*field) {
	for _, field := range fields {
		field.Autofocus = false // the summary takes the focus
		if field.Error = reasons[field.Name]; field.Error != "" {
			f.Invalid = append(f.Invalid, field)
		}
	}
}

// refuse shows a page with a form again, with status 422. The page holds what was typed and what is wrong with it.
func refuse(c *fiber.Ctx, view string, p interface{ setError() }) error {
	p.setError()
	return c.Status(fiber.StatusUnprocessableEntity).Render(view, p)
}

// formBody is the body of a plain form. The query is not read, because secrets must not be in a URL.
type formBody struct{ args *fasthttp.Args }

// withForm turns a function that takes a form into a handler.
func withForm(handle func(*fiber.Ctx, formBody) error) fiber.Handler {
	return func(c *fiber.Ctx) error {
		body, err := readForm(c)
		if err != nil {
			return err
		}
		return handle(c, body)
	}
}

func readForm(c *fiber.Ctx) (formBody, error) {
	if kind, _, _ := mime.ParseMediaType(c.Get(fiber.HeaderContentType)); len(c.Body()) > 0 && kind != fiber.MIMEApplicationForm {
		return formBody{}, problem{fiber.StatusUnsupportedMediaType, "Send a form as application/x-www-form-urlencoded."}
	}
	args := new(fasthttp.Args) // the request's PostArgs are empty unless the Content-Type is in lower case
	args.ParseBytes(c.Body())
	return formBody{args}, nil
}

func (b formBody) get(name string) string {
	return strings.ToValidUTF8(string(b.args.Peek(name)), "\ufffd")
}

// getAll returns every value of a field that may be repeated.
func (b formBody) getAll(name string) (values []string) {
	for _, value := range b.args.PeekMulti(name) {
		values = append(values, strings.ToValidUTF8(string(value), "\ufffd"))
	}
	return values
}

// secret returns a value exactly as it was typed. An invalid password must be refused, not repaired.
func (b formBody) secret(name string) string { return string(b.args.Peek(name)) }

func (b formBody) has(name string) bool { return len(b.args.Peek(name)) > 0 }

// sent reports whether the form has the field, even if it is empty.
func (b formBody) sent(name string) bool { return b.args.Has(name) }

// maxNameLength is how many characters the name of a device may have at most.
const maxNameLength = 60

// checkName returns the name that a user gives to a device, with control characters and line breaks as spaces, and trimmed. "" clears
// the name. If the name is too long or has no visible character, checkName returns a problem.
func checkName(name string) (string, error) {
	name = strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(name, "\ufffd")))
	switch {
	case utf8.RuneCountInString(name) > maxNameLength:
		return "", problem{fiber.StatusUnprocessableEntity, fmt.Sprintf("A name can have at most %d characters.", maxNameLength)}
	case name != "" && !strings.ContainsFunc(name, isVisible):
		return "", problem{fiber.StatusUnprocessableEntity, "A name needs at least one visible character."}
	}
	return name, nil
}

// isVisible reports whether a character can be seen on its own. Combining marks need another character, and format, unassigned and
// private-use characters do not look the same everywhere.
func isVisible(r rune) bool {
	return unicode.In(r, unicode.L, unicode.N, unicode.P, unicode.S) && !unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, blank)
}

// blank holds the letters and symbols that look like nothing, other than those that Unicode says can be ignored.
var blank = rangetable.New(
	'\u2800',                   // Braille pattern without dots
	'\ufffc',                   // object replacement character
	'\U00013441', '\U00013442', // Egyptian blanks
	'\U0001d159', // musical null note head
)
