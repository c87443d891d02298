package vfs

import (
	"bytes"
	"io"
	"io/fs"
	"slices"
	"syscall"
)

// memFile is an open file of a Mem.
type memFile struct {
	fs         *Mem
	name       string
	node       *memNode
	writable   bool
	closed     bool
	generation int
}

// usable locks the file system and checks that the file may be used; the caller unlocks.
func (f *memFile) usable(op string, writes bool) error {
	f.fs.mu.Lock()
	var err error
	switch {
	case f.closed:
		err = fs.ErrClosed
	case f.generation != f.fs.mu.generation:
		err = ErrCrashed
	case writes && !f.writable:
		err = syscall.EBADF
	default:
		return nil
	}
	return &fs.PathError{Op: op, Path: f.name, Err: err}
}

// ReadAt implements File.
func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	err := f.usable("read", false)
	defer f.fs.mu.Unlock()
	if err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, &fs.PathError{Op: "read", Path: f.name, Err: fs.ErrInvalid}
	}
	if off >= int64(len(f.node.live)) {
		return 0, io.EOF
	}
	n := copy(p, f.node.live[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt implements File.
func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	return f.write(bytes.Clone(p), off)
}

// WritevAt implements File. The whole write is one change, torn by sectors in a crash.
func (f *memFile) WritevAt(bufs [][]byte, off int64) (int, error) {
	return f.write(slices.Concat(bufs...), off)
}

// write keeps data.
func (f *memFile) write(data []byte, off int64) (int, error) {
	err := f.usable("write", true)
	defer f.fs.mu.Unlock()
	if err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, &fs.PathError{Op: "write", Path: f.name, Err: fs.ErrInvalid}
	}
	if len(data) == 0 {
		return 0, nil
	}
	if err := f.reserve("write", off+int64(len(data))); err != nil {
		return 0, err
	}
	f.node.write(data, int(off))
	return len(data), nil
}

// reserve counts the file's growth to sizeBytes against the disk's limit. The caller holds the lock.
func (f *memFile) reserve(op string, sizeBytes int64) error {
	growth := sizeBytes - int64(len(f.node.live))
	if growth <= 0 || f.node.unlinked {
		return nil
	}
	if growth > f.fs.mu.limitBytes-f.fs.mu.usedBytes {
		return &fs.PathError{Op: op, Path: f.name, Err: syscall.ENOSPC}
	}
	f.fs.mu.usedBytes += growth
	return nil
}

// Preallocate implements File.
func (f *memFile) Preallocate(sizeBytes int64) error {
	err := f.usable("preallocate", true)
	defer f.fs.mu.Unlock()
	if err != nil || sizeBytes <= int64(len(f.node.live)) {
		return err
	}
	if err := f.reserve("preallocate", sizeBytes); err != nil {
		return err
	}
	f.node.truncate(int(sizeBytes))
	return nil
}

// Truncate implements File.
func (f *memFile) Truncate(sizeBytes int64) error {
	err := f.usable("truncate", true)
	defer f.fs.mu.Unlock()
	if err != nil {
		return err
	}
	if sizeBytes < 0 {
		return &fs.PathError{Op: "truncate", Path: f.name, Err: fs.ErrInvalid}
	}
	if err := f.reserve("truncate", sizeBytes); err != nil {
		return err
	}
	if shrinks := int64(len(f.node.live)) - sizeBytes; shrinks > 0 && !f.node.unlinked {
		f.fs.mu.usedBytes -= shrinks
	}
	f.node.truncate(int(sizeBytes))
	return nil
}

// SyncData implements File.
func (f *memFile) SyncData() error { return f.Sync() }

// Sync implements File.
func (f *memFile) Sync() error {
	err := f.usable("sync", false)
	defer f.fs.mu.Unlock()
	if err != nil {
		return err
	}
	f.node.sync()
	return nil
}

// Size implements File.
func (f *memFile) Size() (int64, error) {
	err := f.usable("size", false)
	defer f.fs.mu.Unlock()
	if err != nil {
		return 0, err
	}
	return int64(len(f.node.live)), nil
}

// Close implements File.
func (f *memFile) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.closed {
		return &fs.PathError{Op: "close", Path: f.name, Err: fs.ErrClosed}
	}
	f.closed = true
	return nil
}
