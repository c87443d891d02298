package hotlog

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"path"
	"strings"
	"syscall"
	"testing"

	"github.com/varvelog/varve/infra/vfs"
)

// recyclingConfig makes segments of a few pages, without one prepared ahead, so that a removed one is taken by the next.
var recyclingConfig = Config{SegmentBytes: 32 << 10, NoSpare: true}

// full is a payload that fills most of a segment, in bytes that are not zero.
func full(letter string) string { return strings.Repeat(letter, 30<<10) }

// overwriting returns a log whose active segment overwrites a file full of another's frame, and holds the groups "one", "two" and "three", whose
// places it returns.
func overwriting(t *testing.T, fsys vfs.FS) (*Log, []Place) {
	t.Helper()
	l, _ := mustOpen(t, fsys, recyclingConfig)
	mustAppend(t, l, full("a"))
	mustAppend(t, l, full("b"))
	if err := l.Remove(1); err != nil {
		t.Fatal(err)
	}
	if err := l.Roll(); err != nil {
		t.Fatal(err)
	}
	if err := l.Remove(2); err != nil {
		t.Fatal(err)
	}
	var places []Place
	for _, payload := range []string{"one", "two", "three"} {
		places = append(places, mustAppend(t, l, payload)...)
	}
	return l, places
}

func TestRemovedFilesAreOverwritten(t *testing.T) {
	eachDisk(t, func(t *testing.T, inner vfs.FS, dir string) {
		created := 0
		fsys := vfs.NewFaulty(inner, func(c vfs.Call) *vfs.Fault {
			if c.Op == vfs.OpCreate && strings.Contains(c.Path, segmentSuffix) {
				created++
			}
			return nil
		})
		l, _, err := Open(fsys, dir, recyclingConfig)
		if err != nil {
			t.Fatal(err)
		}
		rng := rand.New(rand.NewPCG(3, 4))
		for round := range 40 {
			var want [][]byte
			for range 1 + rng.IntN(3) {
				want = append(want, bytes.Repeat([]byte{byte(round + 1)}, 3<<10+rng.IntN(6<<10)))
			}
			var places []Place
			for _, payload := range want {
				if places, err = l.Append(places, NewChunk(payload)); err != nil {
					t.Fatal(err)
				}
			}
			for i, place := range places {
				got := make([]byte, place.Length)
				if err := l.ReadAt(place.Segment, place.Position, got); err != nil || !bytes.Equal(got, want[i]) {
					t.Fatalf("round %d: chunk at %v differs, or %v", round, place, err)
				}
			}
			if err := l.Roll(); err != nil {
				t.Fatal(err)
			}
			for _, info := range l.Segments() {
				if report, err := Scan(fsys, path.Join(dir, segmentName(info.ID)), nil); err != nil || report.TornBytes > 0 {
					t.Fatalf("round %d: %+v, %v", round, report, err)
				}
				if !info.Sealed {
					continue
				}
				if err := l.Remove(info.ID); err != nil {
					t.Fatal(err)
				}
			}
		}
		if created > 3 {
			t.Fatalf("%d segments in new files", created)
		}
		mustClose(t, l)
		names, err := fsys.List(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if strings.HasSuffix(name, temporarySuffix) || strings.HasSuffix(name, segmentSuffix) {
				t.Fatalf("left behind: %v", names)
			}
		}
	})
}

