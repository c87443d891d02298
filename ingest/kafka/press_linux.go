package kafka

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// pressNice is how far the workers stand back. On busy cores they get about a tenth of what another thread gets, not nothing: producers
	// wait for them, and so does the garbage collector, which has to stop them.
	pressNice = 10
	// pressSlice is the stretch of processor time that they ask for at once. A thread that asks for less, as all others do, takes a
	// core from them as soon as it wakes (Linux 6.12; older kernels ignore it).
	pressSlice = 20 * time.Millisecond
)

// reserve makes room for workers beside everything else, and tells whether there is. Go's scheduler knows no priorities: goroutines that compress
// keep their processors for milliseconds, and a request goes through many goroutines. So the workers get processors of Go's on top
// of the others, and the kernel, which knows priorities, shares out the cores. Where Go uses fewer cores than there are, the process is held
// to a quota of time, say: more threads would use it up sooner, and then all would stand still.
func reserve(workers int) bool {
	processors := runtime.GOMAXPROCS(0)
	if processors < runtime.NumCPU() {
		return false
	}
	runtime.GOMAXPROCS(processors + workers)
	return true
}

// giveBack ends a reservation.
func giveBack(workers int) {
	runtime.GOMAXPROCS(max(1, runtime.GOMAXPROCS(0)-workers))
}

// standBack keeps the calling goroutine, and it alone, on a thread behind all others. The goroutine should live as long as the process: as it
// ends, the runtime may start another thread from its own, which is then as far back.
func standBack() {
	runtime.LockOSThread()
	attributes := unix.SchedAttr{
		Size: unix.SizeofSchedAttr, Policy: unix.SCHED_NORMAL, Nice: pressNice, Runtime: uint64(pressSlice),
	}
	// Where it is forbidden, work goes on as before.
	if unix.SchedSetAttr(0, &attributes, 0) != nil {
		_ = unix.Setpriority(unix.PRIO_PROCESS, 0, pressNice)
	}
}
