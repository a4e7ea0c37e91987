package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/alecthomas/kong"

	"porchlight/db"
	"porchlight/handlers"
)

// commands is the command line: the settings, and every command.
type commands struct {
	settings    `group:"settings"`
	VersionFlag kong.VersionFlag `name:"version" help:"Print the version and exit."`

	Serve    serveCommand    `cmd:"" default:"1" help:"Run the server. This is the default command."`
	User     userCommand     `cmd:"" help:"Manage the accounts."`
	Session  sessionCommand  `cmd:"" help:"List and end sessions."`
	Activity activityCommand `cmd:"" help:"Print what happened to the accounts, oldest first."`
	App      appCommand      `cmd:"" help:"Set who may reach which guarded host."`

	Backup      backupCommand      `cmd:"" help:"Write a consistent copy of the database to a new file, while the server runs."`
	Restore     restoreCommand     `cmd:"" help:"Restore a backup into an empty data folder, and end every session in it."`
	Healthcheck healthcheckCommand `cmd:"" help:"Check that the server at --listen is healthy. Use it as the health check of a container."`
	Doctor      doctorCommand      `cmd:"" help:"Check the installation, and say what to fix."`
	Demo        demoCommand        `cmd:"" help:"Serve a throw-away database with three people, their devices, apps and activity, to look around."`
	Version     versionCommand     `cmd:"" help:"Print the version and commit, and the versions of Go and SQLite."`
	Help        helpCommand        `cmd:"" help:"Print this help, or the help of a command."`
	Docs        docsCommand        `cmd:"" hidden:"" help:"Print a table of the documentation, in Markdown."`
}

type serveCommand struct {
	Views string `hidden:"" placeholder:"FOLDER" help:"Read views/ and public/ from this folder for each request, while you work on them."`
}

func (s *serveCommand) Run(e *environment) error { return serve(e, s.Views) }

type sessionCommand struct {
	List   sessionListCommand   `cmd:"" help:"List the live sessions."`
	Revoke sessionRevokeCommand `cmd:"" help:"End sessions. A running server refuses them at once."`
}

type sessionListCommand struct {
	User *string `placeholder:"NAME" help:"List only the sessions of this user."`
	JSON bool    `help:"Print JSON."`
}

func (l *sessionListCommand) Run(e *environment) error {
	if blank(l.User) {
		return usageError{errors.New("session list: --user needs a name")}
	}
	user := ""
	if l.User != nil {
		user = *l.User
	}
	return e.withStore(func(store *db.Store) error {
		sessions, err := store.AllSessions(user)
		if errors.Is(err, db.ErrNotFound) {
			return fmt.Errorf("there is no user %s", printable(user))
		}
		if err != nil {
			return err
		}
		rows := []handlers.SessionJSON{}
		for _, session := range sessions {
			row := handlers.NewSessionJSON(session)
			row.Username = session.Username
			rows = append(rows, row)
		}
		if l.JSON {
			return printJSON(e.stdout, rows)
		}
		return printTable(e.stdout, "ID\tUSERNAME\tKIND\tDEVICE\tBROWSER\tIP\tLAST ACTIVE\tSIGNED IN\tEXPIRES", len(rows), func(i int) []any {
			r, expires := rows[i], "never"
			if r.ExpiresAt != nil {
				expires = *r.ExpiresAt
			}
			return []any{r.ID, r.Username, r.Kind, r.DeviceName, r.Browser, r.IP, r.LastActiveAt, r.CreatedAt, expires}
		})
	})
}

type sessionRevokeCommand struct {
	IDs  []string `arg:"" optional:"" name:"id" help:"Session ids, as printed by session list."`
	User *string  `placeholder:"NAME" help:"End every session of this user."`
	All  bool     `help:"End every session of every user."`
}

func (r *sessionRevokeCommand) Run(e *environment) error {
	ways := 0
	for _, given := range []bool{len(r.IDs) > 0, r.User != nil, r.All} {
		if given {
			ways++
		}
	}
	if ways != 1 || blank(r.User) {
		return usageError{errors.New("session revoke: give either session ids, --user NAME or --all")}
	}
	return e.withStore(func(store *db.Store) error {
		if len(r.IDs) > 0 {
			return r.revokeEach(e, store)
		}
		var count int
		var err error
		if r.All {
			count, err = store.RevokeAll(e.ctx, db.CommandLine)
		} else {
			count, err = store.RevokeUser(e.ctx, db.CommandLine, *r.User)
		}
		if errors.Is(err, db.ErrNotFound) {
			return fmt.Errorf("there is no user %s", printable(*r.User))
		}
		if err != nil && count > 0 {
			return fmt.Errorf("ended %d %s, but not all; repeat the command: %w", count, plural(count, "session"), err)
		}
		if err == nil {
			fmt.Fprintf(e.stdout, "Ended %d %s.\n", count, plural(count, "session"))
		}
		return err
	})
}

// blank reports whether a name was given but is empty, for example because a script's variable is unset. It must not mean every user.
func blank(name *string) bool { return name != nil && isBlank(*name) }

