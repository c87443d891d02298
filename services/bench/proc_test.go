package bench

import (
	"testing"
	"time"
)

func TestStatOfACommandWithParentheses(t *testing.T) {
	stat := []byte("42 (a (b) c) S 1 42 42 0 -1 4194560 100 0 0 0 150 25 0 0 20 0 9 0 100 1000 200\n")
	got, err := parseStatCPU(stat)
	if err != nil || got != 1750*time.Millisecond {
		t.Errorf("got %v, %v", got, err)
	}
	for _, bad := range []string{"", "42 (x) S 1", "42 (x) S 1 2 3 4 5 6 7 8 9 10 x 12 13"} {
		if _, err := parseStatCPU([]byte(bad)); err == nil {
			t.Errorf("%q was accepted", bad)
		}
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
