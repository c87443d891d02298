package vfs

import (
	"errors"
	"io"
	"io/fs"
	"runtime"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxIovecs is the kernel's limit on the buffers of one vectored write (UIO_MAXIOV).
const maxIovecs = 1024

// maxWriteBytes is the kernel's limit on the bytes of one write (MAX_RW_COUNT, which leaves out the last page of 2 GiB).
const maxWriteBytes = 1<<31 - 4096

// iovecPool keeps the kernel's view of the buffers off the heap's hot path: a steady writer allocates nothing.
var iovecPool = sync.Pool{New: func() any { return new([maxIovecs]unix.Iovec) }}

// WritevAt implements File with pwritev. The kernel may write less than it was given; what remains is sent again.
func (f *osFile) WritevAt(bufs [][]byte, off int64) (int, error) {
	iovecs := iovecPool.Get().(*[maxIovecs]unix.Iovec)
	defer iovecPool.Put(iovecs)
	written, skip := 0, 0 // skip: bytes of bufs[0] that are written already
	for {
		for len(bufs) > 0 && skip == len(bufs[0]) {
			bufs, skip = bufs[1:], 0
		}
		if len(bufs) == 0 {
			return written, nil
		}
		count := fillIovecs(iovecs, bufs, skip)
		n, err := pwritev(f.Fd(), iovecs[:count], off+int64(written))
		clear(iovecs[:count])
		runtime.KeepAlive(f)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return written, &fs.PathError{Op: "pwritev", Path: f.Name(), Err: err}
		case n == 0:
			return written, &fs.PathError{Op: "pwritev", Path: f.Name(), Err: io.ErrShortWrite}
		}
		written += n
		bufs, skip = advance(bufs, skip, n)
	}
}

// fillIovecs describes bufs, without the first skip bytes, as far as one call may carry them.
func fillIovecs(iovecs *[maxIovecs]unix.Iovec, bufs [][]byte, skip int) int {
	count, room := 0, maxWriteBytes
	for _, buf := range bufs {
		buf, skip = buf[skip:], 0
		if len(buf) == 0 {
			continue
		}
		if count == maxIovecs || room == 0 {
			break
		}
		size := min(len(buf), room)
		iovecs[count].Base = unsafe.SliceData(buf)
		iovecs[count].SetLen(size)
		count++
		room -= size
	}
	return count
}

// advance drops n written bytes from the front of bufs.
func advance(bufs [][]byte, skip, n int) ([][]byte, int) {
	n += skip
	for len(bufs) > 0 && n >= len(bufs[0]) {
		n -= len(bufs[0])
		bufs = bufs[1:]
	}
	return bufs, n
}

// pwritev is unix.Pwritev without its allocation. The kernel takes the offset in two halves of a word each; on 64-bit
// systems the low one holds all of it.
func pwritev(fd uintptr, iovecs []unix.Iovec, off int64) (int, error) {
	const wordBits = 32 << (^uint(0) >> 63)
	n, _, errno := unix.Syscall6(unix.SYS_PWRITEV, fd, uintptr(unsafe.Pointer(unsafe.SliceData(iovecs))), uintptr(len(iovecs)),
		uintptr(off), uintptr(uint64(off)>>(wordBits-1)>>1), 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// Preallocate implements File with fallocate. File systems that lack it get a sparse file.
func (f *osFile) Preallocate(sizeBytes int64) error {
	for {
		err := unix.Fallocate(int(f.Fd()), 0, 0, sizeBytes)
		runtime.KeepAlive(f)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS):
			return f.extend(sizeBytes)
		}
		return &fs.PathError{Op: "fallocate", Path: f.Name(), Err: err}
	}
}

// dataRanges is for DataRanges. It moves the file's own position, which nothing else uses.
func (f *osFile) dataRanges(from, to int64) (ranges []Range, err error) {
	for from < to {
		start, err := f.seek(from, unix.SEEK_DATA)
		if err != nil {
			return nil, err
		}
		if start >= to {
			break
		}
		end, err := f.seek(start, unix.SEEK_HOLE)
		if err != nil {
			return nil, err
		}
		if end <= start { // the file system cannot tell
			end = to
		}
		ranges = append(ranges, Range{From: start, To: min(end, to)})
		from = end
	}
	return ranges, nil
}

// seek returns where data or a hole is next from off on: the file's size where there is none, off where the file system cannot tell.
func (f *osFile) seek(off int64, whence int) (int64, error) {
	for {
		next, err := unix.Seek(int(f.Fd()), off, whence)
		runtime.KeepAlive(f)
		switch {
		case err == nil:
			return next, nil
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ENXIO):
			return f.Size()
		case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS):
			return off, nil
		}
		return 0, &fs.PathError{Op: "seek", Path: f.Name(), Err: err}
	}
}

// SyncData implements File with fdatasync.
func (f *osFile) SyncData() error {
	for {
		err := unix.Fdatasync(int(f.Fd()))
		runtime.KeepAlive(f)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EINTR):
			continue
		}
		return &fs.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
	}
}

// DiskFree implements FS with statfs.
func (OS) DiskFree(dir string) (Space, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return Space{}, &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	blockBytes := uint64(stat.Bsize)
	return Space{FreeBytes: stat.Bavail * blockBytes, TotalBytes: stat.Blocks * blockBytes}, nil
}
