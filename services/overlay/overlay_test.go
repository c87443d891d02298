package overlay

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// module writes a module of one program that prints what hello.go says.
func module(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":   "module example.org/hello\n\ngo 1.26\n",
		"main.go":  "package main\n\nfunc main() { println(word) }\n",
		"hello.go": "package main\n\nconst word = \"one two two\"\n",
	} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestChangesThatDoNotFitAreRefused(t *testing.T) {
	root := module(t)
	for old, fits := range map[string]bool{"one": true, "two": false, "three": false} {
		sources, err := Of(t.Context(), root)
		if err != nil {
			t.Fatal(err)
		}
		if err := sources.Replace("hello.go", old, "x"); (err == nil) != fits {
			t.Errorf("%q: %v", old, err)
		}
	}
}

func TestProgramsAreBuiltFromChangedSources(t *testing.T) {
	root := module(t)
	sources, err := Of(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range [][2]string{{"one", "three"}, {"three two", "four"}} {
		if err := sources.Replace("hello.go", change[0], change[1]); err != nil {
			t.Fatal(err)
		}
	}
	sources.Remove("main.go")
	sources.Put("other.go", "package main\n\nfunc main() { println(\"changed:\", word) }\n")
	program := filepath.Join(t.TempDir(), "hello")
	if err := sources.Build(t.Context(), program, ".", nil); err != nil {
		t.Fatal(err)
	}
	said, err := exec.Command(program).CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(string(said)); got != "changed: four two" {
		t.Errorf("it says %q", got)
	}
	if text, err := os.ReadFile(filepath.Join(root, "hello.go")); err != nil || !strings.Contains(string(text), "one two two") {
		t.Errorf("the file itself: %s, %v", text, err)
	}
	sources.Put("other.go", "package main\n\nfunc main() { nothing }\n")
	if err := sources.Build(t.Context(), program, ".", nil); err == nil || !strings.Contains(err.Error(), "undefined: nothing") {
		t.Errorf("a program that cannot be compiled: %v", err)
	}
}
