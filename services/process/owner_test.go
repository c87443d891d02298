package process

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/varvelog/varve/infra/vfs"
)

func TestADirectoryKnowsItsCluster(t *testing.T) {
	dir := filepath.ToSlash(filepath.Join(t.TempDir(), "data"))
	if o, err := readOwner(vfs.OS{}, dir); err != nil || o != (owner{}) {
		t.Fatalf("no directory: %+v %v", o, err)
	}
	want := owner{"MkU3OEVBNTcwNTJENDM2Qg", strings.Repeat("ab", 16)}
	for range 2 { // what a crash left of a first attempt is no obstacle
		if err := writeOwner(vfs.OS{}, dir, want); err != nil {
			t.Fatal(err)
		}
	}
	if o, err := readOwner(vfs.OS{}, dir); err != nil || o != want {
		t.Fatalf("%+v %v", o, err)
	}
}

func TestADamagedOwnerIsRefused(t *testing.T) {
	sound := owner{"cluster", "log"}.encode()
	for name, text := range map[string]string{
		"empty":          "",
		"cut short":      sound[:len(sound)-4],
		"another name":   strings.Replace(sound, "cluster", "clusteR", 1),
		"trailing bytes": sound + "x",
		"newer format":   strings.Replace(sound, "varve-data 1", "varve-data 2", 1),
	} {
		dir := filepath.ToSlash(t.TempDir())
		file, err := vfs.OS{}.Create(dir + "/" + ownerFile)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.WritevAt([][]byte{[]byte(text)}, 0); err != nil {
			t.Fatal(err)
		}
		if err := file.Close(); err != nil {
			t.Fatal(err)
		}
		if o, err := readOwner(vfs.OS{}, dir); err == nil {
			t.Errorf("%s: read as %+v", name, o)
		}
	}
}
