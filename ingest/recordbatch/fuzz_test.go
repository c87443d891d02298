package recordbatch

import (
	"bytes"
	"errors"
	"testing"
)

const fuzzLimit = 1 << 20

func addSeeds(f *testing.F) {
	records := sample(0, 20, 60)
	for _, codec := range allCodecs {
		f.Add(build(f, BuilderOptions{Codec: codec}, 0, records...), true)
		f.Add(franzBatch(f, codec, 0, records), false)
	}
	f.Add(golden(f), true)
	f.Add(EmptyBatch(3, 9, 1), true)
	f.Add([]byte{}, false)
	f.Add([]byte{0x28}, true)
}

// fuzzBatch makes it likely that the fuzzer comes past the CRC: it is fixed if asked for.
func fuzzBatch(b []byte, fix bool) []byte {
	b = bytes.Clone(b)
	if fix && len(b) >= HeaderBytes {
		b[posMagic] = Magic
		reseal(b)
	}
	return b
}

func requireKnown(t *testing.T, err error) {
	t.Helper()
	known := 0
	for _, kind := range []error{ErrTruncated, ErrCorrupt, ErrMagic, ErrInvalidRecord, ErrTooLarge} {
		if errors.Is(err, kind) {
			known++
		}
	}
	if known != 1 {
		t.Fatalf("matches %d kinds: %v", known, err)
	}
}

// What Validate accepts deeply is read to its end, says what it said, survives every codec, and re-batches without an
// error. What it refuses, it refuses with one known kind.
func FuzzValidate(f *testing.F) {
	addSeeds(f)
	limits := Limits{Deep: true, MaxBatchBytes: fuzzLimit, MaxInflatedBytes: fuzzLimit}
	f.Fuzz(func(t *testing.T, data []byte, fix bool) {
		b := fuzzBatch(data, fix)
		source := bytes.Clone(b)
		h, err := Validate(b, limits)
		if !bytes.Equal(b, source) {
			t.Fatal("Validate changed the batch")
		}
		if err != nil {
			requireKnown(t, err)
			return
		}
		if _, err := Validate(b, Limits{MaxBatchBytes: fuzzLimit, MaxInflatedBytes: fuzzLimit}); err != nil {
			t.Fatalf("deeply valid, but not shallowly: %v", err)
		}
		want := readAll(t, b)
		if len(want) != int(h.RecordCount) {
			t.Fatalf("%d records, counted %d", len(want), h.RecordCount)
		}
		for _, codec := range []Codec{None, Snappy, Zstd} {
			out, err := Compress(nil, b, codec, 0)
			if err != nil {
				t.Fatal(err)
			}
			if codec != None { // inflated it may be above MaxBatchBytes
				if _, err := Validate(out, Limits{Deep: true, MaxBatchBytes: 2 * fuzzLimit, MaxInflatedBytes: fuzzLimit}); err != nil {
					t.Fatalf("compressed to %s: %v", codec, err)
				}
			}
			requireSame(t, readAll(t, out), want)
		}
		got := rebatch(t, RebatchOptions{}, b)
		if got.outputs[0].Err != nil {
			t.Fatal(got.outputs[0].Err)
		}
		requireSame(t, readAll(t, got.all), want)
	})
}

// Stored bytes, sound or not, are walked without a panic and within the bound; records lie inside their batch and ascend.
func FuzzRecords(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, data []byte, fix bool) {
		b := fuzzBatch(data, fix)
		scratch := &Scratch{MaxInflatedBytes: fuzzLimit}
		for batch, err := range Batches(b) {
			if err != nil {
				requireKnown(t, err)
				break
			}
			last, count := batch.BaseOffset-1, int32(0)
			for rec, err := range Records(batch.Bytes, scratch) {
				if err != nil {
					requireKnown(t, err)
					break
				}
				if rec.Offset <= last || rec.Offset > batch.LastOffset() {
					t.Fatalf("offset %d after %d in a batch up to %d", rec.Offset, last, batch.LastOffset())
				}
				headers := 0
				for range RecordHeaders(rec.Headers) {
					headers++
				}
				if counted, _ := varint32(rec.Headers); headers != int(counted) {
					t.Fatalf("%d headers, counted %d", headers, counted)
				}
				last, count = rec.Offset, count+1
			}
			if count > batch.RecordCount {
				t.Fatalf("%d records, counted %d", count, batch.RecordCount)
			}
			if cap(scratch.inflated) > fuzzLimit+zstdSpareBytes {
				t.Fatalf("holds %d bytes", cap(scratch.inflated))
			}
			if _, _, err := AtMaxTimestamp(batch.Bytes, scratch); err != nil {
				requireKnown(t, err)
			}
		}
		r, err := NewRebatcher(RebatchOptions{TargetBytes: 64 << 10}, func(out Rebatched) error {
			if out.Err != nil {
				requireKnown(t, out.Err)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Add(b); err != nil {
			requireKnown(t, err)
		}
		if err := r.Flush(); err != nil {
			t.Fatal(err)
		}
		if _, err := AssignOffsets(b, 0, 0); err != nil {
			requireKnown(t, err)
		}
	})
}
