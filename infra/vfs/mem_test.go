package vfs

import (
	"bytes"
	"errors"
	"syscall"
	"testing"
)

// outcomes crashes many times after the same story and collects what is left of file "a" ("-" where it is gone).
func outcomes(t *testing.T, story func(t *testing.T, m *Mem)) map[string]int {
	t.Helper()
	left := make(map[string]int)
	for seed := range uint64(300) {
		m := NewMem()
		story(t, m)
		m.Crash(seed)
		contents := "-"
		if f, err := m.Open("a"); err == nil {
			b := make([]byte, must[int64](t)(f.Size()))
			if len(b) > 0 {
				must[int](t)(f.ReadAt(b, 0))
			}
			contents = string(b)
		}
		left[contents]++
	}
	return left
}

func TestCrashKeepsWhatWasSynced(t *testing.T) {
	left := outcomes(t, func(t *testing.T, m *Mem) {
		f := must[File](t)(m.Create("a"))
		must[int](t)(f.WriteAt([]byte("synced"), 0))
		ok(t, errors.Join(f.SyncData(), m.SyncDir(".")))
	})
	if len(left) != 1 || left["synced"] == 0 {
		t.Fatalf("%v", left)
	}
}

func TestCrashMayLoseOrKeepWhatWasNotSynced(t *testing.T) {
	for name, c := range map[string]struct {
		story func(t *testing.T, m *Mem)
		want  []string
	}{
		"name": {func(t *testing.T, m *Mem) {
			f := must[File](t)(m.Create("a"))
			must[int](t)(f.WriteAt([]byte("x"), 0))
			ok(t, f.SyncData())
		}, []string{"-", "x"}},
		"contents": {func(t *testing.T, m *Mem) {
			f := must[File](t)(m.Create("a"))
			ok(t, m.SyncDir("."))
			must[int](t)(f.WriteAt([]byte("x"), 0))
		}, []string{"", "x", "\x00"}},
		"removal": {func(t *testing.T, m *Mem) {
			ok(t, must[File](t)(m.Create("a")).Close())
			ok(t, m.SyncDir("."))
			ok(t, m.Remove("a"))
		}, []string{"-", ""}},
		"rename over": {func(t *testing.T, m *Mem) {
			for _, name := range []string{"a", "b"} {
				f := must[File](t)(m.Create(name))
				must[int](t)(f.WriteAt([]byte(name), 0))
				ok(t, f.Sync())
			}
			ok(t, m.SyncDir("."))
			ok(t, m.Rename("b", "a"))
		}, []string{"a", "b"}},
		"truncation": {func(t *testing.T, m *Mem) {
			f := must[File](t)(m.Create("a"))
			must[int](t)(f.WriteAt([]byte("abc"), 0))
			ok(t, errors.Join(f.Sync(), m.SyncDir(".")))
			ok(t, f.Truncate(1))
			ok(t, f.Truncate(2))
		}, []string{"abc", "a", "a\x00"}},
	} {
		t.Run(name, func(t *testing.T) {
			left := outcomes(t, c.story)
			for _, want := range c.want {
				if left[want] == 0 {
					t.Errorf("never left %q", want)
				}
				delete(left, want)
			}
			if len(left) > 0 {
				t.Errorf("also left %v", left)
			}
		})
	}
}

func TestCrashTearsAndReordersBySector(t *testing.T) {
	left := outcomes(t, func(t *testing.T, m *Mem) {
		f := must[File](t)(m.Create("a"))
		ok(t, errors.Join(f.Preallocate(3*SectorBytes), f.Sync(), m.SyncDir(".")))
		must[int](t)(f.WriteAt(bytes.Repeat([]byte{1}, 2*SectorBytes), 0))
		must[int](t)(f.WriteAt(bytes.Repeat([]byte{2}, 2*SectorBytes), SectorBytes))
	})
	kinds := make(map[[3]byte]bool)
	for contents := range left {
		var kind [3]byte
		for sector := range kind {
			kind[sector] = contents[sector*SectorBytes]
			want := bytes.Repeat([]byte{kind[sector]}, SectorBytes)
			if contents[sector*SectorBytes:][:SectorBytes] != string(want) {
				t.Fatal("torn within a sector")
			}
		}
		kinds[kind] = true
	}
	for _, want := range [][3]byte{{0, 0, 0}, {1, 2, 2}, {1, 0, 0}, {0, 1, 0}, {0, 0, 2}, {0, 2, 0}, {1, 1, 0}} {
		if !kinds[want] {
			t.Errorf("never left %v", want)
		}
	}
}

