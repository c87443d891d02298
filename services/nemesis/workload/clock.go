//go:build linux

package workload

import "golang.org/x/sys/unix"

// now is the machine's monotonic clock in nanoseconds, which is System.nanoTime of Java too.
func now() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		panic(err) // the clock is there on every Linux
	}
	return t.Nano()
}
