package recordbatch

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"testing"

	"pgregory.net/rapid"
)

// rebatched is a Rebatcher's output, its bytes kept.
type rebatched struct {
	all     []byte
	outputs []Rebatched
}

func rebatch(t failer, opts RebatchOptions, batches ...[]byte) rebatched {
	t.Helper()
	var got rebatched
	r, err := NewRebatcher(opts, func(out Rebatched) error {
		got.all = append(got.all, out.Bytes...)
		out.Bytes = bytes.Clone(out.Bytes)
		got.outputs = append(got.outputs, out)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range batches {
		source := bytes.Clone(b)
		if err := r.Add(source); err != nil {
			t.Fatal(err)
		}
		clear(source) // it may keep no reference
	}
	if err := r.Flush(); err != nil {
		t.Fatal(err)
	}
	return got
}

// stored returns a batch of n records from base on, as the log has it.
func stored(t testing.TB, codec Codec, base int64, n int, patch ...func(b []byte)) []byte {
	b := build(t, BuilderOptions{Codec: codec, Producer: &Producer{ID: 5, Epoch: 1, BaseSequence: int32(base)}}, base, sample(base, n, 100)...)
	for _, p := range patch {
		p(b)
	}
	return reseal(b)
}

func TestRebatchMergesSmallBatchesOfAnyCodec(t *testing.T) {
	var batches [][]byte
	for i := range 50 {
		batches = append(batches, stored(t, allCodecs[i%5], int64(100+i*4), 4))
	}
	batches = append(batches, EmptyBatch(300, 350, 0))
	got := rebatch(t, RebatchOptions{}, batches...)
	if len(got.outputs) != 1 {
		t.Fatalf("%d batches", len(got.outputs))
	}
	h := got.outputs[0]
	if h.BaseOffset != 100 || h.LastOffset() != 350 || h.RecordCount != 200 || h.Codec() != Zstd || h.Sources != 51 ||
		h.Verbatim || h.HasProducerID() || h.BaseSequence != NoSequence {
		t.Fatalf("%+v", h)
	}
	requireSame(t, readAll(t, got.all), readAll(t, bytes.Join(batches, nil)))
	if before := len(bytes.Join(batches, nil)); len(got.all) > before/2 {
		t.Errorf("%d bytes became %d", before, len(got.all))
	}
}

func TestRebatchFillsBatchesUpToTheTarget(t *testing.T) {
	const target = 16 << 10
	var all []byte
	for i := range int64(100) {
		all = append(all, stored(t, Zstd, i*10, 10)...)
	}
	got := rebatch(t, RebatchOptions{TargetBytes: target}, all)
	requireSame(t, readAll(t, got.all), readAll(t, all))
	for i, out := range got.outputs {
		flat, err := Decompress(nil, out.Bytes, 0)
		if err != nil {
			t.Fatal(err)
		}
		if len(flat) > target || (len(flat) < target*3/4 && i < len(got.outputs)-1) {
			t.Errorf("batch %d of %d: %d bytes uncompressed", i, len(got.outputs), len(flat))
		}
	}
	bounded := rebatch(t, RebatchOptions{TargetBytes: 8 * target, MaxBatchBytes: target}, all)
	if len(bounded.outputs) != len(got.outputs) {
		t.Errorf("MaxBatchBytes makes %d batches, the same target %d", len(bounded.outputs), len(got.outputs))
	}
}

func TestRebatchKeepsVerbatim(t *testing.T) {
	attribute := func(bit byte) func([]byte) { return func(b []byte) { b[posAttributes+1] |= bit } }
	small := func(base int64) []byte { return stored(t, Zstd, base, 4) }
	cases := []struct {
		name   string
		middle []byte // from offset 8 on
		err    error
	}{
		{"transactional", stored(t, Zstd, 8, 4, attribute(AttrTransactional)), nil},
		{"control", stored(t, None, 8, 1, attribute(AttrControl)), nil},
		{"LogAppendTime", stored(t, Zstd, 8, 4, attribute(AttrLogAppendTime)), nil},
		{"delete horizon", stored(t, Zstd, 8, 4, attribute(AttrDeleteHorizon)), nil},
		{"large", stored(t, Zstd, 8, 100), nil},
		{"damaged payload", stored(t, Zstd, 8, 4, func(b []byte) { b[HeaderBytes] ^= 0xff }), ErrInvalidRecord},
		{"unknown codec", stored(t, None, 8, 4, attribute(7)), ErrInvalidRecord},
		{"damaged record", stored(t, None, 8, 4, func(b []byte) { b[len(b)-1] ^= 0x40 }), ErrInvalidRecord},
		{"wrong CRC", func() []byte { b := small(8); b[len(b)-1] ^= 1; return b }(), ErrCorrupt},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			h, err := ParseHeader(c.middle)
			if err != nil {
				t.Fatal(err)
			}
			got := rebatch(t, RebatchOptions{TargetBytes: 8 << 10}, small(0), small(4), c.middle, small(h.NextOffset()), small(h.NextOffset()+4))
			if len(got.outputs) != 3 {
				t.Fatalf("%d batches", len(got.outputs))
			}
			middle := got.outputs[1]
			if !middle.Verbatim || !bytes.Equal(middle.Bytes, c.middle) || !errors.Is(middle.Err, c.err) || (c.err == nil) != (middle.Err == nil) {
				t.Errorf("middle: verbatim %v, err %v", middle.Verbatim, middle.Err)
			}
			for _, i := range []int{0, 2} {
				if out := got.outputs[i]; out.Sources != 2 || out.RecordCount != 8 || out.Err != nil {
					t.Errorf("output %d: %+v", i, out.Header)
				}
			}
		})
	}
}

