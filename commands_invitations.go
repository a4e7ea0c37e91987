package main

import (
	"errors"
	"fmt"
	"strings"

	"porchlight/db"
	"porchlight/handlers"
)

// This file owns the commands that list and cancel pending invitations.

type userInvitationsCommand struct {
	JSON bool `help:"Print JSON."`
}

func (l *userInvitationsCommand) Run(e *environment) error {
	return e.withStore(func(store *db.Store) error {
		type row struct {
			Username   string   `json:"username"`
			Email      string   `json:"email"`
			NewAccount bool     `json:"newAccount"`
			IsAdmin    bool     `json:"isAdmin"`
			Groups     []string `json:"groups"`
			By         string   `json:"by"`
			CreatedAt  string   `json:"createdAt"`
			ExpiresAt  string   `json:"expiresAt"`
		}
		rows := []row{}
		for after, more := "", true; more; {
			var list []db.Invitation
			var err error
			if list, more, err = store.Invitations(after, 1000); err != nil {
				return err
			}
			for _, i := range list {
				rows = append(rows, row{
					i.Username, i.Email, i.New, i.IsAdmin, append([]string{}, i.Groups...), string(i.By), handlers.RFC3339(i.CreatedAt),
					handlers.RFC3339(i.ExpiresAt),
				})
				after = i.Username
			}
		}
		if l.JSON {
			return printJSON(e.stdout, rows)
		}
		heads := "USERNAME\tE-MAIL\tNEW ACCOUNT\tADMIN\tGROUPS\tBY\tCREATED\tEXPIRES"
		return printTable(e.stdout, heads, len(rows), func(i int) []any {
			r := rows[i]
			return []any{
				r.Username, r.Email, yesOrNo(r.NewAccount), yesOrNo(r.IsAdmin), strings.Join(r.Groups, ","), r.By, r.CreatedAt, r.ExpiresAt,
			}
		})
	})
}

type userUninviteCommand struct {
	Name string `arg:"" help:"The username, as printed by user invitations."`
}

func (u *userUninviteCommand) Run(e *environment) error {
	return e.withStore(func(store *db.Store) error {
		err := store.CancelInvitation(e.ctx, db.CommandLine, u.Name)
		if errors.Is(err, db.ErrNotFound) {
			return fmt.Errorf("there is no pending invitation for %s", printable(u.Name))
		}
		if err == nil {
			fmt.Fprintf(e.stdout, "Cancelled the invitation for %s. Its link no longer works.\n", strings.ToLower(strings.TrimSpace(u.Name)))
		}
		return err
	})
}
