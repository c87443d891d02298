package hotlog

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"

	"github.com/varvelog/varve/infra/vfs"
)

const crashDir = "data/hotlog"

// errPowerCut is what every operation returns once the machine has stopped.
var errPowerCut = errors.New("power cut")

// ledger is what a producer knows: every chunk it sent, whether it was acknowledged and where, and which segments were removed.
type ledger struct {
	sent    [][]byte
	places  map[int]Place // of acknowledged chunks
	removed map[uint64]bool
	failed  map[int]bool // chunks that an Abandon has made impossible
	nextID  uint64       // above every segment id seen
}

func newLedger() *ledger {
	return &ledger{places: make(map[int]Place), removed: make(map[uint64]bool), failed: make(map[int]bool)}
}

// chunk makes the next chunk: its number, and bytes that follow from it.
func (ld *ledger) chunk(rng *rand.Rand, maxBytes int) Chunk {
	n := len(ld.sent)
	b := fmt.Appendf(nil, "chunk %06d ", n)
	for range rng.IntN(maxBytes) {
		b = append(b, byte(rng.Uint32()))
	}
	ld.sent = append(ld.sent, b)
	cut := rng.IntN(len(b) + 1)
	return NewChunk(b[:cut], b[cut:])
}

func (ld *ledger) append(l *Log, chunks ...Chunk) error {
	first := len(ld.sent) - len(chunks)
	places, err := l.Append(nil, chunks...)
	for i, place := range places {
		ld.places[first+i] = place
		ld.nextID = max(ld.nextID, place.Segment+1)
	}
	return err
}

// mishaps are part of the story: some syncs of groups fail, some writes find the disk full after a part.
func mishaps() vfs.Decide {
	syncs, writes := 0, 0
	return func(c vfs.Call) *vfs.Fault {
		if c.Op == vfs.OpSyncData {
			if syncs++; syncs%11 == 7 {
				return &vfs.Fault{Err: syscall.EIO}
			}
		}
		if c.Op == vfs.OpWrite && c.Bytes > 300 {
			if writes++; writes%13 == 5 {
				return &vfs.Fault{Err: syscall.ENOSPC, ShortBytes: c.Bytes * writes % 7 / 6}
			}
		}
		return nil
	}
}

// until lets decide play until the power cut.
func until(cut, decide vfs.Decide) vfs.Decide {
	return func(c vfs.Call) *vfs.Fault {
		if fault := cut(c); fault != nil {
			return fault
		}
		return decide(c)
	}
}

// overcome goes on after a mishap as a node does: a full disk fails the group, a poisoned log is abandoned, which makes what
// had failed impossible. What the disk did with the pages that it failed to write is up to the disk.
func (ld *ledger) overcome(l *Log, mem *vfs.Mem, err error, group int) error {
	switch {
	case errors.Is(err, errPowerCut):
		return err
	case errors.Is(err, ErrNoSpace):
		return nil
	case err == nil || !errors.Is(err, ErrPoisoned):
		return err
	}
	if active := l.writer.active; active != nil && len(ld.sent)%2 == 0 {
		if err := mem.LoseWriteback(strings.TrimSuffix(active.path, temporarySuffix)); err != nil {
			return err
		}
	}
	for err != nil {
		if errors.Is(err, errPowerCut) {
			return err
		}
		err = l.Abandon()
	}
	for n := len(ld.sent) - group; n < len(ld.sent); n++ {
		if _, ok := ld.places[n]; !ok {
			ld.failed[n] = true
		}
	}
	return nil
}

