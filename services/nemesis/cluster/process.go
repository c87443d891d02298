//go:build linux

package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/varvelog/varve/services/nemesis/netns"
)

// Role is what a process is for.
type Role string

// The roles. Store is not one of Varve's.
const (
	Coordinator Role = "coordinator"
	Ingest      Role = "ingest"
	Tiering     Role = "tiering"
	Store       Role = "store"
)

// Process is one process of the cluster. It may run or not.
type Process struct {
	Name string
	Role Role
	Host *netns.Host

	disk      *disk
	health    string // URL that answers 200 when it serves
	command   []string
	env       []string
	log       string
	clockFile string
	complain  func(format string, args ...any)

	mu struct {
		sync.Mutex
		running  *exec.Cmd
		exited   chan struct{}
		wanted   bool // it has not been told to end
		paused   int
		resumed  time.Time // the last time
		maxRSS   int64
		restarts int
		filled   int
		skew     time.Duration
	}
}

// startAgain is how long a process that ended by itself is left alone.
const startAgain = 500 * time.Millisecond

// Start starts the process; nothing happens where it runs.
func (p *Process) Start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.running != nil {
		return nil
	}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	defer log.Close() // the process has its own descriptor
	command := exec.Command(p.command[0], p.command[1:]...)
	command.Env = append(os.Environ(), p.env...)
	command.Stdout, command.Stderr = log, log
	if err := command.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	exited := make(chan struct{})
	p.mu.running, p.mu.exited, p.mu.wanted, p.mu.paused = command, exited, true, 0
	p.mu.restarts++
	go p.wait(command, exited)
	return nil
}

// wait notes an end that nobody asked for, and starts the process again as a supervisor would.
func (p *Process) wait(command *exec.Cmd, exited chan struct{}) {
	err := command.Wait()
	p.mu.Lock()
	wanted := p.mu.wanted
	p.mu.running = nil
	p.mu.Unlock()
	close(exited)
	if !wanted {
		return
	}
	p.complain("%s ended by itself (%v), see %s", p.Name, err, p.log)
	time.Sleep(startAgain)
	p.mu.Lock()
	wanted = p.mu.wanted
	p.mu.Unlock()
	if wanted {
		if err := p.Start(); err != nil {
			p.complain("%v", err)
		}
	}
}

// signal sends a signal to the running process.
func (p *Process) signal(s syscall.Signal, before func()) (exited chan struct{}, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	before()
	if p.mu.running == nil {
		return nil, nil
	}
	return p.mu.exited, p.mu.running.Process.Signal(s)
}

// Kill ends the process with SIGKILL and waits for that.
func (p *Process) Kill() error {
	exited, err := p.signal(syscall.SIGKILL, func() { p.mu.wanted = false })
	if exited != nil {
		<-exited
	}
	return err
}

// dumpPatience is how long a process may take to write what its goroutines are at.
const dumpPatience = 3 * time.Second

// Terminate ends the process with SIGTERM. One that takes longer than patience is noted, has to say in its log what it is at, and is killed.
func (p *Process) Terminate(patience time.Duration) error {
	began := time.Now()
	exited, err := p.signal(syscall.SIGTERM, func() { p.mu.wanted = false })
	if exited == nil || err != nil {
		return err
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-exited:
	case <-timer.C:
		if !p.wasPaused(began) { // which takes no notice of signals
			p.complain("%s was told to end and is there %s later", p.Name, time.Since(began).Round(time.Second))
			if _, err := p.signal(syscall.SIGQUIT, func() {}); err != nil {
				return err
			}
			timer.Reset(dumpPatience)
			select {
			case <-exited:
			case <-timer.C:
			}
		}
		return p.Kill()
	}
	return nil
}

// wasPaused tells whether the process was paused at any time since.
func (p *Process) wasPaused(since time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.paused > 0 || p.mu.resumed.After(since)
}

// Pause stops the process until as many calls of Resume.
func (p *Process) Pause() error {
	_, err := p.signal(syscall.SIGSTOP, func() { p.mu.paused++ })
	return err
}

// Resume takes back one Pause.
func (p *Process) Resume() error {
	p.mu.Lock()
	p.mu.paused = max(0, p.mu.paused-1)
	last := p.mu.paused == 0
	p.mu.resumed = time.Now()
	p.mu.Unlock()
	if !last {
		return nil
	}
	_, err := p.signal(syscall.SIGCONT, func() {})
	return err
}

