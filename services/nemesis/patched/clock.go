package patched

// Clock lets the wall clock of the whole process be moved, in every package and library, by what the file says that NEMESIS_CLOCK
// names: nanoseconds, read ten times a second. The monotonic clock stays what it is, as with a machine whose clock is set.
var Clock = []Change{
	{
		File: "std/time/time.go",
		Old:  "	sec, nsec, mono := runtimeNow()\n	if mono == 0 {",
		New:  "	sec, nsec, mono := runtimeNow()\n	sec, nsec = moved(sec, nsec)\n	if mono == 0 {",
	},
	{
		File: "std/time/moved.go",
		New: `package time

import "sync/atomic"

var movedBy atomic.Int64

// Move moves the wall clock.
func Move(by Duration) { movedBy.Store(int64(by)) }

func moved(sec int64, nsec int32) (int64, int32) {
	by := movedBy.Load()
	if by == 0 {
		return sec, nsec
	}
	sum := int64(nsec) + by%1e9
	sec += by / 1e9
	if sum < 0 {
		sum, sec = sum+1e9, sec-1
	} else if sum >= 1e9 {
		sum, sec = sum-1e9, sec+1
	}
	return sec, int32(sum)
}
`,
	},
	{
		File: "services/varve/moved_clock.go",
		New: `package main

import (
	"os"
	"strconv"
	"strings"
	"time"
)

func init() {
	name := os.Getenv("NEMESIS_CLOCK")
	if name == "" {
		return
	}
	set := func() {
		text, err := os.ReadFile(name)
		if err != nil {
			return
		}
		if by, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil {
			time.Move(time.Duration(by))
		}
	}
	set()
	go func() {
		for range time.Tick(100 * time.Millisecond) {
			set()
		}
	}()
}
`,
	},
}
