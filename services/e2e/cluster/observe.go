package cluster

import (
	"bufio"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Eventually polls until condition returns nil, and fails the test with its last error when that takes too long.
func Eventually(t testing.TB, timeout time.Duration, what string, condition func() error) {
	t.Helper()
	deadline := time.Now().Add(timeout)
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for {
		err := condition()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for: %s: %v", timeout, what, err)
		}
		select {
		case <-poll.C:
		case <-t.Context().Done():
			t.Fatalf("waited for: %s: the test ended: %v", what, err)
		}
	}
}

// Metric is the sum of a metric's samples over all their labels that contain every one of the given texts, such as `lane="local"`.
func (n *Node) Metric(name string, labels ...string) (float64, error) {
	page, err := n.Get("/metrics")
	if err != nil {
		return 0, err
	}
	sum, found := 0.0, false
	lines := bufio.NewScanner(strings.NewReader(page))
	for lines.Scan() {
		line := lines.Text()
		series, value, ok := strings.Cut(line, " ")
		if brace := strings.IndexByte(line, '}'); brace >= 0 { // label values may hold spaces
			series, value, ok = line[:brace+1], strings.TrimSpace(line[brace+1:]), true
		}
		family, rest, _ := strings.Cut(series, "{")
		if !ok || family != name || !containsAll(rest, labels) {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return 0, fmt.Errorf("metric %s: %w", line, err)
		}
		sum, found = sum+v, true
	}
	if !found {
		return 0, fmt.Errorf("%s has no metric %s %v", n, name, labels)
	}
	return sum, nil
}

func containsAll(text string, parts []string) bool {
	for _, part := range parts {
		if !strings.Contains(text, part) {
			return false
		}
	}
	return true
}

// RSS is the process's resident memory in bytes. Linux only; 0 elsewhere.
func (n *Node) RSS() int64 {
	n.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.PID()))
	if os.IsNotExist(err) {
		return 0
	}
	if err != nil {
		n.t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if text, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(text), " kB"), 10, 64)
			if err != nil {
				n.t.Fatal(err)
			}
			return kib << 10
		}
	}
	n.t.Fatalf("no VmRSS in %q", status)
	return 0
}

// Files are the files under a directory whose paths relative to it begin with prefix; none where there is no such directory. Files that vanish meanwhile
// are left out.
func Files(t testing.TB, dir, prefix string) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if os.IsNotExist(err) {
			return nil
		}
		if err != nil || entry.IsDir() {
			return err
		}
		relative, err := filepath.Rel(dir, path)
		if err == nil && strings.HasPrefix(filepath.ToSlash(relative), prefix) {
			files = append(files, filepath.ToSlash(relative))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
