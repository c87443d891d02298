//go:build linux

package netns

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrNotPermitted: this user or kernel allows no namespaces.
var ErrNotPermitted = errors.New("network namespaces are not permitted here")

const insideVariable = "VARVE_NEMESIS_INSIDE"

// Enter runs this program again in namespaces of its own and returns its exit code. In that second run it prepares them and returns inside
// as true. The error matches ErrNotPermitted where they cannot be had.
func Enter() (inside bool, code int, err error) {
	if os.Getenv(insideVariable) != "" {
		return true, 0, prepare()
	}
	if _, err := exec.LookPath("ip"); err != nil {
		return false, 0, fmt.Errorf("%w: %w", ErrNotPermitted, err)
	}
	command := exec.Command("/proc/self/exe", os.Args[1:]...)
	command.Args[0] = os.Args[0]
	command.Stdin, command.Stdout, command.Stderr = os.Stdin, os.Stdout, os.Stderr
	command.Env = append(os.Environ(), insideVariable+"=1")
	// As process 1 of its namespace it takes all others with it when it ends.
	command.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	if err := command.Start(); err != nil {
		return false, 0, fmt.Errorf("%w: %w", ErrNotPermitted, err)
	}
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		for {
			select {
			case s := <-signals:
				_ = command.Process.Signal(s) // it may have ended
			case <-ended:
				return
			}
		}
	}()
	var exit *exec.ExitError
	if err := command.Wait(); errors.As(err, &exit) {
		return false, exit.ExitCode(), nil
	} else if err != nil {
		return false, 0, err
	}
	return false, 0, nil
}

// prepare makes what is inherited private, and gives the new namespaces what they lack.
func prepare() error {
	mounts := []struct {
		source, target, kind string
		flags                uintptr
	}{
		{"none", "/", "", unix.MS_REC | unix.MS_PRIVATE},
		{"proc", "/proc", "proc", 0},
		{"tmpfs", "/run/netns", "tmpfs", 0},
	}
	if err := os.MkdirAll("/run/netns", 0o755); err != nil {
		return fmt.Errorf("%w: %w", ErrNotPermitted, err)
	}
	for _, m := range mounts {
		if err := unix.Mount(m.source, m.target, m.kind, m.flags, ""); err != nil {
			return fmt.Errorf("%w: mount %s: %w", ErrNotPermitted, m.target, err)
		}
	}
	return run("ip", "link", "set", "lo", "up")
}

func run(command ...string) error {
	if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w: %s", command, err, out)
	}
	return nil
}
