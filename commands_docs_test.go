package main

import (
	"regexp"
	"strings"
	"testing"
)

// The printed tables have a row for each setting and each command, with flags, paths and addresses marked as code.
func TestDocsCommand(t *testing.T) {
	t.Parallel()
	app := model(t)
	settings, commands := mustRun(t, "", "docs", "settings"), mustRun(t, "", "docs", "commands")
	for _, flag := range app.Flags {
		if row := "| `--" + flag.Name + "` | `" + variableOf(flag.Name) + "` | "; strings.Contains(settings, row) != isSetting(flag) {
			t.Errorf("%s is a setting: %t, but the table says otherwise", flag.Name, isSetting(flag))
		}
	}
	for _, node := range app.Leaves(false) {
		row := regexp.MustCompile("(?m)^\\| `porchlight \\[?" + node.Path() + "[\\] `]")
		if row.MatchString(commands) == node.Hidden {
			t.Errorf("%s is hidden: %t, but the table says otherwise", node.Path(), node.Hidden)
		}
	}
	for _, want := range []string{
		"| `--idle-timeout` | `PORCHLIGHT_IDLE_TIMEOUT` | `336h` | A session ends after it has been unused for this long. 336h is 14 days. |\n",
		"| `--log-format` | `PORCHLIGHT_LOG_FORMAT` | `text` | Format of the log on standard error. One of `text`, `json`. |\n",
		"| `http://localhost`, with the port of `--listen` | The public address;",
		"| `porchlight [serve]` |",
		"| `porchlight user set NAME [--approve] [--[no-]admin] [--email E]",
		"| `porchlight session revoke [ID…] [--user NAME] [--all]` |",
		"| `porchlight app allow HOST [--user NAME]… ",
		"<br>`--since`: Print only what happened within this time.",
	} {
		if !strings.Contains(settings+commands, want) {
			t.Errorf("the tables do not contain %q", want)
		}
	}
	if strings.Contains(commands, "porchlight docs") {
		t.Error("the command docs is not hidden")
	}
	_, err := command(t, "", "docs", "routes")
	wantError(t, err, 2)
}
