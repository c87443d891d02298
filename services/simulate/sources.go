//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// sources are files as a compiler is to see them, by absolute name. A file without text is not there.
type sources map[string]string

// replace changes text that stands in a file once.
func (s sources) replace(file, old, new string) error {
	text, known := s[file]
	if !known {
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		text = string(b)
	}
	if n := strings.Count(text, old); n != 1 {
		return fmt.Errorf("%q stands in %s %d times, not once", old, file, n)
	}
	s[file] = strings.Replace(text, old, new, 1)
	return nil
}

// write writes the sources and go build's overlay of them into dir, and returns the latter's name.
func (s sources) write(dir string) (overlay string, err error) {
	replace := map[string]string{}
	for name, text := range s {
		if text == "" {
			replace[name] = ""
			continue
		}
		file := filepath.Join(dir, fmt.Sprintf("%d-%s", len(replace), filepath.Base(name)))
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return "", fmt.Errorf("write changed sources: %w", err)
		}
		replace[name] = file
	}
	encoded, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", fmt.Errorf("write changed sources: %w", err)
	}
	overlay = filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlay, encoded, 0o644); err != nil {
		return "", fmt.Errorf("write changed sources: %w", err)
	}
	return overlay, nil
}

// repository is the module's directory, above the working directory.
func repository() (string, error) {
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("find the repository: %w", err)
	}
	return strings.TrimSpace(string(root)), nil
}