// Running tells whether the process exists, paused or not.
func (p *Process) Running() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.running != nil
}

// Pid is the process's id in the program's own namespace; 0 while it does not run.
func (p *Process) Pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.running == nil {
		return 0
	}
	return p.mu.running.Process.Pid
}

// Log is the file with its output.
func (p *Process) Log() string { return p.log }

var status = &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// Ready says whether the process serves, or why not.
func (p *Process) Ready(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.health, nil)
	if err != nil {
		return err
	}
	answer, err := status.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		why, _ := io.ReadAll(io.LimitReader(answer.Body, 1<<10)) // for people
		return fmt.Errorf("%s: %s: %s", p.Name, answer.Status, bytes.TrimSpace(why))
	}
	return nil
}

// measure notes the process's resident memory.
func (p *Process) measure() {
	pid := p.Pid()
	if pid == 0 {
		return
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return // it has just ended
	}
	for line := range strings.Lines(string(text)) {
		if kib, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(kib), " kB"), 10, 64)
			p.mu.Lock()
			p.mu.maxRSS = max(p.mu.maxRSS, n<<10)
			p.mu.Unlock()
		}
	}
}

// MaxRSS is the highest resident memory seen, in bytes.
func (p *Process) MaxRSS() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.maxRSS
}

// Starts is how often the process was started.
func (p *Process) Starts() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.restarts
}

// Kill ends the processes in one moment with SIGKILL.
func Kill(processes []*Process) error {
	var failed []error
	var ended []chan struct{}
	for _, p := range processes {
		exited, err := p.signal(syscall.SIGKILL, func() { p.mu.wanted = false })
		failed = append(failed, err)
		if exited != nil {
			ended = append(ended, exited)
		}
	}
	for _, exited := range ended {
		<-exited
	}
	return errors.Join(failed...)
}

// CutPower ends the processes in one moment, with what was not synced on their disks; see Powered. They can be started again then.
func CutPower(processes []*Process) error {
	var failed []error
	for _, p := range processes {
		_, err := p.signal(syscall.SIGSTOP, func() { p.mu.wanted = false })
		failed = append(failed, err)
	}
	for _, p := range processes {
		if p.Powered() {
			failed = append(failed, p.disk.cut())
		}
	}
	for _, p := range processes {
		failed = append(failed, p.Kill())
	}
	for _, p := range processes {
		if p.Powered() {
			failed = append(failed, p.disk.restore())
		}
	}
	return errors.Join(failed...)
}

// Powered tells whether the process has a disk that loses with its power what was not synced.
func (p *Process) Powered() bool { return p.disk != nil && p.disk.image != "" }

const filler = "filler"

// FillDisk leaves nothing free on the process's disk, until as many calls of FreeDisk.
func (p *Process) FillDisk() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.filled++
	if p.mu.filled > 1 {
		return nil
	}
	var free unix.Statfs_t
	if err := unix.Statfs(p.disk.dir, &free); err != nil {
		return err
	}
	file, err := os.Create(filepath.Join(p.disk.dir, filler))
	if err != nil {
		return err
	}
	defer file.Close()
	left := int64(free.Bavail) * free.Bsize
	for left > 0 { // others may take space meanwhile
		if unix.Fallocate(int(file.Fd()), 0, 0, left) == nil {
			break
		}
		left -= 64 << 10
	}
	return nil
}

func (p *Process) isFilled() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.filled > 0
}

// FreeDisk takes back one FillDisk.
func (p *Process) FreeDisk() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.filled = max(0, p.mu.filled-1)
	if p.mu.filled > 0 {
		return nil
	}
	return p.disk.free()
}

// SkewClock moves the process's wall clock by d, which takes effect within a fifth of a second and outlives restarts. It needs a binary
// whose clock can be moved (package patched).
func (p *Process) SkewClock(d time.Duration) error {
	temporary := p.clockFile + ".new"
	if err := os.WriteFile(temporary, []byte(strconv.FormatInt(int64(d), 10)), 0o640); err != nil {
		return err
	}
	return os.Rename(temporary, p.clockFile)
}
