package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"porchlight/db"
)

type backupCommand struct {
	File string `arg:"" help:"The file to write. It must not exist."`
}

func (b *backupCommand) Run(e *environment) error {
	if blank(&b.File) {
		return usageError{errors.New("backup: name the file to write")}
	}
	contents, err := db.Backup(e.ctx, e.databaseOptions(), b.File)
	if err != nil {
		return err
	}
	fmt.Fprintf(e.stdout, "Backed up %d %s and %d %s (%d kB) to %s.\n", contents.Users, plural(contents.Users, "user"),
		contents.Sessions, plural(contents.Sessions, "session"), (contents.Size+999)/1000, printable(b.File))
	if key := e.key(); exists(key) {
		fmt.Fprintf(e.stdout, "Keep a copy of %s with it.\n", printable(key))
	}
	return nil
}

type restoreCommand struct {
	File string `arg:"" help:"The backup."`
}

func (r *restoreCommand) Run(e *environment) error {
	if blank(&r.File) {
		return usageError{errors.New("restore: name the backup")}
	}
	restored, err := db.Restore(e.ctx, e.databaseOptions(), r.File)
	if err != nil {
		return err
	}
	fmt.Fprintf(e.stdout, "Restored %d %s to %s. Ended %d %s and voided %d %s.\n",
		restored.Users, plural(restored.Users, "user"), printable(e.database()),
		restored.Ended, plural(restored.Ended, "session"), restored.Invitations, plural(restored.Invitations, "invitation"))
	fmt.Fprintln(e.stdout, "Accounts, passwords and second factors are as they were when the backup was made.")
	if key := e.key(); !exists(key) {
		fmt.Fprintf(e.stdout, "Copy %s back as well before the server starts.\n", printable(key))
	}
	return nil
}

// key returns the path of the server's key file, which a backup does not contain.
func (e *environment) key() string { return filepath.Join(e.settings.Data, "porchlight.key") }

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
