package main

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"

	"github.com/alecthomas/kong"
)

// This file prints the tables of docs/settings.md and docs/commands.md, so that they say what --help says.

type docsCommand struct {
	Table string `arg:"" enum:"settings,commands" help:"Which table to print: settings or commands."`
}

func (d *docsCommand) Run(e *environment) error {
	parser, err := newParser(new(commands))
	if err != nil {
		return err
	}
	table := settingsTable(parser.Model)
	if d.Table == "commands" {
		table = commandsTable(parser.Model)
	}
	_, err = fmt.Fprint(e.stdout, table)
	return err
}

// settingsTable returns a Markdown table with a row for each setting.
func settingsTable(app *kong.Application) string {
	table := "| flag | variable | default | meaning |\n| --- | --- | --- | --- |\n"
	for _, flag := range app.Flags {
		if !isSetting(flag) {
			continue
		}
		meaning, standard, _ := strings.Cut(flag.Help, " Default: ")
		standard = markCode(strings.TrimSuffix(standard, "."))
		if flag.HasDefault {
			standard = "`" + flag.Default + "`"
		}
		meaning = markCode(meaning)
		if flag.Enum != "" {
			meaning += " One of `" + strings.Join(flag.EnumSlice(), "`, `") + "`."
		}
		table += fmt.Sprintf("| `--%s` | `%s` | %s | %s |\n", flag.Name, variableOf(flag.Name), standard, meaning)
	}
	return table
}

// commandsTable returns a Markdown table with a row for each command that is not hidden.
func commandsTable(app *kong.Application) string {
	table := "| command | does |\n| --- | --- |\n"
	for _, node := range app.Leaves(true) {
		usage, help := "porchlight "+node.Path(), []string{markCode(node.Help)}
		if node == node.Parent.DefaultCmd {
			usage = "porchlight [" + node.Path() + "]"
		}
		for _, argument := range node.Positional {
			name := strings.ToUpper(argument.Name)
			help = append(help, "`"+name+"`: "+markCode(argument.Help))
			if argument.IsCumulative() {
				name += "…"
			}
			if !argument.Required {
				name = "[" + name + "]"
			}
			usage += " " + name
		}
		for _, flag := range node.Flags {
			if flag.Hidden {
				continue
			}
			usage += " " + flagUsage(flag)
			help = append(help, "`--"+flag.Name+"`: "+markCode(flag.Help))
		}
		table += fmt.Sprintf("| `%s` | %s |\n", usage, strings.Join(help, "<br>"))
	}
	return table
}

// flagUsage returns a flag as a usage line shows it, such as [--email E].
func flagUsage(flag *kong.Flag) string {
	switch {
	case flag.Tag.Negatable != "":
		return "[--[no-]" + flag.Name + "]"
	case flag.IsBool():
		return "[--" + flag.Name + "]"
	case flag.IsCumulative():
		return "[--" + flag.Name + " " + flag.PlaceHolder + "]…"
	}
	return "[--" + flag.Name + " " + cmp.Or(flag.PlaceHolder, strings.ToUpper(flag.Name)) + "]"
}

var codeWords = regexp.MustCompile(`(^|[ (])((?:--|[a-z+]+://|\*\.|/)[\w.:/@+-]*\w)`)

// markCode marks the flags, addresses and paths in a help text as code.
func markCode(help string) string { return codeWords.ReplaceAllString(help, "$1`$2`") }
