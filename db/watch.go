package db

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gofrs/flock"
)

// watchEvery is how often the files are checked in the background.
const watchEvery = 200 * time.Millisecond

// fileWatch checks that the files on disk are the ones that SQLite has open. SQLite continues with files that were removed, replaced or
// truncated: without its -wal, acknowledged changes are lost when the process ends; without its -shm, it does not see what other
// processes write. Once fileWatch finds such a file, the store stays shut until the next start.
//
// It only calls stat on the database and -shm, because closing any descriptor of them would drop all of SQLite's locks.
type fileWatch struct {
	path     string
	files    [3]os.FileInfo // the database, its -wal and its -shm, as they were opened
	walIndex *walIndex      // of the same database
	shut     atomic.Pointer[error]
	onErr    func(error) // called once, when the store is shut
}

func (w *fileWatch) stat() (files [3]os.FileInfo, err error) {
	for i, suffix := range []string{"", "-wal", "-shm"} {
		if files[i], err = os.Stat(w.path + suffix); err != nil {
			return files, err
		}
	}
	return files, nil
}

// remember records which files are open, and opens the index of the WAL. All three exist once every connection has read something.
func (w *fileWatch) remember() (err error) {
	if w.files, err = w.stat(); err == nil {
		w.walIndex.open(w.path+"-shm", w.files[2])
	}
	return err
}

// check shuts the store if the files are not the ones that were opened, or if the WAL was truncated or overwritten.
func (w *fileWatch) check() error {
	if err := w.err(); err != nil {
		return err
	}
	files, err := w.stat()
	for i := range files {
		if err == nil && !os.SameFile(files[i], w.files[i]) {
			err = fmt.Errorf("another file has taken the place of %s", files[i].Name())
		}
	}
	if err == nil && !w.walIntact() {
		err = fmt.Errorf("%s-wal was truncated or overwritten, and recent changes may be lost", w.path)
	}
	if err == nil {
		return nil
	}
	err = fmt.Errorf("%w: its files are not as they were opened: %w", ErrUnavailable, err)
	w.walIndex.close() // nothing is answered from the cache any more
	if w.shut.CompareAndSwap(nil, &err) && w.onErr != nil {
		w.onErr(err)
	}
	return w.err()
}

// walIntact reports whether the WAL holds the frames that its index in shared memory counts. SQLite does not notice a WAL that was
// truncated in place, because it appends where the index ends, but after a crash the recovery starts at the first byte. SQLite resets
// the index before it truncates or restarts the WAL, so an index that counts frames means that they must be there.
func (w *fileWatch) walIntact() bool {
	wal, err := os.Open(w.path + "-wal") // there are no locks on this file, so closing it drops none
	if err != nil {
		return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
	}
	defer wal.Close()
	now, ok := w.walIndex.loadStamp()
	for ok && now.frames() > 0 && !hasLastFrame(wal, now) {
		before := now
		if now, ok = w.walIndex.loadStamp(); now == before {
			return false // SQLite has not restarted the WAL in the meantime
		}
	}
	return true
}

// hasLastFrame reports whether the WAL starts with its header, and the last frame that the index counts is there with the same salts.
// The format is described at https://sqlite.org/fileformat2.html#walformat.
func hasLastFrame(wal io.ReaderAt, now stamp) bool {
	const magic, headerSize, frameHeaderSize = 0x377f0682, 32, 24 // the last bit of magic is the byte order of checksums
	var header [headerSize]byte
	var frame [frameHeaderSize]byte
	_, err := wal.ReadAt(header[:], 0)
	if err != nil || binary.BigEndian.Uint32(header[:])&^1 != magic || !bytes.Equal(header[16:24], now.salts()) {
		return false
	}
	frameSize := frameHeaderSize + int64(binary.BigEndian.Uint32(header[8:]))
	start := headerSize + (now.frames()-1)*frameSize
	if _, err := wal.ReadAt(frame[:], start); err != nil || !bytes.Equal(frame[8:16], now.salts()) {
		return false
	}
	_, err = wal.ReadAt(frame[:1], start+frameSize-1) // its last byte
	return err == nil
}

// err returns ErrUnavailable once the store is shut. Every read calls it, so it does not access the files.
func (w *fileWatch) err() error {
	if err := w.shut.Load(); err != nil {
		return *err
	}
	return nil
}

// checkEvery checks the files until the context ends or the store is shut.
func (w *fileWatch) checkEvery(ctx context.Context, every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if w.check() != nil {
				return
			}
		}
	}
}

// A server writes into its lock file which files it has open. A command that has other files open waits until the server has noticed
// too, because it must not say that a session has ended while the server still accepts it.
const (
	shutNote      = "shut\n"
	serverTimeout = 10 * watchEvery
)

// identity returns the device and inode number of each file.
func (w *fileWatch) identity() (text string) {
	for _, file := range w.files {
		if stat, ok := file.Sys().(*syscall.Stat_t); ok {
			text += fmt.Sprintf("%d:%d\n", stat.Dev, stat.Ino)
		}
	}
	return text
}

// note writes into the lock file. It does not create it, because the folder may have been removed.
func (w *fileWatch) note(text string) error {
	file, err := os.OpenFile(lockFile(w.path), os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteString(text)
	return errors.Join(err, file.Close())
}

// awaitServer waits until the running server has the same files open or is shut. It returns the server's note, or "" if no server is
// running. A server that has the lock but no note is starting, or is just writing its note.
func (w *fileWatch) awaitServer(ctx context.Context) (note string, err error) {
	wait, cancel := context.WithTimeout(ctx, serverTimeout)
	defer cancel()
	for {
		note, running, err := w.serverNote()
		if err != nil || !running || note == shutNote || note == w.identity() {
			return note, err
		}
		select {
		case <-wait.Done():
		case <-time.After(lockPoll):
			continue
		}
		if note == "" {
			return "", ctx.Err()
		}
		return note, fmt.Errorf("%w: the running server has other files open than %s; restart it, then try again",
			ErrUnavailable, w.path)
	}
}

// serverNote returns the note of the running server.
func (w *fileWatch) serverNote() (note string, running bool, err error) {
	if _, err := os.Stat(lockFile(w.path)); err != nil {
		return "", false, nil // there was never a server
	}
	lock := flock.New(lockFile(w.path))
	free, err := lock.TryRLock()
	if err != nil || free {
		return "", false, errors.Join(err, lock.Close())
	}
	text, err := os.ReadFile(lockFile(w.path))
	return string(text), true, errors.Join(err, lock.Close())
}
