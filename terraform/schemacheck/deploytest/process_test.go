//go:build deploy

package deploytest

import (
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

const (
	readyWithin = 60 * time.Second
	stopWithin  = 30 * time.Second
)

// A role is a process of the varve binary.
type role struct {
	name, address string
	dir           string // where it runs
	argv, env     []string

	log    *os.File
	cmd    *exec.Cmd
	exited chan struct{} // closed when the process is gone; err is set before
	err    error
}

// start starts a role, and stops it with the test.
func start(t *testing.T, r *role) *role {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	r.log = log
	r.run(t)
	t.Cleanup(func() {
		r.stop(t)
		if err := log.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			content, err := os.ReadFile(log.Name())
			t.Logf("log of %s at %s (%v):\n%s", r.name, r.address, err, content)
		}
	})
	return r
}

// run runs its command line, as systemd or an engine would.
func (r *role) run(t *testing.T) {
	t.Helper()
	r.cmd = exec.Command(r.argv[0], r.argv[1:]...)
	r.cmd.Dir = r.dir
	r.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, r.env...)
	r.cmd.Stdout, r.cmd.Stderr = r.log, r.log
	if err := r.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", r.name, err)
	}
	cmd, exited := r.cmd, make(chan struct{})
	r.exited = exited
	go func() {
		r.err = cmd.Wait()
		close(exited)
	}()
}

// kill ends the process at once, and returns when it is gone.
func (r *role) kill(t *testing.T) {
	t.Helper()
	if err := r.cmd.Process.Kill(); err != nil {
		t.Fatalf("kill %s: %v", r.name, err)
	}
	<-r.exited
}

func (r *role) waitReady(t *testing.T) {
	t.Helper()
	eventually(t, r.name+" at "+r.address+" is ready", func() bool {
		select {
		case <-r.exited:
			t.Fatalf("%s ended before it was ready: %v", r.name, r.err)
		default:
		}
		return get(t.Context(), "http://"+r.address+":8080/readyz") != ""
	})
}

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.NewTimer(readyWithin)
	defer deadline.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline.C:
			t.Fatalf("not within %v: %s", readyWithin, what)
		case <-tick.C:
		}
	}
}

// get returns what url answers with 200, else nothing.
func get(ctx context.Context, url string) string {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return ""
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return ""
	}
	return string(body)
}

// stop ends the process as systemd does, and expects it to go in time and in peace.
func (r *role) stop(t *testing.T) {
	select {
	case <-r.exited:
		t.Errorf("%s ended by itself: %v", r.name, r.err)
		return
	default:
	}
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Errorf("stop %s: %v", r.name, err)
	}
	select {
	case <-r.exited:
		if r.err != nil {
			t.Errorf("%s answered SIGTERM with %v", r.name, r.err)
		}
	case <-time.After(stopWithin):
		t.Errorf("%s is still there %v after SIGTERM", r.name, stopWithin)
		if err := r.cmd.Process.Kill(); err != nil {
			t.Errorf("kill %s: %v", r.name, err)
		}
		<-r.exited
	}
}
