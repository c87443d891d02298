package bench

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
)

// memory is what a process holds of the machine's, in bytes.
type memory struct {
	resident, peak int64
}

// processMemory reads VmRSS and VmHWM (proc_pid_status(5)).
func processMemory(pid int) (memory, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return memory{}, fmt.Errorf("read memory: %w", err)
	}
	return parseStatusMemory(status)
}

func parseStatusMemory(status []byte) (memory, error) {
	var m memory
	for line := range bytes.Lines(status) {
		name, rest, _ := bytes.Cut(line, []byte(":"))
		var to *int64
		switch string(name) {
		case "VmRSS":
			to = &m.resident
		case "VmHWM":
			to = &m.peak
		default:
			continue
		}
		number, _, _ := bytes.Cut(bytes.TrimSpace(rest), []byte(" "))
		kib, err := strconv.ParseInt(string(number), 10, 64)
		if err != nil {
			return memory{}, fmt.Errorf("parse /proc status %s: %w", name, err)
		}
		*to = kib << 10
	}
	if m.resident == 0 {
		return memory{}, errors.New("parse /proc status: no VmRSS")
	}
	return m, nil
}
