package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"porchlight/db"
	"porchlight/handlers"
)

type activityCommand struct {
	User   *string       `placeholder:"NAME" help:"Print only what happened to this user."`
	Since  time.Duration `placeholder:"24h" help:"Print only what happened within this time. Without it, print everything that is kept."`
	JSON   bool          `help:"Print JSON: an array, or one object per line with --follow."`
	Follow bool          `help:"Keep printing new entries until Ctrl-C. An entry whose count grows is printed again."`
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
		out := newActivityPrinter(e.stdout, a.JSON, a.Follow)
		var last int64
		printNew := func() error {
			for e.ctx.Err() == nil {
				rows, err := store.AllActivity(user, since, last, activityBatch)
				if errors.Is(err, db.ErrNotFound) {
					return fmt.Errorf("there is no user %s", printable(user))
				}
				if err != nil {
					return err
				}
				for _, row := range rows {
					out.print(row)
					last = row.ID
				}
				if err := out.Flush(); err != nil || len(rows) < activityBatch {
					return err
				}
			}
			return errInterrupted
		}
		if !a.Follow {
			if err := printNew(); err != nil {
				return err
			}
			return out.end()
		}
		err := store.Follow(e.ctx, printNew)
		if e.ctx.Err() != nil {
			return nil // there is no other way to end it
		}
		return err
	})
}

// activityBatch is how many entries are read and printed at a time, because there can be a million.
const activityBatch = 500

// activityLine has columns of a fixed width, because the entries to come are not known.
const activityLine = "%-20v  %-16v  %-17v  %-24v  %-15v  %-24v  %5v  %v\n"

// activityPrinter prints entries as lines: of a table, of a JSON array, or of JSON objects without one.
type activityPrinter struct {
	*bufio.Writer
	json      *json.Encoder // nil for a table
	separator string        // before the next entry
	closing   string
}

func newActivityPrinter(out io.Writer, asJSON, follow bool) *activityPrinter {
	p := &activityPrinter{Writer: bufio.NewWriter(out)}
	if asJSON {
		p.json = json.NewEncoder(p)
		p.json.SetEscapeHTML(false)
	}
	switch {
	case !asJSON:
		fmt.Fprintf(p, activityLine, "AT", "USERNAME", "KIND", "DEVICE", "IP", "BY", "COUNT", "SESSION")
	case !follow:
		p.WriteString("[")
		p.closing = "]\n"
	}
	return p
}

// print leaves errors to Flush.
func (p *activityPrinter) print(row db.UserActivity) {
	entry := handlers.NewActivityJSON(row.Activity)
	entry.Username = row.Username
	if p.json == nil {
		fmt.Fprintf(p, activityLine, entry.At, entry.Username, printable(entry.Kind), printable(entry.DeviceName), entry.IP,
			printable(entry.By), entry.Count, entry.SessionID)
		return
	}
	p.WriteString(p.separator)
	p.json.Encode(entry)
	if p.closing != "" {
		p.separator = ","
	}
}

func (p *activityPrinter) end() error {
	p.WriteString(p.closing)
	return p.Flush()
}
