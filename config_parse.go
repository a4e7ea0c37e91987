package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"porchlight/db"
)

// This file parses the command line and the environment, and writes the errors about them. kong's own messages describe its parser, so
// they are never shown.

// usageError is a mistake on the command line or in a setting. The exit status is 2.
type usageError struct{ error }

// errPrinted means that the help or the version was printed, and nothing is left to do.
var errPrinted = errors.New("printed")

// parse reads the command line and the environment into c, and checks the settings. The error is a usageError or errPrinted.
func parse(c *commands, args []string, stdout io.Writer) (*kong.Context, error) {
	printed := false
	fromVariable := map[string]bool{} // the flags whose values came from their variables
	variables := func(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
		value := os.Getenv(variableOf(flag.Name))
		if !isSetting(flag) || value == "" {
			return nil, nil
		}
		fromVariable[flag.Name] = true
		return value, nil
	}
	parser, err := newParser(c, kong.Writers(stdout, os.Stderr), kong.Exit(func(int) { printed = true }),
		kong.Resolvers(kong.ResolverFunc(variables)))
	if err != nil {
		return nil, err
	}
	parsed, err := parser.Parse(args)
	if printed {
		return nil, errPrinted
	}
	if err == nil {
		err = checkRepeated(parsed)
	}
	if err == nil {
		err = checkVariables(os.Environ(), parser.Model.Flags)
	}
	if err == nil {
		err = c.check()
	}
	return parsed, explain(err, fromVariable)
}

func newParser(c *commands, options ...kong.Option) (*kong.Kong, error) {
	return kong.New(c, append(options, kong.Name("porchlight"),
		kong.Description("The front door of a self-hosted server: sign in, see the devices that are signed in as you, and sign any of them out."),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}), kong.Help(printHelp), kong.ValueFormatter(describeFlag),
		kong.PostBuild(func(k *kong.Kong) error {
			k.Model.HelpFlag.Help = "Print this help and exit."
			return nil
		}),
		kong.ExplicitGroups([]kong.Group{{Key: "settings", Title: "Settings, each also an environment variable:"}}),
		kong.TypeMapper(reflect.TypeFor[time.Duration](), kong.MapperFunc(readDuration)),
		kong.TypeMapper(reflect.TypeFor[int](), kong.MapperFunc(readCount)),
		kong.Vars{
			"version":             versionText(),
			"idle_timeout":        shortDuration(db.DefaultLimits.IdleTimeout),
			"max_lifetime":        shortDuration(db.DefaultLimits.MaxLifetime),
			"shared_idle_timeout": shortDuration(db.DefaultLimits.SharedIdleTimeout),
			"shared_max_lifetime": shortDuration(db.DefaultLimits.SharedMaxLifetime),
			"max_sessions":        strconv.Itoa(db.DefaultMaxSessions),
			"invitation_lasts":    strconv.Itoa(int(db.InvitationLifetime.Hours())),
		})...)
}

// shortDuration formats a duration without trailing zero units: 336h, not 336h0m0s.
func shortDuration(d time.Duration) string {
	return strings.NewReplacer("h0m0s", "h", "m0s", "m").Replace(d.String())
}

// explain turns an error of kong or of check into a usageError with a message for the user.
func explain(err error, fromVariable map[string]bool) error {
	var failed *kong.ParseError
	var bad badSetting
	if errors.As(err, new(usageError)) {
		return err
	}
	if errors.As(err, &failed) && !errors.As(err, &bad) {
		err = explainCommandLine(failed.Context)
	}
	if errors.As(err, &bad) {
		source := "--" + bad.flag
		if fromVariable[bad.flag] {
			source = variableOf(bad.flag)
		}
		return usageErrorf("%s %s: %s", source, orQuotes(bad.value), bad.advice)
	}
	return err
}

// usageErrorf returns a usageError without line breaks and control characters, because the arguments may come from somebody else.
func usageErrorf(format string, args ...any) error {
	return usageError{errors.New(printable(fmt.Sprintf(format, args...)))}
}

// orQuotes returns "" in quotes if the text is empty.
func orQuotes(text string) string {
	if text == "" {
		return `""`
	}
	return text
}

// isSetting reports whether a flag is a setting, which is also an environment variable.
func isSetting(flag *kong.Flag) bool { return flag.Group != nil && flag.Group.Key == "settings" }

