package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/varvelog/varve/localstack/supervise"
)

// stack is a cluster with a file that tells which process supervises it.
type stack struct {
	cluster supervise.Cluster
}

func (s *stack) pidFile() string { return filepath.Join(s.cluster.Dir, "stack.pid") }

func (s *stack) environmentFile() string { return filepath.Join(s.cluster.Dir, "env") }

// writeEnvironment leaves a file for shells that says where the cluster is.
func (s *stack) writeEnvironment() error {
	var text strings.Builder
	for _, setting := range s.cluster.Environment {
		name, value, _ := strings.Cut(setting, "=")
		fmt.Fprintf(&text, "export %s='%s'\n", name, strings.ReplaceAll(value, "'", `'\''`))
	}
	return os.WriteFile(s.environmentFile(), []byte(text.String()), 0o600)
}

// up runs the cluster until ctx ends.
func (s *stack) up(ctx context.Context) error {
	if pid, running := s.running(); running {
		return fmt.Errorf("a stack is running already, as process %d in %s", pid, s.cluster.Dir)
	}
	if err := s.cluster.Prepare(); err != nil {
		return err
	}
	if err := os.WriteFile(s.pidFile(), []byte(strconv.Itoa(os.Getpid())), 0o600); err != nil {
		return err
	}
	defer os.Remove(s.pidFile())
	defer s.cluster.Down()
	if err := s.cluster.Up(ctx); err != nil {
		return err
	}
	if err := s.writeEnvironment(); err != nil {
		return err
	}
	ports := s.cluster.Ports
	fmt.Printf("\nKafka at 127.0.0.1:%d and 127.0.0.1:%d, the bucket at http://127.0.0.1:%d (user %s, password %s).\n"+
		"For varve's own commands, such as varve node list, in another terminal: source %s\nEnd it with ctrl-C or make stack-down.\n",
		ports.KafkaA, ports.KafkaB, ports.MinIO, supervise.MinIOUser, supervise.MinIOPassword, s.environmentFile())
	<-ctx.Done()
	fmt.Println("stopping")
	return nil
}

// running returns the supervisor's process id, and whether it lives.
func (s *stack) running() (pid int, alive bool) {
	text, err := os.ReadFile(s.pidFile())
	if err != nil {
		return 0, false
	}
	if pid, err = strconv.Atoi(strings.TrimSpace(string(text))); err != nil || pid < 2 {
		return 0, false
	}
	return pid, syscall.Kill(pid, 0) == nil
}

// down stops a running stack.
func (s *stack) down(ctx context.Context) error {
	pid, running := s.running()
	if !running {
		fmt.Println("no stack is running")
		return nil
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop process %d: %w", pid, err)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return supervise.Poll(ctx, func() error {
		if _, running := s.running(); running {
			return fmt.Errorf("process %d is still running", pid)
		}
		return nil
	})
}

func (s *stack) status(ctx context.Context) error {
	if _, running := s.running(); !running {
		return errors.New("no stack is running")
	}
	if err := s.cluster.Prepare(); err != nil {
		return err
	}
	for _, p := range s.cluster.Processes() {
		state := "ready"
		if err := p.Ready(ctx); err != nil {
			state = err.Error()
		}
		fmt.Printf("%-14s %s\n", p.Name, state)
	}
	return nil
}
