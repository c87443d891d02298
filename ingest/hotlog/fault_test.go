package hotlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math/rand/v2"
	"path"
	"strings"
	"syscall"
	"testing"

	"github.com/varvelog/varve/infra/vfs"
)

var smallConfig = Config{SegmentBytes: 8 << 10, NoSpare: true}

func mustOpen(t *testing.T, fsys vfs.FS, cfg Config) (*Log, *Recovery) {
	t.Helper()
	l, recovery, err := Open(fsys, crashDir, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return l, recovery
}

func mustAppend(t *testing.T, l *Log, payloads ...string) []Place {
	t.Helper()
	chunks := make([]Chunk, len(payloads))
	for i, payload := range payloads {
		chunks[i] = NewChunk([]byte(payload))
	}
	places, err := l.Append(nil, chunks...)
	if err != nil {
		t.Fatal(err)
	}
	return places
}

func mustClose(t *testing.T, l *Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// contents returns all payloads of a log, in order.
func contents(t *testing.T, l *Log) string {
	t.Helper()
	var all []string
	for _, info := range l.Segments() {
		eachChunk(t, l, info.ID, func(f Frame) { all = append(all, string(f.Payload)) })
	}
	return strings.Join(all, " ")
}

func wantContents(t *testing.T, l *Log, want string) {
	t.Helper()
	if got := contents(t, l); got != want {
		t.Fatalf("log holds %q, want %q", got, want)
	}
}

// failing matches one operation on segment files.
func failing(op vfs.Op) func(vfs.Call) bool {
	return func(c vfs.Call) bool { return c.Op == op && strings.Contains(c.Path, segmentSuffix) }
}

func TestFailedSyncOrWritePoisons(t *testing.T) {
	for _, op := range []vfs.Op{vfs.OpSyncData, vfs.OpWrite} {
		t.Run(string(op)+" then append", func(t *testing.T) { poisonAndAbandon(t, op, false) })
		t.Run(string(op)+" then close", func(t *testing.T) { poisonAndAbandon(t, op, true) })
	}
}

func poisonAndAbandon(t *testing.T, op vfs.Op, closed bool) {
	mem := vfs.NewMem()
	fsys := vfs.NewFaulty(mem, nil)
	l, _ := mustOpen(t, fsys, smallConfig)
	mustAppend(t, l, "one")
	fsys.SetDecide(vfs.FailNth(1, failing(op), syscall.EIO))
	if _, err := l.Append(nil, NewChunk([]byte("two"))); !errors.Is(err, ErrPoisoned) || !errors.Is(err, syscall.EIO) {
		t.Fatalf("append whose %s fails: %v", op, err)
	}
	syncs := fsys.Calls(vfs.OpSyncData) + fsys.Calls(vfs.OpSync)
	if _, err := l.Append(nil, NewChunk([]byte("three"))); !errors.Is(err, ErrPoisoned) {
		t.Fatalf("append to a poisoned log: %v", err)
	}
	if err := l.Roll(); !errors.Is(err, ErrPoisoned) {
		t.Fatalf("roll of a poisoned log: %v", err)
	}
	if fsys.Calls(vfs.OpSyncData)+fsys.Calls(vfs.OpSync) != syncs {
		t.Fatal("the poisoned segment was synced again")
	}
	wantContents(t, l, "one")
	if err := errors.Join(l.Abandon(), l.Abandon()); err != nil {
		t.Fatal(err)
	}
	if stats := l.Stats(); stats.Poisonings != 1 || stats.Chunks != 1 {
		t.Fatalf("%+v", stats)
	}
	want := "one"
	if !closed {
		mustAppend(t, l, "four")
		want = "one four"
	}
	wantContents(t, l, want)
	if closed {
		mustClose(t, l) // must keep what states where the abandoned segment ended
	}
	mem.Restart() // the page cache still holds the failed chunk
	l, recovery := mustOpen(t, mem, smallConfig)
	wantContents(t, l, want)
	if op == vfs.OpSyncData && len(recovery.TornTails) != 1 {
		t.Fatalf("recovery %+v", recovery)
	}
	mustClose(t, l)
}

func TestPoisonOnSealAndFailedAbandon(t *testing.T) {
	fsys := vfs.NewFaulty(vfs.NewMem(), nil)
	l, _ := mustOpen(t, fsys, smallConfig)
	mustAppend(t, l, "one")
	fsys.SetDecide(vfs.FailNth(1, failing(vfs.OpSync), syscall.EIO))
	if err := l.Roll(); !errors.Is(err, ErrPoisoned) {
		t.Fatalf("roll whose sync fails: %v", err)
	}
	for op, nth := range map[vfs.Op]int{vfs.OpSyncData: 1, vfs.OpWrite: 2} { // the first write is the header
		fsys.SetDecide(vfs.FailNth(nth, failing(op), syscall.EIO))
		if err := l.Abandon(); !errors.Is(err, ErrPoisoned) {
			t.Fatalf("abandon whose %s fails: %v", op, err)
		}
	}
	fsys.SetDecide(vfs.FailNth(1, func(c vfs.Call) bool { return c.Op == vfs.OpPreallocate }, syscall.ENOSPC))
	if err := l.Abandon(); !errors.Is(err, ErrNoSpace) {
		t.Fatalf("abandon on a full disk: %v", err)
	}
	if _, err := l.Append(nil, NewChunk([]byte("no"))); !errors.Is(err, ErrPoisoned) {
		t.Fatalf("append: %v", err)
	}
	if err := l.Abandon(); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, "two")
	mustClose(t, l)
	l, _ = mustOpen(t, fsys, smallConfig)
	wantContents(t, l, "one two")
	mustClose(t, l)
}

// The segment that fails has no acknowledged chunk, so nothing states where it ended: it has to go for good, even where the next segment
// lies ready and needs no change of the directory.
func TestAbandonedSegmentWithoutChunksStaysAway(t *testing.T) {
	for seed := range uint64(20) {
		mem := vfs.NewMem()
		fsys := vfs.NewFaulty(mem, nil)
		l, _ := mustOpen(t, fsys, Config{SegmentBytes: 8 << 10})
		mustAppend(t, l, "one", strings.Repeat("x", 5000))
		if err := l.Roll(); err != nil {
			t.Fatal(err)
		}
		l.prepareSpare()
		l.spare.preparing.Wait()
		fsys.SetDecide(vfs.FailNth(1, failing(vfs.OpSyncData), syscall.EIO))
		if _, err := l.Append(nil, NewChunk([]byte("failed"))); !errors.Is(err, ErrPoisoned) {
			t.Fatal(err)
		}
		if err := l.Abandon(); err != nil {
			t.Fatal(err)
		}
		mem.Crash(seed)
		l, _ = mustOpen(t, mem, smallConfig)
		if got := contents(t, l); strings.Contains(got, "failed") {
			t.Fatalf("log holds %q", got)
		}
		mustClose(t, l)
	}
}

// A second abandonment must not lose, at any moment, what the first one stated.
func TestAbandonTwiceWithPowerCut(t *testing.T) {
	for n, done := 1, false; !done; n++ {
		for seed := range uint64(20) {
			mem := vfs.NewMem()
			fsys := vfs.NewFaulty(mem, nil)
			l, _ := mustOpen(t, fsys, smallConfig)
			mustAppend(t, l, "one")
			for range 2 {
				if err := l.Abandon(); err != nil {
					t.Fatal(err)
				}
				fsys.SetDecide(vfs.FailNth(1, failing(vfs.OpSyncData), syscall.EIO))
				if _, err := l.Append(nil, NewChunk([]byte("failed"))); !errors.Is(err, ErrPoisoned) {
					t.Fatal(err)
				}
				fsys.SetDecide(nil)
			}
			fsys.SetDecide(vfs.FailFrom(n, changes, errPowerCut))
			err := l.Abandon()
			fsys.SetDecide(vfs.FailFrom(1, changes, errPowerCut))
			_ = l.Close() // ends what runs in the background; the machine is off
			if seed == 0 {
				mem.Restart()
			} else {
				mem.Crash(seed)
			}
			l, _ = mustOpen(t, mem, smallConfig)
			want := "one"
			if err != nil && strings.HasSuffix(contents(t, l), "failed") {
				want = "one failed" // the second one: its Abandon has not returned
				if infos := l.Segments(); infos[0].Frames != 1 {
					t.Fatalf("cut at %d, seed %d: the first failed chunk is back: %+v", n, seed, infos)
				}
			}
			wantContents(t, l, want)
			mustClose(t, l)
			done = err == nil
		}
	}
}

// A kernel takes pages for clean after a failed fsync: a killed process's recovery sees them, a power cut later loses them, unless
// recovery writes them again.
func TestRecoveredChunksOutliveLostWriteback(t *testing.T) {
	mem := vfs.NewMem()
	fsys := vfs.NewFaulty(mem, nil)
	l, _ := mustOpen(t, fsys, smallConfig)
	place := mustAppend(t, l, "one")[0]
	fsys.SetDecide(vfs.FailNth(1, failing(vfs.OpSyncData), syscall.EIO))
	if _, err := l.Append(nil, NewChunk([]byte("two"))); !errors.Is(err, ErrPoisoned) {
		t.Fatal(err)
	}
	if err := mem.LoseWriteback(path.Join(crashDir, segmentName(place.Segment))); err != nil {
		t.Fatal(err)
	}
	mem.Restart()
	l, _ = mustOpen(t, mem, smallConfig)
	found := contents(t, l)
	for seed := range uint64(5) {
		mem.Crash(seed)
		l, _ = mustOpen(t, mem, Config{SegmentBytes: 8 << 10, NoSpare: true, VerifySealed: true})
		wantContents(t, l, found)
	}
	mustClose(t, l)
}

func TestFullDiskRefusesAndRecovers(t *testing.T) {
	for name, cfg := range map[string]Config{
		"preallocated": smallConfig,
		"spare":        {SegmentBytes: 8 << 10},
		"grown":        {SegmentBytes: 8 << 10, NoSpare: true, Preallocate: PreallocateNone},
	} {
		t.Run(name, func(t *testing.T) {
			mem := vfs.NewMem()
			mem.SetLimit(40 << 10)
			l, _ := mustOpen(t, mem, cfg)
			ld := newLedger()
			rng := rand.New(rand.NewPCG(1, 1))
			var err error
			for err == nil {
				err = ld.append(l, ld.chunk(rng, 700), ld.chunk(rng, 700))
			}
			if !errors.Is(err, ErrNoSpace) || errors.Is(err, ErrPoisoned) || len(ld.places) < 20 {
				t.Fatalf("after %d chunks: %v", len(ld.places), err)
			}
			ld.check(t, l)
			if err := l.Roll(); err != nil { // what is there can be shipped
				t.Fatal(err)
			}
			mustClose(t, l)
			l, _ = mustOpen(t, mem, cfg) // a restart does not need space
			if err := ld.removeOldest(l); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				if err := ld.append(l, ld.chunk(rng, 100)); err != nil {
					t.Fatalf("append after space returned: %v", err)
				}
			}
			ld.check(t, l)
			mustClose(t, l)
		})
	}
}

