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

// serveWait is how long a server waits for the previous one to end.
const serveWait = 3 * time.Second

// lockPoll is how often a process attempts to get a lock that another one holds.
const lockPoll = 50 * time.Millisecond

// fileLock is held by a process that migrates the database, and by a server as long as it runs. It is a separate file, because
// closing another descriptor of one of SQLite's files would drop SQLite's locks. A nil fileLock holds nothing.
type fileLock struct{ *flock.Flock }

func (l *fileLock) release() error {
	if l == nil {
		return nil
	}
	return l.Unlock()
}

func lockFile(path string) string { return path + ".lock" }

// lockToServe takes the lock for a server. Only one server may use a database, because two would let more attempts through than the
// limits allow.
func lockToServe(ctx context.Context, path string) (*fileLock, error) {
	lock, err := tryLock(ctx, path, serveWait)
	if lock == nil && err == nil {
		err = fmt.Errorf("%s is already serving %s; stop it, or choose another folder with --data", lockHolder("", lockFile(path)), path)
	}
	return lock, err
}

// lockToMigrate takes the lock for a command. It fails while a server has the database open, because the server would continue with
// the old schema. A server that is too old to hold this lock still holds one of SQLite's.
func lockToMigrate(ctx context.Context, path string) (*fileLock, error) {
	lock, err := tryLock(ctx, path, commandWait)
	if err != nil {
		return nil, err
	}
	by := lockHolder("", path+"-shm")
	if lock == nil {
		by = lockHolder("", lockFile(path))
	}
	if lock == nil || by != unknownHolder {
		return nil, errors.Join(lock.release(),
			fmt.Errorf("%s has %s open, which this Porchlight would have to migrate; restart the server with this version first", by, path))
	}
	return lock, nil
}

// tryLock returns nil if another process still has the lock at the end of the wait.
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

// lockHolder returns the name of another process that holds a lock of the kind (READ or WRITE, or "" for either) on one of the files.
// Linux lists them in /proc/locks. On other systems, and if the process is in another container, it returns unknownHolder.
func lockHolder(kind string, paths ...string) string {
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
