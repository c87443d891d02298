package vfs

import (
	"errors"
	"io"
	"syscall"
)

// SectorBytes is the unit in which a disk writes atomically, as assumed by callers and simulated by Mem.
const SectorBytes = 512

// ErrLocked: another process, or another opener in this one, holds the lock.
var ErrLocked = errors.New("locked by another process")

// FS is a file system. Names are slash-separated paths; errors for missing and existing names match fs.ErrNotExist and
// fs.ErrExist. All methods may be called concurrently.
type FS interface {
	// Create opens name for reading and writing, creating it, or emptying it where it exists.
	Create(name string) (File, error)
	// Open opens an existing file for reading.
	Open(name string) (File, error)
	// OpenReadWrite opens an existing file for reading and writing.
	OpenReadWrite(name string) (File, error)
	// Remove deletes a file. Files that are open stay readable.
	Remove(name string) error
	// Rename replaces newName by oldName in one step.
	Rename(oldName, newName string) error
	// MkdirAll creates dir and its missing parents. What it created is durable on return.
	MkdirAll(dir string) error
	// List returns the names in dir, ascending, without the directory's own path.
	List(dir string) ([]string, error)
	// Stat describes a file or directory.
	Stat(name string) (Info, error)
	// SyncDir makes the names in dir durable.
	SyncDir(dir string) error
	// Lock creates name if needed and takes an exclusive lock on it until the result is closed or the process ends. It does not
	// wait: ErrLocked.
	Lock(name string) (io.Closer, error)
	// DiskFree returns the space of the file system that holds dir.
	DiskFree(dir string) (Space, error)
}

// File is an open file. Its methods may be called concurrently, except Close, which nothing may overlap.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// WritevAt writes the concatenation of bufs at off without copying them, in as few system calls as possible. It
	// returns the bytes written; fewer than all come with an error.
	WritevAt(bufs [][]byte, off int64) (int, error)
	// Preallocate reserves space for the first sizeBytes bytes and extends the file to that size, reading as zeros. Where
	// space cannot be reserved the file is only extended. It never shrinks a file.
	Preallocate(sizeBytes int64) error
	// SyncData makes contents and size durable, as fdatasync does.
	SyncData() error
	// Sync makes contents and all attributes durable.
	Sync() error
	// Size returns the file's length in bytes.
	Size() (int64, error)
	// Truncate sets the file's length; what it adds reads as zeros.
	Truncate(sizeBytes int64) error
}

// Range is the bytes [From, To) of a file.
type Range struct{ From, To int64 }

// DataRanges returns, in order, the parts of [from, to) that may hold anything but zeros: all of it for a file that cannot tell. A hole
// is left out, data never. All of them are asked for before anything is read: of space that is reserved and was never written, Linux
// takes for data what lies in the page cache, and reading ahead puts it there.
func DataRanges(f File, from, to int64) ([]Range, error) {
	if from >= to {
		return nil, nil
	}
	if s, ok := f.(sparse); ok {
		return s.dataRanges(from, to)
	}
	return []Range{{From: from, To: to}}, nil
}

// sparse is a File that knows its holes.
type sparse interface {
	dataRanges(from, to int64) ([]Range, error)
}

// Info describes a file or directory.
type Info struct {
	SizeBytes int64
	IsDir     bool
}

// Space is a file system's space as an unprivileged writer sees it.
type Space struct {
	FreeBytes  uint64
	TotalBytes uint64
}

// IsNoSpace reports whether err says that the disk or the quota is full.
func IsNoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