func TestRebatchDoesNotReachAcross(t *testing.T) {
	epoch := func(b []byte) { SetLeaderEpoch(b, 1) }
	for name, second := range map[string][]byte{
		"a gap": stored(t, Zstd, 5, 4), "an epoch": stored(t, Zstd, 4, 4, epoch),
	} {
		first := stored(t, Zstd, 0, 4)
		got := rebatch(t, RebatchOptions{}, first, second)
		if len(got.outputs) != 2 || !bytes.Equal(got.all, append(first, second...)) {
			t.Errorf("%s: %d outputs", name, len(got.outputs))
		}
	}
}

func TestRebatchCompressesWhatStaysAlone(t *testing.T) {
	for _, n := range []int{20, 2000} {
		source := stored(t, None, 0, n)
		got := rebatch(t, RebatchOptions{TargetBytes: 64 << 10}, source)
		out := got.outputs[0]
		if len(got.outputs) != 1 || out.Codec() != Zstd || out.Verbatim || out.ProducerID != 5 {
			t.Fatalf("%d records: %+v", n, out.Header)
		}
		requireSame(t, readAll(t, got.all), readAll(t, source))
	}
}

// Timestamps so far apart that no batch can hold both are no damage.
func TestRebatchSeparatesDistantTimestamps(t *testing.T) {
	near := build(t, BuilderOptions{}, 0, plain{Offset: 0, Timestamp: math.MaxInt64, Value: []byte("late")})
	far := build(t, BuilderOptions{}, 1, plain{Offset: 1, Timestamp: -1000, Value: []byte("early")})
	got := rebatch(t, RebatchOptions{}, near, far)
	if len(got.outputs) != 2 || got.outputs[0].Err != nil || got.outputs[1].Err != nil || !bytes.Equal(got.all, append(near, far...)) {
		t.Fatalf("%+v", got.outputs)
	}
}