func isBlank(name string) bool { return strings.TrimSpace(name) == "" }

// revokeEach ends the sessions one by one. At the end it returns an error with the ids that no live session has.
func (r *sessionRevokeCommand) revokeEach(e *environment, store *db.Store) error {
	var unknown []string
	for _, id := range r.IDs {
		ended, err := store.RevokeSession(e.ctx, db.CommandLine, 0, id)
		switch {
		case errors.Is(err, db.ErrNotFound):
			unknown = append(unknown, printable(id))
		case err != nil:
			return err
		default:
			fmt.Fprintf(e.stdout, "Ended %s (%s, %s).\n", ended.ID, printable(ended.DeviceName), ended.IP)
		}
	}
	if len(unknown) > 0 {
		return fmt.Errorf("no live session has the id %s", strings.Join(unknown, ", "))
	}
	return nil
}

type healthcheckCommand struct{}

// healthcheckWait is how long the server may take to answer.
const healthcheckWait = 3 * time.Second

func (*healthcheckCommand) Run(e *environment) error {
	host, port, _ := net.SplitHostPort(e.settings.Listen)
	if address, err := netip.ParseAddr(host); err == nil && address.IsUnspecified() && address.Is6() {
		host = "::1"
	} else if host == "" || (err == nil && address.IsUnspecified()) {
		host = "127.0.0.1" // it listens on every address; localhost needs /etc/hosts, which containers may lack
	}
	client := &http.Client{Timeout: healthcheckWait}
	response, err := client.Get("http://" + net.JoinHostPort(host, port) + "/healthz")
	if err != nil {
		return fmt.Errorf("the server does not answer: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the server is not healthy: %s", response.Status)
	}
	return nil
}

type versionCommand struct{}

func (*versionCommand) Run(e *environment) error {
	_, err := fmt.Fprintln(e.stdout, versionText())
	return err
}

// version is set when a release is built: -ldflags "-X main.version=1.2.3".
var version = ""

// versionText returns the versions of the program, its commit, Go and SQLite. The commit is known if the program was built inside the
// repository.
func versionText() string {
	name, commit, changed := version, "unknown", ""
	if info, ok := debug.ReadBuildInfo(); ok {
		name = cmp.Or(name, info.Main.Version)
		for _, setting := range info.Settings {
			switch {
			case setting.Key == "vcs.revision":
				commit = setting.Value
			case setting.Key == "vcs.modified" && setting.Value == "true":
				changed = ", with changes"
			}
		}
	}
	return fmt.Sprintf("porchlight %s\ncommit %s%s\n%s\nSQLite %s", name, commit, changed, runtime.Version(), db.SQLiteVersion())
}

type helpCommand struct {
	Command []string `arg:"" optional:"" help:"The command, such as user add."`
}

// BeforeReset prints what --help prints. Like --help, it runs before the settings are read, because the user may need help with an
// invalid one.
func (*helpCommand) BeforeReset(ctx *kong.Context) error {
	if ctx.Model.HelpFlag.Set { // help --help
		return nil
	}
	var words []string
	for _, path := range ctx.Path {
		if path.Positional != nil {
			words = ctx.Value(path).Interface().([]string)
		}
	}
	asked, err := kong.Trace(ctx.Kong, append(words, "--help"))
	if err != nil {
		return err
	}
	if asked.Error != nil {
		return explainCommandLine(asked)
	}
	defer ctx.Exit(0)
	return asked.PrintUsage(false)
}

// withStore opens the database, calls do, and closes the database. It fails if there is none.
func (e *environment) withStore(do func(*db.Store) error) error {
	return e.withOptions(e.databaseOptions(), do)
}

// withNewStore is like withStore, but creates the database if there is none.
func (e *environment) withNewStore(do func(*db.Store) error) error {
	options := e.databaseOptions()
	options.Create = true
	_, missing := os.Stat(options.Path)
	return e.withOptions(options, func(store *db.Store) error {
		if missing != nil {
			fmt.Fprintln(os.Stderr, "Created a new database:", options.Path)
		}
		return do(store)
	})
}

func (e *environment) withOptions(options db.Options, do func(*db.Store) error) error {
	store, err := db.Open(e.ctx, options)
	if err != nil {
		return err
	}
	return errors.Join(do(store), store.Close())
}

func printJSON(out io.Writer, what any) error {
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(what)
}

func printTable(out io.Writer, heads string, rows int, row func(int) []any) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, heads)
	for i := range rows {
		cells := []string{}
		for _, cell := range row(i) {
			cells = append(cells, printable(fmt.Sprint(cell)))
		}
		fmt.Fprintln(table, strings.Join(cells, "\t"))
	}
	return table.Flush()
}

// printable removes control characters and text direction marks, with which a name could manipulate the terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			return -1
		}
		return r
	}, text)
}

func yesOrNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func plural(count int, word string) string {
	if count == 1 {
		return word
	}
	return word + "s"
}
