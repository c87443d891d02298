//go:build !race

package kafka

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The system calls on the parker's way are raw ones. None of them blocks, as no socket here does, and the runtime is not told of them: telling it
// wakes its monitoring thread whenever the process was idle before, which costs more than the call itself.

// readNow reads into b, which is not empty.
func readNow(fd uintptr, b []byte) (int, syscall.Errno) { return callNow(unix.SYS_READ, fd, b) }

// writeNow writes of b, which is not empty.
func writeNow(fd uintptr, b []byte) (int, syscall.Errno) { return callNow(unix.SYS_WRITE, fd, b) }

func callNow(call, fd uintptr, b []byte) (int, syscall.Errno) {
	for {
		n, _, errno := syscall.RawSyscall(call, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
		switch errno {
		case 0:
			return int(n), 0
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}
