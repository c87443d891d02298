package bench

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// fdatasync makes file's data durable, and of its metadata what reading it needs.
func fdatasync(file *os.File) error {
	for {
		err := unix.Fdatasync(int(file.Fd()))
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// threadCPU is the processor time of the calling thread. The caller has locked itself to it.
func threadCPU() (time.Duration, error) { return rusage(unix.RUSAGE_THREAD) }

// ownCPU is the processor time of this process: what the load itself costs.
func ownCPU() (time.Duration, error) { return rusage(unix.RUSAGE_SELF) }

// processCPU is the processor time of a process, of all threads that it has or had (clock_getcpuclockid(3)), to the nanosecond.
func processCPU(pid int) (time.Duration, error) {
	const scheduler = 2 // CPUCLOCK_SCHED: what the scheduler has counted
	var spent unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|scheduler), &spent); err != nil {
		return 0, fmt.Errorf("read processor time of process %d: %w", pid, err)
	}
	return time.Duration(spent.Nano()), nil
}

func rusage(who int) (time.Duration, error) {
	var usage unix.Rusage
	if err := unix.Getrusage(who, &usage); err != nil {
		return 0, fmt.Errorf("read own processor time: %w", err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), nil
}

// sleepUntil blocks the thread until the monotonic instant deadline after origin. Unlike time.Sleep in an otherwise idle process it
// is not rounded up to a millisecond.
func sleepUntil(origin time.Time, deadline time.Duration) {
	for {
		left := deadline - time.Since(origin)
		if left <= 0 {
			return
		}
		request := unix.NsecToTimespec(int64(left))
		if err := unix.Nanosleep(&request, nil); err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// lockThread ties the goroutine to its thread until the returned function is called.
func lockThread() (unlock func()) {
	runtime.LockOSThread()
	return runtime.UnlockOSThread
}

// childAttributes has the kernel kill the child if this process ends without having done so.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// allocate reserves the blocks of file, as a log does before it is written.
func allocate(file *os.File, sizeBytes int64) error {
	if err := unix.Fallocate(int(file.Fd()), 0, 0, sizeBytes); err != nil {
		return fmt.Errorf("reserve %d bytes: %w", sizeBytes, err)
	}
	return nil
}

func checkPlatform() error { return nil }
