package hotlog

import (
	"errors"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/varvelog/varve/infra/vfs"
)

// kept is a chunk of a log whose process was killed.
type kept struct {
	Place
	payload string
}

// frameAt says whether a byte of a segment is one of the chunk's frame.
func (k kept) frameAt(segment uint64, at int64) bool {
	from := int64(k.Position) - frameHeaderBytes
	return segment == k.Segment && at >= from && at < from+frameBytes(int64(k.Length))
}

// payloadAt says whether a byte of the chunk's segment is one of its payload.
func (k kept) payloadAt(at int64) bool {
	return at >= int64(k.Position) && at < int64(k.Position)+int64(k.Length)
}

// killed returns a log with a sealed segment and one that a process which was killed had begun.
func killed(t *testing.T) (*vfs.Mem, []kept) {
	t.Helper()
	mem := vfs.NewMem()
	var chunks []kept
	write := func(l *Log, payloads ...string) {
		for i, place := range mustAppend(t, l, payloads...) {
			chunks = append(chunks, kept{place, payloads[i]})
		}
	}
	l, _ := mustOpen(t, mem, smallConfig)
	write(l, "one")
	write(l, "two", "three")
	mustClose(t, l)
	l, _ = mustOpen(t, mem, smallConfig)
	write(l, "four", "five")
	write(l, "six is longer")
	write(l, "seven")
	mem.Restart()
	return mem, chunks
}

// rescued is what Salvage tells of a log.
type rescued struct {
	chunks  []kept
	damages []Damage
	err     error
}

func rescue(mem *vfs.Mem) (r rescued) {
	_, r.err = Salvage(mem, crashDir, func(id uint64, f Frame) error {
		r.chunks = append(r.chunks, kept{Place{id, f.Position, f.Length}, string(f.Payload)})
		return nil
	}, func(d Damage) error {
		r.damages = append(r.damages, d)
		return nil
	})
	return r
}

// TestAnyBitThatFlips: whichever bit of a log flips, all chunks that it is not in are salvaged, nothing else is, and a repaired log opens with them.
func TestAnyBitThatFlips(t *testing.T) {
	pristine, chunks := killed(t)
	last := chunks[len(chunks)-1] // nothing shows that it had been durable
	names, err := pristine.List(crashDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		b, err := readAll(pristine, path.Join(crashDir, name))
		if err != nil {
			t.Fatal(err)
		}
		id, isSegment := parseSegmentName(name)
		end := int64(len(b))
		if isSegment && id == last.Segment {
			end = int64(last.Position) + frameBytes(int64(last.Length)) - frameHeaderBytes
		}
		for at := range end {
			mem, _ := killed(t)
			if b, err = readAll(mem, path.Join(crashDir, name)); err != nil { // salts are others each time
				t.Fatal(err)
			}
			overwrite(t, mem, name, at, []byte{b[at] ^ 1<<(at%8)})
			checkRescue(t, mem, chunks, name, at)
			if t.Failed() {
				t.Fatalf("with a bit of %s that flipped at %d", name, at)
			}
		}
	}
}

// checkRescue salvages and repairs a log of which a byte is wrong.
func checkRescue(t *testing.T, mem *vfs.Mem, chunks []kept, name string, at int64) {
	t.Helper()
	id, isSegment := parseSegmentName(name)
	r := rescue(mem)
	if r.err != nil {
		t.Errorf("salvage: %v", r.err)
		return
	}
	unreadable := isSegment && at >= 40 && at < 48 // the salt, which is not believed
	last := chunks[len(chunks)-1]
	hit := func(k kept) bool { return isSegment && k.frameAt(id, at) && (k == last || k.payloadAt(at)) }
	want := slices.DeleteFunc(slices.Clone(chunks), func(k kept) bool { return hit(k) || unreadable && k.Segment == id })
	if !slices.Equal(r.chunks, want) {
		t.Errorf("salvaged %+v, want %+v", r.chunks, want)
	}
	for _, k := range chunks[:len(chunks)-1] {
		if !isSegment || !k.frameAt(id, at) {
			continue
		}
		position := int64(k.Position) - frameHeaderBytes
		if len(r.damages) != 1 || r.damages[0].Segment != id || r.damages[0].Position != position || r.damages[0].End != position+frameBytes(int64(k.Length)) {
			t.Errorf("damages %+v, want the frame at %d of segment %d", r.damages, position, id)
		}
	}
	damages := 0
	if err := Repair(mem, crashDir, func(Damage) error { damages++; return nil }); err != nil {
		t.Errorf("repair: %v", err)
	}
	if damages != len(r.damages) {
		t.Errorf("repairing saw %d damages, salvaging %+v", damages, r.damages)
	}
	mem.Crash(uint64(at))
	l, _, err := Open(mem, crashDir, smallConfig)
	if err != nil {
		t.Errorf("open: %v", err)
		return
	}
	for _, k := range chunks {
		got := make([]byte, k.Length)
		err := l.ReadAt(k.Segment, k.Position, got)
		switch {
		case unreadable && k.Segment == id:
			if !errors.Is(err, ErrSegmentGone) {
				t.Errorf("a segment that is unreadable: %v", err)
			}
		case hit(k):
			if k != last && err != nil {
				t.Errorf("a damaged payload: %v", err)
			}
		case err != nil || string(got) != k.payload:
			t.Errorf("%q reads %q, %v", k.payload, got, err)
		}
	}
	if place := mustAppend(t, l, "after")[0]; place.Segment <= last.Segment {
		t.Errorf("a segment's id was used again: %d", place.Segment)
	}
	mustClose(t, l)
	if l, _, err = Open(mem, crashDir, smallConfig); err != nil {
		t.Errorf("open again: %v", err)
		return
	}
	mustClose(t, l)
}

