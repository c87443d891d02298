package hotlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"path"
	"testing"

	"github.com/varvelog/varve/infra/vfs"
)

// fuzzSeed is a segment's file after a kill, or sealed.
func fuzzSeed(f *testing.F, seal bool) []byte {
	f.Helper()
	mem := vfs.NewMem()
	cfg := Config{SegmentBytes: 4 << 10, NoSpare: true, Preallocate: PreallocateNone, Random: bytes.NewReader(make([]byte, 64))}
	l, _, err := Open(mem, crashDir, cfg)
	if err != nil {
		f.Fatal(err)
	}
	for _, payload := range []string{"one", "two and a half", ""} {
		if _, err := l.Append(nil, NewChunk([]byte(payload)), NewChunk([]byte("next"))); err != nil {
			f.Fatal(err)
		}
	}
	if seal {
		if err := l.Close(); err != nil {
			f.Fatal(err)
		}
	}
	b, err := readAll(mem, path.Join(crashDir, segmentName(1)))
	if err != nil {
		f.Fatal(err)
	}
	return b
}

func readAll(fsys vfs.FS, name string) ([]byte, error) {
	file, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	size, err := file.Size()
	if err != nil {
		return nil, err
	}
	b := make([]byte, size)
	return b, errors.Join(readFull(file, b, 0), file.Close())
}

// mend makes checksums right, so that what the fuzzer says about lengths, durable ends and kinds is believed: the segment header's, and those of
// the headers found by following lengths.
func mend(b []byte) {
	if len(b) < segmentHeaderBytes {
		return
	}
	h := Header{Version: formatVersion, Segment: 1, Salt: binary.LittleEndian.Uint64(b[40:])}
	copy(b, h.encode())
	for at := int64(segmentHeaderBytes); at+frameHeaderBytes <= int64(len(b)); {
		header := b[at:]
		binary.LittleEndian.PutUint32(header, frameMagic)
		binary.LittleEndian.PutUint32(header[28:], frameHeaderCRC(header, h.Salt, uint32(at)))
		at += frameBytes(int64(binary.LittleEndian.Uint32(header[4:])))
	}
}

// FuzzScan: whatever a segment file holds, scanning ends without panic and without taking memory that the file does not
// warrant; what it accepts lies in order within the file; and what recovery keeps of it, recovery keeps again.
func FuzzScan(f *testing.F) {
	for _, seal := range []bool{false, true} {
		seed := fuzzSeed(f, seal)
		f.Add(seed, false)
		f.Add(append(bytes.Clone(seed), make([]byte, 500)...), true)
		f.Add(seed[:len(seed)-30], true)
	}
	f.Fuzz(func(t *testing.T, b []byte, mended bool) {
		if mended {
			b = bytes.Clone(b)
			mend(b)
		}
		mem := vfs.NewMem()
		name := path.Join(crashDir, segmentName(1))
		if err := mem.MkdirAll(crashDir); err != nil {
			t.Fatal(err)
		}
		writeFile(t, mem, segmentName(1), b)
		last, end := uint64(0), int64(segmentHeaderBytes)
		report, err := Scan(mem, name, func(fr Frame) error {
			if fr.Sequence <= last || int64(fr.Position) != end+frameHeaderBytes || int64(fr.DurableEnd) > end || len(fr.Payload) != int(fr.Length) {
				t.Fatalf("frame %+v after sequence %d, end %d", fr, last, end)
			}
			last, end = fr.Sequence, end+frameBytes(int64(fr.Length))
			return nil
		})
		salvageAndRepair(t, b, err == nil)
		if err != nil {
			return
		}
		if report.End > report.FileBytes || report.End+report.TornBytes > report.FileBytes || report.FileBytes != int64(len(b)) {
			t.Fatalf("%+v", report)
		}
		recoverTwice(t, mem, report)
	})
}

func writeFile(t *testing.T, mem *vfs.Mem, name string, b []byte) {
	file, err := mem.Create(path.Join(crashDir, name))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteAt(b, 0); err != nil {
		t.Fatal(err)
	}
}

// salvageAndRepair salvages and repairs a segment that is alone: whatever it holds, frames come in order, nothing that is sound is called damaged, and what was repaired opens.
func salvageAndRepair(t *testing.T, b []byte, sound bool) {
	mem := vfs.NewMem()
	if err := mem.MkdirAll(crashDir); err != nil {
		t.Fatal(err)
	}
	h, _ := decodeHeader(b, "") // a damaged one says as much
	writeFile(t, mem, segmentName(1), b)
	writeFile(t, mem, identityName, encodeState(identityMagic, h.DiskUUID))
	end, damages := int64(0), 0
	_, err := Salvage(mem, crashDir, func(_ uint64, f Frame) error {
		if int64(f.Position) < end || len(f.Payload) != int(f.Length) {
			t.Fatalf("frame %+v behind %d", f, end)
		}
		end = int64(f.Position) + int64(f.Length)
		return nil
	}, func(Damage) error { damages++; return nil })
	if err != nil {
		return
	}
	if sound && damages > 0 {
		t.Fatalf("%d damages in what is sound", damages)
	}
	if err := Repair(mem, crashDir, func(Damage) error { return nil }); err != nil {
		t.Fatalf("repair: %v", err)
	}
	l, _, err := Open(mem, crashDir, smallConfig)
	if err != nil {
		if damages > 0 {
			t.Fatalf("open what was repaired: %v\n%s %d", err, mem, damages)
		}
		return // a footer whose frames contradict it
	}
	mustClose(t, l)
}

func recoverTwice(t *testing.T, mem *vfs.Mem, report Report) {
	writeFile(t, mem, identityName, encodeState(identityMagic, report.Header.DiskUUID))
	l, first, err := Open(mem, crashDir, smallConfig)
	if err != nil {
		return // another segment id, or a footer whose frames contradict it
	}
	mustClose(t, l)
	l, second, err := Open(mem, crashDir, Config{SegmentBytes: 8 << 10, NoSpare: true, VerifySealed: true})
	if err != nil {
		t.Fatalf("second recovery: %v", err)
	}
	mustClose(t, l)
	if len(first.Segments) != len(second.Segments) || len(first.Segments) == 1 && first.Segments[0] != second.Segments[0] {
		t.Fatalf("recovered %+v, then %+v", first, second)
	}
	if report.Chunks > 0 && (len(first.Segments) != 1 || first.Segments[0].Frames != report.Chunks) {
		t.Fatalf("scan found %+v, recovery %+v", report, first)
	}
}
