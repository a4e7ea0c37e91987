package db

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/mattn/go-sqlite3"
	"golang.org/x/sys/unix"
)

var errNoRoom = errors.New("no room on the disk")

// damage is an error that a check of the database found.
type damage string

func (d damage) Error() string { return string(d) }

// explain turns an error of SQLite or the operating system into one line for the person who runs the server: what is wrong, and what
// to do about it.
func explain(path string, err error) error {
	if err == nil {
		return nil
	}
	var e sqlite3.Error
	errors.As(err, &e)
	is := func(causes ...error) bool {
		for _, cause := range causes {
			if errors.Is(err, cause) || e.SystemErrno == cause {
				return true
			}
		}
		return false
	}
	switch {
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("interrupted while opening %s: %w", path, err)
	case is(errNoRoom, syscall.ENOSPC, syscall.EDQUOT), e.Code == sqlite3.ErrFull:
		return fmt.Errorf("%s: %w; make room on that disk, or choose another folder with --data", path, err)
	case e.Code == sqlite3.ErrBusy, e.Code == sqlite3.ErrLocked:
		return fmt.Errorf("%s is locked by %s; stop it and try again: %w", path, lockHolder("WRITE", path, path+"-shm"), err)
	case errors.As(err, new(damage)), e.Code == sqlite3.ErrCorrupt, e.Code == sqlite3.ErrNotADB:
		return fmt.Errorf("%s is damaged (%w); restore a backup into an empty folder with porchlight restore, and name that folder with --data",
			path, err)
	case is(syscall.EROFS, fs.ErrPermission), e.Code == sqlite3.ErrReadonly, e.Code == sqlite3.ErrCantOpen, e.Code == sqlite3.ErrPerm:
		return notWritable(path, err)
	case e.ExtendedCode == sqlite3.ErrIoErrShortRead:
		return fmt.Errorf("%[1]s or %[1]s-wal was replaced or cut short (%[2]w); restart the server if it runs, or restore a backup", path, err)
	case e.Code == sqlite3.ErrIoErr:
		return fmt.Errorf("cannot read or write %s: %w; check the disk, or restore a backup on another one", path, err)
	}
	return fmt.Errorf("cannot open the database %s: %w; choose another folder with --data, or restore a backup", path, err)
}

// notWritable returns an error that names the file or folder that cannot be written, and says why.
func notWritable(path string, err error) error {
	folder := filepath.Dir(path)
	for _, name := range []string{folder, path, path + "-wal", path + "-shm", lockFile(path)} {
		switch unix.Faccessat(unix.AT_FDCWD, name, unix.R_OK|unix.W_OK, unix.AT_EACCESS) {
		case unix.EROFS:
			return fmt.Errorf("%s is on a file system that is mounted read-only (%w); mount it writable, or choose another folder with --data",
				name, err)
		case unix.EACCES, unix.EPERM:
			return fmt.Errorf("%s is not writable for user %d (%w); make that user its owner, or choose another folder with --data",
				name, os.Geteuid(), err)
		}
	}
	return fmt.Errorf("cannot open the database %s: %w; check who owns it, or choose another folder with --data", path, err)
}
