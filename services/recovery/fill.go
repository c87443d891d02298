package recovery

import (
	"fmt"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/ingest/recordbatch"
	"github.com/varvelog/varve/tiering/segment"
)

// fillerParts bounds the parts of one filler object.
const fillerParts = 10_000

// maxBatchOffsets is how many offsets one batch spans.
const maxBatchOffsets = 1 << 31

// filler is a segment object that stands for lost offsets: empty batches, which readers pass over, and markers.
type filler struct {
	key  string
	body []byte
}

// fill builds the fillers and puts them in the state's holes.
func (p *Plan) fill() error {
	fills := p.recovery.Fills()
	for ordinal := uint32(0); len(fills) > 0; ordinal++ {
		some := fills[:min(fillerParts, len(fills))]
		fills = fills[len(some):]
		encoder := segment.NewEncoder(segment.Header{JobID: uint64(p.job), Ordinal: ordinal, CreatedMillis: p.recovery.State().TimeMillis(), Filler: true}, len(some)*128)
		for i := range some {
			if err := encodeFill(encoder, &some[i]); err != nil {
				return err
			}
		}
		body, parts := encoder.Finish()
		if err := p.recovery.PlaceFill(describe(p.job, ordinal, len(body), parts)); err != nil {
			return err
		}
		p.fillers = append(p.fillers, filler{key: meta.SegmentKey(p.job, ordinal), body: body})
	}
	return nil
}

func encodeFill(encoder *segment.Encoder, f *meta.Fill) error {
	encoder.Begin(f.Topic.ID, f.Topic.Name, f.Partition, f.BaseOffset)
	at := f.BaseOffset
	add := func(batch []byte) error {
		h, err := recordbatch.ParseHeader(batch)
		if err == nil {
			err = encoder.Batch(h, batch, false)
		}
		if err != nil {
			return fmt.Errorf("fill %s-%d at %d: %w", f.Topic.Name, f.Partition, at, err)
		}
		at = h.NextOffset()
		return nil
	}
	gap := func(next int64) error {
		for at < next {
			if err := add(recordbatch.EmptyBatch(at, min(next, at+maxBatchOffsets)-1, f.LeaderEpoch)); err != nil {
				return err
			}
		}
		return nil
	}
	for _, m := range f.Markers {
		if err := gap(m.Offset); err != nil {
			return err
		}
		if err := add(recordbatch.ControlBatch(recordbatch.Marker{
			ProducerID: m.ProducerID, ProducerEpoch: m.ProducerEpoch, CoordinatorEpoch: m.CoordinatorEpoch, Commit: m.Commit, TimestampMillis: m.TimestampMillis,
		}, m.Offset, f.LeaderEpoch)); err != nil {
			return err
		}
	}
	if err := gap(f.NextOffset); err != nil {
		return err
	}
	encoder.End(f.NextOffset)
	return nil
}

// describe is what the metadata says of a segment object.
func describe(job meta.JobID, ordinal uint32, size int, parts []segment.Part) *metapb.SegmentObject {
	o := &metapb.SegmentObject{JobId: uint64(job), Ordinal: ordinal, SizeBytes: uint64(size)}
	for i := range parts {
		o.Parts = append(o.Parts, describePart(&parts[i]))
	}
	return o
}

func describePart(p *segment.Part) *metapb.Part {
	id := p.TopicID
	return &metapb.Part{
		TopicId: id[:], Partition: p.Partition, BaseOffset: p.BaseOffset, NextOffset: p.NextOffset,
		Position: p.Position, Length: p.LengthBytes, IndexPosition: p.IndexPosition, IndexLength: p.IndexLengthBytes,
		MaxTimestamp: p.MaxTimestamp, MaxTimestampOffset: -1, MinTimestamp: p.MinTimestamp, Records: p.Records,
	}
}
