package main

import (
	"errors"
	"fmt"
	"strings"

	"porchlight/db"
	"porchlight/handlers"
)

type userCommand struct {
	Add         userAddCommand         `cmd:"" help:"Create an account. It asks for the password on a terminal, or reads one line from standard input."`
	Invite      userInviteCommand      `cmd:"" help:"Print a one-time link, valid for ${invitation_lasts} hours, to choose a password. For an existing account, use it when somebody forgot theirs."`
	Invitations userInvitationsCommand `cmd:"" help:"List the pending invitations: the links that nobody has used yet."`
	Uninvite    userUninviteCommand    `cmd:"" help:"Cancel a pending invitation, so that its link no longer works."`
	Set         userSetCommand         `cmd:"" help:"Change an account: its role, e-mail address, groups, approval or second factor."`
	List        userListCommand        `cmd:"" help:"List the accounts."`
	Passwd      userPasswdCommand      `cmd:"" help:"Set a password, and end every session of the user. It asks for the password on a terminal, or reads one line from standard input."`
	Disable     userDisableCommand     `cmd:"" help:"Disable an account, and end every session of the user."`
	Enable      userEnableCommand      `cmd:"" help:"Enable a disabled account."`
	Delete      userDeleteCommand      `cmd:"" help:"Delete an account, its sessions and its activity."`
}

type userAddCommand struct {
	Name   string `arg:"" help:"The username."`
	Admin  bool   `help:"Make the account an administrator. The first account always is one."`
	Email  string `placeholder:"E" help:"The account's e-mail address."`
	Groups string `placeholder:"A,B" help:"The account's groups, separated by commas."`
	Reuse  bool   `help:"Allow the name of an account that was deleted."`
}

