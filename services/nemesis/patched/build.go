package patched

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Change replaces a text in a file by another, or adds a file.
type Change struct {
	// File is a path from the module's root, or, with "std/" in front, from the standard library's.
	File string
	// Old stands exactly once in the file; empty for a file that is to be added.
	Old, New string
}

// Build builds services/varve with the changes and puts it at out. root is the module's root.
func Build(ctx context.Context, root, out string, changes ...Change) error {
	scratch, err := os.MkdirTemp("", "varve-patched")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	overlay, err := write(ctx, root, scratch, changes)
	if err != nil {
		return err
	}
	build := exec.CommandContext(ctx, "go", "build", "-overlay", overlay, "-o", out, "./services/varve")
	build.Dir, build.Stdout, build.Stderr = root, os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("build varve with changes: %w", err)
	}
	return nil
}

// write writes the changed files and the overlay that names them.
func write(ctx context.Context, root, scratch string, changes []Change) (overlay string, err error) {
	std, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("go env: %w", err)
	}
	if root, err = filepath.Abs(root); err != nil {
		return "", err
	}
	texts := map[string]string{}
	for _, c := range changes {
		file := filepath.Join(root, c.File)
		if inStd, ok := strings.CutPrefix(c.File, "std/"); ok {
			file = filepath.Join(strings.TrimSpace(string(std)), "src", inStd)
		}
		if err := apply(texts, file, c); err != nil {
			return "", err
		}
	}
	replace := map[string]string{}
	for file, text := range texts {
		replace[file] = filepath.Join(scratch, fmt.Sprintf("%d.go", len(replace)))
		if err := os.WriteFile(replace[file], []byte(text), 0o600); err != nil {
			return "", err
		}
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	overlay = filepath.Join(scratch, "overlay.json")
	return overlay, os.WriteFile(overlay, text, 0o600)
}

func apply(texts map[string]string, file string, c Change) error {
	text, changed := texts[file]
	if !changed && c.Old != "" {
		read, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		text = string(read)
	}
	if c.Old == "" {
		texts[file] = c.New
		return nil
	}
	if n := strings.Count(text, c.Old); n != 1 {
		return fmt.Errorf("%s has %d times, and is to have once:\n%s", c.File, n, c.Old)
	}
	texts[file] = strings.Replace(text, c.Old, c.New, 1)
	return nil
}