// script is a node's life: groups small and large, rolls by size and by hand, removals, mishaps, a killed process, clean
// restarts. It stops at the first error that is not part of the story.
func (ld *ledger) script(fsys *vfs.Faulty, mem *vfs.Mem, cfg Config, rng *rand.Rand) error {
	var l *Log
	defer func() {
		if l != nil {
			_ = l.Close() // after a power cut it fails, and has to end the background goroutine all the same
		}
	}()
	for life := range 3 {
		var err error
		if l, _, err = Open(fsys, crashDir, cfg); err != nil {
			return err
		}
		for step := range 12 {
			group := make([]Chunk, 1+rng.IntN(3))
			for i := range group {
				group[i] = ld.chunk(rng, int(cfg.SegmentBytes/9))
			}
			if err := ld.overcome(l, mem, ld.append(l, group...), len(group)); err != nil {
				return err
			}
			if step%5 == 4 {
				if err := ld.overcome(l, mem, l.Roll(), 0); err != nil {
					return err
				}
			}
			if step%4 == 3 {
				if err := ld.removeOldest(l); err != nil {
					return err
				}
			}
		}
		if life == 1 { // killed: no Close, the page cache survives
			if err := l.dropSpare(); err != nil {
				return err
			}
			mem.Restart()
			l = nil
			continue
		}
		closing := l
		l = nil
		if err := closing.Close(); err != nil {
			return err
		}
	}
	return nil
}

func (ld *ledger) removeOldest(l *Log) error {
	oldest := l.Segments()[0]
	if !oldest.Sealed {
		return nil
	}
	ld.removed[oldest.ID] = true // before the call: a crash within it may or may not have removed it
	return l.Remove(oldest.ID)
}

// check compares a recovered log with the ledger: acknowledged chunks are where they were said to be, nothing was invented, the order is
// that of sending.
func (ld *ledger) check(t *testing.T, l *Log) {
	t.Helper()
	last := -1
	found := make(map[int]Place)
	for _, info := range l.Segments() {
		frames := uint64(0)
		eachChunk(t, l, info.ID, func(f Frame) {
			frames++
			var n int
			if _, err := fmt.Sscanf(string(f.Payload), "chunk %d ", &n); err != nil || n >= len(ld.sent) || !bytes.Equal(f.Payload, ld.sent[n]) {
				t.Fatalf("segment %d holds a chunk at %d that nobody sent: %.20q", info.ID, f.Position, f.Payload)
			}
			if n <= last {
				t.Fatalf("segment %d holds chunk %d after chunk %d", info.ID, n, last)
			}
			last = n
			if ld.failed[n] {
				t.Fatalf("segment %d holds chunk %d, which had failed for good", info.ID, n)
			}
			found[n] = Place{Segment: info.ID, Position: f.Position, Length: f.Length}
		})
		if frames != info.Frames {
			t.Fatalf("segment %d claims %d frames, holds %d", info.ID, info.Frames, frames)
		}
	}
	for n, place := range ld.places {
		if got, ok := found[n]; ld.removed[place.Segment] && !ok {
			continue
		} else if got != place {
			t.Fatalf("chunk %d was acknowledged at %v, is at %v (found: %v)", n, place, got, ok)
		}
	}
}

func eachChunk(t *testing.T, l *Log, id uint64, fn func(Frame)) {
	t.Helper()
	r, err := l.OpenReader(id)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}()
	for frame := range chunksOf(t, r) {
		fn(frame)
	}
}

// crashAt runs the script with the power cut at the nth change, and returns what is left; where 3 divides
// the seed only the process is killed. False: the script ended before that.
func crashAt(t *testing.T, cfg Config, n int, seed uint64) (*vfs.Mem, *ledger, bool) {
	t.Helper()
	mem, ld := vfs.NewMem(), newLedger()
	fsys := vfs.NewFaulty(mem, until(vfs.FailFrom(n, changes, errPowerCut), mishaps()))
	cfg.Random = rand.NewChaCha8([32]byte{1})
	err := ld.script(fsys, mem, cfg, rand.New(rand.NewPCG(7, 7)))
	if err == nil {
		return nil, nil, false
	}
	if !errors.Is(err, errPowerCut) {
		t.Fatalf("change %d: script failed by itself: %v", n, err)
	}
	if seed%3 == 0 {
		mem.Restart()
	} else {
		mem.Crash(seed)
	}
	return mem, ld, true
}

func changes(c vfs.Call) bool { return c.Op.Changes() }

