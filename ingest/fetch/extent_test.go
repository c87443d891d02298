package fetch

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/ingest/recordbatch"
)

// hotSegment is a hot segment in memory.
type hotSegment []byte

func (s hotSegment) ReadAt(_ uint64, position uint32, buf []byte) error {
	if int(position)+len(buf) > len(s) {
		return errors.New("behind the end")
	}
	copy(buf, s[position:])
	return nil
}

func batchOf(t *testing.T, records int) []byte {
	t.Helper()
	b := recordbatch.NewBuilder(recordbatch.BuilderOptions{})
	for i := range records {
		if err := b.Append(int64(i), 1000, nil, []byte("value"), nil); err != nil {
			t.Fatal(err)
		}
	}
	data, _, err := b.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func readExtent(t *testing.T, bytes []byte, e *extent) error {
	t.Helper()
	r, err := New(Config{}, Dependencies{Log: hotSegment(bytes)})
	if err != nil {
		t.Fatal(err)
	}
	e.local, e.loc.Tier = true, meta.TierHot
	return e.read(context.Background(), r)
}

func TestBytesThatAreNotTheRunAreMissing(t *testing.T) {
	good := slices.Concat(batchOf(t, 2), batchOf(t, 3))
	run := func(bytes []byte, next int64) error {
		e := &extent{loc: meta.Location{NextOffset: next, Length: uint64(len(bytes))}, limit: len(bytes)}
		return readExtent(t, bytes, e)
	}
	if err := run(good, 5); err != nil {
		t.Fatal(err)
	}
	garbage := slices.Clone(good)
	garbage[16] = 7 // magic
	long := slices.Clone(good)
	long[8] = 1 // a batch of more than 16 MiB
	for name, err := range map[string]error{
		"other offsets": run(good, 6),
		"zeros":         run(make([]byte, 200), 5),
		"garbage":       run(garbage, 5),
		"a long batch":  run(long, 5),
		"a cut header":  run(good[:30], 5),
		"a cut batch":   run(good[len(good)-1:], 3),
	} {
		if !errors.Is(err, errMissing) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhatStandsBeforeDamageIsRead(t *testing.T) {
	first := batchOf(t, 2)
	good := slices.Concat(first, batchOf(t, 3))
	flipped := slices.Clone(good)
	flipped[len(flipped)-1] ^= 1
	for name, bytes := range map[string][]byte{"a cut batch": good[:len(good)-1], "a flipped bit": flipped} {
		e := &extent{loc: meta.Location{NextOffset: 5, Length: uint64(len(bytes))}, limit: len(bytes)}
		if err := readExtent(t, bytes, e); err != nil || !slices.Equal(e.records, first) || e.next != 2 {
			t.Errorf("%s: %d bytes up to offset %d: %v", name, len(e.records), e.next, err)
		}
		e = &extent{loc: meta.Location{NextOffset: 5, Length: uint64(len(bytes))}, limit: len(bytes), from: 2}
		if err := readExtent(t, bytes, e); !errors.Is(err, errMissing) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestHolesAreServedAsEmptyBatches(t *testing.T) {
	f := &reading{reader: &Reader{}}
	c := &cursor{data: &PartitionData{}, next: 10}
	c.extents = []extent{{hole: true, leaderEpoch: 3, from: 10, loc: meta.Location{BaseOffset: 10, NextOffset: 1 << 40}}}
	f.take(c)
	h, err := recordbatch.ParseHeader(c.data.Records[0])
	if err != nil {
		t.Fatal(err)
	}
	if h.BaseOffset != 10 || h.RecordCount != 0 || h.LeaderEpoch != 3 || h.NextOffset() != c.next || c.next != 10+1<<31 {
		t.Errorf("%+v, going on at %d", h, c.next)
	}
}

func TestHintsAreOfTheirExtentOnly(t *testing.T) {
	h := &hints{}
	tp := meta.TopicPartition{Topic: meta.TopicID{1}, Partition: 2}
	h.put(tp, extentID{container: 7}, 100, 4096)
	if position, ok := h.get(tp, extentID{container: 7}, 100); !ok || position != 4096 {
		t.Errorf("%d %v", position, ok)
	}
	if _, ok := h.get(tp, extentID{container: 8}, 100); ok {
		t.Error("a hint for another container")
	}
	if _, ok := h.get(meta.TopicPartition{Topic: tp.Topic}, extentID{container: 7}, 100); ok {
		t.Error("a hint for another partition")
	}
}