// Many frames, and more than a window of them, may be damaged at once, and a file may be cut short.
func TestSalvageOfStretches(t *testing.T) {
	cfg := Config{SegmentBytes: 2 << 20, NoSpare: true}
	mem := vfs.NewMem()
	l, _ := mustOpen(t, mem, cfg)
	payloads := []string{"first", strings.Repeat("a", 300<<10), strings.Repeat("b", 300<<10), "fourth", "fifth"}
	var places []Place
	for _, payload := range payloads {
		places = append(places, mustAppend(t, l, payload)...)
	}
	mem.Restart()
	overwrite(t, mem, segmentName(1), int64(places[1].Position)-frameHeaderBytes, make([]byte, 400<<10))
	r := rescue(mem)
	if r.err != nil || len(r.chunks) != 3 || r.chunks[1].payload != "fourth" || len(r.damages) != 1 || r.damages[0].End != int64(places[3].Position)-frameHeaderBytes {
		t.Fatalf("%d chunks, damages %+v, %v", len(r.chunks), r.damages, r.err)
	}
	if err := Repair(mem, crashDir, func(Damage) error { return nil }); err != nil {
		t.Fatal(err)
	}
	l, _ = mustOpen(t, mem, cfg)
	if got := make([]byte, 6); l.ReadAt(1, places[3].Position, got) != nil || string(got) != "fourth" {
		t.Fatalf("reads %q", got)
	}
	second := mustAppend(t, l, "sixth")[0]
	mem.Restart()

	// The first segment is cut short, below where its footer and the second one say that it ends.
	f, err := mem.OpenReadWrite(path.Join(crashDir, segmentName(1)))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(int64(places[1].Position)), f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Open(mem, crashDir, cfg); !isCorruption(err) {
		t.Fatalf("open: %v", err)
	}
	if r = rescue(mem); r.err != nil || len(r.chunks) != 2 || r.chunks[1].payload != "sixth" || len(r.damages) != 1 {
		t.Fatalf("%d chunks, damages %+v, %v", len(r.chunks), r.damages, r.err)
	}
	if err := Repair(mem, crashDir, func(Damage) error { return nil }); err != nil {
		t.Fatal(err)
	}
	l, _ = mustOpen(t, mem, cfg)
	if got := make([]byte, 5); l.ReadAt(second.Segment, second.Position, got) != nil || string(got) != "sixth" {
		t.Fatalf("reads %q", got)
	}
	mustClose(t, l)
}

func TestSalvageRefusesWhatIsNotDamage(t *testing.T) {
	mem, _ := killed(t)
	overwrite(t, mem, segmentName(1), 0, Header{Version: formatVersion, Segment: 1, DiskUUID: [16]byte{9}, Salt: 7}.encode())
	if r := rescue(mem); !errors.Is(r.err, ErrForeignDisk) {
		t.Errorf("of a foreign disk: %v", r.err)
	}
	if err := Repair(mem, crashDir, func(Damage) error { return nil }); !errors.Is(err, ErrForeignDisk) {
		t.Errorf("repairing: %v", err)
	}
	mem, _ = killed(t)
	l, _ := mustOpen(t, mem, smallConfig)
	if err := Repair(mem, crashDir, func(Damage) error { return nil }); !errors.Is(err, vfs.ErrLocked) {
		t.Errorf("repairing what is open: %v", err)
	}
	mustClose(t, l)
}
