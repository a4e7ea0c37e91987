package notify

import (
	"embed"
	htmltemplate "html/template"
	"strings"
	"text/template"
	"time"
	"unicode"
)

// Message is the content of one message to one person, whichever way it is sent.
type Message struct {
	ID      string // the same in every attempt, so that a mail server can drop the second of two
	At      time.Time
	Subject string
	Site    string // the public address

	// The parts, from top to bottom. Only Text is never empty.
	Text   []string // paragraphs
	Facts  []Fact
	Advice string
	Action *Link
	After  string // explains Action
}

// Fact is a line below the text, such as the device.
type Fact struct{ Name, Value string }

// Link is a link to one of our pages.
type Link struct{ Label, URL string }

//go:embed message.txt message.html
var files embed.FS

var (
	textTemplate = template.Must(template.ParseFS(files, "message.txt"))
	htmlTemplate = htmltemplate.Must(htmltemplate.ParseFS(files, "message.html"))
)

// render returns the two parts of a mail.
func (m Message) render() (text, html string, err error) {
	var plain, rich strings.Builder
	if err := textTemplate.Execute(&plain, m); err != nil {
		return "", "", err
	}
	if err := htmlTemplate.Execute(&rich, m); err != nil {
		return "", "", err
	}
	return plain.String(), rich.String(), nil
}

// summary returns the message without its link, for a notification on a phone.
func (m Message) summary() string {
	lines := append([]string{}, m.Text...)
	for _, fact := range m.Facts {
		lines = append(lines, fact.Name+": "+fact.Value)
	}
	return strings.Join(lines, "\n")
}

// oneLine replaces line breaks and other control characters, and shortens what is too long for a log.
func oneLine(text string) string {
	text = strings.Join(strings.FieldsFunc(text, unicode.IsControl), " ")
	text = strings.ToValidUTF8(text, "�")
	const longest = 300
	if runes := []rune(text); len(runes) > longest {
		text = string(runes[:longest]) + "…"
	}
	return text
}
