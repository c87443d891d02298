package hotlog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/varvelog/varve/infra/vfs"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// chunksOf yields a reader's chunks and fails the test on an error.
func chunksOf(t *testing.T, r *Reader) iter.Seq[Frame] {
	return func(yield func(Frame) bool) {
		t.Helper()
		for {
			frame, err := r.Next()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !yield(frame) {
				return
			}
		}
	}
}

// eachDisk runs a test on the real file system and on the one in memory.
func eachDisk(t *testing.T, test func(t *testing.T, fsys vfs.FS, dir string)) {
	t.Run("os", func(t *testing.T) { test(t, vfs.OS{}, t.TempDir()) })
	t.Run("mem", func(t *testing.T) { test(t, vfs.NewMem(), crashDir) })
}

func TestAppendReadReopen(t *testing.T) {
	eachDisk(t, func(t *testing.T, fsys vfs.FS, dir string) {
		cfg := Config{SegmentBytes: 8 << 10}
		l, recovery, err := Open(fsys, dir, cfg)
		if err != nil {
			t.Fatal(err)
		}
		if !recovery.Created || recovery.DiskUUID != l.DiskUUID() || len(recovery.Segments) != 0 {
			t.Fatalf("first recovery %+v", recovery)
		}
		ld, rng := newLedger(), rand.New(rand.NewPCG(1, 2))
		for range 30 {
			if err := ld.append(l, ld.chunk(rng, 2000), ld.chunk(rng, 1), ld.chunk(rng, 1000)); err != nil {
				t.Fatal(err)
			}
		}
		ld.check(t, l)
		for n, place := range ld.places {
			b := make([]byte, place.Length)
			if err := l.ReadAt(place.Segment, place.Position, b); err != nil || !bytes.Equal(b, ld.sent[n]) {
				t.Fatalf("chunk %d at %v: %.20q, %v", n, place, b, err)
			}
		}
		infos, sum := l.Segments(), int64(0)
		for i, info := range infos {
			sum += info.SizeBytes
			if info.Sealed != (i < len(infos)-1) || info.SizeBytes > cfg.SegmentBytes {
				t.Fatalf("segments %+v", infos)
			}
		}
		if sum != l.SizeBytes() || len(infos) < 5 {
			t.Fatalf("%d bytes in %d segments, sum %d", l.SizeBytes(), len(infos), sum)
		}
		mustClose(t, l)
		if err := Verify(fsys, dir, func(r Report, err error) {
			if err != nil || r.Tail != TailSealed {
				t.Fatalf("%+v: %v", r, err)
			}
		}); err != nil {
			t.Fatal(err)
		}
		id := l.DiskUUID()
		if l, recovery, err = Open(fsys, dir, cfg); err != nil {
			t.Fatal(err)
		}
		if recovery.Created || recovery.DiskUUID != id || len(recovery.TornTails)+len(recovery.Discarded) != 0 {
			t.Fatalf("second recovery %+v", recovery)
		}
		ld.check(t, l)
		before := l.Segments()
		if active := before[len(before)-1]; active.Sealed || active.Frames != 0 || active.ID <= before[len(before)-2].ID {
			t.Fatalf("segments %+v", before)
		}
		mustClose(t, l)
	})
}

func TestLockedDirectory(t *testing.T) {
	eachDisk(t, func(t *testing.T, fsys vfs.FS, dir string) {
		l, _, err := Open(fsys, dir, Config{})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := Open(fsys, dir, Config{}); !errors.Is(err, vfs.ErrLocked) {
			t.Fatalf("second open: %v", err)
		}
		mustClose(t, l)
	})
}

func TestSegmentIDsAreNeverReused(t *testing.T) {
	mem := vfs.NewMem()
	last := uint64(0)
	for range 5 {
		l, _ := mustOpen(t, mem, smallConfig)
		place := mustAppend(t, l, "x")[0]
		if place.Segment <= last {
			t.Fatalf("segment %d after %d", place.Segment, last)
		}
		last = place.Segment
		if err := l.Roll(); err != nil {
			t.Fatal(err)
		}
		if err := l.Remove(last); err != nil {
			t.Fatal(err)
		}
		mustClose(t, l) // leaves no segment at all
		if names, err := mem.List(crashDir); err != nil || slices.ContainsFunc(names, func(n string) bool { return strings.HasSuffix(n, segmentSuffix) }) {
			t.Fatalf("left %q, %v", names, err)
		}
	}
}

