package bench

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"
)

// clockTick is the unit of processor time in /proc/<pid>/stat: USER_HZ, 100 on every architecture Linux has today.
const clockTick = 10 * time.Millisecond

// processCPU is the processor time, user and system, that a process has used (proc_pid_stat(5), fields 14 and 15).
func processCPU(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("read processor time: %w", err)
	}
	return parseStatCPU(stat)
}

func parseStatCPU(stat []byte) (time.Duration, error) {
	// The second field is the command's name in parentheses, and may itself hold spaces and parentheses.
	end := bytes.LastIndexByte(stat, ')')
	if end < 0 {
		return 0, errors.New("parse /proc stat: no command")
	}
	fields := bytes.Fields(stat[end+1:]) // fields[0] is field 3
	if len(fields) < 13 {
		return 0, fmt.Errorf("parse /proc stat: %d fields", len(fields)+2)
	}
	var ticks int64
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(string(field), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("parse /proc stat: %w", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * clockTick, nil
}

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
