// Package overlay builds Go programs from sources that stand in no file: through go build's -overlay, texts in the module's files and in the
// standard library's are replaced, and files are added or taken away. What else is built from those files does not change.
//
// A change names the text that it replaces, which has to stand there exactly once: where the source has moved on, the build fails instead
// of leaving the change out.
package overlay

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Std stands before the path of a file of the standard library, in place of GOROOT/src.
const Std = "std/"

// Sources are the files of a module, and of the standard library, that a compiler is to see otherwise than they are. Files are named by their
// path from the module's root, or from Std.
type Sources struct {
	root, std string            // directories
	texts     map[string]string // by absolute name; an empty one is not there
}

// Of returns the sources of the module that dir is in, as they are.
func Of(ctx context.Context, dir string) (*Sources, error) {
	command := exec.CommandContext(ctx, "go", "env", "GOROOT", "GOMOD")
	command.Dir = dir
	out, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("find Go's sources: %w", err)
	}
	std, mod, both := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if !both || filepath.Base(mod) != "go.mod" {
		return nil, fmt.Errorf("find the module: %q is in none", dir)
	}
	return &Sources{root: filepath.Dir(mod), std: filepath.Join(std, "src"), texts: map[string]string{}}, nil
}

func (s *Sources) path(file string) string {
	if in, ok := strings.CutPrefix(file, Std); ok {
		return filepath.Join(s.std, in)
	}
	return filepath.Join(s.root, file)
}

// Replace changes a text that stands in a file exactly once, after the changes before.
func (s *Sources) Replace(file, old, new string) error {
	text, known := s.texts[s.path(file)]
	if !known {
		b, err := os.ReadFile(s.path(file))
		if err != nil {
			return err
		}
		text = string(b)
	}
	if n := strings.Count(text, old); n != 1 {
		return fmt.Errorf("%s has %d times, and is to have once:\n%s", file, n, old)
	}
	s.texts[s.path(file)] = strings.Replace(text, old, new, 1)
	return nil
}

// Put gives a file a text, whether it was there or not.
func (s *Sources) Put(file, text string) { s.texts[s.path(file)] = text }

// Remove takes a file away.
func (s *Sources) Remove(file string) { s.texts[s.path(file)] = "" }

// Build compiles a package of the module, named by its import path or by its directory from the root, into the file out, with env beside the
// environment and flags of go build.
func (s *Sources) Build(ctx context.Context, out, pkg string, env []string, flags ...string) error {
	out, err := filepath.Abs(out)
	if err != nil {
		return fmt.Errorf("build %s from changed sources: %w", pkg, err)
	}
	dir, err := os.MkdirTemp("", "varve-overlay-")
	if err != nil {
		return fmt.Errorf("build %s from changed sources: %w", pkg, err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	overlay, err := s.write(dir)
	if err != nil {
		return fmt.Errorf("build %s from changed sources: %w", pkg, err)
	}
	args := append([]string{"build", "-overlay", overlay, "-o", out}, flags...)
	command := exec.CommandContext(ctx, "go", append(args, pkg)...)
	command.Dir, command.Env = s.root, append(os.Environ(), env...)
	if said, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s from changed sources: %w\n%s", pkg, err, bytes.TrimSpace(said))
	}
	return nil
}

// write writes the changed files and the overlay that names them into dir, and returns the latter's name.
func (s *Sources) write(dir string) (overlay string, err error) {
	replace := map[string]string{}
	for name, text := range s.texts {
		if text == "" {
			replace[name] = ""
			continue
		}
		file := filepath.Join(dir, fmt.Sprintf("%d-%s", len(replace), filepath.Base(name)))
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			return "", err
		}
		replace[name] = file
	}
	encoded, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	overlay = filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, encoded, 0o600)
}
