package db

import (
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"
)

// stamp identifies one state of the database: the header of the WAL index, as SQLite keeps it at the start of porchlight.db-shm
// (https://www.sqlite.org/walformat.html, 2.1 "The WAL-Index Header"). It holds a count of the commits, the number of valid frames
// in the WAL, a checksum over them, and the salts, which change whenever the WAL restarts.
type stamp [6]uint64

// walIndexVersion is the only version of the header that this code can read.
const walIndexVersion = 3007000

// frames returns how many frames of the WAL are valid: mxFrame, the fifth of the 32-bit numbers in the header.
func (s *stamp) frames() int64 { return int64((*[12]uint32)(unsafe.Pointer(s))[4]) }

// salts returns the eight bytes that are also in the header of the WAL and of each of its frames.
func (s *stamp) salts() []byte { return (*[48]byte)(unsafe.Pointer(s))[32:40] }

// walIndex reads the stamp from the index of the WAL. A row that was read stays true as long as the stamp is the one from before it was
// read:
//
// A commit, of any process, writes its frames into the WAL, then both copies of the header, this one last, and only then returns
// (walIndexWriteHdr in SQLite's wal.c). So a stamp that is loaded after a commit returned differs from every earlier one. A statement
// reads the state in the header, or a later one, so a row that is read after its stamp was loaded is at least as new as its stamp.
// A stamp that was loaded while the header was half written is harmless, because its commit has not returned yet.
type walIndex struct{ header atomic.Pointer[stamp] }

// loadStamp returns the current stamp of the database. If there is none, ok is false and nothing may be cached.
func (w *walIndex) loadStamp() (now stamp, ok bool) {
	header := w.header.Load()
	if header == nil {
		return stamp{}, false
	}
	for i := range now {
		now[i] = atomic.LoadUint64(&header[i])
	}
	return now, uint32(now[0]) == walIndexVersion || now[0]>>32 == walIndexVersion // of either byte order
}

// open maps the header of the -shm file, which SQLite has mapped too. If that fails, loadStamp returns false.
func (w *walIndex) open(path string, file os.FileInfo) { w.header.Store(mapHeader(path, file)) }

// close stops the use of the mapped header. Call it before the last connection is closed, because the next process that opens the
// database truncates the file.
func (w *walIndex) close() { w.header.Store(nil) }

// headers holds the mapped headers of this process, one for each file.
var headers struct {
	sync.Mutex
	files []mappedHeader
}

type mappedHeader struct {
	file   os.FileInfo
	header *stamp
}

// mapHeader maps the start of a file for as long as the process lives. The file is never closed: closing any descriptor of it drops
// the POSIX locks that the process has on it, including SQLite's. While it is open, its inode number is not used for another file.
func mapHeader(path string, info os.FileInfo) *stamp {
	headers.Lock()
	defer headers.Unlock()
	for _, mapped := range headers.files {
		if os.SameFile(mapped.file, info) {
			return mapped.header
		}
	}
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0) // the garbage collector would close an os.File
	if err != nil {
		return nil
	}
	mapped := mappedHeader{file: info}
	var opened syscall.Stat_t
	stat, known := info.Sys().(*syscall.Stat_t)
	if known && syscall.Fstat(fd, &opened) == nil && opened.Dev == stat.Dev && opened.Ino == stat.Ino {
		if page, err := syscall.Mmap(fd, 0, os.Getpagesize(), syscall.PROT_READ, syscall.MAP_SHARED); err == nil {
			mapped.header = (*stamp)(unsafe.Pointer(unsafe.SliceData(page)))
		}
	}
	headers.files = append(headers.files, mapped)
	return mapped.header
}
