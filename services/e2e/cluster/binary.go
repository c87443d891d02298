package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// binaryVariable names a varve binary to test instead of one built from the sources.
const binaryVariable = "VARVE_BIN"

var binary struct {
	path string
	root string // of the repository
}

// Binary is the path of the varve binary under test.
func Binary() string { return binary.path }

// Root is the repository's folder.
func Root() string { return binary.root }

// Main builds the binary, runs the tests and removes it. It is what TestMain calls; it returns the exit code.
func Main(m *testing.M) int {
	dir, err := os.MkdirTemp("", "varve-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := findBinary(dir); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	// What MinIO's test servers know. Processes get their credentials from the environment, as in production.
	for name, value := range map[string]string{"AWS_ACCESS_KEY_ID": "minioadmin", "AWS_SECRET_ACCESS_KEY": "minioadmin"} {
		if err := os.Setenv(name, value); err != nil {
			fmt.Fprintln(os.Stderr, "e2e:", err)
			return 1
		}
	}
	return m.Run()
}

func findBinary(dir string) error {
	root, err := findRoot()
	if err != nil {
		return err
	}
	binary.root = root
	if path := os.Getenv(binaryVariable); path != "" {
		if binary.path, err = filepath.Abs(path); err != nil {
			return fmt.Errorf("%s: %w", binaryVariable, err)
		}
		if _, err := os.Stat(binary.path); err != nil { // also has `go test` notice that it changed
			return fmt.Errorf("%s: %w", binaryVariable, err)
		}
		return nil
	}
	if err := noticeSources(root); err != nil {
		return err
	}
	binary.path = filepath.Join(dir, "varve")
	build := exec.Command("go", "build", "-o", binary.path, "./services/varve")
	build.Dir = root
	if output, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build varve: %w\n%s", err, output)
	}
	return nil
}

func findRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find repository: %w", err)
	}
	for {
		_, err := os.Stat(filepath.Join(dir, "go.mod"))
		if err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if !errors.Is(err, fs.ErrNotExist) || parent == dir {
			return "", fmt.Errorf("find repository: no go.mod above the working directory: %w", err)
		}
		dir = parent
	}
}

// noticeSources reads the folders of the binary's sources. `go test` records what a test reads, and so does not answer from its cache
// when a source has changed that the tests do not import.
func noticeSources(root string) error {
	for _, folder := range []string{"services", "ingest", "tiering", "coordinator", "infra"} {
		err := filepath.WalkDir(filepath.Join(root, folder), func(string, fs.DirEntry, error) error { return nil })
		if err != nil {
			return fmt.Errorf("read sources: %w", err)
		}
	}
	return nil
}
