//go:build unix && !linux

package vfs

import (
	"io/fs"

	"golang.org/x/sys/unix"
)

// WritevAt implements File with one write a buffer.
func (f *osFile) WritevAt(bufs [][]byte, off int64) (int, error) {
	written := 0
	for _, buf := range bufs {
		n, err := f.WriteAt(buf, off+int64(written))
		written += n
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

// Preallocate implements File by extending the file; space is not reserved.
func (f *osFile) Preallocate(sizeBytes int64) error { return f.extend(sizeBytes) }

// SyncData implements File with Sync, which is F_FULLFSYNC on darwin.
func (f *osFile) SyncData() error { return f.Sync() }

// DiskFree implements FS with statfs.
func (OS) DiskFree(dir string) (Space, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return Space{}, &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	blockBytes := uint64(stat.Bsize)
	return Space{FreeBytes: uint64(stat.Bavail) * blockBytes, TotalBytes: uint64(stat.Blocks) * blockBytes}, nil
}
