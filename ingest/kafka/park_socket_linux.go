package kafka

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// socketCall reads and writes sockets that may be closed meanwhile. It allocates nothing.
type socketCall struct {
	b           []byte
	n           int
	errno       syscall.Errno
	reads, puts func(fd uintptr)
}

func (s *socketCall) init() {
	s.reads = func(fd uintptr) { s.n, s.errno = readNow(fd, s.b) }
	s.puts = func(fd uintptr) { s.n, s.errno = writeNow(fd, s.b) }
}

// read returns how many bytes have come, 0 at their end.
func (s *socketCall) read(raw syscall.RawConn, b []byte) (int, syscall.Errno) {
	return s.call(raw, b, s.reads)
}

// write returns how many bytes the socket has room for.
func (s *socketCall) write(raw syscall.RawConn, b []byte) (int, syscall.Errno) {
	return s.call(raw, b, s.puts)
}

func (s *socketCall) call(raw syscall.RawConn, b []byte, f func(uintptr)) (int, syscall.Errno) {
	s.b, s.n, s.errno = b, 0, 0
	err := raw.Control(f)
	s.b = nil
	if err != nil { // it is closed
		return 0, syscall.EBADF
	}
	return s.n, s.errno
}

// epollNow returns how many events there are.
func epollNow(fd uintptr, events []unix.EpollEvent) int {
	n, _, errno := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, fd, uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), 0, 0, 0)
	if errno != 0 {
		return 0 // the next event tells
	}
	return int(n)
}