// A write refused for lack of space may have written a part. The next group overwrites it; neither a crash nor a kill in between
// finds a remainder behind the new group.
func TestRemainderOfRefusedWriteIsNotFound(t *testing.T) {
	for _, short := range []int{0, 40, 100, 1 << 20} {
		for seed := range uint64(20) {
			mem := vfs.NewMem()
			fsys := vfs.NewFaulty(mem, nil)
			l, _ := mustOpen(t, fsys, smallConfig)
			mustAppend(t, l, "one")
			fsys.SetDecide(func(vfs.Call) *vfs.Fault { return &vfs.Fault{Err: syscall.ENOSPC, ShortBytes: short} })
			if _, err := l.Append(nil, NewChunk([]byte("aaa")), NewChunk([]byte("bbb"))); !errors.Is(err, ErrNoSpace) || errors.Is(err, ErrPoisoned) {
				t.Fatal(err)
			}
			fsys.SetDecide(nil)
			mustAppend(t, l, "two") // as long as "aaa", so that "bbb" stands right behind it
			if seed == 0 {
				mem.Restart()
			} else {
				mem.Crash(seed)
			}
			l, _ = mustOpen(t, mem, smallConfig)
			wantContents(t, l, "one two")
			mustClose(t, l)
		}
	}
}

