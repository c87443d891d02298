//go:build race

package kafka

import (
	"errors"
	"syscall"
)

// The race detector takes what is written to a socket and read from one for an order of events, which it learns from these functions alone.

func readNow(fd uintptr, b []byte) (int, syscall.Errno)  { return callNow(syscall.Read, fd, b) }
func writeNow(fd uintptr, b []byte) (int, syscall.Errno) { return callNow(syscall.Write, fd, b) }

func callNow(call func(int, []byte) (int, error), fd uintptr, b []byte) (int, syscall.Errno) {
	for {
		n, err := call(int(fd), b)
		var errno syscall.Errno
		switch {
		case err == nil:
			return n, 0
		case !errors.As(err, &errno):
			return 0, syscall.EIO
		case errno != syscall.EINTR:
			return 0, errno
		}
	}
}
