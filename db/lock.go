package db

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"golang.org/x/sys/unix"
)

// serveWait is how long a server waits for the one before it to end.
const serveWait = 3 * time.Second

// lockPoll is how often a lock that another process holds is asked for.
const lockPoll = 50 * time.Millisecond

// fileLock is held by whoever migrates the database, and by a server for as long as it serves. It lies beside the database,
// since closing a second descriptor of one of SQLite's own files would drop SQLite's locks. A nil fileLock is none.
type fileLock struct{ *flock.Flock }

func (l *fileLock) release() error {
	if l == nil {
		return nil
	}
	return l.Unlock()
}

func lockFile(path string) string { return path + ".lock" }

// lockToServe takes the lock for a server. Two servers on one database would each count attempts and follow changes for
// themselves, so there is only one.
func lockToServe(ctx context.Context, path string) (*fileLock, error) {
	lock, err := tryLock(ctx, path, serveWait)
	if lock == nil && err == nil {
		err = fmt.Errorf("%s is already serving %s; stop it, or choose another folder with --data", holder("", lockFile(path)), path)
	}
	return lock, err
}

// lockToMigrate takes the lock for a command. It fails while a server has the database open, which would go on with the
// schema that it knows. Servers older than the lock give themselves away by SQLite's own lock.
func lockToMigrate(ctx context.Context, path string) (*fileLock, error) {
	lock, err := tryLock(ctx, path, commandWait)
	if err != nil {
		return nil, err
	}
	by := holder("", path+"-shm")
	if lock == nil {
		by = holder("", lockFile(path))
	}
	if lock == nil || by != unknownHolder {
		return nil, errors.Join(lock.release(),
			fmt.Errorf("%s has %s open, which this Porchlight would have to migrate; restart the server with this version first", by, path))
	}
	return lock, nil
}

// tryLock returns nil when another process still has the lock at the end of the wait.
func tryLock(ctx context.Context, path string, wait time.Duration) (*fileLock, error) {
	if err := ensureFile(lockFile(path)); err != nil {
		return nil, explain(path, err)
	}
	lock := &fileLock{flock.New(lockFile(path))}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	_, err := lock.TryLockContext(ctx, lockPoll)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return nil, lock.Close()
	case err != nil:
		return nil, errors.Join(explain(path, err), lock.Close())
	}
	return lock, nil
}

const unknownHolder = "another process"

// holder names a process other than this one that holds a lock of the kind (READ or WRITE, "" is either) on one of the files,
// as Linux lists them in /proc/locks. Elsewhere, and in another container, it is unknownHolder.
func holder(kind string, paths ...string) string {
	locks, err := os.Open("/proc/locks")
	if err != nil {
		return unknownHolder
	}
	defer locks.Close()
	files := map[string]bool{}
	for _, path := range paths {
		var stat unix.Stat_t
		if unix.Stat(path, &stat) == nil {
			files[fmt.Sprintf("%02x:%02x:%d", unix.Major(uint64(stat.Dev)), unix.Minor(uint64(stat.Dev)), stat.Ino)] = true
		}
	}
	for lines := bufio.NewScanner(locks); lines.Scan(); {
		// 1: POSIX  ADVISORY  READ 4711 fe:00:131 128 128: the kind, the process, and the file as device and inode.
		fields := strings.Fields(lines.Text())
		if len(fields) < 6 || !files[fields[5]] || (kind != "" && fields[3] != kind) || fields[4] == strconv.Itoa(os.Getpid()) {
			continue
		}
		name, err := os.ReadFile(filepath.Join("/proc", fields[4], "comm"))
		if err != nil {
			return "process " + fields[4]
		}
		return fmt.Sprintf("%q (process %s)", strings.TrimSpace(string(name)), fields[4])
	}
	return unknownHolder
}
