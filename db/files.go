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

// findDatabase reports whether there is a database. It returns an error for a WAL without a database: when SQLite creates a new
// database, it deletes the WAL, and with it revocations that are only in the WAL.
func findDatabase(path string) (found bool, err error) {
	if target, err := os.Readlink(path); err == nil { // SQLite puts the WAL beside the target
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

// createFolder creates a folder and its missing parents, accessible only to their owner.
func createFolder(path string) error {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := createFolder(filepath.Dir(path)); err != nil {
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
	return errors.Join(inheritOwner(folder), folder.Close())
}

// restrictFolder makes the data folder accessible only to its owner. It does not change a folder with the sticky bit, such as /tmp,
// which everybody uses.
func restrictFolder(path string) error {
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm()&0o077 == 0 {
		return err
	}
	if info.Mode()&fs.ModeSticky != 0 {
		return errors.New("everybody on this machine uses it")
	}
	return os.Chmod(path, 0o700)
}

// createFile creates a file that only its owner can access. It fails if the file exists.
func createFile(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	if err := inheritOwner(file); err != nil {
		return nil, errors.Join(err, file.Close(), os.Remove(path))
	}
	return file, nil
}

// ensureFile is like createFile, but does nothing if the file exists.
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

// inheritOwner gives a file that root has just created to the owner of its folder, so that a command that root runs does not lock the
// service's user out. It uses the open file, because the folder's owner could put a link in its place.
func inheritOwner(file *os.File) error {
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

// copyDatabase writes a copy under a temporary name, and renames it once it is finished and on disk. It overwrites nothing.
func copyDatabase(ctx context.Context, pool *sql.DB, to string, finish func(*os.File) error) (err error) {
	folder := filepath.Dir(to)
	file, err := os.CreateTemp(folder, filepath.Base(to)+".*.partial")
	if err != nil {
		return fmt.Errorf("create a file in %s: %w", folder, errors.Unwrap(err)) // without the temporary name
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	defer os.Remove(file.Name())
	if _, err := pool.ExecContext(ctx, `VACUUM INTO $1`, file.Name()); err != nil { // into an empty file, which keeps its mode
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

// removeLeftovers removes temporary files of a process that was killed. The caller holds the lock.
func removeLeftovers(path string) {
	names, _ := filepath.Glob(globPath(path) + ".version-*.partial")
	for _, name := range names {
		os.Remove(name)
	}
}

var globSpecial = regexp.MustCompile(`[\\*?[]`)

// globPath escapes the characters that have a meaning for filepath.Glob.
func globPath(path string) string { return globSpecial.ReplaceAllString(path, `\$0`) }

// publish gives a finished file its name, durably. It returns fs.ErrExist if a file of that name exists.
func publish(from, to string) error {
	// A link and not a rename, which would overwrite a file.
	err := os.Link(from, to)
	if err != nil && !errors.Is(err, fs.ErrExist) { // the file system does not support links
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
