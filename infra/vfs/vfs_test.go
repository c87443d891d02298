package vfs

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
)

// eachFS runs a test on every implementation, with a fresh directory.
func eachFS(t *testing.T, test func(t *testing.T, fsys FS, dir string)) {
	t.Run("os", func(t *testing.T) { test(t, OS{}, t.TempDir()) })
	t.Run("mem", func(t *testing.T) { test(t, NewMem(), ".") })
	t.Run("faulty", func(t *testing.T) { test(t, NewFaulty(NewMem(), nil), "/") })
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestDataRangesLeaveOutNothingButZeros(t *testing.T) {
	eachFS(t, func(t *testing.T, fsys FS, dir string) {
		const size, at = 4 << 20, 1<<20 + 77
		f := must[File](t)(fsys.Create(filepath.Join(dir, "sparse")))
		ok(t, f.Preallocate(size))
		must[int](t)(f.WriteAt([]byte("data"), at))
		for _, asked := range []Range{{0, size}, {4096, size}, {at - 1, at + 4}, {at, size}, {at + 3, at + 4}, {at + 4, size}, {size - 1, size}, {size, size}, {0, 77}} {
			ranges := must[[]Range](t)(DataRanges(f, asked.From, asked.To))
			for i, r := range ranges {
				if r.From >= r.To || r.From < asked.From || r.To > asked.To || (i > 0 && r.From < ranges[i-1].To) {
					t.Errorf("of %v: %v", asked, ranges)
				}
			}
			for position := int64(at); position < at+4; position++ {
				covered := slices.ContainsFunc(ranges, func(r Range) bool { return r.From <= position && position < r.To })
				if wanted := asked.From <= position && position < asked.To; wanted && !covered {
					t.Errorf("of %v: %v, without the data at %d", asked, ranges, position)
				}
			}
		}
		ok(t, f.Close())
	})
}

func TestFileReadsWhatWasWritten(t *testing.T) {
	eachFS(t, func(t *testing.T, fsys FS, dir string) {
		name := filepath.Join(dir, "a")
		f := must[File](t)(fsys.Create(name))
		must[int](t)(f.WriteAt([]byte("hello world"), 2))
		must[int](t)(f.WritevAt([][]byte{[]byte("H"), nil, []byte("EL"), {}}, 2))
		if size := must[int64](t)(f.Size()); size != 13 {
			t.Fatalf("size %d", size)
		}
		b := make([]byte, 20)
		n, err := f.ReadAt(b, 0)
		if err != io.EOF || string(b[:n]) != "\x00\x00HELlo world" {
			t.Fatalf("read %q, %v", b[:n], err)
		}
		ok(t, f.Truncate(5))
		ok(t, f.Preallocate(4096))
		ok(t, f.Preallocate(10))
		ok(t, errors.Join(f.SyncData(), f.Sync()))
		if info := must[Info](t)(fsys.Stat(name)); info.SizeBytes != 4096 || info.IsDir {
			t.Fatalf("stat %+v", info)
		}
		n = must[int](t)(f.ReadAt(b[:8], 0))
		if string(b[:n]) != "\x00\x00HEL\x00\x00\x00" {
			t.Fatalf("after truncating and preallocating: %q", b[:n])
		}
		ok(t, f.Close())
		r := must[File](t)(fsys.Open(name))
		if _, err := r.WriteAt([]byte("x"), 0); err == nil {
			t.Fatal("wrote to a file opened for reading")
		}
		ok(t, r.Close())
		w := must[File](t)(fsys.OpenReadWrite(name))
		must[int](t)(w.WriteAt([]byte("x"), 0))
		ok(t, w.Close())
	})
}

func TestWritevAtTakesAnyNumberOfBuffers(t *testing.T) {
	eachFS(t, func(t *testing.T, fsys FS, dir string) {
		f := must[File](t)(fsys.Create(filepath.Join(dir, "a")))
		var bufs [][]byte
		for i := range 5000 {
			bufs = append(bufs, bytes.Repeat([]byte{byte(i)}, i%7))
		}
		want := slices.Concat(bufs...)
		if n := must[int](t)(f.WritevAt(bufs, 3)); n != len(want) {
			t.Fatalf("wrote %d of %d bytes", n, len(want))
		}
		got := make([]byte, len(want))
		must[int](t)(f.ReadAt(got, 3))
		if !bytes.Equal(got, want) {
			t.Fatal("read something else than was written")
		}
		ok(t, f.Close())
	})
}

func TestNames(t *testing.T) {
	eachFS(t, func(t *testing.T, fsys FS, dir string) {
		sub := filepath.Join(dir, "x", "y")
		ok(t, errors.Join(fsys.MkdirAll(sub), fsys.MkdirAll(sub)))
		for _, name := range []string{"b", "a", "c"} {
			ok(t, must[File](t)(fsys.Create(filepath.Join(sub, name))).Close())
		}
		ok(t, fsys.Rename(filepath.Join(sub, "a"), filepath.Join(sub, "b")))
		open := must[File](t)(fsys.Open(filepath.Join(sub, "c")))
		ok(t, fsys.Remove(filepath.Join(sub, "c")))
		if size := must[int64](t)(open.Size()); size != 0 {
			t.Fatalf("removed file has %d bytes", size)
		}
		ok(t, open.Close())
		ok(t, fsys.SyncDir(sub))
		if names := must[[]string](t)(fsys.List(sub)); !slices.Equal(names, []string{"b"}) {
			t.Fatalf("list %q", names)
		}
		if info := must[Info](t)(fsys.Stat(sub)); !info.IsDir {
			t.Fatal("directory is none")
		}
		if err := fsys.MkdirAll(filepath.Join(sub, "b", "z")); !errors.Is(err, syscall.ENOTDIR) {
			t.Fatalf("made a directory in a file: %v", err)
		}
		missing := filepath.Join(sub, "nothing")
		_, openErr := fsys.Open(missing)
		_, listErr := fsys.List(missing)
		_, statErr := fsys.Stat(missing)
		for _, err := range []error{openErr, listErr, statErr, fsys.Remove(missing), fsys.Rename(missing, missing+"2"), fsys.SyncDir(missing)} {
			if !errors.Is(err, fs.ErrNotExist) {
				t.Fatalf("missing file: %v", err)
			}
		}
	})
}

func TestLockIsExclusive(t *testing.T) {
	eachFS(t, func(t *testing.T, fsys FS, dir string) {
		name := filepath.Join(dir, "lock")
		lock := must[io.Closer](t)(fsys.Lock(name))
		if _, err := fsys.Lock(name); !errors.Is(err, ErrLocked) {
			t.Fatalf("second lock: %v", err)
		}
		ok(t, lock.Close())
		ok(t, must[io.Closer](t)(fsys.Lock(name)).Close())
	})
}

func TestDiskFree(t *testing.T) {
	eachFS(t, func(t *testing.T, fsys FS, dir string) {
		space := must[Space](t)(fsys.DiskFree(dir))
		if space.FreeBytes == 0 || space.FreeBytes > space.TotalBytes {
			t.Fatalf("%+v", space)
		}
	})
}

func TestOSAppendAllocatesNothing(t *testing.T) {
	f := must[File](t)(OS{}.Create(filepath.Join(t.TempDir(), "a")))
	bufs := [][]byte{make([]byte, 100), make([]byte, 1000), make([]byte, 10)}
	allocs := testing.AllocsPerRun(50, func() {
		_, err := f.WritevAt(bufs, 0)
		ok(t, errors.Join(err, f.SyncData()))
	})
	if allocs != 0 {
		t.Fatalf("%v allocations", allocs)
	}
	ok(t, f.Close())
}
