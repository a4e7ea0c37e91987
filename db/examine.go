package db

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"porchlight/migrations"
)

// Finding is the result of one of Examine's checks.
type Finding struct {
	What string // what is right, in one line
	Err  error  // what is wrong instead and what to do, in one line; nil if nothing is
}

// Examine checks the data folder, the database and the key, and changes nothing. A server may be running.
func Examine(ctx context.Context, options Options) (findings []Finding) {
	path := options.Path
	found, err := findDatabase(path)
	if err == nil && !found {
		err = fmt.Errorf("there is no database %s; name the server's data folder with --data, or start the server to create one", path)
	}
	if err != nil {
		return []Finding{{Err: err}}
	}
	findings = append(findings, Finding{"only the owner can access " + filepath.Dir(path), examineFiles(path)})
	options.Serve = true // what would keep a server from starting
	s := newStore(options)
	defer s.Close()
	version, err := s.examineDatabase(ctx)
	findings = append(findings, Finding{fmt.Sprintf("the database is intact (version %d)", version), err})
	if err != nil {
		return findings
	}
	return append(findings, s.examineKey(), Finding{"an administrator can sign in", s.examineAdministrators()})
}

// examineFiles looks for files that others can access, or that belong to another user than the folder, as after a copy by root.
func examineFiles(path string) error {
	folder := filepath.Dir(path)
	info, err := os.Stat(folder)
	if err != nil {
		return explain(path, err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("other users of this machine can look into the data folder %[1]s; run chmod 700 %[1]s", folder)
	}
	owner := info.Sys().(*syscall.Stat_t).Uid
	names, err := filepath.Glob(globPath(path) + "*")
	if err != nil {
		return err
	}
	for _, name := range append(names, filepath.Join(folder, keyName)) {
		info, err := os.Stat(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return explain(path, err)
		case info.Mode().Perm()&0o077 != 0:
			return fmt.Errorf("other users of this machine may read %[1]s; run chmod 600 %[1]s", name)
		case info.Sys().(*syscall.Stat_t).Uid != owner:
			return fmt.Errorf("%[1]s belongs to another user than its folder; run chown --reference=%[2]s %[1]s", name, folder)
		}
	}
	return nil
}

// examineDatabase searches the whole database for damage, and connects to it.
func (s *Store) examineDatabase(ctx context.Context) (current int64, err error) {
	path := s.options.Path
	pool, err := openPool(path, "mode=rw&_busy_timeout=1000", 1)
	if err != nil {
		return 0, explain(path, err)
	}
	defer pool.Close()
	current, newest, err := versions(ctx, pool, migrations.FS)
	switch {
	case errors.Is(err, errNotOurs):
		return 0, fmt.Errorf("%s is not a Porchlight database; name the server's data folder with --data", path)
	case err == nil && current > newest:
		return 0, fmt.Errorf("%s has version %d, newer than this Porchlight, which knows %d; run the newer Porchlight", path, current, newest)
	case err == nil && current < newest:
		return 0, fmt.Errorf("%s has version %d, and this Porchlight needs %d; restart the server with this Porchlight to migrate it",
			path, current, newest)
	case err == nil:
		err = checkLength(ctx, pool, path)
	}
	if err == nil {
		err = checkPages(ctx, pool, `PRAGMA quick_check(1)`)
	}
	if err == nil {
		err = s.connect(ctx)
	}
	return current, explain(path, err)
}

func (s *Store) examineKey() Finding {
	path := filepath.Join(filepath.Dir(s.options.Path), keyName)
	sealed, err := s.sealedTOTPs()
	if err != nil {
		return Finding{Err: err}
	}
	key, err := readServerKey(path)
	if errors.Is(err, fs.ErrNotExist) {
		if len(sealed) == 0 {
			return Finding{What: "no key file is needed yet; the server creates one"}
		}
		err = nil
	}
	if err == nil {
		err = s.useKey(key, path, sealed)
	}
	return Finding{"the key file fits the database", err}
}

func (s *Store) examineAdministrators() error {
	hasUsers, err := s.HasUsers()
	if err != nil {
		return err
	}
	if !hasUsers {
		return errors.New("there is no account; open the link that the server prints when it starts")
	}
	hasAdmin, err := s.HasAdministrator()
	if err == nil && !hasAdmin {
		return ErrNoAdministrator
	}
	return err
}

// ErrNoAdministrator means that there are accounts, but none that can administer the server.
var ErrNoAdministrator = errors.New("no administrator can sign in; make one with: " +
	"porchlight user set NAME --admin, or: porchlight user enable NAME")
