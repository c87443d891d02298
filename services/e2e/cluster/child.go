package cluster

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	// stopTimeout is how long a process may take to end after SIGTERM. Its own drain timeout is 10 s.
	stopTimeout = 30 * time.Second
	// logTail is how much of a process's log a failed test prints.
	logTail = 24 << 10
)

// child is one run of one process.
type child struct {
	command *exec.Cmd
	exited  chan struct{} // closed when the process has been waited for
}

// spawn starts a command whose output is appended to the file log. The kernel kills it if this process dies.
func spawn(log, name string, environment []string, args ...string) (*child, error) {
	output, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open log of %s: %w", name, err)
	}
	defer output.Close() // the process has its own descriptor
	c := &child{command: exec.Command(name, args...), exited: make(chan struct{})}
	c.command.Env = append(os.Environ(), environment...)
	c.command.Stdout, c.command.Stderr = output, output
	c.command.SysProcAttr = childAttributes()
	if err := c.command.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		defer close(c.exited)
		_ = c.command.Wait() // how it ended is in ProcessState
	}()
	return c, nil
}

func (c *child) running() bool {
	select {
	case <-c.exited:
		return false
	default:
		return true
	}
}

func (c *child) signal(signal os.Signal) error {
	err := c.command.Process.Signal(signal)
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// kill ends the process without its consent, and waits until it is gone.
func (c *child) kill() error {
	err := c.signal(syscall.SIGKILL)
	if err == nil {
		<-c.exited
	}
	return err
}

// stop asks the process to end, waits until it has, and returns its exit code.
func (c *child) stop() (int, error) {
	if err := c.signal(syscall.SIGTERM); err != nil {
		return 0, err
	}
	deadline := time.NewTimer(stopTimeout)
	defer deadline.Stop()
	select {
	case <-c.exited:
		return c.command.ProcessState.ExitCode(), nil
	case <-deadline.C:
		return 0, errors.Join(fmt.Errorf("still there %v after SIGTERM", stopTimeout), c.kill())
	}
}

var printing sync.Mutex

// printLog prints the end of a log of a test that failed, in one piece.
func printLog(t testing.TB, name, path string) {
	text, err := os.ReadFile(path)
	if err != nil {
		t.Logf("log of %s: %v", name, err)
		return
	}
	printing.Lock()
	defer printing.Unlock()
	t.Logf("log of %s, the last %d of %d bytes:\n%s", name, min(len(text), logTail), len(text), text[max(0, len(text)-logTail):])
}