func TestFileThatIsReadIsNotOverwritten(t *testing.T) {
	eachDisk(t, func(t *testing.T, fsys vfs.FS, dir string) {
		l, _, err := Open(fsys, dir, recyclingConfig)
		if err != nil {
			t.Fatal(err)
		}
		mustAppend(t, l, full("a"))
		mustAppend(t, l, full("b"))
		r, err := l.OpenReader(1)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Remove(1); err != nil {
			t.Fatal(err)
		}
		mustAppend(t, l, full("c"))
		mustAppend(t, l, full("d"))
		if frame, err := r.Next(); err != nil || string(frame.Payload) != full("a") {
			t.Fatalf("reader from before: %.10q, %v", frame.Payload, err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		mustClose(t, l)
	})
}

// What stood in a file before is neither a chunk nor a torn tail, after a kill and after a power cut.
func TestRecoveryOfAnOverwrittenFile(t *testing.T) {
	for seed := range uint64(50) {
		mem := vfs.NewMem()
		_, places := overwriting(t, mem)
		if seed == 0 {
			mem.Restart()
		} else {
			mem.Crash(seed)
		}
		report, err := Scan(mem, path.Join(crashDir, segmentName(places[0].Segment)), nil)
		if err != nil || !report.Header.Overwrites || report.Tail != TailClean || report.Chunks != 3 {
			t.Fatalf("seed %d: %+v, %v", seed, report, err)
		}
		l, recovery := mustOpen(t, mem, recyclingConfig)
		if len(recovery.TornTails) > 0 {
			t.Fatalf("seed %d: torn tails %+v", seed, recovery.TornTails)
		}
		wantContents(t, l, "one two three")
		mustClose(t, l)
	}
}

func TestTornTailOfAnOverwrittenFile(t *testing.T) {
	mem := vfs.NewMem()
	_, places := overwriting(t, mem)
	mem.Restart()
	overwrite(t, mem, segmentName(places[2].Segment), int64(places[2].Position), []byte{0xff})
	l, recovery := mustOpen(t, mem, recyclingConfig)
	want := TornTail{Segment: places[2].Segment, Position: int64(places[2].Position) - frameHeaderBytes, Bytes: frameBytes(int64(len("three")))}
	if len(recovery.TornTails) != 1 || recovery.TornTails[0] != want {
		t.Fatalf("torn tails %+v, want %+v", recovery.TornTails, want)
	}
	wantContents(t, l, "one two")
	mustClose(t, l)
}

func TestCorruptionInAnOverwrittenFileIsRefused(t *testing.T) {
	for n := range 2 {
		mem := vfs.NewMem()
		_, places := overwriting(t, mem)
		mem.Restart()
		overwrite(t, mem, segmentName(places[n].Segment), int64(places[n].Position), []byte{0xff})
		_, _, err := Open(mem, crashDir, recyclingConfig)
		wantCorruption(t, err, places[n].Segment, int64(places[n].Position)-frameHeaderBytes)
	}
}

// Whole pages are written, for the kernel would have to read one of which a part is.
func TestOverwritingWritesWholePages(t *testing.T) {
	mem := vfs.NewMem()
	l, places := overwriting(t, mem)
	b, err := readAll(mem, path.Join(crashDir, segmentName(places[2].Segment)))
	if err != nil {
		t.Fatal(err)
	}
	end := int64(places[2].Position) + 8
	if page := b[end:pageBytes]; len(bytes.Trim(page, "\x00")) > 0 {
		t.Fatalf("the page goes on with %.40q", page)
	}
	if b[pageBytes] == 0 {
		t.Fatal("the next page was written")
	}
	mustClose(t, l)
}

// The largest files are kept: more of them is overwritten.
func TestOnlySoManyFilesAreKept(t *testing.T) {
	mem := vfs.NewMem()
	l, _ := mustOpen(t, mem, recyclingConfig)
	const removed = 3 * maxRecycled
	for n := range removed {
		mustAppend(t, l, strings.Repeat("x", 5<<10+n%maxRecycled*1000))
		if err := l.Roll(); err != nil {
			t.Fatal(err)
		}
	}
	for id := range uint64(removed) {
		if err := l.Remove(id + 1); err != nil {
			t.Fatal(err)
		}
	}
	if kept := strings.Count(mem.String(), temporarySuffix); kept != maxRecycled {
		t.Fatalf("%d files kept:\n%v", kept, mem)
	}
	if smallest := l.recycler.files[0].sizeBytes; smallest < 10<<10 { // there are three of each size
		t.Fatalf("a file of %d bytes is kept", smallest)
	}
	mustClose(t, l)
}

func TestFilesAreNotKeptOnAFullDisk(t *testing.T) {
	mem := vfs.NewMem()
	l, _ := mustOpen(t, mem, recyclingConfig)
	for _, letter := range []string{"a", "b", "c", "d"} {
		mustAppend(t, l, full(letter))
	}
	kept := func() int { return strings.Count(mem.String(), temporarySuffix) }
	if err := l.Remove(1); err != nil || kept() != 1 {
		t.Fatalf("%d files kept, %v", kept(), err)
	}
	space, err := mem.DiskFree(crashDir)
	if err != nil {
		t.Fatal(err)
	}
	mem.SetLimit(int64(space.TotalBytes-space.FreeBytes) + 10<<10)
	if err := l.Remove(2); err != nil || kept() != 0 {
		t.Fatalf("%d files kept on a full disk, %v", kept(), err)
	}
	wantContents(t, l, full("c")+" "+full("d"))
	mustClose(t, l)
}

// Somebody else fills the disk, and nothing is removed.
func TestKeptFilesAreGivenBack(t *testing.T) {
	mem := vfs.NewMem()
	l, _ := mustOpen(t, mem, recyclingConfig)
	mustAppend(t, l, full("a"))
	mustAppend(t, l, full("b"))
	if err := l.Remove(1); err != nil {
		t.Fatal(err)
	}
	kept := func() int { return strings.Count(mem.String(), temporarySuffix) }
	if err := l.Relieve(); err != nil || kept() != 1 {
		t.Fatalf("%d files kept, %v", kept(), err)
	}
	space, err := mem.DiskFree(crashDir)
	if err != nil {
		t.Fatal(err)
	}
	mem.SetLimit(int64(space.TotalBytes-space.FreeBytes) + 10<<10)
	if err := l.Relieve(); err != nil || kept() != 0 {
		t.Fatalf("%d files kept on a full disk, %v", kept(), err)
	}
	mustClose(t, l)
}

// A removal that fails has removed the segment, or has not.
func TestFailedRemoval(t *testing.T) {
	for _, op := range []vfs.Op{vfs.OpRename, vfs.OpSyncDir} {
		t.Run(fmt.Sprint(op), func(t *testing.T) {
			fsys := vfs.NewFaulty(vfs.NewMem(), nil)
			l, _ := mustOpen(t, fsys, recyclingConfig)
			mustAppend(t, l, full("a"))
			mustAppend(t, l, full("b"))
			fsys.SetDecide(vfs.FailNth(1, func(c vfs.Call) bool { return c.Op == op }, syscall.EIO))
			if err := l.Remove(1); !errors.Is(err, syscall.EIO) {
				t.Fatal(err)
			}
			want := full("b")
			if op == vfs.OpRename {
				want = full("a") + " " + want
			}
			wantContents(t, l, want)
			if err := l.Remove(1); op == vfs.OpRename && err != nil || op == vfs.OpSyncDir && !errors.Is(err, ErrSegmentGone) {
				t.Fatalf("remove again: %v", err)
			}
			mustAppend(t, l, full("c"))
			wantContents(t, l, full("b")+" "+full("c"))
			mustClose(t, l)
		})
	}
}