// variableOf returns the environment variable of a setting: PORCHLIGHT_COOKIE_DOMAIN for cookie-domain.
func variableOf(flag string) string {
	return variablePrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

const variablePrefix = "PORCHLIGHT_"

// checkVariables rejects variables that look like settings but are not. A misspelt name would leave the setting at its default, which may
// be less strict. An empty variable counts as unset.
func checkVariables(environment []string, flags []*kong.Flag) error {
	var known []string
	for _, flag := range flags {
		if isSetting(flag) {
			known = append(known, strings.TrimPrefix(variableOf(flag.Name), variablePrefix))
		}
	}
	for _, variable := range slices.Sorted(slices.Values(environment)) {
		name, value, _ := strings.Cut(variable, "=")
		name, ours := strings.CutPrefix(name, variablePrefix)
		if !ours || value == "" || slices.Contains(known, name) {
			continue
		}
		advice := "see porchlight --help"
		if near := nearest(name, known); near != "" {
			advice = "did you mean " + variablePrefix + near + "?"
		}
		return usageErrorf("the variable %s%s is not a setting; %s", variablePrefix, name, advice)
	}
	return nil
}

// checkRepeated rejects a command's flag that was given twice, because kong ignores the first: "session revoke --user a --user b"
// would not end a's sessions. A setting may be given twice, so that scripts that wrap the program can override it: the last one counts.
func checkRepeated(parsed *kong.Context) error {
	seen := map[string]bool{}
	for _, path := range parsed.Path {
		flag := path.Flag
		if flag == nil || isSetting(flag) || flag.IsCumulative() {
			continue
		}
		if seen[flag.Name] {
			return usageErrorf("--%s was given twice", flag.Name)
		}
		seen[flag.Name] = true
	}
	return nil
}

// explainCommandLine says why kong could not parse the command line.
func explainCommandLine(ctx *kong.Context) error {
	node := ctx.Selected()
	if node == nil {
		node = ctx.Model.Node
	}
	command := strings.TrimSpace("porchlight " + node.Path())
	if ctx.Error != nil {
		return explainWord(node, command, ctx.Path[len(ctx.Path)-1].Remainder())
	}
	if len(node.Children) > 0 {
		return usageErrorf("%s needs a command: %s", command, strings.Join(childNames(node), ", "))
	}
	for _, argument := range node.Positional {
		if argument.Required && !argument.Set {
			return usageErrorf("%s: %s is missing; see %s --help", command, strings.ToUpper(argument.Name), command)
		}
	}
	for _, flag := range ctx.Flags() {
		if value := fmt.Sprint(flag.Target.Interface()); flag.Enum != "" && !slices.Contains(flag.EnumSlice(), value) {
			return badSetting{flag.Name, value, "give " + orList(flag.EnumSlice())}
		}
	}
	return usageErrorf("%s: wrong usage; see %s --help", command, command)
}

// orList returns "a, b or c".
func orList(words []string) string {
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// explainWord says what is wrong with the first of words, at which kong stopped.
func explainWord(node *kong.Node, command string, words []string) error {
	word := words[0]
	if word == "--" && len(words) > 1 {
		word = words[1]
	} else if strings.HasPrefix(word, "-") && word != "-" {
		return explainFlag(node, command, word, words[1:])
	}
	if len(node.Children) == 0 {
		return usageErrorf("%s: too many arguments, beginning with %s; see %s --help", command, orQuotes(word), command)
	}
	advice := "see " + command + " --help"
	if near := nearest(word, childNames(node)); near != "" {
		advice = "did you mean " + near + "?"
	}
	return usageErrorf("%s has no command %s; %s", command, orQuotes(word), advice)
}

// explainFlag says what is wrong with a word that looks like a flag. following holds the words after it.
func explainFlag(node *kong.Node, command, word string, following []string) error {
	given, _, hasValue := strings.Cut(word, "=")
	var known []string
	for _, flags := range node.AllFlags(true) {
		for _, flag := range flags {
			known = append(known, flag.Name)
			switch {
			case given != "--"+flag.Name:
			case flag.IsBool():
				return usageErrorf("%s: give true or false, or omit the value", word)
			case !hasValue && len(following) > 0: // the value looks like a flag
				return usageErrorf("%s needs a value; if %s is the value, write %s=%s", given, following[0], given, following[0])
			default:
				return usageErrorf("%s needs a value", given)
			}
		}
	}
	advice := "see " + command + " --help"
	if near := nearest(strings.TrimLeft(given, "-"), known); near != "" {
		advice = "did you mean --" + near + "?"
	}
	return usageErrorf("%s has no flag %s; %s", command, given, advice)
}

func childNames(node *kong.Node) (names []string) {
	for _, child := range node.Children {
		names = append(names, child.Name)
	}
	return names
}

// nearest returns the name that is most similar to the word, or "" if none is similar enough. It compares the number of letters that both
// contain in the same order with their lengths.
func nearest(word string, names []string) (best string) {
	most := 0.6
	for _, name := range names {
		if alike := 2 * float64(commonLetters(word, name)) / float64(len(word)+len(name)); alike > most {
			best, most = name, alike
		}
	}
	return best
}

// commonLetters returns the length of the longest common subsequence.
func commonLetters(a, b string) int {
	row := make([]int, len(b)+1)
	for i := range len(a) {
		diagonal := 0
		for j := range len(b) {
			above := row[j+1]
			if a[i] == b[j] {
				row[j+1] = diagonal + 1
			} else {
				row[j+1] = max(above, row[j])
			}
			diagonal = above
		}
	}
	return row[len(b)]
}

// printHelp prints the help of a command. Every command accepts every setting, but only these four use more than two or three.
func printHelp(options kong.HelpOptions, ctx *kong.Context) error {
	command := ctx.Selected()
	if command == nil || slices.Contains([]string{"serve", "demo", "doctor", "healthcheck"}, command.Name) {
		return kong.DefaultHelpPrinter(options, ctx)
	}
	for _, flag := range ctx.Model.Flags {
		flag.Hidden = flag.Hidden || isSetting(flag) && flag.Name != "data" && flag.Name != "url"
	}
	if err := kong.DefaultHelpPrinter(options, ctx); err != nil {
		return err
	}
	_, err := fmt.Fprintln(ctx.Stdout, "\nThis command accepts the other settings too: see porchlight serve --help.")
	return err
}

// describeFlag returns the help of a flag. For a setting, that includes the default and the variable.
func describeFlag(value *kong.Value) string {
	if value.Flag == nil || !isSetting(value.Flag) {
		return value.Help
	}
	text := value.Help
	if value.HasDefault {
		text += " Default: " + value.Default + "."
	}
	return text + " [" + variableOf(value.Name) + "]"
}

// readDuration is kong's mapper for durations. It accepts what time.ParseDuration accepts, optionally after a number of days: 14d, 1d12h.
func readDuration(ctx *kong.DecodeContext, target reflect.Value) error {
	var text string
	if err := ctx.Scan.PopValueInto("duration", &text); err != nil {
		return err
	}
	d, err := parseDuration(text)
	if err != nil || d < time.Millisecond {
		return badSetting{ctx.Value.Name, text, "give a duration from 1ms to 106751d, such as 30m, 12h or 14d"}
	}
	target.SetInt(int64(d))
	return nil
}

func parseDuration(text string) (time.Duration, error) {
	days, rest, hasDays := strings.Cut(text, "d")
	if !hasDays {
		return time.ParseDuration(text)
	}
	const maxDays = int(1<<63-1) / int(24*time.Hour)
	n, err := strconv.ParseUint(days, 10, 64)
	if err != nil || n > uint64(maxDays) || strings.HasPrefix(rest, "-") || strings.HasPrefix(rest, "+") {
		return 0, fmt.Errorf("%s is not a duration", text)
	}
	d := time.Duration(n) * 24 * time.Hour
	if rest == "" {
		return d, nil
	}
	more, err := time.ParseDuration(rest)
	return d + more, err // negative if the sum overflows
}

// readCount is kong's mapper for ints, all of which must be positive.
func readCount(ctx *kong.DecodeContext, target reflect.Value) error {
	var text string
	if err := ctx.Scan.PopValueInto("number", &text); err != nil {
		return err
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return badSetting{ctx.Value.Name, text, "give a whole number of at least 1"}
	}
	target.SetInt(int64(n))
	return nil
}