// mustRecover opens the log and compares it, cuts the power at once, finds the same again, and checks that the log takes an append under an
// id never seen.
func mustRecover(t *testing.T, mem *vfs.Mem, cfg Config, ld *ledger) {
	t.Helper()
	l, _, err := Open(mem, crashDir, cfg)
	if err != nil {
		t.Fatalf("recover: %v", err)
	}
	ld.check(t, l)
	found := contents(t, l)
	mem.Crash(uint64(len(found)))
	l, recovery, err := Open(mem, crashDir, cfg)
	if err != nil {
		t.Fatalf("recover again: %v", err)
	}
	wantContents(t, l, found)
	if len(recovery.TornTails) > 0 {
		t.Fatalf("recovered again: %+v", recovery)
	}
	if err := ld.append(l, ld.chunk(rand.New(rand.NewPCG(1, 1)), 50)); err != nil {
		t.Fatalf("append after recovery: %v", err)
	}
	if place := ld.places[len(ld.sent)-1]; place.Segment+1 != ld.nextID {
		t.Fatalf("appended to segment %d, but %d had been used", place.Segment, ld.nextID-1)
	}
	ld.check(t, l)
	if err := l.Close(); err != nil {
		t.Fatalf("close after recovery: %v", err)
	}
}

// TestCrashAtEveryOperation cuts the power before every change that the script makes, or kills the process, and recovers.
func TestCrashAtEveryOperation(t *testing.T) {
	for name, cfg := range map[string]Config{
		"spare":          {SegmentBytes: 8 << 10},
		"many pages":     {SegmentBytes: 48 << 10}, // of which those that are not yet overwritten hold what a removed segment did
		"zeros":          {SegmentBytes: 8 << 10, Preallocate: PreallocateZeros},
		"no spare":       {SegmentBytes: 8 << 10, NoSpare: true},
		"no preallocate": {SegmentBytes: 8 << 10, NoSpare: true, Preallocate: PreallocateNone, VerifySealed: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := 1
			for ; ; n++ {
				more := false
				for _, seed := range []uint64{0, uint64(3*n + 1)} { // a kill, a power cut
					mem, ld, crashed := crashAt(t, cfg, n, seed)
					if crashed {
						more = true
						mustRecover(t, mem, cfg, ld)
						mustRecover(t, mem, cfg, ld)
					}
				}
				if !more {
					break
				}
			}
			if n < 200 {
				t.Fatalf("the script makes only %d changes", n)
			}
			t.Logf("%d crash points", n-1)
		})
	}
}

// TestCrashDuringFirstOpen tries many outcomes of the few changes that make a directory a log.
func TestCrashDuringFirstOpen(t *testing.T) {
	for n := 1; ; n++ {
		for seed := range uint64(100) {
			mem := vfs.NewMem()
			l, _, err := Open(vfs.NewFaulty(mem, vfs.FailFrom(n, changes, errPowerCut)), crashDir, smallConfig)
			if err == nil {
				if _ = l.Close(); n < 10 { // the power cut comes while it closes
					t.Fatalf("open makes only %d changes", n)
				}
				return
			}
			mem.Crash(seed)
			mustRecover(t, mem, smallConfig, newLedger())
		}
	}
}

// TestCrashDuringRecovery cuts the power again at every change that recovery makes.
func TestCrashDuringRecovery(t *testing.T) {
	cfg := Config{SegmentBytes: 8 << 10, NoSpare: true}
	points := 0
	for n := 10; ; n += 7 {
		for m := 1; ; m++ {
			mem, ld, crashed := crashAt(t, cfg, n, uint64(n+m))
			if !crashed {
				if points < 100 {
					t.Fatalf("only %d crash points", points)
				}
				return
			}
			l, _, err := Open(vfs.NewFaulty(mem, vfs.FailFrom(m, changes, errPowerCut)), crashDir, cfg)
			if err == nil {
				_ = l.Close()
				break
			}
			if !errors.Is(err, errPowerCut) {
				t.Fatalf("crash %d: recovery: %v", n, err)
			}
			points++
			mem.Crash(uint64(n * m))
			mustRecover(t, mem, cfg, ld)
		}
	}
}
