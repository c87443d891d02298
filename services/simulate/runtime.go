//go:build linux

package main

import (
	"errors"
	"fmt"

	"github.com/varvelog/varve/services/overlay"
)

// edit is a change to Go's own runtime: text that stands in a file below GOROOT/src once is replaced.
type edit struct{ what, file, old, new string }

// runtimeEdits take away whatever makes two runs of a Go program differ, so that it becomes a function of its first argument. What is
// left is one thread, no preemption, and a clock and chance of its own. Assertions stand where the rest of it relies on that.
var runtimeEdits = []edit{
	{"chance comes from the first argument", "runtime/rand.go",
		"	seed := &globalRand.seed\n", "	startupRand = simulatedChance()\n	seed := &globalRand.seed\n"},
	{"and so do random numbers that a program asks the kernel for", "internal/syscall/unix/getrandom.go",
		"	ret, supported := vgetrandom(p, uint32(flags))\n", "	if simulatedRandom(p) {\n		return len(p), nil\n	}\n	ret, supported := vgetrandom(p, uint32(flags))\n"},
	{"time is a number", "runtime/time_nofake.go",
		"	return nanotime1()\n", "	return simulatedNanotime()\n"},
	{"every process has the same number", "syscall/zsyscall_linux_amd64.go",
		"	r0, _ := rawSyscallNoError(SYS_GETPID, 0, 0, 0)\n	pid = int(r0)\n", "	pid = 1\n"},
	{"nobody preempts goroutines or collects garbage by the clock", "runtime/proc.go",
		"const haveSysmon = GOARCH != \"wasm\"\n", "const haveSysmon = false\n"},
	{"initialization needs no thread of its own", "runtime/proc.go",
		"	// by calling runtime.LockOSThread during initialization\n	// to preserve the lock.\n	lockOSThread()\n", "	lockOSThread()\n	unlockOSThread()\n"},
	{"nor does its end", "runtime/proc.go",
		"	needUnlock = false\n	unlockOSThread()\n", "	needUnlock = false\n"},
	{"or its failure", "runtime/proc.go",
		"		if needUnlock {\n			unlockOSThread()\n		}\n", "		_ = needUnlock\n"},
	{"there is one thread", "runtime/proc.go",
		"func newm(fn func(), pp *p, id int64) {\n", "func newm(fn func(), pp *p, id int64) {\n	throw(\"a simulated process has one thread\")\n"},
}

// runtimeRemoved are files of the runtime that are not there.
var runtimeRemoved = []string{"runtime/timestub.go", "runtime/timeasm.go", "runtime/time_linux_amd64.s"}

// runtimeFiles are files of the runtime that are replaced or added.
func runtimeFiles() map[string]string {
	return map[string]string{
		"runtime/netpoll_epoll.go":        runtimeIdle,
		"runtime/simulated.go":            fmt.Sprintf(runtimeClock, clockStep, epoch, virtualPatience, virtualPatience),
		"internal/syscall/unix/chance.go": unixChance,
	}
}

// runtimeClock is the runtime's clock and its chance. A look at the clock takes a while, so that a loop that waits for time to pass ends.
const runtimeClock = `package runtime

import _ "unsafe"

const (
	simulatedStep  = int64(%d)
	simulatedEpoch = int64(%d)
	simulatedLimit = int64(%d)
)

// simulatedNow is in nanoseconds since the beginning.
var simulatedNow int64

//go:nosplit
func simulatedPass(nanoseconds int64) {
	simulatedNow += nanoseconds
	if simulatedNow > simulatedLimit {
		throw("more than %v of virtual time have passed")
	}
}

//go:nosplit
func simulatedNanotime() int64 {
	simulatedPass(simulatedStep)
	return 1_000_000_000 + simulatedNow // 0 means no time
}

//go:linkname time_now time.now
func time_now() (sec int64, nsec int32, mono int64) {
	mono = simulatedNanotime()
	wall := simulatedEpoch + simulatedNow
	return wall / 1_000_000_000, int32(wall %% 1_000_000_000), mono
}

var simulatedSeed [32]byte

// simulatedChance is the first argument as a key.
func simulatedChance() []byte {
	key := uint64(14695981039346656037)
	if argc > 1 {
		for _, c := range []byte(gostringnocopy(argv_index(argv, 1))) {
			key = (key ^ uint64(c)) * 1099511628211
		}
	}
	for i := range simulatedSeed {
		key ^= key << 13
		key ^= key >> 7
		key ^= key << 17
		simulatedSeed[i] = byte(key >> 32)
	}
	return simulatedSeed[:]
}
`

// runtimeIdle stands in for waiting for the network, of which there is none: where nothing can run, the time of the next timer comes.
const runtimeIdle = `package runtime

func netpollinit() {}

func netpollIsPollDescriptor(uintptr) bool { return false }

func netpollopen(uintptr, *pollDesc) uintptr { return _ENOSYS }

func netpollclose(uintptr) uintptr { return 0 }

func netpollarm(*pollDesc, int) { throw("runtime: unused") }

func netpollBreak() {}

func netpoll(delay int64) (gList, int32) {
	if delay > 0 {
		simulatedPass(delay)
	}
	return gList{}, 0
}
`

// unixChance is where crypto/rand gets its bytes.
const unixChance = `package unix

import _ "unsafe"

//go:linkname simulatedRand runtime.rand
func simulatedRand() uint64

func simulatedRandom(p []byte) bool {
	for i := range p {
		p[i] = byte(simulatedRand())
	}
	return true
}
`

// deterministic changes Go's runtime.
func deterministic(sources *overlay.Sources) error {
	var errs []error
	for _, e := range runtimeEdits {
		if err := sources.Replace(overlay.Std+e.file, e.old, e.new); err != nil {
			errs = append(errs, fmt.Errorf("change the runtime so that %s: %w", e.what, err))
		}
	}
	for _, file := range runtimeRemoved {
		sources.Remove(overlay.Std + file)
	}
	for file, text := range runtimeFiles() {
		sources.Put(overlay.Std+file, text)
	}
	return errors.Join(errs...)
}