func TestFailedPreparationLeavesNothingBehind(t *testing.T) {
	for _, op := range []vfs.Op{vfs.OpCreate, vfs.OpPreallocate, vfs.OpWrite, vfs.OpSync, vfs.OpRename, vfs.OpSyncDir} {
		mem := vfs.NewMem()
		fsys := vfs.NewFaulty(mem, nil)
		l, _ := mustOpen(t, fsys, smallConfig)
		mustAppend(t, l, "one")
		newFile := func(c vfs.Call) bool {
			return c.Op == op && (op == vfs.OpSyncDir || strings.Contains(c.Path, segmentName(2)))
		}
		fsys.SetDecide(vfs.FailNth(1, newFile, syscall.EIO))
		if err := l.Roll(); !errors.Is(err, syscall.EIO) || errors.Is(err, ErrPoisoned) {
			t.Fatalf("%s: roll: %v", op, err)
		}
		if names, err := mem.List(crashDir); err != nil || len(names) > 4 {
			t.Fatalf("%s: left %q, %v", op, names, err)
		}
		mustAppend(t, l, "two")
		wantContents(t, l, "one two")
		mustClose(t, l)
	}
}

// overwrite changes bytes of a file behind the log's back, durably.
func overwrite(t *testing.T, fsys vfs.FS, name string, position int64, b []byte) {
	t.Helper()
	f, err := fsys.OpenReadWrite(path.Join(crashDir, name))
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt(b, position)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

func wantCorruption(t *testing.T, err error, segment uint64, position int64) {
	t.Helper()
	var corruption *CorruptionError
	if !errors.As(err, &corruption) || corruption.Segment != segment || corruption.Position != position {
		t.Fatalf("got %v, want corruption of segment %d at %d", err, segment, position)
	}
}

// threeGroups writes three groups to one segment and kills the process.
func threeGroups(t *testing.T) (*vfs.Mem, []Place) {
	t.Helper()
	mem := vfs.NewMem()
	l, _ := mustOpen(t, mem, smallConfig)
	var places []Place
	for _, payload := range []string{"one", "two", "three"} {
		places = append(places, mustAppend(t, l, payload)...)
	}
	mem.Restart()
	return mem, places
}

func TestCorruptionBelowTheDurableEndIsRefused(t *testing.T) {
	for what, offset := range map[string]int64{"payload": 1, "header": -8, "length": -28} {
		for n := range 2 {
			mem, places := threeGroups(t)
			overwrite(t, mem, segmentName(1), int64(places[n].Position)+offset, []byte{0xff})
			before := mem.String()
			_, _, err := Open(mem, crashDir, smallConfig)
			wantCorruption(t, err, 1, int64(places[n].Position)-frameHeaderBytes)
			if !strings.Contains(err.Error(), segmentName(1)) {
				t.Fatalf("%s: the message does not name the file: %v", what, err)
			}
			if after := mem.String(); after != before {
				t.Fatalf("%s: a refusal changed the directory from\n%s to\n%s", what, before, after)
			}
		}
	}
}

func TestZeroedFrameBelowTheDurableEndIsRefused(t *testing.T) {
	mem, places := threeGroups(t)
	overwrite(t, mem, segmentName(1), int64(places[1].Position)-frameHeaderBytes, make([]byte, 40))
	_, _, err := Open(mem, crashDir, smallConfig)
	wantCorruption(t, err, 1, int64(places[1].Position)-frameHeaderBytes)
}

func TestTornLastGroupIsCut(t *testing.T) {
	mem, places := threeGroups(t)
	overwrite(t, mem, segmentName(1), int64(places[2].Position), []byte{0xff})
	l, recovery := mustOpen(t, mem, smallConfig)
	want := TornTail{Segment: 1, Position: int64(places[2].Position) - frameHeaderBytes, Bytes: frameHeaderBytes + int64(len("three"))}
	if len(recovery.TornTails) != 1 || recovery.TornTails[0] != want {
		t.Fatalf("torn tails %+v, want %+v", recovery.TornTails, want)
	}
	wantContents(t, l, "one two")
	mustClose(t, l)
}

// The last group again, and nothing else in its segment; but the next segment states that it had been durable.
func TestCorruptLastGroupBeforeAnotherSegmentIsRefused(t *testing.T) {
	mem := vfs.NewMem()
	fsys := vfs.NewFaulty(mem, nil)
	l, _ := mustOpen(t, fsys, smallConfig)
	place := mustAppend(t, l, "one")[0]
	fsys.SetDecide(vfs.FailNth(1, failing(vfs.OpWrite), syscall.EIO))
	if _, err := l.Append(nil, NewChunk([]byte("two"))); !errors.Is(err, ErrPoisoned) {
		t.Fatal(err)
	}
	if err := l.Abandon(); err != nil {
		t.Fatal(err)
	}
	mem.Restart()
	overwrite(t, mem, segmentName(1), int64(place.Position), []byte{0xff})
	_, _, err := Open(mem, crashDir, smallConfig)
	wantCorruption(t, err, 1, int64(place.Position)-frameHeaderBytes)
}

func TestCorruptSealedSegment(t *testing.T) {
	sealed := func(t *testing.T) (*vfs.Mem, []Place) {
		mem := vfs.NewMem()
		l, _ := mustOpen(t, mem, smallConfig)
		places := mustAppend(t, l, "one", "two")
		mustClose(t, l)
		return mem, places
	}
	t.Run("payload", func(t *testing.T) {
		mem, places := sealed(t)
		overwrite(t, mem, segmentName(1), int64(places[0].Position), []byte{0xff})
		at := int64(places[0].Position) - frameHeaderBytes
		_, err := Scan(mem, path.Join(crashDir, segmentName(1)), nil)
		wantCorruption(t, err, 1, at)
		wantCorruption(t, Verify(mem, crashDir, func(Report, error) {}), 1, at)
		_, _, err = Open(mem, crashDir, Config{VerifySealed: true})
		wantCorruption(t, err, 1, at)
		l, _ := mustOpen(t, mem, smallConfig) // trusts the footer, and meets the damage when it reads
		r, err := l.OpenReader(1)
		if err != nil {
			t.Fatal(err)
		}
		_, err = r.Next()
		wantCorruption(t, err, 1, at)
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		mustClose(t, l)
	})
	t.Run("footer", func(t *testing.T) {
		mem, places := sealed(t)
		end := int64(places[1].Position) + 8
		overwrite(t, mem, segmentName(1), end+3, []byte{0xff})
		l, recovery := mustOpen(t, mem, smallConfig)
		wantContents(t, l, "one two") // nothing is lost, and the footer written anew
		if len(recovery.TornTails) != 1 {
			t.Fatalf("recovery %+v", recovery)
		}
		mustClose(t, l)
	})
}

func TestHeadersThatAreRefused(t *testing.T) {
	foreign := Header{Version: formatVersion, Segment: 1, DiskUUID: [16]byte{9}}.encode()
	renumbered := func(mem *vfs.Mem) []byte {
		f, err := mem.Open(path.Join(crashDir, segmentName(1)))
		if err != nil {
			panic(err)
		}
		b := make([]byte, segmentHeaderBytes)
		if err := readFull(f, b, 0); err != nil {
			panic(err)
		}
		h, err := decodeHeader(b, "")
		if err != nil {
			panic(err)
		}
		h.Segment = 77
		return h.encode()
	}
	for name, c := range map[string]struct {
		damage func(t *testing.T, mem *vfs.Mem)
		check  func(err error) bool
	}{
		"segment version": {
			func(t *testing.T, mem *vfs.Mem) {
				overwrite(t, mem, segmentName(1), 0, Header{Version: 2, Segment: 1, DiskUUID: [16]byte{9}}.encode())
			},
			func(err error) bool { return isVersion(err, 2, segmentName(1)) },
		},
		"identity version": {
			func(t *testing.T, mem *vfs.Mem) {
				b := encodeState(identityMagic, [16]byte{9})
				binary.LittleEndian.PutUint32(b[8:], 3)
				binary.LittleEndian.PutUint32(b[36:], crc32.Checksum(b[:36], castagnoli))
				overwrite(t, mem, identityName, 0, b)
			},
			func(err error) bool { return isVersion(err, 3, identityName) },
		},
		"segment version that flipped": {
			func(t *testing.T, mem *vfs.Mem) { overwrite(t, mem, segmentName(1), 8, []byte{2}) }, isCorruption,
		},
		"identity version that flipped": {
			func(t *testing.T, mem *vfs.Mem) { overwrite(t, mem, identityName, 8, []byte{3}) }, isCorruption,
		},
		"segment magic": {
			func(t *testing.T, mem *vfs.Mem) { overwrite(t, mem, segmentName(1), 0, []byte{0}) }, isCorruption,
		},
		"segment checksum": {
			func(t *testing.T, mem *vfs.Mem) { overwrite(t, mem, segmentName(1), 33, []byte{7}) }, isCorruption,
		},
		"high mark": {
			func(t *testing.T, mem *vfs.Mem) { overwrite(t, mem, highMarkName, 20, []byte{1}) }, isCorruption,
		},
		"foreign disk": {
			func(t *testing.T, mem *vfs.Mem) { overwrite(t, mem, segmentName(1), 0, foreign) },
			func(err error) bool { return errors.Is(err, ErrForeignDisk) },
		},
		"other segment's header": {
			func(t *testing.T, mem *vfs.Mem) { overwrite(t, mem, segmentName(1), 0, renumbered(mem)) }, isCorruption,
		},
		"identity lost": {
			func(t *testing.T, mem *vfs.Mem) {
				if err := mem.Remove(path.Join(crashDir, identityName)); err != nil {
					t.Fatal(err)
				}
			},
			func(err error) bool { return errors.Is(err, ErrForeignDisk) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			mem, _ := threeGroups(t)
			c.damage(t, mem)
			if _, _, err := Open(mem, crashDir, smallConfig); !c.check(err) {
				t.Fatalf("open: %v", err)
			}
			if err := Verify(mem, crashDir, func(Report, error) {}); name != "identity lost" && !c.check(err) {
				t.Fatalf("verify: %v", err)
			}
		})
	}
}

func isCorruption(err error) bool {
	var corruption *CorruptionError
	return errors.As(err, &corruption)
}

func isVersion(err error, version uint32, name string) bool {
	var unknown *VersionError
	return errors.As(err, &unknown) && unknown.Version == version && strings.Contains(err.Error(), name)
}

// A producer may send what looks like frames: without the segment's salt it does not pass for one.
func TestPayloadThatLooksLikeFrames(t *testing.T) {
	mem := vfs.NewMem()
	l, _ := mustOpen(t, mem, smallConfig)
	fake := make([]byte, 512)
	for at := 0; at+frameHeaderBytes <= len(fake); at += frameHeaderBytes {
		position := uint32(segmentHeaderBytes + beginFrameBytes + frameHeaderBytes + at)
		frameHeader{durableEnd: 4000, sequence: 1000, kind: KindChunk}.encode(fake[at:], 0, position)
	}
	place, err := l.Append(nil, NewChunk(fake))
	if err != nil {
		t.Fatal(err)
	}
	mem.Restart()
	overwrite(t, mem, segmentName(1), int64(place[0].Position)-frameHeaderBytes, bytes.Repeat([]byte{1}, 8))
	l, recovery := mustOpen(t, mem, smallConfig)
	if len(recovery.TornTails) != 1 || len(recovery.Segments) != 0 {
		t.Fatalf("recovery %+v", recovery)
	}
	mustClose(t, l)
}
