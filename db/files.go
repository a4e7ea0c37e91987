package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
)

// findDatabase reports whether there is a database. It refuses a WAL without one: SQLite would delete the WAL as soon as it
// makes a new database, and with it the revocations that are only in the WAL.
func findDatabase(path string) (found bool, err error) {
	if target, err := os.Readlink(path); err == nil { // SQLite keeps the WAL beside the target
		return false, fmt.Errorf("%s is a symbolic link to %s; name the folder of that file with --data", path, target)
	}
	info, err := os.Stat(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, explain(path, err)
	}
	if err == nil && !info.Mode().IsRegular() {
		return false, fmt.Errorf("%s is not a file; choose another folder with --data", path)
	}
	if err == nil && info.Size() > 0 {
		return true, nil
	}
	if wal, err := os.Stat(path + "-wal"); err == nil && wal.Size() > 0 {
		return false, fmt.Errorf("%[1]s-wal holds changes of a database that is missing; move %[1]s back beside it", path)
	}
	return false, nil
}

// makeFolder makes a folder and the missing ones above it, for their owner only.
func makeFolder(path string) error {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := makeFolder(filepath.Dir(path)); err != nil {
		return err
	}
	if err := os.Mkdir(path, 0o700); errors.Is(err, fs.ErrExist) {
		return nil
	} else if err != nil {
		return err
	}
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(takeOwner(folder), folder.Close())
}

// closeFolder takes the data folder from everybody but its owner. A folder with the sticky bit, such as /tmp, is
// everybody's, and stays so.
func closeFolder(path string) error {
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm()&0o077 == 0 {
		return err
	}
	if info.Mode()&fs.ModeSticky != 0 {
		return errors.New("it is shared by everybody on this machine")
	}
	return os.Chmod(path, 0o700)
}

// createFile creates a file for its owner only. It fails when there is one.
func createFile(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	if err := takeOwner(file); err != nil {
		return nil, errors.Join(err, file.Close(), os.Remove(path))
	}
	return file, nil
}

// ensureFile creates a file for its owner only, unless there is one.
func ensureFile(path string) error {
	file, err := createFile(path)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return file.Close()
}

// takeOwner gives a file that root has just created to the owner of its folder: a command of root must not lock the
// service's user out. It works on the open file, since the folder's owner could put a link in its place.
func takeOwner(file *os.File) error {
	if os.Geteuid() != 0 {
		return nil
	}
	folder, err := os.Stat(filepath.Dir(file.Name()))
	if err != nil {
		return err
	}
	owner, ok := folder.Sys().(*syscall.Stat_t)
	if !ok || (owner.Uid == 0 && owner.Gid == 0) {
		return nil
	}
	return file.Chown(int(owner.Uid), int(owner.Gid))
}

// copyDatabase writes a copy aside and puts it in its place once it is finished and on disk. It overwrites nothing.
func copyDatabase(ctx context.Context, pool *sql.DB, to string, finish func(*os.File) error) (err error) {
	file, err := os.CreateTemp(filepath.Dir(to), filepath.Base(to)+".*.partial")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	defer os.Remove(file.Name())
	if _, err := pool.ExecContext(ctx, `VACUUM INTO $1`, file.Name()); err != nil { // accepts an empty file, and keeps its mode
		return err
	}
	if err := finish(file); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	return publish(file.Name(), to)
}

// removeLeftovers removes what a process that was killed wrote aside. The caller holds the lock.
func removeLeftovers(path string) {
	names, _ := filepath.Glob(globPath(path) + ".version-*.partial")
	for _, name := range names {
		os.Remove(name)
	}
}

var globSigns = regexp.MustCompile(`[\\*?[]`)

// globPath escapes what filepath.Glob would read as a pattern.
func globPath(path string) string { return globSigns.ReplaceAllString(path, `\$0`) }

// publish gives a finished file its name, durably. It fails with fs.ErrExist when there is a file of that name.
func publish(from, to string) error {
	// A link, since a rename would overwrite.
	err := os.Link(from, to)
	if err != nil && !errors.Is(err, fs.ErrExist) { // a file system without links
		if _, missing := os.Lstat(to); !errors.Is(missing, fs.ErrNotExist) {
			return fmt.Errorf("%s: %w", to, fs.ErrExist)
		}
		err = os.Rename(from, to)
	}
	if err != nil {
		return err
	}
	os.Remove(from)
	return syncFolder(filepath.Dir(to))
}

func syncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