func TestChunkSizes(t *testing.T) {
	mem := vfs.NewMem()
	l, _ := mustOpen(t, mem, smallConfig)
	var tooLarge *ChunkTooLargeError
	if _, err := l.Append(nil, NewChunk([]byte("ok")), NewChunk(make([]byte, l.MaxChunkBytes()), []byte{1})); !errors.As(err, &tooLarge) {
		t.Fatalf("too large: %v", err)
	}
	if tooLarge.SizeBytes != l.MaxChunkBytes()+1 || tooLarge.MaxBytes != l.MaxChunkBytes() || l.Stats().Chunks != 0 {
		t.Fatalf("%v, %+v", tooLarge, l.Stats())
	}
	for size := l.MaxChunkBytes() - 20; size <= l.MaxChunkBytes(); size++ {
		chunk := bytes.Repeat([]byte{byte(size)}, int(size))
		places, err := l.Append(nil, NewChunk(), NewChunk(chunk[:5], nil, chunk[5:]), NewChunk([]byte{}))
		if err != nil || len(places) != 3 {
			t.Fatalf("chunk of %d bytes: %v", size, err)
		}
		b := make([]byte, size)
		if err := l.ReadAt(places[1].Segment, places[1].Position, b); err != nil || !bytes.Equal(b, chunk) {
			t.Fatalf("chunk of %d bytes: %v", size, err)
		}
	}
	for _, info := range l.Segments() {
		if stat, err := mem.Stat(path.Join(crashDir, segmentName(info.ID))); err != nil || stat.SizeBytes > smallConfig.SegmentBytes {
			t.Fatalf("%+v: file of %d bytes, %v", info, stat.SizeBytes, err)
		}
	}
	mustClose(t, l)
}

func TestGroupIsOneWriteAndOneSync(t *testing.T) {
	fsys := vfs.NewFaulty(vfs.NewMem(), nil)
	l, _ := mustOpen(t, fsys, smallConfig)
	writes, syncs := fsys.Calls(vfs.OpWrite), fsys.Calls(vfs.OpSyncData)
	mustAppend(t, l, "one", "two", "three")
	if w, s := fsys.Calls(vfs.OpWrite)-writes, fsys.Calls(vfs.OpSyncData)-syncs; w != 1 || s != 1 {
		t.Fatalf("%d writes, %d syncs", w, s)
	}
	mustClose(t, l)
}

func TestReadAtStaysBelowTheDurableEnd(t *testing.T) {
	l, _ := mustOpen(t, vfs.NewMem(), smallConfig)
	place := mustAppend(t, l, "12345678")[0]
	for _, c := range []struct {
		segment  uint64
		position uint32
		size     int
		want     error
	}{
		{place.Segment, place.Position, 8, nil},
		{place.Segment, place.Position, 9, ErrNotDurable},
		{place.Segment, place.Position + 8, 0, nil},
		{place.Segment, 1 << 31, 1, ErrNotDurable},
		{place.Segment, 0, 8, ErrNotDurable},
		{place.Segment + 1, place.Position, 8, ErrSegmentGone},
	} {
		if err := l.ReadAt(c.segment, c.position, make([]byte, c.size)); !errors.Is(err, c.want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	mustClose(t, l)
	if err := l.ReadAt(place.Segment, place.Position, nil); !errors.Is(err, ErrClosed) {
		t.Fatalf("after close: %v", err)
	}
	_, appendErr := l.Append(nil)
	for _, err := range []error{appendErr, l.Roll(), l.Abandon(), l.Close(), l.Remove(1)} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("after close: %v", err)
		}
	}
}

