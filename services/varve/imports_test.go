package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/varvelog/varve/"

// layers from top to bottom: a package imports from its own layer and from those below.
var layers = []string{"services", "ingest", "tiering", "coordinator", "infra"}

// leaves import nothing of the project, and may be imported from anywhere.
var leaves = []string{"ingest/recordbatch", "ingest/chunk"}

// confined libraries are imported in these packages (and those below them) only. A test may use any.
var confined = map[string][]string{
	"github.com/nats-io/":               {"infra/bus", "coordinator/metalog/jetstream"},
	"github.com/aws/aws-sdk-go-v2":      {"infra/objstore/s3"},
	"github.com/minio/minio-go":         {"infra/objstore/minio"},
	"github.com/twmb/franz-go/pkg/kerr": {"ingest/kafka", "services"},
	"github.com/spf13/cobra":            {"services"},
}

// forbidden is linked by nothing: its licence does not allow it.
const forbidden = "github.com/minio/minio/"

type sourceFile struct {
	dir     string // of its package, from the repository's root
	name    string
	imports []string
}

func (f sourceFile) isTest() bool { return strings.HasSuffix(f.name, "_test.go") }

func sourceFiles(t *testing.T) []sourceFile {
	t.Helper()
	root := filepath.Join("..", "..")
	var files []sourceFile
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && name != root && strings.HasPrefix(entry.Name(), ".") {
			return filepath.SkipDir
		}
		if filepath.Ext(name) != ".go" {
			return nil
		}
		relative, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		f := sourceFile{dir: path.Dir(filepath.ToSlash(relative)), name: entry.Name()}
		for _, spec := range parsed.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			f.imports = append(f.imports, imported)
		}
		files = append(files, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func layer(dir string) int {
	top, _, _ := strings.Cut(dir, "/")
	return slices.Index(layers, top)
}

func within(dir string, packages []string) bool {
	return slices.ContainsFunc(packages, func(p string) bool { return dir == p || strings.HasPrefix(dir, p+"/") })
}

func TestImportsPointDownTheLayers(t *testing.T) {
	for _, f := range sourceFiles(t) {
		for _, imported := range f.imports {
			dir, own := strings.CutPrefix(imported, module)
			if !own || f.isTest() {
				continue
			}
			if within(f.dir, leaves) && !within(dir, []string{f.dir}) {
				t.Errorf("%s/%s: a leaf imports %s", f.dir, f.name, dir)
			}
			if within(dir, leaves) || layer(f.dir) < 0 {
				continue
			}
			if layer(dir) < 0 || layer(dir) < layer(f.dir) {
				t.Errorf("%s/%s: imports %s, which lies above it", f.dir, f.name, dir)
			}
		}
	}
}

func TestLibrariesStayWhereTheyBelong(t *testing.T) {
	for _, f := range sourceFiles(t) {
		for _, imported := range f.imports {
			if strings.HasPrefix(imported+"/", forbidden) {
				t.Errorf("%s/%s: imports %s", f.dir, f.name, imported)
			}
			if f.isTest() || layer(f.dir) < 0 {
				continue
			}
			for library, packages := range confined {
				if strings.HasPrefix(imported, library) && !within(f.dir, packages) {
					t.Errorf("%s/%s: imports %s, which belongs to %s alone", f.dir, f.name, imported, strings.Join(packages, ", "))
				}
			}
		}
	}
}

func TestTheStateMachineIsPure(t *testing.T) {
	impure := []string{"time", "os", "net", "net/http", "math/rand", "math/rand/v2", "crypto/rand", "io/fs", "log", "log/slog"}
	for _, f := range sourceFiles(t) {
		if f.isTest() || !within(f.dir, []string{"coordinator/meta"}) {
			continue
		}
		for _, imported := range f.imports {
			if slices.Contains(impure, imported) {
				t.Errorf("%s/%s: imports %s", f.dir, f.name, imported)
			}
		}
	}
}
