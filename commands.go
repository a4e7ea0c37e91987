package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/term"

	"porchlight/db"
)

// commands are the words of the command line.
type commands struct {
	settings

	Serve   serveCommand   `cmd:"" default:"1" help:"Serve. This is what happens without a command."`
	User    userCommand    `cmd:"" help:"Accounts."`
	Session sessionCommand `cmd:"" help:"Sessions."`
	Version versionCommand `cmd:"" help:"Print the version, and Go's and SQLite's."`
}

type serveCommand struct{}

func (*serveCommand) Run(e *environment) error { return serve(e) }

type userCommand struct {
	Add  userAddCommand  `cmd:"" help:"Make an account. The password is asked for, or read as a line from standard input."`
	List userListCommand `cmd:"" help:"List the accounts."`
}

type userAddCommand struct {
	Name  string `arg:"" help:"The username."`
	Admin bool   `help:"Make it an administrator; the very first account always is."`
	Email string `placeholder:"E" help:"Its e-mail address."`
}

func (a *userAddCommand) Run(e *environment) error {
	return e.withStore(func(store *db.Store) error {
		password, err := e.askPassword()
		if err != nil {
			return err
		}
		user, err := store.CreateUser(e.ctx, db.NewUser{Username: a.Name, Email: a.Email, Password: password, IsAdmin: a.Admin})
		if err != nil {
			return err
		}
		role := ""
		if user.IsAdmin {
			role = ", an administrator"
		}
		fmt.Fprintf(e.stdout, "Created %s%s.\n", user.Username, role)
		return nil
	})
}

type userListCommand struct {
	JSON bool `help:"Print JSON."`
}

func (l *userListCommand) Run(e *environment) error {
	return e.withStore(func(store *db.Store) error {
		users, err := store.Users(e.ctx)
		if err != nil {
			return err
		}
		type row struct {
			Username  string `json:"username"`
			Email     string `json:"email"`
			IsAdmin   bool   `json:"isAdmin"`
			Disabled  bool   `json:"disabled"`
			Sessions  int    `json:"sessions"`
			CreatedAt string `json:"createdAt"`
		}
		rows := []row{}
		for _, user := range users {
			rows = append(rows, row{user.Username, user.Email, user.IsAdmin, user.Disabled, user.Sessions, rfc3339(user.CreatedAt)})
		}
		if l.JSON {
			return printJSON(e.stdout, rows)
		}
		return printTable(e.stdout, "USERNAME\tE-MAIL\tADMIN\tDISABLED\tSESSIONS\tCREATED", len(rows), func(i int) []any {
			r := rows[i]
			return []any{r.Username, r.Email, yes(r.IsAdmin), yes(r.Disabled), r.Sessions, r.CreatedAt}
		})
	})
}

type sessionCommand struct {
	List   sessionListCommand   `cmd:"" help:"List the live sessions."`
	Revoke sessionRevokeCommand `cmd:"" help:"End sessions. They are dead at once, also on a server that runs."`
}

type sessionListCommand struct {
	User string `placeholder:"NAME" help:"Only this user's."`
	JSON bool   `help:"Print JSON."`
}

func (l *sessionListCommand) Run(e *environment) error {
	return e.withStore(func(store *db.Store) error {
		sessions, err := store.AllSessions(e.ctx, l.User)
		if err != nil {
			return err
		}
		type row struct {
			ID           string `json:"id"`
			Username     string `json:"username"`
			DeviceName   string `json:"deviceName"`
			IP           string `json:"ip"`
			LastActiveAt string `json:"lastActiveAt"`
			CreatedAt    string `json:"createdAt"`
			ExpiresAt    string `json:"expiresAt"`
		}
		rows := []row{}
		for _, s := range sessions {
			rows = append(rows, row{s.ID, s.Username, s.DeviceName, s.IP, rfc3339(s.LastActiveAt), rfc3339(s.CreatedAt), rfc3339(s.ExpiresAt)})
		}
		if l.JSON {
			return printJSON(e.stdout, rows)
		}
		return printTable(e.stdout, "ID\tUSERNAME\tDEVICE\tIP\tLAST ACTIVE\tSIGNED IN\tEXPIRES", len(rows), func(i int) []any {
			r := rows[i]
			return []any{r.ID, r.Username, r.DeviceName, r.IP, r.LastActiveAt, r.CreatedAt, r.ExpiresAt}
		})
	})
}