func TestRebatchRefusesOffsetsThatGoBack(t *testing.T) {
	r, err := NewRebatcher(RebatchOptions{}, func(Rebatched) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Add(stored(t, Zstd, 4, 4)); err != nil {
		t.Fatal(err)
	}
	if err := r.Add(stored(t, Zstd, 7, 4)); !errors.Is(err, ErrInvalidRecord) {
		t.Fatalf("got %v", err)
	}
	if err := r.Add([]byte("no batch")); !errors.Is(err, ErrTruncated) {
		t.Fatalf("got %v", err)
	}
}

func TestRebatchReturnsTheCallersError(t *testing.T) {
	full := errors.New("disk full")
	gathered := func() *Rebatcher {
		r, err := NewRebatcher(RebatchOptions{TargetBytes: 2 << 10}, func(Rebatched) error { return full })
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Add(append(stored(t, Zstd, 0, 6), stored(t, Zstd, 6, 6)...)); err != nil {
			t.Fatal(err)
		}
		return r
	}
	if err := gathered().Flush(); !errors.Is(err, full) {
		t.Errorf("Flush: %v", err)
	}
	for name, next := range map[string][]byte{
		"gap": stored(t, Zstd, 13, 1), "too much": stored(t, Zstd, 12, 7), "large": stored(t, None, 12, 100),
		"verbatim": stored(t, None, 12, 1, func(b []byte) { b[posAttributes+1] |= AttrControl }),
	} {
		if err := gathered().Add(next); !errors.Is(err, full) {
			t.Errorf("Add, %s: %v", name, err)
		}
	}
}

func TestRebatchOptionsNameTheField(t *testing.T) {
	for field, opts := range map[string]RebatchOptions{
		"TargetBytes": {TargetBytes: -1}, "MaxBatchBytes": {MaxBatchBytes: -1}, "ZstdLevel": {ZstdLevel: 23},
	} {
		if _, err := NewRebatcher(opts, nil); err == nil || !bytes.Contains([]byte(err.Error()), []byte(field)) {
			t.Errorf("%s: %v", field, err)
		}
	}
}

// Whatever is stored, re-batching keeps records and covered offsets, and the bounds.
func TestRebatchProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		opts := RebatchOptions{
			TargetBytes:   rapid.IntRange(1, 8<<10).Draw(t, "target"),
			MaxBatchBytes: rapid.IntRange(HeaderBytes, 4<<10).Draw(t, "max"),
			ZstdLevel:     1,
		}
		offset := rapid.Int64Range(0, 1<<40).Draw(t, "base")
		var all []byte
		var want []plain
		for range rapid.IntRange(0, 12).Draw(t, "batches") {
			records, last := drawRecords(t, offset)
			b := NewBuilder(BuilderOptions{
				Codec:      rapid.SampledFrom(allCodecs).Draw(t, "codec"),
				Attributes: rapid.SampledFrom([]int16{0, 0, 0, 0, AttrTransactional, AttrControl}).Draw(t, "attributes"),
			})
			b.Reset(offset, rapid.Int32Range(0, 1).Draw(t, "epoch"))
			appendPlain(t, b, records)
			if err := b.SetLastOffset(last); err != nil {
				t.Fatal(err)
			}
			out, _, err := b.Build(nil)
			if err != nil {
				t.Fatal(err)
			}
			all, want = append(all, out...), append(want, records...)
			offset = last + 1 + rapid.SampledFrom([]int64{0, 0, 0, 7}).Draw(t, "gap")
		}
		got := rebatch(t, opts, all)
		requireSame(t, readAll(t, got.all), want)
		if before, after := coverage(t, all), coverage(t, got.all); fmt.Sprint(before) != fmt.Sprint(after) {
			t.Fatalf("covered %v, then %v", before, after)
		}
		for _, out := range got.outputs {
			if out.Err != nil || (out.Sources > 1 && len(out.Bytes) > opts.MaxBatchBytes) {
				t.Fatalf("%d bytes of %d sources, %v", len(out.Bytes), out.Sources, out.Err)
			}
		}
	})
}

// coverage returns the ranges of offsets that lie next to each other, joined.
func coverage(t *rapid.T, b []byte) (ranges [][2]int64) {
	for batch, err := range Batches(b) {
		if err != nil {
			t.Fatal(err)
		}
		if n := len(ranges); n > 0 && ranges[n-1][1] == batch.BaseOffset {
			ranges[n-1][1] = batch.NextOffset()
			continue
		}
		ranges = append(ranges, [2]int64{batch.BaseOffset, batch.NextOffset()})
	}
	return ranges
}
