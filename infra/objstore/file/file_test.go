package file_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/infra/objstore/file"
	"github.com/varvelog/varve/infra/objstore/storetest"
)

func open(t *testing.T, dir string) *file.Store {
	t.Helper()
	store, err := file.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}

func TestAcceptance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) objstore.Store { return open(t, filepath.Join(t.TempDir(), "new", "bucket")) })
}

func TestObjectsOutliveTheStore(t *testing.T) {
	dir := t.TempDir()
	version, err := open(t, dir).PutIfAbsent(t.Context(), "a/b", []byte("kept"))
	if err != nil {
		t.Fatal(err)
	}
	body, info, err := objstore.ReadAll(t.Context(), open(t, dir), "a/b", 100)
	if err != nil || string(body) != "kept" || info.Version != version {
		t.Errorf("after reopening: %q, %+v, %v, want version %s", body, info, err, version)
	}
}

func TestOpenRemovesOnlyOldStrays(t *testing.T) {
	dir := t.TempDir()
	store := open(t, dir)
	if _, err := store.Put(t.Context(), "key", []byte("x")); err != nil {
		t.Fatal(err)
	}
	temp := filepath.Join(dir, ".varve-tmp")
	old, young := filepath.Join(temp, "put-1"), filepath.Join(temp, "put-2")
	for _, path := range []string{old, young} {
		if err := os.WriteFile(path, []byte("stray"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	longAgo := time.Now().Add(-2 * time.Hour)
	for _, path := range []string{old, filepath.Join(temp, "lock")} {
		if err := os.Chtimes(path, longAgo, longAgo); err != nil {
			t.Fatal(err)
		}
	}

	store = open(t, dir)

	if _, err := os.Stat(old); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the old stray is still there: %v", err)
	}
	for _, path := range []string{young, filepath.Join(temp, "lock")} {
		if _, err := os.Stat(path); err != nil {
			t.Errorf("%s was removed: %v", path, err)
		}
	}
	for info, err := range store.List(t.Context(), "", "") {
		if err != nil || info.Key != "key" {
			t.Errorf("listed %+v, %v", info, err)
		}
	}
}

func TestPutsLeaveNoTemporaryFiles(t *testing.T) {
	dir := t.TempDir()
	store := open(t, dir)
	ctx := t.Context()
	for range 2 {
		// The second round fails its condition.
		version, err := store.PutIfAbsent(ctx, "a", []byte("x"))
		if err != nil && !errors.Is(err, objstore.ErrExists) {
			t.Fatal(err)
		}
		if _, err := store.PutIfMatch(ctx, "a", []byte("y"), version); err != nil && !errors.Is(err, objstore.ErrConditionFailed) {
			t.Fatal(err)
		}
		if _, err := store.Put(ctx, "b", []byte("z")); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(filepath.Join(dir, ".varve-tmp"))
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if entry.Name() != "lock" {
			t.Errorf("%s was left", entry.Name())
		}
	}
}

// TestVersionsOfQuickWritesDiffer: contents of one size written within one tick of the kernel's clock, on an inode that
// the file system may use again, must not share a version.
func TestVersionsOfQuickWritesDiffer(t *testing.T) {
	store := open(t, t.TempDir())
	seen := make(map[objstore.Version]int)
	for i := range 200 {
		version, err := store.Put(t.Context(), "key", fmt.Appendf(nil, "%04d", i))
		if err != nil {
			t.Fatal(err)
		}
		if earlier, repeated := seen[version]; repeated {
			t.Fatalf("writes %d and %d have version %s", earlier, i, version)
		}
		seen[version] = i
	}
}

// TestTwoStoresOnOneFolderCount: increments by compare-and-swap through two stores, as two processes would have them,
// lose nothing.
func TestTwoStoresOnOneFolderCount(t *testing.T) {
	dir := t.TempDir()
	stores := []*file.Store{open(t, dir), open(t, dir)}
	if _, err := stores[0].PutIfAbsent(t.Context(), "count", nil); err != nil {
		t.Fatal(err)
	}
	const perWriter = 20
	var writers sync.WaitGroup
	for writer := range 6 {
		writers.Go(func() {
			for range perWriter {
				if err := increment(t.Context(), stores[writer%2]); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	writers.Wait()
	info, err := stores[1].Head(t.Context(), "count")
	if err != nil || info.SizeBytes != 6*perWriter {
		t.Errorf("counted %d, %v, want %d", info.SizeBytes, err, 6*perWriter)
	}
}

// increment makes the object one byte longer.
func increment(ctx context.Context, store objstore.Store) error {
	for {
		body, info, err := objstore.ReadAll(ctx, store, "count", 1<<20)
		if err != nil {
			return err
		}
		_, err = store.PutIfMatch(ctx, "count", append(bytes.Clone(body), '+'), info.Version)
		if !errors.Is(err, objstore.ErrConditionFailed) {
			return err
		}
	}
}

func TestKeyThatIsAnotherKeysFolderIsRefused(t *testing.T) {
	store := open(t, t.TempDir())
	ctx := t.Context()
	if _, err := store.PutIfAbsent(ctx, "k/x", []byte("x")); err != nil {
		t.Fatal(err)
	}
	_, overFolder := store.PutIfAbsent(ctx, "k", []byte("x"))
	_, replaceFolder := store.Put(ctx, "k", []byte("x"))
	_, underFile := store.PutIfAbsent(ctx, "k/x/y", []byte("x"))
	_, deepUnderFile := store.PutIfAbsent(ctx, "k/x/y/z", []byte("x"))
	for name, err := range map[string]error{
		"over a folder": overFolder, "replacing a folder": replaceFolder, "under a file": underFile, "deep under a file": deepUnderFile,
	} {
		if !errors.Is(err, objstore.ErrKey) {
			t.Errorf("put %s: %v, want ErrKey", name, err)
		}
	}
}

func TestFolderEmptiedWhileOpen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bucket")
	store := open(t, dir)
	if _, err := store.PutIfAbsent(t.Context(), "a/b/c", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := store.PutIfAbsent(t.Context(), "a/b/c", []byte("y")); err != nil {
		t.Errorf("PutIfAbsent into an emptied folder: %v", err)
	}
}

func TestForeignFilesAreNotListed(t *testing.T) {
	dir := t.TempDir()
	store := open(t, dir)
	for _, name := range []string{".DS_Store", "bad%2escape", "bad%"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc/hostname", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for info, err := range store.List(t.Context(), "", "") {
		t.Errorf("listed %+v, %v", info, err)
	}
}

func BenchmarkPutIfAbsent(b *testing.B) {
	store, err := file.Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	for _, sizeBytes := range []int{4 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%dKiB", sizeBytes>>10), func(b *testing.B) {
			body := make([]byte, sizeBytes)
			b.SetBytes(int64(sizeBytes))
			for i := 0; b.Loop(); i++ {
				if _, err := store.PutIfAbsent(b.Context(), fmt.Sprintf("%d/%p-%d", sizeBytes, b, i), body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
