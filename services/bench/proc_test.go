package bench

import (
	"os"
	"runtime"
	"testing"
	"time"
)

func TestProcessorTimeOfAProcessIsWhatItsThreadsUsed(t *testing.T) {
	if checkPlatform() != nil {
		t.Skip("not on this platform")
	}
	before, err := processCPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for sum := 0; sum < 1<<22; sum++ {
		runtime.KeepAlive(sum)
	}
	after, err := processCPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	own, err := ownCPU()
	if err != nil {
		t.Fatal(err)
	}
	if after <= before || after > own+time.Millisecond {
		t.Errorf("%v, and %v after some work, while the process knows of %v", before, after, own)
	}
	if _, err := processCPU(1<<22 + 1); err == nil {
		t.Error("a process that is not there has used processor time")
	}
}

func TestStatusGivesResidentAndPeak(t *testing.T) {
	m, err := parseStatusMemory([]byte("Name:\tvarve\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\nThreads:\t9\n"))
	if err != nil || m != (memory{resident: 1 << 20, peak: 2 << 20}) {
		t.Errorf("got %+v, %v", m, err)
	}
	if _, err := parseStatusMemory([]byte("Name:\tvarve\n")); err == nil {
		t.Error("a status without VmRSS was accepted")
	}
}