type sessionRevokeCommand struct {
	IDs  []string `arg:"" optional:"" name:"id" help:"Ids, as session list prints them."`
	User string   `placeholder:"NAME" help:"Every session of this user."`
	All  bool     `help:"Every session of everybody."`
}

func (r *sessionRevokeCommand) Run(e *environment) error {
	ways := 0
	for _, given := range []bool{len(r.IDs) > 0, r.User != "", r.All} {
		if given {
			ways++
		}
	}
	if ways != 1 {
		return usageError{errors.New("session revoke: give ids, or --user NAME, or --all, and only one of them")}
	}
	return e.withStore(func(store *db.Store) error {
		if len(r.IDs) > 0 {
			return r.revokeEach(e, store)
		}
		count, err := store.RevokeAllByCommand(e.ctx, r.User)
		if errors.Is(err, db.ErrNotFound) {
			return fmt.Errorf("there is no user %s", printable(r.User))
		}
		if err == nil {
			fmt.Fprintf(e.stdout, "Ended %d %s.\n", count, plural(count, "session"))
		}
		return err
	})
}

// revokeEach ends the sessions that it knows, then tells of those that it does not.
func (r *sessionRevokeCommand) revokeEach(e *environment, store *db.Store) error {
	var unknown []string
	for _, id := range r.IDs {
		ended, err := store.RevokeByCommand(e.ctx, id)
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

type versionCommand struct{}

// version is set by whoever builds a release: -ldflags "-X main.version=1.2.3".
var version = ""

func (*versionCommand) Run(e *environment) error {
	name := version
	if info, ok := debug.ReadBuildInfo(); name == "" && ok {
		name = info.Main.Version
	}
	fmt.Fprintf(e.stdout, "porchlight %s\n%s\nSQLite %s\n", name, runtime.Version(), db.SQLiteVersion())
	return nil
}

func (e *environment) withStore(do func(*db.Store) error) error {
	store, err := e.open()
	if err != nil {
		return err
	}
	return errors.Join(do(store), store.Close())
}

// askPassword asks twice on a terminal, else it reads one line.
func (e *environment) askPassword() (string, error) {
	file, ok := e.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		line, err := bufio.NewReader(io.LimitReader(e.stdin, 4096)).ReadString('\n')
		if err != nil && (!errors.Is(err, io.EOF) || line == "") {
			return "", errors.New("no password came on standard input: give it as one line")
		}
		return strings.TrimRight(line, "\r\n"), nil
	}
	var typed [2]string
	for i, prompt := range []string{"Password: ", "Again: "} {
		fmt.Fprint(os.Stderr, prompt)
		password, err := term.ReadPassword(int(file.Fd()))
		fmt.Fprintln(os.Stderr)
		if err != nil {
			return "", fmt.Errorf("cannot read the password: %w", err)
		}
		typed[i] = string(password)
	}
	if typed[0] != typed[1] {
		return "", errors.New("the two passwords differ")
	}
	return typed[0], nil
}

func rfc3339(at time.Time) string { return at.UTC().Format(time.RFC3339) }

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

// printable takes out what could play tricks with a terminal: a name is somebody else's text.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || (r >= 0x7f && r <= 0x9f) || (r >= 0x202a && r <= 0x202e) || (r >= 0x2066 && r <= 0x2069) {
			return -1
		}
		return r
	}, text)
}

func yes(b bool) string {
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
