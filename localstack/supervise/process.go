// Package supervise runs the processes of a cluster on this machine: it starts them, says when they are ready, starts again what
// ends by itself, and stops or kills them. It ends no process but those it has started.
package supervise

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// Process is one supervised process. Set the fields, then Start.
type Process struct {
	Name    string
	Command []string
	Env     []string // besides this process's own
	Log     string   // file that takes its output
	// Ready says whether it serves, or why not.
	Ready func(context.Context) error
	// Tell takes a line when the process ends by itself; nil drops it.
	Tell io.Writer

	cancel context.CancelFunc
	done   sync.WaitGroup
	mu     struct {
		sync.Mutex
		running *os.Process
		exit    error // why it ended last
	}
}

const (
	restartMin, restartMax = 200 * time.Millisecond, 10 * time.Second
	stopPatience           = 15 * time.Second
	readyPatience          = 60 * time.Second
)

// Start runs the process, and again whenever it ends by itself, until Stop.
func (p *Process) Start() {
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	p.done.Go(func() {
		delay := restartMin
		for ctx.Err() == nil {
			began := time.Now()
			err := p.runOnce(ctx)
			if ctx.Err() != nil {
				return
			}
			if p.Tell != nil {
				fmt.Fprintf(p.Tell, "%-14s ended: %v, and is started again; see %s\n", p.Name, err, p.Log)
			}
			if time.Since(began) > restartMax {
				delay = restartMin
			}
			select {
			case <-ctx.Done():
			case <-time.After(delay):
			}
			delay = min(2*delay, restartMax)
		}
	})
}

// runOnce runs the process until it ends; when ctx ends it is told to, and killed if it does not listen.
func (p *Process) runOnce(ctx context.Context) error {
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	defer log.Close()
	command := exec.CommandContext(ctx, p.Command[0], p.Command[1:]...)
	command.Env = append(os.Environ(), p.Env...)
	command.Stdout, command.Stderr = log, log
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	command.WaitDelay = stopPatience
	// A terminal's ctrl-C reaches the supervisor alone, which stops the processes in order.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	err = command.Start()
	if err == nil {
		p.set(command.Process, nil)
		err = command.Wait()
	}
	p.set(nil, err)
	return err
}

func (p *Process) set(running *os.Process, exit error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.running, p.mu.exit = running, exit
}

// AwaitReady returns when the process is ready; it gives up when that takes too long.
func (p *Process) AwaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyPatience)
	defer cancel()
	if err := Poll(ctx, func() error { return p.Ready(ctx) }); err != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		return fmt.Errorf("%s is not ready: %w; see %s", p.Name, errors.Join(err, p.mu.exit), p.Log)
	}
	return nil
}

// Kill ends the process with SIGKILL; it is started again.
func (p *Process) Kill() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.running == nil {
		return fmt.Errorf("kill %s: it does not run", p.Name)
	}
	return p.mu.running.Kill()
}

// Stop ends the process with SIGTERM and waits for it.
func (p *Process) Stop() {
	if p.cancel != nil {
		p.cancel()
	}
	p.done.Wait()
}

// Poll calls check until it returns nil or ctx ends, and then returns its last error.
func Poll(ctx context.Context, check func() error) error {
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := check()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-ticker.C:
		}
	}
}

// HTTPReady asks url, which answers 200 when the process is ready.
func HTTPReady(url string) func(context.Context) error {
	return func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s", url, response.Status)
		}
		return nil
	}
}

// DialReady connects to address.
func DialReady(address string) func(context.Context) error {
	return func(ctx context.Context) error {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		return conn.Close()
	}
}
