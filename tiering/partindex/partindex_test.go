package partindex

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/ingest/recordbatch"
	"github.com/varvelog/varve/tiering/segment"
)

// object is one object, whose reads are counted.
type object struct {
	body  []byte
	reads int
}

func (o *object) ReadAt(_ context.Context, _ string, _, off int64, buf []byte) (int, error) {
	o.reads++
	n := copy(buf, o.body[off:])
	if n < len(buf) {
		return n, io.EOF
	}
	return n, nil
}

// newObject has one part of three batches with ten records each, a millisecond apart.
func newObject(t *testing.T) (*object, meta.Location) {
	t.Helper()
	e := segment.NewEncoder(segment.Header{JobID: 1}, 0)
	e.Begin([16]byte{1}, "t", 0, 0)
	for base := int64(0); base < 30; base += 10 {
		b := recordbatch.NewBuilder(recordbatch.BuilderOptions{})
		b.Reset(base, 0)
		for i := range int64(10) {
			if err := b.Append(base+i, base+i, nil, []byte("v"), nil); err != nil {
				t.Fatal(err)
			}
		}
		data, h, err := b.Build(nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Batch(h, data, false); err != nil {
			t.Fatal(err)
		}
	}
	e.End(30)
	body, parts := e.Finish()
	p := parts[0]
	return &object{body: body}, meta.Location{
		Tier: meta.TierSegment, BaseOffset: p.BaseOffset, NextOffset: p.NextOffset, Position: p.Position, Length: p.LengthBytes,
		Object: meta.SegmentID{Job: 1}, ObjectBytes: uint64(len(body)), IndexPosition: p.IndexPosition, IndexLength: p.IndexLengthBytes,
	}
}

func TestSeekFindsTheBatchAndReadsTheIndexOnce(t *testing.T) {
	o, part := newObject(t)
	f := New(o, 1<<20)
	batch := part.Length / 3
	for offset, want := range map[int64]uint64{0: 0, 9: 0, 10: 1, 29: 2, 99: 2} {
		position, base, err := f.Seek(t.Context(), part, offset)
		if err != nil || position != part.Position+want*batch || base != int64(10*want) {
			t.Errorf("Seek(%d) = %d, %d, %v, want batch %d", offset, position, base, err, want)
		}
	}
	for millis, want := range map[int64]uint64{-1: 0, 9: 0, 10: 1, 25: 2, 99: 2} {
		position, err := f.SeekTime(t.Context(), part, millis)
		if err != nil || position != part.Position+want*batch {
			t.Errorf("SeekTime(%d) = %d, %v, want batch %d", millis, position, err, want)
		}
	}
	if o.reads != 1 {
		t.Errorf("%d reads", o.reads)
	}
}

func TestTheCapacityIsABound(t *testing.T) {
	o, part := newObject(t)
	f := New(o, int(part.IndexLength))
	other := part
	other.Object.Ordinal = 1
	for range 3 {
		for _, p := range []meta.Location{part, other} {
			if _, _, err := f.Seek(t.Context(), p, 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	if o.reads != 6 || f.mu.bytes > f.capacity {
		t.Errorf("%d reads, %d bytes kept", o.reads, f.mu.bytes)
	}
}

func TestACorruptIndexIsNamed(t *testing.T) {
	o, part := newObject(t)
	o.body[part.IndexPosition] ^= 1
	if _, _, err := New(o, 1<<20).Seek(t.Context(), part, 0); !errors.Is(err, segment.ErrCorrupt) {
		t.Errorf("got %v", err)
	}
}