func TestCrashIsReproducible(t *testing.T) {
	story := func(seed uint64) string {
		m := NewMem()
		for _, name := range []string{"a", "b", "c"} {
			f := must[File](t)(m.Create(name))
			must[int](t)(f.WriteAt(bytes.Repeat([]byte(name), 5000), 0))
		}
		m.Crash(seed)
		return m.String()
	}
	for seed := range uint64(20) {
		if once, again := story(seed), story(seed); once != again {
			t.Fatalf("seed %d leaves two different things", seed)
		}
	}
}

func TestRestartKeepsThePageCache(t *testing.T) {
	m := NewMem()
	f := must[File](t)(m.Create("a"))
	must[int](t)(f.WriteAt([]byte("x"), 0))
	must[any](t)(m.Lock("lock"))
	m.Restart()
	if _, err := f.WriteAt([]byte("y"), 0); !errors.Is(err, ErrCrashed) {
		t.Fatalf("file of a dead process: %v", err)
	}
	must[any](t)(m.Lock("lock"))
	if info := must[Info](t)(m.Stat("a")); info.SizeBytes != 1 {
		t.Fatalf("%+v", info)
	}
}

func TestLostWritebackIsVisibleButNeverDurable(t *testing.T) {
	m := NewMem()
	f := must[File](t)(m.Create("a"))
	ok(t, m.SyncDir("."))
	must[int](t)(f.WriteAt([]byte("lost"), 0))
	ok(t, m.LoseWriteback("a"))
	b := make([]byte, 4)
	must[int](t)(f.ReadAt(b, 0))
	ok(t, f.Sync())
	m.Crash(1)
	after := make([]byte, 4)
	must[int](t)(must[File](t)(m.Open("a")).ReadAt(after, 0))
	if string(b) != "lost" || string(after) == "lost" {
		t.Fatalf("before the crash %q, after it %q", b, after)
	}
}

func TestDurableIsWhatACrashLeavesForCertain(t *testing.T) {
	m := NewMem()
	f := must[File](t)(m.Create("a"))
	must[int](t)(f.WriteAt([]byte("abcd"), 0))
	check := func(when string, from, to int64, want bool) {
		t.Helper()
		if m.Durable("a", from, to) != want {
			t.Errorf("%s: [%d, %d) durable: %v", when, from, to, !want)
		}
	}
	check("nothing is synced", 0, 4, false)
	ok(t, f.SyncData())
	check("the name is not synced", 0, 4, false)
	ok(t, m.SyncDir("."))
	check("all is synced", 0, 4, true)
	check("behind the end", 2, 5, false)
	must[int](t)(f.WriteAt([]byte("X"), 3))
	check("a byte is written anew", 0, 4, false)
	check("those before it", 0, 3, true)
	ok(t, m.LoseWriteback("a"))
	ok(t, f.SyncData())
	check("its write was lost", 3, 4, false)
}

func TestLimit(t *testing.T) {
	m := NewMem()
	m.SetLimit(1000)
	f := must[File](t)(m.Create("a"))
	ok(t, f.Preallocate(900))
	_, err := f.WriteAt(make([]byte, 200), 850)
	if !IsNoSpace(err) || !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("write beyond the limit: %v", err)
	}
	must[int](t)(f.WriteAt(make([]byte, 100), 800))
	ok(t, m.Remove("a"))
	g := must[File](t)(m.Create("b"))
	ok(t, g.Preallocate(1000))
	ok(t, g.Truncate(10))
	if space := must[Space](t)(m.DiskFree(".")); space.FreeBytes != 990 {
		t.Fatalf("%+v", space)
	}
}
