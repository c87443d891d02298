//go:build userdata

package userdatatest

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	readyWithin = 30 * time.Second
	stopWithin  = 30 * time.Second
	records     = 2000
)

// TestRolesServe starts what the user data configured, with a directory for a
// bucket, and sends records through it.
func TestRolesServe(t *testing.T) {
	binary := os.Getenv("VARVE_BIN")
	if binary == "" {
		t.Skip("VARVE_BIN names no varve binary: the roles were not started")
	}
	if _, err := exec.LookPath("kcat"); err != nil {
		t.Fatalf("the round trip needs kcat: %v", err)
	}
	scripts := userData(t)
	bucket := "file://" + t.TempDir()
	for _, role := range []string{"coordinator", "ingest", "tiering"} {
		s := newSandbox(t, role, scripts[role], binary)
		if out, err := s.bootstrap(t.Context(), "VARVE_BUCKET_URL="+bucket); err != nil {
			t.Fatalf("bootstrap %s: %v\n%s", role, err, out)
		}
		start(t, s).waitReady(t)
	}
	broker := addresses["ingest"] + ":9092"
	if out := kcat(t, "", "-b", broker, "-L"); !strings.Contains(out, " at "+broker) {
		t.Errorf("no broker is advertised at %s:\n%s", broker, out)
	}
	roundTrip(t, broker)
}

func roundTrip(t *testing.T, broker string) {
	t.Helper()
	var sent []string
	for i := range records {
		sent = append(sent, fmt.Sprintf("key-%d:value-%d", i%97, i))
	}
	const topic = "userdata-check"
	kcat(t, strings.Join(sent, "\n")+"\n", "-b", broker, "-t", topic, "-P", "-K", ":")
	out := kcat(t, "", "-b", broker, "-t", topic, "-C", "-K", ":", "-o", "beginning", "-e", "-q")
	got := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	// A key's records are in one partition, so their order has to survive; between keys there is none.
	if !maps.EqualFunc(byKey(sent), byKey(got), slices.Equal[[]string]) {
		t.Errorf("sent %d records and read %d, which are not the same in the same order by key", len(sent), len(got))
	}
}

func byKey(records []string) map[string][]string {
	values := map[string][]string{}
	for _, r := range records {
		key, value, _ := strings.Cut(r, ":")
		values[key] = append(values[key], value)
	}
	return values
}

func kcat(t *testing.T, input string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "kcat", args...)
	cmd.Stdin = strings.NewReader(input)
	var out, errors bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errors
	if err := cmd.Run(); err != nil {
		t.Fatalf("kcat %v: %v\n%s", args, err, errors.String())
	}
	return out.String()
}

// A role is a running process of the varve binary.
type role struct {
	name   string
	cmd    *exec.Cmd
	log    string
	exited chan struct{} // closed when the process is gone; err is set before
	err    error
}

// start runs the unit's command line as systemd would, and stops it with the test.
func start(t *testing.T, s *sandbox) *role {
	t.Helper()
	argv := s.command(t)
	r := &role{name: s.role, log: filepath.Join(t.TempDir(), "log"), exited: make(chan struct{})}
	log, err := os.Create(r.log)
	if err != nil {
		t.Fatal(err)
	}
	r.cmd = exec.Command(argv[0], argv[1:]...)
	r.cmd.Dir = s.root
	r.cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	r.cmd.Stdout, r.cmd.Stderr = log, log
	if err := r.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", s.role, err)
	}
	go func() {
		r.err = r.cmd.Wait()
		close(r.exited)
	}()
	t.Cleanup(func() {
		r.stop(t)
		if err := log.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			content, err := os.ReadFile(r.log)
			t.Logf("log of %s (%v):\n%s", r.name, err, content)
		}
	})
	return r
}

func (r *role) waitReady(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), readyWithin)
	defer cancel()
	url := "http://" + addresses[r.name] + ":8080/readyz"
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if ready(ctx, url) {
			return
		}
		select {
		case <-r.exited:
			t.Fatalf("%s ended before it was ready: %v", r.name, r.err)
		case <-ctx.Done():
			t.Fatalf("%s does not answer 200 at %s within %v", r.name, url, readyWithin)
		case <-tick.C:
		}
	}
}

func ready(ctx context.Context, url string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	return resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
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
