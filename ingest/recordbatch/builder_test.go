package recordbatch

import (
	"bytes"
	"errors"
	"math"
	"sync"
	"testing"
)

func TestBuilderRefuses(t *testing.T) {
	b := NewBuilder(BuilderOptions{})
	b.Reset(10, 0)
	if err := b.Append(12, 1, nil, nil, nil); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"offset repeated":        b.Append(12, 0, nil, nil, nil),
		"offset before the base": b.Append(9, 0, nil, nil, nil),
		"offset too far":         b.Append(10+1<<31, 0, nil, nil, nil),
		"timestamp too far":      b.Append(13, math.MinInt64, nil, nil, nil),
		"headers malformed":      b.Append(13, 0, nil, nil, []byte{2}),
		"last offset too small":  b.SetLastOffset(11),
		"last offset too large":  b.SetLastOffset(10 + 1<<31),
	} {
		if !errors.Is(err, ErrInvalidRecord) {
			t.Errorf("%s: %v", name, err)
		}
	}
	out, h, err := b.Build(nil)
	if err != nil || h.RecordCount != 1 || h.LastOffset() != 12 {
		t.Fatalf("%+v, %v", h, err)
	}
	if got := readAll(t, out); len(got) != 1 || got[0].Offset != 12 {
		t.Fatalf("%+v", got)
	}
}

// AppendRecord takes a record at another offset and time, and one that was made by hand.
func TestAppendRecordMovesRecords(t *testing.T) {
	source := build(t, BuilderOptions{Codec: LZ4}, 0, sample(0, 3, 40)...)
	want := sample(0, 3, 40)
	b := NewBuilder(BuilderOptions{Codec: Zstd})
	b.Reset(1<<33, 1)
	for rec, err := range Records(source, nil) {
		if err != nil {
			t.Fatal(err)
		}
		rec.Offset += 1<<33 + 10
		rec.Timestamp -= 1_000_000
		if err := b.AppendRecord(&rec); err != nil {
			t.Fatal(err)
		}
	}
	for i := range want {
		want[i].Offset += 1<<33 + 10
		want[i].Timestamp -= 1_000_000
	}
	want = append(want, plain{Offset: 1<<33 + 20, Timestamp: 5, Value: []byte("by hand")})
	if err := b.AppendRecord(&Record{Offset: 1<<33 + 20, Timestamp: 5, Value: []byte("by hand")}); err != nil {
		t.Fatal(err)
	}
	if b.RecordCount() != 4 {
		t.Fatalf("%d records", b.RecordCount())
	}
	out, _, err := b.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	requireSame(t, readAll(t, out), want)
}

func TestBuilderStaysUncompressedWhereItGainsNothing(t *testing.T) {
	for _, codec := range allCodecs {
		b := build(t, BuilderOptions{Codec: codec}, 0, plain{Value: []byte("x")})
		if h, err := ParseHeader(b); err != nil || h.Codec() != None {
			t.Errorf("%s: %+v, %v", codec, h, err)
		}
	}
}

func TestBuilderProducerAndAttributes(t *testing.T) {
	b := build(t, BuilderOptions{Attributes: AttrTransactional, Producer: &Producer{ID: 9, Epoch: 2, BaseSequence: 7}}, 0, sample(0, 3, 10)...)
	h, err := Validate(b, Limits{})
	if err != nil || !h.IsTransactional() || h.ProducerID != 9 || h.ProducerEpoch != 2 || h.BaseSequence != 7 || h.LastSequence() != 9 {
		t.Fatalf("%+v, %v", h, err)
	}
}

func TestCompressKeepsTheOriginalWhereItGainsNothing(t *testing.T) {
	tiny := build(t, BuilderOptions{}, 0, plain{Value: []byte("x")})
	zstd := build(t, BuilderOptions{Codec: Zstd}, 0, sample(0, 50, 100)...)
	for name, c := range map[string]struct {
		b     []byte
		codec Codec
	}{"tiny": {tiny, Zstd}, "compressed so already": {zstd, Zstd}, "empty": {EmptyBatch(0, 5, 0), Gzip}} {
		out, err := Compress(make([]byte, 0, 1<<10), c.b, c.codec, 0)
		if err != nil || &out[0] != &c.b[0] {
			t.Errorf("%s: not the original, %v", name, err)
		}
	}
}

func TestCompressKeepsTheHeader(t *testing.T) {
	b := build(t, BuilderOptions{Attributes: AttrTransactional, Producer: &Producer{ID: 9, Epoch: 2, BaseSequence: 7}}, 30, sample(30, 50, 100)...)
	SetLogAppendTime(b, 77)
	SetLeaderEpoch(b, 4)
	want, err := ParseHeader(b)
	if err != nil {
		t.Fatal(err)
	}
	for _, codec := range allCodecs[1:] {
		out, err := Compress(nil, b, codec, 0)
		if err != nil {
			t.Fatal(err)
		}
		h, err := ParseHeader(out)
		if err != nil || h.Codec() != codec {
			t.Fatalf("%+v, %v", h, err)
		}
		back, err := Compress(nil, out, None, 0)
		if err != nil || !bytes.Equal(back, b) {
			t.Fatalf("%s and back differs, %v", codec, err)
		}
		h.Length, h.CRC, h.Attributes = want.Length, want.CRC, want.Attributes
		if h != want {
			t.Fatalf("%s: %+v, want %+v", codec, h, want)
		}
	}
}