func TestRemove(t *testing.T) {
	eachDisk(t, func(t *testing.T, fsys vfs.FS, dir string) {
		l, _, err := Open(fsys, dir, smallConfig)
		if err != nil {
			t.Fatal(err)
		}
		place := mustAppend(t, l, "one")[0]
		if err := l.Remove(place.Segment); !errors.Is(err, ErrSegmentActive) {
			t.Fatalf("remove the active segment: %v", err)
		}
		if err := l.Roll(); err != nil {
			t.Fatal(err)
		}
		r, err := l.OpenReader(place.Segment)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Remove(place.Segment); err != nil {
			t.Fatal(err)
		}
		if err := l.Remove(place.Segment); !errors.Is(err, ErrSegmentGone) {
			t.Fatalf("remove twice: %v", err)
		}
		if err := l.ReadAt(place.Segment, place.Position, make([]byte, 3)); !errors.Is(err, ErrSegmentGone) {
			t.Fatalf("read what was removed: %v", err)
		}
		if frame, err := r.Next(); err != nil || string(frame.Payload) != "one" {
			t.Fatalf("reader from before: %q, %v", frame.Payload, err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		mustClose(t, l)
	})
}

func TestRollOfAnEmptySegmentDoesNothing(t *testing.T) {
	l, _ := mustOpen(t, vfs.NewMem(), smallConfig)
	for range 3 {
		if err := l.Roll(); err != nil {
			t.Fatal(err)
		}
	}
	if infos := l.Segments(); len(infos) != 1 || infos[0].ID != 1 {
		t.Fatalf("%+v", infos)
	}
	mustClose(t, l)
}

// Readers, a remover and an appender at once, on a real disk; the race detector judges.
func TestConcurrentReaders(t *testing.T) {
	l, _, err := Open(vfs.OS{}, t.TempDir(), Config{SegmentBytes: 16 << 10})
	if err != nil {
		t.Fatal(err)
	}
	places := make(chan Place, 1000)
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for place := range places {
				b := make([]byte, place.Length)
				err := l.ReadAt(place.Segment, place.Position, b)
				if err != nil && !errors.Is(err, ErrSegmentGone) {
					t.Errorf("%v: %v", place, err)
				}
				if err == nil && !bytes.Equal(b, bytes.Repeat(b[:1], len(b))) {
					t.Errorf("%v: mixed contents", place)
				}
				l.SizeBytes()
			}
		})
	}
	for i := range 300 {
		appended, err := l.Append(nil, NewChunk(bytes.Repeat([]byte{byte(i)}, 900)))
		if err != nil {
			t.Fatal(err)
		}
		places <- appended[0]
		if infos := l.Segments(); len(infos) > 3 {
			if err := l.Remove(infos[0].ID); err != nil {
				t.Fatal(err)
			}
		}
	}
	close(places)
	readers.Wait()
	mustClose(t, l)
}

type observer struct{ groups, chunks, bytes int }

func (o *observer) GroupAppended(chunks int, payloadBytes int64, write, sync time.Duration) {
	if write >= 0 && sync >= 0 {
		o.groups++
		o.chunks += chunks
		o.bytes += int(payloadBytes)
	}
}

func TestObserverAndStats(t *testing.T) {
	var o observer
	l, _ := mustOpen(t, vfs.NewMem(), Config{Observer: &o})
	mustAppend(t, l, "one", "two")
	mustAppend(t, l, "three")
	if o != (observer{groups: 2, chunks: 3, bytes: 11}) {
		t.Fatalf("%+v", o)
	}
	if stats := l.Stats(); stats != (Stats{Groups: 2, Chunks: 3, PayloadBytes: 11, Syncs: 2}) {
		t.Fatalf("%+v", stats)
	}
	mustClose(t, l)
}

func TestConfigNamesTheField(t *testing.T) {
	for field, cfg := range map[string]Config{
		"SegmentBytes": {SegmentBytes: 4 << 30}, "SegmentBytes ": {SegmentBytes: -1}, "Preallocate": {Preallocate: 9},
	} {
		if _, _, err := Open(vfs.NewMem(), "d", cfg); err == nil || !strings.Contains(err.Error(), strings.TrimSpace(field)) {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func TestScanReportsFramesAndTail(t *testing.T) {
	mem, places := threeGroups(t)
	name := path.Join(crashDir, segmentName(1))
	var got []string
	report, err := Scan(mem, name, func(f Frame) error {
		got = append(got, fmt.Sprintf("%v %d %d %d", f.Kind, f.Sequence, f.Position, f.DurableEnd))
		return nil
	})
	want := []string{"begin 1 96 64", "chunk 2 144 64", "chunk 3 184 152", "chunk 4 224 192"}
	if err != nil || !slices.Equal(got, want) {
		t.Fatalf("frames %q, %v", got, err)
	}
	if report.Tail != TailClean || report.Chunks != 3 || report.PayloadBytes != 11 || report.End != int64(places[2].Position)+8 {
		t.Fatalf("%+v", report)
	}
	overwrite(t, mem, segmentName(1), report.End+100, []byte("left over"))
	report, err = Scan(mem, name, nil)
	if err != nil || report.Tail != TailTorn || report.TornBytes != 109 {
		t.Fatalf("%+v, %v", report, err)
	}
	stop := errors.New("stop")
	if _, err := Scan(mem, name, func(Frame) error { return stop }); !errors.Is(err, stop) {
		t.Fatalf("stopped scan: %v", err)
	}
}
