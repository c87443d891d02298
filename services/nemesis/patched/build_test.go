package patched

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestChangesThatDoNotFitAreRefused(t *testing.T) {
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "a.go"), []byte("one two two"), 0o600); err != nil {
		t.Fatal(err)
	}
	for old, fits := range map[string]bool{"one": true, "two": false, "three": false} {
		texts := map[string]string{}
		err := apply(texts, filepath.Join(root, "a.go"), Change{File: "a.go", Old: old, New: "x"})
		if (err == nil) != fits {
			t.Errorf("%q: %v", old, err)
		}
	}
}

func TestClockAndSessionsFitTheSources(t *testing.T) {
	scratch := t.TempDir()
	overlay, err := write(t.Context(), filepath.Join("..", "..", ".."), scratch, Always)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(overlay)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "moved_clock.go") {
		t.Errorf("overlay: %s", text)
	}
}

func TestThePlantedFaultsFitTheSources(t *testing.T) {
	names := map[string]bool{}
	for _, f := range Faults {
		if _, err := write(t.Context(), filepath.Join("..", "..", ".."), t.TempDir(), append(f.Changes, Always...)); err != nil {
			t.Errorf("%s: %v", f.Name, err)
		}
		if names[f.Name] || len(f.Wants) == 0 && f.Complaint == "" {
			t.Errorf("%q is planted twice, or is never found", f.Name)
		}
		names[f.Name] = true
	}
}