// Encoders, decoders and buffers are pooled: batches of many goroutines must not meet in them.
func TestConcurrentUse(t *testing.T) {
	var group sync.WaitGroup
	for worker := range 8 {
		group.Go(func() {
			want := sample(int64(worker*1000), 60+worker, 150)
			b := build(t, BuilderOptions{}, int64(worker*1000), want...)
			for round := range 10 {
				compressed, err := Compress(nil, b, allCodecs[1+(worker+round)%4], round%3)
				if err != nil {
					t.Error(err)
					return
				}
				SetBaseOffset(compressed, 0)
				if _, err := Validate(compressed, Limits{Deep: true}); err != nil {
					t.Error(err)
				}
				SetBaseOffset(compressed, int64(worker*1000))
				if flat, err := Decompress(nil, compressed, 0); err != nil || !bytes.Equal(flat, b) {
					t.Errorf("worker %d, round %d: differs, %v", worker, round, err)
				}
			}
		})
	}
	group.Wait()
}

func TestReaderChecksStoredBatches(t *testing.T) {
	good := build(t, BuilderOptions{}, 5, sample(5, 3, 10)...)
	for name, patch := range map[string]func(b []byte){
		"offsetDelta above the batch's": func(b []byte) { b[posLastOffsetDelta+3] = 1; b[posRecordCount+3] = 2 },
		"fewer records than counted":    func(b []byte) { b[posLastOffsetDelta+3] = 9; b[posRecordCount+3] = 4 },
		"count above the offsets":       func(b []byte) { b[posRecordCount+3] = 4 },
	} {
		b := bytes.Clone(good)
		patch(b)
		var last error
		for _, err := range Records(b, nil) {
			last = err
		}
		if !errors.Is(last, ErrInvalidRecord) {
			t.Errorf("%s: %v", name, last)
		}
	}
}

// A batch with a delete horizon has it in the place of its first timestamp; its records keep theirs, before it or behind it.
func TestDeleteHorizon(t *testing.T) {
	const horizon = 1_700_000_500_000
	source := build(t, BuilderOptions{Attributes: AttrTransactional, Codec: LZ4, Producer: &Producer{ID: 7, Epoch: 2, BaseSequence: 40}}, 100, sample(100, 5, 300)...)
	h, err := ParseHeader(source)
	if err != nil {
		t.Fatal(err)
	}
	b := NewBuilder(BuilderOptions{Codec: Zstd})
	b.ResetLike(&h)
	b.SetDeleteHorizon(horizon)
	var kept []Record
	for r, err := range Records(source, nil) {
		if err != nil {
			t.Fatal(err)
		}
		if r.OffsetDelta == 1 || r.OffsetDelta == 3 {
			kept = append(kept, r)
			if err := b.AppendRecord(&r); err != nil {
				t.Fatal(err)
			}
		}
	}
	out, got, err := b.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	want := Header{
		BaseOffset: 100, Length: got.Length, LeaderEpoch: h.LeaderEpoch, CRC: got.CRC, Attributes: AttrTransactional | AttrDeleteHorizon | int16(Zstd),
		LastOffsetDelta: 4, BaseTimestamp: horizon, MaxTimestamp: kept[1].Timestamp, ProducerID: 7, ProducerEpoch: 2, BaseSequence: 40, RecordCount: 2,
	}
	if got != want || !got.HasDeleteHorizon() {
		t.Fatalf("header %+v\n  want %+v", got, want)
	}
	if err := CheckCRC(out); err != nil {
		t.Fatal(err)
	}
	i := 0
	for r, err := range Records(out, nil) {
		if err != nil || r.Offset != kept[i].Offset || r.Timestamp != kept[i].Timestamp || string(r.Key) != string(kept[i].Key) || string(r.Value) != string(kept[i].Value) {
			t.Fatalf("record %d: %+v, %v", i, r, err)
		}
		i++
	}
	// The next batch is one without.
	b.Reset(0, 0)
	if err := b.Append(0, 5, nil, nil, nil); err != nil {
		t.Fatal(err)
	}
	if _, h, err := b.Build(nil); err != nil || h.HasDeleteHorizon() || h.IsTransactional() || h.BaseTimestamp != 5 || h.HasProducerID() {
		t.Fatalf("%+v, %v", h, err)
	}
}

// A marker stays plain, and its one record keeps its time.
func TestDeleteHorizonOfAMarker(t *testing.T) {
	source := ControlBatch(Marker{ProducerID: 3, ProducerEpoch: 1, Commit: true, TimestampMillis: 1000}, 50, 4)
	h, err := ParseHeader(source)
	if err != nil {
		t.Fatal(err)
	}
	b := NewBuilder(BuilderOptions{Codec: Zstd})
	b.ResetLike(&h)
	b.SetDeleteHorizon(9000)
	for r, err := range Records(source, nil) {
		if err != nil {
			t.Fatal(err)
		}
		if err := b.AppendRecord(&r); err != nil {
			t.Fatal(err)
		}
	}
	out, got, err := b.Build(nil)
	if err != nil || got.Codec() != None || !got.IsControl() || !got.IsTransactional() || got.BaseTimestamp != 9000 || got.MaxTimestamp != 1000 || got.BaseOffset != 50 || got.LeaderEpoch != 4 {
		t.Fatalf("%+v, %v", got, err)
	}
	for r, err := range Records(out, nil) {
		if err != nil || r.Timestamp != 1000 || len(r.Key) != 4 || r.Key[3] != 1 || len(r.Value) != 6 {
			t.Fatalf("%+v, %v", r, err)
		}
	}
}