func (a *userAddCommand) Run(e *environment) error {
	err := e.withNewStore(func(store *db.Store) error {
		newUser := db.NewUser{Username: a.Name, Email: a.Email, Groups: db.SplitNames(a.Groups), IsAdmin: a.Admin, Reuse: a.Reuse}
		err := store.CheckNewUser(e.ctx, newUser)
		if err == nil {
			newUser.Password, err = e.askPassword()
		}
		if err != nil {
			return err
		}
		user, err := store.CreateUser(e.ctx, newUser)
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
	return suggestReuse(err)
}

// suggestReuse appends advice to the error about the name of a deleted account.
func suggestReuse(err error) error {
	if invalid, ok := errors.AsType[db.Invalid](err); ok && invalid["username"] == db.UsernameDeleted {
		return fmt.Errorf("%w %s", err, "To use it anyway, add --reuse.")
	}
	return err
}

type userSetCommand struct {
	Name    string  `arg:"" help:"The username."`
	Approve bool    `help:"Approve somebody who signed up, so that they can reach the apps."`
	Admin   *bool   `negatable:"" help:"Make the account an administrator, which also approves it. --no-admin removes the role."`
	Email   *string `placeholder:"E" help:"The account's e-mail address. An empty value removes it."`
	Groups  *string `placeholder:"A,B" help:"The account's groups, separated by commas. They replace its current groups. An empty value removes them all."`
	Force   bool    `help:"Demote even the last administrator who can sign in."`

	ResetSecondFactor bool `help:"Remove the authenticator app, every passkey and the recovery codes, so that the password alone is enough."`
}

func (s *userSetCommand) Run(e *environment) error {
	if !s.Approve && s.Admin == nil && s.Email == nil && s.Groups == nil && !s.ResetSecondFactor {
		return usageError{errors.New(
			"user set: say what to change, with --approve, --admin, --no-admin, --email, --groups or --reset-second-factor")}
	}
	change := db.UserChange{Approve: s.Approve, IsAdmin: s.Admin, Email: s.Email, ResetSecondFactor: s.ResetSecondFactor, Force: s.Force}
	if s.Groups != nil {
		groups := db.SplitNames(*s.Groups)
		change.Groups = &groups
	}
	return e.withUser(s.Name, "Changed %s.", func(store *db.Store) error {
		return store.ChangeUser(e.ctx, db.CommandLine, s.Name, change)
	})
}

type userListCommand struct {
	JSON bool `help:"Print JSON."`
}

func (l *userListCommand) Run(e *environment) error {
	return e.withStore(func(store *db.Store) error {
		users, err := store.Users()
		if err != nil {
			return err
		}
		type row struct {
			Username     string   `json:"username"`
			Email        string   `json:"email"`
			IsAdmin      bool     `json:"isAdmin"`
			Disabled     bool     `json:"disabled"`
			Approved     bool     `json:"approved"`
			Groups       []string `json:"groups"`
			SecondFactor bool     `json:"secondFactor"`
			Sessions     int      `json:"sessions"`
			CreatedAt    string   `json:"createdAt"`
		}
		rows := []row{}
		for _, user := range users {
			created := handlers.RFC3339(user.CreatedAt)
			rows = append(rows, row{
				user.Username, user.Email, user.IsAdmin, user.Disabled, user.Approved, append([]string{}, user.Groups...),
				user.SecondFactor, user.Sessions, created,
			})
		}
		if l.JSON {
			return printJSON(e.stdout, rows)
		}
		heads := "USERNAME\tE-MAIL\tADMIN\tDISABLED\tAPPROVED\tGROUPS\tSECOND FACTOR\tSESSIONS\tCREATED"
		return printTable(e.stdout, heads, len(rows), func(i int) []any {
			r := rows[i]
			return []any{
				r.Username, r.Email, yesOrNo(r.IsAdmin), yesOrNo(r.Disabled), yesOrNo(r.Approved), strings.Join(r.Groups, ","),
				yesOrNo(r.SecondFactor), r.Sessions, r.CreatedAt,
			}
		})
	})
}

type userInviteCommand struct {
	Name   string `arg:"" help:"The username."`
	Admin  bool   `help:"Make the new account an administrator."`
	Email  string `placeholder:"E" help:"The new account's e-mail address."`
	Groups string `placeholder:"A,B" help:"The new account's groups, separated by commas."`
	Reuse  bool   `help:"Allow the name of an account that was deleted."`

	ResetSecondFactor bool `help:"When the link is used, also remove the authenticator app, every passkey and the recovery codes of the account."`
}

func (i *userInviteCommand) Run(e *environment) error {
	err := e.withNewStore(func(store *db.Store) error {
		token, invitation, err := store.Invite(e.ctx, db.CommandLine, db.NewUser{
			Username: i.Name, Email: i.Email, Groups: db.SplitNames(i.Groups), IsAdmin: i.Admin, Reuse: i.Reuse,
			ResetSecondFactor: i.ResetSecondFactor,
		})
		if errors.Is(err, db.ErrDisabled) {
			return fmt.Errorf("%s is disabled; enable the account first", printable(i.Name))
		}
		if err != nil {
			return err
		}
		link := e.settings.url.JoinPath("/invite")
		link.RawQuery = "token=" + token
		what := "A new account"
		if !invitation.New {
			what = "A new password"
		}
		hours := int(db.InvitationLifetime.Hours())
		fmt.Fprintf(e.stdout, "%s for %s. The link works once, for %d hours: %s\n", what, invitation.Username, hours, link)
		return nil
	})
	return suggestReuse(err)
}

type userPasswdCommand struct {
	Name string `arg:"" help:"The username."`
}

func (p *userPasswdCommand) Run(e *environment) error {
	return e.withUser(p.Name, "Set the password of %s. Every session has ended.", func(store *db.Store) error {
		password, err := e.askPassword()
		if err != nil {
			return err
		}
		return store.SetPassword(e.ctx, db.CommandLine, p.Name, password)
	})
}

type userDisableCommand struct {
	Name  string `arg:"" help:"The username."`
	Force bool   `help:"Disable even the last administrator who can sign in."`
}

func (d *userDisableCommand) Run(e *environment) error {
	return e.withUser(d.Name, "Disabled %s. Every session has ended.", func(store *db.Store) error {
		return store.DisableUser(e.ctx, db.CommandLine, d.Name, d.Force)
	})
}

type userEnableCommand struct {
	Name string `arg:"" help:"The username."`
}

func (n *userEnableCommand) Run(e *environment) error {
	return e.withUser(n.Name, "Enabled %s.", func(store *db.Store) error {
		return store.EnableUser(e.ctx, db.CommandLine, n.Name)
	})
}

type userDeleteCommand struct {
	Name  string `arg:"" help:"The username."`
	Yes   bool   `help:"Do not ask for confirmation."`
	Force bool   `help:"Delete even the last administrator who can sign in."`
}

func (d *userDeleteCommand) Run(e *environment) error {
	terminal, ok := e.terminal()
	if !d.Yes && !ok {
		return usageError{errors.New("user delete: there is no terminal to confirm on; add --yes")}
	}
	return e.withUser(d.Name, "Deleted %s, with its sessions and its activity.", func(store *db.Store) error {
		if !d.Yes {
			if err := terminal.confirmDelete(d.Name); err != nil {
				return err
			}
		}
		return store.DeleteUser(e.ctx, db.CommandLine, d.Name, d.Force)
	})
}

// withUser calls do, which changes one account, and then prints the message with the username. It looks up the account first, because do
// may ask questions.
func (e *environment) withUser(name, message string, do func(*db.Store) error) error {
	err := e.withStore(func(store *db.Store) error {
		if _, err := store.UserByName(name); err != nil {
			return err
		}
		return do(store)
	})
	if errors.Is(err, db.ErrNotFound) {
		return fmt.Errorf("there is no user %s", printable(name))
	}
	if errors.Is(err, db.ErrLastAdmin) {
		return fmt.Errorf("%s is the last administrator who can sign in; first make another with user set NAME --admin, or add --force",
			printable(name))
	}
	if err == nil {
		fmt.Fprintf(e.stdout, message+"\n", printable(strings.ToLower(strings.TrimSpace(name))))
	}
	return err
}
