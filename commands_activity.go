package main

import (
	"errors"
	"fmt"
	"time"

	"porchlight/db"
	"porchlight/handlers"
)

type activityCommand struct {
	User  *string       `placeholder:"NAME" help:"Only what happened to this user."`
	Since time.Duration `placeholder:"24h" help:"Only what happened in this time; everything that is kept without it."`
	JSON  bool          `help:"Print JSON."`
}

func (a *activityCommand) Run(e *environment) error {
	if blank(a.User) {
		return usageError{errors.New("activity: --user needs a name")}
	}
	if a.Since < 0 {
		return usageError{errors.New("activity: --since needs a positive duration, such as 24h")}
	}
	user, since := "", time.Time{}
	if a.User != nil {
		user = *a.User
	}
	if a.Since > 0 {
		since = time.Now().Add(-a.Since)
	}
	return e.withStore(func(store *db.Store) error {
		rows, err := store.AllActivity(user, since)
		if errors.Is(err, db.ErrNotFound) {
			return fmt.Errorf("there is no user %s", printable(user))
		}
		if err != nil {
			return err
		}
		printed := []handlers.ActivityJSON{}
		for _, row := range rows {
			shown := handlers.NewActivityJSON(row.Activity)
			shown.Username = row.Username
			printed = append(printed, shown)
		}
		if a.JSON {
			return printJSON(e.stdout, printed)
		}
		heads := "AT\tUSERNAME\tKIND\tDEVICE\tIP\tBY\tCOUNT\tSESSION"
		return printTable(e.stdout, heads, len(printed), func(i int) []any {
			r := printed[i]
			return []any{r.At, r.Username, r.Kind, r.DeviceName, r.IP, r.By, r.Count, r.SessionID}
		})
	})
}
