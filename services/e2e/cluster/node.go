package cluster

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	// readyTimeout is generous: other tests share the machine.
	readyTimeout = 60 * time.Second
	// startAttempts: a port may be taken between its choice and its use.
	startAttempts = 4
)

// Node is one Varve process with its addresses and its data directory, which stay the same over restarts.
type Node struct {
	Role    string
	DataDir string
	// Kafka, HTTP, Internal and NATS are the addresses (host:port) given to the process, whether its role listens there or not.
	Kafka, HTTP, Internal, NATS string
	// Peers are the group that a coordinator is one of, as its flag has them.
	Peers string

	t           testing.TB
	environment []string
	flags       []string
	log         string
	child       *child
	client      *http.Client
	starts      int
	fixed       bool // others have been told the addresses
}

// Serve starts `varve serve` on a new data directory.
func Serve(t testing.TB, flags ...string) *Node {
	t.Helper()
	n := New(t, "serve", flags...)
	n.Start()
	return n
}

// New returns a node of a role (serve, coordinator, ingest, tiering) that has not been started.
func New(t testing.TB, role string, flags ...string) *Node {
	t.Helper()
	dir := t.TempDir()
	n := &Node{
		Role: role, DataDir: filepath.Join(dir, "data"), t: t, flags: flags, log: filepath.Join(dir, role+".log"),
		client: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}},
	}
	n.choosePorts()
	t.Cleanup(func() {
		n.Kill()
		if t.Failed() {
			printLog(t, n.String(), n.log)
		}
	})
	return n
}

func (n *Node) choosePorts() {
	n.Kafka, n.HTTP, n.Internal, n.NATS = FreeAddress(n.t), FreeAddress(n.t), FreeAddress(n.t), FreeAddress(n.t)
}

// String names the node in messages.
func (n *Node) String() string { return fmt.Sprintf("varve %s (Kafka %s)", n.Role, n.Kafka) }

// BucketDir is where `varve serve` keeps its bucket unless told otherwise.
func (n *Node) BucketDir() string { return filepath.Join(n.DataDir, "bucket") }

// HotLogDir is the directory of the hot log.
func (n *Node) HotLogDir() string { return filepath.Join(n.DataDir, "hotlog") }

// Args are the arguments with which the node is started.
func (n *Node) Args() []string {
	return append([]string{n.Role, "--data-dir", n.DataDir, "--kafka-addr", n.Kafka, "--http-addr", n.HTTP, "--internal-addr", n.Internal, "--nats-addr", n.NATS}, n.flags...)
}

// Flags are those that Start gives on top of directory and addresses.
func (n *Node) Flags() []string { return n.flags }

// SetFlags replaces the flags that Start gives on top of directory and addresses.
func (n *Node) SetFlags(flags ...string) { n.flags = flags }

// SetEnvironment gives the process variables, as NAME=value, on top of this process's.
func (n *Node) SetEnvironment(variables ...string) { n.environment = variables }

// Start starts the process and returns when it is ready. Started for the first time, it tries other ports where one is taken.
func (n *Node) Start() {
	n.t.Helper()
	for attempt := 1; ; attempt++ {
		n.Launch()
		err := n.AwaitReady(readyTimeout)
		if err == nil {
			return
		}
		if !errors.Is(err, errEnded) || n.starts > 1 || n.fixed || attempt == startAttempts || !strings.Contains(n.Log(), "address already in use") {
			n.t.Fatalf("start %s: %v", n, err)
		}
		n.starts = 0
		n.choosePorts()
	}
}

// Launch starts the process and does not wait for it.
func (n *Node) Launch() {
	n.t.Helper()
	if n.Running() {
		n.t.Fatalf("start %s: it runs", n)
	}
	child, err := spawn(n.log, Binary(), n.environment, n.Args()...)
	if err != nil {
		n.t.Fatal(err)
	}
	n.child = child
	n.starts++
}

var errEnded = errors.New("the process ended")

// AwaitReady returns when /readyz says yes.
func (n *Node) AwaitReady(timeout time.Duration) error {
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for {
		_, err := n.Get("/readyz")
		if err == nil {
			return nil
		}
		select {
		case <-n.child.exited:
			return fmt.Errorf("%w: %s", errEnded, n.child.command.ProcessState)
		case <-deadline.C:
			return fmt.Errorf("not ready after %v: %w", timeout, err)
		case <-poll.C:
		}
	}
}

// Running tells whether the process is there.
func (n *Node) Running() bool { return n.child != nil && n.child.running() }

// Exited is closed when the process has ended.
func (n *Node) Exited() <-chan struct{} { return n.child.exited }

// ExitCode is that of the process, which has ended.
func (n *Node) ExitCode() int { return n.child.command.ProcessState.ExitCode() }

// PID is the process's.
func (n *Node) PID() int { return n.child.command.Process.Pid }

// Kill ends the process with SIGKILL.
func (n *Node) Kill() {
	n.t.Helper()
	if !n.Running() {
		return
	}
	if err := n.child.kill(); err != nil {
		n.t.Errorf("kill %s: %v", n, err)
	}
}

// Stop ends the process with SIGTERM, and fails the test unless it ends in time and without an error.
func (n *Node) Stop() {
	n.t.Helper()
	if !n.Running() {
		n.t.Fatalf("stop %s: it does not run", n)
	}
	code, err := n.child.stop()
	if err != nil {
		n.t.Fatalf("stop %s: %v", n, err)
	}
	if code != 0 {
		n.t.Errorf("stop %s: exit code %d", n, code)
	}
}

// Freeze stops the process where it is (SIGSTOP); Thaw lets it go on.
func (n *Node) Freeze() { n.mustSignal(syscall.SIGSTOP) }

// Thaw ends what Freeze began.
func (n *Node) Thaw() { n.mustSignal(syscall.SIGCONT) }

func (n *Node) mustSignal(signal syscall.Signal) {
	n.t.Helper()
	if err := n.child.signal(signal); err != nil {
		n.t.Fatalf("send %v to %s: %v", signal, n, err)
	}
}

// Log is all that the process has written, over all its starts.
func (n *Node) Log() string {
	text, err := os.ReadFile(n.log)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		n.t.Fatal(err)
	}
	return string(text)
}

// Get reads a page of the status listener; any status but 200 is an error.
func (n *Node) Get(path string) (string, error) {
	response, err := n.client.Get("http://" + n.HTTP + path)
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(response.Body)
	if err = errors.Join(err, response.Body.Close()); err != nil {
		return "", fmt.Errorf("get %s: %w", path, err)
	}
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("get %s: %s: %s", path, response.Status, body)
	}
	return string(body), nil
}
